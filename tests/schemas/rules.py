"""Writes what is made from `protocol/rules.yaml`: `python -m tests.schemas.rules`.

That is `kpmsg/rules.json`, the copy which Python reads, and the tables in `protocol/rules.md`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "protocol" / "rules.yaml"
COPY = ROOT / "kpmsg" / "rules.json"
PAGE = ROOT / "protocol" / "rules.md"

_ORDER = ("reject", "hold", "warn")


def text() -> str:
    """What the copy must hold."""
    return json.dumps(yaml.safe_load(SOURCE.read_text("utf-8")), ensure_ascii=False, indent=1) + "\n"


def page() -> str:
    """What the page must hold: as it is, with its tables made anew."""
    rules: dict[str, dict[str, Any]] = yaml.safe_load(SOURCE.read_text("utf-8"))["rules"]
    written = PAGE.read_text("utf-8")
    for name, rows in (("rules", _rows(rules)), ("receiver", _reasons(rules))):
        marked = re.compile(rf"(<!-- {name}: generated -->\n).*?(<!-- end -->)", re.DOTALL)
        table = "\n".join(rows)
        written, count = marked.subn(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", written)  # type: ignore[misc]
        assert count == 1, name
    return written


def severities(rule: dict[str, Any]) -> set[str]:
    """Every severity that the rule may have: its own, those of its ways of being broken, and those of its exceptions."""
    several = [*rule["says"].values(), *rule.get("exceptions", ())]
    return {said.get("severity", rule["severity"]) for said in several}


def _rows(rules: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        "| Code | Version | Severity | About | Ground | Documents | Tested by |",
        "|---|---|---|---|---|---|---|",
    ]
    for code, rule in sorted(rules.items()):
        grave = ", ".join(sorted(severities(rule), key=_ORDER.index))
        when = "; ".join(f"{one['severity']}: {one['when']}" for one in rule.get("exceptions", ()))
        about = rule["about"] + (f" ({when})" if when else "")
        documents = "all" if rule["documents"] == ["*"] else ", ".join(rule["documents"])
        cells = (
            code,
            rule["version"],
            grave,
            about,
            rule["ground"],
            documents,
            rule.get("tested_by", "sender"),
        )
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return rows


def _reasons(rules: dict[str, dict[str, Any]]) -> list[str]:
    rows = ["| Code | Severity | Why the sender cannot know |", "|---|---|---|"]
    for code, rule in sorted(rules.items()):
        if rule.get("tested_by") == "receiver":
            grave = ", ".join(sorted(severities(rule), key=_ORDER.index))
            rows.append(f"| {code} | {grave} | {rule.get('because', '')} |")
    return rows


if __name__ == "__main__":
    COPY.write_text(text(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
