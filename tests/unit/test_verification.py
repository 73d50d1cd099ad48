"""The gate: only here is a Verified made, and only from what holds."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmsg import jws, keyrecord, strictjson
from kpmsg.errors import MalformedError, MisaddressedError, RefusedError, SignatureError, UntrustedKeyError
from kpmsg.keys import SoftwareSigner
from kpmsg.verification import Verified, open_document, open_documents, open_statement
from tests.vectors.generate import payload

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
DOCUMENT, HSM, NODE, TRANSPORT, IDENTITY = (
    SoftwareSigner.generate(alg) for alg in ("Ed25519", "ES256", "Ed25519", "ES256", "Ed25519")
)


def entry(signer: SoftwareSigner, use: str) -> dict[str, object]:
    return {"jwk": signer.public.jwk, "use": use, "valid_from": "2026-01-01T00:00:00Z"}


FIELDS = {
    "address": "BW",
    "version": 1,
    "issued": "2026-01-01T00:00:00Z",
    "authority": {"name": "Diamond Hub", "roles": ["export"]},
    "keys": [
        entry(DOCUMENT, "document"),
        entry(HSM, "document"),
        entry(NODE, "node"),
        entry(TRANSPORT, "transport"),
    ],
}
RECORD = keyrecord.open_record(keyrecord.issue(FIELDS, [IDENTITY], [DOCUMENT, HSM, NODE, TRANSPORT])).record
BODY = strictjson.dumps(payload())
RAW = {signer.public.alg: jws.sign(BODY, jws.DOCUMENT, [signer]) for signer in (DOCUMENT, HSM)}
SOUND = RAW["Ed25519"]


def opened(
    raw: bytes = SOUND, source: str = "BW", recipient: str = "AE", now: datetime | None = NOW
) -> Verified:
    return open_document(raw, sender=[RECORD], source=source, recipient=recipient, now=now)


def test_a_sound_document() -> None:
    verified = opened()
    assert verified.raw == SOUND
    assert verified.payload == BODY
    assert verified.id == hashlib.sha256(BODY).hexdigest()
    assert verified.kids == (DOCUMENT.public.kid,)
    assert verified.document.supported
    assert verified.document.source == "BW"


def test_a_type_we_do_not_speak_is_verified_all_the_same() -> None:
    body = strictjson.dumps(payload(type="org.kimberley.other.v7", data={"x": 1}))
    verified = opened(jws.sign(body, jws.DOCUMENT, [DOCUMENT]))
    assert not verified.document.supported


def test_verified_cannot_be_made_elsewhere() -> None:
    verified = opened()
    fields = {"raw": b"", "payload": b"", "id": "", "document": verified.document, "kids": ()}
    with pytest.raises(TypeError):
        Verified(**fields)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Verified(**fields, token=object())  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.id = "0" * 64  # type: ignore[misc]
    with pytest.raises(ValueError):
        dataclasses.replace(verified, id="0" * 64)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        copy.copy(verified)
    with pytest.raises(TypeError):
        pickle.dumps(verified)


def test_refusals_in_the_order_of_the_steps() -> None:
    for error, code, raw, source, recipient in (
        (MalformedError, "json-syntax", b"hello", "BW", "AE"),
        (SignatureError, "sig-typ", jws.sign(BODY, jws.RECEIPT, [NODE]), "BW", "AE"),
        (UntrustedKeyError, "key-use", jws.sign(BODY, jws.DOCUMENT, [NODE]), "BW", "AE"),
        (MalformedError, "document-missing", jws.sign(b"{}", jws.DOCUMENT, [DOCUMENT]), "BW", "AE"),
        (MisaddressedError, "address-recipient", SOUND, "BW", "ZA"),
        (MisaddressedError, "address-source", SOUND, "ZA", "AE"),
        (MisaddressedError, "address-source", jws.sign(strictjson.dumps(payload(source="ZA")), jws.DOCUMENT, [DOCUMENT]), "BW", "AE"),
    ):  # fmt: skip
        with pytest.raises(RefusedError) as caught:
            opened(raw, source, recipient)
        assert (type(caught.value), caught.value.code) == (error, code)


def test_a_document_is_a_test_if_and_only_if_its_author_tests() -> None:
    keys = [DOCUMENT, HSM, NODE, TRANSPORT]
    tester = keyrecord.open_record(keyrecord.issue(FIELDS | {"testing": True}, [IDENTITY], keys)).record
    marked = jws.sign(strictjson.dumps(payload(testing=True)), jws.DOCUMENT, [DOCUMENT])
    assert open_document(marked, sender=[tester], source="BW", recipient="AE", now=NOW).document.testing
    for raw, record in ((marked, RECORD), (SOUND, tester)):
        for now in (NOW, None):
            with pytest.raises(MisaddressedError) as caught:
                open_document(raw, sender=[record], source="BW", recipient="AE", now=now)
            assert (caught.value.code, caught.value.pointer) == ("address-testing", "/testing")


def test_no_byte_of_an_unsigned_payload_is_interpreted() -> None:
    """A malformed payload under a bad signature is a bad signature, whatever it contains."""
    stranger = SoftwareSigner.generate()
    with pytest.raises(UntrustedKeyError):
        opened(jws.sign(b'{"a":1,"a":2}', jws.DOCUMENT, [stranger]))


def test_without_records_nothing_is_believed() -> None:
    with pytest.raises(MisaddressedError):
        open_document(SOUND, sender=[], source="BW", recipient="AE", now=NOW)


def test_taking_back_our_own_after_the_key_retired() -> None:
    first = keyrecord.open_record(keyrecord.issue(FIELDS, [IDENTITY], [DOCUMENT, HSM, NODE, TRANSPORT]))
    retired = entry(DOCUMENT, "document") | {"status": "retired", "since": "2026-04-01T00:00:00Z"}
    changes = {"version": 2, "previous": first.digest, "issued": "2026-04-01T00:00:00Z", "keys": [retired]}
    second = keyrecord.open_next(first, keyrecord.issue(FIELDS | changes, [IDENTITY], [DOCUMENT]))
    own = [first.record, second.record]
    much_later = NOW + timedelta(days=900)
    with pytest.raises(UntrustedKeyError) as caught:
        open_document(SOUND, sender=own, source="BW", recipient="AE", now=much_later)
    assert caught.value.code == "key-retired"
    assert open_document(SOUND, sender=own, source="BW", recipient="AE", now=None).payload == BODY


def test_one_poisonous_line_spoils_itself_only() -> None:
    lines = [SOUND, b"\xff\x00", RAW["ES256"], b"[" * 5000, SOUND]
    results = open_documents(lines, sender=[RECORD], source="BW", recipient="AE", now=NOW)
    assert [type(result) for result in results] == [
        Verified,
        MalformedError,
        Verified,
        MalformedError,
        Verified,
    ]


@pytest.mark.parametrize("typ", [jws.RECEIPT, jws.STATUS, jws.PAGE, jws.REFUSAL, jws.GRANT])
def test_statements_are_signed_by_node_keys(typ: str) -> None:
    assert open_statement(jws.sign(b"{}", typ, [NODE]), typ, [RECORD], NOW) == b"{}"
    for signer in (DOCUMENT, TRANSPORT):
        with pytest.raises(UntrustedKeyError) as caught:
            open_statement(jws.sign(b"{}", typ, [signer]), typ, [RECORD], NOW)
        assert caught.value.code == "key-use"


def test_requests_are_signed_by_transport_keys() -> None:
    assert open_statement(jws.sign(b"x", jws.REQUEST, [TRANSPORT]), jws.REQUEST, [RECORD], NOW) == b"x"
    with pytest.raises(UntrustedKeyError):
        open_statement(jws.sign(b"x", jws.REQUEST, [NODE]), jws.REQUEST, [RECORD], NOW)


@given(st.sampled_from(sorted(RAW)), st.data())
def test_any_flipped_bit_is_refused(alg: str, data: st.DataObject) -> None:
    raw = bytearray(RAW[alg])
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RefusedError):
        opened(bytes(raw))


@given(st.binary(max_size=200), st.integers(0, len(SOUND)), st.integers(0, 50))
def test_any_splice_is_refused_or_the_same_document(piece: bytes, start: int, cut: int) -> None:
    raw = SOUND[:start] + piece + SOUND[start + cut :]
    try:
        verified = opened(raw)
    except RefusedError:
        return
    assert verified.id == hashlib.sha256(BODY).hexdigest()


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x), max_leaves=8), st.sampled_from(sorted(payload())))  # fmt: skip
def test_any_truly_signed_payload_is_answered(value: object, member: str) -> None:
    """What the signer itself made wrong is a refusal of the right family, never another exception."""
    body = json.dumps(payload(**{member: value})).encode()
    lines = [jws.sign(body, jws.DOCUMENT, [DOCUMENT])]
    (result,) = open_documents(lines, sender=[RECORD], source="BW", recipient="AE", now=NOW)
    if not isinstance(result, Verified):
        assert result.code.startswith(("json-", "document-", "address-"))
