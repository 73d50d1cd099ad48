"""The confirmation request: a confirmation is due, or overdue, and is asked for.

KPCS Annex II 24 (the import confirmation is sent "when requested"). Silence is never taken for a refusal: it is asked
about at three levels, the last of which goes to the focal point.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Certificate, Reference
from kpmsg.documents.vocabulary import Date, Line, Maybe, Text


class ConfirmationRequest(Content):
    """Confirmation request, version 1."""

    name: ClassVar[str] = "confirmation-request"
    type: ClassVar[str] = "org.kimberley.confirmation-request.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    notification: Reference
    level: Literal[1, 2, 3]
    due: Maybe[Date] = None
    days_overdue: Maybe[Annotated[StrictInt, Field(ge=0, le=9999)]] = None
    contact: Maybe[Line] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A notification is asked about once at each level."""
        return f"{self.name}:{key}:{self.notification.digest}:{self.level}"
