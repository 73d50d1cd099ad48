"""Policy: what each authority demands and allows, day by day, as it has published it itself.

Tolerances, deadlines, weekends, embargoes, who is suspended: all of that differs between authorities and changes with time, so
none of it is a constant. An authority publishes its `Policy` in its key record, signed like its keys; partners apply the newest.
Each entry holds from one day to another (`valid_from`, `valid_until`, both included), and of several in force the one with
the latest `valid_from` wins; where nothing is published the protocol's defaults hold (`DEFAULT`).

`Practice` is everybody's policy as one node knows it, with that authority's own unpublished wishes (`local`). What is
not published can make a document wait for an officer, but cannot refuse it: the sender could not have tested it. What the rules
*say* about a document is `kpmsg.policy.screening`; this module answers only what was in force.

Rules P1 to P3, P6 and P9 of protocol/policy.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, StrictInt, model_validator

from kpmsg.documents.participants import participant_of
from kpmsg.documents.vocabulary import (
    Carats,
    Line,
    Maybe,
    OriginCode,
    ParticipantCode,
    UsDollars,
    Written,
    certificate_key,
)
from kpmsg.policy.calendar import Calendar, Dated, Deadline, Part, in_force
from kpmsg.policy.numbers import Series, near, normalised

What = Literal["confirmation", "irregularity", "query", "status", "request"]
WHAT: Final[tuple[What, ...]] = get_args(What)
"""The deadlines that there are.

`confirmation`: from arrival to the import confirmation. `irregularity`: from its discovery to the notice of it. `query`: from a
discrepancy query to its answer. `status`: from a confirmation request to the status reply. `request`: from
the day on which something is overdue, or from one reminder, to the next reminder.
"""

Percent = Annotated[
    Decimal,
    Written(
        r"^(100(\.00?)?|[1-9]?[0-9](\.[0-9]{1,2})?)$",
        'A percentage must be written in quotation marks, 0 to 100 with at most two decimals, for example "0.10".',
        "0.10",
        Decimal,
    ),
]
_REMEMBERED: Final = (
    10_000  # cases of one day ask for the same deadlines again and again; counting days is slow
)
_Days = Annotated[StrictInt, Field(ge=1, le=3660)]
_Origins = Annotated[tuple[OriginCode, ...], Field(min_length=1, max_length=60)]


class Tolerances(Dated):
    """What the authority, as importer, does not call a discrepancy (I05, I06). Parcels have no tolerance.

    Carats may differ by `carats` or by `carats_percent` of what was notified, whichever is more; by more than `irregular_percent`
    it is an irregularity.
    """

    carats: Carats
    carats_percent: Percent
    value_percent: Percent
    irregular_percent: Percent = Decimal(5)


class SingleOriginDemand(Dated):
    """The law at the destination demands a single origin for lines of this weight and more (F10)."""

    from_carats: Carats


class Embargo(Dated):
    """Diamonds mined there are not to be traded (F09); where `zone` is named, those of that zone only."""

    origins: _Origins
    zone: Maybe[Line] = None


class Regime(Dated):
    """Diamonds mined there travel only with a reference to an approval (P03), as under the CAR's operational framework."""

    origins: _Origins


class Standing(Dated):
    """How the authority sees another Participant: takes part, is suspended, or has left (P01, P02, P04)."""

    participant: ParticipantCode
    standing: Literal["participant", "suspended", "withdrawn"]
    remark: Maybe[Line] = None


class ValidityDays(Dated):
    """How many days after its date of issue a certificate of this issuer expires at the latest (C06)."""

    days: _Days


class PriceBand(Dated):
    """Between which values a carat is usually traded (F12), of one HS code or of all."""

    hs: Maybe[Literal["7102.10", "7102.21", "7102.31"]] = None
    least: UsDollars
    most: UsDollars

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most < self.least:
            raise ValueError("the band's most is less than its least")
        return self


class Confirmer(Dated):
    """Who confirms imports there: the authority itself, or importers on its behalf (I10; 31 CFR 592.301)."""

    role: Literal["importing_authority", "importer_on_behalf"]


class Delay(Dated):
    """How many days a document may take to reach the authority before it is shown as back-dated (T03)."""

    days: _Days


