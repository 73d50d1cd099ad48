"""What people ask their node for at a desk: certificates and what is open about them, drafts to fill in and release, numbers.

A part of `kpmsg.client.NodeClient`. It decides the paths of the API and what of an answer is looked at; what the answers mean, and which
of them are shown, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from kpmsg import strictjson
from kpmsg.client.asking import Asking, Json, list_in, object_in, unreadable
from kpmsg.documents import certificate_key

_JSON = {"content-type": "application/json"}
_SOON = 0.25
"""Seconds between the first looks for an answer: a node that is there gives it at once."""

_ANSWERS = ("certificate-answer", "rejection")


@dataclass(frozen=True, slots=True)
class Reply:
    """The document that answers one of ours, as the node shows it, and what it says."""

    document: Json
    data: Json


class Desk(Asking):
    """Certificates, work lists, drafts, numbers and alerts of one node."""

    # -- certificates ----------------------------------------------------------------------------------------------------

    def certificate(self, number: str) -> Json:
        """Where a certificate stands between the two authorities, with its documents. Any spelling of its number will do."""
        return object_in(self._ask("GET", f"/v1/certificates/{quote(certificate_key(number), safe='')}"))

    def certificates(
        self, *, starts_with: str | None = None, state: str | None = None, partner: str | None = None
    ) -> Iterator[Json]:
        """Certificates, last changed first; or, with `starts_with` and nothing else, those whose numbers begin so, in their order."""
        asked = {"starts_with": starts_with, "state": state, "partner": partner}
        return self._pages("/v1/certificates", "certificates", asked)

    def reply_to(self, query: str, number: str, *, wait: int = 0) -> Reply | None:
        """The issuer's answer to a certificate query of ours (`query` is its id), or its rejection; None after `wait` seconds without."""
        left = float(wait)
        while True:
            for kind in _ANSWERS:
                asked = {"certificate": certificate_key(number), "type": kind, "direction": "in"}
                for found in self._pages("/v1/documents", "documents", asked):
                    document = found.get("document")
                    data = document.get("data") if isinstance(document, dict) else None
                    if isinstance(data, dict) and query in (data.get("query"), data.get("refers_to")):
                        return Reply(found, data)
            if left <= 0:
                return None
            pause = _SOON if wait - left < 1 else 1.0
            left -= pause
            self._sleep(pause)

    def work(
        self,
        waiting_for: str = "us",
        *,
        overdue: bool = False,
        kind: str | None = None,
        partner: str | None = None,
    ) -> Iterator[Json]:
        """Certificates that wait for ``us`` or for ``them``, the most urgent first; pages are fetched as they are needed."""
        asked = {
            "waiting_for": waiting_for,
            "overdue": "true" if overdue else None,
            "kind": kind,
            "partner": partner,
        }
        return self._pages("/v1/worklist", "certificates", asked)

    def work_summary(self) -> Json:
        """How much waits for ``us`` and for ``them``, and how much of it is overdue, by kind."""
        return object_in(self._ask("GET", "/v1/worklist/summary"))

    # -- drafts ----------------------------------------------------------------------------------------------------------

    def fill_in(self, kind: str, number: str, *, officer: str | None = None) -> Json:
        """The next document of type `kind` (short) about a certificate, filled in from its case: ``draft``, ``problems``, ...

        ClientError ``nothing-to-say`` if the case has nothing that it could speak of, ``not-found`` for an unknown number.
        """
        path = f"/v1/certificates/{quote(certificate_key(number), safe='')}/draft"
        params = {"type": kind} | ({} if officer is None else {"officer": officer})
        response = self._ask("GET", path, params=params)
        found = object_in(response)
        if not isinstance(found.get("draft"), dict):
            raise unreadable(response)
        list_in(response, found, "problems")
        return found

    def try_out(self, draft: Mapping[str, Any]) -> Json:
        """What would come of a draft if it were submitted now: ``verdict``, ``release_needed``, ``problems``. Nothing is kept."""
        return self.try_out_all(strictjson.dumps_foreign(dict(draft)), 1)[0]

    def try_out_all(self, drafts: bytes, count: int) -> list[Json]:
        """The same of `count` drafts that would be submitted together, as JSON text: a list, or a single one."""
        response = self._ask(
            "POST", "/v1/documents", params={"dry_run": "true"}, content=drafts, headers=_JSON
        )
        found = list_in(response, object_in(response), "documents")
        if len(found) != count:
            raise unreadable(response)
        for one in found:
            list_in(response, one, "problems")
        return found

    def prepare(self, draft: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Keep a draft at the node, for another person to release; returns it as the node shows it."""
        body = strictjson.dumps_foreign(dict(draft))
        key = f"sha256-{sha256(body).hexdigest()}" if idempotency_key is None else idempotency_key
        headers = _JSON | {"idempotency-key": key}
        response = self._ask("POST", "/v1/drafts", content=body, headers=headers)
        found = object_in(response)
        if not isinstance(found.get("id"), int):
            raise unreadable(response)
        return found

    def drafts(self, *, state: str = "open", certificate: str | None = None) -> Iterator[Json]:
        """Drafts that are kept, newest first. `state`: ``open``, ``released``, ``discarded`` or ``all``."""
        asked = {"state": state, "certificate": certificate}
        return self._pages("/v1/drafts", "drafts", asked)

    def draft(self, number: int) -> Json:
        """One draft, with what would come of it now."""
        return object_in(self._ask("GET", f"/v1/drafts/{number}"))

    def release(self, drafts: Sequence[Json], *, wait: int = 0) -> Json:
        """Sign and send drafts, all of them or none, as they were shown: each with its ``id`` and ``digest``.

        Returns the ``documents`` that they have become. ClientError ``same-person``, ``draft-unfit``, ``document-invalid``, ...
        """
        body = strictjson.dumps(
            {"drafts": [{name: each[name] for name in ("id", "digest")} for each in drafts]}
        )
        headers = _JSON | {"idempotency-key": f"sha256-{sha256(body).hexdigest()}"}
        if wait > 0:
            headers["prefer"] = f"wait={wait}"
        response = self._ask("POST", "/v1/drafts/release", content=body, headers=headers, wait=wait)
        found = object_in(response)
        list_in(response, found, "documents")
        return found

    def discard(self, number: int, reason: str) -> Json:
        """Close a draft that shall not be said."""
        body = strictjson.dumps({"reason": reason})
        return object_in(self._ask("POST", f"/v1/drafts/{number}/discard", content=body, headers=_JSON))

    # -- numbers ---------------------------------------------------------------------------------------------------------

    def numbers(self, series: str | None = None) -> Json:
        """An account of our own certificate numbers: used, voided, issued, lost, never used. `series` is written ``BW/6``."""
        params = {} if series is None else {"series": series}
        response = self._ask("GET", "/v1/numbers/report", params=params)
        found = object_in(response)
        list_in(response, found, "series")
        return found

    def record_numbers(self, facts: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Record what became of certificate numbers of ours: ``number``, ``status`` (issued, void, lost or stolen), perhaps ``note``.

        All of them or none; the last word on a number counts. Nobody else learns of it: partners are told by a cancellation or an alert.
        """
        response = self._ask("POST", "/v1/numbers", content=strictjson.dumps(list(facts)), headers=_JSON)
        return list_in(response, object_in(response), "numbers")

    def alerts(self, *, active: bool | None = None, issuer: str | None = None) -> Iterator[Json]:
        """Ranges of numbers that their issuers warn of, newest first. `active`: only those in force, or only those that have ended."""
        asked = {"active": None if active is None else str(active).lower(), "issuer": issuer}
        return self._pages("/v1/alerts", "alerts", asked)
