"""The two days of docs/, typed again at two real nodes: everything that the pages show still comes, but for dates, times and digests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.system.days import Replay, agree, recorded, steps

pytestmark = [pytest.mark.system, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs"
SECONDS = 120.0


@pytest.fixture
def desks() -> Iterator[Path]:
    """`./dev demo --desks`, over direct HTTPS, as a process of its own; the directory that it has made."""
    around = Path(tempfile.mkdtemp(prefix="kp-test-desks-"))  # a short name: sockets live there
    directory, log = around / "desks", around / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KPNODE_")}
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "kpnode", "demo", "--desks", str(directory), "--direct"],
            env={**environment, "TMPDIR": str(around)},
            cwd=around,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + SECONDS
        while "Ctrl-C ends it" not in log.read_text():
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield directory
        demo.send_signal(signal.SIGINT)
        assert demo.wait(SECONDS) == 0, log.read_text()
        left = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
        assert left in ([], ["from-dubai.png"])  # what was not written there by us stays
    finally:
        demo.kill()
        demo.wait()
        shutil.rmtree(around, ignore_errors=True)


@pytest.mark.parametrize("page", ["export-clerks-day", "import-inspectors-day"])
def test_a_day_goes_as_it_is_written_down(page: str, desks: Path) -> None:
    text = (DOCS / f"{page}.md").read_text()
    day = datetime.now(UTC).date()
    replay = Replay(desks, recorded(text))
    for step in steps(text):
        if not step.who:
            continue
        got = replay.do(step)
        if datetime.now(UTC).date() != day:
            pytest.skip("midnight has come; days are counted from today")
        shown = "\n".join([f"{step.who}$ {step.command}", *got])
        assert agree(step.output, got), f"{shown}\n--- but the page shows\n" + "\n".join(step.output)
        replay.learn(step, got)
