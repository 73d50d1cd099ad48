"""The form of the two frames about files, at the byte, and what a document says of its files."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from kpmsg import attachments, base64url, frames, strictjson
from kpmsg.attachments import MAX_FILE, MAX_TOTAL, Named
from kpmsg.documents import TYPES, Document, form_of
from kpmsg.documents.particulars import Attachment
from kpmsg.documents.plausible import attachment_problems
from kpmsg.errors import MalformedError
from kpmsg.fileframes import HEAD, LEAST_PART, MAX_PART, PART, FileGone, FilePart, FileRequest
from kpnode.peer import OUTBOX, Peer
from kpnode.transports import Link

NONCE = "n" * 22
DIGEST = "ab" * 32
DOCUMENT = "cd" * 32
HEADER: dict[str, Any] = {
    "frame": "file", "from": "BW", "to": "AE", "nonce": NONCE, "digest": DIGEST, "start": 0, "size": 100,
}  # fmt: skip


def frame_of(header: dict[str, Any], *lines: bytes) -> bytes:
    return b"\n".join([strictjson.dumps(header), *lines])


def line(size: int) -> bytes:
    return base64url.encode(bytes(size)).encode()


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        frames.decode(data)
    return caught.value.code


@pytest.mark.parametrize("size", [1, 2, 3, LEAST_PART, PART, MAX_PART])
def test_a_piece_comes_out_as_it_went_in(size: int) -> None:
    raw = random.Random(size).randbytes(size)
    said = FilePart(NONCE, DIGEST, 7, 7 + size, raw)
    data = frames.encode_file(said, "BW", "AE")
    decoded = frames.decode(data)
    assert decoded.file == said
    assert (decoded.request, decoded.encode()) == (None, data)
    assert data.startswith(HEAD)
    assert len(data) < frames.MAX_FRAME_BYTES
    assert b"\n\n" not in data


def test_a_question_and_the_news_that_there_is_nothing_come_out_as_they_went_in() -> None:
    for said in (FileRequest(NONCE, DIGEST, DOCUMENT, 2**53 - 1), FileGone(NONCE, DIGEST)):
        data = frames.encode_file(said, "EU/antwerp", "AE")
        assert frames.decode(data).file == said
        assert b"\n" not in data


def test_a_piece_has_its_limits_at_the_byte() -> None:
    whole = HEADER | {"size": MAX_PART + 1}
    assert frames.decode(frame_of(whole, line(MAX_PART))).file is not None
    assert refusal(frame_of(whole, line(MAX_PART + 1))) == "frame-file"
    assert frames.decode(frame_of(whole, line(LEAST_PART))).file is not None
    assert refusal(frame_of(whole, line(LEAST_PART - 1))) == "frame-file"  # and it is not the end
    assert frames.decode(frame_of(HEADER, line(100))).file is not None
    assert refusal(frame_of(HEADER, line(101))) == "frame-file"  # beyond the end
    assert refusal(frame_of(HEADER | {"start": 1}, line(100))) == "frame-file"
    assert refusal(frame_of(HEADER | {"start": 101}, line(1))) == "frame-file"


@pytest.mark.parametrize("spoiled", [b"AAB", b"AA==", b"A", b"AA+A", b"AA AA", "ÄÄ".encode(), b"\xff\xfe"])
def test_bytes_have_one_spelling(spoiled: bytes) -> None:
    assert refusal(frame_of(HEADER, spoiled)) == "frame-file"


@pytest.mark.parametrize(
    ("change", "lines", "code"),
    [
        ({}, [], "frame-lines"),
        ({}, [b""], "frame-lines"),
        ({}, [line(1), line(1)], "frame-lines"),
        ({"gone": True}, [line(100)], "frame-lines"),
        ({"gone": False}, [], "frame-lines"),
        ({"gone": None}, [line(100)], "frame-member"),
        ({"gone": 1}, [], "frame-member"),
        ({"start": -1}, [line(100)], "frame-member"),
        ({"start": 0.0}, [line(100)], "json-number"),
        ({"start": "0"}, [line(100)], "frame-member"),
        ({"size": 0}, [line(100)], "frame-member"),
        ({"size": 2**53}, [line(100)], "json-number"),
        ({"digest": DIGEST.upper()}, [line(100)], "frame-member"),
        ({"nonce": "short"}, [line(100)], "frame-member"),
    ],
)
def test_what_is_no_piece_is_refused(change: dict[str, Any], lines: list[bytes], code: str) -> None:
    header = HEADER | change
    text = b"\n".join([strictjson.dumps_foreign(header), *lines])
    assert refusal(text) == code


@pytest.mark.parametrize("member", ["nonce", "digest", "document", "start"])
def test_a_question_lacks_nothing(member: str) -> None:
    header = {"frame": "file?", "from": "AE", "to": "BW", **FileRequest(NONCE, DIGEST, DOCUMENT, 0).members()}
    assert frames.decode(frame_of(header)).file == FileRequest(NONCE, DIGEST, DOCUMENT, 0)
    assert refusal(frame_of({k: v for k, v in header.items() if k != member})) == "frame-member"
    assert refusal(frame_of(header, line(1))) == "frame-lines"


# --- what a document says -----------------------------------------------------------------------------------------------


def attachment(digest: str = DIGEST, size: int = 1, name: str = "scan.pdf") -> Attachment:
    return Attachment(name=name, media_type="application/pdf", sha256=digest, size=size)


def holding(kind: str, content: Any) -> Document:
    """A document of that kind, of which nothing matters but its content."""
    form: Any = form_of(kind)
    document: Document = form.model_construct(data=content)
    return document


def test_every_type_with_attachments_is_asked_for_them() -> None:
    """By the schemas: a type whose files this function did not find would name files that nobody has."""
    places = {}
    for kind in TYPES:
        schema = form_of(kind).model_json_schema()
        content = schema["$defs"][schema["properties"]["data"]["$ref"].rpartition("/")[2]]
        if "attachments" in content["properties"]:
            places[kind] = "/data/attachments/0"
        inner = content["properties"].get("content", {}).get("$ref", "").rpartition("/")[2]
        if "attachments" in schema["$defs"].get(inner, {}).get("properties", {}):
            places[kind] = "/data/content/attachments/0"
    assert len(places) >= 7
    for kind, place in places.items():
        holder = SimpleNamespace(attachments=(attachment(),))
        if "content" in place:
            holder = SimpleNamespace(content=holder)
        document = holding(kind, holder)
        assert attachments.named(document) == [Named(place, attachment())]
        assert attachments.find(document, DIGEST) == attachment()
        assert attachments.find(document, DOCUMENT) is None


def test_a_document_of_a_type_that_is_not_known_names_nothing() -> None:
    assert attachments.named(holding(next(iter(TYPES)), None)) == []


def test_the_limits_of_a_document_are_at_the_byte() -> None:
    def ways(*sizes: int) -> list[tuple[str, str]]:
        files = [attachment(f"{n:064x}", size, name=f"{n}.pdf") for n, size in enumerate(sizes)]
        return [(problem.code, problem.variant) for problem in attachment_problems(files)]

    assert ways() == ways(1) == ways(MAX_FILE) == ways(*[MAX_FILE] * 5) == []
    assert ways(MAX_FILE + 1) == [("S09", "file")]
    assert ways(*[MAX_FILE] * 5, 1) == [("S09", "total")]
    same = [attachment(size=size) for size in (MAX_TOTAL // 5, *[1] * 49)]
    assert {problem.code for problem in attachment_problems(same)} == {"F15"}  # one file, named fifty times
    least = [attachment(f"{n:064x}", size) for n in range(6) for size in (MAX_FILE, 1)]
    assert "total" in {
        problem.variant for problem in attachment_problems(least)
    }  # the lesser size saves none


# --- what waits to be sent ----------------------------------------------------------------------------------------------


class _Nowhere(Link):
    pass


def test_of_pieces_only_the_last_one_waits_and_receipts_stay() -> None:
    peer = Peer("AE", [], _Nowhere())  # type: ignore[abstract]
    pieces = [frames.encode_file(FilePart(NONCE, DIGEST, n, 9, b"x" * (9 - n)), "BW", "AE") for n in range(9)]
    receipts = [b'{"frame":"receipt","from":"BW","to":"AE"}\n%d' % n for n in range(OUTBOX - 1)]
    peer.post(receipts[:100])
    for piece in pieces:
        peer.post([piece])
    peer.post(receipts[100:])
    assert sorted(peer.outbox) == sorted([*receipts, pieces[-1]])
