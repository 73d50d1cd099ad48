"""The store of a simulated node: one value for each commit, so that every state there ever was is a backup.

`Database` holds what the tables of `kpnode.store` hold as far as the exchange depends on it. A transaction works on a copy, and
committing is putting the copy in the old one's place. `Ledger` reads and records like `kpnode.store.ledger.PartnerLedger`,
including what a unique constraint would refuse (`IntegrityError`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kpmsg.frames import Receipt
from kpmsg.register import NOTHING, Admit, Believe, Change, Entry, Head, Report, Shorten, TakeBack, Withhold

Kind = Literal["notification", "confirmation", "rejection"]


class IntegrityError(Exception):
    """A row that the real database would not have taken."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a document comes down to here. `subject` is the certificate number, `refers_to` a rejection's target."""

    id: str
    author: str
    recipient: str
    kind: Kind
    subject: str
    claim: str | None
    refers_to: str | None = None
    codes: tuple[str, ...] = ()


@dataclass(slots=True)
class Register:
    """One register: ids and the head after each. `places` finds an id's position."""

    ids: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Register:
        return Register(self.ids.copy(), self.heads.copy(), self.places.copy())

    @property
    def end(self) -> Head:
        return Head(len(self.ids), self.heads[-1] if self.heads else NOTHING)

    def head(self, size: int) -> str | None:
        if size == 0:
            return NOTHING
        return self.heads[size - 1] if 0 < size <= len(self.heads) else None

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.position != len(self.ids) + 1 or entry.id in self.places:
                raise IntegrityError(f"entry {entry.position} {entry.id[:8]}")
            self.ids.append(entry.id)
            self.heads.append(entry.head)
            self.places[entry.id] = entry.position

    def cut(self, size: int) -> list[str]:
        lost = self.ids[size:]
        del self.ids[size:], self.heads[size:]
        for document_id in lost:
            del self.places[document_id]
        return lost


class Database:
    """Everything one node has committed. Never changed once it is some node's `db`; `copy` begins a transaction."""

    __slots__ = (
        "answers",
        "claims",
        "commits",
        "documents",
        "given",
        "held",
        "idempotency",
        "known",
        "name",
        "received",
        "withheld",
    )

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}  # in order of commit
        self.received: set[str] = set()
        self.withheld: dict[str, str] = {}
        self.answers: dict[
            str, tuple[str, ...]
        ] = {}  # of the partners' documents that we owe an answer: the codes
        self.claims: dict[str, str] = {}
        self.idempotency: dict[str, str] = {}  # a caller's key -> the document
        self.held: dict[str, Register] = {}
        self.known: dict[str, Register] = {}
        self.given: dict[tuple[str, int, int], str] = {}  # receipts with ids: (partner, first, size) -> head
        self.commits = 0
        self.name = ""  # what it shares with its mark

    @classmethod
    def empty(cls, partners: Iterable[str]) -> Database:
        """A new database to which an operator has added the partners."""
        db = cls()
        for partner in partners:
            db.held[partner] = Register()
            db.known[partner] = Register()
        return db

    def copy(self, partner: str | None = None) -> Database:
        """A transaction. Only the registers of `partner` may be changed in it."""
        db = Database()
        db.documents = self.documents.copy()
        db.received = self.received.copy()
        db.withheld = self.withheld.copy()
        db.answers = self.answers.copy()
        db.claims = self.claims.copy()
        db.idempotency = self.idempotency.copy()
        db.given = self.given.copy()
        db.commits, db.name = self.commits, self.name
        db.held = self.held.copy()
        db.known = self.known.copy()
        if partner is not None:
            db.held[partner] = self.held[partner].copy()
            db.known[partner] = self.known[partner].copy()
        return db

    def insert(self, document: Document) -> None:
        if document.id in self.documents:
            raise IntegrityError(f"document {document.id[:8]}")
        self.documents[document.id] = document

    def waiting(self, me: str, partner: str) -> list[str]:
        """Ids of our documents that the partner's register does not hold, in order of creation."""
        return [
            d.id
            for d in self.documents.values()
            if d.author == me
            and d.recipient == partner
            and d.id not in self.received
            and d.id not in self.withheld
        ]

    def about(self, subject: str) -> list[Document]:
        """The documents of one certificate; what was withheld has not been said."""
        return [d for d in self.documents.values() if d.subject == subject and d.id not in self.withheld]


