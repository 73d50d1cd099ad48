"""What is to be said against a document about goods that have come: whose they are, and whether they were allowed to.

Whether they were sent to it, under a certificate that holds and that its issuer knows, in time, and as they were notified. Each of
these has its rule, and none is decided here: `reject` is refused, `hold` has effect and calls an officer, `warn` is shown. What is wrong with a
document that acts upon another is `kpmsg.case.objections`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from kpmsg.case.differences import unsaid
from kpmsg.case.standing import INTERIM, Confirmed, Filed, Standing, answers, content_of
from kpmsg.documents import (
    ArrivalNotice,
    CertificateAnswer,
    ConfirmationCorrection,
    DiscrepancyQuery,
    ExportNotification,
    ImportConfirmation,
    IrregularityNotice,
    Rejection,
    ReturnNotice,
)
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.policy.screening import arrived_out_of_time
from kpmsg.rules import breach

UNCERTAIN: Final = "I01"
"""The rule whose breach rests on all that we have ever issued, not on the documents at hand."""

AFTER_CANCELLATION: Final = frozenset(
    {"arrived_despite_cancellation", "refused_returned", "detained", "seized", "not_received"}
)
"""What an importing authority may say of a certificate that it knows to be cancelled (race C6)."""

_SPEAK_OF_GOODS: Final = (
    ArrivalNotice,
    ConfirmationCorrection,
    DiscrepancyQuery,
    ImportConfirmation,
    IrregularityNotice,
    ReturnNotice,
)


def about_goods(
    item: Filed, standing: Standing, practice: Practice, *, ours: bool, issued: bool, alone: bool
) -> Iterator[Problem]:
    """Every rule that it breaks, in the light of the others. The arguments are those of `kpmsg.case.objections.objections`."""
    if not isinstance(item.data, _SPEAK_OF_GOODS):
        return
    if isinstance(item.data, ImportConfirmation | ConfirmationCorrection):
        content = item.data if isinstance(item.data, ImportConfirmation) else item.data.content
        yield from _despite(Confirmed(item, content), standing, ours=ours)
    yield from _presented(item, standing)
    yield from _otherwise_found(item, standing, practice)
    yield from _late(item, standing)
    if not ours and not issued:
        yield from _unknown(item, standing, alone=alone)


def meant(confirmed: Confirmed, standing: Standing) -> Filed | None:
    """The notification that a confirmation names, or else the only one to its author: who names none can mean no other."""
    named = standing.named(confirmed)
    if named is not None:
        return named
    to_it = [n for n in standing.notifications if answers(confirmed.item, n)]
    return to_it[0] if len(to_it) == 1 else None


def _presented(item: Filed, standing: Standing) -> Iterator[Problem]:
    """I02, I08: goods have come to somebody to whom they were not sent, or under a certificate that has been cancelled.

    Whatever the document is that says so: who presents a stolen certificate may be gone before anything is confirmed.
    """
    notified = [n for n in standing.notifications if n.source == item.document.recipient]
    to_it = [n for n in notified if answers(item, n)]
    if notified and not to_it:
        yield breach("I02", "other-authority", "/source", severity="hold")
    elif isinstance(item.data, ImportConfirmation | ConfirmationCorrection):
        return  # those have rules of their own
    elif to_it and not any(n in standing.active for n in to_it):
        yield breach("I08", "presented", "/data/certificate/number_raw", severity="hold")


def _otherwise_found(item: Filed, standing: Standing, practice: Practice) -> Iterator[Problem]:
    """What a confirmation should say itself of the goods, given the notification. An interim one may find less: the rest is to come."""
    data = item.data
    if not isinstance(data, ImportConfirmation | ConfirmationCorrection):
        return
    content, at = (
        (data.content, "/data/content") if isinstance(data, ConfirmationCorrection) else (data, "/data")
    )
    confirmed = Confirmed(item, content)
    notified = meant(confirmed, standing)
    if notified is None or content.outcome in INTERIM:
        return
    # With the version that its author had before it; and never with what was notified to somebody else.
    versions = standing.versions(notified)
    digest = content.notification.digest if content.notification is not None else None
    version = next((each for each in versions if each.id == digest), versions[-1])
    yield from unsaid(content_of(version), confirmed, practice, at)


def _despite(confirmed: Confirmed, standing: Standing, *, ours: bool) -> Iterator[Problem]:
    """Races C5 and C6: a confirmation and a cancellation."""
    content, about = confirmed.content, meant(confirmed, standing)
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
    arrived, place = _told(item)
    notified = standing.active or standing.notifications
    if arrived is not None and notified:
        late = arrived_out_of_time(content_of(standing.versions(notified[-1])[-1]), arrived, place)
        if late is not None:
            yield late


def day_of_arrival(item: Filed) -> date | None:
    """The day on which goods were presented, if the document tells of it."""
    return _told(item)[0]


def _told(item: Filed) -> tuple[date | None, str]:
    match item.data:
        case ArrivalNotice(date_presented=day):
            return day, "/data/date_presented"
        case ImportConfirmation() as content:
            return _arrival(content, "/data")
        case ConfirmationCorrection(content=content):
            return _arrival(content, "/data/content")
    return None, ""


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
