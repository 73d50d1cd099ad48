"""The next document about a certificate, filled in as far as the case tells: what a clerk would otherwise copy by hand.

An import confirmation that says "all as notified", an amendment that repeats what holds, the answer to the query that is open.
What only a person can know (what was found, why something is cancelled) is left at the ordinary answer or left out, so that a check
of the draft asks for it. Nothing is sent or signed here; a prefilled draft passes the same rules as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import UnionType
from typing import Any, Final

from pydantic import BaseModel

from kpmsg.case import fold
from kpmsg.case.differences import by_code
from kpmsg.case.standing import Confirmed, Filed, Standing, content_of
from kpmsg.documents import (
    ArrivalNotice,
    Cancellation,
    CertificateQuery,
    ConfirmationCorrection,
    ConfirmationRequest,
    DiscrepancyQuery,
    ExportNotification,
    ImportConfirmation,
    IrregularityNotice,
    Message,
    ReturnNotice,
    certificate_key,
)
from kpmsg.documents.discrepancy_query import Doubt
from kpmsg.documents.import_confirmation import Discrepancy
from kpmsg.policy import Practice

Draft = dict[str, Any]

_ENDED: Final[Mapping[Any, str]] = {"returned": "refused_returned", "seized": "seized"}
"""The outcome that a confirmation has after a notice which said so."""


class NothingToSayError(LookupError):
    """The case holds nothing that such a document could speak of; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """What lies on the desk: the case, who sits there, and which day it is."""

    standing: Standing
    me: str
    officer: str | None
    today: date
    practice: Practice

    def notification(self) -> Filed:
        """The notification that holds (cancelled or not)."""
        found = self.standing.active or self.standing.notifications
        if not found:
            raise NothingToSayError("no notification of this number is here")
        return found[-1]

    def version(self) -> Filed:
        """Its version that holds."""
        return self.standing.versions(self.notification())[-1]

    def reference(self) -> dict[str, str] | None:
        """The version that holds, as documents refer to it; None if there is no notification."""
        if not self.standing.notifications:
            return None
        version = self.version()
        return {"id": version.document.id, "digest": version.id}

    def certificate(self) -> dict[str, Any]:
        """The certificate as it was written first."""
        for item in [*self.standing.notifications, *self.standing.items]:
            certificate = getattr(item.data, "certificate", None)
            if certificate is not None:
                return _json(certificate)
        raise NothingToSayError("no document about this number is here")

    def last(self, kind: type) -> Filed:
        """The newest document of a type that its recipient has to answer."""
        for item in reversed(self.standing.effective):
            if isinstance(item.data, kind) and item.document.recipient == self.me:
                return item
        raise NothingToSayError(f"there is no {kind.name} to answer")  # type: ignore[attr-defined]

    def said(self, kinds: type | UnionType) -> list[Filed]:
        """What we have said of these types."""
        return [i for i in self.standing.effective if i.source == self.me and isinstance(i.data, kinds)]

    def confirmed(self) -> Confirmed:
        """The current confirmation."""
        if not self.standing.confirmations:
            raise NothingToSayError("nothing has been confirmed yet")
        return self.standing.confirmations[-1]

    def doubted(self) -> tuple[str, Sequence[Doubt | Discrepancy]]:
        """What we have to answer: the newest query, else a confirmation that differs, by its id; and what is in doubt there."""
        try:
            query = self.last(DiscrepancyQuery)
        except NothingToSayError:
            for said in self.standing.confirmations[-1:]:
                cancelled = said.content.outcome == "arrived_despite_cancellation"
                if said.item.document.recipient == self.me and (said.content.discrepancies or cancelled):
                    return said.item.id, said.content.discrepancies
            raise
        assert isinstance(query.data, DiscrepancyQuery)
        return query.id, query.data.doubts

    def confirmation_seen(self) -> str | None:
        return self.standing.confirmations[-1].item.id if self.standing.confirmations else None

    def partner(self) -> str:
        """The other authority of the case."""
        for item in [*reversed(self.standing.notifications), *reversed(self.standing.items)]:
            other = item.document.recipient if item.source == self.me else item.source
            if other != self.me:
                return other
        raise NothingToSayError("nobody else has taken part in this case")


