"""The correction of an import confirmation: what was confirmed was wrong; here is the whole of it, as it should be.

KPCS Section III(b): a confirmation is evidence, so it is never altered, only corrected by another, with a reason. A
later finding after an interim one (detained, then released) is no correction but an import confirmation that
supersedes; taking a confirmation back altogether is a withdrawal.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.import_confirmation import ImportConfirmation
from kpmsg.documents.particulars import Certificate
from kpmsg.documents.vocabulary import DocumentId, Maybe, Text

CorrectionReason = Literal["clerical_error", "reweighed", "revalued", "outcome_of_query", "wrong_certificate", "other"]


class ConfirmationCorrection(Content):
    """Correction of an import confirmation, version 1."""

    name: ClassVar[str] = "confirmation-correction"
    type: ClassVar[str] = "org.kimberley.confirmation-correction.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    corrects: DocumentId
    """The import confirmation, or the correction before."""
    content: ImportConfirmation
    """The confirmation's data as it should have been, whole."""
    reason: CorrectionReason
    explanation: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A confirmation is corrected once; then its correction is."""
        return f"{self.name}:{key}:{self.corrects}"
