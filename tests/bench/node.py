"""Our own node as a `Subject`: two `kpnode run` processes that know each other, submitted to over the public API.

Only the public surface is used, as an authority's own system would: what `kpnode init` and `kpnode partner` do to set up,
`kpnode run` to run, `POST /v1/documents` to submit. AMQP is plaintext on loopback, as it is for the floor.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpnode.assembly import introduce
from kpnode.broker import partner_definitions
from kpnode.control import operate
from kpnode.settings import Settings
from kpnode.throwaway import Broker, free_ports
from tests.bench.drafts import body, bulk_body
from tests.bench.load import Request
from tests.bench.processes import Processes, port_open
from tests.bench.subject import Database, Endpoint

PATH = "/v1/documents"

# The answer is held until the partner's receipt is durable here, for at most so many seconds (RFC 7240, 4.3).
PREFER = "wait=30, return=minimal"

# What the submission API calls a document whose receipt from the partner is verified and stored.
RECEIVED = b'"received"'


class Node:
    """A sender and a recipient node on one throw-away broker."""

    name = "node"

    def __init__(self, profile: Path | None = None) -> None:
        self._processes = Processes(self.name, profile)

    def start(self, workdir: Path, broker: Broker, database: Database) -> Endpoint:
        """Initialise both nodes, make them partners, run them; give the sender's address and an API key for it."""
        ports = free_ports(2)
        a, b = (
            Settings(
                address=address,
                name=f"Authority of {address}",
                roles=("export", "import"),
                home=workdir / address,
                passphrase="correct horse battery staple",
                database=database.create(f"node_{address.lower()}"),
                public={"amqps": f"127.0.0.1:{broker.port}"},
                broker={
                    "host": "127.0.0.1",
                    "port": broker.port,
                    "plaintext_on_loopback_only": True,
                    "user": "guest",
                    "password": "guest",
                },
                api={"port": port, "requests_per_minute": 0},
                log={"level": "warning"},
            )
            for address, port in zip(("BW", "AE"), ports, strict=True)
        )
        for own, partner in (("BW", "AE"), ("AE", "BW")):
            file = workdir / f"{own}.definitions.json"
            file.write_text(json.dumps(_for_guest(partner_definitions(own, partner))))
            broker.ctl("import_definitions", str(file))

        async def set_up() -> str:
            await introduce(a, b)
            key = await operate(a, "apikey-add", name="bench", scopes=["documents:write", "documents:read"])
            return str(key["key"])

        key = asyncio.run(set_up())
        for settings in (b, a):
            environment = _environment(settings)
            self._processes.start(
                settings.address, ["-m", "kpnode", "run"], port_open(settings.api.port), environment
            )
        return Endpoint(f"http://127.0.0.1:{a.api.port}", {"Authorization": f"Bearer {key}"})

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


def _for_guest(definitions: dict[str, Any]) -> dict[str, Any]:
    """One partner's place on the broker, open to the throw-away broker's only user."""
    everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    permissions = [{**everything, "vhost": vhost["name"]} for vhost in definitions["vhosts"]]
    return {**definitions, "users": [], "permissions": permissions}


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, which is how a container would have them."""
    assert settings.broker is not None
    broker = settings.broker
    return {
        "KPNODE_ADDRESS": settings.address,
        "KPNODE_NAME": settings.name,
        "KPNODE_ROLES": json.dumps(list(settings.roles)),
        "KPNODE_HOME": str(settings.home),
        "KPNODE_PASSPHRASE": settings.passphrase.get_secret_value(),
        "KPNODE_DATABASE": settings.database_url,
        "KPNODE_PUBLIC__AMQPS": str(settings.public.amqps),
        "KPNODE_BROKER__HOST": broker.host,
        "KPNODE_BROKER__PORT": str(broker.port),
        "KPNODE_BROKER__PLAINTEXT_ON_LOOPBACK_ONLY": "true",
        "KPNODE_BROKER__USER": "guest",
        "KPNODE_BROKER__PASSWORD": "guest",
        "KPNODE_API__PORT": str(settings.api.port),
        "KPNODE_API__REQUESTS_PER_MINUTE": "0",
        "KPNODE_LOG__LEVEL": "warning",
    }
