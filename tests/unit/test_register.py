"""`kpmsg.register`: whole exchanges between two ledgers, without a network. Single decisions: protocol/vectors/registers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count

import pytest

from kpmsg import register
from kpmsg.frames import Page, PageRequest, Receipt, Request, Statement, Status, StatusRequest
from kpmsg.register import NOTHING, Conversation, Head, Step, extend
from tests.simulation.store import Database, Document, Ledger

AT = "2026-03-02T10:00:00Z"


def document(n: int, claim: str | None = None) -> Document:
    return Document(hashlib.sha256(f"{n}".encode()).hexdigest(), "BW", "AE", "notification", f"BW{n}", claim)


class Two:
    """BW, which writes documents, and AE, which keeps the register of them. Whatever is said arrives."""

    def __init__(
        self, *, at_bw: Sequence[int] = (), known: Sequence[int] = (), held: Sequence[int] = ()
    ) -> None:
        self.bw, self.ae = Database.empty(["AE"]), Database.empty(["BW"])
        for n in at_bw:
            self.bw.insert(document(n))
        for n in held:
            self.ae.insert(document(n))
        self.bw.known["AE"].append(extend(Head(), [document(n).id for n in known])[0])
        self.ae.held["BW"].append(extend(Head(), [document(n).id for n in held])[0])
        self.bw.received.update(document(n).id for n in known)
        self.conversation = Conversation()
        self.reports: list[str] = []
        self.questions = 0
        self._nonces = count(1)

    def nonce(self) -> str:
        return f"nonce-{next(self._nonces):012d}"

    def exchange(self) -> None:
        """Ask, and answer until the exchange is complete."""
        ledger = Ledger(self.bw, "BW", "AE")
        step = register.ask(self.conversation, ledger, self.nonce())
        while step.say:
            (said,) = step.say
            self.conversation = step.conversation
            self.questions += 1
            step = self._answered(said)
            ledger = Ledger(self.bw, "BW", "AE")
            ledger.record(step.changes)
            self.reports += [kind for kind, _ in ledger.effects.reports]
        assert step.settled
        self.conversation = step.conversation

    def _answered(self, said: Statement | Request) -> Step:
        mine, theirs = Ledger(self.bw, "BW", "AE"), Ledger(self.ae, "AE", "BW")
        if isinstance(said, StatusRequest):
            (status,) = register.on_status_request(Conversation(), said, theirs, self.nonce, AT).say
            assert isinstance(status, Status)
            return register.on_status(self.conversation, status, mine, self.nonce, AT)
        assert isinstance(said, PageRequest)
        page: Page = register.on_page_request(said, theirs, AT)
        returned = {i: self.ae.documents[i] for i in page.ids if i in said.lacks}
        return register.on_page(self.conversation, page, returned, mine, self.nonce, AT)

    @property
    def agree(self) -> bool:
        return self.bw.known["AE"].ids == self.ae.held["BW"].ids and self.bw.received == set(
            self.ae.held["BW"].ids
        )


def test_the_head_of_nothing_is_zeros() -> None:
    assert extend(Head(), []) == ((), Head(0, NOTHING))


def test_a_head_chains_the_one_before_and_the_id() -> None:
    first = document(1).id
    expected = hashlib.sha256(b"\x01" + bytes(32) + bytes.fromhex(first)).hexdigest()
    assert extend(Head(), [first])[1] == Head(1, expected)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 33])
def test_the_last_common_head_is_found_wherever_it_is(length: int) -> None:
    known = range(length)
    for common in range(length + 1):
        other = [*range(common), *range(100, 103)]
        two = Two(at_bw=[*known, 100, 101, 102], known=known, held=other)
        two.exchange()
        assert two.agree
        assert two.reports == (["register-differs"] if common < length else [])
        assert two.questions <= 4 + length.bit_length()


@pytest.mark.parametrize("size", range(8))
def test_a_shorter_register_is_known_shorter_and_reported(size: int) -> None:
    two = Two(at_bw=range(8), known=range(8), held=range(size))
    two.exchange()
    assert two.agree
    assert two.reports == ["register-shorter"]
    assert two.bw.waiting("BW", "AE") == [document(n).id for n in range(size, 8)]


def test_everything_forgotten_is_taken_back_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "MAX_DOCUMENTS", 3)
    two = Two(held=range(10))
    two.exchange()
    assert two.agree
    assert list(two.bw.documents) == [document(n).id for n in range(10)]
    assert two.reports == []


def test_partial_answers_bring_the_exchange_forward_while_the_register_grows() -> None:
    two = Two(held=range(6))
    ledger = Ledger(two.bw, "BW", "AE")
    step = register.ask(two.conversation, ledger, two.nonce())
    for round_ in range(30):
        (said,) = step.say
        two.conversation = step.conversation
        if isinstance(said, StatusRequest):
            step = two._answered(said)
        else:
            assert isinstance(said, PageRequest)
            if round_ < 4:  # it grows by something new each time
                more = document(50 + round_)
                two.ae.insert(more)
                two.ae.held["BW"].append(extend(two.ae.held["BW"].end, [more.id])[0])
            page = register.on_page_request(said, Ledger(two.ae, "AE", "BW"), AT)
            wanted = [i for i in page.ids if i in said.lacks][:2]  # only two at a time have room
            returned = {i: two.ae.documents[i] for i in wanted}
            step = register.on_page(
                two.conversation, page, returned, Ledger(two.bw, "BW", "AE"), two.nonce, AT
            )
        ledger = Ledger(two.bw, "BW", "AE")
        ledger.record(step.changes)
        if step.settled:
            break
    assert two.agree
    assert ledger.effects.reports == []


def test_an_overridden_node_admits_and_receipts_what_was_parked() -> None:
    db = Database.empty(["BW"])
    items = [document(1), document(2)]
    waiting = register.on_documents(Conversation(), items, Ledger(db, "AE", "BW"), AT)
    assert (waiting.changes, waiting.say) == ((), ())
    step = register.override(waiting.conversation, Ledger(db, "AE", "BW"), AT)
    (receipt,) = step.say
    assert isinstance(receipt, Receipt)
    assert receipt.ids == (items[0].id, items[1].id)
    assert step.conversation == Conversation(ready=True)


def test_parking_is_bounded() -> None:
    db = Database.empty(["BW"])
    conversation = Conversation()
    for start in range(0, 2000, 100):
        items = [document(n) for n in range(start, start + 100)]
        conversation = register.on_documents(conversation, items, Ledger(db, "AE", "BW"), AT).conversation
    assert len(conversation.parked) == register.MAX_PARKED
