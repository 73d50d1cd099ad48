"""Where a certificate stands: a pure fold over the documents exchanged about it.

`fold` looks at the *set* of documents only, never at the order in which they arrived, so that both authorities, who receive the
two directions interleaved differently, compute the same case. It never chooses between two documents that
exclude one another: both stay, the state is `disputed`, and people decide.

`objections` tells what is wrong with one document in the light of the others: what its recipient answers with a signed
rejection (severity `reject`), and what waits for an officer (`hold`).

Delivery (has the partner's node stored these bytes?) is another axis and is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal

from kpmsg.documents import TYPES, Document
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.import_confirmation import ImportConfirmation
from kpmsg.documents.rejection import Rejection
from kpmsg.errors import Problem

CARATS_TOLERANCE: Final = Decimal(
    "0.05"
)  # rule I05: scales differ; the larger of these two is no discrepancy
CARATS_TOLERANCE_SHARE: Final = Decimal("0.001")
VALUE_TOLERANCE_SHARE: Final = Decimal("0.25")  # rule I06: valuations differ as a matter of course


class State(StrEnum):
    """The business state of one certificate."""

    NOTIFIED = "notified"
    CONFIRMED = "confirmed"
    CONFIRMED_WITH_DISCREPANCY = "confirmed-with-discrepancy"
    CONFIRMED_AFTER_REMEDY = "confirmed-after-remedy"
    PARTLY_CONFIRMED = "partly-confirmed"
    DETAINED = "detained"
    RETURNED = "returned"
    SEIZED = "seized"
    NOT_RECEIVED = "not-received"
    CONFIRMED_UNANNOUNCED = "confirmed-unannounced"
    UNKNOWN_NUMBER = "unknown-number"
    REJECTED = "rejected"
    DISPUTED = "disputed"
    UNDETERMINED = "undetermined"


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
}

_MEANING: Final[dict[State, tuple[Turn, str]]] = {
    State.NOTIFIED: (
        "importer",
        "The shipment has been notified. The importing authority has not confirmed it yet.",
    ),
    State.CONFIRMED: ("nobody", "The importing authority has confirmed the shipment as notified."),
    State.CONFIRMED_WITH_DISCREPANCY: (
        "exporter",
        "Confirmed, but what was found differs from what was notified.",
    ),
    State.CONFIRMED_AFTER_REMEDY: ("nobody", "Confirmed after a fault was remedied."),
    State.PARTLY_CONFIRMED: ("importer", "A part of the shipment has been confirmed."),
    State.DETAINED: ("importer", "The shipment is detained by the importing authority; this is not final."),
    State.RETURNED: ("exporter", "The importing authority refused the shipment and returned it."),
    State.SEIZED: ("both", "The shipment has been seized."),
    State.NOT_RECEIVED: ("exporter", "The importing authority says that the shipment has not arrived."),
    State.CONFIRMED_UNANNOUNCED: ("exporter", "A confirmation is there, but no notification of this number."),
    State.UNKNOWN_NUMBER: (
        "importer",
        "The issuer says that it never issued this number: suspected counterfeit.",
    ),
    State.REJECTED: ("exporter", "The notification was rejected by the importing authority."),
    State.DISPUTED: (
        "both",
        "Documents about this number exclude one another; officers of both sides must decide.",
    ),
    State.UNDETERMINED: ("both", "Only documents of a kind that this software does not know are there."),
}


@dataclass(frozen=True, slots=True)
class Filed:
    """One admitted document with its id."""

    id: str
    document: Document


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that was found other than notified; amounts as they stand on the wire."""

    field: str
    notified: str
    found: str
    beyond_tolerance: bool


