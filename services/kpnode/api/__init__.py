"""The node's API for the authority's own systems.

    door        who may call what                     answers     bytes, headers, RFC 9457 problems
    requests    bodies, preferences, cursors          resources   what is shown, in JSON and in plain words
    documents   drafts   desk   files   certificates   worklists   numbers   alerts   partners   incidents   health   exchange
                                                  the routes, by what they are about
    openapi     schemas   examples   pages            what is said about all of it

`build_app` makes one application around one running node; nothing is built before, and two applications live beside each other
in one process.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from kpnode.api import (
    alerts,
    certificates,
    desk,
    documents,
    drafts,
    files,
    health,
    incidents,
    numbers,
    pages,
    partners,
    worklists,
)
from kpnode.api import exchange as between_nodes
from kpnode.api.door import Door, Operation, problem_of
from kpnode.api.health import Ready
from kpnode.api.incidents import Streams
from kpnode.node import Node

__all__ = ["Ready", "Streams", "build_app"]

GENEROUS: Final = 12_000  # requests a minute of one key
_TEXT: Final = """The node keeps, signs, sends and receives an authority's documents; this is how its own systems talk to it.

Amounts are decimal texts, times are UTC, ids are SHA-256 in hexadecimal. Every error is a problem (RFC 9457) with a `code`
for programs and a `detail` for people. The paper certificate prevails over everything that is shown here."""


def build_app(
    node: Node,
    *,
    title: str = "kpnode",
    exchange: bool = False,
    ready: Ready | None = None,
    requests_per_minute: int | None = GENEROUS,
) -> FastAPI:
    """The application for `node`, which has been started and outlives it.

    `exchange`: take frames from partners' nodes as well (direct HTTPS). `ready`: further checks of `/readyz`, by name.
    `requests_per_minute`: limit of each API key; None for none. `app.state.streams.end()` ends all event streams, so that a
    server that stops need not wait for them.
    """
    app = FastAPI(
        title=title,
        version=_version(),
        description=_TEXT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = Operation
    app.state.door = Door(node, requests_per_minute)
    app.state.streams = Streams()
    documents.mount(app, node)
    drafts.mount(app, node)
    files.mount(app, node)
    desk.mount(app, node)  # before certificates, whose last route takes whatever follows /v1/certificates/
    certificates.mount(app, node)
    worklists.mount(app, node)
    numbers.mount(app, node)
    alerts.mount(app, node)
    partners.mount(app, node)
    incidents.mount(app, node, app.state.streams)
    health.mount(app, node, app.state.door, ready)
    if exchange:
        between_nodes.mount(app, node)
    pages.mount(app)
    for nothing_there in (404, 405):
        app.add_exception_handler(nothing_there, _nothing_there)
    return app


async def _nothing_there(request: Request, error: Exception) -> Response:
    """What the router could not find: the one problem that arises before an operation."""
    problem = problem_of(error, "router")
    if problem.code == "method-not-allowed":
        routes = [route for route in request.app.routes if isinstance(route, Operation)]
        # The router takes the first that fits, and so does this: shorter paths with a `:path` fit longer ones too.
        first = next(route.path for route in routes if route.path_regex.match(request.scope["path"]))
        methods = {method for route in routes if route.path == first for method in route.methods or ()}
        problem.headers = {"allow": ", ".join(sorted(methods))}
    return problem.answer()


def _version() -> str:
    try:
        return version("kpmsg")
    except PackageNotFoundError:
        return "unknown"
