"""What lies on a desk, as lines of text: work lists, a certificate's case, an account of numbers.

Made for 80 columns. Like `kpmsg.cli.terminal` it decides nothing and writes nowhere; what the node says is not trusted to be free of what a
partner has written, so every text goes through `readable` on its way in. Members that an older node does not send are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kpmsg.cli.terminal import table
from kpmsg.documents import (
    ConfirmationCorrection,
    Content,
    ExportAmendment,
    ExportNotification,
    ImportConfirmation,
    Withdrawal,
)
from kpmsg.essence import content_of, essence, spoken, type_in_words
from kpmsg.wording import readable, who

Json = Mapping[str, Any]

_INDENT: Final = (0, 0, 0, 2)
_FIELDS: Final = {"parcels": "parcels", "carats": "carats", "value_usd": "value in US$"}


def _text(value: object) -> str:
    return "" if value is None else readable(str(value))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


# -- work --------------------------------------------------------------------------------------------------------------


def worklist(
    rows: Sequence[Json], side: str, today: date, *, more: bool, drafts: int = 0
) -> Iterable[RenderableType]:
    """What waits for one side, a line for each open matter and its sentence below; then how many drafts wait, if any."""
    yield from _certificates(rows, side, today, more=more)
    if drafts:
        verb = "waits" if drafts == 1 else "wait"
        yield Text(f"{_plural(drafts, 'draft')} {verb} to be released or discarded: kpmsg drafts", "yellow")


def _certificates(rows: Sequence[Json], side: str, today: date, *, more: bool) -> Iterable[RenderableType]:
    if not rows:
        yield Text("Nothing waits for us." if side == "us" else "Nothing waits for anybody else.")
        return
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for name in ("due", "days", "number", "with", "what"):
        grid.add_column(name, overflow="fold", no_wrap=name in {"due", "days"})
    for row in rows:
        first = True
        for matter in row.get("matters", ()):
            if matter.get("waiting_for") not in {side, "both"}:
                continue
            due = matter.get("due")
            what = Group(Text(spoken(str(matter.get("kind"))), "bold"), Text(_text(matter.get("sentence"))))
            number, partner = (_text(row.get("number")), _text(row.get("partner"))) if first else ("", "")
            grid.add_row(Text(_text(due) or "-"), _days(matter, today), Text(number), Text(partner), what)
            first = False
        if row.get("locked"):
            grid.add_row("", "", "" if not first else Text(_text(row.get("number"))), "", _locked(row))
    yield grid
    count = _plural(len(rows), "certificate")
    yield Text(f"{count} and more: --most shows them." if more else f"{count}.")


def _locked(row: Json) -> Text:
    return Text(f"Locked: {_text(row.get('locked'))}. An officer must look at it.", "red")


def _days(matter: Json, today: date, unit: str = "") -> Text:
    """How long it has been due, by the node's clock; or still is to come."""
    late = matter.get("days_overdue")
    if isinstance(late, int) and late > 0:
        return Text(f"{late}{_one(unit, late)} late", "red")
    try:
        left = max(0, (date.fromisoformat(str(matter.get("due"))) - today).days)
    except ValueError:
        return Text("")
    return Text("today", "yellow") if left == 0 else Text(f"in {left}{_one(unit, left)}")


def _one(unit: str, count: int) -> str:
    return unit.removesuffix("s") if count == 1 else unit


# -- a certificate -----------------------------------------------------------------------------------------------------


def certificate(found: Json, today: date, *, ids: bool) -> Iterable[RenderableType]:
    """The case of a certificate, and everything that has been said about it, oldest first."""
    documents = found.get("documents", ())
    contents = {str(each.get("id")): content_of(each.get("document") or {}) for each in documents}
    yield Text.assemble(
        (_text(found.get("number")), "bold"), "  ", (spoken(str(found.get("state"))), "bold cyan")
    )
    yield Text(_text(found.get("meaning")))
    if any((each.get("document") or {}).get("testing") for each in documents):
        yield Text("TEST, NOT REAL.", "bold red")
    yield from _warnings(found)
    yield ""
    yield table(_facts(found))
    matters = [each for each in found.get("matters", ()) if isinstance(each, dict)]
    if matters:
        yield ""
        yield Text("Open:")
        yield from (Padding(_matter(each, today), _INDENT) for each in matters)
    figures = _figures(found, contents)
    if figures is not None:
        yield ""
        yield Padding(figures, _INDENT)
    if documents:
        yield ""
        yield Text("What was said (times are UTC):")
        gone = {content.withdraws for content in contents.values() if isinstance(content, Withdrawal)}
        for each in documents:
            yield from _said(each, contents[str(each.get("id"))], found, gone, ids=ids)


