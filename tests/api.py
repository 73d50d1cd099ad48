"""An authority's office: its node and API in one process with a partner's, and clients with every kind of key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from kpnode.api import build_app
from kpnode.node import Node
from kpnode.store.callers import Scope, create_caller
from tests.exchange import Stage, stage, until


@dataclass
class Office:
    """Botswana's node with its API, and the stage it stands on with the United Arab Emirates."""

    play: Stage
    app: FastAPI

    @property
    def node(self) -> Node:
        return self.play.sites["BW"].running

    @property
    def partner(self) -> Node:
        return self.play.sites["AE"].running

    async def key(self, *scopes: Scope, name: str = "customs") -> str:
        """A new API key."""
        at = self.node.stamp()
        return await self.node.database.write(lambda c: create_caller(c, name, scopes, at))

    async def client(
        self, scopes: Iterable[Scope] = tuple(Scope), name: str = "customs"
    ) -> httpx.AsyncClient:
        """A client with a key of its own."""
        return self.client_with(await self.key(*scopes, name=name))

    def client_with(self, token: str | None) -> httpx.AsyncClient:
        """A client with the key that is given, or none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://node.test", headers=headers
        )


@asynccontextmanager
async def office(*addresses_and_urls: tuple[str, str], **options: Any) -> AsyncIterator[Office]:
    """Both nodes started, and done with their first questions; `options` are those of `build_app`."""
    async with stage(*addresses_and_urls) as play:
        nodes = [site.running for site in play.sites.values()]
        await until(lambda: all(peer.conversation.ready for node in nodes for peer in node.peers.values()))
        yield Office(play, build_app(play.sites["BW"].running, **options))
