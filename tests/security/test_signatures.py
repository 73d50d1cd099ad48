"""The security catalogue, part B: signatures and keys. Each test bears its catalogue number.

``protocol/vectors`` has these attacks as data; here are those that need more than one step, or many tries.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from kpmsg import base64url, jws, keyrecord, strictjson
from kpmsg.errors import KpmsgError, MalformedError, SignatureError, UntrustedKeyError
from kpmsg.keys import PublicKey, SoftwareSigner
from kpmsg.verification import Verified, open_document, open_statement
from tests.vectors import generate
from tests.vectors.generate import payload, small_order_encodings

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
IDENTITY, OWN, HSM, NODE, TRANSPORT, STRANGER = (
    SoftwareSigner.generate(alg) for alg in ("Ed25519", "Ed25519", "ES256", "Ed25519", "ES256", "Ed25519")
)
USES = {"document": OWN, "node": NODE, "transport": TRANSPORT}


def fields(address: str = "BW", **more: Any) -> dict[str, Any]:
    entries = [
        {"jwk": signer.public.jwk, "use": use, "valid_from": "2026-01-01T00:00:00Z"}
        for use, signer in [*USES.items(), ("document", HSM)]
    ]
    authority = {"name": "Test authority", "roles": ["export"]}
    start = {"address": address, "version": 1, "issued": "2026-01-01T00:00:00Z", "authority": authority}
    return start | {"keys": entries} | more


RECORD = keyrecord.open_record(keyrecord.issue(fields(), [IDENTITY], [*USES.values(), HSM]))
BODY = strictjson.dumps(payload())


def signed(body: bytes, *signers: SoftwareSigner, typ: str = jws.DOCUMENT) -> bytes:
    return jws.sign(body, typ, signers)


def opened(raw: bytes) -> Verified:
    return open_document(raw, sender=[RECORD.record], source="BW", recipient="AE", now=NOW)


def refusal(raw: bytes, family: type[KpmsgError]) -> str:
    with pytest.raises(KpmsgError) as caught:
        opened(raw)
    assert isinstance(caught.value, family)
    return caught.value.code


def with_header(header: dict[str, Any], signer: SoftwareSigner = OWN) -> bytes:
    protected = base64url.encode(strictjson.dumps(header))
    encoded = base64url.encode(BODY)
    signature = base64url.encode(signer.sign(f"{protected}.{encoded}".encode()))
    return strictjson.dumps(
        {"payload": encoded, "signatures": [{"protected": protected, "signature": signature}]}
    )


HEADER = {"alg": "Ed25519", "kid": OWN.public.kid, "typ": jws.DOCUMENT}


def test_S23_reserialised_json() -> None:
    whole = json.loads(signed(BODY, OWN))
    for equivalent in (
        json.dumps(payload()).encode(),
        BODY + b" ",
        BODY.replace(b"BW 012345", b"\\u0042W 012345"),
    ):
        assert json.loads(equivalent) == json.loads(BODY)
        raw = strictjson.dumps(whole | {"payload": base64url.encode(equivalent)})
        assert refusal(raw, SignatureError) == "sig-invalid"


@pytest.mark.parametrize(
    "member",
    [{"jwk": STRANGER.public.jwk}, {"jku": "https://evil.example"}, {"x5c": ["MIIB"]}, {"x5u": "file:///"}, {"crit": ["b64"]}, {"b64": False}],
)  # fmt: skip
def test_S24_injected_header_members(member: dict[str, Any]) -> None:
    assert refusal(with_header(HEADER | member, STRANGER), MalformedError) == "jws-header"
    assert refusal(with_header(HEADER | member), MalformedError) == "jws-header"


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS256", "EdDSA", "", None, ["Ed25519"]])
def test_S24_algorithm_of_the_messages_choice(alg: Any) -> None:
    assert refusal(with_header(HEADER | {"alg": alg}), MalformedError) == "jws-alg"


@pytest.mark.parametrize("alg", ["ES256", "ML-DSA-65"])
def test_S24_algorithm_of_another_key(alg: str) -> None:
    assert refusal(with_header(HEADER | {"alg": alg}), SignatureError) == "sig-alg"


@pytest.mark.parametrize(
    "kid", ["../../key", "' OR ''='", "https://evil.example/k", "A" * 5000, "", None, 1, "*"]
)
def test_S25_kid_that_is_no_thumbprint(kid: Any) -> None:
    assert refusal(with_header(HEADER | {"kid": kid}), MalformedError) in {"jws-kid", "jws-header"}


def test_S25_kid_of_another() -> None:
    assert refusal(signed(BODY, STRANGER), UntrustedKeyError) == "key-unknown"


def test_S26_another_participants_signature_for_the_victim() -> None:
    assert refusal(with_header(HEADER, STRANGER), SignatureError) == "sig-invalid"
    other = keyrecord.open_record(
        keyrecord.issue(
            fields(
                "ZA",
                keys=[{"jwk": STRANGER.public.jwk, "use": "document", "valid_from": "2026-01-01T00:00:00Z"}],
            ),
            [SoftwareSigner.generate()],
            [STRANGER],
        )
    )
    with pytest.raises(KpmsgError) as caught:
        open_document(signed(BODY, STRANGER), sender=[other.record], source="ZA", recipient="AE", now=NOW)
    assert caught.value.code == "address-source"


@pytest.mark.parametrize("signer", [NODE, TRANSPORT, IDENTITY])
def test_S27_documents_are_signed_by_document_keys_only(signer: SoftwareSigner) -> None:
    assert refusal(signed(BODY, signer), UntrustedKeyError) in {"key-use", "key-unknown"}
    assert refusal(signed(BODY, OWN, signer), UntrustedKeyError) in {"key-use", "key-unknown"}


@pytest.mark.parametrize("typ", [jws.RECEIPT, jws.STATUS, jws.PAGE, jws.REFUSAL])
def test_S27_statements_are_signed_by_node_keys_only(typ: str) -> None:
    with pytest.raises(UntrustedKeyError) as caught:
        open_statement(signed(BODY, OWN, typ=typ), typ, [RECORD.record], NOW)
    assert caught.value.code == "key-use"


@pytest.mark.parametrize("typ", sorted(jws.TYPES - {jws.DOCUMENT}))
def test_S28_a_signature_for_one_purpose_is_none_for_another(typ: str) -> None:
    assert refusal(signed(BODY, OWN, typ=typ), SignatureError) == "sig-typ"
    if typ in {jws.RECEIPT, jws.STATUS, jws.PAGE, jws.REFUSAL}:
        with pytest.raises(SignatureError) as caught:
            open_statement(signed(BODY, NODE), typ, [RECORD.record], NOW)
        assert caught.value.code == "sig-typ"


def test_S29_small_order_keys() -> None:
    """All 14 encodings load in the library underneath, and under the identity one fixed signature fits any message."""
    encodings = small_order_encodings()
    assert len(set(encodings)) == 14
    for encoding in encodings:
        native = ed25519.Ed25519PublicKey.from_public_bytes(encoding)
        with pytest.raises(UntrustedKeyError) as caught:
            PublicKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(encoding)})
        assert caught.value.code == "key-weak"
        messages = [bytes([number]) for number in range(64)]
        forged = sum(any(_holds(native, r + bytes(32), message) for r in encodings) for message in messages)
        assert forged > 0, "if no forgery works any more, the check has become a mere precaution"
        if encoding == (1).to_bytes(32, "little"):
            assert forged == 64


def _holds(key: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_S29_non_canonical_keys() -> None:
    p = 2**255 - 19
    for y in range(p, 2**255):
        for sign in (0, 1):
            encoding = (y | sign << 255).to_bytes(32, "little")
            with pytest.raises(UntrustedKeyError):
                PublicKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(encoding)})


def test_S30_small_order_r_and_large_s() -> None:
    message = b"m"
    signature = OWN.sign(message)
    order = 2**252 + 27742317777372353535851937790883648493
    for encoding in small_order_encodings():
        with pytest.raises(SignatureError):
            OWN.public.verify(message, encoding + signature[32:])
    s = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 9):
        larger = s + multiple * order
        with pytest.raises(SignatureError):
            OWN.public.verify(message, signature[:32] + larger.to_bytes(32, "little"))


def test_S32_signatures_of_other_shapes() -> None:
    for signer in (OWN, HSM):
        whole = json.loads(signed(BODY, signer))
        member = whole["signatures"][0]
        raw = base64url.decode(member["signature"])
        r, s = raw[:32], raw[32:]
        der = bytes([48, 70, 2, 33, 0]) + r + bytes([2, 33, 0]) + s
        for changed in (raw[:-1], raw + b"\0", b"", der, raw * 2, bytes(64), s + r):
            broken = whole | {"signatures": [member | {"signature": base64url.encode(changed)}]}
            assert refusal(strictjson.dumps(broken), SignatureError) in {"sig-length", "sig-invalid"}


def test_S32_the_twin_of_an_es256_signature_is_the_same_document() -> None:
    whole = json.loads(signed(BODY, HSM))
    member = whole["signatures"][0]
    raw = base64url.decode(member["signature"])
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = raw[:32] + (n - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    other = strictjson.dumps(whole | {"signatures": [member | {"signature": base64url.encode(twin)}]})
    assert other != signed(BODY, HSM)
    assert opened(other).id == opened(signed(BODY, HSM)).id == hashlib.sha256(BODY).hexdigest()


def test_S34_one_officer_cannot_sign_for_two() -> None:
    assert opened(signed(BODY, OWN, HSM)).kids == (OWN.public.kid, HSM.public.kid)
    assert refusal(signed(BODY, OWN, OWN), SignatureError) == "sig-duplicate"
    # One key under two names cannot be: the name is the thumbprint, and a JWK has one spelling.
    jwk = OWN.public.jwk
    for spelling in (jwk | {"kid": "second"}, jwk | {"use": "sig"}, jwk | {"x": jwk["x"] + "="}):
        with pytest.raises(UntrustedKeyError):
            PublicKey.from_jwk(spelling)


def test_S34_each_signature_holds_on_its_own() -> None:
    for position in (0, 1):
        whole = json.loads(signed(BODY, OWN, HSM))
        whole["signatures"][position]["signature"] = base64url.encode(bytes(63) + b"\1")
        assert refusal(strictjson.dumps(whole), SignatureError) == "sig-invalid"


def scenarios(rule: str) -> dict[str, str]:
    """Expected outcome by name of every vector with that catalogue number; the vectors' own runner runs them."""
    found = {}
    for folder in ("signatures", "keys"):
        for path in (generate.FOLDER / folder).iterdir():
            scenario = json.loads(path.read_text())
            if scenario["rule"] == rule:
                found[path.stem] = scenario["expect"].get("code", "accepted")
    return found


