"""`kpnode demo --story`: five situations that go otherwise than planned, played by real nodes, and told in words for a clerk.

    story_nodes      the stage: three nodes, a clock that can be turned, a line that can be cut
    story_desk       what people do and read at one office        story_play    what the scenes share
    story_scenes     the scenes                                   story_telling how it looks
    story_reckoning  whether both sides have the same

Decides in which order it is told and how it ends: status 0 only if every comparison held.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kpmsg.case.prefill import NothingToSayError
from kpmsg.errors import DraftError
from kpnode.demo.story_desk import BrokenOffError
from kpnode.demo.story_nodes import stage
from kpnode.demo.story_play import Play
from kpnode.demo.story_reckoning import balance
from kpnode.demo.story_scenes import SCENES, Scene
from kpnode.demo.story_telling import Telling
from kpnode.store.database import StoreError
from kpnode.store.submissions import SubmissionError


def run_story(*, fast: bool, scenes: Sequence[tuple[str, Scene]] = SCENES) -> int:
    """Tell it; the exit status is 0 only if both sides had the same after each scene and at the end."""
    with tempfile.TemporaryDirectory(prefix="kpnode-story-") as directory:
        return asyncio.run(_tell(Path(directory), Telling(fast=fast), scenes))


async def _tell(directory: Path, telling: Telling, scenes: Sequence[tuple[str, Scene]]) -> int:
    begun = time.monotonic()
    async with stage(directory, datetime.now(UTC).date()) as there:
        play = Play(there, telling)
        _open(play)
        try:
            for number, (title, scene) in enumerate(scenes, 1):
                await telling.scene(number, title)
                await scene(play)
        except (BrokenOffError, DraftError, NothingToSayError, StoreError, SubmissionError) as error:
            telling.fault(f"{error}. The story ends here.")
            return 1
        return await _close(play, begun)


def _open(play: Play) -> None:
    play.telling.plain("Three nodes in one process; only the wire is a stand-in.", "bold")
    play.telling.plain(
        "Gaborone exports, Dubai and Antwerp import. Each has its own keys, database and published rules: Dubai confirms within 15 days, "
        "Antwerp within 10 working days of its own calendar. Figures, states and quotations are read back from their databases; times are local."
    )
    play.telling.plain(f"The story's clock begins on Monday {play.first.day} {play.first:%B %Y}.", "dim")


async def _close(play: Play, begun: float) -> int:
    found = await balance(play.desks)
    play.telling.plain()
    for fault in found.faults:
        play.telling.fault(fault)
    if found.faults:
        return 1
    play.telling.plain(
        f"{found.documents} documents, {found.receipts} signed receipts, {found.certificates} certificates, {found.registers} registers: "
        "the same on both sides; nothing is lost, nothing doubled.",
        "bold green",
    )
    play.telling.plain(f"It took {time.monotonic() - begun:.1f} s.", "dim")
    return 0
