"""Runs inside Alembic: on the connection, and in the transaction, that `kpnode.migrations.migrate` has opened."""

from alembic import context

from kpnode.store import tables

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run through `kpnode init` and `kpnode run`, on the database of the settings")

# Alembic believes that SQLite cannot undo DDL. It can; Python's driver could not while it opened transactions by itself.
context.configure(connection=connection, target_metadata=tables.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
