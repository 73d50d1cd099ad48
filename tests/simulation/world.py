"""One run: nodes, brokers, callers and officers in virtual time, and by the seed everything that goes wrong.

A run has two parts. While faults last, processes die at crash points, databases are replaced by older ones or lost, brokers are down
or wiped, lines are cut, messages are lost, doubled, late; callers go on submitting, repeat what was not answered, and submit
again what a restored node no longer knows. Then faults stop, and within `SETTLE` seconds all must be in order.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from kpmsg import register, schedule
from tests.simulation import invariants
from tests.simulation.network import Network
from tests.simulation.node import Killed, Message, Node
from tests.simulation.store import Claimed, Database, Document, Effects, Kind

SETTLE: Final = 600.0  # I15
STRAGGLERS: Final = 60.0  # what was still on its way when faults stopped arrives by then, or never


@dataclass(frozen=True, slots=True)
class Sizes:
    """The protocol's limits in this run. Small ones make a dozen documents fill pages, frames and windows."""

    page: int = 256
    parked: int = 512
    frame: int = 256
    window: int = 2048
    attached: int = 256


@dataclass(slots=True)
class Faults:
    """How likely each fault is wherever it can happen."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    refuse: float = 0.0
    unknown: float = 0.0
    crash: float = 0.0


@dataclass(slots=True)
class Intent:
    """Something that a caller or an officer wants said, with the idempotency key under which it is submitted."""

    key: str
    author: str
    recipient: str
    kind: Kind
    subject: str
    document: str | None = None


class World:
    """One seed's world. `run` plays it to the end and raises `invariants.Violation` if anything does not hold."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        self.seed = seed
        self.now = 0.0
        self.strict = rng.random() < 0.5
        addresses = ["BW", "AE", "ZA"][: 3 if rng.random() < 0.15 else 2]
        self.sizes = (
            Sizes(
                rng.choice((2, 3, 5)),
                rng.choice((4, 8)),
                rng.choice((1, 2, 4)),
                rng.choice((3, 6)),
                rng.choice((1, 2, 9)),
            )
            if rng.random() < 0.6
            else Sizes()
        )
        self.faults = self._draw_faults()
        self.overrides = rng.random() < 0.1
        self.horizon = 2 * 86400.0 if rng.random() < 0.01 else rng.choice((60.0, 200.0, 200.0, 600.0))
        self.nodes = {a: Node(self, a, [b for b in addresses if b != a]) for a in addresses}
        self.network = Network(self, addresses)
        self.resting = False
        self.crashes_left = 25
        self.intents: list[Intent] = []
        self.counts: Counter[str] = Counter()
        self.trace: list[str] | None = [] if tracing else None
        self.witness = invariants.Witness(self)
        self._heap: list[tuple[float, int, Node | None, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._ids = 0
        self._nonces = 0
        self._versions: dict[str, list[Database]] = {a: [node.db] for a, node in self.nodes.items()}

    def _draw_faults(self) -> Faults:
        rng = self.rng
        level = rng.choice((0.0, 0.3, 1.0))
        drop, duplicate, delay, refuse, unknown = (
            level * rng.choice((0.0, 0.02, 0.1, 0.3)) for _ in range(5)
        )
        return Faults(drop, duplicate, delay, refuse, unknown, rng.choice((0.0, 0.005, 0.02, 0.05)))

    # -- what nodes ask of the world -------------------------------------------------------------------------------------

    @property
    def stamp(self) -> str:
        return f"{self.now:.3f}"

    def nonce(self) -> str:
        self._nonces += 1
        return f"nonce-{self._nonces:012d}"

    def new_id(self) -> str:
        self._ids += 1
        return hashlib.sha256(f"{self.seed}/{self._ids}".encode()).hexdigest()

    def at(self, when: float, node: Node | None, act: Callable[..., None], *args: Any) -> None:
        """Call `act` at `when`, unless the process of `node` has ended by then."""
        self._sequence += 1
        incarnation = node.incarnation if node is not None else 0
        heapq.heappush(self._heap, (when, self._sequence, node, incarnation, act, args))

    def after(self, node: Node, seconds: float, act: Callable[..., None], *args: Any) -> None:
        self.at(self.now + seconds, node, act, *args)

    def point(self, node: Node, name: str) -> None:
        """A crash point: the process may die here."""
        if self.faults.crash and self.crashes_left and self.rng.random() < self.faults.crash:
            self.crashes_left -= 1
            self.counts[f"crash {name}"] += 1
            self.kill(node, self.rng.choice((0.1, 1.0, 10.0, 60.0)), f"at {name}")
            raise Killed

    def committed(self, node: Node, before: Database, partner: str | None, effects: Effects | None) -> None:
        self.counts["commits"] += 1
        if not self.resting:
            self._versions[node.address].append(node.db)
        self.witness.committed(node, before, partner, effects)
        if effects is None:
            return
        if self.trace is not None:
            self.say(
                f"{node.address} commits",
                {f.name: v for f in fields(effects) if (v := getattr(effects, f.name))},
            )
        for document in effects.admitted:
            if document.kind == "notification" and not self.resting and self.rng.random() < 0.6:
                self._confirm(document)

    def leaves(self, node: Node, message: Message) -> None:
        self.counts["messages"] += 1
        self.say("sends", message)
        self.witness.leaves(node, message)

    def denies(self, node: Node, document: Document, codes: tuple[str, ...]) -> None:
        self.say(f"{node.address} denies {codes}", document)
        self.witness.denies(node, document, codes)

    def say(self, label: str, what: object) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:12.4f}  {label} {_short(what)}")

    # -- callers and officers ------------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        addresses = list(self.nodes)
        author, recipient = self.rng.sample(addresses, 2)
        for _ in range(self.rng.choice((1, 1, 1, 1, 2, 5))):
            n = len(self.intents)
            self._want(Intent(f"key-{n}", author, recipient, "notification", f"{author}-{n}"))

    def _forge(self) -> None:
        """A confirmation of a number that nobody ever issued."""
        author, recipient = self.rng.sample(list(self.nodes), 2)
        n = len(self.intents)
        self._want(Intent(f"key-{n}", author, recipient, "confirmation", f"{recipient}-forged-{n}"))

    def _confirm(self, document: Document) -> None:
        key = f"confirm {document.subject}"
        if not any(i.key == key for i in self.intents):
            intent = Intent(key, document.recipient, document.author, "confirmation", document.subject)
            self.intents.append(intent)
            self.at(
                self.now + self.rng.choice((0.1, 5.0, 60.0)) * self.rng.random(), None, self.submit, intent
            )

    def _want(self, intent: Intent) -> None:
        self.intents.append(intent)
        self.submit(intent)

    def submit(self, intent: Intent) -> None:
        """A caller's request; without an answer it comes again under the same key."""
        if self.resting:
            return
        node = self.nodes[intent.author]
        if not node.alive:
            self.at(self.now + self.rng.uniform(1.0, 20.0), None, self.submit, intent)
            return
        prefix = "export-notification" if intent.kind == "notification" else "import-confirmation"
        document = Document(
            self.new_id(),
            intent.author,
            intent.recipient,
            intent.kind,
            intent.subject,
            f"{prefix}:{intent.subject}",
        )
        self.say("submits", document)
        self.counts["submissions"] += 1
        try:
            outcome = node.submit(document, intent.key)
        except Killed:
            self.at(self.now + self.rng.uniform(0.5, 5.0), None, self.submit, intent)
            raise
        if isinstance(outcome, Claimed):
            intent.document = outcome.document_id
        else:
            self.witness.answered(node, intent.key, outcome)
            intent.document = outcome

    def _submit_again(self, node: Node) -> None:
        """What callers do about a node that has been restored: they look whether it still knows what they said."""
        for intent in self.intents:
            if intent.author == node.address and intent.document is not None:
                gone = intent.document not in node.db.documents
                if self.rng.random() < (0.7 if gone else 0.05):
                    self.at(
                        self.now + self.rng.choice((0.5, 5.0, 100.0)) * self.rng.random(),
                        None,
                        self.submit,
                        intent,
                    )

    # -- what goes wrong -----------------------------------------------------------------------------------------------------

    def kill(self, node: Node, downtime: float, why: str = "killed") -> None:
        if node.alive:
            self.say(f"{node.address} dies {why}", None)
            self.counts["kills"] += 1
            node.kill()
            self.at(self.now + downtime, None, self.revive, node)

    def revive(self, node: Node) -> None:
        if not node.alive:
            self.say(f"{node.address} starts", None)
            node.start()
            self.network.resume(node.address)

    def _some_node(self) -> Node:
        return self.rng.choice(list(self.nodes.values()))

    def _downtime(self) -> float:
        return self.rng.choice((0.1, 1.0, 10.0, 60.0, self.horizon / 2)) * self.rng.random()

    def _kill(self) -> None:
        self.kill(self._some_node(), self._downtime())

    def restore(self, node: Node) -> None:
        """Put an older state of the database in its place: in a strict world one of its own past, else any there ever was."""
        versions = self._versions[node.address]
        self.kill(node, self._downtime(), "for a restore")
        recent = self.rng.random() < 0.6
        least = max(0, len(versions) - 12) if recent else 0
        index = self.rng.randrange(least, len(versions))
        node.db = versions[index]
        if self.strict:
            del versions[index + 1 :]
        else:
            versions.append(node.db)
        self._damaged(node, "restore", f"{index} of {len(versions)}")

    def _restore(self) -> None:
        self.restore(self._some_node())

    def _restore_all(self) -> None:
        for node in self.nodes.values():
            self.restore(node)

    def _lose(self) -> None:
        node = self._some_node()
        self.kill(node, self._downtime(), "with its database")
        node.db = Database.empty(node.partners)
        if self.strict:
            self._versions[node.address].clear()
        self._versions[node.address].append(node.db)
        self._damaged(node, "loss", "")

    def _damaged(self, node: Node, how: str, which: str) -> None:
        self.say(f"{node.address} {how}", which)
        self.counts["restores" if how == "restore" else "losses"] += 1
        self.witness.damaged.add(node.address)
        self._submit_again(node)

    def _wipe(self) -> None:
        node = self._some_node()
        self.say("wiped: the broker of", node.address)
        self.counts["wipes"] += 1
        self.network.wipe(node.address)

    def _broker_down(self) -> None:
        node = self._some_node()
        until = self.now + self._downtime()
        self.counts["outages"] += 1
        self.say("down: the broker of", node.address)
        self.network.down_until[node.address] = until
        self.at(until, None, self.network.resume, node.address)

    def _cut(self) -> None:
        line = self.rng.choice(list(self.network.lines.values()))
        line.cut_until = self.now + self._downtime()
        self.counts["cuts"] += 1

    def _operate(self) -> None:
        node = self._some_node()
        if not node.alive:
            return
        peer = self.rng.choice(list(node.peers.values()))
        if self.overrides and self.rng.random() < 0.5:
            self.say(f"{node.address} overrides for", peer.address)
            self.witness.overridden.add(node.address)
            node.override(peer.address)
        elif self.rng.random() < 0.5:
            peer.paused = not peer.paused
            node.wake(peer)
        else:
            peer.schedule.retry_now(self.now)
            node.wake(peer)

    # -- the run -------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Play it. Raises Violation."""
        with self._limits():
            for node in self.nodes.values():
                node.start()
            acts: list[tuple[int, Callable[[], None]]] = [
                (34, self._notify),
                (6, self._forge),
                (6, self._kill),
                (9, self._restore),
                (1, self._restore_all),
                (2, self._lose),
                (6, self._wipe),
                (6, self._broker_down),
                (5, self._cut),
                (4, self._operate),
            ]
            quiet = (
                self.rng.random() < 0.1
            )  # some runs without restores, where nothing at all may be reported
            harmful = (self._restore, self._restore_all, self._lose)
            chosen = [(w, act) for w, act in acts if not (quiet and act in harmful)]
            for act in self.rng.choices(
                [a for _, a in chosen], [w for w, _ in chosen], k=self.rng.randint(20, 50)
            ):
                self.counts["acts"] += 1
                self.at(self.rng.uniform(0.0, self.horizon), None, act)
            self._play(self.horizon)
            self._rest()
            self._play(self.now + self._until_first_contact() + SETTLE)
            self.witness.at_rest()

    def _play(self, until: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, node, incarnation, act, args = heapq.heappop(heap)
            self.now = max(self.now, when)
            if node is not None and (not node.alive or node.incarnation != incarnation):
                continue
            self.counts["events"] += 1
            try:
                act(*args)
            except Killed:
                continue
        self.now = until

    def _rest(self) -> None:
        """Faults stop. What is on its way arrives soon or never; everybody is there."""
        self.say("-- faults stop", None)
        self.resting = True
        self.faults = Faults()
        latest = self.now + STRAGGLERS
        arrive = self.network.arrive
        self._heap = [entry for entry in self._heap if entry[4] != arrive or entry[0] <= latest]
        heapq.heapify(self._heap)
        for line in self.network.lines.values():
            line.cut_until = self.now
        for node in self.nodes.values():
            self.network.down_until[node.address] = self.now
            self.revive(node)
            self.network.resume(node.address)
            for peer in node.peers.values():
                peer.paused = False
                node.wake(peer)
        self.witness.resting()

    def _until_first_contact(self) -> float:
        """Both sides may be backing off; the 10 minutes of I15 count from when one of each pair may try again."""
        waits = [0.0]
        for a, node in self.nodes.items():
            for b, peer in node.peers.items():
                other = self.nodes[b].peers[a]
                waits.append(min(peer.schedule.next_attempt, other.schedule.next_attempt) - self.now)
        return max(waits)

    @contextmanager
    def _limits(self) -> Iterator[None]:
        """The core's limits for the length of this run."""
        places = [
            (register, "MAX_DOCUMENTS", self.sizes.page),
            (register, "MAX_PARKED", self.sizes.parked),
            (schedule, "BATCH", self.sizes.frame),
            (schedule, "WINDOW", self.sizes.window),
        ]
        before = [(module, name, getattr(module, name)) for module, name, _ in places]
        for module, name, value in places:
            setattr(module, name, value)
        try:
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)


def _short(what: object) -> str:
    """For a trace: ids cut to eight digits, empty members left out."""
    if isinstance(what, str):
        return what[:8] if len(what) == 64 else what
    if isinstance(what, list | tuple):
        return "[" + " ".join(_short(item) for item in what) + "]"
    if isinstance(what, dict):
        return " ".join(f"{k}={_short(v)}" for k, v in what.items())
    if is_dataclass(what):
        members = {f.name: v for f in fields(what) if (v := getattr(what, f.name)) not in (None, (), "")}
        return f"{type(what).__name__}({_short(members)})"
    return "" if what is None else str(what)
