"""The direct HTTPS transport's way in: `POST /exchange/{sender}`, mounted only where it is configured.

Who sends is proved by the signature in the request (kpnode.transports.https), never by the path, an API key or an address. What
the frames say is for the node.
"""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from kpmsg.errors import MalformedError, RefusedError
from kpnode.api import openapi
from kpnode.api.answers import Answer, Refused
from kpnode.api.door import public
from kpnode.api.openapi import operation
from kpnode.api.requests import body_of
from kpnode.node import Node
from kpnode.transports.https import (
    CONTENT_TYPE,
    HEADER,
    MAX_BODY_BYTES,
    authenticate,
    check_body,
    join,
    split,
)

AT_ONCE: Final = 4
log = structlog.get_logger()


def mount(app: FastAPI, node: Node) -> None:
    """Add the route between nodes."""

    busy: Counter[str] = Counter()

    @app.post("/exchange/{sender:path}", include_in_schema=False, **operation(openapi.EXCHANGE, public()))
    async def exchange_frames(request: Request) -> Response:
        partner = str(request.path_params["sender"])
        try:
            digest = (
                authenticate(  # before any of the body is taken in: a stranger may not make us hold 16 MiB
                    request.headers.get(HEADER),
                    sender=partner,
                    own=node.address,
                    records={address: peer.records for address, peer in node.peers.items()},
                    now=node.clock(),
                )
            )
            with _a_place(busy, partner):
                body = await body_of(request, MAX_BODY_BYTES, CONTENT_TYPE)
                check_body(body, digest)
                replies = await node.receive(partner, split(body))
        except MalformedError as error:
            if error.code == "frame-size":
                raise Refused("body-size", "A frame is too large, or there are too many.") from None
            raise _unproved(error) from None
        except RefusedError as error:
            raise _unproved(error) from None
        return Answer(join(replies), media_type=CONTENT_TYPE)


@contextmanager
def _a_place(busy: Counter[str], partner: str) -> Iterator[None]:
    """One of the few requests of a partner that are worked on at a time: it may not fill our memory, nor keep others waiting."""
    if busy[partner] >= AT_ONCE:
        detail = f"At most {AT_ONCE} requests of a partner are worked on at a time."
        raise Refused("rate-limited", detail, headers={"retry-after": "5"})
    busy[partner] += 1
    try:
        yield
    finally:
        busy[partner] -= 1


def _unproved(error: RefusedError) -> Refused:
    log.info("exchange-refused", code=error.code)
    return Refused("sender-unproved", "The request does not prove its sender.")  # nor who our partners are
