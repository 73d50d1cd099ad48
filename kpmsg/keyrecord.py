"""Key records: which keys and endpoints an authority has, said by itself and signed with its identity keys.

Each authority publishes its own record; there is no registrar. The *identity keys* stay offline and sign nothing but
records (``threshold`` of them at least); *document*, *node* and *transport* keys do the daily work, each for its one
``use``, and each proves that its private half is in the publisher's hands. Versions count up by one, each names the
digest of the one before, and partners keep them all. Trust in the first one comes from paper: its fingerprint.

:func:`open_record` says only that a record agrees with itself; whether it is *the* authority's is for whoever compares
:attr:`KeyRecord.fingerprint` with what came by another way, or holds the version before (:func:`open_next`). What a record
means on a given day is :func:`key_for`. This module knows neither documents nor who takes part in the Scheme.
Rules K2 to K9 of protocol/keys.md.

Codes: ``record-field`` (not the agreed form); ``key-threshold``, ``key-proof``, ``key-duplicate``, ``key-chain``,
``key-foreign`` (refused as a whole); ``key-unknown``, ``key-use``, ``key-not-yet``, ``key-expired``, ``key-retired``,
``key-compromised`` (one key, on one day).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kpmsg import jws, keys, strictjson
from kpmsg.documents.vocabulary import Address, Maybe, Testing, Timestamp
from kpmsg.errors import DraftError, MalformedError, Problem, RefusedError, UntrustedKeyError
from kpmsg.keys import PublicKey, Signer
from kpmsg.policy import Policy, Practice

Use = Literal["document", "node", "transport"]

#: Documents already on their way when a key is retired are still taken.
RETIRED_GRACE: Final = timedelta(days=30)
#: Two authorities' clocks may disagree by this much about a key's first and last moment.
CLOCK_SKEW: Final = timedelta(minutes=5)
#: An identity may change from eight keys to eight others in one version, signed by all of them.
MAX_SIGNATURES: Final = 16

_Key = Annotated[
    PublicKey, PlainValidator(PublicKey.from_jwk), PlainSerializer(lambda key: key.jwk, return_type=dict)
]
_Line = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200)]
_Digest = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]
_Host = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
# No user, no query; plain http only to this very machine, where the demonstration runs.
_Url = Annotated[
    str,
    StringConstraints(
        strict=True,
        pattern=r"^(https://[A-Za-z0-9.-]{1,253}|http://(127\.0\.0\.1|localhost))(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?$",
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Authority(_Part):
    """Who publishes the record, for people, and in which roles it writes documents."""

    name: _Line
    roles: Annotated[tuple[Literal["export", "import"], ...], Field(min_length=1, max_length=2)]
    contact: Maybe[_Line] = None
    languages: Annotated[tuple[_Line, ...], Field(max_length=20)] = ()


class Identity(_Part):
    """The keys that sign records, and how many of them it takes."""

    keys: Annotated[tuple[_Key, ...], Field(min_length=1, max_length=8)]
    threshold: Annotated[StrictInt, Field(ge=1, le=8)]

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.threshold > len(self.keys):
            raise ValueError("the threshold is higher than the number of identity keys")
        return self


class KeyEntry(_Part):
    """One working key: its use, its time, and the proof that the publisher holds it."""

    key: _Key = Field(alias="jwk")
    use: Use
    valid_from: Timestamp
    valid_until: Maybe[Timestamp] = None
    status: Literal["active", "retired", "compromised"]
    since: Maybe[Timestamp] = None
    proof: dict[str, Any]  #: JWS `kp-possession+jws` by this key over address, kid and use

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("valid_until is not after valid_from")
        if self.status != "active" and self.since is None:
            raise ValueError("a retired or compromised key needs since")
        return self


class Amqps(_Part):
    host: _Host
    port: Annotated[StrictInt, Field(ge=1, le=65535)]


class Endpoints(_Part):
    amqps: Maybe[Amqps] = None
    https: Maybe[_Url] = None


class Certificates(_Part):
    prefixes: Annotated[tuple[_Line, ...], Field(max_length=20)] = ()


class KeyRecord(_Part):
    """The payload of one version of an authority's record. Members unknown to us stay in the signed bytes only."""

    address: Address
    version: Annotated[StrictInt, Field(ge=1, le=2**31)]
    previous: _Digest | None  #: SHA-256 of the payload of the version before; null for the first
    issued: Timestamp
    authority: Authority
    identity: Identity
    keys: Annotated[tuple[KeyEntry, ...], Field(max_length=200)]
    endpoints: Endpoints = Endpoints()
    certificates: Certificates = Certificates()
    policy: Maybe[Policy] = None
    testing: Testing = None  #: nothing that this authority says under these keys is real

    _entries: dict[str, KeyEntry] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.version == 1) != (self.previous is None):
            raise ValueError("the first version, and no other, has no previous one")
        self._entries.update({entry.key.kid: entry for entry in self.keys})
        return self

    @property
    def fingerprint(self) -> str:
        """What is compared by voice or paper: address, identity keys and threshold, not the keys of the day."""
        kids = sorted(key.kid for key in self.identity.keys)
        said = {"address": self.address, "identity": kids, "threshold": self.identity.threshold}
        return keys.fingerprint(strictjson.dumps(said))

    @property
    def kids(self) -> frozenset[str]:
        """Thumbprints of every key named, identity keys included."""
        return frozenset(self._entries) | {key.kid for key in self.identity.keys}

    def entry(self, kid: str) -> KeyEntry | None:
        """The working key of that thumbprint, whatever its state."""
        return self._entries.get(kid)

    def publish(self, practice: Practice) -> None:
        """Have `practice` go by what this version says of its authority."""
        practice.publish(self.address, self.policy, testing=self.testing is True)

    def key_for(self, kid: str, use: Use, at: datetime) -> PublicKey:
        """Return the key if it may be used so at that time, by this version alone. See :func:`key_for`."""
        return key_for([self], kid, use, at)


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """A record that agrees with itself, with its exact bytes. Comes from :func:`open_record` and :func:`open_next`."""

    record: KeyRecord
    raw: bytes
    digest: str  #: lower-case hex SHA-256 of the payload, what the next version calls `previous`


