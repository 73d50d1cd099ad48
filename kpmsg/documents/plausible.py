"""What documents of several types are asked alike: is the day possible, the certificate the recipient's, each file there once?

It decides the rules whose codes stand in its functions, all of which only warn: a day printed on paper is local, an issuer may
be mistyped, and an officer can judge what a program cannot. It knows no document type.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from kpmsg.documents.envelope import Document
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import Attachment, Certificate, Reference
from kpmsg.errors import Problem
from kpmsg.rules import breach

_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """Rule F15, once for each entry that repeats an earlier one."""
    problems: list[Problem] = []
    files: set[str] = set()
    names: set[str] = set()
    for n, attachment in enumerate(attachments):
        if attachment.sha256 in files:
            problems.append(breach("F15", "twice", f"/data/attachments/{n}"))
        elif attachment.name in names:
            problems.append(breach("F15", "name", f"/data/attachments/{n}/name"))
        files.add(attachment.sha256)
        names.add(attachment.name)
    return problems
