"""The certificate index: every change of a certificate's documents folds its case anew, in the same transaction.

Generic over document types: what a document means is `kpmsg.case`, what is wrong with it `kpmsg.case.objections` and
`kpmsg.policy.screening`; this module only finds a certificate's documents, has them looked at, and keeps the result where lists can be
read from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from kpmsg import documents
from kpmsg.case import Case, Filed, State, fold
from kpmsg.case.goods import UNCERTAIN
from kpmsg.case.objections import objections
from kpmsg.case.replies import Recorded, answer_draft, released_by
from kpmsg.errors import Problem
from kpmsg.policy import Practice
from kpmsg.policy.screening import screen
from kpmsg.verification import Verified
from kpnode.store import alerts, recorded, worklists
from kpnode.store import tables as t
from kpnode.store.documents import document_of, insert_rows
from kpnode.store.incidents import NOT_KNOWN, SET_ASIDE, TOO_MANY, is_open

_CERTIFICATE: Final = (
    "key", "number", "issuer", "partner", "state", "case", "waits", "matter", "due", "first_at", "changed_at"
)  # fmt: skip
_FOLDED: Final = ("number", "issuer", "partner", "state", "case", "waits", "matter", "due", "changed_at")
_UPDATE: Final = (
    update(t.certificate)
    .where(t.certificate.c.key == bindparam("of"))
    .values({name: bindparam(f"to_{name}") for name in _FOLDED})
)
_KNOWN: Final = select(t.certificate.c.key, t.certificate.c.state).where(
    t.certificate.c.key.in_(bindparam("keys", expanding=True))
)
MOST_FILED: Final = 300
"""So many documents of one authority about one number are looked at; what it says beyond is kept, and waits for an officer."""
_PLACES: Final = (
    select(
        t.document.c.seq,
        func.row_number()
        .over(
            partition_by=(t.document.c.subject, t.document.c.partner, t.document.c.direction),
            order_by=t.document.c.seq,
        )
        .label("place"),
    )
    .where(t.document.c.subject.in_(bindparam("keys", expanding=True)), t.document.c.withheld.is_(None))
    .subquery()
)
_FILED: Final = (
    select(t.document.c.subject, t.document.c.id, t.document.c.raw)
    .join(_PLACES, _PLACES.c.seq == t.document.c.seq)
    .where(_PLACES.c.place <= bindparam("most"))
    .order_by(t.document.c.seq)
)
_SAID: Final = (
    update(t.document)
    .where(t.document.c.id == bindparam("of"))
    .values(answer=bindparam("answer"), remarks=bindparam("remarks"))
)


@lru_cache(maxsize=256)
def _read(document_id: str, raw: bytes) -> Filed:
    return Filed(document_id, document_of(raw))


def filed(connection: Connection, keys: Sequence[str]) -> dict[str, list[Filed]]:
    """The documents of certificates, by certificate key; withheld ones have not been said and do not count.

    Everything is read and folded anew for each document that comes, by the one thread that writes: without a limit any partner could
    hold up all others by what it says about one number, be it somebody else's. At MOST_FILED of each authority it ends.
    """
    found: dict[str, list[Filed]] = {key: [] for key in keys}
    for start in range(0, len(keys), 500):
        for row in connection.execute(_FILED, {"keys": list(keys[start : start + 500]), "most": MOST_FILED}):
            found[row.subject].append(_read(row.id, row.raw))
    return found


def states(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """The states of those certificates of `keys` that there are."""
    found: dict[str, str] = {}
    for start in range(0, len(keys), 500):
        rows = connection.execute(_KNOWN, {"keys": list(keys[start : start + 500])})
        found.update({row.key: row.state for row in rows})
    return found


def said_against(
    connection: Connection, item: Filed, others: Sequence[Filed], practice: Practice, at: str
) -> list[Problem]:
    """Every rule that a document breaks, alone, by published policy, or in the light of the others. No order is implied.

    The same for what we are about to say and for what we are told; whose document it is follows from its source.
    """
    ours = item.source == practice.me
    problems = [] if item.data is None else item.data.breaches(item.document)
    problems += screen(item.document, practice, received=None if ours else datetime.fromisoformat(at))
    problems += recorded.problems(
        item.document, recorded.look(connection, [item.document], practice), practice
    )
    found = objections(item, others, practice, ours=ours)
    if any(problem.code == UNCERTAIN for problem in found):
        # Seldom: so only here is it looked up what we have noted of the number apart from notifying it.
        key = practice.key(item.document.subject or "")
        status = connection.execute(select(t.number.c.status).where(t.number.c.key == key)).scalar()
        alone = practice.alone_issues(item.document.subject or "")
        found = objections(item, others, practice, ours=ours, issued=status == "issued", alone=alone)
    return problems + found


def noted(connection: Connection, key: str, me: str) -> Recorded | None:
    """What we have warned of a number of ours, else what we have recorded of it; not that it was forged, which says whose it is not.

    A warning comes first: two people have said it to partners. What is recorded one may write.
    """
    warned = alerts.under(connection, [key]).get(key, ())
    ours = {
        each.kind for each in warned if each.issuer[:2] == me[:2]
    }  # a sister office's word is the issuer's, too
    found = next((kind for kind in ("stolen", "lost", "void") if kind in ours), None)
    if found is not None:
        return cast(Recorded, found)
    recorded_ = connection.execute(select(t.number.c.status).where(t.number.c.key == key)).scalar()
    return None if recorded_ is None else cast(Recorded, recorded_)


def record_cases(
    connection: Connection,
    items: Iterable[Verified],
    at: str,
    practice: Practice,
    *,
    from_partner: bool,
    remarks: Mapping[str, Sequence[Problem]] | None = None,
) -> bool:
    """Fold the certificates that `items` (already inserted) are about. True if one of them is owed an answer.

    What is said against a document is kept beside it: found here for a partner's, and given as `remarks` (by id) for our own, which
    passed the same rules before they were committed. What we owe is committed with the document that it answers; signing
    and sending come later and may fail as often as they like.
    """
    items = list(items)
    alerts.record(connection, items, at, practice)
    by_key: dict[str, list[Filed]] = {}
    alone: list[Filed] = []
    for verified in items:
        file = Filed(verified.id, verified.document)
        if verified.document.subject:
            by_key.setdefault(practice.key(verified.document.subject), []).append(file)
        else:
            alone.append(file)
    owed = _record_alone(connection, alone, at, practice, remarks or {}, from_partner=from_partner)
    if not by_key:
        return owed
    before = states(connection, list(by_key))
    known = filed(connection, list(before)) if before else {}
    warned = alerts.under(connection, list(by_key))
    fresh: list[tuple[Any, ...]] = []
    changed: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    incidents: list[dict[str, Any]] = []
    for key, arrived in by_key.items():
        filings = known.get(key, arrived)
        partner = arrived[-1].source if from_partner else arrived[-1].document.recipient
        loaded = {item.id for item in filings}
        beyond = [item for item in arrived if item.id not in loaded]
        case = fold(key, filings, practice)
        columns = _columns(case, _other(case, practice.me) or partner, at, practice.me)
        if key in before:
            changed.append({f"to_{name}": columns[name] for name in _FOLDED} | {"of": key})
        else:
            columns["first_at"] = at
            fresh.append(tuple(columns[name] for name in _CERTIFICATE))
        to_come = {item.id for item in arrived}
        for item in arrived:
            to_come.discard(item.id)
            others: Sequence[Filed] = filings
            answering = from_partner and item.id in loaded  # what counts for nothing is owed nothing
            if item.id not in loaded:
                problems = []
            elif from_partner:
                # One after the other, as if each had come alone: of two that exclude one another the first stays.
                others = [other for other in filings if other.id not in to_come] if to_come else filings
                problems = said_against(connection, item, others, practice, at)
            else:
                problems = list((remarks or {}).get(item.id, ()))
            problems += alerts.problems(item.document, warned.get(key, ()))
            said += _said(item, problems, from_partner=answering)
            if answering and _not_known(connection, key, item, others, problems, practice):
                incidents.append(_incident(item, NOT_KNOWN, _NOT_KNOWN, key, at))
            incidents += [
                _incident(item, f"rule-{p.code}", p.text, key, at)
                for p in problems
                if p.severity != "warn" and p.code != UNCERTAIN and from_partner
            ]
        if beyond:
            _too_many(connection, key, beyond[0], at, lock_it=beyond[0].source == columns["partner"])
        if case.state is State.SUSPECTED_COUNTERFEIT and before.get(key) != case.state and from_partner:
            incidents.append(_incident(arrived[-1], str(case.state), case.meaning, key, at))
    insert_rows(connection, t.certificate, _CERTIFICATE, fresh)
    if changed:
        connection.execute(_UPDATE, changed)
    if said:
        connection.execute(_SAID, said)
    if incidents:
        connection.execute(insert(t.incident), incidents)
    return owed or any(row["answer"] is not None for row in said)


def _too_many(connection: Connection, key: str, item: Filed, at: str, *, lock_it: bool) -> None:
    """An authority has said more about one number than is looked at: told once. Nobody else's certificate is locked by that."""
    i, why = t.incident.c, f"{item.source} has sent more than {MOST_FILED} documents about this number"
    if not is_open(connection, TOO_MANY, i.partner == item.source, i.certificate == key):
        text = f"{why}: what goes beyond is kept, and counts for nothing. Talk to them, and close this."
        connection.execute(insert(t.incident), [_incident(item, TOO_MANY, text, key, at)])
    if lock_it:
        connection.execute(update(t.certificate).where(t.certificate.c.key == key).values(locked=why))


