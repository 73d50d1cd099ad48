"""A policy on its way: from the settings into the key record, into the running node, and into the partner's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from kpmsg.keys import SoftwareSigner
from kpnode import setup
from kpnode.assembly import introduce
from kpnode.control import operate
from kpnode.home import Home
from kpnode.settings import Settings
from tests.integration.test_assembly import Land, started

DAY = date(2026, 3, 2)


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
