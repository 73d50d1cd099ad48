"""To a partner: the loop that carries replies, questions and documents out, one attempt at a time.

What is sent is read from what is committed (R1); that something was sent is never recorded, since only a receipt proves
anything (R2). So a crash anywhere in this module costs at most a repetition, which the partner absorbs (R3).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog

from kpmsg import frames, register
from kpmsg.frames import StatusRequest
from kpmsg.policy import Practice
from kpnode import crash
from kpnode.peer import Peer, nonce
from kpnode.store import documents
from kpnode.store.database import Database
from kpnode.store.ledger import PartnerLedger
from kpnode.transports import Outcome, Sent

REFILL = 10_000
log = structlog.get_logger()


class Relay:
    """Sends to one partner. `deliver` is called with reply frames that a wire brought back at once (HTTPS)."""

    def __init__(
        self,
        me: str,
        peer: Peer,
        database: Database,
        practice: Practice,
        *,
        stamp: Callable[[], str],
        deliver: Callable[[str, Sequence[bytes]], None],
        count: Callable[[str, str, int], None],
    ) -> None:
        self._me = me
        self._peer = peer
        self._database = database
        self._practice = practice
        self._stamp = stamp
        self._deliver = deliver
        self._count = count

    async def run(self) -> None:
        """Until cancelled."""
        await self._refill()
        while True:
            self._peer.wake.clear()
            if not await self._turn():
                now = time.monotonic()
                pause = self._peer.schedule.next_event(now, sending=self._peer.sending) - now
                if self._peer.outbox:  # replies wait for the link's back-off only
                    pause = min(pause, max(0.0, self._peer.schedule.next_attempt - now))
                with contextlib.suppress(
                    TimeoutError
                ):  # not wait_for: on Python 3.11 it can swallow a cancellation
                    async with asyncio.timeout(max(pause, 0.001)):
                        await self._peer.wake.wait()

    async def _turn(self) -> bool:
        """Do the one thing that is due, replies first; false if there was nothing to do."""
        schedule, now = self._peer.schedule, time.monotonic()
        if self._peer.outbox and now >= schedule.next_attempt:
            frame = self._peer.outbox.popleft()
            if frame.startswith(b'{"frame":"receipt"'):
                crash.point("B3")
            self._settle(await self._peer.link.send(frame), [])
            return True
        if schedule.ask_due(now):
            await self._ask(now)
            return True
        if self._peer.sending:
            if self._peer.unread and len(schedule) < REFILL // 2:
                await self._refill()
            ids = schedule.due(now)
            if ids:
                await self._send(ids)
                return True
        return False

    async def _ask(self, now: float) -> None:
        async with self._peer.lock:
            step = await self._database.read(
                lambda c: register.ask(
                    self._peer.conversation,
                    PartnerLedger(c, self._peer.address, self._stamp(), self._practice),
                    nonce(),
                )
            )
            self._peer.conversation = step.conversation
            self._peer.schedule.asking(now, afresh=True)
        for request in step.say:
            assert isinstance(request, StatusRequest)
            self._settle(
                await self._peer.link.send(frames.encode_request(request, self._me, self._peer.address)), []
            )

    async def _send(self, ids: list[str]) -> None:
        try:
            await self._send_frames(ids)
        except BaseException:
            # Whatever it was, these must not stay marked as on their way for ever: what was not settled may have arrived.
            now = time.monotonic()
            self._peer.schedule.failed(ids, now, reachable=True, maybe=True, problem="interrupted here")
            raise

    async def _send_frames(self, ids: list[str]) -> None:
        fresh = self._peer.fresh
        missing = [document_id for document_id in ids if document_id not in fresh]
        # Only what still waits: a commit of which we never heard may have taken some of them out of our hands.
        read = (
            await self._database.read(lambda c: documents.still_waiting(c, self._peer.address, missing))
            if missing
            else {}
        )
        found = [(i, raw) for i in ids if (raw := fresh.pop(i, None) or read.get(i)) is not None]
        self._peer.schedule.remove(set(ids) - {document_id for document_id, _ in found})
        crash.point("A4")
        for part in _parts(found):
            frame = frames.encode_documents([raw for _, raw in part], self._me, self._peer.address)
            sent = await self._peer.link.send(frame)
            crash.point("A6")
            self._settle(sent, [document_id for document_id, _ in part])

    def _settle(self, sent: Sent, ids: list[str]) -> None:
        """Take in how an attempt ended. An unknown end is neither success nor failure: it will be asked about."""
        self._count("sent", sent.outcome, max(1, len(ids)))
        self._peer.note(sent, self._stamp())
        if sent.outcome is Outcome.ACCEPTED:
            self._peer.schedule.accepted(ids)
        else:
            log.info("not-delivered", partner=self._peer.address, outcome=sent.outcome, detail=sent.detail)
            self._peer.schedule.failed(
                ids,
                time.monotonic(),
                reachable=sent.outcome not in {Outcome.UNREACHABLE, Outcome.AUTH, Outcome.TLS},
                maybe=sent.outcome is Outcome.UNKNOWN,
                problem=sent.detail,
            )
        if sent.replies:
            self._deliver(self._peer.address, sent.replies)

    async def _refill(self) -> None:
        # Under the lock: a receipt taken in between would leave here what the schedule has just been told to drop.
        async with self._peer.lock:
            self._peer.unread = False  # from here on: what is committed while we read is read the next time
            ids = await self._database.read(lambda c: documents.waiting(c, self._peer.address, REFILL))
            self._peer.schedule.add(ids)
            self._peer.unread |= len(ids) == REFILL


def _parts(found: Sequence[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
    """Cut into frames that keep to the size limit."""
    parts: list[list[tuple[str, bytes]]] = [[]]
    size = 0
    for document_id, raw in found:
        if parts[-1] and size + len(raw) + 1 > frames.MAX_FRAME_BYTES - frames.MAX_HEADER_BYTES:
            parts.append([])
            size = 0
        parts[-1].append((document_id, raw))
        size += len(raw) + 1
    return [part for part in parts if part]
