"""What is said of goods that have come: as notified or not, to whom, under which certificate; and what their authors knew of one another."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from kpmsg.case import State, fold
from kpmsg.policy import Policy, Practice
from tests.conversation import START, Desk, codes, shipment, write
from tests.unit.test_case_races import both, write_confirmation

Desks = tuple[Desk, Desk]


@pytest.fixture
def desks() -> Desks:
    exporter, importer = Desk("BW"), Desk("AE")
    importer.hear(exporter.tell(shipment()))
    return exporter, importer


# -- as notified, or not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"/found/parcels": 9}, "parcels", "I04"),
        ({"/exporter/name": "Somebody Else"}, "exporter", "I23"),
        ({"/exporter/country": "ZA"}, "exporter", "I23"),
        ({"/importer/name": "Somebody Else"}, "importer", "I23"),
        ({"/country_of_destination": "FR"}, "destination", "I23"),
    ],
)
def test_what_differs_is_told_before_it_is_signed_and_again_when_it_arrives(
    desks: Desks, changes: dict[str, Any], field: str, code: str
) -> None:
    exporter, importer = desks
    confirmation = importer.say("import-confirmation", 4, changes)
    assert codes(importer.may_say(confirmation)) == {code: "warn", "I07": "warn"}
    assert codes(exporter.hear(confirmation)) == {code: "warn", "I07": "warn"}
    assert both(exporter, importer) is State.CONFIRMED_WITH_DISCREPANCY
    assert [each.field for each in exporter.case().differences] == [field]


def test_a_name_in_other_capitals_is_the_same_name(desks: Desks) -> None:
    exporter, importer = desks
    name = shipment()["data"]["exporter"]["name"]
    confirmation = importer.say("import-confirmation", 4, {"/exporter/name": f"{name.upper()}"})
    assert exporter.hear(confirmation) == []
    assert exporter.case().state is State.CONFIRMED


def test_other_goods_of_the_same_weight_are_a_discrepancy(desks: Desks) -> None:
    exporter, importer = desks
    carats = shipment()["data"]["carats"]
    lines = [{"hs": "7102.21", "carats": carats}]
    assert {line["hs"] for line in shipment()["data"]["lines"]} != {"7102.21"}
    confirmation = importer.say("import-confirmation", 4, {"/found/lines": lines})
    assert codes(exporter.hear(confirmation)) == {"I23": "warn", "I07": "warn"}
    assert both(exporter, importer) is State.CONFIRMED_WITH_DISCREPANCY


def test_what_the_confirmation_lists_itself_is_not_said_again(desks: Desks) -> None:
    exporter, importer = desks
    listed = [{"field": "parcels", "notified": "1", "found": "9", "disposition": "accepted"}]
    changes = {
        "/found/parcels": 9,
        "/outcome": "confirmed_with_discrepancy",
        "/discrepancies": listed,
    }
    assert exporter.hear(importer.say("import-confirmation", 4, changes)) == []


def _lighter(share: str) -> dict[str, Any]:
    draft = shipment()["data"]
    [line] = draft["lines"][:1]
    found = f"{float(draft['carats']) * float(share):.2f}"
    return {
        "/found/carats": found,
        "/found/lines": [{"hs": line["hs"], "carats": found}],
        "/outcome": "confirmed_with_discrepancy",
        "/discrepancies": [{"field": "carats", "found": found, "disposition": "accepted"}],
    }


def test_a_large_difference_of_weight_is_an_irregularity_even_if_it_is_listed(desks: Desks) -> None:
    exporter, importer = desks
    assert codes(exporter.hear(importer.say("import-confirmation", 4, _lighter("0.94")))) == {"I05": "hold"}
    [report] = [each for each in exporter.case().matters if each.kind == "irregularity-report"]
    assert (report.whose, (report.due or report.since) - report.since > timedelta(days=27)) == (("AE",), True)


def test_how_large_is_what_the_importer_has_published(desks: Desks) -> None:
    exporter, importer = desks
    tolerance = {
        "valid_from": "2020-01-01",
        "carats": "0.05",
        "carats_percent": "0.10",
        "value_percent": "25",
        "irregular_percent": "10",
    }
    exporter.practice.publish("AE", Policy.model_validate({"tolerances": [tolerance]}))
    assert exporter.hear(importer.say("import-confirmation", 4, _lighter("0.94"))) == []


# -- to whom, and under which certificate --------------------------------------------------------------------------------


def test_goods_that_turn_up_elsewhere_call_an_officer_before_anything_is_confirmed(desks: Desks) -> None:
    exporter, importer = desks
    elsewhere = Desk("IN", file=list(importer.file))
    arrival = elsewhere.say("arrival-notice", 4, {"/notification": None, "/place": "Surat"})
    assert codes(exporter.hear(arrival)) == {"I02": "hold"}
    assert exporter.case().state is State.NOTIFIED, "and do not change the case of the two"


@pytest.mark.parametrize(
    "name", ["arrival-notice", "irregularity-notice", "return-notice", "discrepancy-query"]
)
@pytest.mark.parametrize("reason", ["stolen", "void"])
def test_goods_under_a_cancelled_certificate_call_officers_of_both_sides(
    desks: Desks, name: str, reason: str
) -> None:
    exporter, importer = desks
    importer.hear(exporter.say("cancellation", 1, {"/reason": reason}))
    every: dict[str, dict[str, Any]] = {
        "arrival-notice": {"/place": "Dubai airport"},
        "discrepancy-query": {"/doubts/0/found": "1.00"},
        "irregularity-notice": {"/irregularities": ["suspected_forgery"], "/description": "A stolen paper."},
        "return-notice": {"/reason": "The certificate was cancelled."},
    }
    changes = every[name]
    notice = importer.say(name, 30, changes)
    assert codes(importer.may_say(notice))["I08"] == "hold", "the inspector hears it first"
    assert codes(exporter.hear(notice))["I08"] == "hold"
    both(exporter, importer)
    [matter] = [each for each in importer.case().matters if each.kind == "confirmation"]
    assert matter.whose == ("AE",)
    assert "what became of it" in matter.text
    said = importer.say("import-confirmation", 40, {"/outcome": "seized"})
    exporter.hear(said)
    assert both(exporter, importer) is State.SEIZED
    assert not [each for each in exporter.case().matters if each.kind == "confirmation"]


def test_goods_come_to_the_authority_whose_notification_was_cancelled_though_another_stands() -> None:
    exporter, pretoria, dubai = Desk("BW"), Desk("ZA"), Desk("AE")
    pretoria.hear(exporter.tell(shipment("ZA")))
    pretoria.hear(exporter.say("cancellation", 1, {"/reason": "notified_in_error"}))
    dubai.hear(exporter.tell(shipment("AE"), 2))
    arrival = pretoria.say("arrival-notice", 4, {"/place": "Johannesburg"})
    assert codes(pretoria.may_say(arrival)) == {"I08": "hold"}
    assert codes(exporter.hear(arrival)) == {"I08": "hold"}, "the same on both sides"


def test_one_importers_figures_are_never_said_to_another(desks: Desks) -> None:
    """What is rejected is answered with its reasons: they must not tell what was notified to somebody else."""
    exporter, importer = desks
    elsewhere = Desk("ZA", file=list(importer.file))
    confirmation = write_confirmation(elsewhere, 4, {"/notification": None} | _lighter("0.5"))
    assert codes(exporter.hear(confirmation)) == {"I02": "hold"}


def test_a_confirmation_is_held_against_the_version_that_it_names(desks: Desks) -> None:
    exporter, importer = desks
    confirmation = importer.say("import-confirmation", 4)
    carats = f"{Decimal(shipment()['data']['carats']) * 2:.2f}"
    [line] = shipment()["data"]["lines"][:1]
    crossed = {"/content/carats": carats, "/content/lines": [line | {"carats": carats}]}
    exporter.say("export-amendment", 5, crossed)
    assert exporter.hear(confirmation) == [], "its author could not know the other"


# -- who knew what -------------------------------------------------------------------------------------------------------


def test_to_know_that_nothing_had_come_is_not_to_know_what_came(desks: Desks) -> None:
    """C5: the cancellation knows `not_received` and has crossed the confirmation that took its place."""
    exporter, importer = desks
    exporter.hear(importer.say("import-confirmation", 4, _nothing()))
    cancellation = exporter.say("cancellation", 8, {"/reason": "not_shipped"})
    assert exporter.may_say(cancellation) == []
    confirmation = importer.say("import-confirmation", 8)
    assert codes(importer.hear(cancellation)) == {"A02": "hold"}
    assert codes(exporter.hear(confirmation)) == {"I08": "hold"}
    assert both(exporter, importer) is State.CROSSED_CANCELLATION


def _nothing() -> dict[str, Any]:
    return {"/outcome": "not_received", "/found": {"parcels": 0, "carats": "0.00", "lines": []}}


def test_the_very_version_that_was_confirmed_is_not_rejected_when_it_comes_after_its_confirmation(
    desks: Desks,
) -> None:
    exporter, importer = desks
    exporter.hear(importer.say("import-confirmation", 4, {"/outcome": "detained"}))
    amendment = exporter.say("export-amendment", 8, {"/content/issuing_authority": "Diamond Hub"})
    assert importer.hear(amendment) == []
    confirmation = importer.say("import-confirmation", 12)
    restored = Desk("AE", file=[item for item in importer.file if item.id != amendment.id])
    assert confirmation in restored.file
    assert restored.hear(amendment) == []
    exporter.hear(confirmation)
    assert both(exporter, restored) is State.CONFIRMED


def test_what_was_confirmed_without_being_named_is_protected_at_its_author_too() -> None:
    exporter, dubai, geneva = Desk("BW"), Desk("AE"), Desk("CH")
    dubai.hear(exporter.tell(shipment()))
    again = shipment("CH")
    second = write(again, "BW", START)  # after a restore
    exporter.file.append(second)
    geneva.hear(second)
    confirmation = write_confirmation(geneva, 4, {"/notification": None})
    geneva.file.append(confirmation)
    exporter.hear(confirmation)
    cancelled = {
        "/cancels": second.id,
        "/reason": "notified_in_error",
        "/knows_confirmation": confirmation.id,
    }
    cancellation = exporter.say("cancellation", 8, cancelled)
    assert codes(exporter.may_say(cancellation))["A01"] == "reject"


def test_an_amendment_says_what_it_changes_and_nothing_else(desks: Desks) -> None:
    exporter, importer = desks
    changes = {"/content/parcels": 7, "/changed": ["/carats"]}
    problems = importer.hear(exporter.say("export-amendment", 1, changes))
    told = [(problem.variant, problem.pointer) for problem in problems if problem.code == "A18"]
    assert told == [("same", "/data/changed/0"), ("unnamed", "/data/content/parcels")]


# -- whose number --------------------------------------------------------------------------------------------------------


def _technical(author: str, recipient: str) -> dict[str, Any]:
    """A technical certificate that bears Botswana's letters."""
    draft = shipment(recipient, exporter=author)
    certificate = shipment()["data"]["certificate"] | {"kind": "technical", "issuer": author}
    data = draft["data"] | {
        "certificate": certificate,
        "purpose": "return",
        "references": ["BW 000777"],
    }
    return draft | {"type": "technical-certificate-notice", "data": data}


