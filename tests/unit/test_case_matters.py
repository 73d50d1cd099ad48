"""What is open, and until when: each matter is opened and closed by the documents that say so, and by no others."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.conversation import Desk, shipment

EMPTY = {"/outcome": "not_received", "/found": {"parcels": 0, "carats": "0.00", "lines": []}}
SEALS = {"/irregularities": ["seal_broken"], "/description": "Opened on the way."}


def pair(reply_by: str | None = None) -> tuple[Desk, Desk]:
    exporter, importer = Desk("BW"), Desk("AE")
    draft = shipment()
    draft["data"]["confirmation"] = {"requested": True} | ({"reply_by": reply_by} if reply_by else {})
    importer.hear(exporter.tell(draft))
    return exporter, importer


def open_at(desk: Desk) -> dict[str, date | None]:
    """Kinds and due days of what is open."""
    return {matter.kind: matter.due for matter in desk.case().matters if not matter.dormant}


@pytest.mark.parametrize("promised", [None, "2026-03-20", "2026-06-10"])
def test_an_arrival_notice_does_not_shorten_the_day_that_the_exporter_wished_for(
    promised: str | None,
) -> None:
    _, importer = pair(reply_by="2026-05-20")
    importer.say(
        "arrival-notice", 24, {"/place": "Dubai"} | ({"/decision_expected": promised} if promised else {})
    )
    due = max(date(2026, 5, 20), date.fromisoformat(promised or "2026-01-01"))
    assert open_at(importer) == {"confirmation": due}


@pytest.mark.parametrize("notice", ["return-notice", "returned", "seized"])
def test_a_confirmation_is_owed_after_a_return_or_a_seizure_too(notice: str) -> None:
    exporter, importer = pair()
    if notice == "return-notice":
        said = importer.say(notice, 30, {"/reason": "Refused."})
    else:
        said = importer.say("irregularity-notice", 30, SEALS | {"/measure": notice})
    exporter.hear(said)
    case = exporter.case()
    assert case.state == ("seized" if notice == "seized" else "returned")
    assert case.turn == "importer"
    assert "confirmation" in open_at(exporter)
    outcome = "seized" if notice == "seized" else "refused_returned"
    importer.say("import-confirmation", 40, {"/outcome": outcome})
    assert "confirmation" not in open_at(importer)


def test_a_message_is_no_answer_about_a_certificate() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    certificate = shipment()["data"]["certificate"]
    query = importer.tell(
        {"type": "certificate-query", "recipient": "BW", "data": {"certificate": certificate}}
    )
    exporter.hear(query)
    text = "We shall look into it."
    reply = {"certificate": certificate, "text": text, "in_reply_to": query.id}
    importer.hear(exporter.tell({"type": "message", "recipient": "AE", "data": reply}, 1))
    assert set(open_at(importer)) == set(open_at(exporter)) == {"certificate-query"}
    importer.hear(exporter.answer(query, 2))
    assert "certificate-query" not in open_at(importer)


def test_an_answer_about_a_certificate_does_not_answer_a_message() -> None:
    exporter, importer = pair()
    message = importer.say("message", 1, {"/text": "Is it yours?", "/answer_wanted": True})
    exporter.hear(message)
    certificate = shipment()["data"]["certificate"]
    query = importer.tell(
        {"type": "certificate-query", "recipient": "BW", "data": {"certificate": certificate}}, 2
    )
    exporter.hear(query)
    answer = exporter.answer(query, 3)
    data = answer.document.data.model_dump(mode="json", exclude_none=True)  # type: ignore[union-attr]
    exporter.file.remove(answer)
    exporter.tell({"type": "certificate-answer", "recipient": "AE", "data": data | {"query": message.id}}, 3)
    assert {"message", "certificate-query"} <= set(open_at(exporter))


def test_a_request_is_open_as_long_as_the_confirmation_is_and_no_longer() -> None:
    exporter, importer = pair()
    request = exporter.say("confirmation-request", 24 * 40)
    importer.hear(request)
    assert set(open_at(importer)) == {"confirmation", "request"}
    query = importer.say("discrepancy-query", 24 * 41, {"/doubts/0/found": "11.00"})
    assert set(open_at(importer)) == {"query"}, "the exporter's answer comes first"
    exporter.hear(query)
    importer.hear(exporter.say("discrepancy-response", 24 * 42))
    assert set(open_at(importer)) == {"confirmation", "request"}
    importer.say("import-confirmation", 24 * 43, EMPTY)
    assert set(open_at(importer)) == {"confirmation"}, "it says where the goods are: not there"


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({}, False),
        ({"/seals_intact": "no"}, True),
        ({"/outcome": "refused_returned"}, True),
        ({"/outcome": "confirmed_after_remedy"}, True),
        ({"/outcome": "confirmed_with_discrepancy", "/found/parcels": 99}, True),
        ({"/outcome": "partial", "/found/parcels": 99}, False),
        (EMPTY, False),
    ],
)
def test_what_was_found_irregular_is_to_be_reported(changes: dict[str, Any], *, reported: bool) -> None:
    _, importer = pair()
    confirmation = importer.say("import-confirmation", 30, changes)
    found = {matter.kind: matter for matter in importer.case().matters}
    assert ("irregularity-report" in found) is reported
    if reported:
        assert found["irregularity-report"].whose == ("AE",)
        assert found["irregularity-report"].document == confirmation.id
        importer.say("irregularity-notice", 40, SEALS)
        assert "irregularity-report" not in open_at(importer)


def test_a_shipment_that_was_detained_is_reported_although_the_fault_was_remedied() -> None:
    _, importer = pair()
    importer.say("import-confirmation", 30, {"/outcome": "detained"})
    importer.say("import-confirmation", 60, {"/outcome": "confirmed_after_remedy"})
    assert set(open_at(importer)) == {"irregularity-report"}


def test_parcels_that_were_only_miscounted_by_the_exporter_are_no_irregularity() -> None:
    exporter, importer = pair()
    exporter.hear(importer.say("import-confirmation", 30, {"/found/parcels": 99}))
    doubts = [{"field": "parcels", "notified": "1", "found": "99"}]
    exporter.hear(importer.say("discrepancy-query", 31, {"/doubts": doubts}))
    assert set(open_at(exporter)) == {"query", "irregularity-report"}
    importer.hear(exporter.say("export-amendment", 32, {"/content/parcels": 99}))
    assert "irregularity-report" not in open_at(importer)
