"""`kpnode demo --story` as somebody runs it, and whether it would notice that it is not true."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import typer

from kpmsg.case import State
from kpnode.demo import main
from kpnode.demo.story import run_story
from kpnode.demo.story_desk import Desk
from kpnode.demo.story_nodes import ANTWERP, DUBAI, GABORONE, Clock, beginning, stage
from kpnode.demo.story_play import Play
from kpnode.demo.story_reckoning import balance, differing
from kpnode.demo.story_telling import Telling
from tests.system.test_demo import command, environment, left_behind

pytestmark = [pytest.mark.system, pytest.mark.slow]

SECONDS = 60.0
"""A reader who is in a hurry waits no longer; it takes a few."""

HEADLINES = [
    "1 A parcel weighs less than was notified",
    "2 A cancellation crosses a confirmation",
    "3 A number that nobody has issued",
    "4 A box of blank certificates is stolen",
    "5 The confirmation does not come",
]
AGREED = {
    "BW 000211": "confirmed with discrepancy",
    "BW 000212": "confirmed",
    "BW 000312": "suspected counterfeit",
    "BW 000321": "confirmed",
    "BW 000417": "suspected counterfeit",
    "BW 000501": "confirmed",
    "BW 000502": "cancelled",
}


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="kp-test-story-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


# --- as somebody runs it ----------------------------------------------------------------------------------------------


def test_five_scenes_are_told_and_both_sides_have_the_same(directory: Path) -> None:
    done = subprocess.run(
        command("--story"),
        env=environment(directory),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert list(directory.iterdir()) == []
    assert left_behind(directory) == []
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    said = " ".join(done.stdout.split())
    places = [said.index(each) for each in HEADLINES]
    assert places == sorted(places)
    for number, state in AGREED.items():
        assert f"{number}, both authorities have the same case: {state}; nobody's turn." in said
    for each in (
        "only the wire is a stand-in",
        "had weighed wrongly. It answers “correct to 1198.20 ct; endorse correction”",
        "No difference is left",
        "crossed cancellation. Our turn, and that of Dubai",
        "Similar: BW 000321. (Offered, never assumed.)",
        "after the question: “unknown”",
        "refused, “a second person must release this”",
        "refused, “Mr Molefe has written in it”",
        "BW 000400 to BW 000449 are stolen. Released by Ms Kgosi.",
        "held: “BW has warned since",
        "2 reminders that its node has drafted, level 1",
        "under inspection, decision expected by",
        "2 more reminders, level 2",
        "The certificate has expired",
        "The lists of Gaborone, Dubai, Antwerp are empty",
        "29 documents, 29 signed receipts, 7 certificates, 4 registers: the same on both sides",
    ):
        assert each in said, each
    assert "FAULT" not in said


def test_a_terminal_of_80_columns_gets_colours_and_no_longer_lines(directory: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    plain = {
        name: value for name, value in environment(directory).items() if name not in {"NO_COLOR", "COLUMNS"}
    }
    demo = subprocess.Popen(
        command("--story", "--fast"),
        env=plain | {"TERM": "xterm-256color"},
        cwd=directory,
        stdin=theirs,
        stdout=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while some := os.read(ours, 65536):
            shown += some
    assert demo.wait(SECONDS) == 0
    os.close(ours)
    text = shown.decode()
    assert "\x1b[" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("wrong", [["--story", "--outage"], ["--story", "--world", "3"], ["--fast"]])
def test_what_does_not_go_together_is_refused(wrong: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match="--story"):
        main(wrong)


# --- would it notice? -------------------------------------------------------------------------------------------------


def otherwise(desk: Desk, statement: str, *values: str) -> None:
    """Change something behind the back of a running node, whose database refuses such changes by itself."""
    file = desk.node.database.url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(file, timeout=10)) as database, database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(statement, values).rowcount > 0


async def notified(play: Play) -> str:
    """A certificate of which both sides have the same."""
    await play.turn(0, "09:10", GABORONE)
    number = await play.notify(play.dubai, 1, "10.00")
    await play.same(number, State.NOTIFIED, play.gaborone, play.dubai)
    return number


async def _of_two_minds(play: Play) -> None:
    number = await notified(play)
    otherwise(
        play.dubai,
        'UPDATE certificate SET "case" = replace("case", \'"turn": "importer"\', \'"turn": "nobody"\')',
    )
    play.gaborone.patience = 0.2
    await play.agree(number, State.NOTIFIED, play.gaborone, play.dubai)


async def _lost(play: Play) -> None:
    await notified(play)
    otherwise(play.dubai, "DELETE FROM document")


@pytest.mark.parametrize(
    ("scene", "fault"),
    [
        (
            _of_two_minds,
            "BW 000001 should be notified in Gaborone and Dubai: it is notified and notified; they differ in turn.",
        ),
        (_lost, "Gaborone to Dubai: 1 documents were written, 0 are held"),
    ],
)
def test_a_comparison_that_fails_ends_it_with_status_1(
    scene: object, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_story(fast=True, scenes=[("Something is wrong", scene)]) == 1  # type: ignore[list-item]
    said = " ".join(capsys.readouterr().out.split())
    assert f"FAULT: {fault}" in said
    assert "nothing is lost" not in said


async def test_whatever_differs_between_the_databases_is_found(tmp_path: Path) -> None:
    async with stage(tmp_path, date(2027, 1, 1)) as there:
        play = Play(there, Telling(fast=True))
        number = await notified(play)
        found = await balance(play.desks)
        assert (found.faults, found.documents, found.receipts, found.registers, found.certificates) == (
            [],
            1,
            1,
            1,
            1,
        )
        here, other = await play.gaborone.known(number), await play.dubai.known(number)
        assert differing(here, other) == []
        assert differing(here, None) == ["everything"]
        assert differing(here, replace(other, due=None)) == ["due"]
        assert differing(here, replace(other, case=other.case | {"revision": 1})) == ["revision"]
        assert differing(here, replace(other, waits="them")) == ["waits"], "both wait for each other"
        otherwise(play.gaborone, "UPDATE document SET received_at = NULL")
        assert "Gaborone to Dubai: 1 documents have no receipt" in (await balance(play.desks)).faults
        otherwise(play.gaborone, "UPDATE partner SET known_head = 'another' WHERE address = 'AE'")
        assert any("the writer knows a register of 1" in each for each in (await balance(play.desks)).faults)
        otherwise(play.dubai, "DELETE FROM entry")
        assert any("does not name what is held" in each for each in (await balance(play.desks)).faults)
        otherwise(play.dubai, "DELETE FROM certificate")
        assert "BW000001: Gaborone and Dubai differ in everything" in (await balance(play.desks)).faults


# --- days -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "begins"),
    [
        (date(2026, 11, 1), date(2026, 11, 2)),
        (date(2026, 11, 2), date(2027, 11, 1)),
        (date(2026, 12, 31), date(2027, 11, 1)),
        (date(2027, 2, 28), date(2027, 11, 1)),
    ],
)
def test_it_begins_on_the_first_monday_of_a_november_to_come(today: date, begins: date) -> None:
    assert beginning(today) == begins
    assert begins.weekday() == 0


def test_the_clock_is_never_turned_back() -> None:
    clock = Clock(datetime(2027, 11, 1, 6, tzinfo=UTC))
    clock.turn(date(2027, 11, 1), "10:30", DUBAI)
    assert clock().replace(second=0, microsecond=0) == datetime(2027, 11, 1, 6, 30, tzinfo=UTC)
    assert ANTWERP.local(clock()).hour == 7
    with pytest.raises(ValueError, match="back"):
        clock.turn(date(2027, 11, 1), "08:00", GABORONE)
