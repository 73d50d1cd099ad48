"""What the OpenAPI document says about each operation: once, exactly, with every problem that it can end in.

An operation is a `Said` here and a function elsewhere. FastAPI describes the query parameters that it checks itself; the rest,
which is read from raw requests, is described by hand. `document` puts both together and removes what FastAPI adds that is
not so. The event stream is described in words only: a media type without an end breaks generated clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from kpnode.api import schemas
from kpnode.api.answers import CODES, JOSE, JSON, PROBLEM
from kpnode.api.door import SCHEME
from kpnode.store.callers import Scope

_ALWAYS: Final = ("request-invalid",)
_GUARDED: Final = ("key-missing", "key-unusable", "scope-missing", "rate-limited", "store-unavailable")
_BODY: Final = ("json-invalid", "header-invalid", "body-size", "body-slow", "content-type")


@dataclass(frozen=True)
class Said:
    """What is said about one operation. `answers`: status -> (sentence, media type, schema or None)."""

    id: str
    tag: str
    summary: str
    answers: dict[int, tuple[str, str | None, Any]]
    text: str = ""
    problems: Sequence[str] = ()
    parameters: Sequence[dict[str, Any]] = ()
    body: dict[str, Any] | None = None
    headers: dict[int, dict[str, Any]] = field(default_factory=dict)


def operation(said: Said, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    """The arguments of `@app.get` and its like."""
    problems = [
        *said.problems,
        *_ALWAYS,
        *(_GUARDED if security else ()),
        *(_BODY if said.body is not None else ()),
    ]
    responses: dict[int | str, dict[str, Any]] = {}
    for status, (text, media_type, schema) in said.answers.items():
        responses[status] = {"description": text}
        if media_type is not None:
            responses[status]["content"] = {media_type: {"schema": schema}}
        if status in said.headers:
            responses[status]["headers"] = said.headers[status]
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(problems):
        by_status.setdefault(CODES[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[status] = _problem(codes)
    extra: dict[str, Any] = {"security": security}
    if said.parameters:
        extra["parameters"] = list(said.parameters)
    if said.body is not None:
        extra["requestBody"] = said.body
    return {
        "operation_id": said.id,
        "summary": said.summary,
        "description": said.text,
        "tags": [said.tag],
        "status_code": next(iter(said.answers)),
        "response_class": Response,
        "responses": responses,
        "openapi_extra": extra,
    }


def _problem(codes: Sequence[str]) -> dict[str, Any]:
    said = "; ".join(f"`{code}`: {CODES[code][1]}" for code in codes)
    described: dict[str, Any] = {
        "description": f"{said}.",
        "content": {PROBLEM: {"schema": _ref("Problem")}},
    }
    status = CODES[codes[0]][0]
    if status in {429, 503}:
        described["headers"] = {
            "Retry-After": _header("Seconds to wait.", {"type": "integer"}, required=False)
        }
    if status == 401:
        described["headers"] = {"WWW-Authenticate": _header("RFC 6750.", {"type": "string"}, required=False)}
    return described


def document(app: FastAPI) -> dict[str, Any]:
    """The whole OpenAPI document of an application."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in schemas.TAGS.items()],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for item in described["paths"].values():
        for one in item.values():
            said = one["responses"]
            for status in [s for s, r in said.items() if "HTTPValidationError" in str(r)]:
                del said[status]
            one["responses"] = dict(sorted(said.items()))
    submit = described["paths"]["/v1/documents"]["post"]["requestBody"]["content"][JSON]
    submit["examples"] = schemas.examples()
    described["components"] = {
        "schemas": dict(sorted(schemas.all_of_them().items())),
        "securitySchemes": {
            SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "kp_<id>_<secret>",
                "description": "An API key with scopes:\n\n"
                + "\n".join(f"* `{scope}`: {scope.text}" for scope in Scope),
            }
        },
    }
    return described


# --- shorthands ------------------------------------------------------------------------------------------------------


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(text: str, schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"description": text, "required": required, "schema": schema}


def _path(name: str, text: str, schema: dict[str, Any], example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": text,
        "schema": schema,
        "example": example,
    }


