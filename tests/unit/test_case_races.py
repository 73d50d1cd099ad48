"""Every race and conflict that two authorities can get into, each by its name.

`C1` to `C16` are the cases of the conflict table in `protocol/cases.md`, `race_a` to `race_f` its race rules. Each test lets both
sides speak from what they know, and then asks three things: the state has its name, both sides compute it whatever arrived first,
and nothing has been dropped.
"""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from kpmsg.case import State, fold
from kpmsg.case.filling import LEFT_OUT
from kpmsg.case.objections import objections
from kpmsg.case.prefill import prefill
from kpmsg.case.replies import answer_draft
from kpmsg.case.standing import Filed
from kpmsg.documents import parse
from kpmsg.policy import Policy, Practice
from kpmsg.policy.screening import screen
from tests.conversation import START, Desk, codes, shipment, write


def both(*desks: Desk) -> State:
    """The state that all desks agree on, in every order of their documents."""
    found = {desk.case().state for desk in desks}
    assert len(found) == 1, found
    items = desks[0].file
    for other in desks[1:]:
        assert {item.id for item in other.file} == {item.id for item in items}
    orders = itertools.islice(itertools.permutations(items), 150)
    assert {fold("BW000001", order, Practice("BW")) for order in orders} == {desks[0].case()}
    return found.pop()


@pytest.fixture
def desks() -> tuple[Desk, Desk, Filed]:
    """Exporter and importer, both with the notification."""
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    assert importer.hear(notification) == []
    return exporter, importer, notification


Desks = tuple[Desk, Desk, Filed]


# -- the conflict table ------------------------------------------------------------------------------------------------


def test_C1_the_same_document_again_has_no_effect(desks: Desks) -> None:
    exporter, importer, notification = desks
    before = importer.case()
    assert importer.hear(notification, notification) == []
    assert importer.case() == before
    assert both(exporter, importer) is State.NOTIFIED
    assert fold("BW000001", [notification, notification], importer.practice) == before, "a set, however given"


def test_C2_one_number_notified_twice_with_other_content_is_disputed_and_both_are_kept(desks: Desks) -> None:
    exporter, importer, first = desks
    other = shipment(n=7)
    other["data"]["certificate"] = shipment()["data"]["certificate"]
    second = write(other, "BW", START)
    assert codes(exporter.may_say(second)) == {"C04": "reject"}, "its own node does not say it"
    assert codes(importer.hear(second)) == {"C04": "hold"}, (
        "a partner that receives it keeps it and calls an officer"
    )
    exporter.file.append(second)
    assert both(exporter, importer) is State.NOTIFIED_TWICE
    assert set(importer.case().notifications) == {first.id, second.id}
    assert importer.case().turn == "exporter"


def test_C2_is_resolved_by_cancelling_one_of_the_two(desks: Desks) -> None:
    exporter, importer, first = desks
    other = shipment(n=7)
    other["data"]["certificate"] = shipment()["data"]["certificate"]
    second = exporter.tell(other, 1)
    importer.hear(second)
    cancellation = exporter.say("cancellation", 2, {"/cancels": first.id, "/reason": "notified_in_error"})
    importer.hear(cancellation)
    assert both(exporter, importer) is State.NOTIFIED
    assert importer.case().current == second.id


def test_C3_an_amendment_before_the_confirmation_replaces(desks: Desks) -> None:
    exporter, importer, notification = desks
    amendment = exporter.say("export-amendment", 1, {"/content/issuing_authority": "Diamond Hub"})
    assert importer.hear(amendment) == []
    assert both(exporter, importer) is State.NOTIFIED
    case = importer.case()
    assert (case.revision, case.current, case.flags) == (1, amendment.id, ("amended",))
    assert case.notifications == (notification.id,)


