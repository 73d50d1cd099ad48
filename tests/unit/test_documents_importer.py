"""What mostly importing authorities write: each rule of it, the days that time zones allow, and the pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kpmsg.documents import TYPES, breaches, claim, compose, parse
from kpmsg.documents.confirmation_correction import ConfirmationCorrection
from kpmsg.errors import DraftError, Problem
from kpmsg.rules import LANGUAGES, rules, said
from kpmsg.strictjson import loads
from tests.unit.documents_full import DIGEST, FULL, ID, IMPORTERS, OTHER, TIME, copy
from tests.vectors.documents_importer import DATA, EXPORTER, IMPORTER, draft, scenarios

PAGES = Path(__file__).parents[2] / "protocol" / "documents"
WRITTEN = datetime(2026, 3, 20, 9, tzinfo=UTC)
ALONE = re.compile(r"[MNQ][0-9]{2}|I1[1-9]|I22|C20|F15")
"""The rules that these types brought with them, all told from a document alone."""


def rules_about(name: str) -> set[str]:
    return {code for code, rule in rules().items() if name in rule.documents and ALONE.fullmatch(code)}


def problems_of(name: str, *changes: tuple[str, Any], time: datetime = WRITTEN) -> list[Problem]:
    """All problems of the sound draft after the changes, whether it may be signed or not."""
    try:
        document, payload = compose(draft(name, *changes), source=IMPORTER, id=ID, time=time)
    except DraftError as error:
        return list(error.problems)
    assert parse(payload) == document
    return breaches(document)


def broken(name: str, *changes: tuple[str, Any], time: datetime = WRITTEN) -> set[tuple[str, str | None]]:
    return {(problem.code, problem.pointer) for problem in problems_of(name, *changes, time=time)}


@pytest.mark.parametrize("name", DATA)
def test_a_sound_document_breaks_nothing(name: str) -> None:
    assert problems_of(name) == []


@pytest.mark.parametrize("name", DATA)
def test_every_rule_of_a_type_is_broken_by_a_vector(name: str) -> None:
    shown = {
        problem["code"]
        for scenario in scenarios().files.values()
        if scenario["rule"] == name
        for problem in scenario["expect"]["problems"]
    }
    due = rules_about(name)
    if (
        name == "confirmation-correction"
    ):  # of the confirmation's rules, some are enough to see that they hold here
        due -= {"F15", "I16", "I17", "I18", "I19", "I22"}
    assert due <= shown


@pytest.mark.parametrize("name", [*IMPORTERS, "import-confirmation"])
def test_a_page_lists_every_rule_that_is_said_to_be_about_its_type(name: str) -> None:
    listed = set(
        re.findall(r"^\| ([A-Z][0-9]{2}) \|", (PAGES / f"{name}.md").read_text("utf-8"), re.MULTILINE)
    )
    due = rules_about(name)
    if name == "confirmation-correction":  # its page refers to that of the confirmation
        due -= rules_about("import-confirmation")
    assert {code for code in listed if ALONE.fullmatch(code)} == due


@pytest.mark.parametrize(
    ("name", "field", "code"),
    [
        ("arrival-notice", "date_presented", "N01"),
        ("irregularity-notice", "date_found", "M02"),
        ("certificate-query", "date_of_issue", "Q32"),
        ("import-confirmation", "date_of_verification", "I17"),
    ],
)
def test_a_day_is_to_come_only_when_it_has_begun_nowhere(name: str, field: str, code: str) -> None:
    late = datetime(2026, 3, 20, 23, 59, tzinfo=UTC)
    for day, expected in (("2026-03-21", False), ("2026-03-22", True)):
        found = broken(name, (f"/{field}", day), time=late)
        assert ((code, f"/data/{field}") in found) is expected, day


@pytest.mark.parametrize(
    ("name", "field", "code"),
    [("discrepancy-query", "reply_by", "Q26"), ("confirmation-status", "decision_expected", "Q21")],
)
def test_a_day_is_past_only_when_it_is_over_everywhere(name: str, field: str, code: str) -> None:
    early = datetime(2026, 3, 20, 0, 1, tzinfo=UTC)
    for day, expected in (("2026-03-19", False), ("2026-03-18", True)):
        assert ((code, f"/data/{field}") in broken(name, (f"/{field}", day), time=early)) is expected, day


def test_a_correction_says_where_in_its_content_a_rule_is_broken() -> None:
    found = broken(
        "confirmation-correction",
        ("/content/found/lines/0/hs", "7104.20"),
        ("/content/date_of_receipt", ...),
        ("/content/confirmed_by/authority", "IN"),
    )
    assert found == {
        ("F04", "/data/content/found/lines/0/hs"),
        ("I03", "/data/content/date_of_receipt"),
        ("I18", "/data/content/confirmed_by/authority"),
    }


def test_a_correction_that_is_too_early_is_so_at_its_own_time() -> None:
    days = [
        (f"/content/{name}", "2026-03-01")
        for name in ("date_of_arrival", "date_of_receipt", "date_of_verification")
    ]
    early = datetime(2026, 3, 1, tzinfo=UTC)
    assert broken("confirmation-correction", *days, time=early) == {("T02", "/time")}


def test_a_confirmation_of_a_wrong_number_is_no_matter_for_a_correction() -> None:
    with pytest.raises(DraftError) as caught:
        compose(
            draft("confirmation-correction", ("/reason", "wrong_certificate")),
            source=IMPORTER,
            id=ID,
            time=WRITTEN,
        )
    assert caught.value.pointer == "/data/reason"
    [problem] = problems_of("confirmation-correction", ("/content/certificate/number_raw", "BW 000024"))
    assert "Withdraw" in problem.text


def test_what_arrived_despite_a_cancellation_may_say_all_that_was_found() -> None:
    despite = ("/outcome", "arrived_despite_cancellation"), ("/knows_cancellation", DIGEST)
    assert problems_of("import-confirmation", *despite) == []
    assert broken("import-confirmation", *despite, ("/date_of_receipt", ...)) == {
        ("I03", "/data/date_of_receipt")
    }


@pytest.mark.parametrize("outcome", ["detained", "refused_returned", "seized"])
def test_a_cancellation_may_be_known_to_those_who_let_nothing_in(outcome: str) -> None:
    assert problems_of("import-confirmation", ("/outcome", outcome), ("/knows_cancellation", DIGEST)) == []


def test_a_query_may_show_that_notification_and_paper_differ() -> None:
    doubt = {"field": "carats", "notified": "2754.70", "certificate": "2719.02", "found": "2719.02"}
    assert problems_of("discrepancy-query", ("/doubts/0", doubt)) == []


def test_a_certificate_query_may_go_to_any_authority_of_the_issuer() -> None:
    asked = copy(
        draft("certificate-query", ("/certificate/number_raw", "EC 1"), ("/certificate/issuer", "EU"))
    )
    asked["recipient"] = "EU/lisbon"
    document, _ = compose(asked, source="EU/antwerp", id=ID, time=WRITTEN)
    assert breaches(document) == []


def test_a_return_under_a_certificate_of_an_authority_with_several_prefixes() -> None:
    back = draft("return-notice", ("/under", "new_certificate"), ("/returned_under", "HK 17"))
    document, _ = compose(back, source="CN/hk", id=ID, time=WRITTEN)
    assert breaches(document) == []


def test_a_message_may_be_about_nothing_and_then_has_no_subject() -> None:
    bare = {
        "type": "message",
        "recipient": EXPORTER,
        "data": {"title": "Holidays", "text": "We are closed on Friday."},
    }
    document, _ = compose(bare, source=IMPORTER, id=ID, time=WRITTEN)
    assert (document.subject, breaches(document), claim(document)) == (None, [], None)


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_claims(name: str) -> None:
    author, full = FULL[name]
    document, _ = compose(full, source=author, id=ID, time=TIME)
    assert claim(document, "BW12345") == {
        "arrival-notice": "arrival-notice:BW12345",
        "confirmation-correction": f"confirmation-correction:BW12345:{OTHER}",
        "confirmation-status": f"confirmation-status:BW12345:{OTHER}",
        "return-notice": "return-notice:BW12345",
    }.get(name)


def test_problems_are_said_in_every_language_with_what_was_found() -> None:
    for scenario in scenarios().files.values():
        for problem in problems_in(scenario):
            for language in LANGUAGES:
                text = said(problem, language)
                assert text, problem
                assert "{" not in text, problem
                for _, fact in problem.facts:
                    assert fact in text, (problem, language)
            assert said(problem, "en") == problem.text


def problems_in(scenario: dict[str, Any]) -> list[Problem]:
    written = datetime.fromisoformat(scenario["time"])
    try:
        document, _ = compose(
            loads(scenario["input"]["text"].encode()), source=scenario["source"], id=ID, time=written
        )
    except DraftError as error:
        return list(error.problems)
    return breaches(document)


def test_the_sample_of_a_correction_is_a_confirmation_within_another() -> None:
    document, _ = compose(draft("confirmation-correction"), source=IMPORTER, id=ID, time=WRITTEN)
    assert isinstance(document.data, ConfirmationCorrection)
    assert document.data.content.name == "import-confirmation"
    assert TYPES[document.type] is ConfirmationCorrection
