"""Grants: what an authority hands a partner so that the partner can deliver to it (K10 of protocol/keys.md).

A grant names our broker and our virtual host for that partner there, and carries the client certificate that we issued for
the partner's transport key and the CA certificate by which it recognises our broker; and, where we take part in it, our address
for direct HTTPS. It is a JWS (`kp-grant+jws`) by our node key, for one holder. It holds no secret: the certificate is of no use without
the holder's private key. A new one may be made at any time and replaces the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from kpmsg import jws, strictjson
from kpmsg.documents.vocabulary import Address, Timestamp
from kpmsg.errors import MalformedError, MisaddressedError, SignatureError, UntrustedKeyError
from kpmsg.keyrecord import CLOCK_SKEW, MAX_SIGNATURES, KeyRecord
from kpmsg.keys import PublicKey
from kpmsg.verification import open_statement
from kpnode.broker import vhost_of
from kpnode.home import Home
from kpnode.pki import CertificateAuthority
from kpnode.settings import Settings
from kpnode.setup import WorkingKeys

Reach = tuple[str, Mapping[str, Any]]  # transport, and how to reach the partner by it


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Amqps(_Part):
    host: str
    port: int
    vhost: str
    certificate: str | None  #: PEM; null on a loopback broker without TLS
    trusted: str | None  #: PEM


class _Https(_Part):
    url: str
    trusted: str | None  #: PEM; null for the public authorities


class _Payload(_Part):
    issuer: Address
    holder: Address
    issued: Timestamp
    amqps: _Amqps | None = None
    https: _Https | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A verified grant. `ways`: the transports that it offers, the preferred one first."""

    issuer: str
    issued: datetime
    ways: Mapping[str, Mapping[str, Any]]

    def reach(self, transport: str | None) -> Reach:
        """The way to store. Raises ValueError if `transport` (or anything at all) is not offered."""
        if not self.ways or (transport is not None and transport not in self.ways):
            offered = " and ".join(self.ways) or "nothing"
            raise ValueError(f"the grant of {self.issuer} offers {offered}")
        chosen = transport or next(iter(self.ways))
        return chosen, self.ways[chosen]


def transport_key(record: KeyRecord, at: datetime) -> PublicKey:
    """The newest transport key of a partner that is in force. Raises UntrustedKeyError."""
    found = [
        entry
        for entry in record.keys
        if entry.use == "transport" and entry.status == "active" and entry.valid_from <= at + CLOCK_SKEW
    ]
    if not found:
        raise UntrustedKeyError(
            "key-unknown", f"the key record of {record.address} has no transport key in force"
        )
    return record.key_for(max(found, key=lambda entry: entry.valid_from).key.kid, "transport", at)


def make(
    settings: Settings, keys: WorkingKeys, ca: CertificateAuthority, holder: KeyRecord, now: datetime
) -> bytes:
    """The grant for one partner. Raises UntrustedKeyError, PkiError; ValueError if we cannot be reached at all."""
    offered: dict[str, Any] = {}
    public = settings.public.broker
    if settings.broker is not None and public is not None:
        bare = settings.broker.plaintext_on_loopback_only
        certificate = (
            None if bare else ca.client_certificate(holder.address, transport_key(holder, now), now).decode()
        )
        offered["amqps"] = {
            "host": public[0],
            "port": public[1],
            "vhost": vhost_of(holder.address),
            "certificate": certificate,
            "trusted": None if bare else Home(settings.home).ca_certificate.read_text(),
        }
    if settings.exchange_https and settings.public.https is not None:
        trusted = settings.api.ca.read_text() if settings.api.ca else None
        offered["https"] = {"url": settings.public.https, "trusted": trusted}
    if not offered:
        raise ValueError("the settings name neither public.amqps nor (with exchange_https) public.https")
    issued = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    payload = {"issuer": settings.address, "holder": holder.address, "issued": issued, **offered}
    return jws.sign(strictjson.dumps(payload), jws.GRANT, [keys.node])


def read_parties(raw: bytes) -> tuple[str, str]:
    """Whose grant this says it is, and for whom; not yet believed. Raises ValueError for a key record."""
    signed = jws.peek(raw, max_signatures=MAX_SIGNATURES)
    if signed.unverified_headers[0].typ == jws.KEY_RECORD:
        raise ValueError("this is a key record, no grant: `kpnode partner add` takes it")
    named = _parse(signed.unverified_payload)
    return named.issuer, named.holder


def open_grant(raw: bytes, *, issuer: Sequence[KeyRecord], own: str, now: datetime) -> Grant:
    """Raises RefusedError unless a node key of the partner signed this for us."""
    payload = _parse(open_statement(raw, jws.GRANT, issuer, now))
    if payload.issuer != issuer[-1].address:
        raise MisaddressedError(
            "address-from", "the grant is signed by another authority than it names", "/issuer"
        )
    if payload.holder != own:
        raise MisaddressedError("address-to", f"the grant is for {payload.holder}", "/holder")
    if payload.issued > now + timedelta(minutes=15):
        raise SignatureError(
            "sig-stale", "the grant is from the future; one of the clocks is wrong", "/issued"
        )
    ways: dict[str, Mapping[str, Any]] = {}
    if payload.amqps is not None:
        if payload.amqps.vhost != vhost_of(own):
            raise MalformedError(
                "record-field", "the grant names another virtual host than ours", "/amqps/vhost"
            )
        ways["amqp"] = payload.amqps.model_dump()
    if payload.https is not None:
        ways["https"] = payload.https.model_dump()
    return Grant(payload.issuer, payload.issued, ways)


def _parse(payload: bytes) -> _Payload:
    try:
        return _Payload.model_validate(strictjson.loads(payload))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        pointer = "".join(f"/{step}" for step in first["loc"])
        raise MalformedError("record-field", f"grant: {first['msg']}", pointer) from None
