"""Which files a document names, and how much that may be (protocol/attachments.md, G1 and G2).

A document names its files by digest in `attachments`, wherever its type has that field: of its own content, and of the whole content that
an amendment or a correction brings along. This module reads the names and decides the limits. It refuses to know where the bytes
are: a store asks with `named`, and a reader with `find`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kpmsg.documents import Document
from kpmsg.documents.particulars import Attachment
from kpmsg.errors import Problem

MAX_FILE: Final = 10 * 1024 * 1024
"""Bytes of one file, at most."""

MAX_TOTAL: Final = 50 * 1024 * 1024
"""Bytes of all the files that one document names, at most."""

MAX_FILES: Final = 50
"""How many files one document names, at most."""

MEDIA_TYPES: Final = (
    "application/json",
    "application/pdf",
    "application/xml",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "text/csv",
    "text/plain",
)
"""What files are made of. Nothing that a browser would run."""


@dataclass(frozen=True, slots=True)
class Named:
    """One place at which a document names a file. `pointer` is into the document (RFC 6901)."""

    pointer: str
    attachment: Attachment


def named(document: Document) -> list[Named]:
    """Every file that the document names, in its order; one that is named twice comes twice."""
    return list(_named(document.data, "/data"))


def _named(content: object, at: str) -> Iterator[Named]:
    for index, attachment in enumerate(getattr(content, "attachments", ())):
        yield Named(f"{at}/attachments/{index}", attachment)
    if (inner := getattr(content, "content", None)) is not None:
        yield from _named(inner, f"{at}/content")


def find(document: Document, digest: str) -> Attachment | None:
    """What the document says of the file with this digest; None if it names none."""
    return next((one.attachment for one in named(document) if one.attachment.sha256 == digest), None)


def excesses(files: list[Named]) -> list[Problem]:
    """What is more than a document may name: `attachment-size` for a file, `attachment-total` for all of them together."""
    problems = [
        Problem(
            "attachment-size",
            f"A file may have at most {MAX_FILE} bytes; this one would have {one.attachment.size}.",
            f"{one.pointer}/size",
        )
        for one in files
        if one.attachment.size > MAX_FILE
    ]
    sizes = {one.attachment.sha256: one.attachment.size for one in files}
    if len(files) > MAX_FILES or sum(sizes.values()) > MAX_TOTAL:
        text = f"A document may name at most {MAX_FILES} files with {MAX_TOTAL} bytes together."
        problems.append(Problem("attachment-total", text, files[0].pointer.rpartition("/")[0]))
    return problems
