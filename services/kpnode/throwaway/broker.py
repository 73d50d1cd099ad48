"""A RabbitMQ node of our own: which settings and environment keep it private, and when it is ready."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from kpnode.throwaway.premises import DidNotStart, Premises, free_ports, search_path

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest AMQP message body the throw-away broker takes: one frame of the protocol."""


@dataclass(frozen=True)
class BrokerTls:
    """Files (PEM) of a TLS listener that admits only clients with a certificate of `ca`."""

    ca: Path
    certificate: Path
    key: Path


def find_broker_binary() -> Path | None:
    """The RabbitMQ start script that runs as whoever calls it, or None if RabbitMQ or Erlang is not installed.

    Debian's /usr/sbin/rabbitmq-server is never returned: it changes to the user rabbitmq and to /var/lib/rabbitmq.
    """
    if shutil.which("erl", path=search_path()) is None or shutil.which("epmd", path=search_path()) is None:
        return None
    candidates = [Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/opt/rabbitmq/sbin/rabbitmq-server")]
    on_path = shutil.which("rabbitmq-server")
    if on_path is not None:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.exists() and candidate.resolve().name != "rabbitmq-script-wrapper":
            return candidate
    return None


class Broker:
    """One RabbitMQ node. `start()` returns at once, so that several can boot side by side (5 to 10 s); as a context
    manager it is ready on entry and gone on exit.

    `port` listens on 127.0.0.1 in plain AMQP for the broker's own node. With `tls` there is a second listener at
    `tls_port` as partners see it: a client certificate is required, and SASL EXTERNAL logs in as its common name.
    With a `definitions` file RabbitMQ makes neither the user guest nor the vhost `/`: the file brings its own.
    `settings` are further lines of rabbitmq.conf. Ports stay the same over `stop`, `kill` and `start`.
    """

    def __init__(
        self,
        *,
        tls: BrokerTls | None = None,
        plugins: Sequence[str] = (),
        definitions: Path | None = None,
        max_message_size: int = MAX_MESSAGE_BYTES,
        settings: Sequence[str] = (),
        schedulers: int = 1,
    ) -> None:
        binary = find_broker_binary()
        if binary is None:
            raise DidNotStart("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
        self._binary = binary
        self.port, self._tls_port, self._management_port, self._dist_port, self._epmd_port = free_ports(5)
        self._tls = tls
        self._plugins = tuple(plugins) + (("rabbitmq_auth_mechanism_ssl",) if tls else ())
        self._premises = Premises("broker")
        self._node = f"kp{self._dist_port}@localhost"
        self._beam: subprocess.Popen[bytes] | None = None
        directory = self.directory = self._premises.directory
        for name in ("home", "log", "schema"):
            (directory / name).mkdir()
        (directory / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        lines = [
            f"listeners.tcp.own = 127.0.0.1:{self.port}",
            f"max_message_size = {max_message_size}",
            "raft.wal_max_size_bytes = 33554432",  # the default of 512 MB is for servers, not for a laptop's /tmp
            *self._tls_settings(),
            *settings,
        ]
        if "rabbitmq_management" in self._plugins:
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self._management_port}"]
        if definitions is not None:
            lines.append(f"load_definitions = {definitions.absolute()}")
        (directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        self._environment = {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "HOME": str(directory / "home"),  # the Erlang cookie is made here
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(directory / "log" / "erl_crash.dump"),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # else /etc/rabbitmq/rabbitmq-env.conf has a say
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SCHEMA_DIR": str(directory / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "schema"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S {schedulers}:{schedulers} +sbwt none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
            # Makes the start script replace itself by the Erlang VM: the process we started is the broker, so that a
            # signal sent to `pid` freezes or kills the broker and not a shell in front of it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _tls_settings(self) -> list[str]:
        if self._tls is None:
            return []
        return [
            f"listeners.ssl.partners = 127.0.0.1:{self._tls_port}",
            f"ssl_options.cacertfile = {self._tls.ca.absolute()}",
            f"ssl_options.certfile = {self._tls.certificate.absolute()}",
            f"ssl_options.keyfile = {self._tls.key.absolute()}",
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = true",
            "ssl_options.versions.1 = tlsv1.3",
            "ssl_options.versions.2 = tlsv1.2",
            "ssl_cert_login_from = common_name",
            "auth_mechanisms.1 = EXTERNAL",
            "auth_mechanisms.2 = PLAIN",
        ]

    @property
    def tls_port(self) -> int:
        """The port partners connect to; ValueError if the broker was made without `tls`."""
        if self._tls is None:
            raise ValueError("this broker has no TLS listener")
        return self._tls_port

    @property
    def management_port(self) -> int:
        """The port of the HTTP API; ValueError if `rabbitmq_management` is not among the plugins."""
        if "rabbitmq_management" not in self._plugins:
            raise ValueError("this broker has no management plugin")
        return self._management_port

    @property
    def pid(self) -> int:
        """The process id of the Erlang VM; ValueError if the broker is not running."""
        if self._beam is None:
            raise ValueError("this broker is not running")
        return self._beam.pid

    def url(self, user: str = "guest", password: str = "guest", vhost: str = "/") -> str:  # noqa: S107 - the stock user
        """An AMQP URL of the plain listener."""
        return f"amqp://{quote(user, '')}:{quote(password, '')}@127.0.0.1:{self.port}/{quote(vhost, '')}"

    def start(self) -> None:
        """Start on whatever data the directory holds, and return without waiting; no effect if already running."""
        if self._beam is not None:
            return
        epmd = shutil.which("epmd", path=self._environment["PATH"])
        assert epmd is not None  # find_broker_binary looked for it
        # In the foreground, and first: `erl` would start one as a daemon that outlives everybody.
        port = self._epmd_port
        mapper = self._premises.spawn([epmd, "-address", "127.0.0.1", "-port", str(port)], self._environment)
        self._premises.await_ready(mapper, lambda: _listens(port), seconds=10)
        self._beam = self._premises.spawn([str(self._binary)], self._environment)

    def wait_ready(self, seconds: float = 90) -> None:
        """Return when every listener answers. DidNotStart if the broker ends first or `seconds` pass."""
        if self._beam is None:
            raise DidNotStart("the broker was not started")
        self._premises.await_ready(self._beam, self._answers, seconds)

    def _answers(self) -> bool:
        others = [self._tls_port] if self._tls else []
        if "rabbitmq_management" in self._plugins:
            others.append(self._management_port)
        # The plain port is open some time before anybody serves it; a byte in answer to the AMQP header is proof.
        return _answers_to(self.port, b"AMQP\x00\x00\x09\x01") and all(_listens(port) for port in others)

    def stop(self, seconds: float = 30) -> None:
        """Shut down in order (1 s; 6 s with management), so that `start` finds everything where it was."""
        if self._beam is None:
            return
        self.thaw()
        self._beam.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._beam.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a power cut would have it; returns when the process is gone, so that `start` may follow."""
        self._premises.kill()
        self._beam = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers any more."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Throw away all queues, users and messages of a stopped broker: the disk was lost."""
        if self._beam is not None:
            raise ValueError("stop or kill the broker before wiping it")
        shutil.rmtree(self.directory / "mnesia", ignore_errors=True)

    def ctl(self, *arguments: str, seconds: float = 60) -> str:
        """Run `rabbitmqctl` against this node (about 1.5 s) and return what it printed.

        subprocess.CalledProcessError, with `stderr`, if the command failed.
        """
        command = [str(self._binary.with_name("rabbitmqctl")), "-q", "-n", self._node, *arguments]
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self.directory,
            timeout=seconds,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def log(self) -> str:
        """Everything the broker wrote to its log; the only place where it says why TLS or a login failed."""
        logs = sorted((self.directory / "log").glob("*.log"))
        return "".join(log.read_text(errors="replace") for log in logs)

    def close(self) -> None:
        """Kill the broker and remove its directory; nothing of it is left, and it cannot be started again."""
        self.kill()
        self._premises.close()

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listens(port: int) -> bool:
    """Whether somebody accepts TCP connections there."""
    return _answers_to(port, b"")


def _answers_to(port: int, greeting: bytes) -> bool:
    """Whether the port accepts a connection and, after a greeting that is not empty, says something."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(greeting)
            return not greeting or len(connection.recv(1)) == 1
    except OSError:
        return False
