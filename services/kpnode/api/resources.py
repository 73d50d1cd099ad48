"""What the API shows, as JSON: documents with their delivery, certificates, partners' queues, incidents, events.

The second half of the module's work is plain language: where a document is, why it is still there, when it is tried again and who
must act, in a sentence for the person on duty. It reads rows and the live `Peer`, and decides nothing.

Documents are shown by the very bytes that were signed: a payload is put into the answer as it is, never written anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from kpmsg import strictjson
from kpmsg.case import Turn
from kpmsg.errors import Problem
from kpmsg.rules import Language
from kpmsg.schedule import Phase
from kpnode.api.broken import told
from kpnode.author import rfc3339
from kpnode.node import Node
from kpnode.peer import Peer
from kpnode.store.documents import Item, remarks_in
from kpnode.store.incidents import Incident
from kpnode.store.views import CertificateRow, DocumentRow, EventRow, QueueRow

_RECEIVED: Final[dict[str, Any]] = {
    "state": "received",
    "who_must_act": "nobody",
    "sentence": "The partner has signed a receipt for it.",
}
_HELD: Final = _RECEIVED | {
    "sentence": "It came from the partner, and is held here under a receipt that we signed."
}


class Shown:
    """Everything the API shows of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    # -- documents -------------------------------------------------------------------------------------------------------

    def document(self, row: DocumentRow, *, minimal: bool = False, language: Language = "en") -> bytes:
        """One document as it stands in the store."""
        envelope = {
            "id": row.id,
            "type": row.type,
            "direction": row.direction,
            "partner": row.partner,
            "certificate": row.subject or None,
            "created_at": row.created_at,
            "author": row.author,
            "released_by": row.released_by,
            "delivery": self.delivery(row),
        } | _warnings(remarks_in(row.remarks), language)
        return _with_document(envelope, None if minimal else row.payload)

    def committed(
        self, item: Item, author: str, *, received: bool, minimal: bool, language: Language = "en"
    ) -> bytes:
        """One document of ours that has been committed by this request, without asking the store for it again."""
        verified, document = item.verified, item.verified.document
        envelope = {
            "id": verified.id,
            "type": document.type,
            "direction": "out",
            "partner": document.recipient,
            "certificate": document.subject,
            "created_at": rfc3339(document.time),
            "author": author,
            "released_by": None,
            "delivery": _RECEIVED if received else self._on_its_way(verified.id, document.recipient),
        } | _warnings(item.remarks, language)
        return _with_document(envelope, None if minimal else verified.payload)

    def delivery(self, row: DocumentRow) -> dict[str, Any]:
        """Where the document is on the delivery axis, and who must act."""
        if row.direction == "in":
            return _HELD | {"received_at": row.received_at}
        if row.received_at is not None:
            return _RECEIVED | {"received_at": row.received_at}
        if row.withheld is not None:
            sentence = f"It has not been sent, and will not be: {row.withheld}."
            return {"state": "withheld", "who_must_act": "us", "sentence": sentence}
        if row.refused is not None:
            sentence = f"The partner's node refused it: {row.refused}"
            return self._on_its_way(row.id, row.partner) | {
                "state": "refused",
                "problem": row.refused,
                "who_must_act": "us",
                "sentence": sentence,
            }
        return self._on_its_way(row.id, row.partner)

    def _on_its_way(self, document_id: str, partner: str) -> dict[str, Any]:
        peer = self._node.peers.get(partner)
        if peer is None:
            sentence = f"{partner} is not a partner any more, so it waits here."
            return {"state": "queued", "attempts": 0, "who_must_act": "us", "sentence": sentence}
        at = peer.schedule.delivery(document_id)
        shown: dict[str, Any] = {"state": "queued", "attempts": 0}
        if at is not None:
            shown = {"state": str(at.phase), "attempts": at.attempts}
            if at.problem is not None:
                shown["problem"] = at.problem
        if at is not None and at.phase is Phase.HANDED_OVER and peer.trouble is None:
            sentence = "It has been handed over; the partner's signed receipt is awaited."
            return shown | {"who_must_act": "nobody", "sentence": sentence}
        return shown | self._why(peer)

    # -- partners --------------------------------------------------------------------------------------------------------

    def partner(self, row: QueueRow) -> dict[str, Any]:
        """One partner: what was decided about it and which key record we go by. Changes only by decisions."""
        peer = self._node.peers.get(row.address)
        record = peer.records[-1] if peer is not None and peer.records else None
        return {
            "address": row.address,
            "name": row.name,
            "transport": row.transport,
            "added_at": row.added_at,
            "paused": _paused(row),
            "key_record": None
            if record is None
            else {
                "version": record.version,
                "fingerprint": record.fingerprint,
                "authority": record.authority.name,
                "roles": list(record.authority.roles),
            },
        }

    def queue(self, row: QueueRow) -> dict[str, Any]:
        """The delivery queue to one partner."""
        peer, now = self._node.peers.get(row.address), self._node.clock()
        oldest = None
        if row.oldest_id is not None and row.oldest_at is not None:
            age = (now - datetime.fromisoformat(row.oldest_at)).total_seconds()
            oldest = {"id": row.oldest_id, "created_at": row.oldest_at, "age_seconds": max(0, round(age))}
        shown = {
            "partner": row.address,
            "waiting": row.waiting,
            "handed_over": 0 if peer is None else min(row.waiting, peer.schedule.handed_over),
            "received": row.known,
            "oldest": oldest,
            "paused": _paused(row),
            "overridden": None if peer is None else peer.overridden,
            "heard_at": None if peer is None else peer.heard_at,
            "registers": {"held": row.held, "known": row.known},
            "problem": None if peer is None else _problem(peer),
            "answers_held": self._node.answering.held
            if row.address in self._node.answering.waits_for()
            else self._node.answering.asked[row.address],
        }
        if peer is None:
            return shown | {
                "state": "detached",
                "who_must_act": "us",
                "sentence": "The node is not running for this partner.",
            }
        why = {"who_must_act": "nobody", "sentence": "Nothing waits."}
        if row.waiting or peer.trouble is not None or not peer.sending:
            why = self._why(peer)
        return shown | {"state": _state(peer)} | {"next_attempt": self._next_attempt(peer)} | why

    def _why(self, peer: Peer) -> dict[str, Any]:
        """Why something is still here: the sentence, who must act, and when it is tried again."""
        if peer.paused:
            sentence = "An operator has paused the delivery to this partner."
            return {"who_must_act": "us", "sentence": sentence}
        again = {"next_attempt": self._next_attempt(peer)}
        if peer.trouble is not None:
            outcome = peer.trouble.outcome
            return again | {
                "who_must_act": outcome.actor,
                "sentence": f"{outcome.text} ({peer.trouble.detail})",
            }
        if not peer.conversation.ready:
            sentence = (
                "The partner is asked first what it holds of ours; nothing new is sent before its answer. "
                "An operator may override this, with a reason."
            )
            return again | {"who_must_act": "nobody", "sentence": sentence}
        return again | {"who_must_act": "nobody", "sentence": "It is being sent."}

    def _next_attempt(self, peer: Peer) -> str | None:
        """The moment before which nothing is tried, if that is still to come."""
        seconds = peer.schedule.next_attempt - time.monotonic()
        if seconds <= 0 or peer.paused:
            return None
        return rfc3339(self._node.clock() + timedelta(seconds=seconds))


