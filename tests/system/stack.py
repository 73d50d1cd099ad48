"""Two authorities on the real stack: two `kpnode run` processes, real RabbitMQ, SQLite or PostgreSQL, the HTTP API.

Botswana exports, the United Arab Emirates imports. Tests submit as an authority's own system should, with an Idempotency-Key
and again until there is an answer; they look at both databases directly, for what a node says of itself is not evidence.
Everything else is done as an operator would do it. Whatever is started here is gone when the test's process is, however that ends.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from kpmsg import documents, jws
from kpmsg.register import Head
from kpnode import setup
from kpnode.assembly import introduce
from kpnode.broker import ManagementApi
from kpnode.control import operate
from kpnode.sample import Trade, confirmation
from kpnode.settings import Settings
from kpnode.store import tables as t
from kpnode.store.database import connect
from kpnode.throwaway import Broker, Postgres, free_ports
from kpnode.throwaway.premises import Premises

START_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
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

    async def died(self, seconds: float = 30.0) -> None:
        """Wait until the process has been killed at its crash point; it must be SIGKILL, by its own hand."""
        await until(lambda: self.process.poll() is not None, seconds)
        status, self._process = self.process.returncode, None
        self._premises.kill()
        assert status == -signal.SIGKILL, f"{self.address} ended with {status}:\n{self.log()[-4000:]}"

    async def stop(self) -> None:
        """End it in order, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        await until(lambda: self.process.poll() is not None, 20)
        status, self._process = self.process.returncode, None
        self._premises.kill()
        assert status == 0, f"{self.address} ended with {status}:\n{self.log()[-4000:]}"

    def second(self) -> str:
        """Start another process on the same home and database, which must end by itself; what it said."""
        values = {**self._values, "api": {"port": free_ports(1)[0]}}
        command = [sys.executable, "-m", "kpnode", "run"]
        done = subprocess.run(command, env=_environment(values), capture_output=True, text=True, timeout=30, check=False)
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

    def books(self) -> Books:
        engine = connect(self.database, writer=False)
        try:
            with engine.connect() as connection, connection.begin():
                rows = connection.execute(select(t.document).order_by(t.document.c.seq)).all()
                heads = connection.execute(select(t.partner)).one()
                certificates = connection.execute(select(t.certificate)).all()
                incidents = connection.execute(select(t.incident.c.kind).order_by(t.incident.c.seq)).scalars().all()
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


