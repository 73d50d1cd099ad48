"""What may go wrong beside an exchange: outcomes nobody knows, partners that leave or flood, requests that come again late.

Two or three whole nodes as in test_exchange.py. Every test here is about a state that no ordinary day brings about, and that must
still end well by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from kpmsg import case, documents, frames, jws
from kpmsg.errors import DraftError
from kpmsg.frames import Frame, Page, PageRequest, Refusal, StatusRequest
from kpmsg.register import NOTHING, Head, extend
from kpnode.inbox import Outcome
from kpnode.node import Node
from kpnode.release import FourEyes
from kpnode.store import answers, cases, partners
from kpnode.store import tables as t
from kpnode.store.database import Database, StoreUnavailableError
from kpnode.store.ledger import Effects
from kpnode.store.submissions import KeyReusedError
from kpnode.transports.memory import FAIR, LOST
from tests.exchange import Site, confirmation, stage, submit, trade, until

AT = "2026-11-02T08:00:00.000Z"
NONCE = "n" * 22


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, str]]:
    return [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]


def signed(site: Site, statement: Any, recipient: str) -> bytes:
    """A statement by the site's node key, as a frame."""
    name = frames.statement_name(statement)
    payload = frames.statement_payload(statement, site.address, recipient)
    line = jws.sign(payload, frames.TYP[name], [site.keys.node])
    return Frame(name, site.address, recipient, (line,)).encode()


def names(replies: list[bytes]) -> list[str]:
    return [frames.decode(reply).name for reply in replies]


async def column(node: Node, wanted: Any) -> list[Any]:
    return list(await node.database.read(lambda c: c.execute(select(wanted)).scalars().all()))


def losing_the_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, which: Callable[[Effects], bool]
) -> Callable[[], bool]:
    """One delivery's effects are committed, and then the connection breaks: nobody here knows. Tells whether it has happened."""
    real, done = database.share, False

    async def share(handler: Any, item: Any) -> Any:
        nonlocal done
        result = await real(handler, item)
        if not done and isinstance(result, Outcome) and which(result.effects):
            done = True
            raise StoreUnavailableError("the database went away")
        return result

    monkeypatch.setattr(database, "share", share)
    return lambda: done


# -- the same request again ------------------------------------------------------------------------------------------------


async def test_a_request_that_comes_again_when_it_would_be_refused_is_answered_as_the_first_time(
    files: list[tuple[str, str]],
) -> None:
    async with stage(*files) as play:
        bw = play.sites["BW"].running
        draft = trade().notification(1)
        first = await submit(bw, draft, "key")
        now = bw.clock()
        bw.clock = lambda: (
            now + timedelta(days=400)
        )  # its certificate has expired: it could not be said today
        with pytest.raises(DraftError):
            await submit(bw, draft, "another key")
        assert await submit(bw, draft, "key") == first
        bw.policy = FourEyes(types="all")  # and now two people are asked for
        assert await submit(bw, draft, "key") == first
        with pytest.raises(KeyReusedError):
            await submit(bw, trade().notification(2), "key")


# -- commits whose outcome is unknown ------------------------------------------------------------------------------------------


