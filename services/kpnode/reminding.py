"""The daily round: what days bring about without any document, looked at every hour and after each start.

    a matter wakes       the expiry of a certificate of which nothing was heard becomes our move (`kpnode.store.worklists`)
    a reminder is due    a confirmation request is prepared, once for each level; or said, if the settings trust the node with that
    it is due no more    what the node has prepared and nobody has said or written in is put away; the days in the others are counted anew
    a number used twice  an alert to each of the importing authorities is prepared; an officer releases it, always

Silence is asked about and never taken for an answer. Nobody is reminded who has promised a later day, who was not asked to confirm, or
whose certificate was cancelled or is disputed: the case knows (`kpmsg.case.matters`). Days are those of the node's clock, in UTC.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kpmsg.documents import Alert, ConfirmationRequest, ExportNotification
from kpmsg.documents.envelope import Document
from kpmsg.errors import DraftError
from kpmsg.policy import Practice
from kpnode.author import Identity, rfc3339
from kpnode.peer import Peer
from kpnode.release import NODE, ReleaseNeededError
from kpnode.store import drafts, reminders, worklists
from kpnode.store.database import Database, Transaction
from kpnode.store.drafts import DraftRow
from kpnode.store.reminders import UsedTwice, name_of
from kpnode.store.submissions import SubmissionError
from kpnode.store.views import certificates_by_key
from kpnode.store.worklists import WaitingRow

EVERY: Final = 3600.0  # seconds
LOOK: Final = 1.0
PAGE: Final = 200
log = structlog.get_logger()

Submit = Callable[..., Awaitable[Any]]


class Reminders(BaseModel):
    """How partners are reminded of confirmations that are due."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[int, ...] = Field(
        default=(0, 7, 21),
        min_length=1,
        max_length=3,
        description="How many days after a confirmation was due the first, second and third reminder follow.",
    )
    send: Literal["draft", "auto", "off"] = Field(
        default="draft",
        description=(
            "draft: an officer releases each reminder. auto: the node says it, unless four_eyes asks for a second person. "
            "off: nobody is reminded."
        ),
    )

    @model_validator(mode="after")
    def _later(self) -> Self:
        if self.days[0] < 0 or any(
            later <= before for before, later in zip(self.days, self.days[1:], strict=False)
        ):
            raise ValueError("days must be 0 or more, each later than the one before")
        return self


@dataclass(frozen=True, slots=True)
class Overdue:
    """A confirmation that we wait for: the certificate's key, our notification of it, and the day on which it was due."""

    key: str
    notification: str
    due: date


