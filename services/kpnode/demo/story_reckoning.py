"""Whether the story is true: both authorities have the same case of every certificate, and the same registers, with nothing lost.

All of it is read from the databases of the two sides, never from what the story believes to have done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

from kpnode.demo.story_desk import MOST, Desk
from kpnode.store import views
from kpnode.store.database import Transaction
from kpnode.store.ledger import PartnerLedger
from kpnode.store.views import CertificateRow, DocumentRow

_MIRRORED: Final = {"us": "them", "them": "us"}


@dataclass(slots=True)
class Balance:
    """What there is in all three databases. All is well if there is no fault."""

    documents: int = 0
    receipts: int = 0
    registers: int = 0
    certificates: int = 0
    faults: list[str] = field(default_factory=list)


def differing(here: CertificateRow | None, there: CertificateRow | None) -> list[str]:
    """The names of what two authorities have otherwise about the certificate between them; empty if it is the same case."""
    if here is None or there is None:
        return [] if here is there else ["everything"]
    names = [
        name for name in sorted({*here.case, *there.case}) if here.case.get(name) != there.case.get(name)
    ]
    names += [
        name for name in ("key", "state", "matter", "due") if getattr(here, name) != getattr(there, name)
    ]
    if _MIRRORED.get(here.waits, here.waits) != there.waits:
        names.append("waits")  # one's "for us" is the other's "for them"
    return list(dict.fromkeys(names))


async def balance(desks: Sequence[Desk]) -> Balance:
    """Compare every register, every document and every case that any two of them share."""
    found = Balance()
    for writer, keeper in permutations(desks, 2):
        out, known = await _side(writer, keeper, "out")
        taken, held = await _side(keeper, writer, "in")
        if not (out or taken):
            continue
        found.registers += 1
        found.documents += len(out)
        found.receipts += sum(receipt is not None for _, receipt in out)
        about = f"{writer.place.town} to {keeper.place.town}"
        found.faults += [f"{about}: {text}" for text in _faults(out, taken, known, held)]
    for one, other in ((one, other) for n, one in enumerate(desks) for other in desks[n + 1 :]):
        for key, names in await _cases(one, other):
            found.certificates += 1
            if names:
                text = f"{key}: {one.place.town} and {other.place.town} differ in {', '.join(names)}"
                found.faults.append(text)
    return found


_Filed = Sequence[tuple[DocumentRow, bytes | None]]
_Register = tuple[int, str, Sequence[str]]


async def _side(desk: Desk, partner: Desk, direction: str) -> tuple[_Filed, _Register]:
    """An office's documents to or from a partner, each with its receipt, and the register that they are in."""
    node, address = desk.node, partner.node.address

    def look(connection: Transaction) -> tuple[_Filed, _Register]:
        rows = views.documents(connection, partner=address, direction=direction, limit=MOST)
        filed = [(row, views.receipt_for(connection, row)) for row in rows]
        ledger = PartnerLedger(connection, address, node.stamp(), node.practice)
        head = ledger.known() if direction == "out" else ledger.held()
        ids = ledger.held_ids(1, MOST) if direction == "in" else ()
        return filed, (head.size, head.head, ids)

    return await node.database.read(look)


def _faults(out: _Filed, taken: _Filed, known: _Register, held: _Register) -> Iterator[str]:
    written, kept = Counter(row.id for row, _ in out), Counter(row.id for row, _ in taken)
    if written != kept:
        yield f"{len(out)} documents were written, {len(taken)} are held, or they are others"
    if without := sum(receipt is None or row.received_at is None for row, receipt in out):
        yield f"{without} documents have no receipt"
    if known[:2] != held[:2]:
        yield f"the writer knows a register of {known[0]}, the keeper has one of {held[0]}, or they are others"
    if Counter(held[2]) != kept:
        yield "the register does not name what is held, each once"


async def _cases(one: Desk, other: Desk) -> list[tuple[str, list[str]]]:
    """The certificates of two offices' correspondence, by key, and in what they differ."""
    here, there = await _between(one, other), await _between(other, one)
    return [(key, differing(here.get(key), there.get(key))) for key in sorted({*here, *there})]


async def _between(desk: Desk, partner: Desk) -> dict[str, CertificateRow]:
    def look(connection: Any) -> list[CertificateRow]:
        return views.certificates(connection, partner=partner.node.address, limit=MOST)

    return {row.key: row for row in await desk.node.database.read(look)}
