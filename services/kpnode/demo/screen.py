"""What a viewer sees: the story line by line, and below it, live, where everything stands.

    Story     the lines, and room at the bottom for something that lives
    Screen    a story with a table of all shipments and where each one is

On a terminal the table stays at the bottom and fits its height; anywhere else every step is one plain line. Refuses to know
why anything happens: it shows `Shipment`s and sentences.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

WIDEST: Final = 100
AROUND: Final = 11
"""Lines of the terminal that are not for rows: headings, footer, and a few lines of the story above."""


@dataclass(slots=True)
class Shipment:
    """One shipment and how far it has come. Seconds count from its submission, by the clocks of the nodes."""

    number: str
    carats: str
    value: str
    lines: int
    origins: str
    id: str | None = None
    durable: float | None = None
    handed_over: bool = False
    attempts: int = 0
    received: float | None = None
    again: int = 0
    confirmed: float | None = None
    missing: str | None = None

    @property
    def done(self) -> bool:
        """Whether the signed confirmation has come, and the receipt for the notification is (still) there."""
        return self.confirmed is not None and self.received is not None


class Story:
    """A context manager; `say` at any time within. What lives below the lines is what `below` gives, several times a second."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self.live = self._console.is_terminal
        if not self.live:
            self._console.width = 1000  # a line of its own for each step, however long
        self._began = time.monotonic()
        self._doing = ""
        self._spinner = Spinner("dots", style="cyan")
        self._shown = Live(
            get_renderable=self.below, console=self._console, refresh_per_second=10, transient=True
        )

    def __enter__(self) -> Self:
        if self.live:
            self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Take what lives away; from here on everything stays as it is printed."""
        if self.live:
            self._shown.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    @property
    def width(self) -> int:
        """Columns that a line may take."""
        return min(self._console.width, WIDEST)

    def say(self, text: str, style: str = "") -> None:
        """One line of the story."""
        self._doing = ""
        line = Table.grid(padding=(0, 2))
        line.add_column(style="dim", justify="right", min_width=6)
        line.add_column(style=style, overflow="fold")
        line.add_row(f"{self.seconds:.1f} s", Text(text))
        self._console.print(line, width=min(self._console.width, 1000 if not self.live else WIDEST))

    def doing(self, text: str, *, silently: bool = False) -> None:
        """What the viewer waits for just now; `silently`: not worth a line where nothing lives."""
        if text and not silently and not self.live:
            self.say(f"{text} ...", "dim")
        self._doing = text

    def show(self, what: RenderableType = "", style: str = "", *, to_copy: bool = False) -> None:
        """Print something as it is. `to_copy`: a text that the terminal may break, but we must not."""
        self._console.print(Text(what, style=style) if isinstance(what, str) else what, soft_wrap=to_copy)

    def below(self) -> RenderableType:
        """What lives; always as many lines as before, for a frame that shrinks or grows leaves pieces of itself behind."""
        if not self._doing:
            return Text(" ")
        # One line, cut where the terminal ends: a second one would be a frame that grows.
        self._spinner.update(text=Text(self._doing, style="cyan", no_wrap=True, overflow="ellipsis"))
        return self._spinner


class Screen(Story):
    """A story of shipments; `step` at any time within."""

    def __init__(self, shipments: Sequence[Shipment]) -> None:
        self._shipments = shipments
        super().__init__()

    def step(self, shipment: Shipment, text: str) -> None:
        """Something that the table shows; without a table it is a line."""
        if not self.live:
            self.say(f"{shipment.number}  {text}")

    def table(self) -> Table:
        """All shipments."""
        return self._table(self._shipments)

    def below(self) -> RenderableType:
        rows, room = list(self._shipments), max(3, self._console.height - AROUND)
        hidden = ""
        if len(rows) > room:
            # A window that follows the work: what is finished leaves at the top.
            first = next((n for n, row in enumerate(rows) if not row.done), len(rows))
            begin = max(0, min(first - 2, len(rows) - room))
            under = len(rows) - begin - room
            hidden = " ".join(f"{arrow}{n}" for n, arrow in ((begin, "↑"), (under, "↓")) if n)
            rows = rows[begin : begin + room]
        return Group(self._table(rows), self._counts(hidden), super().below())

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _counts(self, hidden: str) -> Text:
        rows = self._shipments
        counted = (
            ("submitted", sum(row.durable is not None for row in rows)),
            ("received", sum(row.received is not None for row in rows)),
            ("confirmed", sum(row.confirmed is not None for row in rows)),
        )
        text = "  ".join(f"{n} {what}" for what, n in counted)
        line = Text(f"{self.seconds:5.1f} s  {len(rows)} shipments: {text}", style="bold")
        line.append(f"   {hidden}" if hidden else "", style="not bold dim")
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def _table(self, rows: Sequence[Shipment]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", collapse_padding=True)
        for heading, justify in (
            ("certificate", "left"),
            ("carats", "right"),
            ("US$", "right"),
            ("HS", "right"),
            ("origin", "left"),
            ("submitted", "right"),
            ("handed\nover", "center"),
            ("received", "right"),
            ("confirmed", "right"),
        ):
            table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for row in rows:
            table.add_row(
                row.number,
                row.carats,
                row.value,
                str(row.lines),
                row.origins,
                *_stages(row),
                style=_style(row),
            )
        return table


def _stages(row: Shipment) -> tuple[Text, Text, Text, Text]:
    nothing = Text("·", style="dim")
    submitted = nothing if row.durable is None else Text(f"{row.durable:.2f} s")
    if row.received is not None or row.handed_over:
        handed = Text("yes")
    elif row.durable is not None:
        handed = Text(f"try {row.attempts}" if row.attempts > 1 else "waits", style="yellow")
    else:
        handed = nothing
    received = nothing
    if row.received is not None:
        received = Text(f"{row.received:.2f} s")
    elif row.again:
        received = Text("again", style="yellow")
    if row.confirmed is None:
        confirmed = nothing
    elif row.missing is not None:
        confirmed = Text(f"-{row.missing} ct", style="bold yellow")
    else:
        confirmed = Text(f"{row.confirmed:.2f} s", style="green")
    return submitted, handed, received, confirmed


def _style(row: Shipment) -> str:
    return "dim" if row.durable is None else ""