class Rounds:
    """The rounds of one node. `submit` is the node's own verb."""

    def __init__(
        self,
        identity: Callable[[], Identity],
        database: Database,
        clock: Callable[[], datetime],
        submit: Submit,
        settings: Reminders,
        practice: Practice,
        peers: Mapping[str, Peer],
    ) -> None:
        self._peers = peers
        self._left: set[str] = (
            set()
        )  # partners that were not reminded yet, for they have not answered since the start
        self._practice = practice
        self._identity = identity
        self._database = database
        self._clock = clock
        self._submit = submit
        self.settings = settings

    async def run(self) -> None:
        """One round now, and one every hour."""
        while True:
            await self.round()
            ends = time.monotonic() + EVERY
            while (rest := ends - time.monotonic()) > 0 and not any(map(self._ready, self._left)):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(min(rest, LOOK) if self._left else rest)

    def _ready(self, partner: str) -> bool:
        """Whether a partner has told what it holds of ours (R10): a reminder that a restore made us forget comes back first."""
        peer = self._peers.get(partner)
        return peer is not None and peer.conversation.ready

    async def round(self) -> int:
        """One round; how many documents it prepared or said. What a crash leaves undone, the next one does."""
        now = self._clock()
        day, done = now.date(), 0
        self._left.clear()
        place: worklists.Place | None = None
        while True:
            rows = await self._database.read(
                lambda c, place=place: worklists.due_by(c, day, place, PAGE)  # type: ignore[misc]
            )
            await self._wake(rows, day)
            if self.settings.send != "off":
                done += await self._remind([each for row in rows for each in self._overdue(row, day)], now)
            if len(rows) < PAGE:
                break
            place = rows[-1].due, rows[-1].key
        await self._tidy(now)
        return done + await self._warn(now)

    async def _wake(self, rows: Sequence[WaitingRow], day: date) -> None:
        me = self._identity().address
        if any(worklists.stale(row, me, day) for row in rows):
            await self._database.write(lambda c: worklists.wake(c, rows, me, day))

    # -- reminders -------------------------------------------------------------------------------------------------------

    def _overdue(self, row: WaitingRow, day: date) -> list[Overdue]:
        notification = _notification(row.case)
        if (
            notification is None
            or row.locked is not None
            or row.case.get("exporter") != self._identity().address
        ):
            return []
        days = _confirmation_due(row.matters)
        return [Overdue(row.key, notification, due) for due in days if due + self._after(0) <= day]

    def _after(self, level: int) -> timedelta:
        return timedelta(days=self.settings.days[level])

    async def _remind(self, overdue: Sequence[Overdue], now: datetime) -> int:
        if not overdue:
            return 0
        about = {each.notification: each.key for each in overdue}
        asked = await self._database.read(lambda c: reminders.asked(c, about))
        levels = {
            each.notification: level
            for each in overdue
            if (level := self._level(each, asked.get(each.notification, {}), now.date())) is not None
        }
        if not levels:
            return 0
        notified = await self._database.read(lambda c: reminders.notifications(c, list(levels)))
        prepared = {
            name_of(levels[each.notification], each.notification): self._request(
                each, notified[each.notification], levels[each.notification], now.date()
            )
            for each in overdue
            if each.notification in notified and each.notification in levels
        }
        return await self._bring(prepared, now, at_once=self.settings.send == "auto")

    def _level(self, overdue: Overdue, asked: Mapping[int, str], day: date) -> int | None:
        """The level at which to ask now, if any: the next one, no sooner than its days have passed since the last.

        So a node that was switched off for a month begins at the first level all the same, and no level lies on top of another that
        nobody has released yet.
        """
        last = max(asked, default=0)
        if last >= len(self.settings.days):
            return None
        ripe = overdue.due + self._after(0)
        if last:  # the day may have moved since, by a promise
            since = date.fromisoformat(asked[last][:10])
            if since == date.max:  # that one waits for an officer still
                return None
            ripe = max(ripe, since + self._after(last) - self._after(last - 1))
        return last + 1 if ripe <= day else None

    def _request(self, overdue: Overdue, notification: Document, level: int, day: date) -> dict[str, Any]:
        said = notification.data
        assert isinstance(said, ExportNotification)
        contact = self._identity().records[-1].authority.contact
        data = {
            "certificate": said.certificate.model_dump(mode="json", exclude_none=True),
            "notification": {"id": notification.id, "digest": overdue.notification},
            "level": level,
            "due": overdue.due.isoformat(),
            "days_overdue": (day - overdue.due).days,
        } | ({} if contact is None else {"contact": contact})
        return {"type": ConfirmationRequest.name, "recipient": notification.recipient, "data": data}

    async def _bring(self, prepared: Mapping[str, dict[str, Any]], now: datetime, *, at_once: bool) -> int:
        """Say these drafts, or keep them for an officer: those too that cannot be said by the node alone."""
        if at_once:
            self._left |= {
                each["recipient"] for each in prepared.values() if not self._ready(each["recipient"])
            }
            prepared = {name: each for name, each in prepared.items() if self._ready(each["recipient"])}
        kept = dict(prepared)
        if at_once:
            for name, draft in prepared.items():
                try:
                    await self._submit([draft], caller=NODE, key=name, digest=name)
                except (ReleaseNeededError, DraftError, SubmissionError) as error:
                    log.info("reminder-kept-for-an-officer", reminder=name, error=type(error).__name__)
                else:
                    del kept[name]
        at = rfc3339(now)

        def keep(connection: Transaction) -> int:
            numbers = [drafts.draft_once(connection, name, draft, at) for name, draft in kept.items()]
            return sum(number is not None for number in numbers)

        return len(prepared) - len(kept) + (await self._database.write(keep) if kept else 0)

    async def _tidy(self, now: datetime) -> None:
        """Reminders that nobody has looked at: put away what is due no more, and count the days of the others anew."""
        after, at, day = 0, rfc3339(now), now.date()
        while True:
            rows = await self._database.read(
                lambda c, after=after: reminders.untouched(c, after, PAGE)  # type: ignore[misc]
            )
            keys = [self._practice.key(row.certificate or "") for row in rows]
            due = await self._database.read(lambda c, keys=keys: _due(c, keys))  # type: ignore[misc]
            changed = [
                (row, fresh)
                for row, key in zip(rows, keys, strict=True)
                if (fresh := _anew(row, *due.get(key, (None, [])), day)) != row.content
            ]
            if changed:
                await self._database.write(lambda c, changed=changed: _tidy(c, changed, at))  # type: ignore[misc]
            if len(rows) < PAGE:
                return
            after = rows[-1].seq

    # -- numbers used twice ----------------------------------------------------------------------------------------------

    async def _warn(self, now: datetime) -> int:
        me, done = self._identity().address, 0
        place: reminders.Place | None = (0, None)
        while place is not None:
            found, place = await self._database.read(
                lambda c, place=place: reminders.used_twice(c, me, place, PAGE)  # type: ignore[misc]
            )
            warnings = {each.name: self._warning(each, now.date()) for each in found}
            done += await self._bring(warnings, now, at_once=False) if warnings else 0
        return done

    def _warning(self, used: UsedTwice, day: date) -> dict[str, Any]:
        """To one importer, and nothing in it about the other: no third party learns of a shipment."""
        contact = self._identity().records[-1].authority.contact
        data = {
            "issuer": self._identity().address[:2],
            "kind": "used_twice",
            "numbers": [{"first": used.number}],
            "valid_from": day.isoformat(),
            "description": (
                f"Certificate {used.number} has been presented to more than one importing authority. Please secure the original, "
                "compare it with the shipment, and tell us what you find."
            ),
        } | ({} if contact is None else {"contact": contact})
        return {"type": Alert.name, "recipient": used.importer, "subject": used.key, "data": data}


