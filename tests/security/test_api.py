"""The security catalogue, part G, on the API: each test bears the number of its entry."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from kpmsg import frames
from kpmsg.errors import KeyFileError
from kpmsg.keyrecord import issue, open_record
from kpmsg.keys import SoftwareSigner
from kpnode import node as node_module
from kpnode.api import build_app, requests
from kpnode.api.documents import BULK_BODY, SINGLE_BODY
from kpnode.store.callers import Scope, create_caller, revoke_caller
from kpnode.transports import Outcome
from kpnode.transports.https import HttpsLink
from tests.api import Office, office
from tests.exchange import trade, until

TELLTALE = ("Traceback", "sqlalchemy", "sqlite", "/kpnode/", 'File "')


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as there:
        yield there


def operations(desk: Office) -> list[tuple[str, str, str | None]]:
    """(method, path, scope) of every operation in the OpenAPI document."""
    from kpnode.api.openapi import document

    found = []
    for path, item in document(desk.app)["paths"].items():
        for method, said in item.items():
            [scheme] = said["security"] or [None]
            found.append((method.upper(), path.replace("{address}", "AE"), scheme and scheme["apiKey"][0]))
    return found


PUBLIC = {"/", "/healthz", "/readyz", "/metrics"}


async def test_S102_every_operation_is_shut_to_those_without_a_key(desk: Office) -> None:
    table = operations(desk)
    assert len(table) > 20
    async with desk.client_with(None) as client:
        for method, path, scope in table:
            answer = await client.request(method, path)
            assert (path in PUBLIC) == (scope is None), path
            if scope is None:
                assert answer.status_code == 200, path
            else:
                assert answer.status_code == 401, path
                assert answer.json()["code"] == "key-missing"
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_S102_every_operation_is_shut_to_a_key_without_its_scope(desk: Office) -> None:
    table = operations(desk)
    for scope in {scope for _, _, scope in table if scope is not None}:
        async with await desk.client([other for other in Scope if other != scope]) as client:
            for method, path, _ in (entry for entry in table if entry[2] == scope):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing"), path
                assert scope in answer.headers["www-authenticate"]


async def test_S102_a_route_that_names_no_scope_cannot_be_made(desk: Office) -> None:
    async def forgotten() -> None:
        raise AssertionError("never called")

    with pytest.raises(TypeError, match="who may call it"):
        desk.app.get("/v1/forgotten")(forgotten)


async def test_S102_keys_that_are_not_valid_open_nothing(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpnode.api.door.REFRESH_SECONDS", 0.0)
    good, at = await desk.key(*Scope), desk.node.stamp()
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await desk.node.database.write(lambda c: create_caller(c, "old", list(Scope), at, expires=past))
    head, key_id, secret = good.split("_")
    wrong = "0" * 64 if secret != "0" * 64 else "1" * 64
    async with desk.client_with(good) as client:
        assert (await client.get("/v1/partners")).status_code == 200
    bad = [
        expired,
        f"{head}_{key_id}_{wrong}",
        f"{head}_{'0' * 16}_{secret}",
        good[:-1],
        good + "0",
        good.upper(),
        good.replace("kp_", "kp_ "),
        "",
        "x" * 100_000,
        "kp_' OR 1=1 --_" + secret,
    ]
    for token in bad:
        async with desk.client_with(token) as client:
            answer = await client.get("/v1/partners")
            assert (answer.status_code, answer.json()["code"]) == (401, "key-unusable"), token[:40]
    async with desk.client_with(None) as client:
        for header in ("", "Basic " + good, good, f"Bearer {good} {good}"):
            answer = await client.get("/v1/partners", headers={"Authorization": header})
            assert answer.status_code == 401
    await desk.node.database.write(lambda c: revoke_caller(c, key_id, at))
    async with desk.client_with(good) as client:
        assert (await client.get("/v1/partners")).status_code == 401


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("BW.db*"))


async def test_S102_only_hashes_of_secrets_are_stored(desk: Office, tmp_path: Path) -> None:
    key = await desk.key(Scope.READ_PARTNERS)
    stored = everything_in(tmp_path)
    assert key.split("_")[2].encode() not in stored
    assert key.split("_")[1].encode() in stored


async def test_S103_one_callers_key_finds_nothing_of_anothers(desk: Office) -> None:
    async with await desk.client(name="customs") as customs, await desk.client(name="mines") as mines:
        headers = {"Idempotency-Key": "same-key"}
        ours = await customs.post("/v1/documents", json=trade().notification(1), headers=headers)
        theirs = await mines.post("/v1/documents", json=trade().notification(2), headers=headers)
        assert (ours.status_code, theirs.status_code) == (201, 201)
        assert ours.json()["id"] != theirs.json()["id"]
        assert (ours.json()["author"], theirs.json()["author"]) == ("customs", "mines")


async def test_S105_only_json_is_read(desk: Office) -> None:
    body = json.dumps(trade().notification(1)).encode()
    async with await desk.client() as client:
        for media_type in (
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "text/plain",
            "application/json; charset=utf-16",
            "application/xml",
            "",
        ):
            for path in ("/v1/documents", "/v1/partners/AE/queue/pause", "/v1/incidents/1/close"):
                headers = {"Idempotency-Key": "a", "Content-Type": media_type}
                answer = await client.post(path, content=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (415, "content-type"), media_type


async def test_S105_a_compressed_body_is_not_unpacked(desk: Office) -> None:
    async with await desk.client() as client:
        headers = {"Idempotency-Key": "a", "Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = await client.post("/v1/documents", content=b"\x1f\x8b", headers=headers)
        assert answer.status_code == 415


async def test_S106_one_byte_over_the_limit_is_too_much(desk: Office) -> None:
    async with await desk.client() as client:
        draft = json.dumps(trade().notification(1)).encode()
        headers = {"Idempotency-Key": "a", "Content-Type": "application/json"}
        padded = draft[:-1] + b" " * (SINGLE_BODY - len(draft)) + b"}"
        assert (await client.post("/v1/documents", content=padded, headers=headers)).status_code == 201
        for body in (padded[:-1] + b" }", b"[" + b" " * (BULK_BODY - 1) + b"]"):
            answer = await client.post("/v1/documents", content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "body-size")

        async def without_end() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 65536

        answer = await client.post("/v1/documents", content=without_end(), headers=headers)
        assert answer.status_code == 413


async def test_S106_a_body_that_does_not_come_is_not_awaited(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    async with await desk.client() as client:
        headers = {"Idempotency-Key": "a", "Content-Type": "application/json"}
        answer = await client.post("/v1/documents", content=slow(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (408, "body-slow")


@asynccontextmanager
async def served(desk: Office, port: int) -> AsyncIterator[None]:
    """The application behind the server that it runs on."""
    config = uvicorn.Config(
        desk.app,
        port=port,
        http="httptools",
        ws="none",
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def test_S106_requests_that_could_be_read_in_two_ways_are_refused(desk: Office, free_port: int) -> None:
    key = await desk.key(*Scope)
    async with served(desk, free_port):
        for framing, body, statuses in (
            ("Content-Length: 2\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", {400}),
            ("Content-Length: 2\r\nContent-Length: 3", b"{}", {400}),
            ("Transfer-Encoding: chunked", b"2\n{}\n0\n\n", {400}),
            ("Transfer-Encoding: chunked", b"2\r\n{}XX0\r\n\r\n", {400}),
            ("Content-Length: -1", b"{}", {400}),
            ("Content-Length: 99999999999999999999", b"{}", {400, 413}),
            ("Content-Length: 9000000", b"{}", {413}),
        ):
            head = (
                f"POST /v1/documents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: a\r\n"
                f"Content-Type: application/json\r\n{framing}\r\n\r\n"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
            writer.write(head.encode() + body)
            status = int((await asyncio.wait_for(reader.readline(), 5)).split()[1])
            assert status in statuses, framing
            writer.close()
            await writer.wait_closed()
    listed = await desk.node.database.read(
        lambda c: c.exec_driver_sql("SELECT count(*) FROM document").scalar()
    )
    assert listed == 0


async def test_S108_a_key_is_bound_to_its_body(desk: Office) -> None:
    async with await desk.client() as client:
        headers = {"Idempotency-Key": "a"}
        first = await client.post("/v1/documents", json=trade().notification(1), headers=headers)
        same = await client.post("/v1/documents", json=trade().notification(1), headers=headers)
        other = await client.post("/v1/documents", json=trade().notification(2), headers=headers)
        assert (first.status_code, same.status_code, other.status_code) == (201, 200, 409)
        assert first.json()["id"] == same.json()["id"]
        for bad in ("", " ", "x" * 129, "\x7f", "a\tb"):
            answer = await client.post(
                "/v1/documents", json=trade().notification(3), headers={"Idempotency-Key": bad}
            )
            assert (answer.status_code, answer.json()["code"]) == (400, "header-invalid")
        assert (await client.post("/v1/documents", json=trade().notification(3))).status_code == 400


async def test_S110_a_key_that_asks_too_often_is_slowed_and_others_are_not(tmp_path: Path) -> None:
    pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    async with (
        office(*pair, requests_per_minute=5) as desk,
        await desk.client() as eager,
        await desk.client() as calm,
    ):
        answers = [await eager.get("/v1/partners") for _ in range(7)]
        assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
        assert answers[-1].json()["code"] == "rate-limited"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
        assert (await calm.get("/v1/partners")).status_code == 200


async def test_S111_no_cookie_no_foreign_origin_no_trust_in_the_host(desk: Office) -> None:
    async with await desk.client() as client:
        origin = {"Origin": "https://evil.example", "Host": "evil.example"}
        preflight = {**origin, "Access-Control-Request-Method": "POST"}
        answers = [
            await client.get("/v1/partners", headers=origin),
            await client.options("/v1/documents", headers=preflight),
            await client.post(
                "/v1/documents", json=trade().notification(1), headers={**origin, "Idempotency-Key": "a"}
            ),
            await client.get("/v1/documents/", headers=origin),
            await client.get("/nothing", headers=origin),
        ]
        assert [a.status_code for a in answers] == [200, 405, 201, 404, 404]
        for answer in answers:
            assert not [
                name for name in answer.headers if name.startswith("access-control") or name == "set-cookie"
            ]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
            assert "evil" not in answer.text + str(answer.headers)
        assert answers[2].headers["location"].startswith("/v1/documents/")


async def test_S114_pages_and_filters_take_no_nonsense(desk: Office) -> None:
    async with await desk.client() as client:
        for query in (
            "limit=1000000",
            "limit=0",
            "limit=-1",
            "limit=abc",
            "limit=1e3",
            "limit=٣",
            "cursor=AAAA",
            "cursor=WyJ4Il0",
            "cursor=%27%20OR%201=1",
            "cursor=" + "A" * 5000,
            "cursor=WzFd&sort=id",
            "direction=out;drop table document",
            "delivery=all",
            "order_by=raw",
            "partner=" + "A" * 100,
            "cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTld",
        ):
            answer = await client.get(f"/v1/documents?{query}")
            assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid"), query
            assert answer.json()["errors"][0]["parameter"]
            assert not any(word in answer.text for word in TELLTALE)


async def test_S114_every_list_refuses_what_it_does_not_know(desk: Office) -> None:
    async with await desk.client() as client:
        for method, path, _ in operations(desk):
            answer = await client.request(method, f"{path}?surprise=1")
            assert answer.status_code == 422, path


async def test_S116_health_and_metrics_name_nobody_without_a_key(desk: Office) -> None:
    async with await desk.client() as client:
        headers = {"Idempotency-Key": "a", "Prefer": "wait=20"}
        sent = await client.post("/v1/documents", json=trade().notification(1), headers=headers)
    async with desk.client_with(None) as stranger:
        for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json"):
            told = (await stranger.get(path)).text
            assert sent.json()["id"] not in told
            if path != "/openapi.json":
                assert '"AE"' not in told
                assert "partner=" not in told


async def test_S42_without_the_signing_key_nothing_is_done(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        public = desk.node.identity.document_signers[0].public

        def sign(self, message: bytes) -> bytes:
            raise KeyFileError("key-file-unreadable", "the token was taken out")

    monkeypatch.setattr(
        desk.node, "identity", type(desk.node.identity)("BW", desk.node.identity.records, [Gone()], Gone())
    )
    async with await desk.client() as client:
        answer = await client.post(
            "/v1/documents", json=trade().notification(1), headers={"Idempotency-Key": "a"}
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "signing-unavailable")
        assert answer.headers["retry-after"]
        listed: dict[str, Any] = (await client.get("/v1/documents")).json()
        assert listed["documents"] == []


async def test_S42_a_slow_signing_key_holds_up_nobody_else(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    class Slow:
        public = desk.node.identity.document_signers[0].public

        def sign(self, message: bytes) -> bytes:
            answered.wait(10)
            return b"\0" * 64

    monkeypatch.setattr(node_module, "SIGN_SECONDS", 0.3)
    monkeypatch.setattr(
        desk.node, "identity", type(desk.node.identity)("BW", desk.node.identity.records, [Slow()], Slow())
    )
    async with await desk.client() as client:
        submission = asyncio.create_task(
            client.post("/v1/documents", json=trade().notification(1), headers={"Idempotency-Key": "a"})
        )
        await asyncio.sleep(0.05)
        assert (await client.get("/v1/partners")).status_code == 200
        assert not submission.done()
        assert (await submission).status_code == 503
        answered.set()
        assert (await client.get("/v1/documents")).json()["documents"] == []


async def test_S19_names_are_inert_in_answers(desk: Office) -> None:
    draft = trade().notification(1)
    draft["data"]["exporter"]["name"] = "<script>alert(1)</script> {{7*7}} =cmd|'/C calc'!A0"
    async with await desk.client() as client:
        answer = await client.post("/v1/documents", json=draft, headers={"Idempotency-Key": "a"})
        assert answer.json()["document"]["data"]["exporter"]["name"] == draft["data"]["exporter"]["name"]
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        wrong = await client.get("/v1/documents?<script>=1")
        assert wrong.headers["content-type"] == "application/problem+json"


async def test_S26_the_exchange_takes_frames_from_proven_partners_only(tmp_path: Path) -> None:
    transport, stranger = SoftwareSigner.generate(), SoftwareSigner.generate()
    pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    async with office(*pair, exchange=True) as desk:
        peer = desk.node.peers["AE"]
        entry = {"jwk": transport.public.jwk, "use": "transport", "valid_from": "2025-01-01T00:00:00Z"}
        fields = {
            "address": "AE",
            "version": 1,
            "issued": "2025-01-01T00:00:00Z",
            "authority": {"name": "Authority of AE", "roles": ["import"]},
            "keys": [entry],
        }
        peer.records = [open_record(issue(fields, [SoftwareSigner.generate()], [transport])).record]
        question = frames.encode_request(frames.StatusRequest("A" * 22, 0, "0" * 64, 0, "0" * 64), "AE", "BW")

        def link(signer: SoftwareSigner, own: str = "AE", app: Any = desk.app) -> HttpsLink:
            return HttpsLink(own, "BW", "http://127.0.0.1", signer, transport=httpx.ASGITransport(app))

        sent = await link(transport).send(question)
        assert sent.outcome is Outcome.ACCEPTED
        assert [frames.decode(reply).name for reply in sent.replies] == ["status"]
        assert (await link(stranger).send(question)).outcome is Outcome.AUTH
        assert (await link(transport, own="ZA").send(question)).outcome is Outcome.AUTH
        without = await link(transport, app=build_app(desk.node)).send(question)
        assert without.outcome is Outcome.UNROUTABLE
        async with desk.client_with(await desk.key(*Scope)) as client:
            media_type = {"Content-Type": "application/kp-frame"}
            told = [
                await client.post(f"/exchange/{who}", content=question, headers=media_type)
                for who in ("AE", "ZA")
            ]
            assert [answer.status_code for answer in told] == [401, 401]
            assert told[0].content == told[1].content  # S116: not even who the partners are


async def test_a_client_that_lies_about_its_length_gets_an_answer(desk: Office) -> None:
    async with await desk.client() as client:
        headers = {"Idempotency-Key": "a", "Content-Type": "application/json", "Content-Length": "abc"}
        answer = await client.post("/v1/documents", content=b"{}", headers=headers)
        assert answer.status_code == 400
        assert isinstance(httpx.codes(answer.status_code), httpx.codes)
