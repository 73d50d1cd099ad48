"""The documents that mostly an exporting authority writes: what each claims, and which rules it breaks by itself.

One file for each way of breaking a rule is in `protocol/vectors/documents`; here is what those files cannot show.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmsg.documents import Alert, ExportAmendment, breaches, claim, compose, parse
from kpmsg.documents.alert import NumberRange
from kpmsg.errors import DraftError, MalformedError, Problem
from kpmsg.policy.numbers import series_of
from kpmsg.rules import LANGUAGES, rules, said
from kpmsg.strictjson import dumps, loads
from tests.schemas.generate import FOLDER
from tests.unit.documents_full import DIGEST, EXPORT_NOTIFICATION, FULL, ID, OTHER, TIME, copy

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors" / "documents"
TYPES = (
    "export-amendment",
    "cancellation",
    "confirmation-request",
    "discrepancy-response",
    "technical-certificate-notice",
    "certificate-answer",
    "alert",
    "transit-notice",
    "withdrawal",
)
CODES = re.compile(r"A1[1-7]|C1[1-3]|Q0[1-6]|Q1[1-3]|L0[1-7]|T0[5-8]|W01")


def broken(name: str, **changes: Any) -> list[Problem]:
    """What a receiver finds in the full document of a type after changes of its data; `...` takes a member away."""
    author, draft = FULL[name]
    _, payload = compose(draft, source=author, id=ID, time=TIME)
    document = loads(payload)
    document["data"] = {k: v for k, v in (document["data"] | changes).items() if v is not ...}
    return breaches(parse(dumps(document)))


def codes(problems: list[Problem]) -> set[tuple[str, str, str]]:
    return {(p.code, p.severity, p.pointer or "") for p in problems}


def problems_of(scenario: dict[str, Any]) -> list[Problem]:
    """Every rule that a vector's draft breaks."""
    draft, time = loads(scenario["input"]["text"].encode()), datetime.fromisoformat(scenario["time"])
    try:
        document, _ = compose(draft, source=scenario["source"], id=ID, time=time)
    except DraftError as error:
        return list(error.problems)
    return breaches(document)


@pytest.fixture(scope="module")
def found() -> list[tuple[str, Problem]]:
    """Each problem of each vector about one of these types, with the type."""
    scenarios = [json.loads(path.read_text()) for path in sorted(VECTORS.iterdir())]
    return [(s["rule"], problem) for s in scenarios if s["rule"] in TYPES for problem in problems_of(s)]


def test_there_is_a_vector_for_each_way_of_breaking_each_rule(found: list[tuple[str, Problem]]) -> None:
    ours = [rule for code, rule in rules().items() if CODES.fullmatch(code)]
    assert len(ours) == 31
    due = {(rule.code, variant) for rule in ours for variant in rule.variants}
    assert due <= {(problem.code, problem.variant) for _, problem in found}


def test_a_rule_names_every_type_that_can_break_it(found: list[tuple[str, Problem]]) -> None:
    for name, problem in found:
        types = rules()[problem.code].documents
        assert name in types or types == ("*",), (problem.code, name)


def test_every_problem_is_said_in_five_languages(found: list[tuple[str, Problem]]) -> None:
    for _, problem in found:
        told = {said(problem, language) for language in LANGUAGES}
        assert len(told) == len(LANGUAGES), problem.code
        assert not any("{" in text or "}" in text for text in told), problem.code


