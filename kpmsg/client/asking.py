"""One request to a node, with all its attempts: how it is repeated, and what a failure is called.

The lowest layer of the SDK, and the only one that knows HTTP. It refuses to know what is asked for (`kpmsg.client`, `kpmsg.client.desk`).
Everything that goes through it may be repeated: it only reads, bears an idempotency key, or does the same when it is done twice.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from kpmsg.errors import ClientError, Problem, Severity

Json = dict[str, Any]

PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the attempts of one request; the node may ask for more."""

LONGEST_PAUSE: Final = 60.0
"""Who is asked to come again later than this is told at once instead."""

LONGEST_WAIT: Final = 60
"""Seconds that a node lets one request wait."""

PATIENCE: Final = 20.0
"""Seconds for an answer, on top of the seconds that the node was asked to wait."""

_SEVERITIES: Final[Mapping[str, Severity]] = {"hold": "hold", "warn": "warn"}
_LATER: Final = frozenset({429, 502, 503, 504})
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_API_KEY: Final = re.compile(r"\Akp_[0-9a-f]{16}_[0-9a-f]{64}\Z")


class Asking:
    """The connection to one node, with one API key (see `kpmsg.client.NodeClient`)."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        sleep: Callable[[float], object],
        tls: ssl.SSLContext | None = None,
        insecure_plaintext: bool = False,
        language: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("the URL of a node is written like https://node.example:8443")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure_plaintext:
            raise ValueError(
                f"plain http to {parts.hostname} would show the API key to everybody in between; use https"
            )
        _ = parts.port  # ValueError for one that is none
        if not _API_KEY.match(api_key):
            raise ValueError("this is not an API key: those begin with kp_ and have 84 characters")
        self._url = url.rstrip("/")
        self._sleep = sleep
        headers = {"authorization": f"Bearer {api_key}", "accept": "application/json"}
        if language is not None:
            headers["accept-language"] = language
        self._http = httpx.Client(
            headers=headers,
            verify=tls if tls is not None else True,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def __repr__(self) -> str:
        return f"NodeClient({self._url!r})"

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: str | None = None,
        wait: int = 0,
    ) -> httpx.Response:
        """The answer, if it is a success. Safe to repeat: it only reads, or has an idempotency key."""
        request = self._http.build_request(
            method,
            self._url + path,
            params=params,
            content=content,
            headers={**(headers or {}), **({"accept": accept} if accept else {})},
            timeout=httpx.Timeout(PATIENCE, read=PATIENCE + wait),
        )
        pauses = iter(PAUSES)
        while True:
            asked = 0.0
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                failure = ClientError("node-unreachable", f"no answer from {self._url}: {reason}")
            else:
                if response.is_success:
                    return response
                failure = _failure(response)
                if response.status_code not in _LATER:
                    raise failure
                asked = _retry_after(response)
            pause = next(pauses, None)
            if pause is None or asked > LONGEST_PAUSE:
                raise failure
            self._sleep(max(pause, asked))

    def _pages(self, path: str, name: str, asked: Mapping[str, str | None]) -> Iterator[Json]:
        """Every entry of a list that has cursors; pages are fetched as they are needed."""
        fixed = {key: value for key, value in asked.items() if value is not None}
        cursor: str | None = None
        while True:
            params = fixed | {"limit": "200"} | ({} if cursor is None else {"cursor": cursor})
            response = self._ask("GET", path, params=params)
            page = object_in(response)
            yield from list_in(response, page, name)
            following = page.get("next")
            if following is None:
                return
            if not isinstance(following, str) or following == cursor:
                raise unreadable(response)
            cursor = following


def _retry_after(response: httpx.Response) -> float:
    """Seconds (RFC 9110, 10.2.3). A date there would need a clock; no node sends one, and our own pauses do."""
    value = response.headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"[0-9]{1,9}", value) else 0.0


def _failure(response: httpx.Response) -> ClientError:
    """What the node (or something in front of it) says has gone wrong."""
    status = response.status_code
    try:
        problem = object_in(response)
    except ClientError:
        problem = {}
    code, detail = problem.get("code"), problem.get("detail")
    if not isinstance(code, str) or not isinstance(detail, str):
        if status in _LATER:
            return ClientError("node-unavailable", f"status {status}: try again later", status=status)
        return unreadable(response)
    listed = problem.get("errors")
    problems = tuple(
        problem_in({"code": code, "detail": detail} | one)
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
    )
    pointer = problems[0].pointer if problems else None
    offered = problem.get("near")
    near = (
        [str(one.get("number")) for one in offered if isinstance(one, dict)]
        if isinstance(offered, list)
        else []
    )
    return ClientError(code, detail, pointer, status=status, problems=problems, near=near)


def problem_in(told: Json) -> Problem:
    """One broken rule as the node tells it."""
    return Problem(
        str(told.get("code", "")),
        str(told.get("detail", "")),
        None if told.get("pointer") is None else str(told["pointer"]),
        _SEVERITIES.get(str(told.get("severity")), "reject"),
    )


def differs(response: httpx.Response) -> ClientError:
    """A file that has another digest than it should have."""
    text = "the file has another digest at the node than here; something in between has changed it"
    return ClientError("file-differs", text, status=response.status_code)


def unreadable(response: httpx.Response) -> ClientError:
    """An answer that no node gives."""
    text = f"status {response.status_code} with an answer that no node gives; is the URL right?"
    return ClientError("answer-unreadable", text, status=response.status_code)


def object_in(response: httpx.Response) -> Json:
    """The JSON object in an answer; ClientError ``answer-unreadable`` if there is none."""
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise unreadable(response)
    return value


def list_in(response: httpx.Response, members: Json, name: str) -> list[Json]:
    """The list of objects that an answer has under `name`."""
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise unreadable(response)
    return value
