"""How the story looks: a headline for each scene, then who does what and when, and what the other side reads; 80 columns wide.

On a terminal it is told with short pauses and in colours; anywhere else, or if somebody is in a hurry, without. Refuses to know
what happens and whether it is true.
"""

from __future__ import annotations

import asyncio
import re
from datetime import date, datetime
from textwrap import wrap
from typing import Final

from rich.console import Console
from rich.text import Text

WIDTH: Final = 80
_WHEN, _WHO = 16, 8
_HARD_SPACE: Final = "\u00a0"
_TOGETHER: Final = re.compile(r"(?<=\bBW) (?=[0-9])|(?<=[0-9]) (?=(?:ct|ms|Nov|Dec)\b)")
"""Where no line ends: within a certificate number, between a figure and what it counts."""
_LINE, _SCENE = 0.8, 2.0  # seconds for somebody to read


def day(of: date) -> str:
    """Wed 24 Nov."""
    return f"{of:%a} {of.day} {of:%b}"


class Telling:
    """Prints line by line. `fast`: no pauses on a terminal either."""

    def __init__(self, *, fast: bool) -> None:
        self._console = Console(highlight=False, markup=False)
        self._console.width = min(WIDTH, self._console.width) if self._console.is_terminal else WIDTH
        self._pauses = self._console.is_terminal and not fast

    def plain(self, text: str = "", style: str = "") -> None:
        """Something across the whole width."""
        self._print("", "", text, style)

    async def scene(self, number: int, title: str) -> None:
        """The headline of a scene."""
        await self._pause(_SCENE if number > 1 else 0.0)
        self.plain()
        self._console.rule(Text(f"{number}  {title}", style="bold"), align="left", style="dim")

    async def does(self, when: datetime, who: str, text: str) -> None:
        """Somebody at `who` does something; `when` by the clock on the wall there."""
        self._print(f"{day(when)} {when:%H:%M}".ljust(_WHEN), f"  {who:<{_WHO}} ", text)
        await self._pause(_LINE)

    async def reads(self, who: str, text: str) -> None:
        """What somebody at `who` has on the screen now."""
        self._print(" " * _WHEN, f"> {who:<{_WHO}} ", text, "cyan")
        await self._pause(_LINE)

    async def agreed(self, text: str) -> None:
        """What has been compared, and is the same on both sides."""
        self._print("", "=== ", text, "green")
        await self._pause(_LINE)

    def fault(self, text: str) -> None:
        """What is not as it must be."""
        self._print("", "FAULT: ", text, "bold red")

    def _print(self, when: str, who: str, text: str, style: str = "") -> None:
        indent = len(when) + len(who)
        kept = _TOGETHER.sub(_HARD_SPACE, text)
        lines = wrap(kept, max(20, self._console.width - indent)) or [""]
        for n, line in enumerate(each.replace(_HARD_SPACE, " ") for each in lines):
            before = Text.assemble((when, "dim"), (who, f"{style} bold")) if n == 0 else Text(" " * indent)
            self._console.print(before.append(line, style), no_wrap=True, overflow="ignore", crop=False)

    async def _pause(self, seconds: float) -> None:
        if self._pauses:
            await asyncio.sleep(seconds)
