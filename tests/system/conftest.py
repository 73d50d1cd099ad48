"""Fixtures of the tests on the real stack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kpnode.throwaway import Broker, Postgres
from tests.system.stack import Stack, stack


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> Postgres | None:
    """Where databases are: a PostgreSQL server, or None for SQLite files. Ask for one kind by indirect parameters."""
    if request.param == "sqlite":
        return None
    running = request.getfixturevalue("postgres")
    assert isinstance(running, Postgres)
    return running


@pytest.fixture
async def pair(broker: Broker, server: Postgres | None) -> AsyncIterator[Stack]:
    """Two authorities that share the worker's broker, set up and not running."""
    async with stack((broker, broker), postgres=server) as built:
        yield built
