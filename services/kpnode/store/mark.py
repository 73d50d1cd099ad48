"""Whether this database is the newest that this node has ever had: a mark beside it, which a restored database does not bring back.

A node that was restored from a backup does not know all that it has issued, and must call no number of its own a counterfeit. So
it keeps a small file in its home: how far the feed of events had come, in which every document of ours and every recorded number
stands. The order is commit, mark, tell. Killed between commit and mark, the mark is behind a commit that nobody has heard of, and a
database that is ahead of its mark lacks nothing. So what has left the process is at or below the mark, but for what was read in the
moment between the two; and an honest crash never looks like a restore.

The file is not synchronised: what a process has written outlives it, though not the machine. A mark of an earlier boot therefore
proves nothing, and the node asks its partners, as it does without a mark. Nor does one that has other times than our own writing
leaves: it may have been put back with the home, but a file server whose clock differs, or a new owner, leaves such times too, so nobody is
accused. A mark that is ahead proves that the database is an older one. What nobody can see is a whole disk put back under a machine
that goes on running; who does that removes the mark (deploy/README.md).

Whenever a node has made sure anew, database and mark get a new name of what they share, drawn at random. A copy from a past that was
abandoned may have come further than the mark, but bears another name.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from kpnode.store import tables as t

BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
APART: Final = 1_000_000_000  # nanoseconds between two readings of the same clock, at most
SIZE: Final = 160
AHEAD: Final = "it lacks what this node committed last"
_MARKED: Final = "mark"
_LAST_EVENT: Final = select(func.max(t.event.c.seq))
ANOTHER: Final = "it is not the one that this node has written to last"


class Mark:
    """The mark of one database. Used by the thread that writes; `sure` may be read by anybody.

    Nothing is marked before `compare`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._reached: int | None = None
        self._name = ""
        self._boot = _boot()
        self.sure = False
        """Whether the database holds everything that this node has ever committed."""

    @property
    def compared(self) -> bool:
        """Whether the database has been compared with the mark since the start."""
        return self._reached is not None

    def compare(self, reached: int, name: str | None) -> str | None:
        """The database has just been opened; its feed ends at `reached`. Why it must be an older one, if it must."""
        why = None
        if (
            self._reached is not None
        ):  # the connection was lost, and what answers now may be a standby that lagged behind
            if reached < self._reached or (self.sure and name != self._name):
                self.sure, why = False, AHEAD
        else:
            self.sure, why = self._read(reached, name)
        self._reached = reached
        return why

    def _read(self, reached: int, name: str | None) -> tuple[bool, str | None]:
        try:
            known = self._path.stat()
            members = json.loads(self._path.read_bytes())
            marked, written, boot = int(members["reached"]), int(members["written"]), str(members["boot"])
            self._name = str(members["name"])
        except (OSError, ValueError, KeyError, TypeError):
            return False, None
        if self._name != name:
            return False, ANOTHER
        if marked > reached:
            return False, AHEAD
        ours = known.st_mtime_ns == known.st_ctime_ns and abs(known.st_mtime_ns - written) < APART
        return ours and boot == self._boot, None

    def settle(self, name: str) -> None:
        """All that was forgotten has come back, and the database bears `name` now: with this commit it is marked again."""
        self._name, self.sure = name, True
        self.close()  # so that it is written, though the feed may be where it was

    def committed(self, reached: int) -> None:
        """A transaction has committed, and nobody has been told. Raises OSError if it can neither be marked nor the mark removed."""
        if self._reached is None:
            return
        unchanged = self._file is not None and reached == self._reached
        self._reached = reached
        if not self.sure:
            self._remove()
        elif not unchanged:
            try:
                self._write(reached)
            except OSError:
                self._remove()

    def _write(self, reached: int) -> None:
        members = {"name": self._name, "reached": reached, "written": time.time_ns(), "boot": self._boot}
        if self._file is None:
            # A file of its own each time: what somebody put back under this name is not written into.
            self._path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self._path, flags, 0o600)
        os.pwrite(self._file, json.dumps(members).encode("ascii").ljust(SIZE), 0)

    def _remove(self) -> None:
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


def place(connection: Connection) -> tuple[int, str | None]:
    """What a mark is compared with: how far the database has come, and the name that it shares with its mark."""
    name = connection.execute(select(t.meta.c.value).where(t.meta.c.name == _MARKED)).scalar()
    return last_event(connection), name


def rename(connection: Connection, name: str) -> None:
    """Give the database the name that its mark is going to bear."""
    connection.execute(delete(t.meta).where(t.meta.c.name == _MARKED))
    connection.execute(insert(t.meta), {"name": _MARKED, "value": name})


def last_event(connection: Connection) -> int:
    """The sequence number of the newest event; 0 if there is none."""
    return connection.execute(_LAST_EVENT).scalar() or 0


def _boot() -> str:
    """Which run of the machine this is; a different one each time where that cannot be told."""
    try:
        return BOOT.read_text("ascii").strip()
    except OSError:
        return f"unknown-{time.time_ns()}"