def test_C3_an_amendment_of_what_was_released_already_is_rejected(desks: Desks) -> None:
    exporter, importer, _ = desks
    amendment = exporter.say("export-amendment", 5, {"/content/issuing_authority": "Diamond Hub"})
    confirmation = importer.say("import-confirmation", 4)  # crossed: neither knew the other
    problems = importer.hear(amendment)
    assert codes(problems) == {"A08": "reject"}
    exporter.hear(confirmation)
    assert both(exporter, importer) is State.CROSSED_AMENDMENT
    rejection = importer.reject(amendment, problems, 6)
    exporter.hear(rejection)
    assert both(exporter, importer) is State.CONFIRMED
    assert exporter.case().rejected == (amendment.id,)


@pytest.mark.parametrize(("name", "code"), [("export-amendment", "A01"), ("cancellation", "A01")])
def test_C4_what_is_confirmed_is_neither_amended_nor_cancelled(desks: Desks, name: str, code: str) -> None:
    exporter, importer, _ = desks
    confirmation = importer.say("import-confirmation", 4)
    exporter.hear(confirmation)
    changes = {"/content/issuing_authority": "Diamond Hub"} if name == "export-amendment" else {}
    late = exporter.say(name, 8, changes)
    assert codes(exporter.may_say(late)) == {code: "reject"}, "its own node refuses to create it"
    problems = importer.hear(late)
    assert codes(problems) == {code: "reject"}, "and if it is received anyway, it is rejected"
    exporter.hear(importer.reject(late, problems, 9))
    assert both(exporter, importer) is State.CONFIRMED


def test_C5_a_cancellation_that_crosses_a_confirmation_waits_for_both(desks: Desks) -> None:
    exporter, importer, _ = desks
    cancellation = exporter.say("cancellation", 5)
    confirmation = importer.say("import-confirmation", 5)
    assert codes(importer.hear(cancellation)) == {"A02": "hold"}
    assert codes(exporter.hear(confirmation)) == {"I08": "hold"}
    assert both(exporter, importer) is State.CROSSED_CANCELLATION
    case = exporter.case()
    assert (case.turn, case.cancellation, case.confirmations) == ("both", cancellation.id, (confirmation.id,))


@pytest.mark.parametrize(("who", "state"), [("exporter", State.CONFIRMED), ("importer", State.CANCELLED)])
def test_C5_is_resolved_by_whoever_takes_back_his_own(desks: Desks, who: str, state: State) -> None:
    exporter, importer, _ = desks
    cancellation = exporter.say("cancellation", 5)
    confirmation = importer.say("import-confirmation", 5)
    importer.hear(cancellation)
    exporter.hear(confirmation)
    desk, other = (exporter, importer) if who == "exporter" else (importer, exporter)
    withdrawal = desk.say("withdrawal", 30, {"/reason": "Agreed on the telephone."})
    assert other.hear(withdrawal) == []
    assert both(exporter, importer) is state


def test_C5_is_resolved_by_a_correction_that_knows_the_cancellation(desks: Desks) -> None:
    exporter, importer, _ = desks
    cancellation = exporter.say("cancellation", 5)
    confirmation = importer.say("import-confirmation", 5)
    importer.hear(cancellation)
    exporter.hear(confirmation)
    changes = {
        "/content/outcome": "arrived_despite_cancellation",
        "/content/knows_cancellation": cancellation.id,
    }
    correction = importer.say("confirmation-correction", 30, changes)
    assert importer.may_say(correction) == []
    assert exporter.hear(correction) == []
    assert both(exporter, importer) is State.ARRIVED_DESPITE_CANCELLATION


def test_C6_who_knows_of_a_cancellation_confirms_only_as_arrived_despite_it(desks: Desks) -> None:
    exporter, importer, _ = desks
    importer.hear(exporter.say("cancellation", 1))
    wrong = write_confirmation(importer, 4, {"/outcome": "confirmed"})
    assert codes(importer.may_say(wrong)) == {"A03": "reject"}
    problems = exporter.hear(wrong)
    assert codes(problems) == {"A03": "reject"}
    rejection = exporter.reject(wrong, problems, 5)
    importer.hear(wrong)
    importer.hear(rejection)
    assert both(exporter, importer) is State.CANCELLED
    right = importer.say("import-confirmation", 6)
    assert importer.may_say(right) == []
    assert exporter.hear(right) == []
    assert both(exporter, importer) is State.ARRIVED_DESPITE_CANCELLATION


