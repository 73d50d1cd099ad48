"""Files on their way: fetched from partners when somebody here asks for them, given to partners who may have them.

Of each partner one piece is asked for at a time. So what is in memory is one piece for a partner, documents travel between two of them,
and bytes that nobody asked for are known by that: an answer counts only if it is the one to the open question (protocol/attachments.md,
G5). What has been fetched is in the database after each piece; a restart goes on from there.

This module decides whom to ask when, and when to stop asking. What may be appended or given away is decided in `kpnode.store.files`, in
the transaction that does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog

from kpmsg import frames
from kpmsg.fileframes import FileGone, FilePart, FileRequest, FileWord
from kpmsg.frames import Refusal
from kpnode.inbox import Opened
from kpnode.peer import Peer, nonce
from kpnode.store import files as store
from kpnode.store.database import Database, StoreError, Transaction
from kpnode.store.files import FileRow, Taken

ANSWER_WITHIN: Final = 30.0
"""Seconds until a question that has not been answered is asked again, the first time; then doubling."""

LONGEST_PAUSE: Final = 900.0
ATTEMPTS: Final = 3
"""So often a partner may send another file than was signed for, before it is asked no more."""

_LOOK_AGAIN: Final = 60.0  # a partner may have been added
log = structlog.get_logger()


@dataclass(slots=True)
class _Question:
    """The one question that is open to a partner. `heard`: some frame of theirs has come since it was asked last."""

    request: FileRequest
    frame: bytes
    asked_at: float = float("-inf")
    due: float = float("-inf")
    times: int = 0
    heard: bool = False
    answered: bool = False  # and the answer is being written


class Files:
    """The files of one node. `answer_within`: see ANSWER_WITHIN; `stamp` tells the time as a text."""

    def __init__(
        self,
        address: str,
        database: Database,
        peers: Mapping[str, Peer],
        *,
        stamp: Callable[[], str],
        count: Callable[[str, str, int], None],
        announce: Callable[[], None],
    ) -> None:
        self.answer_within = ANSWER_WITHIN
        self._address = address
        self._database = database
        self._peers = peers
        self._stamp = stamp
        self._count = count
        self._announce = announce
        self._wants: dict[str, FileRow] = {}
        self._questions: dict[str, _Question] = {}
        self._different: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()

    # -- what is asked of us here --------------------------------------------------------------------------------------------

    async def keep(self, parts: Sequence[bytes], digest: str) -> bool:
        """Store a whole file of ours; false if it was here."""
        at = self._stamp()
        new = await self._database.write(lambda c: store.keep(c, digest, parts, at))
        self._drop(digest)
        return new

    async def fetch(
        self, digest: str, size: int, document_id: str, partner: str, *, again: bool = False
    ) -> FileRow:
        """What is here of a file that a document names; if that is not all of it, `partner` is being asked from now on.

        `again`: also if it has been asked before, and could not give it.
        """
        again = again or self._silent(digest, partner)
        row = await self._database.read(lambda c: store.file(c, digest))
        if row is None or not (row.whole or digest in self._wants) or again:
            at = self._stamp()
            row = await self._database.write(
                lambda c: store.want(c, digest, size, document_id, partner, at, again=again)
            )
        if not row.whole and row.problem is None:
            if again:
                self._different.pop(digest, None)
            if again or digest not in self._wants:  # else a piece may have come since this was read
                self._wants[digest] = row
                self._wake.set()
        return row

    def _silent(self, digest: str, other: str) -> bool:
        """Whether somebody else than `other` is being asked for a file, and does not answer: then `other` is asked instead."""
        asked = self._wants.get(digest)
        if asked is None or asked.wanted_from is None or asked.wanted_from == other:
            return False
        peer, question = self._peers.get(asked.wanted_from), self._questions.get(asked.wanted_from)
        unheard = question is not None and question.times > 1 and not question.heard
        return peer is None or peer.schedule.failures > 0 or unheard

    async def settled(self, digest: str, seconds: float) -> None:
        """Return when the file is whole, or cannot be had, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while digest in self._wants:
                    await self._settled.wait()

    # -- asking --------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask for what is wanted, until cancelled."""
        self._wants = {row.digest: row for row in await self._database.read(store.wanted)} | self._wants
        while True:
            self._wake.clear()
            now = time.monotonic()
            pause = min((self._ask(partner, now) for partner in self._sources()), default=_LOOK_AGAIN)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(pause, 0.001)):
                    await self._wake.wait()

    def _sources(self) -> set[str]:
        return {row.wanted_from for row in self._wants.values() if row.wanted_from is not None}

    def _ask(self, partner: str, now: float) -> float:
        """Ask this partner for the next piece, if it is time; returns the seconds until it may be time again."""
        peer = self._peers.get(partner)
        if peer is None:
            return _LOOK_AGAIN
        question = self._questions.get(partner)
        if question is not None and question.answered:
            return _LOOK_AGAIN
        if question is None or not self._still(partner, question.request):
            question = self._questions[partner] = self._question(partner)
        if now < question.due:
            return question.due - now
        if (
            peer.schedule.failures and peer.schedule.next_attempt > now
        ):  # the link is down, and backs off itself
            return peer.schedule.next_attempt - now
        if question.frame not in peer.outbox:
            peer.post([question.frame])
        question.times += 1
        question.asked_at, question.heard = now, False
        pause = min(self.answer_within * 2.0 ** min(question.times - 1, 20), LONGEST_PAUSE)
        question.due = now + pause
        return pause

    def _question(self, partner: str) -> _Question:
        """For the piece that comes next, of the file that was asked for first."""
        row = next(row for row in self._wants.values() if row.wanted_from == partner)
        assert row.wanted_for is not None
        request = FileRequest(nonce(), row.digest, row.wanted_for, row.held)
        return _Question(request, frames.encode_file(request, self._address, partner))

    def _still(self, partner: str, request: FileRequest) -> bool:
        """Whether an open question is still the one to ask."""
        row = self._wants.get(request.digest)
        asked = (partner, request.document, request.start)
        return row is not None and (row.wanted_from, row.wanted_for, row.held) == asked

    # -- what a partner says ---------------------------------------------------------------------------------------------------

    async def receive(self, peer: Peer, opened: Opened) -> list[bytes]:
        """Take in what a delivery says about files; returns the answer to what it asks.

        A delivery is answered once, to its last question: who waits for answers has one question open, and whoever asks for a
        hundred pieces at once must not make us hold them.
        """
        self._heard(peer.address)
        try:
            for arrived in opened.arrived:
                if isinstance(arrived.content, Refusal):
                    await self._refused(peer.address, arrived.content)
            for word in opened.files:
                if not isinstance(word, FileRequest):
                    await self._answered(peer.address, word)
            asked = [word for word in opened.files if isinstance(word, FileRequest)]
            return [] if not asked else await self._answer(peer, asked[-1])
        except StoreError:
            raise
        except Exception:
            log.exception("file-failed", partner=peer.address)  # no file may hold up receipts
            return []

    async def _answer(self, peer: Peer, request: FileRequest) -> list[bytes]:
        part = await self._database.read(lambda c: store.part_for(c, peer.address, request))
        if part is None and not peer.conversation.ready:
            return []  # restored, we may have forgotten what this partner is going to give back to us (R10)
        said: FileWord = part or FileGone(request.nonce, request.digest)
        self._count("files", "denied" if part is None else "given", 1)
        return [frames.encode_file(said, self._address, peer.address)]

    async def _answered(self, partner: str, answer: FilePart | FileGone) -> None:
        question = self._questions.get(partner)
        if question is None or question.answered or not _fits(answer, question.request):
            self._count("files", "unasked", 1)
            return
        # From here on a copy of this answer finds no question. If we die now, the piece is asked for again.
        question.answered = True
        try:
            if isinstance(answer, FileGone):
                await self._give_up(partner, answer.digest, "gone")
            else:
                await self._take(partner, answer)
        finally:
            if self._questions.get(partner) is question:
                del self._questions[partner]
            self._wake.set()

    async def _take(self, partner: str, part: FilePart) -> None:
        at = self._stamp()

        def run(connection: Transaction) -> tuple[Taken, FileRow | None]:
            return store.take(connection, partner, part, at), store.file(connection, part.digest)

        taken, row = await self._database.write(run)
        if taken is Taken.COMPLETED:
            self._count("files", "fetched", 1)
            self._drop(part.digest)
            self._announce()
        elif taken is Taken.DIFFERENT:
            self._count("incidents", store.FILE_DIFFERS, 1)
            self._announce()
            self._different[part.digest] += 1
            if self._different[part.digest] >= ATTEMPTS:
                await self._give_up(partner, part.digest, "differs")
                return
        if row is None or row.whole or row.problem is not None:
            self._drop(part.digest)
        elif part.digest in self._wants:
            self._wants[part.digest] = row

    async def _refused(self, partner: str, refusal: Refusal) -> None:
        """The partner's node may be older than these frames. Then it says so, by the digest of the very frame."""
        question = self._questions.get(partner)
        if question is not None and sha256(question.frame).hexdigest() == refusal.digest:
            await self._give_up(partner, question.request.digest, "unspoken")

    async def _give_up(self, partner: str, digest: str, problem: str) -> None:
        log.info("file-not-to-be-had", partner=partner, problem=problem)
        await self._database.write(lambda c: store.give_up(c, digest, partner, problem))
        self._drop(digest)

    def _heard(self, partner: str) -> None:
        """The partner is there: a question that has been waiting for long is asked again now, but once for each silence."""
        question = self._questions.get(partner)
        if question is None or question.heard or not question.times:
            return
        question.heard = True
        if time.monotonic() - question.asked_at >= self.answer_within:
            question.due, question.times = question.asked_at, 0
            self._wake.set()

    def _drop(self, digest: str) -> None:
        """Nobody need be asked for it any more."""
        if self._wants.pop(digest, None) is not None:
            self._different.pop(digest, None)
            self._settled.set()
            self._settled = asyncio.Event()
            self._wake.set()


def _fits(answer: FilePart | FileGone, request: FileRequest) -> bool:
    if (answer.nonce, answer.digest) != (request.nonce, request.digest):
        return False
    return isinstance(answer, FileGone) or answer.start == request.start
