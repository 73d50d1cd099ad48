"""The names of the states that a certificate can be in, and what each means in a sentence.

Every conflict has a name of its own: who reads "crossed-cancellation" knows what happened, who reads "error" does not. How documents
lead to a state is `kpmsg.case`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal


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
        return self in CONFLICTS

    @property
    def meaning(self) -> str:
        """The state in a sentence."""
        return MEANING[self]


CONFLICTS: Final = frozenset(
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

BY_OUTCOME: Final = {
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
BY_MEASURE: Final = {"detained": State.DETAINED, "returned": State.RETURNED, "seized": State.SEIZED}
BY_REASON: Final = {"replaced": State.REPLACED, "lost": State.LOST_OR_STOLEN, "stolen": State.LOST_OR_STOLEN}
MAY_FOLLOW_CANCELLATION: Final = frozenset(
    {"arrived_despite_cancellation", "refused_returned", "detained", "seized"}
)
"""Outcomes by which an importing authority that knows of a cancellation may confirm all the same (race C6)."""

MEANING: Final = {
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
