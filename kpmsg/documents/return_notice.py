"""The return notice: the goods go back to the issuing Participant, and under which certificate.

National practice of importers that return goods instead of seizing them; KPCS Section V(f).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.export_notification import Transport
from kpmsg.documents.particulars import Certificate, Reference
from kpmsg.documents.vocabulary import CertificateNumber, Date, Maybe, Text


class ReturnNotice(Content):
    """Return notice, version 1."""

    name: ClassVar[str] = "return-notice"
    type: ClassVar[str] = "org.kimberley.return-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    under: Literal["original_certificate", "technical_certificate", "new_certificate"]
    returned_under: Maybe[CertificateNumber] = None
    """The number of the technical or new certificate that travels with the goods."""
    date_of_return: Date
    transport: Maybe[Transport] = None
    reason: Text

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A shipment is returned once."""
        return f"{self.name}:{key}"
