"""From the command line to the running node: a socket in the node's home that only the node's user can open.

One JSON line in (`{"verb": ..., "arguments": {...}}`), one JSON line out (`{"result": ...}` or `{"error": ...}`), then the end. Who may
open the file may already read the keys beside it, so there is nothing more to prove. What the verbs are is for `kpnode.operator`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import structlog

from kpnode import setup
from kpnode.author import rfc3339
from kpnode.home import Home
from kpnode.operator import Operator, OperatorError, in_words
from kpnode.settings import Settings
from kpnode.setup import SetupError
from kpnode.store.database import Database, StoreOwnedError

MAX_BYTES: Final = 1024 * 1024
ANSWER_SECONDS: Final = 60.0
log = structlog.get_logger()


async def operate(settings: Settings, verb: str, **arguments: Any) -> Any:
    """Have a verb done by the running node, or do it here if none runs. Raises OperatorError and what `in_words` knows."""
    answer = await ask(settings, verb, **arguments)
    if answer is not None:
        return answer["result"]
    try:
        async with at_rest(settings) as operator:
            return await operator.perform(verb, arguments)
    except StoreOwnedError as error:
        raise OperatorError(
            f"{error}, and no node answers at {Home(settings.home).control}: is it just starting or stopping, or elsewhere?"
        ) from error


async def ask(settings: Settings, verb: str, **arguments: Any) -> dict[str, Any] | None:
    """The running node's answer, as `{"result": ...}`; None if no node runs in this home. Raises OperatorError."""
    with _short_name(Home(settings.home).control) as path:
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_BYTES)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise OperatorError(f"cannot open {Home(settings.home).control}: {error.strerror}") from error
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
            answer = json.loads(await reader.readline() or b"{}")
    except TimeoutError:
        raise OperatorError("the running node does not answer") from None
    except (OSError, ValueError) as error:
        raise OperatorError("the running node broke off") from error
    finally:
        writer.close()
    if "result" not in answer:
        raise OperatorError(answer.get("error", "the running node broke off"))
    return {"result": answer["result"]}


@asynccontextmanager
async def at_rest(settings: Settings) -> AsyncIterator[Operator]:
    """The operator of a node that is not running: owns the database for a moment. Raises StoreOwnedError if it is."""
    from kpnode.migrations import migrate

    records = setup.load_records(settings)
    if not records:
        raise SetupError("this node has not been set up; run `kpnode init`")
    database = Database(settings.database_url)
    try:
        await database.start()
        migrate(settings.database_url)
        at = rfc3339(datetime.now(UTC))
        await database.write(lambda c: setup.settle_owner(c, settings.address, records, at))
        yield Operator(settings, database)
    finally:
        await database.close()


class Control:
    """The node's end of the socket. Start it after the database has been claimed: an older socket is then a dead one."""

    def __init__(self, path: Path, operator: Operator) -> None:
        self._path = path
        self._operator = operator
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    async def start(self) -> Self:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with _short_name(self._path) as path:
            listener.bind(path)
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._answer, sock=listener, limit=MAX_BYTES)
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            with contextlib.suppress(OSError, ValueError):  # whoever asked has gone
                asked = json.loads(await reader.readline())
                writer.write(json.dumps(await self._perform(asked)).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()
            self._calls.discard(call)

    async def _perform(self, asked: Any) -> dict[str, Any]:
        try:
            verb = str(asked["verb"])
            result = await self._operator.perform(verb, asked["arguments"])
        except Exception as error:
            said = in_words(error)
            if said is None:
                log.exception("operator-failed")
                said = f"something is wrong in the node itself ({type(error).__name__}); its log says more"
            return {"error": said}
        log.info("operator", verb=verb)
        return {"result": result}


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for the socket that fits into the 107 bytes which the kernel has for it, however deep the home is."""
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        yield str(path)  # nothing is there, and so it will say
        return
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
