"""The command line `kpmsg`: what each file of the exchange is called, what is believed, and how a program is told."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from kpmsg import cli, documents, frames, jws, strictjson
from kpmsg.cli import edge as cli_edge
from kpmsg.client import asking
from kpmsg.keyrecord import issue
from kpmsg.keys import SoftwareSigner
from kpmsg.verification import seal_document
from tests.unit.documents_full import EXPORT_NOTIFICATION, FULL

NOW = datetime.now(UTC)
BEGIN = "2025-01-01T00:00:00Z"
MESSAGE_ID = "019cb2f6-5e00-7c21-9d3a-5b0e7f1c2a44"
API_KEY = "kp_" + "ab" * 8 + "_" + "cd" * 32
SIGNERS = {
    name: SoftwareSigner.generate() for name in ("identity", "document", "node", "transport", "stranger")
}
SPOOF = "\x1b[2J\x07\u202eevil\u200b"


def fields(version: int = 1, **more: Any) -> dict[str, Any]:
    entries = [
        {"jwk": SIGNERS[use].public.jwk, "use": use, "valid_from": BEGIN}
        for use in ("document", "node", "transport")
    ]
    authority = {
        "name": f"Diamond Office {SPOOF}".replace("\x1b", "").replace("\x07", ""),
        "roles": ["export"],
    }
    record = {"address": "BW", "version": version, "issued": BEGIN, "authority": authority, "keys": entries}
    return record | more


def record(version: int = 1, **more: Any) -> bytes:
    return issue(fields(version, **more), [SIGNERS["identity"]], list(SIGNERS.values()))


def statement(said: frames.Statement, signer: str = "node") -> bytes:
    typ = frames.TYP[frames.statement_name(said)]
    return jws.sign(frames.statement_payload(said, "BW", "AE"), typ, [SIGNERS[signer]])


def signed(payload: object, typ: str, signer: str = "node") -> bytes:
    return jws.sign(strictjson.dumps(payload), typ, [SIGNERS[signer]])


DOCUMENT, PAYLOAD = documents.compose(EXPORT_NOTIFICATION, source="BW", id=MESSAGE_ID, time=NOW)
VERIFIED = seal_document(DOCUMENT, PAYLOAD, [SIGNERS["document"]])
AT = "2026-03-03T09:14:07Z"
HEAD = "ab" * 32
FILES: dict[str, bytes] = {
    "document": VERIFIED.raw,
    "receipt": statement(frames.Receipt(1, (VERIFIED.id,), 1, HEAD, AT)),
    "refusal": statement(frames.Refusal(HEAD, None, "sig-invalid", "no \u202eevil", AT)),
    "status": statement(frames.Status("n" * 22, 4, agrees=False, size=9, head=HEAD, at=AT)),
    "page": statement(frames.Page("n" * 22, 3, (HEAD, VERIFIED.id), HEAD, 9, AT)),
    "key record": record(),
    "grant": signed(
        {"issuer": "BW", "holder": "AE", "issued": AT, "amqps": {"host": "b.example"}}, jws.GRANT
    ),
    "request": signed({"from": "BW", "to": "AE", "sha256": HEAD, "at": AT}, jws.REQUEST, "transport"),
    "possession": signed({"address": "BW", "kid": "k", "use": "node"}, jws.POSSESSION),
    "frame": frames.encode_documents([VERIFIED.raw, VERIFIED.raw], "BW", "EU/antwerp"),
    "draft": json.dumps(EXPORT_NOTIFICATION, indent=1).encode(),
    "drafts": json.dumps([EXPORT_NOTIFICATION]).encode(),
    "payload": PAYLOAD,
    "key": json.dumps(SIGNERS["node"].public.jwk).encode(),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with every file there is, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("KPMSG_URL", raising=False)
    monkeypatch.delenv("KPMSG_KEY", raising=False)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments), input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not dangerous(result.output), dangerous(result.output)
    return result


def dangerous(text: str) -> set[str]:
    return {
        c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    }


def fingerprint() -> str:
    shown = json.loads(run("verify", "key record", "--json").stdout)
    return str(shown["record"]["fingerprint"])


# -- inspect -------------------------------------------------------------------------------------------------------------

IN_WORDS = {
    "document": ["Export notification: BW (Botswana)", "EU/antwerp (European Union)", "1,200.00 ct", "US$ 226,687.50",
                 "7102.31 (non-industrial)", "Scheldemond BV", VERIFIED.id],
    "receipt": ["Receipt: BW (Botswana) says to AE", "one more of your documents is safe", VERIFIED.id],
    "refusal": ["could not accept", "sig-invalid", "<U+202E>"],
    "status": ["does NOT agree", "has 9 entries"],
    "page": ["entries 3 to 4"],
    "key record": ["Key record of BW (Botswana), version 1.", "fingerprint", "document key", "<U+202E>"],
    "grant": ["lets AE (United Arab Emirates) deliver"],
    "request": ["over HTTPS"],
    "possession": ["as node key of BW"],
    "frame": ['Frame "documents"', "2 signed lines", "1,200.00 ct"],
    "draft": ["draft", "unsigned"],
    "drafts": ["1 drafts in a list"],
    "payload": ["Without any signature", "1,200.00 ct"],
    "key": ["public key", SIGNERS["node"].public.kid],
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_every_file_is_explained_in_words(desk: Path, kind: str) -> None:
    result = run("inspect", kind)
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "NOTHING HERE HAS BEEN VERIFIED" in text
    assert [words for words in IN_WORDS[kind] if words not in text] == []
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("kind", FILES)
def test_every_file_is_explained_to_programs(desk: Path, kind: str) -> None:
    shown = json.loads(run("inspect", kind, "--json").stdout)
    assert (shown["kind"], shown["verified"]) == (kind, False)
    if kind in {"document", "payload"}:
        assert shown["id"] == VERIFIED.id
        assert shown["content"] == json.loads(PAYLOAD)


def test_standard_input_is_a_file_too(desk: Path) -> None:
    assert "Export notification" in run("inspect", "-", stdin=FILES["document"] + b"\n").stdout


BAD = {
    "empty": (b"", "json-syntax"),
    "text": (b"Dear colleague,", "json-syntax"),
    "binary": (bytes(range(256)), "json-encoding"),
    "an escape sequence": (b'{"\x1b[2J": 1}', "json-character"),
    "other JSON": (b'{"hello": "world"}', "json-members"),
    "a list": (b"[1, 2]", "json-syntax"),
    "a tower": (b"[" * 100_000, "json-depth"),
    "a cut document": (VERIFIED.raw[:-1], "json-syntax"),
    "a spaced document": (VERIFIED.raw.replace(b":", b": "), "jws-form"),
    "a payload that is no document": (signed({}, jws.DOCUMENT), "document-missing"),
    "a payload that is a list": (signed([], jws.DOCUMENT), "document-type"),
    "a receipt that contradicts itself": (
        statement(frames.Receipt(1, (HEAD,), 7, HEAD, AT)),
        "frame-receipt-size",
    ),
    "a record without keys": (signed({"address": "BW"}, jws.KEY_RECORD), "record-field"),
    "a frame of another version": (b'{"frame":"fax","from":"BW","to":"AE"}', "frame-name"),
    "a frame with a bad line": (frames.encode_documents([b"{}"], "BW", "AE"), "json-members"),
    "a JWK with its private half": (b'{"kty":"OKP","crv":"Ed25519","x":"","d":""}', "key-private"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_in_the_agreed_form_is_said_to_be_so(desk: Path, case: str) -> None:
    content, code = BAD[case]
    (desk / "bad").write_bytes(content)
    result = run("inspect", "bad")
    assert result.exit_code == cli_edge.REFUSED
    assert f"({code})" in " ".join(result.stdout.split())
    assert json.loads(run("inspect", "bad", "--json").stdout)["verified"] is False


def test_ten_megabytes_of_garbage_are_not_read(desk: Path) -> None:
    (desk / "garbage").write_bytes(os.urandom(10 * 1024 * 1024))
    for command in (["inspect"], ["verify"], ["check", "--from", "BW"]):
        result = run(*command, "garbage")
        assert (result.exit_code, "no file of the exchange is so large" in result.stderr) == (
            cli_edge.CANNOT_TELL,
            True,
        )


@pytest.mark.parametrize(
    "content", [b"\n" * 10**6, b'{"frame":1}\n' * 10**5, b'{"payload":' * 10**5, b"9" * 10**6]
)
def test_a_megabyte_of_anything_is_explained_or_refused(desk: Path, content: bytes) -> None:
    assert run("inspect", "-", stdin=content).exit_code == cli_edge.REFUSED


@pytest.mark.parametrize("name", [SPOOF, "a\nb", "\udcff\udcfe", "[red]x[bold]", "-", "no such file", ""])
def test_a_hostile_name_of_a_file_cannot_speak_to_the_terminal(desk: Path, name: str) -> None:
    result = run("inspect", "--", name, stdin=b"")
    assert result.exit_code in {cli_edge.REFUSED, cli_edge.CANNOT_TELL}
    if name and name != "-":
        (desk / name).write_bytes(FILES["draft"])
        assert run("check", "--from", "BW", "--", name).exit_code == cli_edge.DONE


def test_markup_in_a_document_is_text(desk: Path) -> None:
    draft = json.loads(FILES["draft"]) | {"recipient": "[bold]AE[/bold]:smile:"}
    (desk / "draft").write_text(json.dumps(draft))
    assert "[bold]AE[/bold]:smile:" in run("inspect", "draft").stdout


def test_a_private_key_is_recognised_and_not_shown(desk: Path) -> None:
    (desk / "words").write_bytes(b"correct horse\n")
    made = json.loads(run("keygen", "--out", "key.pem", "--passphrase-file", "words", "--json").stdout)
    assert "It must not leave its owner" in run("inspect", "key.pem").stdout
    assert made["kid"] not in run("inspect", "key.pem").stdout
    result = run("inspect", "-", stdin=b"-----BEGIN PRIVATE KEY-----\nAAAA")
    assert (result.exit_code, "NOT ENCRYPTED" in result.stdout) == (cli_edge.REFUSED, True)


# -- verify --------------------------------------------------------------------------------------------------------------

OTHER = issue({**fields(), "address": "AE", "keys": []}, [SoftwareSigner.generate()])
VERSION_1 = record()
DIGEST = hashlib.sha256(jws.peek(VERSION_1).unverified_payload).hexdigest()
VERSION_2 = record(2, previous=DIGEST)
COMPROMISED = [
    entry | ({"status": "compromised", "since": BEGIN} if entry["use"] == "document" else {})
    for entry in fields()["keys"]
]
TAMPERED = VERIFIED.raw.replace(b'"payload":"ey', b'"payload":"ez')

VERDICTS: list[tuple[str, bytes, list[bytes], str, int, str]] = [
    ("a document", VERIFIED.raw, [VERSION_1], "", 0, "ok"),
    ("with strangers' records among them", VERIFIED.raw, [OTHER, VERSION_1], "", 0, "ok"),
    ("with every version, in any order", VERIFIED.raw, [VERSION_2, VERSION_1, VERSION_2], "", 0, "ok"),
    ("with a line end from an editor", VERIFIED.raw + b"\n", [VERSION_1], "", 0, "ok"),
    *((kind, FILES[kind], [VERSION_1], "", 0, "ok") for kind in ("receipt", "refusal", "status", "page", "grant", "request")),
    ("a first key record", VERSION_1, [], "", 0, "ok"),
    ("the record after it", VERSION_2, [VERSION_1], "", 0, "ok"),
    ("no record at all", VERIFIED.raw, [], "", 2, "record-missing"),
    ("only another's record", VERIFIED.raw, [OTHER], "", 2, "record-missing"),
    ("a record that is none", VERIFIED.raw, [b"{}"], "", 2, "record-unsound"),
    ("a version missing", VERIFIED.raw, [VERSION_1, record(3, previous=HEAD)], "", 2, "record-gap"),
    ("a version that follows another", VERIFIED.raw, [VERSION_1, record(2, previous=HEAD)], "", 2, "record-chain"),
    ("two first versions", VERIFIED.raw, [VERSION_1, record(issued=AT)], "", 2, "record-fork"),
    ("a proof of possession", FILES["possession"], [VERSION_1], "", 2, "file-kind"),
    ("a changed payload", TAMPERED, [VERSION_1], "", 1, "json-syntax"),
    ("signed by a stranger", jws.sign(PAYLOAD, jws.DOCUMENT, [SIGNERS["stranger"]]), [VERSION_1], "", 1, "key-unknown"),
    ("a document by a node key", jws.sign(PAYLOAD, jws.DOCUMENT, [SIGNERS["node"]]), [VERSION_1], "", 1, "key-use"),
    ("a receipt by a document key", statement(frames.Receipt(1, (), 0, HEAD, AT), "document"), [VERSION_1], "", 1, "key-use"),
    ("a key before its time", VERIFIED.raw, [VERSION_1], "2024-12-31T00:00:00Z", 1, "key-not-yet"),
    ("a compromised key", VERIFIED.raw, [record(keys=COMPROMISED)], "", 1, "key-compromised"),
    ("not signed at all", PAYLOAD, [VERSION_1], "", 1, "jws-form"),
    ("nothing", b"", [VERSION_1], "", 1, "json-syntax"),
    ("somebody without a name", signed({"from": 1}, jws.RECEIPT), [VERSION_1], "", 1, "document-missing"),
    ("a receipt that contradicts itself", BAD["a receipt that contradicts itself"][0], [VERSION_1], "", 1, "frame-receipt-size"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "raw", "records", "at", "status", "code"), VERDICTS, ids=[v[0] for v in VERDICTS]
)
def test_verdicts(
    desk: Path, name: str, raw: bytes, records: list[bytes], at: str, status: int, code: str
) -> None:
    (desk / "file").write_bytes(raw)
    arguments = ["verify", "file"] + (["--at", at] if at else [])
    for number, content in enumerate(records):
        (desk / f"record-{number}").write_bytes(content)
        arguments += ["--record", f"record-{number}"]
    shown = json.loads(run(*arguments, "--json").stdout)
    result = run(*arguments)
    word = {0: "VERIFIED", 1: "REFUSED", 2: "CANNOT TELL"}[status]
    assert (result.exit_code, shown["code"], word in result.stdout) == (status, code, True)
    assert (shown["standing"] == "verified") is (status == 0)
    assert ("NOT COMPARED" in result.stdout) is (status == 0)


def test_a_verdict_says_who_signed_what_for_whom(desk: Path) -> None:
    said = run(
        "verify",
        "document",
        "--record",
        "key record",
        "--fingerprint",
        fingerprint().upper().replace("-", " "),
    )
    text = " ".join(said.stdout.split())
    assert said.exit_code == 0
    for words in ("signed by BW (Botswana), Diamond Office", "for EU/antwerp (European Union)", VERIFIED.id,
                  "The fingerprint is the one that you gave.", "about certificate BW012345"):  # fmt: skip
        assert words in text


def test_a_test_is_told_loudly_and_what_is_real_is_not(desk: Path) -> None:
    document, body = documents.compose(
        EXPORT_NOTIFICATION, source="BW", id=MESSAGE_ID, time=NOW, testing=True
    )
    (desk / "tried").write_bytes(seal_document(document, body, [SIGNERS["document"]]).raw)
    (desk / "tester").write_bytes(record(testing=True))
    for file, by, loud in (
        ("tried", "tester", True),
        ("tester", "tester", True),
        ("document", "key record", False),
        ("key record", "key record", False),
    ):
        for told in (run("inspect", file), run("verify", file, "--record", by)):
            assert told.exit_code == cli_edge.DONE
            assert ("TEST, NOT REAL." in told.stdout) is loud
        verdict = json.loads(run("verify", file, "--record", by, "--json").stdout)
        assert verdict.get("testing", False) is loud
    assert "address-testing" in run("verify", "tried", "--record", "key record").stdout


def test_a_tester_checks_drafts_by_the_records_of_testers(desk: Path) -> None:
    (desk / "tester").write_bytes(record(testing=True))
    partner = {**fields(), "address": "EU/antwerp", "keys": []}
    for name, more in (("testing", {"testing": True}), ("real", {})):
        (desk / name).write_bytes(issue(partner | more, [SIGNERS["stranger"]]))
        told = run("check", "draft", "--from", "BW", "--record", "tester", "--record", name)
        assert ("(S08)" in told.stdout) is (name == "real")
        assert "(S08)" not in run("check", "draft", "--from", "BW", "--record", name).stdout


def test_another_fingerprint_refuses(desk: Path) -> None:
    wrong = fingerprint()[::-1]
    shown = json.loads(
        run("verify", "document", "--record", "key record", "--fingerprint", wrong, "--json").stdout
    )
    assert (shown["standing"], shown["code"], shown["fingerprint_compared"]) == (
        "refused",
        "key-fingerprint",
        False,
    )


def test_a_retired_key_is_judged_as_of_when_the_file_existed(desk: Path) -> None:
    day = f"{NOW - timedelta(days=90):%Y-%m-%dT%H:%M:%SZ}"
    keys = [entry | {"status": "retired", "since": day} for entry in fields()["keys"]]
    (desk / "retired").write_bytes(record(keys=keys))
    result = run("verify", "document", "--record", "retired")
    assert (result.exit_code, "judge it as of then" in " ".join(result.stdout.split())) == (
        cli_edge.REFUSED,
        True,
    )
    assert run("verify", "document", "--record", "retired", "--at", day).exit_code == cli_edge.DONE


@pytest.mark.parametrize(
    "at",
    [
        "yesterday",
        "2026-03-03",
        "2026-03-03T09:14:07",
        "",
        SPOOF,
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_a_time_must_be_a_moment(desk: Path, at: str) -> None:
    assert run("verify", "document", "--at", at).exit_code == cli_edge.CANNOT_TELL


# -- keygen --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_new_key_is_encrypted_and_its_owners(desk: Path, alg: str) -> None:
    (desk / "words").write_bytes(b"correct horse\r\nsecond line")
    result = run("keygen", "--out", "key.pem", "--alg", alg, "--passphrase-file", "words")
    loaded = SoftwareSigner.load(desk / "key.pem", b"correct horse")
    assert result.exit_code == 0
    assert loaded.public.alg == alg
    assert loaded.public.kid in result.stdout
    assert (desk / "key.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--passphrase-file", "words", "--out", "document"], "never overwritten"),
        (["--passphrase-file", "words", "--out", "no/such/directory"], "cannot write"),
        (["--passphrase-file", "nothing", "--out", "new"], "cannot read"),
        (["--passphrase-file", "empty", "--out", "new"], "needs a passphrase"),
        (["--passphrase-file", "document", "--out", "new"], "too long"),
        (["--out", "new"], "nobody is there"),
        (["--passphrase-file", "words", "--out", "new", "--alg", "RS256"], "RS256"),
    ],
)
def test_no_key_is_made(desk: Path, arguments: list[str], words: str) -> None:
    (desk / "words").write_bytes(b"correct horse")
    (desk / "empty").write_bytes(b"")
    result = run("keygen", *arguments)
    assert (result.exit_code, words in result.stderr) == (cli_edge.CANNOT_TELL, True)
    assert not (desk / "new").exists()
    assert (desk / "document").read_bytes() == FILES["document"]


# -- check ---------------------------------------------------------------------------------------------------------------


def spoilt(**data: Any) -> bytes:
    draft = json.loads(FILES["draft"])
    draft["data"] |= data
    return json.dumps(draft).encode()


@pytest.mark.parametrize(
    ("content", "sender", "status", "pointers"),
    [
        (FILES["draft"], "BW", 0, []),
        (FILES["drafts"], "BW", 0, []),
        (FILES["draft"], "bw", 3, ["/source"]),
        (spoilt(carats="1200.01"), "BW", 3, ["/data/carats"]),
        (spoilt(carats=1200.5), "BW", 3, ["/data/carats"]),
        (b"[" + FILES["draft"] + b"," + spoilt(parcels=0) + b"]", "BW", 3, ["/1/data/parcels"]),
        (spoilt(**{"\u202eevil": 1}), "BW", 3, ["/data/\u202eevil"]),
        (spoilt(**{SPOOF: 1}), "BW", 2, []),
        (b'"text"', "BW", 3, [""]),
        (b"[1.5]", "BW", 3, ["/0"]),
        (b"[]", "BW", 0, []),
        (b"{", "BW", 2, []),
        (b'{"a": 1.5', "BW", 2, []),
        (b'{"a": 1, "a": 2}', "BW", 2, []),
        (b'{"a": ' + b"9" * 5000 + b"}", "BW", 2, []),
    ],
)
def test_drafts_are_checked_offline(
    desk: Path, content: bytes, sender: str, status: int, pointers: list[str]
) -> None:
    (desk / "draft").write_bytes(content)
    result = run("check", "draft", "--from", sender)
    assert result.exit_code == status
    if status != cli_edge.CANNOT_TELL:
        shown = json.loads(run("check", "draft", "--from", sender, "--json").stdout)
        rejected = [problem["pointer"] for problem in shown["problems"] if problem["severity"] == "reject"]
        assert rejected == pointers


def test_a_published_policy_is_applied_where_its_record_is_given(desk: Path) -> None:
    published = {"validity_days": [{"valid_from": "2020-01-01", "days": 10}]}
    (desk / "published").write_bytes(record(policy=published) + b"\n")
    without = json.loads(run("check", "draft", "--from", "BW", "--json").stdout)
    result = run("check", "draft", "--from", "BW", "--record", "published", "--json")
    found = {one["code"] for one in json.loads(result.stdout)["problems"]}
    assert found - {one["code"] for one in without["problems"]} == {"C06"}
    assert result.exit_code == cli_edge.DONE
    for name in ("document", "draft", "missing"):
        assert run("check", "draft", "--from", "BW", "--record", name).exit_code == cli_edge.CANNOT_TELL


SAID = {
    "en": ("A shipment has at least one parcel.", "wrong:", "1 draft, 1 broken rule"),
    "fr": ("Une expédition comporte au moins un lot.", "erreur:", "règles enfreintes : 1"),
    "pt": ("Uma remessa tem pelo menos um lote.", "erro:", "regras infringidas: 1"),
    "es": ("Una remesa tiene al menos un lote.", "error:", "reglas infringidas: 1"),
    "ru": ("В партии должен быть хотя бы один пакет.", "ошибка:", "нарушено правил: 1"),
}


@pytest.mark.parametrize("language", SAID)
def test_broken_rules_are_told_in_five_languages(desk: Path, language: str) -> None:
    (desk / "draft").write_bytes(spoilt(parcels=0))
    arguments = ["check", "draft", "--from", "BW", "--language", language]
    result = run(*arguments)
    assert result.exit_code == cli_edge.BROKEN_RULE
    assert [words for words in SAID[language] if words not in result.stdout] == []
    shown = json.loads(run(*arguments, "--json").stdout)
    assert shown["language"] == language
    (problem,) = [one for one in shown["problems"] if one["severity"] == "reject"]
    text = SAID[language][0]
    assert problem == {
        "code": "F02", "rule_version": 1, "variant": "parcels", "facts": {}, "text": text,
        "pointer": "/data/parcels", "severity": "reject",
    }  # fmt: skip


def test_a_draft_of_an_alert_is_checked_as_the_node_will_send_it(desk: Path) -> None:
    """For everybody, and released by whoever releases it: neither is the clerk's to write."""
    sender, written = FULL["alert"]
    data = {name: value for name, value in written["data"].items() if name != "released_by"}
    draft = {"type": "alert", "recipient": "*", "data": data}
    (desk / "draft").write_text(json.dumps(draft))
    result = run("check", "draft", "--from", sender, "--json")
    assert json.loads(result.stdout)["problems"] == []
    draft["type"] = "message"
    (desk / "draft").write_text(json.dumps(draft))
    told = json.loads(run("check", "draft", "--from", sender, "--json").stdout)["problems"]
    assert "/recipient" in {problem["pointer"] for problem in told}


