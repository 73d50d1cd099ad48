"""The pages in `protocol/documents/` against the models: schemas current, fields complete, examples valid."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kpmsg.documents import TYPES, Content, breaches, parse, participants
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import PRODUCERS
from kpmsg.strictjson import dumps
from tests.schemas.generate import FOLDER, schema, text

KINDS = list(TYPES.values())
HEADINGS = ["Purpose and ground", "Who sends it to whom", "Fields", "Rules", "Example"]
CODE = re.compile(r"""(?:Problem|breach)\(\s*"([A-Z][0-9]{2})\"""")


def page(content: type[Content]) -> str:
    return (FOLDER / f"{content.name}.md").read_text("utf-8")


def fields(root: Any, node: Any, path: str = "") -> dict[str, bool]:
    """Every field a schema describes, and whether it is required; list entries are `*`."""
    if "$ref" in node:
        return fields(root, root["$defs"][node["$ref"].removeprefix("#/$defs/")], path)
    found: dict[str, bool] = {}
    for choice in [*node.get("oneOf", ()), *node.get("anyOf", ())]:
        for place, due in fields(root, choice, path).items():
            found[place] = found.get(place, True) and due
    if "items" in node:
        found |= fields(root, node["items"], f"{path}/*")
    for name, value in node.get("properties", {}).items():
        found[f"{path}/{name}"] = name in node.get("required", ())
        found |= fields(root, value, f"{path}/{name}")
    return found


@pytest.mark.parametrize("content", KINDS)
def test_the_committed_schema_is_current(content: type[Content]) -> None:
    committed = (FOLDER / f"{content.name}.schema.json").read_text("utf-8")
    assert committed == text(content.type), "run: python -m tests.schemas.generate"
    jsonschema.Draft202012Validator.check_schema(json.loads(committed))


@pytest.mark.parametrize("content", KINDS)
def test_a_page_has_its_headings(content: type[Content]) -> None:
    for source in (page(content), (FOLDER / "TEMPLATE.md").read_text("utf-8")):
        assert re.findall(r"^## (.*)$", source, re.MULTILINE) == HEADINGS
    assert f"`{content.type}`" in page(content)


@pytest.mark.parametrize("content", KINDS)
def test_a_page_lists_every_field_and_no_other(content: type[Content]) -> None:
    listed = dict(re.findall(r"^\| `(/[^`]*)` \| ([MO]) \|", page(content), re.MULTILINE))
    described = schema(content.type)
    due = fields(described, described["properties"]["data"])
    assert listed == {place: "M" if required else "O" for place, required in due.items()}


@pytest.mark.parametrize("content", KINDS)
def test_a_page_lists_every_rule_its_module_knows(content: type[Content]) -> None:
    module = Path(inspect.getfile(content))
    listed = set(re.findall(r"^\| ([A-Z][0-9]{2}) \|", page(content), re.MULTILINE))
    assert set(CODE.findall(module.read_text("utf-8"))) <= listed


@pytest.mark.parametrize("content", KINDS)
def test_the_example_on_a_page_is_a_document(content: type[Content]) -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", page(content), re.MULTILINE | re.DOTALL)
    value = json.loads(example)
    jsonschema.Draft202012Validator(schema(content.type)).validate(value)
    document = parse(dumps(value))
    assert isinstance(document.data, content)
    assert not [problem for problem in breaches(document) if problem.severity == "reject"]


def test_every_field_the_scheme_asks_for_is_where_the_table_says() -> None:
    table = (FOLDER / "kpcs-fields.md").read_text("utf-8")
    for heading, name in (
        ("Export notification", "export-notification"),
        ("Import confirmation", "import-confirmation"),
    ):
        section = table.split(f"## {heading}\n")[1].split("\n## ")[0]
        described = schema(f"org.kimberley.{name}.v1")
        places = set(fields(described, described))
        pointers = re.findall(r"`(/[^`]*)`", section)
        assert len(pointers) > 10
        assert set(pointers) <= places


def test_the_lists_that_rules_go_by_are_published() -> None:
    published = FOLDER.parent / "participants.csv"
    assert published.read_bytes() == Path(participants.__file__).with_suffix(".csv").read_bytes()
    text = (FOLDER / "export-notification.md").read_text("utf-8")
    mining, union = re.findall(r"^```countries\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert frozenset(mining.split()) == PRODUCERS
    assert frozenset(union.split()) == participant_of("EU").countries
    assert {"CN", "HK", "MO"} == participant_of("CN").countries
