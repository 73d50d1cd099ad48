"""Writes `kpmsg/rules.json`, the copy of `protocol/rules.yaml` that Python reads: `python -m tests.schemas.rules`."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "protocol" / "rules.yaml"
COPY = ROOT / "kpmsg" / "rules.json"


def text() -> str:
    """What the copy must hold."""
    return json.dumps(yaml.safe_load(SOURCE.read_text("utf-8")), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    COPY.write_text(text(), encoding="utf-8")
