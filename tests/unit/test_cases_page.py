"""`protocol/cases.md` against the code: its states, matters, rows and rules are those that there are, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from kpmsg.case import matters
from kpmsg.case.standing import WITHDRAWABLE
from kpmsg.case.states import CONFLICTS, State
from kpmsg.documents import TYPES
from tests.schemas.rules import severities
from tests.unit.test_rules import DATA

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "protocol" / "cases.md").read_text("utf-8")
RACES = (ROOT / "tests" / "unit" / "test_case_races.py").read_text("utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the one table under a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert set(rows[1]) <= set("|-")
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def test_the_states_are_those_of_the_code_with_their_meaning() -> None:
    rows = table("States")
    written = {row[0].strip("*`"): row[1] for row in rows}
    assert len(written) == len(rows)
    assert written == {str(state): state.meaning for state in State}
    assert {row[0].strip("*`") for row in rows if row[0].startswith("*")} == set(CONFLICTS)


def test_every_state_has_its_place_in_the_decision() -> None:
    section = PAGE.split("## Case rule 8", 1)[1].split("\n## ", 1)[0]
    by_outcome = {"confirmed", "confirmed-after-remedy", "partly-confirmed", "detained", "seized"}
    by_outcome |= {"arrived-despite-cancellation"}
    assert set(re.findall(r"\*\*([a-z-]+)\*\*", section)) == {str(state) for state in State} - by_outcome


def test_every_state_that_is_named_exists() -> None:
    assert set(re.findall(r"\*\*([a-z]+(?:-[a-z]+)+)\*\*", PAGE)) <= {str(state) for state in State}


def test_the_matters_are_those_of_the_code() -> None:
    rows = table("Matters")
    assert [row[0].strip("`") for row in rows].count("confirmation") == 1
    assert {row[0].strip("`") for row in rows} == set(get_args(matters.Kind))
    assert len(rows) == len(get_args(matters.Kind))


def test_the_rules_of_the_case_are_numbered_without_gaps() -> None:
    numbers = [int(number) for number in re.findall(r"^## Case rule ([0-9]+): ", PAGE, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert f"case rules 1 to {numbers[-1]}" in (ROOT / "protocol" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("row", [row[0] for row in table("The conflict table")])
def test_every_row_of_the_conflict_table_is_tested_under_its_name(row: str) -> None:
    assert f"def test_{row}_" in RACES


@pytest.mark.parametrize("row", [row[0] for row in table("The race rules")])
def test_every_race_rule_is_tested_under_its_name(row: str) -> None:
    assert f"def test_{row.replace(' ', '_')}_" in RACES


def test_no_row_is_missing() -> None:
    rows = {row[0] for row in table("The conflict table")}
    assert rows == {f"C{number}" for number in range(1, 17)}
    assert rows == set(re.findall(r"def test_(C[0-9]+)_", RACES))
    races = {row[0] for row in table("The race rules")}
    assert races == {f"race {letter}" for letter in re.findall(r"def test_race_([a-z])_", RACES)}


def test_every_rule_is_named_with_a_severity_that_it_may_have() -> None:
    told = re.findall(r"\b([A-Z][0-9]{2}) (reject|hold|warn)\b", PAGE)
    for code, severity in told:
        assert severity in severities(DATA[code]), (code, severity)
    named = {code for code, _ in told} | {row[0] for row in table("What is said against a document")}
    rows = {row[0] for row in table("The conflict table")}
    assert set(re.findall(r"\b[A-Z][0-9]{2}\b", PAGE)) - {"C01", "C20", "R10"} <= named | rows


def test_what_cannot_be_withdrawn_is_listed() -> None:
    section = PAGE.split("## Case rule 3", 1)[1].split("\n## ", 1)[0]
    listed = set(re.findall(r"`([a-z-]+)`", section))
    assert listed == {kind.name for kind in TYPES.values() if not issubclass(kind, WITHDRAWABLE)}


def test_the_table_of_what_is_said_has_every_rule_that_is_raised() -> None:
    """From the calls themselves: which codes, and with which severity where the call says one for either side."""
    modules = (ROOT / "kpmsg" / "case" / f"{name}.py" for name in ("objections", "goods", "differences"))
    raised: dict[str, set[str]] = {}
    for node in [node for module in modules for node in ast.walk(ast.parse(module.read_text("utf-8")))]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "breach":
            for code in _codes(node.args[0]):
                raised.setdefault(code, set()).update(_severities(node, code))
    raised.pop("UNCERTAIN", None)
    # Raised by kpmsg.policy.screening, where both documents are known.
    raised |= {"C07": {"hold"}, "T01": {"warn"}, "T02": {"warn"}}
    written: dict[str, set[str]] = {}
    for code, ours, theirs, _ in table("What is said against a document"):
        written.setdefault(code, set()).update({ours, theirs} - {"-"})
    assert written == raised


def _codes(argument: ast.expr) -> list[str]:
    match argument:
        case ast.Constant(value=str(code)):
            return [code]
        case ast.Name(id="UNCERTAIN"):
            return ["I01"]
    return ["A01", "A08"]  # the one call whose code depends on the side


def _severities(call: ast.Call, code: str) -> set[str]:
    for keyword in call.keywords:
        if keyword.arg == "severity":
            return {str(n.value) for n in ast.walk(keyword.value) if isinstance(n, ast.Constant)}
    variant = call.args[1].value if isinstance(call.args[1], ast.Constant) else ""
    return {DATA[code]["says"].get(variant, {}).get("severity", DATA[code]["severity"])}
