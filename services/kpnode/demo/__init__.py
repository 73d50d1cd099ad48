"""`kpnode demo`: Botswana and the United Arab Emirates exchange documents on this machine, for somebody to look at; or all the world does.

    authority   one authority: home, node process, broker       borrowed    a RabbitMQ that is there already
    screen      what is shown
    play        the story                                       reckoning   whether it ended well
    world       the same with all authorities (`--world`)
    story       what goes wrong and how it is settled, told in scenes (`--story`)
    desks       two nodes for somebody who wants to work at them (`--desks`)

Everything that runs is real: two node processes with their own keys and databases, two RabbitMQ brokers with mutual TLS (or direct
HTTPS where there is no RabbitMQ), signed documents and receipts. Nothing is left when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from kpmsg.errors import ClientError
from kpnode.demo.authority import Authority, Transport, acquaint, boot, stop
from kpnode.demo.borrowed import MANAGEMENT_URL, URL, Borrowed, UnusableError
from kpnode.demo.play import Play, Unfinished
from kpnode.demo.reckoning import Reckoning, Stage, reckon
from kpnode.demo.screen import Screen, Shipment
from kpnode.demo.story_desk import BrokenOffError
from kpnode.sample import Trade
from kpnode.throwaway import DidNotStart, find_broker_binary

__all__ = ["main"]

LEAST_FOR_OUTAGE: Final = 4
ADDRESSES: Final = ("BW", "AE")


def main(arguments: Sequence[str]) -> int:
    """Run it with the arguments of the command line; the exit status is 0 only if everything was confirmed on both sides."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_demo)
    status = app(list(arguments), prog_name="kpnode demo", standalone_mode=False)
    return int(status or 0)


