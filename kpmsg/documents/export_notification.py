"""The export notification: a shipment has been sealed and certified, and is on its way.

KPCS Annex II 19 (what the Exporting Authority transmits) and 21 (what the Importing Authority should receive),
carrying the whole of Annex I A, so that the confirmation of Section III(b) can be matched field by field.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import (
    PRODUCERS,
    Attachment,
    Certificate,
    MixedList,
    MixedUndisclosed,
    Particulars,
    Party,
    ShipmentLine,
    SingleOrigin,
    carats_problem,
    hs_problem,
    present,
    sum_problem,
)
from kpmsg.documents.vocabulary import (
    ISO_COUNTRIES,
    Address,
    Carats,
    CertificateNumber,
    Count,
    Date,
    Flag,
    Identifier,
    Line,
    Maybe,
    ParticipantCode,
    Text,
    UsDollars,
)
from kpmsg.errors import Problem, Severity

_DAY = timedelta(days=1)
_CENT = Decimal("0.01")


class Validation(Particulars):
    """Who at the Exporting Authority validated the certificate, and when (Annex I A)."""

    officer: Line
    date: Date


class Destination(Particulars):
    """Where the shipment is bound (Annex I B), down to the authority or place of entry where that is known."""

    participant: ParticipantCode
    authority: Maybe[Address] = None
    place_of_entry: Maybe[Line] = None


class Containers(Particulars):
    """Sealed containers (Annex I C, Section IV(c)): how many, their seals and bags."""

    count: Maybe[Count] = None
    seal_numbers: Annotated[tuple[Identifier, ...], Field(max_length=200)] = ()
    bag_numbers: Annotated[tuple[Identifier, ...], Field(max_length=200)] = ()


class Transport(Particulars):
    """How it travels, as far as planned."""

    departure: Maybe[Date] = None
    carrier: Maybe[Line] = None
    air_waybill: Maybe[Identifier] = None
    flight: Maybe[Identifier] = None


class Invoice(Particulars):
    number: Identifier
    date: Maybe[Date] = None


class ConfirmationWish(Particulars):
    """Whether the sender asks for an import confirmation (Section III(b), Annex II 24), and by when."""

    requested: Flag
    reply_by: Maybe[Date] = None


class ExportNotification(Content):
    """Export notification, version 1."""

    name: ClassVar[str] = "export-notification"
    type: ClassVar[str] = "org.kimberley.export-notification.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    issuing_authority: Line
    validation: Maybe[Validation] = None
    date_of_issue: Date
    date_of_expiry: Date
    exporter: Party
    importer: Party
    destination: Destination
    provenance: ParticipantCode
    parcels: Count
    containers: Maybe[Containers] = None
    lines: Annotated[tuple[ShipmentLine, ...], Field(min_length=1, max_length=200)]
    carats: Carats
    value_usd: UsDollars
    mixed_origin_as_printed: Maybe[Line] = None
    date_of_sealing: Maybe[Date] = None
    transport: Maybe[Transport] = None
    invoice: Maybe[Invoice] = None
    batch_number: Maybe[Identifier] = None
    preceding_certificates: Annotated[tuple[CertificateNumber, ...], Field(max_length=200)] = ()
    declaration_obtained: Maybe[Flag] = None
    quality: Maybe[Text] = None
    special_regime: Maybe[Line] = None
    confirmation: ConfirmationWish
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()
    replaces: Maybe[CertificateNumber] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A certificate number is notified once: a second shipment under it is rule C04."""
        return f"export-notification:{key}"

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *self._certificate_problems(document),
            *self._amount_problems(),
            *(problem for n, line in enumerate(self.lines) for problem in _line_problems(n, line)),
            *self._party_problems(document),
        ]

    def _certificate_problems(self, document: Document) -> list[Problem]:
        problems: list[Problem] = []
        sender = participant_of(document.source)
        foreign: Severity = "warn" if self.certificate.kind == "technical" else "reject"
        if self.certificate.issuer != sender.code:
            problems.append(
                Problem(
                    "C01",
                    f"{sender.code} cannot notify a certificate issued by {self.certificate.issuer}.",
                    "/data/certificate/issuer",
                    foreign,
                )
            )
        if self.certificate.key[:2] not in sender.prefixes:
            allowed = " or ".join(sorted(sender.prefixes))
            problems.append(
                Problem(
                    "C01",
                    f"A certificate number of {sender.code} begins with {allowed}, "
                    f"not with {self.certificate.key[:2]}.",
                    "/data/certificate/number_raw",
                    foreign,
                )
            )
        if self.date_of_expiry < self.date_of_issue:
            problems.append(
                Problem("C05", "The certificate expires before it was issued.", "/data/date_of_expiry")
            )
        written: date = document.time.date()
        if self.date_of_issue > written + _DAY:  # a day's grace: paper dates are local, `time` is UTC
            problems.append(
                Problem("C05", "The date of issue is still to come.", "/data/date_of_issue", "warn")
            )
        if self.date_of_sealing is not None and written > self.date_of_sealing + _DAY:
            problems.append(
                Problem(
                    "T01",
                    "Late notification: written more than a day after the shipment was sealed.",
                    "/data/date_of_sealing",
                    "warn",
                )
            )
        return problems

    def _amount_problems(self) -> list[Problem]:
        problems = present(
            carats_problem(self.carats, "/data/carats"),
            sum_problem("carats", self.carats, [line.carats for line in self.lines], "/data/carats"),
        )
        if self.parcels < 1:
            problems.append(Problem("F02", "A shipment has at least one parcel.", "/data/parcels"))
        if not self.value_usd:
            problems.append(Problem("F02", "The value is zero.", "/data/value_usd", "warn"))
        value = sum((line.value_usd for line in self.lines), Decimal(0))
        if value != self.value_usd:
            rounding = abs(value - self.value_usd) <= _CENT * len(self.lines)
            problems.append(
                Problem(
                    "F05",
                    f"The lines add up to US$ {value}, but the total says US$ {self.value_usd}.",
                    "/data/value_usd",
                    "warn" if rounding else "reject",
                )
            )
        counted = [line.parcels for line in self.lines if line.parcels is not None]
        if len(counted) == len(self.lines) and sum(counted) != self.parcels:
            problems.append(
                Problem(
                    "F06",
                    f"The lines add up to {sum(counted)} parcels, but the total says {self.parcels}.",
                    "/data/parcels",
                    "warn",
                )
            )
        if self.containers is not None:
            problems.extend(_container_problems(self.containers, self.parcels))
        return problems

    def _party_problems(self, document: Document) -> list[Problem]:
        problems: list[Problem] = []
        if self.destination.participant != document.recipient[:2]:
            problems.append(
                Problem(
                    "S03",
                    f"The destination is {self.destination.participant}, but this is addressed to "
                    f"{document.recipient}.",
                    "/data/destination/participant",
                )
            )
        for role, party, home in (
            ("exporter", self.exporter, participant_of(document.source)),
            ("importer", self.importer, participant_of(self.destination.participant)),
        ):
            if party.country not in home.countries:
                problems.append(
                    Problem(
                        "F11",
                        f"The {role} is in {party.country}, not in {home.name}.",
                        f"/data/{role}/country",
                        "warn",
                    )
                )
        return problems


