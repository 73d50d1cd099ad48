"""Writes `protocol/frames/`: schemas of what frames say, and one real exchange. Run `python -m tests.schemas.frames`.

Each schema describes the members of one dataclass of `kpmsg.frames`; what JSON Schema cannot say (`size` follows from `first` and
`ids`, a hash chain leads from head to head) is in `protocol/registers.md`. The example is signed with the published test keys of
`protocol/vectors`, so that it comes out the same each time and anybody can check it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Final

from kpmsg import base64url, frames, jws, register, strictjson
from kpmsg.fileframes import FilePart, FileRequest
from kpmsg.frames import Page, PageRequest, Receipt, Refusal, Request, Statement, Status, StatusRequest
from kpmsg.members import MAX_SIZE
from kpmsg.register import Conversation, Head, Item, extend
from tests.vectors import generate

FOLDER: Final = Path(__file__).parents[2] / "protocol" / "frames"
Json = dict[str, Any]

ADDRESS: Final[Json] = {"type": "string", "pattern": "^[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?$"}
HASH: Final[Json] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
NONCE: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{16,64}$"}
CODE: Final[Json] = {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}


def _text(most: int, description: str) -> Json:
    return {"type": "string", "maxLength": most, "description": description}


def _whole(least: int, description: str) -> Json:
    return {"type": "integer", "minimum": least, "maximum": MAX_SIZE, "description": description}


def _hashes(most: int, description: str) -> Json:
    return {"type": "array", "items": HASH, "uniqueItems": True, "maxItems": most, "description": description}


_AT: Final[Json] = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$",
    "description": "The signer's clock, UTC. Evidence; nothing is decided by it.",
}
_SIZE: Final = _whole(0, "How many entries the register has.")

MEMBERS: Final[Mapping[type, Mapping[str, Json]]] = {
    Receipt: {
        "first": _whole(1, "Position of the first of `ids`; one more than the size, if there are none."),
        "ids": _hashes(frames.MAX_RECEIPT_IDS, "New entries, in their order."),
        "size": _SIZE,
        "head": HASH | {"description": "The register's head after these entries."},
        "at": _AT,
    },
    Refusal: {
        "digest": HASH
        | {"description": "SHA-256 of the refused line, or of the frame if it was refused as a whole."},
        "document": {
            "anyOf": [HASH, {"type": "null"}],
            "description": "The id the document would have, if readable.",
        },
        "code": CODE | {"description": "See refusals.md."},
        "text": _text(1000, "For people; never matched."),
        "at": _AT,
    },
    Status: {
        "nonce": NONCE | {"description": "Copied from the question."},
        "asked": _whole(0, "`size` of the question."),
        "agrees": {
            "type": "boolean",
            "description": "The register's head at `asked` entries is the one asked about.",
        },
        "size": _SIZE,
        "head": HASH | {"description": "The register's head now."},
        "at": _AT,
    },
    Page: {
        "nonce": NONCE | {"description": "Copied from the question."},
        "first": _whole(1, "Copied from the question."),
        "ids": _hashes(frames.MAX_DOCUMENTS, "The entries from `first` on; none if the heads before differ."),
        "head": HASH | {"description": "The register's head after these entries."},
        "size": _SIZE,
        "at": _AT,
    },
    StatusRequest: {
        "nonce": NONCE | {"description": "Fresh, from at least 128 random bits."},
        "size": _whole(0, "How many entries the asker knows by signature."),
        "head": HASH | {"description": "The head at that size."},
        "held_size": _whole(0, "How many entries the asker's own register of the other's documents has."),
        "held_head": HASH | {"description": "The head of that register."},
    },
    PageRequest: {
        "nonce": NONCE | {"description": "Fresh, from at least 128 random bits."},
        "first": _whole(1, "Position of the first entry wanted."),
        "before": HASH | {"description": "The head before it, as the asker knows it."},
        "lacks": _hashes(frames.MAX_DOCUMENTS, "Ids whose documents are to come along."),
    },
    FileRequest: {
        "nonce": NONCE | {"description": "Fresh, from at least 128 random bits."},
        "digest": HASH | {"description": "SHA-256 of the file."},
        "document": HASH | {"description": "Id of the document that names it."},
        "start": _whole(0, "The first byte wanted."),
    },
    FilePart: {
        "nonce": NONCE | {"description": "Copied from the question."},
        "digest": HASH | {"description": "Copied from the question."},
        "start": _whole(0, "Copied from the question."),
        "size": _whole(1, "Bytes of the whole file."),
    },
}
OPTIONAL: Final[Mapping[type, Collection[str]]] = {Refusal: {"document"}}
"""Members that may be left out, with the same meaning as `null`."""

NAMES: Final[Mapping[type, str]] = {
    Receipt: "receipt",
    Refusal: "refusal",
    Status: "status",
    Page: "page",
    StatusRequest: "status?",
    PageRequest: "page?",
    FileRequest: "file?",
    FilePart: "file",
}
"""The frame in which each travels."""


def key_of(frame: str) -> str:
    """A frame's name where a question mark may not stand: in file names, in AsyncAPI."""
    return frame.replace("?", "-request")


