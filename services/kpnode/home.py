"""The node's home: which files there are and what they are called.

    home/                     mode 0700: for the node's user alone
      keys/                   identity, document, node, transport: PKCS#8, encrypted with the passphrase
      ca/                     our private certificate authority, for TLS between brokers and nodes only
      broker/                 what our RabbitMQ needs: its certificate, rabbitmq.conf, definitions.json
      records/1.jws, 2.jws    our key record, every version that we have ever published
      grants/                 the last grant made for each partner
      kpnode.db               the database, unless it is PostgreSQL
      kpnode.lock             locked by the one process that has that database open
      kpnode.mark             how far that database had come; no part of any backup (`kpnode.store.mark`)
      control.sock            while the node runs: where the command line talks to it

What is in them is for `kpnode.setup`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kpmsg.keyrecord import Use
from kpnode import pki


@dataclass(frozen=True, slots=True)
class Home:
    """Names of the files, and nothing about their content."""

    path: Path

    def key(self, name: Use | Literal["identity"]) -> Path:
        return self.path / "keys" / f"{name}.key"

    @property
    def ca_certificate(self) -> Path:
        return self.path / "ca" / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.path / "ca" / "ca.key"

    def broker(self, name: str) -> Path:
        return self.path / "broker" / name

    def record(self, version: int) -> Path:
        return self.path / "records" / f"{version}.jws"

    def grant(self, address: str) -> Path:
        return self.path / "grants" / f"{address.replace('/', '.')}.grant.json"

    @property
    def mark(self) -> Path:
        """How far the database had come when the node wrote to it last."""
        return self.path / "kpnode.mark"

    @property
    def control(self) -> Path:
        """The socket by which the command line talks to the running node."""
        return self.path / "control.sock"


def replace_file(path: Path, data: bytes) -> None:
    """Whole or not at all, mode 0600 from its first moment on."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    pki.write_private(new, data)
    new.replace(path)
