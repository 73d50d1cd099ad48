"""`kpnode doctor`: everything between our clock and a partner's signed answer, in the order in which a message meets it.

First what `kpnode check` sees, then what has to be tried: the API, our own broker and its rights, and for each partner name, TCP, TLS, login,
the right to publish, and a test message there and back. The test message is a real `status?` through the partner's real queue, answered by a
`status` that its node signs: it proves delivery, verification and answer end to end, and enters no register, for no business document may
be made up. With the node running it is the node that asks; otherwise the node is put together for that moment without its API, and
sends no documents.

Nothing is mended here; each finding says what to do, and who.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from kpmsg import frames
from kpmsg.frames import StatusRequest
from kpmsg.register import NOTHING
from kpnode import setup
from kpnode.assembly import build, connector, own_broker, partner_broker
from kpnode.broker import ManagementApi, ManagementError, vhost_of
from kpnode.checks import Finding, check, expiry, good
from kpnode.control import ask
from kpnode.operator import Operator, in_words
from kpnode.peer import nonce
from kpnode.settings import Settings
from kpnode.store.condition import condition
from kpnode.store.database import StoreError
from kpnode.store.partners import PartnerRow
from kpnode.transports import Outcome
from kpnode.transports.amqp import Mailbox, why_lost
from kpnode.transports.loopback import is_loopback

TRY_SECONDS: Final = 5.0
#: The oldest release of each series with the fixes that a broker on the Internet needs.
SOUND: Final = {(3, 13): 19, (4, 0): 24, (4, 1): 15, (4, 2): 10, (4, 3): 5}

_REMEDIES: Final = {
    Outcome.UNROUTABLE: "The partner has to provision our place on its broker again (`kpnode partner add` there does).",
    Outcome.FORBIDDEN: "The partner has to look at our rights on its broker (`kpnode doctor` there names them).",
    Outcome.FULL: "The partner's node is not reading what we send; call them.",
    Outcome.AUTH: "The partner has to add us, or make us a new grant.",
    Outcome.TLS: "Ask the partner for a new grant and accept it; compare the clocks.",
    Outcome.UNREACHABLE: "Look at the partner's address, the firewalls between us, and whether its side is up.",
    Outcome.UNKNOWN: "Try again; if it stays so, the partner's side is overloaded or frozen.",
}


async def examine(settings: Settings, *, only: str | None = None, seconds: float = 15.0) -> list[Finding]:
    """Every finding; `only` one partner's, if it is named. Takes up to `seconds` for each partner that does not answer."""
    found = await check(settings)
    running = await ask(settings, "state")
    state: Mapping[str, Any] = running["result"] if running else {}
    if running:
        found.append(
            good("node", f"The node is running since {state['started_at']} (process {state['pid']}).")
        )
        found += await _api(settings)
    else:
        found.append(
            Finding("node", "warn", "The node is not running; nothing is sent or received.", "kpnode run")
        )
    try:
        rows = (await asyncio.to_thread(condition, settings.database_url)).partners
    except StoreError:
        return found  # said already
    chosen = [row for row in rows if only in (None, row.address)]
    if not chosen and only is not None:
        text = f"{only} is no partner of ours; `kpnode partner list` shows who is."
        found.append(Finding("partners", "fail", text, "Correct --partner."))
    elif not chosen:
        found.append(Finding("partners", "warn", "Nobody is a partner of ours.", "kpnode partner add"))
    found += _held(state)
    found += await _own_broker(settings, chosen, state)
    found += await _partners(settings, chosen, seconds, running=running is not None)
    return found


# --- our side ------------------------------------------------------------------------------------------------------------


