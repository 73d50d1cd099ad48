"""An example of every document type, as it would be submitted: one made-up shipment from Botswana to the United Arab Emirates.

What follows from documents is prefilled from them, as a clerk's own drafts are, so that no example can fall behind what the types ask.
The days are fixed, and so are the ids that examples refer to: counted, and nobody's. An example that refers to something is
therefore held or refused by a node that does not have it, and the example says so; alone it breaks no rule.
Nothing here is made before somebody asks for the OpenAPI document.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple

from kpmsg import documents
from kpmsg.case.filling import LEFT_OUT, changed
from kpmsg.case.prefill import Draft, prefill
from kpmsg.case.replies import rejection_draft
from kpmsg.case.standing import Filed
from kpmsg.documents import TYPES
from kpmsg.policy import Practice
from kpmsg.rules import breach
from kpnode.api.schemas import written_by
from kpnode.sample import Trade

EXPORTER: Final = "BW"
IMPORTER: Final = "AE"

_SHIPPED: Final = date(2026, 3, 2)
_ARRIVED: Final = date(2026, 3, 4)
_INSPECTED: Final = date(2026, 3, 6)
_SENT_BACK: Final = date(2026, 3, 10)
_OVERDUE: Final = date(2026, 4, 7)

_LESS: Final = Decimal("0.50")
"""So many carats are missing where something is."""
_UNKNOWN: Final = "BW 000041"
"""A number that its issuer has never given out."""
_TECHNICAL: Final = "AE 000917"
_OFFICERS: Final = {EXPORTER: "K. Moeti", IMPORTER: "S. Al Ketbi"}


class Example(NamedTuple):
    """A draft, who would send it and on which day, and what it is in a few words. `alone`: it refers to no other document."""

    author: str
    day: date
    draft: Draft
    summary: str
    text: str = ""
    alone: bool = False

    @property
    def content(self) -> type[documents.Content]:
        return next(kind for kind in TYPES.values() if kind.name == self.draft["type"])

    def shown(self) -> dict[str, Any]:
        """As an Example Object of OpenAPI 3.1."""
        content = self.content
        to = "every partner" if self.draft["recipient"] == "*" else self.draft["recipient"]
        said = [f"Written by {written_by(content)}; here by {self.author}, to {to}.", self.text]
        if not self.alone:
            said.append("Its ids stand for those of documents that you have.")
        return {
            "summary": f"{content.name} ({' or '.join(sorted(content.roles))}): {self.summary}",
            "description": " ".join(filter(None, said)),
            "value": self.draft,
        }


def submissions() -> dict[str, Any]:
    """What may be submitted at once: every type but those that a second person always releases, and several together."""
    several = [Trade(EXPORTER, IMPORTER, on=_SHIPPED, first=43).notification(n) for n in range(2)]
    return _shown(always_released=False) | {
        "several": {
            "summary": "several together: all of them or none",
            "description": f"Written by {EXPORTER}, which exports: two shipments of one day.",
            "value": several,
        }
    }


def preparations() -> dict[str, Any]:
    """What has to be prepared as a draft first, and something that is not complete yet."""
    return _shown(always_released=True) | {
        "unfinished": {
            "summary": "a cancellation, whose reason is still to be written",
            "description": "A draft is kept as far as it has come; `problems` in the answer tells what is missing.",
            "value": changed(examples()["cancellation"].draft, {"/reason": LEFT_OUT}),
        }
    }


@cache
def examples() -> dict[str, Example]:
    """By short name, in the order of `kpmsg.documents.TYPES`. They are shared: change copies of them only."""
    found = {each.draft["type"]: each for each in (*_exporters(), *_importers(), *_anybodys())}
    return {kind.name: found[kind.name] for kind in TYPES.values()}


def _shown(*, always_released: bool) -> dict[str, Any]:
    chosen = [each for each in examples().values() if each.content.always_released is always_released]
    return {each.content.name: each.shown() for each in chosen}


# -- the case ----------------------------------------------------------------------------------------------------------


def _notified() -> Draft:
    # The fifth of the trade's seeds: two lines, of one origin and of several, and an air waybill.
    return Trade(EXPORTER, IMPORTER, on=_SHIPPED, first=42, seed=4).notification(0)


def _filed(n: int, author: str, day: date, draft: Draft) -> Filed:
    """A draft as if it had been sent, as the n-th document of the case: its id shows that it is made up."""
    at = datetime.combine(day, time(9, 30), UTC)
    head = f"{int(at.timestamp() * 1000):012x}"
    message_id = f"{head[:8]}-{head[8:]}-7000-8000-{n:012x}"
    document, _ = documents.compose(draft, source=author, id=message_id, time=at)
    return Filed(f"{n:064x}", document)


def _next(author: str, day: date, kind: str, *before: Filed, **changes: Any) -> Draft:
    """The next document after those that came `before`; `changes` are members of its data, by name."""
    draft = prefill(kind, before, me=author, today=day, practice=Practice(author), officer=_OFFICERS[author])
    draft = changed(draft, {f"/{name}": value for name, value in changes.items()})
    return {name: draft[name] for name in ("type", "recipient", "subject", "data") if name in draft}


def _shipment() -> Filed:
    return _filed(1, EXPORTER, _SHIPPED, _notified())


def _seal() -> str:
    return str(_notified()["data"]["containers"]["seal_numbers"][0])


def _query() -> Draft:
    draft = _next(
        IMPORTER, _INSPECTED, "discrepancy-query", _shipment(),
        question="Our scale shows half a carat less than the certificate. Which weight holds?",
    )  # fmt: skip
    return changed(draft, {"/doubts/0/found": _less(draft["data"]["doubts"][0]["notified"])})


def _less(carats: str) -> str:
    return f"{Decimal(carats) - _LESS:.2f}"


# -- who writes what ---------------------------------------------------------------------------------------------------


def _exporters() -> list[Example]:
    """What the exporting authority says."""
    shipment = _shipment()
    asked = _filed(2, IMPORTER, _INSPECTED, _query())
    amended = _next(
        EXPORTER, _SHIPPED, "export-amendment", shipment,
        reason="route_changed", explanation="The flight of 3 March was cancelled.",
    )  # fmt: skip
    amended = changed(amended, {"/content/transport/departure": _ARRIVED.isoformat()})
    goods = _notified()["data"]
    return [
        Example(EXPORTER, _SHIPPED, _notified(), "a shipment leaves", alone=True),
        Example(
            EXPORTER, _SHIPPED, amended, "another version of a notification",
            "Its content is the whole notification as it is from now on; `changed` points at what differs.",
        ),
        Example(
            EXPORTER, _SHIPPED,
            _next(
                EXPORTER, _SHIPPED, "cancellation", shipment,
                reason="replaced", replaced_by="BW 000045", explanation="The paper was spoilt.",
            ),
            "a certificate is not to be relied on any more",
        ),
        Example(
            EXPORTER, _OVERDUE,
            _next(
                EXPORTER, _OVERDUE, "confirmation-request", shipment,
                contact=f"{_OFFICERS[EXPORTER]}, Diamond Office, Gaborone",
            ),
            "the confirmation is overdue",
        ),
        Example(
            EXPORTER, _INSPECTED,
            _next(
                EXPORTER, _INSPECTED, "discrepancy-response", shipment, asked,
                explanation="One weight was copied wrongly. Please endorse the correction on the certificate.",
            ),
            "the answer to a discrepancy query",
        ),
        Example(
            EXPORTER, _SHIPPED,
            {
                "type": "transit-notice",
                "recipient": IMPORTER,
                "data": {
                    "certificate": goods["certificate"] | {"number_raw": "BW 000046"},
                    "destination": "IN",
                    "parcels": 1,
                    "carats": "37.20",
                    "containers": {"count": 1, "seal_numbers": ["BWS307741"]},
                    "places": ["Dubai International Airport"],
                    "expected_entry": "2026-03-04",
                    "expected_exit": "2026-03-05",
                    "remarks": "It stays in the bonded store.",
                },
            },
            "a sealed shipment passes through", "No confirmation is due.", alone=True,
        ),
    ]  # fmt: skip


def _importers() -> list[Example]:
    """What the importing authority says."""
    shipment = _shipment()
    confirmed = _next(
        IMPORTER, _INSPECTED, "import-confirmation", shipment,
        date_of_arrival=_ARRIVED.isoformat(), date_of_receipt=_ARRIVED.isoformat(),
    )  # fmt: skip
    request = _next(EXPORTER, _OVERDUE, "confirmation-request", shipment)
    requested = _filed(2, EXPORTER, _OVERDUE, request)
    return [
        Example(
            IMPORTER, _ARRIVED,
            _next(
                IMPORTER, _ARRIVED, "arrival-notice", shipment,
                place="Dubai Diamond Exchange, Almas Tower", decision_expected=_INSPECTED.isoformat(),
            ),
            "a shipment has been presented",
        ),
        Example(
            IMPORTER, _INSPECTED, confirmed, "what has arrived",
            "Here everything is as notified; otherwise the outcome says so and `discrepancies` what was found.",
        ),
        Example(
            IMPORTER, _SENT_BACK, _corrected(shipment, confirmed), "what has arrived after all",
            "Its content is the whole confirmation as it is from now on.",
        ),
        Example(
            IMPORTER, _OVERDUE,
            _next(
                IMPORTER, _OVERDUE, "confirmation-status", shipment, requested,
                remarks="Neither our customs nor the importer have seen it. Please ask the carrier.",
            ),
            "why there is no confirmation yet",
        ),
        Example(IMPORTER, _INSPECTED, _query(), "what was found is not what was notified"),
        Example(
            IMPORTER, _ARRIVED,
            _next(
                IMPORTER, _ARRIVED, "irregularity-notice", shipment,
                irregularities=["seal_broken"],
                description=f"Seal {_seal()} is broken. The container is in our custody until you have answered.",
            ),
            "something is wrong with a shipment",
        ),
        Example(
            IMPORTER, _SENT_BACK,
            _next(
                IMPORTER, _SENT_BACK, "return-notice", shipment,
                under="technical_certificate", returned_under=_TECHNICAL,
                reason="The importer has refused the goods.",
            ),
            "goods go back",
        ),
        Example(IMPORTER, _SENT_BACK, _under_technical_certificate(), "goods travel without being traded", alone=True),
        Example(
            IMPORTER, _ARRIVED,
            {
                "type": "certificate-query",
                "recipient": EXPORTER,
                "data": {
                    "certificate": {"number_raw": _UNKNOWN, "issuer": EXPORTER, "kind": "kp"},
                    "date_of_issue": "2026-02-20",
                    "carats": "310.00",
                    "parcels": 2,
                    "reason": "It was presented to us without any notification, and the paper looks printed.",
                },
            },
            "is this certificate yours?", "The issuer's node answers it by itself.", alone=True,
        ),
    ]  # fmt: skip


def _corrected(shipment: Filed, confirmed: Draft) -> Draft:
    """A correction: half a carat less has arrived than was confirmed."""
    before = _filed(2, IMPORTER, _INSPECTED, confirmed)
    draft = _next(
        IMPORTER, _SENT_BACK, "confirmation-correction", shipment, before,
        reason="reweighed", explanation="Our scale had not been calibrated.",
    )  # fmt: skip
    found = draft["data"]["content"]["found"]
    difference = {
        "field": "carats",
        "notified": found["carats"],
        "found": _less(found["carats"]),
        "disposition": "accepted",
    }
    return changed(
        draft,
        {
            "/content/found/carats": _less(found["carats"]),
            "/content/found/lines/0/carats": _less(found["lines"][0]["carats"]),
            "/content/outcome": "confirmed_with_discrepancy",
            "/content/discrepancies": [difference],
        },
    )


def _under_technical_certificate() -> Draft:
    """The goods of the case on their way back, from their importer to their exporter."""
    back = Trade(IMPORTER, EXPORTER, on=_SENT_BACK, first=917).notification(0)
    goods = _notified()["data"]
    return {
        "type": "technical-certificate-notice",
        "recipient": EXPORTER,
        "data": {
            **back["data"],
            **{name: goods[name] for name in ("parcels", "lines", "carats", "value_usd")},
            "mixed_origin_as_printed": goods["mixed_origin_as_printed"],
            "certificate": {"number_raw": _TECHNICAL, "issuer": IMPORTER, "kind": "technical"},
            "containers": {"count": 1, "seal_numbers": ["AES000917"]},
            "exporter": goods["importer"],
            "importer": goods["exporter"],
            "purpose": "return",
            "references": [goods["certificate"]["number_raw"]],
        },
    }


def _anybodys() -> list[Example]:
    """What either authority may say."""
    shipment, seal = _shipment(), _seal()
    unknown = {"number_raw": _UNKNOWN, "issuer": EXPORTER, "kind": "kp"}
    cancelled = _filed(
        2, EXPORTER, _SHIPPED, _next(EXPORTER, _SHIPPED, "cancellation", shipment, reason="lost")
    )
    unannounced = _next(
        IMPORTER, _ARRIVED, "arrival-notice", shipment, place="Dubai", certificate=unknown, notification=None
    )
    rejected = _filed(3, IMPORTER, _ARRIVED, unannounced)
    rejection = rejection_draft(rejected, [breach("I01", "unknown", "/data/certificate/number_raw")])
    rejection = {"type": "rejection", **{name: rejection[name] for name in ("recipient", "subject", "data")}}
    return [
        Example(
            EXPORTER, _ARRIVED,
            {
                "type": "certificate-answer",
                "recipient": IMPORTER,
                "data": {
                    "certificate": unknown,
                    "query": f"{4:064x}",
                    "finding": "unknown",
                    "remarks": "Please keep the paper as evidence.",
                },
            },
            "what its issuer knows of a certificate", "The node writes most of these itself.",
        ),
        Example(
            EXPORTER, _SHIPPED,
            {
                "type": "alert",
                "recipient": "*",
                "data": {
                    "issuer": EXPORTER,
                    "kind": "stolen",
                    "numbers": [{"first": "BW 000100", "last": "BW 000149"}],
                    "valid_from": _SHIPPED.isoformat(),
                    "description": "Fifty blank certificates were stolen on their way from the printer.",
                    "contact": f"{_OFFICERS[EXPORTER]}, Diamond Office, Gaborone",
                },
            },
            "its issuer warns of numbers", "Whoever releases it is named in it by the node.", alone=True,
        ),
        Example(
            IMPORTER, _INSPECTED,
            _next(
                IMPORTER, _INSPECTED, "message", shipment,
                title="New seals", text=f"Seal {seal} is not on our list. Which of your seals are in use since January?",
                answer_wanted=True,
            ),
            "a free text", alone=True,
        ),
        Example(
            EXPORTER, _ARRIVED,
            _next(EXPORTER, _ARRIVED, "withdrawal", shipment, cancelled, reason="The paper has been found again."),
            "a document of one's own is taken back",
        ),
        Example(
            EXPORTER, _ARRIVED, rejection,
            "a document breaks a rule", "The node writes most of these itself.",
        ),
    ]  # fmt: skip
