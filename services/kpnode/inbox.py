"""From a partner's frames to committed effects and signed replies: the way of everything that comes in.

    bytes --open--> verified documents, statements, requests      pure, off the event loop when there is much of it
          --step--> decisions of kpmsg.register                    inside one transaction
          --commit
          --say---> signed replies, returned to the transport      never before the commit (R1)

What fails verification leaves no trace but its quarantined bytes and a count (R9); it never reaches the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from kpmsg import documents, frames, jws, register
from kpmsg.errors import MalformedError, MisaddressedError, RefusedError, UntrustedKeyError
from kpmsg.fileframes import FileWord
from kpmsg.frames import Frame, Page, PageRequest, Receipt, Refusal, Request, Statement, Status, StatusRequest
from kpmsg.keyrecord import KeyRecord
from kpmsg.keys import Signer
from kpmsg.policy import Practice
from kpmsg.register import Conversation, Step
from kpmsg.verification import Verified, open_documents, open_statement
from kpnode import crash
from kpnode.store.database import Transaction
from kpnode.store.documents import Item, raws
from kpnode.store.ledger import Effects, PartnerLedger
from kpnode.store.refusals import quarantine, refuse

PORTION: Final = 32
"""So many frames share a transaction at most."""

_OUT_OF_TIME = frozenset({"key-expired", "key-retired"})


@dataclass(frozen=True, slots=True)
class Parties:
    """Who we are and who speaks, with every key record version of both, newest last."""

    me: str
    partner: str
    own_records: Sequence[KeyRecord]
    partner_records: Sequence[KeyRecord]
    node_signer: Signer
    practice: Practice


@dataclass(frozen=True, slots=True)
class Arrived:
    """One frame whose every part has been verified. `signed` is the statement's JWS."""

    content: Statement | Request | None
    items: tuple[Item, ...] = ()
    signed: bytes | None = None


@dataclass(slots=True)
class Opened:
    """What came out of a delivery: what may be believed, and what must not be (bytes, code, text)."""

    arrived: list[Arrived] = field(default_factory=list)
    refused: list[tuple[bytes, str, str]] = field(default_factory=list)
    answerable: list[tuple[bytes, str, str]] = field(
        default_factory=list
    )  # those of `refused` that are owed a refusal
    files: list[FileWord] = field(default_factory=list)  # for `kpnode.files`; nothing of it is signed

    def portions(self) -> Iterator[Opened]:
        """All of it that concerns registers, in portions for one transaction each: those of other partners come in between."""
        yield Opened(self.arrived[:PORTION], self.refused, self.answerable)
        for start in range(PORTION, len(self.arrived), PORTION):
            yield Opened(self.arrived[start : start + PORTION])


@dataclass(slots=True)
class Outcome:
    """What the transaction leaves behind for the time after its commit."""

    conversation: Conversation
    effects: Effects
    replies: list[bytes]
    requests: list[Request]
    settled: bool
    refusals: list[tuple[str, str]]  # our documents that the partner refused: id, text


def open_frames(deliveries: Iterable[bytes], parties: Parties, now: datetime) -> Opened:
    """Verify everything in some frames. Pure computation; no exception but a bug leaves it."""
    opened = Opened()
    for data in deliveries:
        try:
            _open_frame(frames.decode(data), parties, now, opened)
        except RefusedError as error:
            spoiled = (data, error.code, error.text)
            opened.refused.append(spoiled)
            if (
                frames.claimed_name(data) != "refusal"
            ):  # two nodes must not refuse each other's refusals for ever
                opened.answerable.append(spoiled)
    _leave_the_last_question(opened)
    return opened


def _leave_the_last_question(opened: Opened) -> None:
    """Of what is asked in one delivery the last counts (R5): who asks a hundred times must not make us hold a hundred pages."""
    asked = [i for i, arrived in enumerate(opened.arrived) if isinstance(arrived.content, Request)]
    for i in reversed(asked[:-1]):
        del opened.arrived[i]


