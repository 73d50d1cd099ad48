"""The process of a simulated node: `kpnode.node`, `inbox`, `relay` and `peer` step by step, without bytes, threads and waiting.

Each method names the one that it mirrors. What the process remembers is in `Peer` and dies with it; what it has committed
is `Node.db`. A crash point is a call of `World.point`, which raises `Killed` where the real one sends SIGKILL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kpmsg import frames, register
from kpmsg.frames import Page, PageRequest, Receipt, Request, Statement, Status, StatusRequest
from kpmsg.register import Conversation, Step
from kpmsg.schedule import Schedule
from tests.simulation import store
from tests.simulation.store import Claimed, Database, Document, Effects, Ledger

if TYPE_CHECKING:
    from tests.simulation.world import World


class Killed(Exception):
    """The process has died at a crash point; whatever it was doing ends here."""


@dataclass(frozen=True, slots=True)
class Message:
    """One verified frame: `content` is None for `documents`; `items` are the documents that came with it."""

    sender: str
    recipient: str
    content: Statement | Request | None
    items: tuple[Document, ...] = ()


@dataclass(slots=True)
class Peer:
    """The volatile side of one partner (`kpnode.peer.Peer`), and where its relay stands."""

    address: str
    schedule: Schedule
    conversation: Conversation = field(default_factory=Conversation)
    outbox: deque[Message] = field(default_factory=deque)
    paused: bool = False
    busy: bool = False
    turn_at: float | None = None
    doubts: dict[str, int] = field(
        default_factory=dict
    )  # documents that we may deny once a later exchange is complete

    @property
    def sending(self) -> bool:
        return self.conversation.ready and not self.paused


@dataclass(slots=True)
class Outcome:
    """What a transaction leaves behind for the time after its commit (`kpnode.inbox.Outcome`)."""

    conversation: Conversation
    effects: Effects
    replies: list[Message] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    settled: bool = False


class Node:
    """One authority's node. Without a process `peers` is empty."""

    def __init__(self, world: World, address: str, partners: Sequence[str]) -> None:
        self.world = world
        self.address = address
        self.partners = list(partners)
        self.db = Database.empty(partners)
        self.alive = False
        self.incarnation = 0
        self.peers: dict[str, Peer] = {}
        self.mark: tuple[str, int] | None = None  # kpnode.store.mark: outlives the process, and every restore
        self.sure = False

    # -- life: Node.start, Node.attach, Relay.run ------------------------------------------------------------------------

    def start(self) -> None:
        self.alive = True
        self.incarnation += 1
        self.sure = self.trusts_the_database()
        if not self.sure:
            self.mark = None
        self.peers = {p: Peer(p, Schedule(self.world.rng.random)) for p in self.partners}
        for peer in self.peers.values():
            self.world.after(self, self.world.rng.uniform(0.0, 0.02), self.refill, peer)
        self.world.after(self, 0.001, self.answer)

    def trusts_the_database(self) -> bool:
        """Mark.compare; every third time the machine was started anew, too."""
        if self.mark is None or self.incarnation % 3 == 0:
            return False
        name, commits = self.mark
        return name == self.db.name and commits <= self.db.commits

    def kill(self) -> None:
        self.alive = False
        self.incarnation += 1
        self.peers = {}

    def refill(self, peer: Peer) -> None:
        """Relay._refill: read and add under the peer's lock, so that no receipt comes between."""
        peer.schedule.add(self.db.waiting(self.address, peer.address))
        self.wake(peer)

    # -- submit: Node.submit ---------------------------------------------------------------------------------------------

    def submit(self, document: Document, key: str, answers: str | None = None) -> str | Claimed:
        """Commit one document; may raise Killed before or after the commit."""
        self.world.point(self, "A3")
        tx = self.db.copy()
        outcome = store.submit(tx, document, key, answers)
        self.world.point(self, "A1")
        if outcome != document.id:
            return outcome
        self.commit(tx, document.recipient, None)
        peer = self.peers[document.recipient]
        peer.schedule.add([document.id])
        self.wake(peer)
        self.world.point(self, "A2")
        return outcome

    def commit(self, tx: Database, partner: str | None, effects: Effects | None) -> None:
        before, self.db = self.db, tx
        self.db.commits += 1
        self.world.committed(self, before, partner, effects)
        self.world.point(self, "M1")
        if self.sure:
            self.mark = self.db.name, self.db.commits

    # -- receive: inbox.transact, Node.receive, Node._after ------------------------------------------------------------------

    def receive(self, partner: str, batch: Sequence[Message]) -> list[Message]:
        """Take in messages of one partner; the replies may leave, the messages may be acknowledged."""
        peer = self.peers[partner]
        tx = self.db.copy(partner)
        ledger = Ledger(tx, self.address, partner)
        outcome = Outcome(peer.conversation, ledger.effects)
        for message in self.joined(batch):
            step = self.step(outcome, message, ledger)
            if step is not None:
                ledger.record(step.changes)
                self.take_step(outcome, ledger, step)
        self.crash_points(outcome, batch)
        self.commit(tx, partner, outcome.effects)
        replies = self.after_commit(peer, outcome)
        self.world.point(self, "B2")
        return replies

    def step(self, outcome: Outcome, message: Message, ledger: Ledger) -> Step | None:
        at, nonce = self.world.stamp, self.world.nonce
        match message.content:
            case None:
                return register.on_documents(outcome.conversation, message.items, ledger, at)
            case Receipt() as receipt:
                return register.on_receipt(outcome.conversation, receipt, ledger, nonce)
            case Status() as status:
                return register.on_status(outcome.conversation, status, ledger, nonce, at)
            case Page() as page:
                returned = {item.id: item for item in message.items}
                return register.on_page(outcome.conversation, page, returned, ledger, nonce, at)
            case StatusRequest() as request:
                return register.on_status_request(outcome.conversation, request, ledger, nonce, at)
            case PageRequest() as request:
                answer = register.on_page_request(request, ledger, at)
                wanted = set(request.lacks)
                attached = [ledger.db.documents[i] for i in answer.ids if i in wanted]
                self.say(outcome, ledger, answer, attached[: self.world.sizes.attached])
                return None
        raise AssertionError(message)

    def take_step(self, outcome: Outcome, ledger: Ledger, step: Step) -> None:
        """inbox.take_step"""
        outcome.conversation = step.conversation
        outcome.settled |= step.settled
        for said in step.say:
            if isinstance(said, StatusRequest | PageRequest):
                outcome.requests.append(said)
                outcome.replies.append(Message(self.address, ledger.partner, said))
            else:
                self.say(outcome, ledger, said)
                if isinstance(said, Receipt) and said.ids:
                    ledger.given(said)

    def say(self, outcome: Outcome, ledger: Ledger, said: Statement, items: Iterable[Document] = ()) -> None:
        """inbox._say: this is where a statement is signed."""
        outcome.replies.append(Message(self.address, ledger.partner, said, tuple(items)))

    @staticmethod
    def joined(batch: Sequence[Message]) -> Iterable[Message]:
        """inbox._joined"""
        items: list[Document] = []
        for message in batch:
            if message.content is None and len(items) + len(message.items) <= frames.MAX_RECEIPT_IDS:
                items.extend(message.items)
                continue
            if items:
                yield replace(batch[0], content=None, items=tuple(items))
                items = []
            if message.content is None:
                items.extend(message.items)
            else:
                yield message
        if items:
            yield replace(batch[0], content=None, items=tuple(items))

    def crash_points(self, outcome: Outcome, batch: Sequence[Message]) -> None:
        if outcome.effects.admitted:
            self.world.point(self, "B1")
        if outcome.effects.received:
            self.world.point(self, "A8")
        if outcome.effects.taken_back:
            self.world.point(self, "A9")
        if any(isinstance(message.content, PageRequest) for message in batch):
            self.world.point(self, "P1")

    def after_commit(self, peer: Peer, outcome: Outcome) -> list[Message]:
        """Node._after and Node._register_effects"""
        now, effects = self.world.now, outcome.effects
        peer.conversation = outcome.conversation
        peer.schedule.heard(now)
        if effects.taken_back:
            self.sure, self.mark = False, None
        peer.schedule.add(effects.released, again=True)
        peer.schedule.remove(effects.received)
        for document_id in effects.withheld:
            for other in self.peers.values():
                other.schedule.remove([document_id])
        for request in outcome.requests:
            asked = outcome.conversation.asked
            afresh = isinstance(request, StatusRequest) and asked is not None and asked.search is None
            peer.schedule.asking(now, afresh=afresh)
        if outcome.settled:
            peer.schedule.settled(now)
        if outcome.settled or effects.owed:
            self.world.after(self, 0.001, self.answer)
        self.wake(peer)
        return outcome.replies

    def post(self, partner: str, replies: Sequence[Message]) -> None:
        peer = self.peers[partner]
        peer.outbox.extend(replies)
        self.wake(peer)

    # -- relay: Relay.run, _turn, _ask, _send, _settle -----------------------------------------------------------------------

    def wake(self, peer: Peer) -> None:
        self.look(peer, self.world.now)

    def look(self, peer: Peer, at: float) -> None:
        if peer.turn_at is None or at < peer.turn_at:
            peer.turn_at = at
            self.world.at(at, self, self.turn_event, peer, at)

    def turn_event(self, peer: Peer, at: float) -> None:
        if peer.turn_at != at:
            return  # it was brought forward
        peer.turn_at = None
        if peer.busy:
            return
        now = self.world.now
        if self.turn(peer, now):
            return
        look = peer.schedule.next_event(now, sending=peer.sending)
        if peer.outbox:
            look = min(look, peer.schedule.next_attempt)
        self.look(peer, max(look, now + 0.001))

    def turn(self, peer: Peer, now: float) -> bool:
        schedule = peer.schedule
        if peer.outbox and now >= schedule.next_attempt:
            message = peer.outbox.popleft()
            self.world.point(self, "B3")
            self.hand_over(peer, message, [])
            return True
        if schedule.ask_due(now):
            self.ask(peer, now)
            return True
        if peer.sending:
            ids = schedule.due(now)
            if ids:
                self.send(peer, ids)
                return True
        return False

    def ask(self, peer: Peer, now: float) -> None:
        ledger = Ledger(self.db, self.address, peer.address)
        step = register.ask(peer.conversation, ledger, self.world.nonce())
        peer.conversation = step.conversation
        peer.schedule.asking(now, afresh=True)
        for request in step.say:
            assert isinstance(request, StatusRequest)
            self.hand_over(peer, Message(self.address, peer.address, request), [])

    def send(self, peer: Peer, ids: list[str]) -> None:
        found = [d for i in ids if (d := self.db.documents.get(i)) is not None]
        peer.schedule.remove(set(ids) - {document.id for document in found})
        self.world.point(self, "A4")
        if not found:
            self.wake(peer)
            return
        message = Message(self.address, peer.address, None, tuple(found))
        self.hand_over(peer, message, [document.id for document in found])

    def hand_over(self, peer: Peer, message: Message, ids: list[str]) -> None:
        """Link.send: the message is on its way now; how that ended is known a little later."""
        peer.busy = True
        self.world.leaves(self, message)
        outcome, seconds = self.world.network.send(message)
        self.world.after(self, seconds, self.handed_over, peer, ids, outcome)

    def handed_over(self, peer: Peer, ids: list[str], outcome: str) -> None:
        self.world.point(self, "A6" if outcome == "accepted" else "A5")
        peer.busy = False
        if outcome == "accepted":
            peer.schedule.accepted(ids)
        else:
            peer.schedule.failed(
                ids,
                self.world.now,
                reachable=outcome != "unreachable",
                maybe=outcome == "unknown",
                problem=outcome,
            )
        self.wake(peer)

    # -- answers: Node._answer ---------------------------------------------------------------------------------------------------

    def answer(self) -> None:
        self.prove()
        for document_id, codes in list(self.db.answers.items()):
            document = self.db.documents[document_id]
            if "I01" in codes and not self.may_deny(document):
                continue
            now_codes = store.objections(document, self.db, self.address)
            if not now_codes:
                self.settle_answer(document_id)
                continue
            rejection = Document(
                id=self.world.new_id(),
                author=self.address,
                recipient=document.author,
                kind="rejection",
                subject=document.subject,
                claim=f"rejection:{document_id}",
                refers_to=document_id,
                codes=codes,
            )
            self.world.denies(self, document, codes)
            if isinstance(self.submit(rejection, f"answer:{document_id}", document_id), Claimed):
                self.settle_answer(document_id)

    def may_deny(self, document: Document) -> bool:
        """ "Never issued" may only be said by a node that knows all that it has issued.

        So it asks, after the document has come: its author may hold what we have forgotten. The others must have answered once.
        """
        peer = self.peers[document.author]
        if peer.schedule.completed <= peer.doubts.setdefault(document.id, peer.schedule.begun):
            peer.schedule.ask_now(self.world.now)
            self.wake(peer)
            return False
        return self.sure or self.heard_all()

    def heard_all(self) -> bool:
        return all(peer.conversation.ready or peer.paused for peer in self.peers.values())

    def prove(self) -> None:
        """Answering._prove"""
        if not self.sure and self.heard_all():
            tx = self.db.copy()
            tx.name = self.world.new_id()
            self.commit(tx, None, None)
            self.sure = True

    def settle_answer(self, document_id: str) -> None:
        tx = self.db.copy()
        del tx.answers[document_id]
        self.commit(tx, None, None)

    # -- the operator: Node.override ---------------------------------------------------------------------------------------------

    def override(self, partner: str) -> None:
        peer = self.peers[partner]
        tx = self.db.copy(partner)
        ledger = Ledger(tx, self.address, partner)
        outcome = Outcome(peer.conversation, ledger.effects)
        step = register.override(peer.conversation, ledger, self.world.stamp)
        ledger.record(step.changes)
        self.take_step(outcome, ledger, step)
        self.commit(tx, partner, outcome.effects)
        self.post(partner, self.after_commit(peer, outcome))
