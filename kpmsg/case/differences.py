"""What an importing authority found other than notified, field by field, and whether it tolerates that.

Compared are the figures and the names that both documents carry (KPCS Section III(b), Annex I B). Whose words hold is not decided
here: the case shows the differences, and rules ask that a confirmation says them itself. The same for two versions of a
notification: an amendment says what it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from kpmsg.case.standing import Confirmed
from kpmsg.documents import ExportAmendment, ExportNotification
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import FoundLine, Party, ShipmentLine
from kpmsg.errors import Problem
from kpmsg.policy import Practice, Tolerance
from kpmsg.rules import breach

PLACES: Final = {
    "parcels": "/found/parcels",
    "carats": "/found/carats",
    "value_usd": "/found/value_usd",
    "hs": "/found/lines",
    "exporter": "/exporter",
    "importer": "/importer",
    "destination": "/country_of_destination",
}
"""The fields that are compared, and where a confirmation has each."""

MOST_UNNAMED: Final = 10
"""So many changes that an amendment does not name are pointed at."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was found other than notified; amounts as they stand on the wire."""

    field: str
    notified: str
    found: str
    beyond_tolerance: bool


def differences(
    notified: ExportNotification, confirmed: Confirmed, practice: Practice
) -> tuple[Difference, ...]:
    """Rules I04, I05, I06, I23: weights and values have the tolerance that the importer published; nothing else has any.

    Empty if nothing has been found (yet): then there is nothing to compare.
    """
    found = confirmed.content.found
    if not (found.parcels or found.carats):
        return ()
    tolerance = practice.tolerance(confirmed.item.source, confirmed.item.document.time.date())
    return tuple(
        Difference(*difference)
        for difference in (
            *_figures(notified, confirmed, tolerance),
            *_codes(notified, confirmed, tolerance),
            *_names(notified, confirmed),
        )
    )


_Found = tuple[str, str, str, bool]


def _figures(notified: ExportNotification, confirmed: Confirmed, tolerance: Tolerance) -> Iterator[_Found]:
    found = confirmed.content.found
    if notified.parcels != found.parcels:
        yield "parcels", str(notified.parcels), str(found.parcels), True
    if notified.carats != found.carats:
        beyond = not _tolerated(notified.carats, found.carats, tolerance)
        yield "carats", f"{notified.carats:.2f}", f"{found.carats:.2f}", beyond
    if found.value_usd is not None and notified.value_usd != found.value_usd:
        beyond = abs(notified.value_usd - found.value_usd) > notified.value_usd * tolerance.value_share
        yield "value_usd", f"{notified.value_usd:.2f}", f"{found.value_usd:.2f}", beyond


def _codes(notified: ExportNotification, confirmed: Confirmed, tolerance: Tolerance) -> Iterator[_Found]:
    """How the carats divide over HS codes. What one code lacks and the total lacks too is the total's difference alone."""
    said, found = by_code(notified.lines), by_code(confirmed.content.found.lines)
    if said.keys() != found.keys():
        yield "hs", ", ".join(sorted(said)), ", ".join(sorted(found)), True
        return
    if len(said) > 1 and any(not _tolerated(said[hs], found[hs], tolerance) for hs in said):
        yield "hs", _amounts(said), _amounts(found), True


def by_code(lines: Iterable[ShipmentLine | FoundLine]) -> dict[str, Decimal]:
    """Carats by HS code."""
    weights: dict[str, Decimal] = {}
    for line in lines:
        weights[line.hs] = weights.get(line.hs, Decimal(0)) + line.carats
    return weights


def _amounts(weights: dict[str, Decimal]) -> str:
    return ", ".join(f"{hs}: {weights[hs]:.2f}" for hs in sorted(weights))


def _tolerated(notified: Decimal, found: Decimal, tolerance: Tolerance) -> bool:
    return abs(notified - found) <= max(tolerance.carats, notified * tolerance.carats_share)


