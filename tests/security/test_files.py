"""Files, part D of the security catalogue: who gets one, and what a partner can make us keep, hold or believe.

As in test_registers.py everything hostile comes over the partner's own link, so it is authentic; only it is not what it should be.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from kpmsg import frames, jws, strictjson
from kpmsg.errors import DraftError
from kpmsg.fileframes import LEAST_PART, PART, FileGone, FilePart, FileRequest, FileWord
from kpnode.api import build_app
from kpnode.api.files import disposition
from kpnode.node import Node
from kpnode.store import files as store
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.store.files import FileRow
from kpnode.transports.memory import FAIR, LOST, MemoryLink
from tests.exchange import Stage, stage, submit, trade, until

SECRET = random.Random(1).randbytes(2 * PART)
DIGEST = sha256(SECRET).hexdigest()
NONCE = "n" * 22


def named(content: bytes = SECRET) -> dict[str, Any]:
    return {
        "name": "scan.pdf",
        "media_type": "application/pdf",
        "sha256": sha256(content).hexdigest(),
        "size": len(content),
    }


@dataclass
class Scene:
    """BW has sent AE a document that names SECRET; ZA is a partner of both. The tests speak for whom they like."""

    play: Stage
    document: str

    def node(self, address: str) -> Node:
        return self.play.sites[address].running

    async def says(self, sender: str, to: str, *words: FileWord) -> list[FileWord]:
        """What `to` answers to one delivery from `sender`."""
        replies = await self.node(to).receive(sender, [frames.encode_file(one, sender, to) for one in words])
        said = [frames.decode(reply).file for reply in replies]
        return [one for one in said if one is not None]

    async def names(self, sender: str, to: str, attachment: dict[str, Any], n: int = 5) -> str:
        """A notification of `sender` to `to` that names a file, which `sender` says it has."""
        draft = trade(sender, to).notification(n)
        draft["data"]["attachments"] = [attachment]
        pretended = [b"x" * attachment["size"]]  # a hostile node does not look
        await self.node(sender).database.write(
            lambda c: store.keep(c, attachment["sha256"], pretended, "2026-11-02T08:00:00.000Z")
        )
        sent = await submit(self.node(sender), draft)
        assert await self.node(sender).received([sent], 10)
        return sent

    async def wants(self, *, again: bool = False) -> FileRequest:
        """Somebody at AE opens the file; the question that goes out."""
        files = self.node("AE").files
        await files.fetch(DIGEST, len(SECRET), self.document, "BW", again=again)
        return await self.asked()

    async def asked(self, times: int = 1) -> FileRequest:
        """The newest question of AE to BW, when there have been so many different ones."""

        def questions() -> dict[str, FileRequest]:
            link = self.node("AE").peers["BW"].link
            assert isinstance(link, MemoryLink)
            found = [frames.decode(one).file for one in link.sent if b'"file?"' in one[:20]]
            return {one.nonce: one for one in found if isinstance(one, FileRequest)}

        await until(lambda: len(questions()) >= times)
        return list(questions().values())[-1]

    async def answer(self, request: FileRequest, raw: bytes, **otherwise: Any) -> None:
        """BW's answer to a question, sound but for `otherwise`."""
        members = {
            "nonce": request.nonce,
            "digest": request.digest,
            "start": request.start,
            "size": len(SECRET),
        }
        await self.says("BW", "AE", FilePart(**{**members, **otherwise}, raw=raw))

    async def row(self) -> FileRow:
        row = await self.node("AE").database.read(lambda c: store.file(c, DIGEST))
        assert row is not None
        return row

    async def kept(self) -> int:
        """Bytes of files at AE."""
        query = select(func.coalesce(func.sum(func.length(t.file_part.c.raw)), 0))
        return int(await self.node("AE").database.read(lambda c: c.execute(query).scalar_one()))

    async def incidents(self) -> list[str]:
        query = select(t.incident.c.kind).order_by(t.incident.c.seq)
        return list(await self.node("AE").database.read(lambda c: c.execute(query).scalars().all()))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as play:
        nodes = [site.running for site in play.sites.values()]
        await until(lambda: all(peer.conversation.ready for node in nodes for peer in node.peers.values()))
        bw = play.sites["BW"].running
        await bw.files.keep([SECRET[:PART], SECRET[PART:]], DIGEST)
        draft = trade().notification(1)
        draft["data"]["attachments"] = [named()]
        sent = await submit(bw, draft)
        assert await bw.received([sent], 10)
        # From here on BW's own node hears no questions: the tests answer for it.
        play.sites["AE"].plan = lambda _n, frame: LOST if b'"file?"' in frame[:20] else FAIR
        yield Scene(play, sent)


