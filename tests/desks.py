"""Desks: people of two authorities with the command line of `kpmsg`, each at a node of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from typer.testing import CliRunner

from kpmsg.cli import app
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

    async def run(self, *arguments: str, status: int = 0) -> str:
        """What `kpmsg` prints on both streams; the test fails if it ends with another status."""
        ended, out, err = await self.call(*arguments)
        assert ended == status, f"{ended}: {out}{err}"
        return out + err

    async def json(self, *arguments: str, status: int = 0) -> Any:
        """The same with --json: what is printed on standard output."""
        ended, out, err = await self.call(*arguments, "--json")
        assert (ended, err) == (status, ""), f"{ended}: {out}{err}"
        return json.loads(out)

    async def call(self, *arguments: str) -> tuple[int, str, str]:
        """Run `kpmsg` as cron does, with 80 columns; its status and both streams. In this process: there are many calls."""
        environment = {
            "KPMSG_URL": self.url,
            "KPMSG_KEY": self.key,
            "KPMSG_OFFICER": self.person,
            "COLUMNS": "80",
        }
        runner = CliRunner(env=environment)
        done = await asyncio.to_thread(runner.invoke, app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr


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
            config = uvicorn.Config(
                build_app(site.running),
                host="127.0.0.1",
                port=port,
                log_config=None,
                lifespan="off",
                ws="none",
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