def test_C6_who_does_not_say_that_he_knows_is_not_let_through(desks: Desks) -> None:
    exporter, importer, _ = desks
    importer.hear(exporter.say("cancellation", 1))
    silent = write_confirmation(importer, 4, {"/outcome": "confirmed", "/knows_cancellation": LEFT_OUT})
    assert codes(importer.may_say(silent)) == {"A03": "reject"}


def test_C7_a_second_confirmation_without_supersedes_is_rejected_and_the_first_stays(desks: Desks) -> None:
    exporter, importer, _ = desks
    first = importer.say("import-confirmation", 4)
    second = write_confirmation(importer, 5, {"/supersedes": LEFT_OUT, "/found/parcels": 99})
    assert codes(importer.may_say(second))["I09"] == "reject", "its own node forbids it"
    exporter.hear(first)
    problems = exporter.hear(second)
    assert codes(problems)["I09"] == "reject"
    importer.hear(second)
    assert both(exporter, importer) is State.CONFIRMED_TWICE
    importer.hear(exporter.reject(second, problems, 6))
    assert both(exporter, importer) is State.CONFIRMED
    assert exporter.case().confirmations == (first.id,)


def test_C8_one_number_confirmed_by_two_importers_was_used_twice(desks: Desks) -> None:
    exporter, importer, _ = desks
    first = importer.say("import-confirmation", 4)
    exporter.hear(first)
    antwerp = Desk("EU/antwerp")
    second = antwerp.tell(
        {**_as_draft(first), "recipient": "BW"}
        | {"data": {**_as_draft(first)["data"], "notification": None, "confirmed_by": _by("EU/antwerp")}},
        7,
    )
    assert codes(exporter.hear(second)) == {"I02": "hold"}
    case = exporter.case()
    assert case.state is State.USED_TWICE
    assert set(case.confirmations) == {first.id, second.id}
    assert set(case.matters[0].whose) == {"AE", "BW", "EU/antwerp"}
    assert {fold("BW000001", order, Practice("BW")) for order in itertools.permutations(exporter.file)} == {
        case
    }


def test_C9_a_confirmation_before_the_notification_is_kept_and_the_late_notification_attached() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    blind = Desk("AE", file=[notification])
    confirmation = write_confirmation(blind, 3, {"/notification": None})
    importer.file.append(confirmation)
    assert importer.case().state is State.CONFIRMED_UNANNOUNCED
    assert importer.case().turn == "exporter"
    assert exporter.hear(confirmation) == [], "the exporter matches it by its number"
    assert importer.hear(notification) == []
    assert both(exporter, importer) is State.CONFIRMED
    assert "unannounced" in importer.case().flags


def test_C9_a_number_that_was_never_issued_is_answered_unknown_and_is_a_suspected_counterfeit() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    confirmation = write_confirmation(
        Desk("AE", file=[write(shipment(), "BW", START)]), 3, {"/notification": None}
    )
    importer.file.append(confirmation)
    problems = exporter.hear(confirmation)
    assert codes(problems) == {"I01": "reject"}
    importer.hear(exporter.reject(confirmation, problems, 3))
    assert both(exporter, importer) is State.SUSPECTED_COUNTERFEIT
    assert importer.case().turn == "importer"


