"""The alert: these numbers are lost, stolen, forged, void or used twice; whoever sees one should stop.

KPCS Section V(f) (inform all other Participants of the essence of problems). An issuer speaks of its own numbers, to all its
partners or to some; an officer releases it, always, and a withdrawal ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.issuing import letters_of
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import Attachments, Particulars
from kpmsg.documents.plausible import attachment_problems, to_come
from kpmsg.documents.vocabulary import (
    CertificateNumber,
    Date,
    Line,
    Maybe,
    ParticipantCode,
    Text,
    certificate_key,
)
from kpmsg.errors import Problem
from kpmsg.rules import breach

AlertKind = Literal["lost", "stolen", "forged", "void", "used_twice"]

MOST_NUMBERS: Final = 1_000_000
_MANY: Final = 10_000
"""A box of blank certificates has fewer; more are asked about."""
_A_YEAR: Final = timedelta(days=366)
_SERIES: Final = re.compile(r"([A-Z0-9]*?)([0-9]{1,18})")
"""As `kpmsg.policy.numbers.series_of` takes a number apart: 18 digits always fit a 64-bit integer."""


class NumberRange(Particulars):
    """Certificate numbers as printed, from `first` to `last`, both included; `last` is absent for a single number."""

    first: CertificateNumber
    last: Maybe[CertificateNumber] = None

    @property
    def span(self) -> tuple[str, int, int] | None:
        """The series (letters, and how many digits follow), its first and its last number; None if it is no range of one series.

        A single number without digits at its end is a series of its own.
        """
        first = certificate_key(self.first)
        return _span(first, first if self.last is None else certificate_key(self.last))


def _span(first: str, last: str) -> tuple[str, int, int] | None:
    begin, end = _SERIES.fullmatch(first), _SERIES.fullmatch(last)
    if begin is None or end is None:
        return (first, 0, 0) if first == last else None
    if (begin[1], len(begin[2])) != (end[1], len(end[2])):
        return None
    return f"{begin[1]}/{len(begin[2])}", int(begin[2]), int(end[2])


class Alert(Content):
    """Alert, version 1."""

    name: ClassVar[str] = "alert"
    type: ClassVar[str] = "org.kimberley.alert.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})
    broadcast: ClassVar[bool] = True
    always_released: ClassVar[bool] = True

    issuer: ParticipantCode
    kind: AlertKind
    numbers: Annotated[tuple[NumberRange, ...], Field(min_length=1, max_length=200)]
    valid_from: Date
    description: Text
    released_by: Line
    """The officer who released it."""
    contact: Maybe[Line] = None
    """Whom to call who meets one of the numbers."""
    attachments: Attachments = ()

    def covers(self, key: str) -> bool:
        """Whether a certificate number's key (capitals, no separators) is one of the numbers."""
        asked = _span(key, key)
        spans = [each.span for each in self.numbers]
        return asked is not None and any(
            span is not None and span[0] == asked[0] and span[1] <= asked[1] <= span[2] for span in spans
        )

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *self._issuer_problems(document),
            *self._range_problems(),
            *self._validity_problems(document),
            *attachment_problems(self.attachments),
        ]

    def _issuer_problems(self, document: Document) -> Iterator[Problem]:
        sender = participant_of(document.source).code
        if self.issuer != sender:
            yield breach("L01", "foreign", "/data/issuer", sender=sender, issuer=self.issuer)
        for n, each in enumerate(self.numbers):
            found = certificate_key(each.first)[:2]
            if found not in participant_of(self.issuer).prefixes:
                letters = letters_of(self.issuer)
                at = f"/data/numbers/{n}/first"
                yield breach("L02", "letters", at, issuer=self.issuer, letters=letters, found=found)

    def _range_problems(self) -> Iterator[Problem]:
        before: list[tuple[str, int, int]] = []
        for n, each in enumerate(self.numbers):
            span, at = each.span, f"/data/numbers/{n}"
            if span is None:
                yield breach("L03", "series", f"{at}/last")
            elif span[2] < span[1]:
                yield breach("L03", "backwards", f"{at}/last")
            else:
                if any(span[0] == old[0] and span[1] <= old[2] and old[1] <= span[2] for old in before):
                    yield breach("L05", "again", at)
                before.append(span)
        count = sum(last - first + 1 for _, first, last in before)
        if count > MOST_NUMBERS:
            yield breach("L04", "too-many", "/data/numbers", count=count)
        elif count > _MANY:
            yield breach("L04", "many", "/data/numbers", count=count)

    def _validity_problems(self, document: Document) -> Iterator[Problem]:
        if self.valid_from > document.time.date() + _A_YEAR:
            yield breach("L06", "year", "/data/valid_from", date=self.valid_from)
        elif to_come(self.valid_from, document):
            yield breach("L06", "ahead", "/data/valid_from", date=self.valid_from)
        if document.subject is not None and not self.covers(document.subject):
            yield breach("L07", "other", "/subject", subject=document.subject)