async def client_of(node: Node) -> httpx.AsyncClient:
    """A program of the node's own authority."""
    at = node.stamp()
    key = await node.database.write(lambda c: create_caller(c, "system", tuple(Scope), at))
    transport, headers = httpx.ASGITransport(build_app(node)), {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=transport, base_url="http://node.test", headers=headers)


# --- S127: who gets a file ----------------------------------------------------------------------------------------------


async def test_S127_a_digest_alone_opens_nothing(scene: Scene) -> None:
    nothing = [FileGone(NONCE, DIGEST)]
    for partner, document in (("ZA", scene.document), ("ZA", "0" * 64), ("AE", "0" * 64)):
        assert await scene.says(partner, "BW", FileRequest(NONCE, DIGEST, document, 0)) == nothing
    other = await scene.names("BW", "ZA", named(b"another file"))
    assert await scene.says("ZA", "BW", FileRequest(NONCE, DIGEST, other, 0)) == nothing
    # The one to whom it was named has it.
    (part,) = await scene.says("AE", "BW", FileRequest(NONCE, DIGEST, scene.document, 0))
    assert isinstance(part, FilePart)
    assert part.raw == SECRET[:PART]


async def test_S127_who_names_anothers_file_does_not_get_it(scene: Scene) -> None:
    """ZA has learned the digest of what BW gave AE, and writes a document of its own that names it."""
    scene.play.sites["AE"].plan = lambda _n, _frame: FAIR
    ae = scene.node("AE")
    await ae.files.fetch(DIGEST, len(SECRET), scene.document, "BW")
    await ae.files.settled(DIGEST, 20)
    assert (await scene.row()).whole
    own = await scene.names("ZA", "AE", named())
    await ae.files.fetch(DIGEST, len(SECRET), own, "ZA")
    assert await scene.says("ZA", "AE", FileRequest(NONCE, DIGEST, own, 0)) == [FileGone(NONCE, DIGEST)]
    # Its author may have it back.
    (part,) = await scene.says("BW", "AE", FileRequest(NONCE, DIGEST, scene.document, PART))
    assert isinstance(part, FilePart)
    assert part.raw == SECRET[PART:]


async def test_S127_who_gives_the_end_only_does_not_get_the_rest(scene: Scene) -> None:
    question = await scene.wants()
    await scene.answer(question, SECRET[:PART])
    assert (await scene.row()).held == PART
    own = await scene.names("ZA", "AE", named())
    scene.play.sites["AE"].plan = lambda _n, _frame: LOST
    row = await scene.node("AE").files.fetch(DIGEST, len(SECRET), own, "ZA", again=True)
    assert (row.held, row.wanted_from, await scene.kept()) == (0, "ZA", 0)


async def test_S127_our_own_upload_is_not_given_to_whoever_was_being_asked(scene: Scene) -> None:
    await scene.wants()
    await scene.node("AE").files.keep([SECRET[:PART], SECRET[PART:]], DIGEST)
    request = FileRequest(NONCE, DIGEST, scene.document, 0)
    assert await scene.says("BW", "AE", request) == [FileGone(NONCE, DIGEST)]


async def test_S127_a_withheld_document_opens_nothing(scene: Scene) -> None:
    withheld = update(t.document).where(t.document.c.id == scene.document).values(withheld="said twice")
    await scene.node("BW").database.write(lambda c: c.execute(withheld))
    request = FileRequest(NONCE, DIGEST, scene.document, 0)
    assert await scene.says("AE", "BW", request) == [FileGone(NONCE, DIGEST)]


async def test_S127_half_a_file_is_given_to_nobody(scene: Scene) -> None:
    question = await scene.wants()
    await scene.answer(question, SECRET[:PART])
    request = FileRequest(NONCE, DIGEST, scene.document, 0)
    assert await scene.says("BW", "AE", request) == [FileGone(NONCE, DIGEST)]


@pytest.mark.parametrize("start", [2 * PART, 2 * PART + 1, 2**53 - 1])
async def test_S127_beyond_the_end_is_nothing(scene: Scene, start: int) -> None:
    request = FileRequest(NONCE, DIGEST, scene.document, start)
    assert await scene.says("AE", "BW", request) == [FileGone(NONCE, DIGEST)]
    last = FileRequest(NONCE, DIGEST, scene.document, 2 * PART - 1)
    (part,) = await scene.says("AE", "BW", last)
    assert isinstance(part, FilePart)
    assert part.raw == SECRET[-1:]


async def test_S127_a_node_that_may_have_forgotten_does_not_say_gone(scene: Scene) -> None:
    peer = scene.node("BW").peers["AE"]
    ready = peer.conversation
    peer.conversation = type(ready)()
    request = FileRequest(NONCE, DIGEST, "0" * 64, 0)
    assert await scene.says("AE", "BW", request) == []
    peer.conversation = ready
    assert await scene.says("AE", "BW", request) == [FileGone(NONCE, DIGEST)]


