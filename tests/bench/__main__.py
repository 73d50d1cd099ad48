"""Measure the floor and our node in turns, in one run, and print them beside each other.

`python -m tests.bench [--quick] [--db sqlite|postgres|both] [--json FILE] [--profile DIR]`; with `--scale [N]` another
question is measured, `tests.bench.scale`: what N stored certificates cost. Figures move with the
machine and with whatever else runs on it, so both subjects stay up together and take every scenario in turns (floor,
node, node, floor, ...); the ratio is what to read. Exit status 1 means that a request failed, never that something
was slow.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kpnode.throwaway import Broker, Postgres
from tests.bench import scale
from tests.bench.floor import Floor
from tests.bench.load import Measurement, Request, drive
from tests.bench.node import Node
from tests.bench.processes import print_profiles
from tests.bench.subject import Database, Endpoint, Subject

DEADLINE = 90.0
"""Seconds a warm-up, and then a timed run, may take before what is unanswered counts as failed."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """So many callers, each sending requests of so many documents."""

    callers: int
    documents: int
    requests: int
    warm_up: int

    def __str__(self) -> str:
        return f"{self.callers} caller(s), {self.documents} document(s) a request"

    def shortened(self) -> "Scenario":
        return Scenario(self.callers, self.documents, self.requests // 3, self.warm_up // 2)


ONE = Scenario(1, 1, 300, 40)
MANY = Scenario(64, 1, 2400, 400)
BULK = Scenario(4, 100, 42, 6)


@dataclass
class Figures:
    """One subject in one scenario on one database, over all rounds."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    resident: int = 0
    """Bytes; the larger of the two processes with its children, after each run, at its highest."""

    def add(self, result: Measurement, cpu_seconds: float, units: int, resident: int) -> None:
        self.rates.append(result.rate)
        self.latencies = sorted([*self.latencies, *result.latencies])
        self.cpu.append(cpu_seconds / units * 1000 if units else float("nan"))
        self.failures.update(result.failures)
        self.resident = max(self.resident, resident)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates) if self.rates else float("nan")

    def percentile(self, fraction: float) -> float:
        return Measurement(0, 0.0, self.latencies, {}).percentile(fraction)

    def report(self) -> dict[str, Any]:
        return {
            "trips_per_second": round(self.rate, 1),
            "trips_per_second_by_round": [round(rate, 1) for rate in self.rates],
            "p50_ms": round(self.percentile(0.5), 2),
            "p99_ms": round(self.percentile(0.99), 2),
            "cpu_ms_per_trip": round(statistics.median(self.cpu), 2),
            "resident_mb": round(self.resident / 1e6, 1),
            "failures": dict(self.failures),
        }


Results = dict[tuple[str, Scenario, str], Figures]
"""By database, scenario and subject."""


class SqliteFiles:
    kind = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, name: str) -> str:
        return f"sqlite:///{self._directory / name}.db"


class PostgresServer:
    kind = "postgres"

    def __init__(self, server: Postgres) -> None:
        self._server = server

    def create(self, name: str) -> str:
        return self._server.create_database(name)


@contextmanager
def database_of(kind: str, directory: Path) -> Iterator[Database]:
    if kind == "sqlite":
        yield SqliteFiles(directory)
    else:
        with Postgres() as server:
            yield PostgresServer(server)


def measure(
    kind: str,
    makers: Sequence[Callable[[], Subject]],
    scenarios: Sequence[Scenario],
    rounds: int,
    say: Console,
) -> Results:
    """Start every subject on a fresh broker and a fresh database, and let them take turns."""
    results: Results = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kp-bench-")))
        broker = stack.enter_context(Broker())
        database = stack.enter_context(database_of(kind, directory))
        running: list[tuple[Subject, Endpoint]] = []
        for maker in makers:
            subject = maker()
            stack.callback(subject.stop)
            workdir = directory / subject.name
            workdir.mkdir()
            try:
                running.append((subject, subject.start(workdir, broker, database)))
            except NotImplementedError as missing:
                say.print(f"{subject.name}: {missing}; left out", style="yellow")
        for turn in range(rounds):
            for position, scenario in enumerate(scenarios):
                for subject, endpoint in running if turn % 2 == 0 else reversed(running):
                    say.print(
                        f"{kind}, round {turn + 1} of {rounds}, {scenario}: {subject.name}",
                        style="dim",
                    )
                    figures = results.setdefault((kind, scenario, subject.name), Figures())
                    one_run(subject, endpoint, scenario, f"{position}{turn}", figures)
    return results


