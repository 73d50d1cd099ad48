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

from kpmsg.documents import (
    ArrivalNotice,
    Cancellation,
    CertificateAnswer,
    ConfirmationCorrection,
    ConfirmationStatus,
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
from kpmsg.rules import breach
from kpmsg.screening import arrived_late
from kpmsg.standing import INTERIM, WITHDRAWABLE, Confirmed, Filed, Standing, content_of

UNCERTAIN: Final = "I01"
"""The rule whose breach rests on all that we have ever issued, not on the documents at hand."""

AFTER_CANCELLATION: Final = frozenset(
    {"arrived_despite_cancellation", "refused_returned", "detained", "seized", "not_received"}
)
"""What an importing authority may say of a certificate that it knows to be cancelled (race C6)."""

_SPEAK_OF_A_SHIPMENT: Final = (
    ArrivalNotice,
    ConfirmationCorrection,
    DiscrepancyQuery,
    ImportConfirmation,
    IrregularityNotice,
    ReturnNotice,
)


def objections(item: Filed, others: Sequence[Filed], *, ours: bool, issued: bool = False) -> list[Problem]:
    """What is to be said against `item`, given the `others` about the same certificate.

    `ours`: we are its author and have not signed it yet; else we are its recipient. `issued`: we have recorded the number as
    issued, although nothing was notified under it. I01, the strongest sign of a counterfeit, is raised for the issuer only, and
    is meaningful only to one that knows all its own documents.
    """
    data = item.data
    if data is None:
        return [breach("S07", "type", "/type", type=item.document.type)]
    if isinstance(data, Rejection):
        return []
    others = [other for other in others if other.id != item.id]
    standing = Standing(others)
    return [*_id_again(item, others), *_by_type(item, standing, ours=ours, issued=issued)]


def _by_type(item: Filed, standing: Standing, *, ours: bool, issued: bool) -> Iterator[Problem]:
    match item.data:
        case ExportNotification():
            yield from _notification(standing, ours=ours)
        case ExportAmendment() as data:
            yield from _amendment(item, data, standing, ours=ours)
        case Cancellation() as data:
            yield from _cancellation(item, data, standing, ours=ours)
        case ImportConfirmation() | ConfirmationCorrection() as data:
            yield from _confirmation(item, data, standing, ours=ours)
        case DiscrepancyResponse(query=asked) | CertificateAnswer(query=asked):
            yield from _answer(item, asked, "/data/query", standing)
        case ConfirmationStatus(request=asked):
            yield from _answer(item, asked, "/data/request", standing)
        case Withdrawal(withdraws=target):
            yield from _withdrawal(item, target, standing, ours=ours)
    yield from _late(item, standing)
    if isinstance(item.data, _SPEAK_OF_A_SHIPMENT) and not ours and not issued:
        yield from _unknown(item, standing)


def _id_again(item: Filed, others: Sequence[Filed]) -> Iterator[Problem]:
    """S04: an author gives an id to one document only. The same id over other bytes is a fault or a fraud."""
    for other in others:
        if other.document.id == item.document.id and other.source == item.source:
            yield breach("S04", "id", "/id")
            return


# -- the exporting side ------------------------------------------------------------------------------------------------


def _notification(standing: Standing, *, ours: bool) -> Iterator[Problem]:
    """C04, race C2: the number has been notified before, and that notification stands."""
    if standing.active:
        yield breach("C04", "again", "/data/certificate/number_raw", severity="reject" if ours else "hold")


def _amendment(item: Filed, data: ExportAmendment, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(data.amends)
    if target is None:
        yield breach("A05", "waits", "/data/amends", severity="reject" if ours else "warn")
        return
    if target.source != item.source or not isinstance(target.data, ExportNotification | ExportAmendment):
        yield breach("A06", "not-the-author", "/data/amends")
        return
    root = _root(standing, target)
    if root is not None and standing.cancellation_of(root) is not None:
        yield breach("A10", "cancelled", "/data/amends")
    if standing.amendments_of(target.id):
        yield breach("A04", "amended-twice", "/data/amends", severity="reject" if ours else "hold")
    decided = [c for c in standing.confirmations if c.content.outcome not in INTERIM]
    if data.outcome_of is not None:
        if data.outcome_of not in standing.by_id:
            yield breach("A07", "not-there", "/data/outcome_of", severity="reject" if ours else "warn")
        if ours and decided and data.knows_confirmation not in _generations(standing, decided):
            yield breach("A02", "confirmation-unseen", "/data/knows_confirmation", severity="reject")
    elif data.knows_confirmation is not None and decided:
        yield breach("A01", "confirmed", "/data/knows_confirmation")
    elif decided and any(_confirms_before(c, item, standing) for c in decided):
        # Crossed (C3): the parcel was released against an earlier version. At its author, it was not seen.
        code, variant = ("A01", "confirmed") if ours else ("A08", "released")
        yield breach(code, variant, "/data/amends")


def _confirms_before(confirmed: Confirmed, item: Filed, standing: Standing) -> bool:
    """Whether a confirmation answers another version than `item`, which replaces it."""
    reference = confirmed.content.notification
    return reference is None or reference.digest != item.id or reference.digest in standing.by_id


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


def _root(standing: Standing, version: Filed) -> Filed | None:
    seen = set()
    while isinstance(version.data, ExportAmendment) and version.id not in seen:
        seen.add(version.id)
        before = standing.by_id.get(version.data.amends)
        if before is None:
            return None
        version = before
    return version if isinstance(version.data, ExportNotification) else None


def _cancellation(item: Filed, data: Cancellation, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(data.cancels)
    if target is None:
        yield breach("A05", "waits", "/data/cancels", severity="reject" if ours else "warn")
        return
    if target.source != item.source or not isinstance(target.data, ExportNotification):
        yield breach("A06", "not-the-author", "/data/cancels")
        return
    if not standing.receipts_of_goods:
        return
    if len(standing.active) > 1:
        return  # of two notifications of one number, one must be taken out of the way, confirmed or not
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
        elif target.source != item.source or not isinstance(
            target.data, ImportConfirmation | ConfirmationCorrection
        ):
            yield breach("A06", "not-the-author", place)
    notified = [n for n in standing.notifications if n.source == item.document.recipient]
    if notified and all(n.document.recipient != item.source for n in notified):
        yield breach("I02", "other-authority", "/source", severity="hold")
    current = [c for c in standing.confirmations if c.item.id != before]
    if any(c.item.source == item.source for c in current):
        yield breach("I09", "again", place)
    elif current and content.outcome != "not_received":
        yield breach("I02", "twice", "/data/certificate/number_raw", severity="hold")
    yield from _despite(content, standing, ours=ours)


def _despite(content: ImportConfirmation, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    """Races C5 and C6: a confirmation and a cancellation."""
    if standing.active or not standing.notifications:
        return
    cancellation = standing.cancellation_of(standing.notifications[-1])
    if cancellation is None or content.outcome == "not_received":
        return
    knows = content.knows_cancellation == cancellation.id
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
        late = arrived_late(content_of(standing.versions(notified[-1])[-1]), arrived, place)
        if late is not None:
            yield late


def _arrival(content: ImportConfirmation, at: str) -> tuple[date | None, str]:
    if content.outcome == "not_received":
        return None, at
    if content.date_of_arrival is not None:
        return content.date_of_arrival, f"{at}/date_of_arrival"
    return content.date_of_receipt, f"{at}/date_of_receipt"


def _unknown(item: Filed, standing: Standing) -> Iterator[Problem]:
    """I01: the issuer is told of a shipment under a number that it never issued."""
    certificate = getattr(item.data, "certificate", None)
    if certificate is None or certificate.issuer != item.document.recipient[:2]:
        return
    known = [
        n
        for n in standing.items
        if isinstance(n.data, ExportNotification) and n.source == item.document.recipient
    ]
    if not any(n.id not in standing.rejected for n in known):
        yield breach(UNCERTAIN, "unknown", "/data/certificate/number_raw")


# -- both sides --------------------------------------------------------------------------------------------------------


def _answer(item: Filed, asked: str, place: str, standing: Standing) -> Iterator[Problem]:
    target = standing.by_id.get(asked)
    if target is None or target.document.recipient != item.source:
        yield breach("A07", "not-there", place)


def _withdrawal(item: Filed, target_id: str, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    target = standing.by_id.get(target_id)
    if target is None:
        # An alert has no certificate, so its withdrawal finds it elsewhere (`kpnode.store.alerts`).
        if item.document.subject is not None:
            yield breach("A05", "waits", "/data/withdraws", severity="reject" if ours else "warn")
        return
    if target.source != item.source:
        yield breach("A06", "not-the-author", "/data/withdraws")
    elif not isinstance(target.data, WITHDRAWABLE):
        yield breach("A09", "not-withdrawable", "/data/withdraws")
    elif target_id in standing.withdrawn:
        yield breach("A09", "already-withdrawn", "/data/withdraws")
    elif isinstance(target.data, ImportConfirmation | ConfirmationCorrection) and target_id not in {
        current.item.id for current in standing.confirmations
    }:
        yield breach("A09", "superseded", "/data/withdraws")
