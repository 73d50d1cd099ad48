"""Bugs put into the protocol on purpose, to show that the simulation would find them.

Each is one plausible mistake in the core, in the store or in the process around them, made by replacing one function. `FOUND` are
those that some seed among the first `WITHIN` turns into a violation; `REDUNDANT` those that break nothing, because another
rule repairs what they spoil. The reason is their `because`, and the test holds them to it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest import mock

from kpmsg import register
from kpmsg.frames import Page, PageRequest, Receipt, Status, StatusRequest
from kpmsg.register import (
    Admit,
    Believe,
    Change,
    Conversation,
    Entry,
    Report,
    Shorten,
    Step,
    TakeBack,
)
from kpmsg.schedule import Schedule
from tests.simulation import play, store
from tests.simulation.network import Line, Network
from tests.simulation.node import Message, Node, Outcome, Peer
from tests.simulation.store import Document, Ledger, Register
from tests.simulation.world import World

WITHIN: Final = 400

Patch = tuple[object, str, Any]


@dataclass(frozen=True, slots=True)
class Bug:
    """`patches`: what is replaced by what. `because`: why it does no harm, if it does none. `seed`: one that has found it."""

    name: str
    patches: tuple[Patch, ...]
    because: str = ""
    seed: int = 1

    @contextmanager
    def planted(self) -> Iterator[None]:
        with ExitStack() as planted:
            for target, name, new in self.patches:
                planted.enter_context(mock.patch.object(target, name, new))
            yield


_on_documents = register.on_documents
_on_receipt = register.on_receipt
_on_status = register.on_status
_on_status_request = register.on_status_request
_on_page_request = register.on_page_request
_on_page = register.on_page
_settle = register._settle
_shorten = register._shorten
_excluded = register._excluded
_ask = register.ask


# -- R3: admit once ----------------------------------------------------------------------------------------------------------


def _admit_again(conversation: Conversation, items: Sequence[Any], ledger: Any, at: str) -> Step:
    """Nothing is looked up: every copy gets a line of its own."""
    with mock.patch.object(Ledger, "among_held", return_value=()):
        return _on_documents(conversation, items, ledger, at)


def _insert_quietly(self: store.Database, document: Document) -> None:
    self.documents.setdefault(document.id, document)


def _append_quietly(self: Register, entries: Sequence[Entry]) -> None:
    for entry in entries:
        self.ids.append(entry.id)
        self.heads.append(entry.head)
        self.places.setdefault(entry.id, entry.position)


def _no_receipt_for_copies(conversation: Conversation, items: Sequence[Any], ledger: Any, at: str) -> Step:
    step = _on_documents(conversation, items, ledger, at)
    return step if step.changes else replace(step, say=())


def _receipt_all(conversation: Conversation, items: Sequence[Any], ledger: Any, at: str) -> Step:
    """The receipt names all that came, not what is new."""
    step = _on_documents(conversation, items, ledger, at)
    if not step.say:
        return step
    (receipt,) = step.say
    assert isinstance(receipt, Receipt)
    ids = tuple({item.id: None for item in items})
    return replace(step, say=(replace(receipt, ids=ids, size=receipt.first - 1 + len(ids)),))


def _admit_without_entries(self: Ledger, change: Admit) -> None:
    """The documents are committed, their lines are not."""
    for item in change.items:
        assert isinstance(item, Document)
        self.db.insert(item)
        self.effects.admitted.append(item)


def _admit_without_documents(self: Ledger, change: Admit) -> None:
    self._held.append(change.entries)


def _admit_in_reverse(self: Ledger, change: Admit) -> None:
    """The lines are written, but the head that is saved with them is the one before."""
    _true_admit(self, change)
    self._held.heads[-1] = change.entries[0].head


_true_admit = Ledger.admit


# -- R5: believe only what extends what we know --------------------------------------------------------------------------------


def _believe_all(conversation: Conversation, receipt: Receipt, ledger: Any, nonce: Any) -> Step:
    """A receipt's ids count as received whatever its place in the register."""
    known = ledger.known()
    ids = [
        i for i in receipt.ids if i not in ledger.among_known(receipt.ids) and i in ledger.ours(receipt.ids)
    ]
    if not ids:
        return Step(conversation)
    return Step(conversation, (Believe(register.extend(known, ids)[0]),))


def _believe_without_head(conversation: Conversation, receipt: Receipt, ledger: Any, nonce: Any) -> Step:
    """The place is checked, the hash chain is not."""
    known = ledger.known()
    if receipt.first == known.size + 1 and receipt.ids and len(ledger.ours(receipt.ids)) == len(receipt.ids):
        return Step(conversation, (Believe(register.extend(known, receipt.ids)[0]),))
    return _on_receipt(conversation, receipt, ledger, nonce)


