"""The throw-away servers: private, repeatable, and gone with whoever started them."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kpnode.throwaway import (
    Broker,
    BrokerTls,
    DidNotStart,
    Postgres,
    find_broker_binary,
    find_postgres_binaries,
    free_ports,
)
from kpnode.throwaway.premises import Premises

needs_rabbitmq = pytest.mark.skipif(find_broker_binary() is None, reason="RabbitMQ is not installed")
needs_postgresql = pytest.mark.skipif(find_postgres_binaries() is None, reason="PostgreSQL is not installed")


def test_free_ports_are_distinct_and_below_the_range_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32_768


def test_a_signal_in_the_midst_of_starting_a_process_leaves_nobody_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(subprocess.Popen[bytes]):
        """The moment that a test cannot hit: the process is there, and whoever started it does not know yet."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    started: list[int] = []
    premises = Premises("interrupted")
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    # Whoever runs the tests in the background of a shell has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            premises.spawn(["/bin/sleep", "600"], {})
    finally:
        signal.signal(signal.SIGINT, before)
        premises.close()
    assert started
    assert not psutil.pid_exists(started[0])
    assert not premises.directory.exists()


# A program that starts servers, says what it started, and waits to be killed.
STARTS_AND_WAITS = """
import sys, time
from kpnode.throwaway import Broker, Postgres
servers = [{"broker": Broker, "postgres": Postgres}[name]() for name in sys.argv[1:]]
for server in servers:
    server.start()
for server in servers:
    server.wait_ready()
    print(server.pid, server.directory, flush=True)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    "server", [pytest.param("broker", marks=needs_rabbitmq), pytest.param("postgres", marks=needs_postgresql)]
)
def test_nothing_is_left_when_the_process_is_killed(server: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, server], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        pid, directory = program.stdout.readline().split()
        assert program.stdout.readline() == "ready\n"
        started = psutil.Process(program.pid).children(recursive=True)
        assert int(pid) in {process.pid for process in started}
        program.kill()
    _eventually(lambda: not any(_runs(process) for process in started))
    _eventually(lambda: not Path(directory).exists())


@needs_rabbitmq
def test_a_broker_keeps_to_itself(broker: Broker) -> None:
    family = [psutil.Process(broker.pid), *psutil.Process(broker.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert broker.ctl("list_vhosts").split() == ["name", "/"]


@needs_rabbitmq
def test_a_broker_without_tls_or_management_says_so() -> None:
    broker = Broker()
    with pytest.raises(ValueError, match="no TLS"):
        _ = broker.tls_port
    with pytest.raises(ValueError, match="no management"):
        _ = broker.management_port
    with pytest.raises(ValueError, match="not running"):
        _ = broker.pid
    with pytest.raises(DidNotStart):
        broker.wait_ready()
    broker.close()
    assert not broker.directory.exists()


@needs_rabbitmq
def test_a_broker_that_cannot_start_says_why() -> None:
    with pytest.raises(DidNotStart, match="no_such_setting"), Broker(settings=["no_such_setting = 1"]):
        pass


@needs_rabbitmq
@pytest.mark.two_brokers
@pytest.mark.slow
def test_two_brokers_with_mutual_tls_through_kill_freeze_and_wipe(tmp_path: Path) -> None:
    tls = _make_tls(tmp_path)
    kept, lost = Broker(tls=tls), Broker(tls=tls)
    try:
        kept.start()
        lost.start()
        for broker in (kept, lost):
            broker.wait_ready()
        assert _tls_greeting(lost, tls) == b"\x01"  # a method frame: Connection.Start
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _tls_greeting(lost, None)

        for broker in (kept, lost):
            broker.ctl("add_vhost", "marker")
            broker.kill()
        lost.wipe()
        for broker in (kept, lost):
            broker.start()
        for broker in (kept, lost):
            broker.wait_ready()
        assert "marker" in kept.ctl("list_vhosts").split()
        assert "marker" not in lost.ctl("list_vhosts").split()

        kept.freeze()
        with socket.create_connection(("127.0.0.1", kept.port), timeout=1) as frozen:
            frozen.sendall(b"AMQP\x00\x00\x09\x01")
            with pytest.raises(TimeoutError):
                frozen.recv(1)
        kept.thaw()
        kept.wait_ready(10)
        kept.stop()
    finally:
        kept.close()
        lost.close()


@needs_postgresql
def test_postgres_keeps_what_it_committed_when_killed_and_can_be_copied() -> None:
    with Postgres() as server:
        url = server.create_database("first")
        with psycopg.connect(_plain(url), autocommit=True) as connection:
            connection.execute("CREATE TABLE carats (hundredths bigint)")
            connection.execute("INSERT INTO carats VALUES (1250)")
            server.kill()
        server.start()
        server.wait_ready()
        copy = server.create_database("copy", template="first")
        server.drop_database("first")
        with psycopg.connect(_plain(copy)) as connection:
            assert connection.execute("SELECT * FROM carats").fetchall() == [(1250,)]
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        server.stop()
        server.start()
        server.wait_ready()


@needs_postgresql
def test_every_test_has_a_database_of_its_own(postgres_url: str, postgres: Postgres) -> None:
    other = postgres.create_database("other")
    assert other != postgres_url
    with psycopg.connect(_plain(postgres_url)) as connection:
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone() == (0,)
    postgres.drop_database("other")


def _plain(url: str) -> str:
    return url.replace("+psycopg", "")


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if condition():
                return
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    pytest.fail("it did not come to pass")


def _make_tls(directory: Path) -> BrokerTls:
    """A CA and one certificate of it, good for server and client."""
    now = datetime.now(UTC)

    def certificate(
        name: str,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = BrokerTls(directory / "ca.pem", directory / "certificate.pem", directory / "key.pem")
    files.ca.write_bytes(certificate("test CA", "test CA", ca_key, ca_key, ca=True))
    files.certificate.write_bytes(certificate("localhost", "test CA", key, ca_key, ca=False))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def _tls_greeting(broker: Broker, client: BrokerTls | None) -> bytes:
    """The first byte the broker says over TLS to the AMQP header."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    with (
        socket.create_connection(("127.0.0.1", broker.tls_port), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(1)
