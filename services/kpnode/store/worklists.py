"""Work lists: which certificates wait for us, which for a partner, and which are overdue.

The case of a certificate says what is open, whose move it is and by which day (`kpmsg.case.matters`). `turns` boils that down to the
three columns by which certificates are found; they are written wherever a case is folded, and again by `wake` on the day on which
a matter that slept (the expiry of a certificate) becomes somebody's move. Days come from the caller's clock.

Every question here walks a partial index that holds open certificates only, so it costs the same however many are closed. Pages are
read by key, never by offset. Counts stop at `MOST_COUNTED`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    bindparam,
    func,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from kpnode.store import tables as t

Who = Literal["us", "them"]
Place = tuple[str | None, str]
"""Where a page ended: the due day (None behind all that have one) and the key."""

MOST_COUNTED: Final = 1_000
"""Nobody works through more; and a list of which ten times as many wait costs no more to count."""
_LISTS: Final[Mapping[Who, tuple[str, str]]] = {"us": ("us", "both"), "them": ("them", "both")}
# In the words of the index: SQLite takes a partial index only if its condition stands in the question as it is.
_OPEN: Final = text("certificate.waits <> 'nobody'")
_C: Final = t.certificate.c
_COLUMNS: Final = (
    _C.key,
    _C.number,
    _C.issuer,
    _C.partner,
    _C.state,
    _C.case,
    _C.waits,
    _C.matter,
    _C.due,
    _C.locked,
)
_WAKEN: Final = (
    update(t.certificate)
    .where(_C.key == bindparam("of"))
    .values(waits=bindparam("to_waits"), matter=bindparam("to_matter"), due=bindparam("to_due"))
)


@dataclass(frozen=True, slots=True)
class Turns:
    """The columns of one certificate. `due`: the first day that matters, be it that of a matter which still sleeps."""

    waits: str  # "us" | "them" | "both" | "nobody"
    matter: str | None
    due: str | None


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One certificate that waits for somebody; `case` as it was folded last."""

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

    @property
    def turns(self) -> Turns:
        """Its columns as they are stored."""
        return Turns(self.waits, self.matter, self.due)

    @property
    def matters(self) -> Sequence[Mapping[str, Any]]:
        """What is open, the most urgent first."""
        matters: Sequence[Mapping[str, Any]] = self.case.get("matters", ())
        return matters


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of one kind of matter wait for somebody, at most MOST_COUNTED of each.

    `kind` is empty for those that wait without any matter: what was set aside before its case could be computed.
    """

    kind: str
    waiting: int
    overdue: int


def awake(matter: Mapping[str, Any], day: date) -> bool:
    """Whether a matter (as in a case's JSON) is anybody's move on `day`."""
    return not matter["dormant"] or str(matter["since"]) <= day.isoformat()


def turns(matters: Iterable[Mapping[str, Any]], me: str, day: date) -> Turns:
    """Who has to move on `day`, seen from authority `me`; `matters` as in a case's JSON, the most urgent first."""
    every = list(matters)
    open_now = [matter for matter in every if awake(matter, day)]
    whose = {"us" if address == me else "them" for matter in open_now for address in matter["whose"]}
    sleeping = [str(matter["since"]) for matter in every if not awake(matter, day)]
    dated = sorted(
        (str(matter["due"]), str(matter["kind"])) for matter in open_now if matter["due"] is not None
    )
    kind = dated[0][1] if dated else str(open_now[0]["kind"]) if open_now else None
    days = [each for each, _ in dated] + (sleeping if whose else [])
    return Turns(
        "both" if len(whose) == 2 else next(iter(whose), "nobody"), kind, min(days) if days else None
    )


def waiting(
    connection: Connection,
    who: Who,
    *,
    overdue_on: date | None = None,
    kind: str | None = None,
    partner: str | None = None,
    after: Place | None = None,
    limit: int,
) -> list[WaitingRow]:
    """Certificates that wait for `who`, the most urgent first and those without a day last, from behind `after`.

    `overdue_on`: only those whose day was before that one. `kind`: that of the most urgent open matter.
    """
    wanted: list[ColumnElement[bool]] = []
    if kind is not None:
        wanted.append(_C.matter == kind)
    if partner is not None:
        wanted.append(_C.partner == partner)
    found: list[WaitingRow] = []
    if after is None or after[0] is not None:
        dated = [*wanted, _C.due.is_not(None)]
        if overdue_on is not None:
            dated.append(_C.due < overdue_on.isoformat())
        if after is not None:
            dated.append(tuple_(_C.due, _C.key) > tuple_(after[0], after[1]))
        found = _merged(connection, _LISTS[who], dated, limit)
    if len(found) < limit and overdue_on is None:
        undated = [*wanted, _C.due.is_(None)]
        if after is not None and after[0] is None:
            undated.append(_C.key > after[1])
        found += _merged(connection, _LISTS[who], undated, limit - len(found))
    return found


def _merged(
    connection: Connection, lists: Sequence[str], wanted: Sequence[ColumnElement[bool]], limit: int
) -> list[WaitingRow]:
    """One ordered walk for each value of `waits`, merged: an index gives an order only behind a single value.

    Where no certificate has a day, the day is in the order all the same, or PostgreSQL would walk all keys there are.
    """
    walks = [
        select(
            select(*_COLUMNS)
            .where(_OPEN, _C.waits == waits, *wanted)
            .order_by(_C.due, _C.key)
            .limit(limit)
            .subquery()
        )
        for waits in lists
    ]
    every = union_all(*walks)
    order = every.selected_columns["due"], every.selected_columns["key"]
    rows = connection.execute(every.order_by(*order).limit(limit)).mappings()
    return [WaitingRow(**{**row, "case": json.loads(row["case"])}) for row in rows]


def summary(connection: Connection, day: date) -> dict[Who, list[Counted]]:
    """What waits for us and what for them, by the kind of each certificate's most urgent matter, and how much of it was due before `day`.

    Every certificate is passed once, whether it is due or not and whoever it waits for.
    """
    found = {waits: _numbers(connection, waits, day) for waits in dict.fromkeys(chain(*_LISTS.values()))}
    return {who: _added(found[waits] for waits in lists) for who, lists in _LISTS.items()}


def _added(lists: Iterable[Sequence[Counted]]) -> list[Counted]:
    sums: dict[str, tuple[int, int]] = {}
    for each in chain(*lists):
        waiting, overdue = sums.get(each.kind, (0, 0))
        sums[each.kind] = waiting + each.waiting, overdue + each.overdue
    return [
        Counted(kind, min(waiting, MOST_COUNTED), min(overdue, MOST_COUNTED))
        for kind, (waiting, overdue) in sorted(sums.items())
    ]


def _numbers(connection: Connection, waits: str, day: date) -> list[Counted]:
    """Those of one value of `waits`: the kinds there are, one step in the index for each, and how many of each there are."""
    strange = connection.execute(_WITHOUT_KIND, {"waits": waits, "most": MOST_COUNTED}).scalar() or 0
    found = [Counted("", strange, 0)] if strange else []
    kind = ""
    while True:
        asked: dict[str, Any] = {"waits": waits, "kind": kind, "day": day.isoformat(), "most": MOST_COUNTED}
        following = connection.execute(_NEXT_KIND, asked).scalar()
        if following is None:
            return found
        kind = following
        overdue, later, undated = connection.execute(_NUMBERS, asked | {"kind": kind}).one()
        found.append(Counted(kind, overdue + later + undated, overdue))


def _number(due: ColumnElement[bool]) -> ScalarSelect[int]:
    mine = _OPEN, _C.waits == bindparam("waits"), _C.matter == bindparam("kind")
    some = select(_C.key).where(*mine, due).limit(bindparam("most")).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


# Built once: constructing them costs more than most lists have to be counted.
_NEXT_KIND: Final = select(func.min(_C.matter)).where(
    _OPEN, _C.waits == bindparam("waits"), _C.matter > bindparam("kind")
)
_WITHOUT_KIND: Final = select(func.count()).select_from(
    select(_C.key)
    .where(_OPEN, _C.waits == bindparam("waits"), _C.matter.is_(None))
    .limit(bindparam("most"))
    .subquery()
)
_NUMBERS: Final = select(
    _number(_C.due < bindparam("day")), _number(_C.due >= bindparam("day")), _number(_C.due.is_(None))
)


def due_by(connection: Connection, day: date, after: Place | None, limit: int) -> list[WaitingRow]:
    """Certificates for which `day` matters or an earlier one did, whoever has to move: what a daily round has to look at."""
    places = [_C.due <= day.isoformat()]
    if after is not None:
        places.append(tuple_(_C.due, _C.key) > tuple_(after[0], after[1]))
    return _merged(connection, ("us", "them", "both"), places, limit)


def stale(row: WaitingRow, me: str, day: date) -> bool:
    """Whether a matter of it has woken since its columns were written. What software no longer touches stays as it is."""
    return row.locked is None and turns(row.matters, me, day) != row.turns


def wake(connection: Connection, rows: Iterable[WaitingRow], me: str, day: date) -> int:
    """Write anew the columns of those of `rows` in which a matter has woken since; returns how many.

    A case that has been folded meanwhile is left alone: its columns are fresh.
    """
    stored = {row.key: row for row in rows if stale(row, me, day)}
    changed = [
        {"of": row.key, "to_waits": fresh.waits, "to_matter": fresh.matter, "to_due": fresh.due}
        for row in stored.values()
        for fresh in [turns(row.matters, me, day)]
    ]
    if not changed:
        return 0
    current = select(_C.key, _C.waits, _C.matter, _C.due).where(_C.key.in_([each["of"] for each in changed]))
    same = {key for key, *columns in connection.execute(current) if Turns(*columns) == stored[key].turns}
    changed = [each for each in changed if each["of"] in same]
    if changed:
        connection.execute(_WAKEN, changed)
    return len(changed)
