"""What may go wrong beside an exchange: outcomes nobody knows, partners that leave or flood, requests that come again late.

Two or three whole nodes as in test_exchange.py. Every test here is about a state that no ordinary day brings about, and that must
still end well by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from uuid_utils.compat import uuid7

from kpmsg import documents, frames, jws, strictjson
from kpmsg.case.goods import UNCERTAIN
from kpmsg.errors import DraftError, MalformedError, Problem
from kpmsg.frames import Frame, Page, PageRequest, Refusal, StatusRequest
from kpmsg.policy import Policy
from kpmsg.register import NOTHING, Conversation, Head, extend
from kpmsg.verification import seal_document
from kpnode.author import rfc3339
from kpnode.inbox import Outcome
from kpnode.node import Node
from kpnode.release import FourEyes
from kpnode.store import answers, cases, partners
from kpnode.store import tables as t
from kpnode.store.database import Database, StoreUnavailableError
from kpnode.store.ledger import Effects
from kpnode.store.submissions import KeyReusedError
from kpnode.transports.https import MAX_FRAMES, join, split
from kpnode.transports.memory import FAIR, LOST
from tests.exchange import Site, stage, submit, trade, until

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


async def until_async(condition: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Wait until the database says so."""
    for _ in range(400):
        if await condition() == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in time")


async def column(node: Node, wanted: Any) -> list[Any]:
    return list(await node.database.read(lambda c: c.execute(select(wanted)).scalars().all()))


def losing_the_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, which: Callable[[Effects], bool]
) -> Callable[[], bool]:
    """One delivery's effects are committed, and then the connection breaks: nobody here knows. Tells whether it has happened."""
    real, done = database.share, False

    async def share(handler: Any, item: Any, then: Any = None) -> Any:
        nonlocal done
        result = await real(handler, item, then)
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
        left = {"participant": "AE", "standing": "withdrawn", "valid_from": "2000-01-01"}
        bw.practice.publish("BW", Policy.model_validate({"standing": [left]}))  # it could not be said today
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
        await until_async(lambda: column(ae.running, t.document.c.id), [sent])


# -- answers that are owed -----------------------------------------------------------------------------------------------------


async def owe(node: Node, document_id: str) -> None:
    """As if the node had died between the admission of a document and the answer to it."""
    await node.database.write(
        lambda c: c.execute(
            update(t.document).where(t.document.c.id == document_id).values(answer='{"rejection": []}')
        )
    )


async def rejections(node: Node) -> int:
    return (await column(node, t.document.c.type)).count(documents.Rejection.type)


@pytest.mark.parametrize("why", ["left", "away"])
async def test_what_cannot_be_answered_holds_up_no_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as play:
        ae = play.sites["AE"].running
        sent = {}
        for address in ("ZA", "BW"):  # ZA's is the older one
            node = play.sites[address].running
            sent[address] = await submit(node, trade(address).notification(1))
            assert await node.received([sent[address]], 10)
        if why == "left":
            await ae.database.write(lambda c: partners.remove_partner(c, "ZA", AT))
            await ae.detach("ZA")
        else:
            ae.peers["ZA"].conversation = Conversation()  # it has not answered since the start
            play.sites["ZA"].plan = play.sites["AE"].plan = lambda _n, _frame: LOST

        def said_against(_connection: Any, item: Any, *_: Any) -> list[Problem]:
            uncertain = why == "away" and item.source == "ZA"
            return [Problem(UNCERTAIN if uncertain else "P02", "It cannot be.", "/source")]

        monkeypatch.setattr(answers, "said_against", said_against)
        monkeypatch.setattr(answers, "TOGETHER", 1)
        for address in ("ZA", "BW"):
            await owe(ae, sent[address])
        ae._owed.set()
        await until_async(lambda: rejections(ae), 1)
        owed = [seq for seq in await column(ae, t.document.c.answer) if seq is not None]
        assert len(owed) == 1, "ZA's is still owed"


async def test_a_document_with_more_faults_than_a_rejection_can_name_is_rejected_and_holds_up_nobody(
    files: list[tuple[str, str]],
) -> None:
    banned = {"embargoes": [{"origins": ["BW"], "valid_from": "2000-01-01"}]}
    async with stage(*files, policies={"AE": banned}) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await until(lambda: bw.peers["AE"].sending and ae.peers["BW"].sending)
        draft = trade().notification(1)
        line = draft["data"]["lines"][0] | {"origin": {"kind": "single", "country": "BW"}}
        draft["data"] |= {"lines": [line] * 150, "carats": "0.01"}
        payload = strictjson.dumps(
            {
                "specversion": "1.0",
                "id": str(uuid7()),
                "source": "BW",
                "type": documents.ExportNotification.type,
                "subject": documents.certificate_key(draft["data"]["certificate"]["number_raw"]),
                "time": rfc3339(bw.clock()),
                "recipient": "AE",
                "datacontenttype": "application/json",
                "data": draft["data"],
            }
        )
        hostile = seal_document(documents.parse(payload), payload, [play.sites["BW"].keys.document])
        await ae.receive("BW", [frames.encode_documents([hostile.raw], "BW", "AE")])
        await until_async(lambda: rejections(ae), 1)
        answer = next(
            a for a in await column(ae, t.document.c.raw) if b"reject" in jws.peek(a).unverified_payload
        )
        data = documents.parse(jws.peek(answer).unverified_payload).data
        assert isinstance(data, documents.Rejection)
        assert len(data.reasons) == 100
        assert data.reasons[0].severity == "reject"


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
            frames.encode_request(StatusRequest(f"{n:022d}", 0, NOTHING, 0, NOTHING), "BW", "AE")
            for n in range(100)
        ]
        assert names(await ae.receive("BW", asked)).count("status") == 1
        assert names(await ae.receive("BW", asked[:100])) == ["page"]


def test_a_body_of_very_many_frames_is_refused_before_any_is_read() -> None:
    assert len(split(join([b"{}"] * MAX_FRAMES))) == MAX_FRAMES
    with pytest.raises(MalformedError):
        split(b"a\n\n" * 100_000)


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
        for _ in range(2):  # it is asked again, and says the same: that is no second incident
            assert peer.conversation.asked is not None
            page = Page(peer.conversation.asked.nonce, 2, (sent,), two.head, 2, AT)
            await bw.receive("AE", [signed(ae, page, "BW")])
            assert await column(bw, t.incident.c.kind) == ["page-contradicts"]
            bw.retry("AE")
            await until(lambda: peer.conversation.asked is not None)
            assert peer.conversation.asked is not None
            status = frames.Status(peer.conversation.asked.nonce, 1, True, 2, two.head, AT)
            await bw.receive("AE", [signed(ae, status, "BW")])


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
        assert peer.conversation.parked
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
