"""A policy on its way: from the settings into the key record, into the running node, and into the partner's."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, text

from kpmsg.keys import SoftwareSigner
from kpnode import setup
from kpnode.assembly import introduce
from kpnode.control import operate
from kpnode.home import Home
from kpnode.node import Node
from kpnode.operator import OperatorError
from kpnode.settings import Settings
from kpnode.store import numbers
from kpnode.store import tables as t
from kpnode.store.database import connect
from kpnode.throwaway import Postgres
from tests.exchange import Keys, submit, trade
from tests.integration.test_assembly import Land, started

DAY = date(2026, 3, 2)
LOOSE: dict[str, Any] = {"letters": "BW", "leading_zeros": "padding", "valid_from": "2020-01-01"}


def number(key: str) -> dict[str, str]:
    """What an authority has noted of a number."""
    return {"key": key, "number": key, "status": "issued", "at": "2026", "by": "erp"}


def next_record(settings: Settings) -> str:
    """What `kpnode record --new-version` hands to the node."""
    identity = SoftwareSigner.load(Home(settings.home).key("identity"), setup.secret(settings))
    records, keys = setup.load_records(settings), setup.load_keys(settings)
    return setup.next_record(settings, records[-1], identity, keys, datetime.now(UTC)).decode()


async def test_both_running_nodes_go_by_a_policy_as_soon_as_it_is_published(tmp_path: Path) -> None:
    rule = {"what": "query", "days": 2, "valid_from": "2020-01-01"}
    local = {"standing": [{"participant": "XX", "standing": "suspended", "valid_from": "2020-01-01"}]}
    land = Land("BW", tmp_path / "BW")
    bw, ae = land.settings(), Land("AE", tmp_path / "AE").settings()
    await introduce(bw, ae)
    changed = Settings(**{**dict(bw), "policy": {"deadlines": [rule]}, "local": local})
    async with started(changed, ae) as (one, other):
        both = (one.node.practice, other.node.practice)
        assert [each.due("BW", "query", DAY).day for each in both] == [16, 16]
        await operate(changed, "record-publish", record=next_record(changed))
        assert [each.due("BW", "query", DAY).day for each in both] == [4, 16]
        await operate(ae, "partner-update", record=setup.load_records(bw)[-1].raw.decode())
        assert [each.due("BW", "query", DAY).day for each in both] == [4, 4]
        assert [len(each.local.standing) for each in both] == [1, 0]
    async with started(changed, ae) as (one, other):  # and after a restart, from the database
        assert one.node.practice.due("BW", "query", DAY) == date(2026, 3, 4)
        assert other.node.practice.due("BW", "query", DAY) == date(2026, 3, 4)


async def test_no_record_may_read_numbers_otherwise_that_have_been_exchanged(tmp_path: Path) -> None:
    """They would not be found any more, and their claims would protect them no longer."""
    bw, ae = Land("BW", tmp_path / "BW").settings(), Land("AE", tmp_path / "AE").settings()
    await introduce(bw, ae)
    series = {"letters": "BW", "digits": 6, "valid_from": "2020-01-01"}
    padded = Settings(**{**dict(bw), "policy": {"numbers": [series | {"leading_zeros": "padding"}]}})
    loose = Settings(**{**dict(bw), "policy": {"numbers": [LOOSE]}})
    async with started(bw, ae) as (one, other):
        sent = await submit(one.node, trade().notification(1))  # BW 000002
        assert await one.node.received([sent], 10)
        for settings, record in ((bw, next_record(loose)), (ae, next_record(loose))):
            verb = "record-publish" if settings is bw else "partner-update"
            with pytest.raises(OperatorError, match="leading zeros"):
                await operate(settings, verb, record=record)
        for each in (one, other):
            assert each.node.practice.key("BW 000002") == "BW000002"
        await operate(bw, "record-publish", record=next_record(padded))  # it reads what is here as before
        assert one.node.practice.key("BW 2") == "BW000002"


async def test_a_number_that_comes_while_a_record_is_taken_in_is_asked_about_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bw, ae = Land("BW", tmp_path / "BW").settings(), Land("AE", tmp_path / "AE").settings()
    await introduce(bw, ae)
    loose = Settings(**{**dict(bw), "policy": {"numbers": [LOOSE]}})
    async with started(bw, ae) as (one, other):
        read: list[tuple[str, str]] = []

        def meanwhile(node: Node, coming: list[str]) -> None:
            write = node.database.write

            async def after_another(change: Any) -> Any:
                if rows := [number(coming.pop())] if coming else []:
                    await write(lambda c: c.execute(insert(t.number), rows))

                def watched(connection: Connection) -> Any:
                    before = node.practice.key("BW 000012")
                    result = change(connection)
                    read.append((before, node.practice.key("BW 000012")))
                    return result

                return await write(watched)

            monkeypatch.setattr(node.database, "write", after_another)

        record = next_record(loose)
        meanwhile(other.node, ["BW000012"])
        with pytest.raises(OperatorError, match=r"leading zeros.*BW000012"):
            await operate(ae, "partner-update", record=record)
        assert other.node.practice.key("BW 000012") == "BW000012"
        meanwhile(one.node, [])
        await operate(bw, "record-publish", record=record)
        assert ("BW000012", "BW12") in read, "whatever is filed next is filed as the new record reads it"


def test_numbers_are_found_in_whatever_order_a_database_puts_letters(postgres: Postgres) -> None:
    """Where letters are compared as in a dictionary, digits and capitals lie elsewhere among them."""
    name = f"dictionary_{uuid.uuid4().hex[:12]}"
    engine = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        words = f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        connection.execute(text(words))
    engine.dispose()
    engine = connect(postgres.url(name), writer=True)
    t.metadata.create_all(engine)
    following = Keys("BW", policy={"numbers": [LOOSE]}).record().record
    with engine.begin() as connection:
        assert connection.execute(text("SELECT 'BW1' > 'BW['")).scalar() is True
        numbers.must_read_alike(connection, "AE", following)
        connection.execute(insert(t.number), [number("BW000012")])
        with pytest.raises(numbers.ReadOtherwiseError, match="BW000012"):
            numbers.must_read_alike(connection, "AE", following)
    engine.dispose()
    postgres.drop_database(name)
