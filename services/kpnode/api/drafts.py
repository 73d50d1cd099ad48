"""Drafts: prepare, look at, change, discard, and release them, one or five hundred with one decision.

A draft may be as wrong as it likes until it is released; what is wrong with it is said each time it is shown. Whether one person
may release it is decided by the node (`kpnode.drafting`), not here and not by any screen.
"""

# ruff: noqa: FAST003 - paths are read from the raw request and described by hand (kpnode.api.openapi)
from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from kpmsg import strictjson
from kpmsg.errors import DraftError
from kpmsg.rules import Language
from kpnode import drafting
from kpnode.api.answers import Answer, Refused, names
from kpnode.api.broken import language_of, told
from kpnode.api.documents import BULK_BODY, drafts_in
from kpnode.api.door import caller_of, needs, not_submitted
from kpnode.api.drafts_openapi import DISCARD, LIST, MOST, PREPARE, READ, RELEASE, REVISE
from kpnode.api.openapi import operation
from kpnode.api.requests import (
    Page,
    body_of,
    cursor_for,
    cursor_of,
    idempotency_key_of,
    json_of,
    preferences_of,
    reason_of,
)
from kpnode.api.resources import Shown
from kpnode.drafting import Finding, UnfitDraftsError, Wanted
from kpnode.node import Node
from kpnode.release import NODE, SamePersonError
from kpnode.store import drafts as store
from kpnode.store import four_eyes, views
from kpnode.store.callers import Caller, Scope
from kpnode.store.drafts import DraftRow
from kpnode.store.submissions import (
    ClaimedError,
    Committed,
    DraftMovedError,
    KeyReusedError,
    PartnerUnknownError,
)

RELEASE_BODY: Final = 128 * 1024
_NO_DRAFT: Final = "There is no such draft."


class Filter(Page):
    """Which drafts to list."""

    state: Annotated[
        Literal["open", "released", "discarded", "all"],
        Field(description="Open ones if nothing else is said."),
    ] = "open"
    certificate: Annotated[
        str | None, Field(max_length=64, description="Certificate number, however it is written.")
    ] = None