def _warnings(found: Json) -> Iterator[Text]:
    if found.get("locked"):
        yield _locked(found)
    for alert in found.get("alerts", ()):
        if alert.get("withdrawn_at") is None:
            what = (
                f"{spoken(str(alert.get('kind')))}, {_text(alert.get('first'))} to {_text(alert.get('last'))}"
            )
            since = f"since {_text(alert.get('valid_from'))}"
            yield Text(f"ALERT by {who(alert.get('issuer'))}: {what}, {since}.", "bold red")


def _facts(found: Json) -> list[tuple[str, str]]:
    facts = [
        (label, who(found[name]))
        for label, name in (("from", "exporter"), ("to", "importer"))
        if found.get(name)
    ]
    facts.append(("waits for", _whose(found.get("waiting_for"), [found.get("partner")])))
    if found.get("expires"):
        facts.append(("valid to", _text(found["expires"])))
    if found.get("revision"):
        facts.append(("amended", _plural(int(found["revision"]), "time")))
    flags = [spoken(str(flag)) for flag in found.get("flags", ()) if flag != "amended"]
    return facts + ([("marked", ", ".join(flags))] if flags else [])


def _whose(side: object, them: Iterable[object]) -> str:
    """Who has to move: we, or `them` by address, or both."""
    if side == "them":
        return ", ".join(map(who, them))
    return "both of us" if side == "both" else _text(side) or "nobody"


def _matter(matter: Json, today: date) -> Text:
    side = _whose(matter.get("waiting_for"), matter.get("authorities", ()))
    line = Text.assemble((f"{side}: ", "bold"), _text(matter.get("sentence")))
    if matter.get("due"):
        line.append(f" By {_text(matter['due'])} (").append_text(_days(matter, today, " days")).append(").")
    return line


def _figures(found: Json, contents: Mapping[str, Content | None]) -> Table | None:
    """Notified beside found, as far as both have been said."""
    notified = contents.get(str(found.get("current")))
    notified = notified.content if isinstance(notified, ExportAmendment) else notified
    confirmations = found.get("confirmations") or [None]
    came = contents.get(str(confirmations[-1]))
    came = came.content if isinstance(came, ConfirmationCorrection) else came
    sent = notified if isinstance(notified, ExportNotification) else None
    seen = came.found if isinstance(came, ImportConfirmation) else None
    if sent is None and seen is None:
        return None
    beyond = {
        str(each.get("field")): bool(each.get("beyond_tolerance")) for each in found.get("differences", ())
    }
    grid = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    grid.add_column("")
    for name in ("notified", "found", "difference"):
        grid.add_column(name, justify="right")
    grid.add_column("")
    for field, label in _FIELDS.items():
        before = None if sent is None else getattr(sent, field)
        after = None if seen is None else getattr(seen, field)
        difference, remark = "", ""
        if before is not None and after is not None and before != after:
            difference = f"{after - before:+,}"
            remark = "more than is tolerated" if beyond.get(field) else "tolerated"
        style = "red" if beyond.get(field) else ""
        grid.add_row(label, _amount(before), _amount(after), Text(difference, style), Text(remark, style))
    return grid