@dataclass
class Stack:
    """Both authorities. `brokers` are the exporter's and the importer's, which may be one and the same."""

    exporter: Authority
    importer: Authority
    brokers: tuple[Broker, Broker]
    postgres: Postgres | None
    _copies: list[str] = field(default_factory=list)
    _numbers: int = 0

    async def start(self) -> None:
        await asyncio.gather(self.exporter.start(), self.importer.start())

    def drafts(self, count: int, *, seed: int = 1) -> list[Any]:
        """The next notifications of this trade; no certificate number comes twice."""
        trade = Trade(self.exporter.address, self.importer.address, on=date(2026, 11, 2), seed=seed)
        first, self._numbers = self._numbers + 1, self._numbers + count
        return [trade.notification(n) for n in range(first, self._numbers + 1)]

    async def notify(self, count: int, *, key: str = "n") -> list[str]:
        """Submit that many notifications, all at once, each with a key of its own."""
        first = self._numbers + 1
        submissions = [
            self.exporter.submit(draft, f"{key}-{n}") for n, draft in enumerate(self.drafts(count), first)
        ]
        return list(await asyncio.gather(*submissions))

    def confirmation_of(self, notification_id: str) -> Any:
        """The draft that answers a notification which the importer has."""
        raw = self.importer.books().raws[notification_id]
        return confirmation(documents.parse(jws.peek(raw).unverified_payload), notification_id)

    async def confirm(self, notifications: Sequence[str]) -> list[str]:
        """Let the importer confirm them, as soon as it has them."""
        await until(lambda: set(notifications) <= set(self.importer.books().ids))
        submissions = [self.importer.submit(self.confirmation_of(i), f"c-{i}") for i in notifications]
        return list(await asyncio.gather(*submissions))

    async def agree(
        self, ids: Sequence[str], *, seconds: float = 40.0, incidents: tuple[list[str], list[str]] = ([], [])
    ) -> tuple[Books, Books]:
        """Wait for rest, then hold both databases against each other: zero lost, zero double (I1, I2, I7).

        `ids`: every document that was ever acknowledged to a caller. `incidents`: what exporter and importer have to show.
        """

        def at_rest() -> bool:
            one, other = self.exporter.books(), self.importer.books()
            return (
                not one.unreceived
                and not other.unreceived
                and set(ids) <= set(one.ids) == set(other.ids)
                and (one.known, one.held) == (other.held, other.known)
            )

        try:
            await until(at_rest, seconds)
        except AssertionError:
            one, other = self.exporter.books(), self.importer.books()
            missing = [len(set(ids) - set(books.ids)) for books in (one, other)]
            raise AssertionError(
                f"no rest after {seconds} s: lacking {missing}, unreceived {len(one.unreceived)}/{len(other.unreceived)}, "
                f"registers {one.known.size}~{other.held.size} and {other.known.size}~{one.held.size}\n"
                f"{self.exporter.log()[-3000:]}\n---\n{self.importer.log()[-3000:]}"
            ) from None
        one, other = self.exporter.books(), self.importer.books()
        assert sorted(one.ids) == sorted(set(ids)) == sorted(other.ids), "each document exactly once, and no other"
        assert one.raws == other.raws, "byte for byte"
        assert one.outgoing.isdisjoint(other.outgoing)
        assert one.cases == other.cases
        assert (one.incidents, other.incidents) == incidents
        assert (one.quarantined, other.quarantined) == (0, 0)
        return one, other

    # -- what happens to databases -------------------------------------------------------------------------------------------

    def copy_database(self, of: Authority) -> str:
        """A copy as a backup makes it; on PostgreSQL the node must be stopped. Returns its name for `restore_database`."""
        name = f"{of.settings.home.name}_copy_{len(self._copies)}"
        if self.postgres is not None:
            self.postgres.create_database(name, template=of.database.rpartition("/")[2])
        else:
            name = str(of.settings.home.parent / f"{name}.db")
            source, target = sqlite3.connect(_path(of)), sqlite3.connect(name)
            with source, target:
                source.backup(target)
            source.close()
            target.close()
        self._copies.append(name)
        return name

    def restore_database(self, of: Authority, copy: str) -> None:
        """Put a copy in the place of the database of a node that does not run."""
        self.lose_database(of)
        if self.postgres is not None:
            self.postgres.create_database(of.database.rpartition("/")[2], template=copy)
        else:
            shutil.copyfile(copy, _path(of))

    def lose_database(self, of: Authority) -> None:
        """It is gone, and there is no backup. The node must not run."""
        if self.postgres is not None:
            self.postgres.drop_database(of.database.rpartition("/")[2])
            return
        for suffix in ("", "-wal", "-shm"):
            Path(f"{_path(of)}{suffix}").unlink(missing_ok=True)

    async def lose_everything_but_the_home(self, of: Authority) -> None:
        """An empty database, `kpnode init`, and the partner added again, by its record and the grant that it once made for us."""
        partner = self._partner_of(of)
        self.lose_database(of)
        if self.postgres is not None:
            self.postgres.create_database(of.database.rpartition("/")[2])
        await setup.initialise(of.settings)
        await of.operate("partner-add", **_introduction(partner.settings))
        grant = setup.Home(partner.settings.home).grant(of.address).read_text()
        await of.operate("partner-accept", grant=grant)
        await of.admit_a_caller()

    def _partner_of(self, of: Authority) -> Authority:
        return self.importer if of is self.exporter else self.exporter

    # -- what happens to brokers ---------------------------------------------------------------------------------------------

    async def wipe(self, of: Authority) -> None:
        """Everything in an authority's broker is gone, and its topology is made anew: a broker reinstalled."""
        async with self.management(of) as api:
            await api.remove(self._partner_of(of).address)
        await self.provision(of)

    async def provision(self, of: Authority) -> None:
        """Make what an authority's broker needs for the partner, as far as it is missing."""
        await of.operate("partner-add", **_introduction(self._partner_of(of).settings))

    def management(self, of: Authority) -> ManagementApi:
        return _management(self.brokers[of is self.importer])


