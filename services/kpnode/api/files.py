"""Files: upload them before a document names them, read them by a document that does, fetched from the partner if need be.

A file is never shown by its digest alone. It is read through a document, which says what it is called and what it is made of, and it
leaves as something to be saved: no browser runs it, whatever a partner has named it.
"""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kpmsg import attachments, documents, strictjson
from kpmsg.attachments import MAX_FILE, MEDIA_TYPES
from kpmsg.documents.particulars import Attachment
from kpmsg.fileframes import PART
from kpnode.api import schemas
from kpnode.api.answers import JSON, Answer, Refused, names, protection
from kpnode.api.door import needs
from kpnode.api.openapi import BY_ID, IF_NONE_MATCH, NOT_MODIFIED, Said, asks, header, operation, path, ref
from kpnode.api.requests import BODY_SECONDS, preferences_of, take_body
from kpnode.node import Node
from kpnode.store import files as store
from kpnode.store import views
from kpnode.store.callers import Scope
from kpnode.store.files import FileRow

UPLOADS: Final = 4
"""Files that are taken in at one time; each is in memory until it is complete."""

ANYTHING: Final = "application/octet-stream"
_DIGEST: Final = re.compile(r"\A[0-9a-f]{64}\Z")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._ -]")
_WHY: Final = {
    "gone": "The partner's node says that it cannot give this file: ask the partner to make it available again.",
    "differs": "What the partner's node sent was not the file that was signed for, time and again (see the incidents).",
    "unspoken": "The partner's node does not know how to send files yet.",
    "no-partner": "The authority that has this file is not a partner any more.",
    "too-large": f"The file is larger than the {MAX_FILE} bytes that are exchanged.",
    "size": "The file with this digest has another size than this document says.",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """A file as one document names it."""

    document: views.DocumentRow
    attachment: Attachment

    @property
    def path(self) -> str:
        return f"/v1/documents/{self.document.id}/files/{self.attachment.sha256}"


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about files."""
    slots = asyncio.Semaphore(UPLOADS)

    @app.post("/v1/files", **operation(UPLOAD, needs(Scope.WRITE_DOCUMENTS)))
    async def upload(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await slots.acquire()
        except TimeoutError:
            detail = "Too many files are being uploaded. Come again in a moment."
            raise Refused("uploads-busy", detail, headers={"retry-after": "5"}) from None
        try:
            pieces = _Pieces()
            await take_body(request, MAX_FILE, MEDIA_TYPES, pieces.add)
            if not pieces.size:
                raise Refused("request-invalid", "An empty file is no file.")
            new = await node.files.keep(pieces.cut(), pieces.digest)
        finally:
            slots.release()
        body = {"digest": pieces.digest, "size": pieces.size}
        return Answer(strictjson.dumps(body), 201 if new else 200)

    @app.get("/v1/documents/{id}/files", **operation(LIST, needs(Scope.READ_DOCUMENTS)))
    async def list_files(request: Request) -> Response:
        row = await _row(request)
        places = [_Place(row, one.attachment) for one in attachments.named(documents.parse(row.payload))]
        digests = [place.attachment.sha256 for place in places]
        known = await node.database.read(lambda c: store.files(c, digests))
        shown = [_shown(place, known.get(place.attachment.sha256)) for place in places]
        return Answer(strictjson.dumps({"files": shown}))

    @app.get("/v1/documents/{id}/files/{digest}", **operation(READ, needs(Scope.READ_DOCUMENTS)))
    async def read_file(request: Request) -> Response:
        return await _give(request, again=False)

    @app.post("/v1/documents/{id}/files/{digest}/fetch", **operation(FETCH, needs(Scope.READ_DOCUMENTS)))
    async def fetch_file(request: Request) -> Response:
        return await _give(request, again=True)

    async def _give(request: Request, *, again: bool) -> Response:
        place, preferences = await _place(request), preferences_of(request)
        digest = place.attachment.sha256
        row = await _asked_for(place, again=again)
        if preferences.wait and not row.whole and _problem(place, row) is None:
            await node.files.settled(digest, preferences.wait)
            now = await node.database.read(lambda c: store.file(c, digest))
            row = row if now is None else now
        problem = _problem(place, row)
        if problem is not None:
            raise _unavailable(problem)
        applied = {"preference-applied": f"wait={preferences.wait}"} if preferences.wait else {}
        if not row.whole:
            return Answer(strictjson.dumps(_state(place, row)), 202, headers=applied | {"retry-after": "2"})
        tag = f'"{digest}"'
        headers = applied | {"etag": tag, "cache-control": "private, max-age=31536000, immutable"}
        known = request.headers.get("if-none-match")
        if known is not None and names(known, tag) and request.method == "GET":
            return Answer(b"", 304, headers=headers)
        headers |= protection() | headers
        headers["content-security-policy"] += "; sandbox"
        headers["content-disposition"] = disposition(place.attachment.name)
        headers["content-length"] = str(row.size)
        given = place.attachment.media_type
        headers["content-type"] = given if given in MEDIA_TYPES else ANYTHING
        return StreamingResponse(_bytes(row), headers=headers)

    async def _asked_for(place: _Place, *, again: bool) -> FileRow:
        named, document = place.attachment, place.document
        row = await node.database.read(lambda c: store.file(c, named.sha256))
        if row is not None and row.whole:
            return row
        if named.size > MAX_FILE:
            raise _unavailable("too-large")
        if document.partner not in node.peers:
            raise _unavailable("no-partner")
        return await node.files.fetch(named.sha256, named.size, document.id, document.partner, again=again)

    async def _bytes(row: FileRow) -> AsyncIterator[bytes]:
        for start in range(0, row.size, PART):
            yield await node.database.read(
                lambda c, at=start: store.piece(c, row.digest, at, PART)  # type: ignore[misc]
            )

    async def _place(request: Request) -> _Place:
        row = await _row(request)
        digest = str(request.path_params["digest"]).lower()
        found = attachments.find(documents.parse(row.payload), digest) if _DIGEST.match(digest) else None
        if found is None:
            raise Refused("not-found", "This document names no such file.")
        return _Place(row, found)

    async def _row(request: Request) -> views.DocumentRow:
        document_id = str(request.path_params["id"]).lower()
        row = await node.database.read(lambda c: views.document(c, document_id))
        if row is None:
            raise Refused("not-found", "There is no such document here.")
        return row


class _Pieces:
    """A body while it arrives: its parts, its size and its digest."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = sha256()
        self._full: list[bytes] = []
        self._last = bytearray()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._hash.update(chunk)
        self._last += chunk
        while len(self._last) >= PART:
            self._full.append(bytes(self._last[:PART]))
            del self._last[:PART]

    def cut(self) -> list[bytes]:
        """All of it, in parts of 256 KiB."""
        return [*self._full, bytes(self._last)] if self._last else self._full

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _problem(place: _Place, row: FileRow | None) -> str | None:
    if row is None:
        return None
    return "size" if row.whole and row.size != place.attachment.size else row.problem


def _state(place: _Place, row: FileRow | None) -> dict[str, Any]:
    problem = _problem(place, row)
    if problem is not None:
        shown: dict[str, Any] = {"state": "unavailable", "problem": problem}
    elif row is None:
        shown = {"state": "not-fetched"}
    else:
        shown = {"state": "here" if row.whole else "fetching"}
    return shown | {"held": 0 if row is None else row.held, "size": place.attachment.size}


def _shown(place: _Place, row: FileRow | None) -> dict[str, Any]:
    named = place.attachment
    about = {"name": named.name, "media_type": named.media_type, "digest": named.sha256}
    return about | _state(place, row) | {"links": {"self": place.path}}


def _unavailable(problem: str) -> Refused:
    return Refused("file-unavailable", _WHY[problem], problem=problem)


def disposition(name: str) -> str:
    """The value of Content-Disposition for a file that a document calls `name` (RFC 6266, RFC 8187).

    The plain form has letters, digits and a few signs only; the other one has the name as it was given, but for what a
    file system or a reader's eye would take for something else: separators, and characters that cannot be seen.
    """
    clean = (
        "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).lstrip(". ") or "file"
    )
    plain = _UNSAFE.sub("_", clean)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clean, safe='')}"


