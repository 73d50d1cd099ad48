"""One partner as the running node sees it: its keys, the talk with it, and what is on its way to it.

Everything here dies with the process and is rebuilt from the database. The conversation is changed under `lock` only, and only
after the transaction that it rests on has committed; the schedule belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kpmsg.fileframes import HEAD as FILE
from kpmsg.keyrecord import KeyRecord
from kpmsg.register import Conversation
from kpmsg.schedule import Schedule
from kpnode.transports import Link, Outcome, Sent

OUTBOX: Final = 256
FRESH: Final = 1024
PAGE: Final = b'{"frame":"page",'
"""How our own `page` frames begin."""


def nonce() -> str:
    """A fresh 128-bit nonce for a question (R5)."""
    return secrets.token_urlsafe(16)


@dataclass(slots=True)
class Trouble:
    """Why nothing got through the last time, for the delivery queue's page."""

    outcome: Outcome
    detail: str
    at: str


@dataclass(slots=True)
class Peer:
    """The volatile side of one partner. `records` are all its key record versions, newest last."""

    address: str
    records: Sequence[KeyRecord]
    link: Link
    paused: bool = False
    conversation: Conversation = field(default_factory=Conversation)
    schedule: Schedule = field(default_factory=lambda: Schedule(random.SystemRandom().random))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: deque[bytes] = field(
        default_factory=lambda: deque(maxlen=OUTBOX)
    )  # replies; what falls out is asked for again
    fresh: dict[str, bytes] = field(
        default_factory=dict
    )  # just committed, so that sending need not read it back
    trouble: Trouble | None = None
    heard_at: str | None = None
    answered_at: float | None = None  # monotonic seconds: when a status exchange was last complete
    overridden: str | None = None
    doubts: dict[str, int] = field(
        default_factory=dict
    )  # what we may deny once a later exchange than this is complete
    unread: bool = False  # more documents wait in the database than the schedule has been given

    @property
    def sending(self) -> bool:
        """Whether documents may leave for this partner now (R10, and the operator's pause)."""
        return self.conversation.ready and not self.paused

    def read_again(self) -> None:
        """Somebody does not know what became of a commit: what the database says is to be sent, whatever we believed before."""
        self.unread = True
        self.wake.set()

    def enqueue(self, document_id: str, raw: bytes) -> None:
        """A document that has just been committed: send it with the next frame."""
        if len(self.fresh) < FRESH:
            self.fresh[document_id] = raw
        self.schedule.add([document_id])
        self.wake.set()

    def post(self, frames: Sequence[bytes]) -> None:
        """Have replies sent as soon as the link is free. Of pieces of files, and of pages, which are large, only the last one waits."""
        for frame in frames:
            for large in (FILE, PAGE):
                if frame.startswith(large):
                    for older in [one for one in self.outbox if one.startswith(large)]:
                        self.outbox.remove(older)
            self.outbox.append(frame)
        if frames:
            self.wake.set()

    def note(self, sent: Sent, at: str) -> None:
        """Remember how the last attempt ended."""
        self.trouble = None if sent.outcome is Outcome.ACCEPTED else Trouble(sent.outcome, sent.detail, at)


def unheard(peers: Mapping[str, Peer]) -> list[str]:
    """The partners that may hold what a restored database lacks: those that have not answered, and that no operator has paused."""
    return [peer.address for peer in peers.values() if not (peer.conversation.ready or peer.paused)]


def answered_again(peers: Mapping[str, Peer], author: str, document_id: str) -> bool:
    """Whether `author` has answered us once more, in an exchange that began after this was first asked of its document.

    Before "never issued" is said to it: it may hold what we have forgotten, and tells us when we ask. If it has not, it is asked now.
    """
    peer = peers.get(author)
    if peer is None:
        return False
    if peer.schedule.completed > peer.doubts.setdefault(document_id, peer.schedule.begun):
        return True
    peer.schedule.ask_now(time.monotonic())
    peer.wake.set()
    return False
