"""What this authority has recorded of its numbers, apart from notifying them: how it is written down, and what follows from it.

At the author's, a number that was recorded as void, lost or stolen is not issued (rule C03), and one person's word does not make it so
again; on both sides, a certificate that is said to be replaced should be one that is known (rule C08). What became of every number that was
printed is told by `kpnode.store.numbers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, literal, select, union_all

from kpmsg.documents import Document, ExportAmendment, ExportNotification, certificate_key
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.rules import breach
from kpnode.release import same_person
from kpnode.store import tables as t
from kpnode.store.callers import callers
from kpnode.store.documents import record_events, slices
from kpnode.store.numbers import VOIDED, is_notified

Status = Literal["issued", "void", "lost", "stolen"]


class Fact(NamedTuple):
    """Something to record of a number: its key, the number as printed, what became of it."""

    key: str
    number: str
    status: Status
    note: str | None


@dataclass(frozen=True, slots=True)
class NumberRow:
    """What has been recorded of one number."""

    key: str
    number: str
    status: str
    at: str
    by: str
    note: str | None


class NotifiedError(Exception):
    """Numbers were to be recorded as void that have been notified; nothing was recorded. `places`: which of them."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__("notified numbers are cancelled, not recorded as void")
        self.places = tuple(places)


class TakenBackError(Exception):
    """Numbers that are void, lost or stolen were to be issued after all, on one person's word; nothing was recorded."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__("a second person must say that they are issued after all")
        self.places = tuple(places)


def record(
    connection: Connection, facts: Sequence[Fact], me: str, by: str, at: str, *, officer: str | None = None
) -> list[NumberRow]:
    """Record `facts`, all of them or none; the last word on a number replaces the one before, which an incident keeps.

    `officer`: the person who says so, if that person may release documents. Raises NotifiedError: whoever was told of a number is told
    that it is void, by a cancellation; and TakenBackError.
    """
    states: dict[str, str] = {}
    before: dict[str, NumberRow] = {}
    names = NumberRow.__slots__
    for some in slices([fact.key for fact in facts]):
        query = select(t.certificate.c.key, t.certificate.c.state).where(t.certificate.c.key.in_(some))
        states.update({row.key: row.state for row in connection.execute(query)})
        known = select(*(t.number.c[name] for name in names)).where(t.number.c.key.in_(some))
        before.update({row.key: NumberRow(*row) for row in connection.execute(known)})
    told = [
        place
        for place, fact in enumerate(facts)
        if fact.status == "void"
        and (state := states.get(fact.key))
        and is_notified(state)
        and state not in VOIDED
    ]
    if told:
        raise NotifiedError(told)
    alone = _alone(connection, facts, before, officer)
    if alone:
        raise TakenBackError(alone)
    rows = list({fact.key: _row(fact, before.get(fact.key), at, by) for fact in facts}.values())
    for some in slices([row.key for row in rows]):
        connection.execute(delete(t.number).where(t.number.c.key.in_(some)))
    connection.execute(insert(t.number), [{name: getattr(row, name) for name in names} for row in rows])
    record_events(connection, "number-recorded", at, me, [(None, row.key) for row in rows])
    changed = [(before[row.key], row) for row in rows if row.key in before]
    incidents = [_changed(old, new) for old, new in changed if old.status != new.status]
    if incidents:
        connection.execute(insert(t.incident), incidents)
    return rows


def _row(fact: Fact, old: NumberRow | None, at: str, by: str) -> NumberRow:
    """Who only repeats what is recorded does not become the one who has said so: else anybody's word would do to take it back."""
    if old is None or old.status != fact.status:
        return NumberRow(*fact[:3], at, by, fact.note)
    return replace(old, number=fact.number, note=fact.note or old.note)


def _alone(
    connection: Connection, facts: Sequence[Fact], before: Mapping[str, NumberRow], officer: str | None
) -> list[int]:
    """Which facts take back, on one person's word, that a number is void, lost or stolen: a partner would be told that it is genuine."""
    back = [
        place
        for place, fact in enumerate(facts)
        if fact.status == "issued" and fact.key in before and before[fact.key].status != "issued"
    ]
    if not back or officer is None:
        return back
    held = {caller.name: caller.person for caller in callers(connection)}
    writers = {place: before[facts[place].key].by for place in back}
    return [place for place, by in writers.items() if same_person(held.get(by, by), officer)]


def _changed(old: NumberRow, new: NumberRow) -> dict[str, Any]:
    note = f" ({old.note})" if old.note else ""
    text = (
        f"{old.number} was recorded as {old.status} by {old.by} at {old.at}{note}; "
        f"{new.by} has recorded it as {new.status} now."
    )
    return {"at": new.at, "kind": "number-changed", "certificate": new.key, "text": text}


# -- what follows from it --------------------------------------------------------------------------------------------------

_BOOKS: Final = union_all(
    select(t.number.c.key, t.number.c.status).where(t.number.c.key.in_(bindparam("own", expanding=True))),
    select(t.number.c.key, literal("")).where(t.number.c.key.in_(bindparam("replaced", expanding=True))),
    select(t.certificate.c.key, literal("")).where(
        t.certificate.c.key.in_(bindparam("replaced", expanding=True))
    ),
)


@dataclass(slots=True)
class Books:
    """What is recorded of our own numbers that are notified, and which of the replaced certificates are known."""

    statuses: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


def look(connection: Connection, documents: Iterable[Document], practice: Practice) -> Books:
    """What `problems` has to know about these documents."""
    own, replaced = set(), set()
    for document in documents:
        if isinstance(document.data, ExportNotification) and document.source == practice.me:
            own.add(practice.key(document.data.certificate.key))
        if (key := _replaced(document, practice)) is not None:
            replaced.add(key)
    books = Books()
    for some in slices(sorted(own | replaced)):
        asked = {"own": sorted(own.intersection(some)), "replaced": sorted(replaced.intersection(some))}
        for key, status in connection.execute(_BOOKS, asked):
            if status:
                books.statuses[key] = status
            else:
                books.known.add(key)
    return books


def problems(document: Document, books: Books, practice: Practice) -> list[Problem]:
    """What the books say against one of the documents that `look` was given."""
    found: list[Problem] = []
    if isinstance(document.data, ExportNotification) and document.source == practice.me:
        certificate = document.data.certificate
        status = books.statuses.get(practice.key(certificate.key))
        at = "/data/certificate/number_raw"
        if status == "void":
            found.append(breach("C03", "recorded-void", at, number=certificate.key))
        elif status == "lost":
            found.append(breach("C03", "recorded-lost", at, number=certificate.key))
        elif status == "stolen":
            found.append(breach("C03", "recorded-stolen", at, number=certificate.key))
    replaced = _replaced(document, practice)
    if (
        replaced is not None
        and replaced not in books.known
        and replaced != practice.key(document.subject or "")
    ):
        inner = "/content" if isinstance(document.data, ExportAmendment) else ""
        found.append(breach("C08", "unknown", f"/data{inner}/replaces", number=replaced))
    return found


def _replaced(document: Document, practice: Practice) -> str | None:
    content = document.data.content if isinstance(document.data, ExportAmendment) else document.data
    if not isinstance(content, ExportNotification) or content.replaces is None:
        return None
    return practice.key(certificate_key(content.replaces))