@pytest.mark.parametrize("name", TYPES)
def test_a_page_lists_the_rules_that_name_its_type(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    listed = set(re.findall(r"^\| ([A-Z][0-9]{2}) \|", text, re.MULTILINE))
    ours = {code for code, rule in rules().items() if CODES.fullmatch(code) and name in rule.documents}
    assert ours <= listed
    assert all(name in rules()[code].documents for code in listed)


@pytest.mark.parametrize("name", TYPES)
def test_a_full_document_may_be_signed(name: str) -> None:
    author, draft = FULL[name]
    document, _ = compose(draft, source=author, id=ID, time=TIME)
    assert not [problem for problem in breaches(document) if problem.severity == "reject"]
    assert document.data is not None
    assert document.data.always_released == document.data.broadcast == (name == "alert")


@pytest.mark.parametrize(
    ("name", "due"),
    [
        ("export-amendment", f"export-amendment:BW012345:{DIGEST}"),
        ("cancellation", f"cancellation:BW012345:{DIGEST}"),
        ("confirmation-request", f"confirmation-request:BW012345:{DIGEST}:2"),
        ("discrepancy-response", None),
        ("technical-certificate-notice", "export-notification:BW012345"),
        ("certificate-answer", f"certificate-answer:BW012345:{DIGEST}"),
        ("alert", None),
        ("transit-notice", None),
        ("withdrawal", f"withdrawal:{DIGEST}"),
    ],
)
def test_what_is_claimed(name: str, due: str | None) -> None:
    author, draft = FULL[name]
    assert claim(compose(draft, source=author, id=ID, time=TIME)[0]) == due


def test_a_technical_notice_and_a_notification_of_one_number_exclude_one_another() -> None:
    first = compose(EXPORT_NOTIFICATION, source="BW", id=ID, time=TIME)[0]
    second = compose(FULL["technical-certificate-notice"][1], source="BW", id=ID, time=TIME)[0]
    assert claim(first) == claim(second)


# --- amendments ----------------------------------------------------------------------------------------------------


def test_every_fault_of_a_notification_is_told_inside_an_amendment_but_that_it_is_late() -> None:
    content = copy(EXPORT_NOTIFICATION["data"])
    content |= {
        "date_of_sealing": "2026-02-01",
        "parcels": 0,
        "date_of_expiry": "2026-03-01",
        "value_usd": "0.00",
    }
    content["destination"]["participant"] = "ZA"
    content["lines"][0] |= {"hs": "7102.39", "origin": {"kind": "single", "country": "XX"}}
    notified = copy(EXPORT_NOTIFICATION) | {"data": content}
    with pytest.raises(DraftError) as alone:
        compose(notified, source="BW", id=ID, time=TIME)
    inside = codes(broken("export-amendment", content=content))
    assert "T01" in {problem.code for problem in alone.value.problems}
    assert inside == {
        (p.code, p.severity, (p.pointer or "").replace("/data", "/data/content", 1))
        for p in alone.value.problems
        if p.code != "T01"
    }
    assert len(inside) > 7


@pytest.mark.parametrize(
    "pointer",
    ["", "/lines/2/origin/zone", "/invoice", "/batch_number", "/containers/seal_numbers/1", "/replaces"],
)
def test_a_place_of_change_may_be_there_or_left_out(pointer: str) -> None:
    content = {k: v for k, v in EXPORT_NOTIFICATION["data"].items() if k not in {"batch_number", "replaces"}}
    found = broken("export-amendment", content=content, changed=[pointer])
    assert "A12" not in {problem.code for problem in found}


@pytest.mark.parametrize(
    "pointer",
    [
        "/",
        "/lines/3",
        "/lines/00",
        "/lines/-",
        "/lines/\u00b2",
        "/carats/0",
        "/subject",
        "/colour",
        "/breaches",
        "/x~1y",
    ],
)
def test_a_place_that_is_none_is_warned_of_and_no_more(pointer: str) -> None:
    found = [
        problem
        for problem in broken("export-amendment", changed=["/carats", pointer])
        if problem.code == "A12"
    ]
    assert [(p.severity, p.variant, p.pointer) for p in found] == [("warn", "nowhere", "/data/changed/1")]


def test_a_field_of_a_later_version_stays_in_an_amendment_we_can_read() -> None:
    content = EXPORT_NOTIFICATION["data"] | {"laboratory": "Gaborone"}
    found = broken("export-amendment", content=content, changed=["/laboratory"])
    assert [p.severity for p in found if p.code == "A12"] == ["warn"]
    assert not [p for p in found if p.severity == "reject"]


def test_the_content_of_an_amendment_is_a_whole_notification() -> None:
    author, draft = FULL["export-amendment"]
    document, payload = compose(draft, source=author, id=ID, time=TIME)
    assert isinstance(document.data, ExportAmendment)
    notification, _ = compose(EXPORT_NOTIFICATION, source=author, id=ID, time=TIME)
    assert document.data.content == notification.data
    cut = loads(payload)
    del cut["data"]["content"]["lines"]
    with pytest.raises(MalformedError) as caught:
        parse(dumps(cut))
    assert caught.value.pointer == "/data/content/lines"


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"knows_confirmation": DIGEST}, {"/data/knows_confirmation"}),
        ({"outcome_of": DIGEST}, {"/data/outcome_of"}),
        ({"outcome_of": OTHER}, {"/data/outcome_of"}),
        ({"outcome_of": ..., "knows_confirmation": None}, set()),
        (
            {"outcome_of": DIGEST, "knows_confirmation": DIGEST},
            {"/data/knows_confirmation", "/data/outcome_of"},
        ),
    ],
)
def test_one_id_is_not_named_as_two_documents(changes: dict[str, Any], pointers: set[str]) -> None:
    found = broken("export-amendment", **changes)
    assert {problem.pointer for problem in found if problem.code == "A15"} == pointers


