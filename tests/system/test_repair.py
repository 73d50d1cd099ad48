"""What is lost is found again: wiped, killed and frozen brokers, killed and restored databases, a full disk.

On the real stack, with nobody's help but what an operator does anyway. The same failures in thousands of orders are in tests/simulation;
here it is shown that the real parts behave as they are imagined there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kpnode.throwaway import Broker, BrokerTls, Postgres
from tests.system.authority import until
from tests.system.stack import Stack, stack

pytestmark = [pytest.mark.system]

sqlite = pytest.mark.parametrize("server", ["sqlite"], indirect=True)
postgresql = pytest.mark.parametrize("server", ["postgresql"], indirect=True)
# What the two have to show, exporter first: who was restored knows it, and the other sees a register shorter than it was signed.
IMPORTER_RESTORED: Final = (["register-shorter"], ["restored"])
EXPORTER_RESTORED: Final = (["restored"], ["register-shorter"])
BOTH_RESTORED: Final = (["restored"], ["register-shorter", "restored"])


async def exchanged(pair: Stack, count: int) -> list[str]:
    """So many shipments notified and confirmed: the ids of all their documents."""
    ids = await pair.notify(count)
    return [*ids, *await pair.confirm(ids)]


# --- brokers ------------------------------------------------------------------------------------------------------------


@sqlite
async def test_a_broker_wiped_while_documents_wait_in_it(pair: Stack) -> None:
    await pair.start()
    ids = await exchanged(pair, 1)
    await pair.importer.stop()
    ids += await pair.notify(5)
    await until(lambda: handed_over(pair, 5))
    await pair.wipe(pair.importer)
    await pair.importer.start()
    await pair.agree(ids)


async def handed_over(pair: Stack, count: int) -> bool:
    link = (await pair.exporter.operate("state"))["links"]["AE"]
    return bool(link["handed_over"] == count)


@sqlite
async def test_a7_an_unroutable_frame_stays_queued_with_a_reason(pair: Stack) -> None:
    await pair.start()
    ids = await exchanged(pair, 1)
    async with pair.management(pair.importer) as api:
        await api._call(
            "PUT", "permissions/kp.BW/guest", json={"configure": ".*", "write": ".*", "read": ".*"}
        )
        await api._call("DELETE", "queues/kp.BW/kp.in")
    ids += await pair.notify(2)

    async def told() -> bool:
        trouble = (await pair.exporter.operate("state"))["links"]["AE"]["trouble"]
        return trouble is not None and (trouble["outcome"], trouble["actor"]) == ("unroutable", "partner")

    await until(told)
    await pair.provision(pair.importer)
    await pair.agree(ids)


@pytest.fixture
def two_brokers(tmp_path: Path) -> Iterator[list[Broker]]:
    """Made, not started: their certificates are written by the nodes' own set-up."""
    brokers: list[Broker] = []
    try:
        for name in ("exporter", "importer"):
            directory = tmp_path / name / "broker"
            files = BrokerTls(directory / "ca.pem", directory / "server.pem", directory / "server.key")
            brokers.append(Broker(tls=files, plugins=["rabbitmq_management"]))
        yield brokers
    finally:
        for broker in brokers:
            broker.close()


@pytest.mark.two_brokers
async def test_the_importers_broker_is_killed_and_then_frozen_under_a_stream_over_mutual_tls(
    two_brokers: list[Broker], tmp_path: Path
) -> None:
    exporters, importers = two_brokers
    async with stack(
        (exporters, importers), homes=(tmp_path / "exporter", tmp_path / "importer"), tls=True
    ) as pair:
        await pair.start()
        ids = await exchanged(pair, 2)
        stream = asyncio.ensure_future(trickle(pair, 30))
        await until(lambda: len(pair.exporter.books().ids) > 10)
        importers.kill()
        await asyncio.sleep(0.5)
        importers.start()
        await asyncio.to_thread(importers.wait_ready)
        ids += await stream
        await pair.agree(ids)
        importers.freeze()
        ids += await pair.notify(3)  # the API does not wait for anybody's broker
        await until(lambda: exporter_in_doubt(pair))
        importers.thaw()
        await pair.agree(ids)
        assert set(pair.exporter.answers) == {201}


async def trickle(pair: Stack, count: int) -> list[str]:
    """A stream of submissions, one after the other."""
    ids = []
    for _ in range(count):
        ids += await pair.notify(1)
        await asyncio.sleep(0.02)
    return ids


async def exporter_in_doubt(pair: Stack) -> bool:
    trouble = (await pair.exporter.operate("state"))["links"]["AE"]["trouble"]
    return trouble is not None and trouble["outcome"] in {"unknown", "unreachable"}


# --- databases ------------------------------------------------------------------------------------------------------------


