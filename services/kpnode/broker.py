"""What a partner gets on our RabbitMQ, and not a right more (T4 and T6 of protocol/transport.md).

Per partner one virtual host, one user that can log in with a client certificate only, one exchange it may write to and
a queue it may not even see. This module decides names, rights and limits, renders them as an importable definitions
file, and puts them into a running broker (or takes them out) through the management API. It refuses to know frames,
certificates and when a partner is to be added: `kpnode.pki` makes the certificate whose CN is the user name here.

Nothing depends on what a broker holds. A virtual host may be wiped at any time and provisioned again.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from kpmsg.frames import MAX_FRAME_BYTES

INBOX: Final = "kp.in"
DEAD: Final = "kp.dead"
DELIVERY_LIMIT: Final = 20
INBOX_BYTES: Final = 256 * 1024 * 1024
DEAD_BYTES: Final = 64 * 1024 * 1024
MAX_CONNECTIONS: Final = 4
MAX_CHANNELS: Final = 8
NO_PASSWORD: Final = ""  # RabbitMQ refuses PLAIN for a user with an empty hash, even with an empty password

_ADDRESS = re.compile(r"\A[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?\Z")
_NOTHING: Final = "^$"


def vhost_of(address: str) -> str:
    """The virtual host that belongs to the authority at `address`: `kp.BW`, `kp.EU.antwerp`.

    A dot stands for the slash of the address. Addresses have no dots, so no two share a virtual host, and the name
    needs no escaping in a URL. Raises ValueError for anything that is not an address.
    """
    if not _ADDRESS.match(address):
        raise ValueError(f"not an authority's address: {address!r}")
    return "kp." + address.replace("/", ".")


def password_hash(password: str) -> str:
    """`password` as RabbitMQ stores it: base64(salt || SHA-256(salt || password)), four bytes of salt."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(
    name: str, hashed: str, tags: Sequence[str] = (), limits: Mapping[str, int] | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": hashed,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": list(tags),
        "limits": dict(limits or {}),
    }


