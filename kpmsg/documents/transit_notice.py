"""The transit notice: a sealed shipment will pass through, unopened; no confirmation is due.

KPCS Section III(d): Participants through whose territory shipments transit need not ask for a certificate, provided that the
shipment leaves as it entered.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.export_notification import Containers, Transport
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import Carats, Count, Date, Line, Maybe, ParticipantCode, Text


class TransitNotice(Content):
    """Transit notice, version 1."""

    name: ClassVar[str] = "transit-notice"
    type: ClassVar[str] = "org.kimberley.transit-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    destination: ParticipantCode
    parcels: Count
    carats: Carats
    containers: Maybe[Containers] = None
    places: Annotated[tuple[Line, ...], Field(min_length=1, max_length=10)]
    """Where it enters, is handled and leaves, in order."""
    expected_entry: Date
    expected_exit: Maybe[Date] = None
    transport: Maybe[Transport] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key
