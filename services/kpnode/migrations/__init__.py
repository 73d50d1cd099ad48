"""How the database comes to the tables of this version, and why it never goes half way.

`migrate` runs every migration that a database lacks in one single transaction, on SQLite and PostgreSQL alike. A process that
is killed at any statement leaves the old schema or the new one. A database that a newer kpnode has changed is refused: old
software would read it wrongly, and its receipts would promise what it does not know.

The migrations are written out by hand (`versions/`); a test compares the result with `kpnode.store.tables`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from kpnode import crash
from kpnode.store.database import StoreError, StoreUnavailableError, connect

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0002"
"""The revision that this version of kpnode works with; a test holds it to be the last of `versions/`."""

_HERE: Final = Path(__file__).parent


class SchemaError(StoreError):
    """The database's schema does not fit this version of kpnode; the text says what to do."""


def revision(url: str) -> str | None:
    """The revision of the database at `url`; None for an empty one. Changes nothing. Raises StoreUnavailableError."""
    engine = connect(url, writer=False)
    try:
        with engine.connect() as connection, connection.begin():
            return _revision(connection)
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"cannot read the database: {_reason(error)}") from error
    finally:
        engine.dispose()


def migrate(url: str) -> bool:
    """Bring the database at `url` to this version's schema; true if anything was done.

    The caller owns the database (`Database.start`), or is the first to touch it. Raises SchemaError if it is newer than this
    software, StoreUnavailableError if it cannot be reached; both leave it as it was.
    """
    engine = connect(url, writer=True)
    try:
        with engine.begin() as connection:
            before = _revision(connection)
            if before == HEAD:
                return False
            # Here and not above: Alembic is 10 MB that a node with a current database has no use for.
            from alembic import command
            from alembic.script import ScriptDirectory

            known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
            if before is not None and before not in known:
                raise SchemaError(
                    f"the database has the schema {before!r} of a newer kpnode; install that version, or restore an older backup"
                )
            # M1 of the crash points: after the nth statement.
            event.listen(connection, "after_cursor_execute", lambda *_: crash.point("M1"))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return True
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"cannot change the database: {_reason(error)}") from error
    finally:
        engine.dispose()


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "orig", error)).strip().split("\n")[0]
