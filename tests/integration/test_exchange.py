"""A document's way through two whole nodes, and everything that may happen to it on the way.

Real databases (both kinds where it matters), real signatures; the wire is memory so that it can fail to the frame.
"""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from kpmsg import case, documents, frames, jws
from kpmsg.documents import Document
from kpmsg.errors import DraftError
from kpnode.node import Node
from kpnode.store import cases
from kpnode.store import tables as t
from kpnode.store.submissions import ClaimedError, KeyReusedError, PartnerUnknownError
from kpnode.throwaway import Postgres
from kpnode.transports import Outcome
from kpnode.transports.memory import DOUBLED, FAIR, LOST, UNHEARD, Weather, refused
from tests.exchange import Stage, confirmation, stage, submit, trade, until


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[str, str]]:
    """Addresses and database URLs of Botswana and the United Arab Emirates."""
    if request.param == "sqlite":
        return [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    server: Postgres = request.getfixturevalue("postgres")
    return [(a, server.create_database(f"{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")]


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, str]]:
    return [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]


async def rows(node: Node, direction: str | None = None) -> list[Any]:
    query = select(t.document).order_by(t.document.c.seq)
    if direction is not None:
        query = query.where(t.document.c.direction == direction)
    return list(await node.database.read(lambda c: c.execute(query).all()))


async def states(node: Node) -> dict[str, str]:
    found = await node.database.read(
        lambda c: c.execute(select(t.certificate.c.key, t.certificate.c.state)).all()
    )
    return {row.key: row.state for row in found}


async def incidents(node: Node) -> list[str]:
    query = select(t.incident.c.kind).order_by(t.incident.c.seq)
    return list(await node.database.read(lambda c: c.execute(query).scalars().all()))


async def read(node: Node, document_id: str) -> Document:
    raw = await node.database.read(
        lambda c: c.execute(select(t.document.c.raw).where(t.document.c.id == document_id)).scalar_one()
    )
    return documents.parse(jws.peek(raw).unverified_payload)


async def confirm(play: Stage, notification_id: str, fewer: Decimal | None = None) -> str:
    importer = play.sites["AE"].running
    document = await read(importer, notification_id)
    return await submit(importer, confirmation(document, notification_id, fewer_carats=fewer))


async def test_a_notification_is_received_and_confirmed(pair: list[tuple[str, str]]) -> None:
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        sent = await submit(bw, trade().notification(1))
        assert await bw.received([sent], 10)
        assert [(row.id, row.direction) for row in await rows(ae)] == [(sent, "in")]
        assert list((await states(ae)).values()) == ["notified"]
        back = await confirm(play, sent)
        assert await ae.received([back], 10)
        assert list((await states(bw)).values()) == ["confirmed"] == list((await states(ae)).values())


async def test_a_test_has_no_effect_at_a_partner_where_all_is_real(files: list[tuple[str, str]]) -> None:
    """Though neither operator should have let the other in."""
    async with stage(*files, testers=["BW"]) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        with pytest.raises(DraftError) as caught:
            await submit(bw, trade().notification(1))
        assert [each.code for each in caught.value.problems if each.severity == "reject"] == ["S08"]
        bw.practice.publish("AE", None, testing=True)  # a node that does not ask
        sent = await submit(bw, trade().notification(1), "again")
        assert await bw.received([sent], 10)
        await until(lambda: ae.answering.held == 0 and bw.counts["documents", "admitted"] == 1)
        assert list((await states(ae)).values()) == ["rejected"] == list((await states(bw)).values())


async def test_many_at_once_are_each_received_once_and_both_sides_agree(pair: list[tuple[str, str]]) -> None:
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        shipments = trade()
        ids = await asyncio.gather(
            *(submit(bw, shipments.notification(n), f"key-{n}") for n in range(1, 151))
        )
        assert await bw.received(ids, 30)
        assert sorted(row.id for row in await rows(ae)) == sorted(ids)
        held = await ae.database.read(lambda c: c.execute(select(t.partner)).one())
        known = await bw.database.read(lambda c: c.execute(select(t.partner)).one())
        assert (
            (held.held_size, held.held_head) == (known.known_size, known.known_head) == (150, held.held_head)
        )
        commits = bw.database.commits
        assert commits < 150 + 60, f"{commits} commits: submissions did not share transactions"


