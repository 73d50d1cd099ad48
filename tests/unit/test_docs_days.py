"""The commands in docs/*-day.md are commands that there are: `kpmsg`, `kpnode` and `./dev` take them as they are written there.

That they do what the pages show is for tests/system/test_docs_days.py, which types them.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from kpmsg import cli as kpmsg_cli
from kpnode import cli as kpnode_cli
from kpnode import demo
from kpnode.demo.desks import PEOPLE
from tests.system.days import Step, recorded, steps

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("export-clerks-day.md", "import-inspectors-day.md")]
WORDS = [
    (page.name, match[1])
    for page in PAGES
    for match in re.finditer(r"`((?:kpmsg|kpnode|\./dev) [^`]*)`", page.read_text())
]
STEPS = [(page.name, step) for page in PAGES for step in steps(page.read_text())]
SHELL = {"cd", ".", "sed"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPMSG_URL", "http://127.0.0.1:1")


def parse(command: str) -> None:
    """Have the program's own command line read it, without doing it. Raises what typer raises for a call that it cannot read."""
    program, *arguments = shlex.split(command)
    if program == "./dev":
        verb, *rest = arguments
        assert f"\n    {verb})" in (ROOT / "dev").read_text()
        if verb == "demo":
            app = typer.Typer()
            app.command()(demo._demo)
            get_command(app).make_context("demo", rest).close()
        return
    command_line: Any = get_command({"kpmsg": kpmsg_cli.app, "kpnode": kpnode_cli.app}[program])
    while hasattr(command_line, "commands"):
        name, *arguments = arguments
        if name.startswith("-"):
            assert name in {"--help", "--version"}
            return
        found = command_line.commands.get(name)
        assert found is not None, f"{program} has no command {name}"
        command_line = found
    if "--help" not in arguments:
        command_line.make_context(command_line.name, arguments).close()


@pytest.mark.parametrize(
    ("page", "step"), STEPS, ids=lambda each: each.command if isinstance(each, Step) else each
)
def test_every_command_that_is_typed_is_one(page: str, step: Step) -> None:
    assert step.who in {"", *(person.file for person in PEOPLE)}, page
    if shlex.split(step.command)[0] not in SHELL:
        parse(step.command)


@pytest.mark.parametrize(("page", "command"), WORDS)
def test_every_command_that_is_spoken_of_is_one(page: str, command: str) -> None:
    assert page
    parse(command)


def test_a_mistyped_option_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("kpmsg todo --thm")
    with pytest.raises(AssertionError, match="no command"):
        parse("kpmsg tood")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_goes_through_what_a_day_brings(page: Path) -> None:
    text = page.read_text()
    assert recorded(text).year >= 2026
    typed = " ".join(step.command for step in steps(text))
    wanted = {
        "export-clerks-day": "todo show check submit say release drafts numbers alert ask apikey",
        "import-inspectors-day": "todo show say draft fetch ask",
    }[page.stem]
    assert all(f" {name} " in f"{typed} " for name in wanted.split())
    for step in steps(text):
        assert "Traceback" not in " ".join(step.output)
        assert not step.who or step.output or step.command.startswith("sed "), step.command


def test_the_pages_are_found_from_the_first_one() -> None:
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()
    index = (ROOT / "docs" / "README.md").read_text()
    assert all(f"({page.name})" in index for page in PAGES)