_NOT_KNOWN: Final = (
    "A partner speaks of a number of ours that is not known here. It is told that the number is unknown, by our signature, as soon "
    "as it is certain that this node has forgotten nothing; the queues show for whom that waits. Look into your own books meanwhile."
)


def _not_known(
    connection: Connection,
    key: str,
    item: Filed,
    others: Sequence[Filed],
    problems: Sequence[Problem],
    practice: Practice,
) -> bool:
    """Whether a document that has just come speaks of a number that we alone could have issued, and know nothing of.

    It is an alarm of its own when that is said (`kpnode.store.answers`), by a node that is sure of it.
    """
    if isinstance(item.data, documents.CertificateQuery):
        if any(problem.severity == "reject" for problem in problems):
            return False
        alone = practice.alone_issues(item.document.subject or "")
        draft = answer_draft(item, others, noted(connection, key, practice.me), alone=alone)
        return bool(draft["data"]["finding"] == "unknown")
    return any(problem.code == UNCERTAIN for problem in problems)


def _record_alone(
    connection: Connection,
    items: Sequence[Filed],
    at: str,
    practice: Practice,
    remarks: Mapping[str, Sequence[Problem]],
    *,
    from_partner: bool,
) -> bool:
    """The same for documents about no certificate, such as alerts: nothing to fold, but their rules hold all the same."""
    said: list[dict[str, Any]] = []
    incidents: list[dict[str, Any]] = []
    for item in items:
        problems = (
            said_against(connection, item, spoken_of(connection, item), practice, at)
            if from_partner
            else remarks.get(item.id, ())
        )
        said += _said(item, problems, from_partner=from_partner)
        wanted = [p for p in problems if p.severity != "warn" and from_partner]
        incidents += [_incident(item, f"rule-{p.code}", p.text, None, at) for p in wanted]
    if said:
        connection.execute(_SAID, said)
    if incidents:
        connection.execute(insert(t.incident), incidents)
    return any(row["answer"] is not None for row in said)