# --- what is said about it ----------------------------------------------------------------------------------------------

_BYTES: Final = {"type": "string", "format": "binary"}
_BY_DIGEST: Final = path(
    "digest",
    "SHA-256 of the file, as the document names it.",
    {"type": "string", "pattern": schemas.ID},
    "0" * 63 + "2",
)
_WAIT: Final = asks(
    "Prefer",
    "`wait=N` (RFC 7240): answer when the file is here, or after N seconds (60 at most).",
    {"type": "string"},
)
_STATE: Final[dict[str, Any]] = {
    "state": {"type": "string", "enum": ["here", "fetching", "not-fetched", "unavailable"]},
    "held": {"type": "integer", "minimum": 0, "description": "Bytes that are here."},
    "size": {"type": "integer", "minimum": 1, "description": "Bytes of the whole, as the document says."},
}
_FILE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "media_type": {"type": "string"},
        "digest": {"type": "string", "pattern": schemas.ID},
        **_STATE,
        "problem": {"type": "string", "enum": list(_WHY), "description": "Why it is not to be had."},
        "links": {"type": "object", "properties": {"self": {"type": "string"}}, "required": ["self"]},
    },
    "required": ["name", "media_type", "digest", "state", "held", "size", "links"],
}
schemas.FURTHER.update(
    {
        "File": _FILE,
        "FileList": {
            "type": "object",
            "properties": {"files": {"type": "array", "items": ref("File")}},
            "required": ["files"],
        },
        "FileState": {"type": "object", "properties": _STATE, "required": ["state", "held", "size"]},
        "Uploaded": {
            "type": "object",
            "properties": {"digest": _FILE["properties"]["digest"], "size": _STATE["size"]},
            "required": ["digest", "size"],
        },
    }
)
_GIVEN: Final[dict[int, tuple[str, str | None, Any]]] = {
    200: ("The file, to be saved. It has been compared with the digest that was signed.", "*/*", _BYTES),
    202: ("It is being fetched from the partner; ask again.", JSON, ref("FileState")),
}
_GIVEN_HEADERS: Final = {
    200: {
        "Content-Disposition": header(
            "`attachment`, with the name that the document gives it.", {"type": "string"}
        )
    },
    202: {"Retry-After": header("Seconds to wait.", {"type": "integer"})},
}

