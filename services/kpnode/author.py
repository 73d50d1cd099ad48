"""Who this node is, and its hand: drafts become signed documents here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from uuid_utils.compat import uuid7

from kpmsg import documents
from kpmsg.errors import DraftError, Problem
from kpmsg.keyrecord import KeyRecord
from kpmsg.keys import Signer, SoftwareSigner
from kpmsg.verification import may_write, seal_document
from kpnode.store.documents import Item


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is: its address, every version of its key record, and the keys that it works with."""

    address: str
    records: Sequence[KeyRecord]
    document_signers: Sequence[Signer]
    node_signer: Signer

    @property
    def signs_at_once(self) -> bool:
        """Whether our document keys are in memory. A hardware module may take long, and must not hold up the event loop."""
        return all(isinstance(signer, SoftwareSigner) for signer in self.document_signers)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as everywhere in the protocol and the database."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def compose(
    drafts: Sequence[Any], identity: Identity, now: datetime, *, strictly_parsed: bool = False
) -> list[Item]:
    """Sign all drafts, or raise DraftError with everything that is wrong with any of them.

    Nothing is signed after the first fault. If there are several drafts, pointers begin with the draft's number.
    """
    problems: list[Problem] = []
    items: list[Item] = []
    for index, draft in enumerate(drafts):
        try:
            document, payload = documents.compose(
                draft, source=identity.address, id=uuid7(), time=now, strictly_parsed=strictly_parsed
            )
        except DraftError as error:
            at = f"/{index}" if len(drafts) > 1 else ""
            problems += [
                Problem(p.code, p.text, f"{at}{p.pointer or ''}", p.severity) for p in error.problems
            ]
            continue
        if not may_write(document, identity.records):
            text = f"{identity.address} is not registered for this kind of document; its key record names its roles."
            problems.append(Problem("address-role", text, f"/{index}/type" if len(drafts) > 1 else "/type"))
        if not problems:
            verified = seal_document(document, payload, identity.document_signers)
            items.append(Item(verified, documents.claim(document)))
    if problems:
        raise DraftError(problems)
    return items
