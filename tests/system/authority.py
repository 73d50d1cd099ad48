"""One authority on the real stack: its `kpnode run` process, its callers, and its database as it is.

Callers are careful ones, as an authority's own system should be: an Idempotency-Key on everything, and again until there is an
answer. The database is read directly, for what a node says of itself is not evidence.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import func, select

from kpmsg.register import Head
from kpnode.control import operate
from kpnode.settings import Settings
from kpnode.store import tables as t
from kpnode.store.database import connect
from kpnode.throwaway import free_ports
from kpnode.throwaway.premises import Premises

# Generous: a slow machine is no fault of the node, and nobody waits for them on a good day.
START_SECONDS = 90.0
PATIENCE_SECONDS = 120.0
SCOPES = ["documents:write", "documents:read", "partners:read"]


@dataclass(frozen=True)
class Books:
    """What one database says, read beside the node or after its death."""

    ids: list[str]
    raws: Mapping[str, bytes]
    outgoing: set[str]
    unreceived: set[str]
    withheld: set[str]
    held: Head
    known: Head
    cases: Mapping[str, tuple[str, str, str | None]]
    incidents: list[str]
    quarantined: int


class Authority:
    """One authority: its settings, its process while it runs, and its callers."""

    def __init__(self, values: Mapping[str, Any], premises: Premises) -> None:
        self.address = str(values["address"])
        self.settings = Settings(**values)
        self.answers: Counter[int] = Counter()  # by HTTP status, of everything submitted
        self._values = values
        self._premises = premises
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""

    # -- the process -----------------------------------------------------------------------------------------------------

    def launch(self, crash_at: str | None = None) -> None:
        """Start the process, which dies at `crash_at` (`A1`, or `A1:3` for the third time), and do not wait."""
        assert self._process is None
        environment = _environment(self._values)
        if crash_at is not None:
            environment["KPNODE_CRASH_AT"] = crash_at
        self._process = self._premises.spawn([sys.executable, "-m", "kpnode", "run"], environment)

    async def start(self, crash_at: str | None = None, *, broker: bool = True) -> None:
        """Start the process and wait until it says that it is ready; with `broker` false, until its database is."""
        self.launch(crash_at)
        await self.ready(broker=broker)

    async def ready(self, *, broker: bool = True, seconds: float = START_SECONDS) -> None:
        async def holds() -> bool:
            assert self.process.poll() is None, f"{self.address} ended:\n{self.log()[-4000:]}"
            try:
                checks = (await client.get("/readyz")).json()["checks"]
            except httpx.TransportError:
                return False
            return checks["database"] and (checks["broker"] or not broker)

        async with self._client() as client:
            await until(holds, seconds)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.address} is not running"
        return self._process

    async def died(self, seconds: float = 60.0) -> None:
        """Wait until the process has been killed at its crash point; it must be SIGKILL, by its own hand."""
        await until(lambda: self.process.poll() is not None, seconds)
        status, self._process = self.process.returncode, None
        self._premises.kill()
        assert status == -signal.SIGKILL, f"{self.address} ended with {status}:\n{self.log()[-4000:]}"

    async def stop(self) -> None:
        """End it in order, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        await until(lambda: self.process.poll() is not None)
        status, self._process = self.process.returncode, None
        self._premises.kill()
        assert status == 0, f"{self.address} ended with {status}:\n{self.log()[-4000:]}"

    def second(self) -> str:
        """Start another process on the same home and database, which must end by itself; what it said."""
        values = {**self._values, "api": {"port": free_ports(1)[0]}}
        command = [sys.executable, "-m", "kpnode", "run"]
        done = subprocess.run(
            command, env=_environment(values), capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode > 0, done
        return done.stderr

    def kill(self) -> None:
        """SIGKILL from outside, at whatever it is doing."""
        self._premises.kill()
        self._process = None

    def log(self) -> str:
        return self._premises.output()

    # -- its callers and its operator --------------------------------------------------------------------------------------

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.settings.api.port}",
            headers={"authorization": f"Bearer {self._token}"},
            timeout=20,
            trust_env=False,
        )

    async def admit_a_caller(self) -> None:
        """A new API key for this authority's own system."""
        self._token = (await operate(self.settings, "apikey-add", name="customs", scopes=SCOPES))["key"]

    async def submit(self, draft: Any, key: str, *, seconds: float = PATIENCE_SECONDS) -> str:
        """Submit like a careful client: the same key again until there is an answer. Returns the document's id.

        Only what says "later" is tried again; any other answer but success is an error here, a 500 above all.
        """
        [document] = await self.submit_all(draft, key, seconds=seconds)
        return document

    async def submit_all(self, drafts: Any, key: str, *, seconds: float = PATIENCE_SECONDS) -> list[str]:
        """The same for one draft or a list of them."""
        deadline = time.monotonic() + seconds
        async with self._client() as client:
            while True:
                try:
                    answer = await client.post("/v1/documents", json=drafts, headers={"idempotency-key": key})
                except httpx.TransportError as error:
                    said = repr(error)
                else:
                    self.answers[answer.status_code] += 1
                    said = f"{answer.status_code} {answer.text}"
                    if answer.is_success:
                        told = answer.json()
                        return [str(each["id"]) for each in told.get("documents", [told])]
                    assert answer.status_code in {503, 507}, said
                assert time.monotonic() < deadline, f"no success in {seconds} s: {said}"
                await asyncio.sleep(0.1)

    async def post(self, draft: Any, key: str) -> httpx.Response:
        """Submit once and return whatever comes."""
        async with self._client() as client:
            return await client.post("/v1/documents", json=draft, headers={"idempotency-key": key})

    async def get(self, path: str) -> Any:
        async with self._client() as client:
            return (await client.get(path)).raise_for_status().json()

    async def operate(self, verb: str, **arguments: Any) -> Any:
        return await operate(self.settings, verb, **arguments)

    # -- its database ------------------------------------------------------------------------------------------------------

    @property
    def database(self) -> str:
        return self.settings.database_url

    def glance(self) -> tuple[int, int, Head, Head]:
        """How many documents there are, how many of ours wait for a receipt, and the heads of both registers."""
        waits = (
            t.document.c.direction == "out",
            t.document.c.received_at.is_(None),
            t.document.c.withheld.is_(None),
        )
        total = select(func.count()).select_from(t.document)
        engine = connect(self.database, writer=False)
        try:
            with engine.connect() as connection, connection.begin():
                row = connection.execute(select(t.partner)).one()
                there, waiting = (
                    connection.execute(query).scalar_one() for query in (total, total.where(*waits))
                )
        finally:
            engine.dispose()
        return there, waiting, Head(row.held_size, row.held_head), Head(row.known_size, row.known_head)

    def books(self) -> Books:
        engine = connect(self.database, writer=False)
        try:
            with engine.connect() as connection, connection.begin():
                rows = connection.execute(select(t.document).order_by(t.document.c.seq)).all()
                heads = connection.execute(select(t.partner)).one()
                certificates = connection.execute(select(t.certificate)).all()
                incidents = (
                    connection.execute(select(t.incident.c.kind).order_by(t.incident.c.seq)).scalars().all()
                )
                quarantined = connection.execute(select(t.quarantine.c.seq)).all()
        finally:
            engine.dispose()
        outgoing = [row for row in rows if row.direction == "out"]
        return Books(
            ids=[row.id for row in rows],
            raws={row.id: row.raw for row in rows},
            outgoing={row.id for row in outgoing},
            unreceived={row.id for row in outgoing if row.received_at is None and row.withheld is None},
            withheld={row.id for row in outgoing if row.withheld is not None},
            held=Head(heads.held_size, heads.held_head),
            known=Head(heads.known_size, heads.known_head),
            cases={row.key: (row.state, row.case, row.locked) for row in certificates},
            incidents=list(incidents),
            quarantined=len(quarantined),
        )


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **_variables(values)}


def _variables(values: Mapping[str, Any], prefix: str = "KPNODE_") -> dict[str, str]:
    """Settings as the environment variables that say the same."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _variables(value, f"{prefix}{name.upper()}__")
        else:
            found[f"{prefix}{name.upper()}"] = (
                json.dumps(value) if isinstance(value, list | bool) else str(value)
            )
    return found


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 60.0) -> None:
    """Wait until `holds()`; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        await asyncio.sleep(0.1)
