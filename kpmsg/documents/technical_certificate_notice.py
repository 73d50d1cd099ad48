"""The technical certificate notice: goods travel under a technical certificate, not in trade.

Technical certificates accompany returned, detained or seized goods and samples for research. The particulars are those
of an export notification, the certificate's kind is technical, and its number may bear another issuer's letters.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Role
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.vocabulary import CertificateNumber


class TechnicalCertificateNotice(ExportNotification):
    """Technical certificate notice, version 1."""

    name: ClassVar[str] = "technical-certificate-notice"
    type: ClassVar[str] = "org.kimberley.technical-certificate-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    purpose: Literal["return", "seized_goods", "research"]
    references: Annotated[tuple[CertificateNumber, ...], Field(max_length=50)] = ()
    """Certificates that the goods had before."""
