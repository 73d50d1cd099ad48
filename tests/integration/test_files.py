"""Files from one authority to the other: uploaded, named, asked for, fetched piece by piece and compared.

Two whole nodes with their APIs; the wire between them is memory, so that it can fail to the frame, and for one test each direct HTTPS
and a real RabbitMQ. What a hostile partner may try is in tests/security/test_files.py.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from kpmsg import ClientError, NodeClient, frames
from kpmsg.attachments import MAX_FILE, MEDIA_TYPES
from kpmsg.fileframes import PART, FileRequest
from kpnode.api import build_app
from kpnode.api.files import disposition
from kpnode.assembly import Assembly, build, introduce
from kpnode.node import Node
from kpnode.settings import Api, Broker, Management, Public, Settings
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.throwaway import Broker as ThrowAway
from kpnode.throwaway import Postgres, free_ports
from kpnode.transports import Outcome
from kpnode.transports.memory import DOUBLED, FAIR, LOST, UNHEARD, MemoryLink, Weather, refused
from tests.exchange import Stage, confirmation, stage, submit, trade, until
from tests.mutual_tls import needs_broker

PDF = {"content-type": "application/pdf"}


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def naming(content: bytes, name: str = "scan.pdf", media_type: str = "application/pdf") -> dict[str, Any]:
    """How a document names a file."""
    return {
        "name": name,
        "media_type": media_type,
        "sha256": sha256(content).hexdigest(),
        "size": len(content),
    }


def notice(n: int, *attachments: dict[str, Any]) -> dict[str, Any]:
    """An export notification of BW to AE that names files."""
    draft = trade().notification(n)
    draft["data"]["attachments"] = list(attachments)
    return draft


@dataclass
class Desks:
    """Both authorities' nodes, and clients of their APIs with every scope."""

    play: Stage
    clients: dict[str, httpx.AsyncClient]

    def node(self, address: str) -> Node:
        return self.play.sites[address].running

    async def restart(self, address: str) -> None:
        """The node of one authority ends, and starts again on the same database."""
        await self.play.stop(self.play.sites[address])
        await self.open(address)

    async def open(self, address: str) -> None:
        if self.play.sites[address].node is None:
            await self.play.start(self.play.sites[address])
        node = self.node(address)
        node.files.answer_within = 0.1
        at, name = node.stamp(), f"key {random.random()}"
        key = await node.database.write(lambda c: create_caller(c, name, tuple(Scope), at))
        self.clients[address] = httpx.AsyncClient(
            transport=httpx.ASGITransport(build_app(node)),
            base_url="http://node.test",
            headers={"Authorization": f"Bearer {key}"},
        )

    async def upload(self, address: str, content: bytes) -> None:
        answer = await self.clients[address].post("/v1/files", content=content, headers=PDF)
        assert answer.status_code in {200, 201}, answer.text
        assert answer.json() == {"digest": sha256(content).hexdigest(), "size": len(content)}

    async def announce(self, n: int, *contents: bytes) -> str:
        """BW uploads files and sends AE a document that names them."""
        for content in contents:
            await self.upload("BW", content)
        bw = self.node("BW")
        sent = await submit(bw, notice(n, *(naming(content) for content in contents)))
        assert await bw.received([sent], 10)
        return sent

    async def get(self, address: str, document: str, content: bytes, wait: int = 0) -> httpx.Response:
        headers = {"prefer": f"wait={wait}"} if wait else {}
        path = f"/v1/documents/{document}/files/{sha256(content).hexdigest()}"
        return await self.clients[address].get(path, headers=headers)

    def asked(self, address: str) -> list[FileRequest]:
        """What this node has asked its partner for since it was started."""
        (peer,) = self.node(address).peers.values()
        assert isinstance(peer.link, MemoryLink)
        said = [frames.decode(frame).file for frame in peer.link.sent if b'"frame":"file?"' in frame[:20]]
        return [one for one in said if isinstance(one, FileRequest)]


@asynccontextmanager
async def both(*pair: tuple[str, str]) -> AsyncIterator[Desks]:
    async with stage(*pair) as play:
        desks = Desks(play, {})
        for address in play.sites:
            await desks.open(address)
        nodes = [site.running for site in play.sites.values()]
        await until(lambda: all(peer.conversation.ready for node in nodes for peer in node.peers.values()))
        yield desks
        for client in desks.clients.values():
            await client.aclose()


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[Desks]:
    async with both(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desks]:
    pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        pair = [(a, server.create_database(f"{a.lower()}_{abs(hash(tmp_path))}")) for a, _ in pair]
    async with both(*pair) as opened:
        yield opened


