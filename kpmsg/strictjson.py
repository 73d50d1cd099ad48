"""Strict JSON: the one door through which JSON from outside becomes Python objects.

Python's own parsers forgive what two authorities must not read differently: they keep the last of two equal keys,
take ``NaN``, floats and numbers of any length, UTF-16, a byte order mark and half surrogates, and fall over at great
depth. Here each of these is a :class:`~kpmsg.errors.MalformedError` with its own code:

=====================  =====================================================================================
``json-size``          more bytes than allowed (looked at first, so that nothing large is ever scanned)
``json-encoding``      a byte order mark, or not UTF-8
``json-character``     a control character other than tab and line feed in a string, a half surrogate or a
                       Unicode non-character, plain or written as an escape
``json-depth``         arrays and objects nested too deeply
``json-syntax``        not RFC 8259, or something follows the value
``json-duplicate-key`` one object has a key twice, however it is spelled
``json-number``        a fraction, an exponent, ``-0``, ``NaN``, ``Infinity``, or beyond +-(2^53 - 1)
=====================  =====================================================================================

The module knows nothing of documents; which characters an identifier may contain is decided there. Speed matters, as
every byte from a partner passes here: the C scanner of :mod:`json` does the work, and the costly checks run only when
a cheap look says that they could find something.
"""

import json
import re
from itertools import accumulate
from typing import Any, NoReturn

from pydantic_core import to_json

from kpmsg.errors import MalformedError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1

# JSON's own white space (tab, LF, CR) is let through here: outside strings it means nothing, and inside strings the
# scanner refuses it unescaped. The escaped forms are judged on the parsed strings.
_NON_CHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_FORBIDDEN_IN_TEXT = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_NON_CHARACTERS}]")
_FORBIDDEN_IN_STRING = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_NON_CHARACTERS}]")

_PLAIN_ASCII = b"\t\n\r" + bytes(range(0x20, 0x7F))
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND_OF_BRACKET = bytes.maketrans(b"{}", b"[]")
_STEP = {ord("["): 1, ord("]"): -1}


def loads(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of one JSON text, or raise :class:`MalformedError`. Never raises anything else for bytes."""
    if len(data) > max_bytes:
        raise MalformedError("json-size", f"{len(data)} bytes, more than the {max_bytes} allowed")
    if data.startswith(b"\xef\xbb\xbf"):
        raise MalformedError("json-encoding", "starts with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("json-encoding", f"not UTF-8 at byte {error.start}") from None
    # Deleting what is harmless is the quickest look at ASCII; the rest must be printable or pass the regex.
    harmless = not data.translate(None, _PLAIN_ASCII) if text.isascii() else text.isprintable()
    if not harmless and (found := _FORBIDDEN_IN_TEXT.search(text)):
        raise _character(found)
    if _is_deeper(data, max_depth):  # before the scanner, which recurses
        raise MalformedError("json-depth", f"nested more than {max_depth} levels deep")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedError("json-syntax", f"{error.msg} at character {error.pos}") from None
    except RecursionError:  # a caller already deep in its own stack, or an unbalanced text that hid its depth
        raise MalformedError("json-depth", "nested too deeply") from None
    if "\\" in text:
        _check_strings(value)
    return value


def dumps(value: Any) -> bytes:
    """Return compact UTF-8 JSON of what this program made, or :func:`loads` returned: no checks are repeated."""
    return to_json(value)


def dumps_foreign(value: Any) -> bytes:
    """The same for a value that somebody else made: whatever is no JSON value is a TypeError or ValueError."""
    return _ENCODER.encode(value).encode("utf-8")


def _is_deeper(data: bytes, levels: int) -> bool:
    """Tell whether arrays and objects nest deeper than ``levels``; brackets inside strings do not count.

    Only quotes and brackets are kept, so that a string without brackets becomes an adjacent pair of quotes and goes. If
    any quote stays, some string has brackets, and the strings are cut out properly. Then pairs of brackets are peeled
    off, innermost first, one level a round.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = data.translate(_ONE_KIND_OF_BRACKET, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        outside = b"".join(data.split(b'"')[::2])
        structure = outside.translate(_ONE_KIND_OF_BRACKET, _NOT_STRUCTURE)
    rest = structure
    for _ in range(levels):
        if not rest:
            return False
        peeled = rest.replace(b"[]", b"")
        if len(peeled) == len(rest):
            break
        rest = peeled
    # Something is left: too deep, or unbalanced, which is a matter of syntax. Only now is every bracket counted.
    return bool(rest) and any(depth > levels for depth in accumulate(map(_STEP.__getitem__, structure)))


def _check_strings(value: Any) -> None:
    """Look for forbidden characters that were written as escapes, in keys and values."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if not item.isprintable() and (found := _FORBIDDEN_IN_STRING.search(item)):
                raise _character(found)
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _character(found: re.Match[str]) -> MalformedError:
    return MalformedError("json-character", f"character U+{ord(found[0]):04X} is not allowed")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedError("json-duplicate-key", f"the key {key[:40]!a} stands twice in one object")
            seen.add(key)
    return members


def _integer(digits: str) -> int:
    # The length first: int() of a few thousand digits is slow and then an error of its own.
    if len(digits) > 17 or digits == "-0" or not -MAX_INTEGER <= (number := int(digits)) <= MAX_INTEGER:
        raise MalformedError("json-number", "an integer outside +-(2^53 - 1), or -0")
    return number


def _no_number(token: str) -> NoReturn:
    raise MalformedError("json-number", f"{token[:20]} is not an integer; amounts travel as decimal strings")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_no_number, parse_constant=_no_number
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