def test_faults_of_form_are_told_in_that_language_too(desk: Path) -> None:
    (desk / "draft").write_bytes(spoilt(carats=1200.5, surprise=1))
    result = run("check", "draft", "--from", "BW", "--language", "fr")
    text = " ".join(result.stdout.split())
    assert "Le poids en carats s'écrit entre guillemets" in text
    assert 'Aucun champ de ce nom n\'a sa place ici : "surprise".' in text


def test_facts_are_told_to_programs_apart(desk: Path) -> None:
    (desk / "draft").write_bytes(spoilt(value_usd="1.00"))
    shown = json.loads(run("check", "draft", "--from", "BW", "--json").stdout)
    (problem,) = [one for one in shown["problems"] if one["code"] == "F05"]
    assert problem["facts"] == {"sum": EXPORT_NOTIFICATION["data"]["value_usd"], "total": "1.00"}
    assert all(fact in problem["text"] for fact in problem["facts"].values())


@pytest.mark.parametrize("language", ["de", "EN", "", "fr-FR", SPOOF])
def test_other_languages_are_a_wrong_call(desk: Path, language: str) -> None:
    result = run("check", "draft", "--from", "BW", "--language", language)
    assert (result.exit_code, result.stdout) == (cli_edge.CANNOT_TELL, "")


