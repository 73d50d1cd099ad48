"""The certificate answer: what the issuer says of a number it was asked about, signed.

KPCS Section II(d). `unknown` means that the issuer never issued the number: the strongest sign of a counterfeit there is.
Of a known number it says only whether the facts that the asker has shown agree, never the facts themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import CertificateNumber, DocumentId, Maybe, Text, certificate_key
from kpmsg.errors import Problem
from kpmsg.rules import breach

Finding = Literal[
    "matches",
    "differs",
    "unknown",
    "not_this_office",
    "void",
    "replaced",
    "lost",
    "stolen",
    "issued_to_another",
]

_MAY_HAVE_A_SUCCESSOR = frozenset({"replaced", "void", "lost", "stolen"})


class CertificateAnswer(Content):
    """Certificate answer, version 1."""

    name: ClassVar[str] = "certificate-answer"
    type: ClassVar[str] = "org.kimberley.certificate-answer.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    certificate: Certificate
    query: DocumentId
    finding: Finding
    differing: Annotated[
        tuple[Literal["date_of_issue", "carats", "parcels", "exporter"], ...], Field(max_length=4)
    ] = ()
    """Which of the facts that were shown do not agree."""
    replaced_by: Maybe[CertificateNumber] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A query is answered once."""
        return f"{self.name}:{key}:{self.query}"

    def breaches(self, document: Document) -> list[Problem]:
        return [*self._issuer_problems(document), *self._differing_problems(), *self._successor_problems()]

    def _issuer_problems(self, document: Document) -> Iterator[Problem]:
        """Rule Q13. The number's letters may be anybody's: that it is none of ours is an answer too."""
        sender, issuer = participant_of(document.source).code, self.certificate.issuer
        if issuer != sender:
            yield breach("Q13", "foreign", "/data/certificate/issuer", sender=sender, issuer=issuer)

    def _differing_problems(self) -> Iterator[Problem]:
        at = "/data/differing"
        if self.finding == "differs" and not self.differing:
            yield breach("Q11", "missing", at)
        elif self.finding != "differs" and self.differing:
            yield breach("Q11", "uncalled", at, finding=self.finding)
        for n, fact in enumerate(self.differing):
            if fact in self.differing[:n]:
                yield breach("Q11", "twice", f"{at}/{n}")

    def _successor_problems(self) -> Iterator[Problem]:
        at = "/data/replaced_by"
        if self.replaced_by is None:
            if self.finding == "replaced":
                yield breach("Q12", "missing", at)
        elif certificate_key(self.replaced_by) == self.certificate.key:
            yield breach("Q12", "itself", at)
        elif self.finding not in _MAY_HAVE_A_SUCCESSOR:
            yield breach("Q12", "uncalled", at, finding=self.finding)
