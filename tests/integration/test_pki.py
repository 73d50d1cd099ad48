"""Certificates: what an authority issues, what it refuses to issue, and whether TLS then believes the right ones."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from kpmsg.keys import SoftwareSigner
from kpnode.pki import (
    CertificateAuthority,
    PkiError,
    client_context,
    new_private_key,
    read_certificate,
    write_private,
)

NOW = datetime.now(UTC)
PASSPHRASE = b"correct horse"


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("AE", NOW)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> str:
    """The TLS version both agree on, or SSLError as either side sees it."""
    listener = socket.create_server(("127.0.0.1", 0))
    failures: list[Exception] = []

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                with server.wrap_socket(connection, server_side=True) as secure:
                    secure.sendall(b"!")
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as connection,
            client.wrap_socket(connection, server_hostname=name) as secure,
        ):
            if secure.recv(1) != b"!":
                raise ssl.SSLError("closed")
            return secure.version() or ""
    finally:
        thread.join()


@pytest.fixture
def server(ca: CertificateAuthority, tmp_path: Path) -> ssl.SSLContext:
    key = new_private_key()
    write_private(tmp_path / "broker.key", key)
    (tmp_path / "broker.pem").write_bytes(ca.server_certificate(key, ["localhost", "127.0.0.1"], NOW))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")
    context.load_verify_locations(cadata=ca.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def context_for(
    ca: CertificateAuthority, alg: str, directory: Path, *, now: datetime = NOW
) -> ssl.SSLContext:
    signer = SoftwareSigner.generate(alg)
    signer.save(directory / "bw.key", PASSPHRASE)
    certificate = ca.client_certificate("BW", signer.public, now)
    return client_context(
        trusted=ca.certificate, certificate=certificate, key=directory / "bw.key", passphrase=PASSPHRASE
    )


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_a_partners_transport_key_opens_tls_1_3(
    ca: CertificateAuthority, server: ssl.SSLContext, tmp_path: Path, alg: str
) -> None:
    assert handshake(server, context_for(ca, alg, tmp_path)) == "TLSv1.3"


def test_a_name_that_is_not_in_the_brokers_certificate_is_refused(
    ca: CertificateAuthority, server: ssl.SSLContext, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for|mismatch"):
        handshake(server, context_for(ca, "ES256", tmp_path), "broker.example")


def test_S96_an_expired_certificate_is_refused(
    ca: CertificateAuthority, server: ssl.SSLContext, tmp_path: Path
) -> None:
    expired = context_for(ca, "ES256", tmp_path, now=NOW - timedelta(days=1000))
    with pytest.raises(OSError):
        handshake(server, expired)


def test_S96_another_ca_with_our_name_cannot_speak_for_a_partner(
    ca: CertificateAuthority, server: ssl.SSLContext, tmp_path: Path
) -> None:
    other = CertificateAuthority.create("AE", NOW)
    context = context_for(other, "ES256", tmp_path)
    context.load_verify_locations(cadata=ca.certificate.decode())
    with pytest.raises(OSError):
        handshake(server, context)


def test_S96_a_client_certificate_is_no_servers_and_no_authoritys(
    ca: CertificateAuthority, server: ssl.SSLContext, tmp_path: Path
) -> None:
    signer = SoftwareSigner.generate("ES256")
    certificate = x509.load_pem_x509_certificate(ca.client_certificate("EU/antwerp", signer.public, NOW))
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in purposes] == ["1.3.6.1.5.5.7.3.2"]
    root = x509.load_pem_x509_certificate(ca.certificate)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_S97_a_client_without_certificate_is_refused(
    ca: CertificateAuthority, server: ssl.SSLContext
) -> None:
    with pytest.raises(OSError):
        handshake(server, client_context(trusted=ca.certificate))


def test_S97_our_side_speaks_nothing_older_than_tls_1_2(ca: CertificateAuthority) -> None:
    assert client_context(trusted=ca.certificate).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_context_trusts_one_authority_and_not_the_world(ca: CertificateAuthority) -> None:
    context = client_context(trusted=ca.certificate)
    assert [ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)] == [
        ca.certificate.decode()
    ]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_what_a_certificate_says_can_be_read(ca: CertificateAuthority) -> None:
    signer = SoftwareSigner.generate("ES256")
    client = read_certificate(ca.client_certificate("EU/antwerp", signer.public, NOW))
    assert client.subject == "EU/antwerp"
    assert client.issuer == read_certificate(ca.certificate).subject
    assert client.issuer.startswith("AE transport CA ")
    assert 729 <= client.days_left(NOW) <= 731
    assert client.not_before < NOW  # the partner's clock may be a little behind
    broker = read_certificate(ca.server_certificate(new_private_key(), ["broker.example", "192.0.2.1"], NOW))
    assert broker.names == ("broker.example", "192.0.2.1")
    assert read_certificate(ca.certificate).days_left(NOW) > 3600


def test_serial_numbers_are_long_and_never_the_same(ca: CertificateAuthority) -> None:
    signer = SoftwareSigner.generate("ES256")
    serials = [
        int(read_certificate(ca.client_certificate("BW", signer.public, NOW)).serial, 16) for _ in range(20)
    ]
    assert len(set(serials)) == 20
    assert sum(serial.bit_length() for serial in serials) / 20 > 150


def test_a_certificate_does_not_outlive_its_authority() -> None:
    old = CertificateAuthority.create("AE", NOW - timedelta(days=3600))
    signer = SoftwareSigner.generate("ES256")
    assert read_certificate(old.client_certificate("BW", signer.public, NOW)).days_left(NOW) < 60
    dead = CertificateAuthority.create("AE", NOW - timedelta(days=4000))
    with pytest.raises(PkiError, match="expired"):
        dead.client_certificate("BW", signer.public, NOW)


@pytest.mark.parametrize("address", ["bw", "BW\n", "BW,CN=AE", "", "EU/Antwerp", "*"])
def test_only_addresses_become_common_names(ca: CertificateAuthority, address: str) -> None:
    with pytest.raises(PkiError, match="address"):
        ca.client_certificate(address, SoftwareSigner.generate("ES256").public, NOW)


def test_a_post_quantum_key_is_no_transport_key(ca: CertificateAuthority) -> None:
    with pytest.raises(PkiError, match="P-256 or Ed25519"):
        ca.client_certificate("BW", SoftwareSigner.generate("ML-DSA-65").public, NOW)


def test_a_ca_survives_saving_and_its_key_is_locked(ca: CertificateAuthority, tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    with pytest.raises(PkiError, match="passphrase"):
        ca.save(certificate, key, b"")
    ca.save(certificate, key, PASSPHRASE)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in key.read_bytes()
    assert CertificateAuthority.load(certificate, key, PASSPHRASE).certificate == ca.certificate
    with pytest.raises(FileExistsError):
        ca.save(certificate, key, PASSPHRASE)
    with pytest.raises(PkiError, match="passphrase"):
        CertificateAuthority.load(certificate, key, b"wrong")
    with pytest.raises(PkiError, match="passphrase"):
        CertificateAuthority.load(certificate, key, None)
    with pytest.raises(PkiError, match="not exist"):
        CertificateAuthority.load(certificate, tmp_path / "nowhere.key", PASSPHRASE)
    CertificateAuthority.create("AE", NOW).save(tmp_path / "other.pem", tmp_path / "other.key", PASSPHRASE)
    with pytest.raises(PkiError, match="belong"):
        CertificateAuthority.load(tmp_path / "other.pem", key, PASSPHRASE)


def test_the_wrong_passphrase_or_key_is_an_error_and_never_a_prompt(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    signer = SoftwareSigner.generate("ES256")
    signer.save(tmp_path / "bw.key", PASSPHRASE)
    certificate = ca.client_certificate("BW", signer.public, NOW)
    for key, passphrase in ((tmp_path / "bw.key", b"wrong"), (tmp_path / "bw.key", None)):
        with pytest.raises(PkiError, match="passphrase"):
            client_context(trusted=ca.certificate, certificate=certificate, key=key, passphrase=passphrase)
    SoftwareSigner.generate("ES256").save(tmp_path / "other.key", PASSPHRASE)
    with pytest.raises(PkiError, match="another key"):
        client_context(
            trusted=ca.certificate, certificate=certificate, key=tmp_path / "other.key", passphrase=PASSPHRASE
        )
    with pytest.raises(PkiError, match="not exist"):
        client_context(trusted=ca.certificate, certificate=certificate, key=tmp_path / "no.key")
    with pytest.raises(PkiError, match="CA"):
        client_context(trusted=b"no certificate")
    with pytest.raises(PkiError, match="PEM"):
        read_certificate(b"no certificate")


def test_a_brokers_key_is_p256_and_needs_a_name(ca: CertificateAuthority) -> None:
    with pytest.raises(PkiError, match="name"):
        ca.server_certificate(new_private_key(), [], NOW)
    root = x509.load_pem_x509_certificate(ca.certificate).public_key()
    assert isinstance(root, ec.EllipticCurvePublicKey)