def _open_frame(frame: Frame, parties: Parties, now: datetime, opened: Opened) -> None:
    if frame.sender != parties.partner or frame.recipient != parties.me:
        # The transport has proven who is speaking; a frame that says otherwise is a fault or a fraud (S59).
        raise MisaddressedError(
            "address-frame", "the frame is not from the partner it came from, or not for us"
        )
    if frame.file is not None:
        opened.files.append(frame.file)
        return
    if frame.request is not None:
        opened.arrived.append(Arrived(frame.request))
        return
    if frame.name == "documents":
        items = _open_lines(
            frame.lines, parties.partner_records, parties.partner, parties.me, now, opened, parties.practice
        )
        if items:
            opened.arrived.append(Arrived(None, tuple(items)))
        return
    statement = _open_statement(frame, parties, now)
    items = []
    if isinstance(
        statement, Page
    ):  # what comes with a page is ours, and only our own signature makes it so (R6)
        items = _open_lines(
            frame.lines[1:], parties.own_records, parties.me, parties.partner, None, opened, parties.practice
        )
    opened.arrived.append(Arrived(statement, tuple(items), frame.lines[0]))


def _open_lines(
    lines: Sequence[bytes],
    sender: Sequence[KeyRecord],
    source: str,
    recipient: str,
    now: datetime | None,
    opened: Opened,
    practice: Practice,
) -> list[Item]:
    items = []
    for line, first in zip(
        lines, open_documents(lines, sender=sender, source=source, recipient=recipient, now=now), strict=True
    ):
        result, late = first, False
        if isinstance(result, UntrustedKeyError) and result.code in _OUT_OF_TIME and now is not None:
            # Sent again long after it was written, since our register was restored or lost. Admitted, so that nothing is lost
            # by a rotation of keys, and shown to an officer, since whoever has an old key could have written an old date.
            result = open_documents([line], sender=sender, source=source, recipient=recipient, now=None)[0]
            late = True
        if isinstance(result, Verified):
            subject = result.document.subject
            claim = documents.claim(result.document, practice.key(subject) if subject else None)
            items.append(Item(result, claim, late))
        else:
            opened.refused.append((line, result.code, result.text))
            if now is not None:
                opened.answerable.append((line, result.code, result.text))
    return items


def _open_statement(frame: Frame, parties: Parties, now: datetime) -> Statement:
    payload = open_statement(frame.lines[0], frames.TYP[frame.name], parties.partner_records, now)
    sender, recipient = frames.addresses(payload)
    if sender != parties.partner or recipient != parties.me:
        raise MisaddressedError("address-statement", "the statement was signed for somebody else")
    match frame.name:
        case "receipt":
            return Receipt.read(payload)
        case "refusal":
            return Refusal.read(payload)
        case "status":
            return Status.read(payload)
        case "page":
            return Page.read(payload)
    raise MalformedError("frame-name", "not a statement")


def transact(
    connection: Transaction,
    conversation: Conversation,
    opened: Opened,
    parties: Parties,
    *,
    at: str,
    nonce: Callable[[], str],
    set_aside: frozenset[str] = frozenset(),
) -> Outcome:
    """Everything that one delivery changes, in the transaction of `connection`. Returns what to do once it committed."""
    ledger = PartnerLedger(connection, parties.partner, at, parties.practice, set_aside=set_aside)
    outcome = Outcome(conversation, ledger.effects, [], [], settled=False, refusals=[])
    for arrived in _joined(opened.arrived):
        step = Step(outcome.conversation)
        match arrived.content:
            case StatusRequest() as request:
                step = register.on_status_request(outcome.conversation, request, ledger, nonce, at)
            case PageRequest() as request:
                _answer_page(outcome, parties, connection, ledger, request, at)
            case Refusal() as refusal:
                _refused(outcome, parties, connection, refusal, at)
            case None:
                step = register.on_documents(outcome.conversation, arrived.items, ledger, at)
            case Receipt() as receipt:
                step = register.on_receipt(outcome.conversation, receipt, ledger, nonce)
            case Status() as status:
                step = register.on_status(outcome.conversation, status, ledger, nonce, at)
            case Page() as page:
                crash.point("P1")
                returned = {item.id: item for item in arrived.items}
                step = register.on_page(outcome.conversation, page, returned, ledger, nonce, at)
        ledger.record(step.changes, arrived.signed)
        take_step(outcome, parties, ledger, step)
    if opened.refused:
        quarantine(connection, parties.partner, at, opened.refused)
        for raw, code, text in opened.answerable[: frames.MAX_DOCUMENTS]:
            digest = hashlib.sha256(raw).hexdigest()
            _say(outcome, parties, Refusal(digest, _unverified_id(raw), code, text[:1000], at))
    _crash_points_before(outcome.effects)
    return outcome


