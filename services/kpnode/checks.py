"""`kpnode check`: everything about this node that can be judged without talking to anybody, all of it at once.

Each check yields findings with a result, a sentence on what was found, and one on what to do about it. The order is that in which an
operator would mend them. Nothing is changed. What needs the running node, a broker or a partner is `kpnode.doctor`'s.
"""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from kpmsg.errors import KeyFileError, RefusedError
from kpmsg.keys import SoftwareSigner
from kpmsg.policy import Policy
from kpnode import migrations, setup
from kpnode.home import Home
from kpnode.pki import PkiError, client_context, read_certificate
from kpnode.practice import contradictions
from kpnode.settings import Settings
from kpnode.setup import SetupError
from kpnode.store.condition import condition
from kpnode.store.database import StoreError
from kpnode.store.partners import PartnerRow
from kpnode.transports.loopback import is_loopback

Result = Literal["ok", "warn", "fail"]

SOON: Final = timedelta(days=30)
FREE_BYTES: Final = (
    200 * 1024**2,
    2 * 1024**3,
)  # below the first nothing works for long, below the second it is time


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    result: Result
    text: str
    remedy: str | None = None

    @property
    def told(self) -> dict[str, Any]:
        return asdict(self)


def good(name: str, text: str) -> Finding:
    return Finding(name, "ok", text)


async def check(settings: Settings, now: datetime | None = None) -> list[Finding]:
    """Every finding; "fail" where the node would not run, or not keep what it promises."""
    return await asyncio.to_thread(lambda: list(_all(settings, now or datetime.now(UTC))))


def _all(settings: Settings, now: datetime) -> Iterator[Finding]:
    home = Home(settings.home)
    if not home.path.is_dir():
        yield Finding("home", "fail", f"{home.path} does not exist.", "kpnode init")
        return
    yield from _permissions(home)
    yield from _keys(settings, home)
    yield from _record(settings, now)
    yield from _certificates(settings, home, now)
    yield from _endpoints(settings)
    yield from _database(settings, now)
    yield _disk(settings)


