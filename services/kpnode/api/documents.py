"""Documents: submit any type on one route, read them with their delivery, fetch the exact signed bytes and receipts.

A submission is the hot path of the whole node. Its body is read once by the strict parser, its answer is put together from
the bytes that were just signed; the store is asked again only if something is not as usual.
"""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from uuid_utils.compat import uuid7

from kpmsg import documents, strictjson
from kpmsg.errors import DraftError, MalformedError, Problem
from kpmsg.rules import Language
from kpnode import drafting
from kpnode.api import openapi
from kpnode.api.answers import JOSE, Answer, Refused, tagged
from kpnode.api.broken import language_of, told
from kpnode.api.door import caller_of, needs, not_submitted
from kpnode.api.openapi import operation
from kpnode.api.requests import (
    Page,
    Preferences,
    body_of,
    cursor_for,
    cursor_of,
    idempotency_key_of,
    malformed,
    preferences_of,
)
from kpnode.api.resources import Shown
from kpnode.node import Node
from kpnode.release import ReleaseNeededError
from kpnode.store import views
from kpnode.store.callers import Scope
from kpnode.store.submissions import ClaimedError, Committed, PartnerUnknownError

MOST_DRAFTS: Final = 500
BULK_BODY: Final = 8 * 1024 * 1024
SINGLE_BODY: Final = strictjson.MAX_BYTES


