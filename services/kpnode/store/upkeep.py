"""After an upgrade: cases are folded anew, and documents that were once not understood are read again.

A newer node may know more states and more document types than the one that wrote the rows. What was signed has not changed; what it
means to us has. The work is done in small transactions beside the exchange, may be killed at any point, and starts again
where it began, since folding twice gives the same.
"""

from __future__ import annotations

import json
from typing import Final

import structlog
from sqlalchemy import Connection, delete, exists, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from kpmsg.case import FOLD
from kpmsg.documents import TYPES, Rejection
from kpmsg.policy import Practice
from kpnode.store import alerts
from kpnode.store import tables as t
from kpnode.store.cases import refold
from kpnode.store.documents import document_of
from kpnode.store.incidents import SET_ASIDE, TOO_MANY

log = structlog.get_logger()
BATCH: Final = 200
_NAME: Final = "folded_by"
READING: Final = f"{FOLD}:{','.join(sorted(TYPES))}"
"""What this software makes of documents: when it differs from what a database says, its cases are folded anew."""


def is_current(connection: Connection) -> bool:
    """Whether the cases in this database were folded as we fold them."""
    return connection.execute(select(t.meta.c.value).where(t.meta.c.name == _NAME)).scalar() == READING


def refold_some(connection: Connection, after: str, at: str, practice: Practice) -> str | None:
    """Fold the next certificates behind key `after`; returns the last of them, None at the end."""
    keys = list(
        connection.execute(
            select(t.certificate.c.key)
            .where(t.certificate.c.key > after)
            .order_by(t.certificate.c.key)
            .limit(BATCH)
        ).scalars()
    )
    try:
        refold(connection, keys, at, practice)
    except SQLAlchemyError:
        raise  # the database's trouble, and no certificate's
    except Exception:  # noqa: BLE001 - one certificate that fails must not keep the others from being folded (R9)
        done = [key for key in keys if _refold_one(connection, key, at, practice)]
    else:
        done = keys
    # What could not be computed once can be now: software may touch it again. The incident stays for an officer to close.
    i, c = t.incident.c, t.certificate.c
    talked = exists().where(
        i.certificate == c.key, i.partner == c.partner, i.kind == TOO_MANY, i.closed_at.is_(None)
    )  # no upgrade makes that fewer documents
    freed = c.key.in_(done), c.locked.is_not(None), ~talked
    connection.execute(update(t.certificate).where(*freed).values(locked=None))
    return keys[-1] if keys else None


def _refold_one(connection: Connection, key: str, at: str, practice: Practice) -> bool:
    try:
        refold(connection, [key], at, practice)
    except SQLAlchemyError:
        raise
    except Exception:
        log.exception("not-folded")  # which, says the incident: logs carry no trade data
        why = "its case could not be computed anew after an upgrade"
        row = update(t.certificate).where(t.certificate.c.key == key, t.certificate.c.locked.is_(None))
        if connection.execute(row.values(locked=why)).rowcount:
            told = {"at": at, "kind": SET_ASIDE, "certificate": key, "text": f"Certificate {key}: {why}."}
            connection.execute(insert(t.incident), told)
        return False
    return True


def read_again(connection: Connection, at: str, practice: Practice) -> bool:
    """Owe an answer once more to what we rejected because we did not understand it, and do now (race C16). True if any.

    Alerts among it are in force from now on.
    """
    alerts.read_again(connection, at, practice)
    rejections = connection.execute(
        select(t.document.c.raw).where(t.document.c.direction == "out", t.document.c.type == Rejection.type)
    ).scalars()
    refused = set()
    for raw in rejections:
        data = document_of(raw).data
        if isinstance(data, Rejection) and any(reason.code == "S07" for reason in data.reasons):
            refused.add(data.refers_to)
    found = False
    for document_id in sorted(refused):
        row = t.document.c.id == document_id
        kind = connection.execute(
            select(t.document.c.type).where(row, t.document.c.direction == "in")
        ).scalar()
        if kind in TYPES:
            connection.execute(update(t.document).where(row).values(answer=json.dumps({"reread": True})))
            found = True
    return found


def mark(connection: Connection) -> None:
    """Everything has been folded as we fold it."""
    connection.execute(delete(t.meta).where(t.meta.c.name == _NAME))
    connection.execute(insert(t.meta), {"name": _NAME, "value": READING})
