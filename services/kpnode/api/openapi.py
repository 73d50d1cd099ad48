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

from kpnode.api import examples, schemas
from kpnode.api.answers import CODES, JOSE, JSON, PROBLEM
from kpnode.api.door import SCHEME
from kpnode.store.callers import Scope

_ALWAYS: Final = ("request-invalid",)
_GUARDED: Final = ("key-missing", "key-unusable", "scope-missing", "rate-limited", "store-unavailable")
_BODY: Final = ("header-invalid", "body-size", "body-slow", "content-type")


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
        *(("json-invalid",) if said.body is not None and set(said.body["content"]) == {JSON} else ()),
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
        "content": {PROBLEM: {"schema": ref("Problem")}},
    }
    status = CODES[codes[0]][0]
    if status in {429, 503}:
        described["headers"] = {
            "Retry-After": header("Seconds to wait.", {"type": "integer"}, required=False)
        }
    if "document-invalid" in codes:
        described["headers"] = {
            "Content-Language": header("Of the texts about broken rules.", {"type": "string"}, required=False)
        }
    if status == 401:
        described["headers"] = {"WWW-Authenticate": header("RFC 6750.", {"type": "string"}, required=False)}
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
    # The router wants longer paths first; people look for the shorter ones there. Each tag keeps its order otherwise.
    described["paths"] = dict(sorted(described["paths"].items(), key=lambda each: each[0].count("/")))
    for address, shown in (
        ("/v1/documents", examples.submissions()),
        ("/v1/drafts", examples.preparations()),
    ):
        described["paths"][address]["post"]["requestBody"]["content"][JSON]["examples"] = shown
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


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def header(text: str, schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"description": text, "required": required, "schema": schema}


def path(name: str, text: str, schema: dict[str, Any], example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": text,
        "schema": schema,
        "example": example,
    }