def _believe_unknown(conversation: Conversation, receipt: Receipt, ledger: Any, nonce: Any) -> Step:
    """A receipt for a document that we do not know is believed as well, so nobody takes it back."""
    with mock.patch.object(Ledger, "ours", lambda self, ids: list(ids)):
        return _on_receipt(conversation, receipt, ledger, nonce)


def _ignore_odd_receipts(conversation: Conversation, receipt: Receipt, ledger: Any, nonce: Any) -> Step:
    step = _on_receipt(conversation, receipt, ledger, nonce)
    return step if step.changes else Step(conversation)


def _any_status(conversation: Conversation, status: Status, ledger: Any, nonce: Any, at: str) -> Step:
    """The nonce of a status is not compared."""
    asked = conversation.asked
    if asked is None or not isinstance(asked.request, StatusRequest):
        return Step(conversation)
    return _on_status(conversation, replace(status, nonce=asked.nonce), ledger, nonce, at)


def _any_status_any_time(
    conversation: Conversation, status: Status, ledger: Any, nonce: Any, at: str
) -> Step:
    """No nonce, and what was asked is not compared: any status completes an exchange."""
    if conversation.asked is None or not isinstance(conversation.asked.request, StatusRequest):
        return Step(conversation)
    return _settle(conversation, ledger, at)


def _any_page(
    conversation: Conversation, page: Page, returned: Any, ledger: Any, nonce: Any, at: str
) -> Step:
    asked = conversation.asked
    if asked is None or not isinstance(asked.request, PageRequest):
        return Step(conversation)
    return _on_page(conversation, replace(page, nonce=asked.nonce), returned, ledger, nonce, at)


def _believe_status(conversation: Conversation, status: Status, ledger: Any, nonce: Any, at: str) -> Step:
    """`agrees` is enough: that their register goes further than we know is not followed up."""
    asked = conversation.asked
    if asked is not None and status.nonce == asked.nonce and status.agrees:
        return _settle(conversation, ledger, at)
    return _on_status(conversation, status, ledger, nonce, at)


# -- R6: repair ------------------------------------------------------------------------------------------------------------------


def _never_shorten(*args: Any) -> Step:
    step = _shorten(*args)
    return replace(step, changes=tuple(c for c in step.changes if not isinstance(c, Shorten)))


def _shorten_without_release(self: Ledger, change: Shorten) -> None:
    """What they lost is cut from their register, but still counts as received."""
    self._known.cut(change.size)


def _shorten_too_far(self: Ledger, change: Shorten) -> None:
    _true_shorten(self, Shorten(max(0, change.size - 1)))


_true_shorten = Ledger.shorten


def _never_take_back(*args: Any) -> Step:
    step = _on_page(*args)
    return replace(step, changes=tuple(c for c in step.changes if not isinstance(c, TakeBack)))


def _search_off_by_one(conversation: Conversation, status: Status, *args: Any) -> Step:
    """The last common head is put one entry too high."""
    common, known = args[0], args[1]
    return _shorten(conversation, status, min(common + 1, known.size), *args[1:])


def _search_too_low(conversation: Conversation, status: Status, *args: Any) -> Step:
    return _shorten(conversation, status, max(0, args[0] - 1), *args[1:])


def _first_page_only(*args: Any) -> Step:
    """The exchange counts as complete after one page."""
    step = _on_page(*args)
    if any(isinstance(c, Believe) for c in step.changes) and step.conversation.asked is not None:
        done = replace(step.conversation, ready=True, asked=None)
        return replace(step, conversation=done, say=(), settled=True)
    return step


def _page_without_place(request: PageRequest, ledger: Any, at: str) -> Page:
    """The head before a page is not compared."""
    before = ledger.held_head(request.first - 1)
    return _on_page_request(replace(request, before=before or register.NOTHING), ledger, at)


def _no_documents_with_pages(
    self: Node, outcome: Outcome, ledger: Ledger, said: Any, items: Any = ()
) -> None:
    outcome.replies.append(Message(self.address, ledger.partner, said))


def _lose_claims(self: Ledger, change: TakeBack) -> None:
    """What came back is stored without its claim, so the same may be said again."""
    for item in change.items:
        assert isinstance(item, Document)
        self.db.insert(item)
        self.effects.taken_back.append(item.id)


def _take_back_as_waiting(self: Ledger, change: Believe) -> None:
    """What a partner holds is followed, but not marked as received."""
    self._known.append(change.entries)
    self.effects.received.extend(entry.id for entry in change.entries)


