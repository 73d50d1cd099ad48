"""What people do at an office of the story, by the verbs that a node has for them, and what they read there.

A document is filled in from the case, tried out, submitted, and waited for until its receipt is here: the way of the API, without HTTP.
Whatever is read comes from that office's own database. Refuses to know why anybody does anything.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeVar

from kpmsg import documents, strictjson
from kpmsg.case.filling import changed, followed
from kpmsg.case.prefill import prefill
from kpmsg.documents import Content, Document
from kpnode import drafting
from kpnode.demo.story_nodes import Office
from kpnode.drafting import Finding, Wanted
from kpnode.store import cases, drafts, incidents, views, worklists
from kpnode.store.drafts import DraftRow
from kpnode.store.views import CertificateRow
from kpnode.store.worklists import WaitingRow

T = TypeVar("T")
C = TypeVar("C", bound=Content)
Draft = dict[str, Any]

SECONDS: Final = 10.0
"""Everything here takes milliseconds; what takes longer will not come."""
MOST: Final = 1000


class BrokenOffError(Exception):
    """The story did not go as it must; the text says what was other than it should be."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An office's work lists: what waits for itself, and what it waits for."""

    us: tuple[WaitingRow, ...]
    them: tuple[WaitingRow, ...]


class Desk:
    """One office at work."""

    _requests = count(1)

    def __init__(self, office: Office) -> None:
        self.place, self.node = office.place, office.node
        self.patience = SECONDS

    # -- what is said ----------------------------------------------------------------------------------------------------

    async def fill(self, name: str, number: str, changes: Mapping[str, Any] | None = None) -> Draft:
        """The next document about a certificate, filled in from its case; then what only people know, and what follows from it."""
        key = self.node.practice.key(number)
        filed = await self.node.database.read(lambda c: cases.filed(c, [key])[key])
        draft = prefill(
            name,
            filed,
            me=self.node.address,
            today=self.place.local(self.node.clock()).date(),
            practice=self.node.practice,
            officer=self.place.officer,
        )
        return changed(draft, followed(draft, dict(changes or {})))

    async def say(self, name: str, number: str, changes: Mapping[str, Any] | None = None) -> str:
        """Fill in a document, and submit it; its id."""
        return await self.submit(await self.fill(name, number, changes))

    async def submit(self, draft: Draft, *, arrives: bool = True) -> str:
        """Try a draft out, submit it, and wait for the signed receipt; the document's id. `arrives`: not if the line is down."""
        found = await self.try_out(draft)
        if found.verdict == "refused":
            raise BrokenOffError(f"{self.place.town} may not say this: {found.problems[0].text}")
        name = f"story {next(self._requests)}"
        committed = await self.node.submit(
            [draft], caller=self.place.clerk, key=name, digest=_digest(draft), strictly_parsed=True
        )
        [document_id] = committed.ids
        if arrives and not await self.node.received([document_id], self.patience):
            raise BrokenOffError(f"no receipt has come for {document_id}, a document of {self.place.town}")
        return document_id

    async def try_out(self, draft: Draft) -> Finding:
        """What would come of it; nothing is signed or kept."""
        [found] = await drafting.try_out(self.node, [draft], strictly_parsed=True)
        return found

    async def prepare(self, draft: Draft, person: str) -> int:
        """Keep a draft that somebody else has to release; its number."""
        at, name = self.node.stamp(), f"story {next(self._requests)}"
        saved = await self.node.database.write(
            lambda c: drafts.save(
                c, [draft], author=person, person=person, key=name, digest=_digest(draft), at=at
            )
        )
        assert saved is not None
        return saved.seqs[0]

    async def release(self, seq: int, person: str) -> tuple[str, ...]:
        """Release a draft in the name of `person`; the ids of what it has become. Raises SamePersonError."""
        name = f"story {next(self._requests)}"
        committed = await drafting.release(
            self.node, [Wanted(seq)], officer=person, person=person, key=name, digest=name
        )
        if not await self.node.received(committed.ids, self.patience):
            raise BrokenOffError(f"no receipt has come for what {self.place.town} has released")
        return committed.ids

    async def prepared(self) -> list[DraftRow]:
        """Drafts that wait for a release, newest first."""
        return await self.node.database.read(lambda c: drafts.drafts(c, state="open", limit=MOST))

    # -- what is read ----------------------------------------------------------------------------------------------------

    async def row(self, number: str) -> CertificateRow | None:
        """Where a certificate stands, as this office has it; None if nothing about it has passed here."""
        key = self.node.practice.key(number)
        return await self.node.database.read(lambda c: views.certificate(c, key))

    async def known(self, number: str) -> CertificateRow:
        """The same, of a certificate that must be here."""
        row = await self.row(number)
        if row is None:
            raise BrokenOffError(f"{self.place.town} knows nothing of certificate {number}")
        return row

    async def document(self, document_id: str) -> Document:
        """A document as it lies here."""
        row = await self.node.database.read(lambda c: views.document(c, document_id))
        if row is None:
            raise BrokenOffError(f"{self.place.town} does not have document {document_id}")
        return documents.parse(row.payload)

    async def content(self, document_id: str, kind: type[C]) -> C:
        """What a document says that lies here."""
        data = (await self.document(document_id)).data
        if not isinstance(data, kind):
            raise BrokenOffError(f"document {document_id} is no {kind.name}")
        return data

    async def last(self, kind: type[C], number: str) -> C | None:
        """What the newest document of a type says about a certificate, if there is one here."""
        key = self.node.practice.key(number)
        rows = await self.node.database.read(
            lambda c: views.documents(c, type=kind.type, certificate=key, limit=1)
        )
        return await self.content(rows[0].id, kind) if rows else None

    async def called(self, number: str) -> list[str]:
        """Why an officer has been called about a certificate, oldest first."""
        key = self.node.practice.key(number)
        found = await self.node.database.read(
            lambda c: incidents.incidents(c, closed=False, partner=None, before=None, limit=MOST)
        )
        return [each.text for each in reversed(found) if each.certificate == key]

    async def near(self, number: str) -> list[CertificateRow]:
        """Certificates of which this office knows, and whose numbers look like one that it does not know."""
        guesses = self.node.practice.near(number)
        return await self.node.database.read(lambda c: views.certificates_by_key(c, guesses))

    async def waiting(self) -> Waiting:
        """Both work lists, the most urgent first."""

        def look(who: worklists.Who) -> Callable[[Any], list[WaitingRow]]:
            return lambda c: worklists.waiting(c, who, limit=MOST)

        us, them = look("us"), look("them")
        return Waiting(tuple(await self.node.database.read(us)), tuple(await self.node.database.read(them)))

    async def until(self, look: Callable[[], Any], true: Callable[[Any], bool], what: str) -> Any:
        """Look again whenever something has been committed here, until it is as it should be. Raises BrokenOffError."""
        try:
            async with asyncio.timeout(self.patience):
                while not true(found := await look()):
                    await self.node.changed(0.02)
                return found
        except TimeoutError:
            raise BrokenOffError(f"{self.place.town} still waits: {what}") from None


def _digest(draft: Draft) -> str:
    return hashlib.sha256(strictjson.dumps(draft)).hexdigest()
