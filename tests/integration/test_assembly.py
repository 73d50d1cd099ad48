"""Two whole nodes in one process, put together from settings, on both databases and both transports."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from kpmsg import strictjson
from kpmsg.jws import peek
from kpnode import setup
from kpnode.assembly import Assembly, build, introduce
from kpnode.control import ask, operate
from kpnode.operator import OperatorError
from kpnode.settings import Api, Broker, Management, Public, Settings
from kpnode.setup import SetupError
from kpnode.store import tables
from kpnode.store.database import StoreOwnedError
from kpnode.throwaway import Broker as ThrowAway
from kpnode.throwaway import Postgres, free_ports
from tests.exchange import submit, trade
from tests.mutual_tls import needs_broker

Url = Callable[[str], str | None]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Url:
    """The database URL of a node, by its address; None for SQLite in its home."""
    if request.param == "sqlite":
        return lambda _: None
    server: Postgres = request.getfixturevalue("postgres")
    return lambda address: server.create_database(f"{address.lower()}_{uuid.uuid4().hex[:12]}")


@dataclass
class Land:
    """What the settings of one node are made of."""

    address: str
    home: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def settings(self, database: str | None = None, broker: Broker | None = None, **more: object) -> Settings:
        if broker is None:
            more |= {"public": Public(https=f"http://127.0.0.1:{self.port}"), "exchange_https": True}
        else:
            more |= {"public": Public(amqps=f"127.0.0.1:{broker.port}"), "broker": broker}
        return Settings(
            address=self.address,
            name=f"Authority of {self.address}",
            roles=("export", "import"),
            home=self.home,
            passphrase=SecretStr("correct horse"),
            database=None if database is None else SecretStr(database),
            api=Api(port=self.port),
            **more,  # type: ignore[arg-type]
        )


@asynccontextmanager
async def started(*settings: Settings) -> AsyncIterator[list[Assembly]]:
    assemblies = [build(each) for each in settings]
    try:
        for assembly in assemblies:
            await assembly.start()
        yield assemblies
    finally:
        for assembly in assemblies:
            await assembly.stop()


async def test_two_nodes_in_one_process(tmp_path: Path, url: Url) -> None:
    bw, ae = (Land(a, tmp_path / a).settings(url(a)) for a in ("BW", "AE"))
    await introduce(bw, ae)
    await introduce(bw, ae)  # it may be repeated
    async with started(bw, ae) as (one, other):
        sent = await submit(one.node, trade().notification(1))
        assert await one.node.received([sent], 20)
        assert other.node.counts["documents", "admitted"] == 1
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{one.url}/readyz")).json()["status"] == "ready"
            answer = await client.get(f"{one.url}/healthz")
            assert "server" not in answer.headers
        with pytest.raises(StoreOwnedError):
            await build(bw.model_copy(update={"api": Api(port=free_ports(1)[0])})).start()
        await one.stop()


async def test_introduced_while_they_run(tmp_path: Path) -> None:
    bw, ae = (Land(a, tmp_path / a).settings() for a in ("BW", "AE"))
    for each in (bw, ae):
        await setup.initialise(each)
    async with started(bw, ae) as (one, other):
        await introduce(bw, ae)
        sent = await submit(one.node, trade().notification(1))
        assert await one.node.received([sent], 20)
        probed = await operate(bw, "partner-probe", address="AE", seconds=10)
        assert probed["answered"]
        with pytest.raises(OperatorError, match="no partner"):
            await operate(bw, "partner-probe", address="ZA", seconds=1)
        with pytest.raises(OperatorError, match="no verb"):
            await ask(ae, "obey")
        with pytest.raises(OperatorError, match="something is wrong"):
            await ask(ae, "partner-probe", wrong="arguments")
        assert other.node.peers["BW"].conversation.ready


@needs_broker
async def test_both_on_one_throw_away_broker_by_definitions_file_alone(tmp_path: Path, url: Url) -> None:
    """No management API: what `./dev bench` needs, since the plugin costs the broker time."""
    with ThrowAway() as rabbit:
        broker = Broker(
            host="127.0.0.1",
            port=rabbit.port,
            plaintext_on_loopback_only=True,
            user="guest",
            password=SecretStr("guest"),
        )
        bw, ae = (Land(a, tmp_path / a).settings(url(a), broker) for a in ("BW", "AE"))
        await introduce(bw, ae)
        for each in (bw, ae):
            rabbit.ctl("import_definitions", str(each.home / "broker" / "definitions.json"))
        async with started(bw, ae) as (one, _):
            sent = await submit(one.node, trade().notification(1))
            assert await one.node.received([sent], 20)


async def test_management_provisions_a_running_node(tmp_path: Path, broker: ThrowAway) -> None:
    rabbit = Broker(
        host="127.0.0.1",
        port=broker.port,
        plaintext_on_loopback_only=True,
        user="guest",
        password=SecretStr("guest"),
        management=Management(
            url=f"http://127.0.0.1:{broker.management_port}", user="guest", password=SecretStr("guest")
        ),
    )
    bw, ae = (Land(a, tmp_path / a).settings(None, rabbit) for a in ("BW", "AE"))
    for each in (bw, ae):
        await setup.initialise(each)
    async with started(bw, ae) as (one, other):
        await introduce(bw, ae)
        sent = await submit(one.node, trade().notification(1))
        assert await one.node.received([sent], 30)
        assert other.inbox is not None
        assert other.inbox.states["BW"].connected


async def test_a_database_or_home_of_another_is_refused(tmp_path: Path) -> None:
    bw = Land("BW", tmp_path / "BW").settings()
    with pytest.raises(Exception, match=r"key-file-unreadable"):
        build(bw)
    await setup.initialise(bw)
    ae = Land("AE", tmp_path / "AE").settings(bw.database_url)
    with pytest.raises(SetupError, match="belongs to BW"):
        await setup.initialise(ae)
    with pytest.raises(SetupError, match="belongs to BW"):
        await build(ae).start()


async def test_testers_exchange_among_themselves_and_mark_everything(tmp_path: Path) -> None:
    bw, ae = (Land(a, tmp_path / a).settings(testing=True) for a in ("BW", "AE"))
    await introduce(bw, ae)
    async with started(bw, ae) as (one, other):
        sent = await submit(one.node, trade().notification(1))
        assert await one.node.received([sent], 20)
        raw = await other.node.database.read(lambda c: c.execute(select(tables.document.c.raw)).scalar_one())
        assert strictjson.loads(peek(raw).unverified_payload)["testing"] is True


async def test_a_test_node_and_a_real_one_are_never_partners(tmp_path: Path) -> None:
    bw, ae = Land("BW", tmp_path / "BW").settings(testing=True), Land("AE", tmp_path / "AE").settings()
    for each in (bw, ae):
        await setup.initialise(each)
    for mine, theirs in ((bw, ae), (ae, bw)):
        [newest] = setup.load_records(theirs)
        known = {"record": newest.raw.decode(), "fingerprint": newest.record.fingerprint}
        with pytest.raises(SetupError, match="never mixed"):
            await operate(mine, "partner-add", **known)
        assert await operate(mine, "partner-list") == []


async def test_a_home_stays_for_testing_or_for_real(tmp_path: Path) -> None:
    bw = Land("BW", tmp_path / "BW").settings()
    await setup.initialise(bw)
    with pytest.raises(SetupError, match="made for real exchange"):
        build(bw.model_copy(update={"testing": True}))


async def test_a_database_restored_empty_gets_our_records_back(tmp_path: Path) -> None:
    bw = Land("BW", tmp_path / "BW").settings()
    first = await setup.initialise(bw)
    for file in bw.home.glob("kpnode.db*"):
        file.unlink()
    again = await setup.initialise(bw)
    assert again.made == ["database"]
    assert again.record.digest == first.record.digest
