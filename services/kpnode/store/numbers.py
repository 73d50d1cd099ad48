"""This authority's own certificate numbers: what became of each that was printed.

The report accounts for every number of every range that our own published policy allots: it is used, voided, issued, lost or stolen, or
has never been used; and the five add up. It is one pass over two indexes in the order of keys, page by page, in which
only the present page is in memory, so it costs time and no room. What a number means for a case is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    null,
    select,
    union_all,
)

from kpmsg.case import State
from kpmsg.documents.participants import participant_of
from kpmsg.keyrecord import KeyRecord, VerifiedRecord
from kpmsg.policy import Practice
from kpmsg.policy.numbers import Series, series_of
from kpnode.store import alerts, partners
from kpnode.store import tables as t
from kpnode.store.alerts import Alerted, within

MOST_LISTED: Final = 1000  # of each list of a report
PAGE: Final = 5000  # rows; three would do, since a key has two at most
LONGEST: Final = 64  # characters of a key

VOIDED: Final = frozenset(
    {
        State.CANCELLED,
        State.REPLACED,
        State.LOST_OR_STOLEN,
        State.ARRIVED_DESPITE_CANCELLATION,
        State.CROSSED_CANCELLATION,
    }
)
TWICE: Final = frozenset({State.NOTIFIED_TWICE, State.USED_TWICE})
UNANNOUNCED: Final = frozenset(
    {
        State.CONFIRMED_UNANNOUNCED,
        State.ARRIVED_UNANNOUNCED,
        State.SUSPECTED_COUNTERFEIT,
        State.WAITS_FOR_NOTIFICATION,
        State.ASKED_ABOUT,
        State.IN_TRANSIT,
        State.UNDETERMINED,
    }
)
"""Somebody speaks of the number, and no notification of ours stands."""


class ReadOtherwiseError(Exception):
    """A key record reads numbers otherwise than they are filed."""


def must_read_alike(connection: Connection, me: str, following: KeyRecord) -> None:
    """Raise ReadOtherwiseError if there is a number here that would be another one as the key record `following` has it read.

    A number has one key for ever: documents are filed and claimed under it. Under another one they would not be found, and the same
    number could be notified a second time.
    """
    before, after = _practice(connection, me), _practice(connection, me)
    following.publish(after)
    for prefix in sorted(participant_of(following.address).prefixes):
        if before.spelling(prefix) != after.spelling(prefix):
            for table in (t.certificate, t.number):
                # Not by comparison: which of two characters is greater, a database decides by its locale.
                mine = table.c.key.startswith(prefix)
                for row in connection.execute(select(table.c.key, table.c.number).where(mine)):
                    if after.key(row.number) != row.key:
                        raise ReadOtherwiseError(
                            "this record reads leading zeros otherwise than numbers are filed that have been exchanged "
                            f"({row.key}, for one): they would not be found any more, and could be notified twice. Leave the series "
                            "of these letters as it was"
                        )


def take_in(connection: Connection, me: str, record: VerifiedRecord, at: str) -> None:
    """Keep a key record version, and have the numbers under alerts found as it reads them."""
    partners.save_record(connection, record, at)
    prefixes = participant_of(record.record.address).prefixes
    alerts.file_anew(connection, prefixes, _practice(connection, me))


def _practice(connection: Connection, me: str) -> Practice:
    """How numbers are read by all key records that are committed."""
    practice = Practice(me)
    for versions in partners.records(connection).values():
        versions[-1].record.publish(practice)
    return practice


def is_notified(state: str) -> bool:
    """Whether a notification of ours is what a certificate in this state is about."""
    return state not in UNANNOUNCED and state != State.REJECTED


# --- the report -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Listed:
    """Numbers (keys), the first of them; `more`: how many there are beside."""

    keys: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, key: str) -> None:
        """One more."""
        if len(self.keys) < MOST_LISTED:
            self.keys.append(key)
        else:
            self.more += 1


@dataclass(slots=True)
class Tally:
    """One allotted range, both ends included: `allotted` = `used` + `voided` + `issued` + `lost` + `unused`."""

    first: int
    last: int
    used: int = 0
    voided: int = 0
    issued: int = 0
    lost: int = 0

    @property
    def allotted(self) -> int:
        """How many numbers it has."""
        return self.last - self.first + 1

    @property
    def unused(self) -> int:
        """Numbers of which nobody has said anything."""
        return self.allotted - self.used - self.voided - self.issued - self.lost


@dataclass(slots=True)
class Account:
    """One series, "BW/6". `gaps`: first and last key of numbers never used, the first of these ranges."""

    series: str
    ranges: list[Tally]
    gaps: list[tuple[str, str, int]] = field(default_factory=list)
    more_gaps: int = 0
    outside: Listed = field(default_factory=Listed)  # used or recorded, and not allotted
    used_twice: Listed = field(default_factory=Listed)
    contradicted: Listed = field(
        default_factory=Listed
    )  # recorded as void, lost or stolen; notified, not cancelled
    unannounced: Listed = field(default_factory=Listed)  # others speak of it; never notified by us
    alerts: list[Alerted] = field(default_factory=list)
    _place: int = 0  # the range in which the pass is
    _next: int = -1  # the first number behind those that it has seen

    def key(self, number: int) -> str:
        """A number of this series as a certificate key."""
        letters, _, digits = self.series.partition("/")
        return f"{letters}{number:0{digits}d}"

    def take(self, key: str, number: int, state: str | None, status: str | None) -> None:
        """The next number of which anything is known, in ascending order."""
        if state in TWICE:
            self.used_twice.add(key)
        if state in UNANNOUNCED:
            self.unannounced.add(key)
        notified = state is not None and is_notified(state)
        if notified and state not in VOIDED and status in {"void", "lost", "stolen"}:
            self.contradicted.add(key)
        if not notified and status is None and state != State.REJECTED:
            return  # nobody of us has used it
        tally = self._upto(number)
        if tally is None:
            self.outside.add(key)
            return
        if notified:
            if state in VOIDED:
                tally.voided += 1
            else:
                tally.used += 1
        elif status == "void":
            tally.voided += 1
        elif status in {"lost", "stolen"}:
            tally.lost += 1
        else:
            tally.issued += 1

    def close(self) -> None:
        """Nothing comes any more: what is left of the ranges was never used."""
        self._upto(None)

    def _upto(self, number: int | None) -> Tally | None:
        """Note the gaps before `number`; the range that it is in, if any."""
        while self._place < len(self.ranges):
            tally = self.ranges[self._place]
            begin = max(self._next, tally.first)
            if number is not None and number <= tally.last:
                if number < tally.first:
                    return None
                self._gap(begin, number - 1)
                self._next = number + 1
                return tally
            self._gap(begin, tally.last)
            self._place += 1
        return None

    def _gap(self, first: int, last: int) -> None:
        if first > last:
            return
        if len(self.gaps) < MOST_LISTED:
            self.gaps.append((self.key(first), self.key(last), last - first + 1))
        else:
            self.more_gaps += 1


def report(
    connection: Connection, practice: Practice, series: str | None = None
) -> tuple[list[Account], Listed]:
    """The account of every series that our own policy allots (or of that one), and keys of ours that are of no series.

    A series is letters and how many digits follow. Where the policy leaves the digits open there is one for each length.
    """
    allotted: dict[str, list[Any]] = {}
    for published in practice.of(practice.me).numbers:
        for name, tally in _tallies(published):
            allotted.setdefault(name, []).append(tally)
    accounts = {
        name: Account(name, _joined(tallies))
        for name, tallies in sorted(allotted.items())
        if series is None or name == series
    }
    strange = Listed()
    for letters in _first_letters(accounts, practice.me if series is None else None):
        for key, state, status in _everything(connection, letters):
            parts = series_of(key)
            account = accounts.get(parts[0]) if parts is not None else None
            if account is not None and parts is not None:
                account.take(key, parts[1], state, status)
            elif series is None and (status is not None or (state is not None and is_notified(state))):
                strange.add(key)
    for account in accounts.values():
        account.close()
        if account.ranges:
            first, last = account.ranges[0].first, account.ranges[-1].last
            account.alerts = within(connection, account.series, first, last)
    return list(accounts.values()), strange


def _tallies(series: Series) -> Iterator[tuple[str, Tally]]:
    """The ranges of a series by its names: one, or one for each length that its numbers may have."""
    if series.digits is not None:
        for each in series.ranges:
            yield f"{series.letters}/{series.digits}", Tally(each.first, each.last)
        return
    for each in series.ranges:
        for digits in range(len(str(each.first)), len(str(each.last)) + 1):
            least = 0 if digits == 1 else 10 ** (digits - 1)
            tally = Tally(max(each.first, least), min(each.last, 10**digits - 1))
            yield f"{series.letters}/{digits}", tally


def _joined(tallies: Iterable[Tally]) -> list[Tally]:
    """Without overlaps, ascending; ranges that only touch were allotted apart and stay so."""
    out: list[Tally] = []
    for each in sorted(tallies, key=lambda each: (each.first, each.last)):
        if out and each.first <= out[-1].last:
            out[-1].last = max(out[-1].last, each.last)
        else:
            out.append(each)
    return out


def _first_letters(accounts: Mapping[str, Account], me: str | None) -> list[str]:
    """The letters to walk through, those of authority `me` too; no number twice, though one series may begin like another."""
    named = {name.partition("/")[0] for name in accounts}
    letters = sorted(named | (participant_of(me).prefixes if me is not None else set()))
    return [
        each for each in letters if not any(each != other and each.startswith(other) for other in letters)
    ]


def _page_of(table: Table, state: ColumnElement[Any], status: ColumnElement[Any]) -> Select[Any]:
    some = (
        select(table.c.key, state.label("state"), status.label("status"))
        .where(table.c.key > bindparam("after"), table.c.key <= bindparam("end"))
        .order_by(table.c.key)
        .limit(PAGE)
        .subquery()
    )
    return select(some)


_NOTHING: Final = cast(null(), Text)
_HERE: Final = union_all(
    _page_of(t.certificate, t.certificate.c.state, _NOTHING), _page_of(t.number, _NOTHING, t.number.c.status)
)
_PAGE: Final = _HERE.order_by(_HERE.selected_columns["key"]).limit(PAGE)


def _everything(connection: Connection, letters: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Every key that begins with `letters` and is known here, with its certificate's state and what was recorded of it, ascending."""
    after, end = letters, letters + "Z" * (LONGEST - len(letters))
    while True:
        rows = connection.execute(_PAGE, {"after": after, "end": end}).all()
        full = len(rows) == PAGE
        if full:  # the last key may have its other half on the next page
            rows = [row for row in rows if row.key != rows[-1].key]
        key, state, status = "", None, None
        for row in rows:
            if row.key != key:
                if key:
                    yield key, state, status
                key, state, status = row
            else:
                state, status = state or row.state, status or row.status
        if key:
            yield key, state, status
        if not full:
            return
        after = key
