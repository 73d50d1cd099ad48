"""What a database is like, seen from outside: for `kpnode check` and `kpnode doctor`. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from kpnode.store import tables as t
from kpnode.store.database import StoreUnavailableError, connect
from kpnode.store.partners import PartnerRow, owner, partners

# What each setting must not be, or a receipt promises what a power cut can take back.
_PERILOUS: Final = {
    "synchronous": {"0", "1"},
    "journal_mode": {"off", "memory"},
    "fsync": {"off"},
    "full_page_writes": {"off"},
    "synchronous_commit": {"off"},
}


@dataclass(frozen=True, slots=True)
class Condition:
    """`kind`: sqlite or postgresql. `settings`: those that decide what survives a power cut, as our own connections have them."""

    kind: str
    version: str
    settings: Mapping[str, str]
    owner: str | None  #: whose database it is; None before `kpnode init`
    partners: tuple[PartnerRow, ...]

    @property
    def perilous(self) -> list[str]:
        """The settings under which a commit may be lost."""
        return [
            f"{name} = {value}" for name, value in self.settings.items() if value in _PERILOUS.get(name, ())
        ]


def condition(url: str) -> Condition:
    """Look at the database at `url`. Raises StoreUnavailableError; StoreError if it is of a kind that we cannot use."""
    kind = make_url(url).get_backend_name()
    path = make_url(url).database
    if kind == "sqlite" and (not path or not Path(path).is_file()):  # SQLite would make it
        raise StoreUnavailableError(f"the database file {path} does not exist")
    engine = connect(url, writer=False)
    try:
        with engine.connect() as connection, connection.begin():
            made = inspect(connection).has_table(t.meta.name)
            return Condition(
                kind=kind,
                version=".".join(map(str, connection.dialect.server_version_info or ())),
                settings=_settings(connection, kind),
                owner=owner(connection) if made else None,
                partners=tuple(partners(connection)) if made else (),
            )
    except SQLAlchemyError as error:
        raise StoreUnavailableError(str(getattr(error, "orig", error)).strip().split("\n")[0]) from error
    finally:
        engine.dispose()


def _settings(connection: Connection, kind: str) -> dict[str, str]:
    on_sqlite = kind == "sqlite"
    names = (
        ["synchronous", "journal_mode"] if on_sqlite else ["fsync", "full_page_writes", "synchronous_commit"]
    )
    ask = "PRAGMA" if on_sqlite else "SHOW"
    return {name: str(connection.exec_driver_sql(f"{ask} {name}").scalar()) for name in names}
