"""Certificates: where each stands between the two authorities, and how far its documents have been delivered."""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

from typing import Annotated, Final

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.case import State
from kpmsg.documents import certificate_key
from kpnode.api import openapi, resources
from kpnode.api.answers import Answer, Refused, tagged
from kpnode.api.door import needs
from kpnode.api.openapi import operation
from kpnode.api.requests import Page, cursor_for, cursor_of
from kpnode.node import Node
from kpnode.store import views
from kpnode.store.callers import Scope

MOST_DOCUMENTS: Final = 200


class Filter(Page):
    """Which certificates to list."""

    state: Annotated[State | None, Field(description="Where the certificate stands.")] = None
    partner: Annotated[
        str | None, Field(max_length=40, description="Authority address, e.g. EU/antwerp.")
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about certificates."""
    shown = resources.Shown(node)

    @app.get("/v1/certificates", **operation(openapi.LIST_CERTIFICATES, needs(Scope.READ_DOCUMENTS)))
    async def list_certificates(query: Annotated[Filter, Query()]) -> Response:
        place = cursor_of(query.cursor, str, str)
        rows = await node.database.read(
            lambda c: views.certificates(
                c,
                state=query.state,
                partner=query.partner,
                before=(place[0], place[1]) if place else None,
                limit=query.limit + 1,
            )
        )
        last = rows[query.limit - 1] if len(rows) > query.limit else None
        body = {
            "certificates": [resources.certificate(row) for row in rows[: query.limit]],
            "next": None if last is None else cursor_for(last.changed_at, last.key),
        }
        return Answer(strictjson.dumps(body))

    @app.get(
        "/v1/certificates/{number:path}", **operation(openapi.READ_CERTIFICATE, needs(Scope.READ_DOCUMENTS))
    )
    async def read_certificate(request: Request) -> Response:
        number = str(request.path_params["number"])
        key = certificate_key(number) if len(number) <= 64 else ""
        row = await node.database.read(lambda c: views.certificate(c, key)) if key else None
        if row is None:
            raise Refused("not-found", "No document about a certificate of this number has passed here.")
        rows = await node.database.read(lambda c: views.documents(c, certificate=key, limit=MOST_DOCUMENTS))
        parts = b",".join(shown.document(document) for document in reversed(rows))
        head = strictjson.dumps(resources.certificate(row))
        return tagged(request, b"".join((head[:-1], b',"documents":[', parts, b"]}")))
