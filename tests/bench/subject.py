"""What can be measured: two processes, a broker between them, and one HTTP address to submit to.

The floor and our node are both a `Subject`; the benchmark knows nothing else of either. A *trip* is one document
submitted at the sender, durable there, delivered over RabbitMQ, verified and durable at the recipient, and the
recipient's signed receipt verified and durable at the sender.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kpnode.throwaway import Broker
from tests.bench.load import Request


class Database(Protocol):
    """Makes empty databases of one kind, on durable settings; asked once for each process that wants one."""

    kind: str
    """"sqlite" or "postgres"."""

    def create(self, name: str) -> str:
        """The SQLAlchemy URL of a new, empty database: `sqlite:////path` or `postgresql+psycopg://...`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to submit, and what every request carries besides its own headers (an API key, for one)."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Subject(Protocol):
    """One pair of authorities, started and stopped as a whole."""

    name: str

    def start(self, workdir: Path, broker: Broker, database: Database) -> Endpoint:
        """Start both processes and return when a submission would be carried all the way.

        `workdir` is empty and the subject's own. `broker` is fresh (guest/guest, vhost `/`) and shared with the other
        subjects: make vhosts with names of your own in it. Raises RuntimeError with the end of the processes' output
        if they are not ready in time; `stop` is called all the same.
        """

    def stop(self) -> None:
        """End every process, whatever state it is in. May be called twice."""

    def processes(self) -> Mapping[str, int]:
        """Process ids by role, for the resident memory; empty before `start` and after `stop`."""

    def single(self, n: int, series: str) -> Request:
        """The n-th submission of one document. The answer comes when its trip is complete."""

    def bulk(self, n: int, size: int, series: str) -> Request:
        """The n-th submission of `size` documents in one request. The answer comes when all trips are complete."""

    def settled(self, status: int, body: bytes) -> int:
        """How many trips this answer says are complete; 0 if it says anything else."""