async def test_postgresql_is_killed_under_a_stream_of_submissions_and_receipts(broker: Broker) -> None:
    with Postgres() as server:
        async with stack((broker, broker), postgres=server) as pair:
            await pair.start()
            processes = (pair.exporter.process.pid, pair.importer.process.pid)
            ids = await exchanged(pair, 2)
            stream = asyncio.ensure_future(trickle(pair, 40))
            await until(lambda: len(pair.exporter.books().ids) > 14)
            server.kill()
            await until(lambda: pair.exporter.answers[503] > 2)
            server.start()
            await asyncio.to_thread(server.wait_ready)
            ids += await stream
            ids += await pair.confirm(ids[-3:])
            await pair.agree(ids)
            assert processes == (pair.exporter.process.pid, pair.importer.process.pid), (
                "nobody had to start them again"
            )
            assert set(pair.exporter.answers) == {201, 503} | ({200} & set(pair.exporter.answers))


@sqlite
async def test_the_exporters_database_is_restored_to_an_older_copy(pair: Stack) -> None:
    await pair.start()
    ids = await exchanged(pair, 2)
    copy = pair.copy_database(pair.exporter)
    ids += await exchanged(pair, 3)
    await pair.agree(ids)
    pair.exporter.kill()
    pair.restore_database(pair.exporter, copy)
    await pair.exporter.start()
    await pair.agree(ids, incidents=EXPORTER_RESTORED)
    await pair.agree([*ids, *await exchanged(pair, 1)], incidents=EXPORTER_RESTORED)


@postgresql
async def test_the_importers_database_is_restored_to_an_older_copy(pair: Stack) -> None:
    await pair.start()
    ids = await exchanged(pair, 2)
    await pair.importer.stop()
    copy = pair.copy_database(pair.importer)
    await pair.importer.start()
    ids += await exchanged(pair, 3)
    await pair.agree(ids)
    pair.importer.kill()
    pair.restore_database(pair.importer, copy)
    await pair.importer.start()
    await pair.agree(ids, incidents=IMPORTER_RESTORED)
    await pair.agree([*ids, *await exchanged(pair, 1)], incidents=IMPORTER_RESTORED)


@sqlite
async def test_both_databases_are_restored_to_copies_of_different_times(pair: Stack) -> None:
    await pair.start()
    kept = await exchanged(pair, 2)
    await pair.agree(kept)
    older = pair.copy_database(pair.exporter)
    kept += await exchanged(pair, 2)
    await pair.agree(kept)
    newer = pair.copy_database(pair.importer)
    drafts = pair.drafts(1)
    gone = await pair.exporter.submit(drafts[0], "gone")
    await pair.agree([*kept, gone])
    pair.exporter.kill()
    pair.importer.kill()
    pair.restore_database(pair.exporter, older)
    pair.restore_database(pair.importer, newer)
    await pair.start()
    await pair.agree(
        kept, incidents=BOTH_RESTORED
    )  # what is behind both copies is lost, and nothing claims otherwise
    again = await pair.exporter.submit(drafts[0], "gone")
    assert again != gone
    await pair.agree([*kept, again], incidents=BOTH_RESTORED)


@postgresql
async def test_a_lost_database_is_rebuilt_from_the_partner(pair: Stack) -> None:
    await pair.start()
    ids = await exchanged(pair, 3)
    await pair.agree(ids)
    pair.importer.kill()
    await pair.lose_everything_but_the_home(pair.importer)
    await pair.importer.start()
    _, rebuilt = await pair.agree(ids, incidents=IMPORTER_RESTORED)
    assert len(rebuilt.outgoing) == 3, "its own confirmations came back"
    answer = await pair.importer.post(pair.confirmation_of(ids[0]), "another")
    assert (answer.status_code, ids[3] in answer.text) == (409, True), "it cannot confirm twice"


async def test_a_second_process_on_the_same_database_is_refused(pair: Stack) -> None:
    await pair.start()
    ids = await exchanged(pair, 1)
    assert "another process is using" in pair.exporter.second()
    await pair.agree([*ids, *await exchanged(pair, 1)])


# --- disks ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 6 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root, outside of most containers")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_is_answered_by_507_and_recovers_by_itself(
    broker: Broker, small_disk: Path, tmp_path: Path
) -> None:
    async with stack((broker, broker), homes=(small_disk / "home", tmp_path / "importer")) as pair:
        await pair.start()
        ids = await exchanged(pair, 2)
        await pair.agree(ids)
        unanswered = await pair.notify(2)
        ids += unanswered
        await pair.agree(ids)
        with fill(small_disk):
            submissions = [pair.exporter.submit(d, f"full-{n}") for n, d in enumerate(pair.drafts(40))]
            stream = asyncio.gather(*submissions)
            await until(lambda: pair.exporter.answers[507] > 5)
            confirmations = await pair.confirm(unanswered)
            await asyncio.sleep(1.0)
            assert set(confirmations).isdisjoint(pair.exporter.books().ids), (
                "not taken in, so not acknowledged"
            )
        ids += confirmations
        ids += await stream
        await pair.agree(ids)
        assert not {500, 503} & set(pair.exporter.answers)


@contextlib.contextmanager
def fill(place: Path) -> Iterator[None]:
    """Take all the room that there is, to the last block."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        filler.unlink()
