"""Where a certificate stands: a pure fold over the documents exchanged about it.

`fold` looks at the *set* of documents only, never at the order in which they arrived, so that both authorities, who receive
the two directions interleaved differently, compute the same case. Where documents exclude one another it never chooses: they all
stay, the state has the conflict's own name, and people decide by further documents (a cancellation, a correction, a withdrawal).

Besides the documents it takes the policies that authorities have published: what difference is a discrepancy, and what is due
when. It knows no clock: that something is overdue is found by whoever compares a due day with today.

Delivery (has the partner's node stored these bytes?) is another axis and is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Final

from kpmsg.case.differences import Difference, differences
from kpmsg.case.matters import Matter, Scene, open_matters
from kpmsg.case.standing import INTERIM, Confirmed, Filed, Standing, answers, content_of
from kpmsg.case.states import (
    BY_MEASURE,
    BY_OUTCOME,
    BY_REASON,
    MAY_FOLLOW_CANCELLATION,
    State,
    Turn,
)
from kpmsg.documents import (
    ArrivalNotice,
    CertificateAnswer,
    CertificateQuery,
    DiscrepancyQuery,
    ExportNotification,
    ImportConfirmation,
    IrregularityNotice,
    Rejection,
    ReturnNotice,
    TechnicalCertificateNotice,
    TransitNotice,
)
from kpmsg.documents.cancellation import Cancellation
from kpmsg.policy import Practice

FOLD: Final = 2
"""Counts up whenever the same documents give another case than before, so that a node knows to fold what it has anew."""

__all__ = ["Case", "Difference", "Filed", "State", "Turn", "fold"]


@dataclass(frozen=True, slots=True)
class Case:
    """The case of one certificate. `exporter` and `importer` are authority addresses; ids are document ids.

    `current` is the version of the notification that holds (revision 0 is the notification itself), `expires` the
    certificate's last day. `flags`: `amended`, `corrected`, `late` (received after expiry, C10), `technical`,
    `unannounced` (confirmed before it was notified, C9), `diverted` (confirmed by another authority than it was notified to). `turn` is whose move it is now; `matters` say why, and what comes later.
    """

    key: str
    number: str
    issuer: str
    exporter: str | None
    importer: str | None
    state: State
    turn: Turn
    meaning: str
    revision: int
    current: str | None
    cancellation: str | None
    expires: date | None
    notifications: tuple[str, ...]
    confirmations: tuple[str, ...]
    rejected: tuple[str, ...]
    differences: tuple[Difference, ...]
    flags: tuple[str, ...]
    matters: tuple[Matter, ...]

    def members(self) -> dict[str, Any]:
        """For JSON."""
        members = {name: getattr(self, name) for name in _CASE_MEMBERS}
        members["expires"] = None if self.expires is None else self.expires.isoformat()
        members["differences"] = [asdict(difference) for difference in self.differences]
        members["matters"] = [matter.members() for matter in self.matters]
        return members


_CASE_MEMBERS: Final = tuple(each.name for each in fields(Case))


def fold(key: str, filed: Iterable[Filed], practice: Practice) -> Case:
    """The case of certificate `key`. Commutes: any order of the same documents gives the same case."""
    standing = Standing(filed)
    came = standing.receipts_of_goods
    confirmed = next(reversed(came or standing.confirmations), None)
    notification = _notification(standing, came)
    versions = standing.versions(notification) if notification is not None else []
    cancellation = standing.cancellation_of(notification) if notification is not None else None
    differs: tuple[Difference, ...] = ()
    if versions and confirmed is not None:
        differs = differences(content_of(versions[-1]), confirmed, practice)
    state = _state(standing, versions, cancellation, differs)
    exporter, importer = _parties(standing, notification, confirmed)
    number, issuer = _certificate(standing, key)
    scene = Scene(
        standing, str(state), state.disputed, exporter, importer, issuer, versions, cancellation, confirmed
    )
    beyond = any(difference.beyond_tolerance for difference in differs)
    found = open_matters(scene, practice, beyond=beyond)
    return Case(
        key=key,
        number=number,
        issuer=issuer,
        exporter=exporter,
        importer=importer,
        state=state,
        turn=_turn(found, exporter, importer),
        meaning=state.meaning,
        revision=max(0, len(versions) - 1),
        current=versions[-1].id if versions else None,
        cancellation=None if cancellation is None else cancellation.id,
        expires=content_of(versions[-1]).date_of_expiry if versions else None,
        notifications=tuple(item.id for item in standing.notifications),
        confirmations=tuple(current.item.id for current in standing.confirmations),
        rejected=tuple(sorted(standing.rejected)),
        differences=differs,
        flags=_flags(standing, versions, confirmed),
        matters=found,
    )


def _notification(standing: Standing, came: list[Confirmed]) -> Filed | None:
    """The notification that the case is about: one that is not cancelled, if there is one.

    But what was confirmed is not replaced by cancelling it as a mistake and notifying the number again.
    """
    named = standing.named(came[-1]) if came else None
    if named is not None and (
        not standing.active or (standing.cancellations_of(named) and not _knowing(standing, named, came[-1]))
    ):
        return named
    return next(reversed(standing.active or standing.notifications), None)


def _knowing(standing: Standing, notification: Filed, confirmed: Confirmed) -> bool:
    """Whether a confirmation speaks of what came in spite of a cancellation, in full knowledge of it (race C6)."""
    known = {cancellation.id for cancellation in standing.cancellations_of(notification)}
    content = confirmed.content
    return content.knows_cancellation in known and content.outcome in MAY_FOLLOW_CANCELLATION


def _state(
    standing: Standing, versions: list[Filed], cancellation: Filed | None, differs: tuple[Difference, ...]
) -> State:
    if standing.active and len(standing.claiming) > 1:
        return State.NOTIFIED_TWICE
    if versions and cancellation is None and standing.forked(versions[0]):
        return State.AMENDED_TWICE
    came = standing.receipts_of_goods
    if len({current.item.source for current in came}) > 1:
        return State.USED_TWICE
    if len(came) > 1 or (not came and len(standing.confirmations) > 1):
        return State.CONFIRMED_TWICE
    if cancellation is not None:
        return _after_cancellation(standing, versions[0], cancellation, came)
    if versions:
        return _after_notification(standing, versions, came, differs)
    return _unannounced(standing, came)


def _after_cancellation(
    standing: Standing, notification: Filed, cancellation: Filed, came: list[Confirmed]
) -> State:
    assert isinstance(cancellation.data, Cancellation)
    if not came:
        return BY_REASON.get(cancellation.data.reason, State.CANCELLED)
    if _knowing(standing, notification, came[0]):
        return BY_OUTCOME[came[0].content.outcome]
    return State.CROSSED_CANCELLATION


def _after_notification(
    standing: Standing, versions: list[Filed], came: list[Confirmed], differs: tuple[Difference, ...]
) -> State:
    if came:
        content = came[0].content
        if _crossed(standing, versions, content):
            return State.CROSSED_AMENDMENT
        state = BY_OUTCOME[content.outcome]
        if state is State.CONFIRMED and any(d.beyond_tolerance for d in differs):
            return State.CONFIRMED_WITH_DISCREPANCY
        if content.outcome in {"detained", "partial"} and _last(standing, ReturnNotice) is not None:
            return State.RETURNED
        return state
    if _last(standing, ReturnNotice) is not None:
        return State.RETURNED
    notice = _last(standing, IrregularityNotice)
    if (
        notice is not None
        and isinstance(notice.data, IrregularityNotice)
        and notice.data.measure in BY_MEASURE
    ):
        return BY_MEASURE[notice.data.measure]
    if standing.confirmations:
        return State.NOT_RECEIVED
    arrived = any(
        _last(standing, kind) is not None for kind in (ArrivalNotice, IrregularityNotice, DiscrepancyQuery)
    )
    return State.ARRIVED if arrived else State.NOTIFIED


def _crossed(standing: Standing, versions: list[Filed], content: ImportConfirmation) -> bool:
    """Whether the notification was amended, and not because the importer had asked, after the version that was confirmed."""
    if content.notification is None or content.outcome in INTERIM:
        return False
    ids = [version.id for version in versions]
    if content.notification.digest not in ids:
        return False
    later = versions[ids.index(content.notification.digest) + 1 :]
    return not all(standing.asked_for(version) for version in later)


def _unannounced(standing: Standing, came: list[Confirmed]) -> State:
    if _counterfeit(standing):
        return State.SUSPECTED_COUNTERFEIT
    if came or standing.confirmations:
        return State.CONFIRMED_UNANNOUNCED
    if any(
        _last(standing, kind) is not None
        for kind in (ArrivalNotice, IrregularityNotice, DiscrepancyQuery, ReturnNotice)
    ):
        return State.ARRIVED_UNANNOUNCED
    if standing.waiting:
        return State.WAITS_FOR_NOTIFICATION
    if _last(standing, TransitNotice) is not None:
        return State.IN_TRANSIT
    if standing.notified:
        return State.REJECTED
    return State.ASKED_ABOUT if _last(standing, CertificateQuery) is not None else State.UNDETERMINED


def _counterfeit(standing: Standing) -> bool:
    """Whether the issuer has said that it never issued the number: to a query that was put to it, or in a rejection (I01)."""
    for item in standing.effective:
        if isinstance(item.data, CertificateAnswer) and item.data.finding == "unknown":
            asked = standing.by_id.get(item.data.query)
            if asked is not None and answers(item, asked) and item.source[:2] == item.data.certificate.issuer:
                return True
    for item in standing.rejections:
        assert isinstance(item.data, Rejection)
        certificate = getattr(standing.by_id[item.data.refers_to].data, "certificate", None)
        ours = certificate is not None and certificate.issuer == item.source[:2]
        if ours and any(reason.code == "I01" for reason in item.data.reasons):
            return True
    return False


def _last(standing: Standing, kind: type) -> Filed | None:
    return next((item for item in reversed(standing.effective) if isinstance(item.data, kind)), None)


def _parties(
    standing: Standing, notification: Filed | None, confirmed: Confirmed | None
) -> tuple[str | None, str | None]:
    """Who exports and who imports, from the documents that say so best, rejected ones included if there are no others."""
    notification = notification or next(reversed(standing.notified), None)
    if notification is not None:
        exporter, importer = notification.source, notification.document.recipient
        return exporter, confirmed.item.source if confirmed is not None else importer
    if confirmed is not None:
        return confirmed.item.document.recipient, confirmed.item.source
    for item in [*standing.effective, *standing.items]:
        if item.data is None or isinstance(item.data, Rejection):
            continue
        if item.data.roles == {"export"} or isinstance(item.data, ExportNotification | CertificateAnswer):
            return item.source, item.document.recipient
        return item.document.recipient, item.source
    return None, None


def _certificate(standing: Standing, key: str) -> tuple[str, str]:
    """The number as printed and its issuer, as the notification says them, else as anybody does."""
    best = [*standing.notified, *standing.effective, *standing.items]
    for item in best:
        certificate = getattr(item.data, "certificate", None)
        if certificate is not None:
            return certificate.number_raw, certificate.issuer
    return key, key[:2]


def _flags(standing: Standing, versions: list[Filed], confirmed: Confirmed | None) -> tuple[str, ...]:
    flags = []
    if len(versions) > 1:
        flags.append("amended")
    if confirmed is not None and not isinstance(confirmed.item.data, ImportConfirmation):
        flags.append("corrected")
    if versions and confirmed is not None:
        received = confirmed.content.date_of_arrival or confirmed.content.date_of_receipt
        if received is not None and received > content_of(versions[-1]).date_of_expiry:
            flags.append("late")
    if versions and isinstance(versions[0].data, TechnicalCertificateNotice):
        flags.append("technical")
    if confirmed is not None and confirmed.content.notification is None:
        flags.append("unannounced")
    told = {notification.document.recipient for notification in standing.notifications}
    if told and confirmed is not None and confirmed.item.source not in told:
        flags.append("diverted")
    return tuple(flags)


def _turn(found: tuple[Matter, ...], exporter: str | None, importer: str | None) -> Turn:
    """Of the two whose case it is. What a third authority owes or is owed stands among the matters only."""
    whose = {address for matter in found if not matter.dormant for address in matter.whose}
    if {exporter, importer} & whose:
        whose &= {exporter, importer}
    if not whose:
        return "nobody"
    if whose == {exporter}:
        return "exporter"
    return "importer" if whose == {importer} else "both"