async def test_what_was_receipted_in_a_commit_that_nobody_heard_of_is_not_sent_for_ever(
    files: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await until(lambda: bw.peers["AE"].sending and ae.peers["BW"].sending)
        play.sites["BW"].plan = lambda _n, _frame: LOST
        sent = await submit(bw, trade().notification(1))
        [raw] = await column(bw, t.document.c.raw)
        replies = await ae.receive("BW", [frames.encode_documents([raw], "BW", "AE")])
        losing_the_answer(bw.database, monkeypatch, lambda effects: bool(effects.received))
        with pytest.raises(StoreUnavailableError):
            await bw.receive("AE", replies)
        assert await column(bw, t.document.c.received_at) != [None]
        await bw.receive("AE", replies)  # it was not acknowledged, and comes again
        play.sites["BW"].plan = lambda _n, _frame: FAIR
        bw.retry("AE")
        await until(lambda: sent not in bw.peers["AE"].schedule)


async def test_what_was_released_in_a_commit_that_nobody_heard_of_is_sent_again(
    files: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"], play.sites["AE"]
        play.backup(ae, tmp_path / "empty.db")
        sent = await submit(bw.running, trade().notification(1))
        assert await bw.running.received([sent], 10)
        await until(lambda: bw.running.peers["AE"].conversation.asked is None)
        await play.stop(ae)
        play.restore(ae, tmp_path / "empty.db")
        heard = losing_the_answer(bw.running.database, monkeypatch, lambda effects: bool(effects.released))
        await play.start(ae)
        bw.running.retry("AE")
        await until(heard)
        await until(lambda: ae.running.peers["BW"].conversation.ready)
        for _ in range(200):
            if await column(ae.running, t.document.c.id) == [sent]:
                break
            await asyncio.sleep(0.05)
        assert await column(ae.running, t.document.c.id) == [sent]


# -- answers that are owed -----------------------------------------------------------------------------------------------------


async def owe(node: Node, document_id: str) -> None:
    """As if the node had died between the admission of a document and the answer to it."""
    await node.database.write(
        lambda c: c.execute(
            update(t.document).where(t.document.c.id == document_id).values(answer='{"rejection": []}')
        )
    )


async def test_what_is_owed_to_a_partner_that_has_left_holds_up_no_other_answer(tmp_path: Path) -> None:
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as play:
        ae = play.sites["AE"].running
        gone, stays = {}, {}
        for address, sent in (("ZA", gone), ("BW", stays)):
            node = play.sites[address].running
            one = await submit(node, trade(address).notification(1))
            assert await node.received([one], 10)
            sent[address] = one
        # Two confirmations of the certificates by those who did not import them are refused; see that each is answered.
        for address in ("ZA", "BW"):
            await play.stop(play.sites[address])
        await play.stop(play.sites["AE"])
        engine = play.sites["AE"].url
        from sqlalchemy import create_engine

        with create_engine(engine).begin() as connection:
            partners.remove_partner(connection, "ZA", AT)
            refused = {"type": "org.kimberley.something-new.v1"}
            del refused
        ae = await play.start(play.sites["AE"])
        for address, sent in (("ZA", gone), ("BW", stays)):
            await owe(ae, sent[address])

        def refusing(*_: Any, **__: Any) -> list[Any]:
            from kpmsg.errors import Problem

            return [Problem("P02", "Suspended.", "/source")]

        monkey = pytest.MonkeyPatch()
        monkey.setattr(answers, "said_against", refusing)
        try:
            ae._owed.set()
            for _ in range(100):
                if (await column(ae, t.document.c.type)).count("org.kimberley.rejection.v1") == 1:
                    break
                await asyncio.sleep(0.05)
            assert (await column(ae, t.document.c.type)).count("org.kimberley.rejection.v1") == 1
        finally:
            monkey.undo()


# -- refusals ------------------------------------------------------------------------------------------------------------------


async def test_a_document_that_is_refused_again_in_the_same_words_waits_again(
    files: list[tuple[str, str]],
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"]
        await until(lambda: bw.peers["AE"].sending)
        play.sites["BW"].plan = lambda _n, _frame: LOST
        sent = await submit(bw, trade().notification(1))
        schedule = bw.peers["AE"].schedule
        for _ in range(2):
            await until(lambda: schedule.handed_over == 1)
            await bw.receive("AE", [signed(ae, Refusal(sent, sent, "key-unknown", "no such key", AT), "BW")])
            assert schedule.handed_over == 0, (
                "it is not under way any more: it waits for a quarter of an hour"
            )
            bw.retry("AE")


# -- what a partner may make us do -------------------------------------------------------------------------------------------


async def test_of_many_questions_that_come_together_the_last_is_answered(
    files: list[tuple[str, str]],
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await until(lambda: bw.peers["AE"].sending and ae.peers["BW"].sending)
        play.sites["BW"].plan = lambda _n, _frame: LOST
        asked = [
            frames.encode_request(PageRequest(f"{n:022d}", 1, NOTHING, ()), "BW", "AE") for n in range(100)
        ]
        asked += [
            frames.encode_request(StatusRequest(f"{n:022d}", 0, NOTHING), "BW", "AE") for n in range(100)
        ]
        assert names(await ae.receive("BW", asked)).count("status") == 1
        assert names(await ae.receive("BW", asked[:100])) == ["page"]


async def test_a_register_that_names_a_document_twice_is_reported_and_not_believed(
    files: list[tuple[str, str]],
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"]
        sent = await submit(bw, trade().notification(1))
        assert await bw.received([sent], 10)
        peer = bw.peers["AE"]
        await until(lambda: peer.conversation.ready and peer.conversation.asked is None)
        await play.stop(ae)
        _, one = extend(Head(), [sent])
        _, two = extend(one, [sent])
        bw.retry("AE")
        await until(lambda: peer.conversation.asked is not None)
        assert peer.conversation.asked is not None
        status = frames.Status(peer.conversation.asked.nonce, 1, True, 2, two.head, AT)
        await bw.receive("AE", [signed(ae, status, "BW")])
        assert isinstance(peer.conversation.asked.request, PageRequest)
        page = Page(peer.conversation.asked.nonce, 2, (sent,), two.head, 2, AT)
        await bw.receive("AE", [signed(ae, page, "BW")])
        assert await column(bw, t.incident.c.kind) == ["page-contradicts"]


async def test_a_parked_document_whose_effects_fail_does_not_keep_the_node_from_being_ready(
    files: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"], play.sites["AE"]
        await until(lambda: bw.running.peers["AE"].sending and ae.running.peers["BW"].sending)
        await play.stop(ae)
        await submit(bw.running, trade().notification(1))
        [raw] = await column(bw.running, t.document.c.raw)
        bw.plan = lambda _n, _frame: LOST
        node = await play.start(ae)
        peer = node.peers["BW"]

        def failing(*_: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(cases, "fold", failing)
        await until(lambda: peer.conversation.asked is not None)
        await node.receive("BW", [frames.encode_documents([raw], "BW", "AE")])
        assert len(peer.conversation.parked) == 1
        assert peer.conversation.asked is not None
        status = frames.Status(peer.conversation.asked.nonce, 0, True, 0, NOTHING, AT)
        await node.receive("BW", [signed(bw, status, "AE")])
        assert peer.conversation.ready


# -- the database --------------------------------------------------------------------------------------------------------------


async def test_a_statement_that_postgresql_cancels_is_an_outage_and_nobodys_fault(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    try:
        with pytest.raises(StoreUnavailableError):
            await database.write(
                lambda c: (
                    c.execute(text("SELECT pg_cancel_backend(pg_backend_pid())")),
                    c.execute(text("SELECT pg_sleep(5)")),
                )
            )
        assert await database.write(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    finally:
        await database.close()


__all__ = ["Callable", "case", "confirmation", "documents"]
