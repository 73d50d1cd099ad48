"""The confirmation request: a confirmation is due, or overdue, and is asked for.

KPCS Annex II 24 (the import confirmation is sent "when requested"). Silence is never taken for a refusal: it is asked
about at three levels, the last of which goes to the focal point.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.issuing import issuing_problems
from kpmsg.documents.particulars import Certificate, Reference
from kpmsg.documents.plausible import early_problems, to_come
from kpmsg.documents.vocabulary import Date, Line, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


class ConfirmationRequest(Content):
    """Confirmation request, version 1."""

    name: ClassVar[str] = "confirmation-request"
    type: ClassVar[str] = "org.kimberley.confirmation-request.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    notification: Reference
    level: Annotated[StrictInt, Field(ge=1, le=3)]  # not a Literal, which would take true for 1
    """1: due, or just overdue; 2: a reminder; 3: to the focal point."""
    due: Maybe[Date] = None
    """The day by which the confirmation was, or will be, due."""
    days_overdue: Maybe[Annotated[StrictInt, Field(ge=0, le=9999)]] = None
    """Days of the calendar, not working days, since `due`."""
    contact: Maybe[Line] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A notification is asked about once at each level."""
        return f"{self.name}:{key}:{self.notification.digest}:{self.level}"

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *issuing_problems(self.certificate, document),
            *early_problems(self.notification, document),
            *self._count_problems(document),
            *self._level_problems(document),
        ]

    def _count_problems(self, document: Document) -> Iterator[Problem]:
        """Rule Q01. A day more or less is the time of day, since `time` is UTC and `due` local."""
        said = self.days_overdue
        if said is None:
            return
        if self.due is None:
            yield breach("Q01", "since-when", "/data/due", said=said)
            return
        days = max((document.time.date() - self.due).days, 0)
        if abs(days - said) > 1:
            yield breach("Q01", "miscounted", "/data/days_overdue", said=said, due=self.due, days=days)

    def _level_problems(self, document: Document) -> Iterator[Problem]:
        if self.level > 1 and self.due is not None and to_come(self.due, document):
            yield breach("Q02", "early", "/data/level", level=self.level, due=self.due)
        if self.level == 3 and self.contact is None:
            yield breach("Q03", "whom", "/data/contact")
