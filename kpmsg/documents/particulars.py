"""The particulars of a shipment that several document types contain: certificate, parties, lines, origins.

This module decides their shape, and holds the arithmetic and the code lists that rules of more than one
document type share. It knows nothing of any one document type.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from kpmsg.documents.vocabulary import (
    Carats,
    CertificateNumber,
    Count,
    CountryCode,
    DocumentId,
    HsCode,
    Identifier,
    Line,
    Maybe,
    MediaType,
    MessageId,
    OriginCode,
    ParticipantCode,
    Text,
    UsDollars,
    certificate_key,
)
from kpmsg.errors import Problem, Severity
from kpmsg.rules import breach

ROUGH_DIAMONDS = frozenset({"7102.10", "7102.21", "7102.31"})
"""The HS codes of the Scheme (Section I, "rough diamonds")."""

_PRODUCERS = "AO AU BR BW CA CD CF CG CI CM CN GA GH GN GY ID IN LR LS ML MZ NA RU SL TG TZ VE ZA ZW"
PRODUCERS = frozenset(_PRODUCERS.split())
"""Countries known to mine diamonds. A list to warn by (rule F07), never to refuse by."""

BEYOND_BELIEF = Decimal(10**9)
"""Carats in one shipment that are an error whoever signs them: about nine years of the world's production."""

_CENT = Decimal("0.01")


class Particulars(BaseModel):
    """A part of a document: immutable, members it does not know ignored (the signed bytes keep them)."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Certificate(Particulars):
    """Which certificate (Annex I A: unique numbering with the alpha-2 code; Annex II 19: serial number)."""

    number_raw: CertificateNumber
    issuer: ParticipantCode
    kind: Literal["kp", "technical"]

    @property
    def key(self) -> str:
        return certificate_key(self.number_raw)


class Reference(Particulars):
    """Which document of the recipient's is meant: the id its author gave it, and the SHA-256 of its bytes."""

    id: MessageId
    digest: DocumentId


class Party(Particulars):
    """An exporter or importer (Annex I A: identification; Section III(b): details)."""

    name: Line
    native_name: Maybe[Line] = None
    address: Text
    country: CountryCode
    licence_number: Maybe[Identifier] = None


class SingleOrigin(Particulars):
    """Unmixed: mined in one country (Annex I A), perhaps in a named zone of it."""

    kind: Literal["single"]
    country: OriginCode
    zone: Maybe[Line] = None


class MixedList(Particulars):
    """A parcel of mixed origin whose countries are known and told."""

    kind: Literal["mixed_list"]
    countries: Annotated[tuple[OriginCode, ...], Field(min_length=1, max_length=60)]
    zone: Maybe[Line] = None


class MixedUndisclosed(Particulars):
    """A parcel of mixed origin, nothing said about the countries."""

    kind: Literal["mixed_undisclosed"]
    zone: Maybe[Line] = None


FieldName = Literal[
    "parcels", "carats", "value_usd", "hs", "origin", "exporter", "importer", "seals", "certificate", "other"
]
"""What two authorities may find different about a shipment."""

Origin = Annotated[SingleOrigin | MixedList | MixedUndisclosed, Field(discriminator="kind")]


class ShipmentLine(Particulars):
    """Diamonds of one HS code and one origin within a shipment (Annex III(b))."""

    hs: HsCode
    carats: Carats
    value_usd: UsDollars
    parcels: Maybe[Count] = None
    origin: Origin


class FoundLine(Particulars):
    """What the importing authority found under one HS code."""

    hs: HsCode
    carats: Carats
    value_usd: Maybe[UsDollars] = None


MAX_FILE: Final = 10 * 1024 * 1024
"""Bytes of one file, at most."""

MAX_TOTAL: Final = 50 * 1024 * 1024
"""Bytes of all the files that one document names, at most."""

MAX_FILES: Final = 50
"""How many files one document names, at most."""

MEDIA_TYPES: Final = (
    "application/json",
    "application/pdf",
    "application/xml",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "text/csv",
    "text/plain",
)
"""What files are made of. Nothing that a browser would run."""


class Attachment(Particulars):
    """A file that belongs to a document, named by its digest; the file itself travels apart."""

    name: Line
    media_type: MediaType
    sha256: DocumentId
    size: Annotated[int, Field(strict=True, ge=1, le=2**40)]


def _one_size(attachments: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
    """A file has one size, however often it is named: what is fetched, and how much of it, must not be a matter of choice."""
    if len({(each.sha256, each.size) for each in attachments}) > len({each.sha256 for each in attachments}):
        raise PydanticCustomError("two_sizes", "one file, two sizes")
    return attachments


Attachments = Annotated[tuple[Attachment, ...], Field(max_length=MAX_FILES), AfterValidator(_one_size)]


def hs_problem(hs: str, pointer: str) -> Problem | None:
    """Rule F04: the code must be one of the Scheme's three, else say why it is not."""
    if hs in ROUGH_DIAMONDS:
        return None
    digits = hs.replace(".", "")
    if digits in {"710229", "710239"}:
        return breach("F04", "worked", pointer, hs=hs)
    if digits.startswith("7104"):
        return breach("F04", "synthetic", pointer, hs=hs)
    plain = f"{digits[:4]}.{digits[4:6]}"
    if plain in ROUGH_DIAMONDS:
        return breach("F04", "written", pointer, hs=hs, plain=plain)
    return breach("F04", "other", pointer, hs=hs)


def carats_problem(carats: Decimal, pointer: str) -> Problem | None:
    """Rule F02 for a weight: more than nothing, and less than anything the world could ship."""
    if not carats:
        return breach("F02", "weightless", pointer)
    if carats >= BEYOND_BELIEF:
        return breach("F02", "beyond-belief", pointer, carats=carats)
    return None


def carats_sum_problem(total: Decimal, parts: list[Decimal], pointer: str) -> Problem | None:
    """Rule F05 for weights: the lines must add up to the total exactly."""
    found = sum(parts, Decimal(0))
    return None if found == total else breach("F05", "carats", pointer, sum=found, total=total)


def value_sum_problem(total: Decimal, parts: list[Decimal], pointer: str) -> Problem | None:
    """Rule F05 for values: rounding may cost up to a cent a line, and is only warned of."""
    found = sum(parts, Decimal(0))
    if found == total:
        return None
    severity: Severity = "warn" if abs(found - total) <= _CENT * len(parts) else "reject"
    return breach("F05", "value", pointer, severity=severity, sum=found, total=total)


def present(*problems: Problem | None) -> list[Problem]:
    """The problems that there are."""
    return [problem for problem in problems if problem is not None]
