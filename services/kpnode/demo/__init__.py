"""`kpnode demo`: Botswana and the United Arab Emirates exchange documents on this machine, for somebody to look at.

    authority   one authority: home, node process, broker       screen      what is shown
    play        the story                                       reckoning   whether it ended well

Everything that runs is real: two node processes with their own keys and databases, two RabbitMQ brokers with mutual TLS (or direct
HTTPS where there is no RabbitMQ), signed documents and receipts. Nothing is left when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from kpmsg.errors import ClientError
from kpnode.demo.authority import Authority, Transport, acquaint, boot
from kpnode.demo.play import Play, Unfinished
from kpnode.demo.reckoning import Reckoning, reckon
from kpnode.demo.screen import Screen, Shipment
from kpnode.sample import Trade
from kpnode.throwaway import DidNotStart, find_broker_binary

__all__ = ["main"]

LEAST_FOR_OUTAGE: Final = 4


def main(arguments: Sequence[str]) -> int:
    """Run it with the arguments of the command line; the exit status is 0 only if everything was confirmed on both sides."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_demo)
    status = app(list(arguments), prog_name="kpnode demo", standalone_mode=False)
    return int(status or 0)


def _demo(
    once: Annotated[bool, typer.Option("--once", help="End by itself; status 0 only if everything was confirmed.")] = False,
    outage: Annotated[
        bool, typer.Option("--outage", help="Kill the importer's broker and give it an old database in the middle.")
    ] = False,
    shipments: Annotated[int, typer.Option(min=1, max=1000, help="How many shipments are sent.")] = 25,
    seed: Annotated[int, typer.Option(help="Another seed, other shipments.")] = 0,
    direct: Annotated[bool, typer.Option("--direct", help="Direct HTTPS between the nodes, without RabbitMQ.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep both homes, with keys, databases and logs.")] = False,
) -> int:
    """Botswana and the United Arab Emirates exchange real documents on this machine."""
    if outage and shipments < LEAST_FOR_OUTAGE:
        raise typer.BadParameter(f"an outage in the middle needs at least {LEAST_FOR_OUTAGE} shipments")
    transport: Transport = "direct" if direct or find_broker_binary() is None else "brokers"
    with _signals_end():
        try:
            return _run(transport, once=once, outage=outage, count=shipments, seed=seed, keep=keep, asked=direct)
        except KeyboardInterrupt:
            print("\nstopped; nothing is left running")
            return 130
        except (DidNotStart, Unfinished, ClientError) as error:
            print(f"kpnode demo: {error}", file=sys.stderr)
            return 1


def _run(
    transport: Transport, *, once: bool, outage: bool, count: int, seed: int, keep: bool, asked: bool
) -> int:
    with contextlib.ExitStack() as ending:
        exporter = Authority("BW", "Botswana", transport)
        ending.callback(exporter.close)
        importer = Authority("AE", "United Arab Emirates", transport)
        ending.callback(importer.close)
        if keep:
            ending.callback(_keep, exporter, importer)
        trade = Trade("BW", "AE", on=datetime.now(UTC).date(), seed=seed)
        drafts = [trade.notification(n) for n in range(count)]
        rows = [_shipment(draft["data"]) for draft in drafts]
        screen = ending.enter_context(Screen(rows))
        _set_up(screen, exporter, importer, transport, asked=asked)
        play = Play(exporter, importer, drafts, rows, screen)
        play.outage() if outage else play.quiet()
        found = reckon(exporter, importer, [row.id for row in rows if row.id])
        screen.end()
        _tell(screen, play, found, outage=outage)
        if not once:
            _stay(screen, exporter, importer, rows)
        return 1 if found.faults else 0


def _set_up(screen: Screen, exporter: Authority, importer: Authority, transport: Transport, *, asked: bool) -> None:
    if transport == "brokers":
        screen.say("Botswana (BW) and the United Arab Emirates (AE), each with its own node, database and RabbitMQ.")
        screen.say("Nodes and brokers speak AMQP with mutual TLS on 127.0.0.1; each partner has a virtual host.")
    else:
        why = "as asked for" if asked else "as RabbitMQ is not installed here"
        screen.say("Botswana (BW) and the United Arab Emirates (AE), each with its own node and database.")
        screen.say(f"The nodes speak direct HTTPS on 127.0.0.1, {why}: no broker in between.")
    screen.doing("keys, certificates, databases; each takes up the other's key record and fingerprint")
    acquaint(exporter, importer)
    if transport == "brokers":
        screen.doing("two RabbitMQ brokers boot")
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


def _tell(screen: Screen, play: Play, found: Reckoning, *, outage: bool) -> None:
    """What it came to, in plain words and figures that were measured."""
    screen.show(screen.table())
    screen.show("")
    states = ", ".join(f"{n} {state}" for state, n in sorted(found.states.items()))
    screen.show(f"Certificates, the same on both sides: {states}.")
    for register in found.registers:
        screen.show(f"Register {register}")
    for stage in found.stages:
        screen.show(f"{stage.name.capitalize()} after {stage.middle:.2f} s in the middle, {stage.longest:.2f} s at most.")
    if outage or play.tally.sent_again or play.tally.taken_back:
        screen.show(
            f"Repaired: {play.tally.sent_again} documents sent again, {play.tally.taken_back} taken back from the partner."
        )
    for address, text in found.incidents:
        screen.show(f"Incident for the officers of {address}: {text}")
    for fault in found.faults:
        screen.show(f"[bold red]FAULT[/] {fault}")
    verdict = "[bold red]This did not end well.[/]" if found.faults else "[bold green]All confirmed; nothing lost, nothing doubled.[/]"
    screen.show(f"{verdict} {screen.seconds:.1f} s in all.")


def _stay(screen: Screen, exporter: Authority, importer: Authority, rows: Sequence[Shipment]) -> None:
    screen.show("")
    for authority in (exporter, importer):
        screen.show(f"API of {authority.address}: {authority.url}   its pages: {authority.url}/docs")
    number = rows[0].number.replace(" ", "")
    screen.show("Try (the key works for both reading and writing, until this ends):")
    screen.show(f"  {exporter.curl} {exporter.url}/v1/certificates/{number}")
    screen.show("Ctrl-C ends it.")
    while not (exporter.ended or importer.ended):
        time.sleep(0.2)
    raise DidNotStart("a node has ended by itself")


def _keep(exporter: Authority, importer: Authority) -> None:
    directory = Path(tempfile.mkdtemp(prefix="kpnode-demo-"))
    for authority in (exporter, importer):
        authority.stop()
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