def prefill(
    name: str,
    filed: Iterable[Filed],
    *,
    me: str,
    today: date,
    practice: Practice,
    officer: str | None = None,
) -> Draft:
    """The draft of a document of type `name` (short) about the certificate that `filed` are about.

    `me` writes it, `officer` is named where a person is, `today` is the authority's own day. Raises KeyError for a type that is not
    written from a case, NothingToSayError if the case has nothing that it could speak of.
    """
    write = _WRITERS[name]
    desk = _Desk(Standing(filed), me, officer, today, practice)
    data = write(desk)
    draft: Draft = {"type": name, "recipient": desk.partner(), "data": data}
    if "certificate" not in data:  # what names no certificate itself says in its envelope which it is about
        draft["subject"] = certificate_key(desk.certificate()["number_raw"])
    return draft


# -- the exporting side ------------------------------------------------------------------------------------------------


def _amendment(desk: _Desk) -> Draft:
    version = desk.version()
    data: Draft = {
        "certificate": desk.certificate(),
        "amends": version.id,
        # A technical notice has more to it, which is not amended.
        "content": {
            n: v for n, v in _json(content_of(version)).items() if n in ExportNotification.model_fields
        },
        "changed": [],
        "reason": "clerical_error",
        "knows_confirmation": desk.confirmation_seen(),
    }
    queries = [i for i in desk.standing.effective if isinstance(i.data, DiscrepancyQuery)]
    if queries:
        data |= {"reason": "outcome_of_query", "outcome_of": queries[-1].id}
    return data


def _cancellation(desk: _Desk) -> Draft:
    return {
        "certificate": desk.certificate(),
        "cancels": desk.notification().id,
        "reason": "void",
        "knows_confirmation": desk.confirmation_seen(),
    }


def _request(desk: _Desk) -> Draft:
    asked = [i.data.level for i in desk.standing.effective if isinstance(i.data, ConfirmationRequest)]
    first = desk.notification()
    data: Draft = {
        "certificate": desk.certificate(),
        "notification": {"id": first.document.id, "digest": first.id},
        "level": min(3, 1 + max(asked, default=0)),
    }
    matters = fold(first.document.subject or "", desk.standing.items, desk.practice).matters
    for due in (m.due for m in matters if m.kind == "confirmation" and m.due is not None):
        data["due"] = due.isoformat()
        if desk.today > due:
            data["days_overdue"] = (desk.today - due).days
    return data


def _response(desk: _Desk) -> Draft:
    about, doubts = desk.doubted()
    data: Draft = {"certificate": desk.certificate(), "query": about}
    if not doubts:  # a certificate that we have cancelled was presented
        return data | {
            "answers": [{"field": "certificate", "verdict": "investigating"}],
            "instruction": "hold",
        }
    answers = [{"field": doubt.field, "verdict": "correct_to", "corrected": doubt.found} for doubt in doubts]
    return data | {"answers": answers, "instruction": "endorse_correction"}


# -- the importing side ------------------------------------------------------------------------------------------------


def _arrival(desk: _Desk) -> Draft:
    return {
        "certificate": desk.certificate(),
        "notification": desk.reference(),
        "date_presented": desk.today.isoformat(),
    }


def _confirmation(desk: _Desk) -> Draft:
    if desk.notification().source == desk.me:
        raise NothingToSayError("this shipment is ours; the importing authority confirms it")
    sent = content_of(desk.version())
    notices = [i.data for i in desk.said(ReturnNotice | IrregularityNotice)]
    ended = getattr(notices[-1], "measure", "returned") if notices else None
    data: Draft = {
        "certificate": _json(sent.certificate),
        "notification": desk.reference(),
        "outcome": _ENDED.get(ended, "confirmed"),
        "found": {
            "parcels": sent.parcels,
            "carats": f"{sent.carats:.2f}",
            "lines": [{"hs": hs, "carats": f"{carats:.2f}"} for hs, carats in by_code(sent.lines).items()],
        },
        "declared_value_usd": f"{sent.value_usd:.2f}",
        "exporter": _json(sent.exporter),
        "importer": _json(sent.importer),
        "country_of_destination": sent.importer.country,
        **{f"date_of_{what}": day.isoformat() for what, day in _days(desk).items()},
        "seals_intact": "yes",
        "inspection": "full",
        "confirmed_by": {"authority": desk.me, "role": "importing_authority"}
        | ({"officer": desk.officer} if desk.officer else {}),
    }
    cancellation = desk.standing.cancellation_of(desk.notification())
    if cancellation is not None:
        data["knows_cancellation"] = cancellation.id
        if data["outcome"] == "confirmed":
            data["outcome"] = "arrived_despite_cancellation"
    if desk.standing.confirmations:
        data["supersedes"] = desk.confirmed().item.id
    return data


