"""The pages of `protocol/` against the code: rule numbers, refusal codes, links, figures, and every example, which is real.

What a page says in prose no test can check. What it says in tables, numbers and bytes can be, and is here.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

from kpmsg import (
    attachments,
    errors,
    fileframes,
    frames,
    jws,
    keyrecord,
    keys,
    register,
    schedule,
    strictjson,
)
from kpmsg.documents import sentences
from kpmsg.fileframes import FilePart, FileRequest
from kpmsg.frames import Frame, Page, PageRequest, Receipt, Refusal, Status, StatusRequest
from kpmsg.verification import open_documents, open_statement
from kpnode import broker, files
from kpnode.store import files as store_of_files
from kpnode.store import refusals
from kpnode.transports import Outcome, amqp, https
from tests.schemas import asyncapi
from tests.schemas import frames as schemas
from tests.vectors import generate

ROOT = Path(__file__).parents[2]
PROTOCOL = ROOT / "protocol"
PAGES = sorted(PROTOCOL.rglob("*.md"))
NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)

Json = dict[str, Any]


@cache
def page(name: str) -> str:
    return (PROTOCOL / name).read_text("utf-8")


def prose(name: str) -> str:
    """A page without its line breaks, to look sentences up in."""
    return " ".join(page(name).split())


@cache
def sources() -> dict[Path, str]:
    files = [*(ROOT / "kpmsg").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
    return {file: file.read_text("utf-8") for file in files}


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    every = re.findall(r"^```([a-z]*)\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)
    return [content for tongue, content in every if tongue == language]


# --- links and headings ----------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The fragments that a page's headings answer to."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.relative_to(PROTOCOL).as_posix())
def test_every_link_leads_somewhere(file: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    inside = [link for link in links if not re.match(r"[a-z]+:|NAME\.", link)]
    for link in inside:
        place, _, fragment = link.partition("#")
        target = (file.parent / unquote(place)).resolve() if place else file
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(target.read_text("utf-8")), link


def test_every_page_is_reached_from_the_index() -> None:
    index = {
        (PROTOCOL / place).resolve() for place in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page("README.md"))
    }
    assert set(PAGES) - index <= {PROTOCOL / "README.md"}


def test_the_files_that_pages_name_exist() -> None:
    for file in PAGES:
        for name in re.findall(r"`((?:vectors|keys|frames)/[a-z0-9/-]+\.[a-z]+)`", file.read_text("utf-8")):
            place = name if name.startswith(("vectors/", "frames/")) else f"vectors/{name}"
            assert (PROTOCOL / place).exists(), f"{file.name}: {name}"


# --- rules -----------------------------------------------------------------------------------------------------------

RULES = {
    "D": ("documents.md", 10),
    "K": ("keys.md", 10),
    "R": ("registers.md", 10),
    "T": ("transport.md", 12),
    "G": ("attachments.md", 8),
    "P": ("policy.md", 10),
}
RULE = re.compile(r"\b([DKRTPG])([1-9][0-9]?)\b")


def test_each_page_numbers_its_rules_without_gaps() -> None:
    for letter, (name, last) in RULES.items():
        numbers = re.findall(rf"^#+ {letter}([0-9]+)\. ", page(name), re.MULTILINE)
        assert numbers == [str(number) for number in range(1, last + 1)], name
        assert f"{letter}1 to {letter}{last}" in page("README.md")


def cited(text: str) -> set[str]:
    return {f"{letter}{number}" for letter, number in RULE.findall(text)}


def test_every_rule_that_is_cited_exists() -> None:
    rules = {f"{letter}{number}" for letter, (_, last) in RULES.items() for number in range(1, last + 1)}
    for file, text in sources().items():
        points = set(re.findall(r'crash\.point\("([A-Z][0-9]+)"\)', text))
        assert cited(text) - points <= rules, file
    for file in PAGES:
        assert cited(file.read_text("utf-8")) <= rules, file


def test_the_code_cites_every_rule_that_it_decides() -> None:
    everywhere: set[str] = set()
    for text in sources().values():
        everywhere |= cited(text)
    assert {f"R{number}" for number in range(1, 11)} <= everywhere
    gate = (ROOT / "kpmsg" / "verification.py").read_text("utf-8")
    assert {f"D{number}" for number in range(1, 6)} <= cited(gate)


# --- refusals --------------------------------------------------------------------------------------------------------

KINDS = {
    kind.__name__: kind.kind
    for kind in (
        errors.MalformedError,
        errors.SignatureError,
        errors.UntrustedKeyError,
        errors.MisaddressedError,
        errors.KeyFileError,
    )
}
PREFIXES = {
    "malformed": ("json-", "jws-", "frame-", "document-", "record-"),
    "signature": ("sig-",),
    "untrusted-key": ("key-",),
    "misaddressed": ("address-",),
    "draft": ("document-",),
    "key-file": ("key-file-",),
}


def listed() -> dict[str, str]:
    """Every code in the tables of refusals.md, with its kind."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([a-z-]+) \|", page("refusals.md"), re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a code stands twice"
    return dict(rows)


