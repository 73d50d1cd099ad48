"""The register of alerts: which certificate numbers their issuer has warned of, and which documents speak of one of them.

An alert is a document like any other; here its ranges are kept so that the question "is this number under an alert?" is one look into
an index. Only the issuer's word counts, and only until it takes it back. What an alert means for a case is said by rule L09
(`problems`): the document is kept and has effect, and an officer is called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from kpmsg.case import Filed
from kpmsg.documents import Alert, Document, Withdrawal
from kpmsg.documents.alert import MOST_NUMBERS, NumberRange
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.policy.numbers import series_of
from kpmsg.policy.screening import screen
from kpmsg.rules import breach, rules
from kpmsg.verification import Verified
from kpnode.store import tables as t
from kpnode.store.documents import document_of
from kpnode.store.incidents import is_open

RULE: Final = "L09"
MOST_INCIDENTS: Final = 100  # of one alert; one more says how many there are beside
MOST_COUNTED: Final = 10_000
_AHEAD: Final = "withdrawn"  # stands for an alert that was withdrawn before it came
_A: Final = t.alerted.c
_COLUMNS: Final = (
    _A.seq, _A.document_id, _A.partner, _A.kind, _A.series, _A.first, _A.last, _A.valid_from, _A.withdrawn_at
)  # fmt: skip
_ACTIVE: Final = _A.withdrawn_at.is_(None)
_SERIES: Final = bindparam("series", type_=_A.series.type)
_LEAST: Final = bindparam("least", type_=_A.first.type)
_MOST: Final = bindparam("most", type_=_A.first.type)
# Ranges of about one length are looked for together: the first of each then lies close below all its numbers, where an index finds it.
_REACHES: Final = tuple(10**n for n in range(len(str(MOST_NUMBERS))))
_NEAR: Final = union_all(
    *(
        select(*_COLUMNS).where(
            _A.series == _SERIES,
            _A.reach == reach,
            _A.first > _LEAST - reach,
            _A.first <= _MOST,
            _A.last >= _LEAST,
            _ACTIVE,
        )
        for reach in _REACHES
    )
)
_ANY: Final = select(_A.seq).where(_A.series == _SERIES, _ACTIVE).limit(1)
_TOGETHER: Final = 1000  # numbers no further apart are looked for with one question
MOST_IN_FORCE: Final = 10_000
"""So many ranges of one partner's may be in force here. What it says beyond is admitted, and told to an officer."""


@dataclass(frozen=True, slots=True)
class Alerted:
    """Consecutive numbers that `issuer` has warned of. `series` is letters and count of digits, "BW/6".

    `document_id`: the alert; if it went to several partners, one of those documents.
    """

    seq: int
    document_id: str
    issuer: str
    kind: str
    series: str
    first: int
    last: int
    valid_from: str
    withdrawn_at: str | None

    @property
    def keys(self) -> tuple[str, str]:
        """The first and the last of the numbers, as certificate keys."""
        return _key(self.series, self.first), _key(self.series, self.last)

    @property
    def says(self) -> tuple[object, ...]:
        """What it says, whichever document says it: an alert goes to each partner in a document of its own."""
        return self.issuer, self.kind, self.series, self.first, self.last, self.valid_from


def record(connection: Connection, items: Iterable[Verified | Filed], at: str, practice: Practice) -> None:
    """Keep the ranges of those of `items` that are alerts, and end what others of them withdraw; in their own transaction.

    An alert that breaks a rule, such as one about another issuer's numbers, is not kept. Certificates that are here and fall under a
    partner's alert get an incident each, the first 100 of them; what we ourselves warn of needs nobody's attention here.
    """
    speaking = [item for item in items if isinstance(item.document.data, Alert | Withdrawal)]
    for item in speaking:
        if isinstance(item.document.data, Alert):
            _record(connection, item, item.document.data, at, practice)
    for item in speaking:
        if isinstance(item.document.data, Withdrawal):
            _withdraw(connection, item, item.document.data.withdraws, at)


