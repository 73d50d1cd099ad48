"""What documents of several types are asked alike: is the day possible, the certificate the recipient's, each file there once?

It decides the rules whose codes stand in its functions. All but S09, a limit that was agreed, only warn: a day printed on paper is
local, an issuer may be mistyped, and an officer can judge what a program cannot. It knows no document type.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from kpmsg.documents.envelope import Document
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import (
    MAX_FILE,
    MAX_TOTAL,
    MEDIA_TYPES,
    Attachment,
    Certificate,
    Party,
    Reference,
)
from kpmsg.errors import Problem
from kpmsg.rules import breach

_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"[^\W\d_]+")
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK"})
"""As the names of their letters in Unicode begin. Within a word of one of them, letters of another are no spelling of any language."""


def to_come(day: date, document: Document) -> bool:
    """Whether the day lies after the document's, wherever on earth it was written: `time` is UTC, days are local."""
    return day > document.time.date() + _DAY


def past(day: date, document: Document) -> bool:
    """Whether the day was over everywhere on earth when the document was written."""
    return day < document.time.date() - _DAY


def before(message_id: str, document: Document) -> bool:
    """Whether the document was written before that UUIDv7 was made: its first 48 bits are milliseconds since 1970 (RFC 9562, 5.7).

    Compared as numbers: they reach the year 10889, and dates end with 9999.
    """
    made = int(message_id.replace("-", "")[:12], 16)
    return (document.time - _EPOCH) // _MILLISECOND < made


def early_problems(notification: Reference | None, document: Document) -> list[Problem]:
    """Rule N03: the notification's id tells when it was begun."""
    if notification is None or not before(notification.id, document):
        return []
    return [breach("N03", "early", "/time")]


def certificate_problems(certificate: Certificate, document: Document) -> list[Problem]:
    """Rule C20, for what is written to the issuer. Technical certificates have series of their own and are not asked."""
    if certificate.kind == "technical":
        return []
    problems = prefix_problems(certificate)
    issuer, recipient = certificate.issuer, document.recipient
    if issuer != recipient[:2]:
        at = "/data/certificate/issuer"
        problems.append(breach("C20", "recipient", at, issuer=issuer, recipient=recipient))
    return problems


def prefix_problems(certificate: Certificate) -> list[Problem]:
    """The part of rule C20 that is about the number alone."""
    issuer, prefix = participant_of(certificate.issuer), certificate.key[:2]
    if prefix in issuer.prefixes:
        return []
    allowed = " / ".join(sorted(issuer.prefixes))
    at = "/data/certificate/number_raw"
    return [breach("C20", "prefix", at, issuer=issuer.code, allowed=allowed, prefix=prefix)]


def attachment_problems(attachments: Sequence[Attachment]) -> list[Problem]:
    """Rule S09, what may be named at all; and F15, once for each entry that repeats an earlier one."""
    problems: list[Problem] = []
    files: dict[str, int] = {}
    names: set[str] = set()
    for n, attachment in enumerate(attachments):
        at, size, kind = f"/data/attachments/{n}", attachment.size, attachment.media_type
        if size > MAX_FILE:
            problems.append(breach("S09", "file", f"{at}/size", size=size, most=MAX_FILE))
        if kind not in MEDIA_TYPES:
            problems.append(breach("S09", "kind", f"{at}/media_type", kind=kind))
        if attachment.sha256 in files:
            problems.append(breach("F15", "twice", at))
        elif attachment.name in names:
            problems.append(breach("F15", "name", f"{at}/name"))
        files[attachment.sha256] = max(size, files.get(attachment.sha256, 0))
        names.add(attachment.name)
    if (total := sum(files.values())) > MAX_TOTAL:
        problems.append(breach("S09", "total", "/data/attachments", size=total, most=MAX_TOTAL))
    return problems


def party_problems(party: Party, at: str) -> list[Problem]:
    """Rule F14, once for each field: a word with letters of two scripts that have letters which look alike."""
    problems: list[Problem] = []
    for member in ("name", "native_name", "address"):
        text = getattr(party, member) or ""
        for word in () if text.isascii() else _WORD.findall(text):
            scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in word}
            if len(scripts & _ALIKE) > 1:
                problems.append(breach("F14", "mixed", f"{at}/{member}", word=word))
                break
    return problems
