"""What a document says, in a line: for a list of documents, where nobody has room or time for the whole.

One short phrase for each type, of what a person at a desk looks for in it. All that a document's author may have written freely goes
through `readable`, so every line is safe to print. The whole content is for `kpmsg.explanation`; nothing is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from kpmsg.documents import (
    Alert,
    ArrivalNotice,
    Cancellation,
    CertificateAnswer,
    CertificateQuery,
    ConfirmationCorrection,
    ConfirmationRequest,
    ConfirmationStatus,
    Content,
    DiscrepancyQuery,
    DiscrepancyResponse,
    ExportAmendment,
    ExportNotification,
    ImportConfirmation,
    IrregularityNotice,
    Message,
    Rejection,
    ReturnNotice,
    TransitNotice,
    Withdrawal,
    parse,
)
from kpmsg.errors import KpmsgError
from kpmsg.wording import leftward, readable

FINDINGS: Final[Mapping[str, str]] = {
    "matches": "issued, and what was shown agrees",
    "differs": "issued, but what was shown does not agree",
    "unknown": "never issued",
    "void": "void",
    "replaced": "replaced by another certificate",
    "lost": "reported as lost",
    "stolen": "reported as stolen",
    "not_this_office": "not issued by this office; another one of the Participant may have issued it",
    "issued_to_another": "issued for a shipment to somebody else",
}
"""What an issuer may answer, in words."""


def content_of(document: Mapping[str, Any]) -> Content | None:
    """The content of a whole document, given as JSON; None if it is none that this version can read."""
    try:
        return parse(json.dumps(document).encode()).data
    except (KpmsgError, ValueError, TypeError):
        return None


def essence(content: Content | None) -> str:
    """The document in a phrase; empty if its content cannot be read here. It has several lines where scripts of two directions meet."""
    if content is None:
        return ""
    text = ""
    for phrase in filter(None, _phrases(content)):
        # What runs from right to left would reorder the figures beside it, so it gets a line of its own.
        between = "\n" if leftward(phrase) or leftward(text) else " " if text.endswith(":") else "; "
        text = f"{text}{between}{phrase}" if text else phrase
    return text


def type_in_words(name: object) -> str:
    """A document type as people call it: `org.kimberley.import-confirmation.v1` is an import confirmation."""
    parts = str(name).split(".")
    return spoken(parts[2] if len(parts) == 4 and parts[:2] == ["org", "kimberley"] else str(name))


def spoken(word: str) -> str:
    """A word of the protocol as people say it: `confirmed_with_discrepancy`, `export-notification`."""
    return readable(word.replace("_", " ").replace("-", " "))


def carats(amount: Decimal) -> str:
    """A weight."""
    return f"{amount:,.2f} ct"


def dollars(amount: Decimal) -> str:
    """A value."""
    return f"US$ {amount:,.2f}"


def _parcels(count: int) -> str:
    return f"{count} parcel{'' if count == 1 else 's'}"


def _said(text: str | None) -> str:
    return "" if text is None else readable(text)


def _phrases(content: Content) -> Iterable[str]:
    match content:
        case ExportAmendment() | ConfirmationCorrection():
            return [f"{spoken(content.reason)}:", *_shipment(content.content), _said(content.explanation)]
        case ExportNotification() | ImportConfirmation():
            return _shipment(content)
        case Cancellation():
            return [
                spoken(content.reason),
                f"replaced by {readable(content.replaced_by)}" if content.replaced_by else "",
                _said(content.explanation),
            ]
        case (
            ConfirmationRequest()
            | ConfirmationStatus()
            | DiscrepancyQuery()
            | DiscrepancyResponse()
            | CertificateQuery()
            | CertificateAnswer()
        ):
            return _asked_or_answered(content)
        case ArrivalNotice() | IrregularityNotice() | ReturnNotice() | TransitNotice():
            return _on_the_way(content)
        case Alert():
            ranges = [f"{each.first} to {each.last}" if each.last else each.first for each in content.numbers]
            return [f"{spoken(content.kind)}:", *map(readable, ranges), _said(content.description)]
        case Message():
            return [
                _said(content.title),
                readable(content.text),
                "an answer is wanted" if content.answer_wanted else "",
            ]
        case Withdrawal():
            return [readable(content.reason)]
        case Rejection():
            return [f"{readable(reason.text)} ({readable(reason.code)})" for reason in content.reasons]
    return []


def _shipment(content: Content) -> Iterable[str]:
    if isinstance(content, ImportConfirmation):
        yield spoken(content.outcome)
        yield _parcels(content.found.parcels)
        yield carats(content.found.carats)
        for each in content.discrepancies:
            yield f"{spoken(each.field)} {spoken(each.disposition)}"
        yield _said(content.remarks)
    if isinstance(content, ExportNotification):
        yield _parcels(content.parcels)
        yield carats(content.carats)
        yield dollars(content.value_usd)
        yield f"valid to {content.date_of_expiry}"


def _asked_or_answered(content: Content) -> Iterable[str]:
    match content:
        case ConfirmationRequest():
            yield f"reminder {content.level}" if content.level > 1 else "where is it?"
            if content.due is not None:
                yield f"due {content.due}"
            if content.days_overdue:
                yield f"{content.days_overdue} day{'' if content.days_overdue == 1 else 's'} ago"
            yield _said(content.remarks)
        case ConfirmationStatus():
            yield spoken(content.standing)
            if content.decision_expected is not None:
                yield f"decision expected {content.decision_expected}"
            yield _said(content.remarks)
        case DiscrepancyQuery():
            for doubt in content.doubts:
                before = doubt.notified or doubt.certificate
                than = f", not {readable(before)}" if before else ""
                yield f"{spoken(doubt.field)}: {readable(doubt.found)} found{than}"
            yield readable(content.question)
        case DiscrepancyResponse():
            for each in content.answers:
                to = f" {readable(each.corrected)}" if each.corrected else ""
                yield f"{spoken(each.field)}: {spoken(each.verdict)}{to}"
            yield spoken(content.instruction)
            yield _said(content.explanation)
        case CertificateQuery():
            yield "did you issue it?"
            yield carats(content.carats) if content.carats is not None else ""
            yield _parcels(content.parcels) if content.parcels is not None else ""
            yield f"issued {content.date_of_issue}" if content.date_of_issue is not None else ""
            yield _said(content.exporter)
        case CertificateAnswer():
            yield FINDINGS[content.finding]
            yield from map(spoken, content.differing)
            yield _said(content.replaced_by)
            yield _said(content.remarks)


def _on_the_way(content: Content) -> Iterable[str]:
    match content:
        case ArrivalNotice():
            yield f"presented {content.date_presented}"
            yield readable(content.place)
            if content.decision_expected is not None:
                yield f"decision expected {content.decision_expected}"
            yield _said(content.remarks)
        case IrregularityNotice():
            yield from map(spoken, content.irregularities)
            yield spoken(content.measure)
            yield readable(content.description)
        case ReturnNotice():
            yield f"{content.date_of_return} under {spoken(content.under)}"
            yield _said(content.returned_under)
            yield readable(content.reason)
        case TransitNotice():
            yield f"through {', '.join(map(readable, content.places))}"
            yield f"on {content.expected_entry}"
            yield _parcels(content.parcels)
            yield carats(content.carats)