async def test_a_lossy_doubling_wire_neither_loses_nor_doubles(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        pattern = itertools.cycle([LOST, DOUBLED, FAIR, UNHEARD, Weather(delay=0.05), refused(Outcome.FULL)])
        for site in play.sites.values():
            site.plan = lambda _n, _frame: next(pattern)
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        shipments = trade()
        for n in range(1, 13):
            await submit(bw, shipments.notification(n))
            await asyncio.sleep(0.01)
        for site in play.sites.values():
            await asyncio.sleep(0.1)
            site.plan = lambda _n, _frame: FAIR
        for node, other in ((bw, "AE"), (ae, "BW")):
            node.retry(other)
        await until(lambda: len(bw.peers["AE"].schedule) == 0, 90)
        assert len(await rows(ae)) == 12 == len(await states(ae))
        assert await incidents(bw) == [] == await incidents(ae)


async def test_the_same_key_and_body_is_one_document_and_another_body_is_refused(
    pair: list[tuple[str, str]],
) -> None:
    async with stage(*pair) as play:
        bw = play.sites["BW"].running
        draft = trade().notification(1)
        outcomes = await asyncio.gather(*(submit(bw, draft, "one-key") for _ in range(20)))
        assert len(set(outcomes)) == 1
        assert len(await rows(bw)) == 1
        with pytest.raises(KeyReusedError):
            await submit(bw, trade().notification(2), "one-key")


async def test_a_number_is_notified_once(pair: list[tuple[str, str]]) -> None:
    async with stage(*pair) as play:
        bw = play.sites["BW"].running
        first = await submit(bw, trade().notification(1), "a")
        with pytest.raises(ClaimedError) as taken:
            await submit(bw, trade().notification(1), "b")
        assert taken.value.document_id == first
        assert len(await rows(bw)) == 1


async def test_a_submission_is_all_or_nothing(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        bw = play.sites["BW"].running
        good, bad = trade().notification(1), trade().notification(2)
        bad["data"]["carats"] = "0.00"
        with pytest.raises(DraftError) as wrong:
            await bw.submit([good, bad], caller="test", key="k", digest="d")
        assert all(str(problem.pointer).startswith("/1/data/") for problem in wrong.value.problems)
        elsewhere = trade().notification(3) | {"recipient": "ZA"}
        elsewhere["data"]["destination"]["participant"] = "ZA"
        with pytest.raises(PartnerUnknownError):
            await bw.submit([good, elsewhere], caller="test", key="k", digest="d")
        assert await rows(bw) == []
        assert await states(bw) == {}


async def test_an_unknown_number_is_answered_by_a_signed_rejection(pair: list[tuple[str, str]]) -> None:
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        draft = confirmation(await read(bw, await submit(bw, trade().notification(1))), "0" * 64)
        draft["data"]["certificate"]["number_raw"] = "BW 999999"
        draft["data"]["notification"] = None
        forged = await submit(ae, draft)
        await until(lambda: bw.counts["documents", "submitted"] == 2)
        assert await bw.received([(await rows(bw, "out"))[-1].id], 10)
        answer = await read(ae, (await rows(ae, "in"))[-1].id)
        assert answer.name == "rejection"
        assert isinstance(answer.data, documents.Rejection)
        assert answer.data.refers_to == forged
        assert (await states(ae))["BW999999"] == "suspected-counterfeit"
        assert (await states(bw))["BW999999"] == "suspected-counterfeit"
        assert "rule-I01" in await incidents(bw)


async def test_a_restored_importer_is_sent_what_it_has_forgotten(
    files: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with stage(*files) as play:
        bw, site = play.sites["BW"].running, play.sites["AE"]
        shipments = trade()
        ids = [await submit(bw, shipments.notification(n)) for n in range(1, 4)]
        assert await bw.received(ids, 10)
        play.backup(site, tmp_path / "copy.db")
        later = [await submit(bw, shipments.notification(n)) for n in range(4, 8)]
        assert await bw.received(later, 10)
        own = await confirm(play, later[0])
        assert await site.running.received([own], 10)
        await play.stop(site)
        play.restore(site, tmp_path / "copy.db")
        ae = await play.start(site)
        bw.retry("AE")
        await until(
            lambda: ae.counts["documents", "admitted"] == 4 and ae.counts["documents", "taken-back"] == 1, 30
        )
        await until(lambda: len(bw.peers["AE"].schedule) == 0, 30)
        assert {row.id for row in await rows(ae)} == {*ids, *later, own}
        assert sorted((await states(ae)).values()) == sorted((await states(bw)).values())
        assert await incidents(bw) == ["register-shorter"]


async def test_a_restored_exporter_takes_its_documents_back_and_withholds_a_reused_number(
    files: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with stage(*files) as play:
        site, ae = play.sites["BW"], play.sites["AE"].running
        play.backup(site, tmp_path / "copy.db")
        first = await submit(site.running, trade().notification(1))
        assert await site.running.received([first], 10)
        await play.stop(site)
        play.restore(site, tmp_path / "copy.db")
        play.sites["AE"].plan = lambda _n, _frame: (
            LOST
        )  # no answer yet: the node cannot know what it has forgotten
        bw = await play.start(site)
        again = await submit(bw, trade(seed=2).notification(1))  # the same number for another shipment
        await asyncio.sleep(0.3)
        assert [row.id for row in await rows(ae, "in")] == [first], (
            "it was sent before the first status exchange"
        )
        play.sites["AE"].plan = lambda _n, _frame: FAIR
        bw.retry("AE")
        await until(lambda: bw.counts["documents", "taken-back"] == 1, 30)
        found = {row.id: row.withheld for row in await rows(bw, "out")}
        assert found[first] is None
        assert first in found[again]
        assert [row.id for row in await rows(ae, "in")] == [first]
        assert await incidents(bw) == ["withheld", "restored"]


async def test_a_poisonous_document_spoils_only_itself(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        sent = await submit(bw, trade().notification(1))
        assert await bw.received([sent], 10)
        good = (await rows(bw, "out"))[0].raw
        bad = good[:-20] + b"AAAA" + good[-16:]
        replies = await ae.receive(
            "BW", [frames.encode_documents([bad, good], "BW", "AE"), b"\xff\x00 garbage"]
        )
        names = [frames.decode(reply).name for reply in replies]
        assert sorted(names) == ["receipt", "refusal", "refusal"]
        kept = await ae.database.read(lambda c: c.execute(select(t.quarantine.c.code)).scalars().all())
        assert set(kept) == {"sig-invalid", "json-encoding"}
        assert len(await rows(ae)) == 1
        assert await bw.receive("AE", replies) == []


async def test_effects_that_fail_three_times_are_set_aside(
    files: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        shipments = trade()
        real = case.fold

        def failing(key: str, filed: Any, practice: Any) -> Any:
            filed = list(filed)
            if any(
                i.document.recipient == "AE" and i.document.data.certificate.key == poisoned for i in filed
            ):
                raise ZeroDivisionError
            return real(key, filed, practice)

        draft = shipments.notification(1)
        poisoned = documents.certificate_key(draft["data"]["certificate"]["number_raw"])
        bad, good = await submit(bw, draft), await submit(bw, shipments.notification(2))
        assert await bw.received([bad, good], 10)
        raws = [row.raw for row in await rows(bw, "out")]
        await play.stop(play.sites["BW"])
        wiped = ae.database
        await wiped.write(
            lambda c: [
                c.exec_driver_sql(f"DELETE FROM {name}") for name in ("document", "entry", "certificate")
            ]
        )
        await wiped.write(lambda c: c.execute(t.partner.update().values(held_size=0, held_head="00" * 32)))
        monkeypatch.setattr(cases, "fold", failing)
        delivery = [frames.encode_documents(raws, "BW", "AE")]
        for attempt in range(3):
            await ae.receive("BW", delivery)
            assert len(await rows(ae, "in")) == (1 if attempt < 2 else 2), "the good one is not held up"
        locked = await ae.database.read(lambda c: c.execute(select(t.certificate.c.locked)).scalars().all())
        assert sum(why is not None for why in locked) == 1
        assert "set-aside" in await incidents(ae)


async def test_a_second_process_is_refused_the_database(pair: list[tuple[str, str]]) -> None:
    from kpnode.store.database import Database, StoreOwnedError

    async with stage(*pair) as play:
        second = Database(play.sites["BW"].url)
        with pytest.raises(StoreOwnedError):
            await second.start()
        await second.close()


async def test_frames_of_another_sender_are_refused(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        ae = play.sites["AE"].running
        replies = await ae.receive("BW", [frames.Frame("documents", "ZA", "AE", (b"{}",)).encode()])
        assert [frames.decode(reply).name for reply in replies] == ["refusal"]
        count = await ae.database.read(
            lambda c: c.execute(select(func.count()).select_from(t.quarantine)).scalar()
        )
        assert count == 1
        assert await rows(ae) == []


async def test_a_rejected_notification_may_be_sent_again_corrected(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        draft = trade().notification(1)
        first = await submit(bw, draft, "a")
        assert await bw.received([first], 10)
        refusal = {
            "type": "rejection",
            "recipient": "BW",
            "subject": documents.certificate_key(draft["data"]["certificate"]["number_raw"]),
            "data": {
                "refers_to": first,
                "reasons": [{"code": "P03", "severity": "reject", "text": "No approval."}],
            },
        }
        assert await ae.received([await submit(ae, refusal)], 10)
        assert list((await states(bw)).values()) == ["rejected"] == list((await states(ae)).values())
        again = await submit(bw, draft, "b")
        assert await bw.received([again], 10)
        assert list((await states(bw)).values()) == ["notified"] == list((await states(ae)).values())
        assert await incidents(ae) == []