# --- requests, answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [True, 0, 4, "1", None])
def test_there_are_three_levels_and_true_is_none_of_them(level: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        broken("confirmation-request", level=level)
    assert caught.value.pointer == "/data/level"


@pytest.mark.parametrize(
    ("due", "days", "well"),
    [("2026-03-01", 1, True), ("2026-03-01", 3, True), ("2026-03-01", 4, False), ("2026-03-01", 0, False),
     ("2026-03-09", 0, True), ("2026-03-09", 2, False), ("2000-01-01", 9558, True)],
)  # fmt: skip
def test_a_day_more_or_less_overdue_is_the_hour_of_the_day(due: str, days: int, well: bool) -> None:
    found = broken("confirmation-request", level=1, due=due, days_overdue=days)
    assert ("Q01" in {problem.code for problem in found}) is not well


def test_a_response_is_asked_about_each_answer_in_turn() -> None:
    answers = [
        {"field": "carats", "verdict": "correct_to"},
        {"field": "carats", "verdict": "original_stands", "corrected": "1.00"},
        {"field": "hs", "verdict": "investigating", "corrected": "7102.10"},
        {"field": "carats", "verdict": "original_stands"},
    ]
    assert codes(broken("discrepancy-response", answers=answers, instruction="accept")) == {
        ("Q05", "reject", "/data/answers/0/corrected"),
        ("Q04", "reject", "/data/answers/1/field"),
        ("Q05", "reject", "/data/answers/1/corrected"),
        ("Q05", "warn", "/data/answers/2/corrected"),
        ("Q04", "reject", "/data/answers/3/field"),
        ("Q06", "warn", "/data/instruction"),
    }


@pytest.mark.parametrize(
    "finding",
    ["matches", "unknown", "not_this_office", "void", "replaced", "lost", "stolen", "issued_to_another"],
)
def test_no_other_finding_tells_which_facts_differ(finding: str) -> None:
    found = broken("certificate-answer", finding=finding)
    assert ("Q11", "reject", "/data/differing") in codes(found)


# --- alerts --------------------------------------------------------------------------------------------------------


def alert(*numbers: tuple[str, str | None]) -> Alert:
    entries = [{"first": first} | ({"last": last} if last else {}) for first, last in numbers]
    author, draft = FULL["alert"]
    draft = {k: v for k, v in draft.items() if k != "subject"} | {
        "data": draft["data"] | {"numbers": entries}
    }
    document, _ = compose(draft, source=author, id=ID, time=datetime(2026, 3, 3, tzinfo=UTC))
    assert isinstance(document.data, Alert)
    return document.data


@given(st.integers(0, 999_999), st.integers(0, 9_999), st.integers(0, 1_009_999))
def test_a_range_covers_the_numbers_from_its_first_to_its_last(first: int, more: int, asked: int) -> None:
    last = min(first + more, 999_999)
    said_of = alert((f"BW {first:06}", f"bw-{last:06}"))
    assert said_of.covers(f"BW{asked:06}") == (first <= asked <= last)
    assert not said_of.covers(f"BW{asked:07}")
    assert not said_of.covers(f"EU{asked:06}")


def test_numbers_of_another_spelling_are_other_numbers() -> None:
    said_of = alert(("BW 0012", None), ("BW A", None), ("BW 2026/A 7", "BW 2026/A 9"))
    assert [key for key in ("BW0012", "BW12", "BW00012", "BWA", "BWA0", "BW2026A8", "BW2026B8", "7", "X" * 64)
            if said_of.covers(key)] == ["BW0012", "BWA", "BW2026A8"]  # fmt: skip


@given(st.from_regex(r"\A[A-Z]{2}[A-Z0-9]{1,20}[0-9]\Z"))
def test_an_alert_takes_numbers_apart_as_everybody_else_does(key: str) -> None:
    span = NumberRange(first=key).span
    assert span is not None
    assert span[:2] == series_of(key)


@pytest.mark.parametrize(
    ("numbers", "due"),
    [
        (
            [{"first": "BW 1", "last": "BW 9"}, {"first": "BW 9", "last": "BW 8"}],
            {("L03", "reject", "/data/numbers/1/last")},
        ),
        ([{"first": "BW 1", "last": "BW 5"}, {"first": "BW 6", "last": "BW 9"}], set()),
        ([{"first": "BW 1", "last": "BW 5"}, {"first": "BW 05"}], set()),
        (
            [{"first": "BW 4"}, {"first": "BW 1", "last": "BW 5"}, {"first": "BW 5"}],
            {("L05", "warn", "/data/numbers/1"), ("L05", "warn", "/data/numbers/2")},
        ),
        (
            [{"first": f"BW {n}000000", "last": f"BW {n}499999"} for n in (1, 2, 3)],
            {("L04", "reject", "/data/numbers")},
        ),
        ([{"first": "BW " + "0" * 18, "last": "BW " + "9" * 18}], {("L04", "reject", "/data/numbers")}),
        (
            [{"first": "BW 1" + "0" * 18, "last": "BW 2" + "0" * 18}],
            {("L03", "reject", "/data/numbers/0/last")},
        ),
    ],
)
def test_ranges_are_counted_together(numbers: list[dict[str, str]], due: set[tuple[str, str, str]]) -> None:
    assert codes(broken("alert", numbers=numbers)) - {("L07", "warn", "/subject")} == due


@pytest.mark.parametrize("subject", ["7", "BW", "Z" * 64, "BW012339", "BW12345"])
def test_an_alert_is_filed_with_one_of_its_numbers(subject: str) -> None:
    author, draft = FULL["alert"]
    document, _ = compose(draft | {"subject": subject}, source=author, id=ID, time=TIME)
    assert codes(breaches(document)) == {("L07", "warn", "/subject")}


# --- the others ----------------------------------------------------------------------------------------------------


def test_one_authority_of_several_speaks_for_the_numbers_of_its_participant() -> None:
    for name in ("cancellation", "transit-notice"):
        draft = copy(FULL[name][1]) | {"recipient": "AE"}
        draft["data"]["certificate"] = {"number_raw": "EC 0017", "issuer": "EU", "kind": "kp"}
        draft["data"].pop("replaced_by", None)
        draft["data"] |= {"reason": "void"} if name == "cancellation" else {"destination": "BW"}
        document, _ = compose(draft, source="EU/lisbon", id=ID, time=TIME)
        assert codes(breaches(document)) == set()


def test_transit_within_the_recipients_participant_is_arrival() -> None:
    draft = copy(FULL["transit-notice"][1]) | {"recipient": "EU/lisbon"}
    with pytest.raises(DraftError) as caught:
        compose(draft, source="BW", id=ID, time=TIME)
    assert [(p.code, p.pointer) for p in caught.value.problems] == [("T06", "/data/destination")]


@pytest.mark.parametrize(
    ("reason", "well"),
    [
        ("-", False),
        ("...", False),
        ("x", False),
        ("\u2014 \n ?", False),
        ("\u7b14\u8bef", True),
        ("Ошибка", True),
        ("PI", True),
    ],
)
def test_a_reason_says_something_in_any_script(reason: str, well: bool) -> None:
    assert (broken("withdrawal", reason=reason) == []) is well