@pytest.mark.parametrize(
    ("locale", "asked", "word"),
    [
        ({"LANG": "fr_FR.UTF-8"}, [], "erreur"),
        ({"LANG": "fr_FR.UTF-8", "LC_MESSAGES": "es"}, [], "error"),
        ({"LANG": "fr_FR.UTF-8", "LC_ALL": "pt_AO.UTF-8"}, [], "erro"),
        ({"LANG": "fr_FR.UTF-8"}, ["--language", "ru"], "ошибка"),
        ({"LANG": "C.UTF-8"}, [], "wrong"),
        ({"LANG": "frp_IT"}, [], "wrong"),
        ({}, [], "wrong"),
    ],
)
def test_a_persons_terminal_speaks_its_own_language(
    desk: Path, locale: dict[str, str], asked: list[str], word: str
) -> None:
    """And a program, whose standard output is no terminal, is told in English unless it asks."""
    (desk / "draft").write_bytes(spoilt(parcels=0))
    command = [
        sys.executable,
        "-c",
        "from kpmsg.cli import app; app()",
        "check",
        "draft",
        "--from",
        "BW",
        *asked,
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONUTF8": "1", "TERM": "dumb", **locale}
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        subprocess.run(command, stdout=theirs, env=environment, check=False)
        os.close(theirs)
        assert f"{word}: " in screen.read(65536).decode()
    piped = subprocess.run(command, capture_output=True, env=environment, check=False).stdout.decode()
    assert (f"{word}: " if asked else "wrong: ") in piped


# -- submit --------------------------------------------------------------------------------------------------------------


def resource(n: int = 1) -> dict[str, Any]:
    return {
        "id": f"{n:064x}",
        "type": "org.kimberley.export-notification.v1",
        "partner": "EU/antwerp",
        "certificate": "BW012345",
        "delivery": {"state": "queued"},
    }


def refusal(status: int, code: str, **members: Any) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": f"Because {SPOOF}.", **members})


BROKEN = refusal(
    422, "document-invalid", errors=[{"code": "F05", "pointer": "/data/carats", "detail": "Adds up to 3."}]
)


@pytest.fixture
def node(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[list[httpx.Response | Exception], list[httpx.Request]]]:
    """A node that gives the answers which a test puts into the list, and keeps what it was asked."""
    answers: list[httpx.Response | Exception] = []
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    class OverNothing(httpx.Client):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings | {"transport": httpx.MockTransport(answer)})

    monkeypatch.setattr(httpx, "Client", OverNothing)
    monkeypatch.setattr(asking, "PAUSES", ())
    monkeypatch.setenv("KPMSG_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KPMSG_KEY", API_KEY)
    yield answers, asked
    assert answers == []


