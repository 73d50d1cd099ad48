"""Part D of the security catalogue: what a partner may say about registers, and what it gets for it.

Everything here is said by Botswana's own node key over its own link, so it is *authentic*; the question is what may be believed. Two whole nodes
in one process (tests/exchange.py), the hostile frames given to the importer's node exactly as the transport would give them. The same
frames over a real broker: tests/system/test_hostile.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from kpmsg import documents, frames, jws
from kpmsg.frames import Frame, Page, Receipt, Status
from kpmsg.register import Head, extend
from kpnode.node import Node
from kpnode.store import tables as t
from kpnode.transports.memory import LOST
from tests.exchange import Stage, confirmation, stage, submit, trade, until

AT = "2026-11-02T08:00:00.000Z"
NONCE = "n" * 22


@dataclass
class Scene:
    """BW, whose node key the tests use as they please, and AE, who has to bear it."""

    play: Stage
    sent: list[str]

    @property
    def bw(self) -> Node:
        return self.play.sites["BW"].running

    @property
    def ae(self) -> Node:
        return self.play.sites["AE"].running

    def signed(
        self, statement: Any, *, sender: str = "BW", recipient: str = "AE", attached: tuple[bytes, ...] = ()
    ) -> bytes:
        """A statement by BW's node key, as a frame."""
        name = frames.statement_name(statement)
        payload = frames.statement_payload(statement, sender, recipient)
        line = jws.sign(payload, frames.TYP[name], [self.play.sites["BW"].keys.node])
        return Frame(name, sender, recipient, (line, *attached)).encode()

    async def say(self, *deliveries: bytes) -> list[str]:
        """Deliver to AE as BW; the names of the frames that it answers with."""
        return [frames.decode(reply).name for reply in await self.ae.receive("BW", deliveries)]

    async def confirm(self, position: int) -> str:
        """One document of AE's own to BW."""
        row = await self.ae.database.read(
            lambda c: c.execute(
                select(t.document.c.raw).where(t.document.c.id == self.sent[position])
            ).scalar_one()
        )
        draft = confirmation(documents.parse(jws.peek(row).unverified_payload), self.sent[position])
        return await submit(self.ae, draft)

    async def known(self) -> Head:
        row = await self.ae.database.read(lambda c: c.execute(select(t.partner)).one())
        return Head(row.known_size, row.known_head)

    async def facts(self) -> dict[str, Any]:
        """Everything lasting at AE that hostile words must not change."""

        def read(c: Any) -> dict[str, Any]:
            return {
                name: c.execute(select(table).order_by(*table.primary_key.columns)).all()
                for name, table in (
                    ("documents", t.document),
                    ("entries", t.entry),
                    ("partners", t.partner),
                    ("certificates", t.certificate),
                    ("receipts", t.receipt),
                )
            }

        return await self.ae.database.read(read)

    async def quarantined(self) -> list[str]:
        return list(
            await self.ae.database.read(lambda c: c.execute(select(t.quarantine.c.code)).scalars().all())
        )

    async def incidents(self) -> list[str]:
        query = select(t.incident.c.kind).order_by(t.incident.c.seq)
        return list(await self.ae.database.read(lambda c: c.execute(query).scalars().all()))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Three notifications have been received; BW's wire is then cut, so that only the tests speak for BW."""
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as play:
        bw = play.sites["BW"].running
        shipments = trade()
        sent = [await submit(bw, shipments.notification(n)) for n in range(1, 4)]
        assert await bw.received(sent, 10)
        ae = play.sites["AE"].running
        await until(lambda: ae.peers["BW"].conversation.ready and ae.peers["BW"].conversation.asked is None)
        play.sites["BW"].plan = lambda _n, _frame: LOST
        yield Scene(play, sent)


async def test_S57_a_replayed_documents_frame_is_receipted_again_and_changes_nothing(scene: Scene) -> None:
    raws = await scene.bw.database.read(
        lambda c: c.execute(select(t.document.c.raw).order_by(t.document.c.seq)).scalars().all()
    )
    before = await scene.facts()
    for _ in range(3):
        assert await scene.say(frames.encode_documents(raws, "BW", "AE")) == ["receipt"]
    assert await scene.facts() == before


