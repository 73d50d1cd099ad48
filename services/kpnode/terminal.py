"""What `kpnode` prints, and how it ends: tables for people, JSON for programs, one sentence for what an operator can mend.

A fault of ours keeps its traceback; everything else becomes `kpnode: <why, and what to do>` on standard error and status 1, or 2 if
the settings or the call are wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from kpnode.checks import Finding
    from kpnode.settings import Settings

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def settings_of(context: typer.Context) -> Settings:
    from kpnode.settings import SettingsError, load

    try:
        return load(context.obj)
    except SettingsError as error:
        fail("\n        ".join(error.problems), 2)


def operate(context: typer.Context, verb: str, **arguments: Any) -> Any:
    from kpnode import control

    return run(control.operate(settings_of(context), verb, **arguments))


def run(work: Coroutine[Any, Any, T]) -> T:
    return guarded(lambda: asyncio.run(work))


def guarded(work: Callable[[], T]) -> T:
    """Do it; a reason that an operator can mend is said in one line, and a fault of ours keeps its traceback."""
    from kpnode.operator import in_words

    try:
        return work()
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            fail(f"{error.filename or 'system'}: {error.strerror}")
        said = in_words(error)
        if said is None:
            raise
        fail(said)


def text_of(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except (OSError, ValueError):
        fail(f"{file} cannot be read")


def print_findings(found: Sequence[Finding], *, as_json: bool, failure: int = 1) -> None:
    """And end: status `failure` if anything failed. What to do stands below what was found."""
    failed = any(finding.result == "fail" for finding in found)
    if as_json:
        print_json([finding.told for finding in found])
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        rows = []
        for each in found:
            remedy = f"\n-> {each.remedy}" if each.remedy else ""
            result = f"[{colours[each.result]}]{each.result}[/]"
            rows.append([result, _plain(each.name), _plain(each.text + remedy)])
        print_table(["", "", ""], rows, markup=True)
    raise typer.Exit(failure if failed else 0)


def print_table(names: list[str], rows: list[list[str]], *, markup: bool = False) -> None:
    """As wide as the terminal; else as COLUMNS says, or 80. What is too long goes on in the next line; nothing is cut."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=any(names))
    for index, name in enumerate(names):
        table.add_column(name, overflow="fold", no_wrap=index == 0)  # what a row is found by stays whole
    for row in rows:
        table.add_row(*(row if markup else map(_plain, row)))
    Console(highlight=False).print(table)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def in_one_line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_one_line(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def minutes(at: str | None) -> str:
    """A moment (RFC 3339, UTC) as precisely as people need it; empty for none."""
    return "" if at is None else f"{at[:10]} {at[11:16]}"


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def fail(text: str, status: int = 1) -> NoReturn:
    print(f"kpnode: {text}", file=sys.stderr)
    raise typer.Exit(status)
