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
from enum import StrEnum
from typing import Any, Final, Literal

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
from kpmsg.matters import Matter, Scene, matters
from kpmsg.policy import Practice
from kpmsg.standing import Confirmed, Filed, Standing, content_of

__all__ = ["Case", "Difference", "Filed", "State", "Turn", "fold"]


class State(StrEnum):
    """The business state of one certificate."""

    NOTIFIED = "notified"
    ARRIVED = "arrived"
    CONFIRMED = "confirmed"
    CONFIRMED_WITH_DISCREPANCY = "confirmed-with-discrepancy"
    CONFIRMED_AFTER_REMEDY = "confirmed-after-remedy"
    PARTLY_CONFIRMED = "partly-confirmed"
    DETAINED = "detained"
    RETURNED = "returned"
    SEIZED = "seized"
    NOT_RECEIVED = "not-received"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    LOST_OR_STOLEN = "lost-or-stolen"
    ARRIVED_DESPITE_CANCELLATION = "arrived-despite-cancellation"
    CONFIRMED_UNANNOUNCED = "confirmed-unannounced"
    ARRIVED_UNANNOUNCED = "arrived-unannounced"
    SUSPECTED_COUNTERFEIT = "suspected-counterfeit"
    WAITS_FOR_NOTIFICATION = "waits-for-notification"
    IN_TRANSIT = "in-transit"
    ASKED_ABOUT = "asked-about"
    REJECTED = "rejected"
    NOTIFIED_TWICE = "notified-twice"
    AMENDED_TWICE = "amended-twice"
    CONFIRMED_TWICE = "confirmed-twice"
    USED_TWICE = "used-twice"
    CROSSED_AMENDMENT = "crossed-amendment"
    CROSSED_CANCELLATION = "crossed-cancellation"
    UNDETERMINED = "undetermined"

    @property
    def disputed(self) -> bool:
        """Whether documents exclude one another, so that officers of both sides must decide."""
        return self in _CONFLICTS


_CONFLICTS: Final = frozenset(
    {
        State.NOTIFIED_TWICE,
        State.AMENDED_TWICE,
        State.CONFIRMED_TWICE,
        State.USED_TWICE,
        State.CROSSED_AMENDMENT,
        State.CROSSED_CANCELLATION,
    }
)

Turn = Literal["exporter", "importer", "both", "nobody"]

_BY_OUTCOME: Final = {
    "confirmed": State.CONFIRMED,
    "confirmed_with_discrepancy": State.CONFIRMED_WITH_DISCREPANCY,
    "confirmed_after_remedy": State.CONFIRMED_AFTER_REMEDY,
    "partial": State.PARTLY_CONFIRMED,
    "detained": State.DETAINED,
    "refused_returned": State.RETURNED,
    "seized": State.SEIZED,
    "not_received": State.NOT_RECEIVED,
    "arrived_despite_cancellation": State.ARRIVED_DESPITE_CANCELLATION,
}
_BY_MEASURE: Final = {"detained": State.DETAINED, "returned": State.RETURNED, "seized": State.SEIZED}
_BY_REASON: Final = {"replaced": State.REPLACED, "lost": State.LOST_OR_STOLEN, "stolen": State.LOST_OR_STOLEN}
_MAY_FOLLOW_CANCELLATION: Final = frozenset(
    {"arrived_despite_cancellation", "refused_returned", "detained", "seized"}
)
"""Outcomes by which an importing authority that knows of a cancellation may confirm all the same (race C6)."""

