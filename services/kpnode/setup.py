"""How a node comes into being, and what it says about itself: keys, certificates, database, key records.

`initialise` makes what is missing and overwrites nothing, so it may be repeated after being interrupted anywhere. The identity
key is needed for records only: it may (and should) be taken elsewhere after `init`. This module refuses to know partners' decisions,
sockets and the running node: `kpnode.operator` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from kpmsg import strictjson
from kpmsg.errors import KeyFileError
from kpmsg.jws import peek
from kpmsg.keyrecord import MAX_SIGNATURES, KeyRecord, Use, VerifiedRecord, issue, open_next, open_record
from kpmsg.keys import SoftwareSigner
from kpnode import pki
from kpnode.author import rfc3339
from kpnode.home import Home, replace_file
from kpnode.pki import CertificateAuthority
from kpnode.practice import published
from kpnode.provisioning import write_broker_files
from kpnode.settings import Settings
from kpnode.store import numbers, partners
from kpnode.store.database import Database, StoreOwnedError

Algorithm = Literal["Ed25519", "ES256"]
USES: Final[tuple[Use, ...]] = get_args(Use)


class SetupError(Exception):
    """The home is not as it should be; the text says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class WorkingKeys:
    """The keys that the running node holds. The identity key is not among them."""

    document: SoftwareSigner
    node: SoftwareSigner
    transport: SoftwareSigner

    def of(self, use: Use) -> SoftwareSigner:
        return {"document": self.document, "node": self.node, "transport": self.transport}[use]


@dataclass(slots=True)
class Initialised:
    """What `initialise` found or made. `made` names what was not there before."""

    record: VerifiedRecord
    made: list[str] = field(default_factory=list)


def secret(settings: Settings) -> bytes:
    return settings.passphrase.get_secret_value().encode()


def load_keys(settings: Settings) -> WorkingKeys:
    """Raises KeyFileError."""
    home = Home(settings.home)
    return WorkingKeys(*(SoftwareSigner.load(home.key(use), secret(settings)) for use in USES))


def load_ca(settings: Settings) -> CertificateAuthority:
    """Raises PkiError."""
    home = Home(settings.home)
    return CertificateAuthority.load(home.ca_certificate, home.ca_key, secret(settings))


def load_records(settings: Settings) -> list[VerifiedRecord]:
    """Our own key record's versions from the home, each checked to follow the one before; none before `initialise`."""
    home, found = Home(settings.home), list[VerifiedRecord]()
    while (file := home.record(len(found) + 1)).is_file():
        raw = file.read_bytes().strip()
        found.append(open_next(found[-1], raw) if found else open_record(raw))
    return found


def check_keys(settings: Settings, keys: WorkingKeys, records: Sequence[VerifiedRecord]) -> None:
    """Raises SetupError unless the newest record is ours and publishes the keys that we hold."""
    if not records:
        raise SetupError("there is no key record yet; run `kpnode init`")
    newest = records[-1].record
    if newest.address != settings.address:
        raise SetupError(f"this home belongs to {newest.address}, but the settings say {settings.address}")
    if (newest.testing is True) != settings.testing:
        was, now = _WHAT[newest.testing is True], _WHAT[settings.testing]
        raise SetupError(
            f"this home was made for {was}, but the settings say that this is {now} (testing); "
            f"give {now} a home, keys and a database of its own"
        )
    for use in USES:
        entry = newest.entry(keys.of(use).public.kid)
        if entry is None or entry.use != use or entry.status != "active":
            raise SetupError(
                f"the {use} key in {settings.home / 'keys'} is not published; run `kpnode record --new-version`"
            )


def check_partner(settings: Settings, record: KeyRecord) -> None:
    """Raises SetupError unless both of us test, or neither does."""
    if (record.testing is True) != settings.testing:
        theirs, ours = _WHAT[record.testing is True], _WHAT[settings.testing]
        raise SetupError(
            f"the key record of {record.address} is for {theirs}, and we are for {ours}; the two are never mixed. "
            f"Ask {record.address} for its key record for {ours}"
        )


_WHAT: Final = {True: "TESTING", False: "real exchange"}


