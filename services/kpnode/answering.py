"""The answers that our node gives by itself: rejections of documents that break rules, and what we know of a number.

That something is owed was decided, and committed, when the document was admitted (`kpnode.store.cases`). Here it is said, as a
document like any other. It may fail as often as it likes: what is owed stays owed, and an answer is committed together with
the end of its debt, so it is said once. Each fails for itself: no document, and no partner, holds up what others are owed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from kpmsg.errors import KeyFileError
from kpmsg.policy import Practice
from kpnode.author import Identity, compose, rfc3339
from kpnode.peer import Peer, answered_again, unheard
from kpnode.store import answers, incidents, upkeep
from kpnode.store.database import Database, StoreError
from kpnode.store.mark import place, rename
from kpnode.store.submissions import ClaimedError, Committed, Submission

log = structlog.get_logger()
Commit = Callable[[Submission], Awaitable[Committed]]


class Answering:
    """What one node says by itself. `owed` is set by whoever may have brought about that something can be said now."""

    def __init__(
        self,
        database: Database,
        peers: Mapping[str, Peer],
        practice: Practice,
        owed: asyncio.Event,
        *,
        identity: Callable[[], Identity],
        clock: Callable[[], datetime],
        commit: Commit,
        count: Callable[[str, str, int], None],
    ) -> None:
        self._database = database
        self._peers = peers
        self._practice = practice
        self._owed = owed
        self._identity = identity
        self._clock = clock
        self._commit = commit
        self._count = count
        self.held = 0
        """So many answers wait until it is certain that this node has forgotten nothing."""
        self.asked: Counter[str] = Counter()
        """So many of them wait for the partner to whom they go: it has to answer us once more, as it may hold what we have forgotten."""

    async def begin(self) -> None:
        """Before anything of the exchange is written: find out whether the database is an older one than this node has had."""
        mark = self._database.mark
        if mark is not None and (why := mark.compare(*await self._database.read(place))) is not None:
            await self._restored(why)

    async def run(self) -> None:
        """Sign and commit what admitted documents are owed, whenever there may be something."""
        while True:
            await self._owed.wait()
            self._owed.clear()
            try:
                await self._prove()
                await self._answer()
            except Exception:
                self._owed.set()
                raise

    async def fold_anew(self) -> None:
        """After an upgrade: compute every case as this version does, a few at a time, beside everything else."""
        after: str | None = ""
        while after is not None:
            after = await self._database.write(
                lambda c, a=after: upkeep.refold_some(c, a, self._stamp(), self._practice)  # type: ignore[misc]
            )
        if await self._database.write(lambda c: upkeep.read_again(c, self._stamp(), self._practice)):
            self._owed.set()
        await self._database.write(upkeep.mark)

    def waits_for(self) -> list[str]:
        """The partners that have to answer, or to be paused, before anybody can be told that a number is unknown."""
        return [] if self._database.sure else unheard(self._peers)

    def state(self) -> dict[str, Any]:
        """How many answers are held, and for whom (`kpnode doctor`)."""
        return {"answers": self.held, "for": self.waits_for(), "asked": sorted(self.asked)}

    async def _prove(self) -> None:
        """Once all who may hold what we have forgotten have answered, this database is the newest again."""
        database = self._database
        if (why := database.older) is not None:  # a standby has taken over, and lacks what was committed last
            await self._restored(why)
            for peer in self._peers.values():
                async with peer.lock:
                    peer.conversation = replace(peer.conversation, ready=False)
                peer.schedule.ask_now(time.monotonic())
                peer.wake.set()
        mark = database.mark
        if mark is not None and not mark.sure and not unheard(self._peers):
            name = secrets.token_hex(16)
            # By the writer: what it finds next, it finds after this.
            await database.write(lambda c: rename(c, name), partial(mark.settle, name))

    async def _restored(self, why: str) -> None:
        database = self._database
        await database.write(lambda c: incidents.restored(c, why, self._stamp()), database.reported)

    def _stamp(self) -> str:
        return rfc3339(self._clock())

    async def _answer(self) -> None:
        """Say what is owed and may be said now."""
        failed, held, after = 0, 0, 0
        asked: Counter[str] = Counter()
        while some := await self._database.read(lambda c, a=after: answers.owing(c, a)):  # type: ignore[misc]
            for seq in some:
                try:
                    held += not await self._answer_one(seq, asked)
                except (StoreError, KeyFileError):
                    raise  # would be the same for all of them
                except Exception:
                    failed += 1
                    log.exception("answer-failed", document=seq)
            after = some[-1]
        self.held, self.asked = held, asked
        self._count("failed", "answers", failed)

    async def _answer_one(self, seq: int, asked: Counter[str]) -> bool:
        """Answer one document; false if the answer has to wait. If it waits for its author, that is counted in `asked`."""
        database, identity, now = self._database, self._identity(), self._clock()
        at = rfc3339(now)
        owed = await database.read(lambda c: answers.owed(c, seq, self._practice, at))
        if owed is None:
            return True
        about = owed.id
        if owed.draft is None:  # a notification has come back meanwhile, say
            await database.write(lambda c: answers.settle(c, about, at))
            return True
        if not owed.certain and not await self._may_deny(owed.author, about, asked):
            return False
        if identity.signs_at_once:
            items = compose([owed.draft], identity, now, self._practice)
        else:
            items = await asyncio.to_thread(compose, [owed.draft], identity, now, self._practice)
        try:
            await self._commit(Submission("node", f"{owed.occasion}:{about}", about, tuple(items), at, about))
        except ClaimedError:  # it has come back from the partner meanwhile
            await database.write(lambda c: answers.settle(c, about, at))
        for peer in self._peers.values():
            peer.doubts.pop(about, None)
        return True

    async def _may_deny(self, author: str, document_id: str, asked: Counter[str]) -> bool:
        """ "Never issued" may only be said by a node that knows all that it has issued: partners do not know what was only recorded.

        The others are waited for unless it is sure that nothing was forgotten (`kpnode.store.mark`).
        """
        if not answered_again(self._peers, author, document_id):
            asked[author] += 1
            return False
        if self.waits_for():
            return False
        return not await self._database.read(incidents.is_restored)
