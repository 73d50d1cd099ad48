"""The end: do both authorities hold exactly the same, and nothing twice? Asked of both APIs, and of both databases for the heads.

Nothing that the play believes it has seen counts here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kpmsg.documents import ExportNotification, ImportConfirmation
from kpnode.demo.authority import Authority

CASE = (
    "key",
    "number",
    "exporter",
    "importer",
    "state",
    "turn",
    "notifications",
    "confirmations",
    "rejected",
    "differences",
)
"""What both authorities must say alike of a certificate, by the names of the API."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds from a shipment's submission to one stage: of those that nothing disturbed, and of those that an outage struck."""

    name: str
    calm: tuple[float, ...]
    struck: tuple[float, ...]


@dataclass(slots=True)
class Reckoning:
    """What was found. `faults` is empty if all is well."""

    faults: list[str]
    states: Counter[str]
    registers: list[str]
    stages: list[Stage]
    incidents: list[tuple[str, str]]


def reckon(
    exporter: Authority, importer: Authority, ids: Sequence[str], struck: Collection[str]
) -> Reckoning:
    """Compare both sides. `ids`: the notifications that were submitted; `struck`: those that an outage delayed."""
    faults: list[str] = []
    registers = [
        _compare_register(writer, keeper, faults)
        for writer, keeper in ((exporter, importer), (importer, exporter))
    ]
    sent = list(exporter.api.documents(direction="out", type=ExportNotification.name))
    if sorted(each["id"] for each in sent) != sorted(ids):
        faults.append(
            f"{exporter.address} holds {len(sent)} notifications of its own, {len(ids)} were submitted."
        )
    states = _compare_cases(exporter, importer, faults)
    confirmed = sum(n for state, n in states.items() if state.startswith("confirmed"))
    if confirmed != len(ids):
        faults.append(f"{confirmed} of {len(ids)} certificates are confirmed.")
    return Reckoning(
        faults,
        states,
        registers,
        _stages(exporter, sent, struck),
        _incidents(exporter) + _incidents(importer),
    )


def _compare_register(writer: Authority, keeper: Authority, faults: list[str]) -> str:
    """One direction: every document that left is held once, received, and at the same place in the same chain."""
    out = list(writer.api.documents(direction="out"))
    taken = [each["id"] for each in keeper.api.documents(direction="in")]
    about = f"{writer.address} to {keeper.address}"
    if Counter(each["id"] for each in out) != Counter(taken) or len(set(taken)) != len(taken):
        faults.append(
            f"{about}: {len(out)} documents were written, {len(taken)} are held, {len(set(taken))} different."
        )
    faults += [
        f"{about}: {each['id']} is {each['delivery']['state']}."
        for each in out
        if each["delivery"]["state"] != "received"
    ]
    known, held = _register(writer, keeper.address, "known"), _register(keeper, writer.address, "held")
    if known != held or len(held[2]) != len(taken):
        faults.append(f"{about}: the writer knows {known[:2]} of the register, the keeper has {held[:2]}.")
    return f"{about}: {held[0]} documents, head {held[1][:16]}…"


def _register(of: Authority, partner: str, side: str) -> tuple[int, str, list[tuple[int, str, str]]]:
    """Size, head and all lines of a register, as they stand in the database of one side."""
    entries = "SELECT position, document_id, head FROM entry WHERE partner = ? AND side = ? ORDER BY position"
    with contextlib.closing(sqlite3.connect(f"file:{of.database}?mode=ro", uri=True)) as database:
        size, head = database.execute(
            f"SELECT {side}_size, {side}_head FROM partner WHERE address = ?",  # noqa: S608 - one of two words of ours
            (partner,),
        ).fetchone()
        return size, head, database.execute(entries, (partner, side)).fetchall()


def _compare_cases(exporter: Authority, importer: Authority, faults: list[str]) -> Counter[str]:
    numbers = {
        each["certificate"]
        for side in (exporter, importer)
        for each in side.api.documents()
        if each["certificate"]
    }
    states: Counter[str] = Counter()
    for number in sorted(numbers):
        here, there = (_case(side.api.certificate(number)) for side in (exporter, importer))
        states[here["state"]] += 1
        if here != there:
            faults.append(
                f"{number}: {exporter.address} says {here['state']}, {importer.address} says {there['state']}."
            )
    return states


def _case(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in CASE}


def _stages(exporter: Authority, sent: list[dict[str, Any]], struck: Collection[str]) -> list[Stage]:
    """By the exporter's own clock and records."""
    ids = {each["certificate"]: each["id"] for each in sent}
    begun = {each["id"]: _at(each["created_at"]) for each in sent}
    ended = {"received": {each["id"]: each["delivery"]["received_at"] for each in sent}}
    confirmations = exporter.api.documents(direction="in", type=ImportConfirmation.name)
    ended["confirmed"] = {
        ids[c["certificate"]]: c["created_at"] for c in confirmations if c["certificate"] in ids
    }
    stages = []
    for name, times in ended.items():
        took = {i: (_at(at) - begun[i]).total_seconds() for i, at in times.items()}
        calm = tuple(seconds for i, seconds in took.items() if i not in struck)
        stages.append(Stage(name, calm, tuple(seconds for i, seconds in took.items() if i in struck)))
    return stages


def _incidents(of: Authority) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(f"file:{of.database}?mode=ro", uri=True)) as database:
        return [
            (of.address, f"{kind}: {text}")
            for kind, text in database.execute("SELECT kind, text FROM incident ORDER BY seq").fetchall()
        ]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