class Policy(Part):
    """What one authority publishes about its practice: lists of what holds from when until when, all of them optional."""

    numbers: tuple[Series, ...] = Field(
        default=(),
        max_length=50,
        description="How our certificates are numbered: letters, digits, what leading zeros mean, ranges that were printed.",
    )
    tolerances: tuple[Tolerances, ...] = Field(
        default=(),
        max_length=50,
        description="What we, as importer, do not call a discrepancy: carats or percent of them, whichever is more; percent of the value.",
    )
    deadlines: tuple[Deadline, ...] = Field(
        default=(),
        max_length=100,
        description=(
            "Days (working ones or all) or months for confirmation, irregularity, query, status and request. The European Union "
            "confirms within 10 working days, the United States within 15 days: days = 15, without working."
        ),
    )
    calendar: Calendar = Field(default=Calendar(), description="When we work.")
    single_origin: tuple[SingleOriginDemand, ...] = Field(
        default=(), max_length=50, description="From which weight on our law demands a single origin."
    )
    embargoes: tuple[Embargo, ...] = Field(
        default=(),
        max_length=100,
        description="Diamonds from there wait for an officer; all entries in force count.",
    )
    regimes: tuple[Regime, ...] = Field(
        default=(),
        max_length=100,
        description="Diamonds from there need the reference of an approval, or their zone; all entries in force count.",
    )
    standing: tuple[Standing, ...] = Field(
        default=(),
        max_length=200,
        description="Participants that we hold to be suspended or to have left, or that are not on the printed list and take part.",
    )
    validity_days: tuple[ValidityDays, ...] = Field(
        default=(), max_length=50, description="How many days our certificates are valid at most."
    )
    price_bands: tuple[PriceBand, ...] = Field(
        default=(),
        max_length=100,
        description="Between which values in US$ a carat is usually traded, of one HS code or of all.",
    )
    confirmers: tuple[Confirmer, ...] = Field(
        default=(),
        max_length=50,
        description="Who confirms imports: importing_authority, or importer_on_behalf.",
    )
    delays: tuple[Delay, ...] = Field(
        default=(),
        max_length=50,
        description="After how many days on its way a document is shown as back-dated.",
    )

    @model_validator(mode="after")
    def _one_spelling(self) -> Self:
        """A number has one key for ever: series with the same letters may not read zeros differently."""
        for letters in {each.letters for each in self.numbers}:
            spellings = {each.spelling for each in self.numbers if each.letters == letters}
            if len(spellings) > 1 and any(zeros == "padding" for _, zeros in spellings):
                raise ValueError(f"two series with the letters {letters} read leading zeros differently")
        return self


def _always(**entry: object) -> dict[str, object]:
    return {"valid_from": "2000-01-01", **entry}


DEFAULT: Final = Policy.model_validate(
    {
        "tolerances": [_always(carats="0.05", carats_percent="0.10", value_percent="25")],
        "deadlines": [
            _always(what="confirmation", days=15),
            _always(what="irregularity", months=1),
            _always(what="query", days=10, working=True),
            _always(what="status", days=5, working=True),
            _always(what="request", days=7),
        ],
        "calendar": {"weekends": [_always(days=["saturday", "sunday"])]},
        "validity_days": [_always(days=60)],
        "delays": [_always(days=7)],
    }
)
"""What holds where nothing is published (P3)."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Carats, and shares (0.25 is a quarter) of what was notified. The larger of the two for carats counts."""

    carats: Decimal
    carats_share: Decimal
    value_share: Decimal
    irregular_share: Decimal


