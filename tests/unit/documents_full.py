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


def copy(value: Any) -> Any:
    """A deep copy of a JSON value."""
    return json.loads(json.dumps(value))
