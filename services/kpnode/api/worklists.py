"""Work lists: what waits for us, what waits for a partner, how long it has been due; and how much of it there is.

Everything shown rests on the documents exchanged and on the rules that the authorities have published; nobody ticks anything off here.
Today is the day of the node's clock, in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.case import State
from kpmsg.case.matters import Kind
from kpnode.api import schemas
from kpnode.api.answers import JSON, Answer
from kpnode.api.door import needs
from kpnode.api.openapi import Said, operation, ref
from kpnode.api.requests import Page, cursor_for, cursor_of
from kpnode.node import Node
from kpnode.store import worklists
from kpnode.store.callers import Scope
from kpnode.store.worklists import MOST_COUNTED, Counted, Place, WaitingRow, Who, awake


class Filter(Page):
    """Which of the certificates that wait to list."""

    waiting_for: Annotated[
        Literal["us", "them"],
        Field(description="Whose move it is. What both have to settle is in both lists."),
    ] = "us"
    overdue: Annotated[bool, Field(description="Only those that were due before today.")] = False
    kind: Annotated[Kind | None, Field(description="The most urgent matter that is open.")] = None
    partner: Annotated[
        str | None, Field(max_length=40, description="Authority address, e.g. EU/antwerp.")
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about work lists."""

    @app.get("/v1/worklist", **operation(LIST, needs(Scope.READ_DOCUMENTS)))
    async def list_work(query: Annotated[Filter, Query()]) -> Response:
        today, place = node.clock().date(), cursor_of(query.cursor, str, str)
        after: Place | None = None if place is None else (place[0] or None, place[1])
        rows = await node.database.read(
            lambda c: worklists.waiting(
                c,
                query.waiting_for,
                overdue_on=today if query.overdue else None,
                kind=query.kind,
                partner=query.partner,
                after=after,
                limit=query.limit + 1,
            )
        )
        last = rows[query.limit - 1] if len(rows) > query.limit else None
        body = {
            "waiting_for": query.waiting_for,
            "day": today.isoformat(),
            "certificates": [waiting(row, node.address, today) for row in rows[: query.limit]],
            "next": None if last is None else cursor_for(last.due or "", last.key),
        }
        return Answer(strictjson.dumps(body))

    @app.get("/v1/worklist/summary", **operation(SUMMARY, needs(Scope.READ_DOCUMENTS)))
    async def summarise(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over
        today = node.clock().date()
        counted = await node.database.read(lambda c: worklists.summary(c, today))
        body = {"day": today.isoformat()} | {who: _summary(found) for who, found in counted.items()}
        return Answer(strictjson.dumps(body))


def matters(case: Mapping[str, Any], me: str, today: date) -> list[dict[str, Any]]:
    """The open matters of a case, the most urgent first; those that still sleep are left out."""
    found = [
        {
            "kind": matter["kind"],
            "waiting_for": _side(matter["whose"], me),
            "authorities": list(matter["whose"]),
            "document": matter["document"],
            "since": matter["since"],
            "due": matter["due"],
            "days_overdue": days_overdue(matter["due"], today),
            "sentence": matter["text"],
        }
        for matter in case.get("matters", ())
        if awake(matter, today)
    ]
    return sorted(
        found, key=lambda matter: matter["due"] or "9999"
    )  # stable: the case has an order of its own


def days_overdue(due: str | None, today: date) -> int:
    """Days of the calendar since the day on which it was due; 0 until then."""
    return 0 if due is None else max(0, (today - date.fromisoformat(due)).days)


def waiting(row: WaitingRow, me: str, today: date) -> dict[str, Any]:
    """One line of a work list."""
    shown = matters(row.case, me, today)
    due = next((matter["due"] for matter in shown if matter["due"] is not None), None)
    return {
        "key": row.key,
        "number": row.number,
        "issuer": row.issuer,
        "partner": row.partner,
        "state": row.state,
        "waiting_for": row.waits,
        "kind": row.matter,
        "due": due,
        "days_overdue": days_overdue(due, today),
        "matters": shown,
        "locked": row.locked,
        "links": {"self": f"/v1/certificates/{row.key}"},
    }


def _side(whose: Sequence[str], me: str) -> str:
    sides = {"us" if address == me else "them" for address in whose}
    return "both" if len(sides) == 2 else next(iter(sides), "nobody")


def _summary(found: Sequence[Counted]) -> dict[str, Any]:
    return {
        "waiting": _number([each.waiting for each in found]),
        "overdue": _number([each.overdue for each in found]),
        "kinds": [
            {
                "kind": each.kind,
                "waiting": _number([each.waiting]),
                "overdue": _number([each.overdue]),
            }
            for each in found
            if each.kind
        ],
    }


def _number(parts: Sequence[int]) -> dict[str, Any]:
    more = sum(parts) >= MOST_COUNTED
    count = min(sum(parts), MOST_COUNTED)
    return {"count": count, "more": more, "text": f"{count}+" if more else str(count)}


# --- what is said about it ----------------------------------------------------------------------------------------------

_TEXT: Final = {"type": "string"}
_DAY: Final = {"type": "string", "format": "date"}
_NULL: Final = {"type": "null"}
_SIDES: Final = {"type": "string", "enum": ["us", "them", "both", "nobody"]}
_OVERDUE: Final = {
    "type": "integer",
    "minimum": 0,
    "description": "Days of the calendar since it was due; 0 until then.",
}
_MATTER: Final[dict[str, Any]] = {
    "kind": {"type": "string", "enum": list(get_args(Kind))},
    "waiting_for": _SIDES,
    "authorities": {"type": "array", "items": _TEXT, "description": "Whose move it is."},
    "document": {
        "anyOf": [{"type": "string", "pattern": schemas.ID}, _NULL],
        "description": "What has opened it.",
    },
    "since": _DAY,
    "due": {"anyOf": [_DAY, _NULL]},
    "days_overdue": _OVERDUE,
    "sentence": _TEXT | {"description": "For the person on duty."},
}
_WAITING: Final[dict[str, Any]] = {
    "key": _TEXT,
    "number": _TEXT,
    "issuer": _TEXT,
    "partner": {"type": "string", "pattern": schemas.ADDRESS},
    "state": {"type": "string", "enum": list(State)},
    "waiting_for": _SIDES,
    "kind": {"anyOf": [_MATTER["kind"], _NULL], "description": "Of the most urgent matter."},
    "due": {"anyOf": [_DAY, _NULL]},
    "days_overdue": _OVERDUE,
    "matters": {"type": "array", "items": ref("Matter")},
    "locked": {"anyOf": [_TEXT, _NULL], "description": "Why software no longer touches it."},
    "links": {"type": "object", "properties": {"self": _TEXT}, "required": ["self"]},
}
_COUNTED: Final[dict[str, Any]] = {
    "count": {"type": "integer", "minimum": 0, "maximum": MOST_COUNTED},
    "more": {"type": "boolean", "description": "Counting ended there; there may be more."},
    "text": _TEXT | {"description": f'"12", or "{MOST_COUNTED}+".'},
}
_SUMMARY: Final[dict[str, Any]] = {"waiting": ref("Count"), "overdue": ref("Count")}
_KINDS: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"kind": _MATTER["kind"], **_SUMMARY},
        "required": ["kind", *_SUMMARY],
    },
}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