def _amount(value: Decimal | int | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if isinstance(value, Decimal) else str(value)


def _said(
    shown: Json, content: Content | None, found: Json, gone: set[str], *, ids: bool
) -> Iterator[RenderableType]:
    document = shown.get("document") or {}
    at, document_id = str(document.get("time") or shown.get("created_at")), str(shown.get("id"))
    head = Text.assemble(
        f"  {_text(at[:16].replace('T', ' '))}  ",
        (_text(document.get("source")), "bold"),
        " ",
        (type_in_words(shown.get("type")), "bold"),
    )
    for ids_of, word in ((found.get("rejected", ()), "rejected"), (gone, "taken back")):
        if document_id in ids_of:
            head.append(f"  [{word}]", "red")
    head.append_text(_delivery(shown))
    yield head
    rest = (0, 0, 0, 4)
    text = essence(content) if content is not None else "(of a kind that this version does not know)"
    if text:
        yield Padding(Text(text, overflow="fold"), rest)
    for problem in shown.get("warnings", ()):
        if problem.get("severity") == "hold":
            yield Padding(Text.assemble(("look at: ", "yellow"), _text(problem.get("detail"))), rest)
    attachments = getattr(content, "attachments", None) or ()
    for attachment in attachments:
        size = f"{attachment.size:,} bytes"
        yield Padding(
            Text(f"file: {readable(attachment.name)} ({readable(attachment.media_type)}, {size})"), rest
        )
    if ids or attachments:
        yield Padding(Text(readable(document_id), "dim"), rest)


def _delivery(shown: Json) -> Text:
    """Whether the partner has a document of ours; what came from the partner needs no word."""
    if shown.get("direction") != "out":
        return Text("")
    delivery = shown.get("delivery") or {}
    partner, state = _text(shown.get("partner")), str(delivery.get("state"))
    if state == "received":
        return Text(f"  ({partner} has it)", "dim")
    if state in {"withheld", "refused"}:
        return Text(f"  ({readable(state)}: {_text(delivery.get('sentence'))})", "red")
    return Text("  (on its way)", "yellow")


# -- numbers -----------------------------------------------------------------------------------------------------------


def account(found: Json) -> Iterable[RenderableType]:
    """What became of the numbers that were printed."""
    for series in found.get("series", ()):
        yield Text(f"Series {_text(series.get('series'))}, {_text(found.get('day'))}", "bold")
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
        names = ("allotted", "used", "voided", "issued", "lost", "unused")
        grid.add_column("from")
        grid.add_column("to")
        for name in names:
            grid.add_column(name, justify="right")
        for tally in series.get("ranges", ()):
            counts = [f"{tally.get(name):,}" if isinstance(tally.get(name), int) else "?" for name in names]
            grid.add_row(Text(_text(tally.get("first"))), Text(_text(tally.get("last"))), *counts)
        yield grid
        yield from _oddities(series)
        yield ""
    strange = _listed(found.get("strange"))
    if strange:
        yield Text.assemble(("of no series: ", "yellow"), strange)
    if not found.get("series"):
        yield Text("No series of numbers is published ([policy] numbers in the node's settings).")


def _oddities(series: Json) -> Iterator[Text]:
    words = {
        "outside": "outside of every range",
        "used_twice": "used twice",
        "contradicted": "void, lost or stolen, and notified all the same",
        "unannounced": "spoken of by others, and never notified",
    }
    for name, word in words.items():
        listed = _listed(series.get(name))
        if listed:
            yield Text.assemble((f"{word}: ", "yellow"), listed)
    gaps = series.get("gaps") or {}
    ranges = [
        _text(gap.get("first"))
        if gap.get("count") == 1
        else f"{_text(gap.get('first'))} to {_text(gap.get('last'))} ({gap.get('count')})"
        for gap in gaps.get("ranges", ())
    ]
    if ranges:
        more = f", and {_text(gaps['more'])} more" if gaps.get("more") else ""
        yield Text(f"never used: {', '.join(ranges)}{more}")
    for alert in series.get("alerts", ()):
        if alert.get("withdrawn_at") is None:
            what = f"{_text(alert.get('first'))} to {_text(alert.get('last'))}"
            yield Text(f"under alert ({spoken(str(alert.get('kind')))}): {what}", "red")


def _listed(some: object) -> str:
    if not isinstance(some, Mapping):
        return ""
    numbers = ", ".join(_text(number) for number in some.get("numbers", ()))
    return f"{numbers}, and {_text(some['more'])} more" if some.get("more") else numbers
