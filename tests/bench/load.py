"""A closed-loop HTTP/1.1 load generator that is cheap enough not to be what it measures.

Decides how requests are put on the wire and how answers are counted. It knows nothing of documents: a *unit* is
whatever the `settled` callback says one answer completed, and an answer that completes none is a failure, never a
fast success. N callers each keep one connection and have one request outstanding. Every request is rendered to bytes
before the clock starts, so the timed window holds a `write`, an `httptools` parse and two clock reads per request.

Talks to 127.0.0.1 only, and every run ends: after the given number of requests or at the deadline.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import httptools

RECONNECT_PAUSE = 0.05
"""Seconds a caller waits after a connection that came to nothing, so that it cannot spin."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `Host` and `Content-Length` are added when it is rendered."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def rendered(self, authority: str) -> bytes:
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {authority}",
            f"Content-Length: {len(self.body)}",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the callers saw in one timed run.

    `latencies` are seconds, sorted, one per successful *request*; `units` counts what those requests completed;
    `failures` maps a reason ("503", "connection lost", "deadline") to how many requests ended so.
    """

    units: int
    seconds: float
    latencies: Sequence[float]
    failures: Mapping[str, int]

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.seconds if self.seconds else 0.0

    def percentile(self, fraction: float) -> float:
        """Nearest-rank percentile in milliseconds; NaN when nothing succeeded."""
        if not self.latencies:
            return float("nan")
        rank = min(len(self.latencies) - 1, int(fraction * len(self.latencies)))
        return self.latencies[rank] * 1000


class _Run:
    """The shared pile of rendered requests, and the counters of what became of them."""

    def __init__(self, requests: Sequence[bytes], settled: Callable[[int, bytes], int]) -> None:
        self._left: Iterator[bytes] = iter(requests)
        self._open = len(requests)
        self._settled = settled
        self._units = 0
        self._latencies: list[float] = []
        self._failures: Counter[str] = Counter()
        self._began = self._last = perf_counter()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not requests:
            self.over.set_result(None)

    def take(self) -> bytes | None:
        return None if self.over.done() else next(self._left, None)

    def answered(self, seconds: float, status: int, body: bytes) -> None:
        units = self._settled(status, body)
        if units:
            self._units += units
            self._latencies.append(seconds)
            self._close_one()
        else:
            self.failed(str(status))

    def failed(self, reason: str) -> None:
        self._failures[reason] += 1
        self._close_one()

    def out_of_time(self) -> None:
        if not self.over.done():
            self._failures["deadline"] += self._open
            self._last = perf_counter()
            self.over.set_result(None)

    def measurement(self) -> Measurement:
        return Measurement(
            self._units, self._last - self._began, sorted(self._latencies), dict(self._failures)
        )

    def _close_one(self) -> None:
        if self.over.done():
            return
        self._open -= 1
        if not self._open:
            self._last = perf_counter()
            self.over.set_result(None)


class _Caller(asyncio.Protocol):
    """One keep-alive connection with at most one request outstanding; opens a new one when it is cut off."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._run: _Run | None = None
        self._outstanding = False
        self._started = 0.0
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)

    def begin(self, run: _Run) -> None:
        self._run = run
        if self._transport is None:
            self._reconnect()
        else:
            self._send_next()

    async def close(self) -> None:
        self._run = None
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()

    def _reconnect(self) -> None:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while self._run is not None and not self._run.over.done():
            try:
                await loop.create_connection(lambda: self, self._host, self._port)
                if self._transport is not None:  # else: cut off again before this task was resumed
                    return
            except OSError:
                if self._run.take() is None:
                    return
                self._run.failed("unreachable")
            await asyncio.sleep(RECONNECT_PAUSE)

    def _send_next(self) -> None:
        """Send one request, unless the pile is empty or the connection is on its way out (then the next one does)."""
        if self._run is None or self._transport is None or self._transport.is_closing():
            return
        if (request := self._run.take()) is None:
            return
        self._body.clear()
        self._outstanding = True
        self._started = perf_counter()
        self._transport.write(request)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        self._parser = httptools.HttpResponseParser(self)
        self._send_next()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        run = self._run
        if run is None:
            return
        if self._outstanding:
            self._outstanding = False
            run.failed("connection lost")
        if not run.over.done():
            self._reconnect()

    # httptools

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._outstanding or self._run is None:
            return
        self._outstanding = False
        self._run.answered(perf_counter() - self._started, self._parser.get_status_code(), bytes(self._body))
        if self._parser.should_keep_alive():
            self._send_next()
        elif self._transport is not None:
            self._transport.close()


async def drive(
    base_url: str,
    make: Callable[[int], Request],
    settled: Callable[[int, bytes], int],
    *,
    callers: int,
    requests: int,
    warm_up: int = 0,
    deadline: float = 60.0,
) -> Measurement:
    """Send `warm_up` requests untimed and then `requests` timed ones, `callers` at a time, over the same connections.

    `make(n)` is called once for each n in `range(warm_up + requests)`, before anything is sent. `settled(status, body)`
    gives the units an answer completed, 0 for a failure. `deadline` (seconds) bounds each of the two phases; what is
    unanswered then is counted as failed with reason "deadline". Raises ValueError for an address other than 127.0.0.1.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "http" or parts.hostname != "127.0.0.1" or parts.port is None:
        raise ValueError(f"load is generated against http://127.0.0.1:PORT only, not {base_url}")
    rendered = [make(n).rendered(parts.netloc) for n in range(warm_up + requests)]
    fleet = [_Caller(parts.hostname, parts.port) for _ in range(callers)]
    try:
        await _phase(fleet, rendered[:warm_up], settled, deadline)
        return await _phase(fleet, rendered[warm_up:], settled, deadline)
    finally:
        for caller in fleet:
            await caller.close()


async def _phase(
    fleet: Sequence[_Caller], requests: Sequence[bytes], settled: Callable[[int, bytes], int], deadline: float
) -> Measurement:
    run = _Run(requests, settled)
    timer = asyncio.get_running_loop().call_later(deadline, run.out_of_time)
    try:
        for caller in fleet:
            caller.begin(run)
        await run.over
    finally:
        timer.cancel()
    return run.measurement()