class Practice:
    """What is known of everybody's published policy, and our own local one. Changes only by `publish`."""

    def __init__(self, me: str, local: Policy = Policy()) -> None:  # noqa: B008 - frozen and empty
        self.me = me
        self.local = local
        self._testing: dict[str, bool] = {}
        self._published: dict[str, Policy] = {}
        self._whole: dict[str, Policy] = {}
        self._series: dict[str, tuple[Series, ...]] = {}
        self._due: dict[tuple[str, What, date], date] = {}

    def publish(self, address: str, policy: Policy | None, *, testing: bool = False) -> None:
        """Take what the newest key record of `address` says: its policy, None if it has none, and whether it only tests."""
        self._testing[address] = testing
        if policy is None:
            self._published.pop(address, None)
            self._whole.pop(address, None)
        else:
            self._published[address] = policy
            self._whole[address] = _completed(policy)
        self._due = {}
        series: dict[str, tuple[Series, ...]] = {}
        for publisher, published in sorted(self._published.items()):
            ours = participant_of(publisher).prefixes  # nobody says how another's numbers are read
            for each in published.numbers:
                if each.letters[:2] in ours:
                    series[each.letters[:2]] = (*series.get(each.letters[:2], ()), each)
        self._series = {prefix: _agreed(found) for prefix, found in series.items()}

    def of(self, address: str) -> Policy:
        """The published policy of an authority over the protocol's defaults; these alone if it has published none."""
        return self._whole.get(address, DEFAULT)

    def testing(self, address: str) -> bool | None:
        """Whether an authority only tests, by its key record; None if nothing is known of it."""
        return self._testing.get(address)

    def tolerance(self, importer: str, day: date) -> Tolerance:
        """The importer's tolerance on `day`."""
        entry = in_force(self.of(importer).tolerances, day) or DEFAULT.tolerances[0]
        return Tolerance(
            entry.carats, entry.carats_percent / 100, entry.value_percent / 100, entry.irregular_percent / 100
        )

    def due(self, authority: str, what: What, start: date) -> date:
        """The last day in time, by the rule of that authority that is in force on `start` and by its calendar.

        `start` itself is not counted; a start before every published rule is judged by the defaults.
        """
        found = self._due.get((authority, what, start))
        if found is None:
            policy = self.of(authority)
            rule = in_force((each for each in policy.deadlines if each.what == what), start)
            rule = rule or next(each for each in DEFAULT.deadlines if each.what == what)
            if len(self._due) >= _REMEMBERED:
                self._due = {}
            found = self._due[authority, what, start] = rule.due(start, policy.calendar)
        return found

    def key(self, number: str) -> str:
        """A printed number, or the subject of a document, as the key that its issuer's published series make of it."""
        key = certificate_key(number)
        series = self._series.get(key[:2])
        return key if series is None else normalised(key, series)

    def spelling(self, prefix: str) -> frozenset[tuple[str, tuple[int | None, str]]]:
        """What decides which key a number with this prefix has."""
        return frozenset((each.letters, each.spelling) for each in self._series.get(prefix, ()))

    def near(self, number: str) -> tuple[str, ...]:
        """Keys that may have been meant by a number which is not known; see `kpmsg.policy.numbers.near`.

        Where the number's own letters name nobody who has published series, those of everybody are tried, ours first.
        """
        key = certificate_key(number)
        return near(key, self._series.get(key[:2]) or tuple(self._everybodys()))

    def series(self, issuer: str, day: date, kind: str = "kp") -> tuple[Series, ...]:
        """The series published for `issuer`, an authority, that are in force on `day`.

        Where the authority itself has published none, those of its Participant's other authorities.
        """
        told = [self._published[issuer].numbers] if issuer in self._published else []
        others = [each.numbers for who, each in self._published.items() if who[:2] == issuer[:2]]
        for source in (told, others):
            found = tuple(
                each
                for numbers in source
                for each in numbers
                if each.holds(day)
                and each.kind == kind
                and each.letters[:2] in participant_of(issuer).prefixes
            )
            if found:
                return found
        return ()

    def alone_issues(self, number: str) -> bool:
        """Whether a number of our Participant's can have been issued by nobody but us, so that we may deny it.

        True where the Participant has one authority; else only for numbers that our own published series allot to us. Another
        office's certificate must never be called a counterfeit because this office does not know it.
        """
        if len(participant_of(self.me).authorities) < 2:
            return True
        key = certificate_key(number)
        own = self._published[self.me].numbers if self.me in self._published else ()
        found = ((each, each.number(key)) for each in own if each.ranges)
        return any(at is not None and each.allots(at) for each, at in found)

    def standing(self, participant: str, day: date, by: Policy) -> Standing | None:
        """What the policy `by` says of a Participant on `day`; None if nothing."""
        return in_force((each for each in by.standing if each.participant == participant), day)

    def _everybodys(self) -> Iterator[Series]:
        ours = participant_of(self.me).prefixes
        for prefix in sorted(self._series, key=lambda prefix: (prefix not in ours, prefix)):
            yield from self._series[prefix]


def _completed(policy: Policy) -> Policy:
    """The policy over the defaults: these are the oldest entries, so that anything published wins over them."""
    weekends = DEFAULT.calendar.weekends + policy.calendar.weekends
    return policy.model_copy(
        update={
            "tolerances": DEFAULT.tolerances + policy.tolerances,
            "deadlines": DEFAULT.deadlines + policy.deadlines,
            "calendar": policy.calendar.model_copy(update={"weekends": weekends}),
            "validity_days": DEFAULT.validity_days + policy.validity_days,
            "delays": DEFAULT.delays + policy.delays,
        }
    )


def _agreed(series: Sequence[Series]) -> tuple[Series, ...]:
    """Where authorities of one Participant read zeros of the same letters differently, nobody's word for padding counts."""
    spellings: dict[str, set[tuple[int | None, str]]] = {}
    for each in series:
        spellings.setdefault(each.letters, set()).add(each.spelling)
    return tuple(
        each
        if len(spellings[each.letters]) == 1
        else each.model_copy(update={"leading_zeros": "significant"})
        for each in series
    )
