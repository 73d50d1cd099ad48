"""What the scenes of the story share: offices at their desks, days that pass, and lines that say what stands in the databases.

A scene says who does what. What is printed of a document is read from its recipient's database, what an office "reads" from its own, and
what both have is compared before it is printed. Raises BrokenOffError where the story is not as it must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from kpmsg.case import State
from kpmsg.documents import ExportNotification
from kpnode.demo.story_desk import BrokenOffError, Desk, Draft
from kpnode.demo.story_nodes import ANTWERP, DUBAI, GABORONE, PLACES, Place, Stage
from kpnode.demo.story_reckoning import differing
from kpnode.demo.story_telling import Telling, day
from kpnode.sample import Trade
from kpnode.store.views import CertificateRow
from kpnode.store.worklists import WaitingRow, awake

TOWNS: Final = {place.address: place.town for place in PLACES}


class Play:
    """The story while it is told."""

    def __init__(self, stage: Stage, telling: Telling) -> None:
        self.stage, self.telling = stage, telling
        self.gaborone, self.dubai, self.antwerp = (
            Desk(stage.office(place)) for place in (GABORONE, DUBAI, ANTWERP)
        )
        self.first = stage.clock().date()

    @property
    def desks(self) -> Sequence[Desk]:
        """All three, the exporter first."""
        return self.gaborone, self.dubai, self.antwerp

    # -- time ------------------------------------------------------------------------------------------------------------

    async def turn(self, days: int, at: str, place: Place) -> date:
        """Turn the clock to that many days after the first, `at` by the wall there; every node makes its daily round. The day."""
        on = self.first + timedelta(days=days)
        before = self.stage.clock().date()
        self.stage.clock.turn(on, at, place)
        if on != before:
            for desk in self.desks:
                await desk.node.rounds.round()
        return on

    # -- lines -----------------------------------------------------------------------------------------------------------

    async def does(self, desk: Desk, text: str) -> None:
        """Somebody there does something, now."""
        await self.telling.does(desk.place.local(self.stage.clock()), desk.place.town, text)

    async def reads(self, desk: Desk, text: str) -> None:
        """What stands on the screen there."""
        await self.telling.reads(desk.place.town, text)

    async def stands(
        self, desk: Desk, number: str, state: State, turn: str, aside: str = ""
    ) -> CertificateRow:
        """Wait until a certificate stands so there, `turn` being for whom it waits (us, them, both, nobody); and say so."""

        def true(row: CertificateRow | None) -> bool:
            return row is not None and row.state == state and row.waits == turn

        row: CertificateRow = await desk.until(
            lambda: desk.row(number), true, f"{number} should be {state}, and wait for {turn}"
        )
        await self.reads(desk, f"{words(row.state)}. {self.turn_of(desk, row)}{aside}")
        return row

    def turn_of(self, desk: Desk, row: CertificateRow | WaitingRow) -> str:
        """Whose turn it is, what for, and by which day; as this office says it."""
        matters = [each for each in row.case["matters"] if awake(each, desk.node.clock().date())]
        if not matters:
            return "It is nobody's turn."
        first = matters[0]
        others = [address for address in first["whose"] if address != desk.node.address]
        until = "" if first["due"] is None else f", by {day(date.fromisoformat(first['due']))}"
        if not others:
            return f"Our turn{until}. {first['text']}"
        names = " and ".join(TOWNS[address] for address in others)
        ours = "our turn, and that of " if len(others) < len(first["whose"]) else "turn of "
        return f"{ours[0].upper()}{ours[1:]}{names}{until}. {first['text']}"

    async def agree(self, number: str, state: State, one: Desk, other: Desk) -> None:
        """Both offices have the same case of a certificate, in every member of it, and it has come to `state`; say so."""
        await self.same(number, state, one, other)
        row = await one.known(number)
        await self.telling.agreed(
            f"{number}, both authorities have the same case: {words(row.state)}; {turn_words(row)}."
        )

    async def same(self, number: str, state: State, one: Desk, other: Desk) -> None:
        """Wait until it is so. Raises BrokenOffError with what differs if it is not."""

        async def look() -> tuple[CertificateRow | None, CertificateRow | None]:
            return await one.row(number), await other.row(number)

        def true(rows: tuple[CertificateRow | None, CertificateRow | None]) -> bool:
            here, there = rows
            return here is not None and here.state == state and not differing(here, there)

        try:
            await one.until(look, true, "")
        except BrokenOffError:
            here, there = await look()
            said = " and ".join("nothing" if row is None else row.state for row in (here, there))
            names = ", ".join(differing(here, there)) or "nothing"
            text = f"{number} should be {state} in {one.place.town} and {other.place.town}: it is {said}; they differ in {names}"
            raise BrokenOffError(text) from None

    # -- what several scenes begin with ----------------------------------------------------------------------------------

    async def notify(self, to: Desk, serial: int, carats: str, *, valid: int = 60, aside: str = "") -> str:
        """Gaborone notifies a parcel of one line to another office, valid for so many days; the certificate's number."""
        draft = self.shipment(to, serial, carats, valid)
        document_id = await self.gaborone.submit(draft)
        said = await to.content(document_id, ExportNotification)
        number = said.certificate.number_raw
        parcels = "1 parcel" if said.parcels == 1 else f"{said.parcels} parcels"
        text = f"notifies certificate {number} to {to.place.town}: {parcels}, {weight(said.carats)}{aside}."
        await self.does(self.gaborone, text)
        return number

    def shipment(self, to: Desk, serial: int, carats: str, valid: int) -> Draft:
        """The draft of such a notification, written and sealed today."""
        today = self.stage.clock().date()
        draft = Trade("BW", to.node.address, on=today, first=serial).notification(0)
        value = f"{Decimal(carats) * 131:.2f}"
        line = {"hs": "7102.31", "carats": carats, "value_usd": value, "parcels": 1}
        made: dict[str, Any] = draft["data"] | {
            "lines": [line | {"origin": {"kind": "single", "country": "BW"}}],
            "carats": carats,
            "value_usd": value,
            "parcels": 1,
            "containers": {"count": 1, "seal_numbers": [f"BWS{serial:06d}"]},
            "date_of_issue": today.isoformat(),
            "validation": {"officer": self.gaborone.place.officer, "date": today.isoformat()},
            "date_of_expiry": (today + timedelta(days=valid)).isoformat(),
            "confirmation": {"requested": True},
        }
        made.pop("mixed_origin_as_printed", None)
        made.pop("transport", None)
        return draft | {"data": made}

    async def lists(self, desk: Desk) -> None:
        """Say what an office's two work lists hold."""
        found, today = await desk.waiting(), desk.node.clock().date()
        parts = [
            f"{name} {', '.join(f'{row.number} ({_due(row, today)})' for row in rows)}"
            for name, rows in (("we have to see to", found.us), ("we wait for", found.them))
            if rows
        ]
        await self.reads(desk, f"list: {'; '.join(parts) or 'nothing waits'}.")

    async def emptied(self) -> None:
        """No office has anything on its lists; say so."""
        for desk in self.desks:
            found = await desk.waiting()
            if found.us or found.them:
                numbers = ", ".join(row.number for row in (*found.us, *found.them))
                raise BrokenOffError(f"something still waits in {desk.place.town}: {numbers}")
        towns = ", ".join(desk.place.town for desk in self.desks)
        await self.telling.agreed(f"The lists of {towns} are empty: nobody waits for anybody.")


def words(name: str) -> str:
    """A name of the protocol as people say it."""
    return name.replace("-", " ").replace("_", " ")


def turn_words(row: CertificateRow) -> str:
    """Whose turn it is, in the case's own words."""
    turn = row.case["turn"]
    return "nobody's turn" if turn == "nobody" else f"turn of the {turn}"


def weight(carats: Decimal) -> str:
    """1,204.50 ct."""
    return f"{carats:,.2f} ct"


def _due(row: WaitingRow, today: date) -> str:
    if row.due is None:
        return str(row.matter)
    until = date.fromisoformat(row.due)
    return f"{row.matter} {'overdue since' if until < today else 'due'} {day(until)}"
