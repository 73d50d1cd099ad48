"""The tables of one node. Signed bytes are the record; every other column is an index over them.

Rows are written from verified documents only, with Core statements on these tables (SQLModel skips validation for tables by
design, and nothing here is ever filled from input). Points in time are RFC 3339 texts in UTC with milliseconds, which sort
as they are and are the same on SQLite and PostgreSQL. Document ids and register heads are lower-case hexadecimal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite counts rows by itself only in a column declared INTEGER PRIMARY KEY.
_Counter = BigInteger().with_variant(Integer, "sqlite")


def _counter() -> Column[int]:
    return Column(_Counter, primary_key=True, autoincrement=True)


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index over some rows only; questions must state the condition in the same words."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Meta(SQLModel, table=True):
    """Facts about this database: whose it is (`address`) and when it was made (`created_at`)."""

    __tablename__ = "meta"
    name: str = Field(primary_key=True)
    value: str


class Partner(SQLModel, table=True):
    """One partner authority: both registers' heads, and what an operator has decided about it."""

    __tablename__ = "partner"
    address: str = Field(primary_key=True)
    name: str
    transport: str  # "amqp" | "https"
    connection: str = Field(sa_type=Text)  # JSON: how to reach it (from its grant or its key record)
    added_at: str
    removed_at: str | None = None
    paused_at: str | None = None
    paused_because: str | None = None
    held_size: int = Field(default=0, sa_type=BigInteger)
    held_head: str
    known_size: int = Field(default=0, sa_type=BigInteger)
    known_head: str


class KeyRecord(SQLModel, table=True):
    """Every key record version that we have ever accepted, our own included; kept for ever, as signed."""

    __tablename__ = "key_record"
    address: str = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    digest: str
    raw: bytes = Field(sa_type=LargeBinary)
    added_at: str


class Document(SQLModel, table=True):
    """Every document that we signed (`out`) or admitted (`in`), byte for byte."""

    __tablename__ = "document"
    seq: int | None = Field(default=None, sa_column=_counter())
    id: str = Field(unique=True)
    direction: str  # "out" | "in"
    partner: str
    type: str
    subject: str  # the certificate's canonical number
    created_at: str  # committed here
    received_at: str | None = None  # out: a receipt covers it; in: the same as created_at
    withheld: str | None = None  # out: why it must not leave us (R10)
    refused: str | None = None  # out: what the partner's node could not accept, in its words
    answer: str | None = Field(default=None, sa_type=Text)  # in: JSON of the answer that we still owe
    remarks: str | None = Field(
        default=None, sa_type=Text
    )  # JSON of the rules it breaks that do not refuse it
    author: str | None = None  # out: name of the API key, or "node"
    released_by: str | None = None  # out: the second person, where two are asked for
    raw: bytes = Field(sa_type=LargeBinary)
    __table_args__ = (
        Index("ix_document_subject", "subject"),
        Index("ix_document_partner_seq", "partner", "seq"),
        _partial(
            "ix_document_waiting",
            "partner",
            "seq",
            where="direction = 'out' AND received_at IS NULL AND withheld IS NULL",
        ),
        _partial("ix_document_answer", "seq", where="answer IS NOT NULL"),
        # Lists of a type that few documents have, or of what was never sent, would walk through all there are.
        Index("ix_document_type_seq", "type", "seq"),
        Index("ix_document_partner_type_seq", "partner", "type", "seq"),
        _partial("ix_document_withheld", "partner", "seq", where="withheld IS NOT NULL"),
    )


class Entry(SQLModel, table=True):
    """The lines of both registers: `held` = ours of their documents, `known` = theirs of ours as signed to us."""

    __tablename__ = "entry"
    partner: str = Field(primary_key=True)
    side: str = Field(primary_key=True)  # "held" | "known"
    position: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    document_id: str
    head: str
    at: str
    __table_args__ = (UniqueConstraint("document_id", "partner", "side"),)


class Receipt(SQLModel, table=True):
    """Signed receipts with at least one id: `given` by us and `taken` from partners. Evidence on both sides."""

    __tablename__ = "receipt"
    seq: int | None = Field(default=None, sa_column=_counter())
    partner: str
    direction: str  # "given" | "taken"
    first: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    at: str
    raw: bytes = Field(sa_type=LargeBinary)
    __table_args__ = (
        Index("ix_receipt_partner_direction_size_first", "partner", "direction", "size", "first"),
    )


