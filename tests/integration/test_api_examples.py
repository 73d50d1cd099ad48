"""The examples in the OpenAPI document: one for each type, right by itself, and really sent, in the order in which a case goes.

Only what an example says of itself is trusted here: what it refers to is put in place of its made-up ids, and nothing else is touched.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from uuid_utils.compat import uuid7

from kpmsg import documents
from kpmsg.errors import DraftError
from kpnode.api import build_app, examples
from kpnode.store.callers import Scope, create_caller
from tests.api import Office, office

NOTIFICATION = "export-notification"
STORY = (
    (NOTIFICATION, None),
    ("transit-notice", None),
    ("arrival-notice", None),
    ("message", None),
    ("discrepancy-query", None),
    ("discrepancy-response", "discrepancy-query"),
    ("irregularity-notice", None),
    ("confirmation-request", None),
    ("confirmation-status", "confirmation-request"),
    ("import-confirmation", None),
    ("confirmation-correction", "import-confirmation"),
    ("return-notice", None),
    ("technical-certificate-notice", None),
    ("rejection", None),
    ("several", None),
)
"""What is sent in the first case, one after the other, and what each is an answer to. Nearly every example is about one shipment."""
GOES_WRONG = (
    (NOTIFICATION, None),
    ("export-amendment", None),
    ("cancellation", None),
    ("withdrawal", "cancellation"),
)
"""A second case: what excludes the first."""
MADE_UP = re.compile("0{60}[0-9a-f]{4}")


@dataclass
class Both:
    """The clients of both authorities, and what the document shows for submissions and for drafts."""

    clients: dict[str, httpx.AsyncClient]
    officer: httpx.AsyncClient
    submissions: dict[str, Any]
    preparations: dict[str, Any]

    def author(self, draft: Any) -> httpx.AsyncClient:
        """The client of whoever writes to the other."""
        first = draft[0] if isinstance(draft, list) else draft
        return self.clients["AE" if first["recipient"] == "BW" else "BW"]

    async def send(self, draft: Any, key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Prefer": "wait=20"}
        return await self.author(draft).post("/v1/documents", json=draft, headers=headers)

    async def try_out(self, draft: Any) -> list[dict[str, Any]]:
        answer = await self.author(draft).post("/v1/documents", params={"dry_run": "true"}, json=draft)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["documents"]
        return found


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    """Both authorities' offices."""
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(
            office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")))
        )
        ours, officer = [
            await stack.enter_async_context(desk.client_with(await _key(desk, name)))
            for name in ("clerk", "officer")
        ]
        at = desk.partner.stamp()
        key = await desk.partner.database.write(lambda c: create_caller(c, "customs", list(Scope), at))
        transport, headers = httpx.ASGITransport(build_app(desk.partner)), {"Authorization": f"Bearer {key}"}
        theirs = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://node.test", headers=headers)
        )
        described = (await ours.get("/openapi.json")).json()["paths"]
        shown = {
            path: described[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
            for path in ("/v1/documents", "/v1/drafts")
        }
        yield Both({"BW": ours, "AE": theirs}, officer, shown["/v1/documents"], shown["/v1/drafts"])


async def _key(desk: Office, name: str) -> str:
    at = desk.node.stamp()
    return await desk.node.database.write(lambda c: create_caller(c, name, list(Scope), at))


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_every_type_is_shown_where_it_can_be_sent(both: Both) -> None:
    alone = {kind.name for kind in documents.TYPES.values() if kind.always_released}
    at_once = {kind.name for kind in documents.TYPES.values()} - alone
    assert set(both.submissions) == at_once | {"several"}
    assert set(both.preparations) == alone | {"unfinished"}
    for name, example in (both.submissions | both.preparations).items():
        if name not in {"several", "unfinished"}:
            assert example["value"]["type"] == name
        assert example["summary"], name


async def test_every_example_says_who_writes_it(both: Both) -> None:
    roles = {kind.name: kind.roles for kind in documents.TYPES.values()}
    words = {
        frozenset({"export"}): "Written by an exporting authority; ",
        frozenset({"import"}): "Written by an importing authority; ",
        frozenset({"export", "import"}): "Written by an authority in either role; ",
    }
    shown = both.submissions | both.preparations
    for name, wrote in roles.items():
        assert shown[name]["description"].startswith(words[wrote]), name
        assert all(role in shown[name]["summary"] for role in wrote)
        refers = bool(MADE_UP.search(json.dumps(shown[name]["value"])))
        assert ("Its ids stand for" in shown[name]["description"]) is refers, name


# --- each by itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [kind.name for kind in documents.TYPES.values()])
def test_an_example_breaks_no_rule_on_its_day_and_is_refused_on_none(name: str) -> None:
    example = examples.examples()[name]
    draft = json.loads(json.dumps(example.draft))
    if draft["recipient"] == "*":  # what the node does with an alert that is released
        draft |= {"recipient": "AE", "data": draft["data"] | {"released_by": "An officer"}}
    on_its_day = datetime.combine(example.day, datetime.min.time(), UTC) + timedelta(hours=20)
    document, _ = documents.compose(draft, source=example.author, id=uuid7(), time=on_its_day)
    assert documents.breaches(document) == []
    for day in (date(2026, 1, 1), date(2031, 7, 1)):
        at = datetime.combine(day, datetime.min.time(), UTC)
        documents.compose(draft, source=example.author, id=uuid7(), time=at)


def test_examples_are_the_same_every_time() -> None:
    before = json.dumps([examples.submissions(), examples.preparations()])
    examples.examples.cache_clear()
    assert json.dumps([examples.submissions(), examples.preparations()]) == before


async def test_an_example_is_refused_only_for_want_of_what_it_refers_to(both: Both) -> None:
    """Somebody who has nothing else yet tries them all out: the answer says which id to replace, and nothing else is wrong."""
    for name, example in both.submissions.items():
        for found in await both.try_out(example["value"]):
            refused = [each for each in found["problems"] if each["severity"] != "warn"]
            assert {each["code"] for each in refused} <= {"A05", "A07"}, (name, refused)
            for each in refused:
                assert MADE_UP.fullmatch(_at(example["value"], each["pointer"])), (name, each)


def _at(value: Any, pointer: str) -> str:
    for part in pointer[1:].split("/"):
        value = value[part]
    return str(value)


# --- all of them together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", [STORY, GOES_WRONG], ids=["arrives", "goes-wrong"])
async def test_the_examples_in_the_document_can_be_sent(
    both: Both, story: tuple[tuple[str, str | None], ...]
) -> None:
    sent: dict[str, Any] = {}
    for name, answered in story:
        text = json.dumps(both.submissions[name]["value"])
        if NOTIFICATION in sent:
            text = text.replace(f"{1:064x}", sent[NOTIFICATION]["id"])
            made_up = json.loads(text).get("data", {}).get("notification") if name != "several" else None
            if made_up is not None:
                text = text.replace(made_up["id"], sent[NOTIFICATION]["document"]["id"])
        if answered is not None:
            text = text.replace(f"{2:064x}", sent[answered]["id"])
        answer = await both.send(json.loads(text), name)
        assert answer.status_code == 201, (name, answer.text)
        sent[name] = answer.json()


async def test_a_certificate_is_asked_about_and_answered_as_the_examples_show(both: Both) -> None:
    query = both.submissions["certificate-query"]["value"]
    shown = both.submissions["certificate-answer"]["value"]
    asked = (await both.send(query, "query")).json()
    ours = both.clients["BW"]
    answers: list[dict[str, Any]] = []
    for _ in range(400):
        answers = (await ours.get("/v1/documents", params={"type": "certificate-answer"})).json()["documents"]
        if answers:
            break
        await asyncio.sleep(0.05)
    assert [each["document"]["data"]["query"] for each in answers] == [asked["id"]]
    by_itself = answers[0]["document"]["data"]
    assert {**shown["data"], "query": asked["id"]} == {**by_itself, "remarks": shown["data"]["remarks"]}


async def test_the_alert_in_the_document_is_prepared_and_released(both: Both) -> None:
    ours = both.clients["BW"]
    alert = both.preparations["alert"]["value"]
    refused = await ours.post("/v1/documents", json=alert, headers={"Idempotency-Key": "at-once"})
    assert (refused.status_code, refused.json()["code"]) == (403, "release-needed")
    kept = await ours.post("/v1/drafts", json=alert, headers={"Idempotency-Key": "draft"})
    assert (kept.status_code, kept.json()["verdict"], kept.json()["problems"]) == (201, "accepted", [])
    released = await both.officer.post(
        "/v1/drafts/release",
        json={"drafts": [kept.json()["id"]]},
        headers={"Idempotency-Key": "release"},
    )
    assert released.status_code == 201, released.text
    [document] = released.json()["documents"]
    assert document["document"]["recipient"] == "AE"
    assert document["document"]["data"] == alert["data"] | {"released_by": "officer"}


async def test_the_unfinished_draft_in_the_document_lacks_what_it_says(both: Both) -> None:
    unfinished = both.preparations["unfinished"]["value"]
    kept = await both.clients["BW"].post("/v1/drafts", json=unfinished, headers={"Idempotency-Key": "draft"})
    assert kept.status_code == 201
    assert [each["pointer"] for each in kept.json()["problems"]] == ["/data/reason"]
    with pytest.raises(DraftError):
        documents.compose(unfinished, source="BW", id=uuid7(), time=datetime.now(UTC))
