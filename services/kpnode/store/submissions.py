"""Documents of our own: committed once, whoever asks how often.

Everything that callers submit while a transaction is being committed is treated together in the next one. A submission
is all or nothing: each of its documents is recorded, with its claim, its certificate's case, its events and the
caller's idempotency key, or nothing of it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection, bindparam, literal, select, union_all

from kpmsg import attachments
from kpmsg.case import Filed
from kpmsg.case.objections import objections
from kpmsg.documents import Document
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpnode.release import FourEyes, ReleaseError, missing
from kpnode.store import alerts, answers, broadcasts, drafts, files, four_eyes, recorded
from kpnode.store import tables as t
from kpnode.store.cases import filed, record_cases, release_claims, spoken_of, states
from kpnode.store.documents import Item, insert_documents, insert_rows, record_events
from kpnode.store.drafts import DraftRow


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
    places: tuple[int, ...] = ()  # for each item its place in the request, if they are not the same
    drafts: tuple[DraftRow, ...] = ()  # by place in the request: what becomes documents, as it was examined
    released_by: str | None = None  # the person who says so

    def place(self, index: int) -> int:
        """The place in the request of the item with this index."""
        return self.places[index] if self.places else index

    @property
    def several(self) -> bool:
        """Whether the request was about several documents, so that a place tells which."""
        return self.place(len(self.items) - 1) > 0

    def author(self, index: int) -> str:
        """Who has written that item: the caller, or whoever prepared the draft."""
        return self.drafts[self.place(index)].author if self.drafts else self.caller


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


class ObjectedError(SubmissionError):
    """What is committed about the certificate forbids this document: its recipient would have to refuse it."""

    def __init__(self, problems: Sequence[Problem], index: int) -> None:
        super().__init__(problems[0].text)
        self.problems = tuple(problems)
        self.index = index


class DraftMovedError(SubmissionError):
    """A draft is not what it was when it was examined, or would not go to the same partners: somebody else has acted meanwhile."""

    def __init__(self, seq: int, index: int) -> None:
        super().__init__(f"draft {seq} has changed meanwhile")
        self.seq = seq
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
    open: dict[int, tuple[str, str]] = field(default_factory=dict)  # drafts, with what must not have changed


def submit(
    connection: Connection, submissions: list[Submission], practice: Practice, policy: FourEyes
) -> Sequence[Committed | SubmissionError | ReleaseError]:
    """Commit what can be committed (a `Handler` of the database). Errors come back in place of results."""
    facts = _facts(connection, submissions)
    filings = _filings(connection, submissions, practice)
    written = (item.verified.document for submission in submissions for item in submission.items)
    books = recorded.look(connection, written, practice)
    outcomes: list[Committed | SubmissionError | ReleaseError] = []
    accepted: list[Submission] = []
    remarks: dict[str, Sequence[Problem]] = {}
    for submission in submissions:
        earlier = (
            facts.replays.get((submission.caller, submission.key)) if submission.key is not None else None
        )
        outcome = earlier[1] if earlier is not None else None
        if earlier is not None and earlier[0] != submission.digest:
            outcomes.append(_reused(submission.key or ""))
            continue
        if outcome is not None:
            outcomes.append(outcome)
            continue
        obstacle = (
            _obstacle(submission, facts)
            or _alone(connection, submission, policy)
            or _lacking(connection, submission)
            or _outdated(connection, submission, accepted, facts.partners, practice)
            or _objection(connection, submission, filings, books, practice, remarks)
        )
        if obstacle is not None:
            outcomes.append(obstacle)
            continue
        for item in submission.items:
            if item.claim is not None:
                facts.claims[item.claim] = item.id
        for row in submission.drafts:
            del facts.open[row.seq]
        items = tuple(
            item if item.remarks == remarks[item.id] else replace(item, remarks=tuple(remarks[item.id]))
            for item in submission.items
        )
        committed = Committed(tuple(item.id for item in items), replayed=False, items=items)
        if submission.key is not None:
            facts.replays[submission.caller, submission.key] = (
                submission.digest,
                Committed(committed.ids, replayed=True),
            )
        accepted.append(submission)
        outcomes.append(committed)
    _record(connection, accepted, practice, remarks)
    return outcomes


def _filings(
    connection: Connection, submissions: Sequence[Submission], practice: Practice
) -> dict[str, list[Filed]]:
    """What is committed about the certificates that the submissions speak of; nothing for most, whose number is new."""
    keys = {
        practice.key(item.verified.document.subject)
        for submission in submissions
        for item in submission.items
        if item.verified.document.subject
    }
    known = states(connection, sorted(keys)) if keys else {}
    return filed(connection, list(known)) if known else {}


def _alone(connection: Connection, submission: Submission, policy: FourEyes) -> ReleaseError | None:
    """Why one person is not enough, or is the same twice. What the node answers by itself is exempt."""
    if submission.answers is not None:
        return None
    said = [item.verified.document for item in submission.items]
    two = map(submission.place, four_eyes.needing_two(connection, said, policy))
    writers = {place: row.persons for place, row in enumerate(submission.drafts)}
    return missing(two, submission.released_by, writers)


def _outdated(
    connection: Connection,
    submission: Submission,
    accepted: Sequence[Submission],
    partners: set[str],
    practice: Practice,
) -> DraftMovedError | None:
    """Who is told, and by which document, was looked up before it was signed: another officer may have been as quick."""
    for place, row in enumerate(submission.drafts):
        if row.recipient == broadcasts.EVERYBODY:
            said = [
                item.verified.document
                for n, item in enumerate(submission.items)
                if submission.place(n) == place
            ]
            just = (item.verified.document for other in accepted for item in other.items)
            if broadcasts.outdated(connection, row.content, said, just, partners, practice):
                return DraftMovedError(row.seq, place)
    return None


def _objection(
    connection: Connection,
    submission: Submission,
    filings: dict[str, list[Filed]],
    books: recorded.Books,
    practice: Practice,
    remarks: dict[str, Sequence[Problem]],
) -> ObjectedError | None:
    """The rules between documents, as the recipient will apply them (`kpmsg.case.objections`): what breaks one is not said.

    Those that only warn are added to `remarks`, by document, with what was found before it was signed.
    """
    said: list[tuple[str, Filed]] = []
    for index, item in enumerate(submission.items):
        document = item.verified.document
        key, file = practice.key(document.subject or ""), Filed(item.id, document)
        same = (other for about, other in said if about == key)
        others = [*filings.get(key, ()), *same] if key else spoken_of(connection, file)
        problems = objections(file, others, practice, ours=True)
        problems += recorded.problems(document, books, practice)
        if any(problem.severity == "reject" for problem in problems):
            return ObjectedError(problems, submission.place(index))
        remarks[item.id] = (*item.remarks, *problems)
        if key:
            said.append((key, file))
    for key, file in said:  # those who submit at the same moment see one another
        filings.setdefault(key, []).append(file)
    return None


def _lacking(connection: Connection, submission: Submission) -> ObjectedError | None:
    """The files that a document names have to be here before it is said (G2): its recipient may ask for them at once."""
    for index, item in enumerate(submission.items):
        named = attachments.named(item.verified.document)
        problems = files.missing(connection, named) if named else []
        if problems:
            return ObjectedError(problems, submission.place(index))
    return None


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What is committed and speaks against a document: an error that would end its submission, and rules that it breaks."""

    error: PartnerUnknownError | ClaimedError | None
    problems: tuple[Problem, ...]


