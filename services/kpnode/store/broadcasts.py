"""What was said to every partner at once: who has been told an alert, and by which document of ours.

An alert for everybody is a document for each partner. So it is taken back everywhere by as many withdrawals, and said again, after a
restore, say, only to those who have not been told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Connection, and_, select

from kpmsg import jws, strictjson
from kpmsg.documents import Alert, Document, Withdrawal
from kpmsg.policy import Practice
from kpnode.store import alerts
from kpnode.store import tables as t

_A: Final = t.alerted.c
EVERYBODY: Final = "*"
"""The recipient of a draft that is meant for every partner."""


def told(
    connection: Connection, drafts: Sequence[Any], practice: Practice
) -> dict[int, dict[str, list[str]]]:
    """For each draft to everybody, by its place: which partners have been told just this alert, or the one that it takes back.

    Each with the documents that have told it. Only what is in force counts.
    """
    found: dict[int, dict[str, list[str]]] = {}
    for place, draft in enumerate(drafts):
        if not isinstance(draft, Mapping) or draft.get("recipient") != EVERYBODY:
            continue
        kind, data = draft.get("type"), draft.get("data")
        if kind in {Alert.name, Alert.type}:
            found[place] = copies(connection, draft, practice)
        elif kind in {Withdrawal.name, Withdrawal.type} and isinstance(data, Mapping):
            target = t.document.c.id == str(data.get("withdraws")), t.document.c.direction == "out"
            raw = connection.execute(select(t.document.c.raw).where(*target)).scalar()
            found[place] = {} if raw is None else copies(connection, _content(raw), practice)
    return found


def outdated(
    connection: Connection,
    draft: Mapping[str, Any],
    documents: Sequence[Document],
    just: Iterable[Document],
    partners: Collection[str],
    practice: Practice,
) -> bool:
    """Whether what a draft to everybody has become is not what it would become now: others have told, or taken back, the same meanwhile.

    `just`: what they say in this very transaction. Of two withdrawals its claim lets one through.
    """
    named = {each.data.withdraws for each in documents if isinstance(each.data, Withdrawal)}
    before = told(connection, [draft], practice).get(0, {})
    if named:
        return named != {each for address, ids in before.items() if address in partners for each in ids}
    here = {each.recipient: _said(each) for each in documents}
    return not before.keys().isdisjoint(here) or any(
        isinstance(each.data, Alert) and here.get(each.recipient) == _said(each) for each in just
    )


def _said(document: Document) -> object:
    return None if document.data is None else document.data.model_copy(update={"released_by": "-"})


def copies(connection: Connection, said: Mapping[str, Any], practice: Practice) -> dict[str, list[str]]:
    """The documents of ours by which an alert like `said` (a document, or a draft of one) is in force, by recipient.

    Who has released it makes no difference. It may have been said twice to one partner.
    """
    try:
        alert = Alert.model_validate(dict(said["data"]) | {"released_by": "-"})
        series, first, last = next(alerts.ranges_of(alert.numbers, practice))
    except (AssertionError, KeyError, TypeError, ValueError, ValidationError):
        return {}
    of_it = and_(
        _A.series == series,
        _A.first == first,
        _A.last == last,
        _A.partner == practice.me,
        _A.withdrawn_at.is_(None),
    )
    d = t.document.c
    rows = connection.execute(
        select(d.id, d.partner, d.raw)
        .where(d.id.in_(select(_A.document_id).where(of_it)), d.direction == "out")
        .order_by(d.seq)
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        if _essence(_content(row.raw)) == _essence(said):
            found.setdefault(row.partner, []).append(row.id)
    return found


def said_again(content: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether a draft is what has been said, whoever released it and, for an alert, to whomever."""
    return isinstance(content.get("data"), Mapping) and _essence(content)[1] == _essence(said)[1]


def _content(raw: bytes) -> dict[str, Any]:
    read: dict[str, Any] = strictjson.loads(jws.peek(raw).unverified_payload)
    return read


def _essence(said: Mapping[str, Any]) -> tuple[Any, Any]:
    return said.get("subject"), {name: value for name, value in said["data"].items() if name != "released_by"}