# --- S128: bytes that are not the file ----------------------------------------------------------------------------------


async def test_S128_other_bytes_are_thrown_away_and_told(scene: Scene) -> None:
    question = await scene.wants()
    for attempt in range(3):
        await scene.answer(question, SECRET[:PART])
        second = await scene.asked(2 * attempt + 2)
        assert second.start == PART
        await scene.answer(second, SECRET[PART:-1] + bytes([SECRET[-1] ^ 1]))
        assert await scene.kept() == 0
        if attempt < 2:
            question = await scene.asked(2 * attempt + 3)
            assert question.start == 0
    assert await scene.incidents() == ["file-differs"] * 3
    row = await scene.row()
    assert (row.held, row.problem) == (0, "differs")
    # It is asked for no more, until a person says so; then it can be had after all.
    assert (
        await scene.node("AE").files.fetch(DIGEST, len(SECRET), scene.document, "BW")
    ).problem == "differs"
    await scene.wants(again=True)
    question = await scene.asked(7)
    await scene.answer(question, SECRET[:PART])
    await scene.answer(await scene.asked(8), SECRET[PART:])
    assert (await scene.row()).whole


@pytest.mark.parametrize("size", [len(SECRET) - 1, len(SECRET) + 1, 2**53 - 1])
async def test_S128_another_size_than_was_signed_is_another_file(scene: Scene, size: int) -> None:
    question = await scene.wants()
    await scene.answer(question, SECRET[:PART], size=size)
    assert await scene.kept() == 0
    assert await scene.incidents() == ["file-differs"]


async def test_S128_bytes_that_nobody_asked_for_are_not_kept(scene: Scene) -> None:
    await scene.says("BW", "AE", FilePart(NONCE, DIGEST, 0, len(SECRET), SECRET[:PART]))
    assert await scene.kept() == 0
    question = await scene.wants()
    whole = SECRET[:PART]
    await scene.answer(question, whole, nonce="m" * 22)
    await scene.answer(question, whole, digest="ab" * 32)
    await scene.answer(question, whole, start=PART)
    part = FilePart(question.nonce, DIGEST, 0, len(SECRET), whole)
    await scene.says("ZA", "AE", part)  # the right answer, by somebody else
    assert await scene.kept() == 0
    await scene.says("BW", "AE", part, part, part)
    await scene.says("BW", "AE", part)
    assert await scene.kept() == PART
    counted = scene.node("AE").counts["files", "unasked"]
    assert counted == 1 + 3 + 1 + 2 + 1
    assert await scene.incidents() == []


async def test_S128_an_old_gone_does_not_end_a_new_question(scene: Scene) -> None:
    question = await scene.wants()
    await scene.says("BW", "AE", FileGone(question.nonce, DIGEST))
    assert (await scene.row()).problem == "gone"
    await scene.wants(again=True)
    anew = await scene.asked(2)
    assert anew.nonce != question.nonce
    await scene.says("BW", "AE", FileGone(question.nonce, DIGEST))
    assert (await scene.row()).problem is None


async def test_S128_the_same_answer_twice_at_one_time_is_taken_once(scene: Scene) -> None:
    question = await scene.wants()
    part = FilePart(question.nonce, DIGEST, 0, len(SECRET), SECRET[:PART])
    await asyncio.gather(*(scene.says("BW", "AE", part) for _ in range(8)))
    assert await scene.kept() == PART
    assert await scene.incidents() == []


@pytest.mark.parametrize(
    "change",
    [
        {"start": -1},
        {"start": 2**53},
        {"size": -5},
        {"size": "9" * 400},
        {"start": len(SECRET)},
        {"gone": True},
    ],
)
async def test_S128_what_is_no_piece_is_quarantined(scene: Scene, change: dict[str, Any]) -> None:
    question = await scene.wants()
    sound = frames.encode_file(FilePart(question.nonce, DIGEST, 0, len(SECRET), SECRET[:PART]), "BW", "AE")
    header, _, line = sound.partition(b"\n")
    spoiled = strictjson.dumps_foreign({**strictjson.loads(header), **change}) + b"\n" + line
    (reply,) = await scene.node("AE").receive("BW", [spoiled])
    assert frames.decode(reply).name == "refusal"
    assert await scene.kept() == 0
    # The question is still open, and a sound answer is taken.
    await scene.node("AE").receive("BW", [sound])
    assert await scene.kept() == PART


# --- S129: how much somebody can make us hold or do -----------------------------------------------------------------------