def test_C9_a_query_about_a_number_that_was_never_issued_is_answered_unknown() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    certificate = shipment()["data"]["certificate"]
    query = importer.tell(
        {"type": "certificate-query", "recipient": "BW", "data": {"certificate": certificate}}
    )
    assert exporter.hear(query) == []
    answer = exporter.answer(query, 1)
    assert answer.document.data.finding == "unknown"  # type: ignore[union-attr]
    importer.hear(answer)
    assert both(exporter, importer) is State.SUSPECTED_COUNTERFEIT


def test_C9_the_report_of_a_counterfeit_is_taken_by_the_issuer_that_has_denied_the_number() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    draft = shipment()
    asked = {"certificate": draft["data"]["certificate"], "carats": draft["data"]["carats"]}
    query = importer.tell({"type": "certificate-query", "recipient": "BW", "data": asked})
    exporter.hear(query)
    importer.hear(exporter.answer(query, 0.01))
    found = {
        "/irregularities": ["suspected_forgery"],
        "/measure": "seized",
        "/description": "No such number.",
    }
    report = importer.say("irregularity-notice", 1, found)
    assert exporter.hear(report) == [], "what is due is not rejected as being about an unknown number"
    assert both(exporter, importer) is State.SUSPECTED_COUNTERFEIT
    assert exporter.case().turn == "nobody"


def test_C10_a_confirmation_after_the_certificate_has_expired_is_accepted_and_flagged_late(
    desks: Desks,
) -> None:
    exporter, importer, _ = desks
    late = importer.say("import-confirmation", 24 * 90)
    assert codes(importer.may_say(late)) == {"C07": "hold"}
    assert codes(exporter.hear(late)) == {"C07": "hold"}
    assert both(exporter, importer) is State.CONFIRMED
    assert "late" in exporter.case().flags


def test_C11_figures_that_differ_make_a_discrepancy_with_every_field_told(desks: Desks) -> None:
    exporter, importer, notification = desks
    sent = notification.document.data.parcels  # type: ignore[union-attr]
    confirmation = importer.say("import-confirmation", 4, {"/found/parcels": sent + 1})
    assert codes(importer.may_say(confirmation)) == {"I04": "warn", "I07": "warn"}, (
        "the inspector is told first"
    )
    assert codes(exporter.hear(confirmation)) == {"I04": "warn", "I07": "warn"}
    assert both(exporter, importer) is State.CONFIRMED_WITH_DISCREPANCY
    (difference,) = exporter.case().differences
    assert (difference.field, difference.notified, difference.found) == ("parcels", str(sent), str(sent + 1))
    assert exporter.case().turn == "both", "the exporter explains it, the importer reports it"


def test_C11_a_difference_within_the_importers_published_tolerance_is_shown_and_no_discrepancy(
    desks: Desks,
) -> None:
    exporter, importer, notification = desks
    sent = notification.document.data.carats  # type: ignore[union-attr]
    less = f"{sent - 1:.2f}"
    changes: dict[str, Any] = {"/found/carats": less}
    confirmation = importer.say(
        "import-confirmation", 4, changes | {"/found/lines/0/carats": _less_first(importer)}
    )
    exporter.hear(confirmation)
    assert exporter.case().state is State.CONFIRMED_WITH_DISCREPANCY
    wide = [{"valid_from": "2026-01-01", "carats": "5.00", "carats_percent": "50", "value_percent": "50"}]
    for desk in (exporter, importer):
        desk.practice.publish("AE", Policy.model_validate({"tolerances": wide}))
        assert desk.case().state is State.CONFIRMED
        assert [d.beyond_tolerance for d in desk.case().differences] == [False]


def test_C12_a_notification_from_a_suspended_issuer_is_rejected_by_published_policy_and_held_by_a_local_one() -> (
    None
):
    notification = write(shipment(), "BW", START)
    suspended = Policy.model_validate(
        {"standing": [{"participant": "BW", "standing": "suspended", "valid_from": "2026-01-01"}]}
    )
    published = Practice("AE")
    published.publish("AE", suspended)
    local = Practice("AE", suspended)
    assert codes(screen(notification.document, published, received=START))["P02"] == "reject"
    assert codes(screen(notification.document, local, received=START))["P02"] == "hold"
    sender = Practice("BW")
    sender.publish("AE", suspended)
    assert codes(screen(notification.document, sender, received=None))["P02"] == "reject", (
        "it could be tested"
    )


