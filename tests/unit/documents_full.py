"""One draft of each document type with every field in use, for the tests of documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

ID = "019cb2f6-5e00-7c21-9d3a-5b0e7f1c2a44"
TIME = datetime(2026, 3, 3, 9, 14, 7, tzinfo=UTC)
DIGEST = "5f" * 32

EXPORTER = {
    "name": "Tsodilo Rough Trading (Pty) Ltd",
    "native_name": "АО «Алмаз»",
    "address": "Plot 64288, Airport Road\nGaborone",
    "country": "BW",
    "licence_number": "DEX/2026/0417",
}
IMPORTER = {
    "name": "Scheldemond BV",
    "native_name": "المرجان للأحجار",
    "address": "Hoveniersstraat 22",
    "country": "BE",
    "licence_number": "BE 118",
}
CERTIFICATE = {"number_raw": "BW 012345", "issuer": "BW", "kind": "kp"}

EXPORT_NOTIFICATION: dict[str, Any] = {
    "type": "export-notification",
    "recipient": "EU/antwerp",
    "data": {
        "certificate": CERTIFICATE,
        "issuing_authority": "Diamond Office, Gaborone",
        "validation": {"officer": "K. Moeti", "date": "2026-03-02"},
        "date_of_issue": "2026-03-02",
        "date_of_expiry": "2026-05-01",
        "exporter": EXPORTER,
        "importer": IMPORTER,
        "destination": {"participant": "EU", "authority": "EU/antwerp", "place_of_entry": "Zaventem"},
        "provenance": "BW",
        "parcels": 4,
        "containers": {"count": 2, "seal_numbers": ["BWS-1", "BWS-2"], "bag_numbers": ["B 7"]},
        "lines": [
            {
                "hs": "7102.10",
                "carats": "600.00",
                "value_usd": "188400.00",
                "parcels": 1,
                "origin": {"kind": "single", "country": "BW", "zone": "Orapa"},
            },
            {
                "hs": "7102.21",
                "carats": "450.50",
                "value_usd": "8325.00",
                "parcels": 2,
                "origin": {"kind": "mixed_list", "countries": ["BW", "NA"], "zone": "southern"},
            },
            {
                "hs": "7102.31",
                "carats": "149.50",
                "value_usd": "29962.50",
                "parcels": 1,
                "origin": {"kind": "mixed_undisclosed", "zone": "unknown"},
            },
        ],
        "carats": "1200.00",
        "value_usd": "226687.50",
        "mixed_origin_as_printed": "*****",
        "date_of_sealing": "2026-03-03",
        "transport": {
            "departure": "2026-03-04",
            "carrier": "Air Kgalagadi",
            "air_waybill": "118-02417735",
            "flight": "KG 204",
        },
        "invoice": {"number": "INV-2026/118", "date": "2026-03-01"},
        "batch_number": "B-17",
        "preceding_certificates": ["NA 000017"],
        "declaration_obtained": True,
        "quality": "Run of mine",
        "special_regime": "none",
        "confirmation": {"requested": True, "reply_by": "2026-03-30"},
        "attachments": [
            {"name": "certificate.pdf", "media_type": "application/pdf", "sha256": DIGEST, "size": 81_204}
        ],
        "replaces": "BW 012344",
    },
}

IMPORT_CONFIRMATION: dict[str, Any] = {
    "type": "import-confirmation",
    "recipient": "BW",
    "data": {
        "certificate": CERTIFICATE,
        "notification": {"id": ID, "digest": DIGEST},
        "outcome": "confirmed_with_discrepancy",
        "found": {
            "parcels": 4,
            "carats": "1199.88",
            "value_usd": "226600.00",
            "lines": [{"hs": "7102.10", "carats": "1199.88", "value_usd": "226600.00"}],
        },
        "declared_value_usd": "226687.50",
        "exporter": EXPORTER,
        "importer": IMPORTER,
        "country_of_destination": "BE",
        "date_of_arrival": "2026-03-05",
        "date_of_receipt": "2026-03-06",
        "date_of_verification": "2026-03-06",
        "seals_intact": "yes",
        "inspection": "full",
        "discrepancies": [
            {
                "field": "carats",
                "notified": "1200.00",
                "certificate": "1200.00",
                "found": "1199.88",
                "tolerance": "0.1 %",
                "disposition": "accepted",
            }
        ],
        "confirmed_by": {"authority": "EU/antwerp", "officer": "A. Peeters", "role": "importing_authority"},
        "coupon": {"number": "C-1", "paper_sent": False},
        "remarks": "Scale 4",
        "supersedes": DIGEST,
        "knows_cancellation": DIGEST,
        "attachments": [{"name": "coupon.jpg", "media_type": "image/jpeg", "sha256": DIGEST, "size": 1}],
    },
}

REJECTION: dict[str, Any] = {
    "type": "rejection",
    "recipient": "BW",
    "subject": "BW012345",
    "data": {
        "refers_to": DIGEST,
        "reasons": [
            {
                "code": "I01",
                "severity": "reject",
                "pointer": "/data/certificate",
                "text": "Unknown certificate.",
            }
        ],
        "supported_types": ["org.kimberley.export-notification.v1"],
    },
}

DRAFTS = {"BW": EXPORT_NOTIFICATION, "EU/antwerp": IMPORT_CONFIRMATION, "AE": REJECTION}
"""Each draft by its author."""

OTHER, THIRD = "9c" * 32, "a7" * 32
ATTACHMENT = {"name": "certificate.pdf", "media_type": "application/pdf", "sha256": DIGEST, "size": 81_204}

EXPORT_AMENDMENT: dict[str, Any] = {
    "type": "export-amendment",
    "recipient": "EU/antwerp",
    "data": {
        "certificate": CERTIFICATE,
        "amends": DIGEST,
        "content": EXPORT_NOTIFICATION["data"],
        "changed": ["/lines/0/carats", "/carats", "/transport"],
        "reason": "reweighed",
        "explanation": "Weighed again on a calibrated scale.",
        "knows_confirmation": OTHER,
        "outcome_of": THIRD,
    },
}

CANCELLATION: dict[str, Any] = {
    "type": "cancellation",
    "recipient": "EU/antwerp",
    "data": {
        "certificate": CERTIFICATE,
        "cancels": DIGEST,
        "reason": "replaced",
        "replaced_by": "BW 012399",
        "knows_confirmation": OTHER,
        "explanation": "The paper was damaged.",
    },
}

CONFIRMATION_REQUEST: dict[str, Any] = {
    "type": "confirmation-request",
    "recipient": "EU/antwerp",
    "data": {
        "certificate": CERTIFICATE,
        "notification": {"id": ID, "digest": DIGEST},
        "level": 2,
        "due": "2026-03-01",
        "days_overdue": 2,
        "contact": "K. Moeti, +267 390 0000",
        "remarks": "The parcel was collected in Zaventem.",
    },
}

DISCREPANCY_RESPONSE: dict[str, Any] = {
    "type": "discrepancy-response",
    "recipient": "EU/antwerp",
    "data": {
        "certificate": CERTIFICATE,
        "query": DIGEST,
        "answers": [
            {"field": "carats", "verdict": "correct_to", "corrected": "1199.88"},
            {"field": "seals", "verdict": "original_stands"},
        ],
        "instruction": "endorse_correction",
        "explanation": "A clerical error.",
        "attachments": [ATTACHMENT],
    },
}

TECHNICAL_CERTIFICATE_NOTICE: dict[str, Any] = {
    "type": "technical-certificate-notice",
    "recipient": "EU/antwerp",
    "data": {
        **EXPORT_NOTIFICATION["data"],
        "certificate": {**CERTIFICATE, "kind": "technical"},
        "purpose": "return",
        "references": ["EU 0000 1234"],
    },
}

CERTIFICATE_ANSWER: dict[str, Any] = {
    "type": "certificate-answer",
    "recipient": "EU/antwerp",
    "data": {
        "certificate": CERTIFICATE,
        "query": DIGEST,
        "finding": "differs",
        "differing": ["carats", "exporter"],
        "replaced_by": "BW 012399",
        "remarks": "Please call us.",
    },
}

ALERT: dict[str, Any] = {
    "type": "alert",
    "recipient": "EU/antwerp",
    "subject": "BW012345",
    "data": {
        "issuer": "BW",
        "kind": "stolen",
        "numbers": [{"first": "BW 012340", "last": "BW 012349"}],
        "valid_from": "2026-03-01",
        "description": "Blank certificates were stolen from the printer.",
        "released_by": "K. Moeti",
        "contact": "Diamond Office, +267 390 0000",
        "attachments": [ATTACHMENT],
    },
}

TRANSIT_NOTICE: dict[str, Any] = {
    "type": "transit-notice",
    "recipient": "ZA",
    "data": {
        "certificate": CERTIFICATE,
        "destination": "EU",
        "parcels": 4,
        "carats": "1200.00",
        "containers": EXPORT_NOTIFICATION["data"]["containers"],
        "places": ["O. R. Tambo International Airport"],
        "expected_entry": "2026-03-04",
        "expected_exit": "2026-03-05",
        "transport": EXPORT_NOTIFICATION["data"]["transport"],
        "remarks": "Stays in the bonded store.",
    },
}

WITHDRAWAL: dict[str, Any] = {
    "type": "withdrawal",
    "recipient": "EU/antwerp",
    "subject": "BW012345",
    "data": {"withdraws": DIGEST, "reason": "The numbers were found again."},
}

_REFERENCE = {"id": ID, "digest": DIGEST}
_CORRECTED = {name: value for name, value in IMPORT_CONFIRMATION["data"].items() if name != "supersedes"}
IMPORTERS: dict[str, dict[str, Any]] = {
    "arrival-notice": {
        "certificate": CERTIFICATE,
        "notification": _REFERENCE,
        "date_presented": "2026-03-03",
        "place": "Antwerp, Hoveniersstraat",
        "decision_expected": "2026-03-06",
        "remarks": "Two containers",
    },
    "confirmation-correction": {
        "certificate": CERTIFICATE,
        "corrects": OTHER,
        "content": _CORRECTED,
        "reason": "outcome_of_query",
        "explanation": "Weighed again.",
        "outcome_of": OTHER,
    },
    "confirmation-status": {
        "certificate": CERTIFICATE,
        "request": OTHER,
        "standing": "already_confirmed",
        "confirmation": DIGEST,
        "decision_expected": "2026-03-09",
        "remarks": "Sent on Friday",
    },
    "discrepancy-query": {
        "certificate": CERTIFICATE,
        "notification": _REFERENCE,
        "doubts": [
            {"field": "carats", "notified": "1200.00", "certificate": "1200.00", "found": "1190.00"},
            {"field": "seals", "found": "BWS-9"},
        ],
        "question": "Was it sealed anew?",
        "reply_by": "2026-03-10",
        "attachments": [ATTACHMENT],
    },
    "irregularity-notice": {
        "certificate": CERTIFICATE,
        "notification": _REFERENCE,
        "irregularities": ["seal_broken", "weight"],
        "measure": "detained",
        "date_found": "2026-03-03",
        "description": "Seal BWS-2 is broken.",
        "attachments": [ATTACHMENT],
    },
    "return-notice": {
        "certificate": CERTIFICATE,
        "notification": _REFERENCE,
        "under": "new_certificate",
        "returned_under": "EU 00000017",
        "date_of_return": "2026-03-10",
        "parcels": 4,
        "carats": "1190.00",
        "transport": EXPORT_NOTIFICATION["data"]["transport"] | {"departure": "2026-03-11"},
        "reason": "Refused.",
    },
    "certificate-query": {
        "certificate": CERTIFICATE,
        "date_of_issue": "2026-03-02",
        "carats": "1200.00",
        "parcels": 4,
        "exporter": EXPORTER["name"],
        "reason": "The paper looks printed.",
        "attachments": [ATTACHMENT],
    },
    "message": {
        "certificate": CERTIFICATE,
        "title": "New seals",
        "text": "Please see the record.",
        "in_reply_to": OTHER,
        "answer_wanted": True,
        "attachments": [ATTACHMENT],
    },
}
"""The data of what mostly importing authorities write, by the short name of the type."""

FULL: dict[str, tuple[str, dict[str, Any]]] = {
    "export-notification": ("BW", EXPORT_NOTIFICATION),
    "import-confirmation": ("EU/antwerp", IMPORT_CONFIRMATION),
    "rejection": ("AE", REJECTION),
    **{
        name: ("EU/antwerp", {"type": name, "recipient": "BW", "data": data})
        for name, data in IMPORTERS.items()
    },
    "export-amendment": ("BW", EXPORT_AMENDMENT),
    "cancellation": ("BW", CANCELLATION),
    "confirmation-request": ("BW", CONFIRMATION_REQUEST),
    "discrepancy-response": ("BW", DISCREPANCY_RESPONSE),
    "technical-certificate-notice": ("BW", TECHNICAL_CERTIFICATE_NOTICE),
    "certificate-answer": ("BW", CERTIFICATE_ANSWER),
    "alert": ("BW", ALERT),
    "transit-notice": ("BW", TRANSIT_NOTICE),
    "withdrawal": ("BW", WITHDRAWAL),
}
"""Author and draft of each document type, every field in use."""


def copy(value: Any) -> Any:
    """A deep copy of a JSON value."""
    return json.loads(json.dumps(value))
