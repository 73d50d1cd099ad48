"""The authorities of the whole world, spread over a few processes, as the director of the demonstration holds them.

    Office    one authority: its API, as a program of that authority calls it, and where its database lies
    Host      one process with the nodes of many offices; can be killed and started again
    Hosts     all of them

Refuses to know what is exchanged. What happens inside such a process is `kpnode.demo.world_nodes`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kpmsg.client import NodeClient
from kpnode.demo.authority import PASSPHRASE, STOP_SECONDS
from kpnode.demo.world_nodes import settings_of, write_down
from kpnode.demo.world_trade import Trader
from kpnode.throwaway import DidNotStart, free_ports
from kpnode.throwaway.premises import Premises

READY_SECONDS: Final = 120.0
FEWEST, MOST = 2, 4
"""Processes: as many as there are processors, within these."""


@dataclass(frozen=True, slots=True)
class Office:
    """One authority. `curl` is how a shell calls its API, up to the URL."""

    address: str
    name: str
    url: str
    database: Path
    api: NodeClient
    curl: str


class Host:
    """One process and its authorities."""

    def __init__(self, traders: Sequence[Trader], ports: Sequence[int]) -> None:
        self.traders = traders
        self._premises = Premises("demo-world")
        self._ports = dict(zip((each.address for each in traders), ports, strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = self._premises.directory
        nodes = [
            {"address": each.address, "name": each.name, "port": self._ports[each.address]}
            for each in traders
        ]
        write_down(self.directory / "plan.json", {"passphrase": PASSPHRASE, "nodes": nodes})

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._ports)

    @property
    def ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start the process without waiting."""
        # Settings come from the plan alone: a variable meant for another node on this machine is none of ours.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KPNODE_")}
        command = [sys.executable, "-m", "kpnode.demo.world_nodes", str(self.directory)]
        self._process = self._premises.spawn(command, environment)

    def told(self, name: str) -> Any:
        """What the process has written to the file `name`, as soon as it is there. Raises DidNotStart."""
        assert self._process is not None
        self._premises.await_ready(self._process, (self.directory / name).exists, READY_SECONDS)
        return json.loads((self.directory / name).read_text())

    def wait_ready(self) -> None:
        """Return when all nodes here serve their APIs. Raises DidNotStart."""
        self.told("ready.json")

    def tell(self, name: str, what: Any) -> None:
        """Write something down for the process."""
        write_down(self.directory / name, what)

    def offices(self, tls: ssl.SSLContext) -> list[Office]:
        """The authorities here, once the process has told the keys to their APIs."""
        keys, found = self.told("keys.json"), []
        for each in self.traders:
            port = self._ports[each.address]
            settings = settings_of(self.directory, each.address, each.name, port, PASSPHRASE)
            url, key = f"http://127.0.0.1:{port}", keys[each.address]
            # Who calls decides when to try again, for a thread that sleeps serves nobody.
            client = NodeClient(url, key, sleep=lambda _: None, tls=tls)
            database, curl = settings.home / "kpnode.db", f"curl -s -H 'Authorization: Bearer {key}'"
            found.append(Office(each.address, each.name, url, database, client, curl))
        return found

    def kill(self) -> None:
        """SIGKILL, as a power cut would have it: all nodes here are gone at once."""
        self._premises.kill()
        self._process = None
        (self.directory / "ready.json").unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Let the process end if it was asked to, kill it if it does not, and remove everything."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()
        self._premises.close()

    def log(self) -> str:
        """What the process has written so far."""
        return self._premises.output()

    def megabytes(self) -> float:
        """The most memory that the process has held, shared pages included."""
        return 0.0 if self._process is None else peak_megabytes(self._process.pid)


class Hosts:
    """A context manager: all authorities, dealt out so that every process has about the same to do."""

    def __init__(self, traders: Sequence[Trader], *, processes: int | None = None) -> None:
        wanted = processes or min(MOST, max(FEWEST, os.cpu_count() or FEWEST))
        busiest = sorted(traders, key=lambda each: -(each.issued + each.received))
        # There and back again, as teams are chosen: the busiest two are not in one process.
        dealt: list[list[Trader]] = [[] for _ in range(wanted)]
        for n, each in enumerate(busiest):
            lap, place = divmod(n, wanted)
            dealt[place if lap % 2 == 0 else wanted - 1 - place].append(each)
        ports = iter(free_ports(len(busiest)))
        self._host: list[Host] = []
        self.offices: dict[str, Office] = {}
        try:
            for some in dealt:
                self._host.append(Host(some, [next(ports) for _ in some]))
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __iter__(self) -> Any:
        return iter(self._host)

    def __len__(self) -> int:
        return len(self._host)

    def make_homes(self) -> dict[str, str]:
        """Start all processes; return when every authority has a home, with their key records by address."""
        for host in self._host:
            host.start()
        records: dict[str, str] = {}
        for host in self._host:
            records |= host.told("records.json")
        return records

    def open(self, records: Mapping[str, str], pairs: Collection[tuple[str, str]]) -> None:
        """Make those partners who will trade, and return when all nodes serve."""
        both = {*pairs, *((b, a) for a, b in pairs)}
        for host in self._host:
            wanted = {a: {b: records[b] for x, b in sorted(both) if x == a} for a in host.addresses}
            host.tell("partners.json", wanted)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used: loopback; reading none is quicker
        for host in self._host:
            self.offices |= {office.address: office for office in host.offices(tls)}
        for host in self._host:
            host.wait_ready()

    def check(self) -> None:
        """Raises DidNotStart if a process has ended by itself."""
        for host in self._host:
            if host.ended:
                raise DidNotStart(
                    f"a process with {len(host.traders)} nodes has ended:\n{host.log()[-3000:]}"
                )

    def megabytes(self) -> float:
        """Of all processes together, this one included."""
        return peak_megabytes(os.getpid()) + sum(host.megabytes() for host in self._host)

    def _close(self) -> None:
        for host in self._host:
            host.ask_to_stop()
        for host in self._host:
            host.close()
        for office in self.offices.values():
            office.api.close()


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has held so far; 0 where the kernel does not say."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
