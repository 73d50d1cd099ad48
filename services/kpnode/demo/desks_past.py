"""What has happened between the two desks in the weeks before somebody sits down at one.

Played by the two nodes themselves, on their own keys and databases, under a clock that is turned from day to day. So that every
kind of work waits: something overdue, something reminded of, something due today, a query, a cancellation, a confirmation with a slip.
Decides which shipment is in which of these; the numbers are those of docs/export-clerks-day.md and docs/import-inspectors-day.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from kpnode import setup
from kpnode.author import Identity
from kpnode.demo.story_desk import BrokenOffError, Desk, Draft
from kpnode.demo.story_nodes import Clock, Office, Place, Stage
from kpnode.node import Node
from kpnode.sample import Trade
from kpnode.settings import Settings
from kpnode.store.database import Database

DAYS: Final = 20
"""How far back it goes."""

GABORONE: Final = Place("BW", "Botswana", "Gaborone", 2, "Naledi Molefe", "Kabo Kgosi", lambda _: {})
DUBAI: Final = Place("AE", "United Arab Emirates", "Dubai", 4, "Fatima Haddad", "Fatima Haddad", lambda _: {})

#: Days ago, serial number, carats, parcels.
_SENT: Final[Sequence[tuple[int, int, str, int]]] = (
    (18, 101, "310.40", 1),  # overdue, and reminded of
    (16, 102, "95.00", 1),  # overdue since yesterday
    (15, 103, "212.60", 2),  # due today
    (6, 104, "44.10", 1),  # cancelled
    (5, 105, "128.75", 1),  # confirmed, with a slip of the pen
    (4, 106, "76.20", 1),  # confirmed with less, and asked about
    (2, 107, "501.35", 3),  # on its way
)


async def past(exporter: Settings, importer: Settings, today: date) -> None:
    """Play it on two homes that are acquainted and whose nodes do not run. Raises BrokenOffError, and what nodes raise."""
    clock = Clock(datetime.combine(today - timedelta(days=DAYS), time(0), UTC))
    offices = [
        Office(GABORONE, exporter.database_url, today.year),
        Office(DUBAI, importer.database_url, today.year),
    ]
    stage = Stage(offices, clock)
    async with AsyncExitStack() as ending:
        for office, settings in zip(offices, (exporter, importer), strict=True):
            office.node = _node(settings, stage)
            await office.node.database.start()
            ending.push_async_callback(office.node.database.close)
        for office in offices:
            await office.node.start()
            ending.push_async_callback(office.node.stop)
        await _play(clock, today, *map(Desk, offices))


def _node(settings: Settings, stage: Stage) -> Node:
    """The node as the settings describe it, but under the stage's clock and on the stage's wire: lines look at the true time."""
    keys, records = setup.load_keys(settings), setup.load_records(settings)
    identity = Identity(settings.address, [version.record for version in records], [keys.document], keys.node)
    return Node(
        identity,
        Database(settings.database_url),
        connect=stage.connect(settings.address),
        clock=stage.clock,
        policy=settings.four_eyes,
    )


async def _play(clock: Clock, today: date, bw: Desk, ae: Desk) -> None:
    sent = {days: (serial, carats, parcels) for days, serial, carats, parcels in _SENT}
    for days in range(DAYS - 1, 0, -1):
        day = today - timedelta(days=days)
        clock.turn(day, "09:00", GABORONE)
        if days in sent:
            serial, carats, parcels = sent[days]
            await bw.submit(shipment(serial, carats, parcels, day))
        match days:
            case 5:
                await _cancel(bw, "BW 000104")
            case 2:
                await bw.node.rounds.round()
                await _remind(bw)
            case 1:
                clock.turn(day, "15:00", DUBAI)
                await ae.say("import-confirmation", "BW 000105")
                draft = await ae.fill("import-confirmation", "BW 000106", {"/found/carats": "75.80"})
                draft["data"]["discrepancies"][0]["disposition"] = "under_query"
                await ae.submit(draft)
                doubts = [{"field": "carats", "notified": "76.20", "certificate": "76.20", "found": "75.80"}]
                await ae.say("discrepancy-query", "BW 000106", {"/doubts": doubts})


async def _cancel(bw: Desk, number: str) -> None:
    draft = await bw.fill("cancellation", number, {"/reason": "not_shipped"})
    await bw.release(await bw.prepare(draft, bw.place.clerk), bw.place.officer)


async def _remind(bw: Desk) -> None:
    prepared = await bw.prepared()
    if [draft.certificate for draft in prepared] != ["BW000101"]:
        raise BrokenOffError(f"one reminder should have been prepared, not {len(prepared)}")
    for draft in prepared:
        await bw.release(draft.seq, bw.place.officer)


def shipment(serial: int, carats: str, parcels: int, day: date) -> Draft:
    """The notification of a shipment of one line, written and sealed on `day`."""
    draft = Trade("BW", "AE", on=day, first=serial).notification(0)
    value = f"{Decimal(carats) * 131:.2f}"
    line = {"hs": "7102.31", "carats": carats, "value_usd": value, "parcels": parcels}
    made: dict[str, Any] = draft["data"] | {
        "lines": [line | {"origin": {"kind": "single", "country": "BW"}}],
        "carats": carats,
        "value_usd": value,
        "parcels": parcels,
        "containers": {"count": 1, "seal_numbers": [f"BWS{serial:06d}"]},
        "date_of_issue": day.isoformat(),
        "date_of_expiry": (day + timedelta(days=60)).isoformat(),
        "validation": {"officer": GABORONE.officer, "date": day.isoformat()},
        "confirmation": {"requested": True},
    }
    for name in ("mixed_origin_as_printed", "transport", "invoice"):
        made.pop(name, None)
    return draft | {"data": made}
