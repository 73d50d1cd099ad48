"""API keys as an operator deals with them: made, listed, revoked. Three verbs of `kpnode.operator`.

Decides what is shown of a key: its text once, when it is made, and its hash never. Who may do what with one is for `kpnode.api.door`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from kpnode.author import rfc3339
from kpnode.store.callers import Scope, callers, create_caller, revoke_caller
from kpnode.store.database import Database


class ApiKeyError(Exception):
    """There is no such key, or none can be made like that; the text says why."""


class ApiKeys:
    """The keys in one database."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def add(
        self, name: str, scopes: Sequence[str], days: int | None = None, person: str | None = None
    ) -> dict[str, Any]:
        """A new API key; its text is in the answer and nowhere else. `person`: who holds it, if not `name`."""
        now = self._clock()
        expires = None if days is None else now + timedelta(days=days)
        try:
            chosen = [Scope(scope) for scope in scopes]
            token = await self._database.write(
                lambda c: create_caller(c, name, chosen, rfc3339(now), expires=expires, person=person)
            )
        except ValueError as error:
            raise ApiKeyError(f"{error}; scopes are {', '.join(Scope)}") from None
        return {
            "name": name,
            "person": person or name,
            "scopes": list(scopes),
            "key": token,
            "expires": expires and rfc3339(expires),
        }

    async def every(self) -> list[dict[str, Any]]:
        """Every key there ever was; no secret among it."""
        return [
            {
                "id": caller.id,
                "name": caller.name,
                "person": caller.person,
                "scopes": sorted(caller.scopes),
                "created_at": caller.created_at,
                "expires": caller.usable_until and rfc3339(caller.usable_until),
                "revoked_at": caller.revoked_at,
            }
            for caller in await self._database.read(callers)
        ]

    async def revoke(self, key: str) -> dict[str, Any]:
        """Make a key worthless; `key` is its id, or the whole key."""
        key_id, at = (key.split("_")[1] if key.startswith("kp_") else key), rfc3339(self._clock())
        if not await self._database.write(lambda c: revoke_caller(c, key_id, at)):
            raise ApiKeyError(f"there is no API key {key_id}, or it has been revoked before")
        return {"id": key_id}
