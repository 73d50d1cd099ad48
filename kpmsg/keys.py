"""Keys: which public keys may exist here, whether a signature holds under one, and signing with a private one.

Three algorithms, and a key belongs to exactly one of them for its whole life:

=============  =======================================  ========================================================
``Ed25519``    RFC 8032, 9864; JWK ``OKP``              the default for keys in files
``ES256``      RFC 7518; JWK ``EC`` / ``P-256``         what hardware modules speak; raw ``r || s`` only
``ML-DSA-65``  FIPS 204, RFC 9964; JWK ``AKP``          an optional second signature against quantum computers
=============  =======================================  ========================================================

A :class:`PublicKey` exists only if it passed the registration checks, so whoever holds one need not ask again. This is
the one module that touches ``cryptography`` and ``joserfc`` (which verifies the first two algorithms, on inputs that
:mod:`kpmsg.jws` has already parsed: no third-party JWS parser ever sees a partner's bytes). It reads and writes key files. It
does not know whose key it is, what it may be used for, or until when: that is :mod:`kpmsg.keyrecord`.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry

from kpmsg import base64url, strictjson
from kpmsg.errors import KeyFileError, SignatureError, UntrustedKeyError

ALGORITHMS = ("Ed25519", "ES256", "ML-DSA-65")
SIGNATURE_BYTES = {"Ed25519": 64, "ES256": 64, "ML-DSA-65": 3309}

_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey

# Named explicitly: joserfc refuses Ed25519 unless told, as RFC 9864 is younger than its list of recommended names.
_JOSERFC = JWSRegistry(algorithms=["Ed25519", "ES256"])

# What the JWK of a public key consists of, and nothing else. The first two members tell the algorithm.
_FORMS: dict[tuple[str, str], tuple[str, frozenset[str]]] = {
    ("OKP", "Ed25519"): ("Ed25519", frozenset({"kty", "crv", "x"})),
    ("EC", "P-256"): ("ES256", frozenset({"kty", "crv", "x", "y"})),
    ("AKP", "ML-DSA-65"): ("ML-DSA-65", frozenset({"kty", "alg", "pub"})),
}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022
# The eight points of small order have these five y; with both signs of x and the spellings y + p that fit into 255
# bits they make the 14 encodings under which fixed "signatures" verify.
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key fit for registration. Equal if algorithm and thumbprint are. Made by :meth:`from_jwk` only."""

    alg: str
    kid: str  #: RFC 7638 thumbprint, SHA-256, base64url
    _members: tuple[tuple[str, str], ...] = field(repr=False, compare=False)
    _native: Any = field(repr=False, compare=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """Check a JWK (RFC 7517) and return its key; raise :class:`UntrustedKeyError`.

        ``key-private`` private parts are present; ``key-form`` not exactly the members of one of the three forms, or
        a coordinate of wrong length or spelling; ``key-weak`` a small-order, mixed-order or non-canonical Ed25519 point;
        ``key-off-curve`` no point of the curve at all.
        """
        if not isinstance(jwk, Mapping):
            raise UntrustedKeyError("key-form", "a key must be a JSON object (JWK)")
        if not _PRIVATE_MEMBERS.isdisjoint(jwk):
            raise UntrustedKeyError(
                "key-private", "the JWK holds private parts: this key is burnt, make a new one"
            )
        if not all(isinstance(value, str) for value in jwk.values()):
            raise UntrustedKeyError("key-form", "every member of the JWK must be a string")
        variant = jwk.get("alg" if jwk.get("kty") == "AKP" else "crv", "")
        form = _FORMS.get((jwk.get("kty", ""), variant))
        if form is None or form[1] != jwk.keys():
            raise UntrustedKeyError(
                "key-form", "the JWK is not exactly that of an Ed25519, P-256 or ML-DSA-65 key"
            )
        alg, names = form
        native = _IMPORTERS[alg](jwk)
        # RFC 7638: required members in lexicographic order, no white space. All three forms consist of these alone.
        members = tuple((name, jwk[name]) for name in sorted(names))
        thumbprint = hashlib.sha256(strictjson.dumps(dict(members))).digest()
        return cls(alg, base64url.encode(thumbprint), members, native)

    @property
    def jwk(self) -> dict[str, str]:
        """The public JWK, a fresh dict each time."""
        return dict(self._members)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if ``signature`` holds over ``message``; raise :class:`SignatureError` otherwise.

        ``sig-length`` not the one length of the algorithm (so DER is refused); ``sig-invalid`` it does not hold.
        """
        if len(signature) != SIGNATURE_BYTES[self.alg]:
            raise SignatureError(
                "sig-length", f"an {self.alg} signature has {SIGNATURE_BYTES[self.alg]} bytes"
            )
        if self.alg == "ML-DSA-65":
            try:
                self._native.verify(signature, message)
            except InvalidSignature:
                raise SignatureError("sig-invalid", "the signature does not hold") from None
            return
        if self.alg == "Ed25519" and _edwards_y(signature[:32]) % _P in _SMALL_ORDER_Y:
            raise SignatureError("sig-invalid", "the signature's R is a point of small order")
        if not _JOSERFC.get_alg(self.alg).verify(message, signature, self._native):
            raise SignatureError("sig-invalid", "the signature does not hold")


class Signer(Protocol):
    """The seam for private keys: a file here, a hardware module elsewhere. Signing may take long or fail."""

    @property
    def public(self) -> PublicKey:
        """The key under which the signatures verify."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature in JOSE form (for ES256 the 64 bytes ``r || s``)."""
        ...


class SoftwareSigner:
    """A :class:`Signer` whose private key is in this process' memory."""

    public: PublicKey

    def __init__(self, private: _PrivateKey) -> None:
        self._private = private
        self.public = PublicKey.from_jwk(_public_jwk(private))

    @classmethod
    def generate(cls, alg: str = "Ed25519") -> Self:
        """Make a new key of one of :data:`ALGORITHMS`."""
        if alg == "Ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        if alg == "ES256":
            return cls(ec.generate_private_key(ec.SECP256R1()))
        if alg == "ML-DSA-65":
            return cls(mldsa.MLDSA65PrivateKey.generate())
        raise ValueError(f"unknown algorithm {alg!r}; one of {', '.join(ALGORITHMS)}")

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``. ES256 takes its nonce from RFC 6979, so that no weak random source can leak the key."""
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(
                self._private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
            )
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self._private.sign(message)

    @classmethod
    def load(cls, path: Path, passphrase: bytes) -> Self:
        """Read an encrypted PKCS#8 PEM file; raise :class:`KeyFileError`."""
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise KeyFileError("key-file-unreadable", f"cannot read {path}: {error.strerror}") from error
        try:
            private = serialization.load_pem_private_key(pem, passphrase)
        except TypeError:
            raise KeyFileError("key-file-unencrypted", f"{path} is not encrypted: make a new key") from None
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFileError("key-file-locked", f"{path}: wrong passphrase, or not a PKCS#8 key") from None
        curve = private.curve if isinstance(private, ec.EllipticCurvePrivateKey) else None
        if not isinstance(private, _PrivateKey) or not (curve is None or isinstance(curve, ec.SECP256R1)):
            raise KeyFileError("key-file-algorithm", f"{path}: neither Ed25519 nor P-256 nor ML-DSA-65")
        return cls(private)

    def save(self, path: Path, passphrase: bytes) -> None:
        """Write a new encrypted PKCS#8 PEM file, mode 0600, synced to disk; never over an existing file."""
        if not passphrase:
            raise KeyFileError("key-file-passphrase", "a key file needs a passphrase")
        pem = self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(descriptor)
        except FileExistsError:
            raise KeyFileError("key-file-exists", f"{path} exists; keys are never overwritten") from None
        except OSError as error:
            raise KeyFileError("key-file-unwritable", f"cannot write {path}: {error.strerror}") from error


def fingerprint(data: bytes) -> str:
    """Return 128 bits of SHA-256 for people: eight groups of four hex digits, ``1f2e-...``.

    An impostor would have to find other keys for a *given* fingerprint, a search through 2^128. A collision (2^64)
    helps only an authority that publishes two identities of its own under one fingerprint; both would bear its signatures.
    """
    digits = hashlib.sha256(data).hexdigest()[:32]
    return "-".join(digits[start : start + 4] for start in range(0, 32, 4))


def same_fingerprint(typed: str, actual: str) -> bool:
    """Compare a fingerprint as a person typed it: case, spaces, colons and hyphens do not matter; nothing may be left out."""

    def bare(text: str) -> str:
        return "".join(text.lower().split()).replace("-", "").replace(":", "")

    return bare(typed) == bare(actual)


def _edwards_y(encoded: bytes) -> int:
    return int.from_bytes(encoded, "little") & ((1 << 255) - 1)


def _coordinate(jwk: Mapping[str, str], name: str, length: int) -> bytes:
    try:
        raw = base64url.decode(jwk[name])
    except ValueError as error:
        raise UntrustedKeyError("key-form", f"JWK member {name}: {error}") from None
    if len(raw) != length:
        raise UntrustedKeyError("key-form", f"JWK member {name} must hold {length} bytes")
    return raw


def _import_ed25519(jwk: Mapping[str, str]) -> OKPKey:
    y = _edwards_y(_coordinate(jwk, "x", 32))
    if y >= _P or y in _SMALL_ORDER_Y:
        raise UntrustedKeyError(
            "key-weak", "a small-order or non-canonical Ed25519 point: anybody could sign for it"
        )
    # The library loads any 32 bytes. x^2 = (y^2 - 1) / (d y^2 + 1) must be a square, or the bytes are no point at all.
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(x_squared, (_P - 1) // 2, _P) != 1:
        raise UntrustedKeyError("key-off-curve", "not a point of the Ed25519 curve")
    if not _is_of_prime_order(y):
        raise UntrustedKeyError(
            "key-weak", "an Ed25519 point of mixed order: verifiers disagree about signatures under it"
        )
    return OKPKey.import_key(dict(jwk))


@lru_cache(maxsize=4096)  # some 3 ms of arithmetic for a key that is read at every start
def _is_of_prime_order(y: int) -> bool:
    """Whether the order of the curve point with this y divides L, so that it has no part of small order.

    Under a key with such a part, a signature can be made that holds for verifiers that multiply by the cofactor and not for
    those that do not (RFC 8032, 5.1.7 allows both): its owner could make a document that only some accept. [L]A is computed
    with the ladder of Curve25519 (RFC 7748), where u = (1 + y) / (1 - y) and the sign of x does not matter.
    """
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in f"{_L:b}":
        if bit == "1":
            x2, z2, x3, z3 = x3, z3, x2, z2
        total, difference = x2 + z2, x2 - z2
        square, other = total * total % _P, difference * difference % _P
        across, back = (x3 - z3) * total % _P, (x3 + z3) * difference % _P
        x3, z3 = pow(across + back, 2, _P), u * pow(across - back, 2, _P) % _P
        x2, z2 = square * other % _P, (square - other) * (square + 121665 * (square - other)) % _P
        if bit == "1":
            x2, z2, x3, z3 = x3, z3, x2, z2
    return z2 == 0


def _import_p256(jwk: Mapping[str, str]) -> ECKey:
    x, y = (int.from_bytes(_coordinate(jwk, name, 32), "big") for name in ("x", "y"))
    try:
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise UntrustedKeyError("key-off-curve", "not a point of the P-256 curve") from None
    return ECKey.import_key(dict(jwk))


def _import_mldsa(jwk: Mapping[str, str]) -> mldsa.MLDSA65PublicKey:
    return mldsa.MLDSA65PublicKey.from_public_bytes(_coordinate(jwk, "pub", 1952))


_IMPORTERS = {"Ed25519": _import_ed25519, "ES256": _import_p256, "ML-DSA-65": _import_mldsa}


def _public_jwk(private: _PrivateKey) -> dict[str, str]:
    if isinstance(private, ec.EllipticCurvePrivateKey):
        numbers = private.public_key().public_numbers()
        x, y = (base64url.encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    raw = base64url.encode(private.public_key().public_bytes_raw())
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": raw}
    return {"kty": "AKP", "alg": "ML-DSA-65", "pub": raw}
