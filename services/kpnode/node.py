"""The node: two verbs, `submit` and `receive`, and what keeps them going.

    submit    drafts -> composed and signed -> one transaction -> the relay of each recipient
    receive   frames -> verified -> one transaction -> signed replies          (kpnode.reception, kpnode.inbox)

Everything lasting is in the database, everything fleeting in one `Peer` for each partner. The node is put together here from
its parts and knows nothing of HTTP, AMQP, files or settings; `kpnode.assembly` chooses those.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from kpmsg import register
from kpmsg.errors import DraftError, KeyFileError
from kpmsg.keyrecord import KeyRecord
from kpmsg.policy import Practice
from kpnode import crash, inbox
from kpnode.answering import Answering
from kpnode.author import Identity, addressed, compose, rfc3339, to_everybody
from kpnode.awaited import Awaited
from kpnode.files import Files
from kpnode.inbox import Outcome, Parties
from kpnode.peer import Peer
from kpnode.reception import Reception
from kpnode.relay import Relay
from kpnode.release import FourEyes, ReleaseNeededError, needs_two
from kpnode.reminding import Reminders, Rounds
from kpnode.store import broadcasts, partners, upkeep
from kpnode.store.database import Database, StoreError, StoreUnavailableError, Transaction
from kpnode.store.documents import Item
from kpnode.store.ledger import PartnerLedger
from kpnode.store.partners import PartnerRow
from kpnode.store.submissions import Committed, ObjectedError, Submission, committed_before, submit
from kpnode.transports import Link

OFF_LOOP: Final = 8  # from so many signatures on, work leaves the event loop
SIGN_SECONDS: Final = 20.0
log = structlog.get_logger()


class Node:
    """One authority's node. `connect` makes the link to a partner; `clock` tells the time in UTC."""

    def __init__(
        self,
        identity: Identity,
        database: Database,
        *,
        connect: Callable[[PartnerRow], Link],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        practice: Practice | None = None,
        policy: FourEyes | None = None,
        reminders: Reminders | None = None,
    ) -> None:
        self.identity = identity
        self.database = database
        self.clock = clock
        self.practice = practice or Practice(identity.address)
        self.policy = policy or FourEyes()
        self._submit = partial(_submit, node=self)
        self.started_at = clock()
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.peers: dict[str, Peer] = {}
        self._connect = connect
        self._records: dict[str, list[KeyRecord]] = {}
        self._relays: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.files = Files(
            self.address, database, self.peers, stamp=self.stamp, count=self._count, announce=self._announce
        )
        self.rounds = Rounds(
            lambda: self.identity,
            database,
            self._now,
            self.submit,
            reminders or Reminders(),
            self.practice,
            self.peers,
        )
        self._awaited = Awaited()
        self._owed = asyncio.Event()
        self.answering = Answering(
            database,
            self.peers,
            self.practice,
            self._owed,
            identity=lambda: self.identity,
            clock=self._now,
            commit=self._commit,
            count=self._count,
        )
        self._changed = asyncio.Event()
        self._reception = Reception(
            database,
            self.peers,
            self.files,
            self._awaited,
            self._owed,
            parties=self._parties,
            clock=self._now,
            count=self._count,
            announce=self._announce,
        )

    @property
    def address(self) -> str:
        return self.identity.address

    def _now(self) -> datetime:
        return self.clock()  # whoever turns this node's clock turns it for all of it

    def stamp(self) -> str:
        """Now, as a text."""
        return rfc3339(self.clock())

    # -- life ------------------------------------------------------------------------------------------------------------

    async def start(self, *, serve: bool = True) -> None:
        """Read what is committed and take up the talk with every partner. The database has been started.

        With `serve` false nothing is said by ourselves: somebody only looks. Still an older database is found out, and recorded in it.
        """
        await self.answering.begin()
        self._records = await self.database.read(lambda c: partners.plain(partners.records(c)))
        for records in {**self._records, self.address: list(self.identity.records)}.values():
            if records:
                records[-1].publish(self.practice)
        for row in await self.database.read(partners.partners):
            self.attach(row)
        self._owed.set()
        if serve:
            self._spawn(self._forever("answers", self.answering.run))
            self._spawn(self._forever("rounds", self.rounds.run))
        if not await self.database.read(upkeep.is_current):
            self._spawn(self._until_done("upkeep", self.answering.fold_anew))
        self._spawn(self._forever("files", self.files.run))

    async def stop(self) -> None:
        """Stop sending and receiving; nothing is lost by it."""
        for task in [*self._tasks, *self._relays.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._relays.values(), return_exceptions=True)
        self._tasks.clear()
        self._relays.clear()
        for peer in self.peers.values():
            await peer.link.close()
        self.peers.clear()

    def attach(self, row: PartnerRow, records: Sequence[KeyRecord] | None = None) -> None:
        """Begin to exchange with a partner that has been saved."""
        if records is not None:
            self._records[row.address] = list(records)
            records[-1].publish(self.practice)
        peer = Peer(
            row.address, self._records[row.address], self._connect(row), paused=row.paused_at is not None
        )
        self.peers[row.address] = peer
        relay = Relay(
            self.address,
            peer,
            self.database,
            self.practice,
            stamp=self.stamp,
            deliver=self._deliver,
            count=self._count,
        )
        self._relays[row.address] = asyncio.create_task(self._forever(f"relay {row.address}", relay.run))

    async def detach(self, address: str) -> None:
        """Stop exchanging with a partner that has been removed."""
        if (task := self._relays.pop(address, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if (peer := self.peers.pop(address, None)) is not None:
            await peer.link.close()
        self.reconsider()  # it need not be asked any more

    def _parties(self, peer: Peer) -> Parties:
        return Parties(
            self.address,
            peer.address,
            self.identity.records,
            peer.records,
            self.identity.node_signer,
            self.practice,
        )

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` again whenever it fails: a relay that died silently would be a message that never leaves."""
        while True:
            await self._until_done(name, work)
            await asyncio.sleep(1.0)

    async def _until_done(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it comes to its end by itself."""
        while True:
            try:
                return await work()
            except StoreError as error:
                log.warning("store-unavailable", task=name, error=str(error))
            except Exception:
                self._count("failed", name.partition(" ")[0], 1)
                log.exception("task-failed", task=name)
            await asyncio.sleep(1.0)

    def _count(self, what: str, which: str, n: int) -> None:
        self.counts[what, which] += n

    # -- submit ----------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        drafts: Sequence[Any],
        *,
        caller: str,
        key: str | None,
        digest: str,
        strictly_parsed: bool = False,
    ) -> Committed:
        """Compose, sign and commit documents of ours, all of them or none. They leave when their recipients can be reached.

        Raises DraftError with a problem for everything that is wrong (pointers are into `drafts` if there are several),
        ReleaseNeededError if a second person has to release one of them (`kpnode.drafting`), SubmissionError if the request as a
        whole cannot be, KeyFileError if it cannot be signed, StoreError if nothing is known to have been written.
        `strictly_parsed`: see `kpmsg.documents.compose`.
        """
        now = self.clock()
        try:
            kinds = (draft.get("type") if isinstance(draft, dict) else None for draft in drafts)
            if alone := needs_two(kinds, self.policy):
                raise ReleaseNeededError("a second person must release this", alone)
            items, places = await self.sign(drafts, now, strictly_parsed=strictly_parsed)
        except (DraftError, ReleaseNeededError, KeyFileError):
            # What could not be said today may have been said: a request that comes again gets its first answer.
            before = await self.database.read(lambda c: key and committed_before(c, caller, key, digest))
            if not before:
                raise
            return before
        return await self.commit(Submission(caller, key, digest, items, rfc3339(now), places=places))

    async def sign(
        self, drafts: Sequence[Any], now: datetime, *, strictly_parsed: bool = False
    ) -> tuple[tuple[Item, ...], tuple[int, ...]]:
        """Signed documents, and which of `drafts` each is from; nothing is committed. Who calls this has asked for two people."""
        told: dict[int, dict[str, list[str]]] = {}
        if any(map(to_everybody, drafts)):
            told = await self.database.read(lambda c: broadcasts.told(c, drafts, self.practice))
        single, places = addressed(drafts, sorted(self.peers), told)
        make = partial(
            compose, single, self.identity, now, self.practice, strictly_parsed=strictly_parsed, places=places
        )
        if len(single) < OFF_LOOP and self.identity.signs_at_once:
            items = make()
        else:
            try:
                async with asyncio.timeout(SIGN_SECONDS):
                    items = await asyncio.to_thread(make)
            except TimeoutError:  # what is signed later is thrown away: nothing of it was committed (A3)
                raise KeyFileError(
                    "key-file-slow", f"the signing key took over {SIGN_SECONDS:.0f} s"
                ) from None
        crash.point("A3")
        return tuple(items), tuple(places)

    async def commit(self, submission: Submission) -> Committed:
        """Commit what is signed, and begin to send it. Raises as `submit`."""
        committed = await self._commit(submission)
        crash.point("A2")
        return committed

    async def _commit(self, submission: Submission) -> Committed:
        try:
            committed: Committed = await self.database.share(self._submit, submission)
        except ObjectedError as error:
            at = f"/{error.index}" if submission.several else ""
            raise DraftError([replace(p, pointer=f"{at}{p.pointer or ''}") for p in error.problems]) from None
        except StoreError:
            for peer in self.peers.values():
                peer.read_again()  # it may have been committed all the same, and then it must be sent
            self._owed.set()  # or the database that answers is an older one, which is to be reported
            raise
        if committed.replayed:
            return committed
        self._count("documents", "submitted", len(submission.items))
        for item in submission.items:
            recipient = self.peers.get(item.verified.document.recipient)
            if recipient is not None:
                recipient.enqueue(item.id, item.verified.raw)
        self._announce()
        return committed

    async def received(self, ids: Sequence[str], seconds: float) -> bool:
        """Wait until receipts cover all of `ids`, at most `seconds`. Documents that are not on their way count as received."""
        under_way = [i for i in ids if any(i in peer.schedule for peer in self.peers.values())]
        return await self._awaited.wait(under_way, seconds)

    # -- receive ---------------------------------------------------------------------------------------------------------

    async def receive(self, partner: str, deliveries: Sequence[bytes]) -> list[bytes]:
        """Take in frames that the transport has proven to be `partner`'s; returns signed replies, after the commit."""
        return await self._reception.receive(partner, deliveries)

    def post(self, partner: str, replies: Sequence[bytes]) -> None:
        """Send replies by the partner's own link, as soon as it is free (AMQP)."""
        peer = self.peers.get(partner)
        if peer is not None:
            peer.post(replies)

    def _deliver(self, partner: str, deliveries: Sequence[bytes]) -> None:
        """Frames that came back as the answer to a request of ours (HTTPS)."""

        async def take() -> None:
            self.post(partner, await self.receive(partner, deliveries))

        self._spawn(self._logged(take()))

    async def _logged(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            log.exception("delivery-failed")  # nothing was acknowledged: it is asked for again (R8)

    # -- the operator ----------------------------------------------------------------------------------------------------

    def retry(self, address: str) -> None:
        """Send now what waits for this partner, whatever the back-off says."""
        self.peers[address].schedule.retry_now(time.monotonic())
        self.peers[address].wake.set()

    async def pause(self, address: str, because: str | None) -> None:
        """Hold back documents to this partner, with a reason; None lets them go again. Receipts and answers go on."""
        at = self.stamp()
        await self.database.write(lambda c: partners.pause_partner(c, address, because, at))
        peer = self.peers[address]
        peer.paused = because is not None
        peer.wake.set()
        self.reconsider()  # it need not be asked any more

    async def override(self, address: str, because: str) -> None:
        """R10: send to this partner without its first answer. Recorded as an incident, with the reason."""
        peer, at = self.peers[address], self.stamp()
        parties = self._parties(peer)
        async with peer.lock:
            conversation = peer.conversation

            def run(connection: Transaction) -> Outcome:
                book = PartnerLedger(connection, address, at, self.practice)
                outcome = Outcome(conversation, book.effects, [], [], settled=False, refusals=[])
                step = register.override(conversation, book, at)
                book.record(step.changes)
                book.report(
                    register.Report("override", f"sending without waiting for {address}: {because}"), None
                )
                inbox.take_step(outcome, parties, book, step)
                return outcome

            peer.post(self._reception.settle(peer, await self.database.write(run)))
        peer.overridden = because
        self.reconsider()

    def reconsider(self) -> None:
        """An answer that waits may be possible now: an officer has recorded or decided something."""
        self._owed.set()

    # -- watching --------------------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, seconds: float) -> None:
        """Return when something has been committed, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _submit(connection: Transaction, submissions: list[Submission], node: Node) -> Sequence[Any]:
    if node.database.older is not None:  # until that is reported: this may rest on what the newer one said
        return [StoreUnavailableError("the database that answers is an older one")] * len(submissions)
    outcomes = submit(connection, submissions, node.practice, node.policy)
    crash.point("A1")
    return outcomes
