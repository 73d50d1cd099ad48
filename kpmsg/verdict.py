"""Is this file what it claims to be? The answer of whoever has nothing but files: an auditor, a court, a partner's help desk.

`judge` takes one signed file and key records in any order and says one of three things: *verified*, *refused* with a code, or
*undecided* because what was given does not suffice. It is the same verification that a node does (`kpmsg.verification`), wrapped in
what a node knows by itself: which record belongs to whom, which version follows which, and whether anybody ever compared a fingerprint.

It knows no files, no clock and no screen. What it does not know either: whether the document is *right*, and whether the key records
that it was given are the newest ones there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from kpmsg import frames, jws, strictjson
from kpmsg.errors import MalformedError, RefusedError, UntrustedKeyError
from kpmsg.keyrecord import MAX_SIGNATURES, VerifiedRecord, open_next, open_record
from kpmsg.keys import same_fingerprint
from kpmsg.verification import open_document, open_statement

Standing = Literal["verified", "refused", "undecided"]

_FORMS: Final[dict[str, type[frames.Receipt | frames.Refusal | frames.Status | frames.Page]]] = {
    jws.RECEIPT: frames.Receipt,
    jws.REFUSAL: frames.Refusal,
    jws.STATUS: frames.Status,
    jws.PAGE: frames.Page,
}
_ANOTHER_DAY: Final = frozenset({"key-expired", "key-retired", "key-not-yet"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said about one file. Only where `standing` is ``verified`` is anything but `code` and `text` to be believed."""

    standing: Standing
    code: str
    text: str
    at: datetime  #: the moment for which the keys were judged
    kind: str = "file"
    signer: str | None = None  #: address of the authority whose record was used
    recipient: str | None = None
    kids: tuple[str, ...] = ()
    id: str | None = None  #: of a document
    dated: str | None = None  #: when it was made, by the signer's own clock
    record: VerifiedRecord | None = None  #: the newest version that was used
    compared: bool = False  #: a fingerprint that came by another way is that of the records

    def members(self) -> dict[str, Any]:
        """For JSON."""
        record = self.record
        return {
            "standing": self.standing,
            "code": self.code,
            "text": self.text,
            "kind": self.kind,
            "signer": self.signer,
            "recipient": self.recipient,
            "kids": list(self.kids),
            "id": self.id,
            "dated": self.dated,
            "at": self.at.isoformat(),
            "record": None
            if record is None
            else {"version": record.record.version, "fingerprint": record.record.fingerprint},
            "fingerprint_compared": self.compared,
        } | ({"testing": True} if record is not None and record.record.testing else {})


class _Undecided(Exception):
    """What was given does not suffice; arguments: code and text."""


def judge(raw: bytes, records: Sequence[bytes], *, fingerprint: str | None, at: datetime) -> Verdict:
    """Judge a signed document, statement, grant or key record. Never raises, whatever the bytes are.

    `records`: key records, of any authorities, in any order; all versions of the signer's that are at hand belong in there.
    `fingerprint`: the signer's, as it came by another way than the records. `at`: when the keys have to have been valid, e.g. the
    moment at which the file is known to have existed.
    """
    verdict = Verdict("undecided", "", "", at)
    try:
        parsed = jws.peek(raw, max_signatures=MAX_SIGNATURES)
        typ = parsed.unverified_headers[0].typ
        verdict = replace(
            verdict,
            kind=typ.removeprefix("kp-").removesuffix("+jws").replace("-", " "),
            kids=tuple(header.kid for header in parsed.unverified_headers),
        )
        claims = strictjson.loads(parsed.unverified_payload)
        if not isinstance(claims, Mapping):
            raise MalformedError("document-type", "the payload is not an object", "")
        verdict = replace(verdict, dated=_dated(claims))
        if typ == jws.KEY_RECORD:
            return _key_record(verdict, raw, records, fingerprint)
        if typ == jws.POSSESSION:
            raise _Undecided("file-kind", "a proof of possession means something inside a key record only")
        signer, recipient = _parties(typ, claims)
        verdict = replace(verdict, signer=signer, recipient=recipient)
        chain = _chain(_of(signer, records))
        if not chain:
            raise _Undecided("record-missing", f"none of the given key records is that of {signer}")
        verdict = _compared(replace(verdict, record=chain[-1]), chain, fingerprint)
        return _signed(verdict, raw, typ, chain)
    except _Undecided as reason:
        code, text = reason.args
        return replace(verdict, standing="undecided", code=code, text=text)
    except RefusedError as error:
        hint = (
            "; if it is known from elsewhere when it existed, judge it as of then"
            if error.code in _ANOTHER_DAY
            else ""
        )
        return replace(verdict, standing="refused", code=error.code, text=error.text + hint)