def read_again(connection: Connection, at: str, practice: Practice) -> None:
    """Keep alerts that an older version of this software took in without understanding them, and what was said after them."""
    d = t.document.c
    spoken = d.type.in_([Alert.type, Withdrawal.type])
    rows = connection.execute(select(d.id, d.raw).where(spoken, d.withheld.is_(None)).order_by(d.seq))
    items = [Filed(row.id, document_of(row.raw)) for row in rows]
    kept = set(connection.execute(select(_A.document_id).where(_A.kind != _AHEAD)).scalars())
    record(connection, [item for item in items if item.id not in kept], at, practice)


def _record(
    connection: Connection, item: Verified | Filed, alert: Alert, at: str, practice: Practice
) -> None:
    source = item.document.source
    received = None if source == practice.me else datetime.fromisoformat(at)
    against = [*alert.breaches(item.document), *screen(item.document, practice, received=received)]
    if any(problem.severity == "reject" for problem in against):
        return
    if source != practice.me and _too_many(connection, item, at):
        return
    ahead = select(_A.withdrawn_at).where(_A.document_id == item.id, _A.partner == source, _A.kind == _AHEAD)
    ended = connection.execute(ahead).scalar()
    spans = _file(connection, item, alert, ended, practice)
    if source != practice.me and ended is None:
        _report(connection, item, alert, spans, at)


def _file(
    connection: Connection, item: Verified | Filed, alert: Alert, ended: str | None, practice: Practice
) -> list[tuple[str, int, int]]:
    spans = list(dict.fromkeys(ranges_of(alert.numbers, practice)))
    rows = [
        {
            "document_id": item.id,
            "partner": item.document.source,
            "kind": alert.kind,
            "series": series,
            "first": first,
            "last": last,
            "reach": next(reach for reach in _REACHES if last - first < reach),
            "valid_from": alert.valid_from.isoformat(),
            "withdrawn_at": ended,
        }
        for series, first, last in spans
    ]
    connection.execute(insert(t.alerted), rows)
    return spans


def file_anew(connection: Connection, prefixes: Collection[str], practice: Practice) -> None:
    """File the ranges of numbers with these prefixes where `practice` looks for them, after a key record that reads zeros otherwise.

    The numbers of a stolen box that nobody has used yet are known by their alert alone.
    """
    for prefix in prefixes:
        known: dict[str, tuple[str | None, set[tuple[str, int, int]]]] = {}
        query = select(_A.document_id, _A.withdrawn_at, _A.series, _A.first, _A.last)
        query = query.where(_A.series.startswith(prefix), _A.kind != _AHEAD).order_by(_A.seq)
        for document_id, ended, *span in connection.execute(query):
            known.setdefault(document_id, (ended, set()))[1].add(tuple(span))
        for document_id, (ended, spans) in known.items():
            raw = connection.execute(select(t.document.c.raw).where(t.document.c.id == document_id)).scalar()
            item = None if raw is None else Filed(document_id, document_of(raw))
            if item is None or not isinstance(item.data, Alert):
                continue
            if set(ranges_of(item.data.numbers, practice)) != spans:
                connection.execute(delete(t.alerted).where(_A.document_id == document_id))
                _file(connection, item, item.data, ended, practice)


def _too_many(connection: Connection, item: Verified | Filed, at: str) -> bool:
    """Whether its author has so many ranges in force already that no more are kept; then an officer is told, once."""
    source, kind = item.document.source, "alerts-limit"
    some = select(_A.seq).where(_A.partner == source, _ACTIVE).limit(MOST_IN_FORCE).subquery()
    if (connection.execute(select(func.count()).select_from(some)).scalar() or 0) < MOST_IN_FORCE:
        return False
    text = f"{source} has {MOST_IN_FORCE} ranges of numbers under alerts: what it warns of beyond is kept as a document only."
    i = t.incident.c
    if not is_open(connection, kind, i.partner == source, i.certificate.is_(None)):
        row = {"at": at, "kind": kind, "partner": source, "document_id": item.id, "text": text}
        connection.execute(insert(t.incident), [row])
    return True