# -- R8, R10: ask first ------------------------------------------------------------------------------------------------------------


def _always_ready(self: Peer) -> bool:
    return not self.paused


def _ready_without_asking(self: Node, peer: Peer) -> None:
    peer.conversation = replace(peer.conversation, ready=True)
    _true_refill(self, peer)


_true_refill = Node.refill


def _ask_once(self: Schedule, now: float) -> None:
    """There is no periodic question, only the first one and those that a receipt causes."""
    _true_settled(self, now)
    self._next_ask = float("inf")


_true_settled = Schedule.settled


def _never_ask(self: Schedule, now: float) -> bool:
    return False


def _keep_parked(
    conversation: Conversation, request: StatusRequest, ledger: Any, nonce: Any, at: str
) -> Step:
    """A status answer leaves out what is parked, and that is admitted later all the same."""
    step = _on_status_request(conversation, request, ledger, nonce, at)
    return replace(step, conversation=replace(step.conversation, parked=conversation.parked))


def _answer_only_when_ready(
    conversation: Conversation, request: StatusRequest, ledger: Any, nonce: Any, at: str
) -> Step:
    if not conversation.ready:
        return Step(conversation)
    return _on_status_request(conversation, request, ledger, nonce, at)


def _drop_parked(step: Step, ledger: Any, at: str) -> Step:
    return replace(step, conversation=replace(step.conversation, parked=()))


def _drop_parked_and_forget(conversation: Conversation, items: Sequence[Any], ledger: Any, at: str) -> Step:
    """Before it is ready a node receipts what it only parks."""
    if conversation.ready:
        return _on_documents(conversation, items, ledger, at)
    step = _on_documents(replace(conversation, ready=True), items, ledger, at)
    return replace(step, conversation=conversation, changes=())


def _admit_before_ready(conversation: Conversation, items: Sequence[Any], ledger: Any, at: str) -> Step:
    step = _on_documents(replace(conversation, ready=True), items, ledger, at)
    return replace(step, conversation=conversation)


def _never_withhold(back: Any, standing: Any, ledger: Any) -> list[Change]:
    return []


def _withhold_what_stands(back: Any, standing: Any, ledger: Any) -> list[Change]:
    return _excluded(back, (), ledger)


def _withhold_for_ever(self: Ledger, change: Believe) -> None:
    withheld = dict(self.db.withheld)
    _true_believe(self, change)
    self.db.withheld.update(withheld)


_true_believe = Ledger.believe


def _withheld_stays_scheduled(self: Ledger, change: Any) -> None:
    _true_withhold(self, change)
    self.effects.withheld.clear()


_true_withhold = Ledger.withhold


def _deny_at_once(self: Node, document: Document) -> bool:
    """ "Never issued" is said by whoever is ready, without asking the author of the confirmation again."""
    return all(peer.conversation.ready for peer in self.peers.values())


def _deny_unready(self: Node, document: Document) -> bool:
    return True


def _empty_page_contradicts(*args: Any) -> Step:
    conversation, page = args[0], args[1]
    step = _on_page(*args)
    matches = conversation.asked is not None and conversation.asked.nonce == page.nonce
    if matches and not page.ids and page.size < page.first and not step.changes:
        return replace(step, changes=(Report("page-contradicts", ""),))
    return step


# -- R1, R2, R4: commit, send, acknowledge -------------------------------------------------------------------------------------------


def _send_before_commit(self: Node, outcome: Outcome, batch: Sequence[Message]) -> None:
    """Replies leave before the transaction commits."""
    for reply in outcome.replies:
        peer = self.peers[reply.recipient]
        self.hand_over(peer, reply, [])
    _true_crash_points(self, outcome, batch)


_true_crash_points = Node.crash_points


def _acknowledge_first(self: Network, line: Line, sender: str, recipient: str) -> None:
    """The broker forgets a batch as soon as it has been read."""
    line.consuming = False
    node = self.world.nodes[recipient]
    if line.queue and node.alive and self.world.now >= self.down_until[recipient]:
        batch = line.queue[:4]
        del line.queue[: len(batch)]
        node.post(sender, node.receive(sender, batch))
        self.consume(line, sender, recipient)


def _settled_sends_nothing(self: Schedule, now: float) -> None:
    """What an answer does not cover stays under way."""
    flying = dict(self._flying)
    phases = {i: self._deliveries[i].phase for i in flying}
    self._flying.clear()
    _true_settled(self, now)
    self._flying.update(flying)
    for document_id, phase in phases.items():
        self._deliveries[document_id].phase = phase


