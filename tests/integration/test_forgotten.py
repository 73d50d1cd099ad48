"""Numbers that nobody issued: told at once, whoever is away; and never by a node that may have forgotten what it issued.

Three nodes as in test_exchange.py, one of which is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from kpmsg import documents
from kpmsg.case import State
from kpmsg.errors import DraftError, Problem
from kpmsg.rules import breach
from kpnode.api import build_app
from kpnode.node import Node
from kpnode.store import answers, cases, partners
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.store.mark import AHEAD
from kpnode.throwaway import Postgres
from kpnode.transports.memory import FAIR, LOST
from tests.exchange import Stage, stage, submit, trade, until
from tests.integration.test_conversation import case, say, until_case

NAMES = ("BW", "AE", "ZA")
STRANGE = "BW 777777"
KEY = "BW777777"


def query(number: str = STRANGE) -> dict[str, Any]:
    data = {"certificate": {"number_raw": number, "issuer": "BW", "kind": "kp"}, "carats": "5.00"}
    return {"type": "certificate-query", "recipient": "BW", "data": data}


async def speak(node: Node, how: str) -> None:
    """AE speaks of a number that nobody issued."""
    if how == "query":
        await submit(node, query())
    else:
        typed = {"number_raw": STRANGE, "issuer": "BW", "kind": "kp"}
        await say(node, "import-confirmation", {"/certificate": typed, "/notification": None})


@pytest.fixture(params=["sqlite", "postgresql"])
async def three(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Three authorities that know one another; then the machine of ZA is switched off."""
    if request.param == "sqlite":
        urls = [(a, f"sqlite:///{tmp_path / a}.db") for a in NAMES]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        urls = [(a, server.create_database(f"gone_{a.lower()}_{abs(hash(tmp_path))}")) for a in NAMES]
    async with stage(*urls, marks=tmp_path) as play:
        await known_to_all(play)
        await play.stop(play.sites["ZA"])
        yield play


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in NAMES), marks=tmp_path) as play:
        await known_to_all(play)
        await play.stop(play.sites["ZA"])
        yield play


async def known_to_all(play: Stage) -> None:
    for site in play.sites.values():
        node = site.running
        await until(lambda n=node: all(p.conversation.ready for p in n.peers.values()))  # type: ignore[misc]
        node.reconsider()
        await until(lambda n=node: n.database.sure)  # type: ignore[misc]
    await submit(play.sites["BW"].running, trade().notification(1))
    await submit(play.sites["BW"].running, trade(importer="ZA").notification(7))
    await until_case(play.sites["AE"].running, lambda c: c["state"] == "notified")
    await until_case(play.sites["ZA"].running, lambda c: c["state"] == "notified", "BW000008")


async def again(play: Stage) -> Node:
    """BW's process is killed and started again."""
    await play.stop(play.sites["BW"])
    node = await play.start(play.sites["BW"])
    await until(lambda: node.peers["AE"].conversation.ready)
    return node


async def findings(node: Node) -> list[str]:
    def read(connection: Any) -> list[str]:
        raws = connection.execute(select(t.document.c.raw).where(t.document.c.direction == "out")).scalars()
        said = [cases._read("", raw).data for raw in raws]
        cases._read.cache_clear()
        return [d.finding for d in said if isinstance(d, documents.CertificateAnswer)]

    return await node.database.read(read)


async def alarms(node: Node) -> dict[str, bool]:
    """Incidents by kind, and whether each is open."""
    rows = await node.database.read(
        lambda c: c.execute(select(t.incident.c.kind, t.incident.c.closed_at)).all()
    )
    return {row.kind: row.closed_at is None for row in rows}


async def client(node: Node) -> httpx.AsyncClient:
    key = await node.database.write(lambda c: create_caller(c, "officer", tuple(Scope), node.stamp()))
    transport = httpx.ASGITransport(build_app(node))
    return httpx.AsyncClient(
        transport=transport, base_url="http://n", headers={"Authorization": f"Bearer {key}"}
    )


async def until_held(officer: httpx.AsyncClient, wanted: dict[str, int]) -> None:
    """Who asked is waited for, too, but only until it has answered once more."""
    shown: dict[str, int] = {}
    for _ in range(400):
        queues = (await officer.get("/v1/queues")).json()["queues"]
        shown = {q["partner"]: q["answers_held"] for q in queues}
        if shown == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(shown)


