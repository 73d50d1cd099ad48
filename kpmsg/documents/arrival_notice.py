"""The arrival notice: the shipment has been presented to the Importing Authority, which has not decided yet.

KPCS Annex II 21 and 22. Voluntary; it tells the exporter that the goods came, and starts the importer's own clock.
"""

from __future__ import annotations

from typing import ClassVar

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Certificate, Reference
from kpmsg.documents.vocabulary import Date, Line, Maybe, Text


class ArrivalNotice(Content):
    """Arrival notice, version 1."""

    name: ClassVar[str] = "arrival-notice"
    type: ClassVar[str] = "org.kimberley.arrival-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    date_presented: Date
    place: Line
    decision_expected: Maybe[Date] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A shipment arrives once."""
        return f"{self.name}:{key}"
