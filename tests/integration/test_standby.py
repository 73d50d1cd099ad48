"""A standby that lacks what was committed last takes over under a running node: what rested on the newer database is decided anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from kpnode.store import tables as t
from kpnode.store.database import StoreUnavailableError
from kpnode.store.mark import AHEAD, last_event
from tests.exchange import Site, Stage, stage, submit, trade, until


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """BW alone, sure of its database; its partner AE has been paused."""
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")), marks=tmp_path) as play:
        node = play.sites["BW"].running
        await play.stop(play.sites["AE"])
        await node.pause("AE", "They have a power cut.")
        await until(lambda: node.database.sure)
        yield play


def fails_over(site: Site, copy: Path) -> None:
    database = site.running.database
    if database._connection is not None:
        database._connection.invalidate()
    database._writer_engine.dispose()
    database._reader_engine.dispose()
    Stage.restore(site, copy)


def happen(connection: Any) -> None:
    connection.execute(insert(t.event), {"at": "2026-11-02T08:00:00.000Z", "kind": "x"})


async def restored(site: Site) -> int:
    query = select(func.count()).where(t.incident.c.kind == "restored")
    return await site.running.database.read(lambda c: c.execute(query).scalar_one())


async def test_nothing_is_committed_on_an_older_database_that_was_decided_on_the_newer(
    play: Stage, tmp_path: Path
) -> None:
    site = play.sites["BW"]
    database = site.running.database
    play.backup(site, tmp_path / "copy.db")
    await database.write(happen)
    fails_over(site, tmp_path / "copy.db")
    before = await database.read(last_event)
    assert database.sure
    with pytest.raises(StoreUnavailableError):
        await database.write(happen)
    assert await database.read(last_event) == before
    assert (database.older, database.sure) == (AHEAD, False)
    # Whatever was under way is refused until that has been reported, which is at once.
    with pytest.raises(StoreUnavailableError):
        await submit(site.running, trade().notification(1))
    await until(lambda: database.older is None)
    assert await restored(site) == 1
    await submit(site.running, trade().notification(1))


async def test_what_the_writer_finds_while_a_database_is_being_proven_is_not_overridden(
    play: Stage, tmp_path: Path
) -> None:
    site = play.sites["BW"]
    node, database = site.running, site.running.database
    assert database.mark is not None
    play.backup(site, tmp_path / "copy.db")
    await database.write(happen)
    database.mark.sure = False
    fails_over(site, tmp_path / "copy.db")
    with pytest.raises(StoreUnavailableError):
        await node.answering._prove()
    assert (database.older, database.sure) == (AHEAD, False)
    await node.answering._prove()
    assert (database.older, database.sure) == (None, True)  # nobody has to be waited for
    assert await restored(site) == 1


async def test_a_second_standby_that_is_older_still_is_reported_too(
    play: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = play.sites["BW"]
    node, database = site.running, site.running.database
    database.older = AHEAD
    peer = node.peers["AE"]
    async with peer.lock:
        proving = asyncio.create_task(node.answering._prove())
        await until(lambda: database.older is None)
        database.older = AHEAD  # by the writer, which has reconnected once more
    await proving
    assert database.older == AHEAD


async def test_a_node_whose_mark_can_be_neither_written_nor_removed_is_not_sure(
    play: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = play.sites["BW"].running.database
    assert database.mark is not None

    def broken(_reached: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(database.mark, "committed", broken)
    with pytest.raises(StoreUnavailableError, match="mark"):
        await database.write(happen)
    assert not database.sure
    marked = json.loads((tmp_path / "BW.mark").read_bytes())["reached"]
    assert await database.read(last_event) > marked, "which is why it may deny nothing by this mark"
