"""Four eyes: which types of documents a second person must release, and who counts as a second person.

Decides from types of documents, names of people and this authority's own policy, and from nothing else. What a document acts upon
counts too, and is looked up by `kpnode.store.four_eyes`. It does not know how a
person proves who they are (an API key does, `kpnode.store.callers`), where drafts are kept (`kpnode.store.drafts`) or how
they become documents (`kpnode.drafting`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kpmsg.documents import TYPES, kind_of

NODE: Final = "node"
"""The author, and the person, of what the node writes by itself."""


class FourEyes(BaseModel):
    """Which documents two people must agree on: one prepares a draft, another one releases it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: Literal["all"] | tuple[str, ...] = Field(
        default=(),
        description=(
            'Document types that only a second person can release, e.g. ["export-notification", "cancellation"], or "all". '
            "So must be what amends, corrects, cancels or takes back such a document. "
            "An alert is always released by a second person. What the node answers by itself is exempt."
        ),
    )

    @field_validator("types")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value == "all":
            return value
        kinds = [kind_of(name) for name in value]
        if unknown := [name for name, kind in zip(value, kinds, strict=True) if kind is None]:
            known = ", ".join(kind.name for kind in TYPES.values())
            raise ValueError(f"there is no document type {unknown[0]!r}; types are {known}")
        return tuple(kind.type for kind in kinds if kind is not None)


class ReleaseError(Exception):
    """A second person is missing. `places`: which of the drafts, by their places in the request."""

    def __init__(self, text: str, places: Iterable[int]) -> None:
        super().__init__(text)
        self.places = tuple(places)


class ReleaseNeededError(ReleaseError):
    """Somebody tried to say at once what a second person must release."""


class SamePersonError(ReleaseError):
    """Whoever wrote or changed a draft wants to release it as well."""


def needs_two(kinds: Iterable[Any], policy: FourEyes) -> list[int]:
    """The places in `kinds` (short or whole names of document types) of those that a second person must release.

    What is no document type needs nobody: it can be no document either.
    """
    found = []
    for place, name in enumerate(kinds):
        kind = kind_of(name)
        if kind is None:
            continue
        if kind.always_released or policy.types == "all" or kind.type in policy.types:
            found.append(place)
    return found


def missing(
    two: Iterable[int], person: str | None, writers: Mapping[int, Iterable[str]]
) -> ReleaseError | None:
    """Why what needs two people, at the places `two`, is not to be said: `person` releases it, `writers` have written in it."""
    places = list(dict.fromkeys(two))
    if places and person is None:
        return ReleaseNeededError("a second person must release this", places)
    own = [p for p in places if any(same_person(person or "", writer) for writer in writers.get(p, ()))]
    return SamePersonError(f"{person} has written in it", own) if own else None


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's: letter case, spaces and ways to encode a letter make no second person."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