UPLOAD: Final = Said(
    "uploadFile", "Files", "Upload a file that a document is going to name",
    {201: ("It is here.", JSON, ref("Uploaded")), 200: ("It was here already.", JSON, ref("Uploaded"))},
    text=f"The bytes as they are, at most {MAX_FILE:,} of them. The same file again is the same file: no key is needed to repeat this.",
    problems=("uploads-busy", "store-full"),
    body={"required": True, "content": {kind: {} for kind in MEDIA_TYPES}},
)  # fmt: skip
LIST: Final = Said(
    "listFiles", "Files", "List the files that a document names, and whether they are here",
    {200: ("All of them, in the document's order.", JSON, ref("FileList"))},
    problems=("not-found",), parameters=(BY_ID,),
)  # fmt: skip
READ: Final = Said(
    "readFile", "Files", "Download a file that a document names",
    _GIVEN | NOT_MODIFIED,
    text="If it is not here, the partner is asked for it, and this is answered by 202 until it has come.",
    problems=("not-found", "file-unavailable", "store-full"),
    parameters=(BY_ID, _BY_DIGEST, _WAIT, IF_NONE_MATCH), headers=_GIVEN_HEADERS,
)  # fmt: skip
FETCH: Final = Said(
    "fetchFile", "Files", "Ask the partner once more for a file that could not be had",
    _GIVEN,
    problems=("not-found", "file-unavailable", "store-full"),
    parameters=(BY_ID, _BY_DIGEST, _WAIT), headers=_GIVEN_HEADERS,
)  # fmt: skip
