"""What has been asked, and what has been prepared, about confirmations that are overdue; and numbers that were used twice.

Rows only: when a reminder is due, and what it says, is decided in `kpnode.reminding`. Each reminder has one name for ever,
`reminder:<level>:<notification>`, under which it is prepared once (`kpnode.store.drafts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from kpmsg.case import State
from kpmsg.documents import ConfirmationRequest, ExportNotification, parse
from kpmsg.documents.envelope import Document
from kpnode.release import NODE
from kpnode.store import tables as t
from kpnode.store.documents import slices
from kpnode.store.drafts import DraftRow, drafts_by_number
from kpnode.store.views import certificates, documents_by_id

LEVELS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class UsedTwice:
    """One number of ours that more than one importing authority has confirmed."""

    key: str
    number: str
    importers: tuple[str, ...]


def name_of(level: int, notification: str) -> str:
    """The name of one reminder."""
    return f"reminder:{level}:{notification}"


def asked(connection: Connection, about: Mapping[str, str]) -> dict[str, dict[int, str]]:
    """For each notification of `about` (its id, and the key of its certificate): when each level was said or prepared.

    What was discarded counts: an officer has decided about it. One that still waits for an officer counts as prepared on the last
    of days, so that the next level does not pile up on it.
    """
    found: dict[str, dict[int, str]] = {}
    names = {
        name_of(level, notification): (notification, level) for notification in about for level in LEVELS
    }
    said = {
        f"{ConfirmationRequest.name}:{key}:{notification}:{level}": (notification, level)
        for notification, key in about.items()
        for level in LEVELS
    }
    for some in slices(list(names)):
        prepared = select(t.draft.c.because, t.draft.c.at, t.draft.c.state).where(t.draft.c.because.in_(some))
        for because, at, state in connection.execute(prepared):
            notification, level = names[because]
            found.setdefault(notification, {})[level] = "9999-12-31" if state == "open" else at
    for some in slices(list(said)):
        claimed = (
            select(t.claim.c.claim, t.document.c.created_at)
            .join(t.document, t.document.c.id == t.claim.c.document_id)
            .where(t.claim.c.claim.in_(some))
        )
        for claim, at in connection.execute(claimed):
            notification, level = said[claim]
            found.setdefault(notification, {})[level] = at
    return found


def notifications(connection: Connection, ids: Sequence[str]) -> dict[str, Document]:
    """Those of `ids` that are notifications of ours."""
    found = {
        row.id: parse(row.payload)
        for row in documents_by_id(connection, ids).values()
        if row.direction == "out"
    }
    return {key: document for key, document in found.items() if isinstance(document.data, ExportNotification)}


def untouched(connection: Connection, after: int, limit: int) -> list[DraftRow]:
    """Open reminders that nobody has written in but the node, in the order in which they were prepared, from behind `after`."""
    query = (
        select(t.draft.c.seq)
        .where(
            t.draft.c.state == "open",
            t.draft.c.author == NODE,
            t.draft.c.person == NODE,
            t.draft.c.because.startswith("reminder:", autoescape=True),
            t.draft.c.seq > after,
        )
        .order_by(t.draft.c.seq)
        .limit(limit)
    )
    numbers = list(connection.execute(query).scalars())
    return sorted(drafts_by_number(connection, numbers), key=lambda row: row.seq)


def used_twice(
    connection: Connection, me: str, before: tuple[str, str] | None, limit: int
) -> tuple[list[UsedTwice], tuple[str, str] | None]:
    """Numbers that `me` notified and several importers have confirmed; and from where to go on, None at the end."""
    rows = certificates(connection, state=State.USED_TWICE, before=before, limit=limit)
    ours = [row for row in rows if row.case.get("exporter") == me]
    ids = [document_id for row in ours for document_id in row.case.get("confirmations", ())]
    source = {row.id: row.partner for row in documents_by_id(connection, ids).values()}
    found = [
        UsedTwice(
            row.key,
            row.number,
            tuple(sorted({source[i] for i in row.case.get("confirmations", ()) if i in source})),
        )
        for row in ours
    ]
    return found, (rows[-1].changed_at, rows[-1].key) if len(rows) == limit else None
