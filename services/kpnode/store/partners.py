"""Partners and key records: what an operator decides, and few rows change. (Callers of the API: `kpnode.store.callers`.)"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from kpmsg.keyrecord import KeyRecord, VerifiedRecord, open_record
from kpmsg.register import NOTHING
from kpnode.store import tables as t


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """One partner as decided by an operator. `connection`: how to reach it, as the transport needs it."""

    address: str
    name: str
    transport: str
    connection: Mapping[str, Any]
    added_at: str
    paused_at: str | None
    paused_because: str | None


def owner(connection: Connection) -> str | None:
    """The authority whose database this is; None before `claim_for`."""
    return connection.execute(select(t.meta.c.value).where(t.meta.c.name == "address")).scalar()


def claim_for(connection: Connection, address: str, at: str) -> None:
    """Write down whose database this is, for ever."""
    connection.execute(
        insert(t.meta), [{"name": "address", "value": address}, {"name": "created_at", "value": at}]
    )


def partners(connection: Connection) -> list[PartnerRow]:
    """All partners that have not been removed, by address."""
    rows = connection.execute(
        select(t.partner).where(t.partner.c.removed_at.is_(None)).order_by(t.partner.c.address)
    )
    return [_partner(row) for row in rows]


def _partner(row: Row[Any]) -> PartnerRow:
    return PartnerRow(
        row.address,
        row.name,
        row.transport,
        json.loads(row.connection),
        row.added_at,
        row.paused_at,
        row.paused_because,
    )


def save_partner(
    connection: Connection, address: str, name: str, transport: str, reach: Mapping[str, Any], at: str
) -> None:
    """Add a partner, or change how it is reached; registers that exist already go on as they are."""
    values = {"name": name, "transport": transport, "connection": json.dumps(dict(reach)), "removed_at": None}
    changed = connection.execute(update(t.partner).where(t.partner.c.address == address).values(**values))
    if not changed.rowcount:
        start = {"held_size": 0, "held_head": NOTHING, "known_size": 0, "known_head": NOTHING}
        connection.execute(insert(t.partner), {"address": address, "added_at": at, **values, **start})


def remove_partner(connection: Connection, address: str, at: str) -> bool:
    """Stop exchanging with a partner. What was exchanged stays; adding it again goes on where it stopped."""
    row = update(t.partner).where(t.partner.c.address == address, t.partner.c.removed_at.is_(None))
    return bool(connection.execute(row.values(removed_at=at)).rowcount)


def pause_partner(connection: Connection, address: str, because: str | None, at: str) -> bool:
    """Hold back documents to a partner (`because` a reason), or let them go again (None)."""
    row = update(t.partner).where(t.partner.c.address == address)
    values = {"paused_at": at if because else None, "paused_because": because}
    return bool(connection.execute(row.values(**values)).rowcount)


def save_record(connection: Connection, record: VerifiedRecord, at: str) -> None:
    """Keep a key record version for ever."""
    connection.execute(
        insert(t.key_record),
        {
            "address": record.record.address,
            "version": record.record.version,
            "digest": record.digest,
            "raw": record.raw,
            "added_at": at,
        },
    )


def records(connection: Connection) -> dict[str, list[VerifiedRecord]]:
    """Every key record version there is, by address, newest last. Each is verified again as it is read."""
    found: dict[str, list[VerifiedRecord]] = {}
    rows = connection.execute(
        select(t.key_record.c.raw).order_by(t.key_record.c.address, t.key_record.c.version)
    )
    for raw in rows.scalars():
        verified = open_record(raw)
        found.setdefault(verified.record.address, []).append(verified)
    return found


def plain(records_of: Mapping[str, list[VerifiedRecord]]) -> dict[str, list[KeyRecord]]:
    """The records themselves, for verification."""
    return {address: [v.record for v in versions] for address, versions in records_of.items()}
