"""Frames over HTTP between two nodes: the proof of the sender, the limits, and every way a request can end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import httpx
import pytest

from kpmsg import jws, keyrecord
from kpmsg.errors import RefusedError
from kpmsg.frames import MAX_FRAME_BYTES
from kpmsg.keyrecord import KeyRecord
from kpmsg.keys import SoftwareSigner
from kpnode.transports import Outcome
from kpnode.transports.https import (
    HEADER,
    MAX_BODY_BYTES,
    HttpsLink,
    authenticate,
    check_body,
    join,
    sign_request,
    split,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ANTWERP = SoftwareSigner.generate("ES256")
BOTSWANA = SoftwareSigner.generate("Ed25519")
NODE_KEY = SoftwareSigner.generate("Ed25519")


def record(address: str, transport: SoftwareSigner, *more: tuple[str, SoftwareSigner]) -> KeyRecord:
    entries = [("transport", transport), *more]
    raw = keyrecord.issue(
        {
            "address": address,
            "version": 1,
            "issued": "2026-01-01T00:00:00Z",
            "authority": {"name": "An authority", "roles": ["export"]},
            "keys": [
                {"jwk": signer.public.jwk, "use": use, "valid_from": "2026-01-01T00:00:00Z"}
                for use, signer in entries
            ],
        },
        [SoftwareSigner.generate("Ed25519")],
        [signer for _, signer in entries],
    )
    return keyrecord.open_record(raw).record


RECORDS = {
    "EU/antwerp": [record("EU/antwerp", ANTWERP, ("node", NODE_KEY))],
    "BW": [record("BW", BOTSWANA)],
}


def admit(header: str | None, body: bytes, *, sender: str = "EU/antwerp", now: datetime = NOW) -> str:
    digest = authenticate(header, sender=sender, own="AE", records=RECORDS, now=now)
    check_body(body, digest)
    return sender


def refusal(header: str | None, body: bytes, *, sender: str = "EU/antwerp", now: datetime = NOW) -> str:
    with pytest.raises(RefusedError) as caught:
        admit(header, body, sender=sender, now=now)
    return caught.value.code


# --- the body ------------------------------------------------------------------------------------------------------


def test_frames_go_into_a_body_and_come_out_again() -> None:
    frames = [b'{"frame":"documents"}\n{}', b'{"frame":"status?"}']
    assert split(join(frames)) == frames
    assert split(b"") == []


def test_a_body_and_a_frame_have_a_greatest_size() -> None:
    assert split(b"x" * MAX_FRAME_BYTES) == [b"x" * MAX_FRAME_BYTES]
    for body in (b"x" * (MAX_FRAME_BYTES + 1), b"x\n\n" * (MAX_BODY_BYTES // 3 + 1)):
        with pytest.raises(RefusedError) as caught:
            split(body)
        assert caught.value.code == "frame-size"


# --- the proof of the sender ---------------------------------------------------------------------------------------


def test_a_signed_request_proves_its_sender() -> None:
    assert admit(sign_request(b"body", "EU/antwerp", "AE", ANTWERP, NOW), b"body") == "EU/antwerp"


@pytest.mark.parametrize("minutes", [-14, 14])
def test_clocks_may_differ_by_less_than_a_quarter_of_an_hour(minutes: int) -> None:
    then = NOW + timedelta(minutes=minutes)
    assert admit(sign_request(b"body", "EU/antwerp", "AE", ANTWERP, then), b"body") == "EU/antwerp"


@pytest.mark.parametrize("minutes", [-16, 16])
def test_an_old_or_future_request_is_refused(minutes: int) -> None:
    then = NOW + timedelta(minutes=minutes)
    assert refusal(sign_request(b"body", "EU/antwerp", "AE", ANTWERP, then), b"body") == "sig-stale"


def test_another_body_another_recipient_another_sender() -> None:
    good = sign_request(b"body", "EU/antwerp", "AE", ANTWERP, NOW)
    assert refusal(good, b"another body") == "sig-body"
    assert refusal(good, b"body", sender="BW") == "key-unknown"
    assert refusal(good, b"body", sender="ZA") == "address-unknown"
    assert refusal(sign_request(b"body", "EU/antwerp", "BW", ANTWERP, NOW), b"body") == "address-to"


def test_S26_a_partner_cannot_speak_for_another() -> None:
    forged = sign_request(b"body", "EU/antwerp", "AE", BOTSWANA, NOW)
    assert refusal(forged, b"body") == "key-unknown"
    assert refusal(forged, b"body", sender="BW") == "address-from"


def test_S27_another_key_of_the_same_authority_does_not_do() -> None:
    assert refusal(sign_request(b"body", "EU/antwerp", "AE", NODE_KEY, NOW), b"body") == "key-use"


def test_S28_a_signature_over_another_kind_of_statement_does_not_do() -> None:
    claim = json.loads(
        jws.peek(sign_request(b"", "EU/antwerp", "AE", ANTWERP, NOW).encode()).unverified_payload
    )
    other = jws.sign(json.dumps(claim).encode(), jws.RECEIPT, [ANTWERP]).decode()
    assert refusal(other, b"") == "sig-typ"


@pytest.mark.parametrize("header", [None, "", "Bearer abc", "{}", "x" * 10_000, "é"])
def test_a_header_that_is_none(header: str | None) -> None:
    assert refusal(header, b"body").split("-")[0] in {"jws", "json"}


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"{}",
        b'{"from":"EU/antwerp","to":"AE","sha256":"x","at":"2026-11-22T12:00:00Z","at":"2026-11-22T12:00:00Z"}',
        b'{"from":"EU/antwerp","to":["AE"],"sha256":"x","at":"2026-11-22T12:00:00Z"}',
        b'{"from":1,"to":"AE","sha256":"x","at":"2026-11-22T12:00:00Z"}',
    ],
)
def test_a_signed_statement_of_the_wrong_shape(payload: bytes) -> None:
    header = jws.sign(payload, jws.REQUEST, [ANTWERP]).decode()
    assert refusal(header, b"body").split("-")[0] in {"frame", "json"}


@pytest.mark.parametrize(
    "at", ["2026-11-22T12:00:00", "2026-11-22T12:00:00+00:00", "yesterday", "2026-02-30T00:00:00Z"]
)
def test_a_time_that_is_none(at: str) -> None:
    claim = json.loads(
        jws.peek(sign_request(b"", "EU/antwerp", "AE", ANTWERP, NOW).encode()).unverified_payload
    )
    header = jws.sign(json.dumps(claim | {"at": at}).encode(), jws.REQUEST, [ANTWERP]).decode()
    assert refusal(header, b"") == "frame-member"


# --- the link ------------------------------------------------------------------------------------------------------

Server = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def link_to(server: Server | httpx.AsyncBaseTransport, *, seconds: float = 5) -> HttpsLink:
    transport = server if isinstance(server, httpx.AsyncBaseTransport) else httpx.MockTransport(server)
    return HttpsLink(
        "EU/antwerp",
        "AE",
        "https://ae.example/kp/",
        ANTWERP,
        clock=lambda: NOW,
        exchange_seconds=seconds,
        transport=transport,
    )


async def test_a_frame_goes_out_signed_and_the_replies_come_back() -> None:
    async def node(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/kp/exchange/EU%2Fantwerp"
        assert request.headers["accept-encoding"] == "identity"
        sender = unquote(request.url.raw_path.decode().rsplit("/", 1)[1])
        body = await request.aread()
        assert admit(request.headers[HEADER], body, sender=sender) == "EU/antwerp"
        assert split(body) == [b"frame"]
        return httpx.Response(200, content=join([b"receipt", b"status?"]))

    link = link_to(node)
    sent = await link.send(b"frame")
    await link.close()
    assert sent.outcome is Outcome.ACCEPTED
    assert sent.replies == (b"receipt", b"status?")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (401, Outcome.AUTH),
        (403, Outcome.FORBIDDEN),
        (413, Outcome.FORBIDDEN),
        (404, Outcome.UNROUTABLE),
        (429, Outcome.FULL),
        (507, Outcome.FULL),
        (502, Outcome.UNREACHABLE),
        (500, Outcome.UNKNOWN),
        (204, Outcome.UNKNOWN),
    ],
)
async def test_each_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    async def node(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status)

    assert (await link_to(node).send(b"frame")).outcome is outcome


async def test_S112_a_redirect_is_never_followed() -> None:
    seen = []

    async def node(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(307, headers={"Location": "http://169.254.169.254/"})

    assert (await link_to(node).send(b"frame")).outcome is Outcome.UNROUTABLE
    assert len(seen) == 1


async def test_S21_a_compressed_answer_is_not_read() -> None:
    class Bomb(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Never())

    class Never(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError("was read")
            yield b""

    sent = await link_to(Bomb()).send(b"frame")
    assert sent.outcome is Outcome.UNKNOWN
    assert "compressed" in sent.detail


async def test_an_endless_answer_is_cut_off() -> None:
    chunks = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal chunks
            while True:
                chunks += 1
                yield b"x" * 1024 * 1024

    class Node(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=Endless())

    assert (await link_to(Node()).send(b"frame")).outcome is Outcome.UNKNOWN
    assert chunks <= 18


async def test_silence_is_unknown_and_a_cancellation_is_a_cancellation() -> None:
    async def node(_request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        return httpx.Response(200)

    assert (await link_to(node, seconds=0.05).send(b"frame")).outcome is Outcome.UNKNOWN
    sending = asyncio.create_task(link_to(node).send(b"frame"))
    await asyncio.sleep(0.01)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_nobody_there(free_port: int) -> None:
    link = HttpsLink("BW", "AE", f"http://127.0.0.1:{free_port}", BOTSWANA)
    sent = await link.send(b"frame")
    await link.close()
    assert sent.outcome is Outcome.UNREACHABLE


async def test_a_server_that_does_not_speak_tls(free_port: int) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", free_port):
        link = HttpsLink("BW", "AE", f"https://127.0.0.1:{free_port}", BOTSWANA)
        assert (await link.send(b"frame")).outcome is Outcome.TLS
        await link.close()


@pytest.mark.parametrize(
    "base",
    [
        "http://ae.example",
        "ftp://ae.example",
        "https://user:secret@ae.example",
        "https://ae.example/?x=1",
        "http://127.0.0.1.nip.io",
    ],
)
def test_a_base_that_will_not_do(base: str) -> None:
    with pytest.raises(ValueError):
        HttpsLink("BW", "AE", base, BOTSWANA)


async def test_a_frame_over_the_limit_is_not_sent() -> None:
    async def node(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("was sent")

    assert (await link_to(node).send(b"x" * (MAX_FRAME_BYTES + 1))).outcome is Outcome.FORBIDDEN