TAKEN = httpx.Response(201, json=resource())
Stage = tuple[list[httpx.Response | Exception], list[httpx.Request]]


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        ([TAKEN, TAKEN], 0, ["BW012345 export-notification to EU/antwerp", resource()["id"], "queued"]),
        ([httpx.Response(200, json=resource(), headers={"idempotency-replayed": "true"}), TAKEN], 0, ["submitted before"]),
        ([BROKEN, TAKEN], 3, ["/data/carats", "Adds up to 3.", "drafts: 1 accepted"]),
        ([refusal(409, "already-said"), TAKEN], 3, ["already-said", "<U+202E>"]),
        ([refusal(503, "store-unavailable")], 4, ["Run the same command again"]),
        ([TAKEN, httpx.ConnectError("refused")], 4, ["1 accepted", "node-unreachable"]),
        ([refusal(507, "store-full")], 4, ["store-full"]),
        ([refusal(401, "key-unusable")], 5, ["key-unusable"]),
        ([refusal(403, "scope-missing")], 5, ["scope-missing"]),
        ([httpx.Response(200, text="<html>")], 5, ["is the URL right?"]),
        ([BROKEN, refusal(503, "store-unavailable")], 4, ["store-unavailable"]),
    ],
)  # fmt: skip
def test_submissions(
    desk: Path, node: Stage, answers: list[httpx.Response | Exception], status: int, words: list[str]
) -> None:
    node[0].extend(answers)
    result = run("submit", "draft", "drafts")
    text = " ".join(result.output.split())
    assert result.exit_code == status
    assert [word for word in words if word not in text] == []
    assert API_KEY not in result.output


