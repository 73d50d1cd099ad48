"""The status reply: where a shipment is at the Importing Authority, in answer to a confirmation request.

KPCS Annex II 24. It is no confirmation; it says why there is none yet.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import Date, DocumentId, Maybe, Text

Standing = Literal["not_arrived", "under_inspection", "detained", "already_confirmed", "unknown_certificate"]


class ConfirmationStatus(Content):
    """Status reply, version 1."""

    name: ClassVar[str] = "confirmation-status"
    type: ClassVar[str] = "org.kimberley.confirmation-status.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    request: DocumentId
    standing: Standing
    confirmation: Maybe[DocumentId] = None
    """The confirmation that was sent, if `standing` is already_confirmed."""
    decision_expected: Maybe[Date] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A request is answered once."""
        return f"{self.name}:{key}:{self.request}"