schemas.FURTHER.update(
    {
        "Matter": _object(_MATTER),
        "Waiting": _object(_WAITING),
        "WorkList": _object(
            {
                "waiting_for": {"type": "string", "enum": ["us", "them"]},
                "day": _DAY | {"description": "Today, by the node's clock."},
                "certificates": {"type": "array", "items": ref("Waiting")},
                "next": {"anyOf": [_TEXT, _NULL], "description": "Cursor of the next page; null at the end."},
            }
        ),
        "Count": _object(_COUNTED),
        "WorkSummary": _object(
            {"day": _DAY, **{who: _object(_SUMMARY | {"kinds": _KINDS}) for who in get_args(Who)}}
        ),
    }
)

LIST: Final = Said(
    "listWork", "Work", "List certificates that wait for us, or for partners, the most urgent first",
    {200: ("One page.", JSON, ref("WorkList"))},
    text=(
        "Whose move it is, and by when, follows from the documents and from the deadlines and calendars that the authorities have "
        "published. What has no day comes last."
    ),
)  # fmt: skip
SUMMARY: Final = Said(
    "summariseWork", "Work", "Count what waits, by kind",
    {200: ("For us, and for partners.", JSON, ref("WorkSummary"))},
    text=f"A certificate is counted by its most urgent matter; counting ends at {MOST_COUNTED} of each kind.",
)  # fmt: skip