def test_C13_a_number_outside_the_issuers_ranges_is_held_not_refused() -> None:
    notification = write(shipment(), "BW", START)
    practice = Practice("AE")
    series = {
        "letters": "BW",
        "digits": 6,
        "valid_from": "2020-01-01",
        "ranges": [{"first": 500, "last": 900}],
    }
    practice.publish("BW", Policy.model_validate({"numbers": [series]}))
    found = codes(screen(notification.document, practice, received=START))
    assert found.get("C03") == "hold"
    assert "reject" not in found.values()


def test_C14_a_number_notified_to_two_importers_is_found_at_the_issuer_and_when_both_confirm(
    desks: Desks,
) -> None:
    exporter, importer, first = desks
    second = write(shipment("EU/antwerp") | {"recipient": "EU/antwerp"}, "BW", START)
    assert codes(exporter.may_say(second)) == {"C04": "reject"}, (
        "honest software at the issuer does not say it"
    )
    antwerp = Desk("EU/antwerp", file=[second])
    assert antwerp.case().state is State.NOTIFIED, "neither importer can see it alone"
    confirmations = [importer.say("import-confirmation", 4), antwerp.say("import-confirmation", 5)]
    exporter.file.append(second)
    exporter.hear(*confirmations)
    assert exporter.case().state is State.NOTIFIED_TWICE
    assert {first.id, second.id} == set(exporter.case().notifications)


def test_C15_a_document_dated_long_before_it_came_is_shown_as_back_dated() -> None:
    notification = write(shipment(), "BW", START)
    practice = Practice("AE")
    soon = codes(screen(notification.document, practice, received=START))
    late = codes(screen(notification.document, practice, received=START.replace(month=6)))
    assert "T03" not in soon
    assert late["T03"] == "warn", "shown, never called fraud: its node may have been away"


def test_C16_a_document_of_an_unknown_type_is_kept_rejected_and_read_after_an_upgrade(desks: Desks) -> None:
    exporter, importer, _ = desks
    before = importer.case().state
    unknown = _of_unknown_type()
    problems = importer.hear(unknown)
    assert codes(problems) == {"S07": "reject"}
    assert importer.case().state is before
    exporter.file.append(unknown)
    rejection = importer.reject(unknown, problems, 2)
    exporter.hear(rejection)
    assert both(exporter, importer) is before
    assert unknown.id in {item.id for item in importer.file}, "it is kept"


def test_C16_what_was_rejected_as_unknown_has_its_effect_once_it_is_read_and_the_rejection_withdrawn(
    desks: Desks,
) -> None:
    exporter, importer, _ = desks
    cancellation = exporter.say("cancellation", 1)
    unread = Filed(cancellation.id, cancellation.document.model_copy(update={"data": None}))
    rejection = importer.reject(unread, importer.hear(unread), 2)
    exporter.hear(rejection)
    assert {exporter.case().state, importer.case().state} == {State.NOTIFIED}
    importer.file = [cancellation if item.id == unread.id else item for item in importer.file]
    assert both(exporter, importer) is State.NOTIFIED, "an upgrade alone changes nothing between the two"
    reading = {"withdraws": rejection.id, "reason": "It is understood now."}
    exporter.hear(
        importer.tell(
            {"type": "withdrawal", "recipient": "BW", "subject": "BW000001", "data": reading}, 24 * 9
        )
    )
    assert both(exporter, importer) is State.CANCELLED


