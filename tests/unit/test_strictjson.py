"""Strict JSON: agrees with json where it accepts, refuses with one class of error, never falls over."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmsg import base64url, strictjson
from kpmsg.errors import MalformedError

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
_TOKENS = rb'{ } [ ] " \ \u d800 : , 1 -0 e9 .5 a null NaN'.split()
_PIECES = st.lists(
    st.sampled_from([*_TOKENS, b" ", b"\n", b"\xc3\xa9", b"\xff", b"\x00", b"\xef\xbb\xbf"]), max_size=60
).map(b"".join)


def refusal(data: bytes, **limits: int) -> str:
    with pytest.raises(MalformedError) as caught:
        strictjson.loads(data, **limits)
    return caught.value.code


def outcome(data: bytes) -> tuple[str | None, Any]:
    try:
        return None, strictjson.loads(data)
    except MalformedError as error:
        return error.code, None


@given(st.binary(max_size=300) | _PIECES)
def test_any_bytes_give_a_value_or_a_malformed_error(data: bytes) -> None:
    code, value = outcome(data)
    if code is None:
        assert value == json.loads(data)
    else:
        assert code.startswith("json-")


@given(_VALUES, st.booleans())
def test_agrees_with_json_on_all_it_accepts(value: Any, ascii_only: bool) -> None:
    try:
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8
        return
    code, found = outcome(data)
    assert code in {None, "json-number", "json-character"}
    if code is None:
        assert found == json.loads(data) == value
        assert strictjson.loads(strictjson.dumps(found)) == found


@given(st.integers(0, 40), st.integers(0, 40), st.text(alphabet='[]{}"\\ab', max_size=12))
def test_depth_is_measured_exactly(arrays: int, objects: int, noise: str) -> None:
    text = json.dumps(noise).encode()
    data = b"[" * arrays + b'{"k":' * objects + text + b"}" * objects + b"]" * arrays
    if arrays + objects <= strictjson.MAX_DEPTH:
        assert strictjson.loads(data) == json.loads(data)
    else:
        assert refusal(data) == "json-depth"


@pytest.mark.parametrize("depth", [16, 17, 100, 3000, 30_000])
@pytest.mark.parametrize("pattern", ["[", "[[],", '{"a":', '["]",'])
def test_unclosed_nesting_is_refused_before_the_scanner_recurses(pattern: str, depth: int) -> None:
    code = refusal((pattern * depth).encode(), max_bytes=10**6)
    deepest = depth + pattern.count("[]")
    assert code == ("json-depth" if deepest > strictjson.MAX_DEPTH else "json-syntax")


def test_limits_are_the_callers_choice() -> None:
    assert strictjson.loads(b"[[1]]", max_depth=2) == [[1]]
    assert refusal(b"[[1]]", max_depth=1) == "json-depth"
    assert refusal(b"[]  ", max_bytes=3) == "json-size"
    assert strictjson.loads(b"7", max_depth=0) == 7


def test_hostile_text_is_not_repeated_at_length() -> None:
    key = "k" * 5000
    with pytest.raises(MalformedError) as caught:
        strictjson.loads(json.dumps({key: 1}).replace("}", f',"{key}":2}}').encode())
    assert len(caught.value.text) < 200
    with pytest.raises(MalformedError) as caught:
        strictjson.loads(b"[1." + b"1" * 5000 + b"]")
    assert len(caught.value.text) < 200


def test_both_writers_are_compact_utf8_and_agree() -> None:
    value = {"a": ["é", 1, None, True, '\\"/\n\t\u2028\U0001f48e', -7, {}]}
    assert strictjson.dumps({"a": ["é", 1]}) == '{"a":["é",1]}'.encode()
    assert strictjson.dumps(value) == strictjson.dumps_foreign(value)
    assert strictjson.loads(strictjson.dumps(value)) == value


@pytest.mark.parametrize("value", [float("nan"), Decimal("1.00"), b"bytes", {1, 2}, object()])
def test_what_somebody_else_made_must_be_json(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        strictjson.dumps_foreign({"a": value})


@given(st.binary(max_size=200))
def test_base64url_has_one_text_for_each_byte_string(data: bytes) -> None:
    text = base64url.encode(data)
    assert base64url.decode(text) == data
    assert "=" not in text


@given(st.text(alphabet="AQgwEb-_+/= \nzé", max_size=9))
def test_base64url_refuses_every_other_spelling(text: str) -> None:
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text