def _failed_is_sent(
    self: Schedule, ids: Any, now: float, *, reachable: bool, maybe: bool, problem: str
) -> None:
    """A failed attempt counts as an accepted one."""
    self.accepted(ids)


def _failed_is_dropped(
    self: Schedule, ids: Any, now: float, *, reachable: bool, maybe: bool, problem: str
) -> None:
    _true_failed(self, ids, now, reachable=reachable, maybe=maybe, problem=problem)
    if not maybe:
        self.remove(ids)


_true_failed = Schedule.failed


def _accepted_is_received(self: Schedule, ids: Any) -> None:
    """A broker's word counts as the partner's."""
    self.remove(list(ids))


def _no_back_off_end(self: Schedule, now: float) -> None:
    self.heard_at = now


def _released_not_sent(self: Node, peer: Peer, outcome: Outcome) -> list[Message]:
    outcome.effects.released.clear()
    return _true_after_commit(self, peer, outcome)


_true_after_commit = Node.after_commit


def _start_empty(self: Node, peer: Peer) -> None:
    """A start does not look for what an earlier process had not got across."""
    self.wake(peer)


def _received_stays(self: Schedule, ids: Any) -> None:
    """What is received is not taken off the schedule."""


def _window_leaks(self: Schedule, ids: Any) -> None:
    """Received documents go on counting as under way."""
    for document_id in ids:
        self._deliveries.pop(document_id, None)


# -- the store ---------------------------------------------------------------------------------------------------------------------


def _submit_without_keys(db: store.Database, document: Document, key: str, answers: str | None = None) -> Any:
    """The idempotency key is not recorded."""
    outcome = _true_submit(db, document, key, answers)
    db.idempotency.pop(key, None)
    return outcome


def _submit_without_claims(
    db: store.Database, document: Document, key: str, answers: str | None = None
) -> Any:
    outcome = _true_submit(db, document, key, answers)
    if outcome == document.id and document.claim is not None:
        del db.claims[document.claim]
    return outcome


_true_submit = store.submit


def _bug(name: str, *patches: Patch, because: str = "", seed: int = 1) -> Bug:
    return Bug(name, patches, because, seed)


