"""The envelope every document travels in (CloudEvents 1.0), and what a document type must be able to say.

This module decides who, to whom, when and about what; the content is a `Content`, one subclass a module for each
document type. It knows no particular type.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from kpmsg.documents.particulars import Particulars
from kpmsg.documents.vocabulary import Address, Maybe, MessageId, Subject, Testing, Timestamp, TypeName
from kpmsg.errors import Problem

Role = Literal["export", "import"]


class Content(Particulars):
    """The `data` of one document type, and what the type knows about itself.

    `roles` says in which role an authority writes such a document. `name` is the short name, `type` the CloudEvents
    type. A subclass adds its fields and overrides what differs.
    """

    name: ClassVar[str]
    type: ClassVar[str]
    roles: ClassVar[frozenset[Role]]
    broadcast: ClassVar[bool] = False  #: may be submitted to all partners at once
    always_released: ClassVar[bool] = False  #: a second person must release it, whatever the policy says
    acts_by: ClassVar[str | None] = (
        None  #: the member of `data` that names the document which it replaces or takes back
    )

    @property
    def subject(self) -> str | None:
        """The subject the envelope must bear, or None where the content does not determine it."""
        return None

    def claim(self, key: str) -> str | None:  # noqa: ARG002 - for those that are about a certificate
        """What this document takes for itself: of one author, at most one live document may hold a claim.

        `key` is the certificate's number as its issuer normalises it (`kpmsg.policy.numbers`).
        """
        return None

    def breaches(self, document: Document) -> list[Problem]:  # noqa: ARG002 - for those that look at the envelope
        """Every rule this document breaks that can be told from itself alone. Empty is well."""
        return []


class Document(BaseModel):
    """One document as its bytes say it: envelope and content, immutable.

    `data` is None when the type or its version is not one that we speak (rule S07); the envelope still holds.
    Times are UTC. The bytes, not this object, are the record: members unknown to us are in them only.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: MessageId
    source: Address
    type: TypeName
    subject: Maybe[Subject] = None
    time: Timestamp
    recipient: Address
    datacontenttype: Literal["application/json"]
    testing: Testing = None
    data: Content | None = None

    @property
    def supported(self) -> bool:
        return self.data is not None

    @property
    def name(self) -> str:
        """The short name of the type, e.g. `export-notification`; the whole type if it is not one of ours."""
        if self.data is not None:
            return self.data.name
        parts = self.type.split(".")
        return parts[2] if len(parts) == 4 and parts[:2] == ["org", "kimberley"] else self.type

    @property
    def certificate_key(self) -> str | None:
        """The canonical certificate number this document is about, if it is about one."""
        return self.subject

    @property
    def counterparts(self) -> tuple[str, str]:
        """The two authorities this document stands between, in alphabetical order, whoever wrote it."""
        return (
            (self.source, self.recipient) if self.source <= self.recipient else (self.recipient, self.source)
        )
