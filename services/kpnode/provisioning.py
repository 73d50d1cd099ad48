"""A partner's place on our own broker, made and taken away: in the files that RabbitMQ imports, and in the broker itself if we may.

`kpnode.broker` knows what a place consists of; this module knows where the files lie, and what to tell an operator who has to
do by hand what we may not do ourselves. What fails here is said and can be repeated; no partner waits in the database for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kpnode import broker
from kpnode.broker import ManagementApi, ManagementError
from kpnode.home import Home, replace_file
from kpnode.settings import Management, Settings


async def provision(settings: Settings, addresses: Sequence[str], address: str) -> list[str]:
    """Give `address`, one of our partners `addresses`, its place; returns what is left to be done by hand."""
    own, file = settings.broker, write_broker_files(settings, addresses)
    if own is None:
        return []
    if own.management is None:
        return [f"Let the broker know the partner: rabbitmqctl import_definitions {file}"]
    try:
        async with _api(own.management) as api:
            await api.apply(settings.address, address)
            if own.plaintext_on_loopback_only and own.user is not None:
                await api.open_to(own.user, address)
    except ManagementError as error:
        return [f"{error} Repeat this command later, or: rabbitmqctl import_definitions {file}"]
    return []


async def shut_out(settings: Settings, addresses: Sequence[str], address: str) -> list[str]:
    """Close the broker to a former partner now; returns what is left to be done by hand."""
    own = settings.broker
    if own is None:
        return []
    write_broker_files(settings, addresses)
    by_hand = f"Shut the partner out yourself: rabbitmqctl delete_user {address}"
    if own.management is None:
        return [by_hand]
    try:
        async with _api(own.management) as api:
            await api.revoke(address)
    except ManagementError as error:
        return [f"{error} {by_hand}"]
    return []


def _api(settings: Management) -> ManagementApi:
    return ManagementApi(settings.url, settings.user, settings.password.get_secret_value())


def write_broker_files(settings: Settings, addresses: Sequence[str]) -> Path | None:
    """rabbitmq.conf (once) and definitions.json for these partners; the latter can be imported any number of times.

    Importing adds and corrects; it takes nothing away. None if there is no broker.
    """
    own = settings.broker
    if own is None:
        return None
    home, management = Home(settings.home), own.management
    whole = broker.definitions(
        settings.address,
        addresses,
        administrator=(management.user, broker.password_hash(management.password.get_secret_value()))
        if management is not None and not own.plaintext_on_loopback_only
        else None,
    )
    if own.plaintext_on_loopback_only:
        whole["permissions"] += [
            {"user": own.user, "vhost": vhost["name"], "configure": "^$", "write": ".*", "read": ".*"}
            for vhost in whole["vhosts"]
        ]
    file = home.broker("definitions.json")
    replace_file(file, json.dumps(whole, indent=1).encode() + b"\n")
    if not home.broker("rabbitmq.conf").exists() and not own.plaintext_on_loopback_only:
        public = settings.public.broker
        text = broker.rabbitmq_conf(
            ca=home.broker("ca.pem"),
            certificate=home.broker("server.pem"),
            key=home.broker("server.key"),
            definitions=file,
            port=public[1] if public else own.port,
        )
        replace_file(home.broker("rabbitmq.conf"), text.encode())
        replace_file(home.broker("enabled_plugins"), broker.enabled_plugins().encode())
    return file
