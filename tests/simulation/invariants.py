"""What must hold: I1 to I9, I12, I15 and I17 of the reliability page, said precisely enough for a program.

Checked at every commit
    I2   a document is in a database once, with its one register entry in the same transaction
    I3   an entry of our register is a document that its author signed to us
    I4   registers are gap-free and chained (recomputed here, not by the core)
    I9   no commit removes a document, and no commit shortens the register that we keep
Checked whenever a message leaves
    I5   a receipt, status or page is true of the signer's committed register
    I6   a document that is sent is committed, ours, and not withheld
    R10  nothing is sent before an exchange is complete, unless an operator has overridden that
Checked when it happens
    I12  an author's two documents with one claim never both reach one recipient in a *strict* world; elsewhere (messages
         that overtake one another, backups from abandoned pasts, overrides) both sides are told of it
    I17  reports name only what happened: a register is reported shorter or different only if its owner was restored;
         no number is denied whose notification the confirming node held when it signed, and holds still
Checked at rest
    I1   every document in some database when faults stopped is in its author's and its recipient's
    I7   both sides agree on both registers, on what was received, and on the documents of every certificate
    I8   follows from I1 with "some database" read as "a partner's"
    I15  nothing is queued, parked, owed or unread

What may be lost: a document that stood in no database when faults stopped. Its every copy had been overwritten.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from kpmsg.frames import Page, Receipt, Status
from kpmsg.register import NOTHING
from tests.simulation.store import Database, Document, Effects, Register

if TYPE_CHECKING:
    from tests.simulation.node import Message, Node
    from tests.simulation.world import World


class Violation(Exception):
    """Something does not hold; the text begins with the invariant's number."""


def require(holds: object, text: str) -> None:
    if not holds:
        raise Violation(text)


