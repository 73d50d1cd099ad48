"""X.509, for one purpose: who may open a TLS connection to our broker, and whose broker we talk to.

Each authority runs a private certificate authority of its own, and its broker trusts that one alone: it signs the
broker's certificate and one client certificate per partner, over the transport key from the partner's key record
(CN = the partner's address, which is the broker's user name). There is no common CA to compromise, and none of ours can
speak for anybody else's broker. Certificates prove nothing about documents; `kpmsg.keys` and the key records do that.

Withdrawing a certificate means deleting the broker's user (`kpnode.broker`), so there are no revocation lists.
This module refuses to know the clock: `now` is an argument. Private keys leave it only as PEM with mode 0600.
"""

from __future__ import annotations

import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kpmsg import base64url
from kpmsg.keys import PublicKey

CA_LIFE: Final = timedelta(days=3653)
LEAF_LIFE: Final = timedelta(days=731)
CLOCK_SKEW: Final = timedelta(minutes=10)

_ADDRESS = re.compile(r"\A[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?\Z")

_TransportKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class PkiError(Exception):
    """A certificate or a key that cannot be used; the text says which and what to do. The operator's fault."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an operator needs to know of a certificate. `names` are its DNS names and IP addresses."""

    subject: str
    issuer: str
    serial: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str

    def days_left(self, now: datetime) -> int:
        return (self.not_after - now).days


def read_certificate(pem: bytes) -> Certificate:
    """Raises PkiError if `pem` is no certificate."""
    certificate = _certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        listed: tuple[str, ...] = ()
    else:
        listed = tuple(str(name.value) for name in names)
    return Certificate(
        subject=_common_name(certificate.subject),
        issuer=_common_name(certificate.issuer),
        serial=f"{certificate.serial_number:x}",
        names=listed,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise PkiError("This is not a PEM certificate.") from error


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _transport_key(public: PublicKey) -> _TransportKey:
    """P-256 (preferred: every TLS stack has it) or Ed25519; `PublicKey` has checked the numbers already."""
    match public.alg:
        case "ES256":
            x, y = (int.from_bytes(base64url.decode(public.jwk[name]), "big") for name in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        case "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(base64url.decode(public.jwk["x"]))
    raise PkiError(f"A transport key must be P-256 or Ed25519, not {public.alg}.")


# --- private keys in files -----------------------------------------------------------------------------------------


def write_private(path: Path, data: bytes) -> None:
    """A new file with mode 0600 from its first moment on. Raises FileExistsError rather than overwrite a key."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def new_private_key(passphrase: bytes | None = None) -> bytes:
    """A P-256 key as PKCS#8 PEM, encrypted if there is a passphrase (RabbitMQ reads its own key without one)."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()), passphrase)


def _private_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
    )


def _load_private(path: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except FileNotFoundError as error:
        raise PkiError(f"The key file {path} does not exist.") from error
    except (ValueError, TypeError) as error:
        raise PkiError(f"The key file {path} cannot be opened: damaged, or not this passphrase.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(
            f"The key file {path} holds another kind of key than a certificate authority has here."
        )
    return key


# --- the authority's own CA ----------------------------------------------------------------------------------------


class CertificateAuthority:
    """One authority's private CA: EC P-256, ten years, may sign leaves only."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        if certificate.public_key() != key.public_key():
            raise PkiError("The CA's key does not belong to its certificate.")
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, address: str, now: datetime) -> Self:
        """A new CA for the authority at `address`. The random part of its name tells two of them apart in a log."""
        if not _ADDRESS.match(address):
            raise PkiError(f"{address!r} is not an authority's address.")
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(f"{address} transport CA {secrets.token_hex(4)}")
        builder = (
            _unsigned(name, key.public_key(), now, now + CA_LIFE)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: Path, key: Path, passphrase: bytes | None) -> Self:
        """Raises PkiError when a file is missing, damaged, mismatched, or the passphrase is wrong."""
        try:
            pem = certificate.read_bytes()
        except FileNotFoundError as error:
            raise PkiError(f"The certificate file {certificate} does not exist.") from error
        return cls(_certificate(pem), _load_private(key, passphrase))

    def save(self, certificate: Path, key: Path, passphrase: bytes) -> None:
        """The key encrypted; neither file is overwritten."""
        if not passphrase:
            raise PkiError("A certificate authority's key is never stored without a passphrase.")
        write_private(key, _private_pem(self._key, passphrase))
        with certificate.open("xb") as file:
            file.write(self.certificate)

    @property
    def certificate(self) -> bytes:
        """PEM; what partners receive in order to recognise our broker, and what our broker trusts."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server_certificate(self, key: bytes, names: Iterable[str], now: datetime) -> bytes:
        """A certificate (PEM) for our broker. `key`: its private key as unencrypted PEM; `names`: DNS names and IPs."""
        listed = [_general_name(name) for name in names]
        if not listed:
            raise PkiError("A broker's certificate needs at least one name.")
        private = serialization.load_pem_private_key(key, None)
        public = private.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise PkiError("A broker's key must be P-256.")
        subject = _named(str(listed[0].value))
        return self._issue(subject, public, now, ExtendedKeyUsageOID.SERVER_AUTH, listed)

    def client_certificate(self, address: str, key: PublicKey, now: datetime) -> bytes:
        """A certificate (PEM) with which the holder of `key` logs in to our broker as the user `address`.

        `key` comes from a verified key record: possession of it was proved there.
        """
        if not _ADDRESS.match(address):
            raise PkiError(f"{address!r} is not an authority's address.")
        return self._issue(_named(address), _transport_key(key), now, ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _issue(
        self,
        subject: x509.Name,
        key: _TransportKey,
        now: datetime,
        purpose: x509.ObjectIdentifier,
        names: list[x509.GeneralName],
    ) -> bytes:
        # Never outlive the CA: such a certificate fails on the day nobody expects.
        until = min(now + LEAF_LIFE, self._certificate.not_valid_after_utc)
        if until <= now:
            raise PkiError("The certificate authority itself has expired; make a new one.")
        builder = (
            _unsigned(subject, key, now, until)
            .issuer_name(self._certificate.subject)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _unsigned(
    subject: x509.Name, key: _TransportKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        # 159 random bits: nobody can prepare a colliding certificate for a serial he cannot guess.
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - CLOCK_SKEW)
        .not_valid_after(until.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


# --- TLS -----------------------------------------------------------------------------------------------------------


def client_context(
    *,
    trusted: bytes,
    certificate: bytes | None = None,
    key: Path | None = None,
    passphrase: bytes | None = None,
) -> ssl.SSLContext:
    """TLS towards one partner's broker: trusts `trusted` (PEM, that partner's CA) and nothing else in the world.

    `certificate` (PEM) is what that partner issued to us, `key` the file of our own transport key. Host names are
    checked, TLS 1.2 is the least. Raises PkiError when a file is missing, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=trusted.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise PkiError("The partner's CA certificate cannot be read.") from error
    if certificate is None or key is None:
        return context
    if not key.exists():
        raise PkiError(f"The transport key {key} does not exist.")
    # OpenSSL reads chains from files only. The certificate is no secret; the key stays where it is.
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certificate)
        file.flush()
        try:
            # A callable, because with None OpenSSL would ask on the terminal and hang a service for ever.
            context.load_cert_chain(file.name, key, lambda: passphrase or b"")
        except (ssl.SSLError, OSError) as error:
            raise PkiError(
                f"The transport key {key} cannot be used with this certificate: wrong passphrase, or another key."
            ) from error
    return context
