"""Certificate numbers: how an issuer numbers its certificates, when two spellings are one number, and which number was meant.

An issuer publishes its *series*: letters, how many digits follow, whether leading zeros mean anything, and which numbers were
allotted. Nothing is assumed that it has not published: without its word "SL004911" and "SL4911" are two numbers. The number as
printed is kept by whoever keeps the document; here there are keys only (capitals, no separators).

`near` proposes what somebody may have meant who mistyped a number. It knows nothing of which numbers exist: the caller looks its
proposals up and *offers* those that do. Nobody may act on one without an officer.

`series_of` is what reports and ranges go by. Rules P7 and P8 of protocol/policy.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StrictInt, StringConstraints, model_validator

from kpmsg.documents.vocabulary import Maybe
from kpmsg.policy.calendar import Dated, Part

MOST_DIGITS: Final = 15
"""Numbers in a policy stay below what JSON carries exactly everywhere (RFC 8259, 6)."""
MOST_NEAR: Final = 40

_Number = Annotated[StrictInt, Field(ge=0, lt=10**MOST_DIGITS)]
_SPLIT: Final = re.compile(r"\A([A-Z0-9]*?)([0-9]{1,18})\Z")  # 18 digits: what a database's BIGINT holds
_KEY: Final = re.compile(r"\A[A-Z]{2}[A-Z0-9]{1,62}\Z")
# What a hand-written or badly printed character is taken for.
_AS_DIGIT: Final = {"O": "0", "Q": "0", "D": "0", "I": "1", "L": "1", "S": "5", "B": "8", "Z": "2", "G": "6"}
_AS_LETTER: Final = {"0": "O", "1": "I", "5": "S", "8": "B", "2": "Z", "6": "G"}


class Range(Part):
    """Consecutive numbers, both ends included."""

    first: _Number
    last: _Number

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError("the last number of a range is smaller than its first")
        return self

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1


class Series(Dated):
    """One way in which an issuer numbers certificates: letters, then digits.

    `digits`: how many every number has; unset: any. `leading_zeros`: with "padding" SL4911 and SL004911 are one number, with
    "significant" (unless said otherwise) two. `ranges`: the numbers that were printed; unset: not told.
    """

    kind: Literal["kp", "technical"] = "kp"
    letters: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z]{2,8}$")]
    digits: Maybe[Annotated[StrictInt, Field(ge=1, le=MOST_DIGITS)]] = None
    leading_zeros: Literal["significant", "padding"] = "significant"
    ranges: Annotated[tuple[Range, ...], Field(max_length=500)] = ()

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.digits is not None and any(each.last >= 10**self.digits for each in self.ranges):
            raise ValueError(f"a range has numbers of more than {self.digits} digits")
        return self

    @property
    def spelling(self) -> tuple[int | None, str]:
        """What decides how its numbers are written; two series with the same letters must agree on it if one pads."""
        return self.digits, self.leading_zeros

    @property
    def form(self) -> str:
        """How its numbers look, for people: BW###### for six digits, BW#... for any."""
        return self.letters + ("#..." if self.digits is None else "#" * self.digits)

    def number(self, key: str) -> int | None:
        """The number in `key` if that has the form of this series, else None."""
        figures = self._figures(self.key(key))
        return int(figures) if figures and self.digits in {None, len(figures)} else None

    def key(self, key: str) -> str:
        """`key` as this series writes it; unchanged where leading zeros are significant or the form is another."""
        figures = self._figures(key)
        if not figures or self.leading_zeros == "significant":
            return key
        # int() would lose nothing, but a text of 60 digits is not a number that anybody printed
        return self.letters + figures.lstrip("0").rjust(self.digits or 1, "0")

    def allots(self, number: int) -> bool:
        """Whether the number was allotted, as far as that is told."""
        return not self.ranges or any(number in each for each in self.ranges)

    def _figures(self, key: str) -> str:
        rest = key[len(self.letters) :]
        return rest if key.startswith(self.letters) and rest.isascii() and rest.isdigit() else ""


