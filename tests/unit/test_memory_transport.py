"""The wire that tests stand on must itself be exactly as bad as it was told to be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kpnode.transports import Outcome
from kpnode.transports.memory import DOUBLED, FAIR, LOST, UNHEARD, MemoryLink, Weather, refused


class Partner:
    def __init__(self, failures: int = 0) -> None:
        self.frames: list[bytes] = []
        self.posted: list[bytes] = []
        self._failures = failures

    async def receive(self, partner: str, frames: Sequence[bytes]) -> list[bytes]:
        assert partner == "BW"
        if self._failures:
            self._failures -= 1
            raise RuntimeError("no database")
        self.frames += frames
        return [b"receipt"]

    def post(self, partner: str, replies: Sequence[bytes]) -> None:
        assert partner == "BW"
        self.posted += replies


@pytest.mark.parametrize(
    ("weather", "copies", "outcome"),
    [
        (FAIR, 1, Outcome.ACCEPTED),
        (LOST, 0, Outcome.ACCEPTED),
        (DOUBLED, 2, Outcome.ACCEPTED),
        (UNHEARD, 1, Outcome.UNKNOWN),
        (refused(Outcome.FULL), 0, Outcome.FULL),
    ],
)
async def test_each_weather(weather: Weather, copies: int, outcome: Outcome) -> None:
    partner = Partner()
    link = MemoryLink("BW", partner.receive, partner.post, plan=lambda _number, _frame: weather)
    assert (await link.send(b"frame")).outcome is outcome
    await link.settle()
    assert partner.frames == [b"frame"] * copies
    assert partner.posted == [b"receipt"] * copies


async def test_a_delay_lets_a_later_frame_overtake() -> None:
    partner = Partner()
    link = MemoryLink(
        "BW", partner.receive, plan=lambda number, _frame: Weather(delay=0.05 if number == 0 else 0)
    )
    await link.send(b"first")
    await link.send(b"second")
    await link.settle()
    assert partner.frames == [b"second", b"first"]


async def test_what_was_not_received_comes_again() -> None:
    partner = Partner(failures=2)
    link = MemoryLink("BW", partner.receive, partner.post)
    await link.send(b"frame")
    await link.settle()
    assert partner.frames == [b"frame"]


async def test_inline_brings_the_replies_back() -> None:
    partner = Partner()
    link = MemoryLink("BW", partner.receive, inline=True)
    assert (await link.send(b"frame")).replies == (b"receipt",)
    failing = MemoryLink("BW", Partner(failures=1).receive, inline=True)
    assert (await failing.send(b"frame")).outcome is Outcome.UNKNOWN


async def test_close_abandons_what_is_under_way() -> None:
    partner = Partner()
    link = MemoryLink("BW", partner.receive, plan=lambda _number, _frame: Weather(delay=60))
    await link.send(b"frame")
    await link.close()
    assert partner.frames == []


def test_every_outcome_says_whose_fault_it_is_and_who_must_act() -> None:
    for outcome in Outcome:
        assert outcome.text.endswith(".")
        assert outcome.fault in {"none", "ours", "partner", "network"}
        assert outcome.actor in {"nobody", "us", "partner"}
