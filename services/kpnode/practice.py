"""The authority's own policy as its operator writes it in the settings: `[policy]`, to be published, and `[local]`, not.

Reads it strictly (a mistyped member of a policy that is heard from others is ignored, but one of our own would be a
rule that is not in force), says how it stands in our key record, and finds what an operator cannot have meant. What policy
does to documents is not known here: that is `kpmsg.policy` and `kpmsg.policy.screening`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations, pairwise
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kpmsg import strictjson
from kpmsg.documents.participants import participant_of
from kpmsg.policy import WHAT, Delay, Embargo, Policy, PriceBand, Regime, SingleOriginDemand, Standing
from kpmsg.policy.calendar import Dated, Deadline
from kpmsg.policy.numbers import Series

LARGEST: Final = 40 * 1024
"""Bytes of JSON. The payload of a key record may have 64 KiB (D4), and keys with their proofs need their room in it."""

_M = TypeVar("_M", bound=BaseModel)


class Local(BaseModel):
    """What we hold against others without publishing it: their documents wait for an officer or show a warning; none is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    standing: tuple[Standing, ...] = Field(
        default=(),
        max_length=200,
        description="Participants whose notifications wait for an officer, and to which nothing is signed.",
    )
    embargoes: tuple[Embargo, ...] = Field(
        default=(), max_length=100, description="Diamonds from there wait for an officer."
    )
    regimes: tuple[Regime, ...] = Field(
        default=(),
        max_length=100,
        description="Diamonds from there wait for an officer if they name no approval and no zone.",
    )
    single_origin: tuple[SingleOriginDemand, ...] = Field(
        default=(), max_length=50, description="From which weight on mixed origin is shown as a warning."
    )
    price_bands: tuple[PriceBand, ...] = Field(
        default=(),
        max_length=100,
        description="Values in US$ of a carat outside of which a warning is shown.",
    )
    delays: tuple[Delay, ...] = Field(
        default=(),
        max_length=50,
        description="After how many days on its way a document is shown as back-dated; stronger than what is published.",
    )

    @property
    def policy(self) -> Policy:
        """As `kpmsg.policy.Practice` takes it."""
        return Policy(**{name: getattr(self, name) for name in type(self).model_fields})


def strictly(model: type[_M]) -> Callable[[object], _M]:
    """A validator that takes `model`, or what TOML and JSON make of it, and refuses every member that there is not."""

    def read(value: object) -> _M:
        if isinstance(value, model):
            return value
        try:
            found = model.model_validate(_worded(value), extra="forbid")
        except ValidationError as error:
            raise ValueError("; ".join(_told(each) for each in error.errors(include_url=False))) from None
        unknown = sorted({each.what for each in getattr(found, "deadlines", ())} - set(WHAT))
        if unknown:
            raise ValueError(f"there is no deadline {unknown[0]!r}; there are {', '.join(WHAT)}")
        return found

    return read


def _worded(value: object) -> object:
    """TOML knows days; a policy has them as text, as the wire does."""
    match value:
        case date():
            return value.isoformat()
        case Mapping():
            return {name: _worded(each) for name, each in value.items()}
        case list() | tuple():
            return tuple(_worded(each) for each in value)
        case _:
            return value


def _told(error: Any) -> str:
    where = ".".join(str(step) for step in error["loc"])
    what = (
        "there is no such setting"
        if error["type"] == "extra_forbidden"
        else error["msg"].removeprefix("Value error, ")
    )
    return f"{where}: {what}" if where else what


def published(policy: Policy) -> dict[str, Any] | None:
    """The member `policy` of our key record; None where there is nothing to say."""
    return policy.model_dump(mode="json", exclude_defaults=True) or None


def contradictions(policy: Policy, local: Local, address: str, today: date) -> Iterator[str]:
    """What the operator cannot have meant, a sentence each. Everything here is lawful, and none of it does what it seems to."""
    size = len(strictjson.dumps(published(policy) or {}))
    if size > LARGEST:
        yield f"[policy] has {size} bytes as JSON; a key record has room for about {LARGEST}"
    for where, said in (("policy", policy), ("local", local)):
        for what, entries in _rivals(said):
            for one, other in combinations(entries, 2):
                if one.valid_from == other.valid_from and one != other:
                    yield f"{where}.{what}: two entries begin on {one.valid_from}; the last one listed is in force"
        for standing in said.standing:
            if standing.participant == address[:2]:
                yield f"{where}.standing: nobody asks us about ourselves ({standing.participant})"
    for mine in local.standing:
        for told in policy.standing:
            if (
                told.participant == mine.participant
                and told.standing != mine.standing
                and _overlap(told, mine)
            ):
                yield (
                    f"{mine.participant} is called {told.standing} in [policy] and {mine.standing} in [local] at the same time"
                )
    yield from _numbers(policy.numbers, address)
    yield from _days(policy, today)


def _rivals(said: Policy | Local) -> Iterator[tuple[str, Sequence[Dated]]]:
    """Entries of which one alone can be in force on a day: those about the same thing."""
    told: list[tuple[str, Dated]] = [(f"standing of {each.participant}", each) for each in said.standing]
    told += [("single_origin", each) for each in said.single_origin]
    told += [(f"price_bands of {each.hs or 'all codes'}", each) for each in said.price_bands]
    told += [("delays", each) for each in said.delays]
    if isinstance(said, Policy):
        told += [("tolerances", each) for each in said.tolerances]
        told += [(f"deadlines for {each.what}", each) for each in said.deadlines]
        told += [("calendar.weekends", each) for each in said.calendar.weekends]
        told += [("validity_days", each) for each in said.validity_days]
        told += [("confirmers", each) for each in said.confirmers]
    for name in dict.fromkeys(name for name, _ in told):
        yield name, [each for other, each in told if other == name]


def _numbers(numbers: Sequence[Series], address: str) -> Iterator[str]:
    prefixes = participant_of(address).prefixes
    for series in numbers:
        if series.letters[:2] not in prefixes:
            yield f"policy.numbers: nobody asks us how {series.letters} is numbered; our letters are {', '.join(sorted(prefixes))}"
        ordered = sorted(series.ranges, key=lambda each: each.first)
        for one, other in pairwise(ordered):
            if other.first <= one.last:
                yield f"policy.numbers: ranges of {series.letters} overlap at {other.first}"
    for one_series, other_series in combinations(numbers, 2):
        if one_series.form == other_series.form and _overlap(one_series, other_series):
            yield f"policy.numbers: two series of the form {one_series.form} hold at the same time; a number cannot tell which"


def _days(policy: Policy, today: date) -> Iterator[str]:
    ended = [
        name
        for name, entries in _rivals(policy)
        if all(each.valid_until is not None and each.valid_until < today for each in entries)
    ]
    for name in ended:
        yield f"policy.{name}: every entry has ended, and the protocol's default holds again"
    counted: list[Deadline] = [each for each in policy.deadlines if each.working and each.holds(today)]
    years = {each.year for each in policy.calendar.holidays}
    if counted and today.year not in years:
        yield f"policy.calendar.holidays: none in {today.year}, while deadlines count working days"
    if counted and today.month >= 11 and years and today.year + 1 not in years:
        yield f"policy.calendar.holidays: none in {today.year + 1} yet, and deadlines will soon reach into it"


def _overlap(one: Dated, other: Dated) -> bool:
    return (one.valid_until is None or other.valid_from <= one.valid_until) and (
        other.valid_until is None or one.valid_from <= other.valid_until
    )