async def _api(settings: Settings) -> list[Finding]:
    api = settings.api
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(api.host, api.host)  # noqa: S104 - not to listen there
    base = f"{'http' if api.certificate is None else 'https'}://{f'[{host}]' if ':' in host else host}:{api.port}"
    # Whether the certificate is right is for those who call it by its name; here we ask our own process.
    async with httpx.AsyncClient(verify=False, timeout=TRY_SECONDS, trust_env=False) as client:  # noqa: S501
        try:
            answer = await client.get(f"{base}/readyz")
            told = answer.json().get("checks", {})
        except (httpx.HTTPError, ValueError) as error:
            text = f"The API does not answer at {base}: {type(error).__name__}."
            return [Finding("API", "fail", text, "Look at the node's log.")]
    missing = [name for name, holds in told.items() if not holds]
    if missing:
        return [
            Finding("API", "fail", f"The API answers, but is not ready: {', '.join(missing)}.", "See below.")
        ]
    return [good("API", f"The API answers at {base} and is ready.")]


def _held(state: Mapping[str, Any]) -> list[Finding]:
    """Answers that a number is unknown, which wait until it is certain that this node has forgotten nothing."""
    held = state.get("answers_held", {})
    if not held.get("answers"):
        return []
    text = f"{held['answers']} answers that a number is unknown wait until it is certain that nothing issued was forgotten here."
    found = []
    if held["for"]:
        names = ", ".join(held["for"])
        remedy = "Reach them, or pause them (`kpnode partner pause`): then they are not waited for."
        found.append(
            Finding("answers", "warn", f"{text} These have not answered since the start: {names}.", remedy)
        )
    if held["asked"]:
        names = ", ".join(held["asked"])
        remedy = "Nothing, if that was a moment ago; else reach them."
        found.append(
            Finding("answers", "warn", f"{text} Those who asked have to answer once more: {names}.", remedy)
        )
    if not found:
        remedy = "Look at the open incidents: the database was put back."
        found.append(Finding("answers", "warn", text, remedy))
    return found


async def _own_broker(settings: Settings, rows: list[PartnerRow], state: Mapping[str, Any]) -> list[Finding]:
    own = settings.broker
    if own is None:
        return [good("own broker", "None is configured; partners reach us over HTTPS only.")]
    found: list[Finding] = []
    try:
        broker = own_broker(settings)
    except Exception as error:
        said = in_words(error)
        if said is None:
            raise
        return [Finding("own broker", "fail", said, "kpnode init")]
    for row in rows:
        name = f"{row.address}: our broker"
        try:
            mailbox = await Mailbox.open(broker, vhost_of(row.address), f"doctor {settings.address}")
            await mailbox.close()
        except Exception as error:  # noqa: BLE001 - every end of it is classified
            why = why_lost(error, broker)
            remedy = (
                "Start the broker; see its log."
                if why.outcome is Outcome.UNREACHABLE
                else "kpnode partner add, again."
            )
            found.append(Finding(name, "fail", why.detail, remedy))
        else:
            found.append(good(name, f"Our broker at {broker} lets us read what {row.address} sends."))
        inbox = state.get("inbox", {}).get(row.address)
        if inbox is not None and inbox["dead"]:
            text = f"{inbox['dead']} frames of theirs could not be taken in and lie in kp.dead."
            found.append(
                Finding(
                    name,
                    "warn",
                    text,
                    "Look at the node's log. Nothing is lost: they send it until it is receipted.",
                )
            )
    if own.management is None:
        text = "Without a management API neither its version nor the partners' rights can be looked at."
        return [*found, Finding("own broker", "warn", text, "Set [broker.management].")]
    api = own.management
    async with ManagementApi(api.url, api.user, api.password.get_secret_value()) as management:
        try:
            found.append(_version(await management.version(), plain=own.plaintext_on_loopback_only))
            for row in [] if own.plaintext_on_loopback_only else rows:
                faults = await management.faults(settings.address, row.address)
                name = f"{row.address}: rights"
                found += [Finding(name, "fail", fault, "kpnode partner add, again.") for fault in faults]
                if not faults:
                    found.append(
                        good(name, "Topology, rights and limits on our broker are as they should be.")
                    )
        except ManagementError as error:
            found.append(Finding("own broker", "warn", str(error), "Correct [broker.management]."))
    return found


