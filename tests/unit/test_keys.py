"""Keys: registration checks, signatures of three algorithms, key files."""

from __future__ import annotations

import base64
import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwcrypto.jwk import JWK

from kpmsg import base64url, keys
from kpmsg.errors import KeyFileError, SignatureError, UntrustedKeyError
from kpmsg.keys import PublicKey, SoftwareSigner

MESSAGE = b"one parcel, 1200.50 carats"


@pytest.fixture(params=keys.ALGORITHMS)
def signer(request: pytest.FixtureRequest) -> SoftwareSigner:
    return SoftwareSigner.generate(request.param)


def test_sign_and_verify(signer: SoftwareSigner) -> None:
    signature = signer.sign(MESSAGE)
    assert len(signature) == keys.SIGNATURE_BYTES[signer.public.alg]
    signer.public.verify(MESSAGE, signature)
    for message, changed, code in (
        (MESSAGE + b"!", signature, "sig-invalid"),
        (MESSAGE, bytes([signature[0] ^ 1]) + signature[1:], "sig-invalid"),
        (MESSAGE, signature[:-1], "sig-length"),
        (MESSAGE, b"", "sig-length"),
        (MESSAGE, bytes(len(signature)), "sig-invalid"),
        (MESSAGE, b"\xff" * len(signature), "sig-invalid"),
    ):
        with pytest.raises(SignatureError) as caught:
            signer.public.verify(message, changed)
        assert caught.value.code == code


def test_public_key_is_a_value(signer: SoftwareSigner) -> None:
    again = PublicKey.from_jwk(signer.public.jwk)
    assert again == signer.public
    assert hash(again) == hash(signer.public)
    assert again != SoftwareSigner.generate().public
    again.jwk["kty"] = "changed"
    assert again.jwk == signer.public.jwk


def test_thumbprint_is_rfc_7638(signer: SoftwareSigner) -> None:
    assert JWK(**signer.public.jwk).thumbprint() == signer.public.kid


def test_thumbprint_of_rfc_8037_appendix_a_3() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert PublicKey.from_jwk(jwk).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_every_generated_key_may_be_registered() -> None:
    for _ in range(200):
        SoftwareSigner.generate("Ed25519")  # the constructor goes through from_jwk


def test_some_points_beside_the_curve_are_refused() -> None:
    codes = set()
    for y in range(2, 40):
        try:
            PublicKey.from_jwk(
                {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(y.to_bytes(32, "little"))}
            )
        except UntrustedKeyError as error:
            codes.add(error.code)
    assert codes == {
        "key-off-curve",
        "key-weak",
    }  # what lies on the curve by chance has mostly a part of small order


def test_unknown_algorithm() -> None:
    with pytest.raises(ValueError, match="RSA"):
        SoftwareSigner.generate("RSA")


# --- files -------------------------------------------------------------------------------------------------------


def test_key_file_round_trip(signer: SoftwareSigner, tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    signer.save(path, b"a passphrase")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    loaded = SoftwareSigner.load(path, b"a passphrase")
    assert loaded.public == signer.public
    signer.public.verify(MESSAGE, loaded.sign(MESSAGE))


def file_error(path: Path, passphrase: bytes = b"right") -> str:
    with pytest.raises(KeyFileError) as caught:
        SoftwareSigner.load(path, passphrase)
    assert str(path) in caught.value.text
    return caught.value.code


def test_key_file_errors_say_whose_turn_it_is(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    assert file_error(path) == "key-file-unreadable"
    SoftwareSigner.generate().save(path, b"right")
    assert file_error(path, b"wrong") == "key-file-locked"
    path.write_bytes(b"nothing like a key")
    assert file_error(path) == "key-file-locked"

    def other(
        private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, plain: bool
    ) -> None:
        lock = serialization.NoEncryption() if plain else serialization.BestAvailableEncryption(b"right")
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, lock))

    other(ed25519.Ed25519PrivateKey.generate(), plain=True)
    assert file_error(path) == "key-file-unencrypted"
    other(ec.generate_private_key(ec.SECP384R1()), plain=False)
    assert file_error(path) == "key-file-algorithm"
    other(rsa.generate_private_key(65537, 2048), plain=False)
    assert file_error(path) == "key-file-algorithm"


def test_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first = SoftwareSigner.generate()
    first.save(path, b"right")
    for target, passphrase, code in (
        (path, b"right", "key-file-exists"),
        (tmp_path / "other.pem", b"", "key-file-passphrase"),
        (tmp_path / "no" / "folder.pem", b"right", "key-file-unwritable"),
    ):
        with pytest.raises(KeyFileError) as caught:
            SoftwareSigner.generate().save(target, passphrase)
        assert caught.value.code == code
    assert SoftwareSigner.load(path, b"right").public == first.public
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


# --- fingerprints ------------------------------------------------------------------------------------------------


def test_fingerprint_is_128_bits_in_eight_groups() -> None:
    shown = keys.fingerprint(b"x")
    assert re.fullmatch(r"([0-9a-f]{4}-){7}[0-9a-f]{4}", shown)
    assert keys.same_fingerprint(f" {shown.upper().replace('-', ' ')}\n", shown)
    assert keys.same_fingerprint(shown.replace("-", ":"), shown)
    assert not keys.same_fingerprint(shown[:-1], shown)
    assert not keys.same_fingerprint("", shown)
    assert not keys.same_fingerprint(keys.fingerprint(b"y"), shown)


def test_mixed_order_ed25519_points_are_refused() -> None:
    """A sound key plus any point of small order verifies some forgeries under some verifiers (cofactored ones)."""
    prime, d = 2**255 - 19, -121665 * pow(121666, -1, 2**255 - 19)

    def x_of(y: int) -> int:
        squared = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
        x = pow(squared, (prime + 3) // 8, prime)
        return x if (x * x - squared) % prime == 0 else x * pow(2, (prime - 1) // 4, prime) % prime

    def plus(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
        product = d * p[0] * q[0] * p[1] * q[1]
        x = (p[0] * q[1] + q[0] * p[1]) * pow(1 + product, -1, prime)
        y = (p[1] * q[1] + p[0] * q[0]) * pow(1 - product, -1, prime)
        return x % prime, y % prime

    order_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
    small = (x_of(order_8), order_8)
    raw = base64.urlsafe_b64decode(SoftwareSigner.generate().public.jwk["x"] + "=")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    point = sound = (x_of(y), y)
    for _ in range(7):
        point = plus(point, small)
        encoded = (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")
        x = base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()
        with pytest.raises(UntrustedKeyError) as refused:
            PublicKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": x})
        assert refused.value.code == "key-weak"
    assert plus(point, small) == sound
