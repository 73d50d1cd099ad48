"""The OpenAPI document against the application: what it promises is so, whatever is thrown at it.

schemathesis makes requests from the schema, valid and invalid ones, and compares every answer with it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    HealthCheck,
    PhasesConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    StatefulPhaseConfig,
)
from schemathesis.engine import events, from_schema
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from kpnode.store.callers import Scope
from tests.api import office


class Bridge:
    """The application as seen from another thread: requests run on the loop of the node, which knows no other."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for name in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": name})
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        running = asyncio.run_coroutine_threadsafe(self._run(scope, body), self._loop)
        for answer in await asyncio.wrap_future(running):
            await send(answer)

    async def _run(self, scope: ASGIScope, body: bytes) -> list[Message]:
        answers: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            answers.append(message)

        await self._app(scope, receive, send)
        return answers


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bridge, str]]:
    """An office on a thread of its own, with a key for everything."""
    folder = tmp_path_factory.mktemp("schema")
    loop = asyncio.new_event_loop()
    opened: dict[str, Any] = {}
    up, down = threading.Event(), asyncio.Event()

    async def live() -> None:
        pair = [(address, f"sqlite:///{folder / address}.db") for address in ("BW", "AE")]
        async with office(*pair, requests_per_minute=None) as there:
            opened["app"], opened["key"] = there.app, await there.key(*Scope)
            up.set()
            await down.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    assert up.wait(20)
    yield Bridge(opened["app"], loop), opened["key"]
    loop.call_soon_threadsafe(down.set)
    thread.join(20)
    loop.close()


@pytest.mark.slow
def test_every_answer_is_as_the_schema_says(running: tuple[Bridge, str]) -> None:
    app, key = running
    exact = ChecksConfig(
        # A document may have the right form and break a rule of the trade all the same.
        positive_data_acceptance=PositiveDataAcceptanceConfig(enabled=False),
    )
    project = ProjectConfig(
        headers={"Authorization": f"Bearer {key}"},
        checks=exact,
        phases=PhasesConfig(stateful=StatefulPhaseConfig(enabled=False)),
        generation=GenerationConfig(max_examples=8, deterministic=True, no_shrink=True),
        continue_on_failure=True,
    )
    config = SchemathesisConfig(
        projects=ProjectsConfig(default=project), suppress_health_check=[HealthCheck.all]
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    faults, requests = set(), 0
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.add(str(getattr(event, "info", event)))
        if not isinstance(event, events.ScenarioFinished):
            continue
        requests += len(event.recorder.interactions)
        for case, checks in event.recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    failure, sent = check.failure_info.failure, event.recorder.cases[case].value
                    if (
                        check.name == "negative_data_rejection"
                        and (sent.query or {}).get("dry_run") == "true"
                    ):
                        continue  # a dry run is asked what is wrong, and says it
                    shown = json.dumps(sent.query, default=str)[:200], repr(sent.body)[:300]
                    faults.add(f"{event.label} {check.name}: {failure.message}\n    {shown}")
    assert not faults, "\n".join(sorted(faults))
    assert requests > 500