def one_run(subject: Subject, endpoint: Endpoint, scenario: Scenario, series: str, figures: Figures) -> None:
    def make(n: int) -> Request:
        made = (
            subject.bulk(n, scenario.documents, series)
            if scenario.documents > 1
            else subject.single(n, series)
        )
        return Request(made.method, made.path, {**endpoint.headers, **made.headers}, made.body)

    before = cpu_seconds(subject)
    result = uvloop.run(
        drive(
            endpoint.base_url,
            make,
            subject.settled,
            callers=scenario.callers,
            requests=scenario.requests,
            warm_up=scenario.warm_up,
            deadline=DEADLINE,
        )
    )
    # The warm-up cannot be told apart from outside the processes, so its trips are in both terms of this quotient.
    carried = result.units + scenario.warm_up * scenario.documents
    resident = max((sum(p.memory_info().rss for p in family) for family in families(subject)), default=0)
    figures.add(result, cpu_seconds(subject) - before, carried, resident)


def families(subject: Subject) -> list[list[psutil.Process]]:
    """Each process of the subject with its children."""
    roots = [psutil.Process(pid) for pid in subject.processes().values()]
    return [[root, *root.children(recursive=True)] for root in roots]


def cpu_seconds(subject: Subject) -> float:
    times = [process.cpu_times() for family in families(subject) for process in family]
    return sum(spent.user + spent.system for spent in times)