def raised() -> Iterator[tuple[str, str]]:
    """Every code with which the code refuses, with the kind of its exception."""
    for text in sources().values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    assert isinstance(code.value, str)
                    yield code.value, KINDS[node.func.id]


def handed_on() -> set[str]:
    """Codes that reach an exception by a variable: those of base64url, and of values in documents."""
    parser = sources()[ROOT / "kpmsg" / "jws.py"]
    codes = set(re.findall(r'"(jws-[a-z]+)"', parser)) | set(sentences._CODES.values())
    for name in ("sentences.py", "__init__.py"):
        codes |= set(re.findall(r'"(document-[a-z-]+)"', sources()[ROOT / "kpmsg" / "documents" / name]))
    return codes


def test_the_tables_have_every_code_and_no_other() -> None:
    assert {code for code, _ in raised()} | handed_on() == set(listed())


def test_the_tables_have_the_kind_of_every_code() -> None:
    table = listed()
    for code, kind in raised():
        assert table[code] == kind, code
    for code, kind in table.items():
        assert code.startswith(PREFIXES[kind]), code


def test_pages_name_no_code_that_does_not_exist() -> None:
    known = set(listed())
    pattern = re.compile(r"`((?:json|jws|frame|document|record|sig|key|address)-[a-z-]+[a-z])`")
    for name in (
        "documents.md", "keys.md", "registers.md", "transport.md", "attachments.md", "documents/vocabulary.md",
    ):  # fmt: skip
        assert set(pattern.findall(page(name))) <= known, name


def test_the_vectors_expect_codes_that_are_in_the_tables() -> None:
    table = listed()
    rule = re.compile(r"\A[A-Z][0-9]{2}\Z")
    for folder in ("parsing", "signatures", "keys"):
        for file in (PROTOCOL / "vectors" / folder).iterdir():
            expect = json.loads(file.read_bytes())["expect"]
            code = expect.get("code")
            if code is None or rule.match(code):
                continue
            assert table[code] == expect["kind"], file.name


def test_the_example_of_a_refusal_is_one() -> None:
    (example,) = blocks("refusals.md", "json")
    expect = json.loads((PROTOCOL / "vectors/signatures/form-padding.json").read_bytes())["expect"]
    assert json.loads(example) == expect


# --- documents and keys ----------------------------------------------------------------------------------------------


def test_the_example_of_a_document_is_the_vector() -> None:
    vector = json.loads((PROTOCOL / "vectors/signatures/sound-ed25519.json").read_bytes())
    (header,) = jws.peek(vector["input"]["text"].encode()).unverified_headers
    (written,) = blocks("documents.md", "json")
    assert json.loads(written) == dataclasses.asdict(header)
    assert vector["expect"]["id"] + "\n" in blocks("documents.md", "")


def test_documents_md_names_every_typ_and_algorithm() -> None:
    for name in jws.TYPES | set(keys.ALGORITHMS):
        assert f"`{name}`" in page("documents.md"), name