def issue(fields: Mapping[str, Any], identity: Sequence[Signer], holders: Sequence[Signer] = ()) -> bytes:
    """Return a new record, signed by ``identity``; raise :class:`DraftError` if nobody would accept it.

    ``fields`` is the payload as JSON values. ``identity`` may be left out of it: then all identity signers are its keys
    and all must sign. Key entries without ``proof`` get one from the signer among ``holders`` that has their key;
    entries of an earlier version bring theirs along.
    """
    payload = dict(fields)
    payload.setdefault("previous", None)
    payload.setdefault(
        "identity", {"keys": [signer.public.jwk for signer in identity], "threshold": len(identity)}
    )
    signers = {signer.public.kid: signer for signer in holders}
    try:
        entries = []
        for entry in payload.get("keys", ()):
            signer = None if "proof" in entry else signers.get(PublicKey.from_jwk(entry.get("jwk")).kid)
            proof = {} if signer is None else {"proof": possession(payload["address"], entry["use"], signer)}
            entries.append({"status": "active", **entry, **proof})
        raw = jws.sign(strictjson.dumps({**payload, "keys": entries}), jws.KEY_RECORD, identity)
        open_record(raw)
    except RefusedError as error:
        raise DraftError([Problem(error.code, error.text, error.pointer)]) from error
    return raw


def possession(address: str, use: Use, signer: Signer) -> dict[str, Any]:
    """Return the proof that whoever holds this key wants it registered for this address and use."""
    claim = {"address": address, "kid": signer.public.kid, "use": use}
    proof = strictjson.loads(jws.sign(strictjson.dumps(claim), jws.POSSESSION, [signer]))
    assert isinstance(proof, dict)
    return proof


def open_record(raw: bytes) -> VerifiedRecord:
    """Return a record that is signed by its own identity and whose every key proves possession.

    Signatures by other keys are left aside, uncounted: after a change of identity a record also bears those of the
    identity before, which who begins with this version cannot check (:func:`open_next` does, and takes no strangers).
    """
    record, digest, headers = _read(raw)
    own = {key.kid for key in record.identity.keys}
    whole = strictjson.loads(raw, max_bytes=jws.MAX_BYTES)
    whole["signatures"] = [
        member for member, header in zip(whole["signatures"], headers, strict=True) if header.kid in own
    ]
    if not whole["signatures"]:
        raise UntrustedKeyError("key-threshold", "not signed by its own identity at all", "/identity")
    signed_by = _identity_signatures(strictjson.dumps(whole), record.identity.keys)
    _reach(record.identity, signed_by, "its own identity")
    _check_keys(record)
    return VerifiedRecord(record, raw, digest)


def open_next(previous: VerifiedRecord, raw: bytes) -> VerifiedRecord:
    """Return the version that follows ``previous``; it has to satisfy the old identity and the new one."""
    record, digest, _ = _read(raw)
    before = previous.record
    if record.address != before.address:
        raise UntrustedKeyError("key-chain", "the next version is another authority's", "/address")
    if record.version != before.version + 1:
        raise UntrustedKeyError(
            "key-chain", f"version {record.version} cannot follow {before.version}", "/version"
        )
    if record.previous != previous.digest:
        raise UntrustedKeyError("key-chain", "does not name the version we hold as its previous", "/previous")
    if record.testing != before.testing:
        # What was signed for a test could be shown as real afterwards, and the reverse.
        raise UntrustedKeyError(
            "key-chain",
            "a test node and a real one cannot follow each other; begin with new keys",
            "/testing",
        )
    signed_by = _identity_signatures(raw, before.identity.keys + record.identity.keys)
    _reach(before.identity, signed_by, "the identity of the version before")
    _reach(record.identity, signed_by, "its own identity")
    _check_keys(record)
    for index, entry in enumerate(record.keys):
        old = before.entry(entry.key.kid)
        if old is not None and old.use != entry.use:
            raise UntrustedKeyError("key-chain", "a key cannot change its use", f"/keys/{index}/use")
        if old is not None and old.status == "compromised" and entry.status != "compromised":
            raise UntrustedKeyError(
                "key-chain", "a compromised key cannot come back", f"/keys/{index}/status"
            )
    return VerifiedRecord(record, raw, digest)


