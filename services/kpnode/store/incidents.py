"""Incidents: what software has noticed and only people can settle (R7). They are closed with a reason, never deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, update

from kpnode.store import tables as t
from kpnode.store.documents import record_events

RESTORED: Final = "restored"
NOT_KNOWN: Final = "number-not-known"
"""Somebody speaks of a number of ours that is not known here, and has not been answered yet."""

TOO_MANY: Final = "too-many"
SET_ASIDE: Final = "set-aside"
"""The kind of those about what could not be computed here (R9); each locks its certificate."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident. `has_statement` tells that a signed statement shows it; `statement` fetches the bytes."""

    seq: int
    at: str
    kind: str
    partner: str | None
    document_id: str | None
    certificate: str | None
    text: str
    has_statement: bool
    closed_at: str | None
    closed_by: str | None
    closed_because: str | None


_COLUMNS = (
    t.incident.c.seq,
    t.incident.c.at,
    t.incident.c.kind,
    t.incident.c.partner,
    t.incident.c.document_id,
    t.incident.c.certificate,
    t.incident.c.text,
    t.incident.c.statement.is_not(None),
    t.incident.c.closed_at,
    t.incident.c.closed_by,
    t.incident.c.closed_because,
)


def incidents(
    connection: Connection, *, closed: bool | None, partner: str | None, before: int | None, limit: int
) -> list[Incident]:
    """Newest first, from below `before`; `closed` None for both kinds."""
    query = select(*_COLUMNS).order_by(t.incident.c.seq.desc()).limit(limit)
    if closed is not None:
        query = query.where(
            t.incident.c.closed_at.is_not(None) if closed else t.incident.c.closed_at.is_(None)
        )
    if partner is not None:
        query = query.where(t.incident.c.partner == partner)
    if before is not None:
        query = query.where(t.incident.c.seq < before)
    return [Incident(*row) for row in connection.execute(query)]


def incident(connection: Connection, seq: int) -> Incident | None:
    """One incident, open or closed."""
    row = connection.execute(select(*_COLUMNS).where(t.incident.c.seq == seq)).first()
    return None if row is None else Incident(*row)


def statement(connection: Connection, seq: int) -> bytes | None:
    """The signed statement that shows the incident, byte for byte."""
    return connection.execute(select(t.incident.c.statement).where(t.incident.c.seq == seq)).scalar()


def close_incident(connection: Connection, seq: int, by: str, because: str, at: str) -> bool:
    """Close an open incident, and say so in the feed; false if it is not there or not open.

    With the last one about documents that were set aside, software touches their certificate again: an officer has looked at it.
    """
    row = update(t.incident).where(t.incident.c.seq == seq, t.incident.c.closed_at.is_(None))
    if not connection.execute(row.values(closed_at=at, closed_by=by, closed_because=because)).rowcount:
        return False
    named = select(t.incident.c.partner, t.incident.c.document_id, t.incident.c.certificate)
    about = connection.execute(named.where(t.incident.c.seq == seq)).mappings().one()
    _unlock(connection, seq)
    connection.execute(insert(t.event), {"at": at, "kind": "incident-closed", **about})
    return True


def _unlock(connection: Connection, seq: int) -> None:
    i = t.incident.c
    locks = select(i.certificate).where(i.kind.in_((SET_ASIDE, TOO_MANY)), i.certificate.is_not(None))
    key = connection.execute(locks.where(i.seq == seq)).scalar()
    if key is None:
        return
    if connection.execute(locks.where(i.certificate == key, i.closed_at.is_(None)).limit(1)).first() is None:
        connection.execute(update(t.certificate).where(t.certificate.c.key == key).values(locked=None))


def restored(connection: Connection, why: str, at: str) -> None:
    """This database is an older one: an officer has to look what was recorded in it alone. Said once, until it is closed."""
    if is_restored(connection):
        return
    text = (
        f"This node's database was put back to an older copy: {why}. Partners give back our documents; what was recorded here "
        "alone (numbers, drafts, API keys) has to be entered again. Then close this incident: until then nobody is told that a "
        "number is unknown."
    )
    connection.execute(insert(t.incident), {"at": at, "kind": RESTORED, "text": text})
    record_events(connection, "incident", at, None, [(None, None)])


def is_restored(connection: Connection) -> bool:
    """Whether an officer has still to look what an older database lacks."""
    return is_open(connection, RESTORED)


def is_open(connection: Connection, kind: str, *about: ColumnElement[bool]) -> bool:
    """Whether an incident of this kind, and about that, is open: it is not told a second time."""
    i = t.incident.c
    query = select(i.seq).where(i.closed_at.is_(None), i.kind == kind, *about)
    return connection.execute(query.limit(1)).first() is not None


def end_not_known(connection: Connection, document_id: str, because: str, at: str) -> None:
    """What was not known is settled: the alarm that this document raised ends by itself."""
    query = select(t.incident.c.seq).where(
        t.incident.c.closed_at.is_(None),
        t.incident.c.kind == NOT_KNOWN,
        t.incident.c.document_id == document_id,
    )
    for seq in connection.execute(query).scalars().all():
        close_incident(connection, seq, "node", because, at)