@dataclass(frozen=True, slots=True)
class Case:
    """The case of one certificate. `exporter` and `importer` are authority addresses; ids are document ids."""

    key: str
    number: str
    issuer: str
    exporter: str | None
    importer: str | None
    state: State
    turn: Turn
    meaning: str
    notifications: tuple[str, ...]
    confirmations: tuple[str, ...]
    rejected: tuple[str, ...]
    differences: tuple[Difference, ...]

    def members(self) -> dict[str, Any]:
        """For JSON."""
        members = {name: getattr(self, name) for name in _CASE_MEMBERS}
        members["differences"] = [asdict(difference) for difference in self.differences]
        return members


_CASE_MEMBERS: Final = tuple(each.name for each in fields(Case))


def fold(key: str, filed: Iterable[Filed]) -> Case:
    """The case of certificate `key`. Commutes: any order of the same documents gives the same case (I13)."""
    items = sorted(filed, key=lambda item: (item.document.time, item.id))
    by_id = {item.id: item.document for item in items}
    rejections = [
        item.document.data
        for item in items
        if isinstance(item.document.data, Rejection)
        and (
            (about := by_id.get(item.document.data.refers_to)) is None
            or about.recipient == item.document.source
        )
    ]
    rejected = {rejection.refers_to for rejection in rejections}
    standing = [item for item in items if item.id not in rejected]
    notified = [
        (i.id, i.document, i.document.data)
        for i in standing
        if isinstance(i.document.data, ExportNotification)
    ]
    confirmed = [
        (i.id, i.document, i.document.data)
        for i in standing
        if isinstance(i.document.data, ImportConfirmation)
    ]
    superseded = {data.supersedes for _, _, data in confirmed if data.supersedes is not None}
    confirmed = [entry for entry in confirmed if entry[0] not in superseded]
    differences: tuple[Difference, ...] = ()
    if len(notified) > 1 or len(confirmed) > 1:
        state = State.DISPUTED
    elif confirmed and notified:
        differences = _differences(notified[0][2], confirmed[0][2])
        state = _BY_OUTCOME[confirmed[0][2].outcome]
        if state is State.CONFIRMED and any(d.beyond_tolerance for d in differences):
            state = State.CONFIRMED_WITH_DISCREPANCY
    elif confirmed:
        state = State.CONFIRMED_UNANNOUNCED
    elif notified:
        state = State.NOTIFIED
    elif any(reason.code == "I01" for rejection in rejections for reason in rejection.reasons):
        state = State.UNKNOWN_NUMBER
    else:
        state = State.REJECTED if rejected else State.UNDETERMINED
    turn, meaning = _MEANING[state]
    certificates = [
        data.certificate
        for item in items
        if isinstance(data := item.document.data, ExportNotification | ImportConfirmation)
    ]
    confirmations = [i.document for i in items if isinstance(i.document.data, ImportConfirmation)]
    notifications = [i.document for i in items if isinstance(i.document.data, ExportNotification)]
    exporter = (
        notifications[0].source if notifications else confirmations[0].recipient if confirmations else None
    )
    importer = (
        confirmations[0].source if confirmations else notifications[0].recipient if notifications else None
    )
    return Case(
        key=key,
        number=certificates[0].number_raw if certificates else key,
        issuer=certificates[0].issuer if certificates else key[:2],
        exporter=exporter,
        importer=importer,
        state=state,
        turn=turn,
        meaning=meaning,
        notifications=tuple(entry[0] for entry in notified),
        confirmations=tuple(entry[0] for entry in confirmed),
        rejected=tuple(sorted(rejected)),
        differences=differences,
    )


def _differences(notified: ExportNotification, confirmed: ImportConfirmation) -> tuple[Difference, ...]:
    """Rules I04, I05, I06: parcels have no tolerance, weights a small one, values a large one."""
    found = confirmed.found
    out = []
    if notified.parcels != found.parcels:
        out.append(Difference("parcels", str(notified.parcels), str(found.parcels), beyond_tolerance=True))
    if notified.carats != found.carats:
        tolerance = max(CARATS_TOLERANCE, notified.carats * CARATS_TOLERANCE_SHARE)
        beyond = abs(notified.carats - found.carats) > tolerance
        out.append(Difference("carats", f"{notified.carats:.2f}", f"{found.carats:.2f}", beyond))
    if found.value_usd is not None and notified.value_usd != found.value_usd:
        beyond = abs(notified.value_usd - found.value_usd) > notified.value_usd * VALUE_TOLERANCE_SHARE
        out.append(Difference("value_usd", f"{notified.value_usd:.2f}", f"{found.value_usd:.2f}", beyond))
    return tuple(out)


