"""The import confirmation: what the Importing Authority received, opened and found.

KPCS Section III(b) (its minimum: certificate number, number of parcels, carat weight, details of importer and
exporter), Annex I B (the recommended import confirmation part) and Annex II 22 to 24. An officer's statement, made
days later; not to be confused with a receipt, which a machine gives in seconds for the bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import (
    Attachment,
    Certificate,
    FieldName,
    FoundLine,
    Particulars,
    Party,
    Reference,
    carats_problem,
    hs_problem,
    present,
    sum_problem,
)
from kpmsg.documents.vocabulary import (
    Address,
    Carats,
    Count,
    CountryCode,
    Date,
    DocumentId,
    Flag,
    Identifier,
    Line,
    Maybe,
    Text,
    UsDollars,
)
from kpmsg.errors import Problem

Outcome = Literal[
    "confirmed",
    "confirmed_with_discrepancy",
    "confirmed_after_remedy",
    "partial",
    "detained",
    "refused_returned",
    "seized",
    "not_received",
    "arrived_despite_cancellation",
]
"""What became of the shipment. `detained` is interim: a later confirmation supersedes it."""

_NOTHING_FOUND_YET = frozenset({"detained", "not_received"})


class Found(Particulars):
    """What was found: parcels and carats (Section III(b)), and how the carats divide over HS codes (Annex I B)."""

    parcels: Count
    carats: Carats
    value_usd: Maybe[UsDollars] = None
    lines: Annotated[tuple[FoundLine, ...], Field(max_length=200)]


class Discrepancy(Particulars):
    """One thing that was found other than notified or certified; values as words, whatever the thing is."""

    field: FieldName
    notified: Maybe[Line] = None
    certificate: Maybe[Line] = None
    found: Line
    tolerance: Maybe[Line] = None
    disposition: Literal["accepted", "corrected", "under_query", "detained", "returned"]


class ConfirmedBy(Particulars):
    """Authentication by the Importing Authority (Annex I B), or by the importer where its law says so."""

    authority: Address
    officer: Line
    role: Literal["importing_authority", "importer_on_behalf"]


class Coupon(Particulars):
    """The paper import confirmation slip (Annex II 24)."""

    number: Maybe[Identifier] = None
    paper_sent: Flag


class ImportConfirmation(Content):
    """Import confirmation, version 1."""

    name: ClassVar[str] = "import-confirmation"
    type: ClassVar[str] = "org.kimberley.import-confirmation.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    outcome: Outcome
    found: Found
    declared_value_usd: Maybe[UsDollars] = None
    exporter: Party
    importer: Party
    country_of_destination: CountryCode
    date_of_arrival: Maybe[Date] = None
    date_of_receipt: Maybe[Date] = None
    date_of_verification: Maybe[Date] = None
    seals_intact: Maybe[Literal["yes", "no", "not_checked"]] = None
    inspection: Maybe[Literal["full", "sample", "documents_only"]] = None
    discrepancies: Annotated[tuple[Discrepancy, ...], Field(max_length=100)] = ()
    confirmed_by: ConfirmedBy
    coupon: Maybe[Coupon] = None
    remarks: Maybe[Text] = None
    supersedes: Maybe[DocumentId] = None
    """The interim confirmation that this one follows."""
    knows_cancellation: Maybe[DocumentId] = None
    """The cancellation that the importing authority held when it wrote this."""
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A certificate is confirmed once (rule I09); a confirmation is superseded once."""
        if self.supersedes is not None:
            return f"{self.name}:{key}:{self.supersedes}"
        return f"{self.name}:{key}"

    def breaches(self, document: Document) -> list[Problem]:
        return [*self._finding_problems(), *self._outcome_problems(), *self._time_problems(document)]

    def _finding_problems(self) -> list[Problem]:
        found = self.found
        problems = present(
            *(hs_problem(line.hs, f"/data/found/lines/{n}/hs") for n, line in enumerate(found.lines)),
        )
        if found.lines or found.carats:
            parts = [line.carats for line in found.lines]
            problems += present(sum_problem("carats", found.carats, parts, "/data/found/carats"))
        if self.outcome not in _NOTHING_FOUND_YET or found.carats:
            problems += present(carats_problem(found.carats, "/data/found/carats"))
        if self.outcome not in _NOTHING_FOUND_YET and found.parcels < 1:
            problems.append(
                Problem("F02", "At least one parcel must have been found.", "/data/found/parcels")
            )
        values = [line.value_usd for line in found.lines if line.value_usd is not None]
        if found.value_usd is not None and values and len(values) == len(found.lines):
            total = sum(values, Decimal(0))
            if total != found.value_usd:
                rounding = abs(total - found.value_usd) <= Decimal("0.01") * len(values)
                problems.append(
                    Problem(
                        "F05",
                        f"The lines add up to US$ {total}, but the total says US$ {found.value_usd}.",
                        "/data/found/value_usd",
                        "warn" if rounding else "reject",
                    )
                )
        return problems

    def _outcome_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        if self.outcome == "confirmed" and self.discrepancies:
            problems.append(
                Problem(
                    "I07",
                    "The outcome is a plain confirmation, yet discrepancies are listed.",
                    "/data/outcome",
                    "warn",
                )
            )
        if self.outcome == "confirmed_with_discrepancy" and not self.discrepancies:
            problems.append(
                Problem(
                    "I07",
                    "The outcome speaks of a discrepancy, but none is listed.",
                    "/data/discrepancies",
                    "warn",
                )
            )
        if self.outcome == "not_received" and (self.found.parcels or self.found.carats):
            problems.append(
                Problem("I07", "Nothing was received, yet something was found.", "/data/found", "warn")
            )
        if self.outcome != "not_received" and self.date_of_receipt is None:
            problems.append(
                Problem(
                    "I03",
                    "The date of receipt by the Importing Authority is missing.",
                    "/data/date_of_receipt",
                )
            )
        return problems

    def _time_problems(self, document: Document) -> list[Problem]:
        """Rule T02, as far as the two documents' own ids and dates tell it."""
        problems: list[Problem] = []
        if self.notification is not None and document.time < _begun(self.notification.id):
            problems.append(
                Problem(
                    "T02",
                    "This confirmation is dated before the notification it answers.",
                    "/time",
                    "warn",
                )
            )
        if (
            self.date_of_arrival is not None
            and self.date_of_receipt is not None
            and self.date_of_receipt < self.date_of_arrival
        ):
            problems.append(
                Problem(
                    "T02", "Received by the authority before it arrived.", "/data/date_of_receipt", "warn"
                )
            )
        return problems


def _begun(message_id: str) -> datetime:
    """When a UUIDv7 was made: its first 48 bits are milliseconds since 1970 (RFC 9562, 5.7)."""
    return datetime.fromtimestamp(int(message_id.replace("-", "")[:12], 16) / 1000, UTC)