def print_table(results: Results, say: Console) -> None:
    """Two lines a scenario, the floor's and the node's, narrow enough for a terminal of 80 columns."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("database", "who"):
        table.add_column(heading, no_wrap=True)
    for heading in ("callers", "docs", "trips/s", "ratio", "p50 ms", "p99 ms", "CPU ms", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind, scenario in dict.fromkeys((kind, scenario) for kind, scenario, _ in results):
        floor = results.get((kind, scenario, Floor.name))
        for name in (Floor.name, Node.name):
            if (figures := results.get((kind, scenario, name))) is None:
                continue
            table.add_row(
                kind,
                name,
                str(scenario.callers),
                str(scenario.documents),
                f"{figures.rate:,.0f}",
                f"{figures.rate / floor.rate:.2f}" if floor and floor.rate and name != Floor.name else "",
                f"{figures.percentile(0.5):.1f}",
                f"{figures.percentile(0.99):.1f}",
                f"{statistics.median(figures.cpu):.2f}",
                f"{figures.resident / 1e6:.0f}",
            )
    say.print(table)
    say.print(
        "A trip: a document submitted and durable, delivered over RabbitMQ, verified and durable at the partner, "
        "its signed receipt verified and durable at the sender.\n"
        "docs: in one request. p50, p99: of a request. CPU: of both processes for one trip, without broker and database. "
        "MB: resident, the larger process."
    )


def aims(results: Results) -> Iterator[tuple[str, float, str, bool]]:
    """What the node is meant to reach beside the floor: (what, figure, aim, whether it does)."""
    # By shape, not by scenario: --quick runs the same shapes with fewer requests.
    found = {(kind, s.callers, s.documents, name): figures for (kind, s, name), figures in results.items()}

    def pair(kind: str, floors: Scenario, nodes: Scenario) -> tuple[Figures, Figures] | None:
        floor = found.get((kind, floors.callers, floors.documents, Floor.name))
        node = found.get((kind, nodes.callers, nodes.documents, Node.name))
        return (floor, node) if floor and node and floor.latencies else None

    for kind in dict.fromkeys(kind for kind, _, _ in results):
        if many := pair(kind, MANY, MANY):
            ratio = many[1].rate / many[0].rate
            yield f"{kind}: throughput at 64 callers, of the floor's", ratio, "at least 1.2", ratio >= 1.2
        if bulk := pair(kind, MANY, BULK):
            ratio = bulk[1].rate / bulk[0].rate
            yield f"{kind}: throughput in bulk, of the floor's at 64 callers", ratio, "at least 3", ratio >= 3
        if one := pair(kind, ONE, ONE):
            ratio = one[1].percentile(0.5) / one[0].percentile(0.5)
            yield f"{kind}: median latency at one caller, of the floor's", ratio, "at most 3", ratio <= 3
        if sizes := [
            of.resident / 1e6 for (k, _, name), of in results.items() if (k, name) == (kind, Node.name)
        ]:
            yield f"{kind}: resident memory of a node, MB", max(sizes), "under 150", max(sizes) < 150


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Our node beside a bare script."
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round instead of three: to see that it works"
    )
    parser.add_argument("--db", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--only", choices=("floor", "node"), help="measure one of the two")
    parser.add_argument(
        "--scale",
        type=int,
        nargs="?",
        const=1_000_000,
        metavar="N",
        help="instead: a node with N certificates (a million) beside one with 10,000; takes 15 GB and half an hour",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument(
        "--profile", type=Path, metavar="DIR", help="run the processes under a profiler (slower)"
    )
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    say = Console()
    signal.signal(signal.SIGTERM, _terminate)
    if chosen.profile is not None:
        chosen.profile.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    say.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load before the start {load:.1f}")
    kinds = ("sqlite", "postgres") if chosen.db == "both" else (chosen.db,)
    if chosen.scale is not None:
        return scaled(kinds, chosen, say)
    scenarios = [s.shortened() for s in (ONE, MANY, BULK)] if chosen.quick else [ONE, MANY, BULK]
    makers: dict[str, Callable[[Path | None], Subject]] = {"floor": Floor, "node": Node}
    wanted = [chosen.only] if chosen.only else list(makers)
    results: Results = {}
    for kind in kinds:
        profile = chosen.profile / kind if chosen.profile else None
        if profile is not None:
            profile.mkdir(exist_ok=True)
        starters = [lambda name=name, profile=profile: makers[name](profile) for name in wanted]
        results |= measure(kind, starters, scenarios, 1 if chosen.quick else 3, say)
        if profile is not None:
            print_profiles(profile)
    print_table(results, say)
    for what, figure, aim, reached in aims(results):
        say.print(f"{what}: {figure:.2f} (aim: {aim})", style="green" if reached else "red")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report(results, load), indent=2) + "\n")
    failed = {key: figures.failures for key, figures in results.items() if figures.failures}
    for (kind, scenario, name), failures in failed.items():
        say.print(
            f"failed requests: {kind}, {scenario}, {name}: {dict(failures)}",
            style="bold red",
        )
    return 1 if failed else 0


def scaled(kinds: Sequence[str], chosen: argparse.Namespace, say: Console) -> int:
    reports, status = scale.main(kinds, chosen.scale, quick=chosen.quick, say=say)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(reports, indent=2) + "\n")
    return status


def report(results: Results, load: float) -> dict[str, Any]:
    return {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": round(load, 2),
        },
        "figures": [
            {
                "database": kind,
                "callers": scenario.callers,
                "subject": name,
                **of.report(),
            }
            for (kind, scenario, name), of in results.items()
        ],
        "aims": [
            {"what": what, "figure": round(figure, 2), "aim": aim, "reached": reached}
            for what, figure, aim, reached in aims(results)
        ],
    }


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that every `with` above ends what it started


if __name__ == "__main__":
    sys.exit(main())
