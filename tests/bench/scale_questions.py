"""What is asked of a node with many certificates: each question a request over HTTP, with the answer that it must get.

How often each is asked, and which of them the aim is for, is said here; how long they take is not known.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from kpnode.api.requests import cursor_for
from tests.bench import drafts
from tests.bench.load import Request
from tests.bench.scale_fill import DIGITS
from tests.bench.scale_node import ME, Scaled

PARTNER = "AE"


@dataclass(frozen=True)
class Question:
    """`ask(n)` is the n-th request. `aimed`: the issue's own aim holds for it; all others are watched for company."""

    what: str
    ask: Callable[[Scaled, int], Request]
    times: int = 150
    aimed: bool = True
    expected: int = 200
    cold: bool = False  # the database's file is thrown out of the system's memory before each


_single, _hundreds = count(2_000_001), count(30_000)  # numbers of the series that nobody has used yet


def _submit(_: Scaled, __: int) -> Request:
    n = next(_single)
    return Request("POST", "/v1/documents", _json(n), json.dumps(_draft(n)).encode())


def _bulk(_: Scaled, __: int) -> Request:
    n = next(_hundreds)
    body = json.dumps([_draft(100 * n + offset) for offset in range(100)])
    return Request("POST", "/v1/documents", _json(n), body.encode())


def _draft(n: int) -> dict[str, Any]:
    """As in the other benchmark, with the next numbers of our series and of today."""
    draft, today = drafts.draft(n, ""), datetime.now(UTC).date()
    days = {"date_of_issue": str(today), "date_of_expiry": str(today + timedelta(days=60))}
    return draft | {"data": draft["data"] | days | {"confirmation": {"requested": True}}}


def _json(n: int) -> dict[str, str]:
    key = f"scale-{n:x}-{Random(n).getrandbits(64):016x}"
    return {"Content-Type": "application/json", "Prefer": "return=minimal", "Idempotency-Key": key}


def _get(path: str) -> Callable[[Scaled, int], Request]:
    return lambda _, __: Request("GET", path)


def _certificate(node: Scaled, n: int) -> Request:
    keys = node.filled.keys
    return Request("GET", f"/v1/certificates/{keys[n * 7919 % len(keys)]}")


def _unknown(_: Scaled, n: int) -> Request:
    return Request("GET", f"/v1/certificates/{ME}{8_000_000 + n * 7919 % 900_000:0{DIGITS}d}")


def _document(suffix: str) -> Callable[[Scaled, int], Request]:
    def ask(node: Scaled, n: int) -> Request:
        ids = node.filled.ids
        return Request("GET", f"/v1/documents/{ids[n * 7919 % len(ids)]}{suffix}")

    return ask


def _middle_certificates(node: Scaled, _: int) -> Request:
    return Request("GET", f"/v1/certificates?cursor={cursor_for(*node.filled.middle)}")


def _middle_documents(node: Scaled, _: int) -> Request:
    return Request("GET", f"/v1/documents?partner={PARTNER}&cursor={cursor_for(node.certificates)}")


def _events(node: Scaled, n: int) -> Request:
    return Request("GET", f"/v1/events?limit=50&after={1 + n * 7919 % (2 * node.certificates)}")


SUBMISSIONS: Sequence[Question] = (
    Question("submit one notification", _submit, 300, expected=201),
    Question("submit 100 in one request", _bulk, 40, expected=201),
)
"""Asked last: what they leave in the queue would be counted with everything else."""

READS: Sequence[Question] = (
    # Pages are as long as the smaller node can fill: a longer one takes longer wherever it is from.
    Question("certificate by number, any", _certificate, 400),
    Question("certificate by number, the same", _get("/v1/certificates/BW0000007"), 300),
    Question("certificate, unknown number", _unknown, 200, expected=404),
    Question("work list: for us", _get("/v1/worklist?waiting_for=us&limit=20")),
    Question("work list: for them", _get("/v1/worklist?waiting_for=them&limit=20")),
    Question("work list: overdue", _get("/v1/worklist?waiting_for=them&overdue=true&limit=20")),
    Question("work list: one kind", _get("/v1/worklist?waiting_for=us&kind=confirmation&limit=5")),
    Question("work list: one partner", _get(f"/v1/worklist?waiting_for=them&partner={PARTNER}&limit=3")),
    Question("work list: summary", _get("/v1/worklist/summary")),
    Question("queues", _get("/v1/queues")),
    Question("queue of one partner", _get(f"/v1/partners/{PARTNER}/queue")),
    Question("certificates: first page", _get("/v1/certificates"), aimed=False),
    Question("certificates: by state", _get("/v1/certificates?state=notified&limit=20"), aimed=False),
    Question("certificates: by rare state", _get("/v1/certificates?state=seized"), aimed=False),
    Question("certificates: by partner", _get(f"/v1/certificates?partner={PARTNER}"), aimed=False),
    Question("certificates: by both", _get(f"/v1/certificates?partner={PARTNER}&state=notified&limit=3"), aimed=False),
    Question("certificates: in the middle", _middle_certificates, aimed=False),
    Question("certificates: how they begin", _get("/v1/certificates?starts_with=BW00001"), aimed=False),
    Question("documents: first page", _get("/v1/documents"), aimed=False),
    Question("documents: by partner", _get(f"/v1/documents?partner={PARTNER}"), aimed=False),
    Question("documents: by partner, in the middle", _middle_documents, aimed=False),
    Question("documents: by type", _get("/v1/documents?type=import-confirmation"), aimed=False),
    Question("documents: by rare type", _get("/v1/documents?type=return-notice"), aimed=False),
    Question("documents: by partner, rare type", _get(f"/v1/documents?partner={PARTNER}&type=return-notice"), aimed=False),
    Question("documents: waiting", _get("/v1/documents?delivery=waiting&limit=10"), aimed=False),
    Question("documents: withheld", _get("/v1/documents?delivery=withheld"), aimed=False),
    Question("documents: of a certificate", _get("/v1/documents?certificate=BW0000007"), aimed=False),
    Question("document by id", _document(""), aimed=False),
    Question("receipt of a document", _document("/receipt"), aimed=False),
    Question("incidents: open", _get("/v1/incidents?limit=1"), aimed=False),
    Question("incidents: of a partner", _get(f"/v1/incidents?state=closed&partner={PARTNER}&limit=1"), aimed=False),
    Question("events: from anywhere", _events, aimed=False),
    Question("metrics", _get("/metrics"), 60, aimed=False),
)  # fmt: skip

COLD = Question("certificate by number, from disk", _certificate, 25, aimed=False, cold=True)
"""The very last: after it, everything else would have to be fetched from the disk once more."""

REPORT = Question("report of all numbers", _get("/v1/numbers/report"), 5, aimed=False)
"""Goes through all numbers of the series: it costs as much as there are."""
