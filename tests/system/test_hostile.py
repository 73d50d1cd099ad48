"""A partner who may write into our broker writes what it likes: nothing is believed, and the exchange goes on.

Over a real broker, into the virtual host that is the partner's. What each kind of lie about registers gets is in
tests/security/test_registers.py.
"""

from __future__ import annotations

import random

import aio_pika
import pytest
from sqlalchemy import select

from kpmsg import frames, jws
from kpmsg.frames import Frame, Receipt
from kpmsg.keys import SoftwareSigner
from kpmsg.register import Head, extend
from kpnode.home import Home
from kpnode.store import tables as t
from kpnode.store.database import connect
from tests.system.authority import until
from tests.system.stack import Stack

pytestmark = [pytest.mark.system]


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_garbage_replays_and_lies_in_the_queue_change_nothing(pair: Stack) -> None:
    await pair.start()
    ids = await pair.notify(3)
    ids += await pair.confirm(ids)
    await pair.agree(ids)
    chance = random.Random(7)
    raws = [pair.exporter.books().raws[i] for i in ids]
    theirs, ours = raws[:3], raws[3:]
    node_key = SoftwareSigner.load(Home(pair.exporter.settings.home).key("node"), b"for this test only")
    stranger = SoftwareSigner.generate()

    def receipt(signer: SoftwareSigner, *, sender: str = "BW") -> bytes:
        _, head = extend(Head(3, "ab" * 32), ["cd" * 32])
        payload = frames.statement_payload(
            Receipt(4, ("cd" * 32,), 4, head.head, "2026-11-02T08:00:00Z"), sender, "AE"
        )
        return Frame("receipt", sender, "AE", (jws.sign(payload, frames.TYP["receipt"], [signer]),)).encode()

    garbage = [chance.randbytes(n) for n in (0, 1, 17, 4096, 65536)]
    garbage += [
        b"{}",
        b'{"frame":"documents","from":"BW","to":"AE"}',
        b"[" * 3000,
        b'{"frame":"documents"\n' * 300,
    ]
    foreign = [
        frames.encode_documents(theirs, "ZA", "AE"),
        frames.encode_documents(theirs, "BW", "ZA"),
        receipt(node_key, sender="ZA"),
    ]
    spoiled = [
        frames.encode_documents([theirs[0][:-40] + b"AAAA" + theirs[0][-36:]], "BW", "AE"),
        frames.encode_documents([ours[0]], "BW", "AE"),  # our own words as theirs
        receipt(stranger),
    ]
    refused = [*garbage, *foreign, *spoiled]
    harmless = (
        [frames.encode_documents(theirs, "BW", "AE")] * 20 + [_kept_receipt(pair)] * 5 + [receipt(node_key)]
    )
    hostile = refused + harmless
    chance.shuffle(hostile)
    await _into_the_queue(pair, hostile)
    await until(lambda: pair.importer.books().quarantined == len(refused))
    later = await pair.notify(2)
    ids += [*later, *await pair.confirm(later)]
    await pair.agree(ids, quarantined=(0, len(refused)))
    assert (await pair.importer.operate("state"))["inbox"]["BW"]["dead"] == 0


def _kept_receipt(pair: Stack) -> bytes:
    """A receipt that the exporter once gave, as a frame: authentic, and old."""
    engine = connect(pair.exporter.database, writer=False)
    with engine.connect() as connection:
        query = select(t.receipt.c.raw).where(t.receipt.c.direction == "given")
        raw = connection.execute(query.order_by(t.receipt.c.seq)).scalars().first()
    engine.dispose()
    assert raw is not None
    return Frame("receipt", "BW", "AE", (raw,)).encode()


async def _into_the_queue(pair: Stack, bodies: list[bytes]) -> None:
    connection = await aio_pika.connect(pair.brokers[1].url(vhost="kp.BW"))
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("kp.in", ensure=False)
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), routing_key="kp.in")
