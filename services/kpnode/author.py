"""Who this node is, and its hand: drafts are examined here, and become signed documents here and nowhere else.

Decides whom a draft goes to and whether it may be signed as it stands. Whether somebody else has to agree (`kpnode.store.four_eyes`), and
what is committed meanwhile (`kpnode.store.submissions`), it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from uuid_utils.compat import uuid7

from kpmsg import documents
from kpmsg.documents import TYPES, Content, Document
from kpmsg.errors import DraftError, Problem
from kpmsg.keyrecord import KeyRecord
from kpmsg.keys import Signer, SoftwareSigner
from kpmsg.policy import Practice
from kpmsg.policy.screening import screen
from kpmsg.verification import may_write, seal_document
from kpnode.store.broadcasts import EVERYBODY
from kpnode.store.documents import Item


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is: its address, every version of its key record, and the keys that it works with."""

    address: str
    records: Sequence[KeyRecord]
    document_signers: Sequence[Signer]
    node_signer: Signer

    @property
    def testing(self) -> bool:
        """Whether nothing that we say is real, by our own key record; all versions of it agree."""
        return bool(self.records) and self.records[-1].testing is True

    @property
    def signs_at_once(self) -> bool:
        """Whether our document keys are in memory. A hardware module may take long, and must not hold up the event loop."""
        return all(isinstance(signer, SoftwareSigner) for signer in self.document_signers)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as everywhere in the protocol and the database."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Examined:
    """One draft as it would be signed, and every rule that it breaks. `document` is None if it has no form to sign."""

    document: Document | None
    payload: bytes
    problems: tuple[Problem, ...]

    @property
    def refused(self) -> bool:
        return any(problem.severity == "reject" for problem in self.problems)


def addressed(
    drafts: Sequence[Any], partners: Sequence[str], told: Mapping[int, Mapping[str, Sequence[str]]]
) -> tuple[list[Any], list[int]]:
    """Each draft for one recipient, and its place in the request: one for everybody becomes one for each of `partners`.

    `told`: who has been told it, or what it takes back, and by which documents (`kpnode.store.broadcasts`): an alert goes to the others,
    its withdrawal to these. A draft that may not go to everybody, or that would reach nobody, stays as it is and is refused
    when it is examined.
    """
    single: list[Any] = []
    places: list[int] = []
    for place, draft in enumerate(drafts):
        copies = []
        content = content_of(draft) if to_everybody(draft) else None
        if content is not None:
            before = told.get(place, {})
            if content.broadcast:
                copies = [draft | {"recipient": address} for address in partners if address not in before]
            elif content.acts_by is not None:
                copies = [
                    draft | {"recipient": address, "data": draft["data"] | {content.acts_by: each}}
                    for address in partners
                    for each in before.get(address, ())
                ]
        single += copies or [draft]
        places += [place] * max(1, len(copies))
    return single, places


def content_of(draft: Any) -> type[Content] | None:
    """The document type that a draft names, shortly or wholly; None if it names none of ours."""
    return documents.kind_of(draft.get("type")) if isinstance(draft, dict) else None


def examine(
    draft: Any,
    identity: Identity,
    now: datetime,
    practice: Practice,
    *,
    strictly_parsed: bool = False,
) -> Examined:
    """Everything that signing `draft` asks of it, without signing. Pointers are into the draft; nothing is raised for a bad one.

    What else has been said of its certificate is asked in the transaction that commits it (`kpnode.store.submissions`).
    """
    if to_everybody(draft):
        return Examined(None, b"", (_not_to_everybody(content_of(draft)),))
    try:
        document, payload, problems = documents.composed(
            draft,
            source=identity.address,
            id=uuid7(),
            time=now,
            testing=identity.testing,
            strictly_parsed=strictly_parsed,
        )
    except DraftError as error:
        return Examined(None, b"", error.problems)
    if not may_write(document, identity.records):
        text = (
            f"{identity.address} is not registered for this kind of document; its key record names its roles."
        )
        problems.append(Problem("address-role", text, "/type"))
    return Examined(document, payload, (*problems, *screen(document, practice, received=None)))


def compose(
    drafts: Sequence[Any],
    identity: Identity,
    now: datetime,
    practice: Practice,
    *,
    strictly_parsed: bool = False,
    places: Sequence[int] | None = None,
) -> list[Item]:
    """Sign all drafts, or raise DraftError with everything that is wrong with any of them.

    Nothing is signed after the first fault. If there are several drafts, pointers begin with the draft's number, or with its
    place in the request if `places` tells it.
    """
    problems: list[Problem] = []
    items: list[Item] = []
    of = range(len(drafts)) if places is None else places
    several = bool(of) and of[-1] > 0
    for place, draft in zip(of, drafts, strict=True):
        examined = examine(draft, identity, now, practice, strictly_parsed=strictly_parsed)
        if examined.refused or examined.document is None:
            at = f"/{place}" if several else ""
            problems += [replace(p, pointer=f"{at}{p.pointer or ''}") for p in examined.problems]
        elif not problems:
            verified = seal_document(examined.document, examined.payload, identity.document_signers)
            items.append(Item(verified, claim_of(examined.document, practice), remarks=examined.problems))
    if problems:
        raise DraftError(list(dict.fromkeys(problems)))  # copies of one draft break the same rules
    return items


def claim_of(document: Document, practice: Practice) -> str | None:
    """What the document takes for itself, under the certificate's number as its issuer normalises it."""
    return documents.claim(document, practice.key(document.subject) if document.subject else None)


def to_everybody(draft: Any) -> bool:
    """Whether the draft is meant for every partner."""
    return isinstance(draft, dict) and draft.get("recipient") == EVERYBODY


def _not_to_everybody(content: type[Content] | None) -> Problem:
    if content is not None and content.broadcast:
        return Problem("partner-unknown", "There is no partner who has still to be told this.", "/recipient")
    some = ", ".join(kind.name for kind in TYPES.values() if kind.broadcast)
    text = (
        f"Only these go to every partner at once: {some}; and the withdrawal of one of ours that is in force. "
        'Name one recipient instead of "*".'
    )
    return Problem("document-format", text, "/recipient")
