"""Partners and the delivery queue to each: what waits, why, who must act; and what an operator may do about it."""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

import re
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpnode.api import openapi, resources
from kpnode.api.answers import Answer, Refused, must_match, tagged
from kpnode.api.door import needs
from kpnode.api.openapi import operation
from kpnode.api.requests import reason_of
from kpnode.node import Node
from kpnode.store import views
from kpnode.store.callers import Scope

_ADDRESS: Final = re.compile(r"\A[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?\Z")
_READ: Final = needs(Scope.READ_PARTNERS)
_OPERATE: Final = needs(Scope.OPERATE_PARTNERS)


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about partners. An address holds a slash at times, so the longer paths come first."""
    shown = resources.Shown(node)

    @app.get("/v1/partners", **operation(openapi.LIST_PARTNERS, _READ))
    async def list_partners(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over
        rows = await node.database.read(views.queues)
        return Answer(strictjson.dumps({"partners": [shown.partner(row) for row in rows]}))

    @app.get("/v1/queues", **operation(openapi.LIST_QUEUES, _READ))
    async def list_queues(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over
        rows = await node.database.read(views.queues)
        return Answer(strictjson.dumps({"queues": [shown.queue(row) for row in rows]}))

    @app.get("/v1/partners/{address:path}/queue", **operation(openapi.READ_QUEUE, _READ))
    async def read_queue(request: Request) -> Response:
        return Answer(strictjson.dumps(shown.queue(await _row(request))))

    @app.post("/v1/partners/{address:path}/queue/retry", **operation(openapi.RETRY, _OPERATE))
    async def retry(request: Request) -> Response:
        row = await _attached(request)
        node.retry(row.address)
        return await _queue(request)

    @app.post("/v1/partners/{address:path}/queue/pause", **operation(openapi.PAUSE, _OPERATE))
    async def pause(request: Request) -> Response:
        row, reason = await _attached(request), await reason_of(request)
        must_match(request, _partner(row))
        await node.pause(row.address, reason)
        return await _queue(request)

    @app.post("/v1/partners/{address:path}/queue/resume", **operation(openapi.RESUME, _OPERATE))
    async def resume(request: Request) -> Response:
        row = await _attached(request)
        must_match(request, _partner(row))
        await node.pause(row.address, None)
        return await _queue(request)

    @app.post("/v1/partners/{address:path}/queue/override", **operation(openapi.OVERRIDE, _OPERATE))
    async def override(request: Request) -> Response:
        row, reason = await _attached(request), await reason_of(request)
        must_match(request, _partner(row))
        await node.override(row.address, reason)
        return await _queue(request)

    @app.get("/v1/partners/{address:path}", **operation(openapi.READ_PARTNER, _READ))
    async def read_partner(request: Request) -> Response:
        return tagged(request, _partner(await _row(request)))

    def _partner(row: views.QueueRow) -> bytes:
        return strictjson.dumps(shown.partner(row))

    async def _queue(request: Request) -> Response:
        return Answer(strictjson.dumps(shown.queue(await _row(request))))

    async def _attached(request: Request) -> views.QueueRow:
        row = await _row(request)
        if row.address not in node.peers:
            raise Refused("not-found", "The node is not running for this partner.")
        return row

    async def _row(request: Request) -> views.QueueRow:
        address = str(request.path_params["address"])
        row = None
        if _ADDRESS.match(address):
            row = await node.database.read(lambda c: views.queue(c, address))
        if row is None:
            raise Refused("not-found", "There is no partner of this address.")
        return row
