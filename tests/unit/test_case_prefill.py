"""Drafts are filled in from the case, and say nothing that the case knows otherwise."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from kpmsg.documents import ConfirmationRequest, ImportConfirmation, Withdrawal
from tests.conversation import START, Desk, codes, shipment


def pair() -> tuple[Desk, Desk]:
    exporter, importer = Desk("BW"), Desk("AE")
    importer.hear(exporter.tell(shipment()))
    return exporter, importer


def confirmed(desk: Desk, hours: float, changes: dict[str, Any] | None = None) -> ImportConfirmation:
    data = desk.say("import-confirmation", hours, changes).data
    assert isinstance(data, ImportConfirmation)
    return data


def test_goods_arrived_on_the_day_of_the_arrival_notice_and_not_when_they_were_confirmed() -> None:
    _, importer = pair()
    expires = importer.case().expires
    assert expires is not None
    hours = (expires - START.date()).days * 24
    importer.say("arrival-notice", hours, {"/place": "Dubai"})
    data = confirmed(importer, hours + 72)
    assert data.date_of_arrival == expires
    assert data.date_of_receipt == data.date_of_verification == expires + timedelta(days=3)
    assert importer.may_say(importer.file[-1]) == []
    assert "late" not in importer.case().flags


def test_a_second_confirmation_keeps_the_days_of_the_first() -> None:
    _, importer = pair()
    first = confirmed(importer, 24, {"/outcome": "detained"})
    second = confirmed(importer, 24 * 30)
    assert (second.date_of_arrival, second.date_of_receipt) == (first.date_of_arrival, first.date_of_receipt)
    assert second.date_of_verification == START.date() + timedelta(days=30)


def test_that_nothing_was_received_tells_no_day_of_arrival() -> None:
    _, importer = pair()
    nothing = {"/outcome": "not_received", "/found": {"parcels": 0, "carats": "0.00", "lines": []}}
    confirmed(importer, 24, nothing)
    assert confirmed(importer, 48).date_of_arrival == START.date() + timedelta(days=2)


@pytest.mark.parametrize(
    ("measure", "outcome"),
    [
        (None, "refused_returned"),
        ("returned", "refused_returned"),
        ("seized", "seized"),
        ("none", "confirmed"),
    ],
)
def test_what_was_returned_or_seized_is_not_confirmed_as_notified(measure: str | None, outcome: str) -> None:
    exporter, importer = pair()
    if measure is None:
        importer.say("return-notice", 24, {"/reason": "Refused."})
    else:
        found = {"/irregularities": ["weight"], "/description": "Too light.", "/measure": measure}
        importer.say("irregularity-notice", 24, found)
    assert confirmed(importer, 48).outcome == outcome
    importer.file.pop()
    importer.hear(exporter.say("cancellation", 50))
    despite = confirmed(importer, 60)
    assert despite.outcome == ("arrived_despite_cancellation" if outcome == "confirmed" else outcome)
    assert importer.may_say(importer.file[-1]) == []


def test_a_reminder_names_the_day_that_the_work_list_names() -> None:
    exporter, importer = pair()
    exporter.hear(importer.say("arrival-notice", 24, {"/place": "Dubai", "/decision_expected": "2026-05-20"}))
    (due,) = [matter.due for matter in exporter.case().matters if matter.kind == "confirmation"]
    assert due == date(2026, 5, 20)
    early = exporter.say("confirmation-request", 24 * 10).data
    assert isinstance(early, ConfirmationRequest)
    assert (early.due, early.days_overdue) == (due, None)
    late = exporter.say("confirmation-request", 24 * 90).data
    assert isinstance(late, ConfirmationRequest)
    assert (late.due, late.days_overdue) == (due, (START.date() + timedelta(days=90) - due).days)


def test_a_reminder_names_no_day_where_none_is_due() -> None:
    exporter, importer = pair()
    exporter.hear(importer.say("discrepancy-query", 24, {"/doubts/0/found": "11.00"}))
    request = exporter.say("confirmation-request", 24 * 90).data
    assert isinstance(request, ConfirmationRequest)
    assert (request.due, request.days_overdue) == (None, None)


def test_a_corrected_confirmation_is_withdrawn_by_withdrawing_its_correction() -> None:
    _, importer = pair()
    importer.say("import-confirmation", 5)
    correction = importer.say("confirmation-correction", 6, {"/content/remarks": "Of two days."})
    withdrawal = importer.say("withdrawal", 7, {"/reason": "Another certificate."})
    assert isinstance(withdrawal.data, Withdrawal)
    assert withdrawal.data.withdraws == correction.id
    assert codes(importer.may_say(withdrawal)) == {}