@pytest.mark.parametrize("how", ["query", "confirmation"])
async def test_a_number_that_nobody_issued_is_told_at_once_though_a_partner_is_away(
    three: Stage, how: str
) -> None:
    bw = await again(three)
    ae = three.sites["AE"].running
    await speak(ae, how)
    await until_case(ae, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)
    assert not bw.peers["ZA"].conversation.ready
    assert await alarms(bw) == {"number-not-known": False, "rule-I01": True}
    assert "suspected-counterfeit" in await alarms(ae)


@pytest.mark.parametrize("how", ["query", "confirmation"])
async def test_until_it_is_certain_the_answer_is_held_and_an_officer_is_told_at_once_for_whom_it_waits(
    away: Stage, how: str
) -> None:
    mark = away.sites["BW"].mark
    assert mark is not None
    await away.stop(away.sites["BW"])
    mark.unlink()  # the machine was started anew
    bw = await again(away)
    ae = away.sites["AE"].running
    await speak(ae, how)
    await until(lambda: bw.answering.held == 1)
    assert await alarms(bw) == {"number-not-known": True}
    async with await client(bw) as officer:
        await until_held(officer, {"AE": 0, "ZA": 1})
        await bw.pause("ZA", "They have a power cut.")
        await until_case(ae, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)
        await until_held(officer, {"AE": 0, "ZA": 0})
    assert await alarms(bw) == {"number-not-known": False, "rule-I01": True}
    bw = await again(away)
    assert bw.database.sure, "it has been settled: the next start need not ask again"


async def test_an_answer_waits_for_its_asker_to_answer_once_more_and_that_is_said(away: Stage) -> None:
    bw, ae = away.sites["BW"].running, away.sites["AE"].running
    assert bw.database.sure
    away.sites["BW"].plan = lambda _n, _frame: LOST
    await submit(ae, query())
    await until(lambda: bw.answering.held == 1)
    async with await client(bw) as officer:
        await until_held(officer, {"AE": 1, "ZA": 0})
    assert bw.answering.state() == {"answers": 1, "for": [], "asked": ["AE"]}
    away.sites["BW"].plan = lambda _n, _frame: FAIR
    bw.retry("AE")
    await until_case(ae, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)
    assert bw.answering.state() == {"answers": 0, "for": [], "asked": []}


