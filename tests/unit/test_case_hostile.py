"""What cannot be done to a case: by a third authority, by a partner that lies, by letters in an odd order, by sheer numbers.

Each test says something that honest software would not say (or says honest things in an order that only a bad network gives), and asks
that the case of the two authorities is what it would have been, or that what happened has its own name.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmsg.case import Case, State, fold
from kpmsg.case.replies import answer_draft
from kpmsg.case.standing import Filed, Standing
from kpmsg.documents import CertificateAnswer, ImportConfirmation
from kpmsg.policy import Practice
from tests.conversation import START, Desk, codes, shipment, write
from tests.unit.test_case_interleaved import STEPS, play

Desks = tuple[Desk, Desk, Filed]


@pytest.fixture
def desks() -> Desks:
    """Exporter and importer, both with the notification."""
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    importer.hear(notification)
    return exporter, importer, notification


def both(exporter: Desk, importer: Desk) -> Case:
    """The case, which is the same on both desks and in every order."""
    case = exporter.case()
    assert importer.case() == case
    for order in itertools.islice(itertools.permutations(exporter.file), 150):
        assert fold("BW000001", order, exporter.practice) == case
    return case


def draft(name: str, recipient: str, **data: Any) -> dict[str, Any]:
    certificate = shipment()["data"]["certificate"]
    with_it = {} if name in {"rejection", "withdrawal"} else {"certificate": certificate}
    return {"type": name, "recipient": recipient, "subject": "BW000001", "data": {**with_it, **data}}


def elsewhere(desk: Desk, name: str, hours: float, **changes: Any) -> Filed:
    """A document that its author has not kept, written from its own file."""
    return Desk(desk.me, file=list(desk.file)).say(
        name, hours, {f"/{k.replace('__', '/')}": v for k, v in changes.items()}
    )


# -- a third authority -------------------------------------------------------------------------------------------------

REASONS = [{"code": "I01", "severity": "reject", "text": "We never issued it."}]
OUTSIDERS: dict[str, Callable[[Filed, Filed], dict[str, Any]]] = {
    "rejection of the notification": lambda n, c: draft("rejection", "BW", refers_to=n.id, reasons=REASONS),
    "rejection of the confirmation": lambda n, c: draft("rejection", "AE", refers_to=c.id, reasons=REASONS),
    "rejection of nothing": lambda n, c: draft("rejection", "BW", refers_to="ab" * 32, reasons=REASONS),
    "withdrawal of the confirmation": lambda n, c: draft("withdrawal", "BW", withdraws=c.id, reason="No."),
    "cancellation": lambda n, c: draft(
        "cancellation",
        "AE",
        certificate=shipment()["data"]["certificate"] | {"kind": "technical"},
        cancels=n.id,
        reason="stolen",
        knows_confirmation=None,
    ),
    "arrival notice": lambda n, c: draft(
        "arrival-notice", "BW", notification=None, date_presented="2026-03-03", place="Elsewhere"
    ),
    "return notice": lambda n, c: draft(
        "return-notice",
        "BW",
        notification=None,
        under="original_certificate",
        date_of_return="2026-03-03",
        reason="No.",
    ),
    "irregularity notice": lambda n, c: draft(
        "irregularity-notice",
        "BW",
        notification=None,
        irregularities=["weight"],
        measure="seized",
        date_found="2026-03-03",
        description="Ours now.",
    ),
    "discrepancy query": lambda n, c: draft(
        "discrepancy-query",
        "BW",
        notification=None,
        question="Is it?",
        doubts=[{"field": "parcels", "certificate": "1", "found": "2"}],
    ),
    "status": lambda n, c: draft(
        "confirmation-status",
        "BW",
        request=n.id,
        standing="under_inspection",
        decision_expected="2027-01-01",
    ),
}


@pytest.mark.parametrize("name", OUTSIDERS)
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_third_authority_changes_nothing_between_two(desks: Desks, name: str, *, confirmed: bool) -> None:
    exporter, importer, notification = desks
    confirmation = elsewhere(importer, "import-confirmation", 4)
    if confirmed:
        exporter.hear(confirmation)
        importer.file.append(confirmation)
    said = OUTSIDERS[name](notification, confirmation)
    before = exporter.case()
    for desk in (exporter, importer):
        outsider = write(said | {"recipient": desk.me}, "ZA", START + timedelta(hours=1))
        desk.hear(outsider)
        assert desk.case() == before
        assert outsider in desk.file, "it is kept"


def test_what_a_third_authority_asks_is_answered_and_changes_nothing_else(desks: Desks) -> None:
    exporter, _, _ = desks
    before = exporter.case()
    asked = [
        write(draft("message", "BW", text="Have you heard?", answer_wanted=True), "ZA", START),
        write(draft("certificate-query", "BW"), "ZA", START + timedelta(hours=1)),
    ]
    exporter.hear(*asked)
    case = exporter.case()
    theirs = {matter for matter in case.matters if matter.kind in {"message", "certificate-query"}}
    assert {matter.document for matter in theirs} == {item.id for item in asked}
    rest = tuple(matter for matter in case.matters if matter not in theirs)
    assert replace(case, matters=rest, turn=before.turn) == before


def test_not_received_by_a_third_authority_is_no_confirmation(desks: Desks) -> None:
    exporter, importer, _ = desks
    before = exporter.case()
    nothing = {
        "/notification": None,
        "/outcome": "not_received",
        "/found": {"parcels": 0, "carats": "0.00", "lines": []},
    }
    from_ae = Desk("AE", file=list(importer.file)).say("import-confirmation", 2, nothing)
    exporter.hear(_as(from_ae, "ZA", 2))
    assert exporter.case() == before


def test_a_confirmation_by_another_importer_alone_is_shown_as_diverted(desks: Desks) -> None:
    exporter, importer, _ = desks
    foreign = _as(elsewhere(importer, "import-confirmation", 4, notification=None), "EU/antwerp", 4)
    assert codes(exporter.hear(foreign)) == {"I02": "hold"}
    case = exporter.case()
    assert (case.state, case.importer) == (State.CONFIRMED, "EU/antwerp")
    assert "diverted" in case.flags
    assert importer.case().state is State.NOTIFIED, "which cannot know of it"


def test_not_received_and_confirmed_elsewhere_is_shown_as_diverted_whichever_is_later(desks: Desks) -> None:
    exporter, importer, _ = desks
    missing = {"/outcome": "not_received", "/found": {"parcels": 0, "carats": "0.00", "lines": []}}
    exporter.hear(importer.say("import-confirmation", 9, missing))
    from_ae = Desk("AE", file=list(importer.file[:1])).say("import-confirmation", 4, {"/notification": None})
    exporter.hear(_as(from_ae, "EU/antwerp", 4))
    assert exporter.case().importer == "EU/antwerp"
    assert exporter.case().state is State.CONFIRMED


def test_a_third_authority_confirms_nothing_at_the_importers(desks: Desks) -> None:
    exporter, importer, _ = desks
    exporter.hear(importer.say("import-confirmation", 4))
    before = importer.case()
    importer.hear(_as(importer.file[-1], "ZA", 5, recipient="AE"))
    assert importer.case() == before


def test_nobody_confirms_its_own_export(desks: Desks) -> None:
    exporter, importer, _ = desks
    before = exporter.case()
    own = _as(elsewhere(importer, "import-confirmation", 4), "BW", 4, recipient="AE")
    exporter.file.append(own)
    importer.hear(own)
    assert both(exporter, importer) == before


def test_an_exporter_does_not_write_in_the_importers_role(desks: Desks) -> None:
    exporter, importer, _ = desks
    before = exporter.case()
    for name in ("arrival notice", "irregularity notice", "return notice", "discrepancy query"):
        said = OUTSIDERS[name](desks[2], desks[2])
        item = write(said | {"recipient": "AE"}, "BW", START + timedelta(hours=1))
        exporter.file.append(item)
        importer.hear(item)
    assert both(exporter, importer) == before


def test_the_number_of_another_is_not_disturbed_by_a_technical_certificate(desks: Desks) -> None:
    _, importer, _ = desks
    before = importer.case()
    other = shipment(n=7)["data"] | {"purpose": "return"}
    other["certificate"] = shipment()["data"]["certificate"] | {"kind": "technical"}
    forged = write(
        {"type": "technical-certificate-notice", "recipient": "AE", "data": other | {"references": []}},
        "ZA",
        START,
    )
    assert codes(importer.hear(forged)) == {"C04": "hold"}, "an officer is called"
    assert importer.case() == before


def test_a_technical_certificate_with_the_importers_letters_counts_between_its_two() -> None:
    data = shipment()["data"] | {"purpose": "return", "references": ["AE 00031"]}
    data["certificate"] = {"number_raw": "AE 777", "issuer": "BW", "kind": "technical"}
    notice = write({"type": "technical-certificate-notice", "recipient": "AE", "data": data}, "BW", START)
    case = fold("AE777", [notice], Practice("BW"))
    assert (case.state, case.exporter, case.importer) == (State.NOTIFIED, "BW", "AE")


@pytest.mark.parametrize(
    "issuer",
    ["ZA", "BW"],
)
def test_only_the_issuer_that_was_asked_says_that_it_never_issued_a_number(issuer: str) -> None:
    importer = Desk("AE")
    unannounced = write(OUTSIDERS["arrival notice"](_nothing(), _nothing()), "AE", START)
    query = write(draft("certificate-query", "BW"), "AE", START + timedelta(hours=1))
    importer.file += [unannounced, query]
    certificate = shipment()["data"]["certificate"] | {"issuer": issuer}
    said = draft("certificate-answer", "AE", query=query.id, finding="unknown") | {}
    said["data"]["certificate"] = certificate
    answer = write(said, issuer, START + timedelta(hours=2))
    assert isinstance(answer.data, CertificateAnswer)
    importer.hear(answer)
    expected = State.SUSPECTED_COUNTERFEIT if issuer == "BW" else State.ARRIVED_UNANNOUNCED
    assert importer.case().state is expected
    open_kinds = {matter.kind for matter in importer.case().matters}
    assert ("certificate-query" in open_kinds) is (issuer != "BW"), "only whom it was put to answers a query"


def test_a_third_authority_makes_no_counterfeit_of_an_unannounced_shipment() -> None:
    exporter, importer = Desk("BW"), Desk("AE")
    blind = Desk("AE", file=[write(shipment(), "BW", START)])
    confirmation = blind.say("import-confirmation", 3, {"/notification": None})
    importer.file.append(confirmation)
    exporter.file.append(confirmation)
    before = exporter.case()
    rejection = write(OUTSIDERS["rejection of nothing"](_nothing(), _nothing()), "ZA", START)
    exporter.hear(rejection)
    assert exporter.case() == before
    assert before.state is State.CONFIRMED_UNANNOUNCED


def test_an_amendment_or_a_withdrawal_sent_to_somebody_else_has_no_effect(desks: Desks) -> None:
    exporter, importer, _ = desks
    confirmation = importer.say("import-confirmation", 4)
    exporter.hear(confirmation)
    before = both(exporter, importer)
    astray = write(draft("withdrawal", "ZA", withdraws=confirmation.id, reason="Never mind."), "AE", START)
    assert codes(importer.may_say(astray)) == {"A06": "reject"}, "its own node does not say it"
    importer.file.append(astray)
    correction = elsewhere(importer, "confirmation-correction", 6)
    elsewhere_bound = _as(correction, "AE", 6, recipient="ZA")
    assert codes(importer.may_say(elsewhere_bound)) == {"A06": "reject"}
    importer.file.append(elsewhere_bound)
    assert importer.case() == before == exporter.case()


@given(STEPS, st.lists(st.sampled_from(sorted(OUTSIDERS)), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_whatever_two_have_said_a_third_changes_nothing_of_it(
    steps: list[tuple[str, str, int]], interruptions: list[str], chance: random.Random
) -> None:
    pair = play(steps)
    exporter, case = pair.desks["BW"], pair.desks["AE"].case()
    said = list(exporter.file)
    confirmation = next((item for item in said if isinstance(item.data, ImportConfirmation)), said[0])
    for hour, name in enumerate(interruptions):
        draft_ = OUTSIDERS[name](said[0], confirmation) | {"recipient": "BW"}
        exporter.hear(write(draft_, "ZA", START + timedelta(hours=hour)))
    assert exporter.case() == case
    late = Desk("AE")
    late.hear(*chance.sample(said, len(said)))
    assert late.case() == case, "and whoever hears it in any other order comes to the same"


# -- a partner that lies -----------------------------------------------------------------------------------------------


def test_a_mistaken_notification_and_another_do_not_slip_under_a_confirmation(desks: Desks) -> None:
    """Cancel as a mistake, pretending not to know the confirmation, and notify the number again with other goods."""
    exporter, importer, first = desks
    confirmation = importer.say("import-confirmation", 4)
    exporter.hear(confirmation)
    cancellation = exporter.say(
        "cancellation", 5, {"/reason": "notified_in_error", "/knows_confirmation": None}
    )
    second = exporter.tell(_again(), 6)
    assert codes(exporter.may_say(second)) == {"C04": "reject"}
    assert codes(importer.hear(cancellation)) == {"A02": "hold"}
    assert codes(importer.hear(second)) == {"C04": "hold"}
    case = both(exporter, importer)
    assert case.state is State.CROSSED_CANCELLATION
    assert (case.current, case.cancellation, case.confirmations) == (
        first.id,
        cancellation.id,
        (confirmation.id,),
    )
    assert set(case.notifications) == {first.id, second.id}


def test_what_slipped_under_is_confirmed_only_by_a_confirmation_that_names_it(desks: Desks) -> None:
    exporter, importer, _ = desks
    importer.say("import-confirmation", 4)
    cancellation = exporter.say("cancellation", 5, {"/reason": "notified_in_error"})
    second = exporter.tell(_again(), 6)
    importer.hear(cancellation, second)
    exporter.hear(importer.file[1])
    correction = importer.say(
        "confirmation-correction",
        9,
        {"/content/notification": {"id": second.document.id, "digest": second.id}},
    )
    assert {problem.severity for problem in importer.may_say(correction)} == {"hold", "warn"}, (
        "it differs much"
    )
    assert {problem.severity for problem in exporter.hear(correction)} == {"hold", "warn"}
    case = both(exporter, importer)
    assert (case.current, case.cancellation) == (second.id, None)
    assert case.state is State.CONFIRMED_WITH_DISCREPANCY, "and is held against what it names"


def test_of_two_notifications_the_confirmed_one_is_not_cancelled(desks: Desks) -> None:
    exporter, importer, first = desks
    exporter.hear(importer.say("import-confirmation", 4))
    second = exporter.tell(_again(), 5)
    importer.hear(second)
    assert both(exporter, importer).state is State.NOTIFIED_TWICE
    wrong = elsewhere(exporter, "cancellation", 6, cancels=first.id, reason="notified_in_error")
    assert codes(exporter.may_say(wrong)) == {"A01": "reject"}
    right = exporter.say("cancellation", 7, {"/cancels": second.id, "/reason": "notified_in_error"})
    assert exporter.may_say(right) == []
    assert importer.hear(right) == []
    assert both(exporter, importer).state is State.CONFIRMED


def test_a_stolen_number_does_not_come_back_by_notifying_it_again(desks: Desks) -> None:
    exporter, importer, first = desks
    importer.hear(exporter.say("cancellation", 2, {"/reason": "stolen"}))
    second = exporter.tell(_again(), 3)
    assert codes(exporter.may_say(second)) == {"C04": "reject"}
    assert codes(importer.hear(second)) == {"C04": "hold"}
    case = both(exporter, importer)
    assert (case.state, case.turn) == (State.NOTIFIED_TWICE, "exporter")
    assert set(case.notifications) == {first.id, second.id}


def test_that_it_was_stolen_is_not_hidden_by_a_milder_cancellation(desks: Desks) -> None:
    exporter, importer, _ = desks
    mild = elsewhere(exporter, "cancellation", 1, reason="notified_in_error")
    grave = elsewhere(exporter, "cancellation", 2, reason="stolen")
    for item in (mild, grave):
        exporter.file.append(item)
        importer.hear(item)
    case = both(exporter, importer)
    assert (case.state, case.cancellation) == (State.LOST_OR_STOLEN, grave.id)
    despite = importer.say("import-confirmation", 5, {"/knows_cancellation": mild.id})
    assert importer.may_say(despite) == [], "who knows either knows that it was cancelled"
    assert exporter.hear(despite) == []
    assert both(exporter, importer).state is State.ARRIVED_DESPITE_CANCELLATION


def test_an_importer_that_rejects_a_cancellation_leaves_the_exporter_with_the_next_word(desks: Desks) -> None:
    exporter, importer, _ = desks
    cancellation = exporter.say("cancellation", 1, {"/reason": "stolen"})
    importer.hear(cancellation)
    rejection = write(draft("rejection", "BW", refers_to=cancellation.id, reasons=REASONS), "AE", START)
    importer.file.append(rejection)
    exporter.hear(rejection)
    case = both(exporter, importer)
    assert (case.state, case.rejected) == (State.NOTIFIED, (cancellation.id,))
    (matter,) = [matter for matter in case.matters if matter.kind == "correction"]
    assert (matter.whose, matter.document) == (("BW",), cancellation.id)
    again = exporter.say("cancellation", 2, {"/reason": "stolen"})
    assert importer.hear(again) == []
    case = both(exporter, importer)
    assert case.state is State.LOST_OR_STOLEN
    assert "correction" not in {matter.kind for matter in case.matters}


def test_the_outcome_of_a_query_that_nobody_put_is_a_plain_amendment(desks: Desks) -> None:
    exporter, importer, notification = desks
    confirmation = importer.say("import-confirmation", 4, {"/found/parcels": 99})
    message = importer.say("message", 4.5, {"/text": "We have confirmed it."})
    exporter.hear(confirmation, message)
    before = both(exporter, importer)
    assert before.state is State.CONFIRMED_WITH_DISCREPANCY
    pretended: dict[str, Any] = {"reason": "outcome_of_query", "content__parcels": 99}
    for about in (message.id, "ab" * 32):
        amendment = elsewhere(exporter, "export-amendment", 5, **pretended, outcome_of=about)
        severities = codes(Desk("AE", file=list(importer.file)).hear(amendment))
        assert severities == ({"A01": "reject"} if about == message.id else {"A07": "warn"})
        case = fold("BW000001", [*importer.file, amendment], importer.practice)
        assert case.state is State.CROSSED_AMENDMENT, "the discrepancy is not argued away"
    assert notification.id in before.notifications


def test_an_answer_to_a_query_that_nobody_put_leads_to_no_amendment_either(desks: Desks) -> None:
    exporter, importer, _ = desks
    confirmation = importer.say("import-confirmation", 4, {"/found/parcels": 99})
    exporter.hear(confirmation)
    answers = [{"field": "parcels", "verdict": "correct_to", "corrected": "99"}]
    response = exporter.tell(
        draft(
            "discrepancy-response",
            "AE",
            query=confirmation.id,
            answers=answers,
            instruction="endorse_correction",
        ),
        5,
    )
    amendment = exporter.say(
        "export-amendment",
        6,
        {"/reason": "outcome_of_query", "/content/parcels": 99, "/outcome_of": response.id},
    )
    importer.hear(response)
    assert codes(importer.hear(amendment)) == {"A01": "reject"}
    assert both(exporter, importer).state is State.CROSSED_AMENDMENT


def test_a_partner_does_not_answer_its_own_question(desks: Desks) -> None:
    exporter, importer, _ = desks
    question = importer.say("message", 1, {"/text": "Well?", "/answer_wanted": True})
    own = importer.tell(draft("message", "BW", text="Well.", in_reply_to=question.id), 2)
    exporter.hear(question, own)
    assert "message" in {matter.kind for matter in both(exporter, importer).matters}
    answer = exporter.say("message", 3, {"/text": "It is.", "/in_reply_to": question.id})
    importer.hear(answer)
    assert "message" not in {matter.kind for matter in both(exporter, importer).matters}


# -- acts upon acts ----------------------------------------------------------------------------------------------------


def test_a_rejection_or_a_withdrawal_counts_unless_it_has_been_undone_itself(desks: Desks) -> None:
    exporter, importer, notification = desks
    last = notification
    steps = [
        ("rejection", "AE", State.REJECTED),  # the notification is rejected,
        ("withdrawal", "AE", State.NOTIFIED),  # no, it is not,
        ("rejection", "BW", State.REJECTED),  # and that is not accepted,
        ("withdrawal", "BW", State.NOTIFIED),  # or is it,
        ("withdrawal", "BW", State.NOTIFIED),  # but nobody withdraws a withdrawal
    ]
    for hour, (name, author, state) in enumerate(steps, 1):
        said = (
            {"refers_to": last.id, "reasons": REASONS}
            if name == "rejection"
            else {"withdraws": last.id, "reason": "So it is."}
        )
        item = write(
            draft(name, "BW" if author == "AE" else "AE", **said), author, START + timedelta(hours=hour)
        )
        exporter.file.append(item)
        importer.file.append(item)
        assert both(exporter, importer).state is state, hour
        last = item


def test_a_rejection_of_a_rejection_is_none(desks: Desks) -> None:
    exporter, importer, notification = desks
    first = write(draft("rejection", "BW", refers_to=notification.id, reasons=REASONS), "AE", START)
    second = write(draft("rejection", "AE", refers_to=first.id, reasons=REASONS), "BW", START)
    for desk in (exporter, importer):
        desk.file += [first, second]
    assert both(exporter, importer).rejected == (notification.id,)


# -- letters in an odd order -------------------------------------------------------------------------------------------


def test_an_interim_confirmation_that_comes_after_the_one_that_supersedes_it_repeats_nothing(
    desks: Desks,
) -> None:
    exporter, importer, _ = desks
    detained = importer.say("import-confirmation", 4, {"/outcome": "detained"})
    final = importer.say("import-confirmation", 9)
    assert codes(exporter.hear(final)) == {"A05": "warn"}
    assert codes(exporter.hear(detained)) == {}
    assert both(exporter, importer).confirmations == (final.id,)


def test_an_amendment_that_comes_after_the_cancellation_which_followed_it_is_not_rejected(
    desks: Desks,
) -> None:
    exporter, importer, _ = desks
    amendment = exporter.say("export-amendment", 1, {"/content/issuing_authority": "Diamond Hub"})
    cancellation = exporter.say("cancellation", 2)
    importer.hear(cancellation)
    assert codes(importer.hear(amendment)) == {}
    late = elsewhere(exporter, "export-amendment", 3, content__issuing_authority="Government Valuator")
    assert codes(importer.hear(late)) == {"A10": "reject"}
    assert both(exporter, Desk("AE", file=importer.file[:-1])).state is State.CANCELLED


def test_a_mistaken_notification_that_comes_after_its_cancellation_and_its_successor_is_no_second_one(
    desks: Desks,
) -> None:
    exporter, _, first = desks
    cancellation = exporter.say("cancellation", 1, {"/reason": "notified_in_error"})
    second = exporter.tell(_again(), 2)
    assert exporter.may_say(second) == []
    importer = Desk("AE")
    importer.hear(second)
    assert codes(importer.hear(cancellation)) == {"A05": "warn"}
    assert codes(importer.hear(first)) == {}
    assert both(exporter, importer).current == second.id


def test_an_earlier_version_that_comes_again_after_a_restore_is_not_taken_for_one_that_crossed(
    desks: Desks,
) -> None:
    exporter, importer, notification = desks
    one = exporter.say("export-amendment", 1, {"/content/issuing_authority": "Diamond Hub"})
    two = exporter.say("export-amendment", 2, {"/content/batch_number": "17"})
    importer.hear(one, two)
    confirmation = importer.say("import-confirmation", 3)
    for order in itertools.permutations([notification, one, two]):
        restored = Desk("AE", file=[confirmation])
        for item in order:
            assert "reject" not in codes(restored.hear(item)).values()
        assert restored.case().state is State.CONFIRMED


def test_a_cancellation_that_the_confirmation_knows_has_not_crossed_it(desks: Desks) -> None:
    exporter, importer, notification = desks
    cancellation = exporter.say("cancellation", 1)
    importer.hear(cancellation)
    despite = importer.say("import-confirmation", 3)
    restored = Desk("AE", file=[notification, despite])
    assert codes(restored.hear(cancellation)) == {}
    assert restored.case().state is State.ARRIVED_DESPITE_CANCELLATION


def test_a_shipment_whose_notification_was_rejected_is_no_counterfeit(desks: Desks) -> None:
    """The importer could not accept the notification; the diamonds came all the same, under a number that was issued."""
    exporter, importer, notification = desks
    rejection = importer.tell(
        draft("rejection", "BW", refers_to=notification.id, reasons=[REASONS[0] | {"code": "P02"}]), 1
    )
    exporter.hear(rejection)
    arrival = importer.tell(OUTSIDERS["arrival notice"](notification, notification), 24)
    assert exporter.hear(arrival) == []
    case = both(exporter, importer)
    assert (case.state, case.exporter, case.importer) == (State.ARRIVED_UNANNOUNCED, "BW", "AE")
    query = importer.tell(draft("certificate-query", "BW"), 25)
    assert answer_draft(query, exporter.file, None)["data"]["finding"] == "matches"


def test_a_confirmation_for_the_wrong_authority_can_be_taken_back(desks: Desks) -> None:
    _, importer, _ = desks
    astray = _as(elsewhere(importer, "import-confirmation", 4), "AE", 4, recipient="ZA")
    importer.file.append(astray)
    assert importer.case().state is State.NOTIFIED, "the exporter has not been told"
    withdrawal = write(draft("withdrawal", "ZA", withdraws=astray.id, reason="Wrong address."), "AE", START)
    assert importer.may_say(withdrawal) == []


# -- sheer numbers -----------------------------------------------------------------------------------------------------


def _clones(item: Filed, size: int, **names: Callable[[int, str], Any]) -> list[Filed]:
    """Many documents like one; `names` say what differs, given a counter and the id of the one before."""
    assert item.data is not None
    found: list[Filed] = []
    for n in range(size):
        before = found[-1].id if found else ""
        data = item.data.model_copy(update={name: make(n, before) for name, make in names.items()})
        time = item.document.time + timedelta(seconds=n)
        digest = hashlib.sha256(f"{item.id}{n}".encode()).hexdigest()
        found.append(Filed(digest, item.document.model_copy(update={"data": data, "time": time})))
    return found


class Counting(Filed):
    """A document that counts how often it is looked at."""

    looks = 0

    @property
    def data(self) -> Any:
        Counting.looks += 1
        return self.document.data


def _crowds(size: int) -> dict[str, list[Filed]]:
    exporter, importer = Desk("BW"), Desk("AE")
    notification = exporter.tell(shipment())
    importer.hear(notification)
    confirmation = elsewhere(importer, "import-confirmation", 4)
    query = elsewhere(importer, "discrepancy-query", 1, doubts__0__found="11.00")
    response = elsewhere(Desk("BW", file=[notification, query]), "discrepancy-response", 2)
    cancellation = elsewhere(exporter, "cancellation", 1)
    amendment = elsewhere(exporter, "export-amendment", 1, content__issuing_authority="Hub")
    seen = Desk("AE", file=[notification, confirmation])
    correction = elsewhere(seen, "confirmation-correction", 5)
    withdrawal = elsewhere(seen, "withdrawal", 6, reason="So it is.")
    rejection = write(draft("rejection", "BW", refers_to=notification.id, reasons=REASONS), "AE", START)
    notifications = _clones(notification, size, parcels=lambda n, _: n + 1)
    queries = _clones(query, size, question=lambda n, _: str(n))
    corrections = _clones(correction, size, corrects=lambda _, before: before or confirmation.id)
    return {
        "notifications and cancellations": [
            *notifications,
            *_clones(cancellation, size, cancels=lambda n, _: notifications[n].id),
        ],
        "notifications": notifications,
        "a chain of amendments": [
            notification,
            *_clones(amendment, size, amends=lambda _, before: before or notification.id),
        ],
        "amendments of one version": [
            notification,
            *_clones(amendment, size, amends=lambda *_: notification.id),
        ],
        "queries and answers": [
            notification,
            *queries,
            *_clones(response, size, query=lambda n, _: queries[n].id),
        ],
        "corrections, withdrawn": [
            notification,
            confirmation,
            *corrections,
            *_clones(withdrawal, size, withdraws=lambda n, _: corrections[n].id),
        ],
        "rejected cancellations": [
            notification,
            *(cancelled := _clones(cancellation, size, cancels=lambda *_: notification.id)),
            *_clones(rejection, size, refers_to=lambda n, _: cancelled[n].id),
        ],
        "withdrawals and rejections of one another": [
            notification,
            *_clones(rejection, size, refers_to=lambda _, before: before or notification.id),
        ],
    }


@pytest.mark.parametrize("crowd", list(_crowds(1)))
def test_a_case_costs_in_proportion_to_its_documents(crowd: str) -> None:
    """Counted in looks at documents, not in seconds: ten times as many cost about ten times as much."""
    looks = []
    for size in (40, 400):
        items = [Counting(item.id, item.document) for item in _crowds(size)[crowd]]
        Counting.looks = 0
        fold("BW000001", items, Practice("BW"))
        looks.append(Counting.looks / len(items))
    assert looks[1] < 1.5 * looks[0] + 5, looks


def test_a_chain_as_long_as_a_case_does_not_exhaust_the_stack(desks: Desks) -> None:
    """Rejections and withdrawals in turn, each undoing the one before: none is decided by recursion."""
    _, _, notification = desks
    items, last = [notification], notification
    for n in range(3000):
        name, author, other = [
            ("rejection", "AE", "BW"),
            ("withdrawal", "AE", "BW"),
            ("rejection", "BW", "AE"),
            ("withdrawal", "BW", "AE"),
        ][n % 4]
        said = (
            {"refers_to": last.id, "reasons": REASONS}
            if name == "rejection"
            else {"withdraws": last.id, "reason": "So."}
        )
        last = write(draft(name, other, **said), author, START + timedelta(seconds=n))
        items.append(last)
    assert not Standing(items).rejected
    assert notification.id in Standing(items[:-1]).rejected


# -- making things up --------------------------------------------------------------------------------------------------


def _again() -> dict[str, Any]:
    other = shipment(n=7)
    other["data"]["certificate"] = shipment()["data"]["certificate"]
    return other


def _nothing() -> Filed:
    return write(shipment(), "BW", START)


def _as(item: Filed, source: str, hours: float, recipient: str = "BW") -> Filed:
    """The same data, said by somebody else, to somebody else."""
    assert item.data is not None
    data = item.data.model_dump(mode="json", exclude_none=True)
    content = data.get("content", data)
    content.setdefault("notification", None)
    content["confirmed_by"] = content["confirmed_by"] | {"authority": source}
    said = {"type": item.data.name, "recipient": recipient, "data": data}
    return write(said, source, START + timedelta(hours=hours))