# -- the race rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["confirmed", "detained", "partial"])
def test_race_a_cancellation_crossing_a_confirmation_keeps_both(desks: Desks, outcome: str) -> None:
    exporter, importer, notification = desks
    cancellation = exporter.say("cancellation", 5)
    confirmation = importer.say("import-confirmation", 4, {"/outcome": outcome})
    assert codes(importer.hear(cancellation)) == {"A02": "hold"}
    assert codes(exporter.hear(confirmation)) == {"I08": "hold"}
    assert both(exporter, importer) is State.CROSSED_CANCELLATION
    case = importer.case()
    assert (case.current, case.cancellation, case.confirmations) == (
        notification.id,
        cancellation.id,
        (confirmation.id,),
    )


def test_race_b_amendment_after_confirmation_is_rejected_unless_it_is_the_outcome_of_a_query(
    desks: Desks,
) -> None:
    exporter, importer, notification = desks
    sent = notification.document.data.parcels  # type: ignore[union-attr]
    changes = {"/outcome": "confirmed_with_discrepancy", "/found/parcels": sent + 1}
    exporter.hear(importer.say("import-confirmation", 4, changes))
    doubts = [{"field": "parcels", "notified": str(sent), "found": str(sent + 1)}]
    query = importer.say("discrepancy-query", 5, {"/doubts": doubts})
    exporter.hear(query)
    assert both(exporter, importer) is State.CONFIRMED_WITH_DISCREPANCY
    assert {matter.kind for matter in exporter.case().matters} == {"query", "irregularity-report"}
    response = exporter.say("discrepancy-response", 30)
    amendment = exporter.say("export-amendment", 31, {"/content/parcels": sent + 1})
    assert exporter.may_say(amendment) == []
    assert importer.hear(response) == []
    assert importer.hear(amendment) == []
    assert both(exporter, importer) is State.CONFIRMED_WITH_DISCREPANCY
    case = importer.case()
    assert (case.differences, case.turn, case.revision) == ((), "nobody", 1)


def test_race_c_the_same_confirmation_twice_is_one_and_another_is_refused(desks: Desks) -> None:
    exporter, importer, _ = desks
    confirmation = importer.say("import-confirmation", 4)
    assert exporter.hear(confirmation, confirmation) == []
    assert both(exporter, importer) is State.CONFIRMED
    other = write_confirmation(importer, 5, {"/supersedes": LEFT_OUT})
    assert codes(importer.may_say(other)) == {"I09": "reject"}
    problems = exporter.hear(other)
    assert codes(problems) == {"I09": "reject"}
    assert exporter.case().state is State.CONFIRMED_TWICE, "until the rejection is there"
    importer.file.append(other)
    importer.hear(exporter.reject(other, problems, 6))
    assert both(exporter, importer) is State.CONFIRMED
    assert importer.case().confirmations == (confirmation.id,)


def test_race_d_an_amendment_before_its_notification_waits_for_it() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    amendment = exporter.say("export-amendment", 1, {"/content/issuing_authority": "Diamond Hub"})
    assert codes(importer.hear(amendment)) == {"A05": "warn"}
    assert importer.case().state is State.WAITS_FOR_NOTIFICATION
    assert importer.case().turn == "exporter"
    importer.hear(notification)
    assert both(exporter, importer) is State.NOTIFIED
    assert importer.case().revision == 1


def test_race_d_a_cancellation_before_its_notification_waits_for_it() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    cancellation = exporter.say("cancellation", 1, {"/reason": "stolen"})
    assert codes(importer.hear(cancellation)) == {"A05": "warn"}
    assert importer.case().state is State.WAITS_FOR_NOTIFICATION
    importer.hear(notification)
    assert both(exporter, importer) is State.LOST_OR_STOLEN


