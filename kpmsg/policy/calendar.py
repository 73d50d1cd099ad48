"""Days: which rule holds on one, whether an authority works on it, and when a deadline ends.

The counting is that of Regulation (EEC, Euratom) No 1182/71, Article 3, which is also how a clerk counts: the day on which
something happens is not counted, the first day is the one after it. Working days skip the weekend *and* the holidays that hold on each
single day, for weekends change (the Emirates' did on 1 January 2022). Days are calendar days where the authority is;
turning an instant into one is for whoever has the instant, and no clock is read here.

Rules P2, P4 and P5 of protocol/policy.md.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Final, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StrictInt, StringConstraints, model_validator

from kpmsg.documents.vocabulary import Date, Flag, Maybe

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)
"""In the order of `date.weekday()`."""

ONE_DAY: Final = timedelta(days=1)


class Part(BaseModel):
    """A part of a policy: immutable; members of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Dated(Part):
    """Something that holds from one day on, perhaps until another; both days are included."""

    valid_from: Date
    valid_until: Maybe[Date] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise ValueError("valid_until is before valid_from")
        return self

    def holds(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_until is None or day <= self.valid_until)


D = TypeVar("D", bound=Dated)


def in_force(entries: Iterable[D], day: date) -> D | None:
    """The entry that holds on `day`; of several the one with the latest `valid_from`, of equals the last listed."""
    best: D | None = None
    for entry in entries:
        if entry.holds(day) and (best is None or entry.valid_from >= best.valid_from):
            best = entry
    return best


class Weekend(Dated):
    """The days of the week on which the authority does not work. At most three: an authority that never works owes nothing."""

    days: Annotated[tuple[Weekday, ...], Field(max_length=3)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.days)) != len(self.days):
            raise ValueError("a day of the weekend is named twice")
        return self


class Calendar(Part):
    """When an authority works: its weekends, and the holidays that it has published, each as its date."""

    weekends: tuple[Weekend, ...] = Field(
        default=(), max_length=20, description="Days of the week off, at most three, from when until when."
    )
    holidays: tuple[Date, ...] = Field(
        default=(),
        max_length=1000,
        description="Other days off, each as its date; publish those of next year in time.",
    )

    _holidays: frozenset[date] = PrivateAttr(default_factory=frozenset)

    @model_validator(mode="after")
    def _ready(self) -> Self:
        self._holidays = frozenset(self.holidays)
        return self

    def works(self, day: date) -> bool:
        """Whether `day` is a working day. Where no weekend is published for the day, every day but a holiday is one."""
        if day in self._holidays:
            return False
        weekend = in_force(self.weekends, day)
        return weekend is None or WEEKDAYS[day.weekday()] not in weekend.days

    def after(self, start: date, days: int) -> date:
        """The `days`-th working day after `start`, which itself is not counted."""
        day = start
        while days > 0:
            day += ONE_DAY
            days -= self.works(day)
        return day

    def rolled(self, day: date) -> date:
        """`day` if it is a working day, else the next one."""
        while not self.works(day):
            day += ONE_DAY
        return day


class Deadline(Dated):
    """How long an authority gives itself, or others, for one thing.

    `what` is open, so that a later version may name things that this one ignores; those in use are in `kpmsg.policy`.
    """

    what: Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z_]{0,39}$")]
    days: Maybe[Annotated[StrictInt, Field(ge=1, le=366)]] = None
    months: Maybe[Annotated[StrictInt, Field(ge=1, le=24)]] = None
    working: Flag = False  #: count working days only
    roll: Maybe[Literal["next_working_day"]] = None  #: a last day off moves to the next working day

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.days is None) == (self.months is None):
            raise ValueError("a deadline has either days or months")
        if self.working and self.days is None:
            raise ValueError("only days can be working days")
        if self.working and self.roll is not None:
            raise ValueError(
                "working days end on a working day already; roll is for calendar days and months"
            )
        return self

    def due(self, start: date, calendar: Calendar) -> date:
        """The last day on which the thing is still in time, if it began on `start`."""
        if self.days is not None and self.working:
            return calendar.after(start, self.days)
        end = (
            start + timedelta(days=self.days)
            if self.days is not None
            else months_after(start, self.months or 0)
        )
        return end if self.roll is None else calendar.rolled(end)


def months_after(start: date, months: int) -> date:
    """The same day so many months later; the month's last day where it has no such day (31 January, one month: 28 February)."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))
