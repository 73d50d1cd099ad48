"""What every answer of the API looks like: bytes that are ready, the headers that protect them, and RFC 9457 problems.

Answers are built from bytes here and nowhere else, so none leaves without its security headers. A problem has a code that
programs may rely on and a sentence for whoever reads it; it never repeats what was sent, and never shows a stack trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson

JSON: Final = "application/json"
JOSE: Final = "application/jose+json"
PROBLEM: Final = "application/problem+json"

_PROTECTION: Final = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "already-said": (409, "Another document says this already"),
    "body-size": (413, "The body is too large"),
    "body-slow": (408, "The body did not arrive in time"),
    "content-type": (415, "This content is not read here"),
    "document-invalid": (422, "A document breaks a rule"),
    "draft-closed": (409, "The draft is closed already"),
    "draft-unfit": (409, "A draft cannot be released as it stands"),
    "file-unavailable": (404, "The file cannot be had"),
    "feed-shorter": (409, "The feed does not go so far"),
    "header-invalid": (400, "A header is missing or cannot be read"),
    "idempotency-key-reused": (409, "The Idempotency-Key was used for another request"),
    "incident-closed": (409, "The incident is closed already"),
    "internal": (500, "Something failed here"),
    "json-invalid": (400, "The body is not the JSON that can be read here"),
    "key-missing": (401, "An API key is needed"),
    "key-unusable": (401, "This API key is not valid"),
    "method-not-allowed": (405, "This is not possible here"),
    "not-acceptable": (406, "There is no such form of it"),
    "not-found": (404, "There is nothing here"),
    "nothing-to-say": (409, "The case holds nothing to speak of"),
    "partner-unknown": (422, "The recipient is not a partner"),
    "precondition-failed": (412, "It has changed meanwhile"),
    "rate-limited": (429, "Too many requests"),
    "release-needed": (403, "A second person must release this"),
    "request-invalid": (422, "The request cannot be understood"),
    "same-person": (403, "Another person must release this"),
    "scope-missing": (403, "This API key may not do that"),
    "sender-unproved": (401, "The sender is not proved"),
    "signing-unavailable": (503, "Nothing can be signed at the moment"),
    "store-full": (507, "There is no room left"),
    "store-unavailable": (503, "The database cannot be reached"),
    "streams-exhausted": (503, "Too many event streams are open"),
    "uploads-busy": (503, "Too many files are being uploaded"),
}
"""Every problem: its HTTP status and title. Codes are never renamed."""


class Refused(Exception):
    """The request ends here with a problem. `code` is one of CODES; `errors` are its parts, with places."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.members = members

    def answer(self) -> Response:
        """The problem as a response."""
        status, title = CODES[self.code]
        body = {
            "type": f"urn:kp:problem:{self.code}",
            "title": title,
            "status": status,
            "code": self.code,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        return Answer(strictjson.dumps(body), status, PROBLEM, self.headers)


class Answer(Response):
    """A response of ready bytes, with the headers that every response of ours has."""

    def __init__(
        self,
        content: bytes,
        status: int = 200,
        media_type: str = JSON,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        # Response.__init__ does a good deal more; this runs for every request.
        self.status_code = status
        self.body = content
        self.background = None
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        replaced = {name for name, _ in own}
        self.raw_headers = [pair for pair in _PROTECTION if pair[0] not in replaced]
        self.raw_headers += own
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.raw_headers.append((b"content-type", media_type.encode("latin-1")))
            self.raw_headers.append((b"content-length", str(len(content)).encode("ascii")))


def protection() -> dict[str, str]:
    """The headers of a response that cannot be an `Answer`, because it has no end."""
    return {name.decode("ascii"): value.decode("ascii") for name, value in _PROTECTION}


def etag(content: bytes) -> str:
    """A strong validator: the same for the same bytes."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def tagged(request: Request, content: bytes, media_type: str = JSON, *, for_ever: bool = False) -> Answer:
    """A representation with its ETag; 304 if the caller has it already. `for_ever`: these bytes never change."""
    tag = etag(content)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if for_ever:
        headers["cache-control"] = "private, max-age=31536000, immutable"
    known = request.headers.get("if-none-match")
    if known is not None and names(known, tag):
        return Answer(b"", HTTPStatus.NOT_MODIFIED, media_type, headers)
    return Answer(content, HTTPStatus.OK, media_type, headers)


def must_match(request: Request, current: bytes) -> None:
    """Refuse the change if it was decided on another representation than the `current` one (RFC 9110, 13.1.1)."""
    expected = request.headers.get("if-match")
    if expected is not None and not names(expected, etag(current), weak=False):
        raise Refused(
            "precondition-failed",
            "It has changed since it was read. Read it again, and decide again.",
            headers={"etag": etag(current)},
        )


def names(header: str, tag: str, *, weak: bool = True) -> bool:
    """Whether a conditional header names this tag (RFC 9110, 13.1)."""
    if header.strip() == "*":
        return True
    tags = [part.strip() for part in header.split(",")]
    return any((part.removeprefix("W/") if weak else part) == tag for part in tags)
