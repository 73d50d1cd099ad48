"""The words documents are written in: one type for each kind of value that may stand in a field.

This module decides how a single value is written on the wire (its form, its bounds, its meaning) and which
sentence a clerk reads when it is written otherwise. It knows nothing of documents, of the rules of the Scheme,
or of any list that changes with time, except the ISO 3166-1 country codes.

Two habits keep it fast and exact. A form is a regular expression run by pydantic-core (Rust `regex`: linear time,
and `$` matches only at the very end, so "BW\\n" is not "BW"); Python is called only to turn an accepted text into
a `Decimal`, a `date` or a `datetime`, and then it is a function written in C. And every form carries its own
sentence, so that no table of messages can drift from the types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StrictBool, StrictInt
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """Marks a type as written in one textual form and in no other.

    `sentence` is read by a clerk whose text was refused: it says what to write, with an example.
    `convert` turns an accepted text into its Python value; a `ValueError` from it refuses the text.
    """

    form: str
    sentence: str
    example: str
    convert: Callable[[str], Any] | None = None
    longest: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = core_schema.str_schema(
            pattern=self.form, strict=True, max_length=self.longest, regex_engine="rust-regex"
        )
        if self.convert is not None:
            schema = core_schema.chain_schema(
                [schema, core_schema.no_info_plain_validator_function(self.convert)]
            )
        return core_schema.custom_error_schema(
            schema, custom_error_type="document-format", custom_error_message=self.sentence
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described: JsonSchemaValue = {"type": "string", "pattern": self.form}
        if self.longest is not None:
            described["maxLength"] = self.longest
        return described | {"description": self.sentence, "examples": [self.example]}


@dataclass(frozen=True, slots=True)
class OneOf:
    """Marks a text type as a choice from a closed set too large to be a `Literal`."""

    members: frozenset[str]
    sentence: str
    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            core_schema.literal_schema(sorted(self.members)),
            custom_error_type="document-format",
            custom_error_message=self.sentence,
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": self.pattern, "description": self.sentence}


class _LeftOutNotNull:
    """Narrows `T | None` on the wire to `T`: the member may be absent, but may not be `null`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner: CoreSchema = handler(source)["schema"]
        return inner


Maybe = Annotated[T | None, _LeftOutNotNull()]
"""An optional field. In Python it is `None` when absent; on the wire it is left out, never `null`, so that
"nothing was said" has one spelling. Declare it as `remarks: Maybe[Text] = None`."""


def _true(value: bool) -> bool:
    if not value:
        raise PydanticKnownError("literal_error", {"expected": "true"})
    return value


# No `Literal[True]`: pydantic takes 1 for it.
Testing = Maybe[Annotated[StrictBool, AfterValidator(_true), Field(json_schema_extra={"const": True})]]
"""The mark of what is a test. What is real does not bear it, so that `false` is no second way to say so."""


# --- amounts -----------------------------------------------------------------------------------------------------

_AMOUNT = r"^(0|[1-9][0-9]{0,11})\.[0-9]{2}$"

Carats = Annotated[
    Decimal,
    Written(
        _AMOUNT,
        'Carat weight must be written in quotation marks with exactly two decimals, for example "12.50".',
        "12.50",
        Decimal,
    ),
]
"""Weight in metric carats, exact to 0.01 ct. Never a float, never negative; zero is a matter for rule F02."""

UsDollars = Annotated[
    Decimal,
    Written(
        _AMOUNT,
        'A value in US$ must be written in quotation marks with exactly two decimals, for example "104250.00".',
        "104250.00",
        Decimal,
    ),
]
"""Value in United States dollars, exact to the cent."""

Count = Annotated[StrictInt, Field(ge=0, le=9_999_999)]
"""How many parcels or containers. Zero parses, so that rule F02 can answer it; minus one does not."""


# --- dates and instants ------------------------------------------------------------------------------------------

Date = Annotated[
    date,
    Written(
        r"^2[01][0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
        'A date must be a day that exists, written year-month-day, for example "2026-03-31".',
        "2026-03-31",
        date.fromisoformat,
    ),
]
"""A calendar day as it is printed on paper: local to whoever wrote it, not an instant."""

Timestamp = Annotated[
    datetime,
    Written(
        r"^2[01][0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{3})?Z$",
        'A time must be written in UTC and end in Z, for example "2026-03-31T14:05:09Z".',
        "2026-03-31T14:05:09Z",
        datetime.fromisoformat,
    ),
]
"""An instant in UTC, to the second or the millisecond."""


# --- who and where -----------------------------------------------------------------------------------------------

Address = Annotated[
    str,
    Written(
        r"^[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?$",
        "An authority is written as its Participant's two letters and, where there are several, "
        'a name after a slash, for example "BW" or "EU/antwerp".',
        "EU/antwerp",
    ),
]
"""The address of one authority: `BW`, `EU/antwerp`."""

ParticipantCode = Annotated[
    str,
    Written(
        r"^[A-Z]{2}$", 'A Participant is written as two capital letters, for example "BW" or "EU".', "BW"
    ),
]
"""A Participant of the Scheme: ISO 3166-1 alpha-2, and `EU`, which ISO reserves but does not list as a country."""