# --- making what is missing -------------------------------------------------------------------------------------------


async def initialise(
    settings: Settings,
    *,
    algorithm: Algorithm = "Ed25519",
    now: datetime | None = None,
    renew_certificates: bool = False,
) -> Initialised:
    """Make home, keys, CA, certificates, database and the first key record, as far as they are missing.

    `renew_certificates` issues the broker's and our own client certificate anew, over the same keys. Raises SetupError,
    KeyFileError, PkiError, StoreError (among them: the node is running).
    """
    now = now or datetime.now(UTC)
    home, made = Home(settings.home), list[str]()
    for directory in (
        home.path,
        *(home.path / name for name in ("keys", "ca", "broker", "records", "grants")),
    ):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_keys(settings, home, algorithm, made)
    _make_certificates(settings, home, now, made)
    records = load_records(settings)
    if not records:
        identity = SoftwareSigner.load(home.key("identity"), secret(settings))
        raw = next_record(settings, None, identity, load_keys(settings), now)
        records = [keep_record(settings, raw, None)]
        made.append("key record, version 1")
    check_keys(settings, load_keys(settings), records)
    made_database, addresses = await _make_database(settings, records, now)
    if made_database:
        made.append("database")
    if renew_certificates:  # not before it is known that no node is running
        _make_certificates(settings, home, now, made, renew=True)
    write_broker_files(settings, addresses)
    return Initialised(records[-1], made)


def _make_keys(settings: Settings, home: Home, algorithm: Algorithm, made: list[str]) -> None:
    published = bool(load_records(settings))
    names: tuple[Use | Literal["identity"], ...] = ("identity", *USES)
    for name in names:
        file = home.key(name)
        if file.exists() or (published and name == "identity"):  # it may have been taken to a safe place
            continue
        # P-256 for transport whatever the others are: every TLS stack has it.
        SoftwareSigner.generate("ES256" if name == "transport" else algorithm).save(file, secret(settings))
        made.append(f"{name} key")


def _make_certificates(
    settings: Settings, home: Home, now: datetime, made: list[str], *, renew: bool = False
) -> None:
    if not home.ca_certificate.exists():
        home.ca_key.unlink(missing_ok=True)  # a key whose certificate was never written has signed nothing
        CertificateAuthority.create(settings.address, now).save(
            home.ca_certificate, home.ca_key, secret(settings)
        )
        made.append("certificate authority")
    if settings.broker is None:
        return
    ca = load_ca(settings)
    server_key = home.broker("server.key")
    if not server_key.exists():
        pki.write_private(server_key, pki.new_private_key())
    transport = SoftwareSigner.load(home.key("transport"), secret(settings))
    issue_by: dict[str, tuple[str, Callable[[], bytes]]] = {
        "ca.pem": ("", lambda: ca.certificate),
        "server.pem": (
            "broker certificate",
            lambda: ca.server_certificate(server_key.read_bytes(), broker_names(settings), now),
        ),
        "node.pem": (
            "node's client certificate",
            lambda: ca.client_certificate(settings.address, transport.public, now),
        ),
    }
    for name, (called, make) in issue_by.items():
        if renew or not home.broker(name).exists():
            replace_file(home.broker(name), make())
            made += [called] if called else []


def broker_names(settings: Settings) -> list[str]:
    """The names our broker's certificate has to bear: as partners call it, and as our own node does."""
    public = settings.public.broker
    names = [public[0]] if public else []
    own = [settings.broker.host] if settings.broker else []
    return list(dict.fromkeys([*names, *own]))


async def _make_database(
    settings: Settings, records: Sequence[VerifiedRecord], now: datetime
) -> tuple[bool, list[str]]:
    from kpnode.migrations import migrate

    database = Database(settings.database_url)
    try:
        await database.start()
        made = migrate(settings.database_url)
        at = rfc3339(now)
        await database.write(lambda c: settle_owner(c, settings.address, records, at))
        return made, [row.address for row in await database.read(partners.partners)]
    except StoreOwnedError as error:
        raise SetupError(f"{error}; stop the node first") from None
    finally:
        await database.close()


