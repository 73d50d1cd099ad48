"""The withdrawal: an earlier document of the author's is taken back, with a reason. Both stay on record.

It ends an alert, undoes a cancellation that was a mistake, revokes an import confirmation (KPCS Section III(b): what was
confirmed was not so at all), closes a query that answered itself, and takes back a rejection.
"""

from __future__ import annotations

from typing import ClassVar

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.vocabulary import DocumentId, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


class Withdrawal(Content):
    """Withdrawal, version 1. The subject is that of the document taken back, if it had one."""

    name: ClassVar[str] = "withdrawal"
    type: ClassVar[str] = "org.kimberley.withdrawal.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})
    acts_by: ClassVar[str | None] = "withdraws"

    withdraws: DocumentId
    reason: Text

    def claim(self, key: str) -> str:  # noqa: ARG002 - a document has one id, whatever it is about
        """A document is withdrawn once."""
        return f"{self.name}:{self.withdraws}"

    def breaches(self, document: Document) -> list[Problem]:  # noqa: ARG002 - that it is not its own is sure: an id is a digest
        """Rule W01: "-" and "x" are what forms are filled with that demand a reason. Two letters are one word in Chinese."""
        said = sum(character.isalnum() for character in self.reason)
        return [breach("W01", "empty", "/data/reason")] if said < 2 else []
