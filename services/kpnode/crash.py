"""Named points at which a test kills this process, to show that nothing is lost or doubled when it dies there.

`KPNODE_CRASH_AT=B2` kills the process with SIGKILL when it passes point B2 for the first time, `B2:3` at the third. Without the
variable a point costs a dictionary look-up. The points and what must hold after each: tests/system/test_crash_points.py.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def point(name: str) -> None:
    """Die here, if the environment says so."""
    wanted = os.environ.get("KPNODE_CRASH_AT")
    if wanted is None:
        return
    at, _, times = wanted.partition(":")
    if at == name:
        _passed[name] += 1
        if _passed[name] >= int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
