"""A wire made of nothing, for tests: delivers frames inside one process and fails on request.

Decides only what the test's `plan` tells it: lose, double, delay, refuse, or claim not to know. It refuses to know what
time it is: a delay is a number of seconds given to the injected `sleep`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kpnode.transports import Outcome, Post, Receive, Sent


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to one frame: it arrives `copies` times after `delay` seconds, and the sender is told `outcome`.

    The two are independent on purpose: ACCEPTED with no copy is a broker that lost its disk, UNKNOWN with one copy is
    a confirm that did not come back, UNKNOWN with none a message that never left.
    """

    copies: int = 1
    outcome: Outcome = Outcome.ACCEPTED
    delay: float = 0.0


FAIR = Weather()
LOST = Weather(copies=0)
DOUBLED = Weather(copies=2)
UNHEARD = Weather(outcome=Outcome.UNKNOWN)


def refused(outcome: Outcome) -> Weather:
    """The frame does not arrive, and the sender is told why."""
    return Weather(copies=0, outcome=outcome)


Plan = Callable[[int, bytes], Weather]
"""(how many frames went before on this link, the frame) -> its weather."""


def fair(_number: int, _frame: bytes) -> Weather:
    return FAIR


class MemoryLink:
    """A `Link` from `own` to a partner in the same process.

    The partner's `receive` runs in a task of its own, as behind a broker, and its replies go to the partner's `post`.
    With `inline` the send waits for `receive` and brings the replies back, as over HTTPS.
    """

    def __init__(
        self,
        own: str,
        receive: Receive,
        post: Post | None = None,
        *,
        plan: Plan = fair,
        inline: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.plan = plan
        self.sent: list[bytes] = []
        self._own = own
        self._receive = receive
        self._post = post
        self._inline = inline
        self._sleep = sleep
        self._under_way: set[asyncio.Task[None]] = set()

    async def send(self, frame: bytes) -> Sent:
        weather = self.plan(len(self.sent), frame)
        self.sent.append(frame)
        if self._inline:
            return await self._send_inline(frame, weather)
        for _ in range(weather.copies):
            task = asyncio.create_task(self._deliver(frame, weather.delay))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return Sent(weather.outcome, weather.outcome.text)

    async def _send_inline(self, frame: bytes, weather: Weather) -> Sent:
        if weather.delay:
            await self._sleep(weather.delay)
        replies: list[bytes] = []
        for _ in range(weather.copies):
            try:
                replies = await self._receive(self._own, [frame])
            except Exception as error:  # noqa: BLE001 - `receive` is the test's
                return Sent(Outcome.UNKNOWN, f"The partner failed: {type(error).__name__}.")
        heard = tuple(replies) if weather.outcome is Outcome.ACCEPTED else ()
        return Sent(weather.outcome, weather.outcome.text, heard)

    async def _deliver(self, frame: bytes, delay: float) -> None:
        if delay:
            await self._sleep(delay)
        while True:
            try:
                replies = await self._receive(self._own, [frame])
            except Exception:  # noqa: BLE001 - `receive` is the test's
                # Not acknowledged, so it comes again, as from a broker.
                await self._sleep(0.01)
                continue
            if replies and self._post is not None:
                self._post(self._own, replies)
            return

    async def settle(self) -> None:
        """Wait until everything under way has been received."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def close(self) -> None:
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
