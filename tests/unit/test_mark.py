"""The mark beside a database: no restored database is taken for the newest, and no honest crash for a restore."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from kpnode.store import mark as marks
from kpnode.store.mark import AHEAD, ANOTHER, Mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kpnode.mark"


def marked(path: Path, reached: int = 100, name: str = "one") -> None:
    """A node has run, has been sure, and was killed."""
    mark = Mark(path)
    mark.compare(0, None)
    mark.settle(name)
    mark.committed(reached)


def found(path: Path, reached: int = 100, name: str | None = "one") -> tuple[bool, str | None]:
    mark = Mark(path)
    why = mark.compare(reached, name)
    return mark.sure, why


@pytest.mark.parametrize("reached", [100, 101])
def test_a_database_that_is_as_far_as_its_mark_lacks_nothing(path: Path, reached: int) -> None:
    marked(path)
    assert found(path, reached) == (True, None)


def test_without_a_mark_nothing_is_proven(path: Path) -> None:
    assert found(path) == (False, None)
    path.write_bytes(b'{"reached"')
    assert found(path) == (False, None)


def test_a_database_behind_its_mark_is_an_older_one(path: Path) -> None:
    marked(path)
    assert found(path, 99) == (False, AHEAD)


def test_a_copy_from_an_abandoned_past_is_another_database_however_far_it_came(path: Path) -> None:
    marked(path)
    assert found(path, 500, "two") == (False, ANOTHER)
    assert found(path, 500, None) == (False, ANOTHER)


@pytest.mark.parametrize("preserving", [True, False])
def test_a_mark_that_was_put_back_with_the_home_proves_nothing_and_accuses_nobody(
    path: Path, tmp_path: Path, preserving: bool
) -> None:
    marked(path)
    (shutil.copy2 if preserving else shutil.copyfile)(path, tmp_path / "copy")
    time.sleep(1.1)
    marked(path, 200)
    (shutil.copy2 if preserving else shutil.copyfile)(tmp_path / "copy", path)
    assert found(path) == (False, None)


def test_a_mark_whose_rights_were_changed_proves_nothing_and_accuses_nobody(path: Path) -> None:
    marked(path)
    time.sleep(0.01)
    path.chmod(0o640)
    assert found(path) == (False, None)


def test_a_mark_on_a_server_with_another_clock_proves_nothing_and_accuses_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    with monkeypatch.context() as behind:
        behind.setattr(time, "time_ns", lambda: now - 2_000_000_000)
        marked(path)
    assert found(path) == (False, None)


def test_a_mark_of_another_boot_proves_nothing_and_accuses_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marked(path)
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(marks, "BOOT", tmp_path / "boot")
    assert found(path) == (False, None)
    assert found(path, 99) == (False, AHEAD), "but one that is ahead shows an older database all the same"


def test_a_node_that_is_not_sure_leaves_no_mark(path: Path) -> None:
    marked(path)
    mark = Mark(path)
    mark.compare(99, "one")
    mark.committed(150)  # what it commits now must not make the older database look like the newest
    assert found(path, 150) == (False, None)
    mark.settle("two")
    mark.committed(151)
    assert found(path, 151, "two") == (True, None)


def test_a_database_that_is_settled_anew_is_marked_at_once(path: Path) -> None:
    mark = Mark(path)
    mark.compare(0, None)
    mark.settle("one")
    mark.committed(100)
    mark.sure = False  # something came back from a partner
    mark.settle("two")
    mark.committed(100)
    assert found(path, 100, "two") == (True, None)


def test_a_standby_that_lags_behind_is_noticed_when_it_takes_over(path: Path) -> None:
    mark = Mark(path)
    mark.compare(0, None)
    mark.settle("one")
    mark.committed(100)
    assert mark.compare(100, "one") is None
    assert mark.sure
    assert mark.compare(99, "one") == AHEAD
    assert not mark.sure


def test_a_mark_that_cannot_be_written_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = Mark(path)
    mark.compare(0, None)
    mark.settle("one")
    mark.committed(100)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    mark.committed(101)
    assert not path.exists()


def test_nothing_is_marked_before_the_comparison(path: Path) -> None:
    marked(path)
    mark = Mark(path)
    mark.committed(5)
    assert found(path) == (True, None)