def test_race_e_a_notification_after_the_confirmation_is_attached_and_reopens_nothing() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    sent = notification.document.data.parcels  # type: ignore[union-attr]
    found = {"/notification": None, "/found/parcels": sent + 1}
    confirmation = write_confirmation(Desk("AE", file=[notification]), 3, found)
    importer.file.append(confirmation)
    assert codes(exporter.hear(confirmation)) == {"I04": "warn", "I07": "warn"}
    assert importer.hear(notification) == []
    assert both(exporter, importer) is State.CONFIRMED_WITH_DISCREPANCY, "compared"
    case = importer.case()
    assert (case.current, case.confirmations) == (notification.id, (confirmation.id,)), "attached"
    kinds = {matter.kind for matter in case.matters}
    assert kinds == {"discrepancy", "irregularity-report"}, "no confirmation is due again"


def test_race_e_a_notification_of_what_was_presented_days_before_is_called_late() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    on_time, late = (write(shipment(), "BW", START + timedelta(days=days)) for days in (1.5, 3))
    blind = Desk("AE", file=[write(shipment(), "BW", START)])
    arrival = blind.say(
        "arrival-notice", 24, {"/date_presented": "2026-03-03", "/notification": None, "/place": "DXB"}
    )
    importer.file.append(arrival)
    exporter.file.append(arrival)
    assert codes(exporter.may_say(late)) == codes(importer.hear(late)) == {"T01": "warn"}
    importer.file.remove(late)
    assert importer.hear(on_time) == []


def test_race_f_the_same_id_over_other_bytes_is_a_security_event(desks: Desks) -> None:
    _, importer, notification = desks
    draft = shipment()
    draft["data"]["issuing_authority"] = "Somebody else"
    forged = write(draft, "BW", START, message_id=notification.document.id)
    assert codes(importer.hear(forged))["S04"] == "reject"
    importer.reject(forged, importer.hear(forged), 1)
    assert importer.case().state is State.NOTIFIED
    assert importer.case().current == notification.id


# -- further conflicts -------------------------------------------------------------------------------------------------


def test_one_version_amended_twice_differently_is_disputed(desks: Desks) -> None:
    exporter, importer, notification = desks
    first = exporter.say("export-amendment", 1, {"/content/issuing_authority": "Diamond Hub"})
    elsewhere = Desk("BW", file=[notification])
    second = elsewhere.say("export-amendment", 2, {"/content/issuing_authority": "Government Valuator"})
    assert codes(exporter.may_say(second)) == {"A04": "reject"}
    importer.hear(first)
    assert codes(importer.hear(second)) == {"A04": "hold"}
    exporter.file.append(second)
    assert both(exporter, importer) is State.AMENDED_TWICE
    assert importer.case().revision == 0, "no version is chosen"


def test_nobody_cancels_amends_or_withdraws_what_another_wrote(desks: Desks) -> None:
    exporter, importer, notification = desks
    confirmation = importer.say("import-confirmation", 4)
    exporter.hear(confirmation)
    draft: dict[str, Any] = {
        "type": "withdrawal",
        "recipient": "AE",
        "subject": notification.document.subject,
        "data": {"withdraws": confirmation.id, "reason": "We do not like it."},
    }
    foreign = write(draft, "BW", START)
    assert codes(importer.hear(foreign)) == {"A06": "reject"}
    exporter.file.append(foreign)
    assert both(exporter, importer) is State.CONFIRMED, (
        "and while it is not rejected yet, it has no effect either"
    )


def test_a_notification_is_not_withdrawn_but_cancelled(desks: Desks) -> None:
    exporter, importer, notification = desks
    draft: dict[str, Any] = {
        "type": "withdrawal",
        "recipient": "AE",
        "subject": notification.document.subject,
        "data": {"withdraws": notification.id, "reason": "Never mind."},
    }
    withdrawal = write(draft, "BW", START)
    assert codes(exporter.may_say(withdrawal)) == {"A09": "reject"}
    assert codes(importer.hear(withdrawal)) == {"A09": "reject"}
    exporter.file.append(withdrawal)
    assert both(exporter, importer) is State.NOTIFIED


