"""What the OpenAPI document says about drafts: their form and the operations of `kpnode.api.drafts`."""

from __future__ import annotations

from typing import Any, Final

from kpnode.api import schemas
from kpnode.api.answers import JSON
from kpnode.api.openapi import ACCEPT_LANGUAGE, IDEMPOTENCY_KEY, PREFER, REASON, Said, asks, header, path, ref

MOST: Final = 500
"""So many drafts are prepared or released at once."""

_TEXT: Final = {"type": "string"}
_ETAG: Final = header("For If-Match, until somebody changes it.", _TEXT, required=False)
_BY_NUMBER: Final = path(
    "id", "Number of the draft.", {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}, "1"
)
_NUMBER: Final = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
_DIGEST: Final = {"type": "string", "pattern": schemas.ID}
_NULL: Final = {"type": "null"}

_MEMBERS: Final[dict[str, Any]] = {
    "id": _NUMBER,
    "state": {"type": "string", "enum": ["open", "released", "discarded"]},
    "type": {"anyOf": [_TEXT, _NULL]},
    "recipient": {
        "anyOf": [_TEXT, _NULL],
        "description": "An authority's address, or `*` for every partner.",
    },
    "certificate": {"anyOf": [_TEXT, _NULL]},
    "created_at": {"type": "string", "format": "date-time"},
    "changed_at": {"type": "string", "format": "date-time"},
    "author": _TEXT | {"description": "Name of the API key that prepared it; `node` for the node itself."},
    "persons": {
        "type": "array",
        "items": _TEXT,
        "description": "All who have written in it. None of them releases it where two people are asked for.",
    },
    "because": {"anyOf": [_TEXT, _NULL], "description": "Why the node has prepared it."},
    "release_needed": {"type": "boolean", "description": "A second person must release it."},
    "digest": _DIGEST
    | {"description": "Names what it says now; give it back when you release what you have read."},
    "draft": {"type": "object", "description": "What was written, complete or not."},
    "documents": {"type": "array", "items": _DIGEST, "description": "What it has become."},
    "closed": {
        "anyOf": [
            {
                "type": "object",
                "required": ["at", "by", "because"],
                "properties": {
                    "at": {"type": "string", "format": "date-time"},
                    "by": _TEXT | {"description": "The person."},
                    "because": {"anyOf": [_TEXT, _NULL]},
                },
            },
            _NULL,
        ]
    },
    "links": {"type": "object", "required": ["self"], "properties": {"self": _TEXT}},
}
schemas.FURTHER["PreparedDraft"] = {
    "type": "object",
    "properties": _MEMBERS
    | {
        "verdict": {"type": "string", "enum": ["accepted", "held", "refused"]},
        "problems": {"type": "array", "items": schemas.BROKEN},
    },
    "required": list(_MEMBERS),
    "description": "`verdict` and `problems` are what would come of it now; they are left out in lists.",
}
schemas.FURTHER["PreparedDraftPage"] = {
    "type": "object",
    "required": ["drafts", "next"],
    "properties": {
        "drafts": {"type": "array", "items": ref("PreparedDraft")},
        "next": {"anyOf": [_TEXT, _NULL]},
    },
}
schemas.FURTHER["PreparedDrafts"] = {
    "anyOf": [
        ref("PreparedDraft"),
        {
            "type": "object",
            "required": ["drafts"],
            "properties": {"drafts": {"type": "array", "items": ref("PreparedDraft")}},
        },
    ]
}
schemas.FURTHER["Unfinished"] = {
    "type": "object",
    "description": "A document as it would be submitted, as far as it is known: `type`, `recipient`, `data`.",
}
schemas.FURTHER["Release"] = {
    "type": "object",
    "required": ["drafts"],
    "additionalProperties": False,
    "properties": {
        "drafts": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST,
            "uniqueItems": True,
            "items": {
                "anyOf": [
                    _NUMBER,
                    {
                        "type": "object",
                        "required": ["id", "digest"],
                        "additionalProperties": False,
                        "properties": {"id": _NUMBER, "digest": _DIGEST},
                    },
                ]
            },
        }
    },
}
schemas.FURTHER["Released"] = {
    "type": "object",
    "required": ["documents", "drafts"],
    "properties": {
        "documents": {"type": "array", "items": ref("Document")},
        "drafts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "documents"],
                "properties": {"id": _NUMBER, "documents": {"type": "array", "items": _DIGEST}},
            },
        },
    },
}
_ONE: Final[dict[int, tuple[str, str | None, Any]]] = {
    200: ("The draft as it is now.", JSON, ref("PreparedDraft"))
}
_REPLAYED: Final = {"Idempotency-Replayed": header("Always `true`.", {"const": "true"})}

