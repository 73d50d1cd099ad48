"""What a clerk writes at some places of a draft: read as the field there has it, and what follows from it for other fields.

On a command line everything is text. Whether "12.40" is a text or a number, and "yes" a word or a flag, is not to be guessed from how it
looks but known from the type of the document: amounts, numbers of certificates and dates stay texts, whatever they look like. And who
has weighed a parcel says so once; that the only line of it weighs the same, and that this is a discrepancy, follows.

Pointers are those of `changed`: into the draft's `data`. Whether the result is right is for its rules to say, not for this
module; nothing is read or sent here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from kpmsg import strictjson
from kpmsg.case.prefill import Draft
from kpmsg.documents import form_of, kind_of
from kpmsg.documents.vocabulary import Carats, certificate_key
from kpmsg.errors import MalformedError, shown

LEFT_OUT: Final = object()
"""Stands for "this member shall not be there"; None is `null`, which some members may be."""

Changes = dict[str, Any]
_Schema = Mapping[str, Any]

_WHOLE_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_SHORT_AMOUNT: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9])?")
_AMOUNT_FORM: Final = TypeAdapter(Carats).json_schema()["pattern"]
_HALF_RANGE: Final = re.compile(
    r".*?(?P<from>[0-9]+)(?P<mark>\s*(?:-|/|\u2013|\.\.+|\bto\b)\s*)(?P<to>[0-9]+)"
)
_TWO_NUMBERS: Final = re.compile(r".*[0-9].*[^\W\d_]{2}.*[0-9]")
_DISPOSITION: Final = re.compile(r"/discrepancies/[0-9]+/disposition")
_FLAGS: Final = {"true": True, "yes": True, "false": False, "no": False}


class WishError(ValueError):
    """What was written cannot be put anywhere; the text says why, to whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much what is found may differ from what was notified before it counts; shares are of the notified amount."""

    carats: Decimal = Decimal(0)
    carats_share: Decimal = Decimal(0)
    value_share: Decimal = Decimal(0)

    def allows(self, field: str, notified: str, found: str) -> bool:
        """Whether two amounts, as texts, are the same for all that matters here."""
        if notified == found:
            return True
        try:
            before, after = Decimal(notified), Decimal(found)
        except ArithmeticError:
            return False
        if not (before.is_finite() and after.is_finite()):
            return False
        if field == "carats":
            allowed = max(self.carats, before * self.carats_share)
        else:
            allowed = before * self.value_share if field == "value_usd" else Decimal(0)
        return abs(before - after) <= allowed


# -- what is written ---------------------------------------------------------------------------------------------------


def type_of(said: str, among: Sequence[str]) -> str:
    """The one document type (short name) of `among` that `said` names, wholly or by a part of it. WishError if it is not one."""
    if said in among:
        return said
    found = [name for name in among if said.strip() and said.strip().lower() in name]
    if len(found) == 1:
        return found[0]
    if found:
        raise WishError(f"{said} may be {' or '.join(found)}")
    raise WishError(f"there is no {shown(said)}; there is: {', '.join(among)}")


def wishes(kind: str, settings: Iterable[str], drops: Iterable[str] = ()) -> Changes:
    """What "/found/carats=12.40" and the like ask of a draft of type `kind` (short), by pointer; `drops` are left out.

    Raises WishError for a place that documents of this type do not have, and for what cannot be read.
    """
    changes: Changes = {}
    for setting in settings:
        pointer, equals, text = setting.partition("=")
        if not equals:
            raise WishError(f"write /place=value, and not {shown(setting)}")
        pointer = _pointer(pointer)
        changes[pointer] = _value(text, kind, pointer)
    for drop in drops:
        pointer = _pointer(drop)
        _places(kind, pointer)
        changes[pointer] = LEFT_OUT
    return changes


def _pointer(written: str) -> str:
    """With the slash that it begins with; people leave it away."""
    place = written.strip().removeprefix("/data/").strip("/")
    if not place:
        raise WishError(f"{shown(written)} names no place in a document")
    return f"/{place}"


def _value(text: str, kind: str, pointer: str) -> Any:
    places = _places(kind, pointer)
    kinds = {place.get("type") for place in places}
    stripped = text.strip()
    if "null" in kinds and stripped == "null":
        return None
    if kinds & {"object", "array"} and not kinds & {"string", "integer", "boolean"}:
        return _structure(
            stripped, kinds, [each for place in places for each in _inside(place, "0", kind)], pointer
        )
    if "integer" in kinds and _WHOLE_NUMBER.fullmatch(stripped):
        return int(stripped)
    if "boolean" in kinds and stripped.lower() in _FLAGS:
        return _FLAGS[stripped.lower()]
    if len(stripped) > 1 and stripped[0] == stripped[-1] == '"':
        text = _unquoted(stripped) or text  # copied from JSON, or the shell has left the quotation marks
    if any(place.get("pattern") == _AMOUNT_FORM for place in places):
        return _amount(text.strip())
    return text


def _unquoted(text: str) -> str | None:
    try:
        value = strictjson.loads(text.encode("utf-8", "surrogateescape"))
    except MalformedError:
        return None
    return value if isinstance(value, str) else None


def _amount(text: str) -> str:
    """With its two decimals: "12" and "12.4" can mean nothing else. Commas could, and are left to be refused."""
    match = _SHORT_AMOUNT.fullmatch(text)
    return text if match is None else f"{text}0" if match[2] else f"{text}.00"


def _structure(text: str, kinds: set[Any], items: Sequence[_Schema], pointer: str) -> Any:
    if not text.startswith("[") and items and all(each.get("type") == "string" for each in items):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        value = strictjson.loads(text.encode("utf-8", "surrogateescape"))
    except MalformedError as error:
        raise WishError(f"{pointer} has parts of its own and is written as JSON: {error.text}") from None
    wanted = {"object": dict, "array": list}
    if not any(isinstance(value, wanted[kind]) for kind in kinds & wanted.keys()):
        what = " or ".join(sorted("{...}" if kind == "object" else "[...]" for kind in kinds & wanted.keys()))
        raise WishError(f"{pointer} is written as {what}")
    return value


# -- where it is written -----------------------------------------------------------------------------------------------


@cache
def _form(kind: str) -> _Schema:
    content = kind_of(kind)
    if content is None:
        raise KeyError(kind)
    return form_of(content.type).model_json_schema()


def _places(kind: str, pointer: str) -> list[_Schema]:
    """What may stand at a place of the data of such a document; WishError if there is no such place."""
    here = _resolved(_form(kind)["properties"]["data"], kind)
    before = ""
    for part in pointer[1:].split("/"):
        following = [option for place in here for option in _inside(place, part, kind)]
        if not following:
            raise WishError(_nowhere(kind, before, part, here))
        here, before = following, f"{before}/{part}"
    return here


def _inside(place: _Schema, part: str, kind: str) -> Iterator[_Schema]:
    if part in place.get("properties", {}):
        yield from _resolved(place["properties"][part], kind)
    elif "items" in place and (part == "-" or (part.isascii() and part.isdigit())):
        yield from _resolved(place["items"], kind)


def _resolved(place: _Schema, kind: str) -> list[_Schema]:
    """The schemas behind references and choices."""
    if "$ref" in place:
        return _resolved(_form(kind)["$defs"][place["$ref"].rpartition("/")[2]], kind)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in place:
            return [each for option in place[choice] for each in _resolved(option, kind)]
    return [place]


def _nowhere(kind: str, before: str, part: str, here: Sequence[_Schema]) -> str:
    names = sorted({name for place in here for name in place.get("properties", {})})
    near = get_close_matches(part, names, 1)
    wrong = f"documents of type {kind} have no {before}/{shown(part)}"
    if near:
        return f"{wrong}; {before}/{near[0]} may be meant"
    if any("items" in place for place in here):
        return f"{wrong}; {before} is a list: its places are 0, 1, ... and - for one more"
    return f"{wrong}; there is: {', '.join(names)}" if names else f"{wrong}; {before} has no parts"


def changed(draft: Draft, changes: Mapping[str, Any]) -> Draft:
    """The draft with other values at some places of its `data`, named by RFC 6901 pointers into it ("/found/carats").

    The value LEFT_OUT removes the member, and "-" stands for the place behind the last of a list (RFC 6902). An amendment's `changed`
    list is kept in step. Raises LookupError for a place that is not there.
    """
    data = deepcopy(draft["data"])
    for pointer, value in changes.items():
        _put(data, pointer, value)
        if draft["type"] == "export-amendment" and pointer.startswith("/content/"):
            said = pointer.removeprefix("/content").removesuffix("/-")
            if said not in data["changed"]:
                data["changed"] = [*data["changed"], said]
    return draft | {"data": data}


def _put(data: Draft, pointer: str, value: Any) -> None:
    """Set or remove one value; the parts on the way to it that are not there yet are made."""
    *path, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer.lstrip("/").split("/"))
    place: Any = data
    for part, following in zip(path, [*path, last][1:], strict=True):
        if isinstance(place, list):
            place = place[_index(place, part)]
        elif isinstance(place, dict):
            place = place.setdefault(part, [] if following in {"-", "0"} else {})
        else:
            place = None
    if isinstance(place, list):
        at = len(place) if last == "-" else _index(place, last, beyond=1)
        place[at : at + 1] = [] if value is LEFT_OUT else [value]
    elif not isinstance(place, dict):
        raise LookupError(pointer)  # noqa: TRY004 - whoever wrote the pointer is wrong, not the caller
    elif value is LEFT_OUT:
        place.pop(last, None)
    else:
        place[last] = value


def _index(place: list[Any], part: str, beyond: int = 0) -> int:
    if not (part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(place) + beyond):
        raise LookupError(part)
    return int(part)


# -- what follows ------------------------------------------------------------------------------------------------------


def followed(draft: Draft, changes: Changes, tolerance: Tolerance = Tolerance()) -> Changes:
    """The changes, with what follows from them for places that nobody has written at. What was written is never overruled."""
    follow = _FOLLOW.get(str(draft.get("type")))
    if follow is None:
        return changes
    more = dict(follow(draft["data"], changes, tolerance))
    before = {place: value for place, value in more.items() if _touched(changes, place)}
    return {**before, **changes, **more}  # a list is there before what was written into one of its places


def _touched(changes: Changes, place: str) -> bool:
    return any(pointer == place or pointer.startswith(f"{place}/") for pointer in changes)


def _only_line(
    content: Mapping[str, Any], changes: Changes, at: str, names: Iterable[str]
) -> Iterator[tuple[str, Any]]:
    """A shipment of one line weighs, and is worth, what the line does."""
    lines = content.get("lines", ())
    if len(lines) != 1 or _touched(changes, f"{at}/lines"):
        return
    for name in names:
        if f"{at}/{name}" in changes and name in lines[0]:
            yield f"{at}/lines/0/{name}", changes[f"{at}/{name}"]


def _found(data: Draft, changes: Changes, tolerance: Tolerance) -> Iterator[tuple[str, Any]]:
    """What was found is another than was notified: then it is a discrepancy, if it is one at all."""
    yield from _only_line(data["found"], changes, "/found", ["carats"])
    notified = {name: data["found"][name] for name in ("parcels", "carats")}
    notified["value_usd"] = data.get("declared_value_usd")
    differing = [
        (name, str(before), str(changes[f"/found/{name}"]))
        for name, before in notified.items()
        if before is not None and isinstance(changes.get(f"/found/{name}"), str | int)
    ]
    differing = [each for each in differing if not tolerance.allows(*each)]
    outcome = changes.get("/outcome", "confirmed_with_discrepancy")
    written = [place for place in changes if place.startswith("/discrepancies")]
    listed = not all(_DISPOSITION.fullmatch(place) for place in written)
    if not differing or listed or outcome != "confirmed_with_discrepancy":
        return
    if "/outcome" not in changes and data["outcome"] != "confirmed":
        return
    yield "/outcome", outcome
    yield (
        "/discrepancies",
        [
            {"field": name, "notified": before, "found": after, "disposition": "accepted"}
            for name, before, after in differing
        ],
    )


def _found_after_all(data: Draft, changes: Changes, _: Tolerance) -> Iterator[tuple[str, Any]]:
    """The discrepancies of a confirmation that is corrected: what was found after all, or that there is none."""
    content = data["content"]
    yield from _only_line(content["found"], changes, "/content/found", ["carats"])
    before = content.get("discrepancies", [])
    if not before or _touched(changes, "/content/discrepancies"):
        return
    after = [
        each | {"found": str(changes.get(f"/content/found/{each['field']}", each["found"]))}
        for each in before
    ]
    after = [each for each in after if each["found"] != each.get("notified")]
    if after == before:
        return
    yield "/content/discrepancies", after or LEFT_OUT
    if not after and content["outcome"] == "confirmed_with_discrepancy" and "/content/outcome" not in changes:
        yield "/content/outcome", "confirmed"


def _amended(data: Draft, changes: Changes, _: Tolerance) -> Iterator[tuple[str, Any]]:
    yield from _only_line(data["content"], changes, "/content", ["carats", "value_usd", "parcels"])


def _answered(data: Draft, changes: Changes, _: Tolerance) -> Iterator[tuple[str, Any]]:
    """Where nothing is corrected, no correction is named and none is to be endorsed (Q05, Q06)."""
    verdicts = [
        changes.get(f"/answers/{n}/verdict", each.get("verdict")) for n, each in enumerate(data["answers"])
    ]
    if "/answers" in changes or not _touched(changes, "/answers"):
        return
    for n, verdict in enumerate(verdicts):
        if verdict != "correct_to" and f"/answers/{n}/corrected" not in changes:
            yield f"/answers/{n}/corrected", LEFT_OUT
    if "/instruction" not in changes:
        if "investigating" in verdicts:
            yield "/instruction", "hold"
        elif "correct_to" not in verdicts:
            yield "/instruction", "accept"


def _stood(data: Draft, changes: Changes, _: Tolerance) -> Iterator[tuple[str, Any]]:
    standing = changes.get("/standing", data["standing"])
    if standing != "already_confirmed" and "confirmation" in data and "/confirmation" not in changes:
        yield "/confirmation", LEFT_OUT


_FOLLOW: Final = {
    "import-confirmation": _found,
    "confirmation-correction": _found_after_all,
    "export-amendment": _amended,
    "discrepancy-response": _answered,
    "confirmation-status": _stood,
}


# -- ranges of numbers -------------------------------------------------------------------------------------------------


def number_range(written: str) -> dict[str, str]:
    """ "BW 000100-BW 000199" as an alert has it; a single number has no `last`.

    A hyphen may stand in a number, too: it divides two numbers only if both sides of it begin with the same two letters. Raises WishError
    for what looks like a range and does not say so: nobody is helped by an alert about a single number "BW 000100-000199".
    """
    text = written.strip()
    for match in re.finditer(r"\s*(?:-|\u2013|\.\.+|\bto\b)\s*", text):
        first, last = text[: match.start()].strip(), text[match.end() :].strip()
        letters = certificate_key(first)[:2]
        whole = len(first) > 2 and len(letters) == 2 and letters.isalpha()
        if whole and certificate_key(last).startswith(letters):
            return {"first": first, "last": last}
    if not text:
        raise WishError("a certificate number is missing")
    half = _HALF_RANGE.fullmatch(text)
    same = half is not None and (half["mark"] not in {"-", "/"} or len(half["from"]) == len(half["to"]))
    if same or _TWO_NUMBERS.match(text):
        raise WishError(
            f'{shown(text)} looks like a range; write both of its numbers whole, as "BW 000100-BW 000199" '
            "(of a single number, the same number twice)"
        )
    return {"first": text}