def _warnings(problems: Sequence[Problem], language: Language) -> dict[str, Any]:
    """Rules that a document breaks and that did not keep it from being signed; nothing if there are none."""
    return {"warnings": [told(problem, language) for problem in problems]} if problems else {}


def _with_document(envelope: dict[str, Any], payload: bytes | None) -> bytes:
    links = {"self": f"/v1/documents/{envelope['id']}"}
    links["signed"], links["receipt"] = f"{links['self']}/signed", f"{links['self']}/receipt"
    head = strictjson.dumps(envelope | {"links": links})
    return head if payload is None else b"".join((head[:-1], b',"document":', payload, b"}"))


def _paused(row: QueueRow) -> dict[str, Any] | None:
    return None if row.paused_at is None else {"at": row.paused_at, "reason": row.paused_because}


def _problem(peer: Peer) -> dict[str, Any] | None:
    if peer.trouble is None:
        return None
    outcome = peer.trouble.outcome
    return {
        "class": str(outcome),
        "fault": outcome.fault,
        "at": peer.trouble.at,
        "sentence": outcome.text,
        "detail": peer.trouble.detail,
    }


def _state(peer: Peer) -> str:
    if peer.paused:
        return "paused"
    if not peer.conversation.ready:
        return "asking"
    return "troubled" if peer.trouble is not None else "sending"


def certificate(row: CertificateRow) -> dict[str, Any]:
    """One certificate: the business axis. What was delivered of it is shown with each of its documents.

    A case that was folded by an earlier version lacks members, until it is folded anew.
    """
    case = row.case
    turn: Turn = case.get("turn", "both")
    return {
        "key": row.key,
        "number": row.number,
        "issuer": row.issuer,
        "partner": row.partner,
        "exporter": case.get("exporter"),
        "importer": case.get("importer"),
        "state": row.state,
        "turn": turn,
        "meaning": case.get("meaning", "Software could not compute where this certificate stands."),
        "revision": case.get("revision", 0),
        "current": case.get("current"),
        "cancellation": case.get("cancellation"),
        "expires": case.get("expires"),
        "flags": list(case.get("flags", ())),
        "due": row.due,
        "notifications": list(case.get("notifications", ())),
        "confirmations": list(case.get("confirmations", ())),
        "rejected": list(case.get("rejected", ())),
        "differences": list(case.get("differences", ())),
        "locked": row.locked,
        "first_at": row.first_at,
        "changed_at": row.changed_at,
    }


def incident(row: Incident) -> dict[str, Any]:
    """One incident; the statement that shows it is downloaded apart."""
    shown = asdict(row)
    shown["id"] = shown.pop("seq")
    shown["document"] = shown.pop("document_id")
    has_statement = shown.pop("has_statement")
    closed = {name: shown.pop(f"closed_{name}") for name in ("at", "by", "because")}
    return shown | {
        "statement": f"/v1/incidents/{row.seq}/statement" if has_statement else None,
        "closed": None if closed["at"] is None else closed,
    }


def event(row: EventRow) -> dict[str, Any]:
    """One line of the feed."""
    return {
        "id": row.seq,
        "at": row.at,
        "kind": row.kind,
        "partner": row.partner,
        "document": row.document_id,
        "certificate": row.certificate,
    }
