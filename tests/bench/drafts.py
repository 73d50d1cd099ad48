"""Export notifications to submit: distinct certificate numbers, the size and shape of a real shipment's.

Names are invented; no two calls with different `n` share a certificate number, which is what a register of documents
has to tell apart.
"""

import json
from typing import Any

SENDER, RECIPIENT = "BW", "AE"


def draft(n: int, series: str) -> dict[str, Any]:
    """The n-th draft of a series: an export notification from Botswana to the United Arab Emirates, about 1.2 KB.

    `series` (a few digits) keeps the numbers of separate runs against one database apart.
    """
    carats = 120_000 + n % 40_000
    lines = [
        _line("7102.10", carats - 60_000, 31_400, {"kind": "single", "country": "BW"}),
        _line("7102.21", 45_000, 1_850, {"kind": "single", "country": "BW"}),
        _line("7102.31", 15_000, 19_975, {"kind": "mixed_list", "countries": ["BW", "NA"]}),
    ]
    usd = sum(int(line["value_usd"].replace(".", "")) for line in lines)
    return {
        "type": "org.kimberley.export-notification.v1",
        "recipient": RECIPIENT,
        "data": {
            "certificate": {"number_raw": f"BW{series}{n:07d}", "issuer": "BW", "kind": "kp"},
            "issuing_authority": "Ministry of Minerals and Energy, Diamond Office, Gaborone",
            "date_of_issue": "2026-03-02",
            "date_of_expiry": "2026-05-01",
            "exporter": {
                "name": "Tsodilo Rough Trading (Pty) Ltd",
                "address": "Plot 64288, Airport Road, Block 8, Gaborone",
                "country": "BW",
                "licence_number": "DEX/2026/0417",
            },
            "importer": {
                "name": "Al Marjan Rough Stones DMCC",
                "address": "Unit 3104, Almas Tower, Jumeirah Lakes Towers, Dubai",
                "country": "AE",
            },
            "destination": {"participant": "AE", "place_of_entry": "Dubai"},
            "provenance": "BW",
            "parcels": 3,
            "containers": {"count": 2, "seal_numbers": [f"BWS-{n:06d}-1", f"BWS-{n:06d}-2"]},
            "lines": lines,
            "carats": _hundredths(carats),
            "value_usd": _hundredths(usd),
            "confirmation": {"requested": True, "reply_by": "2026-03-30"},
        },
    }


def body(n: int, series: str) -> bytes:
    """One draft as compact JSON."""
    return json.dumps(draft(n, series), separators=(",", ":")).encode()


def bulk_body(n: int, size: int, series: str) -> bytes:
    """A JSON array of the `size` drafts that follow the n-th batch of that size."""
    drafts = [draft(n * size + offset, series) for offset in range(size)]
    return json.dumps(drafts, separators=(",", ":")).encode()


def _line(hs: str, carats: int, usd_per_carat: int, origin: dict[str, Any]) -> dict[str, Any]:
    """Carats in hundredths, US$ per carat in cents."""
    value = _hundredths(carats * usd_per_carat // 100)
    return {"hs": hs, "carats": _hundredths(carats), "value_usd": value, "parcels": 1, "origin": origin}


def _hundredths(amount: int) -> str:
    return f"{amount // 100}.{amount % 100:02d}"
