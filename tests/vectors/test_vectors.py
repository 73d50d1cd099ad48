"""Runs every scenario under ``protocol/vectors`` and holds the files against their generator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kpmsg import base64url, documents, keyrecord, strictjson, verification
from kpmsg.errors import DraftError, KpmsgError, Problem
from kpmsg.keys import PublicKey
from tests.vectors import generate

FOLDERS = ("parsing", "signatures", "keys", "documents")
KINDS = {"accepted", "malformed", "signature", "untrusted-key", "misaddressed", "draft"}
SCENARIOS = sorted(path for folder in FOLDERS for path in (generate.FOLDER / folder).iterdir())

Scenario = dict[str, Any]


def bytes_of(scenario: Scenario) -> bytes:
    given = scenario["input"]
    if "repeat" in given:
        return "".join(text * times for text, times in given["repeat"]).encode()
    return given["text"].encode() if "text" in given else base64url.decode(given["base64url"])


@cache
def material(name: str) -> bytes:
    return (generate.FOLDER / "material" / f"{name}.jws").read_bytes()


@cache
def held(name: str) -> keyrecord.VerifiedRecord:
    if name in {"bw-1", "bw-test-1", "ae-1"}:
        return keyrecord.open_record(material(name))
    return keyrecord.open_next(held("bw-1"), material(name))


def records_of(names: list[str]) -> list[keyrecord.KeyRecord]:
    return [held(name).record for name in names]


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def run_json(raw: bytes, given: Scenario) -> Scenario:
    return {"value": strictjson.loads(raw)}


def run_payload(raw: bytes, given: Scenario) -> Scenario:
    documents.parse(raw)
    return {}


def run_draft(raw: bytes, given: Scenario) -> Scenario:
    written = datetime.fromisoformat(given["time"])
    number = UUID("019cb000-0000-7000-8000-000000000001")
    document, _ = documents.compose(strictjson.loads(raw), source=given["source"], id=number, time=written)
    return {"problems": listed(documents.breaches(document))}


def listed(problems: Sequence[Problem]) -> list[dict[str, str | None]]:
    """Which rules are broken where; in the order of the codes, since the order in which they are found is nobody's business."""
    found = [{"code": p.code, "severity": p.severity, "pointer": p.pointer} for p in problems]
    return sorted(found, key=lambda each: (each["code"] or "", each["pointer"] or ""))


def run_document(raw: bytes, given: Scenario) -> Scenario:
    opened = verification.open_document(
        raw,
        sender=records_of(given["sender"]),
        source=given["source"],
        recipient=given["recipient"],
        now=moment(given["now"]),
    )
    assert opened.raw == raw
    return {"id": opened.id}


def run_statement(raw: bytes, given: Scenario) -> Scenario:
    now = datetime.fromisoformat(given["now"])
    verification.open_statement(raw, given["typ"], records_of(given["sender"]), now)
    return {}


def run_key(raw: bytes, given: Scenario) -> Scenario:
    return {"kid": PublicKey.from_jwk(strictjson.loads(raw)).kid}


def run_record(raw: bytes, given: Scenario) -> Scenario:
    opened = keyrecord.open_record(raw)
    return {"fingerprint": opened.record.fingerprint, "digest": opened.digest}


def run_next_record(raw: bytes, given: Scenario) -> Scenario:
    keyrecord.open_next(held(given["previous"]), raw)
    return {}


def run_foreign(raw: bytes, given: Scenario) -> Scenario:
    keyrecord.check_foreign(records_of(given["others"]), keyrecord.open_record(raw).record)
    return {}


ACTS: dict[str, Callable[[bytes, Scenario], Scenario]] = {
    "json": run_json,
    "payload": run_payload,
    "draft": run_draft,
    "document": run_document,
    "statement": run_statement,
    "key": run_key,
    "record": run_record,
    "next-record": run_next_record,
    "foreign": run_foreign,
}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_scenario(path: Path) -> None:
    scenario = json.loads(path.read_text())
    try:
        found = ACTS[scenario["act"]](bytes_of(scenario), scenario)
        outcome = {"kind": "accepted"}
    except KpmsgError as error:
        found, outcome = {}, {"kind": error.kind, "code": error.code}
        if isinstance(error, DraftError):
            found["problems"] = listed(error.problems)
            outcome["code"] = next(p.code for p in error.problems if p.severity == "reject")
    wanted = scenario["expect"]
    if "problems" in wanted:
        wanted["problems"].sort(key=lambda each: (each["code"], each["pointer"]))
    assert outcome == {name: wanted[name] for name in ("kind", "code") if name in wanted}
    for name, value in found.items():
        assert wanted.get(name, value) == value


def test_every_file_says_what_it_must() -> None:
    for path in SCENARIOS:
        scenario = json.loads(path.read_text())
        assert scenario.keys() >= {"description", "rule", "act", "input", "expect"}, path
        assert scenario["expect"]["kind"] in KINDS, path
        assert ("code" in scenario["expect"]) == (scenario["expect"]["kind"] != "accepted"), path
    assert len(SCENARIOS) >= 60
    assert {json.loads(path.read_text())["expect"]["kind"] for path in SCENARIOS} == KINDS


def test_generator_gives_the_files_on_disk() -> None:
    built = generate.build()
    on_disk = {
        f"{folder}/{path.name}": path.read_bytes()
        for folder in generate.WRITTEN
        for path in (generate.FOLDER / folder).iterdir()
    }
    assert built.keys() == on_disk.keys()
    changed = [name for name, content in built.items() if content != on_disk[name]]
    assert changed == []


def test_document_ids_are_plain_sha256() -> None:
    scenario = json.loads((generate.FOLDER / "signatures" / "sound-ed25519.json").read_text())
    encoded = json.loads(scenario["input"]["text"])["payload"]
    assert scenario["expect"]["id"] == hashlib.sha256(base64url.decode(encoded)).hexdigest()
