"""One process with many nodes in it: `python -m kpnode.demo.world_nodes DIRECTORY`, which `kpnode.demo.world_hosts` starts.

Each node is whole (`kpnode.assembly`): its own home, keys, key record, database and API, and direct HTTPS to all others, also to those
in the same process. What the director and this process tell each other lies in the directory, one JSON file for each step:

    plan.json       <- which authorities are here, and their ports
    records.json    -> their key records, once all homes are made
    partners.json   <- for each of them, the key records of those it will trade with
    keys.json       -> a key to the API of each
    ready.json      -> the process that serves all of these APIs now

A process that was killed and is started again finds the first four and only serves. Refuses to know what is exchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvloop

from kpmsg.keyrecord import VerifiedRecord, open_record
from kpnode import setup
from kpnode.apikeys import ApiKeys
from kpnode.assembly import Assembly, build
from kpnode.author import rfc3339
from kpnode.home import replace_file
from kpnode.service import SWITCH_SECONDS, write_logs
from kpnode.settings import Log, Settings
from kpnode.store import partners
from kpnode.store.callers import Scope
from kpnode.store.database import Database, Transaction

TICK: Final = 0.02
FILES: Final = 16_384
"""Open files that a few dozen nodes may need: each has a database of three files on several connections, and its partners."""


def settings_of(directory: Path, address: str, name: str, port: int, passphrase: str) -> Settings:
    """The settings of one node of these; its home lies in the directory."""
    return Settings(
        address=address,
        name=name,
        roles=("export", "import"),
        home=directory / address.replace("/", "."),
        passphrase=passphrase,
        exchange_https=True,
        public={"https": f"http://127.0.0.1:{port}"},
        api={"port": port, "requests_per_minute": 0},
    )


def write_down(file: Path, what: Any) -> None:
    """Whole or not at all: the other side may look at any moment."""
    replace_file(file, json.dumps(what).encode())


def allow_many_files() -> None:
    """Have as many open files as the system lets us, up to FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def _set_up(directory: Path, everybody: Sequence[Settings]) -> None:
    """Homes and key records; then, when it is known who trades with whom, partners and keys to the APIs."""
    if not (directory / "records.json").exists():
        records = {each.address: (await setup.initialise(each)).record.raw.decode() for each in everybody}
        write_down(directory / "records.json", records)
    while not (directory / "partners.json").exists():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(TICK)
    told: Mapping[str, Mapping[str, str]] = json.loads((directory / "partners.json").read_text())
    # Signatures are checked once for all nodes here; each checks them again when it reads its own database.
    opened = {raw: open_record(raw.encode()) for theirs in told.values() for raw in theirs.values()}
    keys = {}
    for each in everybody:
        keys[each.address] = await _furnish(each, [opened[raw] for raw in told[each.address].values()])
    write_down(directory / "keys.json", keys)


async def _furnish(settings: Settings, others: Sequence[VerifiedRecord]) -> str:
    """Take up partners, all in one transaction, and make a key to the API.

    What `kpnode partner add` does one by one, without grants, which direct HTTPS without TLS has no use for. That the records are
    the true ones, for which operators compare fingerprints, is settled here by where the files lie.
    """
    database, at = Database(settings.database_url), rfc3339(datetime.now(UTC))
    await database.start()

    def save(connection: Transaction) -> None:
        known = partners.records(connection)
        for other in others:
            record = other.record
            if record.address not in known:
                partners.save_record(connection, other, at)
            reach = {"url": record.endpoints.https, "trusted": None}
            partners.save_partner(connection, record.address, record.authority.name, "https", reach, at)

    try:
        await database.write(save)
        made = await ApiKeys(database, lambda: datetime.now(UTC)).add("demonstration", [*Scope], 1)
    finally:
        await database.close()
    return str(made["key"])


async def _serve(directory: Path) -> None:
    here = asyncio.current_task()
    assert here is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)
    plan = json.loads((directory / "plan.json").read_text())
    everybody = [settings_of(directory, passphrase=plan["passphrase"], **each) for each in plan["nodes"]]
    running: list[Assembly] = []
    try:
        if not (directory / "keys.json").exists():
            await _set_up(directory, everybody)
        for each in everybody:
            assembly = build(each)
            await assembly.start()
            running.append(assembly)
        write_down(directory / "ready.json", os.getpid())
        await asyncio.Event().wait()
    finally:
        await asyncio.gather(*(assembly.stop() for assembly in running), return_exceptions=True)


def main() -> None:
    """Run until SIGTERM."""
    allow_many_files()
    write_logs(Log(level="warning", format="text"))
    sys.setswitchinterval(SWITCH_SECONDS)
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(_serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
