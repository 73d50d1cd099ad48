"""The answers that our node gives by itself: rejections of documents that break rules, and what we know of a number.

That something is owed was decided, and committed, when the document was admitted (`kpnode.store.cases`). Here it is said, as a
document like any other. It may fail as often as it likes: what is owed stays owed, and an answer is committed together with
the end of its debt, so it is said once. Each fails for itself: no document, and no partner, holds up what others are owed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import structlog

from kpmsg.errors import DraftError, KeyFileError
from kpmsg.policy import Practice
from kpnode.author import Identity, compose, rfc3339
from kpnode.peer import Peer, may_deny
from kpnode.store import answers
from kpnode.store.database import Database, StoreError
from kpnode.store.submissions import ClaimedError, Committed, Submission

log = structlog.get_logger()
Commit = Callable[[Submission], Awaitable[Committed]]


async def answer(
    identity: Identity,
    database: Database,
    peers: Mapping[str, Peer],
    practice: Practice,
    clock: Callable[[], datetime],
    commit: Commit,
) -> int:
    """Say what is owed and may be said now; returns how many answers could not be given for a fault of ours."""
    failed, after = 0, 0
    while some := await database.read(lambda c, a=after: answers.owing(c, a)):  # type: ignore[misc]
        for seq in some:
            try:
                await _answer_one(seq, identity, database, peers, practice, clock, commit)
            except (StoreError, KeyFileError):
                raise  # would be the same for all of them
            except Exception:
                failed += 1
                log.exception("answer-failed", document=seq)
        after = some[-1]
    return failed


async def _answer_one(
    seq: int,
    identity: Identity,
    database: Database,
    peers: Mapping[str, Peer],
    practice: Practice,
    clock: Callable[[], datetime],
    commit: Commit,
) -> None:
    now = clock()
    owed = await database.read(lambda c: answers.owed(c, seq, practice, rfc3339(now)))
    if owed is None:
        return
    about = owed.id
    if owed.draft is None:  # a notification has come back meanwhile, say
        await database.write(lambda c: answers.settle(c, about))
        return
    if not owed.certain and not may_deny(peers, owed.author, about):
        return  # "never issued" may only be said by a node that knows all that it has issued
    if identity.signs_at_once:
        items = compose([owed.draft], identity, now, practice)
    else:
        items = await asyncio.to_thread(compose, [owed.draft], identity, now, practice)
    try:
        await commit(Submission("node", f"{owed.occasion}:{about}", about, tuple(items), rfc3339(now), about))
    except (ClaimedError, DraftError):  # it has come back from the partner meanwhile
        await database.write(lambda c: answers.settle(c, about))
    for peer in peers.values():
        peer.doubts.pop(about, None)
