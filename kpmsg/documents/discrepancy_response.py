"""The discrepancy response: the exporting authority's answer, point by point, and what it asks the importer to do.

KPCS Section V(f). The instruction to endorse a correction is a recognised electronic message in national practice for
minor clerical errors on a certificate.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Attachment, Certificate, FieldName, Particulars
from kpmsg.documents.vocabulary import DocumentId, Line, Maybe, Text


class Answer(Particulars):
    """What is said of one doubt: the original holds, it is to be read as `corrected`, or it is being looked into."""

    field: FieldName
    verdict: Literal["original_stands", "correct_to", "investigating"]
    corrected: Maybe[Line] = None


class DiscrepancyResponse(Content):
    """Discrepancy response, version 1."""

    name: ClassVar[str] = "discrepancy-response"
    type: ClassVar[str] = "org.kimberley.discrepancy-response.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    query: DocumentId
    answers: Annotated[tuple[Answer, ...], Field(min_length=1, max_length=50)]
    instruction: Literal["accept", "endorse_correction", "return", "hold"]
    explanation: Maybe[Text] = None
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()

    @property
    def subject(self) -> str:
        return self.certificate.key
