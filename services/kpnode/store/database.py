"""One database, one writer: group commit, durability, and the promise that only one process writes.

All writes go through a single thread that owns the only writing connection. While one transaction is being committed, the
next callers gather; they then share the next transaction (group commit), so a commit's fsync is paid once for all of
them and no two writes ever race. Reads run beside it, on connections of their own.

A `write` returns only after its transaction has committed. If the database disappears in the middle, the outcome is unknown to us
as it is to everybody: `StoreUnavailableError`; every write of this program may therefore be repeated.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kpnode.store.mark import Mark, last_event, place

Transaction = Connection
"""An open transaction, as the rest of the node may call it: what `read` and `write` hand to their functions."""

T = TypeVar("T")
Handler = Callable[[Connection, list[Any]], Sequence[Any]]

SHARE: Final = 512  # at most this many writes share a transaction
GATHER_EACH: Final = (
    0.0003  # seconds to wait for company, for each write that the last transaction was shared by
)
GATHER_MOST: Final = 0.002
# PostgreSQL's classes of errors that are about the moment and never about what was written: connection, rollback by the server, out of
# resources, object in use, cancelled or shut down by somebody, disk. Taken for a document's fault they would have it set aside (R9).
_OUTAGES: Final = frozenset({"08", "40", "53", "55", "57", "58"})
_READ_ONLY: Final = "25006"  # a primary that has become a standby
# A server that has gone silent must be noticed by us in half a minute, not in two hours, and our silence by the server: a session of ours
# that lives on there holds the lock that makes us the only writer.
_NOTICE_SILENCE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
_SESSION: Final = (
    "-c synchronous_commit=on -c timezone=UTC "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4 -c tcp_user_timeout=30000"
)
_ADVISORY_LOCK: Final = 0x6B706E6F6465  # "kpnode"


class StoreError(Exception):
    """The database could not do it; nothing is known to have been written."""


class StoreUnavailableError(StoreError):
    """The database is not reachable, or went away in the middle: the outcome is unknown, so repeat."""


class StoreFullError(StoreError):
    """No space is left on the database's disk. Nothing was signed into it; it recovers by itself when there is."""


class StoreOwnedError(StoreError):
    """Another process writes to this database. Two writers would be two authorities with one name."""


@dataclass(slots=True)
class _Write:
    handler: Handler
    item: Any
    future: asyncio.Future[Any]
    then: Callable[[], None] | None = None


def _is_full(error: BaseException) -> bool:
    original = getattr(error, "orig", error)
    return "disk is full" in str(original) or getattr(original, "sqlstate", None) == "53100"


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.OperationalError):
        return True
    state = getattr(original, "sqlstate", None)
    if state is not None:
        return state[:2] in _OUTAGES or state == _READ_ONLY
    return any(kind.__name__ in {"OperationalError", "InterfaceError"} for kind in type(original).__mro__)


def _connection_holds(error: BaseException) -> bool:
    """Whether it was an outage of a moment only, after which the same connection goes on: cancelled, no memory, a deadlock."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return False
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return state[:2] in {"40", "53", "55"} or state == "57014"


def connect(url: str, *, writer: bool) -> Engine:
    """An engine whose every connection is durable: SQLite WAL with synchronous=FULL, PostgreSQL as it asserts itself."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            url,
            hide_parameters=True,  # an error is logged, and what was to be written is trade data
            pool_size=1 if writer else 4,
            max_overflow=0,
            connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 10.0},
        )

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
                cursor.execute(f"PRAGMA {pragma}")
            if not writer:
                cursor.execute("PRAGMA query_only=ON")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # Deferred transactions of two writers lose updates without an error; an immediate one cannot.
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

        return engine
    if parsed.get_backend_name() != "postgresql":
        raise StoreError(f"unsupported database {parsed.get_backend_name()!r}: use sqlite or postgresql")
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_size=1 if writer else 4,
        max_overflow=0,
        pool_pre_ping=not writer,
        connect_args={"connect_timeout": 5, "options": _SESSION, **_NOTICE_SILENCE},
    )


