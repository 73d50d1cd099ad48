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
from kpmsg.documents import (
    ConfirmationCorrection,
    ConfirmationRequest,
    ExportNotification,
    ImportConfirmation,
    parse,
)
from kpmsg.documents.envelope import Document
from kpnode.release import NODE
from kpnode.store import tables as t
from kpnode.store.documents import slices
from kpnode.store.drafts import DraftRow, drafts_by_number
from kpnode.store.views import certificates, documents_by_id

LEVELS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class UsedTwice:
    """One importing authority that has confirmed a number of ours which another has confirmed, too. `name`: of its warning."""

    name: str
    key: str
    number: str
    importer: str


Place = tuple[int, tuple[str, str] | None]
"""How far a walk through numbers used twice has come."""


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
    connection: Connection, me: str, place: Place, limit: int
) -> tuple[list[UsedTwice], Place | None]:
    """The warnings that are to be prepared for numbers that `me` notified and several importers have confirmed; and from where to go on.

    The two confirmations tell, not the state: a dispute between our own documents may be named before this one. Whoever has been warned
    is not warned again; if an officer has discarded a warning, the confirmation of one more importer brings it back.
    """
    which, before = place
    rows = certificates(connection, state=_DISPUTED[which], before=before, limit=limit)
    ours = [row for row in rows if row.case.get("exporter") == me]
    ids = [document_id for row in ours for document_id in row.case.get("confirmations", ())]
    came = {row.id: row.partner for row in documents_by_id(connection, ids).values() if _came(row.payload)}
    names: dict[str, list[str]] = {}
    found = []
    for row in ours:
        importers = sorted({came[i] for i in row.case.get("confirmations", ()) if i in came})
        for importer in importers if len(importers) > 1 else ():
            first = f"used-twice:{row.key}:{importer}"
            several = [first, *(f"{first}:{count}" for count in range(3, len(importers) + 1))]
            names[several[-1]] = several
            found.append(UsedTwice(several[-1], row.key, row.number, importer))
    states: dict[str, str] = {}
    for some in slices([name for several in names.values() for name in several]):
        prepared = select(t.draft.c.because, t.draft.c.state).where(t.draft.c.because.in_(some))
        states.update({row.because: row.state for row in connection.execute(prepared)})
    wanted = [
        each
        for each in found
        if each.name not in states
        and all(states.get(n, "discarded") == "discarded" for n in names[each.name])
    ]
    if len(rows) == limit:
        return wanted, (which, (rows[-1].changed_at, rows[-1].key))
    return wanted, (which + 1, None) if which + 1 < len(_DISPUTED) else None


_DISPUTED: Final = (State.USED_TWICE, State.NOTIFIED_TWICE, State.AMENDED_TWICE)
"""The states in which a number may have been confirmed by two importers: in the order of the case rules, the others come after."""


def _came(payload: bytes) -> bool:
    """Whether a confirmation, or the correction of one, says that something came."""
    data = parse(payload).data
    content = data.content if isinstance(data, ConfirmationCorrection) else data
    return isinstance(content, ImportConfirmation) and content.outcome != "not_received"
