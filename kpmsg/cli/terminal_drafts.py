"""Drafts as lines of text: what is going to be said, before anybody signs it.

Whoever agrees to a document agrees to what is shown here: so it names whom it goes to, what it is about, its essence, and what it takes
back. Made for 80 columns, safe to print, and it decides nothing (see `kpmsg.cli.terminal_desk`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kpmsg.case.filling import LEFT_OUT
from kpmsg.documents import certificate_key, completed
from kpmsg.essence import content_of, essence, spoken, type_in_words
from kpmsg.wording import readable, told, who

Json = Mapping[str, Any]

_INDENT: Final = (0, 0, 0, 2)
_BECAUSE: Final = {
    "reminder": "Prepared because the confirmation is due and has not come.",
    "used-twice": "Prepared because this number was presented to more than one authority.",
}
"""What the node's own reasons mean; they are named for programs (`reminder:1:<document>`)."""


def _text(value: object) -> str:
    return "" if value is None else readable(str(value))


def proposal(
    draft: Json, changes: Json, number: str, taken_back: Json | None = None
) -> Iterable[RenderableType]:
    """What is going to be said, in a few lines: to whom, about what, its essence, and what was written into it here."""
    everybody = draft.get("recipient") == "*"
    to = "every partner" if everybody else who(draft.get("recipient"))
    about = f" about {readable(number)}" if number else ""
    yield Text(f"{type_in_words(draft.get('type')).capitalize()} to {to}{about}", "bold")
    text = in_essence(draft)
    if text:
        yield Padding(Text(text), _INDENT)
    attested = _attested(draft.get("data"))
    if attested:
        yield Padding(Text(attested), _INDENT)
    if taken_back is not None:
        yield Padding(takes_back(taken_back), _INDENT)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="cyan", overflow="fold", max_width=30)
    grid.add_column(overflow="fold")
    for place, value in changes.items():
        words = "left out" if value is LEFT_OUT else told({place.rpartition("/")[2]: value})[0][1]
        grid.add_row(Text(readable(place)), Text(words))
    if changes:
        yield Padding(grid, _INDENT)


def _attested(data: object) -> str:
    """What a confirmation, or the one that a correction holds, certifies beside figures: it was filled in, and nobody has typed it."""
    content = data.get("content", data) if isinstance(data, Mapping) else None
    if not isinstance(content, Mapping) or "seals_intact" not in content:
        return ""
    parts = [
        f"seals intact: {spoken(str(content['seals_intact']))}",
        f"inspection: {spoken(str(content.get('inspection', '-')))}",
        f"received {_text(content.get('date_of_receipt'))}",
    ]
    by = content.get("confirmed_by")
    officer = _text(by.get("officer")) if isinstance(by, Mapping) else ""
    return "; ".join([*parts, f"confirmed by {officer}" if officer else ""]).rstrip("; ")


def in_essence(draft: Json) -> str:
    """A draft in a phrase; empty if it is not complete enough for that."""
    envelope = {
        "specversion": "1.0",
        "id": "00000000-0000-7000-8000-000000000000",
        "source": "AA",
        "time": "2000-01-01T00:00:00Z",
        "datacontenttype": "application/json",
    }
    name = str(draft.get("type"))
    whole = name if "." in name else f"org.kimberley.{name}.v1"
    draft = completed(draft)
    given = draft.get("data")
    data = given if isinstance(given, dict) else {}
    subject = draft.get("subject") or _subject(data.get("certificate"))
    document = envelope | {"type": whole, "recipient": draft.get("recipient"), "data": data}
    return essence(content_of(document | ({"subject": subject} if subject else {})))


def _subject(certificate: object) -> str | None:
    number = certificate.get("number_raw") if isinstance(certificate, dict) else None
    return certificate_key(number) if isinstance(number, str) else None


def drafts(rows: Sequence[Json]) -> Iterable[RenderableType]:
    """Drafts, each with who has written in it and why it is there."""
    if not rows:
        yield Text("No draft waits.")
    for row in rows:
        yield from draft_line(row)


def draft_line(row: Json, taken_back: Json | None = None) -> Iterator[RenderableType]:
    """One draft in two or three lines."""
    to = "every partner" if row.get("recipient") == "*" else who(row.get("recipient"))
    number = _number(row)
    about = f" about {number}" if number else ""
    yield Text.assemble(
        (f"{_text(row.get('id')):>5}  ", "bold"),
        (type_in_words(row.get("type")).capitalize(), "bold"),
        f" to {to}{about}",
    )
    rest = (0, 0, 0, 7)
    persons = ", ".join(_text(person) for person in row.get("persons", ()))
    when = _text(str(row.get("changed_at"))[:16].replace("T", " "))
    second = "; a second person must release it" if row.get("release_needed") else ""
    author = "the node" if persons == "node" else persons or "?"
    yield Padding(Text(f"written by {author}, {when}{second}", "dim"), rest)
    because = _text(row.get("because"))
    if because:
        yield Padding(Text(_BECAUSE.get(because.partition(":")[0], because)), rest)
    text = in_essence(row.get("draft") or {})
    if text:
        yield Padding(Text(text), rest)
    if taken_back is not None:
        yield Padding(takes_back(taken_back), rest)


def _number(row: Json) -> str:
    """The certificate's number as the draft writes it; else as the node files it."""
    place: Any = row.get("draft")
    for member in ("data", "certificate", "number_raw"):
        place = place.get(member) if isinstance(place, Mapping) else None
    return _text(place if isinstance(place, str) else row.get("certificate"))


def takes_back(shown: Json) -> Text:
    """The document that a withdrawal takes back."""
    day = _text(shown.get("created_at"))[:10]
    text = essence(content_of(shown.get("document") or {}))
    return Text.assemble(("takes back ", "bold"), f"{type_in_words(shown.get('type'))} of {day}: {text}")
