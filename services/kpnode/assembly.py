"""The composition root: which database, links, inbox, API and control socket make up the node that the settings describe.

`build` decides and starts nothing; `Assembly.start` starts in the order in which each part needs the one before, `stop` ends in the other. Two
assemblies live in one process without knowing of each other; tests, the demonstration and the measurements stand on that. Nothing
outside this module chooses a transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
import uvicorn

from kpmsg.policy import Practice
from kpnode import setup
from kpnode.author import Identity, rfc3339
from kpnode.control import Control, operate
from kpnode.home import Home
from kpnode.migrations import migrate
from kpnode.node import Node
from kpnode.operator import Operator
from kpnode.pki import PkiError, client_context
from kpnode.settings import Broker, Settings
from kpnode.setup import SetupError, WorkingKeys
from kpnode.store.database import Database
from kpnode.store.mark import Mark
from kpnode.store.partners import PartnerRow
from kpnode.transports import Link, Outcome, Sent
from kpnode.transports.addresses import BrokerAddress
from kpnode.transports.amqp import AmqpLink
from kpnode.transports.amqp_inbox import AmqpInbox
from kpnode.transports.https import HttpsLink

GRACEFUL_SECONDS: Final = 5
log = structlog.get_logger()


class NoLink:
    """The link to a partner that cannot be reached as things are; says why, and what would help."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        self._sent = Sent(outcome, detail)

    async def send(self, frame: bytes) -> Sent:  # noqa: ARG002 - it goes nowhere
        return self._sent

    async def close(self) -> None:
        return


class _Server(uvicorn.Server):
    """uvicorn without its hold on the process' signals: who runs the assembly decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Assembly:
    """One node, put together. `start` and `stop` it once."""

    def __init__(self, settings: Settings, node: Node, inbox: AmqpInbox | None) -> None:
        self.settings = settings
        self.node = node
        self.inbox = inbox
        self.operator = Operator(settings, node.database, node=node, inbox=inbox, clock=node.clock)
        self._control = Control(Home(settings.home).control, self.operator)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._end_streams: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        """Where the API answers."""
        host = self.settings.api.host
        scheme = "http" if self.settings.api.certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.settings.api.port}"

    async def start(self, *, serve: bool = True) -> None:
        """Claim the database, bring its schema up, take up the talk with every partner, and answer the API.

        With `serve` false there is no API and no control socket, and no documents leave: enough to look at a node that is not in
        service. Raises StoreError, SetupError (also if the port is taken), OSError; then everything that was started has been stopped.
        """
        listener = self._listen() if serve else None
        try:
            await self._start(listener, serve=serve)
        except BaseException:
            if listener is not None:
                listener.close()
            await self.stop()
            raise

    async def _start(self, listener: socket.socket | None, *, serve: bool) -> None:
        database, settings = self.node.database, self.settings
        await database.start()
        if await asyncio.to_thread(migrate, settings.database_url):
            log.info("schema-changed")
        records, at = setup.load_records(settings), rfc3339(self.node.clock())
        await database.write(lambda c: setup.settle_owner(c, settings.address, records, at))
        await self.node.start(serve=serve)
        for peer in self.node.peers.values():
            peer.paused = peer.paused or not serve
            if self.inbox is not None:
                self.inbox.add(peer.address)
        if listener is not None:
            await self._control.start()
            await self._serve(listener)

    def _listen(self) -> socket.socket:
        # uvicorn would end the whole process if the port were taken.
        host, port = self.settings.api.host, self.settings.api.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise SetupError(f"port {port} is taken (api.port): is the node running already?") from None

    async def _serve(self, listener: socket.socket) -> None:
        from kpnode.api import build_app

        api = self.settings.api
        app = build_app(
            self.node,
            title=f"kpnode of {self.settings.name}",
            exchange=self.settings.exchange_https,
            ready=self._ready,
            requests_per_minute=api.requests_per_minute or None,
        )
        self._end_streams = app.state.streams.end
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_certfile=api.certificate,
            ssl_keyfile=api.key,
            # An event stream never ends by itself.
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="api")
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise SetupError("the API did not start")
            await asyncio.sleep(0.01)

    def _ready(self) -> dict[str, bool]:
        """What `/readyz` asks beside the database: whether what partners send over AMQP reaches us."""
        if self.inbox is None:
            return {}
        return {"broker": all(state.connected for state in self.inbox.states.values())}

    async def served(self) -> None:
        """Return when the API has ended, which it does not do by itself."""
        assert self._serving is not None
        await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """Let requests end, commit what has been taken in, let go of everything. May be called at any stage, and twice."""
        if self._server is not None and self._serving is not None:
            self._end_streams()
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
            self._server = self._serving = None
        await self._control.stop()
        if self.inbox is not None:
            await self.inbox.close()
        await self.node.stop()
        await self.node.database.close()


def build(settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Assembly:
    """The node that `settings` describe, after `kpnode init`. Raises SetupError, KeyFileError, PkiError."""
    keys, records = setup.load_keys(settings), setup.load_records(settings)
    setup.check_keys(settings, keys, records)
    identity = Identity(settings.address, [version.record for version in records], [keys.document], keys.node)
    node = Node(
        identity,
        Database(settings.database_url, Mark(Home(settings.home).mark)),
        connect=connector(settings, keys),
        clock=clock,
        practice=Practice(settings.address, settings.local.policy),
        policy=settings.four_eyes,
        reminders=settings.reminders,
    )
    inbox = None
    if settings.broker is not None:
        # `node.receive` is the later half of a cycle that only exists while both run.
        inbox = AmqpInbox([own_broker(settings)], node.receive, node.post, name=settings.address)
    return Assembly(settings, node, inbox)


def own_broker(settings: Settings) -> BrokerAddress:
    """Our own broker, as our node logs in to it. Raises PkiError."""
    own = settings.broker
    assert own is not None
    if own.plaintext_on_loopback_only:
        return BrokerAddress(own.host, own.port, login=_login(own))
    home = Home(settings.home)
    context = _context(settings, home.ca_certificate.read_text(), home.broker("node.pem").read_text())
    return BrokerAddress(own.host, own.port, tls=context)


def partner_broker(settings: Settings, connection: Mapping[str, Any]) -> BrokerAddress:
    """A partner's broker, from its grant. Raises PkiError; ValueError if it would be spoken to without TLS."""
    if connection["certificate"] is not None:
        context = _context(settings, connection["trusted"], connection["certificate"])
        return BrokerAddress(connection["host"], connection["port"], tls=context)
    if settings.broker is None or not settings.broker.plaintext_on_loopback_only:
        raise ValueError("the partner's broker speaks no TLS")
    return BrokerAddress(connection["host"], connection["port"], login=_login(settings.broker))


