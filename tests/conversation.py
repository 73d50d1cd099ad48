"""Conversations between authorities, document by document: what races, conflicts and their resolution are made of in tests.

Everybody speaks only of what they know: `Desk.say` composes as the real software does, from the documents that lie on that
authority's desk. What crossed on its way is expressed by saying before `hear`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from kpmsg import documents
from kpmsg.case import Case, fold
from kpmsg.case.filling import changed
from kpmsg.case.objections import objections
from kpmsg.case.prefill import prefill
from kpmsg.case.replies import answer_draft, rejection_draft
from kpmsg.case.standing import Filed
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpnode.sample import Trade

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Written(Filed):
    """A document with the bytes that its author signed."""

    payload: bytes = field(repr=False)


def write(draft: Mapping[str, Any], source: str, at: datetime, *, message_id: str | None = None) -> Written:
    """A document as `source` would have signed it. The same draft at the same time is the same document, whenever it is run."""
    told = json.dumps([draft, source], sort_keys=True, default=str).encode()
    number = int.from_bytes(hashlib.sha256(told).digest()[:7])
    made = UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number)
    document, payload = documents.compose(dict(draft), source=source, id=message_id or made, time=at)
    return Written(hashlib.sha256(payload).hexdigest(), document, payload)


@dataclass
class Desk:
    """One authority and what it knows of one certificate. `hours` count from START."""

    me: str
    practice: Practice = field(default_factory=lambda: Practice("BW"))
    file: list[Filed] = field(default_factory=list)

    def say(
        self, name: str, hours: float = 0, changes: Mapping[str, Any] | None = None, **envelope: Any
    ) -> Filed:
        """Write a document of type `name` from the case as it lies here, with some fields otherwise; keep a copy."""
        at = START + timedelta(hours=hours)
        draft = prefill(
            name, self.file, me=self.me, today=at.date(), practice=self.practice, officer="A. Officer"
        )
        item = write(changed(draft, changes or {}) | envelope, self.me, at)
        self.file.append(item)
        return item

    def tell(self, draft: Mapping[str, Any], hours: float = 0) -> Filed:
        """Write a document from a draft that came from elsewhere."""
        item = write(draft, self.me, START + timedelta(hours=hours))
        self.file.append(item)
        return item

    def hear(self, *items: Filed) -> list[Problem]:
        """Admit documents, in order; returns what is said against the last."""
        problems: list[Problem] = []
        for item in items:
            problems = objections(item, self.file, self.practice, ours=False)
            if item.id not in {known.id for known in self.file}:
                self.file.append(item)
        return problems

    def may_say(self, item: Filed) -> list[Problem]:
        """What would be said against a document of our own before it is signed."""
        return objections(
            item, [known for known in self.file if known.id != item.id], self.practice, ours=True
        )

    def reject(self, item: Filed, problems: Iterable[Problem], hours: float) -> Filed:
        """The node's own signed answer to a document that breaks rules."""
        draft = rejection_draft(item, [p for p in problems if p.severity != "warn"])
        return self.tell(draft, hours)

    def answer(self, query: Filed, hours: float) -> Filed:
        """The node's own signed answer to a certificate query."""
        return self.tell(answer_draft(query, self.file, None), hours)

    def case(self) -> Case:
        return fold("BW000001", self.file, self.practice)


def shipment(importer: str = "AE", n: int = 0, exporter: str = "BW") -> dict[str, Any]:
    """The draft of a notification; `n` = 0 is always the same certificate number."""
    return Trade(exporter, importer, on=date(2026, 3, 2)).notification(n)


def codes(problems: Iterable[Problem]) -> dict[str, str]:
    """Rule codes and severities."""
    return {problem.code: problem.severity for problem in problems}
