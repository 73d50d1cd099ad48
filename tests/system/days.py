"""The pages of docs/ that go through a day's work: read, replayed on real nodes, and recorded anew.

A page shows terminals in ``console`` blocks. A line that begins with a person's name and `$ ` is a command, what follows is what came of it,
a line of three dots stands for any number of lines, and `[y/N]: y` is what somebody answered. Days are counted from the day of
recording that the page names; times of day, digests and keys are others each time. After other words of the program:

    ./dev demo --desks DIRECTORY                                  # in another terminal, anew for each page
    ./dev run python -m tests.system.days DIRECTORY docs/...md    # writes what came of each command into the page
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

SECONDS: Final = 60.0
PEOPLE: Final = ("naledi", "kabo", "fatima", "omar")

_BLOCK: Final = re.compile(r"(?ms)^```console\n(.*?)^```$")
_PROMPT: Final = re.compile(r"^([a-z]*)\$ (.*)$")
_RECORDED: Final = re.compile(r"recorded on (\d{4}-\d{2}-\d{2})")
_DAY: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_DIGEST: Final = re.compile(r"\b[0-9a-f]{64}\b")
_VARIES: Final = (
    (_DIGEST, "DIGEST"),
    (re.compile(r"\b\d{2}:\d{2}\b"), "HH:MM"),
    (re.compile(r"\bkp_[0-9a-f]{16}_[0-9a-f]{64}\b"), "KEY"),
)
_ASKS: Final = "[y/N]: "


@dataclass(slots=True)
class Step:
    """One command of a page. `who` is empty for the reader's own shell; `end` is where its output ends in the page's text."""

    who: str
    command: str
    output: list[str] = field(default_factory=list)
    start: int = 0
    end: int = 0

    @property
    def answers(self) -> list[str]:
        """What somebody typed when asked."""
        return [line.partition(_ASKS)[2] for line in self.output if _ASKS in line]


def steps(text: str) -> list[Step]:
    """The commands of a page, in order, with what came of each."""
    found: list[Step] = []
    for block in _BLOCK.finditer(text):
        at, step = block.start(1), None
        for line in block[1].splitlines(keepends=True):
            prompt = _PROMPT.match(line.rstrip("\n"))
            at += len(line)
            if prompt is not None:
                step = Step(prompt[1], prompt[2], [], at, at)
                found.append(step)
            elif step is not None:
                step.output.append(line.rstrip("\n"))
                step.end = at
    return found


def recorded(text: str) -> date:
    """The day on which the page was recorded."""
    said = _RECORDED.search(text)
    if said is None:
        raise ValueError("the page does not say on which day it was recorded")
    return date.fromisoformat(said[1])


class Replay:
    """A page's commands, done again by the people whose files are in `directory`."""

    def __init__(self, directory: Path, on: date) -> None:
        self._directory = directory
        self._ahead = datetime.now(UTC).date() - on
        self.digests: dict[str, str] = {}
        """Those of today by those of the page."""

    def do(self, step: Step) -> list[str]:
        """Type one command; what came of it, line by line, its days being those of the page."""
        command = _DAY.sub(lambda day: str(date.fromisoformat(day[0]) + self._ahead), step.command)
        for old, new in self.digests.items():
            command = command.replace(old, new)
        shown = _typed(f". ./{step.who}; {command}", self._directory, step.answers)
        return [
            _DAY.sub(lambda day: str(date.fromisoformat(day[0]) - self._ahead), line)
            for line in shown.splitlines()
        ]

    def learn(self, step: Step, got: Sequence[str]) -> None:
        """Remember which digest of the page is which of today: a later command may name it."""
        old = [digest for line in step.output for digest in _DIGEST.findall(line)]
        new = [digest for line in got for digest in _DIGEST.findall(line)]
        if len(old) == len(new):
            self.digests.update(zip(old, new, strict=True))


def agree(page: Sequence[str], got: Sequence[str]) -> bool:
    """Whether what came is what the page shows, but for what is another each time."""
    pattern = "".join(r"(.*\n)*?" if line == "..." else re.escape(_masked(line)) + r"\n" for line in page)
    return re.fullmatch(pattern, "".join(f"{_masked(line)}\n" for line in got)) is not None


def _masked(line: str) -> str:
    for pattern, name in _VARIES:
        line = pattern.sub(name, line)
    return line.rstrip()


def _typed(command: str, directory: Path, answers: Sequence[str]) -> str:
    """Run a shell command at a terminal of 80 columns, answering what it asks; everything that the terminal shows."""
    ours, theirs = pty.openpty()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "HOME": str(directory),
        "TERM": "dumb",
        "COLUMNS": "80",
        "LINES": "50",
        "LANG": "C.UTF-8",
    }
    child = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=directory,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    shown, left, until = "", list(answers), time.monotonic() + SECONDS
    try:
        for piece in _pieces(ours, until):
            shown += piece
            if shown.endswith(_ASKS):
                os.write(ours, f"{left.pop(0) if left else 'n'}\n".encode())
    finally:
        child.kill() if time.monotonic() > until else None
        child.wait()
        os.close(ours)
    return shown.replace("\r\n", "\n")


def _pieces(terminal: int, until: float) -> Iterator[str]:
    kept = b""
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if not ready:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the last process at the terminal has ended
            return
        if not piece:
            return
        kept += piece
        try:
            yield kept.decode()
        except UnicodeDecodeError:
            continue  # a letter has come in two pieces
        kept = b""


def main(directory: Path, page: Path) -> None:
    """Do the page's commands, and write what came of them into it; shortened output stays if it still holds."""
    text, shift = page.read_text(), 0
    today = datetime.now(UTC).date()
    text = _RECORDED.sub(f"recorded on {today}", text)
    replay = Replay(directory, today)
    for step in steps(text):
        if not step.who:
            continue
        got = replay.do(step)
        replay.learn(step, got)
        if agree(step.output, got):
            continue
        print(f"{step.who}$ {step.command}", *got, sep="\n")
        told = "".join(f"{line.rstrip()}\n" for line in got)
        text = text[: step.start + shift] + told + text[step.end + shift :]
        shift += len(told) - (step.end - step.start)
    for old, new in replay.digests.items():  # a command may name one
        text = text.replace(old, new)
    page.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