def _demo(
    once: Annotated[
        bool, typer.Option("--once", help="End by itself; status 0 only if everything was confirmed.")
    ] = False,
    outage: Annotated[
        bool,
        typer.Option(
            "--outage", help="Kill the importer's broker and give it an old database in the middle."
        ),
    ] = False,
    shipments: Annotated[int, typer.Option(min=1, max=1000, help="How many shipments are sent.")] = 25,
    seed: Annotated[int, typer.Option(help="Another seed, other shipments.")] = 0,
    direct: Annotated[
        bool, typer.Option("--direct", help="Direct HTTPS between the nodes, without RabbitMQ.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep both homes, with keys, databases and logs.")
    ] = False,
    world: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, metavar="N", help="All 61 authorities instead, and N shipments among them."
        ),
    ] = None,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="With --world: kill a process with many nodes in the middle.")
    ] = False,
    story: Annotated[
        bool, typer.Option("--story", help="What goes wrong and how it is settled, told in five scenes.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="With --story: no pauses to read.")] = False,
    desks: Annotated[
        Path | None,
        typer.Option(
            "--desks",
            metavar="DIRECTORY",
            help="Two desks to work at, with weeks behind them; keys and papers go into this new directory.",
        ),
    ] = None,
) -> int:
    """Botswana and the United Arab Emirates exchange real documents on this machine."""
    if world is not None and (outage or keep):
        raise typer.BadParameter("--world goes with --once, --seed and --chaos, not with --outage or --keep")
    if chaos and world is None:
        raise typer.BadParameter("--chaos goes with --world")
    if story and (outage or direct or keep or world is not None):
        raise typer.BadParameter("--story goes with --fast, and with nothing else")
    if fast and not story:
        raise typer.BadParameter("--fast goes with --story")
    if desks is not None and (once or outage or keep or story or world is not None):
        raise typer.BadParameter("--desks goes with --direct, and with nothing else")
    if outage and shipments < LEAST_FOR_OUTAGE:
        raise typer.BadParameter(f"an outage in the middle needs at least {LEAST_FOR_OUTAGE} shipments")
    try:
        with _signals_end():
            if story:
                from kpnode.demo.story import run_story
                from kpnode.service import write_logs
                from kpnode.settings import Log

                write_logs(Log(level="error", format="text"))  # the nodes run in this process
                return run_story(fast=fast)
            if world is not None:
                # Here, for the processes that it starts run a module of this package themselves.
                from kpnode.demo.world import run_world

                return run_world(world, once=once, seed=seed, chaos=chaos)
            transport = _transport(direct=direct, outage=outage)
            if desks is not None:
                from kpnode.demo.desks import run_desks

                return run_desks(desks, transport)
            return _run(
                transport, once=once, outage=outage, count=shipments, seed=seed, keep=keep, asked=direct
            )
    except KeyboardInterrupt:
        print("stopped; nothing is left running", file=sys.stderr)
        return 130
    except FileExistsError as error:
        print(
            f"kpnode demo: {error.filename} is there already; name a directory that is not", file=sys.stderr
        )
        return 1
    except (DidNotStart, Unfinished, UnusableError, ClientError, BrokenOffError) as error:
        print(f"kpnode demo: {error}", file=sys.stderr)
        return 1


def _transport(*, direct: bool, outage: bool) -> Transport:
    url = os.environ.get(URL)
    if direct:
        return "direct"
    if url and not outage:
        return Borrowed.named(url, os.environ.get(MANAGEMENT_URL))
    if find_broker_binary() is not None:
        return "own"  # for an outage too: a broker that is not ours is not killed
    return "direct"


def _run(
    transport: Transport, *, once: bool, outage: bool, count: int, seed: int, keep: bool, asked: bool
) -> int:
    with contextlib.ExitStack() as ending:
        if isinstance(transport, Borrowed):
            transport.take(ADDRESSES)
            ending.callback(transport.give_back, ADDRESSES)
        exporter = Authority("BW", "Botswana", transport)
        ending.callback(exporter.close)
        importer = Authority("AE", "United Arab Emirates", transport)
        ending.callback(importer.close)
        if keep:
            ending.callback(_keep, exporter, importer)
        ending.callback(stop, exporter, importer)
        trade = Trade("BW", "AE", on=datetime.now(UTC).date(), seed=seed)
        drafts = [trade.notification(n) for n in range(count)]
        rows = [_shipment(draft["data"]) for draft in drafts]
        screen = ending.enter_context(Screen(rows))
        _set_up(screen, exporter, importer, transport, asked=asked)
        play = Play(exporter, importer, drafts, rows, screen)
        try:
            play.outage() if outage else play.quiet()
        except Unfinished:
            for authority in (exporter, importer):
                print(f"the end of {authority.address}'s log:\n{authority.log()[-1500:]}", file=sys.stderr)
            raise
        found = reckon(exporter, importer, [row.id for row in rows if row.id], play.struck)
        screen.end()
        _tell(screen, play, found)
        if not once:
            _stay(screen, exporter, importer, rows)
        return 1 if found.faults else 0


def _set_up(
    screen: Screen, exporter: Authority, importer: Authority, transport: Transport, *, asked: bool
) -> None:
    screen.say(
        "Botswana (BW) and the United Arab Emirates (AE): two nodes, each with its own keys and database."
    )
    if isinstance(transport, Borrowed):
        screen.say(
            f"They exchange over the RabbitMQ at {transport.host}:{transport.port}, a virtual host for each."
        )
    elif transport == "own":
        screen.say(
            "Each has its own RabbitMQ, a throw-away one: AMQP with mutual TLS, a virtual host for the partner."
        )
    else:
        why = "as asked for" if asked else "for RabbitMQ is not installed here"
        screen.say(f"They exchange over direct HTTPS, without RabbitMQ, {why}.")
    screen.doing("keys, certificates, databases, and each other's fingerprints")
    acquaint(exporter, importer)
    if transport == "own":
        screen.doing("two RabbitMQ brokers boot, which takes most of the time")
        boot(exporter.broker, importer.broker)
        screen.say("Both brokers are up.")
    screen.doing("both nodes start")
    for authority in (exporter, importer):
        authority.start()
    for authority in (exporter, importer):
        authority.wait_ready()
    screen.say("Both nodes are up.")


def _shipment(data: dict[str, Any]) -> Shipment:
    origins = {code for line in data["lines"] for code in _countries(line["origin"])}
    return Shipment(
        number=data["certificate"]["number_raw"],
        carats=f"{float(data['carats']):,.2f}",
        value=f"{float(data['value_usd']):,.0f}",
        lines=len(data["lines"]),
        origins="mixed" if len(origins) != 1 else origins.pop(),
    )


def _countries(origin: dict[str, Any]) -> list[str]:
    return origin.get("countries") or [origin.get("country", "?")]


def _tell(screen: Screen, play: Play, found: Reckoning) -> None:
    """What it came to, in plain words and figures that were measured."""
    screen.show(screen.table())
    screen.show()
    screen.show(_times([Stage("submitted", *play.submitted()), *found.stages]))
    screen.show()
    states = ", ".join(f"{n} {state}" for state, n in sorted(found.states.items()))
    screen.show(f"Certificates, the same on both sides: {states}")
    for register in found.registers:
        screen.show(
            f"Register {register}, the same on both sides" if not found.faults else f"Register {register}"
        )
    if play.struck:
        tally = play.tally
        screen.show(
            f"Repaired: {tally.sent_again} documents sent again, {tally.taken_back} taken back from the partner"
        )
    for address, text in found.incidents:
        screen.show(f"Incident for the officers of {address}: {text}")
    for fault in found.faults:
        screen.show(f"FAULT {fault}", "bold red")
    count = len(play.shipments)
    verdict = (f"This did not end well: {len(found.faults)} faults.", "bold red")
    if not found.faults:
        verdict = (
            f"All {count} shipments are confirmed on both sides; nothing is lost, nothing doubled.",
            "bold green",
        )
    screen.show(f"{verdict[0]} {screen.seconds:.0f} s in all.", verdict[1])


def _times(stages: Sequence[Stage]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    calm, struck = (max(len(getattr(stage, group)) for stage in stages) for group in ("calm", "struck"))
    table.add_column("seconds until")
    table.add_column("half of them", justify="right")
    table.add_column(f"all {calm}", justify="right")
    if struck:
        table.add_column(f"all {struck} that the outage struck", justify="right")
    for stage in stages:
        figures = [median(stage.calm), max(stage.calm)] if stage.calm else [0.0, 0.0]
        table.add_row(
            stage.name,
            *(f"{each:.2f}" for each in [*figures, *([max(stage.struck)] if stage.struck else [])]),
        )
    return table


def _stay(screen: Screen, exporter: Authority, importer: Authority, rows: Sequence[Shipment]) -> None:
    """Leave both nodes to the viewer, until Ctrl-C."""
    screen.show()
    for authority in (exporter, importer):
        screen.show(
            f"API of {authority.address}: {authority.url}   pages: {authority.url}/docs", to_copy=True
        )
    screen.show("The keys may do everything while this runs. Where the first shipment stands, by each side:")
    number = rows[0].number.replace(" ", "")
    for authority in (exporter, importer):
        screen.show(f"{authority.curl} {authority.url}/v1/certificates/{number}", to_copy=True)
    screen.show("Ctrl-C ends it.", "bold")
    with contextlib.suppress(KeyboardInterrupt):
        while not (exporter.ended or importer.ended):
            time.sleep(0.2)
        raise DidNotStart("a node has ended by itself")
    screen.show("ending ...")


def _keep(exporter: Authority, importer: Authority) -> None:
    directory = Path(tempfile.mkdtemp(prefix="kpnode-demo-"))
    for authority in (exporter, importer):
        authority.keep(directory)
    print(f"kept: {directory}")


@contextlib.contextmanager
def _signals_end() -> Iterator[None]:
    """A closed terminal and a polite kill end it as Ctrl-C does; a second one while it ends is not heard."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal handlers are called
        for each in ends:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, interrupt) for each in ends}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