def partner_definitions(own: str, partner: str) -> dict[str, list[dict[str, Any]]]:
    """Everything one partner needs, and our own node's right to read it; without our own node's user."""
    if partner == own:
        raise ValueError("an authority is not its own partner: its name would be our own node's user")
    vhost = vhost_of(partner)
    in_it = {"vhost": vhost}
    kept = {"durable": True, "auto_delete": False}
    return {
        "users": [
            _user(
                partner,
                NO_PASSWORD,
                limits={"max-connections": MAX_CONNECTIONS, "max-channels": MAX_CHANNELS},
            )
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [
            {"user": partner, **in_it, "configure": _NOTHING, "write": r"^kp\.in$", "read": _NOTHING},
            {"user": own, **in_it, "configure": _NOTHING, "write": _NOTHING, "read": r"^kp\.(in|dead)$"},
        ],
        "exchanges": [
            {"name": name, **in_it, "type": "fanout", **kept, "internal": name == DEAD, "arguments": {}}
            for name in (INBOX, DEAD)
        ],
        # Only arguments that 3.10 and 4.x both know. Quorum: durable log, delivery limit, also on a single node.
        "queues": [
            {
                "name": INBOX,
                **in_it,
                **kept,
                "arguments": {
                    "x-queue-type": "quorum",
                    "x-delivery-limit": DELIVERY_LIMIT,
                    "x-dead-letter-exchange": DEAD,
                    "x-overflow": "reject-publish",
                    "x-max-length-bytes": INBOX_BYTES,
                },
            },
            {
                "name": DEAD,
                **in_it,
                **kept,
                "arguments": {"x-queue-type": "quorum", "x-max-length-bytes": DEAD_BYTES},
            },
        ],
        "bindings": [
            {
                "source": name,
                **in_it,
                "destination": name,
                "destination_type": "queue",
                "routing_key": "",
                "arguments": {},
            }
            for name in (INBOX, DEAD)
        ],
    }


def definitions(
    own: str,
    partners: Iterable[str],
    *,
    own_password_hash: str = NO_PASSWORD,
    administrator: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """A whole definitions file for `load_definitions`, or for `rabbitmqctl import_definitions`.

    Our own node's user is named like our address and, unless `own_password_hash` is given, logs in by certificate.
    `administrator`: (name, password hash) for the management API; without it the broker has none.
    """
    whole: dict[str, Any] = {
        "users": [_user(own, own_password_hash)],
        "vhosts": [],
        "permissions": [],
        "topic_permissions": [],
        "parameters": [],
        "global_parameters": [],
        "policies": [],
        "exchanges": [],
        "queues": [],
        "bindings": [],
    }
    if administrator is not None:
        whole["users"].append(_user(*administrator, tags=["administrator"]))
    for partner in sorted(set(partners)):
        for kind, items in partner_definitions(own, partner).items():
            whole[kind].extend(items)
    return whole


def rabbitmq_conf(
    *,
    ca: Path,
    certificate: Path,
    key: Path,
    definitions: Path | None = None,
    port: int = 5671,
    bind: str = "0.0.0.0",  # noqa: S104 - partners come from outside; a client certificate is required
    plain_port: int | None = None,
    management_port: int | None = 15672,
) -> str:
    """rabbitmq.conf for production: mutual TLS with our own authority's CA alone, nothing else open to the network.

    `bind`: the address of the TLS listener. `plain_port`: a loopback listener without TLS, for a node on the same host;
    None for none. `management_port`: loopback too, None for none. Needs the plugins `enabled_plugins()`.
    """
    lines = [
        "# Written by kpnode. The only port for the network is the TLS listener below.",
        "listeners.tcp = none" if plain_port is None else f"listeners.tcp.1 = 127.0.0.1:{plain_port}",
        f"listeners.ssl.1 = {bind}:{port}",
        f"ssl_options.cacertfile = {ca}",
        f"ssl_options.certfile = {certificate}",
        f"ssl_options.keyfile = {key}",
        "# Any authority in cacertfile could name any partner: it holds our own CA and nothing else.",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "ssl_options.depth = 1",
        "ssl_options.versions.1 = tlsv1.3",
        "ssl_options.versions.2 = tlsv1.2",
        "ssl_cert_login_from = common_name",
        "auth_mechanisms.1 = EXTERNAL",
        *(["auth_mechanisms.2 = PLAIN"] if plain_port is not None or management_port is not None else []),
        "ssl_handshake_timeout = 5000",
        "handshake_timeout = 5000",
        "heartbeat = 5",
        "channel_max = 16",
        f"max_message_size = {MAX_FRAME_BYTES}",
        "loopback_users.guest = true",
    ]
    if management_port is not None:
        lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {management_port}"]
    if definitions is not None:
        lines.append(f"load_definitions = {definitions}")
    return "\n".join(lines) + "\n"


def enabled_plugins(*, management: bool = True) -> str:
    """The content of RabbitMQ's enabled_plugins file."""
    plugins = ["rabbitmq_auth_mechanism_ssl", *(["rabbitmq_management"] if management else [])]
    return f"[{','.join(plugins)}].\n"


class ManagementError(Exception):
    """The management API could not be reached or refused; nothing is half done that applying again would not mend."""


class ManagementApi:
    """The same definitions, put into a running broker. Every call may be repeated."""

    def __init__(
        self, base: str, user: str, password: str, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`base`: e.g. http://127.0.0.1:15672 ; it should be loopback, the management port never leaves the host."""
        self._user = user
        self._http = httpx.AsyncClient(
            base_url=base.rstrip("/") + "/api/",
            auth=(user, password),
            timeout=10,
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def apply(self, own: str, partner: str) -> None:
        """Bring a partner's virtual host, user, rights, limits and topology to what `partner_definitions` says.

        Adds and corrects. A queue that exists with other arguments is left as it is (RabbitMQ never changes one);
        `faults` names it.
        """
        wanted = partner_definitions(own, partner)
        if await self._get(f"users/{_q(own)}") is None:
            wanted["users"].append(_user(own, NO_PASSWORD))
        # POST /definitions adds and updates; it deletes nothing, so other partners do not notice.
        await self._call("POST", "definitions", json=wanted)
        # RabbitMQ gives whoever makes a virtual host all rights in it; we need none there.
        if self._user not in (own, partner):
            path = f"permissions/{_q(vhost_of(partner))}/{_q(self._user)}"
            await self._call("DELETE", path, missing_is_fine=True)

    async def open_to(self, user: str, partner: str) -> None:
        """Let a password user read and write in a partner's virtual host: for a throw-away broker without TLS only."""
        rights = {"configure": _NOTHING, "write": ".*", "read": ".*"}
        await self._call("PUT", f"permissions/{_q(vhost_of(partner))}/{_q(user)}", json=rights)

    async def revoke(self, partner: str) -> None:
        """Shut a partner out now: deleting the user also closes its live connections, deleting rights would not.

        What it has already delivered stays in its virtual host and is still read.
        """
        vhost_of(partner)
        await self._call("DELETE", f"users/{_q(partner)}", missing_is_fine=True)

    async def remove(self, partner: str) -> None:
        """Revoke, and delete the virtual host with everything in it."""
        await self.revoke(partner)
        await self._call("DELETE", f"vhosts/{_q(vhost_of(partner))}", missing_is_fine=True)

    async def faults(self, own: str, partner: str) -> list[str]:
        """How the broker differs from what `apply` would make of it, as sentences; an empty list is good news."""
        wanted = partner_definitions(own, partner)
        vhost = vhost_of(partner)
        if await self._get(f"vhosts/{_q(vhost)}") is None:
            return [f"The virtual host {vhost} does not exist."]
        found: list[str] = []
        user = await self._get(f"users/{_q(partner)}")
        if user is None:
            found.append(f"The user {partner} does not exist, so the partner cannot log in.")
        else:
            if user.get("password_hash"):
                found.append(f"The user {partner} has a password; it should log in by certificate only.")
            if user.get("tags"):
                found.append(f"The user {partner} has management tags: {user['tags']}.")
            limits = await self._get(f"user-limits/{_q(partner)}") or []
            has = limits[0]["value"] if limits else {}
            if has != wanted["users"][0]["limits"]:
                found.append(
                    f"The user {partner} has the limits {has or 'none'} instead of {wanted['users'][0]['limits']}."
                )
            elsewhere = [
                right["vhost"]
                for right in await self._get(f"users/{_q(partner)}/permissions") or []
                if right["vhost"] != vhost
            ]
            found += [
                f"The user {partner} also has rights in the virtual host {other}." for other in elsewhere
            ]
        rights = {right["user"]: right for right in await self._get(f"vhosts/{_q(vhost)}/permissions") or []}
        for right in wanted["permissions"]:
            has = rights.pop(right["user"], None)
            if has is None:
                found.append(f"The user {right['user']} has no rights in {vhost}.")
            elif has != right:
                kinds = ("configure", "write", "read")
                listed = ", ".join(f"{kind} {has[kind]!r}" for kind in kinds if has[kind] != right[kind])
                found.append(
                    f"The user {right['user']} has other rights in {vhost} than it should: {listed}."
                )
        for stranger in sorted(rights):
            found.append(f"The user {stranger} has rights in {vhost} and should have none.")
        found += await self._topology_faults(vhost, wanted)
        return found

    async def _topology_faults(self, vhost: str, wanted: Mapping[str, list[dict[str, Any]]]) -> list[str]:
        found = []
        for kind in ("exchanges", "queues"):
            for item in wanted[kind]:
                has = await self._get(f"{kind}/{_q(vhost)}/{_q(item['name'])}")
                if has is None:
                    found.append(f"{vhost} lacks the {kind[:-1]} {item['name']}.")
                elif any(has.get(name) != value for name, value in item.items() if name != "vhost"):
                    found.append(
                        f"The {kind[:-1]} {item['name']} in {vhost} has other properties than it should."
                    )
        for item in wanted["bindings"]:
            path = f"bindings/{_q(vhost)}/e/{_q(item['source'])}/q/{_q(item['destination'])}"
            if not await self._get(path):
                found.append(
                    f"In {vhost} the exchange {item['source']} leads nowhere: its binding is missing."
                )
        return found

    async def depths(self, partner: str) -> dict[str, int]:
        """How many messages wait in each queue of the partner's virtual host; may lag by some seconds."""
        queues = await self._get(f"queues/{_q(vhost_of(partner))}") or []
        return {queue["name"]: int(queue.get("messages", 0)) for queue in queues}

    async def version(self) -> str:
        overview = await self._get("overview") or {}
        return str(overview.get("rabbitmq_version", ""))

    async def _get(self, path: str) -> Any | None:
        response = await self._call("GET", path, missing_is_fine=True)
        return None if response.status_code == 404 else response.json()

    async def _call(
        self, method: str, path: str, *, json: Any = None, missing_is_fine: bool = False
    ) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise ManagementError(
                f"The broker's management API cannot be reached: {type(error).__name__}."
            ) from error
        if response.is_success or (missing_is_fine and response.status_code == 404):
            return response
        if response.status_code in (401, 403):
            raise ManagementError("The broker's management API does not accept our user, or not for this.")
        raise ManagementError(
            f"The broker's management API answered {response.status_code}: {response.text[:200]}"
        )


def _q(name: str) -> str:
    return quote(name, safe="")
