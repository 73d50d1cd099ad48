"""The certificate index: every change of a certificate's documents folds its case anew, in the same transaction.

Generic over document types: what a document means is `kpmsg.case`; this module only finds a certificate's documents, has
them folded, and keeps the result where a list can be read from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kpmsg import documents, jws
from kpmsg.case import Case, Filed, fold, objections, released_by
from kpmsg.verification import Verified
from kpnode.store import tables as t
from kpnode.store.documents import insert_rows

UNCERTAIN: Final = "I01"  # the rule whose breach rests on all that we have ever issued, not on one document
_INSERT: Final = insert(t.certificate)
_CERTIFICATE: Final = (
    "key", "number", "issuer", "partner", "state", "case", "first_at", "changed_at"
)  # fmt: skip
_UPDATE: Final = (
    update(t.certificate)
    .where(t.certificate.c.key == bindparam("of"))
    .values(
        number=bindparam("to_number"),
        issuer=bindparam("to_issuer"),
        partner=bindparam("to_partner"),
        state=bindparam("to_state"),
        case=bindparam("to_case"),
        changed_at=bindparam("to_changed_at"),
    )
)
_KNOWN: Final = select(t.certificate.c.key).where(t.certificate.c.key.in_(bindparam("keys", expanding=True)))
_FILED: Final = (
    select(t.document.c.subject, t.document.c.id, t.document.c.raw)
    .where(t.document.c.subject.in_(bindparam("keys", expanding=True)), t.document.c.withheld.is_(None))
    .order_by(t.document.c.seq)
)
_ANSWER: Final = (
    update(t.document).where(t.document.c.id == bindparam("of")).values(answer=bindparam("reasons"))
)


@lru_cache(maxsize=256)
def _read(document_id: str, raw: bytes) -> Filed:
    # Our own store, verified when it was written: only the payload is needed.
    return Filed(document_id, documents.parse(jws.peek(raw).unverified_payload))


def filed(connection: Connection, keys: Sequence[str]) -> dict[str, list[Filed]]:
    """The documents of certificates, by certificate key; withheld ones have not been said and do not count."""
    found: dict[str, list[Filed]] = {key: [] for key in keys}
    for start in range(0, len(keys), 500):
        for row in connection.execute(_FILED, {"keys": list(keys[start : start + 500])}):
            found[row.subject].append(_read(row.id, row.raw))
    return found


def record_cases(connection: Connection, items: Iterable[Verified], at: str, *, from_partner: bool) -> bool:
    """Fold the certificates that `items` (already inserted) are about. True if one of them is owed an answer.

    Only what came from a partner is objected to; our own documents passed the same rules before they were signed. What we owe
    is committed with the document that it answers, as the reasons; signing and sending come later and may fail
    as often as they like.
    """
    by_key: dict[str, list[Verified]] = {}
    for item in items:
        if item.document.subject:
            by_key.setdefault(item.document.subject, []).append(item)
    if not by_key:
        return False
    keys = list(by_key)
    before: set[str] = set()
    for start in range(0, len(keys), 500):
        before |= set(connection.execute(_KNOWN, {"keys": keys[start : start + 500]}).scalars())
    known = filed(connection, list(before)) if before else {}
    fresh: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    incidents: list[dict[str, Any]] = []
    for key, arrived in by_key.items():
        filings = known.get(key)
        if filings is None:
            filings = [Filed(item.id, item.document) for item in arrived]
        columns = _columns(fold(key, filings), arrived[-1], at, from_partner=from_partner)
        if key in before:
            changed.append({f"to_{name}": value for name, value in columns.items()} | {"of": key})
        else:
            fresh.append({"key": key, "first_at": at, **columns})
        for item in arrived if from_partner else ():
            problems = objections(Filed(item.id, item.document), filings)
            if not problems:
                continue
            reasons = [
                {"code": p.code, "severity": p.severity, "pointer": p.pointer, "text": p.text}
                for p in problems
            ]
            if any(p.severity == "reject" for p in problems):
                answers.append({"of": item.id, "reasons": json.dumps(reasons)})
            # "Never issued" is no alarm yet: it is one when it is said (kpnode.answering), by a node that is sure of it.
            incidents.extend(
                _incident(item, p.code, p.text, key, at) for p in problems if p.code != UNCERTAIN
            )
    insert_rows(
        connection, t.certificate, _CERTIFICATE, [tuple(row[name] for name in _CERTIFICATE) for row in fresh]
    )
    if changed:
        connection.execute(_UPDATE, changed)
    if answers:
        connection.execute(_ANSWER, answers)
    if incidents:
        connection.execute(insert(t.incident), incidents)
    return bool(answers)


def refold(connection: Connection, keys: Sequence[str], at: str) -> None:
    """Fold certificates anew whose documents count differently now (one is withheld no longer)."""
    for key, filings in filed(connection, keys).items():
        columns = _case_columns(fold(key, filings), at)
        connection.execute(update(t.certificate).where(t.certificate.c.key == key).values(**columns))


def release_claims(connection: Connection, items: Iterable[Verified], partner: str) -> None:
    """A document of ours that its recipient has rejected holds its claim no longer: it may be said again, corrected."""
    released = [about for item in items if (about := released_by(item.document)) is not None]
    if released:
        ours = select(t.document.c.id).where(
            t.document.c.id.in_(released), t.document.c.direction == "out", t.document.c.partner == partner
        )
        connection.execute(delete(t.claim).where(t.claim.c.document_id.in_(ours)))


def lock(connection: Connection, item: Verified, partner: str, at: str) -> None:
    """R9: the effects of `item` failed three times. It is registered; its certificate waits for an officer."""
    why = f"the effects of document {item.id} could not be computed here"
    key = item.document.subject or ""
    changed = connection.execute(update(t.certificate).where(t.certificate.c.key == key).values(locked=why))
    if key and not changed.rowcount:
        row = {"key": key, "number": key, "issuer": key[:2], "partner": partner, "state": "undetermined"}
        connection.execute(_INSERT, [row | {"case": "{}", "locked": why, "first_at": at, "changed_at": at}])
    connection.execute(
        insert(t.incident), [_incident(item, "set-aside", why, key, at) | {"kind": "set-aside"}]
    )


def _columns(case: Case, item: Verified, at: str, *, from_partner: bool) -> dict[str, Any]:
    return {
        "partner": item.document.source if from_partner else item.document.recipient,
        **_case_columns(case, at),
    }


def _case_columns(case: Case, at: str) -> dict[str, Any]:
    return {
        "number": case.number,
        "issuer": case.issuer,
        "state": str(case.state),
        "case": json.dumps(case.members()),
        "changed_at": at,
    }


def _incident(item: Verified, code: str, text: str, key: str, at: str) -> dict[str, Any]:
    return {
        "at": at,
        "kind": f"rule-{code}",
        "partner": item.document.source,
        "document_id": item.id,
        "certificate": key,
        "text": text,
        "statement": None,
    }
