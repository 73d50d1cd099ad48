"""The irregularity notice: the importing authority tells the exporting one of a failure, and of the measure it took.

KPCS Annex II 22 and 23; the law of some importers sets a month for it. It is about the shipment, not about a message.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import Attachments, Certificate, Reference
from kpmsg.documents.plausible import attachment_problems, certificate_problems, early_problems, to_come
from kpmsg.documents.vocabulary import Date, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach

Irregularity = Literal[
    "seal_broken",
    "container_opened",
    "no_certificate",
    "expired",
    "weight",
    "value",
    "parcels",
    "not_rough_diamonds",
    "suspected_forgery",
    "wrong_consignee",
    "other",
]
Measure = Literal["none", "detained", "released", "returned", "seized"]
_NO_VALID_CERTIFICATE = frozenset({"no_certificate", "suspected_forgery"})


class IrregularityNotice(Content):
    """Irregularity notice, version 1."""

    name: ClassVar[str] = "irregularity-notice"
    type: ClassVar[str] = "org.kimberley.irregularity-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    irregularities: Annotated[tuple[Irregularity, ...], Field(min_length=1, max_length=11)]
    measure: Measure
    date_found: Date
    description: Text
    attachments: Attachments = ()

    @property
    def subject(self) -> str:
        return self.certificate.key

    def breaches(self, document: Document) -> list[Problem]:
        problems = [
            *certificate_problems(self.certificate, document),
            *early_problems(self.notification, document),
            *self._kind_problems(),
            *attachment_problems(self.attachments),
        ]
        if to_come(self.date_found, document):
            problems.append(breach("M02", "future", "/data/date_found", day=self.date_found))
        return problems

    def _kind_problems(self) -> list[Problem]:
        kinds = self.irregularities
        problems = [
            breach("M01", "twice", f"/data/irregularities/{n}")
            for n, kind in enumerate(kinds)
            if kind in kinds[:n]
        ]
        if not _NO_VALID_CERTIFICATE.isdisjoint(kinds):
            if self.measure == "none":
                problems.append(breach("M03", "none", "/data/measure"))
            if self.measure == "released":
                problems.append(breach("M03", "released", "/data/measure"))
        if "no_certificate" in kinds:
            if not {"expired", "suspected_forgery"}.isdisjoint(kinds):
                problems.append(breach("M04", "missing", "/data/irregularities"))
            if self.notification is None:
                problems.append(breach("M04", "unnotified", "/data/notification"))
        return problems
