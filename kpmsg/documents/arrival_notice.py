"""The arrival notice: the shipment has been presented to the Importing Authority, which has not decided yet.

KPCS Annex II 21 and 22. Voluntary; it tells the exporter that the goods came, and starts the importer's own clock.
"""

from __future__ import annotations

from typing import ClassVar

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import Certificate, Reference
from kpmsg.documents.plausible import certificate_problems, early_problems, to_come
from kpmsg.documents.vocabulary import Date, Line, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


class ArrivalNotice(Content):
    """Arrival notice, version 1."""

    name: ClassVar[str] = "arrival-notice"
    type: ClassVar[str] = "org.kimberley.arrival-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    date_presented: Date
    place: Line
    """Where it was presented, or lies."""
    decision_expected: Maybe[Date] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A shipment arrives once."""
        return f"{self.name}:{key}"

    def breaches(self, document: Document) -> list[Problem]:
        problems = [
            *certificate_problems(self.certificate, document),
            *early_problems(self.notification, document),
        ]
        if to_come(self.date_presented, document):
            problems.append(breach("N01", "future", "/data/date_presented", day=self.date_presented))
        expected, presented = self.decision_expected, self.date_presented
        if expected is not None and expected < presented:
            at = "/data/decision_expected"
            problems.append(breach("N02", "before", at, expected=expected, presented=presented))
        return problems
