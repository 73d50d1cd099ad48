"""The discrepancy response: the exporting authority's answer, point by point, and what it asks the importer to do.

KPCS Section V(f). The instruction to endorse a correction is a recognised electronic message in national practice for
minor clerical errors on a certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.issuing import issuing_problems
from kpmsg.documents.particulars import Attachments, Certificate, FieldName, Particulars
from kpmsg.documents.plausible import attachment_problems
from kpmsg.documents.vocabulary import DocumentId, Line, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


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
    attachments: Attachments = ()

    @property
    def subject(self) -> str:
        return self.certificate.key

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *issuing_problems(self.certificate, document),
            *self._answer_problems(),
            *self._instruction_problems(),
            *attachment_problems(self.attachments),
        ]

    def _answer_problems(self) -> Iterator[Problem]:
        answered: set[str] = set()
        for n, answer in enumerate(self.answers):
            at = f"/data/answers/{n}"
            if answer.field in answered:
                yield breach("Q04", "twice", f"{at}/field", field=answer.field)
            if answer.field != "other":  # which may be asked of any number of things
                answered.add(answer.field)
            if answer.verdict == "correct_to" and answer.corrected is None:
                yield breach("Q05", "missing", f"{at}/corrected")
            elif answer.verdict == "original_stands" and answer.corrected is not None:
                yield breach("Q05", "contradicts", f"{at}/corrected")
            elif answer.verdict == "investigating" and answer.corrected is not None:
                yield breach("Q05", "early", f"{at}/corrected")

    def _instruction_problems(self) -> Iterator[Problem]:
        """Rule Q06. To return or to hold a shipment agrees with every answer; to let it go does not."""
        at = "/data/instruction"
        if self.instruction == "endorse_correction" and all(
            each.verdict != "correct_to" for each in self.answers
        ):
            yield breach("Q06", "nothing", at)
        if self.instruction in {"accept", "endorse_correction"}:
            still_open = next((each.field for each in self.answers if each.verdict == "investigating"), None)
            if still_open is not None:
                yield breach("Q06", "open", at, field=still_open)
