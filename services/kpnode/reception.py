"""Frames in: verified, taken in by one transaction, answered after its commit. What a node does with everything that arrives.

Deciding is `kpnode.inbox` (inside the transaction) and `kpmsg.register`; here is what surrounds them: the work that leaves the event
loop, the search for a document whose effects fail (R9), and everything volatile that follows a commit. A crash at any line loses
at most what a `status?` brings back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from kpmsg.errors import MisaddressedError
from kpmsg.frames import StatusRequest
from kpnode import inbox
from kpnode.author import rfc3339
from kpnode.awaited import Awaited
from kpnode.files import Files
from kpnode.inbox import Opened, Outcome, Parties
from kpnode.peer import Peer, nonce
from kpnode.store import answers
from kpnode.store.database import Database, StoreError, Transaction
from kpnode.store.ledger import Effects

OFF_LOOP: Final = 16 * 1024  # bytes of frames from which on verifying leaves the event loop
ATTEMPTS: Final = 3  # R9
log = structlog.get_logger()


class Reception:
    """Takes in what partners send. `parties` tells who speaks, `owed` is set when we owe somebody an answer."""

    def __init__(
        self,
        database: Database,
        peers: Mapping[str, Peer],
        files: Files,
        awaited: Awaited,
        owed: asyncio.Event,
        *,
        parties: Callable[[Peer], Parties],
        clock: Callable[[], datetime],
        count: Callable[[str, str, int], None],
        announce: Callable[[], None],
    ) -> None:
        self._database = database
        self._peers = peers
        self._files = files
        self._awaited = awaited
        self._owed = owed
        self._parties = parties
        self._clock = clock
        self._count = count
        self._announce = announce

    async def receive(self, partner: str, deliveries: Sequence[bytes]) -> list[bytes]:
        """Take in frames that the transport has proven to be `partner`'s; returns signed replies, after the commit."""
        peer = self._peers.get(partner)
        if peer is None:  # removed while this was on its way in
            raise MisaddressedError("address-unknown", "this node has no such partner")
        parties = self._parties(peer)
        now = self._clock()
        if sum(len(data) for data in deliveries) < OFF_LOOP:
            opened = inbox.open_frames(deliveries, parties, now)
        else:
            opened = await asyncio.to_thread(inbox.open_frames, deliveries, parties, now)
        for _, code, _ in opened.refused:
            self._count("refused", code, 1)
        at = rfc3339(now)
        replies: list[bytes] = []
        try:
            for portion in opened.portions():
                async with peer.lock:
                    replies += await self._take_in(peer, portion, parties, at)
        except (StoreError, asyncio.CancelledError):
            peer.read_again()  # it may have been committed all the same, and what it released must be sent
            raise
        return [*replies, *await self._files.receive(peer, opened)]

    async def _take_in(self, peer: Peer, opened: Opened, parties: Parties, at: str) -> list[bytes]:
        try:
            return self.settle(peer, await self._transact(peer, opened, parties, at))
        except StoreError:
            raise
        except Exception:
            log.exception("effects-failed", partner=peer.address)
            return await self._one_by_one(peer, opened, parties, at)

    async def _transact(
        self, peer: Peer, opened: Opened, parties: Parties, at: str, set_aside: frozenset[str] = frozenset()
    ) -> Outcome:
        conversation = peer.conversation

        def run(connection: Transaction) -> Outcome:
            return inbox.transact(
                connection, conversation, opened, parties, at=at, nonce=nonce, set_aside=set_aside
            )

        return await self._database.write(run)

    async def _one_by_one(self, peer: Peer, opened: Opened, parties: Parties, at: str) -> list[bytes]:
        """R9: something in this delivery fails here with an exception. Find it, count it, set it aside at the third time."""
        # What is parked may be at fault and is not part of this delivery. It is sent again, and is counted then.
        peer.conversation = replace(peer.conversation, parked=())
        replies: list[bytes] = []
        single: list[Opened] = [Opened(refused=opened.refused, answerable=opened.answerable)]
        for arrived in opened.arrived:
            if arrived.content is None:
                single += [Opened([inbox.Arrived(None, (item,))]) for item in arrived.items]
            else:
                single.append(Opened([arrived]))
        for part in single:
            ids = [item.id for arrived in part.arrived if arrived.content is None for item in arrived.items]
            try:
                replies += self.settle(peer, await self._transact(peer, part, parties, at))
            except StoreError:
                raise
            except Exception as error:
                self._count("failed", "effects", 1)
                if not ids:
                    log.exception("statement-failed", partner=peer.address)
                    continue
                text = f"{type(error).__name__}"
                attempts = await self._database.write(
                    lambda c, i=ids[0], w=text: answers.failed(c, i, peer.address, w, at)  # type: ignore[misc]
                )
                if attempts >= ATTEMPTS:
                    aside = frozenset(ids)
                    replies += self.settle(peer, await self._transact(peer, part, parties, at, aside))
        return replies

    def settle(self, peer: Peer, outcome: Outcome) -> list[bytes]:
        """What follows a commit: the new conversation, the schedule, and everybody who waits."""
        now, effects = time.monotonic(), outcome.effects
        inbox.crash_points_after(effects)
        peer.conversation = outcome.conversation
        peer.heard_at = rfc3339(self._clock())
        peer.schedule.heard(now)
        self._register_effects(peer, effects)
        for document_id, text in outcome.refusals:
            peer.schedule.refused(document_id, now, text)
        if outcome.settled:  # before what is asked next: that begins another exchange
            peer.answered_at = now
            peer.schedule.settled(now)
            self._owed.set()  # an answer may have waited for this partner
        for request in outcome.requests:
            asked = outcome.conversation.asked
            afresh = isinstance(request, StatusRequest) and asked is not None and asked.search is None
            peer.schedule.asking(now, afresh=afresh)
        peer.wake.set()
        return outcome.replies

    def _register_effects(self, peer: Peer, effects: Effects) -> None:
        self._count("documents", "admitted", len(effects.admitted))
        self._count("documents", "received", len(effects.received))
        self._count("documents", "taken-back", len(effects.taken_back))
        peer.schedule.add(effects.released, again=True)
        peer.schedule.remove(effects.received)
        for document_id in effects.withheld:
            for other in self._peers.values():
                other.schedule.remove([document_id])
        for document_id in effects.received:
            peer.fresh.pop(document_id, None)
            self._awaited.come(document_id)
        for report in effects.reports:
            self._count("incidents", report.kind, 1)
        if effects.taken_back and self._database.mark is not None:
            self._database.mark.sure = False  # whatever the mark says: this node had forgotten something
        if effects.owed:
            self._owed.set()
        if effects.admitted or effects.received or effects.released or effects.taken_back or effects.reports:
            self._announce()
