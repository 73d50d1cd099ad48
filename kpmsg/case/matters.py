"""What is still open in a case, whose move it is, and by which day: the stuff of work lists.

A matter is opened by documents and closed by documents. Nobody ticks it off, so both authorities see the same list, and an answer
that was written but never arrived leaves it open. The day on which it is due follows from the rules that the authority whose
move it is has published, with its own calendar; no clock is known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, Literal

from kpmsg.case.differences import irregular
from kpmsg.case.standing import INTERIM, Confirmed, Filed, Standing, answers, content_of
from kpmsg.documents import (
    ArrivalNotice,
    Cancellation,
    CertificateAnswer,
    CertificateQuery,
    ConfirmationRequest,
    ConfirmationStatus,
    DiscrepancyQuery,
    DiscrepancyResponse,
    IrregularityNotice,
    Message,
    Rejection,
    ReturnNotice,
)
from kpmsg.policy import Practice

Kind = Literal[
    "confirmation",
    "request",
    "query",
    "investigation",
    "discrepancy",
    "irregularity-report",
    "notification",
    "correction",
    "counterfeit",
    "certificate-query",
    "dispute",
    "message",
    "expiry",
]

_SENTENCES: Final[dict[Kind, str]] = {
    "confirmation": "The import confirmation is due.",
    "request": "The exporting authority has asked where the shipment is; a status reply or the confirmation is due.",
    "query": "The importing authority has asked about a discrepancy; an answer is due.",
    "investigation": "The discrepancy is being looked into; its outcome is awaited.",
    "discrepancy": "What was found differs from what was notified; the exporting authority has not said anything about it.",
    "irregularity-report": "The shipment was found irregular; the irregularity notice to the exporting authority is due.",
    "notification": "The shipment came without a notification; it is due, even late, unless the number was never issued.",
    "correction": "What the exporting authority said was rejected; a corrected document is due.",
    "counterfeit": "The issuer never issued this number; the importing authority must secure the goods and report.",
    "certificate-query": "The issuer has been asked about this number; its answer is due.",
    "dispute": "Documents exclude one another; officers must agree which holds.",
    "message": "A message asks for an answer.",
    "expiry": "The certificate has expired, and nothing has come from the importing authority: ask, or cancel it.",
}

_FAULTY: Final = frozenset({"detained", "seized", "refused_returned", "confirmed_after_remedy"})
"""Outcomes by which a confirmation says itself that something was wrong."""

_CAME_ALL_THE_SAME: Final = (
    "A shipment came under a cancelled certificate; the exporting authority has not said anything about it."
)
_PRESENTED: Final = (
    "A shipment was presented under a certificate that has been cancelled; say what became of it."
)


@dataclass(frozen=True, slots=True)
class Matter:
    """One open matter: what, whose move (authority addresses), by which document, since when and until when.

    `since` and `due` are days. A matter whose `since` lies in the future is `dormant`: it becomes somebody's move on that day
    if nothing has happened until then (the expiry of a certificate).
    """

    kind: Kind
    whose: tuple[str, ...]
    document: str | None
    since: date
    due: date | None
    text: str
    dormant: bool = False

    def members(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "whose": list(self.whose),
            "document": self.document,
            "since": self.since.isoformat(),
            "due": None if self.due is None else self.due.isoformat(),
            "text": self.text,
            "dormant": self.dormant,
        }


@dataclass(frozen=True, slots=True)
class Scene:
    """What the fold has found out so far. `versions`: the notification that holds and its amendments, oldest first."""

    standing: Standing
    state: str
    disputed: bool
    exporter: str | None
    importer: str | None
    issuer: str
    versions: list[Filed]
    cancellation: Filed | None
    confirmed: Confirmed | None


def open_matters(scene: Scene, practice: Practice, *, beyond: bool) -> tuple[Matter, ...]:
    """Everything that is open, the most urgent first. `beyond`: a difference exceeds the tolerance."""
    found = [
        *_disputes(scene),
        *_confirmation(scene, practice),
        *_presented(scene, practice),
        *_queries(scene, practice),
        *_after_confirmation(scene, practice, beyond=beyond),
        *_unannounced(scene),
        *_refused(scene),
        *_correspondence(scene, practice),
    ]
    return tuple(sorted(found, key=lambda m: (m.dormant, m.due or date.max, m.kind, m.document or "")))


def _matter(
    kind: Kind,
    whose: str | None,
    item: Filed | None,
    since: date,
    due: date | None = None,
    *,
    dormant: bool = False,
) -> Iterator[Matter]:
    if whose is not None:
        yield Matter(kind, (whose,), None if item is None else item.id, since, due, _SENTENCES[kind], dormant)


def _disputes(scene: Scene) -> Iterator[Matter]:
    if not scene.disputed:
        return
    last = scene.standing.effective[-1]
    whose = {scene.exporter, *(c.item.source for c in scene.standing.confirmations)}
    if scene.state in {"notified-twice", "amended-twice"}:
        whose = {scene.exporter}  # only the author can say which of its own documents holds
    if scene.state == "confirmed-twice":
        whose = {scene.importer}
    yield Matter(
        "dispute", tuple(sorted(filter(None, whose))), last.id, _day(last), None, _SENTENCES["dispute"]
    )


def _confirmation(scene: Scene, practice: Practice) -> Iterator[Matter]:
    decided = scene.confirmed is not None and scene.confirmed.content.outcome not in INTERIM
    if not scene.versions or scene.cancellation is not None or scene.disputed or decided:
        return
    if scene.importer is None or any(
        matter.kind in {"query", "investigation"} for matter in _queries(scene, practice)
    ):
        return  # the exporter's answer comes first
    current = scene.versions[-1]
    wish = content_of(current).confirmation
    start, days = _day(scene.versions[0]), [wish.reply_by]
    arrival = _last(scene, ArrivalNotice)
    if arrival is not None and isinstance(arrival.data, ArrivalNotice):
        start = arrival.data.date_presented
        days.append(arrival.data.decision_expected)
    if scene.confirmed is not None and scene.confirmed.content.date_of_receipt is not None:
        start = scene.confirmed.content.date_of_receipt
    days += [
        i.data.decision_expected for i in scene.standing.effective if isinstance(i.data, ConfirmationStatus)
    ]
    # A wish does not shorten what the importer's law allows, and a promise may lengthen it.
    due = max([practice.due(scene.importer, "confirmation", start), *filter(None, days)])
    yield from _matter("confirmation", scene.importer, current, start, due if wish.requested else None)
    request = _last(scene, ConfirmationRequest)
    if request is not None and not _replied(scene, request):
        due = practice.due(scene.importer, "status", _day(request))
        yield from _matter("request", scene.importer, request, _day(request), due)
    if scene.state == "notified":
        expired = content_of(current).date_of_expiry + timedelta(days=1)
        yield from _matter("expiry", scene.exporter, current, expired, expired, dormant=True)


def _presented(scene: Scene, practice: Practice) -> Iterator[Matter]:
    """Goods under a cancelled certificate: nothing is confirmed as usual, but what became of them has to be said (KPCS Section V(f))."""
    if scene.cancellation is None or scene.disputed:
        return
    if scene.confirmed is not None and scene.confirmed.content.outcome not in INTERIM:
        return
    kinds = ArrivalNotice | DiscrepancyQuery | IrregularityNotice | ReturnNotice
    shown = [i for i in scene.standing.effective if isinstance(i.data, kinds)]
    if shown and scene.importer is not None:
        start = max(_day(shown[0]), _day(scene.cancellation))
        due = practice.due(scene.importer, "confirmation", start)
        for matter in _matter("confirmation", scene.importer, shown[0], start, due):
            yield replace(matter, text=_PRESENTED)


def _replied(scene: Scene, request: Filed) -> bool:
    """By a status, or by a confirmation written after it, even one that says that nothing was received."""
    confirmed = scene.confirmed
    return (confirmed is not None and confirmed.item.document.time > request.document.time) or any(
        isinstance(i.data, ConfirmationStatus) and i.data.request == request.id
        for i in scene.standing.effective
    )


def _queries(scene: Scene, practice: Practice) -> Iterator[Matter]:
    queries = [i for i in scene.standing.effective if isinstance(i.data, DiscrepancyQuery)]
    responses = _responses(scene) if queries else {}
    for item in queries:
        assert isinstance(item.data, DiscrepancyQuery)
        said = responses.get(item.id)
        if not said:
            asked = item.document.recipient
            due = item.data.reply_by or practice.due(asked, "query", _day(item))
            yield from _matter("query", asked, item, _day(item), due)
        elif said[-1].instruction == "hold" or any(
            answer.verdict == "investigating" for answer in said[-1].answers
        ):
            yield from _matter("investigation", item.document.recipient, item, _day(item))


def _responses(scene: Scene) -> dict[str, list[DiscrepancyResponse]]:
    """The answers, by the document that they answer; those only that come from whom it was said to."""
    found: dict[str, list[DiscrepancyResponse]] = {}
    for item in scene.standing.effective:
        if isinstance(item.data, DiscrepancyResponse):
            about = scene.standing.by_id.get(item.data.query)
            if about is not None and answers(item, about):
                found.setdefault(about.id, []).append(item.data)
    return found


def _after_confirmation(scene: Scene, practice: Practice, *, beyond: bool) -> Iterator[Matter]:
    if scene.confirmed is None or scene.disputed:
        return
    item, content = scene.confirmed.item, scene.confirmed.content
    found = content.date_of_verification or content.date_of_receipt or _day(item)
    if (
        _irregular(scene, scene.confirmed, practice)
        and _last(scene, IrregularityNotice) is None
        and scene.importer is not None
    ):
        due = practice.due(scene.importer, "irregularity", found)
        yield from _matter("irregularity-report", scene.importer, item, found, due)
    surprised = beyond and content.outcome not in INTERIM
    if surprised or scene.state == "arrived-despite-cancellation":
        asked = any(isinstance(i.data, DiscrepancyQuery) for i in scene.standing.effective)
        if not asked and item.id not in _responses(scene) and not _amended_since(scene):
            text = _SENTENCES["discrepancy"] if surprised else _CAME_ALL_THE_SAME
            for matter in _matter("discrepancy", scene.exporter, item, _day(item)):
                yield replace(matter, text=text)


def _irregular(scene: Scene, confirmed: Confirmed, practice: Practice) -> bool:
    """Whether what was found is to be reported, whatever else is said of it. A part of a shipment has fewer parcels, and no less."""
    content = confirmed.content
    if content.outcome in _FAULTY or content.seals_intact == "no":
        return True
    if not scene.versions or content.outcome in INTERIM:
        return False
    notified = content_of(scene.versions[-1])
    return content.found.parcels != notified.parcels or irregular(notified, confirmed, practice)


def _amended_since(scene: Scene) -> bool:
    return any(scene.standing.asked_for(version) for version in scene.versions)


def _unannounced(scene: Scene) -> Iterator[Matter]:
    refused = scene.standing.notified if scene.state == "rejected" else []
    first = next(iter([*refused, *scene.standing.effective, *scene.standing.items]), None)
    if first is None:
        return
    if scene.state in {"confirmed-unannounced", "arrived-unannounced", "waits-for-notification"}:
        yield from _matter("notification", scene.exporter, first, _day(first))
    if scene.state == "rejected":
        yield from _matter("correction", scene.exporter, first, _day(first))
    if scene.state == "suspected-counterfeit" and _last(scene, IrregularityNotice) is None:
        yield from _matter("counterfeit", scene.importer, first, _day(first))


def _refused(scene: Scene) -> Iterator[Matter]:
    """A cancellation that was rejected although nothing has been confirmed: the exporting authority still says what it said."""
    standing = scene.standing
    if standing.receipts_of_goods:
        return
    active = {notification.id for notification in standing.active}
    for rejection in standing.rejections:
        assert isinstance(rejection.data, Rejection)
        item = standing.by_id[rejection.data.refers_to]
        if isinstance(item.data, Cancellation) and item.id not in standing.withdrawn:
            about = standing.by_id.get(item.data.cancels)
            if about is not None and about.id in active and about.source == item.source:
                yield from _matter("correction", item.source, item, _day(rejection))


def _correspondence(scene: Scene, practice: Practice) -> Iterator[Matter]:
    """Questions to somebody, those of and to a third authority too: they stay open until they are answered by whom they were put to."""
    standing = scene.standing
    answered = set()
    for item in standing.heard:
        match item.data:
            case CertificateAnswer(query=about):
                asked: type = CertificateQuery
            case Message(in_reply_to=str(about)):
                asked = Message  # "we shall look into it" is no answer about a certificate
            case _:
                continue
        question = standing.by_id.get(about)
        if question is not None and isinstance(question.data, asked) and answers(item, question):
            answered.add(about)
    for item in standing.heard:
        if item.id in answered:
            continue
        if isinstance(item.data, CertificateQuery):
            due = practice.due(item.document.recipient, "query", _day(item))
            yield from _matter("certificate-query", item.document.recipient, item, _day(item), due)
        if isinstance(item.data, Message) and item.data.answer_wanted:
            yield from _matter("message", item.document.recipient, item, _day(item))


def _last(scene: Scene, kind: type) -> Filed | None:
    return next((item for item in reversed(scene.standing.effective) if isinstance(item.data, kind)), None)


def _day(item: Filed) -> date:
    return item.document.time.date()
