"""The status reply: where a shipment is at the Importing Authority, in answer to a confirmation request.

KPCS Annex II 24. It is no confirmation; it says why there is none yet.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.plausible import certificate_problems, past
from kpmsg.documents.vocabulary import Date, DocumentId, Maybe, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach

Standing = Literal["not_arrived", "under_inspection", "detained", "already_confirmed", "unknown_certificate"]
_UNDECIDED = frozenset({"under_inspection", "detained"})


class ConfirmationStatus(Content):
    """Status reply, version 1."""

    name: ClassVar[str] = "confirmation-status"
    type: ClassVar[str] = "org.kimberley.confirmation-status.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    request: DocumentId
    standing: Standing
    confirmation: Maybe[DocumentId] = None
    """The confirmation that was sent, if `standing` is already_confirmed."""
    decision_expected: Maybe[Date] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A request is answered once."""
        return f"{self.name}:{key}:{self.request}"

    def breaches(self, document: Document) -> list[Problem]:
        problems = certificate_problems(self.certificate, document)
        confirmed = self.standing == "already_confirmed"
        if confirmed and self.confirmation is None:
            problems.append(breach("Q20", "which", "/data/confirmation"))
        if not confirmed and self.confirmation is not None:
            problems.append(breach("Q20", "none", "/data/confirmation"))
        if self.decision_expected is not None:
            at = "/data/decision_expected"
            if self.standing not in _UNDECIDED:
                problems.append(breach("Q21", "undue", at))
            elif past(self.decision_expected, document):
                problems.append(breach("Q21", "past", at, day=self.decision_expected))
        return problems
