"""Our own node as a `Subject`: two `kpnode run` processes that know each other, submitted to over the public API.

Only the public surface is used, as an authority's own system would: the command line to set up, `POST /v1/documents`
to submit. The requests are final; `start` is to be written against the node's commands.
"""

from collections.abc import Mapping
from pathlib import Path

from kpnode.throwaway import Broker
from tests.bench.drafts import body, bulk_body
from tests.bench.load import Request
from tests.bench.processes import Processes
from tests.bench.subject import Database, Endpoint

PATH = "/v1/documents"

# The answer is held until the partner's receipt is durable here, for at most so many seconds (RFC 7240, 4.3).
PREFER = "wait=10"

# What the submission API calls a document whose receipt from the partner is verified and stored.
RECEIVED = b'"received"'


class Node:
    """A sender and a recipient node on one throw-away broker."""

    name = "node"

    def __init__(self, profile: Path | None = None) -> None:
        self._processes = Processes(self.name, profile)

    def start(self, workdir: Path, broker: Broker, database: Database) -> Endpoint:
        """Initialise both nodes, make them partners, run them; give the sender's address and an API key for it."""
        raise NotImplementedError("the node cannot be started yet")

    def stop(self) -> None:
        self._processes.stop()

    def processes(self) -> Mapping[str, int]:
        return self._processes.ids()

    def single(self, n: int, series: str) -> Request:
        return Request("POST", PATH, _headers(f"single-{series}-{n}"), body(n, series))

    def bulk(self, n: int, size: int, series: str) -> Request:
        return Request("POST", PATH, _headers(f"bulk-{series}-{n}"), bulk_body(n, size, series))

    def settled(self, status: int, body: bytes) -> int:
        """Documents the answer shows as received by the partner; "accepted, not yet received" is no trip."""
        return body.count(RECEIVED) if status in (200, 201) else 0


def _headers(key: str) -> Mapping[str, str]:
    return {"Content-Type": "application/json", "Prefer": PREFER, "Idempotency-Key": key}
