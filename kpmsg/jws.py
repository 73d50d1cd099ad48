"""JSON Web Signatures (RFC 7515) in the one form that authorities exchange.

General JSON serialization, compact, the payload inside::

    {"payload":"...","signatures":[{"protected":"...","signature":"..."}]}

The protected header is exactly ``alg``, ``kid``, ``typ``, and there is no unprotected one, so nothing in a message can name
a key, a URL or an extension: such a member is a :class:`~kpmsg.errors.MalformedError` and is never followed.
``alg`` has to be the algorithm of the key that ``kid`` names; it is never the message's choice. ``typ`` says what kind
of statement was signed, so a signature cannot be carried over to another kind. *Every* signature present must hold.

What is signed is the payload's bytes as they came; nothing is re-serialised. The bytes around the payload are not
identity: members may come in another order, and an ES256 signature has a twin. This module does not know who the
signer is or whether the key may be used: the caller's ``key_of`` does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from kpmsg import base64url, strictjson
from kpmsg.errors import MalformedError, SignatureError
from kpmsg.keys import ALGORITHMS, PublicKey, Signer

DOCUMENT: Final = "kp-document+jws"
RECEIPT: Final = "kp-receipt+jws"
STATUS: Final = "kp-status+jws"
PAGE: Final = "kp-page+jws"
REFUSAL: Final = "kp-refusal+jws"
KEY_RECORD: Final = "kp-key-record+jws"
GRANT: Final = "kp-grant+jws"
REQUEST: Final = "kp-request+jws"
POSSESSION: Final = "kp-possession+jws"
TYPES: Final = frozenset({DOCUMENT, RECEIPT, STATUS, PAGE, REFUSAL, KEY_RECORD, GRANT, REQUEST, POSSESSION})

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_SIGNATURES = 4
#: A full payload in base64url with 16 of the longest signatures (a key record may carry that many) fits.
MAX_BYTES = 192 * 1024
_MAX_HEADER_TEXT = 256

_MEMBERS = {"payload", "signatures"}
_SIGNATURE_MEMBERS = {"protected", "signature"}
_HEADER_MEMBERS = {"alg", "kid", "typ"}


@dataclass(frozen=True, slots=True)
class Header:
    """A protected header in the agreed form; what it claims is not yet believed."""

    alg: str
    kid: str
    typ: str


@dataclass(frozen=True, slots=True)
class Jws:
    """A parsed JWS that **nobody has verified**: to show, to count, to look up a key; never to act upon."""

    unverified_payload: bytes
    unverified_headers: tuple[Header, ...]
    unverified_signatures: tuple[
        tuple[bytes, bytes], ...
    ]  #: signing input and signature, in the headers' order


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload over which every signature of its JWS was found to hold."""

    payload: bytes
    kids: tuple[str, ...]


def sign(payload: bytes, typ: str, signers: Sequence[Signer]) -> bytes:
    """Return the JWS of ``payload`` with one signature per signer, in their order."""
    if not signers:
        raise ValueError("a JWS needs at least one signer")
    encoded = base64url.encode(payload)
    tail = b"." + encoded.encode("ascii")
    signatures = []
    for signer in signers:
        header = _protected(signer.public.alg, signer.public.kid, typ)
        signature = base64url.encode(signer.sign(header.encode("ascii") + tail))
        signatures.append(f'{{"protected":"{header}","signature":"{signature}"}}')
    # All of it is base64url, in which nothing needs an escape.
    return f'{{"payload":"{encoded}","signatures":[{",".join(signatures)}]}}'.encode("ascii")


def peek(raw: bytes, *, max_signatures: int = MAX_SIGNATURES) -> Jws:
    """Parse ``raw`` without looking at any signature. Raises :class:`MalformedError` ``json-*`` or ``jws-*``.

    ``jws-form`` white space, escapes, or members other than the agreed; ``jws-encoding`` not canonical base64url;
    ``jws-size`` a payload beyond 64 KiB; ``jws-signatures`` none, or too many; ``jws-header`` a header that is not exactly
    three strings, or an unknown ``typ``; ``jws-alg`` an algorithm that is not ours; ``jws-kid`` not a thumbprint.
    """
    if any(character in raw for character in (b" ", b"\n", b"\r", b"\t", b"\\")):
        raise MalformedError("jws-form", "a JWS has no white space and no escapes")
    members = strictjson.loads(raw, max_bytes=MAX_BYTES)
    if not isinstance(members, dict) or members.keys() != _MEMBERS:
        raise MalformedError("jws-form", "a JWS has the members payload and signatures and no other", "")
    encoded, signatures = members["payload"], members["signatures"]
    payload = _decode(encoded, "/payload")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MalformedError("jws-size", f"a payload has at most {MAX_PAYLOAD_BYTES} bytes", "/payload")
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= max_signatures:
        raise MalformedError("jws-signatures", f"a JWS has 1 to {max_signatures} signatures", "/signatures")
    tail = b"." + encoded.encode("ascii")
    parts = tuple(_part(member, tail, f"/signatures/{index}") for index, member in enumerate(signatures))
    return Jws(payload, tuple(part[0] for part in parts), tuple(part[1:] for part in parts))


