"""A PostgreSQL server of our own: who it runs as, when it is ready, and what a crash of it leaves to wait for."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from kpnode.throwaway.premises import SYSTEM_PATH, DidNotStart, Premises, free_ports


def find_postgres_binaries() -> Path | None:
    """The directory holding `initdb` and `postgres` (the newest version if there are several), or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if debian:
        return debian[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path is not None else None


class Postgres:
    """One PostgreSQL server with a superuser `kp` and no passwords, listening on 127.0.0.1 and a private socket.

    PostgreSQL refuses to run as root; root's servers run as the user postgres (or nobody). `fsync` stays on: what a
    caller was told is committed must be there after `kill`, and the bench must not flatter.
    """

    def __init__(self, *, settings: Sequence[str] = ()) -> None:
        binaries = find_postgres_binaries()
        if binaries is None:
            raise DidNotStart("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self._binaries = binaries
        self._settings = ("max_connections=100", "shared_buffers=64MB", *settings)
        self._user = _unprivileged_user()
        self._premises = Premises("postgres", owner=self._user)
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(self._premises.directory)}
        self.directory = self._premises.directory
        [self.port] = free_ports(1)

    @property
    def pid(self) -> int:
        """The process id of the postmaster; ValueError if the server is not running."""
        if self._postmaster is None:
            raise ValueError("this server is not running")
        return self._postmaster.pid

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database of this server (psycopg 3)."""
        return f"postgresql+psycopg://kp@127.0.0.1:{self.port}/{quote(database, '')}"

    def start(self) -> None:
        """Make the cluster if there is none (0.6 s), then start without waiting; no effect if already running."""
        if self._postmaster is not None:
            return
        data = self.directory / "data"
        if not (data / "PG_VERSION").exists():
            self._run(
                "initdb", "-A", "trust", "-U", "kp", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D", str(data)
            )
        options = [
            f"-c{setting}" for setting in (f"port={self.port}", "listen_addresses=127.0.0.1", *self._settings)
        ]
        command = [str(self._binaries / "postgres"), "-D", str(data), "-k", str(self.directory), *options]
        self._postmaster = self._premises.spawn(command, self._environment)

    def wait_ready(self, seconds: float = 60) -> None:
        """Return when the server takes connections. DidNotStart if it ends first or `seconds` pass."""
        if self._postmaster is None:
            raise DidNotStart("the server was not started")
        self._premises.await_ready(self._postmaster, self._takes_connections, seconds)

    def _takes_connections(self) -> bool:
        try:
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # The eighth line is where the postmaster says so (pg_ctl reads it too); the first is its pid, which tells
        # this file from the one that a killed predecessor left behind.
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, or with `template` a copy of one that nobody is connected to, and return its URL."""
        self._run("createdb", *self._connection, "-T", template, "--", name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, disconnecting whoever still uses it; no effect if there is none."""
        self._run("dropdb", *self._connection, "--if-exists", "--force", "--", name)

    def stop(self, seconds: float = 30) -> None:
        """Shut down in order, disconnecting everybody (PostgreSQL's "fast" mode)."""
        if self._postmaster is None:
            return
        self._postmaster.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._postmaster.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its processes; returns when they are gone, so that `start` may follow."""
        self._premises.kill()
        self._postmaster = None

    def log(self) -> str:
        """Everything the server wrote to its standard error."""
        return self._premises.output()

    def close(self) -> None:
        """Kill the server and remove its directory; nothing of it is left, and it cannot be started again."""
        self.kill()
        self._premises.close()

    @property
    def _connection(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "kp"]

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self.directory,
            user=self._user,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DidNotStart(f"{program} failed: {done.stderr.strip()}")

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


def _unprivileged_user() -> str | None:
    """Whom a server started by root runs as; None if we are not root and it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