def schema(kind: type) -> Json:
    """The schema of a statement's payload, or of a question's header."""
    names = [field.name for field in dataclasses.fields(kind) if field.name != "raw"]  # which is the line
    if set(names) != set(MEMBERS[kind]):
        raise ValueError(f"{kind.__name__} has other members than described here")
    frame = NAMES[kind]
    parties: Json = {
        "from": ADDRESS | {"description": "Who says it."},
        "to": ADDRESS | {"description": "To whom."},
    }
    if kind in {StatusRequest, PageRequest, FileRequest, FilePart}:
        parties = {"frame": {"const": frame}} | parties
    members = parties | {name: MEMBERS[kind][name] for name in names}
    if kind is FilePart:
        return _file_schema(members)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:kimberley:frame:{key_of(frame)}:v1",
        "title": f"{frame}, version 1",
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in OPTIONAL.get(kind, ())],
    }


def _file_schema(members: Json) -> Json:
    """The header of a `file` frame: of a piece, or of the news that there is none."""
    piece = {name: members.pop(name) for name in ("start", "size")}
    gone = {"properties": {"gone": {"const": True}}, "required": ["gone"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:kimberley:frame:file:v1",
        "title": "file, version 1",
        "type": "object",
        "properties": members,
        "required": list(members),
        "if": gone,
        "else": {"properties": piece | {"gone": {"const": False}}, "required": list(piece)},
    }


def header_schema() -> Json:
    """The schema of the first line of the frames that ask nothing."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:kimberley:frame:header:v1",
        "title": "First line of a frame, version 1",
        "type": "object",
        "properties": {
            "frame": {"enum": [name for name in frames._LINES if not name.endswith("?")]},
            "from": ADDRESS | {"description": "Whose node sends it."},
            "to": ADDRESS | {"description": "Whose node it is for."},
        },
        "required": ["frame", "from", "to"],
    }


# --- a real exchange --------------------------------------------------------------------------------------------------

NUMBERS: Final = ("BW 012345", "BW 012346", "BW 012347")
AT: Final = "2026-03-02T10:00:01.250Z"


def documents() -> list[bytes]:
    """Three export notifications from BW to AE, signed."""
    key = generate.Vectors({}).key("bw-document")
    signed = []
    for index, number in enumerate(NUMBERS, 1):
        payload = generate.payload(id=f"019cb000-0000-7000-8000-{index:012}", subject=number.replace(" ", ""))
        payload["data"]["certificate"]["number_raw"] = number
        signed.append(jws.sign(strictjson.dumps(payload), jws.DOCUMENT, [key]))
    return signed


def ids() -> list[str]:
    """Their document ids."""
    return [sha256(jws.peek(raw).unverified_payload).hexdigest() for raw in documents()]


@dataclasses.dataclass
class Book:
    """One side's ledger in memory: `held` of what it receives, `known` and `written` of what it sends."""

    held_list: list[str] = dataclasses.field(default_factory=list)
    known_list: list[str] = dataclasses.field(default_factory=list)
    written: list[str] = dataclasses.field(default_factory=list)

    def held(self) -> Head:
        return extend(Head(), self.held_list)[1]

    def held_head(self, size: int) -> str | None:
        return _head(self.held_list, size)

    def held_ids(self, first: int, count: int) -> Sequence[str]:
        return self.held_list[first - 1 : first - 1 + count]

    def among_held(self, ids: Collection[str]) -> Collection[str]:
        return set(ids) & set(self.held_list)

    def known(self) -> Head:
        return extend(Head(), self.known_list)[1]

    def known_head(self, size: int) -> str | None:
        return _head(self.known_list, size)

    def among_known(self, ids: Collection[str]) -> Collection[str]:
        return set(ids) & set(self.known_list)

    def ours(self, ids: Collection[str]) -> Collection[str]:
        return set(ids) & set(self.written)

    def withheld(self, ids: Collection[str]) -> Collection[str]:
        return ()

    def claimant(self, claim: str) -> tuple[str, bool] | None:
        return None

    def record(self, changes: Sequence[register.Change]) -> list[str]:
        """Apply what the core asks for, and say it in a few words."""
        said = []
        for change in changes:
            match change:
                case register.Believe(entries):
                    self.known_list += [entry.id for entry in entries]
                    said.append(f"believes entries {_span(entries[0].position, entries[-1].position)}")
                case register.Shorten(size):
                    said.append(f"sends again entries {_span(size + 1, len(self.known_list))}")
                    del self.known_list[size:]
                case register.TakeBack(items):
                    self.written += [item.id for item in items]
                    said.append(f"takes back {len(items)} documents")
                case register.Report(kind, _):
                    said.append(f"reports {kind}")
        return said


@dataclasses.dataclass(frozen=True)
class _Item:
    id: str
    claim: str | None = None


def _head(entries: Sequence[str], size: int) -> str | None:
    return extend(Head(), entries[:size])[1].head if 0 <= size <= len(entries) else None


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def repair(asker: Book, holder: Book) -> Iterator[tuple[Request | Statement, list[str]]]:
    """Every question of `asker` (BW) and answer of `holder` (AE), with what the asker then does, until all is settled."""
    nonces = (base64url.encode(f"example nonce {number:02}".encode()) for number in count(1))
    step = register.ask(Conversation(), asker, next(nonces))
    while step.say:
        (question,) = step.say
        assert not isinstance(question, Statement)
        yield question, []
        if isinstance(question, StatusRequest):
            (answer,) = register.on_status_request(
                Conversation(), question, holder, lambda: next(nonces), AT
            ).say
        else:
            answer = register.on_page_request(question, holder, AT)
        conversation = step.conversation
        if isinstance(answer, Status):
            step = register.on_status(conversation, answer, asker, lambda: next(nonces), AT)
        else:
            assert isinstance(question, PageRequest)
            assert isinstance(answer, Page)
            back: dict[str, Item] = {lacking: _Item(lacking) for lacking in question.lacks}
            step = register.on_page(conversation, answer, back, asker, lambda: next(nonces), AT)
        assert isinstance(answer, Status | Page)
        yield answer, asker.record(step.changes) + (["settled"] if step.settled else [])


def repairs() -> dict[str, list[tuple[Request | Statement, list[str]]]]:
    """Both ways of losing something: the receiver was restored to one entry, or the sender forgot all but the first."""
    names = ids()
    receiver_restored = repair(Book(known_list=names[:], written=names[:]), Book(held_list=names[:1]))
    sender_restored = repair(Book(known_list=names[:1], written=names[:1]), Book(held_list=names[:]))
    return {"receiver": list(receiver_restored), "sender": list(sender_restored)}


def transcript(which: str) -> str:
    """One of `repairs`, as it stands in protocol/registers.md: hashes by their first eight digits."""
    lines = []
    for said, then in repairs()[which]:
        who, name = (
            ("BW", NAMES[type(said)])
            if isinstance(said, StatusRequest | PageRequest)
            else ("AE", NAMES[type(said)])
        )
        left_out = {"nonce", "at", "held_size", "held_head"}
        members = {k: v for k, v in said.members().items() if k not in left_out}
        told = "  ".join(f"{k} {_short(v)}" for k, v in members.items())
        lines.append(f"{who}  {name:<8} {told}".rstrip())
        lines += [f"      BW {act}" for act in then]
    return "\n".join(lines) + "\n"


def _short(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "[" + " ".join(_short(one) for one in value) + "]"
        case str():
            return value[:8]
    return str(value)


def _signed(statement: Statement, attached: Sequence[bytes] = ()) -> bytes:
    """AE's statement to BW, as a frame."""
    node = generate.Vectors({}).key("ae-node")
    name = frames.statement_name(statement)
    signed = jws.sign(frames.statement_payload(statement, "AE", "BW"), frames.TYP[name], [node])
    return frames.Frame(name, "AE", "BW", (signed, *attached)).encode()


def exchange() -> dict[str, bytes]:
    """One frame of each kind, by name."""
    names = ids()
    _, end = extend(Head(), names)
    spoiled = documents()[0].replace(b'"signature":"', b'"signature":"A', 1)
    questions = {}
    for said, _ in repairs()["sender"]:  # the last of each kind: the page with its documents
        if isinstance(said, StatusRequest | PageRequest):
            questions[key_of(NAMES[type(said)])] = frames.encode_request(said, "BW", "AE")
        else:
            questions[NAMES[type(said)]] = _signed(said, documents()[1:] if isinstance(said, Page) else ())
    return {
        "documents": frames.encode_documents(documents(), "BW", "AE"),
        "receipt": _signed(Receipt(1, tuple(names), end.size, end.head, AT)),
        "refusal": _signed(
            Refusal(sha256(spoiled).hexdigest(), None, "jws-encoding", "not base64url: impossible length", AT)
        ),
        **questions,
        **file_exchange(),
    }


FILE: Final = b"parcel,carats\nNo. 1,1050.50\nNo. 2,149.50\nas weighed at sealing\n"


def naming() -> Json:
    """How a document names that file."""
    digest = sha256(FILE).hexdigest()
    return {"name": "packing list.csv", "media_type": "text/csv", "sha256": digest, "size": len(FILE)}


def file_exchange() -> dict[str, bytes]:
    """AE asks for the file, and has it."""
    payload = generate.payload(id="019cb000-0000-7000-8000-000000000004", subject="BW012348")
    payload["data"]["certificate"]["number_raw"] = "BW 012348"
    payload["data"]["attachments"] = [naming()]
    nonce = base64url.encode(b"example nonce 05")
    asked = FileRequest(nonce, naming()["sha256"], sha256(strictjson.dumps(payload)).hexdigest(), 0)
    part = FilePart(nonce, asked.digest, 0, len(FILE), FILE)
    return {
        "file-request": frames.encode_file(asked, "AE", "BW"),
        "file": frames.encode_file(part, "BW", "AE"),
    }


def build() -> dict[str, bytes]:
    """Every file, by its name under `protocol/frames`."""
    described = {key_of(NAMES[kind]): schema(kind) for kind in MEMBERS} | {"header": header_schema()}
    files = {
        f"{name}.schema.json": (json.dumps(one, indent=2) + "\n").encode() for name, one in described.items()
    }
    return files | {f"{name}.frame": frame for name, frame in exchange().items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in build().items():
        (FOLDER / name).write_bytes(content)
