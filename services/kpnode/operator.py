"""Everything an operator does about partners, keys and callers, done by whichever process owns the database.

A database has one writer. So while the node runs, the command line hands each of these verbs to it (`kpnode.control`), and the
partner is exchanged with at once; while it does not, the command line takes the database itself for that moment. The verbs are the same
object either way. They take and return JSON values only, and may all be repeated.

Decides what it takes for a partner to be let in: a record that agrees with itself, the fingerprint that came by another way, and no
key that anybody else has. Refuses to know how any of it is printed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from kpmsg.errors import DraftError, KpmsgError
from kpmsg.keyrecord import VerifiedRecord, check_foreign, open_next, open_record
from kpmsg.keys import same_fingerprint
from kpnode import grants, setup
from kpnode.apikeys import ApiKeyError, ApiKeys
from kpnode.author import rfc3339
from kpnode.home import Home, replace_file
from kpnode.node import Node
from kpnode.pki import PkiError
from kpnode.provisioning import provision, shut_out
from kpnode.settings import Settings
from kpnode.setup import SetupError
from kpnode.store import numbers, partners
from kpnode.store.database import Database, StoreError
from kpnode.store.numbers import ReadOtherwiseError
from kpnode.store.partners import PartnerRow
from kpnode.transports.amqp_inbox import AmqpInbox

UNREACHED: Final = "none"  # the transport of a partner whose grant we have not accepted yet


class OperatorError(Exception):
    """What was asked for cannot be done; the text says why and what to do."""


def in_words(error: Exception) -> str | None:
    """What to tell an operator about `error`; None if it is a fault of ours, which deserves its traceback."""
    match error:
        case DraftError():
            return "; ".join(problem.text for problem in error.problems)
        case KpmsgError():
            return f"{error.text} ({error.code})"
        case (
            OperatorError() | ApiKeyError() | SetupError() | PkiError() | StoreError() | ReadOtherwiseError()
        ):
            return str(error)
    return None


class Operator:
    """The verbs. `node` and `inbox` are those of the running node, or None."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        node: Node | None = None,
        inbox: AmqpInbox | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._database = database
        self._node = node
        self._inbox = inbox
        self._clock = clock
        self._keys = ApiKeys(database, clock)
        self._one_at_a_time = asyncio.Lock()
        self._verbs: dict[str, Callable[..., Awaitable[Any]]] = {
            "partner-add": self.add_partner,
            "partner-update": self.update_partner,
            "partner-accept": self.accept_grant,
            "partner-grant": self.grant,
            "partner-list": self.list_partners,
            "partner-pause": self.pause_partner,
            "partner-remove": self.remove_partner,
            "partner-override": self.override,
            "partner-probe": self.probe,
            "record-publish": self.publish_record,
            "apikey-add": self._keys.add,
            "apikey-list": self._keys.every,
            "apikey-revoke": self._keys.revoke,
            "state": self.state,
        }

    async def perform(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """Do one verb by its name. Raises OperatorError and whatever else `in_words` knows."""
        if verb not in self._verbs:
            raise OperatorError(f"there is no verb {verb!r}; is the running node of another version?")
        changes_something = verb not in {"partner-probe", "state"}
        async with self._one_at_a_time if changes_something else nullcontext():
            return await self._verbs[verb](**arguments)

    # -- partners ----------------------------------------------------------------------------------------------------------

    async def add_partner(self, record: str, fingerprint: str) -> dict[str, Any]:
        """Let a partner in. Adding it again goes on where it stopped; a newer record goes to `update_partner`."""
        candidate = open_record(record.strip().encode())
        address = candidate.record.address
        if address == self._settings.address:
            raise OperatorError("this is our own key record")
        setup.check_partner(self._settings, candidate.record)
        if not same_fingerprint(fingerprint, candidate.record.fingerprint):
            raise OperatorError(
                f"the fingerprint of this record is {candidate.record.fingerprint}, which is not what you typed. "
                "Do not go on: ask the partner, by telephone or on paper, which one is right"
            )
        everybody = await self._database.read(partners.records)
        check_foreign([v.record for versions in everybody.values() for v in versions], candidate.record)
        held = everybody.get(address, [])
        if held and candidate.digest not in {version.digest for version in held}:
            raise OperatorError(f"another record of {address} is known already; use `kpnode partner update`")
        row = await self._row(address, missing_is_fine=True)
        reach: grants.Reach = (row.transport, row.connection) if row else (UNREACHED, {})
        https = candidate.record.endpoints.https
        if row is None and self._settings.exchange_https and https is not None:
            reach = "https", {"url": https, "trusted": None}
        at, name = self._stamp(), candidate.record.authority.name

        def save(connection: Any) -> None:
            if not held:
                numbers.take_in(connection, self._settings.address, candidate, at)
            partners.save_partner(connection, address, name, *reach, at)

        await self._database.write(save)
        await self._attach(address)
        return await self._introduced(held[-1] if held else candidate)

    async def update_partner(self, record: str) -> dict[str, Any]:
        """Take in the next version of a partner's record, which its old identity has to have signed."""
        candidate = open_record(record.strip().encode())
        address, version = candidate.record.address, candidate.record.version
        row, everybody = await self._row(address), await self._database.read(partners.records)
        held = everybody[address]
        if candidate.digest in {known.digest for known in held}:
            raise OperatorError(f"we have version {version} of {address} already")
        newest = held[-1].record.version
        if version > newest + 1:
            raise OperatorError(
                f"we hold version {newest} of {address}; take in version {newest + 1} first: ask {address} for it"
            )
        following = open_next(held[-1], candidate.raw)
        check_foreign([v.record for versions in everybody.values() for v in versions], following.record)
        transport, connection = row.transport, dict(row.connection)
        if transport == "https" and following.record.endpoints.https is not None:
            connection["url"] = following.record.endpoints.https
        at, name = self._stamp(), following.record.authority.name
        reach = transport, connection
        await self._take_in(
            held[-1], following, lambda c: partners.save_partner(c, address, name, *reach, at)
        )
        await self._attach(address)
        return await self._introduced(following)

    async def _introduced(self, record: VerifiedRecord) -> dict[str, Any]:
        """The partner's place on our broker and its grant; what could not be done is said, and can be repeated."""
        address = record.record.address
        notes = await provision(self._settings, await self._addresses(), address)
        result: dict[str, Any] = {"address": address, "name": record.record.authority.name, "grant": None}
        result |= {"version": record.record.version, "fingerprint": record.record.fingerprint, "notes": notes}
        try:
            result |= await self.grant(address)
        except (OperatorError, PkiError, KpmsgError) as error:
            notes.append(f"No grant was made: {in_words(error)}.")
        return result

    async def grant(self, address: str) -> dict[str, Any]:
        """Make a new grant for a partner and leave it in the home."""
        records = await self._records(address)
        try:
            keys, ca = setup.load_keys(self._settings), setup.load_ca(self._settings)
            raw = grants.make(self._settings, keys, ca, records[-1].record, self._clock())
        except ValueError as error:
            raise OperatorError(str(error)) from None
        file = Home(self._settings.home).grant(address)
        replace_file(file, raw + b"\n")
        return {"address": address, "grant": raw.decode(), "grant_file": str(file)}

    async def accept_grant(self, grant: str, transport: str | None = None) -> dict[str, Any]:
        """Store how to reach a partner, from the grant that it made for us."""
        raw = grant.strip().encode()
        try:
            issuer, holder = grants.read_parties(raw)
        except ValueError as error:
            raise OperatorError(str(error)) from None
        if issuer == self._settings.address:
            raise OperatorError(f"this grant is ours, for {holder}: send it to them")
        row, records = await self._row(issuer), await self._records(issuer)
        opened = grants.open_grant(
            raw, issuer=[v.record for v in records], own=self._settings.address, now=self._clock()
        )
        try:
            chosen, reach = opened.reach(transport)
        except ValueError as error:
            raise OperatorError(str(error)) from None
        bare = self._settings.broker is not None and self._settings.broker.plaintext_on_loopback_only
        if chosen == "amqp" and (reach["certificate"] is None) != bare:
            raise OperatorError(
                "one side speaks AMQP without TLS (plaintext_on_loopback_only), the other does not"
            )
        at = self._stamp()
        await self._database.write(lambda c: partners.save_partner(c, issuer, row.name, chosen, reach, at))
        await self._attach(issuer)
        return {
            "address": issuer,
            "transport": chosen,
            "to": reach.get("url") or f"{reach['host']}:{reach['port']}",
        }

    async def list_partners(self) -> list[dict[str, Any]]:
        """Every partner with what is known of it."""
        everybody = await self._database.read(partners.records)
        found = []
        for row in await self._database.read(partners.partners):
            newest = everybody[row.address][-1].record
            reach = {name: row.connection[name] for name in ("host", "port", "url") if name in row.connection}
            told: dict[str, Any] = {
                "address": row.address,
                "name": row.name,
                "transport": row.transport,
                "reach": reach,
            }
            told |= {name: getattr(row, name) for name in ("added_at", "paused_at", "paused_because")}
            told |= {"version": newest.version, "fingerprint": newest.fingerprint}
            told |= {"roles": newest.authority.roles}
            told |= {"contact": newest.authority.contact, "link": self._link_state(row.address)}
            found.append(told)
        return found

    async def pause_partner(self, address: str, because: str | None) -> dict[str, Any]:
        """Hold documents back (with a reason), or let them go again (None)."""
        await self._row(address)
        if self._node is not None:
            await self._node.pause(address, because)
        else:
            at = self._stamp()
            await self._database.write(lambda c: partners.pause_partner(c, address, because, at))
        return {"address": address, "paused_because": because}

    async def remove_partner(self, address: str) -> dict[str, Any]:
        """Stop exchanging, and withdraw the partner's access to our broker at once. What was exchanged stays.

        May be repeated: if we died, or the broker did not answer, the access is withdrawn by the next time.
        """
        known = await self._database.read(partners.records)
        if address == self._settings.address or address not in known:
            await self._row(address)  # says so
        at = self._stamp()
        await self._database.write(lambda c: partners.remove_partner(c, address, at))
        if self._inbox is not None:
            await self._inbox.remove(address)
        if self._node is not None:
            await self._node.detach(address)
        return {"address": address, "notes": await shut_out(self._settings, await self._addresses(), address)}

    async def override(self, address: str, because: str) -> dict[str, Any]:
        """R10: send to a partner that has not answered since the start."""
        await self._row(address)
        if self._node is None:
            raise OperatorError("the node is not running")
        await self._node.override(address, because)
        return {"address": address, "because": because}

    async def probe(self, address: str, seconds: float) -> dict[str, Any]:
        """Ask a partner for its signed status, by the same way that documents take, and wait for the answer."""
        await self._row(address)
        if self._node is None:
            raise OperatorError("the node is not running")
        peer, asked = self._node.peers[address], time.monotonic()
        self._node.retry(address)
        while time.monotonic() < asked + seconds:
            if peer.answered_at is not None and peer.answered_at > asked:
                return {"answered": True, "seconds": round(peer.answered_at - asked, 3), "trouble": None}
            await asyncio.sleep(0.01)
        state = self._link_state(address) or {}
        return {"answered": False, "seconds": seconds, "trouble": state.get("trouble")}

    # -- ourselves -----------------------------------------------------------------------------------------------------------

    async def publish_record(self, record: str) -> dict[str, Any]:
        """Take in the next version of our own record, signed by the identity keys elsewhere, and keep it in the home."""
        held = await self._records(self._settings.address)
        following = open_next(held[-1], record.strip().encode())
        if following.record.address != self._settings.address:
            raise OperatorError("this is not our own key record")
        others = await self._database.read(partners.records)
        check_foreign([v.record for versions in others.values() for v in versions], following.record)
        file = Home(self._settings.home).record(following.record.version)
        restart = False

        def keep(_: Any) -> None:
            # The file before the commit: if we die between the two, the next start copies it into the database.
            if not file.exists():
                setup.keep_record(self._settings, following.raw, held[-1])

        await self._take_in(held[-1], following, keep)
        if self._node is not None:
            identity = self._node.identity
            self._node.identity = replace(identity, records=[*identity.records, following.record])
            in_use = {identity.node_signer.public.kid, *(s.public.kid for s in identity.document_signers)}
            restart = not in_use <= {e.key.kid for e in following.record.keys if e.status == "active"}
        return {"version": following.record.version, "restart": restart, "file": str(file)}

    async def state(self) -> dict[str, Any]:
        """What the running node knows of itself; `running` false if this is not it."""
        node = self._node
        if node is None:
            return {"running": False}
        told: dict[str, Any] = {
            "running": True,
            "pid": os.getpid(),
            "address": node.address,
            "started_at": rfc3339(node.started_at),
        }
        told["links"] = {address: self._link_state(address) for address in node.peers}
        told["answers_held"] = node.answering.state()
        told["inbox"] = {}
        for address, inbox in (self._inbox.states if self._inbox else {}).items():
            error = None if inbox.error is None else inbox.error.detail
            told["inbox"][address] = asdict(inbox) | {
                "error": error,
                "since": inbox.since and rfc3339(inbox.since),
            }
        return told

    def _link_state(self, address: str) -> dict[str, Any] | None:
        peer = None if self._node is None else self._node.peers.get(address)
        if peer is None:
            return None
        trouble = (
            None if peer.trouble is None else {**asdict(peer.trouble), "actor": peer.trouble.outcome.actor}
        )
        told: dict[str, Any] = {"waiting": len(peer.schedule), "handed_over": peer.schedule.handed_over}
        told |= {"heard_at": peer.heard_at}
        return told | {"answered": peer.conversation.ready, "trouble": trouble}

    # -- inside ----------------------------------------------------------------------------------------------------------------

    def _stamp(self) -> str:
        return rfc3339(self._clock())

    async def _row(self, address: str, *, missing_is_fine: bool = False) -> PartnerRow | Any:
        for row in await self._database.read(partners.partners):
            if row.address == address:
                return row
        if missing_is_fine:
            return None
        raise OperatorError(f"{address} is no partner of ours; `kpnode partner list` shows who is")

    async def _take_in(
        self, held: VerifiedRecord, following: VerifiedRecord, also: Callable[[Any], None]
    ) -> None:
        """Keep the next version, and go by its policy, within one transaction: no number is filed in between as it was read before."""
        me, at = self._settings.address, self._stamp()

        def save(connection: Any) -> None:
            numbers.must_read_alike(connection, me, following.record)
            also(connection)
            numbers.take_in(connection, me, following, at)
            self._go_by(following)

        try:
            await self._database.write(save)
        except Exception:
            self._go_by(held)
            raise

    def _go_by(self, record: VerifiedRecord) -> None:
        if self._node is not None:
            record.record.publish(self._node.practice)

    async def _records(self, address: str) -> list[VerifiedRecord]:
        found = (await self._database.read(partners.records)).get(address)
        if not found:
            raise OperatorError(f"there is no key record of {address}")
        return found

    async def _attach(self, address: str) -> None:
        """Have the running node exchange with a partner as it stands in the database now."""
        if self._node is None:
            return
        row, records = await self._row(address), await self._records(address)
        await self._node.detach(address)
        self._node.attach(row, [version.record for version in records])
        if self._inbox is not None:
            self._inbox.add(address)

    async def _addresses(self) -> list[str]:
        return [row.address for row in await self._database.read(partners.partners)]