class Claim(SQLModel, table=True):
    """What at most one live document of ours may say: one number notified once, one confirmation for a certificate."""

    __tablename__ = "claim"
    claim: str = Field(primary_key=True)
    document_id: str


class Idempotency(SQLModel, table=True):
    """A submission that was committed under a caller's key, so that its repetition finds the same documents."""

    __tablename__ = "idempotency"
    caller: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str  # SHA-256 of the request body
    documents: str = Field(sa_type=Text)  # ids, comma-separated, in order of the request
    at: str


class Certificate(SQLModel, table=True):
    """Where each certificate stands: the fold over its documents, kept beside them in the same transaction."""

    __tablename__ = "certificate"
    key: str = Field(primary_key=True)
    number: str
    issuer: str
    partner: str
    state: str
    case: str = Field(sa_type=Text)  # JSON of kpmsg.case.Case
    waits: str = Field(
        default="nobody", sa_column_kwargs={"server_default": "nobody"}
    )  # for whom: us, them, both
    matter: str | None = None  # the kind of the most urgent open matter
    due: str | None = None  # the day on which it is due (YYYY-MM-DD); null if no rule sets one
    locked: str | None = None  # why software no longer touches it
    first_at: str
    changed_at: str
    __table_args__ = (
        Index("ix_certificate_state_changed_at", "state", "changed_at", "key"),
        Index("ix_certificate_changed_at_key", "changed_at", "key"),
        Index("ix_certificate_partner_changed_at", "partner", "changed_at", "key"),
        Index("ix_certificate_partner_state_changed_at", "partner", "state", "changed_at", "key"),
        _partial("ix_certificate_waits", "waits", "due", "key", where="waits <> 'nobody'"),
        _partial("ix_certificate_waits_matter", "waits", "matter", "due", "key", where="waits <> 'nobody'"),
        _partial("ix_certificate_waits_partner", "waits", "partner", "due", "key", where="waits <> 'nobody'"),
    )


class Event(SQLModel, table=True):
    """What happened, in order: the feed of `GET /v1/events`. Names ids only, never trade data."""

    __tablename__ = "event"
    seq: int | None = Field(default=None, sa_column=_counter())
    at: str
    kind: str
    partner: str | None = None
    document_id: str | None = None
    certificate: str | None = None


class Incident(SQLModel, table=True):
    """What an officer or operator has to look at, with the signed statement that shows it."""

    __tablename__ = "incident"
    seq: int | None = Field(default=None, sa_column=_counter())
    at: str
    kind: str
    partner: str | None = None
    document_id: str | None = None
    certificate: str | None = None
    text: str = Field(sa_type=Text)
    statement: bytes | None = Field(default=None, sa_type=LargeBinary)
    closed_at: str | None = None
    closed_by: str | None = None
    closed_because: str | None = None
    __table_args__ = (
        Index("ix_incident_partner_seq", "partner", "seq"),
        _partial("ix_incident_open", "seq", where="closed_at IS NULL"),
        _partial("ix_incident_open_certificate", "partner", "certificate", where="closed_at IS NULL"),
    )


class Quarantine(SQLModel, table=True):
    """Bytes that failed verification (R9): bounded in size and in number per partner, never read again by software."""

    __tablename__ = "quarantine"
    seq: int | None = Field(default=None, sa_column=_counter())
    at: str
    partner: str
    digest: str
    code: str
    text: str = Field(sa_type=Text)
    size: int
    raw: bytes = Field(sa_type=LargeBinary)
    __table_args__ = (Index("ix_quarantine_partner_seq", "partner", "seq"),)


class Failure(SQLModel, table=True):
    """How often the effects of a verified document failed with an exception here (R9); three, and it is set aside."""

    __tablename__ = "failure"
    document_id: str = Field(primary_key=True)
    partner: str
    attempts: int
    text: str = Field(sa_type=Text)
    at: str


