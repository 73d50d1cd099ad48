"""The frames by which a file travels, piece by piece (protocol/attachments.md, G4 and G5).

    {"frame":"file?",..,"nonce":..,"digest":..,"document":..,"start":..}     the bytes from `start` on, please
    {"frame":"file",..,"nonce":..,"digest":..,"start":..,"size":..}          one line: these, in base64url
    {"frame":"file",..,"nonce":..,"digest":..,"gone":true}                   not to be had, for whatever reason

None of them is signed. What a file must be is said by the signed document that names its digest, and who is speaking is proved by the
transport. This module decides the form of the three; whether a piece was asked for, and whose files may be given to whom, is for
`kpnode.files` and the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kpmsg import base64url
from kpmsg.errors import MalformedError
from kpmsg.members import Members

MAX_PART: Final = 1024 * 1024
"""Bytes of a file in one frame, at most."""

LEAST_PART: Final = 64 * 1024
"""And at least, except at the end of the file: so ten megabytes are at most 160 questions, whoever answers."""

PART: Final = 256 * 1024
"""How many we send: little enough not to hold up documents on a slow line, which travel between two of them."""

HEAD: Final = b'{"frame":"file",'
"""How our own `file` frames begin."""

_MAX_LINE: Final = (MAX_PART * 4 + 2) // 3


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The file of this `digest`, which `document` names, from byte `start` on. `nonce` comes back with the answer."""

    nonce: str
    digest: str
    document: str
    start: int

    @classmethod
    def read(cls, members: Members) -> FileRequest:
        return cls(
            nonce=members.nonce("nonce"),
            digest=members.hash("digest"),
            document=members.hash("document"),
            start=members.integer("start", 0),
        )

    def members(self) -> dict[str, Any]:
        return {"nonce": self.nonce, "digest": self.digest, "document": self.document, "start": self.start}


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes of a file of `size` bytes, beginning at `start`. Nothing about them is proved before the whole is here."""

    nonce: str
    digest: str
    start: int
    size: int
    raw: bytes

    @property
    def end(self) -> int:
        """The first byte that is not in it."""
        return self.start + len(self.raw)

    def members(self) -> dict[str, Any]:
        return {"nonce": self.nonce, "digest": self.digest, "start": self.start, "size": self.size}

    def line(self) -> bytes:
        """The bytes as they travel."""
        return base64url.encode(self.raw).encode("ascii")


@dataclass(frozen=True, slots=True)
class FileGone:
    """It is not here, or not for you; which of the two is not said."""

    nonce: str
    digest: str

    def members(self) -> dict[str, Any]:
        return {"nonce": self.nonce, "digest": self.digest, "gone": True}


FileAnswer = FilePart | FileGone
FileWord = FileRequest | FileAnswer


def read(members: Members, lines: Sequence[bytes]) -> FileAnswer:
    """A `file` frame from its header and its lines, of which there are none or one.

    Raises MalformedError `frame-member`; `frame-lines` if there are bytes where there should be none, or none where there
    should be some; `frame-file` if they are not base64url, too many, too few, or beyond the end of the file.
    """
    nonce, digest = members.nonce("nonce"), members.hash("digest")
    gone = members.has("gone") and members.boolean("gone")
    if gone is bool(lines):
        raise MalformedError("frame-lines", "a 'file' frame carries one line, and none if the file is gone")
    if gone:
        return FileGone(nonce, digest)
    part = FilePart(
        nonce, digest, members.integer("start", 0), members.integer("size", 1), _bytes_of(lines[0])
    )
    if part.end > part.size:
        raise MalformedError("frame-file", "the bytes go beyond the end of the file", pointer="/size")
    if part.end < part.size and len(part.raw) < LEAST_PART:
        text = f"fewer than {LEAST_PART} bytes, and not the last of the file"
        raise MalformedError("frame-file", text)
    return part


def _bytes_of(line: bytes) -> bytes:
    if len(line) > _MAX_LINE:
        raise MalformedError("frame-file", f"more than {MAX_PART} bytes of a file in one frame")
    try:
        return base64url.decode(line.decode("latin-1"))
    except ValueError as error:
        raise MalformedError("frame-file", str(error)) from None