def asks(name: str, text: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": text, "schema": schema}


def _json(name: str, text: str, status: int = 200) -> dict[int, tuple[str, str | None, Any]]:
    return {status: (text, JSON, ref(name))}


_TEXT: Final = {"type": "string"}
ETAG: Final = {200: {"ETag": header("For If-None-Match.", _TEXT)}}
IF_NONE_MATCH: Final = asks("If-None-Match", "The ETag of what you have; 304 if it is still so.", _TEXT)
_IF_MATCH: Final = asks(
    "If-Match", "The partner's ETag on which the decision rests; 412 if it has changed since.", _TEXT
)
NOT_MODIFIED: Final[dict[int, tuple[str, str | None, Any]]] = {304: ("You have it already.", None, None)}
_JWS: Final = {
    "type": "object",
    "required": ["payload", "signatures"],
    "description": "JWS, general JSON serialization.",
}
BY_ID: Final = path(
    "id",
    "Document id: SHA-256 of what was signed.",
    {"type": "string", "pattern": schemas.ID},
    "0" * 63 + "1",
)
BY_ADDRESS: Final = path(
    "address",
    "Authority address. Its slash may be written as it is or as %2F.",
    {"type": "string", "pattern": schemas.ADDRESS},
    "AE",
)
BY_NUMBER: Final = path(
    "id", "Number of the incident.", {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}, "1"
)
REASON: Final = {
    "required": True,
    "content": {
        JSON: {"schema": ref("Reason"), "example": {"reason": "Agreed by telephone with the partner."}}
    },
}

ACCEPT_LANGUAGE: Final = asks(
    "Accept-Language",
    "In which language broken rules are told: en, fr, pt, es or ru (RFC 9110, 12.5.4); English if left out.",
    _TEXT,
)
IDEMPOTENCY_KEY: Final = asks(
    "Idempotency-Key",
    "Your own name for this submission; a new one for each.",
    {"type": "string", "pattern": r"^[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?$", "maxLength": 128},
    required=True,
)
PREFER: Final = asks(
    "Prefer",
    "`wait=N` (RFC 7240): answer when the partners' receipts cover all of it, or after N seconds (60 at most). "
    "`return=minimal`: leave the documents out of the answer.",
    _TEXT,
)

# --- the operations --------------------------------------------------------------------------------------------------

SUBMIT: Final = Said(
    "submitDocuments",
    "Documents",
    "Submit one document, or several together",
    {
        201: ("Signed and stored; they will be sent until received.", JSON, ref("Submission")),
        200: (
            "The same request came before: what it led to. Or what a dry run has found.",
            JSON,
            {"anyOf": [ref("Submission"), ref("DryRun")]},
        ),
    },
    text=(
        "The node writes the envelope, checks the rules, signs, stores and sends. An array is taken whole or not at all. "
        "If no answer arrives, send exactly the same request again, with the same Idempotency-Key: it is never done twice. "
        'What its type allows to go to everybody (`"recipient": "*"`) becomes one document for each partner. What needs two '
        "people is refused here (`release-needed`): prepare it at `/v1/drafts`."
    ),
    problems=(
        "document-invalid", "release-needed", "partner-unknown", "already-said", "idempotency-key-reused", "signing-unavailable", "store-full",
    ),
    parameters=(
        {
            "name": "dry_run",
            "in": "query",
            "description": "`true`, or the name alone: only say what would come of it. Nothing is signed or stored, no Idempotency-Key is needed.",
            "schema": {"type": "boolean"},
        },
        ACCEPT_LANGUAGE,
        IDEMPOTENCY_KEY | {"required": False},  # a dry run has none
        PREFER,
    ),
    body={
        "required": True,
        "content": {JSON: {"schema": ref("Drafts")}},
    },
    headers={
        201: {"Location": header("Of a single document.", _TEXT, required=False)},
        200: {
            "Idempotency-Replayed": header("`true`; not for a dry run.", {"const": "true"}, required=False),
            "Content-Language": header("Of the texts of a dry run.", _TEXT, required=False),
        },
    },
)  # fmt: skip
LIST_DOCUMENTS: Final = Said(
    "listDocuments", "Documents", "List documents, newest first", _json("DocumentPage", "One page."),
)  # fmt: skip
READ_DOCUMENT: Final = Said(
    "readDocument", "Documents", "Read a document, and how far its delivery is",
    _json("Document", "The document and its delivery.") | NOT_MODIFIED,
    problems=("not-found",), parameters=(BY_ID, IF_NONE_MATCH), headers=ETAG,
)  # fmt: skip
READ_SIGNED: Final = Said(
    "readSignedDocument", "Documents", "Download the exact signed bytes",
    {200: ("The bytes that were signed, sent and stored. They never change.", JOSE, _JWS)} | NOT_MODIFIED,
    problems=("not-found",), parameters=(BY_ID, IF_NONE_MATCH), headers=ETAG,
)  # fmt: skip
READ_RECEIPT: Final = Said(
    "readReceipt", "Documents", "Download the signed receipt that covers a document",
    {200: ("The partner's receipt for our document, or ours for the partner's.", JOSE, _JWS)} | NOT_MODIFIED,
    problems=("not-found",), parameters=(BY_ID, IF_NONE_MATCH), headers=ETAG,
)  # fmt: skip
LIST_CERTIFICATES: Final = Said(
    "listCertificates", "Certificates", "List certificates, last changed first", _json("CertificatePage", "One page."),
)  # fmt: skip
READ_CERTIFICATE: Final = Said(
    "readCertificate", "Certificates", "Read where a certificate stands",
    _json("CertificateWithDocuments", "The case, and its documents with their delivery.") | NOT_MODIFIED,
    text=(
        "The number may be written as on paper or without spaces, dots, hyphens and slashes, in any case. Of one that is not here, the "
        "problem says in `near` which others are and may have been meant; nothing is assumed."
    ),
    problems=("not-found",),
    parameters=(
        path("number", "Certificate number.", {"type": "string", "minLength": 1, "maxLength": 64}, "BW 000042"),
        IF_NONE_MATCH,
    ),
    headers=ETAG,
)  # fmt: skip
LIST_PARTNERS: Final = Said(
    "listPartners", "Partners", "List the partners", _json("PartnerList", "All of them.")
)
READ_PARTNER: Final = Said(
    "readPartner", "Partners", "Read a partner", _json("Partner", "What was decided about it.") | NOT_MODIFIED,
    problems=("not-found",), parameters=(BY_ADDRESS, IF_NONE_MATCH), headers=ETAG,
)  # fmt: skip
LIST_QUEUES: Final = Said(
    "listQueues", "Partners", "See what waits for each partner", _json("QueueList", "All queues.")
)
READ_QUEUE: Final = Said(
    "readQueue", "Partners", "See what waits for a partner, why, and who must act", _json("Queue", "The delivery queue."),
    problems=("not-found",), parameters=(BY_ADDRESS,),
)  # fmt: skip
RETRY: Final = Said(
    "retryQueue", "Partners", "Try to deliver to a partner now", _json("Queue", "The queue afterwards."),
    text="Ends the back-off and asks the partner at once what it holds.",
    problems=("not-found",), parameters=(BY_ADDRESS,),
)  # fmt: skip
PAUSE: Final = Said(
    "pauseQueue", "Partners", "Pause delivery to a partner", _json("Queue", "The queue afterwards."),
    text="Documents are still accepted and signed. Receipts and answers go on.",
    problems=("not-found", "precondition-failed"), parameters=(BY_ADDRESS, _IF_MATCH), body=REASON,
)  # fmt: skip
RESUME: Final = Said(
    "resumeQueue", "Partners", "Resume delivery to a partner", _json("Queue", "The queue afterwards."),
    problems=("not-found", "precondition-failed"), parameters=(BY_ADDRESS, _IF_MATCH),
)  # fmt: skip
OVERRIDE: Final = Said(
    "overrideQueue", "Partners", "Deliver to a partner without waiting for its first answer",
    _json("Queue", "The queue afterwards."),
    text="For a partner that cannot answer after our start. It is recorded as an incident, with the reason.",
    problems=("not-found", "precondition-failed"), parameters=(BY_ADDRESS, _IF_MATCH), body=REASON,
)  # fmt: skip
LIST_INCIDENTS: Final = Said(
    "listIncidents", "Incidents", "List incidents, newest first", _json("IncidentPage", "One page."),
)  # fmt: skip
READ_STATEMENT: Final = Said(
    "readStatement", "Incidents", "Download the signed statement that shows an incident",
    {200: ("The bytes as the partner signed them.", JOSE, _JWS)} | NOT_MODIFIED,
    problems=("not-found",), parameters=(BY_NUMBER, IF_NONE_MATCH), headers=ETAG,
)  # fmt: skip
CLOSE: Final = Said(
    "closeIncident", "Incidents", "Close an incident, with a reason", _json("Incident", "The incident, closed."),
    problems=("not-found", "incident-closed"), parameters=(BY_NUMBER,), body=REASON,
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
ROOT: Final = Said(
    "root",
    "Operation",
    "Read what this is",
    {200: ("Whose node it is, and where to go on.", JSON, {"type": "object"})},
)
HEALTH: Final = Said(
    "healthz", "Operation", "Ask whether the process is alive", {200: ("Yes.", JSON, {"type": "object"})}
)
READY: Final = Said(
    "readyz", "Operation", "Ask whether it can do its work",
    {200: ("Yes.", JSON, ref("Readiness")), 503: ("No; which check fails is said.", JSON, ref("Readiness"))},
)  # fmt: skip
METRICS: Final = Said(
    "metrics", "Operation", "Read metrics for Prometheus",
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
