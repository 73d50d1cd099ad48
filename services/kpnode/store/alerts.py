"""The register of alerts: which certificate numbers their issuer has warned of, and which documents speak of one of them.

An alert is a document like any other; here its ranges are kept so that the question "is this number under an alert?" is one look into
an index. Only the issuer's word counts, and only until it takes it back. What an alert means for a case is said by rule L09
(`problems`): the document is kept and has effect, and an officer is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, exists, func, insert, select, update

from kpmsg import documents, jws
from kpmsg.case import Filed
from kpmsg.documents import Alert, Document, Withdrawal
from kpmsg.documents.alert import NumberRange
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.policy.numbers import series_of
from kpmsg.policy.screening import screen
from kpmsg.rules import breach, rules
from kpmsg.verification import Verified
from kpnode.store import tables as t

RULE: Final = "L09"
MOST_INCIDENTS: Final = 100  # of one alert; one more says how many there are beside
MOST_COUNTED: Final = 10_000
_AHEAD: Final = "withdrawn"  # stands for an alert that was withdrawn before it came
_A: Final = t.alerted.c
_COLUMNS: Final = (
    _A.seq, _A.document_id, _A.partner, _A.kind, _A.series, _A.first, _A.last, _A.valid_from, _A.withdrawn_at
)  # fmt: skip
_ACTIVE: Final = and_(_A.withdrawn_at.is_(None), _A.kind != _AHEAD)
_NEAR: Final = select(*_COLUMNS).where(
    _A.series == bindparam("series"), _A.first <= bindparam("most"), _A.last >= bindparam("least"), _ACTIVE
)


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
    items = [Filed(row.id, documents.parse(jws.peek(row.raw).unverified_payload)) for row in rows]
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
    ahead = select(_A.withdrawn_at).where(_A.document_id == item.id, _A.partner == source, _A.kind == _AHEAD)
    ended = connection.execute(ahead).scalar()
    rows = [
        {
            "document_id": item.id,
            "partner": source,
            "kind": alert.kind,
            "series": series,
            "first": first,
            "last": last,
            "valid_from": alert.valid_from.isoformat(),
            "withdrawn_at": ended,
        }
        for series, first, last in (_span(each, practice) for each in alert.numbers)
    ]
    connection.execute(insert(t.alerted), rows)
    if source != practice.me and ended is None:
        spans = [(str(row["series"]), int(str(row["first"])), int(str(row["last"]))) for row in rows]
        _report(connection, item, alert, spans, at)


def _span(numbers: NumberRange, practice: Practice) -> tuple[str, int, int]:
    """The range in the series in which its issuer writes certificate keys, which is where certificates are looked for."""
    span = numbers.span
    assert span is not None  # rule L03
    first = series_of(practice.key(numbers.first))
    last = first if numbers.last is None else series_of(practice.key(numbers.last))
    if first is None or last is None or first[0] != last[0]:
        return span
    return first[0], first[1], last[1]


def _withdraw(connection: Connection, item: Verified | Filed, withdrawn: str, at: str) -> None:
    source = item.document.source
    rows = update(t.alerted).where(
        _A.document_id == withdrawn, _A.partner == source, _A.withdrawn_at.is_(None)
    )
    if connection.execute(rows.values(withdrawn_at=at)).rowcount:
        return
    # What was lost and is sent again may come behind what was said after it.
    if connection.execute(select(t.document.c.id).where(t.document.c.id == withdrawn)).first() is None:
        nothing = {"kind": _AHEAD, "series": "", "first": 0, "last": 0, "valid_from": at[:10]}
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
    i = t.incident.c
    told = select(i.certificate).where(
        i.partner == source, i.closed_at.is_(None), i.text == text, i.certificate.in_(found)
    )
    known = set(connection.execute(told).scalars()) if found else set()  # by an alert that said the same
    rows = [common | {"certificate": key, "text": text} for key in found if key not in known]
    if more:
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

    One question for each series among the keys: one, as a rule.
    """
    by_series: dict[str, list[tuple[int, str]]] = {}
    for key in keys:
        series, number = series_of(key) or (key, 0)
        by_series.setdefault(series, []).append((number, key))
    found: dict[str, list[Alerted]] = {}
    for series, numbers in by_series.items():
        asked = {"series": series, "least": min(numbers)[0], "most": max(numbers)[0]}
        for alerted in _once(Alerted(*row) for row in connection.execute(_NEAR, asked)):
            for number, key in numbers:
                if alerted.first <= number <= alerted.last:
                    found.setdefault(key, []).append(alerted)
    return found


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
    other = t.alerted.alias()
    same = and_(
        *(other.c[name] == _A[name] for name in ("partner", "kind", "series", "first", "last", "valid_from")),
        other.c.withdrawn_at.is_(None) == _A.withdrawn_at.is_(None),
        other.c.seq < _A.seq,
    )
    query = select(*_COLUMNS).where(_A.kind != _AHEAD, ~exists().where(same)).order_by(_A.seq.desc())
    if active is not None:
        query = query.where(_A.withdrawn_at.is_(None) if active else _A.withdrawn_at.is_not(None))
    if issuer is not None:
        query = query.where(_A.partner == issuer)
    if before is not None:
        query = query.where(_A.seq < before)
    return [Alerted(*row) for row in connection.execute(query.limit(limit))]


def within(connection: Connection, series: str, first: int, last: int) -> list[Alerted]:
    """What is in force of the numbers `first` to `last` of a series."""
    asked: Mapping[str, Any] = {"series": series, "least": first, "most": last}
    return sorted(_once(Alerted(*row) for row in connection.execute(_NEAR, asked)), key=lambda a: a.first)