def normalised(key: str, series: Iterable[Series]) -> str:
    """`key` as the issuer whose `series` these are writes it. Of several that fit, any: they agree on how zeros are read (P7).

    Idempotent. `series` may be those of many years: how zeros are read does not change with the day.
    """
    return next((each.key(key) for each in series if each.number(key) is not None), key)


def near(key: str, series: Sequence[Series] = ()) -> tuple[str, ...]:
    """Numbers that somebody may have meant who wrote `key`: at most 40, the likeliest first, always the same ones.

    Tried in this order: zeros as the issuer writes them; its letters put before bare digits; characters that look alike; a
    leading zero too few or too many; two neighbours exchanged; one character too many; one zero too few; then, only if
    *all* of them still find room, one digit read wrongly (some of them would look like all of them). What has the form of a
    published series comes before what has not. Offered, never assumed; never contains `key`.
    """
    letters, digits = _parts(key)
    found: dict[str, None] = {}
    for guess in _guesses(letters, digits, series):
        spelt = normalised(guess, series)
        if spelt != key and _KEY.match(spelt):
            found.setdefault(spelt)
    likely = sorted(found, key=lambda guess: all(each.number(guess) is None for each in series))  # stable
    wrong = [
        guess
        for guess in _misread(letters, digits)
        if guess != key and guess not in found and _KEY.match(guess)
    ]
    if len(likely) + len(wrong) <= MOST_NEAR:
        likely += wrong
    return tuple(likely[:MOST_NEAR])


def _parts(key: str) -> tuple[str, str]:
    """Letters and digits of a mistyped key: the first two characters are letters whatever they look like."""
    figures = len(key) - len(key.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    if key.isdigit():
        return "", key
    # the letters end where the digits begin; a look-alike letter among the first digits belongs to these
    while figures > 2 and key[figures - 1] in _AS_DIGIT:
        figures -= 1
    figures = max(figures, min(2, len(key)))
    return key[:figures], key[figures:]


def _guesses(letters: str, digits: str, series: Sequence[Series]) -> Iterator[str]:
    yield letters + digits  # as the issuer writes it
    clean = "".join(_AS_DIGIT.get(each, each) for each in digits)
    named = "".join(_AS_LETTER.get(each, each) for each in letters)
    if not letters or (letters + clean).isdigit():
        for each in series:
            yield each.letters + (
                letters + clean if each.digits is None else (letters + clean).zfill(each.digits)
            )
    yield named + clean
    for each in series:
        if each.letters.startswith(named) or named.startswith(each.letters[:2]):
            yield each.letters + (clean if each.digits is None else clean.lstrip("0").zfill(each.digits))
    for place, figure in enumerate(digits):
        if figure in _AS_DIGIT:
            yield letters + digits[:place] + _AS_DIGIT[figure] + digits[place + 1 :]
    yield f"{named}0{clean}"
    if clean.startswith("0") and len(clean) > 1:
        yield named + clean[1:]
    for place in range(len(clean) - 1):
        yield named + clean[:place] + clean[place + 1] + clean[place] + clean[place + 2 :]
    if len(named) == 2:
        yield named[::-1] + clean
    for place in range(len(clean)):
        if len(clean) > 1:
            yield named + clean[:place] + clean[place + 1 :]
    for place in range(1, len(clean) + 1):
        yield f"{named}{clean[:place]}0{clean[place:]}"


def _misread(letters: str, digits: str) -> list[str]:
    return [
        letters + digits[:place] + figure + digits[place + 1 :]
        for place, each in enumerate(digits)
        for figure in "0123456789"
        if each.isdigit() and figure != each
    ]


# --- the arithmetic of reports ----------------------------------------------------------------------------------------


def series_of(key: str) -> tuple[str, int] | None:
    """`key` as its series and its number in it: "BW012345" is ("BW/6", 12345); None if it does not end in a digit.

    The series names letters and count of digits, so that numbers of one series compare as they are printed, and (series, number)
    finds every number of a range.
    """
    match = _SPLIT.match(key)
    return None if match is None else (f"{match[1]}/{len(match[2])}", int(match[2]))
