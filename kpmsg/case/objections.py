"""What is wrong with one document in the light of the others about the same certificate.

Every race and conflict that two authorities can get into has its rule here, and both sides apply the same function: the author
before it signs (then what would be refused is not said at all), the recipient when it admits. `reject` is answered by a signed
rejection and has no effect; `hold` has effect and calls an officer; `warn` is shown. Nothing is chosen silently, and nothing is
dropped. What the state of the certificate becomes is `kpmsg.case`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from kpmsg.case.standing import INTERIM, WITHDRAWABLE, Confirmed, Filed, Standing, answers, content_of
from kpmsg.documents import (
    ArrivalNotice,
    Cancellation,
    CertificateAnswer,
    ConfirmationCorrection,
    ConfirmationRequest,
    ConfirmationStatus,
    Content,
    DiscrepancyQuery,
    DiscrepancyResponse,
    ExportAmendment,
    ExportNotification,
    ImportConfirmation,
    IrregularityNotice,
    Rejection,
    ReturnNotice,
    Withdrawal,
)
from kpmsg.errors import Problem
from kpmsg.policy.screening import arrived_out_of_time, notified_late
from kpmsg.rules import breach

UNCERTAIN: Final = "I01"
"""The rule whose breach rests on all that we have ever issued, not on the documents at hand."""

AFTER_CANCELLATION: Final = frozenset(
    {"arrived_despite_cancellation", "refused_returned", "detained", "seized", "not_received"}
)
"""What an importing authority may say of a certificate that it knows to be cancelled (race C6)."""

_POINTS: Final[dict[type, str]] = {
    ExportAmendment: "/data/amends",
    Cancellation: "/data/cancels",
    ImportConfirmation: "/data/supersedes",
    ConfirmationCorrection: "/data/corrects",
    Withdrawal: "/data/withdraws",
}
"""Where a type says which document it acts upon."""

_SPEAK_OF_A_SHIPMENT: Final = (
    ArrivalNotice,
    ConfirmationCorrection,
    DiscrepancyQuery,
    ImportConfirmation,
    IrregularityNotice,
    ReturnNotice,
)


def objections(
    item: Filed, others: Sequence[Filed], *, ours: bool, issued: bool = False, alone: bool = True
) -> list[Problem]:
    """What is to be said against `item`, given the `others` about the same certificate.

    `ours`: we are its author and have not signed it yet; else we are its recipient. `issued`: we have recorded the number as
    issued, although nothing was notified under it. `alone`: nobody else of our Participant can have issued it. I01, the strongest sign of a counterfeit, is raised for the issuer only, and
    is meaningful only to one that knows all its own documents.
    """
    data = item.data
    if data is None:
        return [breach("S07", "type", "/type", type=item.document.type)]
    if isinstance(data, Rejection):
        return []
    others = [other for other in others if other.id != item.id]
    standing = Standing(others)
    return [*_id_again(item, others), *_by_type(item, standing, ours=ours, issued=issued, alone=alone)]


def _by_type(item: Filed, standing: Standing, *, ours: bool, issued: bool, alone: bool) -> Iterator[Problem]:
    match item.data:
        case ExportNotification():
            yield from _notification(item, standing, ours=ours)
        case ExportAmendment() as data:
            yield from _amendment(item, data, standing, ours=ours)
        case Cancellation() as data:
            yield from _cancellation(item, data, standing, ours=ours)
        case ImportConfirmation() | ConfirmationCorrection() as data:
            yield from _confirmation(item, data, standing, ours=ours)
        case DiscrepancyResponse(query=asked) | CertificateAnswer(query=asked):
            yield from _answer(item, asked, "/data/query", standing, ours=ours)
        case ConfirmationStatus(request=asked):
            yield from _answer(item, asked, "/data/request", standing, ours=ours)
        case ConfirmationRequest():
            if any(c.content.outcome not in INTERIM for c in standing.confirmations):
                yield breach("Q07", "confirmed", "/data/certificate", severity="reject" if ours else "warn")
        case Withdrawal(withdraws=target):
            yield from _withdrawal(item, target, standing, ours=ours)
    yield from _late(item, standing)
    if isinstance(item.data, _SPEAK_OF_A_SHIPMENT) and not ours and not issued:
        yield from _unknown(item, standing, alone=alone)


def _id_again(item: Filed, others: Sequence[Filed]) -> Iterator[Problem]:
    """S04: an author gives an id to one document only. The same id over other bytes is a fault or a fraud."""
    for other in others:
        if other.document.id == item.document.id and other.source == item.source:
            yield breach("S04", "id", "/id")
            return


# -- the exporting side ------------------------------------------------------------------------------------------------


def _notification(item: Filed, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    """C04, race C2: the number has been notified before and is not free, or what was notified under it has been confirmed.

    Seen with the document among the others, since the cancellation that set the number free may have come before it.
    """
    after = standing.joined_by(item)
    mistaken = item in after.notifications and item not in after.claiming
    rivals = any(other.id != item.id for other in after.claiming)
    used = any(
        named is not None and named.id != item.id for named in map(after.named, after.receipts_of_goods)
    )
    if not mistaken and (rivals or used):
        yield breach("C04", "again", "/data/certificate/number_raw", severity="reject" if ours else "hold")
    came = [day for day in map(_came, standing.effective) if day is not None]
    if came and (late := notified_late(item.document, min(came))) is not None:
        yield late


def _whose(item: Filed, target: Filed, *kinds: type) -> Iterator[Problem]:
    """A06: a document is changed or taken back by its author, towards whom it was said."""
    if target.source != item.source or not isinstance(target.data, kinds):
        yield breach("A06", "not-the-author", _POINTS[type(item.data)])
    elif target.document.recipient != item.document.recipient:
        yield breach("A06", "other-recipient", "/recipient")


def _amendment(item: Filed, data: ExportAmendment, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(data.amends)
    if target is None:
        yield breach("A05", "waits", "/data/amends", severity="reject" if ours else "warn")
        return
    foreign = list(_whose(item, target, ExportNotification, ExportAmendment))
    if foreign:
        yield from foreign
        return
    if any(ours or not _after(each, item) for each in standing.cancellations_of_version(target)):
        yield breach("A10", "cancelled", "/data/amends")
    if any(other.id != item.id for other in standing.amendments_of(target.id)):
        yield breach("A04", "amended-twice", "/data/amends", severity="reject" if ours else "hold")
    decided = [c for c in standing.confirmations if c.content.outcome not in INTERIM]
    if data.outcome_of is not None and (data.outcome_of not in standing.by_id or standing.asked_for(item)):
        if data.outcome_of not in standing.by_id:
            yield breach("A07", "not-there", "/data/outcome_of", severity="reject" if ours else "warn")
        if ours and decided and data.knows_confirmation not in _generations(standing, decided):
            yield breach("A02", "confirmation-unseen", "/data/knows_confirmation", severity="reject")
    elif data.knows_confirmation is not None and decided:
        yield breach("A01", "confirmed", "/data/knows_confirmation")
    elif decided and (ours or any(_confirms_before(c, item, standing) for c in decided)):
        # Crossed (C3): the parcel was released against an earlier version. At its author, it was not seen.
        code, variant = ("A01", "confirmed") if ours else ("A08", "released")
        yield breach(code, variant, "/data/amends")


def _after(item: Filed, other: Filed) -> bool:
    """Whether the common author of two documents wrote the first one after the second, by its own clock."""
    return item.document.time > other.document.time


def _confirms_before(confirmed: Confirmed, item: Filed, standing: Standing) -> bool:
    """Whether a confirmation answers a version that `item` replaces, or none. One that is not here may be a later one."""
    reference = confirmed.content.notification
    if reference is None:
        return True
    step: str | None = reference.digest
    while step is not None and step != item.id:
        if step not in standing.by_id:
            return False
        step = getattr(standing.by_id[step].data, "amends", None)
    return step is None


def _generations(standing: Standing, confirmed: Sequence[Confirmed]) -> set[str | None]:
    """The ids of confirmations and of those that they have superseded or corrected: whoever knows one has seen it coming."""
    found: set[str | None] = set()
    for current in confirmed:
        step: str | None = current.item.id
        while step is not None and step not in found:
            found.add(step)
            data = standing.by_id[step].data if step in standing.by_id else None
            step = getattr(data, "corrects", None) or getattr(data, "supersedes", None)
    return found


def _cancellation(item: Filed, data: Cancellation, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(data.cancels)
    if target is None:
        yield breach("A05", "waits", "/data/cancels", severity="reject" if ours else "warn")
        return
    foreign = list(_whose(item, target, ExportNotification))
    if foreign:
        yield from foreign
        return
    # Of two notifications of one number, one must be taken out of the way: but not that of which a version was confirmed.
    several = len(standing.active) > 1
    of_this = {target.id} if several else {target.id, None}
    named = ((standing.named(c), c.content.knows_cancellation == item.id) for c in standing.receipts_of_goods)
    if not any((None if about is None else about.id) in of_this and not known for about, known in named):
        return
    if ours or data.knows_confirmation is not None:
        yield breach("A01", "cancel", "/data/knows_confirmation")
    else:
        yield breach("A02", "crossed", "/data/cancels", severity="hold")


# -- the importing side ------------------------------------------------------------------------------------------------


def _confirmation(
    item: Filed, data: ImportConfirmation | ConfirmationCorrection, standing: Standing, *, ours: bool
) -> Iterator[Problem]:
    content = data.content if isinstance(data, ConfirmationCorrection) else data
    before = data.corrects if isinstance(data, ConfirmationCorrection) else data.supersedes
    place = "/data/corrects" if isinstance(data, ConfirmationCorrection) else "/data/supersedes"
    if before is not None:
        target = standing.by_id.get(before)
        if target is None:
            yield breach("A05", "waits", place, severity="reject" if ours else "warn")
        else:
            yield from _whose(item, target, ImportConfirmation, ConfirmationCorrection)
    own = [n for n in standing.notifications if n.source == item.source]
    if own and all(n.document.recipient != item.source for n in standing.notifications):
        yield breach("I21", "own", "/source")
    notified = [n for n in standing.notifications if n.source == item.document.recipient]
    if notified and all(n.document.recipient != item.source for n in notified):
        yield breach("I02", "other-authority", "/source", severity="hold")
    # Seen with the document among the others: what is superseded by a later one that came before it repeats nothing.
    after = standing.joined_by(item)
    if any(c.item.id == item.id for c in after.confirmations):
        if any(c.item.source == item.source and c.item.id != item.id for c in after.confirmations):
            yield breach("I09", "again", place)
        elif content.outcome != "not_received" and len(after.receipts_of_goods) > 1:
            yield breach("I02", "twice", "/data/certificate/number_raw", severity="hold")
    yield from _despite(Confirmed(item, content), standing, ours=ours)


def _despite(confirmed: Confirmed, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    """Races C5 and C6: a confirmation and a cancellation."""
    content, about = confirmed.content, standing.named(confirmed)
    if about is None and not standing.active:
        about = next(reversed(standing.notifications), None)
    cancellations = [] if about is None else standing.cancellations_of(about)
    if not cancellations or content.outcome == "not_received":
        return
    knows = content.knows_cancellation in {each.id for each in cancellations}
    if (knows or ours) and not (knows and content.outcome in AFTER_CANCELLATION):
        yield breach("A03", "cancelled", "/data/outcome" if knows else "/data/knows_cancellation")
    elif not knows:
        yield breach("I08", "cancelled", "/data/certificate/number_raw", severity="hold")


def _late(item: Filed, standing: Standing) -> Iterator[Problem]:
    """C07, race C10: it came when its certificate had expired. Accepted, flagged, shown to an officer; never dropped."""
    arrived: date | None
    match item.data:
        case ArrivalNotice(date_presented=arrived):
            place = "/data/date_presented"
        case ImportConfirmation() as content:
            arrived, place = _arrival(content, "/data")
        case ConfirmationCorrection(content=content):
            arrived, place = _arrival(content, "/data/content")
        case _:
            return
    notified = standing.active or standing.notifications
    if arrived is not None and notified:
        late = arrived_out_of_time(content_of(standing.versions(notified[-1])[-1]), arrived, place)
        if late is not None:
            yield late


def _came(item: Filed) -> date | None:
    """The day on which goods were presented, if the document tells of it."""
    match item.data:
        case ArrivalNotice(date_presented=day):
            return day
        case ImportConfirmation() as content:
            return _arrival(content, "")[0]
        case ConfirmationCorrection(content=content):
            return _arrival(content, "")[0]
    return None


def _arrival(content: ImportConfirmation, at: str) -> tuple[date | None, str]:
    if content.outcome == "not_received":
        return None, at
    if content.date_of_arrival is not None:
        return content.date_of_arrival, f"{at}/date_of_arrival"
    return content.date_of_receipt, f"{at}/date_of_receipt"


def _unknown(item: Filed, standing: Standing, *, alone: bool) -> Iterator[Problem]:
    """I01: the issuer is told of a shipment under a number that it never issued. I20: another of its offices may have."""
    certificate = getattr(item.data, "certificate", None)
    if certificate is None or certificate.issuer != item.document.recipient[:2]:
        return
    if isinstance(item.data, IrregularityNotice) and _denied(standing):
        return  # what the importing authority owes once it has been told so
    # One whose notification was rejected has been issued all the same: a rejection blinds its author, it stops no diamonds.
    if not any(
        isinstance(n.data, ExportNotification) and n.source == item.document.recipient for n in standing.items
    ):
        place = "/data/certificate/number_raw"
        yield breach(UNCERTAIN, "unknown", place) if alone else breach("I20", "elsewhere", place)


def _denied(standing: Standing) -> bool:
    """Whether the issuer has said already that it never issued the number."""
    return any(
        isinstance(i.data, CertificateAnswer) and i.data.finding == "unknown" for i in standing.effective
    ) or any(
        reason.code == UNCERTAIN
        for i in standing.rejections
        if isinstance(i.data, Rejection)
        for reason in i.data.reasons
    )


# -- both sides --------------------------------------------------------------------------------------------------------


def _answer(item: Filed, asked: str, place: str, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(asked)
    if target is None or not answers(item, target):
        yield breach("A07", "not-there", place, severity="reject" if ours else "warn")


def _withdrawal(item: Filed, target_id: str, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(target_id)
    if target is None:
        # An alert has no certificate, so its withdrawal finds it elsewhere (`kpnode.store.alerts`).
        if item.document.subject is not None:
            yield breach("A05", "waits", "/data/withdraws", severity="reject" if ours else "warn")
        return
    foreign = list(_whose(item, target, Content))
    if foreign:
        yield from foreign
    elif not isinstance(target.data, WITHDRAWABLE):
        yield breach("A09", "not-withdrawable", "/data/withdraws")
    elif target_id in standing.withdrawn:
        yield breach("A09", "already-withdrawn", "/data/withdraws")
    elif target_id in standing.superseded:
        yield breach("A09", "superseded", "/data/withdraws")
