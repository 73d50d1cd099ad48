"""One node of Botswana on a filled database: thirty partners whom it cannot reach, and all of its API.

Set up as an operator would (`kpnode init`, key records of partners, an API key), filled by `scale_fill`, run by `kpnode run`.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from sqlalchemy import create_engine

from kpmsg.policy import Policy, Practice
from kpnode.control import operate
from kpnode.settings import Settings
from kpnode.setup import initialise
from kpnode.store import partners
from kpnode.store.callers import Scope
from kpnode.throwaway import free_ports
from tests.bench.processes import Processes, port_open
from tests.bench.scale_fill import DIGITS, PARTNERS, Fill, Filler
from tests.exchange import Keys

ME = "BW"
SERIES = {
    "letters": ME,
    "digits": DIGITS,
    "ranges": [{"first": 1, "last": 9_999_999}],
    "valid_from": "2003-01-01",
}
PRINTED = Policy.model_validate({"numbers": [SERIES]})


@dataclass
class Scaled:
    """A node with so many certificates; `start` it when it is filled."""

    certificates: int
    settings: Settings
    filled: Fill
    key: str
    fill_seconds: float
    started_in: float = 0.0
    _processes: Processes | None = None

    def start(self) -> None:
        """Run the node, and return when it answers."""
        self._processes = Processes(f"scale-{self.certificates}")
        began = time.perf_counter()
        self._processes.start(
            ME, ["-m", "kpnode", "run"], port_open(self.settings.api.port), _environment(self.settings)
        )
        self.started_in = time.perf_counter() - began

    def stop(self) -> None:
        """May be called at any stage, and twice."""
        if self._processes is not None:
            self._processes.stop()
            self._processes = None

    @property
    def resident(self) -> int:
        """Bytes; of a node that runs."""
        assert self._processes is not None
        return sum(psutil.Process(pid).memory_info().rss for pid in self._processes.ids().values())


def practice() -> Practice:
    """As the node of `ME` has it."""
    known = Practice(ME)
    known.publish(ME, PRINTED)
    return known


def introduce_partners(url: str) -> None:
    """Key records of PARTNERS, as accepted by an operator long ago; nobody has told how to reach them."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for address in PARTNERS:
            partners.save_record(connection, Keys(address).record(), "2015-01-01T00:00:00.000Z")
            name = f"Authority of {address}"
            partners.save_partner(connection, address, name, "unreached", {}, "2015-01-01T00:00:00.000Z")
    engine.dispose()


def prepare(home: Path, url: str, certificates: int) -> Scaled:
    """Make the home and the database, and fill it."""
    [port] = free_ports(1)
    settings = Settings(
        address=ME,
        name="Botswana",
        roles=("export", "import"),
        home=home,
        passphrase="correct horse battery staple",
        database=url,
        api={"port": port, "requests_per_minute": 0},
        policy=PRINTED.model_dump(mode="json", exclude_unset=True),
        # The first round after a start would write reminders of everything that is overdue while we measure.
        reminders={"send": "off"},
        log={"level": "warning"},
    )

    async def set_up() -> str:
        await initialise(settings)
        made = await operate(settings, "apikey-add", name="bench", scopes=[str(scope) for scope in Scope])
        return str(made["key"])

    key = asyncio.run(set_up())
    introduce_partners(url)
    began = time.perf_counter()
    filled = Filler(ME, practice(), datetime.now(UTC).date()).fill(url, certificates)
    return Scaled(certificates, settings, filled, key, time.perf_counter() - began)


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "KPNODE_ADDRESS": settings.address,
        "KPNODE_NAME": settings.name,
        "KPNODE_ROLES": json.dumps(list(settings.roles)),
        "KPNODE_HOME": str(settings.home),
        "KPNODE_PASSPHRASE": settings.passphrase.get_secret_value(),
        "KPNODE_DATABASE": settings.database_url,
        "KPNODE_POLICY__NUMBERS": json.dumps([SERIES]),
        "KPNODE_REMINDERS__SEND": settings.reminders.send,
        "KPNODE_API__PORT": str(settings.api.port),
        "KPNODE_API__REQUESTS_PER_MINUTE": "0",
        "KPNODE_LOG__LEVEL": "warning",
    }