def _names(notified: ExportNotification, confirmed: Confirmed) -> Iterator[_Found]:
    content = confirmed.content
    for field, said, found in (
        ("exporter", notified.exporter, content.exporter),
        ("importer", notified.importer, content.importer),
    ):
        if not same_name(said.name, found.name) or said.country != found.country:
            yield field, _party(said), _party(found), True
    bound_for = notified.destination.participant
    at_home = participant_of(bound_for).countries | {notified.importer.country}
    if content.country_of_destination not in at_home:
        yield "destination", bound_for, content.country_of_destination, True


def _party(party: Party) -> str:
    return f"{party.name} ({party.country})"


def same_name(one: str, other: str) -> bool:
    """Whether two spellings of a company's name are the same, but for case and spaces."""
    return " ".join(one.casefold().split()) == " ".join(other.casefold().split())


# -- what a document should say of it itself ----------------------------------------------------------------------------


def unsaid(
    notified: ExportNotification, confirmed: Confirmed, practice: Practice, at: str
) -> Iterator[Problem]:
    """I04, I05, I06, I23: a difference beyond tolerance that the confirmation does not list; I07: nor does its outcome tell.

    `at`: where the document has the confirmation's content.
    """
    content = confirmed.content
    listed: set[str] = {each.field for each in content.discrepancies}
    if "other" in listed:  # the form has no word for it
        listed.add("destination")
    beyond = [each for each in differences(notified, confirmed, practice) if each.beyond_tolerance]
    for each in beyond:
        place, said, found = f"{at}{PLACES[each.field]}", each.notified, each.found
        match each.field:
            case "carats" if irregular(notified, confirmed, practice):
                yield breach("I05", "irregular", place, notified=said, found=found)
            case field if field in listed:
                pass
            case "parcels":
                yield breach("I04", "parcels", place, notified=said, found=found)
            case "carats":
                yield breach("I05", "carats", place, notified=said, found=found)
            case "value_usd":
                yield breach("I06", "value", place, notified=said, found=found)
            case "hs":
                yield breach("I23", "hs", place, notified=said, found=found)
            case "exporter":
                yield breach("I23", "exporter", place, notified=said, found=found)
            case "importer":
                yield breach("I23", "importer", place, notified=said, found=found)
            case "destination":
                yield breach("I23", "destination", place, notified=said, found=found)
    if beyond and content.outcome == "confirmed" and not content.discrepancies:
        yield breach("I07", "beyond-tolerance", f"{at}/outcome")


def irregular(notified: ExportNotification, confirmed: Confirmed, practice: Practice) -> bool:
    """Whether the weight differs by so much that it is an irregularity, by what the importer has published."""
    tolerance = practice.tolerance(confirmed.item.source, confirmed.item.document.time.date())
    difference = abs(notified.carats - confirmed.content.found.carats)
    return difference > notified.carats * tolerance.irregular_share


def misnamed(amendment: ExportAmendment, before: ExportNotification) -> Iterator[Problem]:
    """A18: an officer who has seen the version before looks only where the amendment says that it differs."""
    differs: list[str] = []
    _compare(_json(before), _json(amendment.content), "", differs)
    for n, named in enumerate(amendment.changed):
        if not any(_touch(one, named) for one in differs):
            yield breach("A18", "same", f"/data/changed/{n}")
    unnamed = [one for one in differs if not any(_touch(one, named) for named in amendment.changed)]
    for pointer in unnamed[:MOST_UNNAMED]:
        yield breach("A18", "unnamed", f"/data/content{pointer}")


def _json(content: ExportNotification) -> Any:
    """What an amendment can say: a technical certificate notice has more to it, which is not amended."""
    return content.model_dump(mode="json", exclude_none=True, include=set(ExportNotification.model_fields))


def _touch(one: str, other: str) -> bool:
    """Whether one JSON pointer leads to the other's place, into it, or around it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _compare(before: Any, after: Any, at: str, found: list[str]) -> None:
    """Pointers to what differs, as far in as both have something there. No deeper than the form of a notification."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = (dict(enumerate(each)) for each in (before, after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after:
            found.append(at)
        return
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after:
            _compare(before[name], after[name], f"{at}/{name}", found)
        else:
            found.append(f"{at}/{name}")
