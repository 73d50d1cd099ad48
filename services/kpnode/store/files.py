"""Files in the database: whole ones, those that are being fetched, and to whom a piece may be given (protocol/attachments.md).

A file is a row and its parts. `held` bytes are here, from the beginning; it is whole when that is `size`, and nothing is whole before
its SHA-256 over all parts has been compared with its digest, in the transaction that adds the last of them. `wanted_from` is the partner
who is being asked for the rest, and stays as the one from whom the file came; a file that came from ourselves has none.

This module decides what may be appended, given and thrown away. When somebody is asked is for `kpnode.files`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from sqlalchemy import Connection, delete, insert, select, update

from kpmsg import attachments
from kpmsg.attachments import Named
from kpmsg.errors import Problem
from kpmsg.fileframes import MAX_PART, PART, FilePart, FileRequest
from kpnode.store import tables as t
from kpnode.store.documents import document_of, record_events, slices

FILE_DIFFERS = "file-differs"
"""The kind of the incident."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file. `problem`: why it is not to be had from `wanted_from` (`gone`, `differs`, `unspoken`)."""

    digest: str
    size: int
    held: int
    wanted_from: str | None
    wanted_for: str | None
    problem: str | None

    @property
    def whole(self) -> bool:
        return self.held == self.size


class Taken(Enum):
    """What became of a piece that arrived."""

    NOT_WANTED = auto()  # it does not continue what is here, or nobody wants it any more
    APPENDED = auto()
    COMPLETED = auto()
    DIFFERENT = auto()  # all is here, and it is not the file that was signed for: nothing of it is kept


_COLUMNS = tuple(t.file.c[name] for name in FileRow.__slots__)


def file(connection: Connection, digest: str) -> FileRow | None:
    """What is here of one file."""
    return files(connection, [digest]).get(digest)


def files(connection: Connection, digests: Sequence[str]) -> dict[str, FileRow]:
    """What is here of several."""
    found: dict[str, FileRow] = {}
    for some in slices(digests):
        rows = connection.execute(select(*_COLUMNS).where(t.file.c.digest.in_(some)))
        found.update((row.digest, FileRow(*row)) for row in rows)
    return found


def wanted(connection: Connection) -> list[FileRow]:
    """Those that are to be fetched, in the order in which they were asked for."""
    query = select(*_COLUMNS).where(
        t.file.c.held < t.file.c.size, t.file.c.problem.is_(None), t.file.c.wanted_from.is_not(None)
    )
    return [FileRow(*row) for row in connection.execute(query.order_by(t.file.c.added_at, t.file.c.digest))]


# -- our own ---------------------------------------------------------------------------------------------------------------


def keep(connection: Connection, digest: str, parts: Sequence[bytes], at: str) -> bool:
    """A whole file of ours, whose SHA-256 is `digest`; false if it is here already. Half fetched: this ends it."""
    known = file(connection, digest)
    if known is not None and known.whole:
        return False
    _forget(connection, digest)
    start, rows = 0, []
    for raw in parts:
        rows.append({"digest": digest, "start": start, "raw": raw})
        start += len(raw)
    connection.execute(insert(t.file_part), rows)
    # Whoever was being asked has not given it, and so may not ask for it back.
    connection.execute(insert(t.file), {"digest": digest, "size": start, "held": start, "added_at": at})
    return True


def missing(connection: Connection, named: Sequence[Named]) -> list[Problem]:
    """What keeps a document of ours from being signed: files that are not here, not whole, or of another size (G2)."""
    problems: list[Problem] = []
    known = files(connection, list({one.attachment.sha256 for one in named}))
    for one in named:
        row = known.get(one.attachment.sha256)
        if row is None or not row.whole:
            text = "This file is not here yet. Upload it first (POST /v1/files), then submit the document."
            problems.append(Problem("attachment-missing", text, f"{one.pointer}/sha256"))
        elif row.size != one.attachment.size:
            text = f"The file with this digest has {row.size} bytes, not {one.attachment.size}."
            problems.append(Problem("attachment-size", text, f"{one.pointer}/size"))
    return problems


# -- fetching --------------------------------------------------------------------------------------------------------------


def want(
    connection: Connection,
    digest: str,
    size: int,
    document_id: str,
    partner: str,
    at: str,
    *,
    again: bool = False,
) -> FileRow:
    """Have the file fetched from `partner`, under a document that names it; returns what is here of it.

    Nothing changes if it is whole, or already being fetched from somebody, or if exactly this has failed. `again`: try it all the
    same, and from this partner. Pieces of two partners are never put together: who gave only the end must not get the whole back.
    """
    row = file(connection, digest)
    if row is not None and row.whole:
        return row
    if row is not None and not again and (row.problem is None or row.wanted_for == document_id):
        return row
    if row is None or row.wanted_from != partner or row.size != size:
        _forget(connection, digest)
        connection.execute(insert(t.file), {"digest": digest, "size": size, "held": 0, "added_at": at})
    asked = {"wanted_from": partner, "wanted_for": document_id, "problem": None}
    connection.execute(update(t.file).where(t.file.c.digest == digest).values(asked))
    found = file(connection, digest)
    assert found is not None
    return found


