"""The discrepancy query: what was found differs from what was notified or certified, and the exporter is asked.

KPCS Section V(f). It opens a thread that the exporting authority closes with a response.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import Attachments, Certificate, FieldName, Particulars, Reference
from kpmsg.documents.plausible import attachment_problems, certificate_problems, early_problems, past
from kpmsg.documents.vocabulary import Date, Line, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,11})\.[0-9]{2}")
_COUNT = re.compile(r"0|[1-9][0-9]{0,6}")
_INCOMPARABLE = frozenset({"seals", "certificate", "other"})
"""What may be wrong without anything having been said about it before."""


class Doubt(Particulars):
    """One thing that is asked about; values as words, whatever the thing is."""

    field: FieldName
    notified: Maybe[Line] = None
    certificate: Maybe[Line] = None
    found: Line


class DiscrepancyQuery(Content):
    """Discrepancy query, version 1."""

    name: ClassVar[str] = "discrepancy-query"
    type: ClassVar[str] = "org.kimberley.discrepancy-query.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    doubts: Annotated[tuple[Doubt, ...], Field(min_length=1, max_length=50)]
    question: Text
    reply_by: Maybe[Date] = None
    attachments: Attachments = ()

    @property
    def subject(self) -> str:
        return self.certificate.key

    def breaches(self, document: Document) -> list[Problem]:
        problems = [
            *certificate_problems(self.certificate, document),
            *early_problems(self.notification, document),
            *self._doubt_problems(),
            *attachment_problems(self.attachments),
        ]
        if self.reply_by is not None and past(self.reply_by, document):
            problems.append(breach("Q26", "past", "/data/reply_by", day=self.reply_by))
        return problems

    def _doubt_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        asked: set[str] = set()
        for n, doubt in enumerate(self.doubts):
            at = f"/data/doubts/{n}"
            if doubt.field in asked:
                problems.append(breach("Q22", "twice", f"{at}/field"))
            asked.add(doubt.field)
            if doubt.notified is not None and self.notification is None:
                problems.append(breach("Q24", "unnotified", f"{at}/notified"))
            problems.extend(_value_problems(doubt, at))
        return problems


def _value_problems(doubt: Doubt, at: str) -> list[Problem]:
    told = [value for value in (doubt.notified, doubt.certificate) if value is not None]
    problems: list[Problem] = []
    if told and all(value == doubt.found for value in told):
        problems.append(breach("Q23", "equal", f"{at}/found"))
    if not told and doubt.field not in _INCOMPARABLE:
        problems.append(breach("Q24", "alone", at))
    for name in ("notified", "certificate", "found"):
        value = getattr(doubt, name)
        if value is None:
            continue
        if doubt.field == "parcels" and not _COUNT.fullmatch(value):
            problems.append(breach("Q25", "parcels", f"{at}/{name}"))
        if doubt.field in ("carats", "value_usd") and not _AMOUNT.fullmatch(value):
            problems.append(breach("Q25", "amount", f"{at}/{name}"))
    return problems
