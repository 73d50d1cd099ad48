"""The schema that migrations make, on both databases: equal to the tables, all or nothing, and signed bytes stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, text
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
        "UPDATE document SET author = 'x'",
        "UPDATE document SET released_by = 'x'",
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
        connection.execute(
            text("UPDATE document SET received_at = 'x', withheld = 'x', answer = 'x', remarks = 'x'")
        )
    engine.dispose()


# --- from the first schema to this one -------------------------------------------------------------------------------

AT = "2026-01-01T00:00:00.000Z"
FIRST: dict[str, list[dict[str, Any]]] = {
    # As the first version wrote them: every table that has rows after a shipment, and one of each kind beside.
    "meta": [{"name": "address", "value": "BW"}],
    "partner": [
        {
            "address": "AE", "name": "AE", "transport": "https", "connection": "{}", "added_at": AT,
            "held_size": 1, "held_head": "b" * 64, "known_size": 1, "known_head": "a" * 64,
        },
    ],
    "key_record": [{"address": "AE", "version": 1, "digest": "d", "raw": b"record", "added_at": AT}],
    "document": [
        {
            "seq": seq, "id": letter * 64, "direction": direction, "partner": "AE", "type": "t", "subject": "BW000001",
            "created_at": AT, "received_at": received, "author": author, "raw": b"signed \x00 bytes",
        }
        for seq, letter, direction, received, author in (
            (1, "a", "out", AT, "customs"), (2, "b", "in", AT, None), (3, "c", "out", None, "customs"),
        )
    ],
    "entry": [
        {"partner": "AE", "side": "known", "position": 1, "document_id": "a" * 64, "head": "a" * 64, "at": AT}
    ],
    "receipt": [
        {"seq": 1, "partner": "AE", "direction": "taken", "first": 1, "size": 1, "at": AT, "raw": b"signed"}
    ],
    "claim": [{"claim": "export-notification:BW000001", "document_id": "a" * 64}],
    "idempotency": [{"caller": "customs", "key": "k", "digest": "d", "documents": "a" * 64, "at": AT}],
    "certificate": [
        {
            "key": "BW000001", "number": "BW 000001", "issuer": "BW", "partner": "AE", "state": "confirmed",
            "case": "{}", "first_at": AT, "changed_at": AT,
        }
    ],
    "incident": [{"seq": 1, "at": AT, "kind": "override", "text": "why", "statement": b"signed"}],
    "api_key": [{"id": "1", "name": "customs", "secret_sha256": "h", "scopes": "documents:read", "created_at": AT}],
}  # fmt: skip


def _at_the_first_schema(url: str) -> None:
    """A database that the first version made and wrote to."""
    engine = connect(url, writer=True)
    with engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, rows in FIRST.items():
            columns = ", ".join(f'"{name}"' for name in rows[0])
            values = ", ".join(f":{name}" for name in rows[0])
            connection.execute(text(f'INSERT INTO "{table}" ({columns}) VALUES ({values})'), rows)
    engine.dispose()


def _kept(url: str) -> dict[str, list[dict[str, Any]]]:
    """What is there now of the columns that the first version wrote."""
    engine = connect(url, writer=False)
    found = {}
    with engine.connect() as connection:
        for table, rows in FIRST.items():
            columns = ", ".join(f'"{name}"' for name in rows[0])
            read = connection.execute(text(f'SELECT {columns} FROM "{table}" ORDER BY 1')).mappings()
            found[table] = [dict(row) for row in read]
    engine.dispose()
    return found


def test_a_database_of_the_first_version_keeps_everything(database_url: str) -> None:
    _at_the_first_schema(database_url)
    assert _kept(database_url) == FIRST
    assert migrate(database_url)
    assert _kept(database_url) == FIRST
    engine = connect(database_url, writer=True)
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, t.metadata) == []
        assert set(connection.execute(select(t.certificate.c.waits)).scalars()) == {"nobody"}
        assert set(connection.execute(select(t.document.c.released_by, t.document.c.remarks))) == {
            (None, None)
        }
    for statement in ("UPDATE document SET released_by = 'x'", "UPDATE document SET raw = 'x'"):
        with pytest.raises(DBAPIError, match="never changed"), engine.begin() as connection:
            connection.execute(text(statement))
    with pytest.raises(DBAPIError, match="never"), engine.begin() as connection:
        connection.execute(text("DELETE FROM document"))
    engine.dispose()


@pytest.mark.parametrize("statement", [1, 5, 9, 16])
def test_m1_killed_between_the_first_schema_and_this_one_leaves_the_first(
    database_url: str, statement: int
) -> None:
    _at_the_first_schema(database_url)
    code = "import sys; from kpnode.migrations import migrate; migrate(sys.argv[1])"
    killed = subprocess.run(
        [sys.executable, "-c", code, database_url],
        env={**os.environ, "KPNODE_CRASH_AT": f"M1:{statement}"},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    assert migrations.revision(database_url) == "0001"
    assert _kept(database_url) == FIRST
    assert migrate(database_url)
    assert _kept(database_url) == FIRST


def test_the_head_is_the_last_version() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == migrations.HEAD
