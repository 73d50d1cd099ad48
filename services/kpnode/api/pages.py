"""The OpenAPI document and its pages for people, which work without the Internet and under a strict policy.

The viewer (Swagger UI 5.35.0, Apache-2.0) is committed in `viewer/` as its makers publish it, with checksums that a test holds; nothing
is loaded from anywhere else, and no script stands in the page.
"""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpnode.api import openapi
from kpnode.api.answers import Refused, tagged
from kpnode.api.door import public

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>kpnode API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="api"></div><noscript>The same as data: <a href="openapi.json">openapi.json</a></noscript>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
_START: Final = b"""SwaggerUIBundle({url: "openapi.json", dom_id: "#api", deepLinking: true,
  validatorUrl: null, persistAuthorization: false});
"""
_VENDORED: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def mount(app: FastAPI) -> None:
    """Add the pages; last, so that they describe everything else."""
    described: list[bytes] = []

    hidden: dict[str, Any] = {"include_in_schema": False, "openapi_extra": {"security": public()}}

    @app.get("/openapi.json", **hidden)
    async def openapi_document(request: Request) -> Response:
        if not described:
            described.append(strictjson.dumps(openapi.document(app)))
        return tagged(request, described[0])

    @app.get("/docs", **hidden)
    async def docs(request: Request) -> Response:
        return _page(request, _PAGE, "text/html; charset=utf-8")

    @app.get("/docs/{name}", **hidden)
    async def docs_file(request: Request) -> Response:
        name = str(request.path_params["name"])
        if name == "start.js":
            return _page(request, _START, "text/javascript")
        if name not in _VENDORED:
            raise Refused("not-found", "There is no such file.")
        return _page(request, _vendored()[name], _VENDORED[name])


def _page(request: Request, content: bytes, media_type: str) -> Response:
    page = tagged(request, content, media_type)
    page.raw_headers = [pair for pair in page.raw_headers if pair[0] != b"content-security-policy"]
    page.raw_headers.append((b"content-security-policy", _POLICY.encode("ascii")))
    return page


@cache
def _vendored() -> Mapping[str, bytes]:
    folder = files("kpnode.api").joinpath("viewer")
    return {name: folder.joinpath(name).read_bytes() for name in _VENDORED}
