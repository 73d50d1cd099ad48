"""Whatever two authorities say, and however their letters cross: in the end both see the same case, and it holds together.

Hypothesis writes the conversations. Each side says what its own software would let it say, from what has reached it so far;
the two directions are delivered in order, each at its own pace; nodes answer by themselves, as real ones do. Nothing
is ever looked at in an order that the other side shares.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kpmsg.case import Case, fold
from kpmsg.case.prefill import NothingToSayError
from kpmsg.case.standing import Filed
from kpmsg.case.states import CONFLICTS, State
from kpmsg.documents import CertificateQuery, ImportConfirmation, Rejection
from kpmsg.errors import DraftError
from kpmsg.policy import Practice
from tests.conversation import Desk, shipment

MOVES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "BW": [
        ("export-notification", {}),
        ("export-amendment", {"/content/issuing_authority": "Diamond Hub"}),
        ("export-amendment", {"/content/parcels": 3}),
        ("cancellation", {}),
        ("cancellation", {"/reason": "stolen"}),
        ("cancellation", {"/reason": "notified_in_error"}),
        ("confirmation-request", {}),
        ("discrepancy-response", {}),
        ("withdrawal", {"/reason": "A mistake."}),
        ("message", {"/text": "Please call us.", "/answer_wanted": True}),
    ],
    "AE": [
        ("arrival-notice", {"/place": "Dubai"}),
        ("import-confirmation", {}),
        ("import-confirmation", {"/outcome": "detained"}),
        ("import-confirmation", {"/found/parcels": 99, "/outcome": "confirmed_with_discrepancy"}),
        ("confirmation-correction", {"/content/found/parcels": 3}),
        ("confirmation-status", {}),
        ("discrepancy-query", {"/doubts/0/found": "11.00"}),
        ("irregularity-notice", {"/irregularities": ["weight"], "/description": "Too light."}),
        ("return-notice", {"/reason": "Refused."}),
        ("withdrawal", {"/reason": "A mistake."}),
        ("message", {"/text": "What is this?"}),
    ],
}


@dataclass
class Pair:
    """Two desks and the two directions between them."""

    desks: dict[str, Desk] = field(default_factory=lambda: {me: Desk(me) for me in MOVES})
    on_the_way: dict[str, deque[Filed]] = field(default_factory=lambda: {me: deque() for me in MOVES})
    claims: dict[str, str] = field(default_factory=dict)
    hour: int = 0

    def say(self, me: str, name: str, changes: dict[str, Any]) -> None:
        desk = self.desks[me]
        self.hour += 1
        try:
            if name == "export-notification":
                item = desk.tell(shipment(), self.hour)
            else:
                item = desk.say(name, self.hour, changes)
        except (NothingToSayError, DraftError, KeyError, IndexError):
            return
        if any(problem.severity == "reject" for problem in desk.may_say(item)) or not self._claimed(item):
            desk.file.remove(item)
            return
        self.on_the_way[me].append(item)

    def _claimed(self, item: Filed) -> bool:
        assert item.data is not None
        claim = item.data.claim("BW000001")
        taken = claim is not None and claim in self.claims
        if claim is not None and not taken:
            self.claims[claim] = item.id
        return not taken

    def deliver(self, me: str) -> None:
        """The oldest document that `me` has sent reaches the other, whose node answers what it owes."""
        if not self.on_the_way[me]:
            return
        item = self.on_the_way[me].popleft()
        other = next(desk for address, desk in self.desks.items() if address != me)
        self.hour += 1
        problems = other.hear(item)
        if any(problem.severity == "reject" for problem in problems):
            self.on_the_way[other.me].append(other.reject(item, problems, self.hour))
            assert item.data is not None
            self.claims = {claim: i for claim, i in self.claims.items() if i != item.id}
        elif isinstance(item.data, CertificateQuery):
            self.on_the_way[other.me].append(other.answer(item, self.hour))

    def settle(self) -> None:
        while any(self.on_the_way.values()):
            for me in MOVES:
                self.deliver(me)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.sampled_from(sorted(MOVES)), st.just(0)),
        st.tuples(st.just("say"), st.sampled_from(sorted(MOVES)), st.integers(0, 10)),
    ),
    max_size=30,
)


def play(steps: list[tuple[str, str, int]]) -> Pair:
    pair = Pair()
    pair.say("BW", "export-notification", {})
    for kind, me, which in steps:
        if kind == "deliver":
            pair.deliver(me)
        else:
            name, changes = MOVES[me][which % len(MOVES[me])]
            pair.say(me, name, changes)
    pair.settle()
    return pair


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_both_sides_see_the_same_case_whatever_crossed(
    steps: list[tuple[str, str, int]], chance: random.Random
) -> None:
    pair = play(steps)
    exporter, importer = pair.desks["BW"], pair.desks["AE"]
    assert {item.id for item in exporter.file} == {item.id for item in importer.file}, "nothing is lost"
    case = exporter.case()
    assert importer.case() == case
    for _ in range(5):
        order = list(exporter.file)
        chance.shuffle(order)
        assert fold("BW000001", order, Practice("AE")) == case
    holds_together(case, exporter.file)


def holds_together(case: Case, file: list[Filed]) -> None:
    """What must be true of any case."""
    by_id = {item.id: item for item in file}
    rejected = {
        item.data.refers_to
        for item in file
        if isinstance(item.data, Rejection) and item.data.refers_to in by_id
    }
    assert set(case.rejected) <= rejected
    assert not set(case.confirmations) & rejected, "what was rejected does not count"
    if len([i for i in case.confirmations if _came(by_id[i])]) > 1:
        assert case.state in CONFLICTS, "two confirmations are never chosen between"
    if case.state in CONFLICTS:
        assert case.turn != "nobody", "a conflict waits for somebody"
        assert any(matter.kind == "dispute" for matter in case.matters)
    if case.state is State.NOTIFIED:
        assert case.turn in {"importer", "both", "exporter"}, "somebody is always next until it is decided"
    assert case.number == "BW 000001"
    assert case.meaning


def _came(item: Filed) -> bool:
    content = getattr(item.data, "content", item.data)
    return isinstance(content, ImportConfirmation) and content.outcome != "not_received"


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_a_case_never_depends_on_what_is_still_on_its_way_being_known(
    steps: list[tuple[str, str, int]],
) -> None:
    """At every moment, each side can compute its own case from what it has, and no order of it matters."""
    pair = Pair()
    pair.say("BW", "export-notification", {})
    for kind, me, which in steps:
        if kind == "deliver":
            pair.deliver(me)
        else:
            name, changes = MOVES[me][which % len(MOVES[me])]
            pair.say(me, name, changes)
        for desk in pair.desks.values():
            assert fold("BW000001", reversed(desk.file), desk.practice) == desk.case()