def write_confirmation(desk: Desk, hours: float, changes: dict[str, Any]) -> Filed:
    """A confirmation that its author's desk has not kept."""
    item = desk.say("import-confirmation", hours, changes)
    desk.file.remove(item)
    return item


def _less_first(desk: Desk) -> str:
    draft = prefill("import-confirmation", desk.file, me="AE", today=START.date(), practice=desk.practice)
    carats = draft["data"]["found"]["lines"][0]["carats"]
    return f"{Decimal(carats) - 1:.2f}"


def _by(authority: str) -> dict[str, Any]:
    return {"authority": authority, "officer": "B. Officer", "role": "importing_authority"}


def _as_draft(item: Filed) -> dict[str, Any]:
    data = item.document.data
    assert data is not None
    written = data.model_dump(mode="json", exclude_none=True)
    return {"type": data.name, "recipient": item.document.recipient, "data": written}


def _of_unknown_type() -> Filed:
    document = {
        "specversion": "1.0",
        "id": "019cb2f8-0c00-7a4e-a1f5-3d2c1b0a9e88",
        "source": "BW",
        "type": "org.kimberley.export-telegram.v3",
        "subject": "BW000001",
        "time": "2026-03-02T10:00:00Z",
        "recipient": "AE",
        "datacontenttype": "application/json",
        "data": {"anything": True},
    }
    return Filed("ab" * 32, parse(json.dumps(document).encode()))


def test_a_sister_office_s_certificate_is_not_called_a_counterfeit() -> None:
    """Antwerp does not know what Prague has issued: it says so, and neither denies the number nor refuses the document."""
    antwerp = Practice("EU/antwerp")
    assert not antwerp.alone_issues("EU00004711")
    series = {"letters": "EU", "digits": 8, "valid_from": "2020-01-01", "ranges": [{"first": 1, "last": 999}]}
    antwerp.publish("EU/antwerp", Policy.model_validate({"numbers": [series]}))
    assert antwerp.alone_issues("EU00000815")
    assert not antwerp.alone_issues("EU00004711")
    assert Practice("BW").alone_issues("BW 000001")

    certificate = {"number_raw": "EU00004711", "issuer": "EU", "kind": "kp"}
    arrival = {
        "certificate": certificate,
        "notification": None,
        "date_presented": "2026-03-02",
        "place": "Dubai",
    }
    notice = write({"type": "arrival-notice", "recipient": "EU/antwerp", "data": arrival}, "AE", START)
    assert codes(objections(notice, [], Practice("BW"), ours=False, alone=False)) == {"I20": "hold"}
    assert codes(objections(notice, [], Practice("BW"), ours=False, alone=True)) == {"I01": "reject"}
    query = write(
        {"type": "certificate-query", "recipient": "EU/antwerp", "data": {"certificate": certificate}},
        "AE",
        START,
    )
    assert answer_draft(query, [query], None, alone=False)["data"]["finding"] == "not_this_office"
    assert answer_draft(query, [query], None, alone=True)["data"]["finding"] == "unknown"


def test_nobody_confirms_the_import_of_its_own_export(desks: Desks) -> None:
    exporter, importer, _ = desks
    said = _as_draft(write_confirmation(importer, 4, {}))
    data = said["data"] | {"confirmed_by": _by("BW")}
    own = write(said | {"recipient": "AE", "data": data}, "BW", START)
    assert codes(exporter.may_say(own)) == {"I21": "reject"}, "its own node does not say it"
    assert codes(importer.hear(own))["I21"] == "reject"


def test_a_reminder_is_not_sent_once_the_confirmation_is_here(desks: Desks) -> None:
    exporter, importer, _ = desks
    exporter.hear(importer.say("import-confirmation", 4))
    late = exporter.say("confirmation-request", 30 * 24)
    assert codes(exporter.may_say(late)) == {"Q07": "reject"}
    assert codes(importer.hear(late)) == {"Q07": "warn"}, "crossed: shown, and nothing else"
    assert both(exporter, importer) is State.CONFIRMED
