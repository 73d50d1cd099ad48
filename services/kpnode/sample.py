"""Sample trade: export notifications between two authorities and the confirmations that answer them.

For demonstrations, tests and benchmarks. Weights, prices and mixtures are shaped like the real trade (many small
shipments and a few huge ones, industrial goods cheap, trading centres shipping mixed parcels); **they are estimates,
not statistics**. Companies, officers and certificate numbers are invented. Everything follows from a seed: the n-th
notification of a trade is the same wherever and whenever it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from itertools import count
from random import Random
from typing import Any, NamedTuple

from kpmsg.documents import Document, ExportNotification
from kpmsg.documents.participants import participant_of

Draft = dict[str, Any]

_LEAST, _MOST = 20, 100_000_000
"""The smallest and the largest shipment, in hundredths of a carat: 0.20 ct and a million carats."""

_MEDIAN, _SPREAD = 300.0, 2.5
"""Of the log-normal distribution of carats a shipment; its mean is then near the 7,000 ct of an average certificate."""

_USD_A_CARAT = {
    "AO": 157, "AU": 15, "BR": 140, "BW": 131, "CA": 97, "CD": 7.8, "CF": 150, "CM": 120, "GH": 45, "GN": 90,
    "GY": 130, "LR": 180, "LS": 294, "NA": 517, "RU": 97, "SL": 194, "TZ": 162, "ZA": 135, "ZW": 62,
}  # fmt: skip
"""What a carat of each origin is worth, roughly."""

_TRADED = ("BW", "RU", "ZA", "CA", "AO", "NA", "LS", "SL", "ZW", "CD")
"""The origins that trading centres ship."""

_AGGREGATED = {"BW": ("BW", "CA", "NA", "ZA")}
"""Producers where goods of several origins are mixed before they are sold."""

_WORTH = {"7102.10": 1.0, "7102.21": 0.08, "7102.31": 1.35}
"""How the price of an HS code compares with that of its origin."""

_ZONES = {"CF": "Berbérati", "CD": "Mbuji-Mayi", "SL": "Kono", "AO": "Lunda-Norte"}


class _Company(NamedTuple):
    name: str
    address: str
    native: str | None = None


_COMPANIES: dict[str, tuple[_Company, ...]] = {
    "AE": (
        _Company("Al Marjan Rough Stones DMCC", "Almas Tower, Unit 31-04, Dubai", "المرجان للأحجار الخام"),
        _Company(
            "Liwa Diamonds Trading DMCC", "Jumeirah Lakes Towers, Cluster C, Dubai", "ليوا لتجارة الماس"
        ),
    ),
    "AO": (_Company("Sociedade Mineira do Cuílo, S.A.", "Avenida 4 de Fevereiro 42, Luanda"),),
    "BE": (
        _Company("Scheldemond Ruwe Diamant BV", "Hoveniersstraat 22, 2018 Antwerpen"),
        _Company("Kempen & Zonen Diamanthandel NV", "Rijfstraat 9, 2018 Antwerpen"),
    ),
    "BR": (_Company("Garimpo São João Comércio de Gemas Ltda.", "Rua do Rosário 118, Diamantina, MG"),),
    "BW": (
        _Company("Tsodilo Rough Trading (Pty) Ltd", "Plot 64288, Airport Road, Gaborone"),
        _Company("Makgadikgadi Diamond Sales (Pty) Ltd", "Plot 63016, Block 3, Gaborone"),
    ),
    "CD": (_Company("Comptoir de la Lubilash SARL", "Avenue Kasa-Vubu 7, Mbuji-Mayi"),),
    "CI": (_Company("Société Ivoirienne du Diamant Brut", "Boulevard de la République, Séguéla"),),
    "CN": (
        _Company("Huangpu Rough Diamond Co., Ltd.", "Century Avenue 1600, Shanghai", "黄浦毛坯钻石有限公司"),
    ),
    "HK": (_Company("Victoria Peak Gems Limited", "Hung Hom, Kowloon, Hong Kong", "太平山寶石有限公司"),),
    "IL": (_Company("Carmel Rough Ltd", "1 Jabotinsky Street, Ramat Gan", "כרמל גלם בע״מ"),),
    "IN": (_Company("Tapi River Gems Pvt Ltd", "Bharat Diamond Bourse, BKC, Mumbai", "तापी रिवर जेम्स"),),
    "NA": (_Company("Skeleton Coast Marine Diamonds (Pty) Ltd", "Independence Avenue 98, Windhoek"),),
    "RU": (
        _Company("Vilyuy Almaz JSC", "6 Lenina Street, Mirny, Sakha (Yakutia)", "АО «Вилюй Алмаз»"),
        _Company("Severny Kristall LLC", "Smolenskaya Square 3, Moscow", "ООО «Северный кристалл»"),
    ),
    "SL": (_Company("Sewa River Mining Company Ltd", "12 Lightfoot Boston Street, Freetown"),),
    "US": (_Company("Hudson Rough Importers Inc.", "580 Fifth Avenue, New York, NY 10036"),),
    "ZA": (_Company("Vaal Alluvial Diggers (Pty) Ltd", "Kimberley Diamond Exchange, Kimberley 8301"),),
}

_SEATS = {
    "EU/antwerp": "BE", "EU/prague": "CZ", "EU/idar-oberstein": "DE", "EU/dublin": "IE", "EU/lisbon": "PT",
    "EU/bucharest": "RO", "EU": "BE", "CN/hk": "HK",
}  # fmt: skip
"""The country an authority sits in, where its address does not say."""


class Trade:
    """The shipments from one authority to another: `trade.notification(n)` for n = 0, 1, 2, ..., or iterate.

    `exporter` and `importer` are authority addresses, `on` is the day on which the notifications are written (dates of
    issue and sealing fall on it or just before). Certificate numbers run on from `first`, so two trades of one
    exporter need ranges that do not meet.
    """

    def __init__(self, exporter: str, importer: str, *, on: date, seed: int = 0, first: int = 1) -> None:
        self.exporter, self.importer, self.on, self.seed, self.first = exporter, importer, on, seed, first

    def __iter__(self) -> Iterator[Draft]:
        return map(self.notification, count())

    def notification(self, n: int) -> Draft:
        """The draft of the n-th export notification."""
        chance = Random(f"{self.seed}/{self.exporter}/{self.importer}/{n}")  # noqa: S311 - repeatable
        lines = _lines(_origin_code(self.exporter), chance)
        weight = sum(_hundredths(line["carats"]) for line in lines)
        value = sum(_hundredths(line["value_usd"]) for line in lines)
        parcels = sum(line["parcels"] for line in lines)
        containers = chance.randint(1, min(parcels, 3))
        issued = self.on - timedelta(days=chance.randint(0, 3))
        number = certificate_number(self.exporter, self.first + n)
        data = {
            "certificate": {"number_raw": number, "issuer": self.exporter[:2], "kind": "kp"},
            "issuing_authority": f"{participant_of(self.exporter).name}, Exporting Authority",
            "validation": {"officer": f"Officer {chance.randint(100, 999)}", "date": issued.isoformat()},
            "date_of_issue": issued.isoformat(),
            "date_of_expiry": (issued + timedelta(days=60)).isoformat(),
            "exporter": _party(self.exporter, chance),
            "importer": _party(self.importer, chance),
            "destination": {"participant": self.importer[:2], "authority": self.importer},
            "provenance": self.exporter[:2],
            "parcels": parcels,
            "containers": {
                "count": containers,
                "seal_numbers": [
                    f"{self.exporter[:2]}S{chance.randrange(10**6):06d}" for _ in range(containers)
                ],
            },
            "lines": lines,
            "carats": _amount(weight),
            "value_usd": _amount(value),
            "date_of_sealing": self.on.isoformat(),
            "invoice": {"number": f"INV-{self.on.year}/{chance.randrange(10**4):04d}"},
            "declaration_obtained": True,
            "confirmation": {"requested": True, "reply_by": (self.on + timedelta(days=30)).isoformat()},
        }
        if chance.random() < 0.4:
            data["transport"] = {
                "departure": (self.on + timedelta(days=1)).isoformat(),
                "air_waybill": f"{chance.randint(1, 999):03d}-{chance.randrange(10**8):08d}",
            }
        if len(lines) > 1 or lines[0]["origin"]["kind"] != "single":
            data["mixed_origin_as_printed"] = "*****"
        return {"type": ExportNotification.name, "recipient": self.importer, "data": data}


def confirmation(notification: Document, digest: str, *, fewer_carats: Decimal | None = None) -> Draft:
    """The draft of the import confirmation that answers a notification; `digest` is that document's id.

    With `fewer_carats`, that much weight is missing from the heaviest line, and the outcome says so.
    Raises `ValueError` if the document is no export notification or the line is not heavier than that.
    """
    sent = notification.data
    if not isinstance(sent, ExportNotification):
        raise ValueError("not an export notification")  # noqa: TRY004 - a document of the wrong type, not a Python one
    missing = fewer_carats or Decimal("0.00")
    heaviest = max(range(len(sent.lines)), key=lambda n: sent.lines[n].carats)
    if sent.lines[heaviest].carats <= missing:
        raise ValueError("no line is heavier than what should be missing")
    arrived = notification.time.date() + timedelta(days=1)
    weights: dict[str, Decimal] = {}
    for n, line in enumerate(sent.lines):
        weights[line.hs] = weights.get(line.hs, Decimal(0)) + line.carats - (missing if n == heaviest else 0)
    data: Draft = {
        "certificate": sent.certificate.model_dump(mode="json"),
        "notification": {"id": notification.id, "digest": digest},
        "outcome": "confirmed_with_discrepancy" if missing else "confirmed",
        "found": {
            "parcels": sent.parcels,
            "carats": f"{sent.carats - missing:.2f}",
            "lines": [{"hs": hs, "carats": f"{carats:.2f}"} for hs, carats in weights.items()],
        },
        "declared_value_usd": f"{sent.value_usd:.2f}",
        "exporter": sent.exporter.model_dump(mode="json", exclude_none=True),
        "importer": sent.importer.model_dump(mode="json", exclude_none=True),
        "country_of_destination": sent.importer.country,
        "date_of_arrival": arrived.isoformat(),
        "date_of_receipt": arrived.isoformat(),
        "date_of_verification": arrived.isoformat(),
        "seals_intact": "yes",
        "inspection": "full",
        "confirmed_by": {
            "authority": notification.recipient,
            "officer": f"Officer {int(digest[:4], 16) % 900 + 100}",
            "role": "importing_authority",
        },
    }
    if missing:
        data["discrepancies"] = [
            {
                "field": "carats",
                "notified": f"{sent.carats:.2f}",
                "certificate": f"{sent.carats:.2f}",
                "found": f"{sent.carats - missing:.2f}",
                "disposition": "accepted",
            }
        ]
    return {"type": "import-confirmation", "recipient": notification.source, "data": data}


def certificate_number(issuer: str, n: int) -> str:
    """The n-th certificate number of an authority as it is printed there."""
    code = "HK" if issuer == "CN/hk" else issuer[:2]
    if code == "EU":
        return f"EU{n:08d}"
    if code == "US":
        return f"US{n:05d}"
    separator = {"BW": " ", "ZA": "-"}.get(code, "")
    return f"{code}{separator}{n:06d}"


@cache
def _origin_code(exporter: str) -> str | None:
    """The origin a producer ships; None for a centre of trade, which ships what others mined."""
    return exporter[:2] if exporter[:2] in _USD_A_CARAT else None


def _lines(producer: str | None, chance: Random) -> list[Draft]:
    total = int(min(max(100 * _MEDIAN * chance.lognormvariate(0, _SPREAD), _LEAST), _MOST))
    wanted = 1 if total < 1000 else chance.choice((1, 1, 1, 2, 2, 3, 4))
    cuts = sorted(chance.sample(range(1, total), wanted - 1))
    weights = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
    return [_line(weight, producer, chance) for weight in weights]


def _line(weight: int, producer: str | None, chance: Random) -> Draft:
    origin, codes = _origin(producer, chance)
    hs = chance.choices(tuple(_WORTH), (3, 2, 6))[0]
    price = sum(_USD_A_CARAT.get(code, 100) for code in codes) / len(codes)
    cents = max(1, round(weight * price * _WORTH[hs] * chance.lognormvariate(0, 0.5)))
    return {
        "hs": hs,
        "carats": _amount(weight),
        "value_usd": _amount(cents),
        "parcels": 1 if weight < 10_000 else chance.randint(1, 4),
        "origin": origin,
    }


def _origin(producer: str | None, chance: Random) -> tuple[Draft, list[str]]:
    if producer in _AGGREGATED and chance.random() < 0.3:
        together = list(_AGGREGATED[producer])
        return {"kind": "mixed_list", "countries": together}, together
    if producer is not None:
        single = {"kind": "single", "country": producer}
        if producer in _ZONES and chance.random() < 0.5:
            single["zone"] = _ZONES[producer]
        return single, [producer]
    kind = chance.choices(("single", "mixed_list", "mixed_undisclosed"), (4, 5, 1))[0]
    codes = chance.sample(_TRADED, 1 if kind == "single" else chance.randint(2, 5))
    if kind == "single":
        return {"kind": kind, "country": codes[0]}, codes
    if kind == "mixed_list":
        return {"kind": kind, "countries": codes}, codes
    return {"kind": kind}, codes


def _party(authority: str, chance: Random) -> Draft:
    country = _SEATS.get(authority, authority[:2])
    usual = _Company("General Rough Diamond Company Ltd", f"PO Box 100, {participant_of(authority).name}")
    company = chance.choice(_COMPANIES.get(country, (usual,)))
    party = {
        "name": company.name,
        "address": company.address,
        "country": country,
        "licence_number": f"{country}/RD/{chance.randrange(10**4):04d}",
    }
    return party | {"native_name": company.native} if company.native else party


def _hundredths(amount: str) -> int:
    return int(amount.replace(".", ""))


def _amount(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"
