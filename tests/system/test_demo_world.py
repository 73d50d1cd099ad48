"""`kpnode demo --world` as somebody runs it, and whether its reckoning would find what must not be."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path

import pytest
import typer

from kpmsg.documents.participants import participants
from kpnode.demo import main
from kpnode.demo.world import run_world
from kpnode.demo.world_errands import Errand, Errands
from kpnode.demo.world_hosts import Hosts, Office
from kpnode.demo.world_reckoning import SIDES, Balance, balance, ledger
from kpnode.demo.world_trade import Finding, draw, traders
from tests.system.test_demo import command, environment, left_behind, run

pytestmark = [pytest.mark.system, pytest.mark.slow]

SECONDS = 120.0
SHIPMENTS = 12


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the demonstration makes its temporary directories. A short name: sockets live there."""
    path = Path(tempfile.mkdtemp(prefix="kp-test-world-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


# --- who ships to whom ------------------------------------------------------------------------------------------------


def test_every_participant_has_one_authority_there() -> None:
    everybody = traders()
    assert len(everybody) == 61
    assert {each.address[:2] for each in everybody} == set(participants())
    assert {each.address for each in everybody if "/" in each.address} == {"CN/mainland", "EU/antwerp"}


def test_the_busy_are_drawn_most_and_nobody_ships_to_itself() -> None:
    drawn = list(draw(3000, traders(), 7))
    assert all(each.exporter != each.importer for each in drawn)
    assert Counter(each.exporter for each in drawn).most_common(1)[0][0] == "EU/antwerp"
    assert Counter(each.importer for each in drawn).most_common(1)[0][0] == "IN"
    assert {each.finding for each in drawn} == set(Finding)


def test_a_seed_is_the_same_world_for_ever_and_another_is_another() -> None:
    first, again, other = (list(islice(draw(50, traders(), seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_certificate_number_is_used_twice() -> None:
    numbers = [
        each.draft(date(2026, 3, 2))["data"]["certificate"]["number_raw"] for each in draw(800, traders(), 3)
    ]
    assert len(set(numbers)) == len(numbers)


# --- the whole of it --------------------------------------------------------------------------------------------------


def test_all_authorities_exchange(directory: Path) -> None:
    said = run(directory, "--once", "--world", "40")
    assert "All 61 nodes are up" in said
    assert "follows estimates, not statistics" in said
    assert "Messages lost 0, doubled 0." in said
    assert "All 40 shipments stand alike with both authorities; nothing is lost, nothing doubled." in said
    assert "FAULT" not in said


def test_half_of_them_are_killed_on_the_way_and_all_come_to_the_same(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    busiest = sorted(traders(), key=lambda each: each.issued + each.received)[-10:]
    assert run_world(80, once=True, seed=1, chaos=True, among=busiest) == 0
    said = capsys.readouterr().out
    assert "A process is killed (SIGKILL)" in said
    assert "They are back." in said
    assert "Messages lost 0, doubled 0." in said
    assert "All 80 shipments stand alike" in said
    assert list(directory.iterdir()) == []


def test_sigterm_ends_all_of_it_while_it_is_being_set_up(directory: Path) -> None:
    demo = subprocess.Popen(
        command("--world", "1"),
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "homes with keys" in line:
                break
        _until(lambda: len(left_behind(directory)) > 1)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=SECONDS)
        assert left_behind(directory) == []
        assert list(directory.iterdir()) == []
    finally:
        demo.kill()
        demo.communicate()


@pytest.mark.parametrize("wrong", [["--world", "5", "--outage"], ["--world", "5", "--keep"], ["--chaos"]])
def test_what_does_not_go_together_is_refused(wrong: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match="--world"):
        main(wrong)


# --- the reckoning ----------------------------------------------------------------------------------------------------


@dataclass
class Ended:
    """A small world after it has ended well: what was submitted, and the databases, which nobody has open any more."""

    errands: list[Errand]
    offices: dict[str, Office]

    def balance(self) -> Balance:
        return balance(self.errands, self.offices)

    @contextlib.contextmanager
    def changed(self, address: str, *statements: tuple[str, tuple[str, ...]]) -> Iterator[None]:
        """One database otherwise than it was, for a while."""
        file = self.offices[address].database
        kept = file.read_bytes()
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            # The node's own database refuses such changes; what is wrong here has happened in spite of that.
            triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for (name,) in triggers:
                database.execute(f"DROP TRIGGER {name}")
            for statement, values in statements:
                assert database.execute(statement, values).rowcount > 0
        yield
        file.write_bytes(kept)


@pytest.fixture(scope="module")
def ended() -> Iterator[Ended]:
    chosen = [each for each in traders() if each.address in {"AE", "EU/antwerp", "IN"}]
    consignments = list(draw(SHIPMENTS, chosen, 5))
    with Hosts(chosen, processes=1) as hosts:
        records = hosts.make_homes()
        hosts.open(records, {(each.exporter, each.importer) for each in consignments})
        errands = Errands(consignments, hosts.offices)
        errands.start()
        _until(lambda: errands.done)
        assert errands.trouble is None
        _until(lambda: not balance(errands.every, hosts.offices).faults)
        for host in hosts:
            host.kill()
        for (
            office
        ) in hosts.offices.values():  # what is in the journal goes into the file, which is then all there is
            with contextlib.closing(sqlite3.connect(office.database)) as database:
                database.execute("PRAGMA journal_mode=DELETE")
        yield Ended(errands.every, hosts.offices)


def _until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_world_that_ended_well_has_no_faults(ended: Ended) -> None:
    found = ended.balance()
    assert (found.faults, found.lost, found.doubled) == ([], 0, 0)
    assert found.documents == sum(1 + (each.confirmation is not None) for each in ended.errands)
    for side in SIDES:
        lines = ledger(ended.errands, ended.offices, side)
        assert sum(line.notified for line in lines) == SHIPMENTS
        assert sum(line.confirmed + line.open for line in lines) == SHIPMENTS


def test_a_document_that_the_importer_does_not_hold_is_lost(ended: Ended) -> None:
    errand = ended.errands[0]
    gone = (errand.notification or "",)
    with ended.changed(
        errand.consignment.importer,
        ("DELETE FROM entry WHERE document_id = ?", gone),
        ("DELETE FROM document WHERE id = ?", gone),
    ):
        found = ended.balance()
    assert (found.lost, found.doubled) == (1, 0)
    assert found.faults


def test_a_document_that_was_said_again_is_doubled(ended: Ended) -> None:
    errand = ended.errands[0]
    with ended.changed(
        errand.consignment.exporter,
        ("UPDATE document SET id = 'another' WHERE id = ?", (errand.notification or "",)),
    ):
        found = ended.balance()
    assert found.doubled == 1
    assert found.faults


def test_a_document_without_receipt_is_a_fault(ended: Ended) -> None:
    errand = ended.errands[-1]
    with ended.changed(
        errand.consignment.exporter,
        ("UPDATE document SET received_at = NULL WHERE id = ?", (errand.notification or "",)),
    ):
        assert any("no receipt" in fault for fault in ended.balance().faults)


def test_registers_that_differ_at_one_place_are_a_fault(ended: Ended) -> None:
    errand = ended.errands[-1]
    with ended.changed(
        errand.consignment.exporter,
        (
            "UPDATE entry SET head = 'another' WHERE side = 'known' AND document_id = ?",
            (errand.notification or "",),
        ),
    ):
        assert any("register" in fault for fault in ended.balance().faults)


def test_authorities_that_disagree_about_a_certificate_are_a_fault(ended: Ended) -> None:
    errand = ended.errands[0]
    with ended.changed(
        errand.consignment.importer,
        ("UPDATE certificate SET state = 'cancelled' WHERE number = ?", (errand.number,)),
    ):
        assert any("cancelled the importer" in fault for fault in ended.balance().faults)
