"""Drafts: documents that somebody has prepared and nobody has said yet.

Keeps what was written, by whom, and every person who has changed it since. Whether a draft is any good is for `kpnode.author`, who may
release it for `kpnode.store.four_eyes`; that it becomes documents is committed together with them (`kpnode.store.submissions`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, insert, select, true, update

from kpmsg import strictjson
from kpmsg.documents import certificate_key, kind_of
from kpmsg.policy import Practice
from kpmsg.verification import Verified
from kpnode.release import NODE
from kpnode.store import broadcasts
from kpnode.store import tables as t

State = Literal["open", "released", "discarded"]
_RECIPIENT: Final = re.compile(r"\A(?:\*|[A-Z]{2}(?:/[a-z0-9][a-z0-9-]{0,31})?)\Z")
_KEY: Final = re.compile(r"\A[A-Z0-9]{1,64}\Z")
_MOST: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class DraftRow:
    """One draft. `body` is JSON; `persons` are all who have written in it, the author first; times are RFC 3339."""

    seq: int
    at: str
    changed_at: str
    author: str
    persons: tuple[str, ...]
    type: str
    recipient: str
    certificate: str | None
    because: str | None
    body: str
    state: str
    closed_at: str | None
    closed_by: str | None
    closed_because: str | None
    documents: tuple[str, ...]

    @property
    def open(self) -> bool:
        return self.state == "open"

    @property
    def content(self) -> dict[str, Any]:
        """What was written, as the strict parser reads it."""
        read: dict[str, Any] = strictjson.loads(self.body.encode("utf-8"))
        return read

    @property
    def digest(self) -> str:
        """Names what it says: SHA-256 of the body."""
        return sha256(self.body.encode("utf-8")).hexdigest()

    @property
    def version(self) -> tuple[str, str]:
        """What must not have changed between its examination and its release: the text, and who has written in it."""
        return self.body, "\n".join(self.persons)


@dataclass(frozen=True, slots=True)
class Saved:
    """The numbers of drafts, in the order of the request; `replayed` if they had been saved before."""

    seqs: tuple[int, ...]
    replayed: bool


def save(
    connection: Connection,
    drafts: Sequence[Mapping[str, Any]],
    *,
    author: str,
    person: str,
    key: str,
    digest: str,
    at: str,
) -> Saved | None:
    """Keep new drafts under the author's idempotency key. None if the key stands for another request already."""
    known = connection.execute(
        select(t.idempotency.c.digest, t.idempotency.c.documents).where(
            t.idempotency.c.caller == author, t.idempotency.c.key == key
        )
    ).first()
    if known is not None:
        if known.digest != digest:
            return None
        return Saved(tuple(int(seq) for seq in known.documents.split(",")), replayed=True)
    saved = tuple(_insert(connection, draft, author, person, None, at) for draft in drafts)
    row = {"caller": author, "key": key, "digest": digest, "documents": ",".join(map(str, saved)), "at": at}
    connection.execute(insert(t.idempotency), row)
    return Saved(saved, replayed=False)


def draft_once(connection: Connection, because: str, draft: Mapping[str, Any], at: str) -> int | None:
    """Prepare a draft by the node itself, unless it has prepared one for the same reason before; its number, or None.

    `because` names the reason for ever, e.g. `reminder:1:<notification>`: what an officer has discarded does not come back.
    Any officer may release, change or discard it; no clerk silences the node.
    """
    known = connection.execute(select(t.draft.c.seq).where(t.draft.c.because == because)).scalar()
    return None if known is not None else _insert(connection, draft, NODE, NODE, because, at)


def _insert(
    connection: Connection, draft: Mapping[str, Any], author: str, person: str, because: str | None, at: str
) -> int:
    row = {
        "at": at,
        "changed_at": at,
        "author": author,
        "person": person,
        "because": because,
        "state": "open",
    }
    made = connection.execute(insert(t.draft).values(row | _columns(draft))).inserted_primary_key
    assert made is not None
    return int(made[0])


def revise(
    connection: Connection,
    seq: int,
    draft: Mapping[str, Any],
    person: str,
    at: str,
    *,
    before: tuple[str, str] | None = None,
) -> bool:
    """Write the draft anew; whoever does so counts among its authors.

    False if it is not open (any more), or is another than the version `before` on which the change rests.
    """
    row = _open(connection, seq)
    if row is None or (before is not None and row.version != before):
        return False
    persons = row.persons if person in row.persons else (*row.persons, person)
    changed = {"changed_at": at, "person": "\n".join(persons), **_columns(draft)}
    connection.execute(update(t.draft).where(t.draft.c.seq == seq).values(changed))
    return True


