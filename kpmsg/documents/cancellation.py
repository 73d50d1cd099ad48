"""The cancellation: a notified certificate will not arrive, and must not be accepted, under this number.

Void, not shipped, replaced, invalidated, lost, stolen or returned unused: each is a reason that some Participant's law
names, and the importing authority has to know it before a paper with that number is presented (KPCS Section V(f)).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import CertificateNumber, DocumentId, Maybe, Text

CancellationReason = Literal[
    "void", "not_shipped", "replaced", "invalidated", "lost", "stolen", "returned_unused", "notified_in_error"
]


class Cancellation(Content):
    """Cancellation, version 1."""

    name: ClassVar[str] = "cancellation"
    type: ClassVar[str] = "org.kimberley.cancellation.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    cancels: DocumentId
    """The notification (or the technical certificate notice) that is cancelled with all its amendments."""
    reason: CancellationReason
    replaced_by: Maybe[CertificateNumber] = None
    knows_confirmation: DocumentId | None
    """The import confirmation that the sender held when it wrote this; null if none."""
    explanation: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A notification is cancelled once."""
        return f"{self.name}:{key}:{self.cancels}"