def spoken_of(connection: Connection, item: Filed) -> list[Filed]:
    """What a document about no certificate acts upon, if it is here."""
    if not isinstance(item.data, documents.Withdrawal):
        return []
    query = select(t.document.c.id, t.document.c.raw).where(t.document.c.id == item.data.withdraws)
    return [_read(row.id, row.raw) for row in connection.execute(query)]


def _said(item: Filed, problems: Sequence[Problem], *, from_partner: bool) -> list[dict[str, Any]]:
    refused = from_partner and any(p.severity == "reject" for p in problems)
    asked = from_partner and isinstance(item.data, documents.CertificateQuery)
    if not problems and not asked:
        return []
    reasons = [as_members(p) for p in problems]
    answer = {"rejection": reasons} if refused else {"finding": True} if asked else None
    return [
        {
            "of": item.id,
            "answer": None if answer is None else json.dumps(answer),
            "remarks": json.dumps(reasons) if reasons else None,
        }
    ]


def as_members(problem: Problem) -> dict[str, Any]:
    """A problem as it is kept: with what it takes to say it again in another language."""
    members: dict[str, Any] = {
        "code": problem.code,
        "severity": problem.severity,
        "pointer": problem.pointer,
        "text": problem.text,
    }
    return members | ({"variant": problem.variant, "facts": dict(problem.facts)} if problem.variant else {})