def _version(version: str, *, plain: bool) -> Finding:
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    if len(numbers) < 3:
        return Finding(
            "own broker", "warn", f"It does not tell its version ({version!r}).", "Look which one runs."
        )
    series, patch = (numbers[0], numbers[1]), numbers[2]
    if series > max(SOUND) or patch >= SOUND.get(series, 1_000_000):
        return good("own broker", f"RabbitMQ {version}.")
    wanted = ", ".join(f"{major}.{minor}.{patch}" for (major, minor), patch in SOUND.items())
    text = f"RabbitMQ {version} lacks security fixes" + ("; it is on loopback only." if plain else ".")
    return Finding("own broker", "warn", text, f"Install one of {wanted} or later.")


# --- their side ------------------------------------------------------------------------------------------------------------


async def _partners(
    settings: Settings, rows: list[PartnerRow], seconds: float, *, running: bool
) -> list[Finding]:
    """All partners side by side: one that is away must not make the others wait."""
    if not rows:
        return []
    async with _prober(settings, running=running) as probe:

        async def one(row: PartnerRow) -> list[Finding]:
            found = await _way(settings, row)
            if not _failed(found):
                found.append(await _round_trip(probe, row.address, seconds))
            return found

        return [finding for found in await asyncio.gather(*map(one, rows)) for finding in found]


class _Prober:
    """Asks a partner for its signed status: through the running node, or by an operator of our own; `fault` if neither is to be had."""

    def __init__(self, settings: Settings, operator: Operator | None, fault: str | None = None) -> None:
        self._settings = settings
        self._operator = operator
        self.fault = fault

    async def __call__(self, address: str, seconds: float) -> dict[str, Any]:
        if self._operator is not None:
            return await self._operator.probe(address, seconds)
        answer = await ask(self._settings, "partner-probe", address=address, seconds=seconds)
        return answer["result"] if answer else {"answered": False, "seconds": seconds, "trouble": None}


@contextlib.asynccontextmanager
async def _prober(settings: Settings, *, running: bool) -> AsyncIterator[_Prober]:
    if running:
        yield _Prober(settings, None)
        return
    try:
        assembly = build(settings)
        await assembly.start(serve=False)
    except Exception as error:
        said = in_words(error)
        if said is None:
            raise
        yield _Prober(settings, None, said)
        return
    try:
        yield _Prober(settings, assembly.operator)
    finally:
        await assembly.stop()


async def _way(settings: Settings, row: PartnerRow) -> list[Finding]:
    """Name, TCP, TLS, login and right to publish, up to the first that fails."""
    reach, found = row.connection, list[Finding]()
    context: ssl.SSLContext | None = None
    if row.transport == "amqp":
        host, port = str(reach["host"]), int(reach["port"])
        try:
            context = partner_broker(settings, reach).tls
        except Exception as error:  # noqa: BLE001 - said in its own words
            return [Finding(f"{row.address}: grant", "fail", f"{error}", "Ask them for a new grant.")]
    elif row.transport == "https":
        parts = urlsplit(reach["url"])
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "https":
            trusted = reach.get("trusted")
            context = ssl.create_default_context(cadata=trusted) if trusted else ssl.create_default_context()
    else:
        return []  # `check` has said that there is no grant
    found.append(await _resolves(row.address, host, port))
    if not _failed(found):
        found += await _connects(row.address, host, port, context)
    if _failed(found):
        return found
    if row.transport == "https":
        found += await _clock(row.address, reach["url"], context)
    return [*found, await _publishes(settings, row)]


def _failed(found: list[Finding]) -> bool:
    return any(finding.result == "fail" for finding in found)


async def _resolves(address: str, host: str, port: int) -> Finding:
    name = f"{address}: name"
    try:
        async with asyncio.timeout(TRY_SECONDS):
            answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=0)
    except (OSError, TimeoutError):
        return Finding(
            name, "fail", f"{host} has no address.", "Look at our DNS, and whether the partner has moved."
        )
    addresses = sorted({str(answer[4][0]) for answer in answers})
    return good(name, f"{host} is {', '.join(addresses)}.")


