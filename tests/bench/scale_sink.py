"""Rows into a database as fast as it takes them: for filling, never for a node, since durability is given up meanwhile."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Table
from sqlalchemy.engine import make_url


class Sink(Protocol):
    """Takes rows for a table, without its counter."""

    def write(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None: ...


@dataclass
class _Sqlite:
    connection: sqlite3.Connection

    def write(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns))
        names = ", ".join(f'"{name}"' for name in columns)
        self.connection.executemany(f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})', rows)


@dataclass
class _Postgres:
    cursor: Any

    def write(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        with self.cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row(row)


@contextmanager
def _sqlite(path: str) -> Iterator[tuple[Sink, Callable[[], None]]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # In the filler only: what is lost here is filled again.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1500000", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        yield _Sqlite(connection), lambda: None
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    # Or the first commit of the node that is measured would wait until all of this is on the disk.
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _postgres(url: str) -> Iterator[tuple[Sink, Callable[[], None]]]:
    import psycopg

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute("SET synchronous_commit = off")
        yield _Postgres(connection.cursor()), connection.commit


def writing(url: str) -> AbstractContextManager[tuple[Sink, Callable[[], None]]]:
    """Write into the database at `url`; what is yielded beside the sink commits, where that means anything."""
    parsed = make_url(url)
    return _sqlite(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else _postgres(url)