def _signed(verdict: Verdict, raw: bytes, typ: str, chain: Sequence[VerifiedRecord]) -> Verdict:
    """Everything but a key record, by a signer whose records hold."""
    assert verdict.signer is not None
    sender = [version.record for version in chain]
    if typ == jws.DOCUMENT:
        opened = open_document(
            raw, sender=sender, source=verdict.signer, recipient=verdict.recipient or "", now=verdict.at
        )
        return replace(verdict, standing="verified", code="ok", text="every signature holds", id=opened.id)
    payload = open_statement(raw, typ, sender, verdict.at)
    if typ in _FORMS:
        _FORMS[typ].read(payload)
    return replace(verdict, standing="verified", code="ok", text="every signature holds")


def _key_record(verdict: Verdict, raw: bytes, records: Sequence[bytes], fingerprint: str | None) -> Verdict:
    """A record is judged by itself and by the versions before it, if there are any at hand."""
    candidate = open_record(raw)
    address = candidate.record.address
    verdict = replace(verdict, signer=address, record=candidate)
    earlier = [
        version
        for version in _of(address, records)
        if version.record.version < candidate.record.version or version.digest == candidate.digest
    ]
    chain = _chain([*earlier, candidate])
    verdict = _compared(verdict, chain, fingerprint)
    text = (
        f"it agrees with itself and follows version {chain[-2].record.version}"
        if len(chain) > 1
        else "it agrees with itself"
    )
    return replace(verdict, standing="verified", code="ok", text=text)


def _parties(typ: str, claims: Mapping[str, Any]) -> tuple[str, str]:
    """Who the file says that it is from and for; not yet believed."""
    names = {jws.DOCUMENT: ("source", "recipient"), jws.GRANT: ("issuer", "holder")}.get(typ, ("from", "to"))
    signer, recipient = (claims.get(name) for name in names)
    if not isinstance(signer, str) or not isinstance(recipient, str):
        raise MalformedError(
            "document-missing", f"does not say {names[0]} whom to whom it goes", f"/{names[0]}"
        )
    return signer, recipient


def _dated(claims: Mapping[str, Any]) -> str | None:
    found = (claims.get(name) for name in ("time", "at", "issued"))
    return next((text for text in found if isinstance(text, str)), None)


def _of(address: str, records: Sequence[bytes]) -> list[VerifiedRecord]:
    """Those records that are the authority's, each agreeing with itself."""
    found = []
    for number, raw in enumerate(records, 1):
        try:
            version = open_record(raw)
        except RefusedError as error:
            raise _Undecided(
                "record-unsound", f"key record {number} does not hold: {error.text} ({error.code})"
            ) from None
        if version.record.address == address:
            found.append(version)
    return found


def _chain(versions: Sequence[VerifiedRecord]) -> list[VerifiedRecord]:
    """The versions in order, each properly following the one before."""
    chain: list[VerifiedRecord] = []
    for version in sorted(versions, key=lambda one: one.record.version):
        if not chain:
            chain.append(version)
            continue
        last = chain[-1]
        if version.digest == last.digest:
            continue
        number, before = version.record.version, last.record.version
        if number == before:
            text = f"there are two different key records of {version.record.address} with version {number}; ask them which one is theirs"
            raise _Undecided("record-fork", text)
        if number > before + 1:
            raise _Undecided(
                "record-gap", f"version {before + 1} of the key record of {version.record.address} is missing"
            )
        try:
            chain.append(open_next(last, version.raw))
        except RefusedError as error:
            text = f"version {number} does not follow version {before}: {error.text} ({error.code})"
            raise _Undecided("record-chain", text) from None
    return chain


def _compared(verdict: Verdict, chain: Sequence[VerifiedRecord], fingerprint: str | None) -> Verdict:
    """One version's fingerprint speaks for all: later ones are signed by it, and earlier ones are named in it."""
    if fingerprint is None:
        return verdict
    if not any(same_fingerprint(fingerprint, version.record.fingerprint) for version in chain):
        actual = chain[-1].record.fingerprint
        raise UntrustedKeyError(
            "key-fingerprint", f"the key record is not the expected one: its fingerprint is {actual}"
        )
    return replace(verdict, compared=True)