def _container_problems(containers: Containers, parcels: int) -> list[Problem]:
    count, seals = containers.count, len(containers.seal_numbers)
    problems: list[Problem] = []
    if count is not None and count > parcels:
        problems.append(
            Problem(
                "F13",
                f"There are more containers ({count}) than parcels ({parcels}).",
                "/data/containers/count",
                "warn",
            )
        )
    if count is not None and seals and seals != count:
        problems.append(
            Problem(
                "F13",
                f"There are {seals} seal numbers for {count} containers.",
                "/data/containers/seal_numbers",
                "warn",
            )
        )
    return problems


def _line_problems(n: int, line: ShipmentLine) -> list[Problem]:
    at = f"/data/lines/{n}"
    return [
        *present(hs_problem(line.hs, f"{at}/hs"), carats_problem(line.carats, f"{at}/carats")),
        *_origin_problems(line.origin, f"{at}/origin"),
    ]


def _origin_problems(origin: SingleOrigin | MixedList | MixedUndisclosed, at: str) -> list[Problem]:
    if isinstance(origin, MixedUndisclosed):
        return [Problem("F08", "Mixed origin without a list of countries.", at, "warn")]
    if isinstance(origin, SingleOrigin):
        return present(_country_problem(origin.country, f"{at}/country"))
    problems = present(
        *(_country_problem(code, f"{at}/countries/{n}") for n, code in enumerate(origin.countries))
    )
    if len(set(origin.countries)) < 2:
        problems.append(
            Problem("F08", "Mixed origin, but only one country is listed.", f"{at}/countries", "warn")
        )
    return problems


def _country_problem(code: str, pointer: str) -> Problem | None:
    """Rule F07."""
    if code in PRODUCERS:
        return None
    if code in ISO_COUNTRIES:
        return Problem("F07", f"{code} is not known to mine diamonds.", pointer, "warn")
    return Problem("F07", f"{code} is not the ISO 3166-1 code of a country.", pointer)
