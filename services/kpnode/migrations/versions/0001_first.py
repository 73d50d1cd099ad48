"""The first schema, and the triggers that keep signed bytes as they were signed.

The triggers are no security against whoever owns the database; they turn a mistaken statement, ours or an administrator's,
into an error instead of into a loss of evidence.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# What never changes once written; the other columns of `document` say how far it has come.
KEPT = {
    "document": ("seq", "id", "direction", "partner", "type", "subject", "created_at", "author", "raw"),
    "receipt": ("seq", "partner", "direction", "first", "size", "at", "raw"),
    "key_record": ("address", "version", "digest", "raw", "added_at"),
}


def _string(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def _maybe(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=True) for name in names]


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _bytes(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _counter() -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("seq", kind, autoincrement=True, nullable=False)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    op.create_table("meta", *_string("name", "value"), _key("meta", "name"))
    op.create_table(
        "partner",
        *_string("address", "name", "transport"),
        _text("connection"),
        *_string("added_at"),
        *_maybe("removed_at", "paused_at", "paused_because"),
        _big("held_size"),
        *_string("held_head"),
        _big("known_size"),
        *_string("known_head"),
        _key("partner", "address"),
    )
    op.create_table(
        "key_record",
        *_string("address"),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        *_string("digest"),
        _bytes("raw"),
        *_string("added_at"),
        _key("key_record", "address", "version"),
    )
    op.create_table(
        "document",
        _counter(),
        *_string("id", "direction", "partner", "type", "subject", "created_at"),
        *_maybe("received_at", "withheld", "refused"),
        _text("answer", nullable=True),
        *_maybe("author"),
        _bytes("raw"),
        _key("document", "seq"),
        sa.UniqueConstraint("id", name=op.f("uq_document_id")),
    )
    op.create_index("ix_document_subject", "document", ["subject"])
    op.create_index("ix_document_partner_seq", "document", ["partner", "seq"])
    waiting = "direction = 'out' AND received_at IS NULL AND withheld IS NULL"
    _partial_index("ix_document_waiting", "document", ["partner", "seq"], waiting)
    _partial_index("ix_document_answer", "document", ["seq"], "answer IS NOT NULL")
    op.create_table(
        "entry",
        *_string("partner", "side"),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        *_string("document_id", "head", "at"),
        _key("entry", "partner", "side", "position"),
        sa.UniqueConstraint("document_id", "partner", "side", name=op.f("uq_entry_document_id_partner_side")),
    )
    op.create_table(
        "receipt",
        _counter(),
        *_string("partner", "direction"),
        _big("first"),
        _big("size"),
        *_string("at"),
        _bytes("raw"),
        _key("receipt", "seq"),
    )
    op.create_index("ix_receipt_partner_direction_size", "receipt", ["partner", "direction", "size"])
    op.create_table("claim", *_string("claim", "document_id"), _key("claim", "claim"))
    op.create_table(
        "idempotency",
        *_string("caller", "key", "digest"),
        _text("documents"),
        *_string("at"),
        _key("idempotency", "caller", "key"),
    )
    op.create_table(
        "certificate",
        *_string("key", "number", "issuer", "partner", "state"),
        _text("case"),
        *_maybe("locked"),
        *_string("first_at", "changed_at"),
        _key("certificate", "key"),
    )
    op.create_index("ix_certificate_state_changed_at", "certificate", ["state", "changed_at", "key"])
    op.create_index("ix_certificate_changed_at_key", "certificate", ["changed_at", "key"])
    op.create_index("ix_certificate_partner_changed_at", "certificate", ["partner", "changed_at", "key"])
    op.create_table(
        "event",
        _counter(),
        *_string("at", "kind"),
        *_maybe("partner", "document_id", "certificate"),
        _key("event", "seq"),
    )
    op.create_table(
        "incident",
        _counter(),
        *_string("at", "kind"),
        *_maybe("partner", "document_id", "certificate"),
        _text("text"),
        _bytes("statement", nullable=True),
        *_maybe("closed_at", "closed_by", "closed_because"),
        _key("incident", "seq"),
    )
    op.create_table(
        "quarantine",
        _counter(),
        *_string("at", "partner", "digest", "code"),
        _text("text"),
        sa.Column("size", sa.Integer(), nullable=False),
        _bytes("raw"),
        _key("quarantine", "seq"),
    )
    op.create_index("ix_quarantine_partner_seq", "quarantine", ["partner", "seq"])
    op.create_table(
        "failure",
        *_string("document_id", "partner"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _text("text"),
        *_string("at"),
        _key("failure", "document_id"),
    )
    op.create_table(
        "api_key",
        *_string("id", "name", "secret_sha256", "scopes", "created_at"),
        *_maybe("expires_at", "revoked_at"),
        _key("api_key", "id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _keep_on_sqlite()
    else:
        _keep_on_postgresql()


def _keep_on_sqlite() -> None:
    for table, columns in KEPT.items():
        for kind, when in (("changed", f"UPDATE OF {', '.join(columns)}"), ("deleted", "DELETE")):
            op.execute(
                f"CREATE TRIGGER {table}_is_never_{kind} BEFORE {when} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table}: signed records are never {kind}'); END"
            )


def _keep_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION kp_never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION '%: signed records are never changed or deleted', TG_TABLE_NAME; END $$"
    )
    for table, columns in KEPT.items():
        op.execute(
            f"CREATE TRIGGER {table}_is_never_changed BEFORE UPDATE OF {', '.join(columns)} OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION kp_never()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_never_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION kp_never()"
        )
