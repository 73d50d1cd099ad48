"""A database as a node of many years has it, written straight into the tables: so many certificates with all their documents.

One real notification, confirmation and cancellation is composed for each day, partner and kind of certificate, and their case is
folded as a node folds it; numbers and ids are then put into these patterns, which is some hundred times faster than saying it all. Every
row is what the node itself would have written but for the signatures, which do not hold: a node trusts its own rows and does not verify
them again. Registers have their real heads. What is not known here: how fast anything is.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import create_engine, update

from kpmsg import documents, frames, jws
from kpmsg.case import fold
from kpmsg.case.prefill import prefill
from kpmsg.case.standing import Filed
from kpmsg.frames import Receipt
from kpmsg.keys import SoftwareSigner
from kpmsg.policy import Practice
from kpnode.sample import Trade, confirmation
from kpnode.store import tables as t
from kpnode.store import upkeep, worklists
from tests.bench.scale_sink import Sink, writing

PARTNERS = (
    "AE", "AO", "AU", "BR", "CA", "CD", "CF", "CM", "CN", "GH", "GN", "GY", "IL", "IN", "JP",
    "KR", "LB", "LR", "LS", "MX", "NA", "NZ", "RU", "SG", "SL", "TH", "TR", "TZ", "US", "ZA",
)  # fmt: skip
OFFLINE = "ZA"
"""This partner's node has not answered for half a year: what waits for delivery waits for it."""

A_RECEIPT = 20
"""Documents covered by one receipt."""

CHUNK = 4000
"""Certificates written in one go."""

DIGITS = 7
"""Of every certificate number."""

_PATTERN = "7" * DIGITS
_WRITTEN = b"019a0000-0000-7000-8000-00000000000a", b"019a0000-0000-7000-8000-00000000000b"
_IDS = "a1" * 32, "b2" * 32


@dataclass(frozen=True)
class _Letter:
    """A document with places for its number and ids. `place`: 0 the notification, 1 what followed it."""

    place: int
    source: str
    recipient: str
    type: str
    claim: str | None
    payload: bytes

    def written(self, key: str, ids: Sequence[str], serial: int) -> tuple[str, bytes]:
        """Its id and payload for one certificate. `ids`: of the documents before it."""
        payload = self.payload.replace(self.pattern_key, key.encode())
        for place in range(self.place + 1):
            made = f"019a{serial >> 20:04x}-{serial >> 4 & 0xFFFF:04x}-7{serial & 15:x}00-8{place}00-00000000000a"
            payload = payload.replace(_WRITTEN[place], made.encode())
        for place, document_id in enumerate(ids):
            payload = payload.replace(_IDS[place].encode(), document_id.encode())
        return hashlib.sha256(payload).hexdigest(), payload

    @cached_property
    def pattern_key(self) -> bytes:
        return str(json.loads(self.payload)["subject"]).encode()


@dataclass(frozen=True)
class _Life:
    """One kind of certificate on one day: its documents, and where it stands after them."""

    letters: tuple[_Letter, ...]
    key: str
    row: Mapping[str, Any]


_Awaited = tuple[_Letter, str, str, tuple[str, bytes], str, bool]
"""The second document of a certificate, which follows on the next day: the pattern, the certificate's key, the first document, the
second's id and payload, when, and whether the partner can be reached."""


@dataclass
class _Register:
    size: int = 0
    head: bytes = bytes(32)
    open: list[str] = field(default_factory=list)


@dataclass
class Fill:
    """What has been written; `keys` are certificate keys, spread over all that there are, oldest first."""

    certificates: int
    keys: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  # of documents, likewise; all covered by receipts
    middle: tuple[str, str] = ("", "")  # when the certificate in the middle was changed, and its key


