"""Runs every scenario under ``protocol/vectors/registers`` and holds the files against their generator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vectors import registers

SCENARIOS = sorted(registers.FOLDER.iterdir())


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    scenario = json.loads(path.read_text())
    assert registers.run(scenario) == scenario["expect"]


def test_generator_gives_the_files_on_disk() -> None:
    assert registers.build() == {path.name: path.read_bytes() for path in SCENARIOS}
    assert len(SCENARIOS) >= 20
