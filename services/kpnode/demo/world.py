"""`kpnode demo --world N`: all authorities of the Scheme on this machine, and N shipments between them.

    world_trade    who ships to whom               world_hosts      the processes and the authorities in them
    world_nodes    inside such a process           world_errands    from notification to confirmation, all at once
    world          the story, told here            world_reckoning  whether it ended well

Real nodes, each with its own keys, key record, database and API, talking direct HTTPS (without TLS, which is for loopback only). Who
trades with whom follows estimates, not statistics, and that is said wherever it is shown.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kpnode.demo.play import Unfinished
from kpnode.demo.screen import Story
from kpnode.demo.world_errands import Errands
from kpnode.demo.world_hosts import Host, Hosts
from kpnode.demo.world_nodes import allow_many_files
from kpnode.demo.world_reckoning import SIDES, Balance, Line, balance, ledger
from kpnode.demo.world_trade import Consignment, Trader, draw, traders
from kpnode.throwaway import DidNotStart

TICK: Final = 0.1
PATIENCE: Final = 60.0
"""Seconds in which something has to go on."""
DARK: Final = 2.0
"""Seconds for which a killed process stays away."""
BUSIEST: Final = 8
"""Authorities that have a line of their own in the tables."""
FIGURES_WIDE: Final = 66
"""Columns of the terminal that everything else in a line takes."""
FAULTS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, in seconds and shipments."""

    start: float
    exchange: float
    megabytes: float


class WorldStory(Story):
    """A story with one line at the bottom: how far all shipments have come."""

    def __init__(self, shipments: int) -> None:
        self._shipments = shipments
        self._errands: Errands | None = None
        self._since = 0.0
        self._told = 0
        super().__init__()

    def watch(self, errands: Errands) -> None:
        """From now on, show these."""
        self._errands, self._since = errands, time.monotonic()

    def figures(self) -> tuple[int, int, int]:
        """How many shipments are notified, received and confirmed."""
        if self._errands is None:
            return 0, 0, 0
        return (
            self._errands.tally(lambda errand: errand.notification is not None),
            self._errands.tally(lambda errand: errand.received),
            self._errands.tally(lambda errand: errand.confirmed),
        )

    def glance(self) -> None:
        """Without a terminal: a line whenever another tenth has been received."""
        tenth = self.figures()[1] * 10 // self._shipments
        if not self.live and tenth > self._told:
            self._told = tenth
            self.say(self._counted())

    def below(self) -> RenderableType:
        if self._errands is None:
            return Group(Text(" "), super().below())
        row = Table.grid(padding=(0, 1))
        row.add_row(
            Text(f"{self.seconds:5.1f} s ", style="bold"),
            ProgressBar(self._shipments, self.figures()[1], width=10),
            Text(self._counted(), style="bold", no_wrap=True, overflow="ellipsis"),
        )
        return Group(row, super().below())

    def _counted(self) -> str:
        notified, received, confirmed = self.figures()
        pace = received / max(0.1, time.monotonic() - self._since)
        return f"of {self._shipments:,}: {notified:,} notified {received:,} received {confirmed:,} confirmed {pace:.0f}/s"


def run_world(
    count: int, *, once: bool, seed: int, chaos: bool, among: Sequence[Trader] | None = None
) -> int:
    """Run it; the exit status is 0 only if every document is held on both sides, once. `among`: by default all there are.

    Raises DidNotStart, Unfinished.
    """
    allow_many_files()
    everybody = among or traders()
    consignments = list(draw(count, everybody, seed))
    # In this order at the end: the live line goes first, then the errands, whose answers end with the nodes.
    with contextlib.ExitStack() as ending:
        story = ending.enter_context(WorldStory(count))
        hosts = ending.enter_context(Hosts(everybody))
        _open(story, hosts, everybody, consignments)
        start = story.seconds
        errands = Errands(consignments, hosts.offices)
        ending.callback(errands.stop)
        begun = time.monotonic()
        story.watch(errands)
        errands.start()
        story.doing("officers notify, receive, open parcels and confirm", silently=True)
        if chaos:
            _strike(story, hosts, errands, next(iter(hosts)))
        _until(lambda: errands.done, story, hosts, errands, "every shipment has come to its end")
        story.doing("the last receipts", silently=True)
        _until(lambda: not balance(errands.every, hosts.offices).faults, story, hosts, errands, None)
        exchange = time.monotonic() - begun
        found = balance(errands.every, hosts.offices)
        figures = Figures(start, exchange, hosts.megabytes())
        story.end()
        _tell(story, hosts, errands, found, figures)
        if not once:
            _stay(story, hosts, errands)
        return 1 if found.faults else 0


def _open(
    story: WorldStory, hosts: Hosts, everybody: Sequence[Trader], consignments: Sequence[Consignment]
) -> None:
    story.say(
        f"All {len(everybody)} authorities, each with a node, keys and a database of its own, in {len(hosts)} processes."
    )
    story.say("Who trades how much with whom follows estimates, not statistics.")
    story.doing(f"{len(everybody)} homes with keys, key record and database")
    records = hosts.make_homes()
    pairs = {(each.exporter, each.importer) for each in consignments}
    partners = len({frozenset(pair) for pair in pairs})
    story.doing(f"those who trade take up each other's key record, and all nodes start: {partners} pairs")
    hosts.open(records, pairs)
    story.say(
        f"All {len(everybody)} nodes are up, and {partners} pairs of them are partners. Direct HTTPS on loopback."
    )