@pytest.mark.parametrize("recipient", ["BW", "AE"])
def test_what_others_ask_or_write_about_a_number_changes_no_case_under_a_technical_certificate(
    recipient: str,
) -> None:
    geneva, there = Desk("CH"), Desk(recipient)
    there.hear(geneva.tell(_technical("CH", recipient)))
    geneva.hear(there.say("import-confirmation", 4))
    before = there.case()
    assert before.state is State.CONFIRMED
    certificate = shipment()["data"]["certificate"]
    if recipient == "BW":
        asks = {"type": "certificate-query", "recipient": "BW", "data": {"certificate": certificate}}
        there.hear(write(asks, "ZA", START))
    else:
        says = {
            "type": "message",
            "recipient": "AE",
            "subject": "BW000001",
            "data": {"certificate": certificate, "text": "x"},
        }
        there.hear(write(says, "BW", START))
    after = there.case()
    assert (after.state, after.exporter, after.confirmations) == (before.state, "CH", before.confirmations)


def test_a_technical_notice_is_amended_as_any_other() -> None:
    geneva, gaborone = Desk("CH"), Desk("BW")
    gaborone.hear(geneva.tell(_technical("CH", "BW")))
    amendment = geneva.say("export-amendment", 1, {"/content/parcels": 7})
    assert "A18" not in codes(gaborone.hear(amendment))
    assert gaborone.case().revision == 1


def test_the_issuers_word_that_a_number_is_none_of_its_own_is_heard_whoever_notified_it() -> None:
    """Somebody notifies another's number, and the importer asks the issuer: its answer must not be drowned."""
    dubai, gaborone = Desk("AE"), Desk("BW")
    dubai.hear(Desk("ZA").tell(_technical("ZA", "AE")))
    certificate = shipment()["data"]["certificate"] | {"kind": "kp"}
    query = dubai.tell(
        {"type": "certificate-query", "recipient": "BW", "data": {"certificate": certificate}}, 1
    )
    gaborone.hear(query)
    dubai.hear(gaborone.answer(query, 2))
    assert dubai.case().state is State.SUSPECTED_COUNTERFEIT


def test_nobody_disturbs_a_number_that_its_owner_has_notified(desks: Desks) -> None:
    exporter, importer = desks
    before = importer.case()
    importer.hear(Desk("ZA").tell(_technical("ZA", "AE"), 1))
    exporter.hear(Desk("ZA").tell(_technical("ZA", "BW"), 1))
    assert importer.case() == before == exporter.case()
    assert fold("BW000001", exporter.file, Practice("BW")) == before
