"""Whole nodes as an operator meets them: a settings file, the command line, and processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from kpnode.settings import Settings, load
from kpnode.throwaway import Broker, BrokerTls, free_ports

NAMES = {
    "BW": ("Botswana", "export"),
    "AE": ("United Arab Emirates", "import"),
    "ZA": ("South Africa", "export"),
}
PASSPHRASE = "correct horse"
PASSWORD = "management on loopback"


@dataclass
class Site:
    """One authority: its settings file, its running process if there is one, and its API."""

    address: str
    file: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    key: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def lay_out(cls, directory: Path, address: str, extra: str = "", **top: object) -> Site:
        """Write a settings file; `extra` are further TOML tables, `top` values before them."""
        [port] = free_ports(1)
        name, role = NAMES[address]
        values: dict[str, object] = {
            "address": address,
            "name": name,
            "roles": [role],
            "passphrase": PASSPHRASE,
        }
        values |= {"home": str(directory / address), **top}
        file = directory / f"{address}.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        file.write_text("\n".join(lines) + f"\n[api]\nport = {port}\n{extra.format(port=port)}")
        return cls(address, file, port)

    @property
    def settings(self) -> Settings:
        return load(self.file, {})

    @property
    def home(self) -> Path:
        return self.settings.home

    def cli(self, *arguments: str, status: int = 0) -> str:
        """Run a command in this process; its standard output. Fails the test if it ends otherwise than with `status`."""
        from kpnode.cli import app

        mask = os.umask(0o077)
        try:
            done = CliRunner(env={"KPNODE_CONFIG": None}).invoke(
                app, ["--config", str(self.file), *arguments]
            )
        finally:
            os.umask(mask)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.output

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.cli(*arguments, "--json", status=status))

    def start(self) -> None:
        """Run the node, and return when it answers."""
        command = [sys.executable, "-m", "kpnode", "--config", str(self.file), "run"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **self.environment}
            )
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=1)
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < until, self.log.read_text()
                time.sleep(0.1)

    def stop(self) -> int | None:
        """SIGTERM; the exit status."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    @property
    def log(self) -> Path:
        return self.file.with_suffix(".log")

    def submit(self, draft: Mapping[str, Any], key: str = "k") -> dict[str, Any]:
        """Submit over the API and wait for the partner's receipt."""
        if not self.key:
            scopes = ("documents:write", "documents:read", "partners:read")
            self.key = self.cli("apikey", "add", "test", *(f"--scope={scope}" for scope in scopes)).strip()
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key, "Prefer": "wait=20"}
        url = f"http://127.0.0.1:{self.port}/v1/documents"
        answer = httpx.post(url, json=dict(draft), headers=headers, timeout=30)
        assert answer.status_code in (200, 201), answer.text
        body = answer.json()
        assert isinstance(body, dict)
        return body


def acquaint(one: Site, other: Site) -> None:
    """Everything that two operators type until their nodes are partners."""
    directory = one.file.parent
    for site in (one, other):
        site.cli("init")
        site.cli("record", "--out", str(directory / f"{site.address}.jws"))
    for site, partner in ((one, other), (other, one)):
        told = partner.json("init")["fingerprint"].upper().replace("-", " ")
        grant = directory / f"{site.address}-to-{partner.address}.json"
        record = str(directory / f"{partner.address}.jws")
        site.cli("partner", "add", record, "--fingerprint", told, "--out", str(grant))
    for site, partner in ((one, other), (other, one)):
        site.cli("partner", "accept", str(directory / f"{partner.address}-to-{site.address}.json"))


def over_https(directory: Path) -> tuple[Site, Site]:
    """BW and AE with direct exchange over HTTP on loopback."""
    public = '[public]\nhttps = "http://127.0.0.1:{port}"\n'
    one, other = (Site.lay_out(directory, address, public, exchange_https=True) for address in ("BW", "AE"))
    return one, other


def on_one_broker(directory: Path, broker: Broker) -> tuple[Site, Site]:
    """BW and AE on one throw-away broker without TLS."""
    tables = (
        f'[public]\namqps = "127.0.0.1:{broker.port}"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\nplaintext_on_loopback_only = true\n'
        'user = "guest"\npassword = "guest"\n'
        f'[broker.management]\nurl = "http://127.0.0.1:{broker.management_port}"\nuser = "guest"\npassword = "guest"\n'
    )
    one, other = (Site.lay_out(directory, address, tables) for address in ("BW", "AE"))
    return one, other


def with_own_broker(directory: Path, address: str) -> tuple[Site, Broker]:
    """One authority with a broker of its own and mutual TLS; the broker is not started, for `init` makes its files."""
    files = directory / address / "broker"
    broker = Broker(
        tls=BrokerTls(files / "ca.pem", files / "server.pem", files / "server.key"),
        plugins=["rabbitmq_management"],
        definitions=files / "definitions.json",
    )
    tables = (
        f'[public]\namqps = "localhost:{broker.tls_port}"\n'
        f'[broker]\nhost = "localhost"\nport = {broker.tls_port}\n'
        f'[broker.management]\nurl = "http://127.0.0.1:{broker.management_port}"\nuser = "admin"\npassword = "{PASSWORD}"\n'
    )
    return Site.lay_out(directory, address, tables), broker