def mount(app: FastAPI, node: Node) -> None:
    """Add the routes about drafts."""
    shown = Shown(node)

    @app.post("/v1/drafts", **operation(PREPARE, needs(Scope.WRITE_DOCUMENTS)))
    async def prepare(request: Request) -> Response:
        caller, key, at = caller_of(request), idempotency_key_of(request), node.stamp()
        body = await body_of(request, BULK_BODY)
        drafts, several = drafts_in(body, node)
        for place, draft in enumerate(drafts):
            _storable(draft, f"/{place}" if several else "")
        digest = sha256(b"drafts\n" + body).hexdigest()
        saved = await node.database.write(
            lambda c: store.save(
                c, drafts, author=caller.name, person=caller.person, key=key, digest=digest, at=at
            )
        )
        if saved is None:
            raise KeyReusedError(f"the key {key!r} was used for another request")
        found = {row.seq: row for row in await _rows(saved.seqs)}
        answer = await _examined([found[seq] for seq in saved.seqs], language_of(request))
        headers = [("idempotency-replayed", "true")] if saved.replayed else []
        if not several:
            headers += [("location", f"/v1/drafts/{saved.seqs[0]}"), ("etag", _tag(found[saved.seqs[0]]))]
        status = 200 if saved.replayed else 201
        return Answer(strictjson.dumps({"drafts": answer} if several else answer[0]), status, headers=headers)

    @app.get("/v1/drafts", **operation(LIST, needs(Scope.READ_DOCUMENTS)))
    async def list_drafts(query: Annotated[Filter, Query()]) -> Response:
        place = cursor_of(query.cursor, int)
        rows = await node.database.read(
            lambda c: store.drafts(
                c,
                state=None if query.state == "all" else query.state,
                certificate=query.certificate,
                before=place[0] if place else None,
                limit=query.limit + 1,
            )
        )
        following = cursor_for(rows[query.limit - 1].seq) if len(rows) > query.limit else None
        listed, two = rows[: query.limit], await _needing_two(rows)
        body = {"drafts": [_shown(row, two=row.seq in two) for row in listed], "next": following}
        return Answer(strictjson.dumps(body))

    # Before the routes with {id}: the router takes the first that fits.
    @app.post("/v1/drafts/release", **operation(RELEASE, needs(Scope.RELEASE_DOCUMENTS)))
    async def release(request: Request) -> Response:
        caller, key, preferences = caller_of(request), idempotency_key_of(request), preferences_of(request)
        body = await body_of(request, RELEASE_BODY)
        wanted = _wanted(json_of(body, RELEASE_BODY))
        digest = sha256(b"release\n" + body).hexdigest()
        try:
            committed = await drafting.release(
                node, wanted, officer=caller.name, person=caller.person, key=key, digest=digest
            )
        except DraftError as error:
            raise _broken(error, wanted, language_of(request)) from None
        except (ClaimedError, PartnerUnknownError) as error:
            raise not_submitted(error, f"/drafts/{error.index}") from None
        except SamePersonError as error:
            detail = f"{caller.person} has written in it, so another person must release it."
            raise Refused(
                "same-person", detail, errors=_errors(error.places, wanted, "same-person", detail)
            ) from None
        except UnfitDraftsError as error:
            raise _unfit([(f.place, f.code, f.text) for f in error.faults], wanted) from None
        except DraftMovedError as error:
            text = f"Draft {error.seq} has changed meanwhile. Read it again, and decide again."
            raise _unfit([(error.index, "draft-changed", text)], wanted) from None
        if preferences.wait:
            await node.received(committed.ids, preferences.wait)
        return await _said(request, wanted, committed)

    async def _said(request: Request, wanted: Sequence[Wanted], committed: Committed) -> Response:
        """What was released: the documents, and which of them each draft has become."""
        preferences, language = preferences_of(request), language_of(request)
        rows = await node.database.read(lambda c: views.documents_by_id(c, committed.ids))
        became = {row.seq: row.documents for row in await _rows([each.seq for each in wanted])}
        parts = [
            shown.document(rows[document_id], minimal=preferences.minimal, language=language)
            for document_id in committed.ids
        ]
        listed = [{"id": each.seq, "documents": list(became[each.seq])} for each in wanted]
        headers = {"idempotency-replayed": "true"} if committed.replayed else {}
        if preferences.applied:
            headers["preference-applied"] = preferences.applied
        content = b'{"documents":[' + b",".join(parts) + b'],"drafts":' + strictjson.dumps(listed) + b"}"
        return Answer(content, 200 if committed.replayed else 201, headers=headers)

    @app.get("/v1/drafts/{id}", **operation(READ, needs(Scope.READ_DOCUMENTS)))
    async def read_draft(request: Request) -> Response:
        return await _one(await _row(request), request)

    @app.put("/v1/drafts/{id}", **operation(REVISE, needs(Scope.WRITE_DOCUMENTS)))
    async def revise(request: Request) -> Response:
        caller, at, row = caller_of(request), node.stamp(), await _row(request)
        _may_touch(row, caller, "changing")
        drafts, several = drafts_in(await body_of(request, BULK_BODY), node)
        if several:
            raise _not_one()
        _storable(drafts[0], "")
        expected = request.headers.get("if-match")
        if expected is not None and not names(expected, _tag(row), weak=False):
            detail = "It has changed since it was read. Read it again, and decide again."
            raise Refused("precondition-failed", detail, headers={"etag": _tag(row)})
        before = row.version if expected is not None else None
        done = await node.database.write(
            lambda c: store.revise(c, row.seq, drafts[0], caller.person, at, before=before)
        )
        row = await _row(request)
        if not done:
            raise _closed(row)
        return await _one(row, request)

    @app.post("/v1/drafts/{id}/discard", **operation(DISCARD, needs(Scope.WRITE_DOCUMENTS)))
    async def discard(request: Request) -> Response:
        reason, caller, at = await reason_of(request), caller_of(request), node.stamp()
        row = await _row(request)
        _may_touch(row, caller, "discarding")
        done = await node.database.write(lambda c: store.discard(c, row.seq, caller.person, reason, at))
        row = await _row(request)
        if not done:
            raise _closed(row)
        return await _one(row, request)

    async def _rows(seqs: Sequence[int]) -> list[DraftRow]:
        return await node.database.read(lambda c: store.drafts_by_number(c, seqs))

    async def _row(request: Request) -> DraftRow:
        text = str(request.path_params["id"])
        if text == "release":  # the one address here that is no draft
            raise Refused("method-not-allowed", "Drafts are released by POST.", headers={"allow": "POST"})
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise Refused("not-found", _NO_DRAFT)
        seq = int(text)
        row = await node.database.read(lambda c: store.draft(c, seq))
        if row is None:
            raise Refused("not-found", _NO_DRAFT)
        return row

    async def _one(row: DraftRow, request: Request) -> Response:
        [answer] = await _examined([row], language_of(request))
        return Answer(strictjson.dumps(answer), headers={"etag": _tag(row)})

    async def _examined(rows: Sequence[DraftRow], language: Language) -> list[dict[str, Any]]:
        """Drafts as they are shown, those that are open with what would come of them now."""
        ready = [row for row in rows if row.open]
        found = (
            await drafting.try_out(node, [row.content for row in ready], strictly_parsed=True)
            if ready
            else []
        )
        findings = {row.seq: finding for row, finding in zip(ready, found, strict=True)}
        two = await _needing_two(rows)
        return [
            _shown(row, two=row.seq in two, finding=findings.get(row.seq), language=language) for row in rows
        ]

    async def _needing_two(rows: Sequence[DraftRow]) -> set[int]:
        """The numbers of those that a second person must release."""
        spoken = [row.content for row in rows]
        two = await node.database.read(lambda c: four_eyes.needing_two(c, spoken, node.policy))
        return {rows[place].seq for place in two}


