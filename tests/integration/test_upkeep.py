"""After an upgrade: what an older version made of documents is made anew, and nothing that fails stands in the way of the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select, update

from kpmsg import documents
from kpnode.node import Node
from kpnode.store import alerts, cases, incidents, upkeep
from kpnode.store import tables as t
from tests.api import office
from tests.exchange import stage, submit, trade, until
from tests.integration.test_alerts import alert, released
from tests.integration.test_conversation import wire_down


async def folded_by_an_older_version(node: Node) -> None:
    changed = update(t.meta).where(t.meta.c.name == "folded_by").values(value="0:")
    await node.database.write(lambda c: c.execute(changed))


async def test_one_certificate_that_cannot_be_folded_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else upkeep would begin again every second, for ever, with the writer as its prisoner."""
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as there:
        node = there.node
        for n in (1, 2, 3):
            await submit(node, trade().notification(n))
        first, bad, last = await node.database.read(
            lambda c: c.execute(select(t.certificate.c.key).order_by(t.certificate.c.key)).scalars().all()
        )
        fold = cases.__dict__["fold"]

        def poisoned(key: str, *rest: Any) -> Any:
            if key == bad:
                raise RecursionError
            return fold(key, *rest)

        monkeypatch.setattr(cases, "fold", poisoned)
        await folded_by_an_older_version(node)
        await node.database.write(lambda c: c.execute(update(t.certificate).values(case="{}")))
        with structlog.testing.capture_logs() as logs:
            await asyncio.wait_for(node.answering.fold_anew(), 10)
        assert not any(bad in str(line) for line in logs), "logs carry no numbers of certificates"
        rows = await node.database.read(
            lambda c: {
                row.key: (row.case != "{}", row.locked is not None)
                for row in c.execute(select(t.certificate))
            }
        )
        assert rows == {first: (True, False), bad: (False, True), last: (True, False)}
        assert await node.database.read(upkeep.is_current)
        told = await node.database.read(
            lambda c: c.execute(select(t.incident.c.kind, t.incident.c.certificate)).all()
        )
        assert told == [("set-aside", bad)]

        # An officer has looked at it: software touches it again, and locks it again if it fails again.
        locked = select(t.certificate.c.key).where(t.certificate.c.locked.is_not(None))
        await node.database.write(lambda c: incidents.close_incident(c, 1, "Neo", "Looked at.", node.stamp()))
        assert (await node.database.read(lambda c: c.execute(locked).all())) == []
        await folded_by_an_older_version(node)
        await asyncio.wait_for(node.answering.fold_anew(), 10)
        assert (await node.database.read(lambda c: c.execute(locked).scalars().all())) == [bad]

        monkeypatch.setattr(cases, "fold", fold)  # the upgrade that reads it
        await folded_by_an_older_version(node)
        await asyncio.wait_for(node.answering.fold_anew(), 10)
        assert (await node.database.read(lambda c: c.execute(locked).all())) == []
        case = select(t.certificate.c.case).where(t.certificate.c.key == bad)
        assert (await node.database.read(lambda c: c.execute(case).scalar())) != "{}"


async def test_an_alert_that_an_older_version_did_not_understand_is_in_force_after_the_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as play:
        bw, site = play.sites["BW"].running, play.sites["AE"]
        nodes = (bw, site.running)
        await until(lambda: all(p.conversation.ready for node in nodes for p in node.peers.values()))
        async with wire_down(play):
            await released(bw, alert(("BW 000001", "BW 000050")))
        with monkeypatch.context() as older:
            older.delitem(documents._FORMS, documents.Alert.type)
            cases._read.cache_clear()
            await until(lambda: site.running.counts["documents", "submitted"] == 1)
        cases._read.cache_clear()
        await folded_by_an_older_version(site.running)
        await play.stop(site)
        await play.start(site)
        await until(lambda: site.running.counts["documents", "submitted"] == 1)
        node = site.running
        assert await node.database.read(lambda c: alerts.under(c, ["BW000002"]))
        said = select(t.document.c.type).where(t.document.c.direction == "out").order_by(t.document.c.seq)
        types = await node.database.read(lambda c: c.execute(said).scalars().all())
        assert types == [documents.Rejection.type, documents.Withdrawal.type]
