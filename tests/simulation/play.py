"""Playing seeds: what a run gives back, and that it gives the same twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.simulation.invariants import Violation
from tests.simulation.store import IntegrityError
from tests.simulation.world import World

TWICE: Final = 100  # every so many seeds, one is run twice and must leave the same trace


@dataclass(slots=True)
class Summary:
    """Counts over many runs."""

    runs: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def line(self, seconds: float) -> str:
        """One line for people."""
        c, n = self.counts, max(1, self.runs)
        crashes = sum(count for name, count in c.items() if name.startswith("crash "))
        return (
            f"{self.runs} seeds in {seconds:.1f} s ({self.runs / max(seconds, 0.001) * 60:.0f} a minute), all hold: "
            f"{c['restores']} restores and {c['losses']} losses of databases, {crashes} crashes at named points, "
            f"{c['submissions']} submissions, {c['messages']} messages, {c['commits']} commits; a seed has "
            f"{c['events'] / n:.0f} events, {c['acts'] / n:.0f} acts, {(c['restores'] + c['losses']) / n:.1f} restores"
        )


def play(seed: int, summary: Summary) -> str | None:
    """Run one seed; what does not hold, if something does not."""
    if seed % TWICE == 0:
        first, failure = traced(seed)
        second, _ = traced(seed)
        if failure is None and digest(first) != digest(second):
            return "two runs of one seed differ"
        if failure is not None:
            return failure
    world = World(seed)
    summary.runs += 1
    failure = run(world)
    summary.counts.update(world.counts)
    return failure


def traced(seed: int) -> tuple[list[str], str | None]:
    """Run one seed and keep every line of what happens."""
    world = World(seed, tracing=True)
    failure = run(world)
    assert world.trace is not None
    return world.trace, failure


def digest(trace: list[str]) -> str:
    """What identifies a run."""
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()


def run(world: World) -> str | None:
    """Play one world to its end; what does not hold, if something does not."""
    try:
        world.run()
    except (Violation, IntegrityError) as error:
        return f"{type(error).__name__} {error}"
    return None
