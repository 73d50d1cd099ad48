"""Drafts that follow from documents: what a node says by itself, ready to be composed and signed.

The rejection of a document that breaks rules, and the answer to a query about a certificate. Both are pure functions of what is
known; whether enough is known to say "we never issued this number" is for the node to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from kpmsg import strictjson
from kpmsg.case.differences import same_name
from kpmsg.case.standing import Filed, Standing, content_of
from kpmsg.documents import (
    TYPES,
    Cancellation,
    CertificateAnswer,
    CertificateQuery,
    Document,
    Rejection,
    Withdrawal,
)
from kpmsg.errors import Problem
from kpmsg.rules import version_of

Recorded = Literal["issued", "void", "lost", "stolen"]
"""What an authority may have recorded of a number of its own apart from notifying it."""

MOST_REASONS: Final = 100
MOST_REASONS_BYTES: Final = 48 * 1024

_BY_REASON: Final = {"replaced": "replaced", "lost": "lost", "stolen": "stolen"}


def released_by(document: Document) -> str | None:
    """The id of the document whose claim this (verified) one sets free, so that the same may be said again, corrected.

    A rejection by its recipient, a withdrawal by its author, and the cancellation of what should not have been notified so.
    """
    match document.data:
        case Rejection(refers_to=about) | Withdrawal(withdraws=about):
            return about
        case Cancellation(reason="notified_in_error", cancels=about):
            return about
    return None


def rejection_draft(item: Filed, problems: Sequence[Problem]) -> dict[str, Any]:
    """The draft of the signed answer to a document that breaks rules; the recipient's node composes and signs it."""
    data: dict[str, Any] = {
        "refers_to": item.id,
        "reasons": _as_many_as_fit(problems),
    }
    if any(p.code == "S07" for p in problems):
        data["supported_types"] = sorted(TYPES)
    draft: dict[str, Any] = {"type": Rejection.type, "recipient": item.source, "data": data}
    if item.document.subject is not None:
        draft["subject"] = item.document.subject
    return draft


def _as_many_as_fit(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The gravest first. A document of hundreds of lines can break more rules than a rejection can name (`MOST_REASONS`)."""
    reasons: list[dict[str, Any]] = []
    room = MOST_REASONS_BYTES
    for problem in sorted(problems, key=lambda p: p.severity != "reject")[:MOST_REASONS]:
        reason = _reason(problem)
        room -= len(strictjson.dumps(reason))
        if reasons and room < 0:
            break
        reasons.append(reason)
    return reasons


def _reason(problem: Problem) -> dict[str, Any]:
    members = {
        "code": problem.code,
        "version": version_of(problem),
        "severity": problem.severity,
        "pointer": problem.pointer or None,
        "text": problem.text,
        "variant": problem.variant or None,
        "facts": [{"name": name, "value": value} for name, value in problem.facts] or None,
    }
    return {name: value for name, value in members.items() if value is not None}


def answer_draft(
    item: Filed, filed: Sequence[Filed], recorded: Recorded | None, *, alone: bool = True
) -> dict[str, Any]:
    """The draft of the answer to a certificate query (KPCS Section II(d)), from all that we know of the number.

    `filed`: the documents about it, of which those count that we wrote; `recorded`: what we have noted of the number; `alone`: nobody else
    of our Participant can have issued it, so that not knowing it means that it does not exist. Nothing is told that the
    asker has not shown: facts are compared, not given, and another importer is not named.
    """
    query = item.data
    assert isinstance(query, CertificateQuery)
    data: dict[str, Any] = {
        "certificate": query.certificate.model_dump(mode="json"),
        "query": item.id,
        "finding": "unknown",
    }
    data |= _finding(item, query, filed, recorded)
    if data["finding"] == "unknown" and not alone:
        data["finding"] = "not_this_office"
    return {"type": CertificateAnswer.type, "recipient": item.source, "data": data}


def _finding(
    item: Filed, query: CertificateQuery, filed: Sequence[Filed], recorded: Recorded | None
) -> dict[str, Any]:
    me = item.document.recipient
    standing = Standing(filed)
    notified = [n for n in standing.notifications if n.source == me]
    if not notified and any(n.source == me for n in standing.notified):
        recorded = (
            recorded or "issued"
        )  # its recipient has rejected what we notified; the number is ours all the same
    if recorded in {"void", "lost", "stolen"}:
        return {"finding": recorded}
    if not notified:
        # Issued on paper, nothing said about it yet: the number is known, and there is nothing to compare.
        return (
            {"finding": "matches"}
            if recorded == "issued" and not _shown(query)
            else (
                {"finding": "unknown"}
                if recorded is None
                else {"finding": "differs", "differing": _shown(query)}
            )
        )
    notification = next((n for n in notified if standing.cancellation_of(n) is None), notified[-1])
    cancellation = standing.cancellation_of(notification)
    if cancellation is not None and isinstance(cancellation.data, Cancellation):
        said = {"finding": _BY_REASON.get(cancellation.data.reason, "void")}
        replaced_by = cancellation.data.replaced_by
        return said | ({"replaced_by": replaced_by} if said["finding"] == "replaced" and replaced_by else {})
    if notification.document.recipient != item.source:
        return {"finding": "issued_to_another"}
    content = content_of(standing.versions(notification)[-1])
    facts = {
        "date_of_issue": query.date_of_issue in {None, content.date_of_issue},
        "carats": query.carats in {None, content.carats},
        "parcels": query.parcels in {None, content.parcels},
        "exporter": query.exporter is None or same_name(query.exporter, content.exporter.name),
    }
    differing = [name for name, agrees in facts.items() if not agrees]
    return {"finding": "differs", "differing": differing} if differing else {"finding": "matches"}


def _shown(query: CertificateQuery) -> list[str]:
    return [
        name
        for name in ("date_of_issue", "carats", "parcels", "exporter")
        if getattr(query, name) is not None
    ]
