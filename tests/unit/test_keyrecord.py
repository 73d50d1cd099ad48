"""Key records: publishing, following versions, and which key may be used on a given day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kpmsg import jws, keyrecord, strictjson
from kpmsg.errors import DraftError, MalformedError, UntrustedKeyError
from kpmsg.keyrecord import KeyRecord, VerifiedRecord, key_for
from kpmsg.keys import SoftwareSigner

IDENTITY = [SoftwareSigner.generate() for _ in range(3)]
OLD, NEW, NODE = (SoftwareSigner.generate() for _ in range(3))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(signer: SoftwareSigner, use: str, **more: Any) -> dict[str, Any]:
    return {"jwk": signer.public.jwk, "use": use, "valid_from": "2026-01-01T00:00:00Z"} | more


def fields(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "address": "EU/antwerp",
        "version": 1,
        "issued": "2026-01-01T00:00:00Z",
        "authority": {"name": "Diamond Office", "roles": ["export", "import"], "languages": ["nl", "fr"]},
        "keys": list(entries),
        "endpoints": {
            "amqps": {"host": "antwerp.example", "port": 5671},
            "https": "https://antwerp.example/x",
        },
    } | more


def issue(content: dict[str, Any], identity: list[SoftwareSigner] = IDENTITY[:1]) -> bytes:
    return keyrecord.issue(content, identity, [OLD, NEW, NODE])


def follow(previous: VerifiedRecord, *entries: dict[str, Any], **more: Any) -> VerifiedRecord:
    version = previous.record.version + 1
    issued = f"2026-{version:02}-01T00:00:00Z"
    content = fields(*entries, version=version, previous=previous.digest, issued=issued, **more)
    return keyrecord.open_next(previous, issue(content))


@pytest.fixture
def first() -> VerifiedRecord:
    return keyrecord.open_record(issue(fields(entry(OLD, "document"), entry(NODE, "node"))))


def code(
    records: list[KeyRecord], signer: SoftwareSigner, use: keyrecord.Use = "document", at: datetime = NOON
) -> str:
    try:
        found = key_for(records, signer.public.kid, use, at)
    except UntrustedKeyError as error:
        return error.code
    assert found == signer.public
    return "usable"


def test_issue_and_open(first: VerifiedRecord) -> None:
    record = first.record
    assert (record.address, record.version, record.previous) == ("EU/antwerp", 1, None)
    assert record.endpoints.amqps is not None
    assert (record.endpoints.amqps.host, record.endpoints.amqps.port) == ("antwerp.example", 5671)
    assert record.identity.threshold == 1
    assert record.kids == {OLD.public.kid, NODE.public.kid, IDENTITY[0].public.kid}
    assert record.key_for(OLD.public.kid, "document", NOON) == OLD.public
    assert keyrecord.open_record(first.raw) == first


def test_fingerprint_stands_for_the_identity_only(first: VerifiedRecord) -> None:
    second = follow(first, entry(NEW, "document"))
    assert second.record.fingerprint == first.record.fingerprint
    elsewhere = keyrecord.open_record(issue(fields(address="BW"))).record
    assert elsewhere.fingerprint != first.record.fingerprint
    two = keyrecord.open_record(issue(fields(), IDENTITY[:2])).record
    swapped = keyrecord.open_record(issue(fields(), [IDENTITY[1], IDENTITY[0]])).record
    assert two.fingerprint == swapped.fingerprint != first.record.fingerprint
    one_of_two = fields(identity={"keys": [s.public.jwk for s in IDENTITY[:2]], "threshold": 1})
    assert keyrecord.open_record(issue(one_of_two)).record.fingerprint != two.fingerprint


def test_issue_refuses_what_nobody_would_accept() -> None:
    for content, identity, wanted in (
        (fields(address="antwerp"), IDENTITY[:1], "record-field"),
        (
            fields(entry(SoftwareSigner.generate(), "document")),
            IDENTITY[:1],
            "record-field",
        ),  # no proof can be made
        (fields(entry(OLD, "document"), entry(OLD, "node")), IDENTITY[:1], "key-duplicate"),
        (fields(entry(OLD, "document") | {"jwk": {}}), IDENTITY[:1], "key-form"),
        (
            fields(identity={"keys": [s.public.jwk for s in IDENTITY], "threshold": 2}),
            IDENTITY[:1],
            "key-threshold",
        ),
        (fields(entry(IDENTITY[0], "document")), IDENTITY[:1], "record-field"),
    ):
        with pytest.raises(DraftError) as caught:
            issue(content, identity)
        assert caught.value.code == wanted


def test_pointer_names_the_member() -> None:
    raw = jws.sign(
        strictjson.dumps(fields(authority={"name": "", "roles": []})), jws.KEY_RECORD, IDENTITY[:1]
    )
    with pytest.raises(MalformedError) as caught:
        keyrecord.open_record(raw)
    assert caught.value.pointer in {"/authority/name", "/previous"}


def test_a_test_and_what_is_real_never_follow_each_other(first: VerifiedRecord) -> None:
    tried = keyrecord.open_record(issue(fields(entry(OLD, "document"), testing=True)))
    assert follow(tried, entry(OLD, "document"), testing=True).record.testing is True
    for before, more in ((first, {"testing": True}), (tried, {})):
        with pytest.raises(UntrustedKeyError) as caught:
            follow(before, entry(OLD, "document"), **more)
        assert (caught.value.code, caught.value.pointer) == ("key-chain", "/testing")
    with pytest.raises(DraftError) as refused:
        issue(fields(testing=False))
    assert refused.value.code == "record-field"


def test_identity_changes_with_both_signatures(first: VerifiedRecord) -> None:
    content = fields(
        version=2, previous=first.digest, identity={"keys": [IDENTITY[1].public.jwk], "threshold": 1}
    )
    second = keyrecord.open_next(first, issue(content, IDENTITY[:2]))
    assert second.record.fingerprint != first.record.fingerprint
    with pytest.raises(UntrustedKeyError) as caught:  # the old identity alone has no say any more
        keyrecord.open_next(second, issue(fields(version=3, previous=second.digest)))
    assert caught.value.code in {"key-threshold", "key-unknown"}


def test_key_for_by_use_and_time(first: VerifiedRecord) -> None:
    records = [first.record]
    assert code(records, OLD) == "usable"
    assert code(records, NODE) == "key-use"
    assert code(records, NODE, "node") == "usable"
    assert code(records, NEW) == "key-unknown"
    assert code(records, IDENTITY[0]) == "key-unknown"
    assert code([], OLD) == "key-unknown"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert code(records, OLD, at=start - keyrecord.CLOCK_SKEW) == "usable"
    assert code(records, OLD, at=start - keyrecord.CLOCK_SKEW - timedelta(seconds=1)) == "key-not-yet"


def test_rotation_publish_overlap_retire(first: VerifiedRecord) -> None:
    overlap = follow(first, entry(OLD, "document"), entry(NEW, "document"))
    retired = entry(OLD, "document", status="retired", since="2026-03-01T12:00:00Z")
    last = follow(overlap, retired, entry(NEW, "document"))
    assert code([first.record, overlap.record], OLD) == "usable"
    assert code([first.record, overlap.record], NEW) == "usable"
    records = [first.record, overlap.record, last.record]
    assert code(records, NEW) == "usable"
    assert code(records, OLD, at=NOON + timedelta(days=30)) == "usable"
    assert code(records, OLD, at=NOON + timedelta(days=30, seconds=1)) == "key-retired"


def test_a_key_no_longer_named_retires_with_the_version_that_dropped_it(first: VerifiedRecord) -> None:
    second = follow(first, entry(NEW, "document"))  # issued on 1 February
    records = [first.record, second.record]
    assert code(records, OLD, at=datetime(2026, 3, 3, tzinfo=UTC)) == "usable"
    assert code(records, OLD, at=datetime(2026, 3, 4, tzinfo=UTC)) == "key-retired"
    assert code([second.record], OLD) == "key-unknown"


def test_compromised_is_for_ever(first: VerifiedRecord) -> None:
    burnt = follow(first, entry(OLD, "document", status="compromised", since="2026-02-01T00:00:00Z"))
    dropped = follow(burnt, entry(NEW, "document"))
    back = follow(dropped, entry(OLD, "document"))  # through a version that did not name it
    records = [version.record for version in (first, burnt, dropped, back)]
    for at in (datetime(2026, 1, 15, tzinfo=UTC), NOON):
        assert code(records, OLD, at=at) == "key-compromised"
    with pytest.raises(UntrustedKeyError) as caught:
        follow(burnt, entry(OLD, "document"))
    assert caught.value.code == "key-chain"


def test_an_expired_key(first: VerifiedRecord) -> None:
    second = follow(first, entry(OLD, "document", valid_until="2026-02-28T00:00:00Z"))
    assert code([first.record, second.record], OLD) == "key-expired"
    with pytest.raises(DraftError):
        issue(fields(entry(OLD, "document", valid_until="2025-01-01T00:00:00Z")))


def test_check_foreign(first: VerifiedRecord) -> None:
    keyrecord.check_foreign(
        [first.record], follow(first, entry(OLD, "document")).record
    )  # one's own next version
    thief = keyrecord.open_record(issue(fields(entry(OLD, "document"), address="ZA"), IDENTITY[1:2]))
    with pytest.raises(UntrustedKeyError) as caught:
        keyrecord.check_foreign([first.record], thief.record)
    assert caught.value.code == "key-foreign"
