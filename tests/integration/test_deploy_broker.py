"""docker-compose.yml without containers: its scripts, settings and broker files, run as they are on this machine.

A stand-in for `docker compose run` gives each service's command the environment and secrets that Compose would, with paths, host
names and ports replaced by ones that exist here. So `deploy/introduce.sh`, the database's init script, rabbitmq.conf, the brokers'
environment and the image's health check are all tried as committed; images, networks and volumes are not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from kpmsg.keyrecord import open_record
from kpnode.pki import client_context
from kpnode.throwaway import Broker, Postgres, find_postgres_binaries, free_ports
from tests.compose import AUTHORITIES, ROOT, environment, instructions, mounts, secrets, services
from tests.mutual_tls import needs_broker

pytestmark = [
    needs_broker,
    pytest.mark.skipif(find_postgres_binaries() is None, reason="PostgreSQL is not installed"),
    pytest.mark.two_brokers,
    pytest.mark.slow,
]

STAND_IN = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
verbs = ["compose", "run", "--rm", "-T"]
assert sys.argv[1:5] == verbs, sys.argv
rest, program = sys.argv[5:], [sys.executable, "-m", "kpnode"]
if rest[0] == "--entrypoint":
    program, rest = [rest[1]], rest[2:]
service = json.loads(Path(os.environ["STAND_IN"]).read_text())[rest[0]]
def here(text):
    for there, replacement in service["here"]:
        text = text.replace(there, replacement)
    return text
for target, source in service["secrets"].items():
    Path(here(target)).write_text(here(Path(source).read_text()))
around = {{name: here(value) for name, value in service["environment"].items()}}
os.execvpe(program[0], [*program, *map(here, rest[1:])], {{"PATH": os.environ["PATH"], **around}})
"""