class Database:
    """The node's database. `start` claims it for this process; `write` and `read` are the only two ways in."""

    def __init__(self, url: str, mark: Mark | None = None) -> None:
        self.url = url
        self.mark = mark
        self._sqlite = make_url(url).get_backend_name() == "sqlite"
        self._writer_engine = connect(url, writer=True)
        self._reader_engine = connect(url, writer=False)
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock_file: int | None = None
        self._connection: Connection | None = None
        self.commits = 0
        # Why what answered after an outage is an older database, until that has been reported.
        self.older: str | None = None

    @property
    def sure(self) -> bool:
        """Whether this is the newest database that this node has ever had (`kpnode.store.mark`)."""
        return self.mark is not None and self.mark.sure

    def reported(self) -> None:
        """It has been recorded that the database is an older one. Called by the writer: what it finds next is reported again."""
        self.older = None

    # -- life ------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Claim the database and start the writer. Raises StoreOwnedError, StoreUnavailableError."""
        self._loop = asyncio.get_running_loop()
        if self._sqlite:
            self._claim_file()
        await self._loop.run_in_executor(self._readers, self._open)
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
        if self._thread is not None:
            self._writes.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._readers.shutdown(wait=True)
        self._writer_engine.dispose()
        self._reader_engine.dispose()
        if self.mark is not None:
            self.mark.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _claim_file(self) -> None:
        path = make_url(self.url).database
        if not path or path == ":memory:":
            raise StoreError("a node needs a database file")
        self._lock_file = os.open(
            Path(path).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            self._lock_file = None
            raise StoreOwnedError(f"another process is using {path}") from error

    def _open(self) -> Connection:
        """The writing connection; on PostgreSQL it also holds the lock that makes this process the only writer."""
        if self._connection is not None and not self._connection.invalidated:
            return self._connection
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._writer_engine.dispose()
        try:
            connection = self._writer_engine.connect()
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"cannot open the database: {_reason(error)}") from error
        try:
            if not self._sqlite:
                self._assert_postgresql(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        if self.mark is not None and self.mark.compared:
            self._compare(connection, self.mark)
        return connection

    def _compare(self, connection: Connection, mark: Mark) -> None:
        try:
            with connection.begin():
                why = mark.compare(*place(connection))
        except SQLAlchemyError as error:
            connection.invalidate()  # none is used that has not been compared
            raise StoreUnavailableError(f"cannot read the database: {_reason(error)}") from error
        if why is not None:
            # What was to be written rests on what the newer one said, so all of it is decided anew.
            self.older = why
            raise StoreUnavailableError("the database that answers is an older one")

    def _assert_postgresql(self, connection: Connection) -> None:
        try:
            with connection.begin():
                owned = connection.execute(
                    text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}
                ).scalar()
                if not owned:
                    raise StoreOwnedError("another process is using this PostgreSQL database")
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    if connection.exec_driver_sql(f"SHOW {setting}").scalar() == "off":
                        raise StoreError(
                            f"PostgreSQL runs with {setting} = off; a receipt would be a promise it cannot keep"
                        )
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"cannot use the database: {_reason(error)}") from error

    # -- reading ---------------------------------------------------------------------------------------------------------

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` in a read transaction of its own, beside the writer."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, query)

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._reader_engine.connect() as connection, connection.begin():
                return query(connection)
        except SQLAlchemyError as error:
            if _is_outage(error):
                raise StoreUnavailableError(f"cannot read the database: {_reason(error)}") from error
            raise

    # -- writing ---------------------------------------------------------------------------------------------------------

    async def write(self, change: Callable[[Connection], T], then: Callable[[], None] | None = None) -> T:
        """Run `change` in the next transaction; returns its result once that has committed. For `then` see `share`."""
        return cast(T, await self.share(_each, change, then))

    async def share(self, handler: Handler, item: Any, then: Callable[[], None] | None = None) -> Any:
        """Like `write`, for a `handler` that treats all items that gather for one transaction at once.

        It gets the connection and the items, and returns one result for each; a result that is an exception is raised
        to its caller, and the handler must have written nothing for it. The writer calls `then` as soon as it has committed,
        before it writes anything else.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writes.put(_Write(handler, item, future, then))
        return await future

    def _run(self) -> None:
        crowd = 1
        while (first := self._writes.get()) is not None:
            batch = [first]
            stop = False
            if crowd > 1:  # others came along the last time: give them a moment to come along again
                time.sleep(min(GATHER_MOST, GATHER_EACH * crowd))
            while len(batch) < SHARE:
                try:
                    following = self._writes.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stop = True
                    break
                batch.append(following)
            crowd = len(batch)
            self._settle(self._transact(batch))
            if stop:
                return

    def _transact(self, batch: list[_Write]) -> list[tuple[asyncio.Future[Any], Any]]:
        """One transaction for the whole batch; if anything in it raises, one for each, so that it fails alone."""
        try:
            connection = self._open()
            reached = None
            with connection.begin():
                results = self._apply(connection, batch)
                if self.mark is not None and self.mark.compared:
                    reached = last_event(connection)
            self.commits += 1
            for then in [write.then for write in batch if write.then is not None]:
                then()
            # Only now, and before anybody is told: see kpnode.store.mark.
            if self.mark is not None and reached is not None:
                self._note(self.mark, reached)
            return results
        except StoreError as error:
            return [(write.future, error) for write in batch]
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach its caller, and the writer must live
            if _is_full(error):
                return [(w.future, StoreFullError("the database's disk is full")) for w in batch]
            if _is_outage(error):
                if self._connection is not None and not _connection_holds(error):
                    self._connection.invalidate()
                unavailable = StoreUnavailableError(f"the database went away: {_reason(error)}")
                return [(w.future, unavailable) for w in batch]
            if len(batch) == 1:
                return [(batch[0].future, error)]
            return [result for write in batch for result in self._transact([write])]

    @staticmethod
    def _note(mark: Mark, reached: int) -> None:
        try:
            mark.committed(reached)
        except OSError as error:
            mark.sure = False  # the old mark still lies there, and what is read next goes beyond it
            raise StoreUnavailableError(
                f"the mark beside the database cannot be written: {error.strerror}"
            ) from error

    @staticmethod
    def _apply(connection: Connection, batch: list[_Write]) -> list[tuple[asyncio.Future[Any], Any]]:
        results: list[tuple[asyncio.Future[Any], Any]] = []
        groups: dict[Handler, list[_Write]] = {}
        for write in batch:
            groups.setdefault(write.handler, []).append(write)
        for handler, writes in groups.items():
            outcomes = handler(connection, [write.item for write in writes])
            results.extend((write.future, outcome) for write, outcome in zip(writes, outcomes, strict=True))
        return results

    def _settle(self, results: list[tuple[asyncio.Future[Any], Any]]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:  # the loop has closed: nobody is left to be told, and the commit stands
            return


def _each(connection: Connection, changes: list[Callable[[Connection], Any]]) -> list[Any]:
    return [change(connection) for change in changes]


def _resolve(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in results:
        if future.cancelled():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "orig", error)).strip().split("\n")[0]
