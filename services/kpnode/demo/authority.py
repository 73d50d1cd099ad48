"""One authority of the demonstration: its home, its node as a process of its own, its own RabbitMQ, and a key to its API.

Everything an authority has lives in one temporary directory with a guard (`kpnode.throwaway`), so that nothing of it
outlives this process, not even after `kill -9`. Decides how the node is started, killed, restored and stopped; refuses
to know what is exchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from kpmsg.client import NodeClient
from kpmsg.errors import ClientError
from kpnode import pki, setup
from kpnode.assembly import introduce
from kpnode.control import operate
from kpnode.demo.borrowed import Borrowed
from kpnode.settings import Settings
from kpnode.store.callers import Scope
from kpnode.throwaway import Broker, BrokerTls, DidNotStart, free_ports
from kpnode.throwaway.premises import Premises

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
PASSPHRASE: Final = "only for this demonstration"  # noqa: S105 - the keys live as long as the process

Transport = Literal["own", "direct"] | Borrowed
"""How the two nodes reach each other: by a RabbitMQ of their own each, by HTTPS, or by a RabbitMQ that is there already."""


class Authority:
    """One authority. Make two, `introduce_to` each other, `start` them; `close` whatever happens."""

    def __init__(
        self, address: str, name: str, transport: Transport, more: Mapping[str, Any] | None = None
    ) -> None:
        """`more`: settings beside those that every authority of the demonstration has."""
        self.address, self.name = address, name
        self._premises = Premises(f"demo-{address}")
        self._node: subprocess.Popen[bytes] | None = None
        self._key = ""
        self._client: NodeClient | None = None
        self.home = self._premises.directory / "home"
        self.broker: Broker | None = None
        [port] = free_ports(1)
        told: dict[str, Any] = {
            "address": address,
            "name": name,
            "roles": ["export", "import"],
            "home": str(self.home),
            "passphrase": PASSPHRASE,
            "api": {"port": port, "requests_per_minute": 0},
            "log": {"format": "text"},
            **(more or {}),
        }
        self._https = transport == "direct"
        if isinstance(transport, Borrowed):
            told["broker"] = transport.settings()
            told["public"] = {"amqps": f"{transport.host}:{transport.port}"}
        elif transport == "own":
            files = self.home / "broker"
            tls = BrokerTls(files / "ca.pem", files / "server.pem", files / "server.key")
            self.broker = Broker(tls=tls, definitions=files / "definitions.json")
            told["broker"] = {"host": "127.0.0.1", "port": self.broker.tls_port}
            told["public"] = {"amqps": f"127.0.0.1:{self.broker.tls_port}"}
        else:
            told["api"] |= {each: str(self.home / f"api.{end}") for each, end in _FILES.items()}
            told |= {"exchange_https": True, "public": {"https": f"https://127.0.0.1:{port}"}}
        self._told = told
        self.settings = Settings(**told)

    @property
    def config(self) -> Path:
        """Its settings, for `kpnode --config`."""
        return self._premises.directory / "kpnode.toml"

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"{'https' if self._https else 'http'}://127.0.0.1:{self.settings.api.port}"

    @property
    def api(self) -> NodeClient:
        """The API, as a program of this authority calls it."""
        assert self._client is not None
        return self._client

    @property
    def curl(self) -> str:
        """How to call the API from a shell, up to the URL."""
        trusted = f" --cacert {self.home / 'api.ca'}" if self._https else ""
        return f"curl -s{trusted} -H 'Authorization: Bearer {self._key}'"

    # -- setting up --------------------------------------------------------------------------------------------------------

    async def settle(self, since: datetime | None = None) -> None:
        """Make the home, and a key to the API for the demonstration's own calls (and for whoever watches).

        `since`: from when the keys are valid, if documents are to be older than the home is.
        """
        await setup.initialise(self.settings, now=since)
        if self._https:
            self._certify()
        made = await operate(self.settings, "apikey-add", name="demonstration", scopes=[*Scope], days=1)
        self._key = made["key"]
        trusted = ssl.create_default_context(cafile=str(self.home / "api.ca")) if self._https else None
        self._client = NodeClient(
            self.url, self._key, sleep=lambda seconds: time.sleep(min(seconds, 0.1)), tls=trusted
        )
        self._configure(self._premises.directory)

    async def give_key(self, person: str, scopes: Iterable[Scope]) -> str:
        """A key to the API for somebody who works there, for a day."""
        made = await operate(self.settings, "apikey-add", name=person, scopes=[*scopes], days=1)
        return str(made["key"])

    @property
    def ca(self) -> Path | None:
        """The certificate by which the API is recognised, if it is not plain HTTP."""
        return self.home / "api.ca" if self._https else None

    def _certify(self) -> None:
        ca, key = setup.load_ca(self.settings), pki.new_private_key()
        pki.write_private(self.home / "api.key", key)
        (self.home / "api.pem").write_bytes(ca.server_certificate(key, ["127.0.0.1"], datetime.now(UTC)))
        (self.home / "api.ca").write_bytes(ca.certificate)

    def _configure(self, directory: Path) -> None:
        moved = json.loads(json.dumps(self._told).replace(str(self._premises.directory), str(directory)))
        pki.write_private(directory / "kpnode.toml", _toml(moved).encode())

    # -- the node ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node without waiting."""
        # Settings come from the file alone: a variable meant for another node on this machine is none of ours.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KPNODE_")}
        command = [sys.executable, "-m", "kpnode", "--config", "kpnode.toml", "run"]
        self._node = self._premises.spawn(command, environment)

    def wait_ready(self) -> None:
        """Return when the API answers. DidNotStart with the end of the node's log."""
        assert self._node is not None

        def answers() -> bool:
            try:
                self.api.queues()
            except ClientError:
                return False
            return True

        self._premises.await_ready(self._node, answers, READY_SECONDS)

    def kill(self) -> None:
        """SIGKILL to the node, as a power cut would have it."""
        self._premises.kill()
        self._node = None

    def ask_to_stop(self) -> None:
        """SIGTERM to the node."""
        if self._node is not None and self._node.poll() is None:
            self._node.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Return when the node has ended, which it was asked to, or by force after STOP_SECONDS."""
        self.ask_to_stop()
        if self._node is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._node.wait(STOP_SECONDS)
        self.kill()

    @property
    def ended(self) -> bool:
        """Whether the node has ended by itself."""
        return self._node is not None and self._node.poll() is not None

    def log(self) -> str:
        """What the node has written so far."""
        return self._premises.output()

    # -- its database --------------------------------------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.home / "kpnode.db"

    def copy_database(self, to: str = "yesterday.db") -> Path:
        """A consistent copy of the database of the running node, as a nightly backup makes one."""
        copy = self.home / to
        with (
            contextlib.closing(sqlite3.connect(self.database)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy

    def restore_database(self, copy: Path) -> None:
        """Put a copy in the place of the database of a node that does not run."""
        if self._node is not None:
            raise ValueError("stop or kill the node before its database is replaced")
        for suffix in ("-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(copy, self.database)

    # -- the end -------------------------------------------------------------------------------------------------------------

    def keep(self, directory: Path) -> None:
        """Copy everything to `directory`, from where `kpnode --config kpnode.toml` can go on."""
        kept = directory / self.address
        sockets = shutil.ignore_patterns("*.sock")
        shutil.copytree(self._premises.directory, kept, ignore=sockets)
        (kept / "kpnode.toml").unlink(missing_ok=True)
        self._configure(kept)

    def close(self) -> None:
        """Kill what still runs, and remove the directory."""
        self.kill()
        if self._client is not None:
            self._client.close()
        if self.broker is not None:
            self.broker.close()
        self._premises.close()


_FILES: Final = {"certificate": "pem", "key": "key", "ca": "ca"}


def acquaint(a: Authority, b: Authority, *, since: datetime | None = None) -> None:
    """Make both homes, and make the two partners: key records, fingerprints, grants, places on the brokers."""

    async def all_of_it() -> None:
        for each in (a, b):
            await each.settle(since)
        await introduce(a.settings, b.settings)

    asyncio.run(all_of_it())


def stop(*authorities: Authority) -> None:
    """Stop the nodes in order, side by side, while the brokers of all of them still answer."""
    for each in authorities:
        each.ask_to_stop()
    for each in authorities:
        each.stop()


def boot(*brokers: Broker | None) -> None:
    """Start brokers side by side and return when all of them answer. DidNotStart with the end of the log."""
    booting = [broker for broker in brokers if broker is not None]
    for broker in booting:
        broker.start()
    for broker in booting:
        try:
            broker.wait_ready()
        except DidNotStart as error:
            raise DidNotStart(f"RabbitMQ: {error}\n{broker.log()[-2000:]}") from None


def _toml(values: Mapping[str, Any], within: str = "") -> str:
    """Settings as TOML."""
    plain = [f"{name} = {_inline(value)}" for name, value in values.items() if not isinstance(value, dict)]
    tables = [
        f"\n[{within}{name}]\n{_toml(table, f'{within}{name}.')}"
        for name, table in values.items()
        if isinstance(table, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def _inline(value: Any) -> str:
    """JSON texts, numbers and booleans are TOML as they are."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_inline(each)}' for name, each in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value)