class Filter(Page):
    """Which documents to list."""

    partner: Annotated[
        str | None, Field(max_length=40, description="Authority address, e.g. EU/antwerp.")
    ] = None
    direction: Annotated[Literal["in", "out"] | None, Field(description="`out`: written by us.")] = None
    type: Annotated[str | None, Field(max_length=100, description="Short or whole document type.")] = None
    certificate: Annotated[
        str | None, Field(max_length=64, description="Certificate number, however it is written.")
    ] = None
    delivery: Annotated[
        Literal["waiting", "received", "withheld"] | None,
        Field(description="`waiting`: ours, and not in the partner's register yet."),
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about documents."""
    shown = Shown(node)

    @app.post("/v1/documents", **operation(openapi.SUBMIT, needs(Scope.WRITE_DOCUMENTS)))
    async def submit(request: Request) -> Response:
        caller, preferences = caller_of(request), preferences_of(request)
        if request.scope["query_string"] and _dry(request):
            return await _try_out(request)
        key = idempotency_key_of(request)
        body = await body_of(request, BULK_BODY)
        drafts, several = drafts_in(body, node)
        try:
            committed = await node.submit(
                drafts,
                caller=caller.name,
                key=key,
                digest=sha256(body).hexdigest(),
                strictly_parsed=True,
            )
        except DraftError as error:
            raise _placed(error, several=several and len(drafts) == 1) from None
        except (ClaimedError, PartnerUnknownError) as error:
            raise not_submitted(error, f"/{error.index}" if several else "") from None
        except ReleaseNeededError as error:
            raise _release_needed(error, several=several) from None
        received = await node.received(committed.ids, preferences.wait) if preferences.wait else False
        parts = await _committed(
            committed, caller.name, preferences, received=received, language=language_of(request)
        )
        several = several or len(parts) > 1  # one draft for everybody is one document each
        headers = [("location", f"/v1/documents/{committed.ids[0]}")] if not several else []
        if committed.replayed:
            headers.append(("idempotency-replayed", "true"))
        if preferences.applied:
            headers.append(("preference-applied", preferences.applied))
        content = b'{"documents":[' + b",".join(parts) + b"]}" if several else parts[0]
        return Answer(content, 200 if committed.replayed else 201, headers=headers)

    async def _committed(
        committed: Committed, author: str, preferences: Preferences, *, received: bool, language: Language
    ) -> Sequence[bytes]:
        minimal = preferences.minimal
        # Fresh documents have been on their way all the time: what a receipt has not covered is there still, and what is
        # not there any more without our knowing why (withheld, say) is looked up.
        peers = [node.peers.get(item.verified.document.recipient) for item in committed.items]
        usual = all(
            peer is not None and (received or item.id in peer.schedule)
            for item, peer in zip(committed.items, peers, strict=True)
        )
        if committed.items and usual:
            return [
                shown.committed(item, author, received=received, minimal=minimal, language=language)
                for item in committed.items
            ]
        rows = await node.database.read(lambda c: views.documents_by_id(c, committed.ids))
        return [
            shown.document(rows[document_id], minimal=minimal, language=language)
            for document_id in committed.ids
        ]

    async def _try_out(request: Request) -> Response:
        drafts, _ = drafts_in(await body_of(request, BULK_BODY), node)
        language = language_of(request)
        found = [
            finding(each, language) for each in await drafting.try_out(node, drafts, strictly_parsed=True)
        ]
        headers = {"content-language": language}
        return Answer(strictjson.dumps({"documents": found}), headers=headers)

    @app.get("/v1/documents", **operation(openapi.LIST_DOCUMENTS, needs(Scope.READ_DOCUMENTS)))
    async def list_documents(query: Annotated[Filter, Query()]) -> Response:
        place, kind = cursor_of(query.cursor, int), documents.kind_of(query.type)
        rows = await node.database.read(
            lambda c: views.documents(
                c,
                partner=query.partner,
                direction=query.direction,
                type=query.type if kind is None else kind.type,
                certificate=None if query.certificate is None else node.practice.key(query.certificate),
                delivery=query.delivery,
                before=place[0] if place else None,
                limit=query.limit + 1,
            )
        )
        following = cursor_for(rows[query.limit - 1].seq) if len(rows) > query.limit else None
        parts = [shown.document(row) for row in rows[: query.limit]]
        return Answer(
            b'{"documents":[' + b",".join(parts) + b'],"next":' + strictjson.dumps(following) + b"}"
        )

    @app.get("/v1/documents/{id}", **operation(openapi.READ_DOCUMENT, needs(Scope.READ_DOCUMENTS)))
    async def read_document(request: Request) -> Response:
        return tagged(request, shown.document(await _row(request), language=language_of(request)))

    @app.get("/v1/documents/{id}/signed", **operation(openapi.READ_SIGNED, needs(Scope.READ_DOCUMENTS)))
    async def read_signed(request: Request) -> Response:
        return tagged(request, (await _row(request)).raw, JOSE, for_ever=True)

    @app.get("/v1/documents/{id}/receipt", **operation(openapi.READ_RECEIPT, needs(Scope.READ_DOCUMENTS)))
    async def read_receipt(request: Request) -> Response:
        row = await _row(request)
        receipt = await node.database.read(lambda c: views.receipt_for(c, row))
        if receipt is None:
            raise Refused("not-found", "No receipt covers this document yet.")
        return tagged(request, receipt, JOSE)

    async def _row(request: Request) -> views.DocumentRow:
        document_id = str(request.path_params["id"]).lower()
        row = await node.database.read(lambda c: views.document(c, document_id))
        if row is None:
            raise Refused("not-found", "There is no such document here.")
        return row


def finding(found: drafting.Finding, language: Language) -> dict[str, Any]:
    """What would come of a draft, in words."""
    return {
        "type": found.type,
        "recipient": found.recipient,
        "certificate": found.certificate,
        "verdict": found.verdict,
        "release_needed": found.release_needed,
        "problems": [told(problem, language) for problem in found.problems],
    }


def _dry(request: Request) -> bool:
    given = request.query_params.getlist("dry_run")
    if given in (["true"], ["false"]):
        return given == ["true"]
    if given == [""] and "dry_run" in request.url.query.split("&"):
        return True
    detail = "dry_run: must be true, which the name alone means too, or false"
    error = {"code": "parameter-invalid", "parameter": "dry_run", "detail": detail}
    raise Refused("request-invalid", detail, errors=[error])


def _release_needed(error: ReleaseNeededError, *, several: bool) -> Refused:
    detail = "A second person must release this. Prepare it at /v1/drafts; an officer releases it at /v1/drafts/release."
    errors = [
        {"code": "release-needed", "pointer": f"/{place}/type" if several else "/type", "detail": detail}
        for place in error.places
    ]
    return Refused("release-needed", detail, errors=errors)


def drafts_in(body: bytes, node: Node) -> tuple[list[Any], bool]:
    """The drafts in a body, and whether they came as an array."""
    try:
        value = strictjson.loads(body, max_bytes=BULK_BODY)
    except MalformedError as error:
        if error.code == "json-number":
            _tell_by_the_field(body, node)
        raise malformed(error) from None
    if isinstance(value, dict):
        if len(body) > SINGLE_BODY:
            raise Refused("body-size", f"One document may have at most {SINGLE_BODY} bytes.")
        return [value], False
    if isinstance(value, list) and 1 <= len(value) <= MOST_DRAFTS:
        return value, True
    detail = f"Send one document as an object, or 1 to {MOST_DRAFTS} of them as an array."
    problem = {"code": "document-type", "pointer": "", "detail": detail}
    raise Refused("document-invalid", detail, errors=[problem])


def _placed(error: DraftError, *, several: bool) -> DraftError:
    """The same with pointers into the array, which the node leaves out if there is only one."""
    if not several:
        return error
    return DraftError([problem.within("/0") for problem in error.problems])


def _tell_by_the_field(body: bytes, node: Node) -> None:
    """A number where an amount in quotes is due is better told by the field than by the parser; refuses if it can be.

    The strict parser has turned the body down already, so whatever is read here more leniently is never accepted.
    """
    try:
        value = json.loads(body)
    except ValueError:
        return
    drafts = value if isinstance(value, list) else [value]
    problems: list[Problem] = []
    for index, draft in enumerate(drafts[:MOST_DRAFTS]):
        try:
            documents.compose(draft, source=node.address, id=uuid7(), time=node.clock())
        except DraftError as error:
            at = f"/{index}" if isinstance(value, list) else ""
            problems += [problem.within(at) for problem in error.problems]
    if problems:
        raise DraftError(problems)
