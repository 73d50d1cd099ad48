"""Is it alive, is it ready, how much has it done: for machines that watch machines.

These answers name no partner and no document to whoever has no key (S116); with the scope `metrics:read` the metrics say what
waits for whom.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpnode.api import openapi
from kpnode.api.answers import Answer, Refused
from kpnode.api.door import Door, public
from kpnode.api.openapi import operation
from kpnode.node import Node
from kpnode.store import views
from kpnode.store.callers import Scope
from kpnode.store.database import StoreError

Ready = Callable[[], Mapping[str, bool]]
WRITE_SECONDS: Final = 3.0
REMEMBER_SECONDS: Final = 1.0  # anybody may ask; the database is asked once in a while

_COUNTED: Final = {
    "documents": ("kpnode_documents", "Documents by what happened to them.", "event"),
    "refused": ("kpnode_refused", "What came in and was refused, by code.", "code"),
    "sent": ("kpnode_sent", "Documents and other frames handed to transports, by how it ended.", "outcome"),
    "failed": ("kpnode_failures", "Exceptions that were caught, by where.", "where"),
    "incidents": ("kpnode_incidents", "Incidents reported, by kind.", "kind"),
    "files": ("kpnode_files", "Files fetched and pieces given, denied, or come unasked.", "what"),
}


def mount(app: FastAPI, node: Node, door: Door, ready: Ready | None) -> None:
    """Add the routes for watching. `ready`: what else must hold, by name (is the own broker's inbox connected?)."""
    remembered: tuple[float, bool] = (float("-inf"), False)

    @app.get("/", **operation(openapi.ROOT, public()))
    async def root(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over
        body = {
            "service": "kpnode",
            "version": app.version,
            "authority": node.address,
            "openapi": "/openapi.json",
            "docs": "/docs",
        }
        return Answer(strictjson.dumps(body))

    @app.get("/healthz", **operation(openapi.HEALTH, public()))
    async def healthz(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over
        return Answer(b'{"status":"alive"}')

    @app.get("/readyz", **operation(openapi.READY, public()))
    async def readyz(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over
        checks = {"database": await _writable(), **(ready() if ready is not None else {})}
        holds = all(checks.values())
        body = {"status": "ready" if holds else "not-ready", "checks": checks}
        return Answer(strictjson.dumps(body), 200 if holds else 503)

    async def _writable() -> bool:
        nonlocal remembered
        at, writable = remembered
        if time.monotonic() - at < REMEMBER_SECONDS:
            return writable
        remembered = (time.monotonic(), writable)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await node.database.write(lambda c: None)  # noqa: ARG005 - a transaction is all that is asked for
            writable = True
        except (StoreError, TimeoutError):
            writable = False
        remembered = (time.monotonic(), writable)
        return writable

    processes = CollectorRegistry()
    ProcessCollector(registry=processes)

    @app.get("/metrics", **operation(openapi.METRICS, public()))
    async def metrics(request: Request) -> Response:
        caller = await door.caller(request)
        if caller is not None and Scope.READ_METRICS not in caller.scopes:
            raise Refused("scope-missing", f"This API key has not been given the scope {Scope.READ_METRICS}.")
        rows = await node.database.read(views.queues)
        incidents = await node.database.read(views.open_incidents)
        registry = CollectorRegistry()
        registry.register(_Told(node, door, rows, incidents, by_partner=caller is not None))
        text = generate_latest(registry) + generate_latest(processes)
        return Answer(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Told(Collector):
    """What the node counts, as families of metrics; read once and thrown away."""

    def __init__(
        self, node: Node, door: Door, rows: list[views.QueueRow], incidents: int, *, by_partner: bool
    ) -> None:
        self._node = node
        self._door = door
        self._rows = rows
        self._incidents = incidents
        self._by_partner = by_partner

    def collect(self) -> Iterable[Metric]:
        families = {
            what: CounterMetricFamily(name, text, labels=[label])
            for what, (name, text, label) in _COUNTED.items()
        }
        for (what, which), n in sorted(self._node.counts.items()):
            if what in families:
                families[what].add_metric([which], n)
        yield from families.values()
        requests = CounterMetricFamily(
            "kpnode_http_requests", "Requests to the API.", labels=["operation", "status"]
        )
        for (label, status), n in sorted(self._door.counts.items()):
            requests.add_metric([label, str(status)], n)
        yield requests
        yield CounterMetricFamily(
            "kpnode_commits", "Write transactions committed.", value=self._node.database.commits
        )
        started = self._node.started_at.timestamp()
        yield GaugeMetricFamily(
            "kpnode_started_timestamp_seconds", "When the node was started.", value=started
        )
        yield GaugeMetricFamily(
            "kpnode_open_incidents", "Incidents that wait for somebody.", value=self._incidents
        )
        yield from self._queues()

    def _queues(self) -> Iterable[Metric]:
        now = self._node.clock()
        waiting = sum(row.waiting for row in self._rows)
        yield GaugeMetricFamily(
            "kpnode_waiting_documents", "Documents of ours without a receipt.", value=waiting
        )
        ages = [_age(row, now) for row in self._rows]
        yield GaugeMetricFamily(
            "kpnode_oldest_seconds", "Age of the oldest of these.", value=max(ages, default=0.0)
        )
        if not self._by_partner:
            return
        each: list[tuple[str, str, Sequence[float]]] = [
            (
                "kpnode_queue_waiting_documents",
                "Documents without a receipt, by partner.",
                [r.waiting for r in self._rows],
            ),
            ("kpnode_queue_oldest_seconds", "Age of the oldest of these, by partner.", ages),
            (
                "kpnode_register_held",
                "Size of our register of the partner's documents.",
                [r.held for r in self._rows],
            ),
            (
                "kpnode_register_known",
                "Size of the partner's register of ours, as signed.",
                [r.known for r in self._rows],
            ),
            (
                "kpnode_partner_sending",
                "1 if documents may leave for the partner.",
                [self._sending(r) for r in self._rows],
            ),
        ]
        for name, text, values in each:
            family = GaugeMetricFamily(name, text, labels=["partner"])
            for row, value in zip(self._rows, values, strict=True):
                family.add_metric([row.address], float(value))
            yield family

    def _sending(self, row: views.QueueRow) -> float:
        peer = self._node.peers.get(row.address)
        return float(peer is not None and peer.sending)


def _age(row: views.QueueRow, now: datetime) -> float:
    if row.oldest_at is None:
        return 0.0
    return max(0.0, (now - datetime.fromisoformat(row.oldest_at)).total_seconds())
