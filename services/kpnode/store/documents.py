"""The rows of documents, events and claims: what the ledger and our own submissions have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, literal_column, select

from kpmsg import documents, jws
from kpmsg.documents import Document
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.verification import Verified
from kpnode.store import tables as t

_DOCUMENT: Final = (
    "id", "direction", "partner", "type", "subject", "created_at", "received_at", "author", "released_by", "raw"
)  # fmt: skip
_EVENT: Final = ("at", "kind", "partner", "document_id", "certificate")


def insert_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows of plain values, in the order of `columns`.

    The driver gets them as they are: SQLAlchemy's own way through a dictionary for each row costs more than the insertion.
    """
    if rows:
        connection.exec_driver_sql(_insertion(connection.dialect.name, table, columns), list(rows))


@cache
def _insertion(dialect: str, table: Table, columns: tuple[str, ...]) -> str:
    mark = "?" if dialect == "sqlite" else "%s"
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join([mark] * len(columns))})'  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class Item:
    """A verified document as the register core sees it."""

    verified: Verified
    claim: str | None
    late: bool = False  # its key was in use when it was written, and is not any more
    remarks: tuple[Problem, ...] = ()  # ours: rules that it breaks and that do not forbid it

    @property
    def id(self) -> str:
        return self.verified.id


def document_of(raw: bytes) -> Document:
    """A document of our own store, which was verified when it was written: only the payload is looked at."""
    return documents.parse(jws.peek(raw).unverified_payload)


def record_events(
    connection: Connection,
    kind: str,
    at: str,
    partner: str | None,
    about: Sequence[tuple[str | None, str | None]],
) -> None:
    """Append to the feed: one event for each document id and certificate key."""
    insert_rows(
        connection, t.event, _EVENT, [(at, kind, partner, document_id, key) for document_id, key in about]
    )


def record_claims(connection: Connection, items: Iterable[Item]) -> None:
    """Enter what each document claims; a claim that another document of ours has (and was reported) stays there."""
    rows = [{"claim": item.claim, "document_id": item.id} for item in items if item.claim is not None]
    taken: set[str] = set()
    for some in slices([str(row["claim"]) for row in rows]):
        taken |= set(connection.execute(select(t.claim.c.claim).where(t.claim.c.claim.in_(some))).scalars())
    fresh = {row["claim"]: row for row in rows if row["claim"] not in taken}
    if fresh:
        connection.execute(insert(t.claim), list(fresh.values()))


def remarks_in(text: str | None) -> tuple[Problem, ...]:
    """The rules that a document breaks and that do not refuse it, as its row keeps them (`kpnode.store.cases`)."""
    return tuple(
        Problem(
            kept["code"],
            kept["text"],
            kept["pointer"],
            kept["severity"],
            kept.get("variant", ""),
            tuple(kept.get("facts", {}).items()),
        )
        for kept in json.loads(text or "[]")
    )


def insert_documents(
    connection: Connection,
    items: Sequence[Verified],
    direction: str,
    partner: str,
    at: str,
    practice: Practice,
    *,
    received_at: str | None,
    author: str | None,
    released_by: str | None = None,
) -> None:
    """File verified documents, ours (`out`) or a partner's (`in`)."""
    insert_rows(
        connection,
        t.document,
        _DOCUMENT,
        [
            (
                item.id,
                direction,
                partner,
                item.document.type,
                practice.key(item.document.subject) if item.document.subject else "",
                at,
                received_at,
                author,
                released_by,
                item.raw,
            )
            for item in items
        ],
    )


def waiting(connection: Connection, partner: str, limit: int) -> list[str]:
    """Ids of our documents that the partner's register does not hold, in order of creation (R2)."""
    query = (
        select(t.document.c.id)
        .where(
            t.document.c.direction == literal_column("'out'"),  # in the words of its partial index
            t.document.c.received_at.is_(None),
            t.document.c.withheld.is_(None),
            t.document.c.partner == partner,
        )
        .order_by(t.document.c.seq)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def still_waiting(connection: Connection, partner: str, ids: Sequence[str]) -> dict[str, bytes]:
    """The signed bytes of those of `ids` that the partner's register does not hold and that may leave us, by id."""
    found: dict[str, bytes] = {}
    for some in slices(ids):
        rows = connection.execute(
            select(t.document.c.id, t.document.c.raw).where(
                t.document.c.id.in_(some),
                t.document.c.direction == "out",
                t.document.c.received_at.is_(None),
                t.document.c.withheld.is_(None),
                t.document.c.partner == partner,
            )
        )
        found.update((row.id, row.raw) for row in rows)
    return found


def raws(connection: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    """The signed bytes of documents, by id."""
    found: dict[str, bytes] = {}
    for some in slices(ids):
        rows = connection.execute(select(t.document.c.id, t.document.c.raw).where(t.document.c.id.in_(some)))
        found.update((row.id, row.raw) for row in rows)
    return found


def slices(ids: Sequence[str], size: int = 500) -> Iterable[list[str]]:
    """In portions that fit into one statement."""
    return (list(ids[start : start + size]) for start in range(0, len(ids), size))