async def test_S129_crumbs_are_refused(scene: Scene) -> None:
    """A byte a frame would be ten million commits."""
    question = await scene.wants()
    sound = FilePart(question.nonce, DIGEST, 0, len(SECRET), SECRET[:LEAST_PART])
    crumb = FilePart(question.nonce, DIGEST, 0, len(SECRET), SECRET[: LEAST_PART - 1])
    (reply,) = await scene.node("AE").receive("BW", [frames.encode_file(crumb, "BW", "AE")])
    assert frames.decode(reply).name == "refusal"
    assert await scene.kept() == 0
    await scene.says("BW", "AE", sound)
    assert await scene.kept() == LEAST_PART


async def test_S129_a_hundred_questions_at_once_are_one(scene: Scene) -> None:
    asked = [FileRequest(f"{n:022}", DIGEST, scene.document, 0) for n in range(100)]
    (part,) = await scene.says("AE", "BW", *asked)
    assert part.nonce == f"{99:022}"
    # Nor do answers pile up for a partner who does not take them.
    bw, sent = scene.node("BW"), scene.play.sites["BW"]
    sent.plan = lambda _n, _frame: LOST
    bw.peers["AE"].schedule.failed([], 0.0, reachable=False, maybe=False, problem="away")
    for one in asked[:20]:
        bw.post("AE", await bw.receive("AE", [frames.encode_file(one, "AE", "BW")]))
    held = [frame for frame in bw.peers["AE"].outbox if frame.startswith(b'{"frame":"file",')]
    assert len(held) <= 1


async def told_by_another_implementation(scene: Scene, attachment: dict[str, Any]) -> str:
    """The id of a document at AE that names a file as our own software would not sign it (S09)."""
    ae = scene.node("AE")
    raw = await ae.database.read(
        lambda c: c.execute(select(t.document.c.raw).where(t.document.c.id == scene.document)).scalar_one()
    )
    payload = strictjson.loads(jws.peek(raw).unverified_payload)
    payload["id"] = "019cb000-0000-7000-8000-000000000009"
    payload["subject"], payload["data"]["certificate"]["number_raw"] = "BW000909", "BW 000909"
    payload["data"]["attachments"] = [attachment]
    signed = jws.sign(strictjson.dumps(payload), jws.DOCUMENT, [scene.play.sites["BW"].keys.document])
    await ae.receive("BW", [frames.encode_documents([signed], "BW", "AE")])
    return sha256(jws.peek(signed).unverified_payload).hexdigest()


async def test_S129_a_file_larger_than_files_may_be_is_not_asked_for(scene: Scene) -> None:
    ae = scene.node("AE")
    document = await told_by_another_implementation(scene, named() | {"size": 2**40})
    async with await client_of(ae) as client:
        answer = await client.get(f"/v1/documents/{document}/files/{DIGEST}")
        assert (answer.status_code, answer.json()["problem"]) == (404, "too-large")
    assert await ae.database.read(lambda c: store.file(c, DIGEST)) is None


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/javascript"])
async def test_S19_what_a_browser_would_run_is_given_out_as_nothing_in_particular(
    scene: Scene, media_type: str
) -> None:
    ae = scene.node("AE")
    attachment = named() | {"media_type": media_type, "name": '../../<b>"x";.html'}
    draft = trade().notification(7)
    draft["data"]["attachments"] = [attachment]
    with pytest.raises(DraftError) as refused:
        await submit(scene.node("BW"), draft)
    assert "S09" in {problem.code for problem in refused.value.problems}
    document = await told_by_another_implementation(scene, attachment)
    await ae.files.keep([SECRET[:PART], SECRET[PART:]], DIGEST)
    async with await client_of(ae) as client:
        headers = (await client.get(f"/v1/documents/{document}/files/{DIGEST}")).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].endswith("; sandbox")
    plain, _, whole = headers["content-disposition"].partition("; filename*=")
    assert plain == 'attachment; filename="_..__b__x__.html"'
    assert not set(whole) & set('<>"/\\;')


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("packing list.pdf", "packing list.pdf", "packing%20list.pdf"),
        ("../../etc/passwd", "_.._etc_passwd", "_.._etc_passwd"),
        ("C:\\autoexec.bat", "C__autoexec.bat", "C__autoexec.bat"),
        ("inv\u202efdp.exe", "inv_fdp.exe", "inv_fdp.exe"),  # would be read as "invexe.pdf"
        ("№ 7.pdf", "_ 7.pdf", "%E2%84%96%207.pdf"),
        ("a\r\nSet-Cookie: x", "a__Set-Cookie_ x", "a__Set-Cookie_%20x"),
        ("...", "file", "file"),
    ],
)
def test_S20_the_name_of_a_file_stays_a_name(name: str, plain: str, whole: str) -> None:
    assert disposition(name) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
