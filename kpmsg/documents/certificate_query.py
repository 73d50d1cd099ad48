"""The certificate query: did you issue this number, and is it what I have before me?

KPCS Section II(d): the features of a certificate serve its validation. The asker shows what it has; the answer does not reveal
what it has not shown.
"""

from __future__ import annotations

from typing import ClassVar

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import Attachments, Certificate
from kpmsg.documents.plausible import attachment_problems, prefix_problems, to_come
from kpmsg.documents.vocabulary import Carats, Count, Date, Line, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


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
    attachments: Attachments = ()
    """Pictures of the paper that is asked about."""

    @property
    def subject(self) -> str:
        return self.certificate.key

    def breaches(self, document: Document) -> list[Problem]:
        certificate, recipient = self.certificate, document.recipient
        problems = [] if certificate.kind == "technical" else prefix_problems(certificate)
        if certificate.issuer != recipient[:2]:
            at = "/data/certificate/issuer"
            problems.append(breach("Q30", "issuer", at, issuer=certificate.issuer, recipient=recipient))
        if all(fact is None for fact in (self.date_of_issue, self.carats, self.parcels, self.exporter)):
            problems.append(breach("Q31", "bare", "/data"))
        if self.date_of_issue is not None and to_come(self.date_of_issue, document):
            problems.append(breach("Q32", "future", "/data/date_of_issue", day=self.date_of_issue))
        return problems + attachment_problems(self.attachments)