_MEANING: Final = {
    State.NOTIFIED: "The shipment has been notified. The importing authority has not confirmed it yet.",
    State.ARRIVED: "The shipment has been presented to the importing authority, which has not decided yet.",
    State.CONFIRMED: "The importing authority has confirmed the shipment as notified.",
    State.CONFIRMED_WITH_DISCREPANCY: "Confirmed, but what was found differs from what was notified.",
    State.CONFIRMED_AFTER_REMEDY: "Confirmed after a fault was remedied.",
    State.PARTLY_CONFIRMED: "A part of the shipment has been confirmed.",
    State.DETAINED: "The shipment is detained by the importing authority; this is not final.",
    State.RETURNED: "The importing authority refused the shipment and returned it.",
    State.SEIZED: "The shipment has been seized.",
    State.NOT_RECEIVED: "The importing authority says that the shipment has not arrived.",
    State.CANCELLED: "The exporting authority has cancelled the certificate. It must not be accepted.",
    State.REPLACED: "The certificate has been replaced by another. It must not be accepted.",
    State.LOST_OR_STOLEN: "The certificate was lost or stolen. It must not be accepted.",
    State.ARRIVED_DESPITE_CANCELLATION: "The certificate was cancelled, and the shipment came all the same.",
    State.CONFIRMED_UNANNOUNCED: "A confirmation is there, but no notification of this number.",
    State.ARRIVED_UNANNOUNCED: "A shipment was presented under this number, which nobody has notified.",
    State.SUSPECTED_COUNTERFEIT: "The issuer says that it never issued this number: suspected counterfeit.",
    State.WAITS_FOR_NOTIFICATION: "An amendment or a cancellation is there; the notification it is about is not, yet.",
    State.IN_TRANSIT: "The shipment passes through; no confirmation is due.",
    State.ASKED_ABOUT: "The issuer has been asked about this number.",
    State.REJECTED: "The notification was rejected by the importing authority.",
    State.NOTIFIED_TWICE: "The number has been notified twice, differently. The exporting authority must cancel one.",
    State.AMENDED_TWICE: "One version has been amended twice, differently. The exporting authority must cancel or explain.",
    State.CONFIRMED_TWICE: "Two confirmations by one authority contradict one another. It must withdraw one.",
    State.USED_TWICE: "Two authorities have confirmed this number: the certificate may have been used twice.",
    State.CROSSED_AMENDMENT: "An amendment and a confirmation of the earlier version have crossed.",
    State.CROSSED_CANCELLATION: "A cancellation and a confirmation have crossed: officers of both sides must decide.",
    State.UNDETERMINED: "Only documents that decide nothing about the shipment are there.",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that was found other than notified; amounts as they stand on the wire."""

    field: str
    notified: str
    found: str
    beyond_tolerance: bool


@dataclass(frozen=True, slots=True)
class Case:
    """The case of one certificate. `exporter` and `importer` are authority addresses; ids are document ids.

    `current` is the version of the notification that holds (revision 0 is the notification itself), `expires` the
    certificate's last day. `flags`: `amended`, `corrected`, `late` (received after expiry, C10), `technical`,
    `unannounced` (confirmed before it was notified, C9). `turn` is whose move it is now; `matters` say why, and what comes later.
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
    """The case of certificate `key`. Commutes: any order of the same documents gives the same case (I13)."""
    standing = Standing(filed)
    notified = standing.active or standing.notifications
    notification = notified[-1] if notified else None
    versions = standing.versions(notification) if notification is not None else []
    cancellation = standing.cancellation_of(notification) if notification is not None else None
    confirmed = standing.confirmations[-1] if standing.confirmations else None
    differences: tuple[Difference, ...] = ()
    if versions and confirmed is not None and (confirmed.content.found.parcels or confirmed.content.found.carats):
        differences = _differences(content_of(versions[-1]), confirmed, practice)
    state = _state(standing, versions, cancellation, differences)
    exporter, importer = _parties(standing, notification, confirmed)
    number, issuer = _certificate(standing, key)
    scene = Scene(standing, str(state), state.disputed, exporter, importer, issuer, versions, cancellation, confirmed)
    beyond = any(difference.beyond_tolerance for difference in differences)
    open_matters = matters(scene, practice, beyond=beyond)
    return Case(
        key=key,
        number=number,
        issuer=issuer,
        exporter=exporter,
        importer=importer,
        state=state,
        turn=_turn(open_matters, exporter, importer),
        meaning=_MEANING[state],
        revision=max(0, len(versions) - 1),
        current=versions[-1].id if versions else None,
        cancellation=None if cancellation is None else cancellation.id,
        expires=content_of(versions[-1]).date_of_expiry if versions else None,
        notifications=tuple(item.id for item in standing.notifications),
        confirmations=tuple(current.item.id for current in standing.confirmations),
        rejected=tuple(sorted(standing.rejected)),
        differences=differences,
        flags=_flags(versions, confirmed),
        matters=open_matters,
    )


def _state(
    standing: Standing, versions: list[Filed], cancellation: Filed | None, differences: tuple[Difference, ...]
) -> State:
    if len(standing.active) > 1:
        return State.NOTIFIED_TWICE
    if versions and cancellation is None and standing.forked(versions[0]):
        return State.AMENDED_TWICE
    came = standing.receipts_of_goods
    if len({current.item.source for current in came}) > 1:
        return State.USED_TWICE
    if len(came) > 1 or (not came and len(standing.confirmations) > 1):
        return State.CONFIRMED_TWICE
    if cancellation is not None:
        return _after_cancellation(cancellation, came)
    if versions:
        return _after_notification(standing, versions, came, differences)
    return _unannounced(standing, came)


def _after_cancellation(cancellation: Filed, came: list[Confirmed]) -> State:
    assert isinstance(cancellation.data, Cancellation)
    if not came:
        return _BY_REASON.get(cancellation.data.reason, State.CANCELLED)
    content = came[0].content
    if content.knows_cancellation == cancellation.id and content.outcome in _MAY_FOLLOW_CANCELLATION:
        return _BY_OUTCOME[content.outcome]
    return State.CROSSED_CANCELLATION


def _after_notification(
    standing: Standing, versions: list[Filed], came: list[Confirmed], differences: tuple[Difference, ...]
) -> State:
    if came:
        content = came[0].content
        if _crossed(versions, content):
            return State.CROSSED_AMENDMENT
        state = _BY_OUTCOME[content.outcome]
        if state is State.CONFIRMED and any(d.beyond_tolerance for d in differences):
            return State.CONFIRMED_WITH_DISCREPANCY
        if content.outcome in {"detained", "partial"} and _last(standing, ReturnNotice) is not None:
            return State.RETURNED
        return state
    if _last(standing, ReturnNotice) is not None:
        return State.RETURNED
    notice = _last(standing, IrregularityNotice)
    if notice is not None and isinstance(notice.data, IrregularityNotice) and notice.data.measure in _BY_MEASURE:
        return _BY_MEASURE[notice.data.measure]
    if standing.confirmations:
        return State.NOT_RECEIVED
    arrived = any(_last(standing, kind) is not None for kind in (ArrivalNotice, IrregularityNotice, DiscrepancyQuery))
    return State.ARRIVED if arrived else State.NOTIFIED


def _crossed(versions: list[Filed], content: ImportConfirmation) -> bool:
    """Whether the notification was amended, not as the outcome of a query, after the version that was confirmed."""
    if content.notification is None:
        return False
    ids = [version.id for version in versions]
    if content.notification.digest not in ids:
        return False
    later = versions[ids.index(content.notification.digest) + 1 :]
    return any(getattr(version.data, "outcome_of", None) is None for version in later)


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
    if standing.rejected:
        return State.REJECTED
    return State.ASKED_ABOUT if _last(standing, CertificateQuery) is not None else State.UNDETERMINED


def _counterfeit(standing: Standing) -> bool:
    """Whether the issuer has said, in a rejection or an answer of its own, that it never issued the number."""
    return any(
        (
            isinstance(item.data, CertificateAnswer)
            and item.data.finding == "unknown"
            and item.source[:2] == item.data.certificate.issuer
        )
        for item in standing.effective
    ) or any(
        reason.code == "I01"
        for item in standing.rejections
        if isinstance(item.data, Rejection)
        for reason in item.data.reasons
    )


def _last(standing: Standing, kind: type) -> Filed | None:
    return next((item for item in reversed(standing.effective) if isinstance(item.data, kind)), None)


def _parties(
    standing: Standing, notification: Filed | None, confirmed: Confirmed | None
) -> tuple[str | None, str | None]:
    """Who exports and who imports, from the documents that say so best, rejected ones included if there are no others."""
    if notification is not None:
        exporter, importer = notification.source, notification.document.recipient
        return exporter, confirmed.item.source if confirmed is not None else importer
    if confirmed is not None:
        return confirmed.item.document.recipient, confirmed.item.source
    for item in standing.items:
        if item.data is None or isinstance(item.data, Rejection):
            continue
        if item.data.roles == {"export"} or isinstance(item.data, ExportNotification | CertificateAnswer):
            return item.source, item.document.recipient
        return item.document.recipient, item.source
    return None, None


def _certificate(standing: Standing, key: str) -> tuple[str, str]:
    """The number as printed and its issuer, as the notification says them, else as anybody does."""
    best = [*standing.notifications, *standing.items]
    for item in best:
        certificate = getattr(item.data, "certificate", None)
        if certificate is not None:
            return certificate.number_raw, certificate.issuer
    return key, key[:2]


def _flags(versions: list[Filed], confirmed: Confirmed | None) -> tuple[str, ...]:
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
    return tuple(flags)


def _turn(open_matters: tuple[Matter, ...], exporter: str | None, importer: str | None) -> Turn:
    whose = {address for matter in open_matters if not matter.dormant for address in matter.whose}
    if not whose:
        return "nobody"
    if whose == {exporter}:
        return "exporter"
    return "importer" if whose == {importer} else "both"


def _differences(notified: ExportNotification, confirmed: Confirmed, practice: Practice) -> tuple[Difference, ...]:
    """Rules I04, I05, I06: parcels have no tolerance; weights and values have the one that the importer published."""
    content = confirmed.content
    tolerance = practice.tolerance(confirmed.item.source, confirmed.item.document.time.date())
    found = content.found
    out = []
    if notified.parcels != found.parcels:
        out.append(Difference("parcels", str(notified.parcels), str(found.parcels), beyond_tolerance=True))
    if notified.carats != found.carats:
        allowed = max(tolerance.carats, notified.carats * tolerance.carats_share)
        beyond = abs(notified.carats - found.carats) > allowed
        out.append(Difference("carats", f"{notified.carats:.2f}", f"{found.carats:.2f}", beyond))
    if found.value_usd is not None and notified.value_usd != found.value_usd:
        beyond = abs(notified.value_usd - found.value_usd) > notified.value_usd * tolerance.value_share
        out.append(Difference("value_usd", f"{notified.value_usd:.2f}", f"{found.value_usd:.2f}", beyond))
    return tuple(out)
