"""Registers and receipts: who holds what, decided without a socket, a clock, a random number or a database.

For each pair of authorities and each direction there is one *register*, kept by the receiver: the ordered, hash-chained
list of the documents it has taken in from that sender. Two of them meet at every node, for every partner:

* `held`: our register of their documents. We extend it, and only we.
* `known`: their register of ours, as far as they have signed it to us. We only ever follow it.

Everything here has the form `(conversation, frame, ledger) -> Step(conversation, changes, say)`. A `Conversation` is a small
frozen value that dies with the process; a `Ledger` is what is committed, read inside the very transaction that will record
`changes`; `say` leaves the process only after that transaction has committed (R1). A crash at any line of the caller
therefore loses at most a `Conversation`, and losing one costs one `status?`.

Rule numbers (R1 .. R10) are those of protocol/registers.md. This module decides R3, R5, R6, R7, R8 and R10; *when* to send
is `kpmsg.schedule`; whether bytes may be believed at all is `kpmsg.verification`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from kpmsg.frames import (
    MAX_DOCUMENTS,
    MAX_RECEIPT_IDS,
    Page,
    PageRequest,
    Receipt,
    Request,
    Statement,
    Status,
    StatusRequest,
)

NOTHING: Final = "00" * 32
MAX_PARKED: Final = MAX_RECEIPT_IDS  # what waits for the first status exchange fits into one receipt


@dataclass(frozen=True, slots=True)
class Head:
    """How far a register goes: `size` entries, and the hash that chains them."""

    size: int = 0
    head: str = NOTHING


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a register: at `position` (from 1) stands `id`, and `head` is the register's head after it."""

    position: int
    id: str
    head: str


def extend(start: Head, ids: Iterable[str]) -> tuple[tuple[Entry, ...], Head]:
    """The entries that `ids` become when appended after `start`: head_i = SHA-256(0x01 || head_(i-1) || id_i)."""
    entries = []
    size, head = start.size, bytes.fromhex(start.head)
    for document_id in ids:
        size += 1
        head = hashlib.sha256(b"\x01" + head + bytes.fromhex(document_id)).digest()
        entries.append(Entry(size, document_id, head.hex()))
    return tuple(entries), Head(size, head.hex())


class Item(Protocol):
    """What the core needs to know of a verified document: its id, and what it claims for itself alone."""

    @property
    def id(self) -> str: ...
    @property
    def claim(self) -> str | None: ...


class Ledger(Protocol):
    """What one authority has committed about one partner. Read inside the transaction that records the changes."""

    def held(self) -> Head:
        """Our register of their documents."""

    def held_head(self, size: int) -> str | None:
        """Our register's head when it had `size` entries; None if it never had so many."""

    def held_ids(self, first: int, count: int) -> Sequence[str]:
        """Our register's ids at positions `first` .. `first + count - 1`, as many as exist."""

    def among_held(self, ids: Collection[str]) -> Collection[str]:
        """Those of `ids` that our register has."""

    def known(self) -> Head:
        """Their register of our documents, as far as they have signed it and we have recorded it."""

    def known_head(self, size: int) -> str | None:
        """Their register's head at `size`, as recorded; None beyond `known`."""

    def among_known(self, ids: Collection[str]) -> Collection[str]:
        """Those of `ids` that stand in `known`."""

    def ours(self, ids: Collection[str]) -> Collection[str]:
        """Those of `ids` that are documents of ours to this partner, whose bytes we have."""

    def withheld(self, ids: Collection[str]) -> Collection[str]:
        """Those of `ids` that are withheld; asked only after `ours` has been asked about them."""

    def claimant(self, claim: str) -> tuple[str, bool] | None:
        """Who of our documents, to any partner, has `claim`, and whether its recipient has it in its register."""


