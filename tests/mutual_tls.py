"""One authority's broker as its partners meet it: mutual TLS, EXTERNAL, one virtual host per partner.

Decides the cast (AE owns the broker; BW and EU/antwerp are its partners) and makes their keys and certificates with
`kpnode.pki` and `kpnode.broker`, the way an operator would.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kpmsg.keys import SoftwareSigner
from kpnode import broker as provisioning
from kpnode.broker import ManagementApi
from kpnode.pki import CertificateAuthority, client_context, new_private_key, write_private
from kpnode.throwaway import Broker, BrokerTls, find_broker_binary
from kpnode.transports.addresses import BrokerAddress
from kpnode.transports.amqp import AmqpLink

OWN = "AE"
PARTNERS = ("BW", "EU/antwerp")
PASSPHRASE = b"correct horse"
PASSWORD = "own node on loopback"

needs_broker = pytest.mark.skipif(find_broker_binary() is None, reason="RabbitMQ is not installed")


@dataclass
class Authority:
    """AE: its CA, its running broker, and the transport keys of everybody in the cast."""

    directory: Path
    ca: CertificateAuthority
    broker: Broker

    def key(self, address: str) -> Path:
        return self.directory / f"{address.replace('/', '.')}.key"

    def certificate(self, address: str) -> bytes:
        signer = SoftwareSigner.load(self.key(address), PASSPHRASE)
        return self.ca.client_certificate(address, signer.public, datetime.now(UTC))

    def context(self, address: str, *, certificate: bytes | None = None) -> ssl.SSLContext:
        return client_context(
            trusted=self.ca.certificate,
            certificate=certificate or self.certificate(address),
            key=self.key(address),
            passphrase=PASSPHRASE,
        )

    def seen_by(self, address: str, *, certificate: bytes | None = None) -> BrokerAddress:
        """The broker's public face, as `address` connects to it."""
        return BrokerAddress(
            "localhost", self.broker.tls_port, self.context(address, certificate=certificate)
        )

    def link(self, partner: str, *, publish_seconds: float = 10, connect_seconds: float = 5) -> AmqpLink:
        """The link by which `partner` delivers to AE."""
        return AmqpLink(
            partner,
            OWN,
            self.seen_by(partner),
            publish_seconds=publish_seconds,
            connect_seconds=connect_seconds,
        )

    @property
    def loopback(self) -> BrokerAddress:
        """The same broker as AE's own node reaches it."""
        return BrokerAddress("127.0.0.1", self.broker.port, login=(OWN, PASSWORD))

    async def by_operator(self, method: str, path: str, *, vhost: str = "kp.BW", json: object = None) -> None:
        """A deed of the broker's administrator, who has to give himself rights in a partner's vhost first."""
        permissions = f"permissions/{vhost}/admin"
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        async with self.management() as management:
            await management._call("PUT", permissions, json=rights)
            await management._call(method, path.format(vhost=vhost), json=json)
            await management._call("DELETE", permissions)

    def management(self) -> ManagementApi:
        return ManagementApi(f"http://127.0.0.1:{self.broker.management_port}", "admin", PASSWORD)


def production_settings(files: BrokerTls) -> list[str]:
    """What `rabbitmq_conf` asks for, without what a throw-away broker decides itself: ports, files, definitions."""
    conf = provisioning.rabbitmq_conf(ca=files.ca, certificate=files.certificate, key=files.key, plain_port=1)
    decided = (
        *("#", "listeners.", "management.", "max_message_size", "auth_mechanisms", "ssl_cert_login_from"),
        *(
            f"ssl_options.{name}"
            for name in ("cacertfile", "certfile", "keyfile", "verify", "fail_if", "versions")
        ),
    )
    return [line for line in conf.splitlines() if not line.startswith(decided)]


@contextmanager
def authority_with_broker() -> Iterator[Authority]:
    directory = Path(tempfile.mkdtemp(prefix="kp-tls-"))
    try:
        ca = CertificateAuthority.create(OWN, datetime.now(UTC))
        files = BrokerTls(directory / "ca.pem", directory / "broker.pem", directory / "broker.key")
        key = new_private_key()
        write_private(files.key, key)
        files.ca.write_bytes(ca.certificate)
        files.certificate.write_bytes(
            ca.server_certificate(key, ["localhost", "127.0.0.1"], datetime.now(UTC))
        )
        whole = provisioning.definitions(
            OWN,
            PARTNERS,
            own_password_hash=provisioning.password_hash(PASSWORD),
            administrator=("admin", provisioning.password_hash(PASSWORD)),
        )
        (directory / "definitions.json").write_text(json.dumps(whole))
        for address in (OWN, *PARTNERS, "ZA"):
            name = address.replace("/", ".")
            SoftwareSigner.generate("ES256").save(directory / f"{name}.key", PASSPHRASE)
        with Broker(
            tls=files,
            plugins=["rabbitmq_management"],
            definitions=directory / "definitions.json",
            settings=production_settings(files),
        ) as broker:
            yield Authority(directory, ca, broker)
    finally:
        shutil.rmtree(directory)


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until `holds()`; an AssertionError after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = holds()
                if answer is True or (not isinstance(answer, bool) and await answer):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"still not so after {seconds} s") from None
