"""Who ships to whom in a demonstration of the whole world: the authorities, and shipments drawn by how much each of them trades.

The figures are in `world_year.csv`, beside this module; **they are estimates, not statistics**. Everything follows from a seed. Decides
pairs, certificate numbers and what the importing officer will find; what a notification says is for `kpnode.sample`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from importlib.resources import files
from random import Random
from typing import Any, Final

from kpmsg.documents.participants import participants
from kpnode.sample import Trade

FILE: Final = "world_year.csv"


class Finding(Enum):
    """What becomes of a shipment; the weight says how many of 1,000 end like that."""

    AS_NOTIFIED = 940
    LIGHTER = 25
    """Opened, and some of the weight is missing."""
    NOT_YET_OPENED = 35
    """Notified and received; the importing authority says nothing before this ends."""


@dataclass(frozen=True, slots=True)
class Trader:
    """An authority, with the certificates that it issues and receives in a year (estimates)."""

    address: str
    name: str
    issued: int
    received: int


@dataclass(frozen=True, slots=True)
class Consignment:
    """One shipment that will be notified. `serial` is its certificate's number with that exporter, `nth` counts those of the pair."""

    exporter: str
    importer: str
    serial: int
    nth: int
    seed: int
    finding: Finding

    def draft(self, on: date) -> dict[str, Any]:
        """The notification, written on that day."""
        trade = Trade(self.exporter, self.importer, on=on, seed=self.seed, first=self.serial - self.nth)
        return trade.notification(self.nth)


def traders() -> list[Trader]:
    """One authority for each Participant, and Chinese Taipei, by address; where there are several, the first that is listed."""
    text = files("kpnode.demo").joinpath(FILE).read_text("utf-8")
    found = []
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        participant = participants()[row["code"]]
        address = "/".join([participant.code, *participant.authorities[:1]])
        issued, received = int(row["certificates_issued"]), int(row["certificates_received"])
        found.append(Trader(address, participant.name, issued, received))
    return sorted(found, key=lambda trader: trader.address)


def draw(count: int, among: Sequence[Trader], seed: int) -> Iterator[Consignment]:
    """`count` shipments, one after the other as they happen to be sent; nobody ships to itself."""
    chance = Random(f"{seed}/world")  # noqa: S311 - repeatable
    issued, received = [each.issued for each in among], [each.received for each in among]
    findings = tuple(Finding)
    serials: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for _ in range(count):
        [exporter] = chance.choices(among, issued)
        importer = exporter
        while importer is exporter:
            [importer] = chance.choices(among, received)
        pair = exporter.address, importer.address
        serials[exporter.address] += 1
        pairs[pair] += 1
        [finding] = chance.choices(findings, [each.value for each in findings])
        yield Consignment(*pair, serials[exporter.address], pairs[pair] - 1, seed, finding)
