"""When to send, when to ask, when to wait: the timing of one partner's deliveries, without a clock of its own.

`Schedule` keeps the ids that have been committed and are not in the partner's register (R2), which of them are under way,
and the link's back-off. It is told the time and what happened; it answers what is due. It holds nothing that a restart
could lose: the ledger is asked again (`add`) and everything starts as queued.

A document that a broker took and that no receipt covers is not simply sent again after a while: the partner may be slow,
and a second copy would make it slower. The schedule has its `status` asked first, and sends again what the answer does
not cover (`settled`). So the repair of R6 and the repetition of R2 are one mechanism.

All times are seconds on any monotonic axis. Figures: R2 and R8 of protocol/registers.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BATCH: Final = 256
WINDOW: Final = 2048
GATHER: Final = 0.02
ENOUGH: Final = 32
FIRST_PAUSE: Final = 1.0
CAP_CONNECTED: Final = 60.0
CAP_UNREACHABLE: Final = 900.0
ANSWER_WITHIN: Final = 10.0
RECEIPT_WITHIN: Final = 5.0
ASK_BUSY: Final = 30.0
ASK_IDLE: Final = 300.0


class Phase(StrEnum):
    """Where one document is on the delivery axis. `HANDED_OVER` is what a broker said, so it is informational only."""

    QUEUED = "queued"
    HANDED_OVER = "handed-over"


@dataclass(slots=True)
class Delivery:
    """One document on its way: how often it has left us (and was taken and lost), when last, and what keeps it back."""

    phase: Phase = Phase.QUEUED
    attempts: int = 0
    lost: int = 0
    sent_at: float = 0.0
    problem: str | None = None


class Schedule:
    """The deliveries to one partner. `jitter` returns a number in [0, 1), so that a simulation can replay it."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._deliveries: dict[str, Delivery] = {}
        self._queue: deque[str] = (
            deque()
        )  # queued and sendable, oldest first; may hold ids that have gone since
        self._delayed: dict[str, float] = {}  # queued, but not before this time
        self._flying: dict[str, None] = {}  # under way, oldest first
        self._failures = 0
        self._next_send = 0.0
        self._next_ask = 0.0
        self._asked_at: float | None = None
        self._unanswered = 0  # questions that were asked anew, in a row
        self._covers = 0.0  # an answer to the open question speaks about what left before this time
        self._traffic = False
        self._last_sent = 0.0
        self.heard_at: float | None = None
        self.begun = 0  # status exchanges
        self.completed = 0  # the last of them that was

    # -- what is there ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._deliveries)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._deliveries

    def delivery(self, document_id: str) -> Delivery | None:
        """The state of one document; None if it is not (or no longer) on its way."""
        return self._deliveries.get(document_id)

    @property
    def handed_over(self) -> int:
        """How many documents are under way without a receipt."""
        return len(self._flying)

    @property
    def failures(self) -> int:
        """Consecutive attempts that did not get through; 0 while the partner is heard from."""
        return self._failures

    @property
    def next_attempt(self) -> float:
        """Nothing is sent before this time."""
        return self._next_send

    # -- what changes ----------------------------------------------------------------------------------------------------

    def add(self, ids: Iterable[str], *, again: bool = False) -> None:
        """Committed documents that their recipient does not hold, in order of creation; `again`: before all others."""
        new = [i for i in ids if i not in self._deliveries]
        self._deliveries.update((i, Delivery()) for i in new)
        if again:
            self._queue.extendleft(reversed(new))
        else:
            self._queue.extend(new)

    def remove(self, ids: Iterable[str]) -> None:
        """Received, or withheld: no longer ours to send."""
        for document_id in ids:
            if self._deliveries.pop(document_id, None) is not None:
                self._flying.pop(document_id, None)
                self._delayed.pop(document_id, None)
                self._traffic = True

    def due(self, now: float) -> list[str]:
        """Take the next documents to send, one frame of them at most, in order; none while the link backs off.

        What is taken counts as under way: every call must be followed by `accepted` or `failed` with these ids.
        """
        if now < max(self._next_send, self._gather_until()):
            return []
        ripe = [i for i, not_before in self._delayed.items() if not_before <= now]
        for document_id in ripe:
            del self._delayed[document_id]
        self._queue.extendleft(reversed(ripe))
        chosen: list[str] = []
        room = min(BATCH, WINDOW - len(self._flying))
        while self._queue and len(chosen) < room:
            document_id = self._queue.popleft()
            delivery = self._deliveries.get(document_id)
            if delivery is not None and document_id not in self._flying and document_id not in self._delayed:
                delivery.attempts += 1
                delivery.sent_at = now
                self._flying[document_id] = None
                chosen.append(document_id)
        if chosen:
            self._last_sent = now
        return chosen

    def accepted(self, ids: Iterable[str]) -> None:
        """The transport took them. Nothing is known before a receipt (R2)."""
        self._failures = 0
        for document_id in ids:
            if document_id in self._flying:
                self._traffic = (
                    True  # documents only: two idle nodes that ask and answer are idle all the same
                )
                self._deliveries[document_id].phase = Phase.HANDED_OVER

    def failed(self, ids: Iterable[str], now: float, *, reachable: bool, maybe: bool, problem: str) -> None:
        """The transport did not take them, or (`maybe`) nobody knows. The link backs off: 1 s doubling, jitter, cap."""
        self._failures += 1
        self._next_send = now + self._pause(self._failures, CAP_CONNECTED if reachable else CAP_UNREACHABLE)
        affected = [i for i in ids if i in self._flying]
        for document_id in affected:
            self._deliveries[document_id].problem = problem
        if maybe:  # it may have arrived: ask, before it is sent again
            for document_id in affected:
                self._deliveries[document_id].phase = Phase.HANDED_OVER
        else:
            self._land(affected)
            self._queue.extendleft(reversed(affected))

    def refused(self, document_id: str, now: float, problem: str) -> None:
        """The partner's node refused these bytes by signature. Sending them again soon cannot help."""
        delivery = self._deliveries.get(document_id)
        if delivery is not None:
            delivery.problem = problem
            self._land([document_id])
            self._delayed[document_id] = now + CAP_UNREACHABLE

    def heard(self, now: float) -> None:
        """A frame of theirs arrived: the partner is there, so any back-off ends (R2)."""
        self.heard_at = now
        if self._failures:
            self._failures = 0
            self._next_send = now
            if self._asked_at is not None:  # our question was most likely among what did not get through
                self._asked_at, self._next_ask = None, now

    def retry_now(self, now: float) -> None:
        """An operator asks for it: no more waiting, and a question at once."""
        self._failures = 0
        self._next_send = self._next_ask = now
        self._asked_at = None
        self._delayed = dict.fromkeys(self._delayed, now)

    # -- asking (R8) -------------------------------------------------------------------------------------------------------

    def ask_now(self, now: float) -> None:
        """Something depends on an answer: the next question is due."""
        self._next_ask = min(self._next_ask, now)

    def asking(self, now: float, *, afresh: bool) -> None:
        """A question leaves the process now; `afresh`: a first `status?`, not a further step of the same exchange."""
        if afresh:
            self._unanswered = 0 if self._asked_at is None else self._unanswered + 1
            self._covers = now
            self.begun += 1
        self._asked_at = now

    def settled(self, now: float) -> None:
        """A status exchange is complete: what left before it was asked, and is still here, was lost on the way (R6)."""
        lost = [
            i for i in self._flying if self._deliveries[i].sent_at < self._covers and self._is_handed_over(i)
        ]
        self._land(lost)
        again = []
        for document_id in lost:
            # Attempts while nobody could be reached say nothing against the document; the link's back-off was for those.
            delivery = self._deliveries[document_id]
            delivery.lost += 1
            if delivery.lost == 1:
                again.append(document_id)
            else:
                self._delayed[document_id] = now + self._pause(delivery.lost, CAP_CONNECTED)
        self._queue.extendleft(reversed(again))
        pause = ASK_BUSY * (0.5 + self._jitter()) if self._traffic or self._deliveries else ASK_IDLE
        self._asked_at, self._traffic, self._next_ask = None, False, now + pause
        self.completed = self.begun

    def ask_due(self, now: float) -> bool:
        """Whether to ask: it is time (R8), or nothing was answered, or a receipt is missing for too long."""
        return now >= self._ask_at()

    def next_event(self, now: float, *, sending: bool) -> float:
        """When to look again, if nothing happens before. `sending` is false while documents must not leave (R10, pause)."""
        times = [self._ask_at()]
        if sending and self._delayed:
            times.append(max(min(self._delayed.values()), self._next_send))
        if sending and self._queue and len(self._flying) < WINDOW:
            times.append(max(self._next_send, self._gather_until()))
        return max(now, min(times))

    def _gather_until(self) -> float:
        """Nagle's rule: while a frame is out without its receipt, what comes next gathers for one frame, a moment long.

        A single document leaves at once; under load frames fill by themselves, which costs everybody less (one publish, one
        commit and one signed receipt for all of them).
        """
        return self._last_sent + GATHER if self._flying and len(self._queue) < ENOUGH else 0.0

    def _ask_at(self) -> float:
        if self._asked_at is not None:
            # Doubling: a new question voids the one before, so where an answer takes long, asking too soon would never end.
            patience = min(CAP_CONNECTED, ANSWER_WITHIN * 2.0 ** min(self._unanswered, 20))
            return max(self._asked_at + patience, self._next_send)
        oldest = next(iter(self._flying), None)
        missing = float("inf") if oldest is None else self._deliveries[oldest].sent_at + RECEIPT_WITHIN
        return max(min(self._next_ask, missing), self._next_send)

    def _is_handed_over(self, document_id: str) -> bool:
        return self._deliveries[document_id].phase is Phase.HANDED_OVER

    def _land(self, ids: Iterable[str]) -> None:
        for document_id in ids:
            self._flying.pop(document_id, None)
            self._deliveries[document_id].phase = Phase.QUEUED

    def _pause(self, failures: int, cap: float) -> float:
        return min(cap, FIRST_PAUSE * 2.0 ** min(failures - 1, 20)) * (0.5 + 0.5 * self._jitter())