def take(connection: Connection, partner: str, part: FilePart, at: str) -> Taken:
    """Append a piece that we asked `partner` for. With the last one the whole is compared with its digest (G6)."""
    row = file(connection, part.digest)
    if row is None or row.whole or row.problem or row.wanted_from != partner or row.held != part.start:
        return Taken.NOT_WANTED
    if part.size != row.size:
        text = f"{partner} says that it has {part.size} bytes; the document says {row.size}."
        return _differs(connection, row, text, at)
    connection.execute(insert(t.file_part), {"digest": part.digest, "start": part.start, "raw": part.raw})
    connection.execute(update(t.file).where(t.file.c.digest == part.digest).values(held=part.end))
    if part.end < row.size:
        return Taken.APPENDED
    whole = hashlib.sha256()
    for raw in _parts(connection, part.digest):
        whole.update(raw)
    if whole.hexdigest() != part.digest:
        return _differs(connection, row, f"What {partner} sent has another digest than was signed.", at)
    record_events(connection, "file-fetched", at, partner, [(row.wanted_for, _certificate(connection, row))])
    return Taken.COMPLETED


def give_up(connection: Connection, digest: str, partner: str, problem: str) -> None:
    """The partner cannot or will not give it. What is here of it stays, in case it can after all."""
    connection.execute(
        update(t.file)
        .where(t.file.c.digest == digest, t.file.c.wanted_from == partner, t.file.c.held < t.file.c.size)
        .values(problem=problem)
    )


def _differs(connection: Connection, row: FileRow, text: str, at: str) -> Taken:
    connection.execute(delete(t.file_part).where(t.file_part.c.digest == row.digest))
    connection.execute(update(t.file).where(t.file.c.digest == row.digest).values(held=0))
    about = {"at": at, "partner": row.wanted_from, "document_id": row.wanted_for}
    about["certificate"] = _certificate(connection, row)
    said = f"A file is not the one that the document names ({row.digest[:16]}...). {text} It was thrown away."
    connection.execute(insert(t.incident), {**about, "kind": FILE_DIFFERS, "text": said})
    connection.execute(insert(t.event), {**about, "kind": "incident"})
    return Taken.DIFFERENT


def _certificate(connection: Connection, row: FileRow) -> str | None:
    query = select(t.document.c.subject).where(t.document.c.id == row.wanted_for)
    return connection.execute(query).scalar() or None


def _forget(connection: Connection, digest: str) -> None:
    for table in (t.file_part, t.file):
        connection.execute(delete(table).where(table.c.digest == digest))


# -- giving ----------------------------------------------------------------------------------------------------------------


def part_for(connection: Connection, partner: str, request: FileRequest) -> FilePart | None:
    """The piece that `partner` asks for, if it may have it (G3); None for every reason not to give it.

    It may have what a document names that we sent to it, and what it gave us itself under a document of its own. A digest alone
    opens nothing: otherwise whoever names another's digest in a document of its own would get the file for it.
    """
    row = connection.execute(
        select(t.document.c.direction, t.document.c.withheld, t.document.c.raw).where(
            t.document.c.id == request.document, t.document.c.partner == partner
        )
    ).first()
    if row is None or (row.direction == "out" and row.withheld is not None):
        return None
    known = file(connection, request.digest)
    if known is None or not known.whole or request.start >= known.size:
        return None
    if row.direction == "in" and known.wanted_from != partner:
        return None
    if attachments.find(document_of(row.raw), request.digest) is None:
        return None
    raw = piece(connection, request.digest, request.start, PART)
    return FilePart(request.nonce, request.digest, request.start, known.size, raw)


def piece(connection: Connection, digest: str, start: int, most: int) -> bytes:
    """Up to `most` bytes from `start` on."""
    rows = connection.execute(
        select(t.file_part.c.start, t.file_part.c.raw)
        .where(
            t.file_part.c.digest == digest,
            t.file_part.c.start > start - MAX_PART,  # no part is longer
            t.file_part.c.start < start + most,
        )
        .order_by(t.file_part.c.start)
    ).all()
    return b"".join(row.raw[max(0, start - row.start) : start + most - row.start] for row in rows)


def _parts(connection: Connection, digest: str) -> Iterator[bytes]:
    """One after the other, so that a file is never in memory as a whole."""
    starts = select(t.file_part.c.start).where(t.file_part.c.digest == digest).order_by(t.file_part.c.start)
    for start in connection.execute(starts).scalars().all():
        yield connection.execute(
            select(t.file_part.c.raw).where(t.file_part.c.digest == digest, t.file_part.c.start == start)
        ).scalar_one()