def verify(
    raw: bytes, *, typ: str, key_of: Callable[[str], PublicKey], max_signatures: int = MAX_SIGNATURES
) -> Signed:
    """Return the payload if *each* signature holds, on its own, under the key that its ``kid`` names.

    ``key_of`` maps a ``kid`` to a key that may be used here, or raises :class:`~kpmsg.errors.UntrustedKeyError`, which
    passes through. Raises :class:`MalformedError` as :func:`peek` does, and :class:`SignatureError`: ``sig-typ`` signed
    as another kind of statement; ``sig-duplicate`` one key twice; ``sig-alg`` another algorithm than the key's;
    ``sig-length``, ``sig-invalid`` from the key.
    """
    parsed = peek(raw, max_signatures=max_signatures)
    kids: list[str] = []
    # All headers first: the cheap reasons to refuse come before any arithmetic.
    for index, header in enumerate(parsed.unverified_headers):
        if header.typ != typ:
            raise SignatureError("sig-typ", f"signed as {header.typ}, expected {typ}", f"/signatures/{index}")
        if header.kid in kids:
            raise SignatureError("sig-duplicate", "one key signed twice", f"/signatures/{index}")
        kids.append(header.kid)
    for index, (header, (message, signature)) in enumerate(
        zip(parsed.unverified_headers, parsed.unverified_signatures, strict=True)
    ):
        key = key_of(header.kid)
        if header.alg != key.alg:
            raise SignatureError(
                "sig-alg", f"says {header.alg}, the key is for {key.alg}", f"/signatures/{index}"
            )
        key.verify(message, signature)
    return Signed(parsed.unverified_payload, tuple(kids))


def _part(member: Any, tail: bytes, pointer: str) -> tuple[Header, bytes, bytes]:
    if not isinstance(member, dict) or member.keys() != _SIGNATURE_MEMBERS:
        raise MalformedError(
            "jws-form", "a signature has the members protected and signature and no other", pointer
        )
    protected = member["protected"]
    if not isinstance(protected, str) or len(protected) > _MAX_HEADER_TEXT:
        raise MalformedError(
            "jws-header", "the protected header is no text, or too long", f"{pointer}/protected"
        )
    header = _header(protected, f"{pointer}/protected")
    signature = _decode(member["signature"], f"{pointer}/signature")
    return header, protected.encode("ascii") + tail, signature


@lru_cache(maxsize=1024)  # a key signs with the same header every time; bounded, and the texts are short
def _header(protected: str, pointer: str) -> Header:
    members = strictjson.loads(_decode(protected, pointer))
    if not isinstance(members, dict) or members.keys() != _HEADER_MEMBERS:
        raise MalformedError("jws-header", "the protected header is exactly alg, kid and typ", pointer)
    alg, kid, typ = members["alg"], members["kid"], members["typ"]
    if alg not in ALGORITHMS:
        raise MalformedError("jws-alg", f"the algorithm is none of {', '.join(ALGORITHMS)}", pointer)
    if not isinstance(kid, str) or len(kid) != 43 or len(_decode(kid, pointer, "jws-kid")) != 32:
        raise MalformedError("jws-kid", "kid is not a SHA-256 thumbprint (RFC 7638)", pointer)
    if not isinstance(typ, str) or typ not in TYPES:
        raise MalformedError("jws-header", "typ names no kind of statement of this protocol", pointer)
    return Header(alg, kid, typ)


@lru_cache(maxsize=1024)
def _protected(alg: str, kid: str, typ: str) -> str:
    return base64url.encode(strictjson.dumps({"alg": alg, "kid": kid, "typ": typ}))


def _decode(text: Any, pointer: str, code: str = "jws-encoding") -> bytes:
    if not isinstance(text, str):
        raise MalformedError(code, "must be a base64url string", pointer)
    try:
        return base64url.decode(text)
    except ValueError as error:
        raise MalformedError(code, str(error), pointer) from None
