"""The free message: words between two authorities, about a certificate or about anything.

KPCS Section V(f) and (g). It changes no state; it stands in the case of the certificate that it names.
"""

from __future__ import annotations

from typing import ClassVar

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import Attachments, Certificate
from kpmsg.documents.plausible import attachment_problems, prefix_problems
from kpmsg.documents.vocabulary import DocumentId, Flag, Line, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


class Message(Content):
    """Free message, version 1."""

    name: ClassVar[str] = "message"
    type: ClassVar[str] = "org.kimberley.message.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    certificate: Maybe[Certificate] = None
    title: Maybe[Line] = None
    text: Text
    in_reply_to: Maybe[DocumentId] = None
    answer_wanted: Maybe[Flag] = None
    attachments: Attachments = ()

    @property
    def subject(self) -> str | None:
        return None if self.certificate is None else self.certificate.key

    def breaches(self, document: Document) -> list[Problem]:
        problems: list[Problem] = []
        if self.certificate is None:
            if document.subject is not None:
                problems.append(breach("N04", "unnamed", "/subject", subject=document.subject))
            if self.title is None and self.in_reply_to is None:
                problems.append(breach("N05", "untitled", "/data/title"))
        elif self.certificate.kind == "kp":
            problems.extend(prefix_problems(self.certificate))
        return problems + attachment_problems(self.attachments)