def problems(response: httpx.Response) -> list[tuple[str, str]]:
    return [(one["code"], one["pointer"]) for one in response.json()["errors"]]


async def parts(node: Node) -> int:
    return await node.database.read(lambda c: c.execute(select(func.count(t.file_part.c.start))).scalar_one())


# --- from one to the other -----------------------------------------------------------------------------------------------


async def test_a_file_is_fetched_when_somebody_opens_it(either: Desks) -> None:
    scan = some_bytes(3 * PART + 17)
    sent = await either.announce(1, scan)
    assert either.asked("AE") == []  # not before
    assert await parts(either.node("AE")) == 0
    listed = (await either.clients["AE"].get(f"/v1/documents/{sent}/files")).json()["files"]
    assert [(one["state"], one["held"], one["size"]) for one in listed] == [("not-fetched", 0, len(scan))]

    first = await either.get("AE", sent, scan)
    assert (first.status_code, first.json()["state"]) == (202, "fetching")
    answer = await either.get("AE", sent, scan, wait=20)
    assert answer.status_code == 200
    assert answer.content == scan
    assert answer.headers["preference-applied"] == "wait=20"
    assert [request.start for request in either.asked("AE")] == [0, PART, 2 * PART, 3 * PART]

    again = await either.get("AE", sent, scan)
    assert again.content == scan
    assert len(either.asked("AE")) == 4  # from here now
    listed = (await either.clients["AE"].get(listed[0]["links"]["self"].rpartition("/")[0])).json()["files"]
    assert [(one["state"], one["held"]) for one in listed] == [("here", len(scan))]
    events = (await either.clients["AE"].get("/v1/events")).json()["events"]
    assert [(one["kind"], one["document"]) for one in events][-1] == ("file-fetched", sent)


async def test_a_file_leaves_as_something_to_be_saved(desks: Desks) -> None:
    scan = some_bytes(1000)
    name = 'Packliste "März"/../№ 7.pdf'
    await desks.upload("BW", scan)
    sent = await submit(desks.node("BW"), notice(1, naming(scan, name)))
    headers = (await desks.get("BW", sent, scan)).headers
    assert headers["content-type"] == "application/pdf"
    assert headers["content-length"] == "1000"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].endswith("; sandbox")
    assert headers["content-disposition"] == disposition(name)
    assert 'filename="Packliste _M_rz__.._. 7.pdf"'.replace(". 7", "_ 7") in headers["content-disposition"]
    etag = {"if-none-match": headers["etag"]}
    path = f"/v1/documents/{sent}/files/{sha256(scan).hexdigest()}"
    assert (await desks.clients["BW"].get(path, headers=etag)).status_code == 304


async def test_two_files_of_one_partner_come_one_after_the_other(desks: Desks) -> None:
    one, other = some_bytes(2 * PART, 1), some_bytes(2 * PART, 2)
    sent = await desks.announce(1, one, other)
    for content in (one, other):
        await desks.get("AE", sent, content)
    for content in (one, other):
        assert (await desks.get("AE", sent, content, wait=20)).content == content
    digests = [request.digest for request in desks.asked("AE")]
    assert digests == [sha256(content).hexdigest() for content in (one, one, other, other)]


async def test_an_importer_names_files_too_and_its_partner_fetches_them(desks: Desks) -> None:
    from kpmsg import documents, jws

    sent = await desks.announce(1)
    photo = some_bytes(PART + 1)
    ae = desks.node("AE")
    await desks.upload("AE", photo)
    raw = await ae.database.read(
        lambda c: c.execute(select(t.document.c.raw).where(t.document.c.id == sent)).scalar_one()
    )
    draft = confirmation(documents.parse(jws.peek(raw).unverified_payload), sent)
    draft["data"]["attachments"] = [naming(photo, "seal.jpg", "image/jpeg")]
    back = await submit(ae, draft)
    assert await ae.received([back], 10)
    answer = await desks.get("BW", back, photo, wait=20)
    assert (answer.content, answer.headers["content-type"]) == (photo, "image/jpeg")


# --- uploads and submissions ----------------------------------------------------------------------------------------------