def discard(connection: Connection, seq: int, person: str, because: str, at: str) -> bool:
    """Close a draft that is not wanted. False if it is not open (any more)."""
    if _open(connection, seq) is None:
        return False
    closed = {"state": "discarded", "closed_at": at, "closed_by": person, "closed_because": because}
    connection.execute(update(t.draft).where(t.draft.c.seq == seq).values(closed))
    return True


def released(connection: Connection, seq: int, ids: Sequence[str], person: str | None, at: str) -> None:
    """The draft has become documents, which are committed in this transaction."""
    closed = {"state": "released", "closed_at": at, "closed_by": person, "documents": ",".join(ids)}
    connection.execute(update(t.draft).where(t.draft.c.seq == seq).values(closed))


def returned(connection: Connection, items: Sequence[Verified], at: str, practice: Practice) -> None:
    """Close open drafts of what has come back from partners, in the transaction that takes it back: it was said before the restore.

    One for everybody stays open until all have been told; if it is released, it goes to the others only.
    """
    for item in items:
        document = item.document
        certificate = t.draft.c.certificate
        query = select(t.draft).where(
            t.draft.c.state == "open",
            t.draft.c.type == document.type,
            t.draft.c.recipient.in_([document.recipient, broadcasts.EVERYBODY]),
            certificate.is_(None) if document.subject is None else certificate == document.subject,
        )
        said = strictjson.loads(item.payload)
        for row in map(_row, connection.execute(query)):
            ids = [item.id]
            if not broadcasts.said_again(row.content, said):
                continue
            if row.recipient == broadcasts.EVERYBODY:
                told = broadcasts.copies(connection, said, practice)
                here = select(t.partner.c.address).where(t.partner.c.removed_at.is_(None))
                if not set(connection.execute(here).scalars()) <= told.keys():
                    continue
                ids = [each for some in told.values() for each in some]
            released(connection, row.seq, ids, "returned", at)


def drafts(
    connection: Connection,
    *,
    state: State | None = None,
    certificate: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[DraftRow]:
    """Drafts that fit, newest first, from below number `before`."""
    wanted: list[ColumnElement[bool]] = [true()]
    if state is not None:
        wanted.append(t.draft.c.state == state)
    if certificate is not None:
        wanted.append(t.draft.c.certificate == certificate_key(certificate))
    if before is not None:
        wanted.append(t.draft.c.seq < before)
    query = select(t.draft).where(*wanted).order_by(t.draft.c.seq.desc()).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def draft(connection: Connection, seq: int) -> DraftRow | None:
    """One draft."""
    return next(iter(drafts_by_number(connection, [seq])), None)


def drafts_by_number(connection: Connection, seqs: Sequence[int]) -> list[DraftRow]:
    """Those of `seqs` that there are, in no order."""
    found: list[DraftRow] = []
    for start in range(0, len(seqs), 500):
        some = [seq for seq in seqs[start : start + 500] if 0 < seq <= _MOST]
        found += [_row(row) for row in connection.execute(select(t.draft).where(t.draft.c.seq.in_(some)))]
    return found


def _open(connection: Connection, seq: int) -> DraftRow | None:
    row = draft(connection, seq)
    return row if row is not None and row.open else None


def _columns(draft: Mapping[str, Any]) -> dict[str, Any]:
    """The body, and what lists are read by: only what has the right form, for a draft may hold anything."""
    kind, recipient, data = kind_of(draft.get("type")), draft.get("recipient"), draft.get("data")
    subject = draft.get("subject")
    certificate = data.get("certificate") if isinstance(data, Mapping) else None
    number = certificate.get("number_raw") if isinstance(certificate, Mapping) else None
    key = subject if isinstance(subject, str) else certificate_key(number) if isinstance(number, str) else ""
    return {
        "type": "" if kind is None else kind.type,
        "recipient": recipient if isinstance(recipient, str) and _RECIPIENT.match(recipient) else "",
        "certificate": key if _KEY.match(key) else None,
        "body": strictjson.dumps(dict(draft)).decode("utf-8"),
    }


def _row(row: Row[Any]) -> DraftRow:
    return DraftRow(
        row.seq,
        row.at,
        row.changed_at,
        row.author,
        tuple(row.person.split("\n")),
        row.type,
        row.recipient,
        row.certificate,
        row.because,
        row.body,
        row.state,
        row.closed_at,
        row.closed_by,
        row.closed_because,
        tuple(row.documents.split(",")) if row.documents else (),
    )