@asynccontextmanager
async def stack(
    brokers: tuple[Broker, Broker],
    *,
    postgres: Postgres | None = None,
    tls: bool = False,
    homes: tuple[Path, Path] | None = None,
    importer_reached_at: int | None = None,
) -> AsyncIterator[Stack]:
    """Two authorities that know each other, set up and not running.

    `brokers` are the exporter's and the importer's; with `tls` they are started here, since what they need is made here. `homes`: where they
    keep their files, if the test wants to say. `importer_reached_at`: the port that the exporter is told.
    """
    premises = [Premises("exporter"), Premises("importer")]
    authorities, databases = [], list[str]()
    try:
        named = (("exporter", "BW"), ("importer", "AE"))
        for n, (place, broker, (name, address)) in enumerate(zip(premises, brokers, named, strict=True)):
            tag = place.directory.name.replace("-", "_")
            reached = importer_reached_at if name == "importer" else None
            home = place.directory / tag if homes is None else homes[n]
            values = _values(name, address, home, broker, tls=tls, reached=reached)
            if postgres is not None:
                databases.append(tag)
                values["database"] = postgres.create_database(tag)
            authorities.append(Authority(values, place))
        exporter, importer = authorities
        if tls:
            for authority in authorities:
                await setup.initialise(authority.settings)
            for broker in brokers:
                broker.start()
            for broker in brokers:
                await asyncio.to_thread(broker.wait_ready)
        await introduce(exporter.settings, importer.settings)
        for authority in authorities:
            await authority.admit_a_caller()
        built = Stack(exporter, importer, brokers, postgres)
        try:
            yield built
        finally:
            for authority in authorities:
                authority.kill()
            for broker, partner in zip(brokers, (importer, exporter), strict=True):
                async with _management(broker) as api:
                    await api.remove(partner.address)
            if postgres is not None:
                for name in [*databases, *built._copies]:
                    postgres.drop_database(name)
    finally:
        for place in premises:
            place.close()


def _values(name: str, address: str, home: Path, broker: Broker, *, tls: bool, reached: int | None) -> dict[str, Any]:
    port = broker.tls_port if tls else broker.port
    management = {"url": f"http://127.0.0.1:{broker.management_port}", "user": "guest", "password": "guest"}
    own: dict[str, Any] = {"host": "localhost" if tls else "127.0.0.1", "port": port, "management": management}
    if not tls:
        own |= {"plaintext_on_loopback_only": True, "user": "guest", "password": "guest"}
    return {
        "address": address,
        "name": f"The {name}",
        "roles": ["export", "import"],
        "home": str(home),
        "passphrase": "for this test only",
        "broker": own,
        "public": {"amqps": f"{own['host']}:{reached or port}"},
        "api": {"port": free_ports(1)[0], "requests_per_minute": 0},
    }


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **_variables(values)}


def _variables(values: Mapping[str, Any], prefix: str = "KPNODE_") -> dict[str, str]:
    """Settings as the environment variables that say the same."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _variables(value, f"{prefix}{name.upper()}__")
        else:
            found[f"{prefix}{name.upper()}"] = json.dumps(value) if isinstance(value, list | bool) else str(value)
    return found


def _introduction(partner: Settings) -> dict[str, str]:
    record = setup.load_records(partner)[-1]
    return {"record": record.raw.decode(), "fingerprint": record.record.fingerprint}


def _management(broker: Broker) -> ManagementApi:
    return ManagementApi(f"http://127.0.0.1:{broker.management_port}", "guest", "guest")


def _path(of: Authority) -> str:
    return of.database.removeprefix("sqlite:///")


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 30.0) -> None:
    """Wait until `holds()`; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        await asyncio.sleep(0.05)


__all__ = ["Authority", "Books", "Stack", "stack", "until"]
