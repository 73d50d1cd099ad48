"""The floor's tables and its group commit: one writer thread, everything that waits goes into one transaction.

Plain `sqlite3` (WAL, `synchronous=FULL`, `BEGIN IMMEDIATE`) and plain `psycopg` (`synchronous_commit=on`, pipelined):
the faster of the usual ways on each database, and no ORM.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar

import psycopg

Item = TypeVar("Item")
Result = TypeVar("Result")

TABLES = (
    "CREATE TABLE document (id TEXT PRIMARY KEY, number TEXT NOT NULL, raw {bytes} NOT NULL)",
    "CREATE TABLE receipt (id TEXT PRIMARY KEY, position BIGINT NOT NULL, raw {bytes} NOT NULL)",
    "CREATE TABLE register (position BIGINT PRIMARY KEY, id TEXT NOT NULL UNIQUE, head TEXT NOT NULL)",
)
INSERT = {
    "document": "INSERT INTO document (id, number, raw) VALUES (?, ?, ?)",
    "receipt": "INSERT INTO receipt (id, position, raw) VALUES (?, ?, ?)",
    "register": "INSERT INTO register (position, id, head) VALUES (?, ?, ?)",
}

Rows = dict[str, list[tuple[Any, ...]]]


class Connection(Protocol):
    def commit_rows(self, rows: Rows) -> None:
        """Insert these rows, by table, in one durable transaction."""

    def close(self) -> None: ...


class Sqlite:
    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            self._connection.execute(f"PRAGMA {pragma}")
        for table in TABLES:
            self._connection.execute(table.format(bytes="BLOB"))

    def commit_rows(self, rows: Rows) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for table, values in rows.items():
                self._connection.executemany(INSERT[table], values)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class Postgres:
    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(
            url.replace("+psycopg", "", 1), autocommit=True, options="-c synchronous_commit=on"
        )
        self._insert = {table: text.replace("?", "%s") for table, text in INSERT.items()}
        for table in TABLES:
            self._connection.execute(table.format(bytes="BYTEA").encode())

    def commit_rows(self, rows: Rows) -> None:
        with self._connection.pipeline(), self._connection.transaction(), self._connection.cursor() as cursor:
            for table, values in rows.items():
                cursor.executemany(self._insert[table].encode(), values)

    def close(self) -> None:
        self._connection.close()


class Store:
    """What each side writes for what it was given; both run in the writer thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._position, self._head = 0, bytes(32)

    def sender(self, items: Sequence[tuple[Any, ...]]) -> Iterable[None]:
        """Items are (table, *values), table being "document" or "receipt"."""
        rows: Rows = {}
        for table, *values in items:
            rows.setdefault(table, []).append(tuple(values))
        self._connection.commit_rows(rows)
        return [None] * len(items)

    def recipient(self, items: Sequence[tuple[Any, ...]]) -> Iterable[tuple[int, str]]:
        """Items are (id, number, raw); gives each one's register position and the head there."""
        position, head = self._position, self._head
        entries: list[tuple[int, str, str]] = []
        for document, _, _ in items:
            position += 1
            head = sha256(b"\x01" + head + bytes.fromhex(document)).digest()
            entries.append((position, document, head.hex()))
        self._connection.commit_rows({"document": list(items), "register": list(entries)})
        self._position, self._head = position, head
        return [(at, hexed) for at, _, hexed in entries]


def open_store(url: str) -> Store:
    """A store in an empty database; the tables are made."""
    if url.startswith("sqlite:///"):
        return Store(Sqlite(url.removeprefix("sqlite:///")))
    return Store(Postgres(url))


class GroupCommit(Generic[Item, Result]):
    """A writer thread: `add` waits until its item is committed together with whatever else was waiting."""

    def __init__(self, write: Callable[[Sequence[Item]], Iterable[Result]]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Item, asyncio.Future[Result]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    async def add(self, item: Item) -> Result:
        done: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put((item, done))
        return await done

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(5)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while not self._queue.empty():  # this thread is the only one that takes
                if (more := self._queue.get()) is None:
                    self._queue.put(None)
                    break
                batch.append(more)
            try:
                results = list(self._write([item for item, _ in batch]))
            except BaseException as error:
                self._loop.call_soon_threadsafe(_refuse, batch, error)
                raise
            self._loop.call_soon_threadsafe(_resolve, batch, results)


def _resolve(batch: list[tuple[Item, asyncio.Future[Result]]], results: list[Result]) -> None:
    for (_, done), result in zip(batch, results, strict=True):
        if not done.done():
            done.set_result(result)


def _refuse(batch: list[tuple[Item, asyncio.Future[Result]]], error: BaseException) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)
