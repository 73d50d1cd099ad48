"""From drafts to documents: what would be said against them if they were signed now, and their release by a second person.

A dry run, a draft that is shown and a release ask the same questions as a submission (`kpnode.author`, `kpnode.store.submissions`), so that
what was called acceptable is accepted unless something has come in between. Who may release what is decided in
`kpnode.store.four_eyes`, drafts are kept by `kpnode.store.drafts`, and the node signs and commits. Nothing of HTTP is known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kpmsg.errors import Problem
from kpnode.author import Examined, addressed, claim_of, content_of, examine, rfc3339
from kpnode.node import OFF_LOOP, Node
from kpnode.release import missing
from kpnode.store import broadcasts, four_eyes
from kpnode.store.database import Transaction
from kpnode.store.drafts import DraftRow, drafts_by_number
from kpnode.store.submissions import (
    ClaimedError,
    Committed,
    Obstacles,
    PartnerUnknownError,
    Submission,
    committed_before,
    obstacles,
)

SOMEBODY: Final = "the officer who releases it"
"""Stands for whoever is going to release a draft, in documents that name that person."""

Verdict = Literal["accepted", "held", "refused"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What would come of one draft. `type` is the whole name and `certificate` the number's key, as far as they can be told.

    `error` is what in our own books is in the way of it; it is among the `problems` too, in words.
    """

    type: str | None
    recipient: str | None
    certificate: str | None
    problems: tuple[Problem, ...]
    release_needed: bool

    @property
    def verdict(self) -> Verdict:
        severities = {problem.severity for problem in self.problems}
        return "refused" if "reject" in severities else "held" if "hold" in severities else "accepted"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A draft that is to be released. `digest`: of what the officer has read; None for whatever it says now."""

    seq: int
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a draft cannot be released, by its place in the request: `draft-unknown`, `draft-closed` or `draft-changed`."""

    place: int
    code: Literal["draft-unknown", "draft-closed", "draft-changed"]
    text: str


class UnfitDraftsError(Exception):
    """Some of the drafts cannot be released as they stand; none was."""

    def __init__(self, faults: Sequence[Unfit]) -> None:
        super().__init__(faults[0].text)
        self.faults = tuple(faults)


async def try_out(node: Node, drafts: Sequence[Any], *, strictly_parsed: bool = False) -> list[Finding]:
    """What would come of each draft if all were submitted together now. Nothing is signed or stored."""
    now = node.clock()
    named = [draft if content_of(draft) is None else _released(draft, SOMEBODY) for draft in drafts]
    told = await node.database.read(lambda c: broadcasts.told(c, drafts, node.practice))
    single, places = addressed(named, sorted(node.peers), told)

    def look() -> list[Examined]:
        return [
            examine(draft, node.identity, now, node.practice, strictly_parsed=strictly_parsed)
            for draft in single
        ]

    examined = look() if len(single) < OFF_LOOP * 4 else await asyncio.to_thread(look)
    said = [
        (each.document, claim_of(each.document, node.practice))
        for each in examined
        if each.document is not None
    ]

    def ask(connection: Transaction) -> tuple[list[Obstacles], set[int]]:
        alone = four_eyes.needing_two(connection, drafts, node.policy)
        return obstacles(connection, said, node.practice) if said else [], set(alone)

    found, alone = await node.database.read(ask)
    against = iter(found)
    problems: list[list[Problem]] = [[] for _ in drafts]
    for place, each in zip(places, examined, strict=True):
        problems[place] += each.problems
        if each.document is not None:
            obstacle = next(against)
            problems[place] += obstacle.problems
            if obstacle.error is not None:
                problems[place].append(_in_words(obstacle.error))
    findings = []
    for place, draft in enumerate(drafts):
        first = examined[places.index(place)].document
        content = content_of(draft)
        findings.append(
            Finding(
                None if content is None else content.type,
                draft["recipient"]
                if isinstance(draft, dict) and isinstance(draft.get("recipient"), str)
                else None,
                node.practice.key(first.subject) if first is not None and first.subject else None,
                tuple(dict.fromkeys(problems[place])),  # copies of one draft break the same rules
                place in alone,
            )
        )
    return findings


async def release(
    node: Node, wanted: Sequence[Wanted], *, officer: str, person: str, key: str, digest: str
) -> Committed:
    """Sign and commit drafts, all of them or none, in the name of whoever prepared each, released by `person`.

    `officer` is the name of the key that `person` uses. Raises SamePersonError and UnfitDraftsError, whose places are those of
    `wanted`, and whatever `Node.submit` raises; pointers of a DraftError begin with the place if there are several.
    """

    def look(connection: Transaction) -> tuple[list[DraftRow], set[int], Committed | None]:
        # In this order: what was released under this key since is then seen as committed, and not only as closed.
        rows = drafts_by_number(connection, [each.seq for each in wanted])
        two = four_eyes.needing_two(connection, [row.content for row in rows], node.policy)
        return rows, {rows[place].seq for place in two}, committed_before(connection, officer, key, digest)

    found, two, before = await node.database.read(look)
    if before is not None:
        return before
    rows = _fit(wanted, {row.seq: row for row in found})
    # Before anything is signed; whoever writes in one meanwhile is found when it is committed.
    alone = missing(
        [place for place, row in enumerate(rows) if row.seq in two],
        person,
        {place: row.persons for place, row in enumerate(rows)},
    )
    if alone is not None:
        raise alone
    now = node.clock()
    items, places = await node.sign(
        [_released(row.content, person) for row in rows], now, strictly_parsed=True
    )
    return await node.commit(
        Submission(
            officer, key, digest, items, rfc3339(now), places=places, drafts=tuple(rows), released_by=person
        )
    )


def _fit(wanted: Sequence[Wanted], rows: dict[int, DraftRow]) -> list[DraftRow]:
    faults: list[Unfit] = []
    for place, each in enumerate(wanted):
        row = rows.get(each.seq)
        if row is None:
            faults.append(Unfit(place, "draft-unknown", f"There is no draft {each.seq}."))
        elif not row.open:
            text = f"Draft {row.seq} has been {row.state} by {row.closed_by} at {row.closed_at}."
            faults.append(Unfit(place, "draft-closed", text))
        elif each.digest is not None and each.digest != row.digest:
            text = f"Draft {row.seq} has changed since it was read. Read it again, and decide again."
            faults.append(Unfit(place, "draft-changed", text))
    if faults:
        raise UnfitDraftsError(faults)
    return [rows[each.seq] for each in wanted]


def _released(draft: dict[str, Any], person: str) -> dict[str, Any]:
    """The draft, with whoever releases it named in it if its type has a place for that: no clerk writes that name."""
    content, data = content_of(draft), draft.get("data")
    if content is None or "released_by" not in content.model_fields or not isinstance(data, dict):
        return draft
    return draft | {"data": data | {"released_by": person}}


def _in_words(error: PartnerUnknownError | ClaimedError) -> Problem:
    if isinstance(error, PartnerUnknownError):
        text = f"{error.address} is not a partner of this node; an operator adds partners."
        return Problem("partner-unknown", text, "/recipient")
    by = f"document {error.document_id}" if len(error.document_id) == 64 else "another one in this request"
    return Problem(
        "already-said", f"This has been said already, by {by} ({error.claim.partition(':')[0]}).", ""
    )
