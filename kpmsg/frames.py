"""Frames: what travels between two nodes, as bytes and as values (protocol/registers.md, part 2).

A frame is a few lines separated by LF. The first line is a small JSON header that names the frame, its sender and its
recipient; every further line is one JWS, byte for byte as it was signed (only in `file` it is bytes of a file). So
nothing signed is ever escaped, re-serialised or re-encoded on the way, and one spoiled document spoils its own line only.

    {"frame":"documents","from":"BW","to":"AE"}      1..256 documents follow, in their author's order of creation
    {"frame":"receipt","from":"AE","to":"BW"}        one JWS: Receipt
    {"frame":"refusal","from":"AE","to":"BW"}        one JWS: Refusal
    {"frame":"status?","from":..,"to":..,"nonce":..,"size":..,"head":..,"held_size":..,"held_head":..}
    {"frame":"status","from":..,"to":..}             one JWS: Status
    {"frame":"page?","from":..,"to":..,"nonce":..,"first":..,"before":..,"lacks":[..]}
    {"frame":"page","from":..,"to":..}               one JWS: Page, then the documents the asker lacks
    {"frame":"file?","from":..,"to":..,..}           a piece of a file is asked for     (kpmsg.fileframes)
    {"frame":"file","from":..,"to":..,..}            the piece, one line of base64url; or none, where it is not to be had

This module decides the shape of frames and of the statements inside them. It refuses to know keys: a statement
comes out of `decode` as unverified bytes, and `Receipt.read` and its siblings take a payload that
`kpmsg.verification.open_statement` has verified.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kpmsg import fileframes, strictjson
from kpmsg.errors import MalformedError
from kpmsg.fileframes import FileGone, FilePart, FileRequest, FileWord
from kpmsg.members import Members

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
MAX_DOCUMENTS: Final = 256
MAX_RECEIPT_IDS: Final = 512  # a receipt may cover several frames that were committed together
MAX_HEADER_BYTES: Final = 32 * 1024
MAX_STATEMENT_BYTES: Final = 64 * 1024

Name = Literal["documents", "receipt", "refusal", "status?", "status", "page?", "page", "file?", "file"]

TYP: Final[dict[str, str]] = {
    "receipt": "kp-receipt+jws",
    "refusal": "kp-refusal+jws",
    "status": "kp-status+jws",
    "page": "kp-page+jws",
}

_AT = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z\Z")
_ADDRESS = re.compile(r"\A[A-Z]{2}(?:/[a-z0-9][a-z0-9-]{0,31})?\Z")
_LINES: Final[dict[str, tuple[int, int]]] = {  # how many JWS lines each frame carries
    "documents": (1, MAX_DOCUMENTS),
    "receipt": (1, 1),
    "refusal": (1, 1),
    "status?": (0, 0),
    "status": (1, 1),
    "page?": (0, 0),
    "page": (1, 1 + MAX_DOCUMENTS),
    "file?": (0, 0),
    "file": (0, 1),
}


# -- what is inside ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """`ids` are safe with us at positions `first`.. of our register of your documents; it now has `size` entries.

    Sent with no ids when everything was already held. `at` is the signer's clock (RFC 3339, UTC): evidence, never logic.
    """

    first: int
    ids: tuple[str, ...]
    size: int
    head: str
    at: str

    @classmethod
    def read(cls, payload: bytes) -> Receipt:
        """From a verified payload; MalformedError if sizes contradict one another (S60)."""
        members = Members(strictjson.loads(payload, max_bytes=MAX_STATEMENT_BYTES), "a receipt")
        receipt = cls(
            first=members.integer("first", 1),
            ids=members.hashes("ids", MAX_RECEIPT_IDS),
            size=members.integer("size", 0),
            head=members.hash("head"),
            at=members.matching("at", _AT, "a time in UTC"),
        )
        if receipt.size != receipt.first - 1 + len(receipt.ids):
            raise MalformedError(
                "frame-receipt-size", "size must be first - 1 + the number of ids", pointer="/size"
            )
        return receipt

    def members(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "ids": list(self.ids),
            "size": self.size,
            "head": self.head,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes that we could not accept, named by `digest` (SHA-256 of the refused line) and, if readable, document id."""

    digest: str
    document: str | None
    code: str
    text: str
    at: str

    @classmethod
    def read(cls, payload: bytes) -> Refusal:
        """From a verified payload."""
        value = strictjson.loads(payload, max_bytes=MAX_STATEMENT_BYTES)
        members = Members(value, "a refusal")
        return cls(
            digest=members.hash("digest"),
            document=members.hash("document") if value.get("document") is not None else None,
            code=members.matching("code", re.compile(r"\A[a-z0-9-]{1,64}\Z"), "a refusal code"),
            text=members.text("text", 1000),
            at=members.matching("at", _AT, "a time in UTC"),
        )

    def members(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "document": self.document,
            "code": self.code,
            "text": self.text[:1000],
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """How far is your register of my documents, and does it agree with `head` at `size`? (unsigned; asks nothing secret)

    `held_size`, `held_head`: how far my register of yours goes. A hint, believed only as far as it makes the other side ask (R8).
    """

    nonce: str
    size: int
    head: str
    held_size: int
    held_head: str

    def members(self) -> dict[str, Any]:
        return {
            "nonce": self.nonce,
            "size": self.size,
            "head": self.head,
            "held_size": self.held_size,
            "held_head": self.held_head,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """The answer: the register's `size` and `head` now; `agrees`: its head at `asked` is the one that was asked about."""

    nonce: str
    asked: int
    agrees: bool
    size: int
    head: str
    at: str

    @classmethod
    def read(cls, payload: bytes) -> Status:
        """From a verified payload."""
        members = Members(strictjson.loads(payload, max_bytes=MAX_STATEMENT_BYTES), "a status")
        return cls(
            nonce=members.nonce("nonce"),
            asked=members.integer("asked", 0),
            agrees=members.boolean("agrees"),
            size=members.integer("size", 0),
            head=members.hash("head"),
            at=members.matching("at", _AT, "a time in UTC"),
        )

    def members(self) -> dict[str, Any]:
        return {
            "nonce": self.nonce,
            "asked": self.asked,
            "agrees": self.agrees,
            "size": self.size,
            "head": self.head,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The entries of your register of my documents from `first` on, if its head before them is `before`.

    `lacks`: ids among them whose bytes I do not have; send those along.
    """

    nonce: str
    first: int
    before: str
    lacks: tuple[str, ...] = ()

    def members(self) -> dict[str, Any]:
        return {"nonce": self.nonce, "first": self.first, "before": self.before, "lacks": list(self.lacks)}


@dataclass(frozen=True, slots=True)
class Page:
    """The answer: `ids` at positions `first`.., `head` after the last of them, `size` of the whole register."""

    nonce: str
    first: int
    ids: tuple[str, ...]
    head: str
    size: int
    at: str

    @classmethod
    def read(cls, payload: bytes) -> Page:
        """From a verified payload."""
        members = Members(strictjson.loads(payload, max_bytes=MAX_STATEMENT_BYTES), "a page")
        return cls(
            nonce=members.nonce("nonce"),
            first=members.integer("first", 1),
            ids=members.hashes("ids", MAX_DOCUMENTS),
            head=members.hash("head"),
            size=members.integer("size", 0),
            at=members.matching("at", _AT, "a time in UTC"),
        )

    def members(self) -> dict[str, Any]:
        return {
            "nonce": self.nonce,
            "first": self.first,
            "ids": list(self.ids),
            "head": self.head,
            "size": self.size,
            "at": self.at,
        }


Statement = Receipt | Refusal | Status | Page
Request = StatusRequest | PageRequest


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it travels. `lines` are unverified JWS; `request` is set for `status?` and `page?` only, `file` for the
    two frames about files, whose one line is read already.
    """

    name: Name
    sender: str
    recipient: str
    lines: tuple[bytes, ...] = ()
    request: Request | None = None
    file: FileWord | None = None

    def encode(self) -> bytes:
        header: dict[str, Any] = {"frame": self.name, "from": self.sender, "to": self.recipient}
        for said in (self.request, self.file):
            if said is not None:
                header.update(said.members())
        return b"\n".join([strictjson.dumps(header), *self.lines])


def statement_payload(statement: Statement, sender: str, recipient: str) -> bytes:
    """What the signer's node key signs: who says it to whom, and what. (The JWS `typ` says which statement it is.)"""
    return strictjson.dumps({"from": sender, "to": recipient, **statement.members()})


def addresses(payload: bytes) -> tuple[str, str]:
    """Who says a (verified) statement to whom: its members `from` and `to`."""
    members = Members(strictjson.loads(payload, max_bytes=MAX_STATEMENT_BYTES), "a statement")
    what = "an authority address"
    return members.matching("from", _ADDRESS, what), members.matching("to", _ADDRESS, what)


def statement_name(statement: Statement) -> Name:
    """The frame name, and so the JWS `typ` (`TYP`), under which a statement travels."""
    match statement:
        case Receipt():
            return "receipt"
        case Refusal():
            return "refusal"
        case Status():
            return "status"
        case Page():
            return "page"


def encode_request(request: Request, sender: str, recipient: str) -> bytes:
    """A `status?` or `page?` frame."""
    name: Name = "status?" if isinstance(request, StatusRequest) else "page?"
    return Frame(name, sender, recipient, request=request).encode()


def encode_documents(documents: Sequence[bytes], sender: str, recipient: str) -> bytes:
    """A `documents` frame of signed bytes that are copied as they are."""
    return Frame("documents", sender, recipient, tuple(documents)).encode()


def encode_file(said: FileWord, sender: str, recipient: str) -> bytes:
    """A `file?` or `file` frame."""
    match said:
        case FileRequest():
            return Frame("file?", sender, recipient, file=said).encode()
        case FilePart():
            return Frame("file", sender, recipient, (said.line(),), file=said).encode()
        case FileGone():
            return Frame("file", sender, recipient, file=said).encode()


def claimed_name(data: bytes) -> str | None:
    """The name that a frame gives itself, whatever else is wrong with it; None if that cannot be read. Decides nothing."""
    try:
        header = strictjson.loads(
            data.partition(b"\n")[0][: MAX_HEADER_BYTES + 1], max_bytes=MAX_HEADER_BYTES
        )
    except MalformedError:
        return None
    name = header.get("frame") if isinstance(header, dict) else None
    return name if isinstance(name, str) else None


def decode(data: bytes) -> Frame:
    """Read one frame. Raises MalformedError `frame-*`; the lines are neither read nor believed here."""
    if len(data) > MAX_FRAME_BYTES:
        raise MalformedError("frame-size", f"a frame has at most {MAX_FRAME_BYTES} bytes")
    first, *lines = data.split(b"\n")
    value = strictjson.loads(first, max_bytes=MAX_HEADER_BYTES, max_depth=4)
    members = Members(value, "a frame header")
    name = members.text("frame", 16)
    if name not in _LINES:
        raise MalformedError("frame-name", "no frame of this name exists in this version", pointer="/frame")
    sender = members.matching("from", _ADDRESS, "an authority address")
    recipient = members.matching("to", _ADDRESS, "an authority address")
    least, most = _LINES[name]
    if not least <= len(lines) <= most or not all(lines):
        raise MalformedError(
            "frame-lines", f"a {name!r} frame carries {least} to {most} lines, none of them empty"
        )
    request: Request | None = None
    if name == "status?":
        request = StatusRequest(
            nonce=members.nonce("nonce"),
            size=members.integer("size", 0),
            head=members.hash("head"),
            held_size=members.integer("held_size", 0),
            held_head=members.hash("held_head"),
        )
    elif name == "page?":
        request = PageRequest(
            nonce=members.nonce("nonce"),
            first=members.integer("first", 1),
            before=members.hash("before"),
            lacks=members.hashes("lacks", MAX_DOCUMENTS),
        )
    file: FileWord | None = None
    if name == "file?":
        file = FileRequest.read(members)
    elif name == "file":
        file = fileframes.read(members, lines)
    return Frame(name, sender, recipient, tuple(lines), request, file)  # type: ignore[arg-type]
