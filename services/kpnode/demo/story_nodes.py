"""The stage of the story: three whole nodes in one process, a clock that can be turned, and a line between them that can be cut.

Each has its own database file, its own keys, and a key record with the policy that it has published. Real are the store, the signatures,
receipts and rules; a stand-in is only the wire (`kpnode.transports.memory`), so that it can be down when the story needs it.
Decides nothing of what is said: that is `kpnode.demo.story_scenes`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from kpmsg.keyrecord import VerifiedRecord, issue, open_record
from kpmsg.keys import SoftwareSigner
from kpnode.author import Identity, rfc3339
from kpnode.migrations import migrate
from kpnode.node import Node
from kpnode.store import partners
from kpnode.store.database import Database, Transaction
from kpnode.store.partners import PartnerRow
from kpnode.transports import Link
from kpnode.transports.memory import FAIR, LOST, MemoryLink, Weather

LONG_AGO: Final = "2020-01-01"


@dataclass(frozen=True, slots=True)
class Place:
    """An authority as the story needs it. `ahead`: hours before UTC; the story plays in winter, when all three keep theirs."""

    address: str
    country: str
    town: str
    ahead: int
    clerk: str
    officer: str
    policy: Callable[[int], Mapping[str, Any]]
    """What it publishes, by the year in which the story begins."""

    def local(self, moment: datetime) -> datetime:
        """The moment by the clock on the wall there."""
        return moment.astimezone(timezone(timedelta(hours=self.ahead)))


def _days(**rule: object) -> list[dict[str, object]]:
    return [{"what": "confirmation", "valid_from": LONG_AGO, **rule}]


def _numbers(_year: int) -> Mapping[str, Any]:
    series = {"letters": "BW", "digits": 6, "leading_zeros": "padding", "valid_from": LONG_AGO}
    return {"numbers": [series | {"ranges": [{"first": 1, "last": 5000}]}]}


def _belgian(year: int) -> Mapping[str, Any]:
    """The public holidays of the months in which the story plays; an authority publishes those of the whole year."""
    holidays = [f"{year}-11-01", f"{year}-11-11", f"{year}-12-25", f"{year + 1}-01-01"]
    return {"deadlines": _days(days=10, working=True), "calendar": {"holidays": holidays}}


GABORONE: Final = Place("BW", "Botswana", "Gaborone", 2, "Mr Molefe", "Ms Kgosi", _numbers)
DUBAI: Final = Place(
    "AE",
    "United Arab Emirates",
    "Dubai",
    4,
    "Ms Haddad",
    "Mr Rahman",
    lambda _: {"deadlines": _days(days=15)},
)
ANTWERP: Final = Place("EU/antwerp", "European Union", "Antwerp", 1, "Mr Peeters", "Ms Wouters", _belgian)
PLACES: Final = (GABORONE, DUBAI, ANTWERP)


def beginning(today: date) -> date:
    """The first Monday of the next November: not before today, for documents are numbered by the true time, and none may be early."""
    for year in (today.year, today.year + 1):
        first = date(year, 11, 1)
        monday = first + timedelta(days=-first.weekday() % 7)
        if monday > today:
            return monday
    raise AssertionError("every year has a November")


class Clock:
    """The time of all three nodes. It runs as ours does, and is turned on by whoever tells the story; never back."""

    def __init__(self, at: datetime) -> None:
        self._at, self._since = at, time.monotonic()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._since)

    def turn(self, day: date, at: str, place: Place) -> None:
        """Make it `at` ("09:10") of that day, by the wall clock of `place`."""
        hours, minutes = map(int, at.split(":"))
        zone = timezone(timedelta(hours=place.ahead))
        moment = datetime(day.year, day.month, day.day, hours, minutes, tzinfo=zone).astimezone(UTC)
        if moment < self():
            raise ValueError(f"the clock would be turned back to {moment}")
        self._at, self._since = moment, time.monotonic()


@dataclass(slots=True)
class Office:
    """One authority on the stage, with its node."""

    place: Place
    url: str
    year: int
    document: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    own: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    identity: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    _node: Node | None = None

    @property
    def address(self) -> str:
        return self.place.address

    @property
    def node(self) -> Node:
        """Its node; there is one while the stage is open."""
        assert self._node is not None
        return self._node

    @node.setter
    def node(self, node: Node) -> None:
        self._node = node

    def record(self) -> VerifiedRecord:
        """Its first key record, with its policy."""
        keys = [
            {"jwk": signer.public.jwk, "use": use, "valid_from": f"{LONG_AGO}T00:00:00Z"}
            for use, signer in (("document", self.document), ("node", self.own))
        ]
        fields = {
            "address": self.address,
            "version": 1,
            "issued": f"{LONG_AGO}T00:00:00Z",
            "authority": {"name": f"Authority of {self.place.country}", "roles": ["export", "import"]},
            "keys": keys,
            "policy": dict(self.place.policy(self.year)),
        }
        return open_record(issue(fields, [self.identity], [self.document, self.own]))


class Stage:
    """The three offices by address, their clock, and the wire between them."""

    def __init__(self, offices: Sequence[Office], clock: Clock) -> None:
        self.offices = {office.address: office for office in offices}
        self.clock = clock
        self._down = False

    def office(self, place: Place) -> Office:
        """The office there."""
        return self.offices[place.address]

    @contextmanager
    def wire_down(self) -> Iterator[None]:
        """Nothing gets through in here, in either direction. Afterwards everything that waits is sent."""
        self._down = True
        yield
        self._down = False
        for office in self.offices.values():
            for partner in office.node.peers:
                office.node.retry(partner)

    def connect(self, own: str) -> Callable[[PartnerRow], Link]:
        """How the node of `own` reaches its partners."""

        def link(row: PartnerRow) -> Link:
            other = self.offices[row.address]

            async def receive(partner: str, frames: Sequence[bytes]) -> list[bytes]:
                return await other.node.receive(partner, frames)

            def post(partner: str, replies: Sequence[bytes]) -> None:
                other.node.post(partner, replies)

            def weather(_number: int, _frame: bytes) -> Weather:
                return LOST if self._down else FAIR

            return MemoryLink(own, receive, post, plan=weather)

        return link


@asynccontextmanager
async def stage(directory: Path, today: date) -> AsyncIterator[Stage]:
    """Three nodes that know each other, running, with their files in `directory`."""
    day = beginning(today)
    clock = Clock(datetime(day.year, day.month, day.day, 6, tzinfo=UTC))
    offices = [
        Office(place, f"sqlite:///{directory / place.address.replace('/', '-')}.db", day.year)
        for place in PLACES
    ]
    play, records = Stage(offices, clock), [office.record() for office in offices]
    async with AsyncExitStack() as ending:
        for office in offices:
            office.node = await _open(office, records, play)
            ending.push_async_callback(office.node.database.close)
        for office in offices:
            await office.node.start()
            ending.push_async_callback(office.node.stop)
        yield play


async def _open(office: Office, records: Sequence[VerifiedRecord], play: Stage) -> Node:
    """A node on a new database that knows its owner, its policy and its partners. It has not been started yet."""
    migrate(office.url)
    database, at = Database(office.url), rfc3339(play.clock())
    own = next(each.record for each in records if each.record.address == office.address)

    def furnish(connection: Transaction) -> None:
        partners.claim_for(connection, office.address, at)
        for each in records:
            partners.save_record(connection, each, at)
            address = each.record.address
            if address != office.address:
                partners.save_partner(connection, address, each.record.authority.name, "memory", {}, at)

    await database.start()
    await database.write(furnish)
    identity = Identity(office.address, [own], [office.document], office.own)
    return Node(identity, database, connect=play.connect(office.address), clock=play.clock)
