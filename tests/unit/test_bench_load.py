"""The load generator's counting, against a stub server: a benchmark that miscounts is worse than none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from kpmsg.documents import compose
from tests.bench import drafts
from tests.bench.load import Measurement, Request, drive

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Stub:
    """Answers POSTs: 200 with the body echoed, except where `path` asks for something else."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.connections = 0
        self.outstanding = self.most_outstanding = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.bodies.append(body)
                self.outstanding += 1
                self.most_outstanding = max(self.most_outstanding, self.outstanding)
                await asyncio.sleep(0.001)
                self.outstanding -= 1
                if head.startswith(b"POST /cut"):
                    break
                if head.startswith(b"POST /mute"):
                    continue
                status = b"503 No" if head.startswith(b"POST /busy") else b"200 OK"
                extra = b"Connection: close\r\n" if head.startswith(b"POST /last") else b""
                writer.write(
                    b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, extra, len(body), body)
                )
                if extra:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def stub_server() -> AsyncIterator[tuple[Stub, str]]:
    stub = Stub()
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    try:
        yield stub, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def settled(status: int, body: bytes) -> int:
    return int(body) if status == 200 else 0


async def measured(path: str, *, requests: int = 40, deadline: float = 5.0) -> tuple[Stub, Measurement]:
    """Eight callers; the n-th request carries n mod 2 + 1 as its body, which is also the units it settles."""

    def make(n: int) -> Request:
        return Request("POST", path, {"X-N": str(n)}, b"%d" % (n % 2 + 1))

    async with stub_server() as (stub, url):
        return stub, await drive(
            url, make, settled, callers=8, requests=requests, warm_up=10, deadline=deadline
        )


def test_counts_units_and_leaves_the_warm_up_out() -> None:
    stub, result = asyncio.run(measured("/ok"))
    assert len(stub.bodies) == 50
    assert (len(result.latencies), result.units, result.failures) == (40, 60, {})
    assert stub.connections == stub.most_outstanding == 8
    assert result.rate == pytest.approx(60 / result.seconds)
    assert 1.0 <= result.percentile(0.5) <= result.percentile(0.99) <= result.seconds * 1000


@pytest.mark.parametrize(("path", "reason"), [("/busy", "503"), ("/cut", "connection lost")])
def test_a_failure_is_never_a_unit(path: str, reason: str) -> None:
    _, result = asyncio.run(measured(path))
    assert (result.units, result.failures) == (0, {reason: 40})


def test_a_server_that_closes_after_each_answer_is_reconnected() -> None:
    stub, result = asyncio.run(measured("/last"))
    assert (result.units, result.failures) == (60, {})
    assert stub.connections >= 50


def test_silence_ends_at_the_deadline() -> None:
    _, result = asyncio.run(measured("/mute", deadline=0.2))
    assert (result.units, result.failures) == (0, {"deadline": 40})


def test_nobody_listening_is_counted() -> None:
    async def nobody() -> Measurement:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await drive(
            f"http://127.0.0.1:{port}", lambda n: Request("GET", "/"), settled, callers=2, requests=4
        )

    assert asyncio.run(nobody()).failures == {"unreachable": 4}


def test_refuses_to_load_another_machine() -> None:
    with pytest.raises(ValueError, match="only"):
        asyncio.run(
            drive("http://10.0.0.1:80", lambda n: Request("GET", "/"), settled, callers=1, requests=1)
        )


def test_the_drafts_are_ones_our_node_would_send() -> None:
    made = [drafts.draft(n, "10") for n in (0, 39_999, 123_456)]
    composed = [
        compose(draft, source=drafts.SENDER, id=f"01a0d0e0-0000-7000-8000-{n:012d}", time=NOON)
        for n, draft in enumerate(made)
    ]
    assert len({document.subject for document, _ in composed}) == 3
    assert all(1000 < len(payload) < 1500 for _, payload in composed)