def test_a_file_is_the_same_submission_whenever_it_is_sent(desk: Path, node: Stage) -> None:
    node[0].extend([TAKEN, TAKEN, TAKEN])
    (desk / "copy").write_bytes(FILES["draft"])
    run("submit", "draft", "--wait", "5")
    run("submit", "-", stdin=FILES["draft"])
    run("submit", "copy", "--idempotency-key", "once more")
    keys = [request.headers["idempotency-key"] for request in node[1]]
    assert keys[0] == keys[1] != keys[2]
    assert [request.headers.get("prefer") for request in node[1]] == ["wait=5", None, None]
    assert {request.content for request in node[1]} == {FILES["draft"]}


def test_programs_read_a_line_for_each_file(desk: Path, node: Stage) -> None:
    node[0].extend([BROKEN, TAKEN])
    lines = [json.loads(line) for line in run("submit", "draft", "drafts", "--json").stdout.splitlines()]
    assert lines[0]["problem"]["problems"][0]["pointer"] == "/data/carats"
    assert lines[1]["documents"] == [resource()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["draft", "missing"],
        ["draft", "drafts", "--idempotency-key", "x"],
        ["draft", "--idempotency-key", "ä"],
        ["draft", "--key-file", "missing"],
        ["draft", "--key-file", "draft"],
        ["draft", "--ca", "missing"],
        ["draft", "--ca", "draft"],
        ["draft", "--url", "http://node.example"],
        ["draft", "--wait", "61"],
    ],
)
def test_nothing_is_sent_by_a_wrong_call(desk: Path, node: Stage, arguments: list[str]) -> None:
    result = run("submit", *arguments)
    assert (result.exit_code, node[1]) == (cli_edge.CANNOT_TELL, [])
    assert API_KEY not in result.output


