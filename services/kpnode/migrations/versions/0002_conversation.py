"""The whole conversation: drafts and who released them, work lists, numbers, alerts, files.

A database of the first schema keeps every row. What its documents were is unchanged; columns that are new are empty for them,
except `certificate.waits`, which says `nobody` until the case is folded again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# As in 0001, and who released a document: evidence like its author. `remarks` is only what our rules made of it.
KEPT = (
    "seq", "id", "direction", "partner", "type", "subject", "created_at", "author", "released_by", "raw",
)  # fmt: skip


def _string(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def _maybe(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=True) for name in names]


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _counter() -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("seq", kind, autoincrement=True, nullable=False)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    op.add_column("document", _text("remarks", nullable=True))
    op.add_column("document", *_maybe("released_by"))
    op.create_index("ix_document_type_seq", "document", ["type", "seq"])
    op.create_index("ix_document_partner_type_seq", "document", ["partner", "type", "seq"])
    _partial_index("ix_document_withheld", "document", ["partner", "seq"], "withheld IS NOT NULL")
    op.drop_index("ix_receipt_partner_direction_size", "receipt")
    op.create_index(
        "ix_receipt_partner_direction_size_first", "receipt", ["partner", "direction", "size", "first"]
    )
    op.create_index("ix_incident_partner_seq", "incident", ["partner", "seq"])
    _partial_index("ix_incident_open", "incident", ["seq"], "closed_at IS NULL")
    open_ones = ["partner", "certificate"]
    _partial_index("ix_incident_open_certificate", "incident", open_ones, "closed_at IS NULL")
    op.add_column("certificate", sa.Column("waits", sa.String(), nullable=False, server_default="nobody"))
    for column in _maybe("matter", "due"):
        op.add_column("certificate", column)
    for name, columns in (
        ("ix_certificate_waits", ["waits", "due", "key"]),
        ("ix_certificate_waits_matter", ["waits", "matter", "due", "key"]),
        ("ix_certificate_waits_partner", ["waits", "partner", "due", "key"]),
    ):
        _partial_index(name, "certificate", columns, "waits <> 'nobody'")
    op.create_index(
        "ix_certificate_partner_state_changed_at", "certificate", ["partner", "state", "changed_at", "key"]
    )
    op.add_column("api_key", *_maybe("person"))
    op.create_table(
        "draft",
        _counter(),
        *_string("at", "changed_at", "author", "person", "type", "recipient"),
        *_maybe("certificate", "because"),
        _text("body"),
        *_string("state"),
        *_maybe("closed_at", "closed_by", "closed_because"),
        _text("documents", nullable=True),
        _key("draft", "seq"),
        sa.UniqueConstraint("because", name=op.f("uq_draft_because")),
    )
    _partial_index("ix_draft_open", "draft", ["seq"], "state = 'open'")
    op.create_index("ix_draft_state_seq", "draft", ["state", "seq"])
    op.create_index("ix_draft_certificate_seq", "draft", ["certificate", "seq"])
    op.create_table(
        "number", *_string("key", "number", "status", "at", "by"), *_maybe("note"), _key("number", "key")
    )
    op.create_table(
        "alerted",
        _counter(),
        *_string("document_id", "partner", "kind", "series"),
        _big("first"),
        _big("last"),
        _big("reach"),
        *_string("valid_from"),
        *_maybe("withdrawn_at"),
        _key("alerted", "seq"),
    )
    op.create_index("ix_alerted_document_id_partner", "alerted", ["document_id", "partner"])
    in_force = "withdrawn_at IS NULL"
    _partial_index("ix_alerted_in_force", "alerted", ["series", "reach", "first"], in_force)
    _partial_index("ix_alerted_partner_in_force", "alerted", ["partner", "seq"], in_force)
    says = ["partner", "series", "first", "last", "kind", "valid_from", "withdrawn_at", "seq"]
    op.create_index("ix_alerted_says", "alerted", says)
    op.create_table(
        "file",
        *_string("digest"),
        _big("size"),
        _big("held"),
        *_string("added_at"),
        *_maybe("wanted_from", "wanted_for", "problem"),
        _key("file", "digest"),
    )
    op.create_table(
        "file_part",
        *_string("digest"),
        _big("start"),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        _key("file_part", "digest", "start"),
    )
    _keep()


def _keep() -> None:
    columns = f"UPDATE OF {', '.join(KEPT)}"
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER document_is_never_changed")
        op.execute(
            f"CREATE TRIGGER document_is_never_changed BEFORE {columns} ON document "
            "BEGIN SELECT RAISE(ABORT, 'document: signed records are never changed'); END"
        )
    else:
        op.execute("DROP TRIGGER document_is_never_changed ON document")
        op.execute(
            f"CREATE TRIGGER document_is_never_changed BEFORE {columns} OR DELETE ON document "
            "FOR EACH ROW EXECUTE FUNCTION kp_never()"
        )
