"""What lies on the two desks in the morning: files that a customs system has written, and a photograph.

The clerk's file holds mistakes of the kind that people and systems make: a total that is not the sum, an expiry before the issue, a weight
with three decimals. Which ones, docs/export-clerks-day.md tells.
"""

from __future__ import annotations

import json
import struct
import zlib
from datetime import date, timedelta

from kpnode.demo.desks_past import shipment
from kpnode.demo.story_desk import Draft


def papers(today: date) -> dict[str, bytes]:
    """The files by their names."""
    good, bad, late = (
        shipment(108, "120.40", 2, today),
        shipment(109, "64.02", 1, today),
        shipment(110, "33.15", 1, today),
    )
    bad["data"]["carats"] = "64.20"
    bad["data"]["date_of_expiry"] = (today - timedelta(days=60)).isoformat()
    late["data"]["lines"][0]["hs"] = "7102.39"
    return {
        "morning.json": _json([good, bad, late]),
        "replacement.json": _json(shipment(112, "33.15", 1, today)),
        "scale.png": _photograph(),
    }


def _json(drafts: Draft | list[Draft]) -> bytes:
    return (json.dumps(drafts, indent=1, ensure_ascii=False) + "\n").encode()


def _photograph(width: int = 320, height: int = 240) -> bytes:
    """A picture of nothing in particular, as PNG: a dim scale pan on a dark table."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            inside = ((x - width / 2) / 110) ** 2 + ((y - height / 2) / 60) ** 2 < 1
            rows.append(170 - y // 4 if inside else 30 + (x + y) % 7)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(rows), 9)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
