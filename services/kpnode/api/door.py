"""The door: who may call which operation, how often, and that nothing but an answer or a problem comes back out.

Every route of the API is an `Operation`. It names the scope that its caller needs, in the same words for the door and for the
OpenAPI document, and a route that names none cannot be made: what nobody thought about is denied (S102). The door
knows nothing of documents.

Keys are looked up in memory. They are read again from the database every few seconds, so that a key that was revoked by another
process stops working soon; if the database is away, those that were read last go on being recognised, for what can be done
without it.
"""

from __future__ import annotations

import hmac
import inspect
import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, cast

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kpmsg.errors import DraftError, KeyFileError
from kpmsg.rules import Language
from kpnode.api.answers import Refused
from kpnode.api.broken import language_of, told
from kpnode.node import Node
from kpnode.store.callers import Caller, Scope, callers
from kpnode.store.database import StoreError, StoreFullError
from kpnode.store.submissions import ClaimedError, KeyReusedError, PartnerUnknownError

REFRESH_SECONDS: Final = 5.0
RETRY_SECONDS: Final = "5"
SCHEME: Final = "apiKey"
_TOKEN: Final = re.compile(r"\A[Bb]earer +kp_([0-9a-f]{16})_([0-9a-f]{64})\Z")
log = structlog.get_logger()


class _Bucket:
    """So many at once, and so many a second in the long run."""

    def __init__(self, most: float, per_second: float) -> None:
        self._most = self._tokens = most
        self._per_second = per_second
        self._at = time.monotonic()

    def take(self) -> float:
        """Take one: 0, or the seconds until there is one."""
        now = time.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


@dataclass
class Door:
    """What one application lets in. `requests_per_minute` holds for each key; None for no limit."""

    node: Node
    requests_per_minute: int | None
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    _callers: dict[str, Caller] = field(default_factory=dict)
    _read_at: float = float("-inf")
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _strangers: _Bucket = field(
        default_factory=lambda: _Bucket(20, 2.0)
    )  # guessing must not read the database at will

    async def admit(self, request: Request, scope: str) -> Caller:
        """The caller, if it has a valid key with `scope` and has not asked too often. Refuses with 401, 403 or 429."""
        caller = await self.caller(request)
        if caller is None:
            raise Refused(
                "key-missing",
                "Send an API key in the header: Authorization: Bearer kp_...",
                headers={"www-authenticate": 'Bearer realm="kpnode"'},
            )
        if scope not in caller.scopes:
            raise Refused(
                "scope-missing",
                f"This API key has not been given the scope {scope}.",
                headers={
                    "www-authenticate": f'Bearer realm="kpnode", error="insufficient_scope", scope="{scope}"'
                },
            )
        self._spend(caller)
        return caller

    async def caller(self, request: Request) -> Caller | None:
        """Whose valid key the request bears; None if it bears none at all. A key that is not valid is refused with 401."""
        header = request.headers.get("authorization")
        if header is None or header.startswith("kp_"):  # a key without the word Bearer: told how to send it
            return None
        token = _TOKEN.match(header)
        now = time.monotonic()
        if now - self._read_at > REFRESH_SECONDS:
            await self._read(now)
        if token is not None:
            key_id, secret = token.groups()
            caller = self._callers.get(key_id)
            if caller is None and not self._strangers.take():
                await self._read(now)  # it may have been made a moment ago
                caller = self._callers.get(key_id)
            if (
                caller is not None
                and hmac.compare_digest(sha256(secret.encode("ascii")).hexdigest(), caller.secret_sha256)
                and caller.usable(self.node.clock())
            ):
                return caller
        raise Refused(
            "key-unusable",
            "This API key is unknown, has expired or was revoked.",
            headers={"www-authenticate": 'Bearer realm="kpnode", error="invalid_token"'},
        )

    async def _read(self, now: float) -> None:
        first, self._read_at = not self._callers, now  # at once: the others need not read too
        try:
            self._callers = {caller.id: caller for caller in await self.node.database.read(callers)}
        except StoreError:
            if first:
                self._read_at = float("-inf")
                raise

    def _spend(self, caller: Caller) -> None:
        if self.requests_per_minute is None:
            return
        most = self.requests_per_minute
        bucket = self._buckets.get(caller.id)
        if bucket is None:
            bucket = self._buckets[caller.id] = _Bucket(most, most / 60)
        seconds = bucket.take()
        if seconds:
            raise Refused(
                "rate-limited",
                f"This API key may send {most} requests a minute. Wait, then send it again.",
                headers={"retry-after": str(math.ceil(seconds))},
            )


