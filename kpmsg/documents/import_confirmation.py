"""The import confirmation: what the Importing Authority received, opened and found.

KPCS Section III(b) (its minimum: certificate number, number of parcels, carat weight, details of importer and
exporter), Annex I B (the recommended import confirmation part) and Annex II 22 to 24. An officer's statement, made
days later; not to be confused with a receipt, which a machine gives in seconds for the bytes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import (
    Attachments,
    Certificate,
    FieldName,
    FoundLine,
    Particulars,
    Party,
    Reference,
    carats_problem,
    carats_sum_problem,
    hs_problem,
    present,
    value_sum_problem,
)
from kpmsg.documents.plausible import (
    attachment_problems,
    before,
    certificate_problems,
    party_problems,
    to_come,
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
from kpmsg.rules import breach

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
_LET_IN = frozenset({"confirmed", "confirmed_with_discrepancy", "confirmed_after_remedy", "partial"})


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
    acts_by: ClassVar[str | None] = "supersedes"

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
    attachments: Attachments = ()

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A certificate is confirmed once (rule I09); a confirmation is superseded once."""
        if self.supersedes is not None:
            return f"{self.name}:{key}:{self.supersedes}"
        return f"{self.name}:{key}"

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *certificate_problems(self.certificate, document),
            *self._finding_problems(),
            *self._outcome_problems(),
            *self._cancellation_problems(),
            *self._time_problems(document),
            *self._officer_problems(document),
            *party_problems(self.exporter, "/data/exporter"),
            *party_problems(self.importer, "/data/importer"),
            *attachment_problems(self.attachments),
        ]

    def _finding_problems(self) -> list[Problem]:
        found = self.found
        problems = present(
            *(hs_problem(line.hs, f"/data/found/lines/{n}/hs") for n, line in enumerate(found.lines)),
        )
        if found.lines or found.carats:
            parts = [line.carats for line in found.lines]
            problems += present(carats_sum_problem(found.carats, parts, "/data/found/carats"))
        if self.outcome not in _NOTHING_FOUND_YET or found.carats:
            problems += present(carats_problem(found.carats, "/data/found/carats"))
        if self.outcome not in _NOTHING_FOUND_YET and found.parcels < 1:
            problems.append(breach("F02", "found-parcels", "/data/found/parcels"))
        values = [line.value_usd for line in found.lines if line.value_usd is not None]
        if found.value_usd is not None and values and len(values) == len(found.lines):
            problems += present(value_sum_problem(found.value_usd, values, "/data/found/value_usd"))
        return problems

    def _outcome_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        if self.outcome == "confirmed" and self.discrepancies:
            problems.append(breach("I07", "plain", "/data/outcome"))
        if self.outcome == "confirmed_with_discrepancy" and not self.discrepancies:
            problems.append(breach("I07", "not-listed", "/data/discrepancies"))
        if self.outcome == "not_received" and (self.found.parcels or self.found.carats):
            problems.append(breach("I07", "nothing-received", "/data/found"))
        if self.outcome != "not_received" and self.date_of_receipt is None:
            problems.append(breach("I03", "receipt-date", "/data/date_of_receipt"))
        return problems

    def _cancellation_problems(self) -> list[Problem]:
        known = self.knows_cancellation is not None
        if self.outcome == "arrived_despite_cancellation" and not known:
            return [breach("I15", "which", "/data/knows_cancellation")]
        if self.outcome in _LET_IN and known:
            return [breach("I16", "outcome", "/data/outcome")]
        return []

    def _officer_problems(self, document: Document) -> list[Problem]:
        problems: list[Problem] = []
        authority = self.confirmed_by.authority
        if authority != document.source:
            at = "/data/confirmed_by/authority"
            problems.append(breach("I18", "another", at, authority=authority, source=document.source))
        if self.outcome == "confirmed" and self.seals_intact == "no":
            problems.append(breach("I19", "seals", "/data/seals_intact"))
        if self.outcome != "not_received":
            if self.seals_intact is None:
                problems.append(breach("I22", "seals", "/data/seals_intact"))
            if self.inspection is None:
                problems.append(breach("I22", "inspection", "/data/inspection"))
        return problems

    def _time_problems(self, document: Document) -> list[Problem]:
        """Rules T02 and I17, as far as the two documents' own ids and dates tell it."""
        problems: list[Problem] = []
        if self.notification is not None and before(self.notification.id, document):
            problems.append(breach("T02", "before-notification", "/time"))
        arrived, received = self.date_of_arrival, self.date_of_receipt
        if arrived is not None and received is not None and received < arrived:
            problems.append(breach("T02", "before-arrival", "/data/date_of_receipt"))
        verified = self.date_of_verification
        if verified is not None and received is not None and verified < received:
            problems.append(breach("I17", "order", "/data/date_of_verification"))
        for name in ("date_of_arrival", "date_of_receipt", "date_of_verification"):
            day = getattr(self, name)
            if day is not None and to_come(day, document):
                problems.append(breach("I17", "future", f"/data/{name}", day=day))
        return problems