def take_step(outcome: Outcome, parties: Parties, ledger: PartnerLedger, step: Step) -> None:
    """Sign what the core wants said; receipts that name documents are kept in the same transaction (R1)."""
    outcome.conversation = step.conversation
    outcome.settled |= step.settled
    for said in step.say:
        if isinstance(said, StatusRequest | PageRequest):
            outcome.requests.append(said)
            outcome.replies.append(frames.encode_request(said, parties.me, parties.partner))
        else:
            signed = _say(outcome, parties, said)
            if isinstance(said, Receipt) and said.ids:
                ledger.given(said.first, said.size, signed)


def _say(outcome: Outcome, parties: Parties, statement: Statement, attached: Sequence[bytes] = ()) -> bytes:
    name = frames.statement_name(statement)
    payload = frames.statement_payload(statement, parties.me, parties.partner)
    signed = jws.sign(payload, frames.TYP[name], [parties.node_signer])
    outcome.replies.append(Frame(name, parties.me, parties.partner, (signed, *attached)).encode())
    return signed


def _answer_page(
    outcome: Outcome,
    parties: Parties,
    connection: Transaction,
    ledger: PartnerLedger,
    request: PageRequest,
    at: str,
) -> None:
    page = register.on_page_request(request, ledger, at)
    wanted = set(request.lacks)
    found = raws(connection, [i for i in page.ids if i in wanted]) if wanted else {}
    attached, room = [], frames.MAX_FRAME_BYTES - frames.MAX_STATEMENT_BYTES * 2
    for document_id in page.ids:
        raw = found.get(document_id)
        if raw is not None and len(raw) < room:  # what does not fit is asked for with the next page
            attached.append(raw)
            room -= len(raw) + 1
    _say(outcome, parties, page, attached)


def _refused(outcome: Outcome, parties: Parties, connection: Transaction, refusal: Refusal, at: str) -> None:
    text = f"{refusal.code}: {refusal.text}"
    if refusal.document is not None and refuse(connection, parties.partner, refusal.document, text, at):
        outcome.refusals.append((refusal.document, text))


def _joined(arrived: Sequence[Arrived]) -> Iterable[Arrived]:
    """Neighbouring `documents` frames as one, as far as one receipt can cover them."""
    items: list[Item] = []
    for frame in arrived:
        if frame.content is None and len(items) + len(frame.items) <= frames.MAX_RECEIPT_IDS:
            items.extend(frame.items)
            continue
        if items:
            yield Arrived(None, tuple(items))
            items = []
        if frame.content is None:
            items.extend(frame.items)
        else:
            yield frame
    if items:
        yield Arrived(None, tuple(items))


def _unverified_id(raw: bytes) -> str | None:
    """The id that refused bytes would have, so that their sender can find them; None if they are not even a JWS."""
    try:
        return hashlib.sha256(jws.peek(raw).unverified_payload).hexdigest()
    except RefusedError:
        return None


def _crash_points_before(effects: Effects) -> None:
    if effects.admitted:
        crash.point("B1")
    if effects.received:
        crash.point("A8")
    if effects.taken_back:
        crash.point("A9")


def crash_points_after(effects: Effects) -> None:
    """The same for the moment after the commit, when nothing has been said or acknowledged yet."""
    if effects.admitted:
        crash.point("B2")
    if effects.taken_back:
        crash.point("A9-after")
