"""The documents two authorities exchange: every type there is, read and written here and nowhere else.

`parse` turns payload bytes into a `Document` or refuses them; `compose` turns a draft into a `Document` and the
bytes to sign. Both use one model, so that what we write is what anybody may read. Signatures, keys and the state
of a certificate are not known here; neither is any clock: time and ids are arguments.

A new type is one module with one subclass of `Content`, and its name in the union `Data` below.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, get_args
from uuid import UUID

from pydantic import PlainValidator, ValidationError, create_model

from kpmsg import strictjson
from kpmsg.documents.alert import Alert
from kpmsg.documents.arrival_notice import ArrivalNotice
from kpmsg.documents.cancellation import Cancellation
from kpmsg.documents.certificate_answer import CertificateAnswer
from kpmsg.documents.certificate_query import CertificateQuery
from kpmsg.documents.confirmation_correction import ConfirmationCorrection
from kpmsg.documents.confirmation_request import ConfirmationRequest
from kpmsg.documents.confirmation_status import ConfirmationStatus
from kpmsg.documents.discrepancy_query import DiscrepancyQuery
from kpmsg.documents.discrepancy_response import DiscrepancyResponse
from kpmsg.documents.envelope import Content, Document
from kpmsg.documents.export_amendment import ExportAmendment
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.import_confirmation import ImportConfirmation
from kpmsg.documents.irregularity_notice import IrregularityNotice
from kpmsg.documents.message import Message
from kpmsg.documents.rejection import Rejection
from kpmsg.documents.return_notice import ReturnNotice
from kpmsg.documents.sentences import problems_in
from kpmsg.documents.technical_certificate_notice import TechnicalCertificateNotice
from kpmsg.documents.transit_notice import TransitNotice
from kpmsg.documents.vocabulary import certificate_key
from kpmsg.documents.withdrawal import Withdrawal
from kpmsg.errors import DraftError, MalformedError, Problem
from kpmsg.rules import malformed

__all__ = [
    "TYPES",
    "Alert",
    "ArrivalNotice",
    "Cancellation",
    "CertificateAnswer",
    "CertificateQuery",
    "ConfirmationCorrection",
    "ConfirmationRequest",
    "ConfirmationStatus",
    "Content",
    "Data",
    "DiscrepancyQuery",
    "DiscrepancyResponse",
    "Document",
    "ExportAmendment",
    "ExportNotification",
    "ImportConfirmation",
    "IrregularityNotice",
    "Message",
    "Rejection",
    "ReturnNotice",
    "TechnicalCertificateNotice",
    "TransitNotice",
    "Withdrawal",
    "breaches",
    "certificate_key",
    "claim",
    "completed",
    "compose",
    "form_of",
    "kind_of",
    "parse",
]

Data = (
    ExportNotification
    | ExportAmendment
    | Cancellation
    | ArrivalNotice
    | ImportConfirmation
    | ConfirmationCorrection
    | ConfirmationRequest
    | ConfirmationStatus
    | DiscrepancyQuery
    | DiscrepancyResponse
    | IrregularityNotice
    | ReturnNotice
    | TechnicalCertificateNotice
    | CertificateQuery
    | CertificateAnswer
    | Alert
    | TransitNotice
    | Message
    | Withdrawal
    | Rejection
)
"""Every document type. This is the one list."""

TYPES: MappingProxyType[str, type[Content]] = MappingProxyType({kind.type: kind for kind in get_args(Data)})
"""The document types by CloudEvents type, in the order of `Data`."""

_FORMS: dict[str, type[Document]] = {
    kind.type: create_model(f"{kind.__name__}Document", __base__=Document, data=(kind, ...))
    for kind in TYPES.values()
}
_BY_NAME = {name: kind for kind in TYPES.values() for name in (kind.name, kind.type)}
_WRITTEN_BY_US = ("specversion", "id", "source", "time", "datacontenttype", "testing")


def _set_aside(data: object) -> None:
    if not isinstance(data, dict):
        raise ValueError("not an object")  # noqa: TRY004 - pydantic takes a ValueError for a refusal


class _Unsupported(Document):
    """A document of a type or version we do not speak: its envelope holds, its data is left in the bytes."""

    data: Annotated[None, PlainValidator(_set_aside)]


def parse(payload: bytes) -> Document:
    """Read one document from its payload bytes.

    Members unknown to us are ignored (and stay in the bytes); a type unknown to us gives a document whose `data`
    is None. Raises `MalformedError` (`json-*`, `document-*`) with a pointer to what is wrong.
    """
    document, problems = _read(strictjson.loads(payload), strict=False)
    if document is None:
        first = problems[0]
        raise MalformedError(first.code, first.text, first.pointer)
    return document


def compose(
    draft: Any,
    *,
    source: str,
    id: UUID | str,  # noqa: A002 - CloudEvents' name
    time: datetime,
    testing: bool = False,
    strictly_parsed: bool = False,
) -> tuple[Document, bytes]:
    """Write a document: the draft's `type` (short name or whole), `recipient` and `data`, under our envelope.

    `subject` may be left out where the content determines it. `source` is the author's address, `id` a UUIDv7,
    `time` an aware datetime (kept to the millisecond); `testing` says that nothing of it is real. Returns the
    document as any reader will parse it, and its payload bytes, ready to sign. Raises `DraftError` with every
    problem if anything would be refused: unknown members, wrong forms, broken rules of severity "reject". Rules
    that only warn are left to `breaches`.

    `strictly_parsed` says that the draft is what `kpmsg.strictjson.loads` returned. Then our own bytes need not be parsed
    again to know how any reader will parse them.
    """
    document, payload, _ = composed(
        draft, source=source, id=id, time=time, testing=testing, strictly_parsed=strictly_parsed
    )
    return document, payload


def composed(
    draft: Any,
    *,
    source: str,
    id: UUID | str,  # noqa: A002 - CloudEvents' name
    time: datetime,
    testing: bool = False,
    strictly_parsed: bool = False,
) -> tuple[Document, bytes, list[Problem]]:
    """`compose`, and with it the rules that only warn: for whoever asks for both, which costs as much as either."""
    if not isinstance(draft, dict):
        raise DraftError([malformed("document-type", "draft-object", "")])
    if time.tzinfo is None:
        raise ValueError("time must be aware")
    envelope = _envelope(draft, source, str(id), time, testing=testing)
    try:
        payload = (strictjson.dumps if strictly_parsed else strictjson.dumps_foreign)(envelope)
    except (TypeError, ValueError, RecursionError):
        raise DraftError([malformed("document-type", "draft-values", "")]) from None
    written: Any = envelope
    if not strictly_parsed or len(payload) > strictjson.MAX_BYTES:
        try:
            written = strictjson.loads(payload)
        except MalformedError as error:
            # A number where a text is due is better told by the field than by the parser.
            _, problems = _read(envelope, strict=True)
            raise DraftError(problems or [Problem(error.code, error.text, error.pointer or "")]) from None
    document, problems = _read(written, strict=True)
    if document is not None:
        problems = breaches(document)
    if any(problem.severity == "reject" for problem in problems):
        raise DraftError(problems)
    assert document is not None
    return document, payload, problems


def completed(draft: Any) -> Any:
    """The draft with stand-ins for what the node fills in when it is sent: each recipient of what goes to everybody, and whoever
    releases it. For those who look at a draft as the document that it would become, before there is one.
    """
    kind = draft.get("type") if isinstance(draft, dict) else None
    content = kind_of(kind)
    if content is None:
        return draft
    if content.broadcast and draft.get("recipient") == "*":
        draft = draft | {"recipient": "AA"}
    if "released_by" in content.model_fields and isinstance(data := draft.get("data"), dict):
        draft = draft | {"data": data | {"released_by": "-"}}
    return draft


def claim(document: Document, key: str | None = None) -> str | None:
    """What the document takes for itself: of one author, at most one live document may hold each claim.

    `key`: the certificate's number as its issuer normalises it; the envelope's subject if left out.
    """
    return None if document.data is None else document.data.claim(key or document.subject or "")


def breaches(document: Document) -> list[Problem]:
    """Every rule the document breaks that can be told from itself alone; empty if none, or if its type is unknown."""
    return [] if document.data is None else document.data.breaches(document)


def kind_of(name: object) -> type[Content] | None:
    """The document type with this short or whole name; None if it is not ours, or no name at all."""
    return _BY_NAME.get(name) if isinstance(name, str) else None


def form_of(kind: str) -> type[Document]:
    """The model of whole documents of one CloudEvents type, for schemas; `KeyError` if it is not ours."""
    return _FORMS[kind]


def _read(written: Any, *, strict: bool) -> tuple[Document | None, list[Problem]]:
    """Check one parsed JSON value: a document, or at least one problem. `strict` forbids unknown members and types."""
    if not isinstance(written, dict):
        return None, [malformed("document-type", "whole-object", "")]
    kind = written.get("type")
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    if form is None and strict:
        known = ", ".join(content.name for content in TYPES.values())
        return None, [malformed("document-unsupported", "unsupported", "/type", known=known)]
    try:
        document = (form or _Unsupported).model_validate(written, extra="forbid" if strict else None)
    except ValidationError as error:
        return None, problems_in(error, written)
    if document.data is not None:
        due = document.data.subject
        if due is not None and document.subject != due:
            return None, [malformed("document-subject", "subject-due", "/subject", due=due)]
    return document, []


def _envelope(
    draft: dict[Any, Any], source: str, message_id: str, time: datetime, *, testing: bool
) -> dict[Any, Any]:
    ours = [member for member in _WRITTEN_BY_US if member in draft]
    if {"specversion", "id", "source"} <= draft.keys():
        raise DraftError([malformed("document-unknown-member", "draft-whole", "")])
    if ours:
        raise DraftError(
            [
                malformed("document-unknown-member", "draft-ours", f"/{member}", member=member)
                for member in ours
            ]
        )
    content = kind_of(draft.get("type"))
    envelope = {
        "specversion": "1.0",
        "id": message_id,
        "source": source,
        "type": draft.get("type") if content is None else content.type,
        "subject": draft.get("subject", _subject_of(draft.get("data"))),
        "time": time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
        "recipient": draft.get("recipient"),
        "datacontenttype": "application/json",
        "testing": testing or None,
        "data": draft.get("data"),
        **{member: value for member, value in draft.items() if member not in _IN_DRAFTS},
    }
    return {member: value for member, value in envelope.items() if member in draft or value is not None}


_IN_DRAFTS = frozenset({"type", "subject", "recipient", "data"})


def _subject_of(data: Any) -> str | None:
    """The certificate key inside unchecked data, if there is something that looks like one."""
    certificate = data.get("certificate") if isinstance(data, dict) else None
    number = certificate.get("number_raw") if isinstance(certificate, dict) else None
    key = certificate_key(number) if isinstance(number, str) else ""
    return key if key.isascii() and key.isalnum() else None
