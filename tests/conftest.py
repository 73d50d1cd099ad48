"""What the tests stand on: real brokers and databases, started when the first test asks and gone with the process.

A unit test asks for none of them and pays nothing. Where RabbitMQ or PostgreSQL is not installed, tests that need it are
skipped on a developer's machine and fail in CI: a green run there means that they ran.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import structlog

from kpnode.throwaway import Broker, Postgres, find_broker_binary, find_postgres_binaries, free_ports


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """A test that sets up logging writes to a standard error that is closed after it; the next one must not."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def _shared_broker() -> Iterator[Broker]:
    if find_broker_binary() is None:
        _not_installed("RabbitMQ")
    with Broker(plugins=["rabbitmq_management"]) as running:
        yield running


@pytest.fixture
def broker(_shared_broker: Broker) -> Iterator[Broker]:
    """A plain broker with the management API, shared by all tests of this process: each finds it new, and need not tidy up.

    Tests that kill, freeze or fill a broker boot their own.
    """
    yield _shared_broker
    with _management(_shared_broker) as api:
        for kind, keep in (("vhosts", "/"), ("users", "guest")):
            for name in {each["name"] for each in api.get(kind).raise_for_status().json()} - {keep}:
                api.delete(f"{kind}/{quote(name, '')}").raise_for_status()


@pytest.fixture
def vhost(broker: Broker) -> str:
    """The AMQP URL of a fresh, empty vhost on `broker`, as its administrator."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with _management(broker) as api:
        api.put(f"vhosts/{name}", json={}).raise_for_status()
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        api.put(f"permissions/{name}/guest", json=everything).raise_for_status()
    return broker.url(vhost=name)


def _management(broker: Broker) -> httpx.Client:
    base = f"http://127.0.0.1:{broker.management_port}/api/"
    return httpx.Client(base_url=base, auth=("guest", "guest"), timeout=30, trust_env=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests of this process."""
    if find_postgres_binaries() is None:
        _not_installed("PostgreSQL")
    with Postgres() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database, once of each kind: the same test runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kpnode.db'}"
    url = request.getfixturevalue("postgres_url")
    assert isinstance(url, str)
    return url


def _not_installed(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed, and CI must not skip what needs it")
    pytest.skip(f"{what} is not installed")