def _days(desk: _Desk) -> dict[str, date]:
    """When the goods came, as we have said it already; today if we have not."""
    days = dict.fromkeys(("arrival", "receipt", "verification"), desk.today)
    for item in desk.said(ArrivalNotice):
        days["arrival"] = getattr(item.data, "date_presented", desk.today)
    for before in desk.standing.receipts_of_goods:
        if before.item.source == desk.me:
            told = {what: getattr(before.content, f"date_of_{what}") for what in ("arrival", "receipt")}
            days |= {what: day for what, day in told.items() if day is not None}
    return days


def _correction(desk: _Desk) -> Draft:
    current = desk.confirmed()
    content = _json(current.content)
    content.pop("supersedes", None)
    return {
        "certificate": desk.certificate(),
        "corrects": current.item.id,
        "content": content,
        "reason": "clerical_error",
    }


def _status(desk: _Desk) -> Draft:
    request = desk.last(ConfirmationRequest)
    data: Draft = {"certificate": desk.certificate(), "request": request.id, "standing": "not_arrived"}
    if desk.standing.confirmations:
        data |= {"standing": "already_confirmed", "confirmation": desk.confirmed().item.id}
    return data


def _query(desk: _Desk) -> Draft:
    sent = content_of(desk.version())
    by = desk.practice.due(desk.notification().source, "query", desk.today)
    weight = f"{sent.carats:.2f}"
    found = desk.standing.confirmations[-1].content.discrepancies if desk.standing.confirmations else ()
    doubts = [{n: v for n, v in _json(d).items() if n not in {"tolerance", "disposition"}} for d in found]
    return {
        "certificate": desk.certificate(),
        "notification": desk.reference(),
        "doubts": doubts or [{"field": "carats", "notified": weight, "certificate": weight}],
        "question": "What we found differs from what was notified. Which holds?",
        "reply_by": by.isoformat(),
    }


def _irregularity(desk: _Desk) -> Draft:
    return {
        "certificate": desk.certificate(),
        "notification": desk.reference(),
        "irregularities": [],
        "measure": "detained",
        "date_found": desk.today.isoformat(),
    }


def _return(desk: _Desk) -> Draft:
    return {
        "certificate": desk.certificate(),
        "notification": desk.reference(),
        "under": "original_certificate",
        "date_of_return": desk.today.isoformat(),
    }


# -- both sides --------------------------------------------------------------------------------------------------------


def _withdrawal(desk: _Desk) -> Draft:
    kinds = Cancellation | ImportConfirmation | ConfirmationCorrection | DiscrepancyQuery | CertificateQuery
    mine = [i for i in desk.said(kinds) if i.id not in desk.standing.superseded]
    if not mine:
        raise NothingToSayError("there is nothing of ours in this case that could be withdrawn")
    return {"withdraws": mine[-1].id}


def _message(desk: _Desk) -> Draft:
    data: Draft = {"certificate": desk.certificate()}
    asked = [
        i for i in desk.standing.effective if isinstance(i.data, Message) and i.document.recipient == desk.me
    ]
    return data | ({"in_reply_to": asked[-1].id} if asked else {})


_WRITERS: Final[Mapping[str, Callable[[_Desk], Draft]]] = {
    "export-amendment": _amendment,
    "cancellation": _cancellation,
    "confirmation-request": _request,
    "discrepancy-response": _response,
    "arrival-notice": _arrival,
    "import-confirmation": _confirmation,
    "confirmation-correction": _correction,
    "confirmation-status": _status,
    "discrepancy-query": _query,
    "irregularity-notice": _irregularity,
    "return-notice": _return,
    "withdrawal": _withdrawal,
    "message": _message,
}

FROM_A_CASE: Final = tuple(_WRITERS)
"""Short names of the types that can be prefilled from a case."""


def _json(part: BaseModel) -> Draft:
    written: Draft = _written(part.model_dump(mode="json", exclude_none=True))
    return written


def _written(value: Any) -> Any:
    """As it stands on the wire: what may be left out is left out, lists that are empty are too."""
    if isinstance(value, dict):
        return {name: _written(each) for name, each in value.items() if each != []}
    if isinstance(value, list):
        return [_written(each) for each in value]
    return value
