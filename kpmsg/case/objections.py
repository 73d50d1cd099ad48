"""What is wrong with one document in the light of the others about the same certificate.

Every race and conflict that two authorities can get into has its rule here, and both sides apply the same function: the author
before it signs (then what would be refused is not said at all), the recipient when it admits. `reject` is answered by a signed
rejection and has no effect; `hold` has effect and calls an officer; `warn` is shown. Nothing is chosen silently, and nothing is
dropped. What the state of the certificate becomes is `kpmsg.case`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from kpmsg.case.differences import misnamed
from kpmsg.case.goods import about_goods, day_of_arrival, meant
from kpmsg.case.standing import INTERIM, WITHDRAWABLE, Confirmed, Filed, Standing, answers, content_of
from kpmsg.documents import (
    Cancellation,
    CertificateAnswer,
    CertificateQuery,
    ConfirmationCorrection,
    ConfirmationRequest,
    ConfirmationStatus,
    Content,
    DiscrepancyResponse,
    ExportAmendment,
    ExportNotification,
    ImportConfirmation,
    Rejection,
    Withdrawal,
)
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.policy.screening import notified_late
from kpmsg.rules import breach

_POINTS: Final[dict[type, str]] = {
    ExportAmendment: "/data/amends",
    Cancellation: "/data/cancels",
    ImportConfirmation: "/data/supersedes",
    ConfirmationCorrection: "/data/corrects",
    Withdrawal: "/data/withdraws",
}
"""Where a type says which document it acts upon."""


def objections(
    item: Filed,
    others: Sequence[Filed],
    practice: Practice,
    *,
    ours: bool,
    issued: bool = False,
    alone: bool = True,
) -> list[Problem]:
    """What is to be said against `item`, given the `others` about the same certificate and what authorities have published.

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
    return [
        *_id_again(item, others),
        *_by_type(item, standing, ours=ours),
        *about_goods(item, standing, practice, ours=ours, issued=issued, alone=alone),
    ]


def _by_type(item: Filed, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    match item.data:
        case ExportNotification():
            yield from _notification(item, standing, ours=ours)
        case ExportAmendment() as data:
            yield from _amendment(item, data, standing, ours=ours)
        case Cancellation() as data:
            yield from _cancellation(item, data, standing, ours=ours)
        case ImportConfirmation() | ConfirmationCorrection() as data:
            yield from _confirmation(item, data, standing, ours=ours)
        case DiscrepancyResponse(query=asked):
            yield from _answer(item, asked, Content, "/data/query", standing, ours=ours)
        case CertificateAnswer(query=asked):
            yield from _answer(item, asked, CertificateQuery, "/data/query", standing, ours=ours)
        case ConfirmationStatus(request=asked):
            yield from _answer(item, asked, ConfirmationRequest, "/data/request", standing, ours=ours)
        case ConfirmationRequest():
            if any(c.content.outcome not in INTERIM for c in standing.confirmations):
                yield breach("Q07", "confirmed", "/data/certificate", severity="reject" if ours else "warn")
        case Withdrawal(withdraws=target):
            yield from _withdrawal(item, target, standing, ours=ours)


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
    came = [day for day in map(day_of_arrival, standing.effective) if day is not None]
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
    elif data.knows_confirmation in _generations(standing, decided, but=INTERIM):
        yield breach("A01", "confirmed", "/data/knows_confirmation")
    elif decided and (ours or any(_confirms_before(c, item, standing) for c in decided)):
        # Crossed (C3): the parcel was released against an earlier version. At its author, it was not seen.
        code, variant = ("A01", "confirmed") if ours else ("A08", "released")
        yield breach(code, variant, "/data/amends")
    yield from misnamed(data, content_of(target))


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


def _generations(
    standing: Standing, confirmed: Sequence[Confirmed], *, but: Collection[str] = ()
) -> set[str]:
    """The ids of confirmations and of those that they have superseded or corrected, except for outcomes in `but`.

    Whoever knows one of them has seen it coming. But who knew that nothing had come did not know that something would.
    """
    found: set[str] = set()
    seen: set[str] = set()
    for current in confirmed:
        step: str | None = current.item.id
        while step is not None and step not in seen:
            seen.add(step)
            data = standing.by_id[step].data if step in standing.by_id else None
            content = data.content if isinstance(data, ConfirmationCorrection) else data
            if not (isinstance(content, ImportConfirmation) and content.outcome in but):
                found.add(step)
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
    in_the_way = [
        confirmed
        for confirmed in standing.receipts_of_goods
        if confirmed.content.knows_cancellation != item.id
        and ((about := meant(confirmed, standing)) is target or (about is None and not several))
    ]
    if not in_the_way:
        return
    if ours or data.knows_confirmation in _generations(standing, in_the_way, but={"not_received"}):
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
    # Seen with the document among the others: what is superseded by a later one that came before it repeats nothing.
    after = standing.joined_by(item)
    if any(c.item.id == item.id for c in after.confirmations):
        if any(c.item.source == item.source and c.item.id != item.id for c in after.confirmations):
            yield breach("I09", "again", place)
        elif content.outcome != "not_received" and len(after.receipts_of_goods) > 1:
            yield breach("I02", "twice", "/data/certificate/number_raw", severity="hold")


# -- both sides --------------------------------------------------------------------------------------------------------


def _answer(
    item: Filed, asked: str, kind: type, place: str, standing: Standing, *, ours: bool
) -> Iterator[Problem]:
    target = standing.by_id.get(asked)
    if target is None or not answers(item, target) or not isinstance(target.data, kind):
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