async def _connects(address: str, host: str, port: int, context: ssl.SSLContext | None) -> list[Finding]:
    found = list[Finding]()
    try:
        async with asyncio.timeout(TRY_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        text = f"{host}:{port} does not accept a connection: {getattr(error, 'strerror', None) or 'no answer in time'}."
        return [Finding(f"{address}: TCP", "fail", text, _REMEDIES[Outcome.UNREACHABLE])]
    found.append(good(f"{address}: TCP", f"{host}:{port} accepts connections."))
    name = f"{address}: TLS"
    if context is None:
        return [*found, good(name, "Not used: it is this machine.")] if is_loopback(host) else found
    try:
        async with asyncio.timeout(TRY_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        text = f"We do not accept its certificate: {error.verify_message}."
        return [*found, Finding(name, "fail", text, _REMEDIES[Outcome.TLS])]
    except (OSError, TimeoutError) as error:
        text = f"No secure connection: {getattr(error, 'reason', None) or type(error).__name__}."
        return [*found, Finding(name, "fail", text, _REMEDIES[Outcome.TLS])]
    shown = writer.get_extra_info("peercert") or {}
    writer.transport.abort()
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    found.append(expiry(name, f"{address}'s side", until, f"Tell {address} to renew it.", datetime.now(UTC)))
    return found


async def _clock(address: str, url: str, context: ssl.SSLContext | None) -> list[Finding]:
    """The partner's web server tells its time; a stranger's clock is the one we can compare ours with."""
    name = f"{address}: clock"
    try:
        verify = True if context is None else context
        async with httpx.AsyncClient(verify=verify, timeout=TRY_SECONDS, trust_env=False) as client:
            said = (await client.get(f"{url.rstrip('/')}/healthz")).headers.get("date", "")
        theirs = datetime.strptime(said, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except (httpx.HTTPError, ValueError):
        return []
    off = abs(datetime.now(UTC) - theirs)
    if off > timedelta(minutes=2):
        text = f"Their clock and ours differ by {off.total_seconds() / 60:.0f} minutes."
        return [
            Finding(
                name, "warn" if off < timedelta(minutes=15) else "fail", text, "Whoever is wrong needs NTP."
            )
        ]
    return [good(name, "Their clock and ours agree.")]


async def _publishes(settings: Settings, row: PartnerRow) -> Finding:
    """Hand over a `status?` on a connection of our own. Nobody waits for its answer, which the node will not know and ignore."""
    name = f"{row.address}: handing over"
    link = connector(settings, setup.load_keys(settings))(row)
    try:
        question = frames.encode_request(
            StatusRequest(nonce(), 0, NOTHING, 0, NOTHING), settings.address, row.address
        )
        sent = await link.send(question)
    finally:
        await link.close()
    if sent.outcome is Outcome.ACCEPTED:
        did = {
            "amqp": "Logged in, and allowed to publish; their side took the message.",
            "https": "Accepted our signed request.",
        }
        return good(name, did[row.transport])
    return Finding(name, "fail", sent.detail, _REMEDIES[sent.outcome])


async def _round_trip(probe: _Prober, address: str, seconds: float) -> Finding:
    name = f"{address}: there and back"
    if probe.fault is not None:
        return Finding(name, "warn", f"Not tried: {probe.fault}.", "See above.")
    answer = await probe(address, seconds)
    if answer["answered"]:
        return good(
            name, f"Their node answered with its signature, {answer['seconds'] * 1000:.0f} ms after we asked."
        )
    trouble = answer["trouble"]
    if trouble is not None:
        outcome = Outcome(trouble["outcome"])
        return Finding(name, "fail", trouble["detail"], _REMEDIES.get(outcome, "Look at the node's log."))
    text = f"Handed over, but their node has not answered within {seconds:g} s."
    return Finding(
        name,
        "fail",
        text,
        f"Ask {address} whether its node runs, has accepted our grant, and reaches us: `kpnode doctor --partner` there.",
    )