OriginCode = Annotated[
    str,
    Written(r"^[A-Z]{2}$", 'A country of origin is written as two capital letters, for example "BW".', "BW"),
]
"""Two letters for where diamonds were mined. Whether they are a country, and a producing one, is rule F07."""

_ISO_3166 = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
ISO_COUNTRIES = frozenset(_ISO_3166.split())
"""ISO 3166-1 alpha-2, officially assigned elements."""

CountryCode = Annotated[
    str,
    OneOf(
        ISO_COUNTRIES,
        'A country is written as its two capital letters in ISO 3166-1, for example "BE"; "EU" is not a country.',
        r"^[A-Z]{2}$",
    ),
]
"""A country in a postal sense: where a company is, where goods are bound for."""


# --- names of things ---------------------------------------------------------------------------------------------

CertificateNumber = Annotated[
    str,
    Written(
        r"^[A-Za-z]{2}[A-Za-z0-9 ./-]{0,36}[A-Za-z0-9]$",
        'A certificate number is written as printed, beginning with its two letters, for example "BW 012345".',
        "BW 012345",
    ),
]
"""The number exactly as printed on the certificate. Compare keys (`certificate_key`), never these."""

_SEPARATORS = dict.fromkeys(map(ord, " ./-"))


def certificate_key(number_raw: str) -> str:
    """The canonical form of a printed certificate number: capitals, without spaces, dots, hyphens and slashes.

    Leading zeros stay: "SL004911" and "SL4911" are the same number only if their issuer says so.
    """
    return number_raw.translate(_SEPARATORS).upper()


Identifier = Annotated[
    str,
    Written(
        r"^[A-Za-z0-9]([A-Za-z0-9 ._:/#+-]{0,62}[A-Za-z0-9])?$",
        'A number or reference may have up to 64 plain letters, digits, spaces and . _ : / # + -, as in "INV-2026/118".',
        "INV-2026/118",
    ),
]
"""A reference somebody else assigned: licence, invoice, seal, waybill. ASCII, so that no two look alike."""

Subject = Annotated[
    str,
    Written(
        r"^[A-Z0-9]{1,64}$",
        'The subject is the certificate number in capitals without separators, for example "BW012345".',
        "BW012345",
    ),
]
"""What a document is about: a certificate number's key."""

HsCode = Annotated[
    str,
    Written(
        r"^[0-9]{4}(\.?[0-9]{2}){1,3}$",
        'An HS code is written with four digits, a dot and two digits, for example "7102.31".',
        "7102.31",
    ),
]
"""Any plausible code of the Harmonized System. That it is one of the Scheme's three is rule F04."""

DocumentId = Annotated[
    str,
    Written(
        r"^[0-9a-f]{64}$",
        "A document is referred to by its SHA-256 in 64 lower-case hexadecimal digits.",
        "0" * 63 + "1",
    ),
]
"""SHA-256 over a document's payload bytes."""

MessageId = Annotated[
    str,
    Written(
        r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        "A message id must be a UUID of version 7 in lower case.",
        "01960d3c-8f00-7abc-8def-0123456789ab",
    ),
]
"""The UUIDv7 (RFC 9562) an author gave a document; it tells when it was begun, not what it says."""

TypeName = Annotated[
    str,
    Written(
        r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+){1,8}$",
        'A document type is written like "org.kimberley.export-notification.v1".',
        "org.kimberley.export-notification.v1",
        longest=100,
    ),
]
"""A document type, known to us or not."""

RuleCode = Annotated[
    str,
    Written(r"^[A-Za-z][A-Za-z0-9-]{0,39}$", 'A rule is named by its code, for example "F05".', "F05"),
]
"""The code of a validation rule or of a refusal."""

RuleWord = Annotated[
    str,
    Written(
        r"^[a-z][a-z0-9_-]{0,39}$",
        'A word of a rule is written in small letters, for example "other-authority".',
        "again",
    ),
]
"""How a rule calls one of the ways in which it is broken, or one of the facts in its texts."""

Pointer = Annotated[
    str,
    Written(
        r"^(/([^~/\n]|~[01])*)*$",
        "A place in a document is an RFC 6901 pointer.",
        "/data/carats",
        longest=200,
    ),
]
"""An RFC 6901 JSON pointer into the document that is spoken of; "" is the whole of it."""

MediaType = Annotated[
    str,
    Written(
        r"^[a-z]+/[a-z0-9][a-z0-9.+-]{0,98}$",
        'A media type is written like "application/pdf".',
        "application/pdf",
    ),
]


# --- free text ---------------------------------------------------------------------------------------------------
# Any script, byte for byte as it was written: no Unicode normalisation, since the bytes are signed. Control
# characters never get here (strict JSON). Bidirectional marks do: an Arabic name may need them; screens neutralise.

Line = Annotated[
    str,
    Written(
        r"^[^\n\t]*[^\s][^\n\t]*$",
        "This must be one line of text, not empty and at most 200 characters long.",
        "Debswana Diamond Company (Pty) Ltd",
        longest=200,
    ),
]
"""One line: a name, an officer, a carrier."""

Text = Annotated[
    str,
    Written(
        r"[^\s]",
        "This must be text, not empty and at most 4000 characters long.",
        "Plot 64288, Airport Road\nGaborone",
        longest=4000,
    ),
]
"""Several lines: a postal address, remarks."""

Flag = StrictBool
"""`true` or `false`, never "yes", 0 or 1."""
