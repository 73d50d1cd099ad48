"""What a partner with a valid certificate can do on our broker besides delivering: nothing. (Catalogue part F.)"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aio_pika
import httpx
import psutil
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelPreconditionFailed
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kpnode.broker import (
    ManagementApi,
    ManagementError,
    definitions,
    enabled_plugins,
    partner_definitions,
    rabbitmq_conf,
    vhost_of,
)
from kpnode.transports import Outcome
from tests.mutual_tls import OWN, PARTNERS, Authority, authority_with_broker, needs_broker, until


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with authority_with_broker() as running:
        yield running


async def connect(authority: Authority, address: str, vhost: str, query: str = "") -> AbstractConnection:
    return await aio_pika.connect(
        f"amqps://localhost:{authority.broker.tls_port}/{vhost}?auth=external&heartbeat=5{query}",
        ssl_context=authority.context(address),
        timeout=5,
    )


@pytest.fixture
async def channel(authority: Authority) -> AsyncIterator[AbstractChannel]:
    """A channel of BW in its own virtual host."""
    async with await connect(authority, "BW", "kp.BW") as connection:
        yield await connection.channel(on_return_raises=True)


# --- a partner with a valid certificate ----------------------------------------------------------------------------


async def consume(channel: AbstractChannel) -> None:
    async def keep(_message: AbstractIncomingMessage) -> None:
        raise AssertionError("was delivered")

    await (await channel.get_queue("kp.in", ensure=False)).consume(keep)


async def get(channel: AbstractChannel) -> None:
    await (await channel.get_queue("kp.in", ensure=False)).get(fail=False)


async def get_dead_letters(channel: AbstractChannel) -> None:
    await (await channel.get_queue("kp.dead", ensure=False)).get(fail=False)


async def purge(channel: AbstractChannel) -> None:
    await (await channel.get_queue("kp.in", ensure=False)).purge()


async def delete_queue(channel: AbstractChannel) -> None:
    await channel.queue_delete("kp.in")


async def delete_exchange(channel: AbstractChannel) -> None:
    await channel.exchange_delete("kp.in")


async def declare_queue(channel: AbstractChannel) -> None:
    await channel.declare_queue("mine", durable=True)


async def declare_exchange(channel: AbstractChannel) -> None:
    await channel.declare_exchange("mine", durable=True)


async def bind(channel: AbstractChannel) -> None:
    await (await channel.get_queue("kp.in", ensure=False)).bind("kp.dead")


async def unbind(channel: AbstractChannel) -> None:
    await (await channel.get_queue("kp.in", ensure=False)).unbind("kp.in", "")


async def publish_to_the_default_exchange(channel: AbstractChannel) -> None:
    await channel.default_exchange.publish(aio_pika.Message(b"frame"), "kp.in")


async def publish_a_dead_letter(channel: AbstractChannel) -> None:
    exchange = await channel.get_exchange("kp.dead", ensure=False)
    await exchange.publish(aio_pika.Message(b"frame"), "")


@needs_broker
@pytest.mark.parametrize(
    "deed",
    [
        consume,
        get,
        get_dead_letters,
        purge,
        delete_queue,
        delete_exchange,
        declare_queue,
        declare_exchange,
        bind,
        unbind,
        publish_to_the_default_exchange,
        publish_a_dead_letter,
    ],
)
async def test_S87_everything_but_publishing_to_kp_in_is_refused(
    channel: AbstractChannel, deed: Callable[[AbstractChannel], Awaitable[None]]
) -> None:
    with pytest.raises(ChannelAccessRefused, match="ACCESS_REFUSED"):
        await deed(channel)


@needs_broker
@pytest.mark.parametrize("vhost", ["kp.EU.antwerp", "%2F", "kp.AE"])
async def test_S87_another_virtual_host_cannot_be_opened(authority: Authority, vhost: str) -> None:
    with pytest.raises(AMQPError):
        await connect(authority, "BW", vhost)


@needs_broker
async def test_S88_another_partners_queue_cannot_even_be_looked_at(
    authority: Authority, channel: AbstractChannel
) -> None:
    link = authority.link("EU/antwerp")
    assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
    await link.close()
    # RabbitMQ lets anybody declare passively. In one's own virtual host that shows one's own frames and no more.
    seen = await channel.declare_queue("kp.in", passive=True)
    assert seen.declaration_result.message_count == 0


@needs_broker
async def test_S89_a_message_cannot_claim_to_be_from_another_user(channel: AbstractChannel) -> None:
    exchange = await channel.get_exchange("kp.in", ensure=False)
    with pytest.raises(ChannelPreconditionFailed):
        await exchange.publish(aio_pika.Message(b"frame", user_id="EU/antwerp"), "kp.in")


@needs_broker
async def test_S11_a_message_over_the_greatest_frame_is_refused_by_the_broker_too(
    channel: AbstractChannel,
) -> None:
    exchange = await channel.get_exchange("kp.in", ensure=False)
    with pytest.raises(ChannelPreconditionFailed, match="larger than"):
        await exchange.publish(aio_pika.Message(b"x" * (4 * 1024 * 1024 + 1)), "kp.in")


@needs_broker
async def test_S93_channels_and_connections_are_limited_per_user(authority: Authority) -> None:
    channels = 0

    async def open_channels(connection: AbstractConnection) -> None:
        nonlocal channels
        async with asyncio.timeout(20):
            for _ in range(2000):
                await connection.channel()
                channels += 1

    async with await connect(authority, "BW", "kp.BW") as connection:
        with pytest.raises((AMQPError, TimeoutError, asyncio.CancelledError)):
            await open_channels(connection)
        assert channels == 8
        link = authority.link("EU/antwerp")
        assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
        await link.close()


@needs_broker
async def test_S93_connecting_over_and_over_does_not_hinder_others(authority: Authority) -> None:
    done = asyncio.Event()

    async def hammer() -> None:
        while (
            not done.is_set()
        ):  # a cancellation alone may be swallowed on its way through a connection that is being made
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await (await connect(authority, "BW", "kp.BW")).close()

    hammers = [asyncio.create_task(hammer()) for _ in range(8)]
    try:
        link = authority.link("EU/antwerp")
        for _ in range(20):
            assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
        await link.close()
    finally:
        done.set()
        for task in hammers:
            task.cancel()
        await asyncio.gather(*hammers, return_exceptions=True)


@needs_broker
async def test_a_partner_has_no_password_at_all(authority: Authority) -> None:
    for password in ("", "guest", "BW"):
        with pytest.raises(AMQPError):
            await aio_pika.connect(
                host="127.0.0.1",
                port=authority.broker.port,
                login="BW",
                password=password,
                virtualhost="kp.BW",
            )


# --- without a valid certificate -----------------------------------------------------------------------------------


def tls(authority: Authority, context: ssl.SSLContext) -> str:
    """The TLS version in which RabbitMQ greets us; OSError when it does not."""
    address = ("127.0.0.1", authority.broker.tls_port)
    with (
        socket.create_connection(address, timeout=5) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"AMQP\x00\x00\x09\x01")
        if not secure.recv(1):
            raise ConnectionResetError
        return secure.version() or ""


@needs_broker
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_S97_both_current_versions_are_spoken(authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.context("BW")
    context.minimum_version = context.maximum_version = version
    assert tls(authority, context) == version.name.replace("_", ".")


@needs_broker
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_S97_tls_1_1_is_refused(authority: Authority) -> None:
    context = authority.context("BW")
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        tls(authority, context)


@needs_broker
def test_S97_a_weak_certificate_of_ones_own_making_is_refused(authority: Authority, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "BW")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.load_pem_x509_certificate(authority.ca.certificate).subject)
        .public_key(key.public_key())
        # The shape of CVE-2026-67231: issuer and serial number of a certificate that the broker does accept.
        .serial_number(x509.load_pem_x509_certificate(authority.certificate("BW")).serial_number)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "weak.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.ca.certificate.decode())
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.load_cert_chain(file)
    with pytest.raises(OSError):
        tls(authority, context)


@needs_broker
def test_S96_an_expired_certificate_of_our_own_ca_is_refused(authority: Authority) -> None:
    from kpmsg.keys import SoftwareSigner

    signer = SoftwareSigner.load(authority.key("BW"), b"correct horse")
    old = authority.ca.client_certificate("BW", signer.public, datetime.now(UTC) - timedelta(days=800))
    with pytest.raises(OSError):
        tls(authority, authority.context("BW", certificate=old))


@needs_broker
async def test_S101_16_mib_of_garbage_before_any_login_closes_the_connection(authority: Authority) -> None:
    before = psutil.Process(authority.broker.pid).memory_info().rss

    def pour(port: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
            contextlib.suppress(OSError),
        ):
            for _ in range(16):
                connection.sendall(b"\xff" * 1024 * 1024)
            connection.settimeout(10)
            while connection.recv(4096):
                pass

    for port in (authority.broker.port, authority.broker.tls_port):
        await asyncio.to_thread(pour, port)
    link = authority.link("BW")
    assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
    await link.close()
    assert psutil.Process(authority.broker.pid).memory_info().rss < before + 64 * 1024 * 1024


@needs_broker
async def test_S94_a_client_that_says_nothing_is_shown_the_door(authority: Authority) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", authority.broker.tls_port)
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


# --- provisioning --------------------------------------------------------------------------------------------------


@needs_broker
async def test_what_the_definitions_file_made_is_what_the_management_api_would_make(
    authority: Authority,
) -> None:
    async with authority.management() as management:
        for partner in PARTNERS:
            assert await management.faults(OWN, partner) == []
            await management.apply(OWN, partner)
            assert await management.faults(OWN, partner) == []
        assert await management.version()


@needs_broker
async def test_each_deviation_is_named(authority: Authority) -> None:
    async with authority.management() as management:
        await management.apply(OWN, "ZA")
        more = {"configure": ".*", "write": ".*", "read": ".*"}
        await management._call("PUT", "permissions/kp.ZA/ZA", json=more)
        await management._call("PUT", "permissions/kp.BW/ZA", json=more)
        await management._call("PUT", "users/ZA", json={"password": "secret", "tags": "administrator"})
        await management._call("DELETE", "user-limits/ZA/max-connections")
        await authority.by_operator("DELETE", "queues/{vhost}/kp.dead", vhost="kp.ZA")
        found = " ".join(await management.faults(OWN, "ZA"))
        for words in (
            "password",
            "tags",
            "limits",
            "also has rights in the virtual host kp.BW",
            "configure",
            "kp.dead",
        ):
            assert words in found
        await management._call("DELETE", "permissions/kp.BW/ZA")
        await management.apply(OWN, "ZA")
        assert await management.faults(OWN, "ZA") == []
        await management.remove("ZA")


@needs_broker
async def test_the_wrong_administrator_is_told_so(authority: Authority, free_port: int) -> None:
    async with ManagementApi(
        f"http://127.0.0.1:{authority.broker.management_port}", "admin", "wrong"
    ) as management:
        with pytest.raises(ManagementError, match="does not accept"):
            await management.apply(OWN, "ZA")
    async with ManagementApi(f"http://127.0.0.1:{free_port}", "admin", "wrong") as management:
        with pytest.raises(ManagementError, match="cannot be reached"):
            await management.version()


async def test_an_answer_that_is_an_error_is_an_error() -> None:
    broken = httpx.MockTransport(lambda _request: httpx.Response(500, text="oops"))
    async with ManagementApi("http://127.0.0.1", "admin", "x", transport=broken) as management:
        with pytest.raises(ManagementError, match="500"):
            await management.remove("BW")


def test_virtual_hosts_are_named_after_addresses_and_nothing_else() -> None:
    assert vhost_of("BW") == "kp.BW"
    assert vhost_of("EU/antwerp") == "kp.EU.antwerp"
    for address in ("", "bw", "BW\n", "EU/", "EU/antwerp/x", "..", "EU.antwerp"):
        with pytest.raises(ValueError):
            vhost_of(address)


def test_an_authority_is_not_its_own_partner() -> None:
    with pytest.raises(ValueError, match="own partner"):
        partner_definitions("AE", "AE")


def test_definitions_are_json_with_the_least_rights_and_no_secret() -> None:
    whole = json.loads(json.dumps(definitions("AE", ["BW", "EU/antwerp", "BW"])))
    assert [user["name"] for user in whole["users"]] == ["AE", "BW", "EU/antwerp"]
    assert all(user["password_hash"] == "" and user["tags"] == [] for user in whole["users"])
    partner_rights = [right for right in whole["permissions"] if right["user"] != "AE"]
    assert {(right["configure"], right["write"], right["read"]) for right in partner_rights} == {
        ("^$", r"^kp\.in$", "^$")
    }
    assert len(whole["permissions"]) == 4
    inbox = next(queue for queue in whole["queues"] if queue["name"] == "kp.in")
    assert inbox["arguments"]["x-delivery-limit"] == 20
    assert inbox["arguments"]["x-overflow"] == "reject-publish"


def test_S100_the_configuration_opens_one_port_to_the_network() -> None:
    conf = rabbitmq_conf(ca=Path("/ca.pem"), certificate=Path("/c.pem"), key=Path("/k.pem")).splitlines()
    assert "listeners.tcp = none" in conf
    listening = [line for line in conf if line.startswith(("listeners.", "management.tcp.ip"))]
    assert listening == [
        "listeners.tcp = none",
        "listeners.ssl.1 = 0.0.0.0:5671",
        "management.tcp.ip = 127.0.0.1",
    ]
    assert enabled_plugins() == "[rabbitmq_auth_mechanism_ssl,rabbitmq_management].\n"
    assert "ssl_options.fail_if_no_peer_cert = true" in conf
    assert "ssl_options.verify = verify_peer" in conf


@needs_broker
async def test_S100_management_is_on_loopback_only(authority: Authority) -> None:
    listening = {
        connection.laddr.ip
        for connection in psutil.Process(authority.broker.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@needs_broker
async def test_S92_only_the_flooded_partner_waits(authority: Authority) -> None:
    policy = {"pattern": r"^kp\.in$", "definition": {"max-length": 1}, "apply-to": "queues"}
    async with authority.management() as management:
        await management._call("PUT", "policies/kp.BW/small", json=policy)
        flooding, other = authority.link("BW"), authority.link("EU/antwerp")
        try:

            async def is_full() -> bool:
                return (await flooding.send(b"frame")).outcome is Outcome.FULL

            await until(is_full)
            assert (await other.send(b"frame")).outcome is Outcome.ACCEPTED
        finally:
            await management._call("DELETE", "policies/kp.BW/small")
            await flooding.close()
            await other.close()
            await authority.by_operator("DELETE", "queues/{vhost}/kp.in/contents")
