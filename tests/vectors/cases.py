"""Writes ``protocol/vectors/cases``: what the documents about one certificate come to, one conversation in each file.

``python -m tests.vectors.cases`` writes the files anew; a test holds what is on disk against :func:`build`, and folds every file in many
orders. The conversations are held at the desks of `tests.conversation`, where everybody says only what his own file tells him; ids and
times follow from what is said, so the same bytes come out each time. What a case must come to is computed, and its state stands
here by hand, so that a change of the fold shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from kpmsg import documents
from kpmsg.case import Case, fold
from kpmsg.case.objections import objections
from kpmsg.case.standing import Filed
from kpmsg.case.states import State
from kpmsg.policy import Policy, Practice
from kpmsg.policy.screening import screen
from tests.conversation import START, Desk, Written, shipment, write

FOLDER: Final = Path(__file__).parents[2] / "protocol" / "vectors" / "cases"
NUMBER: Final = "BW000001"

Json = dict[str, Any]


# -- reading one ---------------------------------------------------------------------------------------------------------


def read(scenario: Json) -> list[Filed]:
    """The documents of a scenario, each under the digest of its bytes, in the order in which they stand there."""
    payloads = [text.encode() for text in scenario["input"]["documents"]]
    return [Filed(hashlib.sha256(payload).hexdigest(), documents.parse(payload)) for payload in payloads]


def practice_of(scenario: Json, me: str) -> Practice:
    """What `me` knows of everybody's published policies in a scenario."""
    practice = Practice(me)
    for address, policy in scenario["given"]["policies"].items():
        practice.publish(address, Policy.model_validate(policy))
    return practice


def said_of(case: Case) -> Json:
    """A case in the form of ``expect``: all of it but the sentences."""
    members = case.members()
    del members["meaning"]
    for matter in members["matters"]:
        del matter["text"]
    written: Json = json.loads(json.dumps(members))
    return written


def run(scenario: Json, items: Sequence[Filed] | None = None) -> Json:
    """What the documents come to, and what the recipient of the last one says against it; `items` in another order if given."""
    written = read(scenario)
    last = written[-1]
    me = last.document.recipient
    practice = practice_of(scenario, me)
    given = scenario["given"]
    found = [] if last.data is None else last.data.breaches(last.document)
    found += screen(last.document, practice, received=datetime.fromisoformat(given["received"]))
    found += objections(last, written[:-1], practice, ours=False)
    told = [
        {"code": problem.code, "severity": problem.severity, "pointer": problem.pointer} for problem in found
    ]
    return {
        "ids": [item.id for item in written],
        "case": said_of(fold(given["key"], items or written, practice)),
        "objections": sorted(told, key=lambda each: (each["code"], each["pointer"] or "")),
    }


# -- writing them --------------------------------------------------------------------------------------------------------


class Talk:
    """Botswana and the United Arab Emirates, and one certificate. Hours count from `START`."""

    def __init__(self) -> None:
        self.bw, self.ae = Desk("BW"), Desk("AE")
        self.policies: Json = {}
        self.received: datetime | None = None

    def notified(self) -> Written:
        item = self.bw.tell(shipment())
        self.ae.hear(item)
        return _bytes_of(item)

    def bw_says(self, name: str, hours: float, /, **changes: Any) -> Written:
        """Botswana says it, and it arrives. Changes are named by their place, with two underscores between steps."""
        return self._say(self.bw, self.ae, name, hours, changes)

    def ae_says(self, name: str, hours: float, /, **changes: Any) -> Written:
        return self._say(self.ae, self.bw, name, hours, changes)

    def rejects(self, desk: Desk, item: Filed, hours: float) -> Written:
        """The signed answer to what breaks a rule; both have it."""
        other = self.bw if desk is self.ae else self.ae
        problems = objections(item, desk.file, desk.practice, ours=False)
        rejection = desk.reject(item, problems, hours)
        other.hear(rejection)
        return _bytes_of(rejection)

    def _say(self, desk: Desk, other: Desk, name: str, hours: float, changes: Json) -> Written:
        item = desk.say(name, hours, {f"/{place.replace('__', '/')}": v for place, v in changes.items()})
        other.hear(item)
        return _bytes_of(item)

    def both(self, *items: Filed) -> None:
        """Documents that both have, whoever wrote them."""
        for desk in (self.bw, self.ae):
            desk.file += [item for item in items if item not in desk.file]


