"""Alerts: which certificate numbers their issuers warn of. They are made by documents, and ended by documents."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.documents.alert import AlertKind
from kpnode.api import schemas
from kpnode.api.answers import JSON, Answer
from kpnode.api.door import needs
from kpnode.api.openapi import Said, operation, ref
from kpnode.api.requests import Page, cursor_for, cursor_of
from kpnode.node import Node
from kpnode.store import alerts
from kpnode.store.alerts import Alerted
from kpnode.store.callers import Scope


class Filter(Page):
    """Which alerts to list."""

    active: Annotated[
        bool | None, Field(description="`true`: those that are in force, `false`: those that have ended.")
    ] = None
    issuer: Annotated[
        str | None, Field(max_length=40, description="Authority address of whoever warns, e.g. BW.")
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the route about alerts."""

    @app.get("/v1/alerts", **operation(LIST, needs(Scope.READ_DOCUMENTS)))
    async def list_alerts(query: Annotated[Filter, Query()]) -> Response:
        place = cursor_of(query.cursor, int)
        rows = await node.database.read(
            lambda c: alerts.alerts(
                c,
                active=query.active,
                issuer=query.issuer,
                before=place[0] if place else None,
                limit=query.limit + 1,
            )
        )
        following = cursor_for(rows[query.limit - 1].seq) if len(rows) > query.limit else None
        body = {"alerts": [alerted(row) for row in rows[: query.limit]], "next": following}
        return Answer(strictjson.dumps(body))


def alerted(row: Alerted) -> dict[str, Any]:
    """One range of numbers under an alert."""
    first, last = row.keys
    return {
        "issuer": row.issuer,
        "kind": row.kind,
        "series": row.series,
        "first": first,
        "last": last,
        "count": row.last - row.first + 1,
        "valid_from": row.valid_from,
        "withdrawn_at": row.withdrawn_at,
        "document": row.document_id,
        "links": {"document": f"/v1/documents/{row.document_id}"},
    }


# --- what is said about it ----------------------------------------------------------------------------------------------

_TEXT: Final = {"type": "string"}
_ALERTED: Final[dict[str, Any]] = {
    "issuer": {"type": "string", "pattern": schemas.ADDRESS},
    "kind": {"type": "string", "enum": list(get_args(AlertKind))},
    "series": _TEXT | {"description": 'Letters, and how many digits follow: "BW/6".'},
    "first": _TEXT | {"description": "The first of the numbers, in capitals and without separators."},
    "last": _TEXT,
    "count": {"type": "integer", "minimum": 1},
    "valid_from": {"type": "string", "format": "date"},
    "withdrawn_at": {
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
        "description": "When its issuer took it back, as it became known here.",
    },
    "document": {"type": "string", "pattern": schemas.ID, "description": "The alert as it was signed."},
    "links": {"type": "object", "properties": {"document": _TEXT}, "required": ["document"]},
}
schemas.FURTHER.update(
    {
        "Alerted": {"type": "object", "properties": _ALERTED, "required": list(_ALERTED)},
        "AlertedPage": {
            "type": "object",
            "properties": {
                "alerts": {"type": "array", "items": ref("Alerted")},
                "next": {
                    "anyOf": [_TEXT, {"type": "null"}],
                    "description": "Cursor of the next page; null at the end.",
                },
            },
            "required": ["alerts", "next"],
        },
    }
)

LIST: Final = Said(
    "listAlerts", "Alerts", "List numbers that are, or were, under an alert, newest first",
    {200: ("One page.", JSON, ref("AlertedPage"))},
    text=(
        "Ours and partners'. Only an issuer's word about its own numbers is kept. What was said to several partners is shown once. "
        "To warn of numbers, prepare a document `alert` at `/v1/drafts`: a second person always releases it. A `withdrawal` ends it, "
        "released by a second person too; one to `*` that names any of its documents ends it at everybody who has been told."
    ),
)  # fmt: skip
