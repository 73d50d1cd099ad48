"""JWS: the one form, every signature on its own, and an independent library that agrees."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from kpmsg import base64url, jws, keys, strictjson
from kpmsg.errors import KpmsgError, MalformedError, RefusedError, SignatureError, UntrustedKeyError
from kpmsg.keys import PublicKey, SoftwareSigner

PAYLOAD = b'{"source":"BW","id":1}'


KEYS = {(alg, number): SoftwareSigner.generate(alg) for alg in keys.ALGORITHMS for number in (0, 1)}


def signer(alg: str, number: int = 0) -> SoftwareSigner:
    return KEYS[alg, number]


def key_of(kid: str) -> PublicKey:
    for known in KEYS.values():
        if known.public.kid == kid:
            return known.public
    raise UntrustedKeyError("key-unknown", "nobody's")


@cache
def signed(*algs: str) -> bytes:
    return jws.sign(PAYLOAD, jws.DOCUMENT, [signer(alg) for alg in algs])


def code_of(raw: bytes, **options: Any) -> str:
    with pytest.raises(KpmsgError) as caught:
        jws.verify(raw, typ=jws.DOCUMENT, key_of=key_of, **options)
    return caught.value.code


COMBINATIONS = [
    ("Ed25519",),
    ("ES256",),
    ("ML-DSA-65",),
    ("Ed25519", "ES256"),
    ("Ed25519", "ES256", "ML-DSA-65"),
]


@pytest.mark.parametrize("algs", COMBINATIONS)
def test_round_trip(algs: tuple[str, ...]) -> None:
    opened = jws.verify(signed(*algs), typ=jws.DOCUMENT, key_of=key_of)
    assert opened.payload == PAYLOAD
    assert opened.kids == tuple(signer(alg).public.kid for alg in algs)


def test_wire_form() -> None:
    raw = signed("Ed25519")
    assert not set(raw) & set(b" \n\t\r\\")
    whole = json.loads(raw)
    assert list(whole) == ["payload", "signatures"]
    header = json.loads(base64url.decode(whole["signatures"][0]["protected"]))
    assert header == {"alg": "Ed25519", "kid": signer("Ed25519").public.kid, "typ": "kp-document+jws"}


def test_peek_shows_what_nobody_verified() -> None:
    raw = signed("Ed25519").replace(b'"signature":"', b'"signature":"AAAA')
    parsed = jws.peek(raw)
    assert parsed.unverified_payload == PAYLOAD
    assert [header.alg for header in parsed.unverified_headers] == ["Ed25519"]


def test_limits() -> None:
    largest = jws.sign(b"x" * jws.MAX_PAYLOAD_BYTES, jws.DOCUMENT, [signer("Ed25519")])
    assert len(jws.verify(largest, typ=jws.DOCUMENT, key_of=key_of).payload) == 65536
    assert code_of(jws.sign(b"x" * 65537, jws.DOCUMENT, [signer("Ed25519")])) == "jws-size"
    assert code_of(b'{"payload":"' + b"A" * jws.MAX_BYTES + b'"}') == "json-size"
    assert code_of(signed("Ed25519", "ES256"), max_signatures=1) == "jws-signatures"
    with pytest.raises(ValueError):
        jws.sign(PAYLOAD, jws.DOCUMENT, [])


def test_sixteen_of_the_longest_signatures_fit() -> None:
    body = b"x" * jws.MAX_PAYLOAD_BYTES
    raw = jws.sign(body, jws.KEY_RECORD, [signer("ML-DSA-65")] * 16)
    assert len(jws.peek(raw, max_signatures=16).unverified_headers) == 16


def test_two_keys_of_one_algorithm_are_two_signatures() -> None:
    raw = jws.sign(PAYLOAD, jws.DOCUMENT, [signer("Ed25519", 0), signer("Ed25519", 1)])
    assert len(jws.verify(raw, typ=jws.DOCUMENT, key_of=key_of).kids) == 2


# --- an independent library --------------------------------------------------------------------------------------


@pytest.mark.parametrize("algs", COMBINATIONS)
def test_jwcrypto_verifies_ours(algs: tuple[str, ...]) -> None:
    for alg in algs:
        other = JWS()
        other.allowed_algs = ["Ed25519", "ES256", "ML-DSA-65"]
        other.deserialize(signed(*algs).decode(), JWK(**signer(alg).public.jwk))
        assert other.payload == PAYLOAD
    # It is content with one good signature among several, so each is held against it alone.
    whole = json.loads(signed(*algs))
    for alg, member in zip(algs, whole["signatures"], strict=True):
        alone = JWS()
        alone.allowed_algs = [alg]
        alone.deserialize(json.dumps({"payload": whole["payload"], **member}), JWK(**signer(alg).public.jwk))
        assert alone.is_valid


@pytest.mark.parametrize("algs", COMBINATIONS)
def test_we_verify_jwcryptos(algs: tuple[str, ...]) -> None:
    theirs: dict[str, JWK] = {}
    for alg in algs:
        how: dict[str, dict[str, str]] = {
            "Ed25519": {"kty": "OKP", "crv": "Ed25519"},
            "ES256": {"kty": "EC", "crv": "P-256"},
            "ML-DSA-65": {"kty": "AKP", "alg": "ML-DSA-65"},
        }
        theirs[alg] = JWK.generate(**how[alg])
    other = JWS(PAYLOAD)
    other.allowed_algs = list(algs)
    ours: dict[str, PublicKey] = {}
    for alg, key in theirs.items():
        public = PublicKey.from_jwk(json.loads(key.export_public()))
        ours[public.kid] = public
        assert public.kid == key.thumbprint()
        other.add_signature(key, protected=json.dumps({"alg": alg, "kid": public.kid, "typ": jws.DOCUMENT}))
    whole = json.loads(other.serialize())
    if "signatures" not in whole:  # it flattens a single signature
        whole = {"payload": whole.pop("payload"), "signatures": [whole]}
    opened = jws.verify(strictjson.dumps(whole), typ=jws.DOCUMENT, key_of=ours.__getitem__)
    assert opened.payload == PAYLOAD
    assert set(opened.kids) == set(ours)


# --- properties --------------------------------------------------------------------------------------------------


@given(st.sampled_from(COMBINATIONS), st.data())
def test_no_flipped_bit_changes_what_was_signed(algs: tuple[str, ...], data: st.DataObject) -> None:
    raw = bytearray(signed(*algs))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RefusedError):
        jws.verify(bytes(raw), typ=jws.DOCUMENT, key_of=key_of)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(MalformedError):
        jws.verify(data, typ=jws.DOCUMENT, key_of=key_of)


@given(st.dictionaries(st.sampled_from(["payload", "signatures", "x"]), st.one_of(st.text(max_size=9), st.lists(st.dictionaries(st.sampled_from(["protected", "signature", "header"]), st.one_of(st.text(max_size=9), st.integers(0, 9), st.just(json.loads(signed("Ed25519"))["signatures"][0]["protected"])), max_size=3), max_size=5), st.none())))  # fmt: skip
def test_any_members_are_refused_in_order(members: dict[str, Any]) -> None:
    with pytest.raises((MalformedError, SignatureError)):
        jws.verify(json.dumps(members, separators=(",", ":")).encode(), typ=jws.DOCUMENT, key_of=key_of)


@given(st.binary(min_size=64, max_size=64), st.sampled_from(["Ed25519", "ES256"]))
def test_any_signature_bytes_are_refused_in_order(signature: bytes, alg: str) -> None:
    with pytest.raises(SignatureError) as caught:
        signer(alg).public.verify(PAYLOAD, signature)
    assert caught.value.code == "sig-invalid"
