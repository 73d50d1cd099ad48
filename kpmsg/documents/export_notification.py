"""The export notification: a shipment has been sealed and certified, and is on its way.

KPCS Annex II 19 (what the Exporting Authority transmits) and 21 (what the Importing Authority should receive),
carrying the whole of Annex I A, so that the confirmation of Section III(b) can be matched field by field.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import (
    PRODUCERS,
    Attachments,
    Certificate,
    MixedList,
    MixedUndisclosed,
    Particulars,
    Party,
    ShipmentLine,
    SingleOrigin,
    carats_problem,
    carats_sum_problem,
    hs_problem,
    present,
    value_sum_problem,
)
from kpmsg.documents.plausible import attachment_problems, party_problems, to_come
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
    certificate_key,
)
from kpmsg.errors import Problem, Severity
from kpmsg.rules import breach

_DAY = timedelta(days=1)
_LONG_AGO = timedelta(days=30)
"""After so many days, half of what a certificate is usually valid for, nobody notifies one for the first time without a reason."""


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
    attachments: Attachments = ()
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
            *attachment_problems(self.attachments),
        ]

    def _certificate_problems(self, document: Document) -> list[Problem]:
        problems: list[Problem] = []
        sender = participant_of(document.source)
        begins = self.certificate.key[:2]
        foreign: Severity = "warn" if self.certificate.kind == "technical" else "reject"
        at, issuer = "/data/certificate", self.certificate.issuer
        if issuer != sender.code:
            problems.append(
                breach("C01", "issuer", f"{at}/issuer", severity=foreign, sender=sender.code, issuer=issuer)
            )
        if begins not in sender.prefixes:
            allowed = ", ".join(sorted(sender.prefixes))
            problems.append(
                breach(
                    "C01",
                    "prefix",
                    f"{at}/number_raw",
                    severity=foreign,
                    sender=sender.code,
                    allowed=allowed,
                    found=begins,
                )
            )
        if self.date_of_expiry < self.date_of_issue:
            problems.append(breach("C05", "expires-first", "/data/date_of_expiry"))
        written: date = document.time.date()
        if self.date_of_issue > written + _DAY:  # a day's grace: paper dates are local, `time` is UTC
            problems.append(breach("C05", "issue-to-come", "/data/date_of_issue"))
        if (days := (written - self.date_of_issue).days) > _LONG_AGO.days:
            problems.append(breach("T04", "old", "/data/date_of_issue", days=days, most=_LONG_AGO.days))
        sealed = self.date_of_sealing
        if sealed is not None and written > sealed + _DAY:
            problems.append(breach("T01", "late", "/data/date_of_sealing"))
        if sealed is not None and to_come(sealed, document):
            problems.append(breach("T01", "sealing-to-come", "/data/date_of_sealing"))
        if self.replaces is not None and certificate_key(self.replaces) == self.certificate.key:
            problems.append(breach("C08", "itself", "/data/replaces"))
        return problems

    def _amount_problems(self) -> list[Problem]:
        problems = present(
            carats_problem(self.carats, "/data/carats"),
            carats_sum_problem(self.carats, [line.carats for line in self.lines], "/data/carats"),
            value_sum_problem(self.value_usd, [line.value_usd for line in self.lines], "/data/value_usd"),
        )
        if self.parcels < 1:
            problems.append(breach("F02", "parcels", "/data/parcels"))
        if not self.value_usd:
            problems.append(breach("F02", "worthless", "/data/value_usd"))
        counted = [line.parcels for line in self.lines if line.parcels is not None]
        found, whole = sum(counted), len(counted) == len(self.lines)
        if found > self.parcels or (whole and found != self.parcels):
            problems.append(breach("F06", "parcels", "/data/parcels", sum=found, total=self.parcels))
        if self.containers is not None:
            problems.extend(container_problems(self.containers, self.parcels))
        return problems

    def _party_problems(self, document: Document) -> list[Problem]:
        problems: list[Problem] = []
        bound_for = self.destination.participant
        if bound_for != document.recipient[:2]:
            at, recipient = "/data/destination/participant", document.recipient
            problems.append(breach("S03", "destination", at, destination=bound_for, recipient=recipient))
        home, country = participant_of(document.source), self.exporter.country
        if country not in home.countries:
            problems.append(
                breach("F11", "exporter", "/data/exporter/country", country=country, home=home.code)
            )
        home, country = participant_of(bound_for), self.importer.country
        if country not in home.countries:
            problems.append(
                breach("F11", "importer", "/data/importer/country", country=country, home=home.code)
            )
        problems += party_problems(self.exporter, "/data/exporter")
        problems += party_problems(self.importer, "/data/importer")
        return problems


def container_problems(containers: Containers, parcels: int) -> list[Problem]:
    """Rule F13. Where containers are not counted, their seals are: each has one."""
    count, seals = containers.count, len(containers.seal_numbers)
    problems: list[Problem] = []
    if (least := seals if count is None else count) > parcels:
        at = f"/data/containers/{'seal_numbers' if count is None else 'count'}"
        problems.append(breach("F13", "containers", at, containers=least, parcels=parcels))
    for n, seal in enumerate(containers.seal_numbers):
        if seal in containers.seal_numbers[:n]:
            problems.append(breach("F13", "twice", f"/data/containers/seal_numbers/{n}", seal=seal))
    if count is not None and seals and seals != count:
        problems.append(
            breach("F13", "seals", "/data/containers/seal_numbers", seals=seals, containers=count)
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
        return [breach("F08", "undisclosed", at)]
    if isinstance(origin, SingleOrigin):
        return present(_country_problem(origin.country, f"{at}/country"))
    problems = present(
        *(_country_problem(code, f"{at}/countries/{n}") for n, code in enumerate(origin.countries))
    )
    if len(set(origin.countries)) < 2:
        problems.append(breach("F08", "single", f"{at}/countries"))
    return problems


def _country_problem(code: str, pointer: str) -> Problem | None:
    """Rule F07."""
    if code in PRODUCERS:
        return None
    if code in ISO_COUNTRIES:
        return breach("F07", "not-mining", pointer, country=code)
    return breach("F07", "not-a-country", pointer, country=code)