def _until(
    reached: Callable[[], bool], story: WorldStory, hosts: Hosts, errands: Errands, what: str | None
) -> None:
    """Watch until `reached`. Raises Unfinished if nothing goes on for too long; without `what` that is no fault here."""
    begun = time.monotonic()
    while not reached():
        hosts.check()
        if errands.trouble is not None:
            raise Unfinished(_words(errands.trouble))
        if time.monotonic() - max(begun, errands.moved) > PATIENCE:
            if what is None:
                return
            raise Unfinished(f"for {PATIENCE:.0f} s nothing went on; waiting until {what}. {story.figures()}")
        story.glance()
        time.sleep(TICK)
    if errands.trouble is not None:
        raise Unfinished(_words(errands.trouble))


def _words(error: Exception) -> str:
    return ": ".join([*getattr(error, "__notes__", ()), f"{type(error).__name__}: {error}"])


def _strike(story: WorldStory, hosts: Hosts, errands: Errands, host: Host) -> None:
    """In the middle, kill a process with all the nodes in it, and start it again a little later."""
    half = len(errands.consignments) // 2
    _until(
        lambda: errands.done or story.figures()[1] >= half, story, hosts, errands, "half of it is received"
    )
    names = ", ".join(sorted(host.addresses)[:3])
    host.kill()
    story.say(
        f"A process is killed (SIGKILL), and with it {len(host.traders)} authorities: {names}, ...",
        "bold red",
    )
    before = story.figures()
    later = time.monotonic() + DARK
    _until(lambda: time.monotonic() > later, story, hosts, errands, "the lights come on again")
    waiting = story.figures()[0] - story.figures()[1]
    story.say(f"All others go on; {waiting:,} shipments wait for somebody who is away.", "yellow")
    host.start()
    story.doing("the killed nodes start again, each with its database as it was")
    host.wait_ready()
    story.say(
        f"They are back. {story.figures()[1] - before[1]:,} shipments were received meanwhile; nobody presses a button.",
        "bold green",
    )


# --- what it came to --------------------------------------------------------------------------------------------------


def _tell(story: WorldStory, hosts: Hosts, errands: Errands, found: Balance, figures: Figures) -> None:
    every = errands.every
    for side in SIDES:
        story.show()
        story.show(_table(side, ledger(every, hosts.offices, side), story.width))
    story.show("Estimates of who trades how much, and invented shipments: not statistics.", "dim")
    story.show()
    states = ", ".join(f"{n:,} {state}" for state, n in sorted(found.states.items()))
    story.show(f"Certificates, as both authorities of each say: {states}")
    story.show(
        f"Compared pair by pair, place by place: {found.registers:,} registers with {found.documents:,} signed documents. "
        f"Messages lost {found.lost}, doubled {found.doubled}."
    )
    for address, text in found.incidents[:FAULTS_SHOWN]:
        story.show(f"Incident for the officers of {address}: {text}")
    for fault in found.faults[:FAULTS_SHOWN]:
        story.show(f"FAULT {fault}", "bold red")
    story.show(
        f"{len(every):,} shipments in {figures.exchange:.1f} s, {len(every) / figures.exchange:.0f} a second, "
        f"{found.documents / figures.exchange:.0f} documents a second; {len(hosts.offices)} nodes were up after "
        f"{figures.start:.1f} s; {figures.megabytes:,.0f} MB of memory at most."
    )
    if found.faults:
        story.show(f"This did not end well: {len(found.faults)} faults.", "bold red")
    else:
        story.show(
            f"All {len(every):,} shipments stand alike with both authorities; nothing is lost, nothing doubled.",
            "bold green",
        )


def _table(title: str, lines: Sequence[Line], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True)
    # Names give way on a narrow terminal; figures that are cut off would be wrong ones.
    table.add_column("", no_wrap=True, overflow="ellipsis", max_width=max(8, width - FIGURES_WIDE))
    for heading in ("notified", "received", "confirmed", "of these\nlighter", "still\nopen", "carats"):
        table.add_column(heading, justify="right", no_wrap=True)
    others, every = Line("", f"{len(lines) - BUSIEST} others"), Line("", "all")
    for n, line in enumerate(lines):
        every.plus(line)
        if n >= BUSIEST:
            others.plus(line)
    for line in [*lines[:BUSIEST], *([others] if len(lines) > BUSIEST else []), every]:
        figures = (line.notified, line.received, line.confirmed, line.lighter, line.open, round(line.carats))
        style = "bold" if line is every else ""
        table.add_row(line.address, line.name, *(f"{n:,}" for n in figures), style=style)
    return table


def _stay(story: WorldStory, hosts: Hosts, errands: Errands) -> None:
    """Leave all nodes to the viewer, until Ctrl-C."""
    story.show()
    first = errands.every[0]
    story.show(f"The keys may do everything while this runs. Where {first.number} stands, by each side:")
    for address in (first.consignment.exporter, first.consignment.importer):
        office, number = hosts.offices[address], first.number.replace(" ", "")
        story.show(f"{office.curl} {office.url}/v1/certificates/{number}", to_copy=True)
    story.show("Ctrl-C ends it.", "bold")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            hosts.check()
            time.sleep(2 * TICK)
    story.show("ending ...")


__all__ = ["DidNotStart", "run_world"]
