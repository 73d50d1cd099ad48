"""JSON Schemas of what the API shows and takes.

Documents' own schemas come from the models that check them; resources are described here, beside each other, so that a reader
sees what belongs to the API and what to the protocol.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from kpmsg.case import State
from kpmsg.documents import TYPES, Content, form_of

ID: Final = r"^[0-9a-f]{64}$"
ADDRESS: Final = r"^[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?$"

TAGS: Final = {
    "Documents": "Signed documents: submit them, see how far they have come, fetch them as they were signed.",
    "Drafts": "Documents in preparation: filled in, kept, and released by a second person.",
    "Files": "Scans, photographs and lists that documents name by digest.",
    "Certificates": "Where each certificate stands between the two authorities.",
    "Work": "Certificates that wait for us or for a partner, and until when.",
    "Numbers": "This authority's own certificate numbers, and what became of each.",
    "Alerts": "Certificate numbers that their issuers warn of.",
    "Partners": "Partner authorities, and what waits for delivery to each.",
    "Incidents": "What people have to look at, and how it was settled.",
    "Events": "What has happened, in order, for programs that follow it.",
    "Operation": "Whether the node is well, for monitoring.",
}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(of: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"type": "array", "items": of} | ({"description": text} if text else {})


def _object(
    required: dict[str, Any], optional: dict[str, Any] | None = None, text: str = ""
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
    }
    return described | ({"description": text} if text else {})


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _text(text: str = "") -> dict[str, Any]:
    return {"type": "string"} | ({"description": text} if text else {})


def _one_of(*values: str, text: str = "") -> dict[str, Any]:
    return {"type": "string", "enum": list(values)} | ({"description": text} if text else {})


_COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}
_DAY: Final[dict[str, Any]] = {"type": "string", "format": "date"}
_ADDRESS: Final[dict[str, Any]] = {"type": "string", "pattern": ADDRESS}
_ID: Final[dict[str, Any]] = {"type": "string", "pattern": ID}
_WHO: Final = _one_of("nobody", "us", "partner", text="Who must act.")
_NEXT: Final = _maybe(_text("Cursor of the next page; null at the end."))

BROKEN: Final = _object(
    {
        "code": _text("Of the rule, in rules.yaml; or a matter of form (document-*)."),
        "pointer": _text("RFC 6901, into the document."),
        "detail": _text("For people, in the language of Accept-Language."),
        "severity": _one_of("reject", "hold", "warn"),
    },
    {"rule_version": {"type": "integer"}},
)

TRIED: Final = _object(
    {
        "type": _maybe(_text()),
        "recipient": _maybe(_text()),
        "certificate": _maybe(_text("Canonical certificate number.")),
        "verdict": _one_of("accepted", "held", "refused", text="What its recipient would make of it."),
        "release_needed": {"type": "boolean", "description": "A second person must release it."},
        "problems": _array(BROKEN),
    }
)
"""What would come of a draft that was submitted as it stands."""

_DELIVERY: Final = _object(
    {
        "state": _one_of("queued", "handed-over", "received", "withheld", "refused"),
        "who_must_act": _WHO,
        "sentence": _text("The same for the person on duty."),
    },
    {
        "attempts": _COUNT,
        "problem": _text("Why the last attempt failed."),
        "next_attempt": _maybe(_TIME),
        "received_at": _TIME,
    },
    "Where a document is on its way. `handed-over` is what a broker said; only `received` rests on the partner's signature.",
)
_DOCUMENT: Final = _object(
    {
        "id": _ID,
        "type": _text(),
        "direction": _one_of("in", "out"),
        "partner": _ADDRESS,
        "certificate": _maybe(_text("Canonical certificate number.")),
        "created_at": _TIME,
        "author": _maybe(_text("Name of the API key that submitted it, or that prepared the draft.")),
        "released_by": _maybe(_text("The person who released the draft that it was.")),
        "delivery": _ref("Delivery"),
        "links": _object({"self": _text(), "signed": _text(), "receipt": _text()}),
    },
    {
        "warnings": _array(BROKEN, "Rules that it breaks and that did not keep it from being signed."),
        "document": {
            "type": "object",
            "description": "What was signed; left out with `Prefer: return=minimal`.",
        },
    },
)
_CERTIFICATE: Final[dict[str, Any]] = {
    "key": _text("The number without separators, in capitals."),
    "number": _text("The number as printed."),
    "issuer": _text(),
    "partner": _ADDRESS,
    "exporter": _maybe(_ADDRESS),
    "importer": _maybe(_ADDRESS),
    "state": _one_of(*State),
    "turn": _one_of("exporter", "importer", "both", "nobody"),
    "meaning": _text("The state in a sentence."),
    "revision": _COUNT | {"description": "How often the notification has been amended."},
    "current": _maybe(_ID | {"description": "The version of the notification that holds."}),
    "cancellation": _maybe(_ID),
    "expires": _maybe(_DAY | {"description": "The last day on which the certificate is valid."}),
    "flags": _array(_text(), "What else is so: amended, corrected, late, technical, unannounced, diverted."),
    "due": _maybe(_DAY | {"description": "The first day by which somebody has to move."}),
    "notifications": _array(_ID),
    "confirmations": _array(_ID),
    "rejected": _array(_ID),
    "differences": _array(_ref("Difference"), "What was found other than notified."),
    "waiting_for": _one_of("us", "them", "both", "nobody"),
    "matters": _array(_ref("Matter"), "What is open, the most urgent first."),
    "locked": _maybe(
        _text(
            "Why software no longer touches it, until an upgrade can compute it or an officer closes the incident about it."
        )
    ),
    "first_at": _TIME,
    "changed_at": _TIME,
}
_PAUSED: Final = _maybe(_object({"at": _TIME, "reason": _text()}))
_PARTNER: Final = _object(
    {
        "address": _ADDRESS,
        "name": _text(),
        "transport": _text(),
        "added_at": _TIME,
        "paused": _PAUSED,
        "key_record": _maybe(
            _object(
                {
                    "version": {"type": "integer", "minimum": 1},
                    "fingerprint": _text("Compare it by another way."),
                    "authority": _text(),
                    "roles": _array(_text()),
                }
            )
        ),
    }
)
_QUEUE: Final = _object(
    {
        "partner": _ADDRESS,
        "state": _one_of("sending", "troubled", "asking", "paused", "detached"),
        "waiting": _COUNT
        | {"description": "Documents of ours that no receipt covers, those handed over included."},
        "handed_over": _COUNT | {"description": "Of these, how many have left us."},
        "received": _COUNT | {"description": "Documents of ours in the partner's register, as signed."},
        "oldest": _maybe(_object({"id": _ID, "created_at": _TIME, "age_seconds": _COUNT})),
        "problem": _maybe(
            _object(
                {
                    "class": _text(),
                    "fault": _one_of("none", "ours", "partner", "network"),
                    "at": _TIME,
                    "sentence": _text(),
                    "detail": _text(),
                }
            )
        ),
        "who_must_act": _WHO,
        "sentence": _text("Why something waits, for the person on duty."),
        "paused": _PAUSED,
        "overridden": _maybe(_text("The reason for sending without the partner's first answer.")),
        "heard_at": _maybe(_TIME),
        "registers": _object({"held": _COUNT, "known": _COUNT}),
        "answers_held": _COUNT
        | {
            "description": (
                "Answers that a number of ours is unknown, which wait until this partner has answered: it may hold what this node "
                "has forgotten. Answers to others wait no longer when it is paused."
            )
        },
    },
    {"next_attempt": _maybe(_TIME)},
)
_INCIDENT: Final = _object(
    {
        "id": {"type": "integer"},
        "at": _TIME,
        "kind": _text(),
        "partner": _maybe(_ADDRESS),
        "document": _maybe(_ID),
        "certificate": _maybe(_text()),
        "text": _text(),
        "statement": _maybe(_text("Where to download the signed statement that shows it.")),
        "closed": _maybe(_object({"at": _TIME, "by": _text(), "because": _text()})),
    }
)
_EVENT: Final = _object(
    {
        "id": {"type": "integer"},
        "at": _TIME,
        "kind": _text("E.g. submitted, received, admitted, taken-back, withheld, refused, incident."),
        "partner": _maybe(_ADDRESS),
        "document": _maybe(_ID),
        "certificate": _maybe(_text()),
    }
)
_PROBLEM: Final = _object(
    {
        "type": {"type": "string", "pattern": r"^urn:kp:problem:[a-z-]+$"},
        "title": _text(),
        "status": {"type": "integer"},
        "code": _text("For programs; never renamed."),
        "detail": _text("For people."),
    },
    {
        "errors": _array(
            _object(
                {"code": _text(), "detail": _text()},
                {
                    "pointer": _text("RFC 6901, into the body."),
                    "parameter": _text(),
                    "header": _text(),
                    "severity": _text(),
                    "rule_version": {
                        "type": "integer",
                        "description": "Of the rule that `code` names, in rules.yaml.",
                    },
                },
            )
        ),
        "document": _ID | {"description": "With `already-said`: the document that says it."},
        "location": _text(),
        "near": _array(
            _object({"key": _text(), "number": _text(), "state": _one_of(*State), "partner": _ADDRESS}),
            "With `not-found` for a certificate: numbers that are here and may have been meant. Compare with the paper.",
        ),
        "problem": _text("With `file-unavailable`: why."),
    },
    "RFC 9457.",
)


FURTHER: Final[dict[str, Any]] = {}
"""Schemas, by name, that modules with routes bring along themselves; entered when those are imported."""


@cache
def all_of_them() -> dict[str, Any]:
    """Every schema under `components`, by name."""
    found: dict[str, Any] = {
        "Delivery": _DELIVERY,
        "Document": _DOCUMENT,
        "DocumentPage": _object({"documents": _array(_ref("Document")), "next": _NEXT}),
        "DryRun": _object(
            {
                "documents": _array(TRIED, "In the order of the request."),
            }
        ),
        "Submission": {"anyOf": [_ref("Document"), _object({"documents": _array(_ref("Document"))})]},
        "Difference": _object(
            {"field": _text(), "notified": _text(), "found": _text(), "beyond_tolerance": {"type": "boolean"}}
        ),
        "Certificate": _object(_CERTIFICATE),
        "CertificatePage": _object({"certificates": _array(_ref("Certificate")), "next": _NEXT}),
        "CertificateWithDocuments": _object(
            _CERTIFICATE
            | {
                "alerts": _array(_ref("Alerted"), "What its issuer warns of."),
                "documents": _array(_ref("Document")),
            }
        ),
        "Partner": _PARTNER,
        "PartnerList": _object({"partners": _array(_ref("Partner"))}),
        "Queue": _QUEUE,
        "QueueList": _object({"queues": _array(_ref("Queue"))}),
        "Incident": _INCIDENT,
        "IncidentPage": _object({"incidents": _array(_ref("Incident")), "next": _NEXT}),
        "Event": _EVENT,
        "EventPage": _object({"events": _array(_ref("Event")), "next": {"type": "integer"}}),
        "Readiness": _object(
            {
                "status": _one_of("ready", "not-ready"),
                "checks": {"type": "object", "additionalProperties": {"type": "boolean"}},
            }
        ),
        "Reason": _object({"reason": {"type": "string", "minLength": 1, "maxLength": 500, "pattern": r"\S"}})
        | {"additionalProperties": False},
        "Problem": _PROBLEM,
    } | FURTHER
    drafts = []
    for kind, content in TYPES.items():
        described = form_of(kind).model_json_schema(ref_template="#/components/schemas/Document{model}")
        found |= {f"Document{model}": _tidy(schema) for model, schema in described.pop("$defs").items()}
        name = f"{content.__name__}Draft"
        found[name] = _object(
            {
                "type": _one_of(content.name, kind),
                "recipient": _ADDRESS,
                "data": _tidy(described["properties"]["data"]),
            },
            {"subject": _text("The certificate's canonical number; may be left out where the data has it.")},
        ) | {
            "additionalProperties": False,
            "description": f"{(content.__doc__ or '').strip()} Written by {written_by(content)}.",
        }
        drafts.append(_ref(name))
    found["Draft"] = {"anyOf": drafts}
    found["Drafts"] = {
        "anyOf": [
            _ref("Draft"),
            _array(_ref("Draft"), "All of them or none.") | {"minItems": 1, "maxItems": 500},
        ]
    }
    return found


def written_by(content: type[Content]) -> str:
    """Who writes documents of a type, in words."""
    return (
        "an authority in either role" if len(content.roles) > 1 else f"an {min(content.roles)}ing authority"
    )


def _tidy(node: Any) -> Any:
    """Without the titles that pydantic makes from field names, and without `null` as a default."""
    if isinstance(node, dict):
        return {
            name: _tidy(value)
            for name, value in node.items()
            if not (name == "title" and isinstance(value, str))
            and not (name == "default" and value in (None, []))
        }
    return [_tidy(value) for value in node] if isinstance(node, list) else node
