"""What the number of stored certificates costs: the same requests to two nodes, one with few and one with many, in turns.

Every question is put to both nodes one after the other, over and over, so that whatever else the machine does hits both alike; the
ratio of the medians is what to read. The nodes are whole processes, asked over HTTP by one caller. Figures that the ratio does not say: how
long filling took, how long each node takes to start, and its memory.
"""

import os
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kpnode.throwaway import Postgres
from tests.bench.load import Request
from tests.bench.scale_node import Scaled, prepare
from tests.bench.scale_questions import COLD, READS, REPORT, SUBMISSIONS, Question

AIM = 1.5
IDLE = 2.0
"""Seconds after which a connection is opened anew, before the node closes it."""

EACH = 10_000
"""Bytes on disk for each certificate, with its documents and all indexes."""

LOG = 4_000_000_000
"""Bytes that PostgreSQL keeps of its log meanwhile."""


@dataclass
class Figures:
    """Milliseconds, by certificates stored."""

    question: Question
    taken: dict[int, list[float]] = field(default_factory=dict)
    failures: int = 0

    def median(self, certificates: int) -> float:
        return statistics.median(self.taken[certificates])

    def p95(self, certificates: int) -> float:
        taken = sorted(self.taken[certificates])
        return taken[min(len(taken) - 1, int(0.95 * len(taken)))]

    @property
    def ratio(self) -> float:
        small, large = min(self.taken), max(self.taken)
        return self.median(large) / self.median(small)

    @property
    def missed(self) -> bool:
        """Whether the aim holds for this question, and was missed."""
        return self.question.aimed and all(self.taken.values()) and self.ratio > AIM


