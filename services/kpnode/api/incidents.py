"""Incidents, which wait for people, and the feed of events, which programs follow: as pages, or live (SSE)."""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kpmsg import strictjson
from kpnode.api import openapi, resources
from kpnode.api.answers import JOSE, JSON, Answer, Refused, protection, tagged
from kpnode.api.door import caller_of, needs
from kpnode.api.openapi import operation
from kpnode.api.requests import Page, cursor_for, cursor_of, reason_of
from kpnode.node import Node
from kpnode.store import incidents, views
from kpnode.store.callers import Scope
from kpnode.store.database import StoreError
from kpnode.store.mark import last_event

STREAM: Final = "text/event-stream"
KEEP_ALIVE: Final = 15.0
BETWEEN_READS: Final = 0.2  # at most five reads a second for a stream, however fast events come
MOST_STREAMS: Final = 64
_MOST: Final = 2**53 - 1


class Filter(Page):
    """Which incidents to list."""

    state: Annotated[
        Literal["open", "closed", "all"], Field(description="Open ones if nothing else is said.")
    ] = "open"
    partner: Annotated[
        str | None, Field(max_length=40, description="Authority address, e.g. EU/antwerp.")
    ] = None


class After(BaseModel):
    """Where to begin to read the feed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: Annotated[int, Field(ge=0, le=_MOST, description="The id of the last event that you have.")] = 0
    limit: Annotated[int, Field(ge=1, le=1000, description="How many events at most.")] = 200


@dataclass
class Streams:
    """The event streams that are open. `end` closes them all, so that a server that stops need not wait for them."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0

    def end(self) -> None:
        """For whoever stops the server: every stream ends now, and no other begins."""
        self.ended.set()


def mount(app: FastAPI, node: Node, streams: Streams) -> None:
    """Add the routes about incidents and events."""

    @app.get("/v1/incidents", **operation(openapi.LIST_INCIDENTS, needs(Scope.READ_DOCUMENTS)))
    async def list_incidents(query: Annotated[Filter, Query()]) -> Response:
        place = cursor_of(query.cursor, int)
        rows = await node.database.read(
            lambda c: incidents.incidents(
                c,
                closed=None if query.state == "all" else query.state == "closed",
                partner=query.partner,
                before=place[0] if place else None,
                limit=query.limit + 1,
            )
        )
        following = cursor_for(rows[query.limit - 1].seq) if len(rows) > query.limit else None
        shown = [resources.incident(row) for row in rows[: query.limit]]
        return Answer(strictjson.dumps({"incidents": shown, "next": following}))

    @app.get("/v1/incidents/{id}/statement", **operation(openapi.READ_STATEMENT, needs(Scope.READ_DOCUMENTS)))
    async def read_statement(request: Request) -> Response:
        seq = _number(request)
        signed = await node.database.read(lambda c: incidents.statement(c, seq))
        if signed is None:
            raise Refused("not-found", "There is no such incident, or no signed statement shows it.")
        return tagged(request, signed, JOSE, for_ever=True)

    @app.post("/v1/incidents/{id}/close", **operation(openapi.CLOSE, needs(Scope.CLOSE_INCIDENTS)))
    async def close(request: Request) -> Response:
        seq, reason, caller, at = _number(request), await reason_of(request), caller_of(request), node.stamp()
        closed = await node.database.write(
            lambda c: incidents.close_incident(c, seq, caller.name, reason, at)
        )
        row = await node.database.read(lambda c: incidents.incident(c, seq))
        if row is None:
            raise Refused("not-found", "There is no such incident.")
        if not closed:
            raise Refused("incident-closed", f"It was closed by {row.closed_by} at {row.closed_at}.")
        node.reconsider()  # an answer may have waited for this
        return Answer(strictjson.dumps(resources.incident(row)))

    @app.get("/v1/events", **operation(openapi.READ_EVENTS, needs(Scope.READ_DOCUMENTS)))
    async def read_events(request: Request, query: Annotated[After, Query()]) -> Response:
        live = STREAM in request.headers.get("accept", "")
        after = _resumed(request, query.after) if live else query.after
        last = await node.database.read(last_event) if after else 0
        if after > last:
            # Silence would look like "nothing new" until the numbers are used a second time.
            detail = (
                f"The feed ends at {last}: the database was restored to an earlier copy. Read from the lists what you may have "
                f"missed, then go on after {last}."
            )
            raise Refused("feed-shorter", detail, last=last)
        if live:
            return _stream(after)
        rows = await node.database.read(lambda c: views.events(c, after, query.limit))
        body = {
            "events": [resources.event(row) for row in rows],
            "next": rows[-1].seq if rows else after,
        }
        return Answer(strictjson.dumps(body), media_type=JSON)

    def _stream(after: int) -> Response:
        if streams.ended.is_set() or streams.open >= MOST_STREAMS:
            detail = "No event stream can be opened now. Read the events by polling, or come again."
            raise Refused("streams-exhausted", detail, headers={"retry-after": "5"})
        headers = protection() | {"x-accel-buffering": "no"}
        return StreamingResponse(_events(after), media_type=STREAM, headers=headers)

    async def _events(after: int) -> AsyncIterator[bytes]:
        streams.open += 1
        ending = asyncio.ensure_future(streams.ended.wait())
        try:
            yield b"retry: 3000\n\n"
            while not ending.done():
                # Begin to listen before reading, or what is committed in between would be noticed a keep-alive later.
                changed = asyncio.ensure_future(node.changed(KEEP_ALIVE))
                try:
                    rows = await node.database.read(lambda c, a=after: views.events(c, a, 200))  # type: ignore[misc]
                    for row in rows:
                        data = strictjson.dumps(resources.event(row))
                        yield b"id: %d\nevent: %s\ndata: %s\n\n" % (row.seq, row.kind.encode("utf-8"), data)
                        after = row.seq
                    if rows:
                        await asyncio.wait([ending], timeout=BETWEEN_READS)
                        continue
                    await asyncio.wait([changed, ending], return_when=asyncio.FIRST_COMPLETED)
                    yield b": \n\n"
                except StoreError:
                    return  # the client comes again with Last-Event-ID
                finally:
                    changed.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await changed
        finally:
            streams.open -= 1
            ending.cancel()


def _resumed(request: Request, after: int) -> int:
    last = request.headers.get("last-event-id", "")
    return int(last) if last.isascii() and last.isdigit() and len(last) < 16 else after


def _number(request: Request) -> int:
    text = str(request.path_params["id"])
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Refused("not-found", "There is no such incident.")
    return int(text)
