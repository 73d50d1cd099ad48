"""The alert: these numbers are lost, stolen, forged, void or used twice; whoever sees one should stop.

KPCS Section V(f) (inform all other Participants of the essence of problems). An issuer speaks of its own numbers, to all its
partners or to some; an officer releases it, always, and a withdrawal ends it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Attachment, Particulars
from kpmsg.documents.vocabulary import CertificateNumber, Date, Line, Maybe, ParticipantCode, Text

AlertKind = Literal["lost", "stolen", "forged", "void", "used_twice"]


class NumberRange(Particulars):
    """Certificate numbers as printed, from `first` to `last`, both included; `last` is absent for a single number."""

    first: CertificateNumber
    last: Maybe[CertificateNumber] = None


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
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()
