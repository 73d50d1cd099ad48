"""Which files a document names (protocol/attachments.md, G2).

A document names its files by digest in `attachments`, wherever its type has that field: of its own content, and of the whole content that
an amendment or a correction brings along. This module reads the names. How much may be named is a rule of documents
(S09, `kpmsg.documents.plausible`). It refuses to know where the bytes are: a store asks with `named`, and a reader with `find`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kpmsg.documents import Document
from kpmsg.documents.particulars import MAX_FILE, MAX_FILES, MAX_TOTAL, MEDIA_TYPES, Attachment

__all__ = ["MAX_FILE", "MAX_FILES", "MAX_TOTAL", "MEDIA_TYPES", "Named", "find", "named"]


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