class Operation(APIRoute):
    """One operation of the API, made by `@app.get(..., **operation(...))`.

    `security` in its OpenAPI extra names the scope; `[]` makes it public. What an endpoint raises becomes a problem here, so no
    exception reaches the server.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint behind the door."""
        security = (self.openapi_extra or {}).get("security")
        if security is None:
            raise TypeError(f"{self.path} does not say who may call it")
        scope = str(security[0][SCHEME][0]) if security else None
        names = frozenset(_query_names(self))
        # An endpoint that reads the raw request leaves FastAPI nothing to find out for it.
        bare = list(inspect.signature(self.endpoint).parameters) == ["request"]
        endpoint = cast(
            Callable[[Request], Awaitable[Response]],
            self.endpoint if bare else super().get_route_handler(),
        )
        label = self.operation_id or self.path

        async def handle(request: Request) -> Response:
            door: Door = request.app.state.door
            try:
                if scope is not None:
                    request.state.caller = await door.admit(request, scope)
                if (
                    "\0" in request.scope["path"]
                ):  # no name here has one, and PostgreSQL cannot be asked for it
                    raise Refused("not-found", "There is nothing here of that name.")
                if request.scope["query_string"]:
                    _refuse_unknown(request, names)
                response = await endpoint(request)
            except Exception as error:  # noqa: BLE001 - this is where exceptions end
                response = problem_of(error, label, language_of(request)).answer()
            door.counts[label, response.status_code] += 1
            return response

        return handle


def caller_of(request: Request) -> Caller:
    """Whom the door has let in for this request."""
    return cast(Caller, request.state.caller)


def problem_of(error: Exception, label: str, language: Language = "en") -> Refused:
    """What the caller is told about an exception: whose fault it is, and what to do. Broken rules are told in `language`."""
    match error:
        case Refused():
            return error
        case DraftError():
            return _broken(error, language)
        case RequestValidationError():
            errors = [_invalid(one) for one in error.errors()]
            return Refused("request-invalid", "; ".join(str(one["detail"]) for one in errors), errors=errors)
        case HTTPException(status_code=404):
            return Refused(
                "not-found", "There is no such address. What there is, is listed at /openapi.json."
            )
        case HTTPException(status_code=405):
            return Refused("method-not-allowed", "This method is not possible at this address.")
        case KeyReusedError():
            detail = (
                "This Idempotency-Key came before, with another body. Take a new key for a new submission."
            )
            return Refused("idempotency-key-reused", detail)
        case ClaimedError() | PartnerUnknownError():
            return not_submitted(error, "")
        case KeyFileError():
            log.error("signing-unavailable", operation=label, code=error.code)
            detail = (
                "The signing key cannot be used. Nothing has been signed or stored. An operator has to act."
            )
            return Refused("signing-unavailable", detail, headers={"retry-after": RETRY_SECONDS})
        case StoreFullError():
            return Refused(
                "store-full", "The disk is full. Nothing has been stored. An operator has to make room."
            )
        case StoreError():
            log.warning("store-unavailable", operation=label, error=str(error))
            detail = "The database did not answer. Send the same again later, with the same Idempotency-Key if it has one."
            return Refused("store-unavailable", detail, headers={"retry-after": RETRY_SECONDS})
    log.error("request-failed", operation=label, exc_info=error)
    return Refused(
        "internal",
        "Something failed here; the operator finds it in the log. Nothing is known to have changed.",
    )