PREPARE: Final = Said(
    "prepareDrafts", "Drafts", "Prepare a draft, or several together",
    {
        201: ("Kept, with what would come of it now.", JSON, ref("PreparedDrafts")),
        200: ("The same request came before: what it led to.", JSON, ref("PreparedDrafts")),
    },
    text=(
        "A draft need not be complete. Nothing is signed before it is released; where two people are asked for, by somebody who "
        "has not written in it."
    ),
    problems=("document-invalid", "idempotency-key-reused", "store-full"),
    parameters=(ACCEPT_LANGUAGE, IDEMPOTENCY_KEY),
    body={
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "anyOf": [
                        ref("Unfinished"),
                        {"type": "array", "items": ref("Unfinished"), "minItems": 1, "maxItems": MOST},
                    ]
                }
            }
        },
    },
    headers={201: {"Location": header("Of a single draft.", _TEXT, required=False), "ETag": _ETAG}, 200: _REPLAYED},
)  # fmt: skip
LIST: Final = Said(
    "listDrafts", "Drafts", "List drafts, newest first",
    {200: ("One page.", JSON, ref("PreparedDraftPage"))},
)  # fmt: skip
READ: Final = Said(
    "readDraft", "Drafts", "Read a draft, and what would come of it now", _ONE,
    problems=("not-found",), parameters=(_BY_NUMBER, ACCEPT_LANGUAGE), headers={200: {"ETag": _ETAG}},
)  # fmt: skip
REVISE: Final = Said(
    "reviseDraft", "Drafts", "Replace what a draft says", _ONE,
    text="Whoever does so has written in it, and cannot release it where two people are asked for. "
    "What the node has prepared takes a key with `documents:release` too.",
    problems=("not-found", "document-invalid", "draft-closed", "precondition-failed"),
    parameters=(
        _BY_NUMBER, ACCEPT_LANGUAGE,
        asks("If-Match", "The draft's ETag on which the change rests; 412 if it has changed since.", _TEXT),
    ),
    body={"required": True, "content": {JSON: {"schema": ref("Unfinished")}}},
    headers={200: {"ETag": _ETAG}},
)  # fmt: skip
DISCARD: Final = Said(
    "discardDraft", "Drafts", "Discard a draft, with a reason", _ONE,
    problems=("not-found", "draft-closed"), parameters=(_BY_NUMBER, ACCEPT_LANGUAGE), body=REASON,
    headers={200: {"ETag": _ETAG}}, text="What the node has prepared takes a key with `documents:release` too.",
)  # fmt: skip
RELEASE: Final = Said(
    "releaseDrafts", "Drafts", "Release drafts: sign and send them, all or none",
    {
        201: ("Signed and stored; they will be sent until received.", JSON, ref("Released")),
        200: ("The same request came before: what it led to.", JSON, ref("Released")),
    },
    text=(
        "Give each draft by its number, or by number and `digest`: then it is released only if it still says what you have read. "
        "Where two people are asked for, nobody releases what they have written in, whichever key they use (`same-person`). "
        "A draft for everybody becomes one document for each partner."
    ),
    problems=(
        "document-invalid", "partner-unknown", "already-said", "same-person", "draft-unfit", "idempotency-key-reused",
        "signing-unavailable", "store-full",
    ),
    parameters=(ACCEPT_LANGUAGE, IDEMPOTENCY_KEY, PREFER),
    body={"required": True, "content": {JSON: {"schema": ref("Release"), "example": {"drafts": [1, 2]}}}},
    headers={200: _REPLAYED},
)  # fmt: skip
