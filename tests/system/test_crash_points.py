"""The process dies by SIGKILL exactly there, is started again, and nothing is lost or doubled.

Every named point that exists in the code, on the real stack. That the point was really passed is shown twice: the process was killed by
its own hand (signal 9), and both databases look at that moment as they can only look there (`at_death`). A caller who got no answer
repeats with the same Idempotency-Key and always ends with one document.

M1 (a migration killed at a statement) is in tests/integration/test_migrations.py. A7 needs no death: tests/system/test_repair.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import pytest

from kpnode.throwaway import Broker
from tests.system.authority import Authority, Books, until
from tests.system.stack import Stack, stack

pytestmark = [pytest.mark.system]

N: Final = 4


@dataclass(frozen=True)
class Point:
    """`at` as the environment has it. `at_death`: what must be true of (exporter's, importer's) books at that moment."""

    at: str
    who: Literal["exporter", "importer"]
    at_death: Callable[[Books, Books], bool]
    confirming: bool = False  # it dies while it submits confirmations
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.at.partition(":")[0]


POINTS: Final = [
    Point("A1", "exporter", lambda e, i: e.ids == [] == i.ids),
    Point("A1:2", "exporter", lambda e, i: 0 < len(e.ids) < N, name="A1-second"),
    Point("A2", "exporter", lambda e, i: len(e.ids) > 0),
    Point("A3", "exporter", lambda e, i: e.ids == [] == i.ids),
    Point("A4", "exporter", lambda e, i: len(e.ids) > 0 and i.ids == []),
    Point("A6", "exporter", lambda e, i: len(e.unreceived) == len(e.ids) > 0),
    Point("A8", "exporter", lambda e, i: e.known.size == 0 < i.held.size),
    Point("B1", "importer", lambda e, i: len(e.ids) > 0 and i.ids == []),
    Point("B2", "importer", lambda e, i: i.held.size > 0 == e.known.size),
    Point("B3", "importer", lambda e, i: i.held.size > 0 == e.known.size),
    Point(
        "A1",
        "importer",
        lambda e, i: not i.outgoing and not e.held.size,
        confirming=True,
        name="B5-before",
    ),
    Point("A2", "importer", lambda e, i: len(i.outgoing) > 0, confirming=True, name="B5-after"),
]
# Every point on SQLite and a part of them on PostgreSQL each time; the others with `-m slow`.
SLOW: Final = [
    pytest.mark.slow,
    pytest.mark.skipif("'slow' not in config.getoption('markexpr')", reason="asked for with -m slow"),
]
OFTEN: Final = {"A1", "A8", "B1", "B2"}


def _matrix() -> Iterator[Any]:
    for point in POINTS:
        yield pytest.param(point, "sqlite", id=f"{point}-sqlite")
        yield pytest.param(
            point, "postgresql", id=f"{point}-postgresql", marks=() if str(point) in OFTEN else SLOW
        )


async def _submit(exporter: Authority, drafts: list[Any], *, in_turn: bool) -> list[str]:
    """All at once; or in turn, where a second transaction is wanted: at once, they may all share the first."""
    each = [exporter.submit(draft, f"n-{n}") for n, draft in enumerate(drafts)]
    return [await one for one in each] if in_turn else list(await asyncio.gather(*each))


@pytest.mark.parametrize(("point", "server"), list(_matrix()), indirect=["server"])
async def test_nothing_is_lost_or_doubled_by_a_death_at(point: Point, pair: Stack) -> None:
    victim: Authority = getattr(pair, point.who)
    other = pair.importer if victim is pair.exporter else pair.exporter
    await asyncio.gather(victim.start(point.at), other.start())
    drafts = pair.drafts(N)
    submissions = asyncio.ensure_future(_submit(pair.exporter, drafts, in_turn=":" in point.at))
    confirmations: asyncio.Future[list[str]] | None = None
    if point.confirming:
        confirmations = asyncio.ensure_future(pair.confirm(await submissions))
    await victim.died()
    assert point.at_death(pair.exporter.books(), pair.importer.books())
    await victim.start()
    notified = await submissions
    confirmed = await (confirmations or pair.confirm(notified))
    assert len(set(notified)) == len(set(confirmed)) == N
    _, books = await pair.agree([*notified, *confirmed])
    assert {state for state, _, _ in books.cases.values()} == {"confirmed"}
    assert [await pair.exporter.submit(d, f"n-{n}") for n, d in enumerate(drafts)] == notified
    assert await pair.confirm(notified) == confirmed
    assert 500 not in pair.exporter.answers + pair.importer.answers


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_p1_a_page_answered_and_not_committed_is_asked_for_again(pair: Stack) -> None:
    await asyncio.gather(pair.exporter.start("A8"), pair.importer.start())
    submissions = asyncio.ensure_future(pair.notify(N))
    await pair.exporter.died()
    assert pair.exporter.books().known.size == 0 < pair.importer.books().held.size
    await pair.wipe(
        pair.exporter
    )  # the receipt would come again; without it the register has to be asked for
    pair.exporter.launch("P1")
    await pair.exporter.died()
    assert pair.exporter.books().known.size == 0
    await pair.exporter.start()
    await pair.agree(await submissions)


# A page returns 256 documents at most, so 300 take two transactions.
A9: Final = [
    pytest.param("A9", 20, 0, "sqlite", id="before-sqlite"),
    pytest.param("A9", 20, 0, "postgresql", id="before-postgresql", marks=SLOW),
    pytest.param("A9:2", 300, 256, "sqlite", id="between-sqlite"),
    pytest.param("A9-after", 20, 20, "postgresql", id="after-postgresql"),
]


@pytest.mark.parametrize(("at", "count", "back", "server"), A9, indirect=["server"])
async def test_a9_a_take_back_that_is_killed_repeats(at: str, count: int, back: int, pair: Stack) -> None:
    await pair.start()
    await pair.exporter.stop()
    copy = pair.copy_database(pair.exporter)
    await pair.exporter.start()
    drafts = pair.drafts(count)
    ids = await pair.exporter.submit_all(drafts, "bulk")
    await pair.agree(ids)
    pair.exporter.kill()
    pair.restore_database(pair.exporter, copy)
    pair.exporter.launch(at)
    await pair.exporter.died()
    assert len(pair.exporter.books().ids) == back
    await pair.exporter.start()
    await pair.agree(ids, incidents=(["restored"], []))
    # The key was forgotten with the database, but not that the number has been notified.
    answer = await pair.exporter.post(drafts[7], "another")
    assert (answer.status_code, ids[7] in answer.text) == (409, True)


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_a5_published_and_never_confirmed_by_the_broker_is_absorbed(
    broker: Broker, server: None
) -> None:
    """No point in the code: the broker's answers are held back on the wire, so the node waits for its confirm and is killed there."""
    async with Deaf(broker.port) as wire, stack((broker, broker), importer_reached_at=wire.port) as pair:
        await pair.start()
        first = await pair.notify(1)
        await pair.agree(first)
        wire.answering.clear()
        submissions = asyncio.ensure_future(pair.notify(N))
        await until(lambda: len(pair.importer.books().ids) > 1)
        pair.exporter.kill()
        wire.answering.set()
        await pair.exporter.start()
        ids = [*first, *await submissions]
        await pair.agree([*ids, *await pair.confirm(ids)])


class Deaf:
    """A wire to a port of this machine that, while not `answering`, lets everything out and nothing back."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, out=True), self._carry(far_reader, writer, out=False)
            )
        finally:
            self._tasks.discard(task)
            writer.close()
            far_writer.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, out: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not out:
                    await self.answering.wait()
                target.write(data)
                await target.drain()
        target.close()