def test_limits_stand_in_the_page_as_in_the_code() -> None:
    text = prose("documents.md")
    assert (jws.MAX_BYTES, jws.MAX_PAYLOAD_BYTES) == (192 * 1024, 64 * 1024)
    assert "at most 192 KiB" in text
    assert "at most 64 KiB (`jws-size`)" in text
    assert (jws.MAX_SIGNATURES, keyrecord.MAX_SIGNATURES) == (4, 16)
    assert "1 to 4 signatures, in a key record 1 to 16" in text
    assert jws._MAX_HEADER_TEXT == 256
    assert (strictjson.MAX_DEPTH, strictjson.MAX_BYTES) == (16, 65536)
    assert keys.SIGNATURE_BYTES == {"Ed25519": 64, "ES256": 64, "ML-DSA-65": 3309}
    assert timedelta(days=30) == keyrecord.RETIRED_GRACE
    assert timedelta(minutes=5) == keyrecord.CLOCK_SKEW


def test_the_example_of_a_key_record_is_the_vector() -> None:
    opened = keyrecord.open_record((PROTOCOL / "vectors/material/bw-1.jws").read_bytes())
    assert f"{opened.digest}\n{opened.record.fingerprint}\n" in blocks("keys.md", "")
    (made_from,) = blocks("keys.md", "json")
    assert keys.fingerprint(made_from.strip().encode()) == opened.record.fingerprint


def rows(name: str) -> set[str]:
    """What stands in the first column of a page's tables, as far as it is code."""
    return set(re.findall(r"^\| `([a-z_]+)` \| [MO] \|", page(name), re.MULTILINE))


def test_keys_md_names_every_member_of_a_record() -> None:
    members = {field.alias or name for name, field in keyrecord.KeyRecord.model_fields.items()}
    members |= {field.alias or name for name, field in keyrecord.KeyEntry.model_fields.items()}
    grant = {"issuer", "holder", "issued", "amqps", "https"}
    assert rows("keys.md") == members | grant


# --- registers -------------------------------------------------------------------------------------------------------


def test_the_frames_folder_is_current() -> None:
    built = schemas.build()
    assert {file.name for file in schemas.FOLDER.iterdir()} == set(built)
    for name, content in built.items():
        assert (schemas.FOLDER / name).read_bytes() == content, "run: python -m tests.schemas.frames"


def records(address: str) -> list[keyrecord.KeyRecord]:
    raw = (PROTOCOL / f"vectors/material/{address.lower()}-1.jws").read_bytes()
    return [keyrecord.open_record(raw).record]


@pytest.mark.parametrize("name", list(frames._LINES))
def test_an_example_frame_is_what_it_says(name: str) -> None:
    raw = (schemas.FOLDER / f"{schemas.key_of(name)}.frame").read_bytes()
    frame = frames.decode(raw)
    assert frame.name == name
    assert frame.encode() == raw
    if name in frames.TYP:
        payload = open_statement(frame.lines[0], frames.TYP[name], records(frame.sender), NOW)
        assert frames.addresses(payload) == (frame.sender, frame.recipient)
        content = strictjson.loads(payload)
    else:
        content = strictjson.loads(raw.split(b"\n")[0])
    described = json.loads((schemas.FOLDER / header_or_statement(name)).read_bytes())
    jsonschema.Draft202012Validator(described).validate(content)
    header = json.loads((schemas.FOLDER / "header.schema.json").read_bytes())
    if not name.endswith("?"):
        jsonschema.Draft202012Validator(header).validate(strictjson.loads(raw.split(b"\n")[0]))
    opened = open_documents(documents_of(frame), sender=records("BW"), source="BW", recipient="AE", now=NOW)
    assert not [one for one in opened if isinstance(one, errors.RefusedError)]


def header_or_statement(name: str) -> str:
    return "header.schema.json" if name == "documents" else f"{schemas.key_of(name)}.schema.json"


def documents_of(frame: Frame) -> tuple[bytes, ...]:
    return frame.lines if frame.name == "documents" else frame.lines[1:]


def test_the_documents_of_the_example_have_the_ids_and_heads_of_the_table() -> None:
    entries, _ = register.extend(register.Head(), schemas.ids())
    table = re.findall(
        r"^\| ([0-9]) \| `([0-9a-f]{64})` \| `([0-9a-f]{64})` \|", page("registers.md"), re.MULTILINE
    )
    assert table == [(str(entry.position), entry.id, entry.head) for entry in entries]
    frame = frames.decode((schemas.FOLDER / "documents.frame").read_bytes())
    opened = open_documents(frame.lines, sender=records("BW"), source="BW", recipient="AE", now=NOW)
    assert [one.id for one in opened if not isinstance(one, errors.RefusedError)] == schemas.ids()