class Caller:
    """One connection to one node; a request and its whole answer at a time."""

    def __init__(self, node: Scaled) -> None:
        self.node = node
        self.authority = f"127.0.0.1:{node.settings.api.port}"
        self._used = 0.0
        self._connect()

    def rendered(self, request: Request) -> bytes:
        headers = {"Authorization": f"Bearer {self.node.key}", **request.headers}
        return Request(request.method, request.path, headers, request.body).rendered(self.authority)

    def ask(self, request: bytes) -> tuple[float, int]:
        """Milliseconds until the answer was there, and its status."""
        if time.perf_counter() - self._used > IDLE:
            self.close()
            self._connect()
        began = time.perf_counter()
        self._socket.sendall(request)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._more()
        length = next(
            int(line.partition(b":")[2])
            for line in answer[:end].lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        missing = end + 4 + length - len(answer)
        while missing > 0:
            missing -= len(self._more())
        self._used = time.perf_counter()
        return (self._used - began) * 1000, int(answer[9:12])

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.node.settings.api.port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._used = time.perf_counter()

    def _more(self) -> bytes:
        some = self._socket.recv(1 << 20)
        if not some:
            raise ConnectionError("the node has closed the connection")
        return some

    def close(self) -> None:
        self._socket.close()


# --- asking -------------------------------------------------------------------------------------------------------------


def ask(question: Question, callers: Sequence[Caller], *, share: float) -> Figures:
    """All requests of one question, to each node in turns; who comes first changes every time."""
    figures = Figures(question, {caller.node.certificates: [] for caller in callers})
    times = max(5, round(question.times * share))
    warm = 0 if question.cold else min(5, times)
    for n in range(times + warm):
        for caller in callers if n % 2 == 0 else reversed(callers):
            request = caller.rendered(question.ask(caller.node, n))
            if question.cold:
                _forget(caller.node)
            taken, status = caller.ask(request)
            if status != question.expected:
                figures.failures += 1
            elif n >= warm:
                figures.taken[caller.node.certificates].append(taken)
    return figures


def _forget(node: Scaled) -> None:
    """Have the system forget what it holds of a SQLite database; what has not been written yet, it keeps."""
    path = node.settings.database_url.removeprefix("sqlite:///")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@dataclass
class Result:
    """One database: every question, and what was learnt on the way."""

    kind: str
    nodes: list[Scaled]
    figures: list[Figures]
    resident: dict[int, int]
    bytes_stored: dict[int, int]


class NoRoomError(Exception):
    """The disk has not the room for such a database."""


def measure(kind: str, sizes: Sequence[int], share: float, say: Console) -> Result:
    """Fill two databases, run a node on each, and ask. Everything is removed at the end. Raises NoRoomError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="kp-scale-")))
        _room(directory, sum(sizes) * EACH + (LOG if kind == "postgres" else 0), say)
        create, stored = _databases(kind, directory, stack)
        nodes = []
        for size in sizes:
            url = create(f"kp{size}")
            say.print(f"{kind}: filling in {size:,} certificates", style="dim")
            node = prepare(directory / str(size), url, size)
            stack.callback(node.stop)
            nodes.append(node)
            say.print(
                f"{kind}: {size:,} in {node.fill_seconds:.0f} s, {stored(url) / 1e6:,.0f} MB", style="dim"
            )
        return run(kind, nodes, share, stored, say)


def run(kind: str, nodes: list[Scaled], share: float, stored: Callable[[str], int], say: Console) -> Result:
    """Start the nodes on their filled databases, and ask."""
    with ExitStack() as stack:
        callers = []
        for node in nodes:
            stack.callback(node.stop)
            node.start()
            caller = Caller(node)
            stack.callback(caller.close)
            callers.append(caller)
        time.sleep(3)  # the first round of a node that has just started
        figures = []
        for question in (*READS, REPORT, *SUBMISSIONS, *([COLD] if kind == "sqlite" else [])):
            say.print(f"{kind}: {question.what}", style="dim")
            figures.append(ask(question, callers, share=share))
        figures.sort(key=lambda each: each.question not in SUBMISSIONS)  # asked last, and told first
        resident = {node.certificates: node.resident for node in nodes}
        return Result(
            kind, nodes, figures, resident, {n.certificates: stored(n.settings.database_url) for n in nodes}
        )


def _room(directory: Path, needed: int, say: Console) -> None:
    free = shutil.disk_usage(directory).free
    say.print(f"about {needed / 1e9:.1f} GB are needed in {directory.parent}, {free / 1e9:.1f} GB are free")
    if free < needed:
        raise NoRoomError(
            f"{directory.parent} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} are needed (set TMPDIR)"
        )


def _databases(
    kind: str, directory: Path, stack: ExitStack
) -> tuple[Callable[[str], str], Callable[[str], int]]:
    """How to make an empty database, and how many bytes one has."""
    if kind == "sqlite":
        return (
            lambda name: f"sqlite:///{directory / name}.db",
            lambda url: Path(url.removeprefix("sqlite:///")).stat().st_size,
        )
    # What a server of its own would have at the least; a checkpoint in the middle of a measurement helps nobody.
    settings = ("shared_buffers=256MB", "max_wal_size=4GB", "checkpoint_timeout=1h")
    server = stack.enter_context(Postgres(settings=settings))
    return server.create_database, _postgres_bytes


def _postgres_bytes(url: str) -> int:
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.connect() as connection:
        size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    engine.dispose()
    return int(size)


# --- telling ------------------------------------------------------------------------------------------------------------


def print_result(result: Result, say: Console) -> None:
    """What the aim is for comes first; below it what is only watched, and what a node costs at rest."""
    small, large = sorted(result.resident)
    table = Table(title=result.kind, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("median (p95), ms", no_wrap=True)
    for heading in (f"{small:,}", f"{large:,}", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for aimed in (True, False):
        for each in result.figures:
            if each.question.aimed is aimed:
                table.add_row(*_cells(each, small, large), style=_style(each))
        table.add_section()
    for what, figures in (
        ("start of the node, s", {node.certificates: node.started_in for node in result.nodes}),
        ("resident memory, MB", {size: n / 1e6 for size, n in result.resident.items()}),
        ("database, MB", {size: n / 1e6 for size, n in result.bytes_stored.items()}),
    ):
        ratio = figures[large] / figures[small]
        table.add_row(what, f"{figures[small]:,.1f}", f"{figures[large]:,.1f}", f"{ratio:.2f}")
    say.print(table)
    missed = [each.question.what for each in result.figures if each.missed]
    said = f"missed: {', '.join(missed)}" if missed else "met"
    say.print(
        f"Aim for the first part, a ratio of at most {AIM}: {said}.", style="bold red" if missed else "bold"
    )
    say.print("The report goes through all numbers there are.")


def _cells(figures: Figures, small: int, large: int) -> tuple[str, ...]:
    if figures.failures or not all(figures.taken.values()):
        return figures.question.what, "", f"{figures.failures} failed", ""
    times = [f"{figures.median(size):.2f} ({figures.p95(size):.2f})" for size in (small, large)]
    return figures.question.what, *times, f"{figures.ratio:.2f}"


def _style(figures: Figures) -> str | None:
    if figures.failures:
        return "bold red"
    return "red" if figures.question is not REPORT and figures.ratio > AIM else None


def report(result: Result) -> dict[str, Any]:
    """The same for machines."""
    return {
        "database": result.kind,
        "nodes": {
            node.certificates: {
                "fill_s": round(node.fill_seconds, 1),
                "start_s": round(node.started_in, 2),
                "resident_mb": round(result.resident[node.certificates] / 1e6, 1),
                "stored_mb": round(result.bytes_stored[node.certificates] / 1e6, 1),
            }
            for node in result.nodes
        },
        "figures": [
            {
                "what": each.question.what,
                "aimed": each.question.aimed,
                "failures": each.failures,
                **{f"p50_ms_{size}": round(each.median(size), 3) for size in each.taken if each.taken[size]},
                **{f"p95_ms_{size}": round(each.p95(size), 3) for size in each.taken if each.taken[size]},
                "ratio": round(each.ratio, 2) if all(each.taken.values()) else None,
            }
            for each in result.figures
        ],
    }


def main(kinds: Sequence[str], large: int, *, quick: bool, say: Console) -> tuple[list[dict[str, Any]], int]:
    """Measure; what there is to report, and the exit status: 1 if a request failed or the aim was missed."""
    reports: list[dict[str, Any]] = []
    status = 0
    sizes = (max(100, min(10_000, large // 10)), large)
    for kind in kinds:
        try:
            result = measure(kind, sizes, 0.3 if quick else 1.0, say)
        except NoRoomError as error:
            say.print(str(error), style="bold red")
            return reports, 1
        print_result(result, say)
        reports.append(report(result))
        status |= any(figures.failures or figures.missed for figures in result.figures)
    return reports, status
