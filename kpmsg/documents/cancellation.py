"""The cancellation: a notified certificate will not arrive, and must not be accepted, under this number.

Void, not shipped, replaced, invalidated, lost, stolen or returned unused: each is a reason that some Participant's law
names, and the importing authority has to know it before a paper with that number is presented (KPCS Section V(f)).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.issuing import issuing_problems, letters_of
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import CertificateNumber, DocumentId, Maybe, Text, certificate_key
from kpmsg.errors import Problem
from kpmsg.rules import breach

CancellationReason = Literal[
    "void", "not_shipped", "replaced", "invalidated", "lost", "stolen", "returned_unused", "notified_in_error"
]


class Cancellation(Content):
    """Cancellation, version 1."""

    name: ClassVar[str] = "cancellation"
    type: ClassVar[str] = "org.kimberley.cancellation.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})
    acts_by: ClassVar[str | None] = "cancels"

    certificate: Certificate
    cancels: DocumentId
    """The notification (or the technical certificate notice) that is cancelled with all its amendments."""
    reason: CancellationReason
    replaced_by: Maybe[CertificateNumber] = None
    """The certificate under which the goods travel, or will travel, instead."""
    knows_confirmation: DocumentId | None
    """The import confirmation that the sender held when it wrote this; null if none."""
    explanation: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A notification is cancelled once."""
        return f"{self.name}:{key}:{self.cancels}"

    def breaches(self, document: Document) -> list[Problem]:
        problems = [*issuing_problems(self.certificate, document), *self._successor_problems()]
        if self.knows_confirmation == self.cancels:
            problems.append(breach("A15", "same", "/data/knows_confirmation", other="cancels"))
        return problems

    def _successor_problems(self) -> Iterator[Problem]:
        """Rule A17. Not only a replaced certificate may have a successor: one that was void, lost or stolen often has."""
        at = "/data/replaced_by"
        if self.replaced_by is None:
            if self.reason == "replaced":
                yield breach("A17", "missing", at)
            return
        successor, issuer = certificate_key(self.replaced_by), self.certificate.issuer
        if successor == self.certificate.key:
            yield breach("A17", "itself", at)
        elif successor[:2] not in participant_of(issuer).prefixes:
            yield breach("A17", "letters", at, issuer=issuer, letters=letters_of(issuer), found=successor[:2])