def test_the_receipt_in_the_page_is_the_one_in_the_folder() -> None:
    (written,) = blocks("registers.md", "frame")
    assert written.encode() == (schemas.FOLDER / "receipt.frame").read_bytes() + b"\n"
    (payload,) = blocks("registers.md", "json")
    verified = open_statement(written.encode().split(b"\n")[1], jws.RECEIPT, records("AE"), NOW)
    assert payload.strip().encode() == verified


@pytest.mark.parametrize("which", ["receiver", "sender"])
def test_the_repairs_in_the_page_are_what_the_core_does(which: str) -> None:
    (written,) = blocks("registers.md", which)
    assert written == schemas.transcript(which)


@pytest.mark.parametrize("kind", schemas.MEMBERS)
def test_registers_md_names_every_member_of_every_statement(kind: type) -> None:
    part = page("registers.md").split("### Questions")[1].split("## Part 3")[0]
    if kind in {FileRequest, FilePart}:
        part = page("attachments.md") + "`raw`"  # which is the line
    for field in dataclasses.fields(kind):
        assert f"`{field.name}`" in part, field.name


SAMPLES: dict[type, Json] = {
    kind: strictjson.loads(
        jws.peek((schemas.FOLDER / f"{name}.frame").read_bytes().split(b"\n")[1]).unverified_payload
    )
    for kind, name in ((Receipt, "receipt"), (Refusal, "refusal"), (Status, "status"), (Page, "page"))
}
BAD: list[Any] = [None, "", "x", 7, -1, 2**53, True, 1.5, [], ["x"], {}, "0" * 64, "x" * 2000, ["0" * 64] * 2]