# -- check, with a node --------------------------------------------------------------------------------------------------


def finding(*problems: dict[str, str]) -> dict[str, Any]:
    verdict = "held" if problems else "accepted"
    return {"verdict": verdict, "release_needed": True, "problems": list(problems)}


HELD = {"code": "C04", "pointer": "/data/certificate", "detail": "Déjà notifié.", "severity": "hold"}
WRONG = {"code": "A01", "pointer": "", "detail": "Confirmé.", "severity": "reject"}


def test_a_node_is_asked_whose_draft_it_is(desk: Path, node: Stage) -> None:
    (desk / "draft").write_bytes(FILES["draft"])
    answers, asked = node
    for authority, status in (("BW", cli_edge.DONE), ("AE", cli_edge.BROKEN_RULE)):
        answers.append(httpx.Response(200, json={"service": "kpnode", "authority": authority}))
        assert run("check", "draft").exit_code == status
    assert {(request.method, request.url.path) for request in asked} == {("GET", "/")}


def test_a_node_tries_drafts_without_being_given_them(desk: Path, node: Stage) -> None:
    answers, asked = node
    two = [json.loads(FILES["draft"])] * 2
    (desk / "two").write_text(json.dumps(two))
    answers.append(httpx.Response(200, json={"documents": [finding(HELD), finding()]}))
    result = run("check", "two", "--node", "--language", "fr", "--json")
    assert result.exit_code == cli_edge.DONE
    told = json.loads(result.stdout)
    assert [(one["code"], one["pointer"], one["text"], one["severity"]) for one in told["problems"]] == [
        ("C04", "/0/data/certificate", "Déjà notifié.", "hold")
    ]
    assert told["tried"] == [
        {"verdict": "held", "release_needed": True},
        {"verdict": "accepted", "release_needed": True},
    ]
    (request,) = asked
    assert request.url.params["dry_run"] == "true"
    assert request.headers["accept-language"] == "fr"
    assert json.loads(request.content) == two
    answers.append(httpx.Response(200, json={"documents": [finding(WRONG)]}))
    result = run("check", "draft", "--node", "--language", "fr")
    assert result.exit_code == cli_edge.BROKEN_RULE
    assert "erreur: Confirmé. (A01)" in result.stdout