Tale = Callable[[Talk], Written | None]
"""Holds a conversation. Returns the document that came last, if it is not the one that was written last."""

_T = TypeVar("_T", bound=Tale)
TALES: Final[dict[str, tuple[str, str, State, Tale]]] = {}


def tale(name: str, rule: str, state: State, description: str) -> Callable[[_T], _T]:
    """Register a conversation: file name, what it shows, what it comes to at Botswana's desk."""

    def register(function: _T) -> _T:
        assert name not in TALES, name
        TALES[name] = (rule, description, state, function)
        return function

    return register


def build() -> dict[str, bytes]:
    """Every file of the folder, by name."""
    files = {}
    for name, (rule, description, state, function) in TALES.items():
        talk = Talk()
        last = function(talk)
        items = sorted(
            map(_bytes_of, talk.bw.file),
            key=lambda item: (last is not None and item.id == last.id, item.document.time, item.id),
        )
        received = talk.received or items[-1].document.time + timedelta(minutes=1)
        scenario: Json = {
            "description": description,
            "rule": rule,
            "act": "case",
            "given": {
                "key": NUMBER,
                "policies": talk.policies,
                "received": received.isoformat().replace("+00:00", "Z"),
            },
            "input": {"documents": [item.payload.decode() for item in items]},
        }
        scenario["expect"] = run(scenario)
        found = scenario["expect"]["case"]["state"]
        assert found == state, f"{name}: {found}"
        files[f"{name}.json"] = (json.dumps(scenario, indent=1, ensure_ascii=False) + "\n").encode()
    return files


def _bytes_of(item: Filed) -> Written:
    assert isinstance(item, Written)
    return item


def _again(**data: Any) -> Json:
    """Another shipment under the same number."""
    other = shipment(n=7)
    other["data"] |= {"certificate": shipment()["data"]["certificate"], **data}
    return other


def _draft(name: str, recipient: str, **data: Any) -> Json:
    return {
        "type": name,
        "recipient": recipient,
        "data": {"certificate": shipment()["data"]["certificate"], **data},
    }


def _blind(talk: Talk, hours: float = 3) -> Written:
    """A confirmation by an authority that has not been notified."""
    notification = write(shipment(), "BW", START)
    item = Desk("AE", file=[notification]).say("import-confirmation", hours, {"/notification": None})
    talk.both(item)
    return _bytes_of(item)


def _foreign(talk: Talk, item: Written, source: str, hours: float) -> Written:
    """The same confirmation by another authority, which only the exporter gets."""
    data = json.loads(item.payload)["data"] | {"notification": None}
    data["confirmed_by"] |= {"authority": source}
    draft = {"type": "import-confirmation", "recipient": "BW", "data": data}
    other = write(draft, source, START + timedelta(hours=hours))
    talk.bw.hear(other)
    return other


EMPTY: Final = {"parcels": 0, "carats": "0.00", "lines": []}


# -- states --------------------------------------------------------------------------------------------------------------


@tale("state-notified", "state", State.NOTIFIED, "notified, and nothing else")
def _notified(talk: Talk) -> None:
    talk.notified()


