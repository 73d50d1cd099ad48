"""Brokers and the lines between: a queue at each recipient for each sender, and everything that may happen to a message.

A queue is consumed in order, a batch at a time, and a batch leaves it when it is acknowledged (R4). In a *strict* world a line keeps
the order and repeats a message only where it stands, as a broker that redelivers does; otherwise messages also overtake
one another and turn up again long after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.node import Killed, Message

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Line:
    """From one sender to one recipient: `queue` lies on the recipient's broker, `arrival` keeps a strict line in order."""

    queue: list[Message] = field(default_factory=list)
    arrival: float = 0.0
    consuming: bool = False
    cut_until: float = 0.0  # one direction may be cut while the other works


class Network:
    """All lines. `send` tells how an attempt ended, as `kpnode.transports.Outcome` names it, and after how many seconds."""

    def __init__(self, world: World, addresses: list[str]) -> None:
        self.world = world
        self.lines = {(a, b): Line() for a in addresses for b in addresses if a != b}
        self.down_until = dict.fromkeys(addresses, 0.0)

    def send(self, message: Message) -> tuple[str, float]:
        world, rng = self.world, self.world.rng
        line = self.lines[message.sender, message.recipient]
        if world.now < max(self.down_until[message.recipient], line.cut_until):
            return "unreachable", rng.uniform(0.01, 2.0)
        faults = world.faults
        roll = rng.random()
        if roll < faults.refuse:
            return rng.choice(("full", "unroutable")), rng.uniform(0.01, 0.1)
        if roll < faults.refuse + faults.unknown:
            if rng.random() < 0.5:
                self._dispatch(line, message)
            return "unknown", rng.uniform(0.1, 10.0)
        self._dispatch(line, message)
        return "accepted", rng.uniform(0.001, 0.05)

    def _dispatch(self, line: Line, message: Message) -> None:
        world, rng, faults = self.world, self.world.rng, self.world.faults
        if rng.random() < faults.drop:
            world.say("lost on the way", message)
            return
        copies = 2 if rng.random() < faults.duplicate else 1
        for copy in range(copies):
            delay = rng.uniform(0.001, 0.05)
            if world.strict:
                line.arrival = max(line.arrival, world.now + delay)
                world.at(line.arrival, None, self.arrive, line, message)
                continue
            if rng.random() < faults.delay or (copy and rng.random() < 0.5):
                delay = rng.choice((1.0, 10.0, 100.0, 1000.0)) * rng.random()
            world.at(world.now + delay, None, self.arrive, line, message)

    def arrive(self, line: Line, message: Message) -> None:
        if self.world.now < self.down_until[message.recipient]:
            return  # lost with the connection
        line.queue.append(message)
        self.consume(line, message.sender, message.recipient)

    def consume(self, line: Line, sender: str, recipient: str) -> None:
        """Have the recipient's process, if there is one, take the next batch soon."""
        if line.queue and not line.consuming and self.world.nodes[recipient].alive:
            line.consuming = True
            self.world.at(
                self.world.now + self.world.rng.uniform(0.0005, 0.02),
                None,
                self.deliver,
                line,
                sender,
                recipient,
            )

    def deliver(self, line: Line, sender: str, recipient: str) -> None:
        line.consuming = False
        node = self.world.nodes[recipient]
        if not line.queue or not node.alive or self.world.now < self.down_until[recipient]:
            return
        batch = line.queue[: self.world.rng.randint(1, 4)]
        self.world.say("takes", batch)
        try:
            replies = node.receive(sender, batch)
        except Killed:
            return  # not acknowledged: the same messages come again
        if self.world.rng.random() < self.world.faults.duplicate:
            self.world.say("acknowledgement lost", recipient)
        else:
            del line.queue[: len(batch)]
        node.post(sender, replies)
        self.consume(line, sender, recipient)

    def resume(self, recipient: str) -> None:
        """The recipient's process, or its broker, is back: what lies there is taken."""
        for (sender, to), line in self.lines.items():
            if to == recipient:
                self.consume(line, sender, to)

    def wipe(self, recipient: str) -> None:
        for (_, to), line in self.lines.items():
            if to == recipient:
                line.queue.clear()

    def idle(self) -> bool:
        return not any(line.queue for line in self.lines.values())
