"""What two people must say, two people must unsay and rewrite: each act upon a document needs a second person if that one did.

Told by the dry run and the draft that is shown, refused at `/v1/documents`, and never released by whoever wrote it, with whichever key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from kpmsg import documents, strictjson
from kpmsg.documents import TYPES
from kpnode.api import build_app
from kpnode.node import Node
from kpnode.release import FourEyes, SamePersonError
from kpnode.store import drafts as store
from kpnode.store import four_eyes
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.store.submissions import Submission
from tests.api import office
from tests.exchange import confirmation
from tests.integration.test_drafts import ALERT, CLERK, OFFICER, shipment

KEY = "BW000002"


@dataclass
class Desk:
    """One node, with a clerk, the same person with an officer's key, and an officer."""

    node: Node
    clerk: httpx.AsyncClient
    same: httpx.AsyncClient
    officer: httpx.AsyncClient

    async def two(self, draft: dict[str, Any]) -> str:
        """What two people say; the id of the document."""
        made = await post(self.clerk, "/v1/drafts", draft)
        assert made.status_code == 201, made.text
        said = await post(self.officer, "/v1/drafts/release", {"drafts": [made.json()["id"]]})
        assert said.status_code == 201, said.text
        document: str = said.json()["documents"][0]["id"]
        assert await self.node.received([document], 20)
        return document

    async def proposed(self, kind: str, key: str = KEY, **data: Any) -> dict[str, Any]:
        """What the node proposes to say, with `data` in it."""
        asked = {"type": kind, "officer": "T. Kgosi"}
        answer = await self.clerk.get(f"/v1/certificates/{key}/draft", params=asked)
        assert answer.status_code == 200, answer.text
        draft: dict[str, Any] = answer.json()["draft"]
        draft["data"] |= data
        return draft

    async def needs_two(self, draft: dict[str, Any]) -> bool:
        """Whether the dry run says so; and if so, that there is no way round it."""
        tried = await self.clerk.post("/v1/documents", json=draft, params={"dry_run": "true"})
        [found] = tried.json()["documents"]
        assert found["verdict"] != "refused", found
        made = (await post(self.clerk, "/v1/drafts", draft)).json()
        [listed] = (await self.clerk.get("/v1/drafts", params={"limit": 1})).json()["drafts"]
        assert made["release_needed"] == listed["release_needed"] == found["release_needed"]
        if found["release_needed"]:
            for refused, code in (
                (await post(self.clerk, "/v1/documents", draft), "release-needed"),
                (await post(self.same, "/v1/documents", draft), "release-needed"),
                (await post(self.same, "/v1/drafts/release", {"drafts": [made["id"]]}), "same-person"),
            ):
                assert (refused.status_code, refused.json()["code"]) == (403, code)
        needed: bool = found["release_needed"]
        return needed


async def post(client: httpx.AsyncClient, path: str, body: Any) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": str(uuid7())})


async def seat(node: Node, person: str, scopes: Iterable[Scope]) -> httpx.AsyncClient:
    name, at = f"key-{uuid7()}", node.stamp()
    key = await node.database.write(lambda c: create_caller(c, name, scopes, at, person=person))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(node)),
        base_url="http://node.test",
        headers={"Authorization": f"Bearer {key}"},
    )


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[tuple[Desk, Desk]]:
    """Botswana's and the Emirates'."""
    pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    async with office(*pair) as there, AsyncExitStack() as clients:
        found = []
        for node in (there.node, there.partner):
            seats = [
                await seat(node, *each)
                for each in (("T. Kgosi", CLERK), ("t. kgosi", OFFICER), ("K. Moeti", OFFICER))
            ]
            found.append(Desk(node, *[await clients.enter_async_context(each) for each in seats]))
        yield found[0], found[1]


def withdrawal(target: str, subject: str | None = KEY) -> dict[str, Any]:
    about = {} if subject is None else {"subject": subject}
    data = {"withdraws": target, "reason": "It was a mistake."}
    return {"type": "withdrawal", "recipient": "AE", **about, "data": data}


def policy(*types: str) -> FourEyes:
    return FourEyes(types=types)


def test_what_acts_on_another_document_says_so() -> None:
    acting = {kind.name: kind.acts_by for kind in TYPES.values() if kind.acts_by is not None}
    assert acting == {
        "export-amendment": "amends",
        "cancellation": "cancels",
        "import-confirmation": "supersedes",
        "confirmation-correction": "corrects",
        "withdrawal": "withdraws",
    }
    for kind in TYPES.values():
        assert kind.acts_by is None or kind.acts_by in kind.model_fields


async def test_a_notification_by_two_is_amended_and_cancelled_by_two(desks: tuple[Desk, Desk]) -> None:
    bw, _ = desks
    bw.node.policy = policy("export-notification")
    await bw.two(shipment(1))
    amendment = await bw.proposed("export-amendment", changed=["/parcels"], reason="clerical_error")
    amendment["data"]["content"]["parcels"] += 1
    assert await bw.needs_two(amendment)
    cancellation = await bw.proposed("cancellation", reason="lost")
    assert await bw.needs_two(cancellation)

    # And what acts on that needs two as well.
    await bw.two(amendment)
    again = await bw.proposed("export-amendment", changed=["/parcels"], reason="clerical_error")
    again["data"]["content"]["parcels"] += 1
    assert await bw.needs_two(again)
    cancelled = await bw.two(cancellation)
    assert await bw.needs_two(withdrawal(cancelled))

    bw.node.policy = policy("import-confirmation")
    assert not await bw.needs_two(withdrawal(cancelled))


