"""The correction of an import confirmation: what was confirmed was wrong; here is the whole of it, as it should be.

KPCS Section III(b): a confirmation is evidence, so it is never altered, only corrected by another, with a reason. A
later finding after an interim one (detained, then released) is no correction but an import confirmation that
supersedes. What was never so, or stands under a wrong number, is withdrawn and not corrected.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.import_confirmation import ImportConfirmation
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import DocumentId, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach

CorrectionReason = Literal["clerical_error", "reweighed", "revalued", "outcome_of_query", "other"]


class ConfirmationCorrection(Content):
    """Correction of an import confirmation, version 1."""

    name: ClassVar[str] = "confirmation-correction"
    type: ClassVar[str] = "org.kimberley.confirmation-correction.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})
    acts_by: ClassVar[str | None] = "corrects"

    certificate: Certificate
    corrects: DocumentId
    """The import confirmation, or the correction before."""
    content: ImportConfirmation
    """The confirmation's data as it should have been, whole."""
    reason: CorrectionReason
    explanation: Maybe[Text] = None
    outcome_of: Maybe[DocumentId] = None
    """The discrepancy query or response that led to this."""

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A confirmation is corrected once; then its correction is."""
        return f"{self.name}:{key}:{self.corrects}"

    def breaches(self, document: Document) -> list[Problem]:
        return [*self._content_problems(document), *self._reason_problems()]

    def _content_problems(self, document: Document) -> list[Problem]:
        """The content's own rules, at its own places, and that it is about this certificate."""
        problems = [_moved(problem) for problem in self.content.breaches(document)]
        own, inner = self.certificate, self.content.certificate
        at = "/data/content/certificate"
        if inner.key != own.key:
            problems.append(breach("I11", "number", f"{at}/number_raw"))
        if inner.issuer != own.issuer:
            problems.append(breach("I11", "issuer", f"{at}/issuer"))
        if inner.kind != own.kind:
            problems.append(breach("I11", "kind", f"{at}/kind"))
        if self.content.supersedes is not None:
            problems.append(breach("I12", "supersedes", "/data/content/supersedes"))
        return problems

    def _reason_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        if self.reason == "other" and self.explanation is None:
            problems.append(breach("I13", "unexplained", "/data/explanation"))
        if self.reason == "outcome_of_query" and self.outcome_of is None:
            problems.append(breach("I14", "unnamed", "/data/outcome_of"))
        if self.reason != "outcome_of_query" and self.outcome_of is not None:
            problems.append(breach("I14", "reason", "/data/reason"))
        return problems


def _moved(problem: Problem) -> Problem:
    """The content's pointers begin at its own document; within this one, its data stands a step deeper."""
    pointer = problem.pointer
    if pointer is None or not pointer.startswith("/data"):
        return problem
    return replace(problem, pointer=f"/data/content{pointer.removeprefix('/data')}")
