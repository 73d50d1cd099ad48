"""The rejection: a document was received, believed to be its sender's, and breaks a rule.

It is the signed answer to a document that verifies but cannot be accepted as it stands, and says which rule it
breaks and where. A document that does not verify gets no such answer, since nobody is known to have written it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Particulars
from kpmsg.documents.vocabulary import DocumentId, Maybe, Pointer, RuleCode, RuleWord, Text, TypeName
from kpmsg.errors import Problem, Severity


class Fact(Particulars):
    """One thing that was found, under the name by which the rule's texts speak of it."""

    name: RuleWord
    value: Text


class Reason(Particulars):
    """One broken rule: its code (e.g. I01, certificate unknown), how grave, where in the document, and in words.

    `text` is English. `variant` and `facts` let the reader say it in any language of `protocol/rules.yaml` (`problem`).
    """

    code: RuleCode
    version: Maybe[Annotated[StrictInt, Field(ge=1, le=9999)]] = None
    severity: Severity
    pointer: Maybe[Pointer] = None
    text: Text
    variant: Maybe[RuleWord] = None
    facts: Annotated[tuple[Fact, ...], Field(max_length=20)] = ()

    @property
    def problem(self) -> Problem:
        """The same as a problem, for `kpmsg.rules.said`."""
        facts = tuple((fact.name, fact.value) for fact in self.facts)
        return Problem(self.code, self.text, self.pointer, self.severity, self.variant or "", facts)


class Rejection(Content):
    """Rejection, version 1. The subject is the refused document's, if it had one."""

    name: ClassVar[str] = "rejection"
    type: ClassVar[str] = "org.kimberley.rejection.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export", "import"})

    refers_to: DocumentId
    reasons: Annotated[tuple[Reason, ...], Field(min_length=1, max_length=100)]
    supported_types: Annotated[tuple[TypeName, ...], Field(max_length=100)] = ()

    def claim(self, key: str) -> str:  # noqa: ARG002 - a document has one id, whatever it is about
        """A document is rejected once."""
        return f"{self.name}:{self.refers_to}"