def first_failure(bug: Bug, seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first of `seeds` that fails with the bug in place, and how: a violation, or an exception of the core."""
    with bug.planted():
        for seed in seeds:
            try:
                failure = play.run(World(seed))
            except (KeyError, ValueError, AssertionError) as error:
                return seed, f"{type(error).__name__} {error}"
            if failure is not None:
                return seed, failure
    return None


FOUND: Final = [
    _bug(
        "no dedupe",
        (register, "on_documents", _admit_again),
        (store.Database, "insert", _insert_quietly),
        (Register, "append", _append_quietly),
    ),
    _bug("a receipt names all that came", (register, "on_documents", _receipt_all)),
    _bug("entries are not committed with their documents", (Ledger, "admit", _admit_without_entries)),
    _bug("documents are not committed with their entries", (Ledger, "admit", _admit_without_documents)),
    _bug("the head saved is not the last one", (Ledger, "admit", _admit_in_reverse)),
    _bug("any receipt is believed", (register, "on_receipt", _believe_all)),
    _bug("a receipt for an unknown document is believed", (register, "on_receipt", _believe_unknown)),
    _bug("any status completes an exchange", (register, "on_status", _any_status_any_time)),
    _bug("what a status shows beyond is not followed", (register, "on_status", _believe_status)),
    _bug("the nonce of a status is not compared", (register, "on_status", _any_status)),
    _bug("the nonce of a page is not compared", (register, "on_page", _any_page)),
    _bug("never shorten", (register, "_shorten", _never_shorten)),
    _bug("what was lost still counts as received", (Ledger, "shorten", _shorten_without_release)),
    _bug("never take back", (register, "on_page", _never_take_back)),
    _bug("the search ends one too high", (register, "_shorten", _search_off_by_one)),
    _bug("one page is enough", (register, "on_page", _first_page_only)),
    _bug("pages come without documents", (Node, "say", _no_documents_with_pages)),
    _bug("what comes back has no claim", (Ledger, "take_back", _lose_claims)),
    _bug("what is believed is not marked as received", (Ledger, "believe", _take_back_as_waiting)),
    _bug("sending does not wait for the first answer", (Peer, "sending", property(_always_ready))),
    _bug("a start counts as an answer", (Node, "refill", _ready_without_asking)),
    _bug("no question ever", (Schedule, "ask_due", _never_ask)),
    _bug("a status leaves out what is parked", (register, "on_status_request", _keep_parked)),
    _bug("only a ready node answers", (register, "on_status_request", _answer_only_when_ready)),
    _bug("what is parked is receipted", (register, "on_documents", _drop_parked_and_forget)),
    _bug("never withhold", (register, "_excluded", _never_withhold)),
    _bug("what was said after all stays withheld", (Ledger, "believe", _withhold_for_ever), seed=5350),
    _bug("what is withheld is sent", (Ledger, "withhold", _withheld_stays_scheduled)),
    _bug("an empty page is a contradiction", (register, "on_page", _empty_page_contradicts), seed=473),
    _bug("replies leave before the commit", (Node, "crash_points", _send_before_commit)),
    _bug("what an answer does not cover stays under way", (Schedule, "settled", _settled_sends_nothing)),
    _bug(
        "acknowledged before the commit, and never sent again",
        (Network, "deliver", _acknowledge_first),
        (Schedule, "settled", _settled_sends_nothing),
    ),
    _bug("what failed is dropped", (Schedule, "failed", _failed_is_dropped)),
    _bug("a broker's confirm counts as a receipt", (Schedule, "accepted", _accepted_is_received)),
    _bug("what was released is not sent", (Node, "after_commit", _released_not_sent)),
    _bug("a start does not look for what waits", (Node, "refill", _start_empty)),
    _bug("what is received stays on the schedule", (Schedule, "remove", _received_stays)),
    _bug("the window leaks", (Schedule, "remove", _window_leaks)),
    _bug("idempotency keys are not recorded", (store, "submit", _submit_without_keys)),
    _bug("claims are not recorded", (store, "submit", _submit_without_claims)),
]

REDUNDANT: Final = [
    _bug(
        "no periodic question",
        (Schedule, "settled", _ask_once),
        because="a start asks, whoever learns from it that a register is shorter asks back, and a missing receipt asks: what the period adds is a register "
        "that changes while its owner neither starts nor is sent anything, which honest nodes do not have",
    ),
    _bug(
        "what stands in their register is withheld",
        (register, "_excluded", _withhold_what_stands),
        because="the same step believes the entry, which lifts it, and its author has been told all the same (R10)",
    ),
    _bug(
        "the head before a page is not compared",
        (register, "on_page_request", _page_without_place),
        because="the asker compares the head after it, and asks again (R5)",
    ),
    _bug(
        "the store shortens by one more",
        (Ledger, "shorten", _shorten_too_far),
        because="the page then begins beyond what is known, so the exchange begins anew and finds the entry again (R6)",
    ),
    _bug(
        "a receipt's head is not checked",
        (register, "on_receipt", _believe_without_head),
        because="an honest partner's next status shows the other chain (R6); against a liar stands a vector, not a seed",
    ),
    _bug(
        "copies are not receipted",
        (register, "on_documents", _no_receipt_for_copies),
        because="R8 asks within seconds when a receipt is missing, and the answer covers the copy (R6)",
    ),
    _bug(
        "odd receipts are ignored",
        (register, "on_receipt", _ignore_odd_receipts),
        because="they make a node ask sooner; it asks anyway, at the latest after a few minutes (R8)",
    ),
    _bug(
        "the search ends one too low",
        (register, "_shorten", _search_too_low),
        because="paging forward from a lower common head finds the same entries again (R6)",
    ),
    _bug(
        "parked documents are dropped",
        (register, "_admit_parked", _drop_parked),
        because="nothing that was parked was receipted, so its sender sends it again (R2)",
    ),
    _bug(
        "acknowledged before the commit",
        (Network, "deliver", _acknowledge_first),
        because="what was not committed was not receipted, so its sender sends it again (R2)",
    ),
    _bug(
        "a failed attempt counts as accepted",
        (Schedule, "failed", _failed_is_sent),
        because="a missing receipt is asked about, and what the answer does not cover is sent again (R8, R6)",
    ),
    _bug(
        "back-off does not end when the partner is heard",
        (Schedule, "heard", _no_back_off_end),
        because="back-off is capped, so this costs minutes and never a document (R2)",
    ),
    _bug(
        "documents are admitted before the node is ready",
        (register, "on_documents", _admit_before_ready),
        because="a denial waits for an answer of its own; parking spares officers the notes that a forgetful node would make",
    ),
]

# Found by seeds too, but by one in thousands; a scenario of their own in test_simulation.py finds them every time.
DIRECTED: Final = [
    _bug("a number is denied without asking", (Node, "may_deny", _deny_at_once)),
    _bug("a number is denied before anything is known", (Node, "may_deny", _deny_unready)),
]

ALL: Final[Mapping[str, Bug]] = {bug.name: bug for bug in [*FOUND, *REDUNDANT, *DIRECTED]}