def connector(settings: Settings, keys: WorkingKeys) -> Callable[[PartnerRow], Link]:
    """What makes the link to a partner from its row. It never raises: one bad row must not keep the node from starting."""

    def connect(row: PartnerRow) -> Link:
        try:
            return link(row)
        except (PkiError, ValueError, KeyError, OSError) as error:
            return NoLink(Outcome.TLS, f"The link to {row.address} cannot be made: {error}.")

    def link(row: PartnerRow) -> Link:
        reach = row.connection
        match row.transport:
            case "amqp":
                return AmqpLink(settings.address, row.address, partner_broker(settings, reach))
            case "https":
                trusted = reach.get("trusted")
                tls = client_context(trusted=trusted.encode()) if trusted else None
                return HttpsLink(settings.address, row.address, reach["url"], keys.transport, tls=tls)
        return NoLink(
            Outcome.UNREACHABLE,
            f"No grant of {row.address} has been accepted yet: ask them for it, then `kpnode partner accept`.",
        )

    return connect


def _login(own: Broker) -> tuple[str, str]:
    assert own.user is not None
    assert own.password is not None
    return own.user, own.password.get_secret_value()


def _context(settings: Settings, trusted: str, certificate: str) -> ssl.SSLContext:
    return client_context(
        trusted=trusted.encode(),
        certificate=certificate.encode(),
        key=Home(settings.home).key("transport"),
        passphrase=setup.secret(settings),
    )


async def introduce(a: Settings, b: Settings, *, transport: str | None = None) -> None:
    """Make two nodes of this machine partners, both ways, as two operators would who compare fingerprints by telephone.

    For the demonstration, the measurements and tests. Each may be running or not; one that has no home yet gets it.
    """
    published = {}
    for each in (a, b):
        if not (versions := setup.load_records(each)):
            versions = [(await setup.initialise(each)).record]
        published[each.address] = versions[-1]
    handed = {}
    for mine, theirs in ((a, b), (b, a)):
        record = published[theirs.address]
        added = await operate(
            mine, "partner-add", record=record.raw.decode(), fingerprint=record.record.fingerprint
        )
        handed[theirs.address] = added["grant"]
    for each in (a, b):
        if handed[each.address] is not None:
            await operate(each, "partner-accept", grant=handed[each.address], transport=transport)
