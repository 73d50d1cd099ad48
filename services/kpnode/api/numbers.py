"""Our own certificate numbers: record what became of one that was not notified, and account for all that were printed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final, get_args

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.documents.participants import participant_of
from kpmsg.documents.vocabulary import CertificateNumber
from kpnode.api import alerts, schemas
from kpnode.api.answers import JSON, Answer, Refused
from kpnode.api.door import caller_of, needs
from kpnode.api.openapi import Said, operation, ref
from kpnode.api.requests import body_of, json_of
from kpnode.node import Node
from kpnode.store import numbers, recorded
from kpnode.store.callers import Scope
from kpnode.store.numbers import MOST_LISTED, Account, Listed
from kpnode.store.recorded import Fact, NotifiedError, NumberRow, Status, TakenBackError

MOST: Final = 500
BODY: Final = 512 * 1024


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    number: CertificateNumber
    status: Status
    note: Annotated[str, Field(strict=True, min_length=1, max_length=500)] | None = None


_ENTRIES: Final = TypeAdapter(Annotated[list[_Entry], Field(min_length=1, max_length=MOST)])


class Which(BaseModel):
    """Of what to give an account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    series: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Z]{2,8}/[0-9]{1,2}$",
            max_length=11,
            description='One series only: letters, and how many digits follow, e.g. "BW/6".',
        ),
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about our own numbers."""
    walking = asyncio.Lock()  # a report reads for seconds, and other readers need their connections meanwhile

    @app.post("/v1/numbers", **operation(RECORD, needs(Scope.WRITE_NUMBERS)))
    async def record(request: Request) -> Response:
        caller, at = caller_of(request), node.stamp()
        entries = _entries(json_of(await body_of(request, BODY), BODY))
        facts = [Fact(node.practice.key(e.number), e.number, e.status, e.note) for e in entries]
        _must_be_ours(facts, node.address)
        officer = caller.person if Scope.RELEASE_DOCUMENTS in caller.scopes else None
        try:
            rows = await node.database.write(
                lambda c: recorded.record(c, facts, node.address, caller.name, at, officer=officer)
            )
        except NotifiedError as error:
            detail = (
                "This number has been notified: submit a cancellation, so that its recipient learns of it."
            )
            raise _refused("number-notified", detail, error.places, "status") from None
        except TakenBackError as error:
            detail = (
                "This number is recorded as void, lost or stolen: that it is issued after all must be recorded by another person than "
                "whoever recorded that, with a key that may release documents."
            )
            raise _refused("number-taken-back", detail, error.places, "status") from None
        node.reconsider()  # somebody may have asked about one of them
        return Answer(strictjson.dumps({"numbers": [_number(row) for row in rows]}))

    @app.get("/v1/numbers/report", **operation(REPORT, needs(Scope.READ_DOCUMENTS)))
    async def report(query: Annotated[Which, Query()]) -> Response:
        async with walking:
            accounts, strange = await node.database.read(
                lambda c: numbers.report(c, node.practice, query.series)
            )
        if query.series is not None and not accounts:
            detail = "Our published policy allots no numbers of this series (numbers, in [policy])."
            raise Refused("not-found", detail)
        body = {
            "day": node.clock().date().isoformat(),
            "series": [_account(account) for account in accounts],
            "strange": _listed(strange),
        }
        return Answer(strictjson.dumps(body))


def _entries(value: Any) -> Sequence[_Entry]:
    try:
        return _ENTRIES.validate_python(value)
    except ValidationError as error:
        errors = [
            {
                "code": "number-invalid",
                "pointer": "".join(f"/{step}" for step in each["loc"]),
                "detail": each["msg"],
            }
            for each in error.errors(include_url=False, include_input=False)[:20]
        ]
        detail = f"Send 1 to {MOST} numbers of ours, each with its status."
        raise Refused("request-invalid", detail, errors=errors) from None


def _must_be_ours(facts: Sequence[Fact], me: str) -> None:
    prefixes = participant_of(me).prefixes
    foreign = [place for place, fact in enumerate(facts) if fact.key[:2] not in prefixes]
    if foreign:
        detail = f"This is not a number of ours: those begin with {' or '.join(sorted(prefixes))}."
        raise _refused("number-foreign", detail, foreign, "number")


def _refused(code: str, detail: str, places: Sequence[int], member: str) -> Refused:
    errors = [{"code": code, "pointer": f"/{place}/{member}", "detail": detail} for place in places[:20]]
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return Refused("request-invalid", f"{detail[:-1]}{more}.", errors=errors)


def _number(row: NumberRow) -> dict[str, Any]:
    names = ("key", "number", "status", "at", "by", "note")
    return {name: getattr(row, name) for name in names}


def _listed(listed: Listed) -> dict[str, Any]:
    return {"numbers": listed.keys, "more": listed.more}


def _account(account: Account) -> dict[str, Any]:
    return {
        "series": account.series,
        "ranges": [
            {"first": account.key(tally.first), "last": account.key(tally.last)}
            | {name: getattr(tally, name) for name in _TALLY}
            for tally in account.ranges
        ],
        "gaps": {
            "ranges": [{"first": first, "last": last, "count": count} for first, last, count in account.gaps],
            "more": account.more_gaps,
        },
        **{name: _listed(getattr(account, name)) for name in _LISTS},
        "alerts": [alerts.alerted(each) for each in account.alerts[:MOST_LISTED]],
    }


# --- what is said about it ----------------------------------------------------------------------------------------------

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_STATUS: Final = {"type": "string", "enum": list(get_args(Status))}
_PRINTED: Final = {
    "type": "string",
    "pattern": r"^[A-Za-z]{2}[A-Za-z0-9 ./-]{0,36}[A-Za-z0-9]$",
    "description": "As printed.",
}
_TALLY: Final[dict[str, str]] = {
    "allotted": "How many numbers the range has: the sum of the following five.",
    "used": "Notified, and not cancelled.",
    "voided": "Cancelled, or recorded as void.",
    "issued": "Recorded as issued, or rejected by the importing authority; not notified (any more).",
    "lost": "Recorded as lost or stolen, and not notified.",
    "unused": "Nothing is known of them.",
}
_LISTS: Final[dict[str, str]] = {
    "outside": "Used or recorded, though no range has them.",
    "used_twice": "Notified for two shipments, or confirmed by two importing authorities.",
    "contradicted": "Recorded as void, lost or stolen, and notified without having been cancelled.",
    "unannounced": "Others speak of them, and we have not notified them.",
}


def _object(properties: dict[str, Any], text: str = "") -> dict[str, Any]:
    described = {"type": "object", "properties": properties, "required": list(properties)}
    return described | ({"description": text} if text else {})


_SOME: Final = _object(
    {
        "numbers": {"type": "array", "items": _TEXT, "maxItems": MOST_LISTED},
        "more": _COUNT | {"description": "How many there are beside."},
    }
)
schemas.FURTHER.update(
    {
        "NumberFact": {
            "type": "object",
            "properties": {
                "number": _PRINTED,
                "status": _STATUS,
                "note": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 500}, {"type": "null"}]},
            },
            "required": ["number", "status"],
            "additionalProperties": False,
        },
        "RecordedNumber": _object(
            {
                "key": _TEXT,
                "number": _TEXT,
                "status": _STATUS,
                "at": {"type": "string", "format": "date-time"},
                "by": _TEXT,
                "note": {"anyOf": [_TEXT, {"type": "null"}]},
            }
        ),
        "RecordedNumbers": _object({"numbers": {"type": "array", "items": ref("RecordedNumber")}}),
        "SomeNumbers": _SOME,
        "NumberAccount": _object(
            {
                "series": _TEXT | {"description": 'Letters, and how many digits follow: "BW/6".'},
                "ranges": {
                    "type": "array",
                    "items": _object(
                        {"first": _TEXT, "last": _TEXT}
                        | {name: _COUNT | {"description": text} for name, text in _TALLY.items()}
                    ),
                    "description": "As our published policy allots them.",
                },
                "gaps": _object(
                    {
                        "ranges": {
                            "type": "array",
                            "items": _object({"first": _TEXT, "last": _TEXT, "count": _COUNT}),
                            "maxItems": MOST_LISTED,
                        },
                        "more": _COUNT | {"description": "How many gaps there are beside."},
                    },
                    "Numbers never used, ascending.",
                ),
                **{name: ref("SomeNumbers") | {"description": text} for name, text in _LISTS.items()},
                "alerts": {
                    "type": "array",
                    "items": ref("Alerted"),
                    "description": "What of it is under an alert.",
                },
            }
        ),
        "NumberReport": _object(
            {
                "day": {"type": "string", "format": "date"},
                "series": {"type": "array", "items": ref("NumberAccount")},
                "strange": ref("SomeNumbers")
                | {
                    "description": "Ours by their letters, notified or recorded, and of no series that we publish."
                },
            }
        ),
    }
)

RECORD: Final = Said(
    "recordNumbers", "Numbers", "Record what became of certificate numbers of ours",
    {200: ("What is recorded of them now.", JSON, ref("RecordedNumbers"))},
    text=(
        "For numbers that were issued on paper without being notified, or are void, lost or stolen. All of them or none; the last word "
        "counts, so this may be repeated, and then whoever has recorded it first stays named; an incident keeps what it replaces. That a void, lost or stolen number is issued after all is "
        "recorded by a second person with `documents:release`; and what is under an alert of ours stays so until that is withdrawn. Partners learn nothing of it: they are told by a cancellation or an alert. What was "
        "recorded as `issued` is not called unknown when a partner asks about it."
    ),
    body={
        "required": True,
        "content": {
            JSON: {
                "schema": {"type": "array", "items": ref("NumberFact"), "minItems": 1, "maxItems": MOST},
                "example": [{"number": "BW 000042", "status": "void", "note": "Spoilt in the printer."}],
            }
        },
    },
    problems=("store-full",),
)  # fmt: skip
REPORT: Final = Said(
    "reportNumbers", "Numbers", "Account for every certificate number that was printed",
    {200: ("One account for each series.", JSON, ref("NumberReport"))},
    text=(
        "For each range that our own published policy allots: used, voided, issued, lost, never used. It walks through all our numbers: "
        "some seconds for a million of them."
    ),
    problems=("not-found",),
)  # fmt: skip