async def test_uploads_have_limits_at_the_byte(desks: Desks) -> None:
    client = desks.clients["BW"]
    largest = some_bytes(MAX_FILE)
    await desks.upload("BW", largest)
    too_large = await client.post("/v1/files", content=largest + b"x", headers=PDF)
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body-size")

    async def without_length() -> AsyncIterator[bytes]:
        for start in range(0, MAX_FILE + 1, PART):
            yield (largest + b"x")[start : start + PART]

    streamed = await client.post("/v1/files", content=without_length(), headers=PDF)
    assert (streamed.status_code, streamed.json()["code"]) == (413, "body-size")
    empty = await client.post("/v1/files", content=b"", headers=PDF)
    assert (empty.status_code, empty.json()["code"]) == (422, "request-invalid")
    assert await parts(desks.node("BW")) == MAX_FILE // PART
    sent = await submit(desks.node("BW"), notice(1, naming(largest)))
    assert (await desks.get("BW", sent, largest)).content == largest


async def test_the_same_file_again_is_the_same_file(desks: Desks) -> None:
    statuses = [
        (
            await desks.clients["BW"].post("/v1/files", content=b"the same", headers={"content-type": kind})
        ).status_code
        for kind in MEDIA_TYPES
    ]
    assert statuses == [201] + [200] * (len(MEDIA_TYPES) - 1)
    for kind in ("text/html", "image/svg+xml", "application/x-msdownload", ""):
        refused_ = await desks.clients["BW"].post("/v1/files", content=b"x", headers={"content-type": kind})
        assert refused_.json()["code"] == "content-type", kind


async def test_a_document_may_only_name_files_that_are_here(desks: Desks) -> None:
    client, here, away = desks.clients["BW"], some_bytes(10), some_bytes(11)
    await desks.upload("BW", here)
    drafts = [
        notice(1, naming(here)),
        notice(2, naming(here), naming(away)),
    ]

    async def tried(draft: Any, key: str) -> httpx.Response:
        return await client.post("/v1/documents", json=draft, headers={"idempotency-key": key})

    answer = await tried(drafts[1], "one")
    assert (answer.status_code, answer.json()["code"]) == (422, "document-invalid")
    assert problems(answer) == [("attachment-missing", "/data/attachments/1/sha256")]
    assert problems(await tried(drafts, "both")) == [("attachment-missing", "/1/data/attachments/1/sha256")]
    wrong = naming(here) | {"size": 11}
    assert problems(await tried(notice(3, wrong), "size")) == [
        ("attachment-size", "/data/attachments/0/size")
    ]
    huge = naming(away) | {"size": MAX_FILE + 1}
    assert ("S09", "/data/attachments/0/size") in problems(await tried(notice(4, huge), "huge"))
    many = [naming(bytes([n])) | {"size": MAX_FILE} for n in range(6)]
    assert ("S09", "/data/attachments") in problems(await tried(notice(5, *many), "many"))
    # Nothing of it was said, and the same submission succeeds once the file is here.
    await desks.upload("BW", away)
    assert (await tried(drafts, "both")).status_code == 201


async def test_what_a_document_does_not_name_is_not_found(desks: Desks) -> None:
    scan = some_bytes(10)
    sent = await desks.announce(1, scan)
    other = await desks.announce(2)
    for path in (
        f"/v1/documents/{other}/files/{sha256(scan).hexdigest()}",
        f"/v1/documents/{'0' * 64}/files/{sha256(scan).hexdigest()}",
        f"/v1/documents/{sent}/files/{'0' * 64}",
        f"/v1/documents/{sent}/files/scan.pdf",
    ):
        assert (await desks.clients["BW"].get(path)).json()["code"] == "not-found"


# --- when things go wrong -------------------------------------------------------------------------------------------------


async def test_a_lossy_doubling_wire_brings_every_file_whole(desks: Desks) -> None:
    contents = [some_bytes(2 * PART + n, n) for n in range(1, 4)]
    sent = await desks.announce(1, *contents)
    pattern = itertools.cycle(
        [LOST, DOUBLED, FAIR, UNHEARD, Weather(delay=0.15), refused(Outcome.FULL), FAIR]
    )
    for site in desks.play.sites.values():
        site.plan = lambda _n, _frame: next(pattern)
    for content in contents:
        await desks.get("AE", sent, content)
    fetched = await asyncio.gather(*(desks.get("AE", sent, content, wait=50) for content in contents))
    assert [answer.content for answer in fetched] == contents
    assert (await desks.clients["AE"].get("/v1/incidents")).json()["incidents"] == []


async def test_a_restart_goes_on_from_what_is_held(desks: Desks) -> None:
    scan = some_bytes(6 * PART)
    sent = await desks.announce(1, scan)
    given = itertools.count()

    def two_pieces_only(_n: int, frame: bytes) -> Weather:
        return LOST if frame.startswith(b'{"frame":"file",') and next(given) >= 2 else FAIR

    desks.play.sites["BW"].plan = two_pieces_only
    await desks.get("AE", sent, scan)
    for _ in range(200):
        if (await desks.get("AE", sent, scan)).json()["held"] == 2 * PART:
            break
        await asyncio.sleep(0.02)
    await desks.restart("AE")
    desks.play.sites["BW"].plan = lambda _n, _frame: FAIR
    assert (await desks.get("AE", sent, scan, wait=30)).content == scan
    assert {request.start for request in desks.asked("AE")} == {n * PART for n in range(2, 6)}


