"""The exchange under faults: every seed here must end with nothing lost, doubled or denied (see `invariants`)."""

from __future__ import annotations

import pytest

from tests.simulation import bugs, play
from tests.simulation.invariants import Violation
from tests.simulation.node import Message
from tests.simulation.store import Document
from tests.simulation.world import Faults, Intent, World

SEEDS = 2000
SHARE = 125  # one test for so many seeds, so that several processes divide them

# Seeds that once failed, and what they showed. They run first, though a change of the simulation gives them new lives.
CORPUS = {
    24: "a document was withheld although it stood in the same page, and was missing from its certificate's case",
    39: "a number was denied while the answer that would have brought its notification back was on the way",
    130: "a withheld document that turned up in the partner's register stayed withheld",
    173: "a document was withheld and believed in one step",
    194: "as 39",
    277: "two idle nodes asked each other every thirty seconds, for their questions counted as traffic",
    293: "what was parked when a status was answered was admitted later: one number was notified twice",
    395: "as 293, with a confirmation",
    513: "as 293",
    728: "partial answers to a page alternated for ever while the register grew",
    829: "a register restored between status and page was reported as contradicting itself",
}


@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_every_seed_ends_in_order(first: int) -> None:
    summary = play.Summary()
    for seed in range(first, first + SHARE):
        failure = play.play(seed, summary)
        assert failure is None, f"python -m tests.simulation --seed {seed} --trace"
    assert summary.counts["restores"] > SHARE
    assert summary.counts["submissions"] > 10 * SHARE


@pytest.mark.parametrize("seed", CORPUS)
def test_seeds_that_once_failed(seed: int) -> None:
    _, failure = play.traced(seed)
    assert failure is None, CORPUS[seed]


def test_a_seed_gives_the_same_run_twice() -> None:
    for seed in (3, 7):
        assert play.traced(seed) == play.traced(seed)


def test_every_crash_point_is_passed() -> None:
    summary = play.Summary()
    for seed in range(300):
        assert play.play(seed, summary) is None
    points = {name.removeprefix("crash ") for name in summary.counts if name.startswith("crash ")}
    assert points >= {"A1", "A2", "A3", "A4", "A5", "A6", "A8", "A9", "B1", "B2", "B3", "P1"}


@pytest.mark.parametrize("bug", bugs.FOUND, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: bugs.Bug) -> None:
    assert bugs.first_failure(bug, (bug.seed, *range(bugs.WITHIN))) is not None


def late_notification() -> World:
    """AE gets a copy of a notification that BW has forgotten, confirms it, and its receipt is lost."""
    world = World(5)
    world.faults = Faults()
    world.network.down_until.clear()
    world.network.down_until.update(dict.fromkeys(world.nodes, 0.0))
    for node in world.nodes.values():
        node.start()
    world._play(5.0)
    late = Document(world.new_id(), "BW", "AE", "notification", "BW-1", "export-notification:BW-1")
    world.network.arrive(world.network.lines["BW", "AE"], Message("BW", "AE", None, (late,)))
    world.intents.append(Intent("confirm BW-1", "AE", "BW", "confirmation", "BW-1"))
    world.faults.drop = 1.0
    world._play(5.5)
    world.faults.drop = 0.0
    world.submit(world.intents[0])
    world._play(1000.0)
    world.witness.at_rest()
    return world


def test_no_number_is_denied_while_its_notification_may_come_back() -> None:
    world = late_notification()
    assert len(world.nodes["BW"].db.documents) == 2


@pytest.mark.parametrize("bug", bugs.DIRECTED, ids=lambda bug: bug.name)
def test_a_bug_that_seeds_seldom_show_is_found(bug: bugs.Bug) -> None:
    with bug.planted(), pytest.raises(Violation, match="I17 BW denies BW-1"):
        late_notification()


@pytest.mark.parametrize("bug", bugs.REDUNDANT, ids=lambda bug: bug.name)
def test_a_redundant_rule_is_redundant(bug: bugs.Bug) -> None:
    assert bug.because
    assert bugs.first_failure(bug, range(20)) is None
