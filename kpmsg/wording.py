"""Words for people: what JSON says, as labels and phrases that are safe to print.

Every text that comes from a file or the network passes `readable` on its way to a screen. The module knows how amounts, HS codes
and authorities are best said; it knows no kind of document, so that members which nobody knows yet are shown too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from kpmsg.documents.participants import participants
from kpmsg.errors import Problem

_SHOWN = 12
_MEMBERS = 60
_LONGEST = 600
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_AMOUNT: Final = re.compile(r"\A(0|[1-9][0-9]{0,11})\.[0-9]{2}\Z")
_HS: Final = {"7102.10": "unsorted", "7102.21": "industrial", "7102.31": "non-industrial"}
_PEOPLE_AND_PLACES: Final = frozenset(
    [
        "from",
        "to",
        "source",
        "recipient",
        "issuer",
        "holder",
        "address",
        "authority",
        "participant",
        "provenance",
        "country",
        "country_of_destination",
    ]
)
_OBVIOUS: Final = _PEOPLE_AND_PLACES | frozenset(
    {"name", "native_name", "number_raw", "kind", "hs", "carats", "value_usd", "field", "code", "text"}
)
_KINDS: Final = {
    "kp": "KP certificate",
    "mixed_list": "mixed",
    "mixed_undisclosed": "mixed, countries not told",
}

Fact = tuple[str, str]
"""A label and what is to be said under it; the value may have several lines."""


def readable(text: str) -> str:
    """The text with everything that could mislead a reader or a terminal written out; line ends become slashes."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\n", " / ").replace("\t", " ")
    return "".join(
        f"<U+{ord(character):04X}>" if unicodedata.category(character) in _INVISIBLE else character
        for character in text
    )


def plain_json(value: Any) -> str:
    """JSON for people to read and change: letters as they are, everything that could mislead a reader as an escape."""
    written = json.dumps(value, indent=2, ensure_ascii=False)
    if written.isascii():
        return written
    return "".join(
        json.dumps(character)[1:-1]
        if not character.isascii() and unicodedata.category(character) in _INVISIBLE
        else character
        for character in written
    )


def who(address: object) -> str:
    """An authority with the name of its Participant, where there is one of that code."""
    text = readable(str(address))
    known = participants().get(text[:2]) if re.fullmatch(r"[A-Z]{2}(/[a-z0-9-]{1,32})?", text) else None
    return text if known is None else f"{text} ({known.name})"


def told(content: dict[str, Any]) -> list[Fact]:
    """Every member as a line of words, whatever they are: members that we do not know are shown too."""
    facts: list[Fact] = []
    for name, value in islice(content.items(), _MEMBERS):
        label = readable(name.replace("_usd", "").replace("_", " "))[:40]
        if isinstance(value, list) and value:
            entries = [_phrase(one, name) for one in value[:_SHOWN]]
            if len(value) > _SHOWN:
                entries.append(f"... and {len(value) - _SHOWN} more (--json shows all)")
            facts.append((label, "\n".join(entries)))
        else:
            facts.append((label, _phrase(value, name)))
    return facts


def _phrase(value: Any, name: str) -> str:
    if isinstance(value, dict):
        phrases = [
            part if key in _OBVIOUS else f"{readable(key.replace('_', ' '))} {part}"
            for key, one in islice(value.items(), _MEMBERS)
            if (part := _phrase(one, key))
        ]
        # A right-to-left name would reorder what stands beside it, so it gets a line of its own.
        between = "\n" if any(leftward(phrase) for phrase in phrases) else ", "
        return between.join(phrases) or "nothing"
    if isinstance(value, list):
        return ", ".join(_phrase(one, name) for one in value[:_SHOWN]) + (
            ", ..." if len(value) > _SHOWN else ""
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else _word(str(value), name)


def _word(text: str, name: str) -> str:
    if name in {"carats", "value_usd", "declared_value_usd"} and _AMOUNT.match(text):
        whole, _, cents = text.partition(".")
        amount = f"{int(whole):,}.{cents}"
        return f"{amount} ct" if name == "carats" else f"US$ {amount}"
    if name == "hs" and text in _HS:
        return f"{text} ({_HS[text]})"
    if name == "kind":
        return _KINDS.get(text) or readable(text)
    if text.startswith("-----BEGIN "):
        return f"PEM of {len(text)} characters"
    if len(text) > _LONGEST:
        return f"{readable(text[:_LONGEST])}... ({len(text)} characters; --json shows all)"
    return who(text) if name in _PEOPLE_AND_PLACES else readable(text)


def leftward(text: str) -> bool:
    """Whether the text has letters that run from right to left, which would reorder what stands beside them."""
    return not text.isascii() and any(
        unicodedata.bidirectional(character) in {"R", "AL", "AN"} for character in text
    )


def safe(problems: Iterable[Problem]) -> list[Problem]:
    """The same, safe to print."""
    return [
        Problem(
            readable(p.code), readable(p.text), None if p.pointer is None else readable(p.pointer), p.severity
        )
        for p in problems
    ]
