"""The certificate query: did you issue this number, and is it what I have before me?

KPCS Section II(d): the features of a certificate serve its validation. The asker shows what it has; the answer does not reveal
what it has not shown.
"""

from __future__ import annotations

from typing import ClassVar

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import Carats, Count, Date, Line, Maybe, Text


class CertificateQuery(Content):
    """Certificate query, version 1."""

    name: ClassVar[str] = "certificate-query"
    type: ClassVar[str] = "org.kimberley.certificate-query.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    certificate: Certificate
    date_of_issue: Maybe[Date] = None
    carats: Maybe[Carats] = None
    parcels: Maybe[Count] = None
    exporter: Maybe[Line] = None
    reason: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key
