"""Who may call the API: keys with scopes, of which only hashes are stored.

A key is `kp_<id>_<secret>`: 8 random bytes that name the row and 32 random bytes that prove it, both hexadecimal. A secret of
256 random bits needs no slow hash; its SHA-256 says nothing about it. Several keys may bear one name, so that a system can
change its key while it runs: what it has submitted under the name stays its own.

Behind each key is a person, or a system that counts as one: whoever holds two keys is still one person (`kpnode.release`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, insert, select, update

from kpnode.release import NODE, same_person
from kpnode.store import tables as t


class Scope(StrEnum):
    """What a key may be allowed to do. What is not named is denied."""

    WRITE_DOCUMENTS = "documents:write"
    READ_DOCUMENTS = "documents:read"
    RELEASE_DOCUMENTS = "documents:release"
    WRITE_NUMBERS = "numbers:write"
    READ_PARTNERS = "partners:read"
    OPERATE_PARTNERS = "partners:operate"
    CLOSE_INCIDENTS = "incidents:write"
    READ_METRICS = "metrics:read"

    @property
    def text(self) -> str:
        """The same for whoever gives out a key."""
        return _MEANING[self]


_MEANING: Final = {
    Scope.WRITE_DOCUMENTS: "Submit documents, which the node signs and sends, and prepare drafts.",
    Scope.READ_DOCUMENTS: "Read documents, certificates, receipts, incidents and events.",
    Scope.RELEASE_DOCUMENTS: "Release drafts that somebody else has prepared.",
    Scope.WRITE_NUMBERS: "Record which of our own certificate numbers are issued, void, lost or stolen.",
    Scope.READ_PARTNERS: "See the partners and what waits for them.",
    Scope.OPERATE_PARTNERS: "Retry, pause, resume or override the delivery to a partner.",
    Scope.CLOSE_INCIDENTS: "Close an incident, with a reason.",
    Scope.READ_METRICS: "Read metrics that name partners.",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """One key as it is stored. `usable_until` is None for a key without end; a revoked one is not usable at all."""

    id: str
    name: str
    person: str
    secret_sha256: str
    scopes: frozenset[str]
    created_at: str
    usable_until: datetime | None
    revoked_at: str | None

    def usable(self, now: datetime) -> bool:
        """Whether the key may be used at `now`."""
        return self.revoked_at is None and (self.usable_until is None or now < self.usable_until)


def create_caller(
    connection: Connection,
    name: str,
    scopes: Iterable[Scope],
    at: str,
    *,
    expires: datetime | None = None,
    person: str | None = None,
) -> str:
    """Make a key for the system `name` and return it: the one time that it is seen. ValueError for a name that cannot be.

    `person` is who holds it, if that is not already said by `name`.
    """
    for given in (name, name if person is None else person):
        if not given.strip() or len(given) > 64 or not given.isprintable() or same_person(given, NODE):
            raise ValueError(
                f"the name of a caller, or of a person, has 1 to 64 printable characters and is not {NODE!r}"
            )
    granted = sorted(Scope(scope) for scope in scopes)
    if not granted:
        raise ValueError("a key without any scope is of no use")
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    connection.execute(
        insert(t.api_key),
        {
            "id": key_id,
            "name": name,
            "person": person,
            "secret_sha256": sha256(secret.encode("ascii")).hexdigest(),
            "scopes": " ".join(granted),
            "created_at": at,
            "expires_at": expires.astimezone(UTC).isoformat() if expires else None,
        },
    )
    return f"kp_{key_id}_{secret}"


def revoke_caller(connection: Connection, key_id: str, at: str) -> bool:
    """Make a key worthless for ever; false if there is none, or it has been revoked before."""
    row = update(t.api_key).where(t.api_key.c.id == key_id, t.api_key.c.revoked_at.is_(None))
    return bool(connection.execute(row.values(revoked_at=at)).rowcount)


def callers(connection: Connection) -> list[Caller]:
    """Every key there ever was, oldest first."""
    return [
        Caller(
            row.id,
            row.name,
            row.person or row.name,
            row.secret_sha256,
            frozenset(row.scopes.split()),
            row.created_at,
            datetime.fromisoformat(row.expires_at) if row.expires_at else None,
            row.revoked_at,
        )
        for row in connection.execute(select(t.api_key).order_by(t.api_key.c.created_at, t.api_key.c.id))
    ]
