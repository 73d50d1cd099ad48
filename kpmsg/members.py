"""Strict access to the members of a JSON object that a partner's node has written: every doubt is a refusal with its place.

Frames and the statements in them are read through this. It decides the forms that occur in more than one of them (hashes, nonces,
addresses, whole numbers) and refuses to know what a member is for. Members that nobody asks for are left alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

from kpmsg.errors import MalformedError

MAX_SIZE: Final = 2**53 - 1
"""The greatest whole number that every reader of JSON can hold."""

HASH: Final = re.compile(r"\A[0-9a-f]{64}\Z")
NONCE: Final = re.compile(r"\A[A-Za-z0-9_-]{16,64}\Z")


class Members:
    """The members of one JSON object. Raises MalformedError `frame-shape`, `frame-member`, with a pointer."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise MalformedError("frame-shape", f"{what} must be a JSON object", pointer="")
        self._members: dict[str, Any] = value
        self._what = what

    def _get(self, name: str) -> Any:
        if name not in self._members:
            raise MalformedError(
                "frame-member", f"{self._what} lacks the member {name!r}", pointer=f"/{name}"
            )
        return self._members[name]

    def integer(self, name: str, least: int) -> int:
        value = self._get(name)
        if type(value) is not int or not least <= value <= MAX_SIZE:
            raise MalformedError(
                "frame-member", f"{name!r} must be a whole number from {least}", pointer=f"/{name}"
            )
        return value

    def boolean(self, name: str) -> bool:
        value = self._get(name)
        if type(value) is not bool:
            raise MalformedError("frame-member", f"{name!r} must be true or false", pointer=f"/{name}")
        return value

    def matching(self, name: str, pattern: re.Pattern[str], what: str) -> str:
        value = self._get(name)
        if type(value) is not str or not pattern.match(value):
            raise MalformedError("frame-member", f"{name!r} must be {what}", pointer=f"/{name}")
        return value

    def hash(self, name: str) -> str:
        return self.matching(name, HASH, "64 lower-case hexadecimal digits")

    def text(self, name: str, most: int) -> str:
        value = self._get(name)
        if type(value) is not str or len(value) > most:
            raise MalformedError(
                "frame-member", f"{name!r} must be a text of at most {most}", pointer=f"/{name}"
            )
        return value

    def hashes(self, name: str, most: int) -> tuple[str, ...]:
        value = self._get(name)
        if type(value) is not list or len(value) > most:
            raise MalformedError(
                "frame-member", f"{name!r} must be a list of at most {most}", pointer=f"/{name}"
            )
        for index, item in enumerate(value):
            if type(item) is not str or not HASH.match(item):
                raise MalformedError(
                    "frame-member", "a document id is 64 hexadecimal digits", pointer=f"/{name}/{index}"
                )
        if len(set(value)) != len(value):
            raise MalformedError("frame-member", f"{name!r} names a document twice", pointer=f"/{name}")
        return tuple(value)

    def nonce(self, name: str) -> str:
        return self.matching(name, NONCE, "a nonce")

    def has(self, name: str) -> bool:
        """Whether the member is there at all, for those that may be left out."""
        return name in self._members