def objections(document: Document, db: Database, me: str) -> tuple[str, ...]:
    """The codes that `kpmsg.case.objections` would answer with a rejection, as far as the other documents decide them."""
    if document.kind != "confirmation":
        return ()
    others = db.about(document.subject)
    rejected = {o.refers_to for o in others if o.kind == "rejection"}
    standing = [o for o in others if o.id not in rejected and o.id != document.id]
    codes = []
    if not any(o.kind == "notification" and o.author == me for o in standing):
        codes.append("I01")
    if any(o.kind == "confirmation" and o.author == document.author for o in standing):
        codes.append("I09")
    return tuple(codes)


@dataclass(slots=True)
class Effects:
    """What a transaction has changed, for those who act once it has committed."""

    admitted: list[Document] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    taken_back: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    reports: list[tuple[str, str]] = field(default_factory=list)
    owed: bool = False


class Ledger:
    """One partner's two registers inside one transaction; the production core reads it and its decisions are recorded here."""

    def __init__(self, db: Database, me: str, partner: str) -> None:
        self.db = db
        self.me = me
        self.partner = partner
        self._held = db.held[partner]
        self._known = db.known[partner]
        self.effects = Effects()

    def held(self) -> Head:
        return self._held.end

    def held_head(self, size: int) -> str | None:
        return self._held.head(size)

    def held_ids(self, first: int, count: int) -> Sequence[str]:
        return self._held.ids[first - 1 : first - 1 + count]

    def among_held(self, ids: Collection[str]) -> Collection[str]:
        return [i for i in ids if i in self._held.places]

    def known(self) -> Head:
        return self._known.end

    def known_head(self, size: int) -> str | None:
        return self._known.head(size)

    def among_known(self, ids: Collection[str]) -> Collection[str]:
        return [i for i in ids if i in self._known.places]

    def ours(self, ids: Collection[str]) -> Collection[str]:
        documents = self.db.documents
        return [
            i
            for i in ids
            if (d := documents.get(i)) is not None and d.author == self.me and d.recipient == self.partner
        ]

    def withheld(self, ids: Collection[str]) -> Collection[str]:
        return [i for i in ids if i in self.db.withheld]

    def claimant(self, claim: str) -> tuple[str, bool] | None:
        found = self.db.claims.get(claim)
        return None if found is None else (found, found in self.db.received)

    def record(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case Admit():
                    self.admit(change)
                case Believe():
                    self.believe(change)
                case Shorten():
                    self.shorten(change)
                case TakeBack():
                    self.take_back(change)
                case Withhold():
                    self.withhold(change)
                case Report(kind, text):
                    self.effects.reports.append((kind, text))

    def admit(self, change: Admit) -> None:
        db = self.db
        items = [item for item in change.items if isinstance(item, Document)]
        for item in items:
            db.insert(item)
        self._held.append(change.entries)
        for item in items:
            codes = objections(item, db, self.me)
            if codes:
                db.answers[item.id] = codes
                self.effects.owed = True
        self.effects.admitted.extend(items)

    def believe(self, change: Believe) -> None:
        self._known.append(change.entries)
        ids = [entry.id for entry in change.entries]
        self.db.received.update(i for i in ids if i in self.db.documents)
        for document_id in ids:
            self.db.withheld.pop(document_id, None)
        self.effects.received.extend(ids)

    def given(self, receipt: Receipt) -> None:
        """Keep a receipt that we sign, in the transaction that makes it true."""
        self.db.given[self.partner, receipt.first, receipt.size] = receipt.head

    def shorten(self, change: Shorten) -> None:
        lost = self._known.cut(change.size)
        self.db.received.difference_update(lost)
        self.effects.released.extend(lost)

    def take_back(self, change: TakeBack) -> None:
        for item in change.items:
            assert isinstance(item, Document)
            self.db.insert(item)
            if item.claim is not None:
                self.db.claims.setdefault(item.claim, item.id)
            self.effects.taken_back.append(item.id)

    def withhold(self, change: Withhold) -> None:
        self.db.withheld[change.id] = change.by
        for claim in [c for c, owner in self.db.claims.items() if owner == change.id]:
            del self.db.claims[claim]
        self.effects.withheld.append(change.id)
        self.effects.reports.append(("withheld", f"{change.id} by {change.by}"))


@dataclass(frozen=True, slots=True)
class Claimed:
    """A submission that was not committed: `document_id` says it already."""

    document_id: str


def submit(db: Database, document: Document, key: str, answers: str | None = None) -> str | Claimed:
    """Record one document of ours as `kpnode.store.submissions.submit` does; the id of it or of its earlier self."""
    earlier = db.idempotency.get(key)
    if earlier is not None:
        return earlier
    if document.claim is not None:
        if document.claim in db.claims:
            return Claimed(db.claims[document.claim])
        db.claims[document.claim] = document.id
    db.insert(document)
    db.idempotency[key] = document.id
    if answers is not None:
        db.answers.pop(answers, None)
    return document.id
