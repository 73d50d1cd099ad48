"""The schema that migrations make, on both databases: equal to the tables, all or nothing, and signed bytes stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, text
from sqlalchemy.exc import DBAPIError

from kpnode import migrations
from kpnode.migrations import SchemaError, migrate
from kpnode.store import tables as t
from kpnode.store.database import connect


def test_migrations_end_at_the_tables(database_url: str) -> None:
    assert migrations.revision(database_url) is None
    assert migrate(database_url)
    assert not migrate(database_url)
    assert migrations.revision(database_url) == migrations.HEAD
    engine = connect(database_url, writer=True)
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, t.metadata) == []
    engine.dispose()


def test_a_newer_database_is_left_alone(database_url: str) -> None:
    migrate(database_url)
    engine = connect(database_url, writer=True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaError, match="newer"):
        migrate(database_url)
    assert migrations.revision(database_url) == "9999"


@pytest.mark.parametrize("statement", [1, 4, 12, 30])
def test_m1_killed_at_a_statement_leaves_the_old_schema(database_url: str, statement: int) -> None:
    code = "import sys; from kpnode.migrations import migrate; migrate(sys.argv[1])"
    killed = subprocess.run(
        [sys.executable, "-c", code, database_url],
        env={**os.environ, "KPNODE_CRASH_AT": f"M1:{statement}"},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    engine = connect(database_url, writer=False)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()
    assert migrate(database_url)


def _rows(connection: Connection) -> None:
    at = "2026-01-01T00:00:00.000Z"
    document = {"direction": "out", "partner": "AE", "type": "t", "subject": "s", "created_at": at}
    connection.execute(insert(t.document), {"id": "a" * 64, **document, "raw": b"signed"})
    receipt = {"partner": "AE", "direction": "taken", "first": 1, "size": 1, "at": at, "raw": b"signed"}
    connection.execute(insert(t.receipt), receipt)
    record = {"address": "AE", "version": 1, "digest": "d", "raw": b"signed", "added_at": at}
    connection.execute(insert(t.key_record), record)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE document SET raw = 'x'",
        "UPDATE document SET id = 'x'",
        "UPDATE document SET direction = 'in'",
        "UPDATE document SET partner = 'ZA'",
        "DELETE FROM document",
        "UPDATE receipt SET size = 2",
        "DELETE FROM receipt",
        "UPDATE key_record SET version = 2",
        "DELETE FROM key_record",
    ],
)
def test_signed_records_are_never_changed(database_url: str, statement: str) -> None:
    migrate(database_url)
    engine = connect(database_url, writer=True)
    with engine.begin() as connection:
        _rows(connection)
    with pytest.raises(DBAPIError, match="signed records are never"), engine.begin() as connection:
        connection.execute(text(statement))
    with engine.begin() as connection:  # how far it has come is no part of what was signed
        connection.execute(text("UPDATE document SET received_at = 'x', withheld = 'x', answer = 'x'"))
    engine.dispose()


def test_the_head_is_the_last_version() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == migrations.HEAD
