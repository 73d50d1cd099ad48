"""The answers that our node gives by itself: signed rejections of documents that break rules.

Which rules were broken was decided, and committed, when the document was admitted (`kpnode.store.cases`). Here it is said, as a document
like any other. It may fail as often as it likes: what is owed stays owed, and a rejection is committed together with the
end of its debt, so it is said once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from kpmsg.case import Filed, rejection_draft
from kpmsg.errors import Problem
from kpnode.author import Identity, compose, rfc3339
from kpnode.peer import Peer
from kpnode.store import answers
from kpnode.store.database import Database, Transaction
from kpnode.store.submissions import ClaimedError, Committed, Submission


async def answer(
    identity: Identity,
    database: Database,
    peers: Mapping[str, Peer],
    clock: Callable[[], datetime],
    commit: Callable[[Submission], Awaitable[Committed]],
) -> None:
    """Say what is owed and may be said now."""
    for owed in await database.read(answers.owed):
        everybody_asked = all(peer.conversation.ready or peer.paused for peer in peers.values())
        if not owed.certain and not everybody_asked:
            continue  # "never issued" may only be said by a node that knows all that it has issued (I17)

        def still(connection: Transaction, owed: answers.Owed = owed) -> bool:
            return answers.still_true(connection, owed)

        def settle(connection: Transaction, owed: answers.Owed = owed) -> None:
            answers.settle(connection, owed.id)

        if not await database.read(still):
            await database.write(settle)
            continue
        problems = [Problem(r["code"], r["text"], r["pointer"], r["severity"]) for r in owed.reasons]
        now = clock()
        items = compose([rejection_draft(Filed(owed.id, owed.document), problems)], identity, now)
        try:
            await commit(
                Submission("node", f"answer:{owed.id}", owed.id, tuple(items), rfc3339(now), owed.id)
            )
        except ClaimedError:  # it has come back from the partner meanwhile
            await database.write(settle)
