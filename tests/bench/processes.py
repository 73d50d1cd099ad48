"""The Python processes of a subject: started, watched while they start, asked to end, and gone for certain.

With a profile directory they run under py-spy where that is installed (every thread, sampled), else under cProfile
(the main thread, which is the event loop, is all it sees, and it slows the process to about half).
"""

import os
import pstats
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kpnode.throwaway.premises import Premises

STOP_SECONDS = 10.0
START_SECONDS = 40.0

# Where the children find this package, whatever directory they run in.
ROOT = Path(__file__).resolve().parents[2]


class Processes:
    """The processes of one subject by role, in a directory of their own that goes when they go."""

    def __init__(self, name: str, profile: Path | None = None) -> None:
        self._name, self._profile = name, profile
        self._premises = Premises(f"bench-{name}")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        role: str,
        arguments: Sequence[str],
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run `python *arguments`, with additions to the environment, until `ready()`.

        DidNotStart (a RuntimeError) with the end of the output if it ends first or takes longer than START_SECONDS.
        """
        command = [sys.executable, *arguments]
        if self._profile is not None:
            file = self._profile / f"{self._name}-{role}"
            if spy := shutil.which("py-spy"):
                command = [spy, "record", "--subprocesses", "--output", f"{file}.svg", "--", *command]
            else:
                command[1:1] = ["-m", "cProfile", "-o", f"{file}.pstats"]
        inherited = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        child = self._premises.spawn(command, inherited)
        self._running[role] = child
        self._premises.await_ready(child, ready, START_SECONDS)

    def ids(self) -> dict[str, int]:
        """Process ids by role."""
        return {role: child.pid for role, child in self._running.items()}

    def stop(self) -> None:
        """Ask each to end, newest first; then kill what is left, and remove the directory. May be called twice."""
        # cProfile and py-spy write their file after an interrupt; SIGTERM would end them with nothing written.
        polite = signal.SIGTERM if self._profile is None else signal.SIGINT
        while self._running:
            _, child = self._running.popitem()
            if child.poll() is None:
                child.send_signal(polite)
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    continue  # the kill below is for this one
        self._premises.close()


def port_open(port: int) -> Callable[[], bool]:
    """A `ready` for `Processes.start`: somebody accepts connections on 127.0.0.1:port."""

    def accepts() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return accepts


def print_profiles(profile: Path, lines: int = 25) -> None:
    """The functions each profiled process spent most of its own time in."""
    for file in sorted(profile.iterdir()):
        print(f"\n{file}")
        if file.suffix == ".pstats":
            pstats.Stats(str(file)).sort_stats("tottime").print_stats(lines)
