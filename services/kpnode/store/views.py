"""What the API shows: every read that is not part of an exchange, and none that writes.

Lists are read by key, never by offset, so that a page costs the same wherever it is and nothing is skipped or shown twice while
documents arrive. The module returns rows as they are; what they mean in words is `kpnode.api.resources`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    literal_column,
    select,
    true,
    tuple_,
)

from kpmsg import jws
from kpmsg.frames import MAX_RECEIPT_IDS
from kpnode.store import tables as t

Delivered = Literal["waiting", "received", "withheld"]
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One document: the columns of its row. `payload` is what was signed, `raw` the JWS."""

    seq: int
    id: str
    direction: str
    partner: str
    type: str
    subject: str
    created_at: str
    received_at: str | None
    withheld: str | None
    refused: str | None
    remarks: str | None
    author: str | None
    released_by: str | None
    raw: bytes

    @property
    def payload(self) -> bytes:
        # Our own store, verified when it was written.
        return jws.peek(self.raw).unverified_payload


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """One certificate: its case as it was folded last (`kpmsg.case`)."""

    key: str
    number: str
    issuer: str
    partner: str
    state: str
    case: dict[str, Any]
    waits: str
    matter: str | None
    due: str | None
    locked: str | None
    first_at: str
    changed_at: str


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What is kept for one partner: sizes of both registers and what its register does not hold yet."""

    address: str
    name: str
    transport: str
    added_at: str
    paused_at: str | None
    paused_because: str | None
    held: int
    known: int
    waiting: int
    oldest_id: str | None
    oldest_at: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened, by ids only."""

    seq: int
    at: str
    kind: str
    partner: str | None
    document_id: str | None
    certificate: str | None


_DOCUMENT: Final = select(*(t.document.c[name] for name in DocumentRow.__slots__))
# In the words of its partial index: a plan that is made once for all values knows no others.
_WAITING: Final = and_(
    t.document.c.direction == literal_column("'out'"),
    t.document.c.received_at.is_(None),
    t.document.c.withheld.is_(None),
)
_DELIVERED: Final[dict[Delivered, ColumnElement[bool]]] = {
    "waiting": _WAITING,
    "received": t.document.c.received_at.is_not(None),
    "withheld": t.document.c.withheld.is_not(None),
}


def documents(
    connection: Connection,
    *,
    partner: str | None = None,
    direction: str | None = None,
    type: str | None = None,  # noqa: A002 - the column's name
    certificate: str | None = None,
    delivery: Delivered | None = None,
    before: int | None = None,
    limit: int,
) -> list[DocumentRow]:
    """Documents that fit, newest first, from below sequence number `before`; `certificate` is a key."""
    wanted = [
        column == value
        for column, value in (
            (t.document.c.partner, partner),
            (t.document.c.direction, direction),
            (t.document.c.type, type),
            (t.document.c.subject, certificate),
        )
        if value is not None
    ]
    if delivery is not None:
        wanted.append(_DELIVERED[delivery])
    seq = t.document.c.seq
    if before is not None:
        wanted.append(seq < before)
    if delivery in {"waiting", "withheld"} and partner is None:
        # These are few, in an index of their own by partner. In the order of the table itself SQLite would look for them among all.
        place = seq + literal_column("0")
        some = select(seq).where(*wanted).order_by(place.desc()).limit(limit)
        wanted = [seq.in_(some.scalar_subquery())]
    query = _DOCUMENT.where(true(), *wanted).order_by(seq.desc()).limit(limit)
    return [DocumentRow(*row) for row in connection.execute(query)]


def documents_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, DocumentRow]:
    """Those of `ids` that are there."""
    found: dict[str, DocumentRow] = {}
    for start in range(0, len(ids), 500):
        rows = connection.execute(_DOCUMENT.where(t.document.c.id.in_(list(ids[start : start + 500]))))
        found.update((row.id, DocumentRow(*row)) for row in rows)
    return found


def document(connection: Connection, document_id: str) -> DocumentRow | None:
    """One document."""
    return documents_by_id(connection, [document_id]).get(document_id)


def receipt_for(connection: Connection, row: DocumentRow) -> bytes | None:
    """The signed receipt that covers a document: the partner's for one of ours, our own for one of theirs."""
    side, direction = ("known", "taken") if row.direction == "out" else ("held", "given")
    position = connection.execute(
        select(t.entry.c.position).where(
            t.entry.c.document_id == row.id, t.entry.c.partner == row.partner, t.entry.c.side == side
        )
    ).scalar()
    if position is None:
        return None
    # A register that became shorter is receipted anew at the same positions: the newest one that names it counts. No receipt that
    # covers it ends further behind it than a receipt is long; without that bound those of all later years would be looked at.
    receipts = connection.execute(
        select(t.receipt.c.raw)
        .where(
            t.receipt.c.partner == row.partner,
            t.receipt.c.direction == direction,
            t.receipt.c.size >= position,
            t.receipt.c.size < position + MAX_RECEIPT_IDS,
            t.receipt.c.first <= position,
        )
        .order_by(t.receipt.c.seq.desc())
        .limit(16)
    )
    named = row.id.encode("ascii")
    return next((raw for raw in receipts.scalars() if named in jws.peek(raw).unverified_payload), None)