async def test_S57_a_replayed_receipt_changes_nothing(scene: Scene) -> None:
    own = await scene.confirm(0)
    [entry], head = extend(Head(), [own])
    receipt = scene.signed(Receipt(1, (own,), 1, head.head, AT))
    assert await scene.say(receipt) == []
    before = await scene.facts()
    assert await scene.say(receipt) == []
    assert await scene.facts() == before
    assert entry.position == 1


async def test_S59_frames_that_name_another_sender_are_dropped(scene: Scene) -> None:
    before = await scene.facts()
    foreign = scene.signed(Receipt(1, (), 0, "00" * 32, AT), sender="ZA")
    inside = scene.signed(Receipt(1, (), 0, "00" * 32, AT), recipient="ZA").replace(
        b'"to":"ZA"', b'"to":"AE"', 1
    )
    assert await scene.say(foreign, inside) == ["refusal", "refusal"]
    assert await scene.quarantined() == ["address-frame", "address-statement"]
    assert await scene.facts() == before


@pytest.mark.parametrize(
    ("first", "ids", "size"), [(0, 0, 0), (-1, 0, 0), (2**63, 0, 2**63 - 1), (1, 0, 5), (3, 1, 2), (1, 2, 1)]
)
async def test_S60_a_receipt_whose_numbers_contradict_one_another_is_dropped(
    scene: Scene, first: int, ids: int, size: int
) -> None:
    before = await scene.facts()
    names = tuple(hashlib.sha256(bytes([n])).hexdigest() for n in range(ids))
    await scene.say(scene.signed(Receipt(first, names, size, "ab" * 32, AT)))
    assert len(await scene.quarantined()) == 1
    assert await scene.facts() == before


async def test_S62_a_receipt_that_does_not_lead_to_its_head_is_asked_about_and_not_believed(
    scene: Scene,
) -> None:
    own = await scene.confirm(0)
    before = await scene.facts()
    wrong = scene.signed(Receipt(1, (own,), 1, "ab" * 32, AT))
    assert await scene.say(wrong) == ["status?"]
    gap = scene.signed(Receipt(4, (own,), 4, "ab" * 32, AT))
    assert await scene.say(gap) == [], "one question is open already"
    assert await scene.facts() == before


async def test_S63_two_receipts_that_differ_at_one_position_are_shown_to_officers_and_the_exchange_goes_on(
    scene: Scene,
) -> None:
    first, second = await scene.confirm(0), await scene.confirm(1)
    _, head = extend(Head(), [first])
    _, other = extend(Head(), [second])
    assert await scene.say(scene.signed(Receipt(1, (first,), 1, head.head, AT))) == []
    assert await scene.say(scene.signed(Receipt(1, (second,), 1, other.head, AT))) == ["status?"]
    await answer(scene, Status("", 1, False, 1, other.head, AT), page=(second,))
    assert await scene.incidents() == ["register-differs"]
    row = await scene.ae.database.read(lambda c: c.execute(select(t.incident)).one())
    assert row.statement is not None
    taken = await scene.ae.database.read(
        lambda c: c.execute(
            select(func.count()).select_from(t.receipt).where(t.receipt.c.direction == "taken")
        ).scalar()
    )
    assert taken, "the receipt that it contradicts is kept"
    assert (await scene.known()) == other
    assert first in scene.ae.peers["BW"].schedule, "what the register does not hold any more is sent again"


async def test_S65_a_register_shorter_than_it_was_signed_is_filled_again_and_reported(scene: Scene) -> None:
    own = [await scene.confirm(0), await scene.confirm(1)]
    _, head = extend(Head(), own)
    assert await scene.say(scene.signed(Receipt(1, tuple(own), 2, head.head, AT))) == []
    scene.ae.retry("BW")
    await answer(scene, Status("", 2, False, 0, "00" * 32, AT))
    assert (await scene.known()) == Head()
    assert await scene.incidents() == ["register-shorter"]
    assert all(document_id in scene.ae.peers["BW"].schedule for document_id in own)