class Draft(SQLModel, table=True):
    """A document that has been prepared and not said: by a clerk, or by the node itself (a reminder, an alert)."""

    __tablename__ = "draft"
    seq: int | None = Field(default=None, sa_column=_counter())
    at: str
    changed_at: str
    author: str  # name of the API key, or "node"
    person: str  # who holds that key, or "node"
    type: str
    recipient: str  # an address, or "*"
    certificate: str | None = None
    because: str | None = None  # why the node has drafted it, e.g. reminder:1:<notification>; once each
    body: str = Field(sa_type=Text)  # JSON
    state: str = Field(default="open")  # "open" | "released" | "discarded"
    closed_at: str | None = None
    closed_by: str | None = None  # the person
    closed_because: str | None = None
    documents: str | None = Field(default=None, sa_type=Text)  # ids, comma-separated
    __table_args__ = (
        UniqueConstraint("because"),
        _partial("ix_draft_open", "seq", where="state = 'open'"),
        Index("ix_draft_state_seq", "state", "seq"),
        Index("ix_draft_certificate_seq", "certificate", "seq"),
    )


class Number(SQLModel, table=True):
    """What this authority has recorded of its own certificate numbers apart from notifying them."""

    __tablename__ = "number"
    key: str = Field(primary_key=True)
    number: str  # as printed
    status: str  # "issued" | "void" | "lost" | "stolen"
    at: str
    by: str
    note: str | None = None


class Alerted(SQLModel, table=True):
    """Certificate numbers under an alert, ours or a partner's: one row for each range."""

    __tablename__ = "alerted"
    seq: int | None = Field(default=None, sa_column=_counter())
    document_id: str
    partner: str
    kind: str
    series: str  # the letters before the digits, and how many digits: "BW/6"
    first: int = Field(sa_type=BigInteger)
    last: int = Field(sa_type=BigInteger)
    reach: int = Field(sa_type=BigInteger)  # the power of ten that is no less than how many numbers it has
    valid_from: str
    withdrawn_at: str | None = None
    __table_args__ = (
        Index("ix_alerted_document_id_partner", "document_id", "partner"),
        _partial("ix_alerted_in_force", "series", "reach", "first", where="withdrawn_at IS NULL"),
        _partial("ix_alerted_partner_in_force", "partner", "seq", where="withdrawn_at IS NULL"),
        Index(
            "ix_alerted_says",
            *("partner", "series", "first", "last", "kind", "valid_from", "withdrawn_at", "seq"),
        ),
    )


class File(SQLModel, table=True):
    """A file that documents name by its digest, ours or fetched from a partner."""

    __tablename__ = "file"
    digest: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    held: int = Field(default=0, sa_type=BigInteger)  # bytes that are here, from the beginning
    added_at: str
    wanted_from: str | None = (
        None  # the partner who is being asked for the rest, or who gave it; ours have none
    )
    wanted_for: str | None = None  # the document that names it
    problem: str | None = None  # why it cannot be had


class FilePart(SQLModel, table=True):
    """A piece of a file."""

    __tablename__ = "file_part"
    digest: str = Field(primary_key=True)
    start: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    raw: bytes = Field(sa_type=LargeBinary)


class ApiKey(SQLModel, table=True):
    """A caller of the API. Only the SHA-256 of the secret is stored."""

    __tablename__ = "api_key"
    id: str = Field(primary_key=True)
    name: str
    person: str | None = None  # who holds it; whoever releases a draft must be another than who wrote it
    secret_sha256: str
    scopes: str  # space-separated
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None


def _table(model: type[SQLModel]) -> Table:
    return SQLModel.metadata.tables[str(model.__tablename__)]


metadata: MetaData = SQLModel.metadata
meta = _table(Meta)
partner = _table(Partner)
key_record = _table(KeyRecord)
document = _table(Document)
entry = _table(Entry)
receipt = _table(Receipt)
claim = _table(Claim)
idempotency = _table(Idempotency)
certificate = _table(Certificate)
event = _table(Event)
incident = _table(Incident)
quarantine = _table(Quarantine)
failure = _table(Failure)
draft = _table(Draft)
number = _table(Number)
alerted = _table(Alerted)
file = _table(File)
file_part = _table(FilePart)
api_key = _table(ApiKey)