def certificates(
    connection: Connection,
    *,
    state: str | None = None,
    partner: str | None = None,
    before: tuple[str, str] | None = None,
    limit: int,
) -> list[CertificateRow]:
    """Certificates that fit, last changed first, from below `before` (time of change, key)."""
    query = (
        select(t.certificate)
        .order_by(t.certificate.c.changed_at.desc(), t.certificate.c.key.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(t.certificate.c.state == state)
    if partner is not None:
        query = query.where(t.certificate.c.partner == partner)
    if before is not None:
        at, key = before
        # One comparison of pairs, which an index can begin at; an OR is tried on every row from the newest on.
        query = query.where(tuple_(t.certificate.c.changed_at, t.certificate.c.key) < tuple_(at, key))
    return [_certificate(row) for row in connection.execute(query).mappings()]


def certificate(connection: Connection, key: str) -> CertificateRow | None:
    """One certificate, by its key."""
    query = select(t.certificate).where(t.certificate.c.key == key)
    row = connection.execute(query).mappings().first()
    return None if row is None else _certificate(row)


def certificates_by_key(connection: Connection, keys: Sequence[str]) -> list[CertificateRow]:
    """Those of `keys` that are there, in the order of `keys`."""
    found: dict[str, CertificateRow] = {}
    for start in range(0, len(keys), 500):
        some = select(t.certificate).where(t.certificate.c.key.in_(list(keys[start : start + 500])))
        found |= {row["key"]: _certificate(row) for row in connection.execute(some).mappings()}
    return [found[key] for key in dict.fromkeys(keys) if key in found]


def certificates_from(connection: Connection, beginning: str, after: str, limit: int) -> list[CertificateRow]:
    """Certificates whose key begins with `beginning`, by key, from behind `after`."""
    column = t.certificate.c.key
    # Keys are digits and capitals: nothing that begins so comes behind this, whatever the database's order of letters.
    end = beginning + "Z" * (64 - len(beginning))
    # One lower bound: of two, SQLite may begin to read at the wrong one.
    lower = column > after if after >= beginning else column >= beginning
    query = select(t.certificate).where(lower, column <= end)
    rows = connection.execute(query.order_by(column).limit(limit)).mappings()
    return [_certificate(row) for row in rows]


def _certificate(row: RowMapping) -> CertificateRow:
    return CertificateRow(
        **{str(name): value for name, value in row.items()} | {"case": json.loads(row["case"])}
    )


def queues(connection: Connection, address: str | None = None) -> list[QueueRow]:
    """The partners (or one of them) with what waits for each, by address."""
    query: Select[Any] = (
        select(t.partner).where(t.partner.c.removed_at.is_(None)).order_by(t.partner.c.address)
    )
    if address is not None:
        query = query.where(t.partner.c.address == address)
    counted = select(t.document.c.partner, func.count(), func.min(t.document.c.seq)).where(_WAITING)
    waiting = {row[0]: (row[1], row[2]) for row in connection.execute(counted.group_by(t.document.c.partner))}
    oldest = {
        row.seq: row
        for row in connection.execute(
            select(t.document.c.seq, t.document.c.id, t.document.c.created_at).where(
                t.document.c.seq.in_([seq for _, seq in waiting.values()])
            )
        )
    }
    found = []
    for row in connection.execute(query):
        count, first = waiting.get(row.address, (0, None))
        last = oldest.get(first) if first is not None else None
        found.append(
            QueueRow(
                row.address,
                row.name,
                row.transport,
                row.added_at,
                row.paused_at,
                row.paused_because,
                row.held_size,
                row.known_size,
                count,
                last.id if last is not None else None,
                last.created_at if last is not None else None,
            )
        )
    return found


def queue(connection: Connection, address: str) -> QueueRow | None:
    """What waits for one partner; None if there is no such partner."""
    return next(iter(queues(connection, address)), None)


def events(connection: Connection, after: int, limit: int) -> list[EventRow]:
    """The feed from behind sequence number `after` on, oldest first."""
    query = select(t.event).where(t.event.c.seq > min(after, _MOST)).order_by(t.event.c.seq).limit(limit)
    return [EventRow(*row) for row in connection.execute(query)]


def open_incidents(connection: Connection) -> int:
    """How many incidents wait for somebody."""
    return connection.execute(select(func.count()).where(t.incident.c.closed_at.is_(None))).scalar() or 0
