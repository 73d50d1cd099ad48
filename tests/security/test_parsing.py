"""The security catalogue, part A: what a hostile payload may try. Each test bears its catalogue number.

The vectors under ``protocol/vectors`` hold the same attacks as data for every implementation; here they are asserted through
the door that a partner's bytes really use: truly signed, so that nothing but the parser stands in the way.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from kpmsg import documents, strictjson
from kpmsg.errors import DraftError, KpmsgError, MalformedError
from tests.security.test_signatures import OWN, opened, signed
from tests.vectors.generate import altered, payload


def refusal(document: dict[str, Any] | bytes) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(KpmsgError) as caught:
        opened(signed(raw, OWN))
    assert isinstance(caught.value, MalformedError)
    return caught.value.code


def breach(document: dict[str, Any]) -> set[str]:
    """A signed document that parses and breaks a rule: registered, then rejected with these codes."""
    verified = opened(signed(json.dumps(document).encode(), OWN))
    return {problem.code for problem in documents.breaches(verified.document) if problem.severity == "reject"}


def test_S01_duplicate_key() -> None:
    sound = strictjson.dumps(payload())
    for double in (b'{"source":"ZA",', b'{"s\\u006furce":"BW",'):
        assert refusal(double + sound[1:]) == "json-duplicate-key"
    assert refusal(sound.replace(b'"carats":', b'"carats":"1.00","carats":', 1)) == "json-duplicate-key"


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_S03_no_finite_number(token: str) -> None:
    assert (
        refusal(strictjson.dumps(payload()).replace(b'"parcels":1', f'"parcels":{token}'.encode()))
        == "json-number"
    )


@pytest.mark.parametrize("value", [1200.5, 1.0, 1e3])
def test_S04_float_for_a_decimal_string(value: float) -> None:
    assert refusal(altered("data/carats", value)) == "json-number"
    assert refusal(altered("data/carats", 1200)) == "document-type"


@pytest.mark.parametrize(
    "text",
    [
        "1_000.00",
        "１２.50",
        " 1.00",
        "1.00 ",
        "+1.00",
        "-1.00",
        "1e5",
        "1.000",
        "1.5",
        "1",
        "1.00\n",
        "01.00",
        "",
    ],
)
def test_S05_decimal_spelling(text: str) -> None:
    assert refusal(altered("data/carats", text)) == "document-format"
    assert refusal(altered("data/lines/0/value_usd", text)) == "document-format"


@pytest.mark.parametrize("digits", ["9007199254740992", "-9007199254740992", "9" * 17, "9" * 5000])
def test_S06_integer_beyond_2_53(digits: str) -> None:
    assert (
        refusal(strictjson.dumps(payload()).replace(b'"parcels":1', f'"parcels":{digits}'.encode()))
        == "json-number"
    )


def test_S08_characters() -> None:
    for character in ("\x00", "\x1b", "\x7f", "\x85", "\x9b", "\ufffe", "\ud800", "\r"):
        assert refusal(altered("data/importer/name", f"A{character}B")) == "json-character"
    for character in ("\u202e", "\u200b", "\u2066", "\ufeff"):
        assert refusal(altered("data/certificate/number_raw", f"BW01{character}2345")) == "document-format"
        kept = opened(signed(strictjson.dumps(altered("data/importer/name", f"A{character}B")), OWN))
        assert f"A{character}B".encode() in kept.payload  # free text is kept; who shows it neutralises it


@pytest.mark.parametrize(
    "address", ["ВЕ", "be", "BE\n", "B", "BEL", "ＢＥ", "BE/", "BE/Antwerp", "BE/../AE", ""]
)
def test_S09_homoglyphs_and_case_in_addresses(address: str) -> None:
    assert refusal(payload(source=address)) == "document-format"
    assert refusal(payload(recipient=address)) == "document-format"


@pytest.mark.parametrize(
    "data", [b"[" * 3000, b'{"a":' * 3000, b"[" * 65_000, b"[" + b"0," * 999_999 + b"0]"]
)
def test_S10_depth_and_breadth(data: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(MalformedError) as caught:
        strictjson.loads(data)
    spent = time.perf_counter() - started
    assert caught.value.code in {"json-depth", "json-size"}
    assert spent < 1  # a matter of milliseconds; this only tells it from an explosion


def test_S11_size() -> None:
    body = strictjson.dumps(payload())
    fits = body[:-1] + b" " * (65_536 - len(body)) + b"}"
    assert opened(signed(fits, OWN)).payload == fits
    assert refusal(body[:-1] + b" " * (65_537 - len(body)) + b"}") == "jws-size"


@pytest.mark.parametrize("tail", [b"{}", b"x", b"\x00", b" null", b","])
def test_S12_trailing_bytes(tail: bytes) -> None:
    assert refusal(strictjson.dumps(payload()) + tail) in {"json-syntax", "json-character"}


@pytest.mark.parametrize(
    "member", ["specversion", "id", "source", "type", "time", "recipient", "datacontenttype", "data"]
)
@pytest.mark.parametrize("value", [..., None, "", 7, [], {}, True])
def test_S14_missing_and_mistyped_members(member: str, value: Any) -> None:
    assert refusal(altered(member, value)).startswith("document-")


def test_S14_missing_and_mistyped_members_of_data() -> None:
    for member in ("certificate", "date_of_issue", "exporter", "lines", "carats", "value_usd", "parcels"):
        values: list[Any] = [..., None, "", [], {}, True]
        for value in values:
            assert refusal(altered(f"data/{member}", value)).startswith("document-")


def test_S16_dates() -> None:
    for text in ("2026-02-30", "0001-01-01", "9999-12-31", "2026-3-1", "2026-03-01T00:00:00Z", "01/03/2026"):
        assert refusal(altered("data/date_of_issue", text)) == "document-format"
    for text in (
        "2026-06-30T23:59:60Z",
        "2026-03-02T09:00:00",
        "2026-03-02T09:00:00+02:00",
        "2026-02-30T00:00:00Z",
    ):
        assert refusal(payload(time=text)) == "document-format"
    assert breach(altered("data/date_of_expiry", "2026-02-01")) == {"C05"}


def test_S17_amounts_beyond_sense() -> None:
    assert "F02" in breach(altered("data/carats", "0.00"))
    assert "F02" in breach(altered("data/carats", "1000000000.00"))
    assert "F02" in breach(altered("data/parcels", 0))
    assert refusal(altered("data/parcels", -1)) == "document-range"
    verified = opened(signed(strictjson.dumps(altered("data/value_usd", "0.00")), OWN))
    assert "F02" in {problem.code for problem in documents.breaches(verified.document)}


@pytest.mark.parametrize("name", ["Joaill\u00e9rie", "Joaille\u0301rie"])
def test_S18_normal_forms_are_kept_byte_for_byte(name: str) -> None:
    verified = opened(signed(strictjson.dumps(altered("data/importer/name", name)), OWN))
    assert name.encode() in verified.payload
    assert name == json.loads(verified.payload)["data"]["importer"]["name"]


def test_S20_line_breaks_never_reach_a_name_or_a_message() -> None:
    assert refusal(altered("data/importer/name", "A\nlevel=error forged")) == "document-format"
    assert refusal(altered("data/importer/name", "A\r\nforged")) == "json-character"
    for raw in (b'{"a\\nb":1,"a\\nb":2}', b'["x\ny"]'):
        with pytest.raises(MalformedError) as caught:
            strictjson.loads(raw)
        assert "\n" not in str(caught.value)


def test_S21_compressed_bytes() -> None:
    assert refusal(b"\x1f\x8b\x08\x00\x00") == "json-encoding"


def test_drafts_are_told_where_they_go_wrong() -> None:
    """The same rules for our own clerk's draft: a DraftError with a pointer, not a refusal."""
    whole = altered("data/carats", "1e5")
    draft = {member: whole[member] for member in ("type", "recipient", "data")}
    verified = opened(signed(strictjson.dumps(payload()), OWN))
    with pytest.raises(DraftError) as caught:
        documents.compose(draft, source="BW", id=verified.document.id, time=verified.document.time)
    assert "/data/carats" in {problem.pointer for problem in caught.value.problems}
