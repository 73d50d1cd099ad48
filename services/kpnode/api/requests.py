"""What a request brings, read carefully: its body within limits and time, its preferences, its cursor.

Bodies are JSON and nothing else (S105), read by the strict parser that reads partners' documents too. Sizes are checked
before anything is looked at, and while it arrives (S106).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request

from kpmsg import strictjson
from kpmsg.errors import MalformedError
from kpnode.api.answers import JSON, Refused

BODY_SECONDS: Final = 30.0
SMALL_BODY: Final = 8 * 1024
_KEY: Final = re.compile(r"\A[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?\Z")
_WAIT: Final = re.compile(r"\A[0-9]{1,9}\Z")
LONGEST_WAIT: Final = 60


async def body_of(request: Request, most: int, media_type: str = JSON) -> bytes:
    """The whole body, at most `most` bytes and `media_type`. Refuses with 400, 408, 413, 415."""
    chunks: list[bytes] = []
    await take_body(request, most, (media_type,), chunks.append)
    return b"".join(chunks)


async def take_body(
    request: Request, most: int, media_types: Sequence[str], take: Callable[[bytes], None]
) -> None:
    """Hand a body over to `take` while it arrives; the same limits and refusals, any of `media_types`."""
    given = request.headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() not in media_types or charset not in {"", "charset=utf-8"}:
        raise Refused("content-type", f"Only {', '.join(media_types)} is read here, in UTF-8.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused("content-type", "A compressed body is not read.")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise Refused("header-invalid", "Content-Length is not a number.")
    if len(length) > 12 or int(length) > most:
        raise _too_large(most)
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                take(chunk)
    except TimeoutError:
        raise Refused("body-slow", f"The body must arrive within {BODY_SECONDS:.0f} seconds.") from None
    except ClientDisconnect:
        raise Refused("body-slow", "The body ended before it was complete.") from None


def _too_large(most: int) -> Refused:
    return Refused("body-size", f"The body may have at most {most} bytes.", headers={"connection": "close"})


def json_of(body: bytes, most: int) -> Any:
    """The one JSON value in `body`. Refuses with 400 (413 if it is too large), naming what is wrong by its `json-*` code."""
    try:
        return strictjson.loads(body, max_bytes=most)
    except MalformedError as error:
        raise malformed(error) from None


def malformed(error: MalformedError) -> Refused:
    """The problem of a body that is not the JSON we read."""
    place = {"code": error.code, "pointer": error.pointer or "", "detail": error.text}
    return Refused("json-invalid", f"The body cannot be read: {error.text}.", errors=[place])


async def reason_of(request: Request) -> str:
    """The sentence in a body `{"reason": "..."}`: whoever acts on the exchange says why."""
    given = json_of(await body_of(request, SMALL_BODY), SMALL_BODY)
    reason = given.get("reason") if isinstance(given, dict) else None
    if isinstance(given, dict) and set(given) == {"reason"} and isinstance(reason, str):
        reason = reason.strip()
        if 1 <= len(reason) <= 500:
            return reason
    detail = 'Send {"reason": "..."} and nothing else; a reason is a sentence of at most 500 characters.'
    raise Refused(
        "request-invalid", detail, errors=[{"code": "reason-invalid", "pointer": "/reason", "detail": detail}]
    )


def idempotency_key_of(request: Request) -> str:
    """The caller's own name for this submission. Refuses with 400 if it is missing or unprintable."""
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or _KEY.match(keys[0]) is None:
        raise Refused(
            "header-invalid",
            "Send one Idempotency-Key of 1 to 128 printable ASCII characters, a new one for each submission. "
            "With it the same request can safely be sent again.",
            errors=[
                {
                    "code": "idempotency-key-invalid",
                    "header": "Idempotency-Key",
                    "detail": "missing or unreadable",
                }
            ],
        )
    return keys[0]


@dataclass(frozen=True, slots=True)
class Preferences:
    """RFC 7240, as far as it is honoured: seconds to wait, and whether the answer may leave out the document itself."""

    wait: int = 0
    minimal: bool = False

    @property
    def applied(self) -> str:
        """The value of Preference-Applied; empty if nothing was asked for."""
        parts = [f"wait={self.wait}"] if self.wait else []
        return ", ".join([*parts, "return=minimal"] if self.minimal else parts)


def preferences_of(request: Request) -> Preferences:
    """What `Prefer` asks for. What is not understood is ignored, as that RFC demands."""
    headers = request.headers.getlist("prefer")
    if not headers:
        return Preferences()
    wait, minimal = 0, False
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "wait" and not wait and _WAIT.match(value):
            wait = min(int(value), LONGEST_WAIT)
        minimal |= name == "return" and value == "minimal"
    return Preferences(wait, minimal)


class Page(BaseModel):
    """The query parameters of every list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=200, description="How many entries at most.")] = 50
    cursor: Annotated[
        str | None,
        Field(
            max_length=200,
            pattern=r"^[A-Za-z0-9_-]+$",
            description="`next` of the page before. It is opaque: do not make one up.",
        ),
    ] = None


def cursor_for(*place: int | str) -> str:
    """An opaque name for the place where a page ended."""
    return base64.urlsafe_b64encode(strictjson.dumps(list(place))).rstrip(b"=").decode("ascii")


def cursor_of(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The place that `cursor_for` named. Refuses with 422 what it cannot have made."""
    if cursor is None:
        return None
    try:
        place = strictjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), max_depth=1)
    except (binascii.Error, ValueError, MalformedError):
        place = None
    if not isinstance(place, list) or [type(part) for part in place] != list(kinds):
        detail = "This cursor is not one of ours, or belongs to another list."
        error = {"code": "cursor-invalid", "parameter": "cursor", "detail": detail}
        raise Refused("request-invalid", detail, errors=[error])
    return tuple(place)