def obstacles(
    connection: Connection, said: Sequence[tuple[Document, str | None]], practice: Practice
) -> list[Obstacles]:
    """What would be found if these documents, each with its claim, were submitted together now. Changes nothing."""
    facts = _Facts()
    _read_facts(connection, facts, "", [], [claim for _, claim in said if claim is not None])
    keys = {practice.key(document.subject) for document, _ in said if document.subject}
    filings = filed(connection, sorted(keys)) if keys else {}
    warned = alerts.under(connection, sorted(keys))
    books = recorded.look(connection, (document for document, _ in said), practice)
    own: set[str] = set()
    found = []
    for index, (document, claim) in enumerate(said):
        named = attachments.named(document)
        problems = list(files.missing(connection, named)) if named else []
        key, file = practice.key(document.subject or ""), Filed(f"draft {index}", document)
        others = filings[key] if key else spoken_of(connection, file)
        problems += objections(file, others, practice, ours=True)
        problems += recorded.problems(document, books, practice)
        problems += alerts.problems(document, warned.get(key, ()))
        others.append(file)
        error = _in_the_way(document.recipient, claim, index, facts, own)
        found.append(Obstacles(error, tuple(problems)))
    return found


def committed_before(connection: Connection, caller: str, key: str, digest: str) -> Committed | None:
    """What was committed under a caller's key. Raises KeyReusedError if that was another request than that of `digest`."""
    facts = _Facts()
    _read_facts(connection, facts, caller, [key], [])
    before, committed = facts.replays.get((caller, key), (digest, None))
    if before != digest:
        raise _reused(key)
    return committed


