"""Writes ``protocol/vectors``: scenarios as data, for us and for whoever writes a second node.

``python -m tests.vectors.generate`` writes the files anew; a test holds what is on disk against :func:`build`. The same
bytes come out each time: Ed25519 signatures and our ES256 ones (RFC 6979) are functions of key and message, and those of
ML-DSA-65, which are not, are kept in ``material/ml-dsa-65-signatures.json`` and used again.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from kpmsg import base64url, jws, keyrecord, strictjson
from kpmsg.errors import SignatureError
from kpmsg.keys import PublicKey, Signer, SoftwareSigner
from tests.vectors import documents_exporter, documents_importer

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"
WRITTEN = ("material", "parsing", "signatures", "keys", "documents")
_RECORDED = "material/ml-dsa-65-signatures.json"

NOW = "2026-03-02T10:00:00Z"
_N_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_L_ED25519 = 2**252 + 27742317777372353535851937790883648493
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P

Json = dict[str, Any]


class TestKey:
    """A published key: worthless, and therefore good for examples."""

    def __init__(self, name: str, alg: str, recorded: dict[str, str], used: dict[str, str]) -> None:
        seed = hashlib.sha256(b"Kimberley exchange, published test key: " + name.encode()).digest()
        self.alg = alg
        self.recorded = recorded
        self.used = used
        if alg == "Ed25519":
            self._signer = SoftwareSigner(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
            private = {"d": base64url.encode(seed)}
        elif alg == "ES256":
            scalar = int.from_bytes(seed, "big") % (_N_P256 - 1) + 1
            self._signer = SoftwareSigner(ec.derive_private_key(scalar, ec.SECP256R1()))
            private = {"d": base64url.encode(scalar.to_bytes(32, "big"))}
        else:
            self._signer = SoftwareSigner(mldsa.MLDSA65PrivateKey.from_seed_bytes(seed))
            private = {"priv": base64url.encode(seed)}
        self.public: PublicKey = self._signer.public
        self.private_jwk = self.public.jwk | private

    def sign(self, message: bytes) -> bytes:
        if self.alg != "ML-DSA-65":
            return self._signer.sign(message)
        digest = hashlib.sha256(self.public.kid.encode() + b"." + message).hexdigest()
        try:
            known = base64url.decode(self.recorded[digest])
            self.public.verify(message, known)
        except (KeyError, ValueError, SignatureError):
            known = self._signer.sign(message)
        self.used[digest] = self.recorded[digest] = base64url.encode(known)
        return known


def payload(**changes: Any) -> Json:
    """A sound export notification, with members of the envelope changed."""
    party = {"name": "Okavango Diamond Company", "address": "Plot 74538, Gaborone", "country": "BW"}
    buyer = {"name": "Dubai Rough Trading DMCC", "address": "Jumeirah Lakes Towers, Dubai", "country": "AE"}
    data = {
        "certificate": {"number_raw": "BW 012345", "issuer": "BW", "kind": "kp"},
        "issuing_authority": "Ministry of Minerals, Gaborone",
        "date_of_issue": "2026-03-01",
        "date_of_expiry": "2026-04-30",
        "exporter": party,
        "importer": buyer,
        "destination": {"participant": "AE"},
        "provenance": "BW",
        "parcels": 1,
        "lines": [
            {
                "hs": "7102.31",
                "carats": "1200.50",
                "value_usd": "240100.00",
                "origin": {"kind": "single", "country": "BW"},
            }
        ],
        "carats": "1200.50",
        "value_usd": "240100.00",
        "confirmation": {"requested": True},
    }
    envelope = {
        "specversion": "1.0",
        "id": "019cb000-0000-7000-8000-000000000001",
        "source": "BW",
        "type": "org.kimberley.export-notification.v1",
        "subject": "BW012345",
        "time": "2026-03-02T09:00:00Z",
        "recipient": "AE",
        "datacontenttype": "application/json",
        "data": data,
    }
    return envelope | changes


def altered(path: str, value: Any) -> Json:
    """The sound document with the member at ``path`` (slashes) set to ``value``; ``...`` takes it away."""
    document = payload()
    place: Any = document
    *steps, last = path.split("/")
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


class Vectors:
    """Collects files; one method per kind of act keeps the scenarios below one statement each."""

    def __init__(self, recorded: dict[str, str]) -> None:
        self.files: dict[str, Json] = {}
        self.recorded = recorded
        self.used: dict[str, str] = {}
        self.test_keys: dict[str, TestKey] = {}

    def key(self, name: str, alg: str = "Ed25519") -> TestKey:
        return self.test_keys.setdefault(name, TestKey(name, alg, self.recorded, self.used))

    def add(self, name: str, rule: str, description: str, act: str, given: Json, code: str) -> None:
        """``code`` is ``accepted``, or ``kind: code``."""
        kind, _, refused = code.partition(": ")
        assert name not in self.files, name
        expect = {"kind": kind, "code": refused} if refused else {"kind": kind}
        self.files[name] = {"description": description, "rule": rule, "act": act, **given, "expect": expect}

    def json(self, name: str, rule: str, description: str, text: bytes | list[Any], code: str) -> None:
        given: Json = {"input": _input(text)}
        self.add(f"parsing/{name}", rule, description, "json", given, code)
        if code == "accepted" and isinstance(text, bytes):
            self.files[f"parsing/{name}"]["expect"]["value"] = json.loads(text)

    def payload(self, name: str, rule: str, description: str, document: Json, code: str) -> None:
        given: Json = {"input": _input(strictjson.dumps(document))}
        self.add(f"parsing/{name}", rule, description, "payload", given, code)

    def document(self, name: str, rule: str, description: str, raw: bytes, code: str, **given: Any) -> None:
        standard = {"sender": ["bw-1"], "source": "BW", "recipient": "AE", "now": NOW}
        self.add(
            f"signatures/{name}",
            rule,
            description,
            "document",
            {"input": _input(raw)} | standard | given,
            code,
        )
        if code == "accepted":
            digest = hashlib.sha256(jws.peek(raw).unverified_payload).hexdigest()
            self.files[f"signatures/{name}"]["expect"]["id"] = digest


def _input(data: bytes | list[Any]) -> Json:
    if isinstance(data, list):
        return {"repeat": data}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64url": base64url.encode(data)}
    # A file that is read by many parsers had better be plain ASCII itself.
    return {"text": text} if text.isascii() and text.isprintable() else {"base64url": base64url.encode(data)}


def build() -> dict[str, bytes]:
    """Return every file, by its path under ``protocol/vectors``."""
    path = FOLDER / _RECORDED
    recorded = json.loads(path.read_text()) if path.exists() else {}
    vectors = Vectors(dict(recorded))
    records = _records(vectors)
    _parsing(vectors)
    _signatures(vectors, records)
    _registration(vectors)
    _record_scenarios(vectors, records)
    for module in (documents_exporter, documents_importer):
        vectors.files |= module.scenarios().files
    files = {f"{name}.json": _text(scenario) for name, scenario in vectors.files.items()}
    files |= {f"material/{name}.jws": raw for name, raw in records.items()}
    files["material/keys.json"] = _text({name: key.private_jwk for name, key in vectors.test_keys.items()})
    files[_RECORDED] = _text(dict(sorted(vectors.used.items())))
    return files


def _text(value: Json) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=True).encode() + b"\n"


# --- key records -------------------------------------------------------------------------------------------------


def fields(address: str, working: dict[str, TestKey], **changes: Any) -> Json:
    """The fields of a first version in which each of ``working`` has the use it is named for."""
    entries = [
        {"jwk": key.public.jwk, "use": use.split("-")[0], "valid_from": "2026-01-01T00:00:00Z"}
        for use, key in working.items()
    ]
    start: Json = {
        "address": address,
        "version": 1,
        "issued": "2026-01-01T00:00:00Z",
        "authority": {"name": f"Test authority of {address}", "roles": ["export", "import"]},
        "keys": entries,
        "endpoints": {"amqps": {"host": f"{address.lower()}.example", "port": 5671}},
        "certificates": {"prefixes": [address]},
    }
    return start | changes


def _working(v: Vectors, who: str) -> dict[str, TestKey]:
    return {
        "document": v.key(f"{who}-document"),
        "document-es256": v.key(f"{who}-document-es256", "ES256"),
        "document-ml-dsa-65": v.key(f"{who}-document-ml-dsa-65", "ML-DSA-65"),
        "node": v.key(f"{who}-node"),
        "transport": v.key(f"{who}-transport", "ES256"),
    }


def _records(v: Vectors) -> dict[str, bytes]:
    bw = _working(v, "bw")
    identity = [v.key("bw-identity-1"), v.key("bw-identity-2", "ES256")]
    two_of_three = {
        "keys": [key.public.jwk for key in (*identity, v.key("bw-identity-3"))],
        "threshold": 2,
    }
    first = fields("BW", bw, identity=two_of_three)
    bw_1 = keyrecord.issue(first, identity, list(bw.values()))
    entries: list[Json] = strictjson.loads(jws.peek(bw_1).unverified_payload)["keys"]

    def second(position: int, **status: str) -> bytes:
        changed = deepcopy(entries)
        changed[position] |= status
        return keyrecord.issue(
            first | {"version": 2, "previous": digest, "issued": "2026-02-01T00:00:00Z", "keys": changed},
            identity,
        )

    digest = keyrecord.open_record(bw_1).digest
    ae = {"document": v.key("ae-document"), "node": v.key("ae-node")}
    tried = {"document": v.key("bw-test-document"), "node": v.key("bw-test-node")}
    return {
        "bw-1": bw_1,
        "bw-2-retired": second(0, status="retired", since="2026-02-01T00:00:00Z"),
        "bw-2-compromised": second(0, status="compromised", since="2026-02-01T00:00:00Z"),
        "bw-2-expiring": second(0, valid_until="2026-02-20T00:00:00Z"),
        "ae-1": keyrecord.issue(fields("AE", ae), [v.key("ae-identity")], list(ae.values())),
        "bw-test-1": keyrecord.issue(
            fields("BW", tried, testing=True), [v.key("bw-test-identity")], list(tried.values())
        ),
    }


# --- parsing -----------------------------------------------------------------------------------------------------


def _parsing(v: Vectors) -> None:
    v.json("sound", "json", "every kind of value", b'{"a":[1,-1,0,true,false,null,"x"],"b":{}}', "accepted")
    v.json("sound-spaces", "json", "white space between tokens is free", b' {\t"a" :\r\n1 } \n', "accepted")
    v.json("sound-depth", "S10", "sixteen levels", b"[" * 16 + b"]" * 16, "accepted")
    v.json(
        "sound-brackets", "S10", "brackets in strings are no nesting", b'["' + b"[" * 90 + b'"]', "accepted"
    )
    v.json("sound-integer", "S06", "the largest integer", b"[9007199254740991]", "accepted")
    v.json(
        "sound-pair", "S08", "an escaped surrogate pair is one character", b'["\\ud83d\\ude00"]', "accepted"
    )
    duplicate, number = "malformed: json-duplicate-key", "malformed: json-number"
    v.json("duplicate-key", "S01", "the same key twice", b'{"a":1,"a":2}', duplicate)
    v.json("duplicate-key-escaped", "S01", "once spelled as an escape", b'{"a":1,"\\u0061":2}', duplicate)
    v.json("duplicate-key-deep", "S01", "equal values, deep inside", b'[{"x":{"a":1,"a":1}}]', duplicate)
    for name, token in (
        ("nan", b"NaN"),
        ("infinity", b"Infinity"),
        ("minus-infinity", b"-Infinity"),
        ("1e400", b"1e400"),
    ):
        v.json(f"number-{name}", "S03", "not a finite JSON integer", b"[" + token + b"]", number)
    v.json("number-fraction", "S04", "a fraction: amounts are strings", b'{"carats":12.50}', number)
    v.json("number-exponent", "S04", "an exponent", b"[1E2]", number)
    v.json("number-minus-zero", "S04", "minus zero is two things in two languages", b"[-0]", number)
    v.json("number-2-53", "S06", "2^53", b"[9007199254740992]", number)
    v.json("number-minus-2-53", "S06", "-2^53", b"[-9007199254740992]", number)
    v.json(
        "number-5000-digits", "S06", "an integer of 5,000 digits", [["[", 1], ["7", 5000], ["]", 1]], number
    )
    character, syntax = "malformed: json-character", "malformed: json-syntax"
    v.json("character-nul", "S08", "an escaped NUL", b'["\\u0000"]', character)
    v.json("character-nul-plain", "S08", "a plain NUL", b'["\x00"]', character)
    v.json("character-escape", "S08", "a plain ESC", b'["\x1b[2J"]', character)
    v.json("character-backspace", "S08", "backspace by its short escape", b'["\\b"]', character)
    v.json("character-return", "S20", "an escaped carriage return", b'["a\\rb"]', character)
    v.json("character-c1", "S08", "a C1 control (U+0085)", b'["\xc2\x85"]', character)
    v.json("character-c1-escaped", "S08", "a C1 control as an escape, in a key", b'{"\\u0085":1}', character)
    v.json("character-half-surrogate", "S08", "half a surrogate pair", b'["\\ud800"]', character)
    v.json("character-non-character", "S08", "U+FFFF", b'["\\uffff"]', character)
    v.json("character-non-character-plane", "S08", "U+10FFFE, plain", '["\U0010fffe"]'.encode(), character)
    v.json("encoding-bom", "S12", "a byte order mark", b"\xef\xbb\xbf{}", "malformed: json-encoding")
    v.json("encoding-utf-16", "S12", "UTF-16", "{}".encode("utf-16"), "malformed: json-encoding")
    v.json("encoding-latin-1", "S12", "Latin-1", b'["\xe9"]', "malformed: json-encoding")
    v.json(
        "encoding-surrogate", "S12", "a surrogate in UTF-8", b'["\xed\xa0\x80"]', "malformed: json-encoding"
    )
    v.json(
        "encoding-overlong", "S12", "an overlong quotation mark", b'["\xc0\xa2"]', "malformed: json-encoding"
    )
    v.json("depth-17", "S10", "seventeen levels", b"[" * 17 + b"]" * 17, "malformed: json-depth")
    v.json("depth-3000", "S10", "three thousand levels", [["[", 3000], ["]", 3000]], "malformed: json-depth")
    v.json(
        "depth-3000-objects",
        "S10",
        "three thousand objects, never closed",
        [['{"a":', 3000]],
        "malformed: json-depth",
    )
    v.json(
        "depth-quotes",
        "S10",
        "escaped quotes do not hide it",
        b'["\\"",' + b"[" * 17 + b"]" * 18,
        "malformed: json-depth",
    )
    v.json(
        "size-million",
        "S10",
        "an array of 10^6 elements",
        [["[0", 1], [",0", 999_999], ["]", 1]],
        "malformed: json-size",
    )
    v.json("size-64k", "S11", "64 KiB exactly", [['"', 1], ["x", 65534], ['"', 1]], "accepted")
    v.json(
        "size-64k-1", "S11", "64 KiB and one byte", [['"', 1], ["x", 65535], ['"', 1]], "malformed: json-size"
    )
    for name, text in (
        ("second-value", b"{} {}"),
        ("trailing", b"{}x"),
        ("trailing-comma", b"[1,]"),
        ("comment", b"[1/*2*/]"),
        ("single-quotes", b"['a']"),
        ("leading-zero", b"[01]"),
        ("empty", b""),
        ("cut-off", b'{"a":"b'),
        ("line-feed-in-string", b'["a\nb"]'),
    ):
        v.json(f"syntax-{name}", "S12", f"not JSON: {name.replace('-', ' ')}", text, syntax)
    v.json("gzip", "S21", "compressed bytes are not JSON", b"\x1f\x8b\x08\x00", "malformed: json-encoding")

    form, kind, missing = (f"malformed: document-{c}" for c in ("format", "type", "missing"))
    v.payload("document-sound", "document", "a sound export notification", payload(), "accepted")
    v.payload("document-extra-member", "document", "unknown members are left alone", payload(x=1), "accepted")
    v.payload(
        "document-unknown-type",
        "document",
        "an unknown type parses; it is not understood",
        payload(type="org.kimberley.other.v1"),
        "accepted",
    )
    v.payload(
        "name-nfc",
        "S18",
        "a composed letter is kept as it is",
        altered("data/importer/name", "Joaill\u00e9rie"),
        "accepted",
    )
    v.payload(
        "name-nfd",
        "S18",
        "so is a decomposed one",
        altered("data/importer/name", "Joaille\u0301rie"),
        "accepted",
    )
    for name, written in (
        ("formula", "=cmd|' /C calc'!A0"),
        ("html", "<script>alert(1)</script>"),
        ("template", "{{7*7}}"),
    ):
        v.payload(
            f"name-{name}",
            "S19",
            "names are data, whatever they look like",
            altered("data/importer/name", written),
            "accepted",
        )
    for name, written in (
        ("underscore", "1_000.00"),
        ("full-width", "\uff11\uff12.50"),
        ("space", " 1.00"),
        ("plus", "+1.00"),
        ("minus", "-1.00"),
        ("exponent", "1e5"),
        ("three-decimals", "1.000"),
        ("one-decimal", "1.5"),
        ("no-decimals", "1"),
        ("line-feed", "1.00\n"),
        ("leading-zero", "01.00"),
    ):
        v.payload(
            f"carats-{name}",
            "S05",
            f"carats: {name.replace('-', ' ')}",
            altered("data/carats", written),
            form,
        )
    for name, address in (
        ("cyrillic", "\u0412\u0415"),
        ("lower-case", "be"),
        ("line-feed", "BE\n"),
        ("zero-width", "B\u200bE"),
        ("bidi", "BE\u202e"),
    ):
        rule = "S08" if name in {"zero-width", "bidi"} else "S09"
        v.payload(
            f"address-{name}",
            rule,
            f"an address with {name.replace('-', ' ')}",
            payload(recipient=address),
            form,
        )
    v.payload(
        "date-30-february",
        "S16",
        "a day that does not exist",
        altered("data/date_of_issue", "2026-02-30"),
        form,
    )
    v.payload("date-year-1", "S16", "the year 1", altered("data/date_of_issue", "0001-01-01"), form)
    v.payload("date-year-9999", "S16", "the year 9999", altered("data/date_of_expiry", "9999-12-31"), form)
    v.payload("testing", "testing", "a test", payload(testing=True), "accepted")
    v.payload("testing-false", "testing", "real is said by silence", payload(testing=False), form)
    v.payload("testing-text", "testing", "a text that says so", payload(testing="true"), kind)
    v.payload("testing-null", "testing", "null is not absent", payload(testing=None), kind)
    v.payload("time-leap-second", "S16", "a leap second", payload(time="2026-06-30T23:59:60Z"), form)
    v.payload("time-no-offset", "S16", "no offset", payload(time="2026-03-02T09:00:00"), form)
    v.payload(
        "time-other-offset", "S16", "an offset other than Z", payload(time="2026-03-02T09:00:00+02:00"), form
    )
    for name, value, code in (
        ("missing", ..., missing),
        ("null", None, kind),
        ("empty", "", form),
        ("number", 7, kind),
        ("list", [], kind),
    ):
        v.payload(f"field-{name}", "S14", f"a mandatory field is {name}", altered("source", value), code)
    draft = "draft: "
    for name, rule, description, path, value, code in (
        ("carats-zero", "S17", "nothing is shipped", "data/carats", "0.00", "F02"),
        ("parcels-zero", "S17", "no parcel", "data/parcels", 0, "F02"),
        ("expiry-before-issue", "S16", "expired before it was issued", "data/date_of_expiry", "2026-02-01", "C05"),
        ("foreign-number", "draft", "another issuer's certificate", "data/certificate/issuer", "ZA", "C01"),
        ("unknown-member", "draft", "a member no such document has", "data/colour", "blue", "document-unknown-member"),
    ):  # fmt: skip
        whole = altered(path, value)
        own = {member: whole[member] for member in ("type", "subject", "recipient", "data")}
        given = {"input": _input(strictjson.dumps(own)), "source": "BW", "time": NOW}
        v.add(f"parsing/draft-{name}", rule, description, "draft", given, draft + code)


# --- signatures --------------------------------------------------------------------------------------------------


def _reheaded(payload_bytes: bytes, header: Any, signer: Signer, outside: Json | None = None) -> bytes:
    """A JWS with any protected header, truly signed."""
    protected = base64url.encode(header if isinstance(header, bytes) else strictjson.dumps(header))
    encoded = base64url.encode(payload_bytes)
    signature = base64url.encode(signer.sign(f"{protected}.{encoded}".encode()))
    member = {"protected": protected, "signature": signature} | (outside or {})
    return strictjson.dumps({"payload": encoded, "signatures": [member]})


def _resigned(raw: bytes, signature: bytes) -> bytes:
    """The same JWS with other signature bytes."""
    whole = strictjson.loads(raw, max_bytes=jws.MAX_BYTES)
    whole["signatures"][0]["signature"] = base64url.encode(signature)
    return strictjson.dumps(whole)


def _signatures(v: Vectors, records: dict[str, bytes]) -> None:
    own, es256, mldsa65, node = (
        v.key(f"bw-{name}") for name in ("document", "document-es256", "document-ml-dsa-65", "node")
    )
    transport, ae, stranger = v.key("bw-transport"), v.key("ae-document"), v.key("stranger")
    body = strictjson.dumps(payload())
    sound = jws.sign(body, jws.DOCUMENT, [own])
    by_es256 = jws.sign(body, jws.DOCUMENT, [es256])
    header = {"alg": "Ed25519", "kid": own.public.kid, "typ": jws.DOCUMENT}
    whole = strictjson.loads(sound)
    first = whole["signatures"][0]
    signature = base64url.decode(first["signature"])
    invalid, length, unknown = "signature: sig-invalid", "signature: sig-length", "untrusted-key: key-unknown"

    v.document("sound-ed25519", "S23", "signed with Ed25519", sound, "accepted")
    v.document("sound-es256", "S23", "signed with ES256", by_es256, "accepted")
    v.document(
        "sound-ml-dsa-65", "S23", "signed with ML-DSA-65", jws.sign(body, jws.DOCUMENT, [mldsa65]), "accepted"
    )
    v.document(
        "sound-two", "S34", "two keys, both hold", jws.sign(body, jws.DOCUMENT, [own, mldsa65]), "accepted"
    )
    v.document(
        "sound-three",
        "S34",
        "three keys, all hold",
        jws.sign(body, jws.DOCUMENT, [own, es256, mldsa65]),
        "accepted",
    )
    swapped = strictjson.dumps(
        {
            "signatures": [{"signature": first["signature"], "protected": first["protected"]}],
            "payload": whole["payload"],
        }
    )
    v.document("sound-member-order", "S23", "the order of the members means nothing", swapped, "accepted")
    raw_es256 = base64url.decode(strictjson.loads(by_es256)["signatures"][0]["signature"])
    r, s = raw_es256[:32], int.from_bytes(raw_es256[32:], "big")
    v.document(
        "sound-es256-twin",
        "S32",
        "(r, n - s) is the same signature; the document id does not change",
        _resigned(by_es256, r + (_N_P256 - s).to_bytes(32, "big")),
        "accepted",
    )
    v.document(
        "sound-pretty-payload",
        "S23",
        "the payload's bytes count, not their beauty",
        jws.sign(json.dumps(payload(), indent=1).encode(), jws.DOCUMENT, [own]),
        "accepted",
    )
    again = {"payload": base64url.encode(json.dumps(payload()).encode()), "signatures": whole["signatures"]}
    v.document(
        "reserialised", "S23", "equivalent JSON under the old signature", strictjson.dumps(again), invalid
    )

    for name, member, value in (
        ("jwk", "jwk", stranger.public.jwk),
        ("jku", "jku", "https://keys.example/jwks"),
        ("x5c", "x5c", ["MIIB"]),
        ("x5u", "x5u", "https://keys.example/x"),
        ("crit", "crit", ["exp"]),
        ("b64", "b64", False),
        ("cty", "cty", "json"),
    ):
        v.document(
            f"header-{name}",
            "S24",
            f"{name} in the protected header",
            _reheaded(body, header | {member: value}, own),
            "malformed: jws-header",
        )
    for name, alg in (("none", "none"), ("hs256", "HS256"), ("eddsa", "EdDSA"), ("number", 1)):
        v.document(
            f"alg-{name}",
            "S24",
            f"alg is {name}",
            _reheaded(body, header | {"alg": alg}, own),
            "malformed: jws-alg",
        )
    v.document(
        "alg-other",
        "S24",
        "alg is another than the key's",
        _reheaded(body, header | {"alg": "ES256"}, own),
        "signature: sig-alg",
    )
    v.document(
        "alg-other-key",
        "S24",
        "an ES256 signature under an Ed25519 key's name",
        _reheaded(body, header | {"alg": "ES256"}, es256),
        "signature: sig-alg",
    )
    v.document(
        "header-duplicate",
        "S01",
        "alg twice in the header",
        _reheaded(body, b'{"alg":"none",' + strictjson.dumps(header)[1:], own),
        "malformed: json-duplicate-key",
    )
    v.document(
        "header-missing-typ",
        "S28",
        "no typ",
        _reheaded(body, {"alg": "Ed25519", "kid": own.public.kid}, own),
        "malformed: jws-header",
    )
    v.document(
        "header-array", "S24", "the header is an array", _reheaded(body, [1], own), "malformed: jws-header"
    )
    v.document(
        "header-unprotected",
        "S24",
        "an unprotected header",
        _reheaded(body, header, own, {"header": {"kid": own.public.kid}}),
        "malformed: jws-form",
    )
    for name, kid in (
        ("path", "../../etc/passwd"),
        ("sql", "' OR 1=1 --"),
        ("url", "https://keys.example/1"),
        ("empty", ""),
        ("number", 5),
        ("loose-bits", own.public.kid[:-1] + chr(ord(own.public.kid[-1]) + 1)),
    ):
        v.document(
            f"kid-{name}",
            "S25",
            f"kid is {name}",
            _reheaded(body, header | {"kid": kid}, own),
            "malformed: jws-kid",
        )
    v.document("kid-foreign", "S25", "kid of another authority", jws.sign(body, jws.DOCUMENT, [ae]), unknown)
    v.document("kid-nobody", "S25", "kid of nobody", jws.sign(body, jws.DOCUMENT, [stranger]), unknown)
    v.document(
        "foreign-signature",
        "S26",
        "signed by another under the victim's kid",
        _reheaded(body, header, ae),
        invalid,
    )
    v.document(
        "foreign-source",
        "S26",
        "AE's own key, but the document says BW",
        jws.sign(body, jws.DOCUMENT, [ae]),
        "misaddressed: address-source",
        sender=["ae-1"],
        source="AE",
        recipient="BW",
    )
    testing, tester = strictjson.dumps(payload(testing=True)), v.key("bw-test-document")
    mixed, of_tests = "misaddressed: address-testing", {"sender": ["bw-test-1"]}
    v.document(
        "testing-sound",
        "testing",
        "a test",
        jws.sign(testing, jws.DOCUMENT, [tester]),
        "accepted",
        **of_tests,
    )
    v.document(
        "testing-by-real", "testing", "a test by a real node", jws.sign(testing, jws.DOCUMENT, [own]), mixed
    )
    v.document(
        "testing-unmarked",
        "testing",
        "a test node's document that does not say so",
        jws.sign(body, jws.DOCUMENT, [tester]),
        mixed,
        **of_tests,
    )
    v.document(
        "address-recipient",
        "address",
        "for another recipient",
        sound,
        "misaddressed: address-recipient",
        recipient="ZA",
    )
    v.document(
        "address-no-record",
        "address",
        "records of another than the source",
        sound,
        "misaddressed: address-source",
        sender=["ae-1"],
    )
    v.document(
        "use-node",
        "S27",
        "a node key under a document",
        jws.sign(body, jws.DOCUMENT, [node]),
        "untrusted-key: key-use",
    )
    v.document(
        "use-transport",
        "S27",
        "a transport key under a document",
        jws.sign(body, jws.DOCUMENT, [transport]),
        "untrusted-key: key-use",
    )
    v.document(
        "use-identity",
        "S27",
        "an identity key under a document",
        jws.sign(body, jws.DOCUMENT, [v.key("bw-identity-1")]),
        unknown,
    )
    v.document(
        "typ-receipt",
        "S28",
        "a receipt handed in as a document",
        jws.sign(body, jws.RECEIPT, [node]),
        "signature: sig-typ",
    )
    v.document(
        "typ-unknown",
        "S28",
        "a typ of no statement of ours",
        _reheaded(body, header | {"typ": "JWT"}, own),
        "malformed: jws-header",
    )

    small = (1).to_bytes(32, "little")
    v.document("small-order-r", "S30", "R is the identity", _resigned(sound, small + signature[32:]), invalid)
    scalar = int.from_bytes(signature[32:], "little") + _L_ED25519
    v.document(
        "s-plus-l", "S30", "S + L", _resigned(sound, signature[:32] + scalar.to_bytes(32, "little")), invalid
    )
    v.document("signature-cut", "S32", "one byte short", _resigned(sound, signature[:-1]), length)
    v.document("signature-longer", "S32", "one byte more", _resigned(sound, signature + b"\0"), length)
    v.document("signature-empty", "S32", "no bytes at all", _resigned(sound, b""), length)
    v.document("signature-zero", "S32", "ES256: r = s = 0", _resigned(by_es256, bytes(64)), invalid)
    v.document(
        "signature-flipped",
        "S32",
        "one bit flipped",
        _resigned(sound, bytes([signature[0] ^ 1]) + signature[1:]),
        invalid,
    )
    der = b"\x30\x44\x02\x20" + b"\x01" * 32 + b"\x02\x20" + b"\x01" * 32
    v.document("signature-der", "S32", "ES256 in DER instead of r || s", _resigned(by_es256, der), length)
    v.document(
        "payload-flipped",
        "S32",
        "another payload under the signature",
        strictjson.dumps(whole | {"payload": base64url.encode(body.replace(b"1200.50", b"1200.51"))}),
        invalid,
    )
    one_bad = strictjson.loads(jws.sign(body, jws.DOCUMENT, [own, es256]))
    one_bad["signatures"][1]["signature"] = base64url.encode(bytes(63) + b"\1")
    v.document(
        "second-bad", "S34", "one of two holds: that is not enough", strictjson.dumps(one_bad), invalid
    )
    v.document(
        "second-unknown",
        "S34",
        "a second signature by a stranger",
        jws.sign(body, jws.DOCUMENT, [own, stranger]),
        unknown,
    )
    v.document(
        "same-key-twice",
        "S34",
        "one key signs twice",
        jws.sign(body, jws.DOCUMENT, [own, own]),
        "signature: sig-duplicate",
    )
    v.document(
        "five-signatures",
        "S34",
        "more than four signatures",
        strictjson.dumps(whole | {"signatures": [first] * 5}),
        "malformed: jws-signatures",
    )
    v.document(
        "no-signatures",
        "S34",
        "none",
        strictjson.dumps(whole | {"signatures": []}),
        "malformed: jws-signatures",
    )

    v.document(
        "form-padding",
        "S23",
        "padded base64url",
        strictjson.dumps(whole | {"payload": base64url.encode(b"{}{}") + "=="}),
        "malformed: jws-encoding",
    )
    v.document(
        "form-loose-bits",
        "S23",
        "unused bits set",
        strictjson.dumps(whole | {"payload": "e31"}),
        "malformed: jws-encoding",
    )
    v.document(
        "form-other-alphabet",
        "S23",
        "+ and / instead of - and _",
        strictjson.dumps(whole | {"payload": "+/+/"}),
        "malformed: jws-encoding",
    )
    v.document("form-space", "S23", "white space around", sound + b"\n", "malformed: jws-form")
    v.document(
        "form-escape",
        "S23",
        "an escape in the payload",
        sound.replace(b'"payload":"', b'"payload":"\\u0065', 1),
        "malformed: jws-form",
    )
    v.document(
        "form-extra-member",
        "S24",
        "one member more",
        strictjson.dumps(whole | {"x": 1}),
        "malformed: jws-form",
    )
    v.document(
        "form-compact",
        "S24",
        "compact serialization",
        f"{first['protected']}.{whole['payload']}.{first['signature']}".encode(),
        "malformed: json-syntax",
    )
    v.document(
        "form-flattened",
        "S24",
        "flattened serialization",
        strictjson.dumps({"payload": whole["payload"], **first}),
        "malformed: jws-form",
    )
    v.document(
        "form-duplicate",
        "S01",
        "payload twice",
        b'{"payload":"e30",' + sound[1:],
        "malformed: json-duplicate-key",
    )
    v.document(
        "payload-not-json",
        "S23",
        "truly signed, but not JSON",
        jws.sign(b"hello", jws.DOCUMENT, [own]),
        "malformed: json-syntax",
    )
    v.document(
        "payload-duplicate-key",
        "S01",
        "truly signed, but a key twice",
        jws.sign(b'{"source":"ZA",' + body[1:], jws.DOCUMENT, [own]),
        "malformed: json-duplicate-key",
    )

    def statement(
        name: str, rule: str, description: str, raw: bytes, code: str, typ: str = jws.RECEIPT
    ) -> None:
        given = {"input": _input(raw), "sender": ["bw-1"], "now": NOW, "typ": typ}
        v.add(f"signatures/{name}", rule, description, "statement", given, code)

    said = b'{"size":1}'
    statement(
        "receipt-sound", "S27", "a receipt by a node key", jws.sign(said, jws.RECEIPT, [node]), "accepted"
    )
    statement(
        "request-sound",
        "S27",
        "a request by a transport key",
        jws.sign(said, jws.REQUEST, [transport]),
        "accepted",
        jws.REQUEST,
    )
    statement(
        "receipt-by-document-key",
        "S27",
        "a receipt by a document key",
        jws.sign(said, jws.RECEIPT, [own]),
        "untrusted-key: key-use",
    )
    statement(
        "receipt-from-document", "S28", "a document handed in as a receipt", sound, "signature: sig-typ"
    )
    statement(
        "status-from-receipt",
        "S28",
        "a receipt handed in as a status",
        jws.sign(said, jws.RECEIPT, [node]),
        "signature: sig-typ",
        jws.STATUS,
    )

    retired, compromised = ["bw-1", "bw-2-retired"], ["bw-1", "bw-2-compromised"]
    v.document(
        "key-not-yet",
        "S35",
        "before the key is valid",
        sound,
        "untrusted-key: key-not-yet",
        now="2025-12-31T23:00:00Z",
    )
    v.document(
        "key-skew", "S35", "five minutes' difference of clocks", sound, "accepted", now="2025-12-31T23:56:00Z"
    )
    v.document(
        "key-retired-29-days", "S35", "retired, documents on their way", sound, "accepted", sender=retired
    )
    v.document(
        "key-retired-31-days",
        "S35",
        "retired 31 days ago",
        sound,
        "untrusted-key: key-retired",
        sender=retired,
        now="2026-03-04T00:00:01Z",
    )
    v.document(
        "key-retired-long-ago",
        "S35",
        "our own, taken back under its own time",
        sound,
        "accepted",
        sender=retired,
        now=None,
    )
    v.document(
        "key-expired",
        "S35",
        "after the key's last day",
        sound,
        "untrusted-key: key-expired",
        sender=["bw-1", "bw-2-expiring"],
    )
    v.document(
        "key-compromised",
        "S36",
        "the key is compromised",
        sound,
        "untrusted-key: key-compromised",
        sender=compromised,
    )
    v.document(
        "key-compromised-taken-back",
        "S36",
        "compromised, whatever time the document names",
        sound,
        "untrusted-key: key-compromised",
        sender=compromised,
        now=None,
    )


# --- keys --------------------------------------------------------------------------------------------------------


def _square_roots(square: int) -> list[int]:
    """Both roots modulo 2^255 - 19, or none."""
    root = pow(square, (_P + 3) // 8, _P)
    for candidate in (root, root * pow(2, (_P - 1) // 4, _P) % _P):
        if candidate * candidate % _P == square % _P:
            return [candidate, _P - candidate]
    return []


def small_order_encodings() -> list[bytes]:
    """The 14 encodings, by arithmetic: five y, spelled as y and where it fits y + p, with either sign of x.

    Doubling a point of order 8 gives y = 0, hence x^2 = -y^2, hence d y^4 + 2 y^2 - 1 = 0 on the curve.
    """
    order_8 = [y for root in _square_roots(1 + _D) for y in _square_roots((root - 1) * pow(_D, -1, _P) % _P)]
    assert len(order_8) == 2
    assert all((_D * y**4 + 2 * y * y - 1) % _P == 0 for y in order_8)
    spelled = [0, 1, _P - 1, *sorted(order_8), _P, _P + 1]
    return [(y | sign << 255).to_bytes(32, "little") for y in spelled for sign in (0, 1)]


def _registration(v: Vectors) -> None:
    def register(name: str, rule: str, description: str, jwk: Any, code: str) -> None:
        v.add(f"keys/{name}", rule, description, "key", {"input": _input(strictjson.dumps(jwk))}, code)
        if code == "accepted":
            v.files[f"keys/{name}"]["expect"]["kid"] = PublicKey.from_jwk(jwk).kid

    own, es256, mldsa65 = (
        v.key(f"bw-{name}") for name in ("document", "document-es256", "document-ml-dsa-65")
    )
    ed, p256, akp = own.public.jwk, es256.public.jwk, mldsa65.public.jwk
    register("sound-ed25519", "keys", "an Ed25519 key", ed, "accepted")
    register("sound-p-256", "keys", "a P-256 key", p256, "accepted")
    register("sound-ml-dsa-65", "keys", "an ML-DSA-65 key", akp, "accepted")
    weak, form, off = (f"untrusted-key: key-{code}" for code in ("weak", "form", "off-curve"))
    for index, encoding in enumerate(small_order_encodings(), 1):
        description = "a small-order point: signatures can be made by anybody"
        register(f"small-order-{index:02}", "S29", description, ed | {"x": base64url.encode(encoding)}, weak)
    beyond = (2**255 - 1).to_bytes(32, "little")
    register("non-canonical", "S29", "y beyond p", ed | {"x": base64url.encode(beyond)}, weak)
    register(
        "off-ed25519",
        "S29",
        "no point of Ed25519",
        ed | {"x": base64url.encode((2).to_bytes(32, "little"))},
        off,
    )
    register("off-p-256", "S29", "no point of P-256", p256 | {"y": p256["x"]}, off)
    register("infinity-p-256", "S29", "zero coordinates", p256 | {"x": "A" * 43, "y": "A" * 43}, off)
    register("short-ed25519", "keys", "31 bytes", ed | {"x": base64url.encode(bytes(31))}, form)
    register("short-ml-dsa-65", "keys", "1951 bytes", akp | {"pub": base64url.encode(bytes(1951))}, form)
    register("private", "keys", "the private part too", own.private_jwk, "untrusted-key: key-private")
    register("private-akp", "keys", "the seed too", mldsa65.private_jwk, "untrusted-key: key-private")
    register(
        "symmetric", "keys", "a shared secret", {"kty": "oct", "k": "AAAA"}, "untrusted-key: key-private"
    )
    register("rsa", "keys", "RSA", {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, form)
    register("p-384", "keys", "another curve", p256 | {"crv": "P-384"}, form)
    register("x25519", "keys", "a key for agreement, not signing", ed | {"crv": "X25519"}, form)
    register("ed25519-as-ec", "keys", "wrong kty", ed | {"kty": "EC"}, form)
    register("extra-member", "keys", "a member more", ed | {"use": "sig"}, form)
    register("loose-bits", "keys", "unused bits set", ed | {"x": ed["x"][:-1] + "B"}, form)
    register("number", "keys", "a number for a text", ed | {"x": 5}, form)
    register("list", "keys", "no object", [ed], form)


def _record_scenarios(v: Vectors, records: dict[str, bytes]) -> None:
    def record(
        name: str, rule: str, description: str, raw: bytes, code: str, act: str = "record", **given: Any
    ) -> None:
        v.add(f"keys/{name}", rule, description, act, {"input": _input(raw)} | given, code)
        if code == "accepted" and act == "record":
            opened = keyrecord.open_record(raw)
            v.files[f"keys/{name}"]["expect"] |= {
                "fingerprint": opened.record.fingerprint,
                "digest": opened.digest,
            }

    identity = [v.key("bw-identity-1"), v.key("bw-identity-2")]
    sound: Json = strictjson.loads(jws.peek(records["bw-1"]).unverified_payload)
    entries: list[Json] = sound["keys"]
    digest = keyrecord.open_record(records["bw-1"]).digest
    stranger = v.key("stranger")

    def signed(fields_: Json, signers: list[TestKey] | None = None) -> bytes:
        return jws.sign(strictjson.dumps(fields_), jws.KEY_RECORD, signers or identity)

    def proved(position: int, proof: Json) -> Json:
        return sound | {
            "keys": [entry | {"proof": proof} if i == position else entry for i, entry in enumerate(entries)]
        }

    threshold, proof, chain = (f"untrusted-key: key-{code}" for code in ("threshold", "proof", "chain"))
    field = "malformed: record-field"
    record("record-sound", "S37", "two of three identity keys", records["bw-1"], "accepted")
    record("record-sound-one", "S37", "one identity key", records["ae-1"], "accepted")
    record("record-one-of-two", "S37", "one signature of two needed", signed(sound, identity[:1]), threshold)
    record(
        "record-stranger",
        "S37",
        "a stranger's signature does not count",
        signed(sound, [identity[0], stranger]),
        threshold,
    )
    record(
        "record-stranger-aside",
        "S37",
        "a signature too many, by a key we cannot know",
        signed(sound, [*identity, stranger]),
        "accepted",
    )
    record("record-nobody", "S37", "strangers' signatures only", signed(sound, [stranger]), threshold)
    record(
        "record-same-twice",
        "S37",
        "one identity key twice",
        signed(sound, [identity[0]] * 2),
        "signature: sig-duplicate",
    )
    record(
        "record-by-document-key",
        "S27",
        "signed with a document key",
        signed(sound, [v.key("bw-document")]),
        threshold,
    )
    record(
        "record-as-document",
        "S28",
        "signed as a document",
        jws.sign(strictjson.dumps(sound), jws.DOCUMENT, identity),
        "signature: sig-typ",
    )
    record(
        "record-unreachable",
        "S37",
        "a threshold above the number of keys",
        signed(sound | {"identity": sound["identity"] | {"threshold": 4}}),
        field,
    )
    record(
        "record-threshold-zero",
        "S37",
        "a threshold of zero",
        signed(sound | {"identity": sound["identity"] | {"threshold": 0}}),
        field,
    )
    record(
        "record-identity-twice",
        "S34",
        "one identity key named twice",
        signed(
            sound | {"identity": {"keys": [k.public.jwk for k in (*identity, identity[0])], "threshold": 2}}
        ),
        "untrusted-key: key-duplicate",
    )
    record(
        "record-key-twice",
        "S34",
        "one working key for two uses",
        signed(sound | {"keys": [*entries, entries[0] | {"use": "node"}]}),
        "untrusted-key: key-duplicate",
    )
    record(
        "record-weak-key",
        "S29",
        "a small-order document key",
        signed(sound | {"keys": [entries[0] | {"jwk": entries[0]["jwk"] | {"x": "A" * 43}}]}),
        "untrusted-key: key-weak",
    )
    record("record-address", "S09", "a lower-case address", signed(sound | {"address": "bw"}), field)
    record("record-testing", "testing", "of a node that tests", records["bw-test-1"], "accepted")
    record("record-testing-false", "testing", "real, said twice", signed(sound | {"testing": False}), field)
    record("record-time", "S16", "a time without Z", signed(sound | {"issued": "2026-01-01T00:00:00"}), field)
    record(
        "record-url-user",
        "record",
        "a user in the URL",
        signed(sound | {"endpoints": {"https": "https://a@b.example"}}),
        field,
    )
    record(
        "record-first-with-previous",
        "S37",
        "the first names a previous",
        signed(sound | {"previous": "0" * 64}),
        field,
    )
    record(
        "record-compromised-when",
        "S36",
        "compromised, but since when?",
        signed(sound | {"keys": [entries[0] | {"status": "compromised"}]}),
        field,
    )
    record(
        "proof-missing",
        "S38",
        "no proof of possession",
        signed(sound | {"keys": [{k: x for k, x in entries[0].items() if k != "proof"}]}),
        field,
    )
    record("proof-empty", "S38", "an empty proof", signed(proved(0, {})), proof)
    record("proof-of-other-key", "S38", "another key's proof", signed(proved(0, entries[1]["proof"])), proof)
    own = v.key("bw-document")
    record(
        "proof-for-other-address",
        "S38",
        "a proof for another authority",
        signed(proved(0, keyrecord.possession("ZA", "document", own))),
        proof,
    )
    record(
        "proof-for-other-use",
        "S38",
        "a proof for another use",
        signed(proved(0, keyrecord.possession("BW", "node", own))),
        proof,
    )
    forged = {"address": "BW", "kid": own.public.kid, "use": "document"}
    record(
        "proof-by-stranger",
        "S38",
        "the right claim, signed by a stranger",
        signed(proved(0, strictjson.loads(jws.sign(strictjson.dumps(forged), jws.POSSESSION, [stranger])))),
        proof,
    )

    second = sound | {"version": 2, "previous": digest, "issued": "2026-02-01T00:00:00Z"}

    def follow(name: str, rule: str, description: str, raw: bytes, code: str, previous: str = "bw-1") -> None:
        record(f"next-{name}", rule, description, raw, code, act="next-record", previous=previous)

    follow("sound", "S37", "version 2 follows version 1", signed(second), "accepted")
    new_identity = {"keys": [stranger.public.jwk], "threshold": 1}
    follow(
        "new-identity",
        "S37",
        "a new identity, signed by old and new",
        signed(second | {"identity": new_identity}, [*identity, stranger]),
        "accepted",
    )
    follow(
        "new-identity-alone",
        "S37",
        "a new identity without the old",
        signed(second | {"identity": new_identity}, [stranger]),
        threshold,
    )
    follow(
        "old-identity-alone",
        "S37",
        "a new identity that did not sign",
        signed(second | {"identity": new_identity}),
        threshold,
    )
    follow("one-of-two", "S37", "one signature of two needed", signed(second, identity[:1]), threshold)
    follow(
        "stranger",
        "S37",
        "a stranger signs too",
        signed(second, [*identity, stranger]),
        "untrusted-key: key-unknown",
    )
    follow(
        "to-testing", "testing", "a real node that becomes a test", signed(second | {"testing": True}), chain
    )
    tested = keyrecord.open_record(records["bw-test-1"])
    after: Json = strictjson.loads(jws.peek(tested.raw).unverified_payload)
    after |= {"version": 2, "previous": tested.digest, "issued": "2026-02-01T00:00:00Z"}
    tester, real = [v.key("bw-test-identity")], {k: x for k, x in after.items() if k != "testing"}
    follow("testing", "testing", "a test goes on", signed(after, tester), "accepted", "bw-test-1")
    follow("to-real", "testing", "a test that becomes real", signed(real, tester), chain, "bw-test-1")
    follow("skipped", "S37", "version 3 does not follow version 1", signed(second | {"version": 3}), chain)
    follow("again", "S37", "version 1 does not follow itself", records["bw-1"], chain)
    follow(
        "previous-wrong", "S37", "another previous version", signed(second | {"previous": "0" * 64}), chain
    )
    follow("other-address", "S37", "another authority's record", records["ae-1"], chain)
    third = second | {"version": 3, "previous": keyrecord.open_record(records["bw-2-compromised"]).digest}
    follow(
        "compromised-returns",
        "S36",
        "a compromised key becomes active",
        signed(third),
        chain,
        "bw-2-compromised",
    )
    other_use = [entries[0] | {"use": "node", "proof": keyrecord.possession("BW", "node", own)}]
    follow(
        "use-changed", "S27", "a document key becomes a node key", signed(second | {"keys": other_use}), chain
    )

    thief = keyrecord.issue(fields("ZA", {"document": own}), [stranger], [own])
    record(
        "foreign-key",
        "S29",
        "a document key that another has",
        thief,
        "untrusted-key: key-foreign",
        act="foreign",
        others=["bw-1", "ae-1"],
    )
    borrowed = keyrecord.issue(fields("ZA", {}), [v.key("bw-identity-3")])
    record(
        "foreign-identity",
        "S29",
        "an identity key that another has",
        borrowed,
        "untrusted-key: key-foreign",
        act="foreign",
        others=["bw-1"],
    )
    record(
        "foreign-none",
        "S29",
        "keys nobody else has",
        records["ae-1"],
        "accepted",
        act="foreign",
        others=["bw-1"],
    )


def write() -> None:
    """Replace the folders' contents by what :func:`build` returns."""
    files = build()
    for folder in WRITTEN:
        for old in (FOLDER / folder).glob("*"):
            if f"{folder}/{old.name}" not in files:
                old.unlink()
    for name, content in files.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_bytes(content)
    print(f"{sum(not name.startswith('material') for name in files)} scenarios")


if __name__ == "__main__":
    write()