async def test_a_partner_that_is_away_is_asked_until_it_is_back(desks: Desks) -> None:
    scan = some_bytes(100)
    sent = await desks.announce(1, scan)
    desks.play.sites["AE"].plan = lambda _n, _frame: refused(Outcome.UNREACHABLE)
    assert (await desks.get("AE", sent, scan, wait=1)).status_code == 202
    desks.play.sites["AE"].plan = lambda _n, _frame: FAIR
    await submit(desks.node("BW"), notice(2))  # it is heard from
    assert (await desks.get("AE", sent, scan, wait=30)).content == scan
    assert len({request.nonce for request in desks.asked("AE")}) == 1  # one question, however often


async def test_a_partner_that_does_not_answer_keeps_nobody_from_having_the_file_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as desks:
        scan = some_bytes(PART + 100)
        sent = {}
        for n, author in enumerate(("ZA", "BW"), 1):
            await desks.upload(author, scan)
            node = desks.node(author)
            message = notice(n, naming(scan))
            if author == "ZA":
                text = {"title": "A form", "text": "See the file.", "attachments": [naming(scan)]}
                message = {"type": "message", "recipient": "AE", "data": text}
            sent[author] = await submit(node, message)
            assert await node.received([sent[author]], 10)

        async def silent(*_: Any) -> list[bytes]:
            return []

        monkeypatch.setattr(desks.node("ZA").files, "receive", silent)
        assert (await desks.get("AE", sent["ZA"], scan, wait=1)).status_code == 202
        assert (await desks.get("AE", sent["BW"], scan, wait=10)).content == scan


async def test_an_author_who_lost_everything_has_its_file_back_from_the_recipient(
    desks: Desks, tmp_path: Path
) -> None:
    empty = tmp_path / "copy.db"
    desks.play.backup(desks.play.sites["BW"], empty)
    opened, unopened = some_bytes(PART + 5, 1), some_bytes(5, 2)
    sent = await desks.announce(1, opened, unopened)
    assert (await desks.get("AE", sent, opened, wait=20)).content == opened

    bw = desks.play.sites["BW"]
    await desks.play.stop(bw)
    desks.play.restore(bw, empty)
    await desks.open("BW")
    for _ in range(500):  # the document comes back first
        if (await desks.clients["BW"].get(f"/v1/documents/{sent}")).status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert (await desks.get("BW", sent, opened, wait=20)).content == opened

    gone = await desks.get("BW", sent, unopened, wait=20)  # the recipient has never fetched that one
    assert (gone.status_code, gone.json()["code"], gone.json()["problem"]) == (
        404,
        "file-unavailable",
        "gone",
    )
    # Nobody is asked again for it, until a person says so.
    asked = len(desks.asked("BW"))
    assert (await desks.get("BW", sent, unopened)).status_code == 404
    path = f"/v1/documents/{sent}/files/{sha256(unopened).hexdigest()}/fetch"
    retried = await desks.clients["BW"].post(path, headers={"prefer": "wait=20"})
    assert (retried.status_code, len(desks.asked("BW"))) == (404, asked + 1)
    await desks.upload("BW", unopened)
    assert (await desks.get("BW", sent, unopened)).content == unopened


