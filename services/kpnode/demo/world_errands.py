"""What a thousand officers do: one errand for each shipment, from its notification to its confirmation, all of them at once.

An errand goes on by small steps, each of which asks one authority's API something and says when to come back. Nobody waits: while an
authority cannot be reached its errands come round again and all others go on. A submission is repeated under the same idempotency
key until there is an answer, so it happens once.

Both authorities are seen only as their own systems see them. Refuses to know processes and what is shown.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Final

from kpmsg import documents, strictjson
from kpmsg.errors import ClientError
from kpnode.demo.play import arriving_today, less
from kpnode.demo.world_hosts import Office
from kpnode.demo.world_trade import Consignment, Finding
from kpnode.sample import confirmation

THREADS: Final = 8
UNDER_WAY: Final = 256
"""Errands at a time; those of authorities that cannot be reached are among them."""
SOON, LATER, LATEST = 0.03, 0.1, 0.5
_AWAY: Final = frozenset({"node-unreachable", "node-unavailable", "store-unavailable", "signing-unavailable"})


@dataclass(slots=True)
class Errand:
    """One shipment and how far it has come."""

    consignment: Consignment
    number: str = ""
    carats: Decimal = Decimal(0)
    notification: str | None = None
    """Id; the exporting node has made it durable."""
    received: bool = False
    """The importing authority has it."""
    confirmation: str | None = None
    confirmed: bool = False
    """The exporting authority has the confirmation."""
    patience: float = SOON
    draft: Mapping[str, Any] | None = None

    def step(self, offices: Mapping[str, Office]) -> float | None:
        """Do what is next. Seconds until it is worth coming back; None if all is done. Raises ClientError."""
        exporter, importer = offices[self.consignment.exporter], offices[self.consignment.importer]
        if self.notification is None:
            self._notify(exporter)
            return SOON
        if self.confirmation is None:
            shown = _look(importer, self.notification)
            if shown is None:
                return self._longer()
            self.received = True
            if self.consignment.finding is Finding.NOT_YET_OPENED:
                return None
            self._confirm(importer, shown)
            self.patience = SOON
            return SOON
        if _look(exporter, self.confirmation) is None:
            return self._longer()
        self.confirmed = True
        return None

    def _notify(self, exporter: Office) -> None:
        if self.draft is None:
            self.draft = self.consignment.draft(datetime.now(UTC).date())
            self.number = self.draft["data"]["certificate"]["number_raw"]
            self.carats = Decimal(self.draft["data"]["carats"])
        [self.notification] = exporter.api.submit(self.draft).ids
        self.draft = None

    def _confirm(self, importer: Office, shown: Mapping[str, Any]) -> None:
        if self.draft is None:
            notification = documents.parse(strictjson.dumps(shown["document"]))
            missing = less(self.carats) if self.consignment.finding is Finding.LIGHTER else None
            self.draft = arriving_today(confirmation(notification, shown["id"], fewer_carats=missing))
        [self.confirmation] = importer.api.submit(self.draft).ids
        self.draft = None

    def _longer(self) -> float:
        self.patience = min(LATEST, self.patience * 1.5)
        return self.patience


@dataclass
class Errands:
    """All of them, and a few threads that run them. `start`, look at the figures, `stop` whatever happens."""

    consignments: Sequence[Consignment]
    offices: Mapping[str, Office]
    every: list[Errand] = field(default_factory=list)
    moved: float = field(default_factory=time.monotonic)
    """When something last went on."""
    trouble: Exception | None = None

    def __post_init__(self) -> None:
        self._coming = iter(self.consignments)
        self._due: list[tuple[float, int, Errand]] = []
        self._numbers = count()
        self._busy = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        for n in range(THREADS):
            thread = threading.Thread(target=self._run, name=f"officers {n}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Begin nothing more. Steps that wait for an answer end with it, or with the node that owes it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def tally(self, reached: Callable[[Errand], bool]) -> int:
        """How many errands have reached something."""
        with self._changed:
            every = tuple(self.every)
        return sum(map(reached, every))

    @property
    def done(self) -> bool:
        """Whether every errand has come to its end."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (errand := self._next()) is not None:
            before = errand.notification, errand.received, errand.confirmation, errand.confirmed
            try:
                pause = errand.step(self.offices)
            except ClientError as error:
                if error.code not in _AWAY:
                    return self._fail(errand, error)
                pause = LATEST
            except Exception as error:  # noqa: BLE001 - it is told, and ends the demonstration
                return self._fail(errand, error)
            with self._changed:
                self._busy -= 1
                if before != (errand.notification, errand.received, errand.confirmation, errand.confirmed):
                    self.moved = time.monotonic()
                if pause is not None:
                    heapq.heappush(self._due, (time.monotonic() + pause, next(self._numbers), errand))
                self._changed.notify_all()
        return None

    def _fail(self, errand: Errand, error: Exception) -> None:
        with self._changed:
            self._busy -= 1
            self.trouble = error
            error.add_note(f"{errand.number}, {errand.consignment.exporter} to {errand.consignment.importer}")
            self._stopping = True
            self._changed.notify_all()

    def _next(self) -> Errand | None:
        """The errand whose turn it is; a new one if nothing is due. Waits; None at the end."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                if self._due and self._due[0][0] <= now:
                    self._busy += 1
                    return heapq.heappop(self._due)[2]
                if len(self._due) + self._busy < UNDER_WAY:
                    consignment = next(self._coming, None)
                    if consignment is not None:
                        errand = Errand(consignment)
                        self.every.append(errand)
                        self._busy += 1
                        return errand
                if not self._due and not self._busy:
                    return None
                self._changed.wait(self._due[0][0] - now if self._due else None)
        return None


def _look(office: Office, document_id: str) -> Mapping[str, Any] | None:
    """A document as an authority's own API shows it; None if it is not there (yet)."""
    try:
        return office.api.document(document_id)
    except ClientError as error:
        if error.code == "not-found":
            return None
        raise
