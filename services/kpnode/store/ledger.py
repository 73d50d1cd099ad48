"""The registers of one partner in the database: what the core reads, and how its decisions are recorded.

`PartnerLedger` is the production `kpmsg.register.Ledger`. It lives for one transaction on the writer's connection, so what the core
decides rests on what is committed, and everything it asks to be recorded commits together: documents, register entries,
the new heads, the effects on certificates, signed receipts and events (R3). A crash before the commit leaves no trace
of any of it; a crash after it leaves all of it, and only the saying is lost, which `status?` repairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kpmsg.policy import Practice
from kpmsg.register import NOTHING, Admit, Believe, Change, Entry, Head, Report, Shorten, TakeBack, Withhold
from kpmsg.verification import Verified
from kpnode.store import drafts, incidents
from kpnode.store import tables as t
from kpnode.store.cases import lock, record_cases, refold, release_claims
from kpnode.store.documents import (
    Item,
    insert_documents,
    insert_rows,
    record_claims,
    record_events,
    slices,
)

# Built once: constructing a statement costs more than running it.
_PARTNER: Final = select(
    t.partner.c.held_size, t.partner.c.held_head, t.partner.c.known_size, t.partner.c.known_head
).where(t.partner.c.address == bindparam("address"))
_HEADS: Final = {
    side: update(t.partner)
    .where(t.partner.c.address == bindparam("of"))
    .values({f"{side}_size": bindparam("size"), f"{side}_head": bindparam("head")})
    for side in ("held", "known")
}
_OURS: Final = select(t.document.c.id, t.document.c.withheld, t.document.c.received_at).where(
    t.document.c.id.in_(bindparam("ids", expanding=True)),
    t.document.c.direction == "out",
    t.document.c.partner == bindparam("partner"),
)
_AMONG: Final = select(t.entry.c.document_id).where(
    t.entry.c.document_id.in_(bindparam("ids", expanding=True)),
    t.entry.c.partner == bindparam("partner"),
    t.entry.c.side == bindparam("side"),
)
_HEAD_AT: Final = select(t.entry.c.head).where(
    t.entry.c.partner == bindparam("partner"),
    t.entry.c.side == bindparam("side"),
    t.entry.c.position == bindparam("position"),
)
_RECEIPT: Final = insert(t.receipt)
_TOLD_ONCE: Final = frozenset({"page-contradicts"})
_ENTRY: Final = ("partner", "side", "position", "document_id", "head", "at")
_RECEIVED: Final = (
    update(t.document)
    .where(t.document.c.id.in_(bindparam("ids", expanding=True)), t.document.c.direction == "out")
    .values(received_at=bindparam("at"), refused=None, withheld=None)
)


@dataclass(slots=True)
class Effects:
    """What a transaction has changed, for those who act once it has committed."""

    admitted: list[Verified] = field(default_factory=list)
    received: list[str] = field(default_factory=list)  # ours, now covered by a receipt
    released: list[str] = field(default_factory=list)  # ours, no longer held by the partner: to be sent again
    taken_back: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    owed: bool = False  # some admitted document is owed an answer
    reports: list[Report] = field(default_factory=list)


class PartnerLedger:
    """One partner's two registers, inside one transaction. `at` is the time the transaction bears (RFC 3339, UTC)."""

    def __init__(
        self,
        connection: Connection,
        partner: str,
        at: str,
        practice: Practice,
        *,
        set_aside: frozenset[str] = frozenset(),
    ) -> None:
        self._connection = connection
        self._practice = practice
        self._set_aside = set_aside
        self._withheld: set[str] = set()
        self._unreceived: set[str] = set()  # of ours, as asked last
        self._partner = partner
        self._at = at
        row = connection.execute(_PARTNER, {"address": partner}).one()
        self._held = Head(row.held_size, row.held_head)
        self._known = Head(row.known_size, row.known_head)
        self.effects = Effects()

    # -- what the core asks (kpmsg.register.Ledger) ----------------------------------------------------------------------

    def held(self) -> Head:
        return self._held

    def held_head(self, size: int) -> str | None:
        return self._head_at("held", self._held, size)

    def held_ids(self, first: int, count: int) -> Sequence[str]:
        query = (
            select(t.entry.c.document_id)
            .where(
                t.entry.c.partner == self._partner,
                t.entry.c.side == "held",
                t.entry.c.position >= first,
                t.entry.c.position < first + count,
            )
            .order_by(t.entry.c.position)
        )
        return list(self._connection.execute(query).scalars())

    def among_held(self, ids: Collection[str]) -> Collection[str]:
        return self._among("held", ids)

    def known(self) -> Head:
        return self._known

    def known_head(self, size: int) -> str | None:
        return self._head_at("known", self._known, size)

    def among_known(self, ids: Collection[str]) -> Collection[str]:
        # A document of ours has been received if and only if it stands in `known`: nearly always that was asked already.
        return self._among("known", ids) if not self._unreceived.issuperset(ids) else ()

    def ours(self, ids: Collection[str]) -> Collection[str]:
        rows = self._connection.execute(_OURS, {"ids": list(ids), "partner": self._partner}).all()
        self._withheld = {row.id for row in rows if row.withheld is not None}
        self._unreceived = {row.id for row in rows if row.received_at is None}
        return {row.id for row in rows}

    def withheld(self, ids: Collection[str]) -> Collection[str]:
        return self._withheld.intersection(ids)

    def claimant(self, claim: str) -> tuple[str, bool] | None:
        row = self._connection.execute(
            select(t.document.c.id, t.document.c.received_at)
            .join(t.claim, t.claim.c.document_id == t.document.c.id)
            .where(t.claim.c.claim == claim)
        ).first()
        return None if row is None else (row.id, row.received_at is not None)

    def _head_at(self, side: str, end: Head, size: int) -> str | None:
        if size == 0:
            return NOTHING
        if size == end.size:
            return end.head
        if not 0 < size < end.size:
            return None
        where = {"partner": self._partner, "side": side, "position": size}
        return self._connection.execute(_HEAD_AT, where).scalar()

    def _among(self, side: str, ids: Collection[str]) -> Collection[str]:
        if not ids:
            return ()
        which = {"ids": list(ids), "partner": self._partner, "side": side}
        return set(self._connection.execute(_AMONG, which).scalars())

    # -- what the core decided -------------------------------------------------------------------------------------------

    def record(self, changes: Iterable[Change], statement: bytes | None = None) -> None:
        """Write `changes`. `statement` is the signed frame that caused them: evidence for receipts and reports."""
        for change in changes:
            match change:
                case Admit():
                    self._admit(change)
                case Believe():
                    self._believe(change, statement)
                case Shorten():
                    self._shorten(change)
                case TakeBack():
                    self._take_back(change)
                case Withhold():
                    self._withhold(change)
                case Report():
                    self.report(change, statement)

    def _admit(self, change: Admit) -> None:
        items = [item.verified for item in change.items if isinstance(item, Item)]
        insert_documents(
            self._connection,
            items,
            "in",
            self._partner,
            self._at,
            self._practice,
            received_at=self._at,
            author=None,
        )
        self._append("held", change.entries)
        self._held = Head(change.entries[-1].position, change.entries[-1].head)
        self._save("held", self._held)
        aside = [item for item in items if item.id in self._set_aside]
        clear = [item for item in items if item.id not in self._set_aside]
        owed = record_cases(self._connection, clear, self._at, self._practice, from_partner=True)
        release_claims(self._connection, clear, self._partner)
        for item in change.items:
            if isinstance(item, Item) and item.late:
                text = "It was signed, by its own date, while its key was in use; the key has expired or was retired since."
                self.report(Report("late-key", text), None, document_id=item.id)
        for failing in aside:
            lock(self._connection, failing, self._partner, self._at, self._practice)
        self._events("admitted", [(item.id, self._key(item)) for item in items])
        self.effects.admitted.extend(items)
        self.effects.owed |= owed

    def _believe(self, change: Believe, statement: bytes | None) -> None:
        ids = [entry.id for entry in change.entries]
        self._append("known", change.entries)
        self._known = Head(change.entries[-1].position, change.entries[-1].head)
        self._save("known", self._known)
        for some in slices(ids):
            self._connection.execute(_RECEIVED, {"ids": some, "at": self._at})
        if said := self._withheld.intersection(
            ids
        ):  # a copy had left before it was withheld, and counts after all
            keys = select(t.document.c.subject).where(t.document.c.id.in_(said))
            refold(self._connection, list(self._connection.execute(keys).scalars()), self._at, self._practice)
        if statement is not None:
            self._keep_receipt("taken", change.entries[0].position, change.entries[-1].position, statement)
        self._events("received", [(document_id, None) for document_id in ids])
        self.effects.received.extend(ids)

    def given(self, first: int, size: int, statement: bytes) -> None:
        """Record the receipt that we sign for positions `first` .. `size`, in the transaction that makes it true (R1)."""
        self._keep_receipt("given", first, size, statement)

    def _keep_receipt(self, direction: str, first: int, size: int, statement: bytes) -> None:
        self._connection.execute(
            _RECEIPT,
            {
                "partner": self._partner,
                "direction": direction,
                "first": first,
                "size": size,
                "at": self._at,
                "raw": statement,
            },
        )

    def _shorten(self, change: Shorten) -> None:
        beyond = (
            t.entry.c.partner == self._partner,
            t.entry.c.side == "known",
            t.entry.c.position > change.size,
        )
        lost = select(t.entry.c.document_id).where(*beyond).order_by(t.entry.c.position)
        ids = list(self._connection.execute(lost).scalars())
        head = self.known_head(change.size)
        self._connection.execute(delete(t.entry).where(*beyond))
        self._known = Head(change.size, head or NOTHING)
        self._save("known", self._known)
        for some in slices(ids):
            self._connection.execute(
                update(t.document).where(t.document.c.id.in_(some)).values(received_at=None)
            )
        self._events("released", [(document_id, None) for document_id in ids])
        self.effects.released.extend(ids)

    def _take_back(self, change: TakeBack) -> None:
        items = [item for item in change.items if isinstance(item, Item)]
        verified = [item.verified for item in items]
        insert_documents(
            self._connection,
            verified,
            "out",
            self._partner,
            self._at,
            self._practice,
            received_at=None,
            author="returned",
        )
        record_claims(self._connection, items)
        record_cases(self._connection, verified, self._at, self._practice, from_partner=False)
        release_claims(self._connection, verified, self._partner)
        drafts.returned(self._connection, verified, self._at, self._practice)
        incidents.restored(
            self._connection, f"{self._partner} holds documents of ours that it lacks", self._at
        )
        self._events("taken-back", [(item.id, self._key(item)) for item in verified])
        self.effects.taken_back.extend(item.id for item in verified)

    def _withhold(self, change: Withhold) -> None:
        why = f"an earlier document of ours ({change.by}) came back from the partner and says the same"
        self._connection.execute(update(t.document).where(t.document.c.id == change.id).values(withheld=why))
        self._connection.execute(delete(t.claim).where(t.claim.c.document_id == change.id))
        self._events("withheld", [(change.id, None)])
        text = f"Document {change.id} has not been sent: {why}. Its author has to decide what is true."
        self.report(Report("withheld", text), None, document_id=change.id)
        self.effects.withheld.append(change.id)

    def report(self, report: Report, statement: bytes | None, document_id: str | None = None) -> None:
        """An incident for officers and operators (R7)."""
        if report.kind in _TOLD_ONCE and self._is_open(report):
            return
        self._connection.execute(
            insert(t.incident),
            {
                "at": self._at,
                "kind": report.kind,
                "partner": self._partner,
                "document_id": document_id,
                "text": report.text,
                "statement": statement,
            },
        )
        self._events("incident", [(document_id, None)])
        self.effects.reports.append(report)

    def _is_open(self, report: Report) -> bool:
        """Whether the very same has been reported and nobody has closed it: what is asked every few seconds fails every few seconds."""
        i = t.incident.c
        return incidents.is_open(
            self._connection, report.kind, i.partner == self._partner, i.text == report.text
        )

    def _key(self, item: Verified) -> str | None:
        """The certificate that a document is about, as its issuer normalises the number."""
        return None if item.document.subject is None else self._practice.key(item.document.subject)

    # -- rows ------------------------------------------------------------------------------------------------------------

    def _append(self, side: str, entries: Sequence[Entry]) -> None:
        rows = [(self._partner, side, entry.position, entry.id, entry.head, self._at) for entry in entries]
        insert_rows(self._connection, t.entry, _ENTRY, rows)

    def _save(self, side: str, head: Head) -> None:
        self._connection.execute(_HEADS[side], {"of": self._partner, "size": head.size, "head": head.head})

    def _events(self, kind: str, documents: Sequence[tuple[str | None, str | None]]) -> None:
        record_events(self._connection, kind, self._at, self._partner, documents)