async def test_S66_a_status_with_no_nonce_of_ours_is_ignored(scene: Scene) -> None:
    own = await scene.confirm(0)
    _, head = extend(Head(), [own])
    await scene.say(scene.signed(Receipt(1, (own,), 1, head.head, AT)))
    before = await scene.facts()
    forged = Status(NONCE, 1, False, 0, "00" * 32, AT)
    assert await scene.say(scene.signed(forged)) == []
    assert await scene.say(scene.signed(Page(NONCE, 1, ("ab" * 32,), "cd" * 32, 1, AT))) == []
    assert await scene.facts() == before
    scene.ae.retry("BW")
    asked = await question(scene)
    await answer(scene, Status("", 1, True, 1, head.head, AT))
    assert await scene.say(scene.signed(Status(asked, 1, False, 0, "00" * 32, AT))) == [], (
        "an old nonce, used once"
    )
    assert (await scene.known()) == head
    assert await scene.incidents() == []


async def test_S66_a_status_that_lacks_its_nonce_is_refused(scene: Scene) -> None:
    frame = scene.signed(Status("x", 1, False, 0, "00" * 32, AT))
    assert await scene.say(frame) == ["refusal"]
    assert len(await scene.quarantined()) == 1


async def test_S68_a_receipt_for_a_document_never_sent_is_not_believed(scene: Scene) -> None:
    before = await scene.facts()
    _, head = extend(Head(), ["ab" * 32])
    assert await scene.say(scene.signed(Receipt(1, ("ab" * 32,), 1, head.head, AT))) == ["status?"]
    assert await scene.facts() == before


async def test_S68_nor_does_a_page_bring_in_what_does_not_bear_our_signature(scene: Scene) -> None:
    forged = await scene.bw.database.read(lambda c: c.execute(select(t.document)).first())
    assert forged is not None
    _, head = extend(Head(), [forged.id])
    scene.ae.retry("BW")
    await answer(scene, Status("", 0, True, 1, head.head, AT), page=(forged.id,), attached=(forged.raw,))
    outgoing = await scene.ae.database.read(
        lambda c: c.execute(
            select(func.count()).select_from(t.document).where(t.document.c.direction == "out")
        ).scalar()
    )
    assert outgoing == 0
    assert await scene.incidents() == ["register-unknown-document"]


async def test_S69_a_flood_of_old_valid_documents_leaves_no_trace(scene: Scene) -> None:
    raws = await scene.bw.database.read(lambda c: c.execute(select(t.document.c.raw)).scalars().all())
    before = await scene.facts()
    frame = frames.encode_documents(list(raws) * 80, "BW", "AE")
    assert await scene.say(*[frame] * 5) != []
    assert await scene.facts() == before


# --- BW answers, as the test has it ----------------------------------------------------------------------------------------


async def question(scene: Scene) -> str:
    """The nonce of the question that AE has open."""
    peer = scene.ae.peers["BW"]
    await until(lambda: peer.conversation.asked is not None)
    assert peer.conversation.asked is not None
    return peer.conversation.asked.nonce


async def answer(
    scene: Scene, status: Status, page: tuple[str, ...] = (), attached: tuple[bytes, ...] = ()
) -> None:
    """Answer AE's open questions with `status`, and its questions for pages with `page`, until it has no more of them."""
    peer = scene.ae.peers["BW"]
    for _ in range(8):
        nonce = await question(scene)
        asked = peer.conversation.asked
        assert asked is not None
        if isinstance(asked.request, frames.StatusRequest):
            agrees = status.agrees or asked.request.size == 0
            said: Any = Status(nonce, asked.request.size, agrees, status.size, status.head, AT)
            await scene.say(scene.signed(said))
        else:
            _, head = extend(Head(asked.request.first - 1, asked.request.before), page)
            said = Page(nonce, asked.request.first, page, head.head, asked.request.first - 1 + len(page), AT)
            await scene.say(scene.signed(said, attached=attached if asked.request.lacks else ()))
        if peer.conversation.asked is None:
            return
        await asyncio.sleep(0)
    raise AssertionError("it never stops asking")