async def test_a_recipient_who_lost_everything_fetches_again(desks: Desks, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    scan = some_bytes(2 * PART)
    sent = await desks.announce(1, scan)
    ae = desks.play.sites["AE"]
    desks.play.backup(ae, copy)
    assert (await desks.get("AE", sent, scan, wait=20)).content == scan
    await desks.play.stop(ae)
    desks.play.restore(ae, copy)
    await desks.open("AE")
    assert (await desks.get("AE", sent, scan, wait=20)).content == scan


async def test_an_upload_ends_a_fetch(desks: Desks) -> None:
    scan = some_bytes(2 * PART)
    sent = await desks.announce(1, scan)
    desks.play.sites["AE"].plan = lambda _n, _frame: refused(Outcome.UNREACHABLE)
    waiting = asyncio.create_task(desks.get("AE", sent, scan, wait=30))
    await until(lambda: bool(desks.asked("AE")))
    await desks.upload("AE", scan)
    assert (await waiting).content == scan


async def test_a_partner_whose_node_does_not_know_such_frames_is_not_asked_for_ever(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = some_bytes(10)
    sent = await desks.announce(1, scan)
    known = dict(frames._LINES)

    def older(data: bytes) -> frames.Frame:
        monkeypatch.setattr(frames, "_LINES", {k: v for k, v in known.items() if not k.startswith("file")})
        try:
            return decode(data)
        finally:
            monkeypatch.setattr(frames, "_LINES", known)

    decode = frames.decode
    monkeypatch.setattr(frames, "decode", older)
    answer = await desks.get("AE", sent, scan, wait=20)
    assert (answer.status_code, answer.json()["problem"]) == (404, "unspoken")


# --- real wires ---------------------------------------------------------------------------------------------------------------


def settings(address: str, home: Path, broker: Broker | None = None) -> Settings:
    [port] = free_ports(1)
    more: dict[str, Any] = {"public": Public(https=f"http://127.0.0.1:{port}"), "exchange_https": True}
    if broker is not None:
        more = {"public": Public(amqps=f"127.0.0.1:{broker.port}"), "broker": broker}
    return Settings(
        address=address,
        name=f"Authority of {address}",
        roles=("export", "import"),
        home=home / address,
        passphrase=SecretStr("correct horse"),
        api=Api(port=port),
        **more,
    )


@asynccontextmanager
async def assemblies(*each: Settings) -> AsyncIterator[list[Assembly]]:
    running = [build(one) for one in each]
    try:
        for one in running:
            await one.start()
        yield running
    finally:
        for one in running:
            await one.stop()


async def from_program_to_program(bw: Assembly, ae: Assembly) -> None:
    """The SDK on both sides: upload, submit, fetch."""
    scan = some_bytes(4 * PART + 1)
    keys = {}
    for one in (bw, ae):
        at = one.node.stamp()
        keys[one] = await one.node.database.write(
            lambda c, at=at: create_caller(c, "system", tuple(Scope), at)  # type: ignore[misc]
        )

    def export() -> str:
        with NodeClient(bw.url, keys[bw], sleep=lambda _: None) as client:
            told = client.upload(scan, "application/pdf")
            draft = notice(1, {"name": "scan.pdf", "media_type": "application/pdf"} | named(told))
            return client.submit(draft, wait=30).ids[0]

    def fetch(document: str) -> bytes:
        with NodeClient(ae.url, keys[ae], sleep=lambda _: None) as client:
            (listed,) = client.files(document)
            assert listed["state"] == "not-fetched"
            return client.file(document, listed["digest"], wait=60)

    def named(told: dict[str, Any]) -> dict[str, Any]:
        return {"sha256": told["digest"], "size": told["size"]}

    sent = await asyncio.to_thread(export)
    assert await asyncio.to_thread(fetch, sent) == scan


async def test_over_direct_https(tmp_path: Path) -> None:
    one, other = settings("BW", tmp_path), settings("AE", tmp_path)
    await introduce(one, other)
    async with assemblies(one, other) as (bw, ae):
        await from_program_to_program(bw, ae)


@needs_broker
async def test_over_rabbitmq(tmp_path: Path, broker: ThrowAway) -> None:
    shared = Broker(
        host="127.0.0.1",
        port=broker.port,
        plaintext_on_loopback_only=True,
        user="guest",
        password=SecretStr("guest"),
        management=Management(
            url=f"http://127.0.0.1:{broker.management_port}", user="guest", password=SecretStr("guest")
        ),
    )
    one, other = settings("BW", tmp_path, shared), settings("AE", tmp_path, shared)
    await introduce(one, other)
    async with assemblies(one, other) as (bw, ae):
        await from_program_to_program(bw, ae)


async def test_the_client_says_what_became_of_a_file(tmp_path: Path) -> None:
    one, other = settings("BW", tmp_path), settings("AE", tmp_path)
    await introduce(one, other)
    async with assemblies(one, other) as (bw, ae):
        scan = some_bytes(PART)
        at = ae.node.stamp()
        await bw.node.files.keep([scan], sha256(scan).hexdigest())
        sent = await submit(bw.node, notice(1, naming(scan)))
        assert await bw.node.received([sent], 20)
        key = await ae.node.database.write(lambda c: create_caller(c, "system", tuple(Scope), at))
        await bw.stop()

        def fetch() -> bytes:
            with NodeClient(ae.url, key, sleep=lambda _: None) as client:
                return client.file(sent, sha256(scan).hexdigest())

        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(fetch)
        assert (caught.value.code, caught.value.status) == ("file-fetching", 202)
