"""Certificates: where each stands between the two authorities, and how far its documents have been delivered."""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.case import State
from kpmsg.documents import certificate_key
from kpnode.api import openapi, resources
from kpnode.api.alerts import alerted
from kpnode.api.answers import Answer, Refused, tagged
from kpnode.api.door import needs
from kpnode.api.openapi import operation
from kpnode.api.requests import Page, cursor_for, cursor_of
from kpnode.api.worklists import matters
from kpnode.node import Node
from kpnode.store import alerts, views
from kpnode.store.alerts import Alerted
from kpnode.store.callers import Scope
from kpnode.store.database import Transaction
from kpnode.store.views import CertificateRow, DocumentRow

MOST_DOCUMENTS: Final = 200
MOST_NEAR: Final = 10
LONGEST: Final = 64  # characters of a number that anybody types


class Filter(Page):
    """Which certificates to list."""

    state: Annotated[State | None, Field(description="Where the certificate stands.")] = None
    partner: Annotated[
        str | None, Field(max_length=40, description="Authority address, e.g. EU/antwerp.")
    ] = None
    starts_with: Annotated[
        str | None,
        Field(
            max_length=40,
            pattern=r"^[A-Za-z0-9][A-Za-z0-9 ./-]*$",
            description="How the number begins, however it is written; in the order of numbers, and without another filter.",
        ),
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about certificates."""
    shown = resources.Shown(node)

    @app.get("/v1/certificates", **operation(openapi.LIST_CERTIFICATES, needs(Scope.READ_DOCUMENTS)))
    async def list_certificates(query: Annotated[Filter, Query()]) -> Response:
        if query.starts_with is not None:
            return await _by_number(query, query.starts_with)
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
        return _page(rows[: query.limit], None if last is None else cursor_for(last.changed_at, last.key))

    async def _by_number(query: Filter, starts_with: str) -> Response:
        if query.state is not None or query.partner is not None:
            detail = "Numbers are looked up by how they begin, or by state and partner, but not by both."
            error = {"code": "parameter-invalid", "parameter": "starts_with", "detail": detail}
            raise Refused("request-invalid", detail, errors=[error])
        place = cursor_of(query.cursor, str)
        written = certificate_key(starts_with)
        whole = node.practice.key(starts_with)  # a whole number is found however its issuer writes zeros
        rows = await node.database.read(
            lambda c: views.certificates_from(c, written, place[0] if place else "", query.limit + 1)
        )
        if not rows and whole != written:
            rows = await node.database.read(lambda c: views.certificates_by_key(c, [whole]))
        following = cursor_for(rows[query.limit - 1].key) if len(rows) > query.limit else None
        return _page(rows[: query.limit], following)

    def _page(rows: Sequence[CertificateRow], following: str | None) -> Response:
        return Answer(
            strictjson.dumps({"certificates": [_certificate(row) for row in rows], "next": following})
        )

    def _certificate(row: CertificateRow) -> dict[str, Any]:
        open_matters = matters(row.case, node.address, node.clock().date())
        return resources.certificate(row) | {"waiting_for": row.waits, "matters": open_matters}

    @app.get(
        "/v1/certificates/{number:path}", **operation(openapi.READ_CERTIFICATE, needs(Scope.READ_DOCUMENTS))
    )
    async def read_certificate(request: Request) -> Response:
        number = str(request.path_params["number"])
        key = node.practice.key(number) if len(number) <= LONGEST else ""
        possible = key.isascii() and key.isalnum()
        row, rows, warned = (
            await node.database.read(lambda c: _everything(c, key)) if possible else (None, [], [])
        )
        if row is None:
            near = await _near(number)
            detail = "No document about a certificate of this number has passed here."
            if near:
                detail += (
                    f" Numbers that have, and may have been meant: {', '.join(n['number'] for n in near)}."
                )
            raise Refused("not-found", detail, near=near)
        parts = b",".join(shown.document(document) for document in reversed(rows))
        head = strictjson.dumps(_certificate(row) | {"alerts": [alerted(each) for each in warned]})
        return tagged(request, b"".join((head[:-1], b',"documents":[', parts, b"]}")))

    async def _near(number: str) -> list[dict[str, Any]]:
        """Offered to whoever mistyped a number, never assumed."""
        written = "".join(each for each in number[: LONGEST + 1] if each.isascii() and each.isalnum())
        guesses = node.practice.near(written) if 0 < len(written) <= LONGEST else ()
        rows = await node.database.read(lambda c: views.certificates_by_key(c, guesses))
        names = ("key", "number", "state", "partner")
        return [{name: getattr(row, name) for name in names} for row in rows[:MOST_NEAR]]


def _everything(
    connection: Transaction, key: str
) -> tuple[CertificateRow | None, list[DocumentRow], list[Alerted]]:
    row = views.certificate(connection, key)
    if row is None:
        return None, [], []
    rows = views.documents(connection, certificate=key, limit=MOST_DOCUMENTS)
    return row, rows, alerts.under(connection, [key]).get(key, [])
