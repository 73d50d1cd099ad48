"""Runs every scenario under ``protocol/vectors/cases``, in many orders, and holds the files against their generator."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from kpmsg.case import State, matters
from tests.vectors import cases

SCENARIOS = sorted(cases.FOLDER.iterdir())


def read(path: Path) -> dict[str, Any]:
    scenario: dict[str, Any] = json.loads(path.read_bytes())
    return scenario


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    scenario = read(path)
    items = cases.read(scenario)
    expect = scenario["expect"]
    assert cases.run(scenario) == expect
    orders = list(itertools.islice(itertools.permutations(items), 150))
    chance = random.Random(path.stem)
    for order in [*orders, chance.sample(items, len(items)), items * 2]:
        unique = list({item.id: item for item in order}.values())
        assert cases.run(scenario, unique)["case"] == expect["case"], "the order is nobody's business"


def test_generator_gives_the_files_on_disk() -> None:
    on_disk = {path.name: path.read_bytes() for path in SCENARIOS}
    assert cases.build() == on_disk, "run: python -m tests.vectors.cases"
    assert cases.build() == on_disk, "and again"


def test_every_state_conflict_and_race_has_a_scenario() -> None:
    scenarios = [read(path) for path in SCENARIOS]
    assert {scenario["expect"]["case"]["state"] for scenario in scenarios} == set(State)
    conflicts = {f"C{number}" for number in range(1, 17)}
    races = {f"race {letter}" for letter in "abcdef"}
    assert {scenario["rule"] for scenario in scenarios} == conflicts | races | {"state", "matter"}


def test_every_kind_of_matter_and_every_severity_is_seen() -> None:
    expected = [read(path)["expect"] for path in SCENARIOS]
    kinds = {matter["kind"] for expect in expected for matter in expect["case"]["matters"]}
    assert kinds == set(matters._SENTENCES)
    severities = {each["severity"] for expect in expected for each in expect["objections"]}
    assert severities == {"reject", "hold", "warn"}