def check_foreign(records: Iterable[KeyRecord], candidate: KeyRecord) -> None:
    """Raise ``key-foreign`` if ``candidate`` names a key that another address among ``records`` has or had."""
    for record in records:
        if record.address != candidate.address and not record.kids.isdisjoint(candidate.kids):
            raise UntrustedKeyError(
                "key-foreign", f"a key in this record already belongs to {record.address}"
            )


def key_for(records: Sequence[KeyRecord], kid: str, use: Use, at: datetime) -> PublicKey:
    """Return the key that ``kid`` names, if the authority's records (newest last) let it be used so at that time.

    The newest version that names a key decides. A key that a later version no longer names counts as retired when that
    version was issued. Compromised is for ever, whichever version said so. Raises :class:`UntrustedKeyError`.
    """
    deciding: KeyEntry | None = None
    dropped: datetime | None = None
    for index in range(len(records) - 1, -1, -1):
        entry = records[index].entry(kid)
        if entry is None:
            continue
        if entry.status == "compromised":
            raise UntrustedKeyError("key-compromised", "the key's owner has declared it compromised")
        if deciding is None:
            deciding = entry
            dropped = records[index + 1].issued if index + 1 < len(records) else None
    if deciding is None:
        raise UntrustedKeyError("key-unknown", "no key of this authority has that thumbprint")
    if deciding.use != use:
        raise UntrustedKeyError("key-use", f"a {deciding.use} key was used as a {use} key")
    if at < deciding.valid_from - CLOCK_SKEW:
        raise UntrustedKeyError("key-not-yet", "the key is not valid yet")
    if deciding.valid_until is not None and at > deciding.valid_until + CLOCK_SKEW:
        raise UntrustedKeyError("key-expired", "the key is no longer valid")
    retired = deciding.since if deciding.status == "retired" else dropped
    if retired is not None and at > retired + RETIRED_GRACE:
        raise UntrustedKeyError("key-retired", f"the key was retired more than {RETIRED_GRACE.days} days ago")
    return deciding.key


def _read(raw: bytes) -> tuple[KeyRecord, str, tuple[jws.Header, ...]]:
    """Parse without trust: the identity keys that will verify a record stand in the record itself."""
    parsed = jws.peek(raw, max_signatures=MAX_SIGNATURES)
    payload = parsed.unverified_payload
    try:
        record = KeyRecord.model_validate(strictjson.loads(payload))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        pointer = "".join(f"/{step}" for step in first["loc"])
        raise MalformedError("record-field", f"key record: {first['msg']}", pointer) from None
    return record, hashlib.sha256(payload).hexdigest(), parsed.unverified_headers


def _identity_signatures(raw: bytes, identity: Iterable[PublicKey]) -> frozenset[str]:
    known = {key.kid: key for key in identity}

    def key_of(kid: str) -> PublicKey:
        if kid not in known:
            raise UntrustedKeyError(
                "key-unknown", "signed by a key that is no identity key of this authority"
            )
        return known[kid]

    signed = jws.verify(raw, typ=jws.KEY_RECORD, key_of=key_of, max_signatures=MAX_SIGNATURES)
    return frozenset(signed.kids)


def _reach(identity: Identity, signed_by: frozenset[str], whose: str) -> None:
    count = len(signed_by & {key.kid for key in identity.keys})
    if count < identity.threshold:
        raise UntrustedKeyError(
            "key-threshold", f"{count} signature(s) of {whose}, {identity.threshold} needed", "/identity"
        )


def _check_keys(record: KeyRecord) -> None:
    if len(record.kids) != len(record.identity.keys) + len(record.keys):
        raise UntrustedKeyError(
            "key-duplicate", "one key is named twice, or is both identity and working key"
        )
    for index, entry in enumerate(record.keys):
        pointer = f"/keys/{index}/proof"
        own = {entry.key.kid: entry.key}
        try:
            proved = jws.verify(strictjson.dumps(entry.proof), typ=jws.POSSESSION, key_of=own.__getitem__)
            claim = strictjson.loads(proved.payload)
        except (RefusedError, KeyError):
            raise UntrustedKeyError("key-proof", "the proof of possession does not hold", pointer) from None
        if claim != {"address": record.address, "kid": entry.key.kid, "use": entry.use}:
            raise UntrustedKeyError("key-proof", "the proof is for another address, key or use", pointer)
