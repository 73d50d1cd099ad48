"""Each rule that a document can break by itself: its code, severity and pointer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kpmsg.documents import breaches, compose, parse
from kpmsg.errors import DraftError
from kpmsg.strictjson import dumps, loads
from tests.unit.documents_full import DRAFTS, ID, TIME, copy

BW, EU = "BW", "EU/antwerp"


def broken(author: str, changes: dict[str, Any]) -> set[tuple[str, str, str]]:
    """The rules that a full document breaks anew after the changes (pointer: value), as a receiver sees them."""
    draft = copy(DRAFTS[author])
    _, payload = compose(draft, source=author, id=ID, time=TIME + timedelta(days=1))
    document = loads(payload)
    before = seen(payload)
    for pointer, value in changes.items():
        here: Any = document
        *steps, last = [int(step) if step.isdigit() else step for step in pointer.split("/")[1:]]
        for step in steps:
            here = here[step]
        if value is ...:
            del here[last]
        else:
            here[last] = value
    return seen(dumps(document)) - before


def seen(payload: bytes) -> set[tuple[str, str, str]]:
    return {(p.code, p.severity, p.pointer or "") for p in breaches(parse(payload))}


@pytest.mark.parametrize(
    ("author", "changes", "expected"),
    [
        (
            BW,
            {"/data/certificate/number_raw": "ZA 1", "/subject": "ZA1"},
            ("C01", "reject", "/data/certificate/number_raw"),
        ),
        (BW, {"/data/certificate/issuer": "ZA"}, ("C01", "reject", "/data/certificate/issuer")),
        (
            BW,
            {"/data/certificate/issuer": "ZA", "/data/certificate/kind": "technical"},
            ("C01", "warn", "/data/certificate/issuer"),
        ),
        (BW, {"/data/date_of_expiry": "2026-03-01"}, ("C05", "reject", "/data/date_of_expiry")),
        (BW, {"/data/date_of_issue": "2026-03-08"}, ("C05", "warn", "/data/date_of_issue")),
        (BW, {"/data/date_of_sealing": "2026-03-02"}, ("T01", "warn", "/data/date_of_sealing")),
        (BW, {"/data/lines/0/hs": "7102.39"}, ("F04", "reject", "/data/lines/0/hs")),
        (BW, {"/data/carats": "1200.01"}, ("F05", "reject", "/data/carats")),
        (BW, {"/data/value_usd": "226687.54"}, ("F05", "reject", "/data/value_usd")),
        (BW, {"/data/value_usd": "226687.53"}, ("F05", "warn", "/data/value_usd")),
        (BW, {"/data/parcels": 5}, ("F06", "warn", "/data/parcels")),
        (BW, {"/data/lines/0/origin/country": "XX"}, ("F07", "reject", "/data/lines/0/origin/country")),
        (
            BW,
            {"/data/lines/1/origin/countries": ["BW", "EU"]},
            ("F07", "reject", "/data/lines/1/origin/countries/1"),
        ),
        (BW, {"/data/lines/0/origin/country": "BE"}, ("F07", "warn", "/data/lines/0/origin/country")),
        (
            BW,
            {"/data/lines/1/origin/countries": ["BW", "BW"]},
            ("F08", "warn", "/data/lines/1/origin/countries"),
        ),
        (
            BW,
            {"/data/lines/0/origin": {"kind": "mixed_undisclosed"}},
            ("F08", "warn", "/data/lines/0/origin"),
        ),
        (BW, {"/data/exporter/country": "ZA"}, ("F11", "warn", "/data/exporter/country")),
        (BW, {"/data/importer/country": "AE"}, ("F11", "warn", "/data/importer/country")),
        (BW, {"/data/destination/participant": "BE"}, ("S03", "reject", "/data/destination/participant")),
        (EU, {"/data/found/lines/0/hs": "7104.20"}, ("F04", "reject", "/data/found/lines/0/hs")),
        (EU, {"/data/found/carats": "1.00"}, ("F05", "reject", "/data/found/carats")),
        (EU, {"/data/found/value_usd": "1.00"}, ("F05", "reject", "/data/found/value_usd")),
        (EU, {"/data/found/value_usd": "226600.01"}, ("F05", "warn", "/data/found/value_usd")),
        (EU, {"/data/found/parcels": 0}, ("F02", "reject", "/data/found/parcels")),
        (EU, {"/data/date_of_receipt": ...}, ("I03", "reject", "/data/date_of_receipt")),
        (EU, {"/data/outcome": "confirmed"}, ("I07", "warn", "/data/outcome")),
        (EU, {"/data/discrepancies": []}, ("I07", "warn", "/data/discrepancies")),
        (EU, {"/data/outcome": "not_received"}, ("I07", "warn", "/data/found")),
        (EU, {"/time": "2026-02-01T00:00:00Z", "/data/date_of_arrival": ...}, ("T02", "warn", "/time")),
        (EU, {"/data/date_of_receipt": "2026-03-04"}, ("T02", "warn", "/data/date_of_receipt")),
    ],
)
def test_one_broken_rule(author: str, changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert broken(author, changes) == {expected}


@pytest.mark.parametrize(
    ("author", "changes", "expected"),
    [
        (BW, {"/data/parcels": 0}, ("F02", "reject", "/data/parcels")),
        (BW, {"/data/carats": "0.00"}, ("F02", "reject", "/data/carats")),
        (BW, {"/data/lines/1/carats": "0.00"}, ("F02", "reject", "/data/lines/1/carats")),
        (BW, {"/data/carats": "1000000000.00"}, ("F02", "reject", "/data/carats")),
        (BW, {"/data/value_usd": "0.00"}, ("F02", "warn", "/data/value_usd")),
        (BW, {"/data/containers/count": 9}, ("F13", "warn", "/data/containers/count")),
        (BW, {"/data/containers/count": 3}, ("F13", "warn", "/data/containers/seal_numbers")),
        (EU, {"/data/found/carats": "0.00"}, ("F02", "reject", "/data/found/carats")),
    ],
)
def test_s17_amounts_of_nothing_and_of_too_much(
    author: str, changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert expected in broken(author, changes)


def test_nothing_found_is_no_fault_where_nothing_came() -> None:
    nothing = {
        "/data/outcome": "not_received",
        "/data/found": {"parcels": 0, "carats": "0.00", "lines": []},
        "/data/date_of_receipt": ...,
    }
    assert broken(EU, nothing) == set()


@pytest.mark.parametrize(
    ("hs", "says"),
    [
        ("7102.29", "worked"),
        ("7102.39", "worked"),
        ("7104.21", "synthetic"),
        ("7102.31.00", '"7102.31"'),
        ("710210", '"7102.10"'),
        ("7103.10", "three codes"),
    ],
)
def test_f04_says_why_a_code_is_not_one_of_the_three(hs: str, says: str) -> None:
    draft = copy(DRAFTS[BW])
    draft["data"]["lines"][0]["hs"] = hs
    with pytest.raises(DraftError) as caught:
        compose(draft, source=BW, id=ID, time=TIME)
    problem = next(p for p in caught.value.problems if p.code == "F04")
    assert says in problem.text


def test_warnings_alone_stop_no_author() -> None:
    document, _ = compose(DRAFTS[BW], source=BW, id=ID, time=TIME)
    assert [(p.code, p.severity) for p in breaches(document)] == [("F08", "warn")]
