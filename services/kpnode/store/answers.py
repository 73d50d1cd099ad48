"""Answers that we owe: rejections decided when a document was admitted, and not signed yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from kpmsg import documents, jws
from kpmsg.case import Filed, objections
from kpmsg.documents import Document
from kpnode.store import tables as t
from kpnode.store.cases import UNCERTAIN, filed


@dataclass(frozen=True, slots=True)
class Owed:
    """A partner's document `id` that breaks rules, and the reasons."""

    id: str
    document: Document
    reasons: Sequence[Mapping[str, Any]]

    @property
    def certain(self) -> bool:
        """Whether the reasons rest on the document alone, and not on what we believe never to have issued (I01)."""
        return all(reason["code"] != UNCERTAIN for reason in self.reasons)


def owed(connection: Connection) -> list[Owed]:
    """What is to be answered, oldest first."""
    rows = connection.execute(
        select(t.document.c.id, t.document.c.raw, t.document.c.answer)
        .where(t.document.c.answer.is_not(None))
        .order_by(t.document.c.seq)
        .limit(256)
    )
    return [
        Owed(row.id, documents.parse(jws.peek(row.raw).unverified_payload), json.loads(row.answer))
        for row in rows
    ]


def still_true(connection: Connection, answer: Owed) -> bool:
    """Whether the document is still objectionable, now that more is known (a notification may have come back)."""
    key = answer.document.subject or ""
    problems = objections(Filed(answer.id, answer.document), filed(connection, [key])[key])
    return any(problem.severity == "reject" for problem in problems)


def said(connection: Connection, document_id: str, at: str) -> None:
    """Our answer is being committed in this transaction: nothing is owed any more, and what was uncertain is an alarm now."""
    row = connection.execute(select(t.document).where(t.document.c.id == document_id)).one()
    for reason in json.loads(row.answer or "[]"):
        if reason["code"] == UNCERTAIN:
            alarm = {
                "at": at,
                "kind": f"rule-{UNCERTAIN}",
                "partner": row.partner,
                "document_id": document_id,
                "certificate": row.subject,
                "text": reason["text"],
            }
            connection.execute(insert(t.incident), [alarm])
    settle(connection, document_id)


def settle(connection: Connection, document_id: str) -> None:
    """No answer is owed to this document any more."""
    connection.execute(update(t.document).where(t.document.c.id == document_id).values(answer=None))


def failed(connection: Connection, document_id: str, partner: str, text: str, at: str) -> int:
    """R9: count an exception while the effects of a document were computed; returns how many there have been."""
    attempts = connection.execute(
        select(t.failure.c.attempts).where(t.failure.c.document_id == document_id)
    ).scalar()
    if attempts is None:
        row = {"document_id": document_id, "partner": partner, "attempts": 1, "text": text, "at": at}
        connection.execute(insert(t.failure), row)
        return 1
    changed = update(t.failure).where(t.failure.c.document_id == document_id)
    connection.execute(changed.values(attempts=attempts + 1, text=text, at=at))
    return int(attempts) + 1
