"""Two (or more) whole nodes in one process, joined by a wire made of nothing: the stage of the integration tests.

Real store, real signatures, real core; only the transport is memory, so that a test can make it fail to the frame.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from kpmsg.keyrecord import VerifiedRecord, issue, open_record
from kpmsg.keys import SoftwareSigner
from kpnode.author import Identity, rfc3339
from kpnode.node import Node
from kpnode.sample import Trade, confirmation
from kpnode.store import partners, tables
from kpnode.store.database import Database
from kpnode.store.mark import Mark
from kpnode.store.partners import PartnerRow
from kpnode.transports import Link
from kpnode.transports.memory import FAIR, MemoryLink, Plan, Weather

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Keys:
    """One authority's keys and its first key record."""

    address: str
    document: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    node: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    identity: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    policy: dict[str, Any] | None = None
    testing: bool = False

    def record(self) -> VerifiedRecord:
        entries = [
            {"jwk": signer.public.jwk, "use": use, "valid_from": "2025-01-01T00:00:00Z"}
            for use, signer in (("document", self.document), ("node", self.node))
        ]
        fields = {
            "address": self.address,
            "version": 1,
            "issued": "2025-01-01T00:00:00Z",
            "authority": {"name": f"Authority of {self.address}", "roles": ["export", "import"]},
            "keys": entries,
        }
        if self.policy is not None:
            fields["policy"] = self.policy
        if self.testing:
            fields["testing"] = True
        return open_record(issue(fields, [self.identity], [self.document, self.node]))


@dataclass
class Site:
    """One authority on the stage. `plan` is the weather on the wires that lead away from it."""

    keys: Keys
    record: VerifiedRecord
    url: str
    node: Node | None = None
    database: Database | None = None
    plan: Plan = lambda _n, _frame: FAIR
    mark: Path | None = None

    @property
    def address(self) -> str:
        return self.keys.address

    @property
    def running(self) -> Node:
        assert self.node is not None
        return self.node


class Stage:
    """Starts, stops, copies and restores sites; each knows all the others as partners."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = {site.address: site for site in sites}

    def prepare(self, site: Site) -> None:
        """An empty database that knows its owner and all partners."""
        engine = create_engine(site.url)
        tables.metadata.create_all(engine)
        at = rfc3339(START)
        with engine.begin() as connection:
            partners.claim_for(connection, site.address, at)
            for other in self.sites.values():
                partners.save_record(connection, other.record, at)
                if other is not site:
                    partners.save_partner(connection, other.address, other.address, "memory", {}, at)
        engine.dispose()

    async def start(self, site: Site) -> Node:
        site.database = Database(site.url, None if site.mark is None else Mark(site.mark))
        await site.database.start()
        identity = Identity(site.address, [site.record.record], [site.keys.document], site.keys.node)
        site.node = Node(identity, site.database, connect=self._connect(site))
        await site.node.start()
        return site.node

    def _connect(self, site: Site) -> Callable[[PartnerRow], Link]:
        def connect(row: PartnerRow) -> Link:
            other = self.sites[row.address]

            async def receive(partner: str, frames: Sequence[bytes]) -> list[bytes]:
                if other.node is None or partner not in other.node.peers:
                    raise ConnectionError("not running")
                return await other.node.receive(partner, frames)

            def post(partner: str, replies: Sequence[bytes]) -> None:
                if other.node is not None:
                    other.node.post(partner, replies)

            def plan(number: int, frame: bytes) -> Weather:
                return site.plan(number, frame)

            return MemoryLink(site.address, receive, post, plan=plan)

        return connect

    async def stop(self, site: Site) -> None:
        if site.node is not None and site.database is not None:
            node, site.node = site.node, None
            await node.stop()
            await site.database.close()

    @staticmethod
    def backup(site: Site, to: Path) -> None:
        """A consistent copy of a SQLite site's database, as an operator would make it while the node runs."""
        source, target = sqlite3.connect(path_of(site)), sqlite3.connect(to)
        with source, target:
            source.backup(target)
        source.close()
        target.close()

    @staticmethod
    def restore(site: Site, copy: Path) -> None:
        """Put an earlier copy in place; the node must be stopped."""
        path = path_of(site)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(copy, path)


def path_of(site: Site) -> str:
    return site.url.removeprefix("sqlite:///")


@asynccontextmanager
async def stage(
    *addresses_and_urls: tuple[str, str],
    policies: Mapping[str, dict[str, Any]] | None = None,
    marks: Path | None = None,
    testers: Sequence[str] = (),
) -> AsyncIterator[Stage]:
    """Sites with prepared databases, all started; `policies` are what they publish, by address; `marks`: where they mark these.

    `testers`: those whose documents are tests.
    """
    sites = []
    for address, url in addresses_and_urls:
        keys = Keys(address, policy=(policies or {}).get(address), testing=address in testers)
        mark = None if marks is None else marks / f"{address}.mark"
        sites.append(Site(keys, keys.record(), url, mark=mark))
    play = Stage(sites)
    for site in sites:
        play.prepare(site)
        await play.start(site)
    try:
        yield play
    finally:
        for site in sites:
            await play.stop(site)


async def submit(node: Node, draft: dict[str, Any], key: str | None = None) -> str:
    """Submit one draft as an officer's system would; returns the document id."""
    digest = hashlib.sha256(repr(draft).encode()).hexdigest()
    committed = await node.submit([draft], caller="test", key=key, digest=digest)
    return committed.ids[0]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that is going to happen."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


def trade(exporter: str = "BW", importer: str = "AE", seed: int = 1) -> Trade:
    """Shipments shaped like real ones."""
    return Trade(exporter, importer, on=date(2026, 11, 2), seed=seed)


__all__ = ["Keys", "Site", "Stage", "confirmation", "stage", "submit", "trade", "until"]
