"""A temporary directory and the processes that live in it; both are gone when this process is, however it ends.

`kill -9` included: a small shell waits on a pipe whose other end only we hold; when the pipe closes, it kills and
sweeps. (`PR_SET_PDEATHSIG` would be shorter, but it fires when the *thread* that started the server ends, and then
takes a broker away from a living program. A child made by `fork` without `exec` holds the pipe too: what it inherits
ends with the last of the family.)
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# Reads lists of process groups ("-12 -34"), each replacing the one before. The end of input means that our process
# has closed the server, or is dead: the groups of the last line are killed, the directory is removed. The second
# sweep is for a process that was still writing while it died.
_GUARD = """
trap '' INT HUP TERM
groups=
while read -r line; do groups=$line; done
[ -z "$groups" ] || kill -s KILL -- $groups
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"""


class DidNotStart(RuntimeError):
    """The server ended while starting, or was not ready in time; the text carries the end of its log."""


class Premises:
    """One directory, at most a few processes, one guard."""

    def __init__(self, name: str, owner: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"kp-{name}-"))
        self._owner = owner
        self._children: list[subprocess.Popen[bytes]] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.directory)],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # out of reach of the terminal's Ctrl-C and of a kill to our process group
        )
        if owner is not None:
            shutil.chown(self.directory, owner)

    def spawn(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, its output going to the file `output` in the directory."""
        with (self.directory / "output").open("ab") as output, _undisturbed():
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=self.directory,
                user=self._owner,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._children.append(child)
            self._tell_guard()
        return child

    def await_ready(self, child: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float) -> None:
        """Poll until `ready()`; DidNotStart if the child ends first or the time is over."""
        until = time.monotonic() + seconds
        while not ready():
            if child.poll() is not None:
                raise DidNotStart(f"it ended with status {child.returncode}:\n{self.output()[-4000:]}")
            if time.monotonic() > until:
                raise DidNotStart(f"it was not ready after {seconds:g} s:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def output(self) -> str:
        """What the processes wrote to their standard output and error so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "output").read_text(errors="replace")
        return ""

    def kill(self) -> None:
        """SIGKILL to every process and to their direct children; returns when all of them are gone."""
        # Grandchildren may have left the process group (PostgreSQL's do) and need a moment to notice that they are
        # orphans; whoever starts the server again too early would be refused.
        orphans = [pid for child in self._children for pid in _children_of(child.pid)]
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        self._children.clear()
        self._tell_guard()
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while any(_alive(pid) for pid in orphans) and time.monotonic() < until:
            time.sleep(0.01)

    def close(self) -> None:
        """Kill everything and remove the directory."""
        self.kill()
        assert self._guard.stdin is not None
        self._guard.stdin.close()  # with no process left to kill, the guard only sweeps
        self._guard.wait()

    def _tell_guard(self) -> None:
        assert self._guard.stdin is not None
        if self._guard.stdin.closed:
            return
        groups = " ".join(f"-{child.pid}" for child in self._children)
        self._guard.stdin.write(groups.encode() + b"\n")
        self._guard.stdin.flush()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals that come within are heard at its end: a handler that raises while a process starts would leave it to nobody."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler ever runs here
        return
    came: list[int] = []
    before = {
        each: signal.signal(each, lambda number, _frame: came.append(number))
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if callable(signal.getsignal(each))  # what is ignored stays so, in the process that starts too
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def free_ports(count: int) -> list[int]:
    """That many TCP ports free on 127.0.0.1, all below the range from which the kernel serves outgoing connections.

    A port the kernel would choose itself could be given to somebody's client before our server, seconds from its
    start, binds it.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            port = random.randint(15_000, 31_999)  # noqa: S311 - not a secret, only unlikely to collide
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


def search_path() -> str:
    """Where Debian keeps Erlang, and after it whatever PATH adds (Erlang installed by other means)."""
    return f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}"


def _children_of(pid: int) -> list[int]:
    """The direct children of a process; none if it is gone or the kernel does not say."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _alive(pid: int) -> bool:
    """Whether the process still runs; a zombie waiting for its (new) parent does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
