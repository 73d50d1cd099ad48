"""The end of a demonstration of the whole world: do both authorities of every pair hold the same, all of it, and nothing twice?

Registers, documents and cases are read from the databases of all authorities, and compared pair by pair and place by place. Nothing that the
errands believe they have seen counts here, except what they have submitted.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from kpnode.demo.reckoning import CASE
from kpnode.demo.world_errands import Errand
from kpnode.demo.world_hosts import Office
from kpnode.demo.world_trade import Finding

Side = Literal["exporter", "importer"]
SIDES: Final[tuple[Side, ...]] = ("exporter", "importer")
NO_REGISTER: Final[tuple[int, str, tuple[Any, ...]]] = (0, "", ())


@dataclass(frozen=True, slots=True)
class Books:
    """What stands in one authority's database: documents by direction and partner, both registers with each partner, cases."""

    documents: Mapping[tuple[str, str], Sequence[tuple[str, str | None]]]
    cases: Mapping[str, tuple[str, Mapping[str, Any]]]
    """State and case of the certificate that a document is about, by the document's id."""
    registers: Mapping[tuple[str, str], tuple[int, str, tuple[Any, ...]]]
    incidents: Sequence[str]


@dataclass(slots=True)
class Balance:
    """What was found. All is well if there is no fault; lost and doubled are among the faults, and counted."""

    faults: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    documents: int = 0
    registers: int = 0
    states: Counter[str] = field(default_factory=Counter)
    incidents: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Line:
    """One authority's year, from one side of its trade."""

    address: str
    name: str
    notified: int = 0
    received: int = 0
    confirmed: int = 0
    lighter: int = 0
    open: int = 0
    carats: Decimal = Decimal(0)

    def add(self, errand: Errand) -> None:
        """Count a shipment."""
        self.notified += errand.notification is not None
        self.received += errand.received
        self.confirmed += errand.confirmed
        self.lighter += errand.confirmed and errand.consignment.finding is Finding.LIGHTER
        self.open += not errand.confirmed
        self.carats += errand.carats

    def plus(self, other: Line) -> None:
        """Count all of another line here too."""
        for name in ("notified", "received", "confirmed", "lighter", "open", "carats"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def ledger(errands: Sequence[Errand], offices: Mapping[str, Office], side: Side) -> list[Line]:
    """A line for each authority that has anything on this side, the busiest first."""
    lines = {address: Line(address, office.name) for address, office in offices.items()}
    for errand in errands:
        lines[getattr(errand.consignment, side)].add(errand)
    return sorted((line for line in lines.values() if line.notified), key=lambda e: (-e.notified, e.address))


def balance(errands: Sequence[Errand], offices: Mapping[str, Office]) -> Balance:
    """Compare all registers, all documents and all cases, pair by pair."""
    found = Balance()
    books = {address: _read(office) for address, office in offices.items()}
    said = _said(errands)
    for writer in offices:
        for keeper in offices:
            out, taken = (
                books[writer].documents.get(("out", keeper), ()),
                books[keeper].documents.get(("in", writer), ()),
            )
            ours = said.get((writer, keeper), ())
            if out or taken or ours:
                found.registers += 1
                found.documents += len(taken)
                _compare(writer, keeper, books, ours, found)
    for errand in errands:
        _compare_case(errand, books, found)
    for address, each in books.items():
        found.incidents += [(address, text) for text in each.incidents]
    return found


def _said(errands: Sequence[Errand]) -> Mapping[tuple[str, str], list[str]]:
    """Ids of what was submitted, by author and recipient."""
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for errand in errands:
        one, other = errand.consignment.exporter, errand.consignment.importer
        if errand.notification is not None:
            said[one, other].append(errand.notification)
        if errand.confirmation is not None:
            said[other, one].append(errand.confirmation)
    return said


def _compare(
    writer: str, keeper: str, books: Mapping[str, Books], said: Collection[str], found: Balance
) -> None:
    """One direction of one pair: what was submitted, is written, is held once, and stands at the same place in the same chain."""
    about = f"{writer} to {keeper}"
    out = books[writer].documents.get(("out", keeper), ())
    taken = [i for i, _ in books[keeper].documents.get(("in", writer), ())]
    known = books[writer].registers.get(("known", keeper), NO_REGISTER)
    held = books[keeper].registers.get(("held", writer), NO_REGISTER)
    written = [i for i, _ in out]
    in_register = [i for _, i, _ in held[2]]
    lost = ({*said, *written} - {*taken}) | ({*said} - {*in_register})
    rows, places = Counter(taken), Counter(in_register)
    twice = sum(max(rows[i], places[i]) - 1 for i in {*rows, *places})
    # Everything here is submitted once: whatever else is there has been said again.
    unknown = {*written, *taken} - {*said}
    found.lost += len(lost)
    found.doubled += twice + len(unknown)
    for what, number in (
        ("lost", len(lost)),
        ("held twice", twice),
        ("not what was submitted", len(unknown)),
    ):
        if number:
            found.faults.append(f"{about}: {number} of {len(said)} documents are {what}.")
    if waiting := sum(received is None for _, received in out):
        found.faults.append(f"{about}: {waiting} documents have no receipt.")
    if known != held or len(in_register) != len(taken):
        found.faults.append(
            f"{about}: the writer knows {known[:2]} of the register, the keeper has {held[:2]}."
        )


def _read(office: Office) -> Books:
    with contextlib.closing(sqlite3.connect(f"file:{office.database}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # one moment for all of it
        documents: dict[tuple[str, str], list[tuple[str, str | None]]] = defaultdict(list)
        for direction, partner, *row in database.execute(
            "SELECT direction, partner, id, received_at FROM document ORDER BY seq"
        ):
            documents[direction, partner].append((row[0], row[1]))
        cases = {
            document_id: (state, {name: case.get(name) for name in CASE})
            for document_id, state, case in (
                (row[0], row[1], json.loads(row[2]))
                for row in database.execute(
                    'SELECT document.id, state, certificate."case" FROM document JOIN certificate ON key = subject'
                )
            )
        }
        entries: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
        for side, partner, *entry in database.execute(
            "SELECT side, partner, position, document_id, head FROM entry ORDER BY position"
        ):
            entries[side, partner].append((entry[0], entry[1], entry[2]))
        registers = {}
        for address, *sizes in database.execute(
            "SELECT address, held_size, held_head, known_size, known_head FROM partner"
        ):
            for side, size, head in (("held", *sizes[:2]), ("known", *sizes[2:])):
                registers[side, address] = (size, head, tuple(entries[side, address]))
        incidents = database.execute("SELECT kind, text FROM incident ORDER BY seq").fetchall()
        return Books(documents, cases, registers, [f"{kind}: {text}" for kind, text in incidents])


def _compare_case(errand: Errand, books: Mapping[str, Books], found: Balance) -> None:
    """Where a certificate stands: both authorities must say the same, and what was to be expected."""
    consignment, document = errand.consignment, errand.notification or ""
    nothing: tuple[str, Mapping[str, Any]] = ("unknown", {})
    here, there = (
        books[address].cases.get(document, nothing)
        for address in (consignment.exporter, consignment.importer)
    )
    found.states[here[0]] += 1
    about = f"{errand.number} ({consignment.exporter} to {consignment.importer})"
    if here != there:
        found.faults.append(
            f"{about}: {here[0]} says the exporter, {there[0]} the importer, or for other reasons."
        )
    elif here[0] != _EXPECTED[consignment.finding]:
        found.faults.append(f"{about} is {here[0]}, and should be {_EXPECTED[consignment.finding]}.")


_EXPECTED: Final = {
    Finding.AS_NOTIFIED: "confirmed",
    Finding.LIGHTER: "confirmed-with-discrepancy",
    Finding.NOT_YET_OPENED: "notified",
}