class Deployed(Broker):
    """A broker service of docker-compose.yml: its environment and its files; a throw-away one's directories and ports."""

    def __init__(self, service: str, here: list[tuple[str, str]], port: int) -> None:
        super().__init__()
        self.partners_port = port
        self._node = environment(service)["RABBITMQ_NODENAME"]
        self._environment |= environment(service)
        self._environment["RABBITMQ_CONFIG_FILES"] = str(self.directory / "conf.d")
        for target, (source, _) in mounts(service).items():
            if target.startswith("/etc/rabbitmq/"):
                for file in sorted((ROOT / source).rglob("*.*")) or [ROOT / source]:
                    inside = Path(target).relative_to("/etc/rabbitmq") / file.relative_to(ROOT / source)
                    text = file.read_text()
                    for there, replacement in here:
                        text = text.replace(there, replacement)
                    (self.directory / inside).parent.mkdir(exist_ok=True)
                    (self.directory / inside).write_text(text)

    def _answers(self) -> bool:
        # Ours, and not a stranger's who has taken the port since it was chosen.
        return self.partners_port in self.listens_beyond_loopback()

    def listens_beyond_loopback(self) -> set[int]:
        """The ports on which others than this machine could reach the broker, or a process it has started."""
        pids = [child.pid for child in self._premises._children]
        pids += [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        found = set()
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {
                    connection.laddr.port
                    for connection in psutil.Process(pid).net_connections("tcp")
                    if connection.status == psutil.CONN_LISTEN
                    and connection.laddr.ip not in {"127.0.0.1", "::1"}
                }
        return found

    def healthy(self, service: str) -> bool:
        """What the service's health check says."""
        kind, program, *arguments = services()[service]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [
            str(self._binary.with_name(program)),
            *(a.replace("5671", str(self.partners_port)) for a in arguments),
        ]
        command[1:1] = ["-n", self._node]
        return (
            subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0
        )


@dataclass
class Deployment:
    """The two authorities, introduced; `here` says for each what the names of the Compose file are on this machine."""

    directory: Path
    here: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    brokers: dict[str, Deployed] = field(default_factory=dict)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    introduced: str = ""

    @property
    def around(self) -> dict[str, str]:
        path = f"{self.directory / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "STAND_IN": str(self.directory / "services.json"), "LANG": "C.UTF-8"}

    def kpnode(self, who: str, *arguments: str) -> list[str]:
        return ["docker", "compose", "run", "--rm", "-T", f"{who}-node", *arguments]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.around,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done

    def healthy(self, who: str) -> bool:
        """What the image's HEALTHCHECK says."""
        [check] = instructions("HEALTHCHECK")
        names = {name: self.replace(who, value) for name, value in environment(f"{who}-node").items()}
        command = [sys.executable, *json.loads(check[check.index("CMD") + 3 :])[1:]]
        return subprocess.run(command, env=names, capture_output=True, check=False).returncode == 0

    def replace(self, who: str, text: str) -> str:
        for there, replacement in self.here[who]:
            text = text.replace(there, replacement)
        return text

    def home(self, who: str) -> Path:
        return Path(self.replace(who, "/var/lib/kpnode"))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("deployment")
    made = Deployment(directory)
    shutil.copytree(ROOT / "deploy", directory / "deploy", ignore=shutil.ignore_patterns("secrets"))
    (directory / "bin").mkdir()
    (directory / "bin" / "docker").write_text(STAND_IN)
    (directory / "bin" / "docker").chmod(0o755)
    with ExitStack() as stack:
        databases = {who: stack.enter_context(Postgres()) for who in AUTHORITIES}
        told = {}
        for who, database in databases.items():
            inside = directory / who
            (inside / "secrets").mkdir(parents=True)
            port, api = free_ports(2)
            made.here[who] = [
                ("/var/lib/kpnode", str(inside / "home")),
                ("/run/secrets", str(inside / "secrets")),
                (f"broker.{who}.example", "localhost"),
                (f"{who}-broker", "localhost"),
                (f"{who}-database", f"127.0.0.1:{database.port}"),
                (f"{who}-api", "127.0.0.1"),
                ("5671", str(port)),
                ("8080", str(api)),
            ]
            made.brokers[who] = Deployed(f"{who}-broker", made.here[who], port)
            stack.callback(made.brokers[who].close)
            told[f"{who}-node"] = {
                "here": made.here[who],
                "environment": environment(f"{who}-node"),
                "secrets": {t: str(directory / s) for t, s in secrets(f"{who}-node").items()},
            }
        (directory / "services.json").write_text(json.dumps(told))
        # The databases are made when they first start, which is when introduce.sh asks for them; so secrets come before.
        made.run("sh", "-c", "sed '/^# A kpnode command/,$d' deploy/introduce.sh | sh -s")
        for who, database in databases.items():
            _make_database(made, who, database)
        made.introduced = made.run("deploy/introduce.sh").stderr
        for broker in made.brokers.values():
            broker.start()
        for broker in made.brokers.values():
            broker.wait_ready()
        for who in AUTHORITIES:
            log = stack.enter_context((directory / f"{who}.log").open("wb"))
            node = subprocess.Popen(
                made.kpnode(who, "run"), cwd=directory, env=made.around, stdout=log, stderr=log
            )
            made.nodes.append(node)
            stack.callback(_end, node)
        until = time.monotonic() + 90
        while not all(made.healthy(who) for who in AUTHORITIES):
            assert time.monotonic() < until, "\n".join(
                (directory / f"{w}.log").read_text() for w in AUTHORITIES
            )
            time.sleep(0.2)
        yield made


def _make_database(made: Deployment, who: str, database: Postgres) -> None:
    """As the image does with an empty volume: the database of POSTGRES_DB, then what lies in docker-entrypoint-initdb.d."""
    name = environment(f"{who}-database")["POSTGRES_DB"]
    database.create_database(name)
    [script] = [source for target, (source, _) in mounts(f"{who}-database").items() if "initdb.d" in target]
    password = made.directory / secrets(f"{who}-database")["/run/secrets/kpnode"]
    text = (ROOT / script).read_text().replace("/run/secrets/kpnode", str(password))
    names = {"POSTGRES_USER": "kp", "POSTGRES_DB": name, "PGHOST": "127.0.0.1", "PGPORT": str(database.port)}
    subprocess.run(
        ["bash", "-c", text], env={"PATH": os.environ["PATH"], **names}, check=True, capture_output=True
    )


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    assert node.wait(20) == 0


def test_the_introduction_shows_both_fingerprints_and_leaves_the_secrets_to_one_user(
    deployment: Deployment,
) -> None:
    for who in AUTHORITIES:
        record = open_record((deployment.home(who) / "records" / "1.jws").read_bytes().strip())
        assert record.record.fingerprint in deployment.introduced
    folder = deployment.directory / "deploy" / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}
    assert len({file.read_text() for file in folder.iterdir()}) == 8