async def test_a_technical_certificate_by_two_is_amended_and_cancelled_by_two(
    desks: tuple[Desk, Desk],
) -> None:
    bw, _ = desks
    bw.node.policy = policy("technical-certificate-notice")
    await bw.two(shipment(1))
    technical = shipment(2) | {"type": "technical-certificate-notice"}
    technical["data"] = technical["data"] | {"purpose": "research"}
    technical["data"]["certificate"] = technical["data"]["certificate"] | {"kind": "technical"}
    assert await bw.needs_two(technical)
    await bw.two(technical)
    amendment = await bw.proposed(
        "export-amendment", "BW000003", changed=["/parcels"], reason="clerical_error"
    )
    amendment["data"]["content"]["parcels"] += 1
    assert await bw.needs_two(amendment)
    assert await bw.needs_two(await bw.proposed("cancellation", "BW000003", reason="lost"))
    assert not await bw.needs_two(await bw.proposed("cancellation", reason="lost"))


async def test_a_cancellation_by_two_is_withdrawn_by_two(desks: tuple[Desk, Desk]) -> None:
    bw, _ = desks
    bw.node.policy = policy("cancellation")
    assert not await bw.needs_two(shipment(1))
    await bw.two(shipment(1))
    cancelled = await bw.two(await bw.proposed("cancellation", reason="lost"))
    assert await bw.needs_two(withdrawal(cancelled))


async def test_a_confirmation_by_two_is_corrected_and_withdrawn_by_two(desks: tuple[Desk, Desk]) -> None:
    bw, ae = desks
    ae.node.policy = policy("import-confirmation")
    notified = await bw.two(shipment(1))
    document = (await bw.clerk.get(f"/v1/documents/{notified}")).json()["document"]
    confirmed = await ae.two(confirmation(documents.parse(strictjson.dumps(document)), notified))
    correction = await ae.proposed("confirmation-correction", reason="clerical_error")
    assert await ae.needs_two(correction)
    back = withdrawal(confirmed) | {"recipient": "BW"}
    assert await ae.needs_two(back)
    corrected = await ae.two(correction)
    assert await ae.needs_two(back | {"data": back["data"] | {"withdraws": corrected}})
    ae.node.policy = policy("export-notification")
    assert not await ae.needs_two(back | {"data": back["data"] | {"withdraws": corrected}})


async def test_an_alert_is_ended_by_two_under_any_policy(desks: tuple[Desk, Desk]) -> None:
    bw, _ = desks
    alert = await bw.two(ALERT | {"recipient": "AE"})
    assert await bw.needs_two(withdrawal(alert, None))


async def test_nobody_takes_back_what_another_has_warned_of(desks: tuple[Desk, Desk]) -> None:
    """Its recipient would refuse it, so it is not said; about no certificate as little as about one."""
    bw, ae = desks
    data = ALERT["data"] | {"issuer": "AE", "numbers": [{"first": "AE 000001"}]}
    draft = withdrawal(await ae.two(ALERT | {"recipient": "BW", "data": data}), None)
    tried = await bw.clerk.post("/v1/documents", json=draft, params={"dry_run": "true"})
    [found] = tried.json()["documents"]
    assert (found["verdict"], [each["code"] for each in found["problems"]]) == ("refused", ["A06"])
    made = (await post(bw.clerk, "/v1/drafts", draft)).json()
    refused = await post(bw.officer, "/v1/drafts/release", {"drafts": [made["id"]]})
    assert (refused.status_code, [each["code"] for each in refused.json()["errors"]]) == (422, ["A06"])


async def test_what_has_been_forgotten_is_not_unsaid_by_one(desks: tuple[Desk, Desk]) -> None:
    bw, _ = desks
    assert await bw.needs_two(withdrawal("ab" * 32, None))  # an alert, perhaps, of before the restore


async def test_whoever_writes_in_a_draft_while_it_is_released_has_written_it(
    desks: tuple[Desk, Desk],
) -> None:
    """The officer's release was examined when only the clerk had written; the rule holds in the transaction all the same."""
    bw, _ = desks
    bw.node.policy = policy("export-notification")
    seq = (await post(bw.clerk, "/v1/drafts", shipment(1))).json()["id"]
    [row] = await bw.node.database.read(lambda c: store.drafts_by_number(c, [seq]))
    items, places = await bw.node.sign([row.content], bw.node.clock())
    submission = Submission(
        "key", None, "-", items, bw.node.stamp(), places=places, drafts=(row,), released_by="T. KGOSI"
    )
    with pytest.raises(SamePersonError):
        await bw.node.commit(submission)
    assert (await bw.node.database.read(lambda c: c.execute(select(t.document.c.id)).first())) is None


async def test_drafts_that_are_no_documents_are_looked_through(desks: tuple[Desk, Desk]) -> None:
    bw, _ = desks
    spoken: list[Any] = [
        None, 7, {}, {"type": 3}, {"type": "withdrawal"}, {"type": "withdrawal", "data": []},
        {"type": "withdrawal", "data": {"withdraws": 5}}, {"type": "cancellation", "data": {"cancels": "ab"}},
        {"type": "alert", "data": None},
    ]  # fmt: skip
    found = await bw.node.database.read(lambda c: four_eyes.needing_two(c, spoken, FourEyes()))
    assert found == [8]