def _reused(key: str) -> KeyReusedError:
    return KeyReusedError(f"the key {key!r} was used for another request")


def _obstacle(submission: Submission, facts: _Facts) -> SubmissionError | None:
    for place, row in enumerate(submission.drafts):
        if facts.open.get(row.seq) != row.version:
            return DraftMovedError(row.seq, place)
    own: set[str] = set()
    for index, item in enumerate(submission.items):
        recipient = item.verified.document.recipient
        if error := _in_the_way(recipient, item.claim, submission.place(index), facts, own):
            return error
    return None


def _in_the_way(
    recipient: str, claim: str | None, place: int, facts: _Facts, own: set[str]
) -> PartnerUnknownError | ClaimedError | None:
    if recipient not in facts.partners:
        return PartnerUnknownError(recipient, place)
    if claim is None:
        return None
    if claim in facts.claims:
        return ClaimedError(claim, facts.claims[claim], place)
    if claim in own:
        return ClaimedError(claim, "earlier in the same request", place)
    own.add(claim)
    return None


def _facts(connection: Connection, submissions: Sequence[Submission]) -> _Facts:
    keys: dict[str, list[str]] = {submission.caller: [] for submission in submissions}
    claims = [item.claim for submission in submissions for item in submission.items if item.claim is not None]
    for submission in submissions:
        if submission.key is not None:
            keys[submission.caller].append(submission.key)
    facts = _Facts()
    # Nearly always one caller; and a list of pairs would make SQLite scan the table.
    for caller, some in keys.items():
        _read_facts(connection, facts, caller, some, claims)
        claims = []
    if rows := [row.seq for submission in submissions for row in submission.drafts]:
        facts.open = {row.seq: row.version for row in drafts.drafts_by_number(connection, rows) if row.open}
    return facts


def _read_facts(
    connection: Connection, facts: _Facts, caller: str, keys: Sequence[str], claims: Sequence[str]
) -> None:
    for start in range(0, max(len(claims), 1), 500):
        asked = {"caller": caller, "keys": keys, "claims": claims[start : start + 500]}
        for fact, name, first, second in connection.execute(_FACTS, asked):
            match fact:
                case "key":
                    known = Committed(tuple(second.split(",")), replayed=True)
                    facts.replays[caller, name] = (first, known)
                case "claim":
                    facts.claims[name] = first
                case _:
                    facts.partners.add(name)


def _record(
    connection: Connection,
    submissions: Sequence[Submission],
    practice: Practice,
    remarks: Mapping[str, Sequence[Problem]],
) -> None:
    by_partner: dict[tuple[str, str, str, str | None], list[Item]] = {}
    for submission in submissions:
        for index, item in enumerate(submission.items):
            recipient, author = item.verified.document.recipient, submission.author(index)
            group = (recipient, submission.at, author, submission.released_by)
            by_partner.setdefault(group, []).append(item)
    for (partner, at, author, released_by), items in by_partner.items():
        verified = [item.verified for item in items]
        said_by = {"author": author, "released_by": released_by}
        insert_documents(connection, verified, "out", partner, at, practice, received_at=None, **said_by)
        record_cases(connection, verified, at, practice, from_partner=False, remarks=remarks)
        about = [(v.id, practice.key(v.document.subject or "") or None) for v in verified]
        record_events(connection, "submitted", at, partner, about)
    claims = [(i.claim, i.id) for s in submissions for i in s.items if i.claim is not None]
    insert_rows(connection, t.claim, ("claim", "document_id"), claims)
    for (partner, *_), items in by_partner.items():
        release_claims(connection, [item.verified for item in items], partner)
    keys = [
        (s.caller, s.key, s.digest, ",".join(item.id for item in s.items), s.at)
        for s in submissions
        if s.key is not None
    ]
    insert_rows(connection, t.idempotency, ("caller", "key", "digest", "documents", "at"), keys)
    for submission in submissions:
        if submission.answers is not None:
            answers.said(connection, submission.answers, submission.items[0].verified.document, submission.at)
        for place, row in enumerate(submission.drafts):
            ids = [item.id for index, item in enumerate(submission.items) if submission.place(index) == place]
            drafts.released(connection, row.seq, ids, submission.released_by, submission.at)
