"""The certificate answer: what the issuer says of a number it was asked about, signed.

KPCS Section II(d). `unknown` means that the issuer never issued the number: the strongest sign of a counterfeit there is.
Of a known number it says only whether the facts that the asker has shown agree, never the facts themselves.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import CertificateNumber, DocumentId, Maybe, Text

Finding = Literal["matches", "differs", "unknown", "void", "replaced", "lost", "stolen", "issued_to_another"]


class CertificateAnswer(Content):
    """Certificate answer, version 1."""

    name: ClassVar[str] = "certificate-answer"
    type: ClassVar[str] = "org.kimberley.certificate-answer.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    certificate: Certificate
    query: DocumentId
    finding: Finding
    differing: Annotated[tuple[Literal["date_of_issue", "carats", "parcels", "exporter"], ...], Field(max_length=4)] = ()
    """Which of the facts that were shown do not agree."""
    replaced_by: Maybe[CertificateNumber] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A query is answered once."""
        return f"{self.name}:{key}:{self.query}"
