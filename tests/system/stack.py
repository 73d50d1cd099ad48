"""Two authorities on the real stack: real RabbitMQ, SQLite or PostgreSQL, two `kpnode run` processes, the HTTP API.

Botswana exports, the United Arab Emirates imports. What happens to databases and brokers here is what happens to them in service, and
everything else is done as an operator would do it. Whatever is started is gone when the test's process is, however that ends.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from kpmsg import documents, jws
from kpnode import setup
from kpnode.assembly import introduce
from kpnode.broker import ManagementApi
from kpnode.home import Home
from kpnode.sample import Trade, confirmation
from kpnode.settings import Settings
from kpnode.throwaway import Broker, Postgres, free_ports
from kpnode.throwaway.premises import Premises
from tests.system.authority import Authority, Books, until


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
        self,
        ids: Sequence[str],
        *,
        seconds: float = 90.0,
        incidents: tuple[list[str], list[str]] = ([], []),
        quarantined: tuple[int, int] = (0, 0),
    ) -> tuple[Books, Books]:
        """Wait for rest, then hold both databases against each other: zero lost, zero double (I1, I2, I7).

        `ids`: every document that was ever acknowledged to a caller. `incidents`: what exporter and importer have to show.
        """

        def at_rest() -> bool:
            there, waiting, held, known = self.exporter.glance()
            opposite = self.importer.glance()
            return not waiting and there >= len(ids) and (there, waiting, known, held) == opposite

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
        assert sorted(one.ids) == sorted(set(ids)) == sorted(other.ids), (
            "each document exactly once, and no other"
        )
        assert one.raws == other.raws, "byte for byte"
        assert one.outgoing.isdisjoint(other.outgoing)
        assert one.cases == other.cases
        assert (sorted(one.incidents), sorted(other.incidents)) == incidents
        assert (one.quarantined, other.quarantined) == quarantined
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
        grant = Home(partner.settings.home).grant(of.address).read_text()
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
            if postgres is not None:
                for name in [*databases, *built._copies]:
                    postgres.drop_database(name)
    finally:
        for place in premises:
            place.close()


def _values(
    name: str, address: str, home: Path, broker: Broker, *, tls: bool, reached: int | None
) -> dict[str, Any]:
    port = broker.tls_port if tls else broker.port
    management = {"url": f"http://127.0.0.1:{broker.management_port}", "user": "guest", "password": "guest"}
    own: dict[str, Any] = {
        "host": "localhost" if tls else "127.0.0.1",
        "port": port,
        "management": management,
    }
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


def _introduction(partner: Settings) -> dict[str, str]:
    record = setup.load_records(partner)[-1]
    return {"record": record.raw.decode(), "fingerprint": record.record.fingerprint}


def _management(broker: Broker) -> ManagementApi:
    return ManagementApi(f"http://127.0.0.1:{broker.management_port}", "guest", "guest")


def _path(of: Authority) -> str:
    return of.database.removeprefix("sqlite:///")