def _notification(case: Mapping[str, Any]) -> str | None:
    """The id of the notification that holds; None if none does."""
    standing: Sequence[str] = case.get("notifications", ())
    if len(standing) > 1 and case.get("current") in standing:
        return str(case["current"])
    return standing[-1] if standing else None


def _confirmation_due(matters: Sequence[Mapping[str, Any]]) -> list[date]:
    return [
        date.fromisoformat(matter["due"])
        for matter in matters
        if matter["kind"] == "confirmation" and matter["due"] is not None
    ]


def _due(connection: Transaction, keys: Sequence[str]) -> dict[str, tuple[str | None, list[date]]]:
    """For each certificate its notification, and the days on which a confirmation is or was due."""
    return {
        row.key: (_notification(row.case), _confirmation_due(row.case.get("matters", ())))
        for row in certificates_by_key(connection, keys)
    }


def _anew(row: DraftRow, notification: str | None, days: Sequence[date], day: date) -> dict[str, Any] | None:
    """What the reminder should say today; None if it should not be said (any more)."""
    draft = row.content
    if notification != draft["data"]["notification"]["digest"] or not any(each <= day for each in days):
        return None
    since = min(days)
    counted = {"due": since.isoformat(), "days_overdue": (day - since).days}
    return draft | {"data": draft["data"] | counted}


def _tidy(
    connection: Transaction, changed: Sequence[tuple[DraftRow, dict[str, Any] | None]], at: str
) -> None:
    for row, fresh in changed:
        current = drafts.draft(connection, row.seq)
        if current is None or current.version != row.version:
            continue  # somebody has written in it meanwhile
        if fresh is None:
            drafts.discard(connection, row.seq, NODE, "The confirmation is not overdue any more.", at)
        else:
            drafts.revise(connection, row.seq, fresh, NODE, at)