# -- what a step asks the caller to record, all in one transaction -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admit:
    """Append `entries` to our register, with the documents and their effects on their certificates (R3)."""

    items: tuple[Item, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Believe:
    """Their register has these further entries, by their signature: those documents of ours are received (R5).

    One that was withheld has been said after all, and is withheld no longer.
    """

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Shorten:
    """Their register agrees with what they signed to us up to `size` only: what came after is not held any more (R6)."""

    size: int


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Documents of ours that we had forgotten and that their register holds, verified by our own signature (R6)."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Withhold:
    """`id` has not left us and must not: `by`, which we had forgotten, already makes the same claim (R10)."""

    id: str
    by: str


@dataclass(frozen=True, slots=True)
class Report:
    """Something officers on both sides must see, with the statement that shows it; nothing else follows from it (R7)."""

    kind: str
    text: str


Change = Admit | Believe | Shorten | TakeBack | Withhold | Report


# -- the conversation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """An open question. `search` is the range in which the last common head lies, while we look for it."""

    nonce: str
    request: Request
    known: Head
    search: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one process remembers of its talk with one partner. Lost in a crash, and cheap to lose.

    `ready` becomes true with the first completed `status` exchange after the start (R10); until then documents that arrive
    are parked, since a node that was restored does not yet know what it has said about them.
    """

    ready: bool = False
    asked: Asked | None = None
    parked: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one decision: the next conversation, what to record, and what to say once it is recorded.

    `settled` tells that a `status` exchange was completed: whatever was sent before it was asked and is not in `known`
    now was lost on the way and may be sent again.
    """

    conversation: Conversation
    changes: tuple[Change, ...] = ()
    say: tuple[Statement | Request, ...] = ()
    settled: bool = False


def ask(conversation: Conversation, ledger: Ledger, nonce: str) -> Step:
    """R8, R10: ask how far their register of our documents goes. Any older question is void from here on."""
    known = ledger.known()
    request = _about(known, ledger, nonce)
    return Step(replace(conversation, asked=Asked(nonce, request, known)), say=(request,))


def _about(known: Head, ledger: Ledger, nonce: str) -> StatusRequest:
    held = ledger.held()
    return StatusRequest(nonce, known.size, known.head, held.size, held.head)


def override(conversation: Conversation, ledger: Ledger, at: str) -> Step:
    """R10: an operator has decided, with a reason, not to wait for the first status exchange."""
    return _admit_parked(Step(replace(conversation, ready=True)), ledger, at)


def on_documents(conversation: Conversation, items: Sequence[Item], ledger: Ledger, at: str) -> Step:
    """R3: admit what is new, once, and receipt all of it. `items` have been verified; at most MAX_RECEIPT_IDS of them."""
    if not conversation.ready:
        parked = (*conversation.parked, *items)[:MAX_PARKED]  # what does not fit is sent again by R2
        return Step(replace(conversation, parked=parked))
    unique = {item.id: item for item in items}
    there = ledger.among_held(unique)
    new = tuple(item for document_id, item in unique.items() if document_id not in there)
    held = ledger.held()
    ids = tuple(item.id for item in new)
    entries, head = extend(held, ids)
    receipt = Receipt(first=held.size + 1, ids=ids, size=head.size, head=head.head, at=at)
    return Step(conversation, (Admit(new, entries),) if new else (), (receipt,))


def on_receipt(
    conversation: Conversation, receipt: Receipt, ledger: Ledger, nonce: Callable[[], str]
) -> Step:
    """R5: believe a receipt only if it extends what we know; whatever else it says is a reason to ask."""
    known = ledger.known()
    if (
        receipt.size <= known.size
        and ledger.known_head(receipt.size) == receipt.head
        and (receipt.ids or receipt.size == known.size)
    ):
        return Step(conversation)  # a copy of something that we know already
    if receipt.first == known.size + 1 and receipt.ids:
        entries, head = extend(known, receipt.ids)
        ours = head.head == receipt.head and len(ledger.ours(receipt.ids)) == len(receipt.ids)
        if ours and not ledger.among_known(receipt.ids):
            return Step(conversation, (Believe(entries), *_said_after_all(entries, ledger)))
    if conversation.asked is not None:
        return Step(conversation)
    return ask(conversation, ledger, nonce())


def on_status_request(
    conversation: Conversation,
    request: StatusRequest,
    ledger: Ledger,
    nonce: Callable[[], str],
    at: str,
) -> Step:
    """Answer for our register of their documents. Always answered, also before we are ready ourselves.

    The answer speaks for everything that came before the question, so what is parked is dropped: the asker may have forgotten it in
    a restore, and would say the same again believing that it never left. What it has not forgotten it sends again (R2).

    If their own register has lost something, by what they say of it, we ask at once (R8): only an answer of theirs is proof.
    """
    held = ledger.held()
    agrees = ledger.held_head(request.size) == request.head
    answer = Status(request.nonce, request.size, agrees, held.size, held.head, at)
    step = Step(replace(conversation, parked=()), say=(answer,))
    if conversation.asked is not None or not _lost_some(request, ledger.known()):
        return step
    question = ask(step.conversation, ledger, nonce())
    return replace(question, say=(answer, *question.say))


def _lost_some(request: StatusRequest, known: Head) -> bool:
    """Whether their register cannot be the one that they signed to us. One that is longer may be: its receipts are on their way."""
    shorter = request.held_size < known.size
    return shorter or (request.held_size == known.size and request.held_head != known.head)


def on_page_request(request: PageRequest, ledger: Ledger, at: str) -> Page:
    """Answer with the entries from `first` on; with none, if our head before them is not the one the asker has.

    The caller attaches the documents of `request.lacks` that stand among the ids of the page.
    """
    held = ledger.held()
    before = ledger.held_head(request.first - 1)
    if before != request.before:
        return Page(request.nonce, request.first, (), before or NOTHING, held.size, at)
    ids = tuple(ledger.held_ids(request.first, MAX_DOCUMENTS))
    head = ledger.held_head(request.first - 1 + len(ids)) or NOTHING
    return Page(request.nonce, request.first, ids, head, held.size, at)


def on_status(
    conversation: Conversation, status: Status, ledger: Ledger, nonce: Callable[[], str], at: str
) -> Step:
    """R5, R6: only an answer with our nonce counts. Find the last common head, then page forward from it."""
    asked = conversation.asked
    if asked is None or status.nonce != asked.nonce or not isinstance(asked.request, StatusRequest):
        return Step(conversation)
    probe = asked.request.size
    known = ledger.known()
    agrees = status.agrees and status.size >= probe
    if agrees and asked.search is None:
        if status.size <= known.size and ledger.known_head(status.size) == status.head:
            return _settle(conversation, ledger, at)
        if status.size > known.size:
            return _page(conversation, Step(conversation), known, nonce)
    if known != asked.known:
        return ask(
            conversation, ledger, nonce()
        )  # receipts moved `known` meanwhile: nothing can be concluded
    low, high = asked.search or (0, known.size)
    low, high = (probe, high) if agrees else (low, min(probe - 1, status.size))
    if low < high:
        middle = status.size if low < status.size == high < probe else (low + high + 1) // 2
        head = ledger.known_head(middle)
        if head is not None:
            request = _about(Head(middle, head), ledger, nonce())
            return Step(
                replace(conversation, asked=Asked(request.nonce, request, known, (low, high))), say=(request,)
            )
    return _shorten(conversation, status, low, known, ledger, nonce, at)


def _shorten(
    conversation: Conversation,
    status: Status,
    common: int,
    known: Head,
    ledger: Ledger,
    nonce: Callable[[], str],
    at: str,
) -> Step:
    """R6, R7: the registers agree up to `common`. What they signed beyond it is not held any more and will be sent again."""
    head = ledger.known_head(common)
    if head is None or common > known.size:
        return Step(replace(conversation, asked=None))  # they answered two different things; ask again later
    changes: tuple[Change, ...] = ()
    if common < known.size:
        shorter = status.size <= common
        changes = (
            Shorten(common),
            Report(
                "register-shorter" if shorter else "register-differs",
                f"their register of our documents had {known.size} entries by their signature and now "
                + (
                    f"has {status.size}"
                    if shorter
                    else f"agrees with that up to {common} only (size {status.size})"
                )
                + "; what is missing is being sent again",
            ),
        )
    step = Step(conversation, changes)
    if status.size > common:
        return _page(conversation, step, Head(common, head), nonce)
    return _settle(conversation, ledger, at, step)


def _page(
    conversation: Conversation, step: Step, known: Head, nonce: Callable[[], str], lacks: Sequence[str] = ()
) -> Step:
    request = PageRequest(nonce(), known.size + 1, known.head, tuple(lacks[:MAX_DOCUMENTS]))
    asked = Asked(request.nonce, request, known)
    return replace(step, conversation=replace(conversation, asked=asked), say=(request,))


def on_page(
    conversation: Conversation,
    page: Page,
    returned: Mapping[str, Item],
    ledger: Ledger,
    nonce: Callable[[], str],
    at: str,
) -> Step:
    """R6: follow their register over what we did not know, and take back what we had forgotten.

    `returned`: the documents that came with the page and verified under *our own* signature, by id.
    """
    asked = conversation.asked
    if asked is None or page.nonce != asked.nonce or not isinstance(asked.request, PageRequest):
        return Step(conversation)
    known = ledger.known()
    if page.first != known.size + 1 or asked.request.before != known.head:
        return ask(conversation, ledger, nonce())  # a receipt was faster than the page
    entries, head = extend(known, page.ids)
    quiet = replace(conversation, asked=None)  # asked again by R8
    if not page.ids:
        return Step(
            quiet
        )  # restored between two answers: it is shorter now, or other than what we asked about
    if head.head != page.head or head.size > page.size or ledger.among_known(page.ids):
        return Step(
            quiet, (Report("page-contradicts", "a signed page of their register contradicts itself"),)
        )
    mine = ledger.ours(page.ids)
    lacking = [i for i in page.ids if i not in mine and i not in returned]
    unknown = False
    if lacking:  # go as far as possible; each answer must bring us further, or two partial ones could alternate for ever
        sure = page.ids.index(lacking[0])
        if sure == 0 and lacking[0] not in asked.request.lacks:
            return _page(conversation, Step(conversation), known, nonce, lacking)
        unknown = sure == 0  # asked for, and even the first of them did not come
        entries = entries[: max(1, sure)]
    changes: list[Change] = []
    back = tuple(returned[e.id] for e in entries if e.id in returned and e.id not in mine)
    if back:
        changes += [*_excluded(back, {entry.id for entry in entries}, ledger), TakeBack(back)]
    changes += [Believe(entries), *_said_after_all(entries, ledger)]
    if unknown:
        text = f"position {entries[0].position} of their register names a document that bears no signature of ours"
        changes.append(Report("register-unknown-document", text))
    step = Step(conversation, tuple(changes))
    if entries[-1].position < page.size:
        return _page(
            conversation, step, Head(entries[-1].position, entries[-1].head), nonce, lacking[unknown:]
        )
    return _settle(conversation, ledger, at, step)


def _excluded(back: Sequence[Item], standing: Collection[str], ledger: Ledger) -> list[Change]:
    """R10: what documents that come back do to those that claim the same. `standing`: what their register has, as we learn now."""
    changes: list[Change] = []
    claims: dict[str, str] = {}
    for item in back:
        if item.claim is None:
            continue
        found = ledger.claimant(item.claim)
        other, received = (claims[item.claim], True) if item.claim in claims else found or (item.id, True)
        claims.setdefault(item.claim, item.id)
        if other == item.id:
            continue
        if received or other in standing:
            changes.append(_claim_twice(item.id, other))
        else:
            changes.append(Withhold(other, by=item.id))
    return changes


def _said_after_all(entries: Sequence[Entry], ledger: Ledger) -> list[Change]:
    """R7, R10: a document that was withheld stands in their register, so a copy of it had left before that was decided."""
    return [
        _claim_twice(document_id, None) for document_id in ledger.withheld([entry.id for entry in entries])
    ]


def _claim_twice(one: str, other: str | None) -> Report:
    return Report(
        "claim-twice",
        f"document {one} of ours and {other or 'the one it was withheld for'} make the same claim",
    )


def _settle(conversation: Conversation, ledger: Ledger, at: str, step: Step | None = None) -> Step:
    """The exchange is complete: we know how far their register goes, and what arrived meanwhile may be admitted."""
    step = step or Step(conversation)
    done = replace(conversation, ready=True, asked=None)
    return _admit_parked(replace(step, conversation=done, settled=True), ledger, at)


def _admit_parked(step: Step, ledger: Ledger, at: str) -> Step:
    parked = step.conversation.parked
    conversation = replace(step.conversation, parked=())
    if not parked:
        return replace(step, conversation=conversation)
    admitted = on_documents(conversation, parked, ledger, at)
    return replace(
        admitted, changes=step.changes + admitted.changes, say=step.say + admitted.say, settled=step.settled
    )
