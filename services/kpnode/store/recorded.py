"""What our own books say of the numbers that a notification names, beside the documents about them: rules C03 and C08.

At the author's, a number that was recorded as void, lost or stolen is not issued; on both sides, a certificate that is said to be
replaced should be one that is known. What the recorded words are is decided by `kpnode.store.numbers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, bindparam, literal, select, union_all

from kpmsg.documents import Document, ExportAmendment, ExportNotification, certificate_key
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.rules import breach
from kpnode.store import tables as t
from kpnode.store.documents import slices

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