def _shown(
    row: DraftRow, *, two: bool, finding: Finding | None = None, language: Language = "en"
) -> dict[str, Any]:
    closed = {"at": row.closed_at, "by": row.closed_by, "because": row.closed_because}
    answer: dict[str, Any] = {
        "id": row.seq,
        "state": row.state,
        "type": row.type or None,
        "recipient": row.recipient or None,
        "certificate": row.certificate,
        "created_at": row.at,
        "changed_at": row.changed_at,
        "author": row.author,
        "persons": list(row.persons),
        "because": row.because,
        "release_needed": two,
        "digest": row.digest,
        "draft": row.content,
        "documents": list(row.documents),
        "closed": None if row.closed_at is None else closed,
        "links": {"self": f"/v1/drafts/{row.seq}"},
    }
    if finding is not None:
        answer["verdict"] = finding.verdict
        answer["problems"] = [told(problem, language) for problem in finding.problems]
    return answer


def _may_touch(row: DraftRow, caller: Caller, doing: str) -> None:
    """What the node has prepared is for officers: no clerk silences it, by discarding it or by writing something else in its place."""
    if row.author == NODE and Scope.RELEASE_DOCUMENTS not in caller.scopes:
        detail = f"The node has prepared this: {doing} it takes the scope {Scope.RELEASE_DOCUMENTS}."
        raise Refused("scope-missing", detail)


def _tag(row: DraftRow) -> str:
    """Names what a decision about the draft rests on: its text, who has written in it, and whether it is open."""
    named = strictjson.dumps([row.seq, row.state, *row.version])
    return f'"{sha256(named).hexdigest()[:32]}"'


def _storable(draft: Any, at: str) -> None:
    if not isinstance(draft, dict):
        detail = "A draft must be an object in curly brackets."
        problem = {"code": "document-type", "pointer": at, "detail": detail, "severity": "reject"}
        raise Refused("document-invalid", detail, errors=[problem])
    if len(strictjson.dumps(draft)) > strictjson.MAX_BYTES:
        raise Refused("body-size", f"One draft may have at most {strictjson.MAX_BYTES} bytes.")


def _not_one() -> Refused:
    detail = "Send one draft, as an object."
    problem = {"code": "document-type", "pointer": "", "detail": detail, "severity": "reject"}
    return Refused("document-invalid", detail, errors=[problem])


def _closed(row: DraftRow) -> Refused:
    if row.open:
        return Refused(
            "precondition-failed",
            "It has changed since it was read. Read it again, and decide again.",
            headers={"etag": _tag(row)},
        )
    return Refused("draft-closed", f"It has been {row.state} by {row.closed_by} at {row.closed_at}.")


def _wanted(value: Any) -> list[Wanted]:
    """The drafts in a body `{"drafts": [...]}`, each as its number or with the digest of what was read."""
    listed = value.get("drafts") if isinstance(value, dict) and set(value) == {"drafts"} else None
    detail = (
        f'Send {{"drafts": [...]}}, with 1 to {MOST} different drafts, each as its number or as '
        '{"id": number, "digest": "..."}.'
    )
    wanted = [_one_wanted(each) for each in listed] if isinstance(listed, list) else []
    found = [each for each in wanted if each is not None]
    if not 1 <= len(found) == len(wanted) <= MOST or len({each.seq for each in found}) < len(found):
        error = {"code": "drafts-invalid", "pointer": "/drafts", "detail": detail}
        raise Refused("request-invalid", detail, errors=[error])
    return found


def _one_wanted(value: Any) -> Wanted | None:
    digest = None
    if isinstance(value, dict) and set(value) == {"id", "digest"} and isinstance(value["digest"], str):
        value, digest = value["id"], value["digest"]
    return Wanted(value, digest) if type(value) is int and value > 0 else None


def _errors(places: Sequence[int], wanted: Sequence[Wanted], code: str, detail: str) -> list[dict[str, Any]]:
    return [
        {"code": code, "pointer": f"/drafts/{place}", "detail": detail, "draft": wanted[place].seq}
        for place in places
    ]


def _unfit(faults: Sequence[tuple[int, str, str]], wanted: Sequence[Wanted]) -> Refused:
    errors = [error for place, code, text in faults for error in _errors([place], wanted, code, text)]
    more = f" (+{len(faults) - 1})" if len(faults) > 1 else ""
    return Refused("draft-unfit", faults[0][2] + more, errors=errors)


def _broken(error: DraftError, wanted: Sequence[Wanted], language: Language) -> Refused:
    """What is wrong with drafts, told by draft: pointers are into the request, and `place` is into the draft."""
    errors = []
    for problem in error.problems:
        index, place = 0, problem.pointer or ""
        if len(wanted) > 1:
            head, _, rest = place[1:].partition("/")
            index, place = int(head), f"/{rest}" if rest else ""
        errors.append(
            told(problem, language)
            | {"pointer": f"/drafts/{index}", "draft": wanted[index].seq, "place": place}
        )
    errors.sort(key=lambda one: one["severity"] != "reject")
    more = sum(one["severity"] == "reject" for one in errors) - 1
    detail = f"Draft {errors[0]['draft']}: {errors[0]['detail']}" + (f" (+{more})" if more > 0 else "")
    return Refused("document-invalid", detail, errors=errors, headers={"content-language": language})
