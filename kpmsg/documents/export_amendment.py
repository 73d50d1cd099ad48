"""The export amendment: what was notified has changed, or was wrong; here is the whole of it, as it is now.

KPCS Section V(f) (Participants resolve unintentional faults together). It replaces the notification before an import
confirmation is there; afterwards only as the outcome of a discrepancy that the importing authority has asked about.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import DocumentId, Maybe, Pointer, Text

AmendmentReason = Literal["clerical_error", "reweighed", "revalued", "consignee_changed", "route_changed", "outcome_of_query", "other"]


class ExportAmendment(Content):
    """Export amendment, version 1."""

    name: ClassVar[str] = "export-amendment"
    type: ClassVar[str] = "org.kimberley.export-amendment.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    amends: DocumentId
    """The document that this replaces: the notification, or the amendment before."""
    content: ExportNotification
    """The notification's data as it is from now on, whole."""
    changed: Annotated[tuple[Pointer, ...], Field(min_length=1, max_length=100)]
    """Pointers into `content`: what differs from the version before."""
    reason: AmendmentReason
    explanation: Maybe[Text] = None
    knows_confirmation: DocumentId | None
    """The import confirmation that the sender held when it wrote this; null if none."""
    outcome_of: Maybe[DocumentId] = None
    """The discrepancy query or response that led to this."""

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A version is replaced once."""
        return f"{self.name}:{key}:{self.amends}"
