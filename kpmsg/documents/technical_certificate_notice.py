"""The technical certificate notice: goods travel under a technical certificate, not in trade.

Technical certificates accompany returned, detained or seized goods and samples for research. The particulars are those
of an export notification, the certificate's kind is technical, and its number may bear another issuer's letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Document, Role
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.vocabulary import CertificateNumber, certificate_key
from kpmsg.errors import Problem
from kpmsg.rules import breach


class TechnicalCertificateNotice(ExportNotification):
    """Technical certificate notice, version 1."""

    name: ClassVar[str] = "technical-certificate-notice"
    type: ClassVar[str] = "org.kimberley.technical-certificate-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    purpose: Literal["return", "seized_goods", "research"]
    references: Annotated[tuple[CertificateNumber, ...], Field(max_length=50)] = ()
    """Certificates that the goods had before; none if they came without."""

    def breaches(self, document: Document) -> list[Problem]:
        return [*super().breaches(document), *self._own_problems()]

    def _own_problems(self) -> Iterator[Problem]:
        if self.certificate.kind != "technical":
            yield breach("C11", "kind", "/data/certificate/kind")
        if self.purpose == "return" and not self.references:
            # Only a warning: goods that came without any certificate are returned under a technical one too.
            yield breach("C12", "unreferenced", "/data/references")
        seen: set[str] = set()
        for n, key in enumerate(map(certificate_key, self.references)):
            if key == self.certificate.key:
                yield breach("C13", "itself", f"/data/references/{n}")
            elif key in seen:
                yield breach("C13", "twice", f"/data/references/{n}")
            seen.add(key)
