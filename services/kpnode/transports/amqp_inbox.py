"""Everything partners have put on our own broker, one supervised task per partner (T9 of protocol/transport.md).

Decides when to open a mailbox again, how many frames make one batch, and when a frame is acknowledged: after `receive`
returned, that is after the commit (R4). It refuses to know AMQP (`kpnode.transports.amqp` does) and what a frame says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from random import uniform
from typing import Final

import structlog

from kpnode.broker import DEAD, INBOX, vhost_of
from kpnode.transports import Post, Receive, Sent
from kpnode.transports.addresses import BrokerAddress
from kpnode.transports.amqp import Arrival, Mailbox, is_bare_cancellation, why_lost

IDLE_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = (1.0, 30.0)
STOP_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class InboxState:
    """What an operator may see of one partner's mailbox on our broker.

    `since`: when `connected` last changed. `error`: why it is not connected. `frames`: received since the start.
    `waiting` and `dead`: depths of `kp.in` and of the dead letters at the last look, which is at every connect and after
    every 15 s of silence; None while unknown. A dead letter is no loss: its sender sends it until it is receipted.
    """

    partner: str
    vhost: str
    connected: bool = False
    since: datetime | None = None
    error: Sent | None = None
    frames: int = 0
    waiting: int | None = None
    dead: int | None = None


@dataclass(slots=True)
class _Consumer:
    state: InboxState
    stopping: asyncio.Event
    mailbox: Mailbox | None = None
    failures: int = 0  # of `receive`, in a row


class AmqpInbox:
    """Consumes the virtual hosts of all partners on our own broker; partners come and go while it runs.

    When `receive` raises for a batch, its frames are tried one by one. One that fails again goes back to the queue after
    a pause that doubles while nothing succeeds: so a frame that can never be received ends in `kp.dead` by itself,
    and an outage of the database does not send a whole queue there.
    """

    def __init__(
        self,
        brokers: Sequence[BrokerAddress],
        receive: Receive,
        post: Post,
        *,
        name: str = "inbox",
        pause: tuple[float, float] = PAUSE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """`brokers`: the nodes of our own broker, tried in turn. `pause`: shortest and longest back-off in seconds."""
        if not brokers:
            raise ValueError("an inbox needs a broker")
        self._brokers = tuple(brokers)
        self._receive = receive
        self._post = post
        self._name = name
        self._pause = pause
        self._idle_seconds = idle_seconds
        self._consumers: dict[str, tuple[_Consumer, asyncio.Task[None]]] = {}

    def add(self, partner: str) -> None:
        """Start to consume this partner's virtual host; without effect if that is already so. Needs a running loop."""
        if partner in self._consumers:
            return
        consumer = _Consumer(InboxState(partner, vhost_of(partner)), asyncio.Event())
        task = asyncio.create_task(self._supervise(consumer), name=f"inbox {partner}")
        self._consumers[partner] = consumer, task

    async def remove(self, partner: str) -> None:
        """Stop consuming. A batch under way gets 5 s to commit and be acknowledged, then it is abandoned."""
        consumer, task = self._consumers.pop(partner, (None, None))
        if consumer is None or task is None:
            return
        consumer.stopping.set()
        if consumer.mailbox is not None:
            consumer.mailbox.interrupt()
        await asyncio.wait([task], timeout=STOP_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        await asyncio.gather(*(self.remove(partner) for partner in list(self._consumers)))

    @property
    def states(self) -> dict[str, InboxState]:
        """By partner; the objects are live."""
        return {partner: consumer.state for partner, (consumer, _) in self._consumers.items()}

    async def _supervise(self, consumer: _Consumer) -> None:
        state, stopping = consumer.state, consumer.stopping
        shortest, longest = self._pause
        pause = shortest
        for broker in cycle(self._brokers):
            error: BaseException | None = None
            try:
                await self._consume(broker, consumer)
            except Exception as caught:  # noqa: BLE001 - whatever it was, the next attempt is the remedy
                error = caught
            except asyncio.CancelledError as caught:
                if not is_bare_cancellation(caught):
                    raise
                error = caught
            if stopping.is_set():
                return
            if state.connected:
                pause = shortest
            _mark(state, connected=False)
            if error is not None:
                state.error = why_lost(error, broker)
                log.warning(
                    "inbox.lost",
                    partner=state.partner,
                    outcome=state.error.outcome,
                    detail=state.error.detail,
                )
            if await self._stopped_within(uniform(pause / 2, pause), stopping):  # noqa: S311 - jitter, no secret
                return
            pause = min(pause * 2, longest)

    async def _consume(self, broker: BrokerAddress, consumer: _Consumer) -> None:
        state = consumer.state
        mailbox = await Mailbox.open(broker, state.vhost, f"{self._name} {state.partner}")
        consumer.mailbox = mailbox
        try:
            await _look(mailbox, state)
            state.error = None
            _mark(state, connected=True)
            log.info("inbox.connected", partner=state.partner, vhost=state.vhost)
            while not consumer.stopping.is_set():
                batch = await mailbox.take(self._idle_seconds)
                if batch:
                    await self._admit(mailbox, batch, consumer)
                else:
                    await _look(mailbox, state)
        finally:
            consumer.mailbox = None
            await mailbox.close()

    async def _admit(self, mailbox: Mailbox, batch: Sequence[Arrival], consumer: _Consumer) -> None:
        state = consumer.state
        try:
            replies = await self._receive(state.partner, [arrival.frame for arrival in batch])
        except Exception as error:  # noqa: BLE001 - nothing was acknowledged, so nothing is lost
            log.warning(
                "inbox.receive_failed", partner=state.partner, frames=len(batch), error=type(error).__name__
            )
            if len(batch) > 1:
                for arrival in batch:
                    await self._admit(mailbox, [arrival], consumer)
                return
            shortest, longest = self._pause
            pause = min(shortest * 2 ** min(consumer.failures, 10), longest)
            consumer.failures += 1
            await self._stopped_within(pause, consumer.stopping)
            # A crash before this line gives the frame back as well.
            await mailbox.give_back(batch[0])
            return
        # A crash here leaves the frames committed but not acknowledged: they come again and change nothing.
        await mailbox.acknowledge(batch)
        consumer.failures = 0
        state.frames += len(batch)
        if replies:
            self._post(state.partner, replies)

    async def _stopped_within(self, seconds: float, stopping: asyncio.Event) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopping.wait()
        return stopping.is_set()


def _mark(state: InboxState, *, connected: bool) -> None:
    if state.connected != connected or state.since is None:
        state.connected, state.since = connected, datetime.now(UTC)


async def _look(mailbox: Mailbox, state: InboxState) -> None:
    state.waiting = await mailbox.depth(INBOX)
    state.dead = await mailbox.depth(DEAD)
