"""The Participants of the Scheme as they stood in January 2025: names, authorities, certificate prefixes.

A printed list, shipped with the package. It answers "whose prefix is this?" and "how is this Participant called?".
It does not decide who may take part: that changes with time and is not for a list in a library to say.
Reading it is reading this package's own data; no other file is touched.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GL GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
_EU_COUNTRIES = frozenset(_EU.split())
"""The member states, and Greenland, which takes part through the Union (Regulation (EC) 2368/2002)."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One Participant. `authorities` is empty where there is only one, addressed by the code alone."""

    code: str
    name: str
    kind: str
    authorities: tuple[str, ...]
    prefixes: frozenset[str]

    @property
    def countries(self) -> frozenset[str]:
        """The ISO 3166-1 countries whose companies are at home in this Participant."""
        if self.code == "EU":
            return _EU_COUNTRIES
        if self.code == "CN":
            return frozenset({"CN", "HK", "MO"})
        return frozenset({self.code})


@cache
def participants() -> dict[str, Participant]:
    """All Participants by code."""
    text = files("kpmsg.documents").joinpath("participants.csv").read_text("utf-8")
    return {
        row["code"]: Participant(
            row["code"],
            row["name"],
            row["kind"],
            tuple(row["authorities"].split(";")) if row["authorities"] else (),
            frozenset(row["certificate_prefixes"].split(";")),
        )
        for row in csv.DictReader(text.splitlines())
    }


def participant_of(address: str) -> Participant:
    """The Participant an authority belongs to; one not on the list issues under its own two letters."""
    code = address[:2]
    return participants().get(code) or Participant(code, code, "unlisted", (), frozenset({code}))