def test_what_a_node_cannot_read_is_a_broken_rule_too(desk: Path, node: Stage) -> None:
    (desk / "draft").write_bytes(spoilt(carats=1200.5))
    node[0].append(BROKEN)
    result = run("check", "draft", "--node")
    assert (result.exit_code, "/data/carats: Adds up to 3." in result.stdout) == (cli_edge.BROKEN_RULE, True)
    node[0].append(refusal(503, "store-unavailable"))
    assert run("check", "draft", "--node").exit_code == cli_edge.NODE_AWAY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --from, e.g. --from BW; or name your node by --url or KPMSG_URL"),
        (["--node"], "name your node by --url or KPMSG_URL"),
        (["--node", "--from", "BW"], "give --node without --from and --record"),
        (["--node", "--record", "record"], "give --node without --from and --record"),
    ],
)
def test_a_check_says_what_it_would_have_to_know(
    desk: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.delenv("KPMSG_URL", raising=False)
    (desk / "draft").write_bytes(FILES["draft"])
    result = run("check", "draft", *arguments)
    assert result.exit_code == cli_edge.CANNOT_TELL
    assert words in " ".join(result.output.split())


# -- the program itself --------------------------------------------------------------------------------------------------


def test_help_and_version_bring_in_nothing_slow() -> None:
    for argument in ("--help", "--version"):
        code = f"import sys; sys.argv = ['kpmsg', '{argument}']\nfrom kpmsg.cli import app\ntry: app()\nexcept SystemExit: pass\n"
        code += (
            "print([m for m in ('pydantic', 'httpx', 'cryptography', 'joserfc', 'rich') if m in sys.modules])"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines()[-1] == "[]"


def test_a_reader_who_leaves_ends_it_quietly(desk: Path) -> None:
    code = "from kpmsg.cli import app; app()"
    read_end, write_end = os.pipe()
    os.close(read_end)
    ran = subprocess.run(
        [sys.executable, "-c", code, "inspect", "document"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write_end)
    assert (ran.returncode, ran.stderr) == (cli_edge.NO_READER, b"")


def test_a_terminal_without_unicode_gets_escapes(desk: Path) -> None:
    code = "from kpmsg.cli import app; app()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    ran = subprocess.run(
        [sys.executable, "-c", code, "inspect", "document"], capture_output=True, env=environment, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"\\u0410" in ran.stdout