def test_a_partner_logs_in_over_mutual_tls_and_is_answered(deployment: Deployment) -> None:
    # Both directions in one: AE's signed answer comes by way of our broker.
    findings = json.loads(deployment.run(*deployment.kpnode("bw", "doctor", "--json")).stdout)
    found = {finding["name"]: finding["result"] for finding in findings}
    for step in ("AE: our broker", "AE: TLS", "AE: handing over", "AE: there and back", "API"):
        assert found[step] == "ok", findings
    assert "fail" not in found.values(), findings


def test_who_has_no_certificate_of_this_authority_is_refused(deployment: Deployment) -> None:
    port, ca = deployment.brokers["ae"].partners_port, deployment.home("ae") / "ca" / "ca.pem"

    def holding(who: str) -> ssl.SSLContext:
        """With the client certificate that an authority's CA issued to its own node."""
        home, passphrase = (
            deployment.home(who),
            deployment.directory / "deploy" / "secrets" / f"{who}-passphrase",
        )
        return client_context(
            trusted=ca.read_bytes(),
            certificate=(home / "broker" / "node.pem").read_bytes(),
            key=home / "keys" / "transport.key",
            passphrase=passphrase.read_bytes().strip(),
        )

    assert not _speaks_amqp(client_context(trusted=ca.read_bytes()), port)
    assert not _speaks_amqp(holding("bw"), port)
    assert _speaks_amqp(holding("ae"), port), "or the two above prove nothing"


def _speaks_amqp(context: ssl.SSLContext, port: int) -> bool:
    """Whether the broker answers after TLS; with TLS 1.3 it refuses a client only when the handshake looks done."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                wrapped.sendall(b"AMQP\0\0\x09\x01")
                return wrapped.recv(1) != b""
        except (ssl.SSLError, ConnectionError):
            return False


def test_the_broker_can_be_reached_at_one_port_only(deployment: Deployment) -> None:
    for broker in deployment.brokers.values():
        assert broker.listens_beyond_loopback() == {broker.partners_port}


def test_the_brokers_are_healthy_and_run_with_the_committed_settings(deployment: Deployment) -> None:
    broker = deployment.brokers["bw"]
    assert broker.healthy("bw-broker")
    users = {
        line.split()[0] for line in broker.ctl("list_users", "--silent", "--no-table-headers").splitlines()
    }
    assert users == {"BW", "AE"}
    effective = broker.ctl("environment")
    assert "{wal_max_size_bytes,67108864}" in effective
    assert "{auth_mechanisms,['EXTERNAL']}" in effective


def test_the_nodes_role_owns_its_database_and_nothing_else(deployment: Deployment) -> None:
    from sqlalchemy import create_engine, text

    url = Path(deployment.replace("bw", "/run/secrets/kpnode_database")).read_text().strip()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        ask: dict[str, Any] = dict(
            connection.execute(
                text(
                    "SELECT rolsuper, rolcreatedb, rolcreaterole, current_user FROM pg_roles WHERE rolname = current_user"
                )
            )
            .mappings()
            .one()
        )
    engine.dispose()
    assert ask == {"rolsuper": False, "rolcreatedb": False, "rolcreaterole": False, "current_user": "kpnode"}
