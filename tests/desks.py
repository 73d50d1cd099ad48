"""Desks: people of two authorities with the command line of `kpmsg`, each at a node of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from kpnode.api import build_app
from kpnode.release import FourEyes
from kpnode.store.callers import Scope, create_caller
from kpnode.throwaway import free_ports
from tests.exchange import Site, stage, until

CLERK = (Scope.WRITE_DOCUMENTS, Scope.READ_DOCUMENTS)
OFFICER = (*CLERK, Scope.RELEASE_DOCUMENTS)


@dataclass
class Desk:
    """One person's desk: where the node answers, and the key of that person."""

    site: Site
    url: str
    person: str
    key: str
    environment: dict[str, str] = field(default_factory=dict)

    async def run(self, *arguments: str, status: int = 0, stdin: bytes = b"") -> str:
        """What `kpmsg` prints on both streams; the test fails if it ends with another status, or with a traceback."""
        ended, out, err = await self.call(*arguments, stdin=stdin)
        assert ended == status, f"{ended}: {out}{err}"
        assert "Traceback" not in err
        return out + err

    async def json(self, *arguments: str, status: int = 0) -> Any:
        """The same with --json: what is printed on standard output."""
        ended, out, err = await self.call(*arguments, "--json")
        assert (ended, err) == (status, ""), f"{ended}: {out}{err}"
        return json.loads(out)

    async def call(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run `kpmsg` as somebody at a terminal of 80 columns does; its status and both streams."""
        environment = {
            "KPMSG_URL": self.url,
            "KPMSG_KEY": self.key,
            "KPMSG_OFFICER": self.person,
            "PATH": "",
            "COLUMNS": "80",
            "PYTHONUTF8": "1",
            **self.environment,
        }
        code = "from kpmsg.cli import app; app()"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *arguments, env=environment, stdin=-1, stdout=-1, stderr=-1
        )
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


class Office:
    """The node of one authority, its API, and the people who work with it."""

    def __init__(self, site: Site, url: str) -> None:
        self.site = site
        self.url = url

    async def desk(self, person: str, scopes: tuple[Scope, ...] = CLERK) -> Desk:
        """A desk for somebody, with a key of their own."""
        assert self.site.database is not None
        at = self.site.running.stamp()
        key = await self.site.database.write(
            lambda c: create_caller(c, f"desk of {person}", scopes, at, person=person)
        )
        return Desk(self.site, self.url, person, key)


@asynccontextmanager
async def offices(
    folder: Path, policies: Mapping[str, dict[str, Any]] | None = None, **four_eyes: FourEyes
) -> AsyncIterator[tuple[Office, Office]]:
    """Botswana and the Emirates. `four_eyes`: what a second person must release, by address."""
    databases = [(address, f"sqlite:///{folder / address}.db") for address in ("BW", "AE")]
    async with stage(*databases, policies=policies) as play:
        found, servers = [], []
        for address, site in play.sites.items():
            if address in four_eyes:
                site.running.policy = four_eyes[address]
            [port] = free_ports(1)
            app = build_app(site.running)
            config = uvicorn.Config(
                app, host="127.0.0.1", port=port, log_config=None, lifespan="off", ws="none"
            )
            server = uvicorn.Server(config)
            servers.append((server, asyncio.create_task(server._serve())))
            found.append(Office(site, f"http://127.0.0.1:{port}"))
        try:
            await until(lambda: all(server.started for server, _ in servers))
            yield found[0], found[1]
        finally:
            for server, task in servers:
                server.should_exit = True
                await task
