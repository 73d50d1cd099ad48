"""The answers that our node gives by itself: rejections of documents that break rules, and what we know of a number.

That something is owed was decided, and committed, when the document was admitted (`kpnode.store.cases`). Here it is said, as a
document like any other. It may fail as often as it likes: what is owed stays owed, and an answer is committed together with
the end of its debt, so it is said once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from kpmsg.errors import DraftError
from kpmsg.policy import Practice
from kpnode.author import Identity, compose, rfc3339
from kpnode.peer import Peer, may_deny
from kpnode.store import answers
from kpnode.store.database import Database, Transaction
from kpnode.store.submissions import ClaimedError, Committed, Submission


async def answer(
    identity: Identity,
    database: Database,
    peers: Mapping[str, Peer],
    practice: Practice,
    clock: Callable[[], datetime],
    commit: Callable[[Submission], Awaitable[Committed]],
) -> None:
    """Say what is owed and may be said now."""
    at = rfc3339(clock())
    for owed in await database.read(lambda c: answers.owed(c, practice, at)):
        if not owed.certain and owed.draft is not None and not may_deny(peers, owed.author, owed.id):
            continue  # "never issued" may only be said by a node that knows all that it has issued (I17)

        def settle(connection: Transaction, owed: answers.Owed = owed) -> None:
            answers.settle(connection, owed.id)

        if owed.draft is None:  # a notification has come back meanwhile, say
            await database.write(settle)
            continue
        now = clock()
        items = compose([owed.draft], identity, now, practice)
        try:
            await commit(
                Submission("node", f"{owed.occasion}:{owed.id}", owed.id, tuple(items), rfc3339(now), owed.id)
            )
        except (ClaimedError, DraftError):  # it has come back from the partner meanwhile
            await database.write(settle)
        for peer in peers.values():
            peer.doubts.pop(owed.id, None)