@tale("state-arrived", "state", State.ARRIVED, "presented; a decision is promised for a day")
def _arrived(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("arrival-notice", 30, place="Dubai", decision_expected="2026-03-30")


@tale("state-confirmed", "state", State.CONFIRMED, "confirmed as notified")
def _confirmed(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 30)


@tale(
    "state-confirmed-with-discrepancy",
    "state",
    State.CONFIRMED_WITH_DISCREPANCY,
    "one parcel more than notified; a query is open",
)
def _discrepancy(talk: Talk) -> None:
    talk.notified()
    listed = [{"field": "parcels", "found": "99", "disposition": "under_query"}]
    talk.ae_says(
        "import-confirmation",
        30,
        outcome="confirmed_with_discrepancy",
        found__parcels=99,
        discrepancies=listed,
    )
    talk.ae_says("discrepancy-query", 31, doubts=[{"field": "parcels", "notified": "1", "found": "99"}])


@tale(
    "state-confirmed-after-remedy",
    "state",
    State.CONFIRMED_AFTER_REMEDY,
    "detained, then confirmed after a fault was remedied: the second supersedes the first",
)
def _remedied(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 30, outcome="detained")
    talk.ae_says("import-confirmation", 60, outcome="confirmed_after_remedy")


@tale("state-partly-confirmed", "state", State.PARTLY_CONFIRMED, "a part has been confirmed; the rest is due")
def _partly(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 30, outcome="partial")


@tale("state-detained", "state", State.DETAINED, "detained: the irregularity notice is due, and a decision")
def _detained(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 30, outcome="detained")


@tale("state-returned", "state", State.RETURNED, "refused and returned; the confirmation of it is due")
def _returned(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("irregularity-notice", 30, irregularities=["weight"], description="Too light.")
    talk.ae_says("return-notice", 40, reason="Refused.")


@tale(
    "state-seized",
    "state",
    State.SEIZED,
    "seized, told by the irregularity notice alone; the confirmation is due",
)
def _seized(talk: Talk) -> None:
    talk.notified()
    talk.ae_says(
        "irregularity-notice",
        30,
        irregularities=["not_rough_diamonds"],
        measure="seized",
        description="Glass.",
    )


@tale("state-not-received", "state", State.NOT_RECEIVED, "asked for, and not there")
def _not_received(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("confirmation-request", 24 * 40)
    talk.ae_says("import-confirmation", 24 * 42, outcome="not_received", found=EMPTY)


@tale("state-cancelled", "state", State.CANCELLED, "cancelled as void")
def _cancelled(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("cancellation", 1)


@tale("state-replaced", "state", State.REPLACED, "replaced by another certificate")
def _replaced(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("cancellation", 1, reason="replaced", replaced_by="BW 000002")


@tale(
    "state-lost-or-stolen",
    "state",
    State.LOST_OR_STOLEN,
    "cancelled twice, as void and as stolen: the graver one is said",
)
def _stolen(talk: Talk) -> None:
    notification = talk.notified()
    for hours, reason in ((1, "void"), (2, "stolen")):
        desk = Desk("BW", file=[notification])
        talk.both(desk.say("cancellation", hours, {"/reason": reason}))


@tale(
    "state-arrived-despite-cancellation",
    "state",
    State.ARRIVED_DESPITE_CANCELLATION,
    "cancelled, and the shipment came all the same",
)
def _despite(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("cancellation", 1)
    talk.ae_says("import-confirmation", 30)


@tale("state-confirmed-unannounced", "state", State.CONFIRMED_UNANNOUNCED, "confirmed, and not notified yet")
def _unannounced(talk: Talk) -> None:
    _blind(talk)


@tale("state-arrived-unannounced", "state", State.ARRIVED_UNANNOUNCED, "presented, and not notified yet")
def _presented(talk: Talk) -> None:
    draft = _draft("arrival-notice", "BW", notification=None, date_presented="2026-03-03", place="Dubai")
    talk.both(write(draft, "AE", START + timedelta(hours=30)))


@tale(
    "state-suspected-counterfeit",
    "state",
    State.SUSPECTED_COUNTERFEIT,
    "the issuer was asked, and never issued the number",
)
def _unknown(talk: Talk) -> None:
    query = write(_draft("certificate-query", "BW"), "AE", START)
    talk.both(query)
    talk.ae.hear(talk.bw.answer(query, 1))


@tale(
    "state-waits-for-notification",
    "state",
    State.WAITS_FOR_NOTIFICATION,
    "an amendment is here, the notification is not",
)
def _waits(talk: Talk) -> None:
    desk = Desk("BW", file=[write(shipment(), "BW", START)])
    talk.both(desk.say("export-amendment", 1, {"/content/issuing_authority": "Diamond Hub"}))


@tale("state-in-transit", "state", State.IN_TRANSIT, "the shipment passes through")
def _transit(talk: Talk) -> None:
    data: Json = {"destination": "IN", "parcels": 1, "carats": "10.00", "places": ["Dubai"]}
    data |= {"expected_entry": "2026-03-04", "expected_exit": "2026-03-05"}
    talk.both(write(_draft("transit-notice", "AE", **data), "BW", START))


@tale("state-asked-about", "state", State.ASKED_ABOUT, "the issuer has been asked, and has not answered")
def _asked(talk: Talk) -> None:
    talk.both(write(_draft("certificate-query", "BW", parcels=1), "AE", START))


@tale("state-rejected", "state", State.REJECTED, "the notification was rejected; a corrected one is due")
def _rejected(talk: Talk) -> None:
    notification = talk.notified()
    reasons = [{"code": "P02", "severity": "reject", "text": "Suspended."}]
    draft: Json = {"type": "rejection", "recipient": "BW", "subject": NUMBER}
    draft |= {"data": {"refers_to": notification.id, "reasons": reasons}}
    talk.both(write(draft, "AE", START + timedelta(hours=1)))


@tale("state-undetermined", "state", State.UNDETERMINED, "a message about a number, and nothing else")
def _undetermined(talk: Talk) -> None:
    talk.both(write(_draft("message", "BW", text="Do you know it?", answer_wanted=True), "AE", START))


# -- matters that no state shows -------------------------------------------------------------------------------------------


@tale("matter-request", "matter", State.NOTIFIED, "asked where it is: a status is due, and the confirmation")
def _requested(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("confirmation-request", 24 * 40)


@tale("matter-status", "matter", State.NOTIFIED, "answered: a decision is promised, and due on that day")
def _promised(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("confirmation-request", 24 * 40)
    talk.ae_says("confirmation-status", 24 * 41, standing="under_inspection", decision_expected="2026-04-20")


@tale(
    "matter-wish",
    "matter",
    State.ARRIVED,
    "the day wished for stays, although the arrival notice promises an earlier one",
)
def _wished(talk: Talk) -> None:
    draft = shipment()
    draft["data"]["confirmation"] = {"requested": True, "reply_by": "2026-05-20"}
    talk.ae.hear(talk.bw.tell(draft))
    talk.ae_says("arrival-notice", 24, place="Dubai", decision_expected="2026-03-20")


@tale("matter-no-answer", "matter", State.ASKED_ABOUT, "a message does not answer a certificate query")
def _no_answer(talk: Talk) -> None:
    query = write(_draft("certificate-query", "BW", parcels=1), "AE", START)
    talk.both(query)
    said = _draft("message", "AE", in_reply_to=query.id, text="We shall look into it.")
    talk.both(write(said, "BW", START + timedelta(hours=1)))


@tale("matter-investigation", "matter", State.ARRIVED, "a query was answered: it is being looked into")
def _investigated(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("discrepancy-query", 5, doubts=[{"field": "parcels", "notified": "1", "found": "99"}])
    answers = [{"field": "parcels", "verdict": "investigating"}]
    talk.bw_says("discrepancy-response", 6, answers=answers, instruction="hold")


@tale(
    "matter-refused", "matter", State.NOTIFIED, "a cancellation was rejected, and nothing has been confirmed"
)
def _refused(talk: Talk) -> None:
    talk.notified()
    cancellation = talk.bw_says("cancellation", 1, reason="stolen")
    draft: Json = {"type": "rejection", "recipient": "BW", "subject": NUMBER}
    reasons = [{"code": "S06", "severity": "reject", "text": "Dated a day ahead."}]
    draft |= {"data": {"refers_to": cancellation.id, "reasons": reasons}}
    talk.both(write(draft, "AE", START + timedelta(hours=2)))


# -- the conflict table --------------------------------------------------------------------------------------------------


@tale("C1-again", "C1", State.NOTIFIED, "the same document twice is one")
def _c1(talk: Talk) -> Written:
    return talk.notified()


@tale("C2-notified-twice", "C2", State.NOTIFIED_TWICE, "one number, two notifications")
def _c2(talk: Talk) -> None:
    talk.notified()
    talk.ae.hear(talk.bw.tell(_again(), 1))


@tale("C2-resolved", "C2", State.NOTIFIED, "resolved: one of the two is cancelled as a mistake")
def _c2_resolved(talk: Talk) -> None:
    first = talk.notified()
    talk.ae.hear(talk.bw.tell(_again(), 1))
    talk.bw_says("cancellation", 2, cancels=first.id, reason="notified_in_error")


@tale(
    "C2-stolen-again",
    "C2",
    State.NOTIFIED_TWICE,
    "a stolen number does not come back by being notified again",
)
def _c2_stolen(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("cancellation", 1, reason="stolen")
    talk.ae.hear(talk.bw.tell(_again(), 2))


@tale("C2-amended-twice", "C2", State.AMENDED_TWICE, "one version, two amendments: none is chosen")
def _amended_twice(talk: Talk) -> None:
    notification = talk.notified()
    talk.bw_says("export-amendment", 1, content__issuing_authority="Diamond Hub")
    desk = Desk("BW", file=[notification])
    talk.both(desk.say("export-amendment", 2, {"/content/issuing_authority": "Government Valuator"}))


@tale("C3-amended", "C3", State.NOTIFIED, "amended before it was confirmed")
def _c3(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("export-amendment", 1, content__issuing_authority="Diamond Hub")


@tale("C3-crossed-amendment", "C3", State.CROSSED_AMENDMENT, "an amendment of what was released already")
def _c3_crossed(talk: Talk) -> Written:
    talk.notified()
    amendment = talk.bw.say("export-amendment", 5, {"/content/issuing_authority": "Diamond Hub"})
    talk.ae_says("import-confirmation", 4)
    talk.ae.hear(amendment)
    return _bytes_of(amendment)


@tale("C3-resolved", "C3", State.CONFIRMED, "the amendment that crossed has been rejected")
def _c3_resolved(talk: Talk) -> None:
    talk.rejects(talk.ae, _c3_crossed(talk), 6)


@tale("C4-amendment", "C4", State.CROSSED_AMENDMENT, "amended in full knowledge of the confirmation")
def _c4(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 4)
    talk.bw_says("export-amendment", 8, content__issuing_authority="Diamond Hub")


@tale(
    "C4-cancellation", "C4", State.CONFIRMED, "cancelled in full knowledge of the confirmation, and rejected"
)
def _c4_cancelled(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 4)
    talk.rejects(talk.ae, talk.bw_says("cancellation", 8), 9)


@tale("C5-cancellation-comes", "C5", State.CROSSED_CANCELLATION, "crossed; seen by the importer")
def _c5(talk: Talk) -> Written:
    talk.notified()
    cancellation = talk.bw.say("cancellation", 5)
    talk.ae_says("import-confirmation", 5)
    talk.ae.hear(cancellation)
    return _bytes_of(cancellation)


@tale("C5-confirmation-comes", "C5", State.CROSSED_CANCELLATION, "crossed; seen by the exporter")
def _c5_other(talk: Talk) -> Written:
    _c5(talk)
    return _bytes_of(talk.bw.file[-1])


@tale("C5-cancellation-withdrawn", "C5", State.CONFIRMED, "resolved by the exporter")
def _c5_exporter(talk: Talk) -> None:
    _c5(talk)
    talk.bw_says("withdrawal", 30, reason="Agreed on the telephone.")


@tale("C5-confirmation-withdrawn", "C5", State.CANCELLED, "resolved by the importer, who takes back")
def _c5_importer(talk: Talk) -> None:
    _c5(talk)
    talk.ae_says("withdrawal", 30, reason="Agreed on the telephone.")


@tale(
    "C5-corrected",
    "C5",
    State.ARRIVED_DESPITE_CANCELLATION,
    "resolved by the importer, who corrects, now that it knows",
)
def _c5_corrected(talk: Talk) -> None:
    cancellation = _c5(talk)
    talk.ae_says(
        "confirmation-correction",
        30,
        content__outcome="arrived_despite_cancellation",
        content__knows_cancellation=cancellation.id,
    )


@tale(
    "C5-notified-anew",
    "C5",
    State.CROSSED_CANCELLATION,
    "cancelled as a mistake after it was confirmed, and notified anew",
)
def _c5_slip(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 4)
    talk.bw_says("cancellation", 5, reason="notified_in_error", knows_confirmation=None)
    talk.ae.hear(talk.bw.tell(_again(), 6))


@tale(
    "C6-wrong",
    "C6",
    State.CROSSED_CANCELLATION,
    "the cancellation is known, and it is confirmed as if it were not",
)
def _c6(talk: Talk) -> None:
    talk.notified()
    talk.bw_says("cancellation", 1)
    talk.ae_says("import-confirmation", 30, outcome="confirmed")


@tale(
    "C7-confirmed-twice",
    "C7",
    State.CONFIRMED_TWICE,
    "two confirmations by one authority, neither superseding",
)
def _c7(talk: Talk) -> None:
    notification = talk.notified()
    talk.ae_says("import-confirmation", 4)
    second = Desk("AE", file=[notification]).say("import-confirmation", 5, {"/found/parcels": 99})
    talk.both(second)


@tale("C7-rejected", "C7", State.CONFIRMED, "the second has been rejected; the first stays")
def _c7_rejected(talk: Talk) -> None:
    _c7(talk)
    talk.rejects(talk.bw, talk.bw.file[-1], 6)


@tale("C7-not-received-first", "C7", State.CONFIRMED, '"not received" does not exclude what came later')
def _c7_late(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 24 * 30, outcome="not_received", found=EMPTY)
    talk.ae_says("import-confirmation", 24 * 31)


@tale("C8-used-twice", "C8", State.USED_TWICE, "two authorities have confirmed one number")
def _c8(talk: Talk) -> None:
    talk.notified()
    _foreign(talk, talk.ae_says("import-confirmation", 4), "EU/antwerp", 7)


@tale("C8-diverted", "C8", State.CONFIRMED, "another authority than the one notified has confirmed it")
def _c8_diverted(talk: Talk) -> None:
    notification = talk.notified()
    confirmation = Desk("AE", file=[notification]).say("import-confirmation", 4)
    _foreign(talk, _bytes_of(confirmation), "EU/antwerp", 7)


@tale(
    "C8-others",
    "C8",
    State.NOTIFIED,
    "what a third authority says of a shipment between two others counts for nothing",
)
def _c8_others(talk: Talk) -> None:
    notification = talk.notified()
    nothing = Desk("AE", file=[notification]).say(
        "import-confirmation", 24 * 20, {"/outcome": "not_received", "/found": EMPTY}
    )
    _foreign(talk, _bytes_of(nothing), "ZA", 24 * 20)
    draft = _draft("arrival-notice", "BW", notification=None, date_presented="2026-03-03", place="Durban")
    talk.bw.hear(write(draft, "ZA", START + timedelta(hours=30)))


@tale("C9-notified-late", "C9", State.CONFIRMED, "notified after it was confirmed")
def _c9(talk: Talk) -> Written:
    _blind(talk)
    return talk.notified()


@tale(
    "C9-never-issued",
    "C9",
    State.SUSPECTED_COUNTERFEIT,
    "confirmed under a number that was never issued, which the issuer says",
)
def _c9_unknown(talk: Talk) -> None:
    talk.rejects(talk.bw, _blind(talk), 4)


@tale(
    "C9-not-known",
    "C9",
    State.CONFIRMED_UNANNOUNCED,
    "the confirmation of a number that was never issued, as it comes",
)
def _c9_comes(talk: Talk) -> Written:
    return _blind(talk)


@tale(
    "C9-others-say-unknown",
    "C9",
    State.ARRIVED_UNANNOUNCED,
    "a third authority does not say what the issuer has issued",
)
def _c9_foreign(talk: Talk) -> None:
    _presented(talk)
    query = write(_draft("certificate-query", "BW"), "AE", START + timedelta(hours=31))
    talk.both(query)
    said = _draft("certificate-answer", "AE", query=query.id, finding="unknown")
    said["data"]["certificate"] = said["data"]["certificate"] | {"issuer": "ZA"}
    talk.both(write(said, "ZA", START + timedelta(hours=32)))


@tale("C10-late", "C10", State.CONFIRMED, "confirmed after the certificate had expired")
def _c10(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 24 * 90)


@tale(
    "C11-discrepancy",
    "C11",
    State.CONFIRMED_WITH_DISCREPANCY,
    "said to be as notified, but a parcel more was found",
)
def _c11(talk: Talk) -> None:
    talk.notified()
    talk.ae_says("import-confirmation", 4, found__parcels=99)


@tale("C11-tolerated", "C11", State.CONFIRMED, "a value within the tolerance that the importer has published")
def _c11_tolerated(talk: Talk) -> None:
    wide = {"valid_from": "2026-01-01", "carats": "5.00", "carats_percent": "50", "value_percent": "100"}
    talk.policies = {"AE": {"tolerances": [wide]}}
    talk.notified()
    talk.ae_says("import-confirmation", 4, found__value_usd="1.00")


@tale(
    "C12-suspended",
    "C12",
    State.NOTIFIED,
    "the recipient has published that it holds the issuer to be suspended; not answered yet",
)
def _c12(talk: Talk) -> None:
    entry = {"participant": "BW", "standing": "suspended", "valid_from": "2026-01-01"}
    talk.policies = {"AE": {"standing": [entry]}}
    talk.notified()


@tale(
    "C13-outside-the-ranges",
    "C13",
    State.NOTIFIED,
    "a number outside the ranges that its issuer has published",
)
def _c13(talk: Talk) -> None:
    series = {"letters": "BW", "digits": 6, "valid_from": "2020-01-01"}
    talk.policies = {"BW": {"numbers": [series | {"ranges": [{"first": 500, "last": 900}]}]}}
    talk.notified()


@tale(
    "C14-two-importers",
    "C14",
    State.NOTIFIED_TWICE,
    "one number notified to two importers, as its issuer sees it",
)
def _c14(talk: Talk) -> None:
    first = talk.notified()
    second = write(shipment("EU/antwerp") | {"recipient": "EU/antwerp"}, "BW", START + timedelta(hours=1))
    talk.bw.file.append(second)
    talk.bw.hear(Desk("AE", file=[first]).say("import-confirmation", 4))


@tale(
    "C15-back-dated",
    "C15",
    State.NOTIFIED,
    "it came long after the time that it bears: shown, never called fraud",
)
def _c15(talk: Talk) -> None:
    talk.notified()
    talk.received = START + timedelta(days=20)


@tale("C16-unknown-type", "C16", State.NOTIFIED, "a type that is not understood: kept, and rejected with S07")
def _c16(talk: Talk) -> Written:
    notification = talk.notified()
    document = json.loads(notification.payload) | {
        "id": "019cb2f8-0c00-7a4e-a1f5-3d2c1b0a9e88",
        "type": "org.kimberley.export-telegram.v3",
        "time": "2026-03-02T10:00:00Z",
        "data": {"anything": True},
    }
    payload = json.dumps(document, separators=(",", ":")).encode()
    item = Written(hashlib.sha256(payload).hexdigest(), documents.parse(payload), payload)
    talk.both(item)
    return item


# -- the race rules ------------------------------------------------------------------------------------------------------


@tale(
    "race-a-crossed",
    "race a",
    State.CROSSED_CANCELLATION,
    "a cancellation crosses an interim confirmation: that is one too",
)
def _race_a(talk: Talk) -> Written:
    talk.notified()
    cancellation = talk.bw.say("cancellation", 5)
    talk.ae_says("import-confirmation", 5, outcome="detained")
    talk.ae.hear(cancellation)
    return _bytes_of(cancellation)


def _queried(talk: Talk) -> Written:
    talk.notified()
    talk.ae_says("import-confirmation", 4, found__parcels=99)
    return talk.ae_says("discrepancy-query", 5, doubts=[{"field": "parcels", "notified": "1", "found": "99"}])


@tale(
    "race-b-outcome-of-a-query",
    "race b",
    State.CONFIRMED,
    "amended after the confirmation, because the importer had asked",
)
def _race_b(talk: Talk) -> None:
    _queried(talk)
    talk.bw_says("discrepancy-response", 30)
    talk.bw_says("export-amendment", 31, content__parcels=99)


@tale(
    "race-b-nobody-asked", "race b", State.CROSSED_AMENDMENT, "amended as the outcome of a query that is none"
)
def _race_b_none(talk: Talk) -> None:
    talk.notified()
    message = talk.ae_says("message", 3, text="It has come.")
    talk.ae_says("import-confirmation", 4, found__parcels=99)
    talk.bw_says(
        "export-amendment", 31, content__parcels=99, reason="outcome_of_query", outcome_of=message.id
    )


@tale(
    "race-c-superseded",
    "race c",
    State.CONFIRMED,
    "the interim confirmation comes after the one that supersedes it",
)
def _race_c(talk: Talk) -> Written:
    talk.notified()
    first = talk.ae_says("import-confirmation", 4, outcome="detained")
    talk.ae_says("import-confirmation", 9)
    return first


@tale("race-d-amendment-first", "race d", State.NOTIFIED, "an amendment came before its notification")
def _race_d(talk: Talk) -> Written:
    notification = talk.notified()
    talk.bw_says("export-amendment", 1, content__issuing_authority="Diamond Hub")
    return notification


@tale(
    "race-d-cancellation-first", "race d", State.LOST_OR_STOLEN, "a cancellation came before its notification"
)
def _race_d_cancelled(talk: Talk) -> Written:
    notification = talk.notified()
    talk.bw_says("cancellation", 1, reason="stolen")
    return notification


@tale(
    "race-e-notification-last",
    "race e",
    State.CONFIRMED_WITH_DISCREPANCY,
    "notified after the confirmation: attached and compared, nothing reopened",
)
def _race_e(talk: Talk) -> Written:
    notification = write(shipment(), "BW", START + timedelta(hours=9))
    desk = Desk("AE", file=[notification])
    confirmation = desk.say("import-confirmation", 3, {"/notification": None, "/found/parcels": 99})
    talk.both(confirmation, notification)
    return notification


@tale(
    "race-f-same-id", "race f", State.NOTIFIED_TWICE, "the same message id over other bytes, not answered yet"
)
def _race_f(talk: Talk) -> Written:
    notification = talk.notified()
    forged = write(_again(), "BW", START + timedelta(hours=1), message_id=notification.document.id)
    talk.both(forged)
    return forged


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in build().items():
        (FOLDER / name).write_bytes(content)
