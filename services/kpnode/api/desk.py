"""What lies ready on a desk: the next document about a certificate, filled in from its case.

The node knows the documents, the deadlines and the day, so it fills in (`kpmsg.case.prefill`), and says what would come of the draft as it
stands. Nothing is kept, signed or sent: whoever asked changes what is to be changed and submits it, or prepares it for release.
"""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

from typing import Annotated, Final

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.case.prefill import FROM_A_CASE, NothingToSayError, prefill
from kpnode import drafting
from kpnode.api import schemas
from kpnode.api.answers import JSON, Answer, Refused
from kpnode.api.broken import language_of
from kpnode.api.documents import finding
from kpnode.api.door import needs
from kpnode.api.openapi import ACCEPT_LANGUAGE, Said, operation, path, ref
from kpnode.node import Node
from kpnode.store import cases
from kpnode.store.callers import Scope

LONGEST_NUMBER: Final = 64


class Wanted(BaseModel):
    """Which document is to be written, and by whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Annotated[
        str,
        Field(
            max_length=100,
            description="Short document type.",
            json_schema_extra={"enum": list(FROM_A_CASE)},
        ),
    ]
    officer: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Who is named where the document names a person."),
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the route about prefilled drafts; before those about certificates, the last of which takes any path."""

    @app.get("/v1/certificates/{number:path}/draft", **operation(DRAFT, needs(Scope.READ_DOCUMENTS)))
    async def fill_in(request: Request, query: Annotated[Wanted, Query()]) -> Response:
        if query.type not in FROM_A_CASE:
            detail = f"type: must be one of {', '.join(FROM_A_CASE)}"
            error = {"code": "parameter-invalid", "parameter": "type", "detail": detail}
            raise Refused("request-invalid", detail, errors=[error])
        number = str(request.path_params["number"])
        key = node.practice.key(number) if len(number) <= LONGEST_NUMBER else ""
        filed = (await node.database.read(lambda c: cases.filed(c, [key])))[key] if key else []
        if not filed:
            raise Refused("not-found", "No document about a certificate of this number has passed here.")
        try:
            draft = prefill(
                query.type,
                filed,
                me=node.address,
                today=node.clock().date(),
                practice=node.practice,
                officer=query.officer,
            )
        except NothingToSayError as error:
            detail = f"{str(error)[:1].upper()}{str(error)[1:]}."
            raise Refused("nothing-to-say", detail) from None
        language = language_of(request)
        [found] = await drafting.try_out(node, [draft], strictly_parsed=True)
        body = {"draft": draft} | finding(found, language) | {"tolerance": _tolerance(node)}
        return Answer(strictjson.dumps(body), headers={"content-language": language})


def _tolerance(node: Node) -> dict[str, str]:
    """By how much what we find may differ from what was notified, by the policy that we have published."""
    allowed = node.practice.tolerance(node.address, node.clock().date())
    names = ("carats", "carats_share", "value_share")
    return {name: f"{getattr(allowed, name):f}" for name in names}


# --- what is said about it ----------------------------------------------------------------------------------------------

_SHARE: Final = {
    "type": "string",
    "description": "A share of the whole, as a decimal text: 0.001 is a thousandth.",
}
_TOLERANCE: Final = {
    "type": "object",
    "description": "What we find may differ so much from what was notified before it counts as a discrepancy.",
    "required": ["carats", "carats_share", "value_share"],
    "properties": {"carats": {"type": "string"}, "carats_share": _SHARE, "value_share": _SHARE},
}
schemas.FURTHER["FilledIn"] = schemas.TRIED | {
    "properties": {"draft": ref("Unfinished")} | schemas.TRIED["properties"] | {"tolerance": _TOLERANCE},
    "required": ["draft", *schemas.TRIED["required"], "tolerance"],
}

DRAFT: Final = Said(
    "fillInDraft", "Drafts", "Fill in the next document about a certificate, as far as its case tells",
    {200: ("The draft, and what would come of it as it stands.", JSON, ref("FilledIn"))},
    text=(
        'An import confirmation says "all as notified", an answer what was asked. What only a person can know is left at the ordinary '
        "answer, or left out; then it is among the problems. Nothing is kept: submit the draft, or prepare it at `/v1/drafts`."
    ),
    problems=("not-found", "nothing-to-say"),
    parameters=(
        path("number", "Certificate number.", {"type": "string", "minLength": 1, "maxLength": LONGEST_NUMBER}, "BW 000042"),
        ACCEPT_LANGUAGE,
    ),
)  # fmt: skip