def ranges_of(numbers: Iterable[NumberRange], practice: Practice) -> Iterator[tuple[str, int, int]]:
    """The ranges in the series in which their issuer writes certificate keys, which is where certificates are looked for.

    Where zeros are padding and numbers may have any length, a range is one for each length.
    """
    for each in numbers:
        span = each.span
        assert span is not None  # rule L03
        first = series_of(practice.key(each.first))
        last = first if each.last is None else series_of(practice.key(each.last))
        letters = {end[0].partition("/")[0] for end in (first, last) if end is not None}
        if first is None or last is None or len(letters) != 1:
            yield span
        elif first[0] == last[0]:
            yield first[0], first[1], last[1]
        else:
            for digits in range(len(str(first[1])), len(str(last[1])) + 1):
                least = 10 ** (digits - 1) if digits > 1 else 0
                yield f"{min(letters)}/{digits}", max(first[1], least), min(last[1], 10**digits - 1)


def _withdraw(connection: Connection, item: Verified | Filed, withdrawn: str, at: str) -> None:
    source = item.document.source
    rows = update(t.alerted).where(
        _A.document_id == withdrawn, _A.partner == source, _A.withdrawn_at.is_(None)
    )
    if connection.execute(rows.values(withdrawn_at=at)).rowcount:
        return
    # What was lost and is sent again may come behind what was said after it.
    if connection.execute(select(t.document.c.id).where(t.document.c.id == withdrawn)).first() is None:
        nothing = {"kind": _AHEAD, "series": "", "first": 0, "last": 0, "reach": 1, "valid_from": at[:10]}
        row = nothing | {"document_id": withdrawn, "partner": source, "withdrawn_at": at}
        connection.execute(insert(t.alerted), [row])


def _report(
    connection: Connection,
    item: Verified | Filed,
    alert: Alert,
    spans: Sequence[tuple[str, int, int]],
    at: str,
) -> None:
    source, said = item.document.source, rules()[RULE].variants[alert.kind].texts["en"]
    common: dict[str, str | None] = {
        "at": at,
        "partner": source,
        "document_id": item.id,
        "kind": f"rule-{RULE}",
    }
    found: list[str] = []
    more = 0
    for series, first, last in _apart(spans):
        wanted = _between(series, first, last)
        room = MOST_INCIDENTS - len(found)
        query = select(t.certificate.c.key).where(*wanted).order_by(t.certificate.c.key).limit(room + 1)
        here = list(connection.execute(query).scalars())
        found += here[:room]
        if len(here) > room and more < MOST_COUNTED:
            every = select(t.certificate.c.key).where(*wanted).limit(room + MOST_COUNTED + 1).subquery()
            more += (connection.execute(select(func.count()).select_from(every)).scalar() or 0) - room
    text = said.format(issuer=source, since=alert.valid_from)
    # One open incident for a certificate, its issuer and what is wrong, however often and since whenever that is said.
    i = t.incident.c
    told = select(i.certificate).where(
        i.partner == source,
        i.closed_at.is_(None),
        or_(i.certificate.in_(found), i.certificate.is_(None)),
        i.kind == common["kind"],
        i.text.endswith(said.partition("{since}")[2].format(issuer=source), autoescape=True),
    )
    known = set(connection.execute(told).scalars())
    rows = [common | {"certificate": key, "text": text} for key in found if key not in known]
    if more and None not in known:
        number = f"more than {MOST_COUNTED}" if more > MOST_COUNTED else str(more)
        rest = f"Beside those of the incidents before, {number} certificates here are under the same alert. {text}"
        rows.append(common | {"certificate": None, "text": rest})
    if rows:
        connection.execute(insert(t.incident), rows)