def refusal_of(read: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        read(data)
    except errors.MalformedError as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_statements_schema_refuses_what_the_reader_refuses(
    kind: type[Receipt | Refusal | Status | Page],
) -> None:
    validator = jsonschema.Draft202012Validator(schemas.schema(kind))
    for member in [field.name for field in dataclasses.fields(kind)]:
        for value in [*BAD, ...]:
            changed = {k: v for k, v in SAMPLES[kind].items() if k != member}
            if value is not ...:
                changed[member] = value
            code = refusal_of(kind.read, strictjson.dumps(changed))
            # How `first`, `ids` and `size` hang together is beyond a schema.
            if code != "frame-receipt-size":
                assert validator.is_valid(changed) is (code is None), (member, value)


@pytest.mark.parametrize("kind", [StatusRequest, PageRequest, FileRequest])
def test_a_questions_schema_refuses_what_the_reader_refuses(kind: type) -> None:
    validator = jsonschema.Draft202012Validator(schemas.schema(kind))
    sample = json.loads((schemas.FOLDER / f"{schemas.key_of(schemas.NAMES[kind])}.frame").read_bytes())
    for member in sample:
        for value in [*BAD, ...]:
            changed = {k: v for k, v in sample.items() if k != member}
            if value is not ...:
                changed[member] = value
            code = refusal_of(frames.decode, strictjson.dumps(changed))
            assert validator.is_valid(changed) is (code is None), (member, value)


@pytest.mark.parametrize("name", ["file", "gone"])
def test_the_schema_of_a_file_frame_refuses_what_the_reader_refuses(name: str) -> None:
    validator = jsonschema.Draft202012Validator(schemas.schema(FilePart))
    header, _, line = (schemas.FOLDER / "file.frame").read_bytes().partition(b"\n")
    sample = json.loads(header)
    if name == "gone":
        sample = {k: v for k, v in sample.items() if k not in {"start", "size"}} | {"gone": True}
    for member in [*sample, "gone"]:
        for value in [*BAD, False, ...]:
            changed = {k: v for k, v in sample.items() if k != member}
            if value is not ...:
                changed[member] = value
            lines = [] if changed.get("gone") is True else [line]
            code = refusal_of(frames.decode, b"\n".join([strictjson.dumps(changed), *lines]))
            if code != "frame-file":  # how many bytes there are is beyond a schema of the header
                assert validator.is_valid(changed) is (code is None), (member, value)


# --- attachments -----------------------------------------------------------------------------------------------------


def test_the_limits_of_files_stand_in_the_page_as_in_the_code() -> None:
    text = prose("attachments.md")
    assert f"1 byte to 10 MiB ({attachments.MAX_FILE:,} bytes)" in text
    assert attachments.MAX_FILE == 10 * 2**20
    assert (
        f"at most {attachments.MAX_FILES} files, with at most {attachments.MAX_TOTAL // 2**20} MiB together"
        in text
    )
    types = re.findall(r"`([a-z]+/[a-z]+)`", text.split("media types:")[1].split(". A reader")[0])
    assert types == list(attachments.MEDIA_TYPES)
    assert (fileframes.MAX_PART, fileframes.LEAST_PART, fileframes.PART) == (2**20, 2**16, 2**18)
    assert "A piece has at most 1 MiB; and at least 64 KiB, unless it is the last." in text
    assert "sends pieces of 256 KiB" in text
    assert (files.ANSWER_WITHIN, files.LONGEST_PAUSE, files.ATTEMPTS) == (30, 900, 3)
    assert "after 30 s, then after twice as long each time, up to 900 s" in text
    assert f"(`{store_of_files.FILE_DIFFERS}`)" in text
    assert "three times in all" in text


def test_the_example_of_a_file_is_one() -> None:
    (named,) = blocks("attachments.md", "json")
    (question,) = blocks("attachments.md", "question")
    (answer,) = blocks("attachments.md", "answer")
    asked, given = frames.decode(question.strip().encode()).file, frames.decode(answer.strip().encode()).file
    assert isinstance(asked, FileRequest)
    assert isinstance(given, FilePart)
    (attachment,) = json.loads(named)["attachments"]
    assert (asked.nonce, asked.digest, asked.start) == (given.nonce, given.digest, given.start)
    assert hashlib.sha256(given.raw).hexdigest() == attachment["sha256"] == given.digest
    assert len(given.raw) == attachment["size"] == given.size
    assert (schemas.FOLDER / "file.frame").read_bytes() == answer.strip().encode()


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_figures_of_registers_md_are_those_of_the_code() -> None:
    figures = page("registers.md").split("## Figures")[1].split("## Worked example")[0]
    said = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", figures, re.MULTILINE))
    for label, numbers in (
        ("documents in one frame", (schedule.BATCH, frames.MAX_FRAME_BYTES // 2**20)),
        ("documents under way without a receipt", (schedule.WINDOW,)),
        ("gathering", (schedule.GATHER, schedule.ENOUGH)),
        (
            "pause after failures",
            (schedule.FIRST_PAUSE, 0.5, 1, schedule.CAP_CONNECTED, schedule.CAP_UNREACHABLE),
        ),
        ("asking with traffic or something waiting", (schedule.ASK_BUSY, 0.5, 1.5)),
        ("asking when idle", (schedule.ASK_IDLE,)),
        ("an answer is missing", (schedule.ANSWER_WITHIN, schedule.CAP_CONNECTED)),
        ("a receipt is missing", (schedule.RECEIPT_WITHIN,)),
        ("refused by the partner", (schedule.CAP_UNREACHABLE,)),
    ):
        assert [float(number) for number in re.findall(r"\d+(?:\.\d+)?", said[label])] == list(numbers), label


def test_limits_of_frames_stand_in_the_page_as_in_the_code() -> None:
    text = page("registers.md")
    table = dict(re.findall(r"^\| `([a-z?]+)` \| ([0-9]+(?: to [0-9]+)?) \|", text, re.MULTILINE))
    assert table == {
        name: f"{least}" if least == most else f"{least} to {most}"
        for name, (least, most) in frames._LINES.items()
    }
    assert (frames.MAX_HEADER_BYTES, frames.MAX_FRAME_BYTES) == (32 * 1024, 4 * 2**20)
    assert f"up to {frames.MAX_RECEIPT_IDS} document ids" in prose("registers.md")
    assert f"up to {frames.MAX_DOCUMENTS}: the entries" in prose("registers.md")
    assert f"at most {register.MAX_PARKED}," in prose("registers.md")
    assert refusals.QUARANTINED == 64 * 1024


def test_every_report_is_named() -> None:
    core = sources()[ROOT / "kpmsg" / "register.py"]
    kinds = set(re.findall(r'"((?:register|page|claim)-[a-z-]+)"', core))
    assert len(kinds) >= 4
    for kind in kinds:
        assert f"`{kind}`" in page("registers.md"), kind


# --- transport -------------------------------------------------------------------------------------------------------


def test_transport_md_has_what_a_broker_is_told() -> None:
    text = prose("transport.md")
    told = broker.partner_definitions("AE", "EU/antwerp")
    assert f"`{told['vhosts'][0]['name']}`" in text
    for queue in told["queues"]:
        assert f"| queue | `{queue['name']}` |" in text
        for name, value in queue["arguments"].items():
            assert f"`{name}: {value}`" in text, name
    for right in told["permissions"]:
        said = ", ".join(f"`{kind}: {right[kind]}`" for kind in ("configure", "write", "read"))
        assert said in text, said
    limits = told["users"][0]["limits"]
    assert f"at most {limits['max-connections']} connections and {limits['max-channels']} channels" in text
    assert f"at most {amqp.PREFETCH} unacknowledged" in text
    assert "`content-type: application/kp-frame` and `delivery-mode: 2`" in text
    assert amqp.CONTENT_TYPE == https.CONTENT_TYPE == "application/kp-frame"


def test_transport_md_has_every_outcome() -> None:
    listed_outcomes = re.findall(
        r"^\| ([a-z]+) \| [^|]+ \| [^|]+ \| [^|]+ \|$", page("transport.md"), re.MULTILINE
    )
    assert [one for one in listed_outcomes if one in set(Outcome)] == [str(outcome) for outcome in Outcome]


def test_the_status_codes_mean_to_a_sender_what_the_page_says() -> None:
    link = https.HttpsLink(
        "BW", "AE", "https://ae.example", generate.Vectors({}).key("bw-transport", "ES256")
    )
    section = page("transport.md").split("## T12")[1]
    table = re.findall(r"^\| ([0-9, ]+) \| [^|]+ \| ([a-z]+) \|$", section, re.MULTILINE)
    assert len(table) == 8
    for statuses, outcome in table:
        for status in statuses.split(", "):
            if status != "200":
                assert link._refused(int(status)).outcome == outcome, status
    assert link._refused(500).outcome == Outcome.UNKNOWN


def test_the_example_of_a_request_is_one() -> None:
    (written,) = blocks("transport.md", "json")
    body = (schemas.FOLDER / "documents.frame").read_bytes()
    signer = generate.Vectors({}).key("bw-transport", "ES256")
    proof = https.sign_request(body, "BW", "AE", signer, NOW)
    assert jws.peek(proof.encode()).unverified_payload == written.strip().encode()
    known = {"BW": records("BW")}
    digest = https.authenticate(proof, sender="BW", own="AE", records=known, now=NOW)
    https.check_body(body, digest)


# --- AsyncAPI --------------------------------------------------------------------------------------------------------


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_committed_asyncapi_is_current() -> None:
    assert asyncapi.FILE.read_text("utf-8") == asyncapi.text(), "run: python -m tests.schemas.asyncapi"


def test_every_reference_in_asyncapi_resolves() -> None:
    described = yaml.safe_load(asyncapi.FILE.read_text("utf-8"))
    found = list(references(described))
    assert len(found) > 50
    for reference in found:
        place, _, pointer = reference.partition("#")
        if place:
            assert (PROTOCOL / place).is_file(), reference
            continue
        here = described
        for step in pointer.removeprefix("/").split("/"):
            here = here[step]


def test_asyncapi_has_a_message_and_both_operations_for_each_frame() -> None:
    described = yaml.safe_load(asyncapi.FILE.read_text("utf-8"))
    assert described["asyncapi"].startswith("3.")
    names = {message["name"]: key for key, message in described["components"]["messages"].items()}
    assert set(names) == set(frames._LINES)
    for frame, key in names.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", key)
        shape = described["components"]["messages"][key]["x-kp-frame"]
        assert (shape["lines"]["least"], shape["lines"]["most"]) == frames._LINES[frame]
        assert shape.get("statement", {}).get("typ") == frames.TYP.get(frame)
        for action in ("send", "receive"):
            assert described["operations"][f"{action}-{key}"]["action"] == action
        for channel in described["channels"].values():
            assert key in channel["messages"]
    for operation in described["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(one["$ref"].startswith(f"{channel}/messages/") for one in operation["messages"])
