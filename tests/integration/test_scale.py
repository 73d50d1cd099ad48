"""What a question costs does not grow with the certificates stored: shown by work done, never by a clock.

The questions of `./dev bench --scale`, to whole nodes on databases that its filler has filled: on SQLite the steps of its virtual
machine are counted with few and with four times as many certificates, on PostgreSQL the rows that each plan really touches.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

from kpnode.api import build_app
from kpnode.assembly import NoLink
from kpnode.author import Identity
from kpnode.migrations import migrate
from kpnode.node import Node
from kpnode.reminding import Reminders
from kpnode.settings import Settings
from kpnode.store import partners, upkeep
from kpnode.store.callers import Scope, create_caller
from kpnode.store.database import Database
from kpnode.transports import Outcome
from tests.bench.load import Request
from tests.bench.scale_fill import Filler
from tests.bench.scale_node import ME, Scaled, introduce_partners, practice
from tests.bench.scale_questions import READS, SUBMISSIONS, Question
from tests.exchange import Keys

FEW, MANY = 2_000, 8_000
AT = "2015-01-01T00:00:00.000Z"

ASKED = (*READS, *SUBMISSIONS)

LISTS = {"/v1/certificates", "/v1/documents", "/v1/worklist", "/v1/incidents"}

AS_MUCH_AS_WAITS = {"work list: summary", "queues", "queue of one partner", "metrics", "documents: waiting"}
"""What these cost follows from what waits today, not from what is stored."""


@dataclass
class Work:
    """What the databases of this process were made to do: SQLite's steps, and every question asked."""

    steps: int = 0
    asked: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def _watched() -> Iterator[Work]:
    work = Work()

    def connected(connection: Any, _: Any) -> None:
        if hasattr(connection, "set_progress_handler"):
            connection.set_progress_handler(step, 10)

    def step() -> int:
        work.steps += 10
        return 0

    def asked(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        work.asked.append((statement, parameters))

    event.listen(Engine, "connect", connected)
    event.listen(Engine, "before_cursor_execute", asked)
    try:
        yield work
    finally:
        event.remove(Engine, "connect", connected)
        event.remove(Engine, "before_cursor_execute", asked)


@dataclass
class Desk:
    """A node on a filled database, and whoever asks it."""

    scaled: Scaled
    client: httpx.AsyncClient
    node: Node

    async def ask(self, question: Question, n: int) -> None:
        request = question.ask(self.scaled, n)
        answer = await self.client.request(
            request.method, request.path, headers=dict(request.headers), content=request.body
        )
        assert answer.status_code == question.expected, (question.what, answer.text[:300])


@asynccontextmanager
async def _desk(url: str, certificates: int) -> AsyncIterator[Desk]:
    migrate(url)
    keys = Keys(ME)
    record = keys.record()
    engine = create_engine(url)
    with engine.begin() as connection:
        partners.claim_for(connection, ME, AT)
        partners.save_record(connection, record, AT)
        key = create_caller(connection, "bench", tuple(Scope), AT)
    engine.dispose()
    introduce_partners(url)
    filled = Filler(ME, practice(), datetime.now(UTC).date(), days=100).fill(url, certificates)
    database = Database(url)
    node = Node(
        Identity(ME, [record.record], [keys.document], keys.node),
        database,
        connect=lambda _: NoLink(Outcome.UNREACHABLE, "nobody is there"),
        practice=practice(),
        reminders=Reminders(send="off"),
    )
    settings = Settings(
        address=ME, name=ME, roles=("export",), home=Path("/nowhere"), passphrase=SecretStr("12345678")
    )
    scaled = Scaled(certificates, settings, filled, key, 0.0)
    await database.start()
    await node.start()
    headers = {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(build_app(node))
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node.test", headers=headers
        ) as client:
            yield Desk(scaled, client, node)
    finally:
        await node.stop()
        await database.close()


def _shorter(question: Question) -> Question:
    """Lists of three: a page that is not full costs less, which would look as if size mattered."""

    def ask(node: Scaled, n: int) -> Request:
        request = question.ask(node, n)
        path, _, query = request.path.partition("?")
        if request.method == "GET" and path in LISTS:
            query = "&".join(
                [*(each for each in query.split("&") if each and "limit=" not in each), "limit=3"]
            )
            return replace(request, path=f"{path}?{query}")
        return request

    return replace(question, ask=ask)


async def test_sqlite_works_no_harder_for_four_times_as_many(tmp_path: Path) -> None:
    grown = {}
    with _watched() as work:
        async with (
            _desk(f"sqlite:///{tmp_path}/few.db", FEW) as few,
            _desk(f"sqlite:///{tmp_path}/many.db", MANY) as many,
        ):
            for question in map(_shorter, ASKED):
                steps = Counter[int]()
                for desk in (few, many):
                    await desk.ask(question, 0)
                    work.steps = 0
                    for n in range(1, 6):
                        await desk.ask(question, n)
                    steps[desk.scaled.certificates] = work.steps
                if steps[MANY] > 1.5 * steps[FEW] + 500 and question.what not in AS_MUCH_AS_WAITS:
                    grown[question.what] = steps
    assert grown == {}


async def test_postgresql_touches_few_rows_of_the_many(postgres_url: str) -> None:
    """At most a page and a little beside it; a submission of a hundred looks for a hundred of everything."""
    touched: dict[str, tuple[str, int]] = {}
    engine = create_engine(postgres_url)
    async with _desk(postgres_url, MANY) as desk:
        for question in ASKED:
            with _watched() as work:
                await desk.ask(question, 1)
            with engine.connect() as connection:
                # Of tables as small as these even a good index would be passed by now and then.
                connection.exec_driver_sql("SET enable_seqscan = off")
                for statement, parameters in work.asked:
                    if not statement.lstrip(" (").startswith("SELECT"):
                        continue
                    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                    plan = connection.exec_driver_sql(explain, parameters).scalar_one()
                    rows = sum(_rows(node) for node in _scans(plan[0]["Plan"]))
                    if rows > 500 and question.what not in AS_MUCH_AS_WAITS:
                        touched[question.what] = statement, rows
    engine.dispose()
    assert touched == {}


def _scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan":
        yield node
    for each in node.get("Plans", ()):
        yield from _scans(each)


def _rows(node: dict[str, Any]) -> int:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


async def test_a_filled_database_is_one_that_a_node_could_have_written(tmp_path: Path) -> None:
    """Its cases are what this node makes of its documents, and its registers end where the partners' rows say."""
    async with _desk(f"sqlite:///{tmp_path}/node.db", 600) as desk:
        database, at = desk.node.database, desk.node.stamp()
        assert await database.read(upkeep.is_current)
        before = await database.read(_standing)
        await database.write(lambda c: upkeep.refold_some(c, "", at, desk.node.practice))
        assert await database.read(_standing) == before
        ends = await database.read(
            lambda c: c.exec_driver_sql(
                "SELECT count(*) FROM entry JOIN partner ON address = partner AND ("
                "(side = 'held' AND position = held_size AND head = held_head) OR "
                "(side = 'known' AND position = known_size AND head = known_head))"
            ).scalar()
        )
        registers = await database.read(
            lambda c: c.exec_driver_sql("SELECT count(DISTINCT partner || side) FROM entry").scalar()
        )
        assert ends == registers
        assert registers


def _standing(connection: Any) -> list[Any]:
    rows = connection.exec_driver_sql(
        'SELECT "key", state, waits, matter, due, "case" FROM certificate ORDER BY "key"'
    )
    return [(*row[:-1], json.loads(row[-1])) for row in rows]
