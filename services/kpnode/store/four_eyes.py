"""What a second person must release: by the types of the policy, and by what a document replaces or takes back.

Whoever may not say a thing alone may not unsay or rewrite it alone either. So a document needs two people if the policy asks for two for its
type, or if what it acts upon needed two: the amendment of such a notification, its cancellation, the withdrawal of that cancellation.
This is the one place that knows; it is asked before anything is signed, when something is shown, and, which alone is decisive, in the
transaction that commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from kpmsg.documents import Document, Withdrawal, kind_of
from kpnode.release import FourEyes, needs_two
from kpnode.store import tables as t
from kpnode.store.documents import document_of, slices


def needing_two(connection: Connection, spoken: Sequence[Any], policy: FourEyes) -> list[int]:
    """Which of `spoken` a second person must release, by their places: documents, or drafts, which may hold anything."""
    found: set[int] = set()
    left: dict[int, Any] = dict(enumerate(spoken))
    while left:
        places = list(left)
        found |= {places[n] for n in needs_two([_kind(each) for each in left.values()], policy)}
        targets = {
            place: target
            for place, each in left.items()
            if place not in found and (target := _target(each)) is not None
        }
        here = _documents(connection, set(targets.values()))
        found |= {place for place, target in targets.items() if target not in here and _bare(left[place])}
        left = {place: here[target] for place, target in targets.items() if target in here}
    return sorted(found)


def _bare(each: Any) -> bool:
    """Whether it takes back something that is about no certificate: an alert, perhaps, which a restored database has forgotten.

    About a certificate nothing is said of a document that is not here (A05).
    """
    subject = each.subject if isinstance(each, Document) else each.get("subject")
    return _kind(each) in {Withdrawal.name, Withdrawal.type} and not subject


def _kind(each: Any) -> Any:
    return (
        each.type if isinstance(each, Document) else each.get("type") if isinstance(each, Mapping) else None
    )


def _target(each: Any) -> str | None:
    """The document that it acts upon, as far as that can be told."""
    content = kind_of(_kind(each))
    if content is None or content.acts_by is None:
        return None
    data = each.data if isinstance(each, Document) else each.get("data")
    found = data.get(content.acts_by) if isinstance(data, Mapping) else getattr(data, content.acts_by, None)
    return found if isinstance(found, str) else None


def _documents(connection: Connection, ids: set[str]) -> dict[str, Document]:
    found = {}
    for some in slices(sorted(ids)):
        rows = connection.execute(select(t.document.c.id, t.document.c.raw).where(t.document.c.id.in_(some)))
        found.update({row.id: document_of(row.raw) for row in rows})
    return found
