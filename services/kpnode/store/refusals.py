"""What was refused, in both directions: bytes of theirs that did not verify (R9), and documents of ours that they refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from kpnode.store import tables as t
from kpnode.store.documents import record_events

QUARANTINED = 64 * 1024  # bytes kept of each refused line or frame


def quarantine(
    connection: Connection,
    partner: str,
    at: str,
    refused: Sequence[tuple[bytes, str, str]],
    *,
    most: int = 1000,
) -> None:
    """Keep bytes that failed verification (bytes, code, text), at most 64 KiB of each and `most` for a partner (R9)."""
    connection.execute(
        insert(t.quarantine),
        [
            {
                "at": at,
                "partner": partner,
                "digest": hashlib.sha256(raw).hexdigest(),
                "code": code,
                "text": text,
                "size": len(raw),
                "raw": raw[:QUARANTINED],
            }
            for raw, code, text in refused[-most:]
        ],
    )
    kept = select(t.quarantine.c.seq).where(t.quarantine.c.partner == partner)
    oldest = connection.execute(kept.order_by(t.quarantine.c.seq.desc()).offset(most).limit(1)).scalar()
    if oldest is not None:
        connection.execute(
            delete(t.quarantine).where(t.quarantine.c.partner == partner, t.quarantine.c.seq <= oldest)
        )


def refuse(connection: Connection, partner: str, document_id: str, text: str, at: str) -> bool:
    """Record that the partner's node could not accept a document of ours; false if it is none of ours, or received."""
    found = connection.execute(
        select(t.document.c.refused).where(
            t.document.c.id == document_id,
            t.document.c.partner == partner,
            t.document.c.direction == "out",
            t.document.c.received_at.is_(None),
        )
    ).first()
    if found is not None and found.refused != text:  # what is refused again in the same words is no news
        connection.execute(update(t.document).where(t.document.c.id == document_id).values(refused=text))
        record_events(connection, "refused", at, partner, [(document_id, None)])
    return found is not None