def _asks(name: str, text: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": text, "schema": schema}


def _json(name: str, text: str, status: int = 200) -> dict[int, tuple[str, str | None, Any]]:
    return {status: (text, JSON, _ref(name))}


_TEXT: Final = {"type": "string"}
_ETAG: Final = {200: {"ETag": _header("For If-None-Match.", _TEXT)}}
_IF_NONE_MATCH: Final = _asks("If-None-Match", "The ETag of what you have; 304 if it is still so.", _TEXT)
_IF_MATCH: Final = _asks(
    "If-Match", "The partner's ETag on which the decision rests; 412 if it has changed since.", _TEXT
)
_NOT_MODIFIED: Final[dict[int, tuple[str, str | None, Any]]] = {304: ("You have it already.", None, None)}
_JWS: Final = {
    "type": "object",
    "required": ["payload", "signatures"],
    "description": "JWS, general JSON serialization.",
}
_BY_ID: Final = _path(
    "id",
    "Document id: SHA-256 of what was signed.",
    {"type": "string", "pattern": schemas.ID},
    "0" * 63 + "1",
)
_BY_ADDRESS: Final = _path(
    "address",
    "Authority address. Its slash may be written as it is or as %2F.",
    {"type": "string", "pattern": schemas.ADDRESS},
    "AE",
)
_BY_NUMBER: Final = _path(
    "id", "Number of the incident.", {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}, "1"
)
_REASON: Final = {
    "required": True,
    "content": {
        JSON: {"schema": _ref("Reason"), "example": {"reason": "Agreed by telephone with the partner."}}
    },
}

# --- the operations --------------------------------------------------------------------------------------------------

SUBMIT: Final = Said(
    "submitDocuments",
    "Documents",
    "Submit one document, or several together",
    {
        201: ("Signed and stored; they will be sent until received.", JSON, _ref("Submission")),
        200: ("The same request came before: what it led to.", JSON, _ref("Submission")),
    },
    text=(
        "The node writes the envelope, checks the rules, signs, stores and sends. An array is taken whole or not at all. "
        "If no answer arrives, send exactly the same request again, with the same Idempotency-Key: it is never done twice."
    ),
    problems=(
        "document-invalid", "partner-unknown", "already-said", "idempotency-key-reused", "signing-unavailable", "store-full",
    ),
    parameters=(
        _asks(
            "Idempotency-Key",
            "Your own name for this submission; a new one for each.",
            {"type": "string", "pattern": r"^[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?$", "maxLength": 128},
            required=True,
        ),
        _asks(
            "Prefer",
            "`wait=N` (RFC 7240): answer when the partners' receipts cover all of it, or after N seconds (60 at most). "
            "`return=minimal`: leave the documents out of the answer.",
            _TEXT,
        ),
    ),
    body={
        "required": True,
        "content": {JSON: {"schema": _ref("Drafts")}},
    },
    headers={
        201: {"Location": _header("Of a single document.", _TEXT, required=False)},
        200: {"Idempotency-Replayed": _header("Always `true`.", {"const": "true"})},
    },
)  # fmt: skip
LIST_DOCUMENTS: Final = Said(
    "listDocuments", "Documents", "List documents, newest first", _json("DocumentPage", "One page."),
)  # fmt: skip
READ_DOCUMENT: Final = Said(
    "readDocument", "Documents", "Read a document and where it is",
    _json("Document", "The document and its delivery.") | _NOT_MODIFIED,
    problems=("not-found",), parameters=(_BY_ID, _IF_NONE_MATCH), headers=_ETAG,
)  # fmt: skip
READ_SIGNED: Final = Said(
    "readSignedDocument", "Documents", "Download the exact signed bytes",
    {200: ("The bytes that were signed, sent and stored. They never change.", JOSE, _JWS)} | _NOT_MODIFIED,
    problems=("not-found",), parameters=(_BY_ID, _IF_NONE_MATCH), headers=_ETAG,
)  # fmt: skip
READ_RECEIPT: Final = Said(
    "readReceipt", "Documents", "Download the signed receipt that covers a document",
    {200: ("The partner's receipt for our document, or ours for the partner's.", JOSE, _JWS)} | _NOT_MODIFIED,
    problems=("not-found",), parameters=(_BY_ID, _IF_NONE_MATCH), headers=_ETAG,
)  # fmt: skip
LIST_CERTIFICATES: Final = Said(
    "listCertificates", "Certificates", "List certificates, last changed first", _json("CertificatePage", "One page."),
)  # fmt: skip
READ_CERTIFICATE: Final = Said(
    "readCertificate", "Certificates", "Read where a certificate stands",
    _json("CertificateWithDocuments", "The case, and its documents with their delivery.") | _NOT_MODIFIED,
    text="The number may be written as on paper or without spaces, dots, hyphens and slashes, in any case.",
    problems=("not-found",),
    parameters=(
        _path("number", "Certificate number.", {"type": "string", "minLength": 1, "maxLength": 64}, "BW 000042"),
        _IF_NONE_MATCH,
    ),
    headers=_ETAG,
)  # fmt: skip
LIST_PARTNERS: Final = Said(
    "listPartners", "Partners", "List the partners", _json("PartnerList", "All of them.")
)
READ_PARTNER: Final = Said(
    "readPartner", "Partners", "Read a partner", _json("Partner", "What was decided about it.") | _NOT_MODIFIED,
    problems=("not-found",), parameters=(_BY_ADDRESS, _IF_NONE_MATCH), headers=_ETAG,
)  # fmt: skip
LIST_QUEUES: Final = Said(
    "listQueues", "Partners", "See what waits for every partner", _json("QueueList", "All queues.")
)
READ_QUEUE: Final = Said(
    "readQueue", "Partners", "See what waits for a partner, why, and who must act", _json("Queue", "The delivery queue."),
    problems=("not-found",), parameters=(_BY_ADDRESS,),
)  # fmt: skip
RETRY: Final = Said(
    "retryQueue", "Partners", "Try now", _json("Queue", "The queue afterwards."),
    text="Ends the back-off and asks the partner at once what it holds.",
    problems=("not-found",), parameters=(_BY_ADDRESS,),
)  # fmt: skip
PAUSE: Final = Said(
    "pauseQueue", "Partners", "Hold documents back", _json("Queue", "The queue afterwards."),
    text="Documents are still accepted and signed. Receipts and answers go on.",
    problems=("not-found", "precondition-failed"), parameters=(_BY_ADDRESS, _IF_MATCH), body=_REASON,
)  # fmt: skip
RESUME: Final = Said(
    "resumeQueue", "Partners", "Let documents go again", _json("Queue", "The queue afterwards."),
    problems=("not-found", "precondition-failed"), parameters=(_BY_ADDRESS, _IF_MATCH),
)  # fmt: skip
OVERRIDE: Final = Said(
    "overrideQueue", "Partners", "Send without waiting for the partner's first answer",
    _json("Queue", "The queue afterwards."),
    text="For a partner that cannot answer after our start. It is recorded as an incident, with the reason.",
    problems=("not-found", "precondition-failed"), parameters=(_BY_ADDRESS, _IF_MATCH), body=_REASON,
)  # fmt: skip
LIST_INCIDENTS: Final = Said(
    "listIncidents", "Incidents", "List incidents, newest first", _json("IncidentPage", "One page."),
)  # fmt: skip
READ_STATEMENT: Final = Said(
    "readStatement", "Incidents", "Download the signed statement that shows an incident",
    {200: ("The bytes as the partner signed them.", JOSE, _JWS)} | _NOT_MODIFIED,
    problems=("not-found",), parameters=(_BY_NUMBER, _IF_NONE_MATCH), headers=_ETAG,
)  # fmt: skip
CLOSE: Final = Said(
    "closeIncident", "Incidents", "Close an incident, with a reason", _json("Incident", "The incident, closed."),
    problems=("not-found", "incident-closed"), parameters=(_BY_NUMBER,), body=_REASON,
)  # fmt: skip
READ_EVENTS: Final = Said(
    "readEvents", "Events", "Read what happened, from a place on", _json("EventPage", "Events, oldest first."),
    text=(
        "Poll with `after` = the `next` of the answer before. With `Accept: text/event-stream` the same comes as a live "
        "stream (server-sent events): the id of each is its number here, `Last-Event-ID` resumes, an empty comment every 15 "
        "seconds shows that it is alive. Delivery of an event is a hint; fetch what it names. 409 `feed-shorter` after the "
        "node's database was restored: the member `last` says where the feed ends now."
    ),
    problems=("streams-exhausted", "feed-shorter"),
)  # fmt: skip
ROOT: Final = Said("root", "Operation", "What this is", {200: ("Where to go on.", JSON, {"type": "object"})})
HEALTH: Final = Said(
    "healthz", "Operation", "Is the process alive?", {200: ("Yes.", JSON, {"type": "object"})}
)
READY: Final = Said(
    "readyz", "Operation", "Can it do its work?",
    {200: ("Yes.", JSON, _ref("Readiness")), 503: ("No; which check fails is said.", JSON, _ref("Readiness"))},
)  # fmt: skip
METRICS: Final = Said(
    "metrics", "Operation", "Metrics for Prometheus",
    {200: ("Text format 0.0.4.", "text/plain", {"type": "string"})},
    text=f"Without an API key nothing names a partner; with the scope `{Scope.READ_METRICS}` the queues are told by partner.",
    problems=("key-unusable", "scope-missing", "store-unavailable"),
)  # fmt: skip
EXCHANGE: Final = Said(
    "exchangeFrames", "Exchange", "Frames from a partner's node",
    {200: ("Frames in answer, separated by an empty line.", "application/kp-frame", {"type": "string"})},
    text="Not for an authority's own programs. The sender proves itself in the header Kp-Request (protocol/transport.md).",
    problems=("sender-unproved", "not-found", "body-size", "body-slow", "content-type", "header-invalid", "store-unavailable"),
)  # fmt: skip
