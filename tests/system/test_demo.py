"""`kpnode demo` as somebody runs it: whole processes, and nothing of them left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kpnode.throwaway import Broker, find_broker_binary

pytestmark = [pytest.mark.system, pytest.mark.slow]

SECONDS = 240.0
"""More than enough on a machine that runs other tests beside this one; it takes about 30."""

needs_broker = pytest.mark.skipif(find_broker_binary() is None, reason="RabbitMQ is not installed")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the demonstration makes its temporary directories. A short name: sockets live there."""
    path = Path(tempfile.mkdtemp(prefix="kp-test-demo-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kpnode", "demo", *arguments]


def environment(directory: Path, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("KPNODE_")}
    return {**plain, "TMPDIR": str(directory), **more}


def run(directory: Path, *arguments: str, **more: str) -> str:
    """The whole output of a run that has to end well and leave its directory empty."""
    done = subprocess.run(
        command(*arguments),
        env=environment(directory, **more),
        cwd=directory,  # nothing is to be found where it is started
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert list(directory.iterdir()) == []
    assert left_behind(directory) == []
    return done.stdout


def left_behind(directory: Path) -> list[str]:
    """Processes that have to do with the directory: by their command line, or because they are in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            place = process.cwd()
            if str(directory) in " ".join([place, *process.cmdline()]):
                found.append(f"{process.pid} {process.name()} in {place}")
    return found


@needs_broker
def test_an_outage_ends_complete(directory: Path) -> None:
    said = run(directory, "--once", "--outage", "--shipments", "12")
    assert "All 12 shipments are confirmed on both sides; nothing is lost, nothing doubled." in said
    assert "Repaired: 3 documents sent again, 3 taken back from the partner" in said
    assert "11 confirmed, 1 confirmed-with-discrepancy, 1 suspected-counterfeit" in said
    assert "Incident for the officers of BW: register-" in said  # shorter, or different: whoever asks first
    assert "FAULT" not in said


def test_direct_exchange_needs_no_broker(directory: Path) -> None:
    said = run(directory, "--once", "--direct", "--shipments", "4")
    assert "direct HTTPS, without RabbitMQ, as asked for" in said
    assert "All 4 shipments are confirmed on both sides" in said
    assert "Register BW to AE: 5 documents" in said  # and the rejection


@needs_broker
def test_a_broker_that_is_there_already_is_left_as_it_was(directory: Path) -> None:
    with Broker(plugins=["rabbitmq_management"]) as there:
        before = there.ctl("list_vhosts", "name"), there.ctl("list_users")
        urls = {
            "KPNODE_DEMO_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{there.port}",
            "KPNODE_DEMO_MANAGEMENT_URL": f"http://127.0.0.1:{there.management_port}",
        }
        said = run(directory, "--once", "--shipments", "2", **urls)
        assert f"the RabbitMQ at 127.0.0.1:{there.port}" in said
        assert (there.ctl("list_vhosts", "name"), there.ctl("list_users")) == before


@needs_broker
def test_sigkill_leaves_nothing_behind(directory: Path) -> None:
    demo = subprocess.Popen(
        command("--shipments", "1"),
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Ctrl-C ends it" in line:
                break
        assert left_behind(directory)
        demo.kill()
        until = time.monotonic() + 20
        while (
            left_behind(directory) + [str(path) for path in directory.iterdir()] and time.monotonic() < until
        ):
            time.sleep(0.1)
        assert left_behind(directory) == []
        assert list(directory.iterdir()) == []
    finally:
        demo.kill()
        demo.communicate()


def test_ctrl_c_ends_it_well(directory: Path) -> None:
    demo = subprocess.Popen(
        command("--direct", "--shipments", "1"),
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout is not None
        curl = [
            line.strip()
            for line in iter(demo.stdout.readline, "Ctrl-C ends it.\n")
            if line.startswith("curl")
        ]
        answers = [
            subprocess.run(line, shell=True, capture_output=True, check=True, text=True).stdout
            for line in curl
        ]
        assert [answer.count('"state":"confirmed') for answer in answers] == [1, 1]
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
        assert demo.returncode == 0
        assert left_behind(directory) == []
        assert list(directory.iterdir()) == []
    finally:
        demo.kill()
        demo.communicate()