def _permissions(home: Home) -> Iterator[Finding]:
    private = [home.path, home.path / "keys", home.path / "ca", home.broker("server.key")]
    private += [*home.path.glob("keys/*.key"), home.ca_key]
    open_to_others = [path for path in private if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in open_to_others:
        yield Finding(
            "permissions", "fail", f"Others than the node's user may open {path}.", f"chmod go= {path}"
        )
    if not open_to_others:
        yield good("permissions", "Home and keys are for the node's user alone.")


def _keys(settings: Settings, home: Home) -> Iterator[Finding]:
    sound = True
    for use in setup.USES:
        try:
            SoftwareSigner.load(home.key(use), setup.secret(settings))
        except KeyFileError as error:
            sound = False
            remedy = (
                "Correct the passphrase in the settings."
                if error.code == "key-file-locked"
                else "kpnode init"
            )
            yield Finding("keys", "fail", f"{error.text}.", remedy)
    if sound:
        yield good("keys", "The document, node and transport keys open with the passphrase.")
    if home.key("identity").exists():
        yield Finding(
            "identity key",
            "warn",
            f"The identity key lies in {home.key('identity')}, within reach of whoever breaks in here.",
            "Take it, and a copy, to a safe place; only `kpnode record --new-version` needs it.",
        )


def _record(settings: Settings, now: datetime) -> Iterator[Finding]:
    try:
        records = setup.load_records(settings)
        setup.check_keys(settings, setup.load_keys(settings), records)
    except (SetupError, RefusedError) as error:
        yield Finding("key record", "fail", f"{error}.", "kpnode init, or kpnode record --new-version")
        return
    except KeyFileError:
        return  # said already
    newest = records[-1].record
    yield good(
        "key record", f"Version {newest.version} publishes the keys in use; fingerprint {newest.fingerprint}."
    )
    public, told = settings.public, newest.endpoints
    amqps = None if told.amqps is None else (told.amqps.host, told.amqps.port)
    if (public.broker, public.https, settings.name) != (amqps, told.https, newest.authority.name):
        yield Finding(
            "key record",
            "warn",
            "Name or endpoints in the settings are not those that our key record tells partners.",
            "kpnode record --new-version, and send it to every partner.",
        )
    yield from _policy(settings, newest.policy, now)
    if newest.issued > now + timedelta(minutes=5):
        yield Finding(
            "clock",
            "fail",
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, but our own key record is from {newest.issued:%Y-%m-%d %H:%M}.",
            "Set the clock and keep it right (NTP): partners refuse requests that are 15 minutes off.",
        )
    else:
        yield good("clock", f"The clock says {now:%Y-%m-%d %H:%M} UTC, after everything that we have signed.")


def _policy(settings: Settings, told: Policy | None, now: datetime) -> Iterator[Finding]:
    sound = True
    for contradiction in contradictions(settings.policy, settings.local, settings.address, now.date()):
        sound = False
        yield Finding("policy", "warn", f"{contradiction}.", "Correct [policy] or [local] in the settings.")
    if settings.policy != (told or Policy()):
        sound = False
        yield Finding(
            "policy",
            "warn",
            "[policy] in the settings is not what our key record tells partners; they go by the record, and so do we.",
            "kpnode record --new-version, and send it to every partner.",
        )
    if sound:
        yield good(
            "policy", "What is published is what the settings say, and nothing in it contradicts itself."
        )


def _certificates(settings: Settings, home: Home, now: datetime) -> Iterator[Finding]:
    files: list[tuple[str, Path, str]] = [
        ("our CA", home.ca_certificate, "A new CA means new grants for every partner.")
    ]
    if settings.broker is not None and not settings.broker.plaintext_on_loopback_only:
        renew = "kpnode init --renew-certificates"
        files += [
            ("our broker", home.broker("server.pem"), renew),
            ("our node", home.broker("node.pem"), renew),
        ]
    if settings.api.certificate is not None:
        files.append(("the API", settings.api.certificate, "Renew it where it came from."))
    for whose, path, remedy in files:
        try:
            certificate = read_certificate(path.read_bytes())
        except (OSError, PkiError) as error:
            yield Finding(
                "certificate", "fail", f"The certificate of {whose}, {path}: {error}.", "kpnode init"
            )
            continue
        yield expiry("certificate", whose, certificate.not_after, remedy, now)
        missing = (
            set(setup.broker_names(settings)) - set(certificate.names) if path.name == "server.pem" else None
        )
        if missing:
            names = ", ".join(sorted(missing))
            yield Finding("certificate", "fail", f"Our broker's certificate is not for {names}.", remedy)
    if settings.broker is not None and home.broker("node.pem").exists():
        yield from _own_certificate(settings, home)
    if settings.api.key is not None and not settings.api.key.is_file():
        yield Finding(
            "certificate", "fail", f"{settings.api.key} does not exist.", "Correct api.key in the settings."
        )


def _own_certificate(settings: Settings, home: Home) -> Iterator[Finding]:
    try:
        client_context(
            trusted=home.ca_certificate.read_bytes(),
            certificate=home.broker("node.pem").read_bytes(),
            key=home.key("transport"),
            passphrase=setup.secret(settings),
        )
    except (PkiError, OSError) as error:
        yield Finding("certificate", "fail", f"{error}", "kpnode init --renew-certificates")


def expiry(name: str, whose: str, until: datetime, remedy: str, now: datetime) -> Finding:
    """Whether a certificate is still good for a while."""
    days = (until - now).days
    if until <= now:
        return Finding(name, "fail", f"The certificate of {whose} expired on {until:%Y-%m-%d}.", remedy)
    if until - now < SOON:
        return Finding(name, "warn", f"The certificate of {whose} expires in {days} days.", remedy)
    return good(name, f"The certificate of {whose} is good for {days} days.")


def _endpoints(settings: Settings) -> Iterator[Finding]:
    name, public = "endpoints", settings.public
    if public.amqps is None and not (settings.exchange_https and public.https):
        yield Finding(
            name,
            "fail",
            "Partners have no way to reach us.",
            "Set public.amqps and [broker], or public.https and exchange_https.",
        )
    elif settings.exchange_https and public.https is None:
        yield Finding(
            name, "warn", "exchange_https is on, but public.https tells nobody where.", "Set public.https."
        )
    else:
        ways = ", ".join(filter(None, (public.amqps, public.https if settings.exchange_https else None)))
        yield good(name, f"Partners reach us at {ways}.")
    if not is_loopback(settings.api.host) and settings.api.certificate is None:
        yield Finding(
            name,
            "warn",
            f"The API listens on {settings.api.host} without TLS: API keys cross the network in the clear.",
            "Set api.certificate and api.key, or let a proxy on this host do TLS and listen on 127.0.0.1.",
        )
    if settings.broker is not None and settings.broker.plaintext_on_loopback_only:
        remedy = "Nothing, for a demonstration; never with a real partner."
        yield Finding(
            name, "warn", "The broker is spoken to without TLS (plaintext_on_loopback_only).", remedy
        )


def _database(settings: Settings, now: datetime) -> Iterator[Finding]:
    url = settings.database_url
    try:
        found, revision, head = condition(url), migrations.revision(url), migrations.HEAD
    except StoreError as error:
        yield Finding(
            "database", "fail", f"The database cannot be opened: {error}.", "Start it, or kpnode init."
        )
        return
    yield good("database", f"{found.kind} {found.version} answers.")
    if found.perilous:
        yield Finding(
            "durability",
            "fail",
            f"A power cut could take back what we have receipted: {', '.join(found.perilous)}.",
            "Set it back to the database's default; the node refuses to run like this.",
        )
    else:
        yield good(
            "durability", ", ".join(f"{name} = {value}" for name, value in found.settings.items()) + "."
        )
    if revision == head:
        yield good("schema", f"Revision {head}, that of this version.")
    elif revision is None or revision < head:
        yield Finding(
            "schema",
            "warn",
            f"Revision {revision or 'none'}; this version works with {head}.",
            "kpnode run does it.",
        )
    else:
        yield Finding("schema", "fail", f"Revision {revision} is of a newer kpnode.", "Install that version.")
    if found.owner not in (None, settings.address):
        yield Finding(
            "database", "fail", f"This is the database of {found.owner}.", "Correct database in the settings."
        )
    for row in found.partners:
        yield from partner_way(row, now)


def partner_way(row: PartnerRow, now: datetime) -> Iterator[Finding]:
    """Whether we hold what we need to reach one partner."""
    name = f"{row.address}: grant"
    if row.transport not in ("amqp", "https"):
        yield Finding(
            name,
            "warn",
            "No grant of theirs has been accepted yet.",
            "Ask them for it, then kpnode partner accept.",
        )
        return
    pem = row.connection.get("certificate")
    if pem is None:
        yield good(name, f"Reached over {row.transport}.")
        return
    until = read_certificate(pem.encode()).not_after
    yield expiry(name, f"ours that {row.address} issued", until, f"Ask {row.address} for a new grant.", now)


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.home).free
    text = f"{free / 1024**3:.1f} GiB are free where the home is."
    if free < FREE_BYTES[1]:
        result: Result = "fail" if free < FREE_BYTES[0] else "warn"
        return Finding(
            "disk",
            result,
            text,
            "Make room: on a full disk nothing is taken in and nothing can be submitted.",
        )
    return good("disk", text)
