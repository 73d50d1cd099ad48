"""Requests that nobody sends by accident are refused on both databases alike, and are nobody's failure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kpnode.throwaway import Postgres
from tests.api import Office, office


@pytest.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    if request.param == "sqlite":
        pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        pair = [(a, server.create_database(f"odd_{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")]
    async with office(*pair) as there:
        yield there


async def test_a_null_character_is_refused_and_never_asked_of_the_database(desk: Office) -> None:
    """PostgreSQL takes none in a text; what SQLite answers by an empty list must not be a failure there."""
    client = await desk.client()
    refused = [
        "/v1/documents?partner=B%00",
        "/v1/documents?type=B%00",
        "/v1/documents?certificate=BW%000",
        "/v1/certificates?partner=%00",
        "/v1/drafts?certificate=%00",
        "/v1/alerts?issuer=%00",
        "/v1/worklist?partner=%00",
        "/v1/incidents?partner=%00",
    ]
    unknown = [
        "/v1/documents/%00",
        "/v1/documents/%00/files",
        "/v1/certificates/BW%001",
        "/v1/certificates/BW%001/draft?type=message",
    ]
    answers = {path: (await client.get(path)).status_code for path in [*refused, *unknown]}
    code = (await client.get(refused[0])).status_code
    assert code < 500
    assert answers == dict.fromkeys(refused, code) | dict.fromkeys(unknown, 404)