def settle_owner(connection: Any, address: str, records: Sequence[VerifiedRecord], at: str) -> None:
    """Write down whose database this is, and what of our own records it lacks. Raises SetupError if it is another's."""
    owner = partners.owner(connection)
    if owner is None:
        partners.claim_for(connection, address, at)
    elif owner != address:
        raise SetupError(f"this database belongs to {owner}, but the settings say {address}")
    held = partners.records(connection).get(address, [])
    for mine, theirs in zip(records, held, strict=False):
        if mine.digest != theirs.digest:
            raise SetupError(
                "home and database hold different key records of ours; one of them is from elsewhere"
            )
    if len(held) > len(records):
        raise SetupError(
            f"the database holds version {len(held)} of our key record, the home only {len(records)}"
        )
    for record in records[len(held) :]:
        numbers.take_in(connection, address, record, at)


# --- our key record ----------------------------------------------------------------------------------------------------


def next_record(
    settings: Settings,
    previous: VerifiedRecord | None,
    identity: SoftwareSigner,
    keys: WorkingKeys,
    now: datetime,
    *,
    gone: str = "retired",
) -> bytes:
    """The record that says what the settings and the key files say today, as the version after `previous`.

    Keys that have gone from the home are published as `gone`: "retired" or "compromised". Raises DraftError; SetupError if it would say what `previous` says.
    """
    at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    current = {keys.of(use).public.kid: use for use in USES}
    entries: list[dict[str, Any]] = []
    payload: Mapping[str, Any] = {}
    if previous is not None:
        payload = strictjson.loads(peek(previous.raw, max_signatures=MAX_SIGNATURES).unverified_payload)
        for entry, read in zip(payload["keys"], previous.record.keys, strict=True):
            if read.key.kid not in current and read.status == "active":
                entries.append({**entry, "status": gone, "since": at})
            else:
                entries.append(entry)
                current.pop(read.key.kid, None)
    entries += [{"jwk": keys.of(use).public.jwk, "use": use, "valid_from": at} for use in current.values()]
    reached = settings.public.broker
    fields: dict[str, Any] = {
        "address": settings.address,
        "version": 1 if previous is None else previous.record.version + 1,
        "previous": None if previous is None else previous.digest,
        "issued": at,
        "authority": {"name": settings.name, "roles": list(settings.roles)}
        | ({"contact": settings.contact} if settings.contact else {}),
        "keys": entries,
        "endpoints": ({"amqps": {"host": reached[0], "port": reached[1]}} if reached else {})
        | ({"https": settings.public.https} if settings.public.https else {}),
        "certificates": {"prefixes": list(settings.certificate_prefixes)},
        "policy": published(settings.policy),
        "testing": settings.testing or None,
    }
    told = {name: value for name, value in fields.items() if name not in {"version", "previous", "issued"}}
    same_hand = payload.get("identity", {}).get("keys") == [identity.public.jwk]
    if previous is not None and same_hand and all(payload.get(name) == value for name, value in told.items()):
        raise SetupError(f"nothing has changed since version {previous.record.version} of our key record")
    said = {name: value for name, value in fields.items() if name == "previous" or value is not None}
    return issue(said, [identity], [keys.of(use) for use in USES])


def keep_record(settings: Settings, raw: bytes, previous: VerifiedRecord | None) -> VerifiedRecord:
    """Write a new version into the home, whole or not at all; a version that exists is never replaced."""
    record = open_record(raw) if previous is None else open_next(previous, raw)
    file = Home(settings.home).record(record.record.version)
    if file.exists():
        raise SetupError(f"{file} exists: this version has been published already")
    replace_file(file, raw + b"\n")
    return record


def rotate_key(settings: Settings, use: Use, records: Sequence[VerifiedRecord]) -> None:
    """Put a new key in the place of one; the old file stays beside it under the version that published it."""
    file = Home(settings.home).key(use)
    old = SoftwareSigner.load(file, secret(settings))
    aside = file.with_name(f"{use}-{records[-1].record.version}.key")
    if aside.exists():
        raise KeyFileError("key-file-exists", f"{aside} exists; keys are never overwritten")
    file.rename(aside)
    SoftwareSigner.generate(old.public.alg).save(file, secret(settings))
