"""Base64url without padding (RFC 4648 section 5, RFC 7515 section 2), in its one canonical spelling.

Python's decoders skip characters they do not know and ignore the unused bits of the last one, so that many texts stand
for the same bytes. Here one byte string has exactly one text; every other text is a :class:`ValueError`.
"""

import binascii

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_PADDING = {0: b"", 2: b"==", 3: b"="}
# With two characters left over, four bits of the second are unused; with three, two bits of the third.
_LAST = {
    0: None,
    2: frozenset("AQgw"),
    3: frozenset("AEIMQUYcgkosw048"),
}


def encode(data: bytes) -> str:
    """Return the unpadded text for ``data``."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of ``text``; raise ValueError unless it is exactly what :func:`encode` would have written."""
    left_over = len(text) % 4
    if left_over == 1:
        raise ValueError("not base64url: impossible length")
    last = _LAST[left_over]
    if last is not None and text[-1] not in last:
        raise ValueError("not base64url: unused bits are set")
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("not base64url: outside ASCII") from None
    if raw.translate(None, _ALPHABET):
        raise ValueError("not base64url: padding, white space or the other alphabet")
    return binascii.a2b_base64(raw.translate(_TO_STANDARD) + _PADDING[left_over])
