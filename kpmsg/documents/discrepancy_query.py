"""The discrepancy query: what was found differs from what was notified or certified, and the exporter is asked.

KPCS Section V(f). It opens a thread that the exporting authority closes with a response.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Attachment, Certificate, FieldName, Particulars, Reference
from kpmsg.documents.vocabulary import Date, Line, Maybe, Text


class Doubt(Particulars):
    """One thing that is asked about; values as words, whatever the thing is."""

    field: FieldName
    notified: Maybe[Line] = None
    certificate: Maybe[Line] = None
    found: Line


class DiscrepancyQuery(Content):
    """Discrepancy query, version 1."""

    name: ClassVar[str] = "discrepancy-query"
    type: ClassVar[str] = "org.kimberley.discrepancy-query.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    doubts: Annotated[tuple[Doubt, ...], Field(min_length=1, max_length=50)]
    question: Text
    reply_by: Maybe[Date] = None
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()

    @property
    def subject(self) -> str:
        return self.certificate.key
