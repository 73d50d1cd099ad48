"""Writes `protocol/documents/<name>.schema.json` from the models: `python -m tests.schemas.generate`.

JSON Schema 2020-12 describes the form of a whole document, envelope and data. What it cannot say (no duplicate keys,
the sums, the days that exist) is in `protocol/documents.md` and in the pages. A test fails when the committed files
differ from what this writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kpmsg.documents import TYPES, form_of

FOLDER = Path(__file__).parents[2] / "protocol" / "documents"


def schema(kind: str) -> dict[str, Any]:
    """The schema of the documents of one CloudEvents type."""
    content = TYPES[kind]
    described = form_of(kind).model_json_schema(mode="validation")
    _tidy(described)
    described["properties"]["type"] = {"const": kind}
    if "certificate" in content.model_fields:
        described["required"].append("subject")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:kimberley:{content.name}:v1",
        **described,
        "title": f"{content.name}, version 1",
    }


def text(kind: str) -> str:
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> None:
    """Takes away the titles pydantic makes from field names, and `null` as the default of what may be left out."""
    if isinstance(node, dict):
        if node.get("default", ...) in (None, []):
            del node["default"]
        if isinstance(node.get("title"), str):
            del node["title"]
        for value in node.values():
            _tidy(value)
    elif isinstance(node, list):
        for value in node:
            _tidy(value)


if __name__ == "__main__":
    for kind, content in TYPES.items():
        (FOLDER / f"{content.name}.schema.json").write_text(text(kind), encoding="utf-8")
