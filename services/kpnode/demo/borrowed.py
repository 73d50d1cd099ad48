"""A RabbitMQ that is there already, named by URL: what the demonstration may do on it, and how it leaves it as it was.

Both authorities then share one broker, each reading its partner's virtual host there. It is somebody's, so only virtual hosts
that do not exist yet are made, they are removed at the end, and nobody kills it. Loopback only, since it is spoken to without TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from kpnode.broker import ManagementApi, ManagementError, vhost_of
from kpnode.transports.loopback import is_loopback

URL: Final = "KPNODE_DEMO_AMQP_URL"
MANAGEMENT_URL: Final = "KPNODE_DEMO_MANAGEMENT_URL"


class UnusableError(Exception):
    """This broker is not for us; the text says why."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Where the broker is, and whom to log in as: an administrator, for virtual hosts are made."""

    host: str
    port: int
    user: str
    password: str
    management: str

    @classmethod
    def named(cls, url: str, management: str | None) -> Self:
        """Read the two URLs. Raises UnusableError."""
        parts = urlsplit(url)
        if parts.scheme != "amqp" or parts.hostname is None or not is_loopback(parts.hostname):
            raise UnusableError(
                f"{URL} is written like amqp://user:password@127.0.0.1:5672, and is on this machine"
            )
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        api = management or f"http://{parts.hostname}:15672"
        return cls(parts.hostname, parts.port or 5672, user, password, api)

    def settings(self) -> dict[str, Any]:
        """The settings `broker` of a node that uses it."""
        login = {"user": self.user, "password": self.password}
        management = {"url": self.management, **login}
        place = {"host": self.host, "port": self.port, "plaintext_on_loopback_only": True}
        return {**place, **login, "management": management}

    def take(self, addresses: Sequence[str]) -> None:
        """Make sure that what we shall make is not there yet. Raises UnusableError."""

        async def look() -> None:
            async with self._api() as api:
                for partner in addresses:
                    found = await api.faults("-", partner)
                    if found != [f"The virtual host {vhost_of(partner)} does not exist."]:
                        raise UnusableError(
                            f"the broker has a virtual host {vhost_of(partner)}; it is left alone"
                        )

        try:
            asyncio.run(look())
        except ManagementError as error:
            raise UnusableError(f"{error} ({self.management}, see {MANAGEMENT_URL})") from None

    def give_back(self, addresses: Sequence[str]) -> None:
        """Remove what was made."""

        async def remove() -> None:
            async with self._api() as api:
                for partner in addresses:
                    await api.remove(partner)

        asyncio.run(remove())

    def _api(self) -> ManagementApi:
        return ManagementApi(self.management, self.user, self.password)
