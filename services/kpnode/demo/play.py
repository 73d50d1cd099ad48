"""The story: what is sent, what the importer's officer answers, what breaks, and how it is known that all of it ended well.

Both authorities are seen only as their own systems see them: through their APIs. The one exception is the outage, which does
to processes, a broker and a database what an operator fears.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from uuid_utils.compat import uuid7

from kpmsg import documents, strictjson
from kpmsg.documents import ExportNotification, Rejection, certificate_key
from kpmsg.errors import ClientError
from kpnode.demo.authority import Authority, boot
from kpnode.demo.screen import Screen, Shipment
from kpnode.sample import Trade, certificate_number, confirmation
from kpnode.throwaway import DidNotStart

TICK: Final = 0.05
TO_WATCH: Final = 0.12
"""Seconds between two shipments where somebody looks on; the exchange itself is faster than eyes."""
TO_WAIT: Final = 2.5
"""Seconds for which a queue that cannot get rid of anything is shown, where somebody looks on."""
PATIENCE: Final = 60.0
NEVER_ISSUED: Final = 990_417


class Unfinished(Exception):
    """The exchange has not come to its end; the text says what is missing."""


@dataclass(slots=True)
class Counterfeit:
    """The confirmation of a certificate that was never issued, and what became of it."""

    number: str
    confirmation: str | None = None
    rejection: str | None = None
    said: str | None = None


@dataclass(slots=True)
class Tally:
    """What was repaired."""

    sent_again: int = 0
    taken_back: int = 0


@dataclass
class Play:
    """One run. `exporter` and `importer` are partners already, and their brokers are up."""

    exporter: Authority
    importer: Authority
    drafts: Sequence[Mapping[str, Any]]
    shipments: Sequence[Shipment]
    screen: Screen
    tally: Tally = field(default_factory=Tally)
    struck: set[str] = field(default_factory=set)
    """Notifications that an outage has delayed or undone."""

    def __post_init__(self) -> None:
        self.counterfeit = Counterfeit(certificate_number(self.exporter.address, NEVER_ISSUED))
        self.short = min(2, len(self.shipments) - 1)
        self._next = 0
        self._seen = {self.exporter.address: 0, self.importer.address: 0}
        self._by_id: dict[str, Shipment] = {}
        self._by_key = {certificate_key(each.number): each for each in self.shipments}
        self._begun: dict[str, datetime] = {}
        self._to_confirm: list[str] = []
        self._importer_is_up = True

    # -- the acts ------------------------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Everything is sent and answered while nothing breaks."""
        self.send(max(1, len(self.shipments) // 3))
        self.detect_counterfeit()
        self.send(len(self.shipments))
        self.finish()

    def outage(self) -> None:
        """The importer loses its broker and its database in the middle."""
        third, quarter = len(self.shipments) // 3, len(self.shipments) // 4
        target = self.importer.address
        self.send(third)
        self.detect_counterfeit()
        self.until(self._settled, "the first shipments are confirmed")
        copy = self.importer.copy_database()
        seen = self._seen[target]
        self.screen.say(f"{target}'s database is copied, with {third} shipments in it. Business goes on.")
        self.send(quarter)
        self.until(self._settled, "further shipments are confirmed")
        broker = self.importer.broker
        if broker is not None:
            broker.kill()
            self.screen.say(f"{target}'s broker is killed (SIGKILL).", "bold red")
            self._submit_to_nobody(quarter)
        self.importer.kill()
        self._importer_is_up = False
        self.screen.say(f"{target}'s node is killed (SIGKILL).", "bold red")
        if broker is None:
            self._submit_to_nobody(quarter)
        self.importer.restore_database(copy)
        self._seen[target] = seen  # the feed of events, too, begins again where the copy was made
        self.screen.say(
            f"{target} gets the copy as its database. It has forgotten {quarter} shipments that it signed for, "
            f"and its own {quarter} confirmations of them.",
            "bold red",
        )
        if broker is not None:
            broker.wipe()
            self.screen.doing(f"{target}'s broker boots with an empty disk")
            boot(broker)
            self.screen.say(f"{target}'s broker is back, with an empty disk.")
        self.screen.doing(f"{target}'s node starts with the old database")
        self.importer.start()
        self.importer.wait_ready()
        self._importer_is_up = True
        self.screen.say(
            f"{target}'s node is back. Each asks the other what it holds; nobody presses a button."
        )
        self.until(self._settled, "both have found out what is missing")
        self.screen.say(
            f"Repaired: {self.tally.sent_again} shipments sent again by {self.exporter.address}, "
            f"{self.tally.taken_back} confirmations taken back by {target} from what {self.exporter.address} holds.",
            "bold green",
        )
        self.send(len(self.shipments))
        self.finish()

    def _submit_to_nobody(self, count: int) -> None:
        source = self.exporter.address
        begin = self._next
        self.send(count)
        self.until(lambda: self._trouble() is not None, f"{source} notices")
        if self.screen.live:
            later = time.monotonic() + TO_WAIT
            self.until(lambda: time.monotonic() > later, f"{self.importer.address} can be reached")
        self.screen.say(f"{source}'s queue: {self._trouble()}", "yellow")
        # What the copy does not know, and what has been written since.
        self.struck = {row.id for row in self.shipments[begin - count : begin + count] if row.id is not None}

    def _trouble(self) -> str | None:
        queue = self.exporter.api.queue(self.importer.address)
        if queue["problem"] is None:
            return None
        again = queue.get("next_attempt")
        seconds = 0.0 if again is None else _seconds(datetime.now(UTC), _at(again))
        wait = f", next attempt in {seconds:.1f} s" if seconds else ""
        return f"{queue['waiting']} waiting{wait}. {queue['problem']['sentence']}"

    # -- the exporter --------------------------------------------------------------------------------------------------------

    def send(self, count: int) -> None:
        """Submit the next `count` shipments, as many as there are."""
        self.screen.doing(f"{self.exporter.address} submits", silently=True)
        for n in range(self._next, min(self._next + count, len(self.shipments))):
            shipment, before = self.shipments[n], time.monotonic()
            [answer] = self.exporter.api.submit(self.drafts[n]).documents
            shipment.durable = time.monotonic() - before
            shipment.id = answer["id"]
            self._by_id[answer["id"]] = shipment
            self._begun[shipment.number] = _at(answer["created_at"])
            self.screen.step(shipment, f"submitted, signed and durable after {shipment.durable:.3f} s")
            self._next = n + 1
            self.tick()
            if self.screen.live:
                time.sleep(TO_WATCH)

    # -- the importer's officer ------------------------------------------------------------------------------------------------

    def _confirm(self, document_id: str) -> None:
        api = self.importer.api
        shown = api.document(document_id)
        if shown["type"] != ExportNotification.type:
            return
        if api.certificate(shown["certificate"])["confirmations"]:
            return  # it was sent again: the officer has answered it before
        shipment = self._by_key[shown["certificate"]]
        notification = documents.parse(strictjson.dumps(shown["document"]))
        missing = None
        if shipment is self.shipments[self.short]:
            missing = less(Decimal(shipment.carats.replace(",", "")))
        api.submit(arriving_today(confirmation(notification, document_id, fewer_carats=missing)))

    def detect_counterfeit(self) -> None:
        """The importer confirms a shipment whose certificate looks like the exporter's, and never was."""
        source, target = self.exporter.address, self.importer.address
        now = datetime.now(UTC)
        forged = Trade(source, target, on=now.date(), seed=NEVER_ISSUED, first=NEVER_ISSUED).notification(0)
        document, _ = documents.compose(forged, source=source, id=uuid7(), time=now)
        draft = arriving_today(confirmation(document, "0" * 64))
        draft["data"]["notification"] = None
        self.counterfeit.confirmation = self.importer.api.submit(draft).ids[0]
        self.screen.say(
            f"A parcel arrives in {target} under certificate {self.counterfeit.number}. {target} confirms it."
        )
        self.until(
            lambda: self.counterfeit.rejection is not None, f"{source} looks for it among all it has issued"
        )
        self.screen.say(f"{source} answers with a signed rejection: {self.counterfeit.said}", "bold magenta")

    def submitted(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Seconds until each submission was durable, as its caller waited for them: undisturbed, and struck by the outage."""
        rows = [row for row in self.shipments if row.durable is not None]
        calm = tuple(row.durable or 0.0 for row in rows if row.id not in self.struck)
        return calm, tuple(row.durable or 0.0 for row in rows if row.id in self.struck)

    # -- watching --------------------------------------------------------------------------------------------------------------

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Watch both until `reached`. Raises Unfinished after PATIENCE, DidNotStart if a node has ended."""
        self.screen.doing(f"waiting until {what}", silently=True)
        deadline = time.monotonic() + PATIENCE
        self.tick()
        while not reached():
            if time.monotonic() > deadline:
                raise Unfinished(f"{PATIENCE:.0f} s were not enough until {what}. {self._standing()}")
            time.sleep(TICK)
            self.tick()
        self.screen.doing("")

    def tick(self) -> None:
        """Look at both feeds, and do what the officer has to do."""
        for authority in (self.exporter, self.importer):
            if authority.ended:
                raise DidNotStart(f"{authority.address}'s node has ended:\n{authority.log()[-3000:]}")
        self._watch_exporter()
        if self._importer_is_up:
            self._watch_importer()

    def _watch_exporter(self) -> None:
        api, address = self.exporter.api, self.exporter.address
        for event in api.events(self._seen[address]):
            self._seen[address] = event["id"]
            shipment = self._by_id.get(event["document"] or "")
            match event["kind"]:
                case "received" if shipment is not None:
                    shipment.received = self._since(shipment, event)
                    self.screen.step(shipment, f"received: receipt signed after {shipment.received:.2f} s")
                case "released" if shipment is not None:
                    shipment.received, shipment.handed_over = None, False
                    shipment.again += 1
                    self.tally.sent_again += 1
                    self.screen.step(shipment, "is not held by the importer any more, and is sent again")
                case "admitted":
                    self._admitted(event)
        if any(shipment.received is None for shipment in self._by_id.values()):
            for shown in api.documents(direction="out", delivery="waiting"):
                waiting = self._by_id.get(shown["id"])
                if waiting is not None:
                    waiting.handed_over = shown["delivery"]["state"] == "handed-over"
                    waiting.attempts = shown["delivery"].get("attempts", 0)

    def _admitted(self, event: Mapping[str, Any]) -> None:
        shipment = self._by_key.get(event["certificate"])
        if shipment is None or shipment.confirmed is not None:
            return
        case = self.exporter.api.certificate(event["certificate"])
        shipment.confirmed = self._since(shipment, event)
        carats = [each for each in case["differences"] if each["field"] == "carats"]
        for each in carats:
            shipment.missing = f"{Decimal(each['notified']) - Decimal(each['found']):.2f}"
        self.screen.step(shipment, f"{case['state']} after {shipment.confirmed:.2f} s" + _shortfall(shipment))

    def _watch_importer(self) -> None:
        api, address = self.importer.api, self.importer.address
        for event in api.events(self._seen[address]):
            self._seen[address] = event["id"]
            match event["kind"]:
                case "admitted":
                    self._to_confirm.append(event["document"])
                    if event["certificate"] == certificate_key(self.counterfeit.number):
                        self._rejected(event["document"])
                case "taken-back":
                    self.tally.taken_back += 1
        while self._to_confirm:
            self._confirm(self._to_confirm.pop(0))

    def _rejected(self, document_id: str) -> None:
        shown = self.importer.api.document(document_id)
        if shown["type"] == Rejection.type:
            self.counterfeit.rejection = document_id
            [reason, *_] = shown["document"]["data"]["reasons"]
            self.counterfeit.said = f'{reason["code"]}, "{reason["text"]}"'

    def _since(self, shipment: Shipment, event: Mapping[str, Any]) -> float:
        return _seconds(self._begun[shipment.number], _at(event["at"]))

    def _settled(self) -> bool:
        return all(shipment.done for shipment in self._by_id.values()) and self._balanced()

    def _standing(self) -> str:
        sent = [*self._by_id.values()]
        told = [f"Of {len(sent)} shipments {sum(row.received is not None for row in sent)} are received"]
        told += [f"{sum(row.confirmed is not None for row in sent)} confirmed."]
        for side, partner in ((self.exporter, self.importer), (self.importer, self.exporter)):
            with contextlib.suppress(ClientError):
                told.append(f"{side.address} says: {side.api.queue(partner.address)}")
        return " ".join(told)

    def _balanced(self) -> bool:
        """Whether nothing waits on either side, and each knows of the other's register what is in it."""
        ours = self.exporter.api.queue(self.importer.address)
        theirs = self.importer.api.queue(self.exporter.address)
        return (
            not ours["waiting"]
            and not theirs["waiting"]
            and ours["registers"]["held"] == theirs["registers"]["known"]
            and ours["registers"]["known"] == theirs["registers"]["held"]
        )

    def finish(self) -> None:
        """Watch until everything is confirmed and both sides have signed for all of it."""
        self.until(self._settled, "every shipment is confirmed on both sides")


def less(carats: Decimal) -> Decimal:
    """Two hundredths of a weight, more than scales differ by (rule I05)."""
    return max(Decimal("0.10"), (carats / 50).quantize(Decimal("0.01")))


def _shortfall(shipment: Shipment) -> str:
    return "" if shipment.missing is None else f": {shipment.missing} carats fewer than notified"


def arriving_today(draft: dict[str, Any]) -> dict[str, Any]:
    """The same confirmation with the journey left out: goods arrive here within the second."""
    today = datetime.now(UTC).date().isoformat()
    draft["data"] |= dict.fromkeys(("date_of_arrival", "date_of_receipt", "date_of_verification"), today)
    return draft


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())
