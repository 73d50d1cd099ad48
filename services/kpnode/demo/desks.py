"""`kpnode demo --desks DIRECTORY`: two nodes for somebody who wants to sit down and work, as docs/export-clerks-day.md and its sister do.

    desks_past      what has happened in the weeks before today     desks_papers   what lies on the desks this morning

Botswana and the United Arab Emirates again, each with its own keys, database and published rules. Four people have keys to the API: a clerk
and an officer in Gaborone, an inspector and an officer in Dubai. DIRECTORY gets a file for each of them, for a shell to read. Decides who
may do what and what is written where; what anybody does with it is up to whoever sits down.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from kpnode.demo.authority import Authority, Transport, acquaint, boot, stop
from kpnode.demo.borrowed import Borrowed
from kpnode.demo.desks_papers import papers
from kpnode.demo.desks_past import DAYS, past
from kpnode.demo.screen import Story
from kpnode.service import write_logs
from kpnode.settings import Log
from kpnode.store.callers import Scope
from kpnode.throwaway import DidNotStart

ALWAYS: Final = "2020-01-01"
PATIENCE: Final = 30.0  # seconds

_EXPORTER: Final[dict[str, Any]] = {
    "contact": "+267 555 0130, permits desk",
    # A box of thirty printed certificates; an officer has to agree when one of them is cancelled.
    "four_eyes": {"types": ["cancellation"]},
    "policy": {
        "numbers": [
            {
                "letters": "BW",
                "digits": 6,
                "leading_zeros": "padding",
                "valid_from": ALWAYS,
                "ranges": [{"first": 101, "last": 130}],
            }
        ],
        "deadlines": [{"what": "query", "valid_from": ALWAYS, "days": 5}],
    },
}
_IMPORTER: Final[dict[str, Any]] = {
    "contact": "+971 555 0177, inspection hall",
    # Counted in days of the week that never rest, so that the pages in docs/ come true on any day.
    "policy": {
        "deadlines": [
            {"what": "confirmation", "valid_from": ALWAYS, "days": 15},
            {"what": "status", "valid_from": ALWAYS, "days": 7},
        ]
    },
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a desk. `file`: how their file in the directory is called."""

    file: str
    name: str
    does: str
    address: str
    scopes: tuple[Scope, ...]


_CLERK: Final = (Scope.READ_DOCUMENTS, Scope.WRITE_DOCUMENTS, Scope.WRITE_NUMBERS)
_OFFICER: Final = (*_CLERK, Scope.RELEASE_DOCUMENTS, Scope.CLOSE_INCIDENTS)
PEOPLE: Final = (
    Person("naledi", "Naledi Molefe", "export clerk in Gaborone", "BW", _CLERK),
    Person("kabo", "Kabo Kgosi", "officer in Gaborone, who releases", "BW", _OFFICER),
    Person("fatima", "Fatima Haddad", "import inspector in Dubai", "AE", _CLERK),
    Person("omar", "Omar Rahman", "officer in Dubai, who releases", "AE", _OFFICER),
)


def run_desks(directory: Path, transport: Transport) -> int:
    """Set both desks up and keep them until Ctrl-C; then the files in `directory` that hold keys are removed again.

    Raises DidNotStart, or FileExistsError if the directory is there already.
    """
    write_logs(Log(level="error", format="text"))  # the past is played in this process
    directory.mkdir(mode=0o700)
    with contextlib.ExitStack() as ending:
        ending.callback(_sweep, directory)
        if isinstance(transport, Borrowed):
            transport.take(("BW", "AE"))
            ending.callback(transport.give_back, ("BW", "AE"))
        exporter = Authority("BW", "Botswana", transport, _EXPORTER)
        ending.callback(exporter.close)
        importer = Authority("AE", "United Arab Emirates", transport, _IMPORTER)
        ending.callback(importer.close)
        ending.callback(stop, exporter, importer)
        screen = ending.enter_context(Story())
        _open(screen, exporter, importer)
        asyncio.run(_furnish(directory, {each.address: each for each in (exporter, importer)}))
        screen.end()
        _show(screen, directory, (exporter, importer))
        with contextlib.suppress(KeyboardInterrupt):
            while not (exporter.ended or importer.ended):
                time.sleep(0.2)
            raise DidNotStart("a node has ended by itself")
        screen.show("ending ...")
    return 0


def _open(screen: Story, exporter: Authority, importer: Authority) -> None:
    """Both nodes, with their past, running, and with this morning's round made."""
    now = datetime.now(UTC)
    screen.doing("keys, certificates, databases, and each other's fingerprints")
    acquaint(exporter, importer, since=now - timedelta(days=DAYS + 1))
    screen.doing("the brokers boot, which takes most of the time", silently=exporter.broker is None)
    boot(exporter.broker, importer.broker)
    screen.doing("the documents of the last weeks are exchanged")
    asyncio.run(past(exporter.settings, importer.settings, now.date()))
    screen.doing("both nodes start")
    for authority in (exporter, importer):
        authority.start()
    for authority in (exporter, importer):
        authority.wait_ready()
    _await_reminder(exporter)
    screen.say("Both nodes are up.")


def _await_reminder(exporter: Authority) -> None:
    """The first round is made soon after the start; nobody shall sit down before it."""
    until = time.monotonic() + PATIENCE
    while not any(exporter.api.drafts()):
        if time.monotonic() > until:
            raise DidNotStart("the exporter's node has not prepared its reminder")
        time.sleep(0.05)


async def _furnish(directory: Path, authorities: dict[str, Authority]) -> None:
    for person in PEOPLE:
        authority = authorities[person.address]
        key = await authority.give_key(person.name, person.scopes)
        _write(directory / person.file, "\n".join(_shell(person, authority, key)) + "\n")
    for name, content in papers(datetime.now(UTC).date()).items():
        (directory / name).write_bytes(content)


def _shell(person: Person, authority: Authority, key: str) -> Iterator[str]:
    values = {"KPMSG_URL": authority.url, "KPMSG_KEY": key, "KPMSG_OFFICER": person.name}
    values["KPNODE_CONFIG"] = str(authority.config)
    yield f"# {person.name}, {person.does}. In a shell:  . ./{person.file}"
    yield from (f"export {name}={shlex.quote(value)}" for name, value in values.items())
    yield "unset KPMSG_CA" if authority.ca is None else f"export KPMSG_CA={shlex.quote(str(authority.ca))}"
    yield f"PS1='{person.file}$ '"  # so that everybody sees who they are


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _sweep(directory: Path) -> None:
    """What was written here goes, what somebody else has put here stays."""
    for name in [person.file for person in PEOPLE] + [*papers(datetime.now(UTC).date())]:
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not empty
        directory.rmdir()


def _show(screen: Story, directory: Path, authorities: Sequence[Authority]) -> None:
    screen.show()
    screen.show("Two desks are ready. In another terminal, open a shell that knows kpmsg, and go there:")
    screen.show("  ./dev run")
    screen.show(f"  cd {shlex.quote(str(directory.absolute()))}", to_copy=True)
    screen.show("Then be one of these people, and look what waits for you:")
    for person in PEOPLE:
        screen.show(f"  . ./{person.file:8} {person.name}, {person.does}")
    screen.show("  kpmsg todo")
    screen.show("docs/export-clerks-day.md and docs/import-inspectors-day.md go through a whole day.")
    for authority in authorities:
        screen.show(
            f"API of {authority.address}: {authority.url}   pages: {authority.url}/docs", to_copy=True
        )
    screen.show("Ctrl-C ends it.", "bold")