def _apart(spans: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The same numbers, each once: ranges that overlap are no fault (L05 warns), and nothing is counted twice."""
    out: list[tuple[str, int, int]] = []
    for series, first, last in sorted(spans):
        if out and out[-1][0] == series and first <= out[-1][2]:
            out[-1] = series, out[-1][1], max(out[-1][2], last)
        else:
            out.append((series, first, last))
    return out


def _between(series: str, first: int, last: int) -> tuple[Any, ...]:
    low, high = _key(series, first), _key(series, last)
    column = t.certificate.c.key
    return column >= low, column <= high, func.length(column) == len(low)


def _key(series: str, number: int) -> str:
    letters, _, digits = series.partition("/")
    return f"{letters}{number:0{digits}d}" if digits else letters


# --- looking up -------------------------------------------------------------------------------------------------------


def under(connection: Connection, keys: Sequence[str]) -> dict[str, list[Alerted]]:
    """The alerts that are in force for each of `keys` (as `Practice.key` gives them); keys without one are left out.

    One question for each series among the keys, as a rule: most have no alert at all.
    """
    by_series: dict[str, list[tuple[int, str]]] = {}
    for key in keys:
        series, number = series_of(key) or (key, 0)
        by_series.setdefault(series, []).append((number, key))
    found: dict[str, list[Alerted]] = {}
    for series, numbers in by_series.items():
        if connection.execute(_ANY, {"series": series}).first() is None:
            continue
        for some in _neighbours(sorted(numbers)):
            for alerted in _near(connection, series, some[0][0], some[-1][0]):
                for number, key in some:
                    if alerted.first <= number <= alerted.last:
                        found.setdefault(key, []).append(alerted)
    return found


def _neighbours(numbers: Sequence[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    some: list[tuple[int, str]] = []
    for each in numbers:
        if some and each[0] - some[-1][0] > _TOGETHER:
            yield some
            some = []
        some.append(each)
    yield some


def _near(connection: Connection, series: str, least: int, most: int) -> list[Alerted]:
    """What is in force of the numbers `least` to `most` of a series."""
    asked = {"series": series, "least": least, "most": most}
    return _once(Alerted(*row) for row in connection.execute(_NEAR, asked))


def _once(alerts: Iterable[Alerted]) -> list[Alerted]:
    return list({alerted.says: alerted for alerted in sorted(alerts, key=lambda a: -a.seq)}.values())


def problems(document: Document, alerted: Sequence[Alerted]) -> list[Problem]:
    """Rule L09: the document speaks of a number that is under an alert. `alerted`: what `under` found for that number."""
    if document.data is None or document.data.name not in rules()[RULE].documents:
        return []
    place = "/data/certificate/number_raw" if hasattr(document.data, "certificate") else "/subject"
    day = document.time.date().isoformat()
    return [
        breach(RULE, each.kind, place, issuer=each.issuer, since=each.valid_from)
        for each in alerted
        if each.valid_from <= day
    ]


def alerts(
    connection: Connection,
    *,
    active: bool | None,
    issuer: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Alerted]:
    """Ranges under an alert, the newest first, from below `before`; `active` None: ended ones too.

    Where the same was said to several partners it is shown once, by the oldest of its documents that has not been withdrawn.
    """
    query = select(*_COLUMNS).where(_A.kind != _AHEAD).order_by(_A.seq.desc())
    in_force = and_(_ACTIVE, ~_said_before(ended=False))
    over = and_(_A.withdrawn_at.is_not(None), ~_said_before(ended=True))
    query = query.where(or_(in_force, over) if active is None else in_force if active else over)
    if issuer is not None:
        query = query.where(_A.partner == issuer)
    if before is not None:
        query = query.where(_A.seq < before)
    return [Alerted(*row) for row in connection.execute(query.limit(limit))]


def _said_before(*, ended: bool) -> ColumnElement[bool]:
    """Whether the very same is said by an earlier document, which is in force or has ended."""
    other = t.alerted.alias()
    names = ("partner", "series", "first", "last", "kind", "valid_from")
    state = other.c.withdrawn_at.is_not(None) if ended else other.c.withdrawn_at.is_(None)
    return exists().where(*(other.c[name] == _A[name] for name in names), state, other.c.seq < _A.seq)


def within(connection: Connection, series: str, first: int, last: int) -> list[Alerted]:
    """What is in force of the numbers `first` to `last` of a series."""
    return sorted(_near(connection, series, first, last), key=lambda a: a.first)