def objections(item: Filed, others: Sequence[Filed]) -> list[Problem]:
    """What the recipient of `item` has to say against it, given the `others` about the same certificate.

    `reject`: answered by a signed rejection, and the document has no effect. `hold`: it has effect, and an officer is
    called. I01, the strongest sign of a counterfeit, is meaningful only to a node that knows all its own documents.
    """
    document = item.document
    if document.data is None:
        text = f"Documents of type {document.type} are not understood here yet; it is kept and read again after an upgrade."
        return [Problem("S07", text, "/type")]
    if isinstance(document.data, Rejection):
        return []
    problems = [p for p in document.data.breaches(document) if p.severity != "warn"]
    rejected = {o.document.data.refers_to for o in others if isinstance(o.document.data, Rejection)}
    standing = [o for o in others if o.id not in rejected and o.id != item.id]
    if isinstance(document.data, ExportNotification) and any(
        isinstance(o.document.data, ExportNotification) for o in standing
    ):
        text = "This certificate number has been notified before, for another shipment or with other content."
        problems.append(Problem("C04", text, "/data/certificate/number_raw", "hold"))
    if isinstance(document.data, ImportConfirmation):
        problems += _confirmation_objections(document, document.data, standing)
    return problems


def _confirmation_objections(
    document: Document, data: ImportConfirmation, standing: Sequence[Filed]
) -> list[Problem]:
    problems = []
    ours = [
        o.document
        for o in standing
        if isinstance(o.document.data, ExportNotification) and o.document.source == document.recipient
    ]
    if not ours:
        text = "We never issued a certificate with this number. Please treat it as a suspected counterfeit."
        problems.append(Problem("I01", text, "/data/certificate/number_raw"))
    elif all(o.recipient != document.source for o in ours):
        text = "The shipment was notified to another authority than the one that confirms it."
        problems.append(Problem("I02", text, "/source", "hold"))
    before = {o.id: o for o in standing if isinstance(o.document.data, ImportConfirmation)}
    superseded = {
        o.document.data.supersedes for o in before.values() if isinstance(o.document.data, ImportConfirmation)
    }
    current = [o for o in before.values() if o.id not in superseded and o.id != data.supersedes]
    if any(o.document.source == document.source for o in current):
        text = (
            "This certificate is confirmed already; a correction must say which confirmation it supersedes."
        )
        problems.append(Problem("I09", text, "/data/supersedes"))
    elif current:
        text = "Another authority has confirmed this certificate number too: it may have been used twice."
        problems.append(Problem("I02", text, "/data/certificate/number_raw", "hold"))
    return problems


def released_by(document: Document) -> str | None:
    """The id of the document whose claim a (verified) rejection sets free: its number may be notified again, corrected."""
    return document.data.refers_to if isinstance(document.data, Rejection) else None


def rejection_draft(item: Filed, problems: Sequence[Problem]) -> dict[str, Any]:
    """The draft of the signed answer to a document that breaks rules; the recipient's node composes and signs it."""
    data: dict[str, Any] = {
        "refers_to": item.id,
        "reasons": [
            {"code": p.code, "severity": p.severity, "text": p.text}
            | ({"pointer": p.pointer} if p.pointer else {})
            for p in problems
        ],
    }
    if any(p.code == "S07" for p in problems):
        data["supported_types"] = sorted(TYPES)
    draft: dict[str, Any] = {"type": Rejection.type, "recipient": item.document.source, "data": data}
    if item.document.subject is not None:
        draft["subject"] = item.document.subject
    return draft