def refold(connection: Connection, keys: Sequence[str], at: str, practice: Practice) -> None:
    """Fold certificates anew: their documents count differently now, a day has come, or this software reads more of them."""
    rows = []
    known = select(t.certificate.c.key, t.certificate.c.partner).where(t.certificate.c.key.in_(keys))
    partners = {row.key: row.partner for row in connection.execute(known)}
    for key, filings in filed(connection, keys).items():
        if filings and key in partners:
            case = fold(key, filings, practice)
            columns = _columns(case, _other(case, practice.me) or partners[key], at, practice.me)
            rows.append({f"to_{name}": columns[name] for name in _FOLDED if name not in _KEPT} | {"of": key})
    if rows:
        connection.execute(_REFOLD, rows)


_KEPT: Final = ("changed_at",)
_REFOLD: Final = (
    update(t.certificate)
    .where(t.certificate.c.key == bindparam("of"))
    .values({name: bindparam(f"to_{name}") for name in _FOLDED if name not in _KEPT})
)


def release_claims(connection: Connection, items: Iterable[Verified], partner: str) -> None:
    """A document of ours that was rejected, withdrawn or cancelled as a mistake holds its claim no longer."""
    released = [about for item in items if (about := released_by(item.document)) is not None]
    if released:
        ours = select(t.document.c.id).where(
            t.document.c.id.in_(released), t.document.c.direction == "out", t.document.c.partner == partner
        )
        connection.execute(delete(t.claim).where(t.claim.c.document_id.in_(ours)))


def lock(connection: Connection, item: Verified, partner: str, at: str, practice: Practice) -> None:
    """R9: the effects of `item` failed three times. It is registered; its certificate waits for an officer."""
    why = f"the effects of document {item.id} could not be computed here"
    key = practice.key(item.document.subject or "")
    changed = connection.execute(update(t.certificate).where(t.certificate.c.key == key).values(locked=why))
    if key and not changed.rowcount:
        row = {"key": key, "number": key, "issuer": key[:2], "partner": partner, "state": "undetermined"}
        row |= {"case": "{}", "locked": why, "waits": "us", "first_at": at, "changed_at": at}
        connection.execute(insert(t.certificate), [row])
    incident = _incident(Filed(item.id, item.document), SET_ASIDE, why, key, at)
    connection.execute(insert(t.incident), [incident])


def _other(case: Case, me: str) -> str | None:
    """The authority with which we have this case, if its documents tell: whoever else speaks of it moves it into no other list."""
    return next((each for each in (case.importer, case.exporter) if each not in {None, me}), None)


def _columns(case: Case, partner: str, at: str, me: str) -> dict[str, Any]:
    members = case.members()
    turns = worklists.turns(members["matters"], me, date.fromisoformat(at[:10]))
    return {
        "key": case.key,
        "number": case.number,
        "issuer": case.issuer,
        "partner": partner,
        "state": str(case.state),
        "case": json.dumps(members),
        "waits": turns.waits,
        "matter": turns.matter,
        "due": turns.due,
        "changed_at": at,
    }


def _incident(item: Filed, kind: str, text: str, key: str | None, at: str) -> dict[str, Any]:
    return {
        "at": at,
        "kind": kind,
        "partner": item.source,
        "document_id": item.id,
        "certificate": key,
        "text": text,
        "statement": None,
    }