def test_S35_keys_out_of_their_time_are_among_the_vectors() -> None:
    assert {"key-not-yet", "key-expired", "key-retired", "accepted"} == set(scenarios("S35").values())


def test_S37_record_versions_out_of_order_are_among_the_vectors() -> None:
    found = scenarios("S37")
    for name in (
        "record-one-of-two",
        "next-one-of-two",
        "next-skipped",
        "next-previous-wrong",
        "next-old-identity-alone",
    ):
        assert found[name] in {"key-threshold", "key-chain"}


def test_S38_proof_of_possession() -> None:
    """A key whose private half the publisher lacks cannot be registered: neither without a proof nor with a borrowed one."""
    sound = strictjson.loads(jws.peek(RECORD.raw).unverified_payload)
    for proof in (
        {},
        {"payload": "", "signatures": []},
        keyrecord.possession("ZA", "document", OWN),
        keyrecord.possession("BW", "node", OWN),
        keyrecord.possession("BW", "document", STRANGER),
    ):
        entries = [sound["keys"][0] | {"proof": proof}]
        raw = jws.sign(strictjson.dumps(sound | {"keys": entries}), jws.KEY_RECORD, [IDENTITY])
        with pytest.raises(UntrustedKeyError) as caught:
            keyrecord.open_record(raw)
        assert caught.value.code == "key-proof"


def test_S38_a_key_that_anybody_else_has() -> None:
    thief = keyrecord.open_record(
        keyrecord.issue(fields("ZA"), [SoftwareSigner.generate()], [*USES.values(), HSM])
    )
    with pytest.raises(UntrustedKeyError) as caught:
        keyrecord.check_foreign([RECORD.record], thief.record)
    assert caught.value.code == "key-foreign"