class Witness:
    """Sees everything that happens in one world. `damaged`: whose database was restored or lost so far."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.damaged: set[str] = set()
        self.overridden: set[str] = set()
        self.reports: list[tuple[str, str, str, str]] = []  # node, partner, kind, text
        self.doubles: list[tuple[Document, Document]] = []
        self.signed: dict[
            str, set[str]
        ] = {}  # a confirmation -> the notifications that its author held when it signed
        self.surviving: set[str] = set()

    # -- as it happens ---------------------------------------------------------------------------------------------------

    def committed(self, node: Node, before: Database, partner: str | None, effects: Effects | None) -> None:
        db = node.db
        require(
            before.documents.keys() <= db.documents.keys(),
            f"I9 a commit of {node.address} removed a document",
        )
        for document_id in list(db.documents)[len(before.documents) :]:
            self._new_document(node, db.documents[document_id])
        if partner is None or effects is None:
            return
        held = db.held[partner]
        self._chained(before.held[partner], held, f"I4 {node.address}'s register of {partner}")
        self._chained(
            before.known[partner], db.known[partner], f"I4 {partner}'s register as {node.address} knows it"
        )
        if effects.admitted:
            theirs = [d for d in db.documents.values() if d.author == partner and d.recipient == node.address]
            require(
                len(theirs) == len(held.ids),
                f"I2 documents and entries of {node.address} from {partner} differ",
            )
            require(
                all(d.id in held.places for d in theirs), f"I3 {node.address} has a document without an entry"
            )
        for kind, text in effects.reports:
            self._reported(node.address, partner, kind, text)

    def _new_document(self, node: Node, document: Document) -> None:
        if document.author == node.address:
            if document.kind == "confirmation" and document.id not in self.signed:
                about = [d for d in node.db.documents.values() if d.subject == document.subject]
                self.signed[document.id] = {d.id for d in about if d.kind == "notification"}
            return
        require(
            document.recipient == node.address,
            f"I3 {node.address} admitted a document to {document.recipient}",
        )
        for other in node.db.documents.values():
            same = other.claim == document.claim and other.author == document.author
            if same and other.id != document.id and document.claim is not None:
                pair = f"{other.id[:8]} and {document.id[:8]} both claim {document.claim} at {node.address}"
                if self.world.strict and not self.overridden:
                    raise Violation(f"I12 {pair}")
                self.doubles.append((other, document))

    @staticmethod
    def _chained(before: Register, after: Register, whose: str) -> None:
        size = len(before.ids)
        start = size if after.ids[:size] == before.ids else 0
        head = after.heads[start - 1] if start else NOTHING
        for document_id, claimed in zip(after.ids[start:], after.heads[start:], strict=True):
            head = hashlib.sha256(b"\x01" + bytes.fromhex(head) + bytes.fromhex(document_id)).hexdigest()
            require(head == claimed, f"{whose} is not chained")

    def _reported(self, node: str, partner: str, kind: str, text: str) -> None:
        self.world.counts[f"report {kind}"] += 1
        self.reports.append((node, partner, kind, text))
        if kind in {"register-shorter", "register-differs"}:
            require(
                partner in self.damaged, f"I17 {node} reports {kind} of {partner}, which was never restored"
            )
        elif kind == "withheld":
            require(node in self.damaged, f"I17 {node} withheld a document and was never restored")
        elif kind == "claim-twice":
            explained = not self.world.strict or self.overridden or len(self.world.nodes) > 2
            require(explained, f"I17 {node} reports that it said something twice: {text}")
        else:
            raise Violation(f"I17 {node} reports {kind} of {partner}: {text}")

    def leaves(self, node: Node, message: Message) -> None:
        db, to, content = node.db, message.recipient, message.content
        who = f"{node.address} to {to}"
        for document in message.items if content is None else ():
            require(document.id in db.documents, f"I6 {who} sends a document that is not committed")
            require(
                document.author == node.address and document.recipient == to,
                f"I6 {who} sends what is not its own",
            )
            require(document.id not in db.withheld, f"I6 {who} sends a document that is withheld")
        if content is None:
            ready = node.peers[to].conversation.ready
            require(ready, f"R10 {who} sends documents before it has asked")
            return
        held = db.held[to]
        if isinstance(content, Receipt):
            there = tuple(held.ids[content.first - 1 : content.size]) == content.ids
            require(there and held.head(content.size) == content.head, f"I5 a receipt from {who} is not true")
        elif isinstance(content, Status):
            require(held.head(content.size) == content.head, f"I5 a status from {who} is not true")
        elif isinstance(content, Page) and content.ids:
            there = tuple(held.ids[content.first - 1 : content.first - 1 + len(content.ids)]) == content.ids
            require(there, f"I5 a page from {who} is not true")

    def answered(self, node: Node, key: str, document_id: str) -> None:
        require(
            node.db.idempotency.get(key) == document_id, f"A1 {node.address} answered {key} without a commit"
        )

    def denies(self, node: Node, document: Document, codes: tuple[str, ...]) -> None:
        if "I01" not in codes or self.overridden:
            return
        held = self.world.nodes[document.author].db.documents
        seen = [i for i in self.signed.get(document.id, ()) if i in held]
        require(not seen, f"I17 {node.address} denies {document.subject}, which it had issued")

    # -- at rest ---------------------------------------------------------------------------------------------------------

    def resting(self) -> None:
        for node in self.world.nodes.values():
            self.surviving |= node.db.documents.keys()

    def at_rest(self) -> None:
        nodes = self.world.nodes
        there: dict[str, Document] = {}
        for node in nodes.values():
            there.update(node.db.documents)
        require(self.surviving <= there.keys(), "I1 a document has vanished from every database")
        for document in there.values():
            author, recipient = nodes[document.author].db, nodes[document.recipient].db
            name = f"{document.kind} {document.id[:8]} from {document.author} to {document.recipient}"
            require(document.id in author.documents, f"I8 {name} is missing at its author's")
            if document.id not in author.withheld:
                require(document.id in recipient.documents, f"I1 {name} is missing at its recipient's")
                require(document.id in author.received, f"I7 {name} does not count as received")
        for a in nodes.values():
            for b in a.partners:
                self._agree(a, nodes[b])
        self._told()
        require(self.world.network.idle(), "I15 messages lie unread")

    @staticmethod
    def _agree(a: Node, b: Node) -> None:
        known, held = a.db.known[b.address], b.db.held[a.address]
        pair = f"{a.address} and {b.address}"
        require(
            known.ids == held.ids and known.heads == held.heads, f"I7 {pair} differ on {b.address}'s register"
        )
        require(
            set(held.ids) <= b.db.documents.keys(), f"I3 {b.address}'s register names what it does not have"
        )
        said = {i for i, d in a.db.documents.items() if d.author == a.address and d.recipient == b.address}
        require(
            said - a.db.withheld.keys() == set(held.ids),
            f"I7 {pair} differ on the documents from {a.address}",
        )
        peer = a.peers[b.address]
        left = [i for i in said if i in peer.schedule]
        require(
            not left and not len(peer.schedule),
            f"I15 {a.address} still sends {len(peer.schedule)} to {b.address}",
        )
        require(peer.conversation.ready, f"I15 {a.address} never got ready for {b.address}")
        require(not peer.conversation.parked, f"I15 documents are parked at {a.address}")
        require(not peer.outbox, f"I15 replies wait at {a.address}")
        require(not a.db.answers, f"I15 {a.address} owes answers")

    def _told(self) -> None:
        """I12 where it could not be prevented: the author has been told of every claim that it made twice."""
        for one, other in self.doubles:
            author = self.world.nodes[one.author].db
            if one.id in author.documents and other.id in author.documents:
                told = any(
                    node == one.author
                    and kind in {"claim-twice", "withheld"}
                    and (one.id in text or other.id in text)
                    for node, _, kind, text in self.reports
                )
                require(told, f"I12 nobody told {one.author} that it made the claim {one.claim} twice")
