"""Documents of our own: committed once, whoever asks how often.

Everything that callers submit while a transaction is being committed is treated together in the next one. A submission
is all or nothing: each of its documents is recorded, with its claim, its certificate's case, its events and the
caller's idempotency key, or nothing of it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, bindparam, literal, select, union_all

from kpnode.store import answers
from kpnode.store import tables as t
from kpnode.store.cases import record_cases
from kpnode.store.documents import Item, insert_documents, insert_rows, record_events


@dataclass(frozen=True, slots=True)
class Submission:
    """Signed documents of ours, to be committed together. `digest`: SHA-256 of the request that `key` stands for."""

    caller: str
    key: str | None
    digest: str
    items: tuple[Item, ...]
    at: str
    answers: str | None = (
        None  # the id of the document that this is the answer to, which is no longer owed then
    )


@dataclass(frozen=True, slots=True)
class Committed:
    """The ids of the documents, in the order of the request; `replayed` if they had been committed before.

    `items`: the documents themselves, so that whoever submitted them need not read them back; none for a replay.
    """

    ids: tuple[str, ...]
    replayed: bool
    items: tuple[Item, ...] = ()


class SubmissionError(Exception):
    """The submission cannot be committed; nothing of it was."""


class KeyReusedError(SubmissionError):
    """The same idempotency key came with another body."""


class PartnerUnknownError(SubmissionError):
    """The recipient is not one of our partners."""

    def __init__(self, address: str, index: int) -> None:
        super().__init__(f"{address} is not a partner of this node")
        self.address = address
        self.index = index


class ClaimedError(SubmissionError):
    """Another document of ours already says this (e.g. this certificate number was notified)."""

    def __init__(self, claim: str, document_id: str, index: int) -> None:
        super().__init__(f"document {document_id} already makes the claim {claim}")
        self.claim = claim
        self.document_id = document_id
        self.index = index


# One question to the database, since each costs a round trip; built once, since building it costs more than running it.
_FACTS: Final = union_all(
    select(
        literal("key").label("fact"), t.idempotency.c.key, t.idempotency.c.digest, t.idempotency.c.documents
    ).where(
        t.idempotency.c.caller == bindparam("caller"),
        t.idempotency.c.key.in_(bindparam("keys", expanding=True)),
    ),
    select(literal("claim"), t.claim.c.claim, t.claim.c.document_id, literal("")).where(
        t.claim.c.claim.in_(bindparam("claims", expanding=True))
    ),
    select(literal("partner"), t.partner.c.address, literal(""), literal("")).where(
        t.partner.c.removed_at.is_(None)
    ),
)


@dataclass(slots=True)
class _Facts:
    """What is committed and matters to the submissions at hand."""

    replays: dict[tuple[str, str], tuple[str, Committed]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    partners: set[str] = field(default_factory=set)


def submit(connection: Connection, submissions: list[Submission]) -> Sequence[Committed | SubmissionError]:
    """Commit what can be committed (a `Handler` of the database). Errors come back in place of results."""
    facts = _facts(connection, submissions)
    outcomes: list[Committed | SubmissionError] = []
    accepted: list[Submission] = []
    for submission in submissions:
        earlier = (
            facts.replays.get((submission.caller, submission.key)) if submission.key is not None else None
        )
        outcome = earlier[1] if earlier is not None else None
        if earlier is not None and earlier[0] != submission.digest:
            outcomes.append(KeyReusedError(f"the key {submission.key!r} was used for another request"))
            continue
        if outcome is not None:
            outcomes.append(outcome)
            continue
        obstacle = _obstacle(submission, facts)
        if obstacle is not None:
            outcomes.append(obstacle)
            continue
        for item in submission.items:
            if item.claim is not None:
                facts.claims[item.claim] = item.id
        committed = Committed(
            tuple(item.id for item in submission.items), replayed=False, items=submission.items
        )
        if submission.key is not None:
            facts.replays[submission.caller, submission.key] = (
                submission.digest,
                Committed(committed.ids, replayed=True),
            )
        accepted.append(submission)
        outcomes.append(committed)
    _record(connection, accepted)
    return outcomes


def _obstacle(submission: Submission, facts: _Facts) -> SubmissionError | None:
    own: set[str] = set()
    for index, item in enumerate(submission.items):
        recipient = item.verified.document.recipient
        if recipient not in facts.partners:
            return PartnerUnknownError(recipient, index)
        if item.claim is None:
            continue
        if item.claim in facts.claims:
            return ClaimedError(item.claim, facts.claims[item.claim], index)
        if item.claim in own:
            return ClaimedError(item.claim, "earlier in the same request", index)
        own.add(item.claim)
    return None


def _facts(connection: Connection, submissions: Sequence[Submission]) -> _Facts:
    keys: dict[str, list[str]] = {submission.caller: [] for submission in submissions}
    claims = [item.claim for submission in submissions for item in submission.items if item.claim is not None]
    for submission in submissions:
        if submission.key is not None:
            keys[submission.caller].append(submission.key)
    facts = _Facts()
    for (
        caller,
        some,
    ) in keys.items():  # nearly always one caller; and a list of pairs would make SQLite scan the table
        for start in range(0, max(len(claims), 1), 500):
            asked = {"caller": caller, "keys": some, "claims": claims[start : start + 500]}
            for fact, name, first, second in connection.execute(_FACTS, asked):
                match fact:
                    case "key":
                        known = Committed(tuple(second.split(",")), replayed=True)
                        facts.replays[caller, name] = (first, known)
                    case "claim":
                        facts.claims[name] = first
                    case _:
                        facts.partners.add(name)
        claims = []
    return facts


def _record(connection: Connection, submissions: Sequence[Submission]) -> None:
    by_partner: dict[tuple[str, str, str], list[Item]] = {}
    for submission in submissions:
        for item in submission.items:
            group = (item.verified.document.recipient, submission.caller, submission.at)
            by_partner.setdefault(group, []).append(item)
    for (partner, caller, at), items in by_partner.items():
        verified = [item.verified for item in items]
        insert_documents(connection, verified, "out", partner, at, received_at=None, author=caller)
        record_cases(connection, verified, at, from_partner=False)
        record_events(connection, "submitted", at, partner, [(v.id, v.document.subject) for v in verified])
    claims = [(i.claim, i.id) for s in submissions for i in s.items if i.claim is not None]
    insert_rows(connection, t.claim, ("claim", "document_id"), claims)
    keys = [
        (s.caller, s.key, s.digest, ",".join(item.id for item in s.items), s.at)
        for s in submissions
        if s.key is not None
    ]
    insert_rows(connection, t.idempotency, ("caller", "key", "digest", "documents", "at"), keys)
    for submission in submissions:
        if submission.answers is not None:
            answers.said(connection, submission.answers, submission.at)