async def test_an_answer_that_is_refused_here_stays_owed(
    away: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bw, ae = away.sites["BW"].running, away.sites["AE"].running

    async def refusing(_: Any) -> Any:
        raise DraftError([Problem("A07", "as it happens", "", "reject")])

    with monkeypatch.context() as now:
        now.setattr(bw.answering, "_commit", refusing)
        await submit(ae, query())
        await until(lambda: bw.counts["failed", "answers"] > 0)
        assert (await alarms(bw))["number-not-known"]
    bw.reconsider()
    await until_case(ae, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)


async def test_what_is_said_beyond_the_limit_is_owed_nothing_and_raises_no_alarm_of_its_own(
    away: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MOST_FILED", 1)
    bw, ae = away.sites["BW"].running, away.sites["AE"].running
    await submit(ae, query())
    await until_case(ae, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)
    again = await submit(ae, query() | {"data": query()["data"] | {"carats": "6.00"}})
    assert await ae.received([again], 10)
    kinds = await bw.database.read(lambda c: c.execute(select(t.incident.c.kind)).scalars().all())
    assert (kinds.count("number-not-known"), kinds.count("too-many")) == (1, 1)
    owed = select(t.document.c.answer).where(t.document.c.id == again)
    assert await bw.database.read(lambda c: c.execute(owed).scalar_one()) is None
    assert bw.counts["failed", "answers"] == 0
    assert await findings(bw) == ["unknown"]


async def test_a_rejection_for_other_reasons_too_does_not_call_a_number_unknown_before_it_is_certain(
    away: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = away.sites["BW"].mark
    assert mark is not None
    await away.stop(away.sites["BW"])
    mark.unlink()
    bw, ae, judged = await again(away), away.sites["AE"].running, cases.said_against

    def more(*args: Any) -> list[Problem]:
        """What AE's own node would not have let through."""
        wrong = [breach("A06", "not-the-author", "/data/supersedes")] if args[1].source == "AE" else []
        return [*judged(*args), *wrong]

    for module in (cases, answers):
        monkeypatch.setattr(module, "said_against", more)
    await speak(ae, "confirmation")
    await until(lambda: bw.answering.held == 1)
    await bw.pause("ZA", "They have a power cut.")
    await until_case(ae, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)


async def test_a_removed_partner_is_waited_for_no_more(away: Stage) -> None:
    mark = away.sites["BW"].mark
    assert mark is not None
    await away.stop(away.sites["BW"])
    mark.unlink()
    bw = await again(away)
    await submit(away.sites["AE"].running, query())
    await until(lambda: bw.answering.held == 1)
    await bw.database.write(lambda c: partners.remove_partner(c, "ZA", bw.stamp()))
    await bw.detach("ZA")
    await until_case(away.sites["AE"].running, lambda c: c["state"] == State.SUSPECTED_COUNTERFEIT, KEY)


@pytest.mark.parametrize("returns", [True, False])
async def test_a_restored_node_calls_none_of_its_own_certificates_a_counterfeit(
    away: Stage, tmp_path: Path, returns: bool
) -> None:
    """What ZA holds comes back with ZA, and until then nothing is denied; what was recorded here alone needs an officer."""
    site, ae = away.sites["BW"], away.sites["AE"].running
    await away.start(away.sites["ZA"])
    away.backup(site, tmp_path / "copy.db")
    lost = await submit(site.running, trade(importer="ZA").notification(8))
    await until_case(away.sites["ZA"].running, lambda c: c["state"] == "notified", "BW000009")
    await away.stop(away.sites["ZA"])
    async with await client(site.running) as clerk:
        await clerk.post("/v1/numbers", json=[{"number": "BW 000777", "status": "issued"}])
    await away.stop(site)
    away.restore(site, tmp_path / "copy.db")
    bw = await away.start(site)
    await until(lambda: bw.peers["AE"].conversation.ready)
    assert (await alarms(bw))["restored"]
    [text] = await bw.database.read(
        lambda c: c.execute(select(t.incident.c.text).where(t.incident.c.kind == "restored")).scalars().all()
    )
    assert AHEAD in text
    for number in ("BW 000009", "BW 000777"):
        await submit(ae, query(number))
    if returns:
        await away.start(away.sites["ZA"])
        await until_case(bw, lambda c: c.get("state") == "notified", "BW000009")
    else:
        await bw.pause("ZA", "They have a power cut.")
    await until(lambda: bw.answering.held == (1 if returns else 2))
    await asyncio.sleep(0.3)
    assert "unknown" not in await findings(bw)
    async with await client(bw) as clerk:
        await clerk.post("/v1/numbers", json=[{"number": "BW 000777", "status": "issued"}])
        await until(lambda: bw.answering.held == (0 if returns else 1))
        assert "unknown" not in await findings(bw), f"{lost} may be with ZA"
        [incident] = [
            i for i in (await clerk.get("/v1/incidents")).json()["incidents"] if i["kind"] == "restored"
        ]
        await submit(ae, query("BW 000555"))
        await until(lambda: bw.answering.held == (1 if returns else 2))
        await clerk.post(
            f"/v1/incidents/{incident['id']}/close", json={"reason": "All numbers are entered again."}
        )
        await until_case(ae, lambda c: c.get("state") == State.SUSPECTED_COUNTERFEIT, "BW000555")


async def test_a_number_that_is_recorded_late_is_answered_without_waiting_for_anybody(away: Stage) -> None:
    mark = away.sites["BW"].mark
    assert mark is not None
    await away.stop(away.sites["BW"])
    mark.unlink()
    bw = await again(away)
    await submit(away.sites["AE"].running, query())
    await until(lambda: bw.answering.held == 1)
    async with await client(bw) as clerk:
        await clerk.post("/v1/numbers", json=[{"number": STRANGE, "status": "stolen"}])
    await until(lambda: bw.answering.held == 0)
    assert await findings(bw) == ["stolen"]
    assert await case(bw, KEY)
    assert await alarms(bw) == {"number-not-known": False}
