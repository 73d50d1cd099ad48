"""Whatever two authorities say, and however their letters cross: in the end both see the same case, and it holds together.

Hypothesis writes the conversations. Each side says what its own software would let it say, from what has reached it so far;
the two directions are delivered in order, each at its own pace; nodes answer by themselves, as real ones do. Nothing
is ever looked at in an order that the other side shares. And once more with software that says whatever it likes: the rules of
the other side are then all that there is.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
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

Changes = dict[str, Any]
CERTIFICATE = shipment()["data"]["certificate"]
EMPTY = {"/found": {"parcels": 0, "carats": "0.00", "lines": []}}
OPENED = {"/irregularities": ["seal_broken"], "/description": "Opened on the way."}


def again() -> dict[str, Any]:
    """Another shipment under the same number."""
    other = shipment(n=7)
    other["data"]["certificate"] = CERTIFICATE
    return other


def asked(whom: str) -> dict[str, Any]:
    return {"type": "certificate-query", "recipient": whom, "data": {"certificate": CERTIFICATE}}


def passing() -> dict[str, Any]:
    data = {"certificate": CERTIFICATE, "destination": "IN", "parcels": 1, "carats": "10.00"}
    data |= {"places": ["Dubai"], "expected_entry": "2026-03-04", "expected_exit": "2026-03-05"}
    return {"type": "transit-notice", "recipient": "AE", "data": data}


WHOLE = {"shipment": shipment(), "another": again(), "query": asked("BW"), "transit": passing()}
"""Drafts that are not written from a case."""

MOVES: dict[str, list[tuple[str, Changes]]] = {
    "BW": [
        ("shipment", {}),
        ("another", {}),
        ("transit", {}),
        ("export-amendment", {"/content/issuing_authority": "Diamond Hub"}),
        ("export-amendment", {"/content/parcels": 3}),
        ("cancellation", {}),
        ("cancellation", {"/reason": "stolen"}),
        ("cancellation", {"/reason": "notified_in_error"}),
        ("confirmation-request", {}),
        ("discrepancy-response", {}),
        ("withdrawal", {"/reason": "A mistake."}),
        ("message", {"/text": "Please call us.", "/answer_wanted": True}),
        ("import-confirmation", {}),
    ],
    "AE": [
        ("query", {}),
        ("arrival-notice", {"/place": "Dubai"}),
        ("import-confirmation", {}),
        ("import-confirmation", {"/notification": None}),
        ("import-confirmation", {"/outcome": "not_received", **EMPTY}),
        *[
            ("import-confirmation", {"/outcome": outcome})
            for outcome in ("detained", "partial", "seized", "refused_returned", "confirmed_after_remedy")
        ],
        ("import-confirmation", {"/outcome": "arrived_despite_cancellation"}),
        ("import-confirmation", {"/found/parcels": 99, "/outcome": "confirmed_with_discrepancy"}),
        ("import-confirmation", {"/seals_intact": "no"}),
        ("confirmation-correction", {"/content/found/parcels": 3}),
        ("confirmation-status", {}),
        ("discrepancy-query", {"/doubts/0/found": "11.00"}),
        ("irregularity-notice", OPENED),
        ("irregularity-notice", OPENED | {"/measure": "seized"}),
        ("return-notice", {"/reason": "Refused."}),
        ("withdrawal", {"/reason": "A mistake."}),
        ("message", {"/text": "What is this?"}),
    ],
}


@dataclass
class Pair:
    """Two desks and the two directions between them. Who is not `honest` says what breaks rules, too."""

    desks: dict[str, Desk] = field(default_factory=lambda: {me: Desk(me) for me in MOVES})
    on_the_way: dict[str, deque[Filed]] = field(default_factory=lambda: {me: deque() for me in MOVES})
    claims: dict[str, str] = field(default_factory=dict)
    hour: int = 0
    honest: bool = True

    def say(self, me: str, name: str, changes: dict[str, Any]) -> None:
        desk = self.desks[me]
        self.hour += 1
        try:
            item = desk.tell(WHOLE[name], self.hour) if name in WHOLE else desk.say(name, self.hour, changes)
        except (NothingToSayError, DraftError, KeyError, IndexError):
            return
        refused = any(problem.severity == "reject" for problem in desk.may_say(item))
        if self.honest and (refused or not self._claimed(item)):
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


MOST = max(map(len, MOVES.values())) - 1
Step = tuple[str, str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.sampled_from(sorted(MOVES)), st.just(0)),
        st.tuples(st.just("say"), st.sampled_from(sorted(MOVES)), st.integers(0, MOST)),
    ),
    max_size=30,
)


def walk(pair: Pair, steps: list[Step], *, announced: bool) -> Iterator[None]:
    """The conversation, step by step; most begin with a notification."""
    if announced:
        pair.say("BW", "shipment", {})
        yield
    for kind, me, which in steps:
        if kind == "deliver":
            pair.deliver(me)
        else:
            pair.say(me, *MOVES[me][which % len(MOVES[me])])
        yield


def play(steps: list[Step], *, announced: bool = True, honest: bool = True) -> Pair:
    """The whole conversation, until everything has arrived."""
    pair = Pair(honest=honest)
    deque(walk(pair, steps, announced=announced), maxlen=0)
    pair.settle()
    return pair


def agreed(pair: Pair, chance: random.Random) -> tuple[Case, list[Filed]]:
    """The case that both have come to, whatever came first."""
    exporter, importer = pair.desks["BW"], pair.desks["AE"]
    assert {item.id for item in exporter.file} == {item.id for item in importer.file}, "nothing is lost"
    case = exporter.case()
    assert importer.case() == case
    for _ in range(5):
        order = list(exporter.file)
        chance.shuffle(order)
        assert fold("BW000001", order, Practice("AE")) == case
    return case, exporter.file


@given(st.booleans(), STEPS, st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_both_sides_see_the_same_case_whatever_crossed(
    announced: bool, steps: list[Step], chance: random.Random
) -> None:
    case, file = agreed(play(steps, announced=announced), chance)
    if file:
        holds_together(case, file)


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_both_sides_see_the_same_case_even_if_their_software_keeps_no_rule(
    steps: list[Step], chance: random.Random
) -> None:
    holds_together(*agreed(play(steps, honest=False), chance))


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


@given(st.booleans(), STEPS)
@settings(max_examples=100, deadline=None)
def test_a_case_never_depends_on_what_is_still_on_its_way_being_known(
    announced: bool, steps: list[Step]
) -> None:
    """At every moment, each side can compute its own case from what it has, and no order of it matters."""
    pair = Pair()
    for _ in walk(pair, steps, announced=announced):
        for desk in pair.desks.values():
            assert fold("BW000001", reversed(desk.file), desk.practice) == desk.case()