@dataclass
class Filler:
    """Fills an empty database that already knows its owner `me` and PARTNERS. `today` is the node's day."""

    me: str
    practice: Practice
    today: date
    days: int = 3650
    """Over how many they are spread, however many they are: so they are alike but for their number."""
    author: str = "erp"
    _lives: dict[tuple[Any, ...], _Life] = field(default_factory=dict)
    _rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    _registers: dict[tuple[str, str], _Register] = field(default_factory=lambda: defaultdict(_Register))
    _signer: SoftwareSigner = field(default_factory=SoftwareSigner.generate)
    _numbers: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def fill(self, url: str, count: int) -> Fill:
        """Write `count` certificates and what belongs to them."""
        done = Fill(count)
        a_day = max(1, round(count / self.days))
        days = -(-count // a_day)
        since = count - count // 20  # when OFFLINE was last heard of
        with writing(url) as (sink, commit):
            awaited: list[_Awaited | None] = []
            for n in range(count):
                day, within = divmod(n, a_day)
                if within == 0:
                    self._replies(awaited)
                    awaited = []
                awaited.append(self._begin(n, days - day + 1, within, done, online=n < since))
                if n % CHUNK == CHUNK - 1:
                    self._flush(sink)
                    commit()
            self._replies(awaited)
            for (partner, side), register in self._registers.items():
                self._receipt(partner, side, register, self._at(0, 0))
            self._flush(sink)
            commit()
        self._finish(url, done)
        return done

    # -- certificates ----------------------------------------------------------------------------------------------------

    def _begin(self, n: int, ago: int, within: int, done: Fill, *, online: bool) -> _Awaited | None:
        """The notification of the n-th certificate, and its row as it will stand."""
        partner = PARTNERS[(4 * ago + n % 4) % len(PARTNERS)]
        ours, fate = n % 4 != 3, n * 7919 % 1000
        delivered = online or partner != OFFLINE
        kind = "cancelled" if fate < 15 else "later" if fate < 22 else "overdue" if fate < 30 else "confirmed"
        life = self._life("later" if ours and not delivered else kind, partner, ours=ours, ago=ago)
        at, key = self._at(ago, within), self._number(life.letters[0].source, self._at(ago, within))
        first, payload = life.letters[0].written(key, (), n)
        self._document(life.letters[0], key, "", first, payload, at, delivered=delivered)
        last, second = at, ("", b"")
        if len(life.letters) > 1:
            last, second = self._at(ago - 1, within), life.letters[1].written(key, (first,), n)
        row = life.row
        case = row["case"].replace(life.key, key).replace(_IDS[0], first).replace(_IDS[1], second[0])
        self._rows["certificate"].append(
            (key, key, row["issuer"], partner, row["state"], case, row["waits"], row["matter"], row["due"], at, last)
        )  # fmt: skip
        if n % 200 == 0:
            self._incident(partner, key, first, at, closed=n % 10_000 != 0)
        if n % max(1, done.certificates // 2000) == 0 and delivered:
            done.keys.append(key)
            done.ids.append(first)
        if n == done.certificates // 2:
            done.middle = last, key
        return (life.letters[1], key, first, second, last, delivered) if second[0] else None

    def _number(self, letters: str, at: str) -> str:
        """The next one; of ours every 500th was spoilt."""
        self._numbers[letters] += 1
        if letters == self.me and self._numbers[letters] % 500 == 0:
            spoilt = f"{letters}{self._numbers[letters]:0{DIGITS}d}"
            self._rows["number"].append((spoilt, spoilt, "void", at, self.author, None))
            self._numbers[letters] += 1
        return f"{letters}{self._numbers[letters]:0{DIGITS}d}"

    def _replies(self, awaited: Sequence[_Awaited | None]) -> None:
        for each in awaited:
            if each is not None:
                letter, key, first, (document_id, payload), at, delivered = each
                self._document(letter, key, first, document_id, payload, at, delivered=delivered)

    def _at(self, ago: int, within: int) -> str:
        seconds = 8 * 3600 + within * 60
        day = self.today - timedelta(days=ago + 1)
        return f"{day}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{within:03d}Z"

    def _life(self, kind: str, partner: str, *, ours: bool, ago: int) -> _Life:
        name = kind, partner, ours, ago
        if name not in self._lives:
            if len(self._lives) > 2000:
                self._lives.clear()
            self._lives[name] = self._compose(kind, partner, ours=ours, ago=ago)
        return self._lives[name]

    def _compose(self, kind: str, partner: str, *, ours: bool, ago: int) -> _Life:
        source, recipient = (self.me, partner) if ours else (partner, self.me)
        day = self.today - timedelta(days=ago + 1)
        key = source[:2] + _PATTERN
        draft = Trade(source, recipient, on=day).notification(ago % 97)
        wish = {"requested": True} | (
            {"reply_by": str(self.today + timedelta(days=21))} if kind == "later" else {}
        )
        certificate = {"certificate": {"number_raw": key, "issuer": source[:2], "kind": "kp"}}
        draft = draft | {"data": draft["data"] | certificate | {"confirmation": wish}}
        letters = [self._letter(0, draft, source, day)]
        if kind in {"confirmed", "cancelled"}:
            file = self._filed(letters)
            if kind == "confirmed":
                answer, by = confirmation(file[0].document, _IDS[0]), recipient
            else:
                by = source
                answer = prefill("cancellation", file, me=by, today=day, practice=self.practice, officer=None)
            letters.append(self._letter(1, answer, by, day + timedelta(days=1)))
        case = fold(key, self._filed(letters), self.practice)
        members = case.members()
        turns = worklists.turns(members["matters"], self.me, self.today)
        row = {
            "issuer": case.issuer,
            "state": str(case.state),
            "case": json.dumps(members),
            "waits": turns.waits,
            "matter": turns.matter,
            "due": turns.due,
        }
        return _Life(tuple(letters), key, row)

    def _letter(self, place: int, draft: Mapping[str, Any], source: str, day: date) -> _Letter:
        at = datetime(day.year, day.month, day.day, 7 + place, tzinfo=UTC)
        document, payload = documents.compose(
            dict(draft), source=source, id=_WRITTEN[place].decode(), time=at
        )
        return _Letter(place, source, document.recipient, document.type, documents.claim(document), payload)

    @staticmethod
    def _filed(letters: Sequence[_Letter]) -> list[Filed]:
        return [Filed(_IDS[letter.place], documents.parse(letter.payload)) for letter in letters]

    # -- rows ------------------------------------------------------------------------------------------------------------

    def _document(
        self,
        letter: _Letter,
        key: str,
        before: str,
        document_id: str,
        payload: bytes,
        at: str,
        *,
        delivered: bool,
    ) -> None:
        ours = letter.source == self.me
        partner = letter.recipient if ours else letter.source
        direction, received = ("out", at if delivered else None) if ours else ("in", at)
        self._rows["document"].append(
            (document_id, direction, partner, letter.type, key, at, received, self.author if ours else None, self._signed(payload))
        )  # fmt: skip
        events = self._rows["event"]
        if ours:
            if letter.claim is not None:
                pattern = letter.pattern_key.decode()
                claim = letter.claim.replace(pattern, key).replace(_IDS[0], before)
                self._rows["claim"].append((claim, document_id))
            digest = hashlib.md5(document_id.encode(), usedforsecurity=False).hexdigest()
            self._rows["idempotency"].append((self.author, digest, digest * 2, document_id, at))
            events.append((at, "submitted", partner, document_id, key))
            if delivered:
                self._enter(partner, "known", document_id, at)
                events.append((at, "received", partner, document_id, None))
        else:
            self._enter(partner, "held", document_id, at)
            events.append((at, "admitted", partner, document_id, key))

    def _signed(self, payload: bytes) -> bytes:
        head, tail = self._jws
        return b"".join((head, urlsafe_b64encode(payload).rstrip(b"="), tail))

    @cached_property
    def _jws(self) -> tuple[bytes, bytes]:
        whole = jws.sign(b"{}", jws.DOCUMENT, [self._signer])
        head, _, tail = whole.partition(urlsafe_b64encode(b"{}").rstrip(b"="))
        return head, tail

    def _enter(self, partner: str, side: str, document_id: str, at: str) -> None:
        register = self._registers[partner, side]
        register.size += 1
        register.head = hashlib.sha256(b"\x01" + register.head + bytes.fromhex(document_id)).digest()
        register.open.append(document_id)
        self._rows["entry"].append((partner, side, register.size, document_id, register.head.hex(), at))
        if len(register.open) == A_RECEIPT:
            self._receipt(partner, side, register, at)

    def _receipt(self, partner: str, side: str, register: _Register, at: str) -> None:
        if not register.open:
            return
        first = register.size - len(register.open) + 1
        said = Receipt(first, tuple(register.open), register.size, register.head.hex(), at)
        by, to = (self.me, partner) if side == "held" else (partner, self.me)
        raw = self._signed(frames.statement_payload(said, by, to))
        direction = "given" if side == "held" else "taken"
        self._rows["receipt"].append((partner, direction, first, register.size, at, raw))
        register.open = []

    def _incident(self, partner: str, key: str, document_id: str, at: str, *, closed: bool) -> None:
        closing = (at, "officer", "Looked into; nothing wrong.") if closed else (None, None, None)
        text = "The value in US dollars differs from what was notified by more than a quarter."
        self._rows["incident"].append(
            (at, "rule-I06", partner, document_id, key, text, b"{}" * 300, *closing)
        )

    def _flush(self, sink: Sink) -> None:
        for name, rows in self._rows.items():
            sink.write(t.metadata.tables[name], _COLUMNS[name], rows)
        self._rows.clear()

    def _finish(self, url: str, done: Fill) -> None:
        """The registers' ends, that all is folded as this version folds it, and what PostgreSQL's planner wants to know."""
        engine = create_engine(url)
        with engine.begin() as connection:
            for partner in PARTNERS:
                ends: dict[str, Any] = {}
                for side in ("held", "known"):
                    register = self._registers[partner, side]
                    ends |= {f"{side}_size": register.size, f"{side}_head": register.head.hex()}
                connection.execute(update(t.partner).where(t.partner.c.address == partner).values(**ends))
            upkeep.mark(connection)
        if (
            engine.dialect.name == "postgresql"
        ):  # what its own housekeeper does by and by; a node on SQLite has none
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
                connection.exec_driver_sql("CHECKPOINT")
        engine.dispose()


_COLUMNS: Mapping[str, Sequence[str]] = {
    "document": ("id", "direction", "partner", "type", "subject", "created_at", "received_at", "author", "raw"),
    "certificate": (
        "key", "number", "issuer", "partner", "state", "case", "waits", "matter", "due", "first_at", "changed_at",
    ),
    "claim": ("claim", "document_id"),
    "idempotency": ("caller", "key", "digest", "documents", "at"),
    "entry": ("partner", "side", "position", "document_id", "head", "at"),
    "event": ("at", "kind", "partner", "document_id", "certificate"),
    "receipt": ("partner", "direction", "first", "size", "at", "raw"),
    "incident": (
        "at", "kind", "partner", "document_id", "certificate", "text", "statement", "closed_at", "closed_by", "closed_because",
    ),
    "number": ("key", "number", "status", "at", "by", "note"),
}  # fmt: skip
