"""Answers that we owe, decided when a document was admitted and not signed yet: rejections, and answers to queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from kpmsg.case import Filed
from kpmsg.case.goods import UNCERTAIN
from kpmsg.case.replies import answer_draft, rejection_draft
from kpmsg.case.standing import Standing
from kpmsg.documents import CertificateAnswer, Document, Rejection, Withdrawal
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpnode.store import incidents
from kpnode.store import tables as t
from kpnode.store.cases import filed, noted, said_against, spoken_of
from kpnode.store.documents import document_of

TOGETHER: Final = 256
"""So many are asked for at once."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A partner's document `id` that is owed an answer, and the draft of it; None if nothing is owed any more.

    `certain`: the answer rests on what is at hand, not on what we believe never to have issued.
    """

    id: str
    author: str
    draft: dict[str, Any] | None
    certain: bool
    occasion: str = "answer"  # or "reread": each is answered once


def owing(connection: Connection, after: int) -> list[int]:
    """The next documents that are owed an answer, by sequence number, oldest first, from behind `after`.

    Not those of partners that have been removed: there is no way to tell them. If one comes back, so does what it is owed.
    """
    partner = t.partner.c.address == t.document.c.partner
    return list(
        connection.execute(
            select(t.document.c.seq)
            .join(t.partner, partner)
            .where(
                t.document.c.answer.is_not(None), t.partner.c.removed_at.is_(None), t.document.c.seq > after
            )
            .order_by(t.document.c.seq)
            .limit(TOGETHER)
        ).scalars()
    )


def owed(connection: Connection, seq: int, practice: Practice, at: str) -> Owed | None:
    """What is to be answered to one of them; None if nothing is any more. Worked out anew, since more may be known by now."""
    row = connection.execute(
        select(t.document.c.id, t.document.c.subject, t.document.c.raw, t.document.c.answer).where(
            t.document.c.seq == seq, t.document.c.answer.is_not(None)
        )
    ).first()
    if row is None:
        return None
    item = Filed(row.id, document_of(row.raw))
    others = filed(connection, [row.subject])[row.subject] if row.subject else spoken_of(connection, item)
    if "finding" in json.loads(row.answer):
        alone = practice.alone_issues(item.document.subject or "")
        draft = answer_draft(item, others, noted(connection, row.subject, practice.me), alone=alone)
        return Owed(row.id, item.source, draft, draft["data"]["finding"] != "unknown")
    problems = said_against(connection, item, others, practice, at)
    if "reread" in json.loads(row.answer):
        rejections = others if row.subject else _rejections(connection, item)
        taken_back = _taken_back(item, rejections, problems, practice.me)
        return Owed(row.id, item.source, taken_back, certain=True, occasion="reread")
    refused = any(problem.severity == "reject" for problem in problems)
    certain = all(
        p.code != UNCERTAIN for p in problems
    )  # whatever else is wrong with it: the answer would name this too
    told = [problem for problem in problems if problem.severity != "warn"]
    return Owed(row.id, item.source, rejection_draft(item, told) if refused else None, certain)


def _rejections(connection: Connection, item: Filed) -> list[Filed]:
    """A document about no certificate, and what we have rejected of its author's that is about none."""
    d = t.document.c
    ours = d.partner == item.source, d.type == Rejection.type, d.direction == "out", d.subject == ""
    rows = connection.execute(select(d.id, d.raw).where(*ours))
    return [item, *(Filed(row.id, document_of(row.raw)) for row in rows)]


def _taken_back(
    item: Filed, others: Sequence[Filed], problems: Sequence[Problem], me: str
) -> dict[str, Any] | None:
    """The withdrawal of our rejection of a document that we did not understand then, if nothing else is wrong with it."""
    if any(problem.severity == "reject" for problem in problems):
        return None
    standing = Standing(others)
    ours = [
        i.id
        for i in standing.rejections
        if i.source == me and isinstance(i.data, Rejection) and i.data.refers_to == item.id
    ]
    if not ours:
        return None
    reason = "We could not read this document when it came; we can now, and it stands."
    draft: dict[str, Any] = {
        "type": Withdrawal.type,
        "recipient": item.source,
        "data": {"withdraws": ours[0], "reason": reason},
    }
    return draft | ({"subject": item.document.subject} if item.document.subject else {})


def said(connection: Connection, document_id: str, answer: Document, at: str) -> None:
    """Our answer is being committed in this transaction: nothing is owed any more, and what was uncertain is an alarm now."""
    row = connection.execute(select(t.document).where(t.document.c.id == document_id)).one()
    text = None
    if isinstance(answer.data, CertificateAnswer) and answer.data.finding == "unknown":
        text = "We were asked about a number that we never issued: suspected counterfeit."
    elif isinstance(answer.data, Rejection):
        text = next((reason.text for reason in answer.data.reasons if reason.code == UNCERTAIN), None)
    if text is not None:
        alarm = {
            "at": at,
            "kind": f"rule-{UNCERTAIN}",
            "partner": row.partner,
            "document_id": document_id,
            "certificate": row.subject,
            "text": text,
        }
        connection.execute(insert(t.incident), [alarm])
    settle(connection, document_id, at, "It has been answered.")


def settle(
    connection: Connection,
    document_id: str,
    at: str,
    because: str = "What it speaks of has come to light here.",
) -> None:
    """No answer is owed to this document any more."""
    incidents.end_not_known(connection, document_id, because, at)
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