def _broken(error: DraftError, language: Language) -> Refused:
    """Every rule that a draft breaks; those that refuse it first, those that only warn after them."""
    errors = [told(p, language) for p in sorted(error.problems, key=lambda p: p.severity != "reject")]
    more = sum(p.severity == "reject" for p in error.problems) - 1
    detail = str(errors[0]["detail"]) + (f" (+{more})" if more > 0 else "")
    return Refused("document-invalid", detail, errors=errors, headers={"content-language": language})


def not_submitted(error: ClaimedError | PartnerUnknownError, at: str) -> Refused:
    """For one document or one of several, of which `at` is the place."""
    if isinstance(error, PartnerUnknownError):
        detail = f"{error.address} is not a partner of this node; an operator adds partners."
        place = {"code": "partner-unknown", "pointer": f"{at}/recipient", "detail": detail}
        return Refused("partner-unknown", detail, errors=[place])
    kind = error.claim.partition(":")[0]
    if len(error.document_id) == 64:
        detail = (
            f"This has been said already, by document {error.document_id} ({kind}). It was not said again."
        )
        link: dict[str, Any] = {
            "document": error.document_id,
            "location": f"/v1/documents/{error.document_id}",
        }
    else:
        detail, link = f"The same request says this twice ({kind}).", {}
    return Refused(
        "already-said", detail, errors=[{"code": "already-said", "pointer": at, "detail": detail}], **link
    )


def _invalid(error: dict[str, Any]) -> dict[str, Any]:
    kind, *rest = error["loc"]
    name = str(rest[0]) if rest else ""
    return {
        "code": "parameter-invalid",
        kind if kind == "header" else "parameter": name,
        "detail": f"{name}: {_demand(error['type'], error.get('ctx', {}))}",
    }


def _demand(kind: str, bounds: dict[str, Any]) -> str:
    """What a parameter must be, in our words; a kind that is not here has none that would help."""
    match kind:
        case "greater_than_equal":
            return f"must not be less than {bounds['ge']}"
        case "less_than_equal":
            return f"must not be more than {bounds['le']}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "string_too_long":
            return f"may have at most {bounds['max_length']} characters"
        case "literal_error" | "enum":
            return f"must be {bounds['expected']}"
        case "missing":
            return "must be given"
    return "cannot be understood"


def _query_names(route: APIRoute) -> list[str]:
    names: list[str] = []
    for parameter in route.dependant.query_params:
        fields = getattr(parameter.field_info.annotation, "model_fields", None)
        names += [parameter.alias] if fields is None else list(fields)
    by_hand = (route.openapi_extra or {}).get("parameters", ())
    return names + [parameter["name"] for parameter in by_hand if parameter["in"] == "query"]


def _refuse_unknown(request: Request, names: frozenset[str]) -> None:
    unknown = sorted(set(request.query_params) - names)
    if unknown:
        # A filter that is not one would silently give a longer list than was asked for.
        errors = [
            {"code": "parameter-unknown", "parameter": name[:64], "detail": "There is no such parameter."}
            for name in unknown[:20]
        ]
        shown = ", ".join(name[:64] for name in unknown[:20] if name.isprintable())
        raise Refused("request-invalid", f"Unknown query parameter: {shown}.", errors=errors)

    for name, value in request.query_params.multi_items():
        if "\0" in value:
            detail = f"{name}: cannot be understood"
            error = {"code": "parameter-invalid", "parameter": name, "detail": detail}
            raise Refused("request-invalid", detail, errors=[error])


def public() -> list[dict[str, list[str]]]:
    """`security` of an operation that anybody may call."""
    return []


def needs(scope: Scope) -> list[dict[str, list[str]]]:
    """`security` of an operation whose caller must have `scope`."""
    return [{SCHEME: [scope]}]
