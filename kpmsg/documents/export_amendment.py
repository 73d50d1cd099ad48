"""The export amendment: what was notified has changed, or was wrong; here is the whole of it, as it is now.

KPCS Section V(f) (Participants resolve unintentional faults together). It replaces the notification before an import
confirmation is there; afterwards only as the outcome of a discrepancy that the importing authority has asked about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import DocumentId, Maybe, Pointer, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach

_LATE = frozenset({("T01", "late"), ("T04", "old")})

AmendmentReason = Literal[
    "clerical_error",
    "reweighed",
    "revalued",
    "consignee_changed",
    "route_changed",
    "outcome_of_query",
    "other",
]


class ExportAmendment(Content):
    """Export amendment, version 1."""

    name: ClassVar[str] = "export-amendment"
    type: ClassVar[str] = "org.kimberley.export-amendment.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})
    acts_by: ClassVar[str | None] = "amends"

    certificate: Certificate
    amends: DocumentId
    """The document that this replaces: the notification, or the amendment before."""
    content: ExportNotification
    """The notification's data as it is from now on, whole."""
    changed: Annotated[tuple[Pointer, ...], Field(min_length=1, max_length=100)]
    """Pointers into `content`: what differs from the version before. What was left out is pointed at where it would be."""
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

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *self._certificate_problems(),
            *self._content_problems(document),
            *self._changed_problems(),
            *self._reason_problems(),
        ]

    def _certificate_problems(self) -> Iterator[Problem]:
        """Rule A11: nothing is moved from one number to another by an amendment; that takes a cancellation."""
        here, there = self.certificate, self.content.certificate
        if here.key != there.key:
            at = "/data/content/certificate/number_raw"
            yield breach("A11", "number", at, certificate=here.number_raw, content=there.number_raw)
        if here.issuer != there.issuer:
            at = "/data/content/certificate/issuer"
            yield breach("A11", "issuer", at, certificate=here.issuer, content=there.issuer)
        if here.kind != there.kind:
            at = "/data/content/certificate/kind"
            yield breach("A11", "kind", at, certificate=here.kind, content=there.kind)

    def _content_problems(self, document: Document) -> Iterator[Problem]:
        """What is wrong with a notification is wrong with its amendment, except that it is late: it cannot be otherwise."""
        for problem in self.content.breaches(document):
            if (problem.code, problem.variant) not in _LATE:
                inside = (problem.pointer or "").removeprefix("/data")
                yield replace(problem, pointer=f"/data/content{inside}")

    def _changed_problems(self) -> Iterator[Problem]:
        """Rule A12. A warning at most: a field that we do not know may be one that a later version has."""
        for n, pointer in enumerate(self.changed):
            at = f"/data/changed/{n}"
            if pointer in self.changed[:n]:
                yield breach("A12", "twice", at)
            elif pointer.split("/")[1:2] in (["data"], ["content"]):
                yield breach("A12", "inside", at)
            elif not _has_place(self.content, pointer):
                yield breach("A12", "nowhere", at)

    def _reason_problems(self) -> Iterator[Problem]:
        if self.reason == "outcome_of_query" and self.outcome_of is None:
            yield breach("A13", "unnamed", "/data/outcome_of")
        if self.reason == "other" and self.explanation is None:
            yield breach("A16", "unexplained", "/data/explanation")
        if self.knows_confirmation == self.amends:
            yield breach("A15", "same", "/data/knows_confirmation", other="amends")
        if self.outcome_of is not None and self.outcome_of in {self.amends, self.knows_confirmation}:
            other = "amends" if self.outcome_of == self.amends else "knows_confirmation"
            yield breach("A15", "same", "/data/outcome_of", other=other)


def _has_place(value: Any, pointer: str) -> bool:
    """Whether the pointer leads to a member that is there, or to one that is left out and might be there."""
    for step in pointer.split("/")[1:]:
        member = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, BaseModel) and member in type(value).model_fields:
            value = getattr(value, member)
        elif isinstance(value, tuple) and member in map(str, range(len(value))):
            value = value[int(member)]
        else:
            return False
    return True
