"""Four eyes: a clerk prepares, an officer releases, and no way around it. Dry runs, bulk signing, broadcast.

Whole nodes behind the API, on both databases where the store is in question.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine
from uuid_utils.compat import uuid7

from kpmsg import documents
from kpnode.release import FourEyes, ReleaseNeededError, needs_two, same_person
from kpnode.sample import Trade, confirmation
from kpnode.store import alerts
from kpnode.store import drafts as store
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.store.submissions import DraftMovedError, Submission
from kpnode.throwaway import Postgres
from tests.api import Office, office
from tests.exchange import Keys, submit

ALL = FourEyes(types="all")
CLERK = (Scope.WRITE_DOCUMENTS, Scope.READ_DOCUMENTS)
OFFICER = (Scope.WRITE_DOCUMENTS, Scope.READ_DOCUMENTS, Scope.RELEASE_DOCUMENTS)
ALERT: dict[str, Any] = {
    "type": "alert",
    "recipient": "*",
    "data": {
        "issuer": "BW",
        "kind": "stolen",
        "numbers": [{"first": "BW 012340", "last": "BW 012349"}],
        "valid_from": "2026-11-01",
        "description": "Blank certificates were stolen from the printer.",
    },
}


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    """An office on either database, whose policy asks for two people for everything."""
    if request.param == "sqlite":
        pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        pair = [
            (a, server.create_database(f"drafts_{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")
        ]
    async with office(*pair) as there:
        there.node.policy = ALL
        yield there


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    """The same on SQLite, with a third authority."""
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as there:
        there.node.policy = ALL
        yield there


def shipment(n: int, importer: str = "AE") -> dict[str, Any]:
    """The notification of a shipment of today, which breaks no rule and calls for no warning."""
    return dict(Trade("BW", importer, on=datetime.now(UTC).date(), seed=1).notification(n))


async def seat(
    there: Office, name: str, scopes: Iterable[Scope] = OFFICER, person: str | None = None
) -> httpx.AsyncClient:
    """A client with a key of its own, held by `person`."""
    at = there.node.stamp()
    token = await there.node.database.write(lambda c: create_caller(c, name, scopes, at, person=person))
    return there.client_with(token)


async def prepare(client: httpx.AsyncClient, draft: Any, key: str = "draft") -> httpx.Response:
    return await client.post("/v1/drafts", json=draft, headers={"Idempotency-Key": key})


async def release(client: httpx.AsyncClient, drafts: list[Any], key: str = "release") -> httpx.Response:
    return await client.post("/v1/drafts/release", json={"drafts": drafts}, headers={"Idempotency-Key": key})


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]


def parts(response: httpx.Response) -> list[tuple[str, str]]:
    return [(error["code"], error["pointer"]) for error in response.json()["errors"]]


async def documents_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await client.get("/v1/documents")).json()["documents"]
    return listed


# --- two people ------------------------------------------------------------------------------------------------------


async def test_a_clerk_prepares_and_an_officer_releases(either: Office) -> None:
    async with (
        await seat(either, "export-desk", CLERK, "T. Kgosi") as clerk,
        await seat(either, "signing", OFFICER, "K. Moeti") as officer,
    ):
        made = await prepare(clerk, shipment(1))
        assert made.status_code == 201, made.text
        draft = made.json()
        assert made.headers["location"] == f"/v1/drafts/{draft['id']}"
        assert (draft["state"], draft["verdict"], draft["problems"]) == ("open", "accepted", [])
        assert (draft["author"], draft["persons"], draft["release_needed"]) == (
            "export-desk",
            ["T. Kgosi"],
            True,
        )
        assert await documents_of(clerk) == []

        said = await release(officer, [{"id": draft["id"], "digest": draft["digest"]}])
        assert said.status_code == 201, said.text
        [document] = said.json()["documents"]
        assert (document["author"], document["released_by"]) == ("export-desk", "K. Moeti")
        assert said.json()["drafts"] == [{"id": draft["id"], "documents": [document["id"]]}]
        read = (await clerk.get(f"/v1/documents/{document['id']}")).json()
        assert (read["author"], read["released_by"]) == ("export-desk", "K. Moeti")
        assert read["document"]["data"] == shipment(1)["data"]
        closed = (await clerk.get(f"/v1/drafts/{draft['id']}")).json()
        assert (closed["state"], closed["documents"]) == ("released", [document["id"]])
        assert closed["closed"]["by"] == "K. Moeti"
        assert await either.node.received([document["id"]], 20)


async def test_what_needs_two_people_is_refused_at_once_in_the_node_itself(either: Office) -> None:
    async with await seat(either, "signing") as officer:
        for scopes_do_not_help in (
            shipment(1),
            [shipment(1), shipment(2)],
        ):
            refused = await officer.post(
                "/v1/documents", json=scopes_do_not_help, headers={"Idempotency-Key": "k"}
            )
            assert problem(refused) == (403, "release-needed")
        with pytest.raises(ReleaseNeededError):
            await submit(either.node, shipment(1))
        assert await documents_of(officer) == []


async def test_only_the_types_of_the_policy_need_two_people(desk: Office) -> None:
    desk.node.policy = FourEyes(types=("cancellation",))
    await submit(desk.node, shipment(1))
    for kind in ("cancellation", "org.kimberley.cancellation.v1"):
        draft: dict[str, Any] = {"type": kind, "recipient": "AE", "data": {}}
        with pytest.raises(ReleaseNeededError):
            await submit(desk.node, draft)
    desk.node.policy = FourEyes()
    with pytest.raises(ReleaseNeededError):  # an alert always does
        await submit(desk.node, ALERT | {"recipient": "AE"})


async def test_the_node_answers_by_itself_under_any_policy(desk: Office) -> None:
    desk.partner.policy = FourEyes()
    counterfeit = documents.parse(
        documents.compose(
            shipment(7),
            source="BW",
            id="019cadd8-4840-7000-8000-000000000001",
            time=desk.node.clock(),
        )[1]
    )
    await submit(desk.partner, confirmation(counterfeit, "0" * 64) | {})
    async with await seat(desk, "reader") as reader:
        listed: list[dict[str, Any]] = []
        for _ in range(400):
            listed = [d for d in await documents_of(reader) if d["direction"] == "out"]
            if listed:
                break
            await asyncio.sleep(0.05)
        assert [(d["type"], d["author"]) for d in listed] == [("org.kimberley.rejection.v1", "node")]


async def test_the_same_person_never_releases(either: Office) -> None:
    async with (
        await seat(either, "desk-1", OFFICER, "T. Kgosi") as first,
        await seat(either, "desk-2", OFFICER, "t.  KGOSI ") as second_key,
        await seat(either, "T. Kgosi", OFFICER) as named_so,
        await seat(either, "signing", OFFICER, "K. Moeti") as officer,
    ):
        seq = (await prepare(first, shipment(1))).json()["id"]
        for own in (first, second_key, named_so):
            refused = await release(own, [seq])
            assert problem(refused) == (403, "same-person")
            assert parts(refused) == [("same-person", "/drafts/0")]
        assert await documents_of(first) == []
        assert (await release(officer, [seq])).status_code == 201


async def test_whoever_edits_a_draft_has_written_it(either: Office) -> None:
    async with (
        await seat(either, "desk", CLERK, "T. Kgosi") as clerk,
        await seat(either, "signing", OFFICER, "K. Moeti") as officer,
        await seat(either, "second", OFFICER, "B. Sithole") as other,
    ):
        seq = (await prepare(clerk, shipment(1))).json()["id"]
        edited = await officer.put(f"/v1/drafts/{seq}", json=shipment(2))
        assert edited.json()["persons"] == ["T. Kgosi", "K. Moeti"]
        await clerk.put(f"/v1/drafts/{seq}", json=shipment(3))
        assert problem(await release(officer, [seq])) == (403, "same-person")
        said = (await release(other, [seq])).json()["documents"][0]
        assert (said["author"], said["released_by"]) == ("desk", "B. Sithole")
        assert said["document"]["data"] == shipment(3)["data"]


async def test_an_officer_releases_what_was_read_and_nothing_else(desk: Office) -> None:
    async with (
        await seat(desk, "desk", CLERK) as clerk,
        await seat(desk, "signing", OFFICER) as officer,
    ):
        read = (await prepare(clerk, shipment(1))).json()
        await clerk.put(f"/v1/drafts/{read['id']}", json=shipment(2))
        refused = await release(officer, [{"id": read["id"], "digest": read["digest"]}])
        assert problem(refused) == (409, "draft-unfit")
        assert parts(refused) == [("draft-changed", "/drafts/0")]
        assert await documents_of(clerk) == []


async def test_a_draft_that_changes_while_it_is_signed_is_not_released(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        await seat(desk, "desk", CLERK) as clerk,
        await seat(desk, "signing", OFFICER) as officer,
    ):
        seq = (await prepare(clerk, shipment(1))).json()["id"]
        sign = desk.node.sign

        async def slowly(*given: Any, **named: Any) -> Any:
            signed = await sign(*given, **named)
            await clerk.put(f"/v1/drafts/{seq}", json=shipment(2))
            return signed

        monkeypatch.setattr(desk.node, "sign", slowly)
        refused = await release(officer, [seq])
        assert (problem(refused), parts(refused)) == (
            (409, "draft-unfit"),
            [("draft-changed", "/drafts/0")],
        )
        assert await documents_of(clerk) == []
        assert (await clerk.get(f"/v1/drafts/{seq}")).json()["state"] == "open"


async def test_where_no_policy_asks_for_two_a_draft_is_just_a_draft(desk: Office) -> None:
    desk.node.policy = FourEyes()
    async with await seat(desk, "desk", OFFICER, "T. Kgosi") as alone:
        draft = (await prepare(alone, shipment(1))).json()
        assert not draft["release_needed"]
        said = await release(alone, [draft["id"]])
        assert said.status_code == 201, said.text
        assert said.json()["documents"][0]["released_by"] == "T. Kgosi"
        alert = (await prepare(alone, ALERT, "alert")).json()
        assert alert["release_needed"]
        assert problem(await release(alone, [alert["id"]], "r2")) == (403, "same-person")


async def test_any_officer_releases_what_the_node_has_prepared(desk: Office) -> None:
    draft, at = shipment(1), desk.node.stamp()
    first = await desk.node.database.write(lambda c: store.draft_once(c, "reminder:1:x", draft, at))
    again = await desk.node.database.write(lambda c: store.draft_once(c, "reminder:1:x", draft, at))
    assert (first, again) == (1, None)
    async with (
        await seat(desk, "signing", OFFICER) as officer,
        await seat(desk, "other", OFFICER) as editor,
    ):
        [listed] = (await officer.get("/v1/drafts")).json()["drafts"]
        assert (listed["author"], listed["persons"], listed["because"]) == ("node", ["node"], "reminder:1:x")
        await editor.put("/v1/drafts/1", json=draft)
        assert problem(await release(editor, [1])) == (403, "same-person")
        said = (await release(officer, [1])).json()["documents"][0]
        assert (said["author"], said["released_by"]) == ("node", "signing")
    dropped = await desk.node.database.write(lambda c: store.draft_once(c, "reminder:1:x", draft, at))
    assert dropped is None  # once for ever


async def test_no_clerk_changes_or_discards_what_the_node_has_prepared(desk: Office) -> None:
    draft, at = shipment(1), desk.node.stamp()
    await desk.node.database.write(lambda c: store.draft_once(c, "reminder:1:x", draft, at))
    async with await seat(desk, "typing", CLERK) as clerk:
        for said in (
            await clerk.put("/v1/drafts/1", json={"type": "message"}),
            await clerk.post("/v1/drafts/1/discard", json={"reason": "In the way."}),
        ):
            assert problem(said) == (403, "scope-missing")
        assert (await clerk.get("/v1/drafts/1")).json()["draft"] == draft


def test_nobody_may_be_called_like_the_node(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    t.metadata.create_all(engine)
    with engine.begin() as connection:
        for name, person in (
            ("node", None),
            ("Node ", None),
            ("desk", "NODE"),
            ("desk", " "),
            ("desk", "a\nb"),
        ):
            with pytest.raises(ValueError, match="printable"):
                create_caller(connection, name, [Scope.WRITE_DOCUMENTS], "2026", person=person)
    engine.dispose()


def test_the_policy_knows_types_by_either_name() -> None:
    policy = FourEyes(types=("export-notification", "org.kimberley.cancellation.v1"))
    kinds: list[Any] = [
        "org.kimberley.export-notification.v1",
        "cancellation",
        "import-confirmation",
        "alert",
        None,
        {},
        "x",
    ]
    assert needs_two(kinds, policy) == [0, 1, 3]
    with pytest.raises(ValueError, match="no document type 'notification'"):
        FourEyes(types=("notification",))
    assert same_person("Ａ. Moeti", "a.  moeti")
    assert not same_person("A. Moeti", "B. Moeti")


# --- drafts ----------------------------------------------------------------------------------------------------------


async def test_a_draft_need_not_be_complete_and_says_what_is_missing(either: Office) -> None:
    async with await seat(either, "desk") as clerk:
        answers = await prepare(
            clerk, [{}, {"type": "export-notification", "recipient": "AE"}, {"type": ["odd"], "recipient": 7}]
        )
        assert answers.status_code == 201, answers.text
        empty, begun, odd = answers.json()["drafts"]
        assert empty["verdict"] == begun["verdict"] == odd["verdict"] == "refused"
        assert {p["pointer"] for p in begun["problems"]} == {"/data"}
        assert (begun["type"], begun["recipient"]) == ("org.kimberley.export-notification.v1", "AE")
        assert (odd["type"], odd["recipient"]) == (None, None)
        refused = await release(await seat(either, "o", OFFICER), [begun["id"], empty["id"]])
        assert problem(refused) == (422, "document-invalid")
        assert {error["draft"] for error in refused.json()["errors"]} == {begun["id"], empty["id"]}


async def test_a_draft_is_kept_once_under_its_key(either: Office) -> None:
    async with await seat(either, "desk") as clerk:
        first = await prepare(clerk, shipment(1), "one")
        again = await prepare(clerk, shipment(1), "one")
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.headers["idempotency-replayed"] == "true"
        assert first.json()["id"] == again.json()["id"]
        other = await prepare(clerk, shipment(2), "one")
        assert problem(other) == (409, "idempotency-key-reused")
        # The key stands for a draft: the same bytes sent to be signed are another request.
        either.node.policy = FourEyes()
        sent = await clerk.post(
            "/v1/documents", content=first.request.content,
            headers={"Idempotency-Key": "one", "Content-Type": "application/json"},
        )  # fmt: skip
        assert problem(sent) == (409, "idempotency-key-reused")
        assert len((await clerk.get("/v1/drafts")).json()["drafts"]) == 1


async def test_a_discarded_draft_is_kept_with_its_reason_and_not_released(desk: Office) -> None:
    async with await seat(desk, "desk", person="T. Kgosi") as clerk, await seat(desk, "signing") as officer:
        seq = (await prepare(clerk, shipment(1))).json()["id"]
        gone = await officer.post(f"/v1/drafts/{seq}/discard", json={"reason": "Shipment put off."})
        assert gone.json()["closed"] == {
            "at": gone.json()["closed"]["at"],
            "by": "signing",
            "because": "Shipment put off.",
        }
        for late in (
            await officer.post(f"/v1/drafts/{seq}/discard", json={"reason": "again"}),
            await clerk.put(f"/v1/drafts/{seq}", json=shipment(2)),
        ):
            assert problem(late) == (409, "draft-closed")
        refused = await release(officer, [seq])
        assert (problem(refused), parts(refused)) == ((409, "draft-unfit"), [("draft-closed", "/drafts/0")])
        assert (await clerk.get("/v1/drafts")).json()["drafts"] == []
        [listed] = (await clerk.get("/v1/drafts", params={"state": "discarded"})).json()["drafts"]
        assert listed["id"] == seq


async def test_drafts_are_listed_by_pages_and_certificate(desk: Office) -> None:
    async with await seat(desk, "desk") as clerk:
        await prepare(clerk, [shipment(n) for n in range(5)])
        found: list[int] = []
        query: dict[str, Any] = {"limit": 2}
        while True:
            page = (await clerk.get("/v1/drafts", params=query)).json()
            found += [draft["id"] for draft in page["drafts"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert found == [5, 4, 3, 2, 1]
        number = shipment(3)["data"]["certificate"]["number_raw"].lower()
        [one] = (await clerk.get("/v1/drafts", params={"certificate": number})).json()["drafts"]
        assert one["id"] == 4


async def test_a_change_that_rests_on_an_older_text_is_refused(desk: Office) -> None:
    async with await seat(desk, "desk") as clerk, await seat(desk, "other") as other:
        made = await prepare(clerk, shipment(1))
        place, tag = made.headers["location"], made.headers["etag"]
        assert (await other.get(place)).headers["etag"] == tag
        await other.put(place, json=shipment(2), headers={"If-Match": tag})
        late = await clerk.put(place, json=shipment(3), headers={"If-Match": tag})
        assert problem(late) == (412, "precondition-failed")
        assert (await clerk.get(place)).json()["draft"]["data"] == shipment(2)["data"]


# --- many at once ----------------------------------------------------------------------------------------------------


async def test_five_hundred_are_released_with_one_decision_and_a_replay_finds_them(either: Office) -> None:
    async with await seat(either, "desk", CLERK) as clerk, await seat(either, "signing") as officer:
        made = await prepare(clerk, [shipment(n) for n in range(500)])
        seqs = [draft["id"] for draft in made.json()["drafts"]]
        first = await release(officer, seqs)
        assert first.status_code == 201, first.text
        ids = [document["id"] for document in first.json()["documents"]]
        assert len(set(ids)) == 500
        again = await release(officer, seqs)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
        assert [document["id"] for document in again.json()["documents"]] == ids
        assert problem(await release(officer, seqs[:1])) == (409, "idempotency-key-reused")
        assert problem(await release(officer, seqs[:1], "other")) == (409, "draft-unfit")


async def test_releases_at_the_same_moment_say_it_once(either: Office) -> None:
    async with await seat(either, "desk", CLERK) as clerk, await seat(either, "signing") as officer:
        seq = (await prepare(clerk, shipment(1))).json()["id"]
        answers = await asyncio.gather(*(release(officer, [seq], f"k{n % 2}") for n in range(8)))
        statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [200] * 3 + [201] + [409] * 4
        assert len(await documents_of(clerk)) == 1


async def test_one_bad_draft_among_many_commits_nothing_and_is_named(either: Office) -> None:
    async with await seat(either, "desk", CLERK) as clerk, await seat(either, "signing") as officer:
        bad = shipment(2)
        bad["data"]["carats"] = "1.00"
        made = await prepare(clerk, [shipment(1), bad, shipment(3)])
        good, wrong, third = (draft["id"] for draft in made.json()["drafts"])
        assert [draft["verdict"] for draft in made.json()["drafts"]] == ["accepted", "refused", "accepted"]
        refused = await release(officer, [good, wrong, third])
        assert problem(refused) == (422, "document-invalid")
        [error] = [one for one in refused.json()["errors"] if one["severity"] == "reject"]
        assert (error["pointer"], error["draft"], error["place"]) == (
            "/drafts/1",
            wrong,
            "/data/carats",
        )
        assert await documents_of(clerk) == []
        assert len((await clerk.get("/v1/drafts")).json()["drafts"]) == 3
        assert (await release(officer, [good, third], "r2")).status_code == 201


async def test_two_drafts_that_say_the_same_cannot_both_be_released(either: Office) -> None:
    async with await seat(either, "desk", CLERK) as clerk, await seat(either, "signing") as officer:
        made = await prepare(clerk, [shipment(1), shipment(1)])
        one, two = (draft["id"] for draft in made.json()["drafts"])
        refused = await release(officer, [one, two])
        assert refused.status_code in (409, 422), refused.text
        assert {error["pointer"] for error in refused.json()["errors"]} == {"/drafts/1"}
        assert await documents_of(clerk) == []
        assert (await release(officer, [one], "r1")).status_code == 201
        assert (await release(officer, [two], "r2")).status_code in (409, 422)
        assert (await clerk.get(f"/v1/drafts/{two}")).json()["state"] == "open"


@pytest.mark.parametrize(
    "body",
    [
        {"drafts": []}, {"drafts": [1, 1]}, {"drafts": ["1"]}, {"drafts": [True]}, {"drafts": [0]}, {"drafts": 1},
        {"drafts": [{"id": 1}]}, {"drafts": [{"id": 1, "digest": 2}]}, {"drafts": list(range(1, 502))}, [], {},
    ],
)  # fmt: skip
async def test_a_release_names_one_to_five_hundred_different_drafts(desk: Office, body: Any) -> None:
    async with await seat(desk, "signing") as officer:
        answer = await officer.post("/v1/drafts/release", json=body, headers={"Idempotency-Key": "k"})
        assert problem(answer) == (422, "request-invalid")


# --- to everybody ----------------------------------------------------------------------------------------------------


async def test_an_alert_goes_to_every_partner_when_an_officer_releases_it(desk: Office) -> None:
    async with (
        await seat(desk, "desk", CLERK) as clerk,
        await seat(desk, "signing", person="K. Moeti") as officer,
    ):
        made = (await prepare(clerk, ALERT)).json()
        assert (made["verdict"], made["recipient"]) == ("accepted", "*"), made
        said = await release(officer, [made["id"]])
        assert said.status_code == 201, said.text
        shown = said.json()["documents"]
        assert [document["partner"] for document in shown] == ["AE", "ZA"]
        # No clerk writes the name of whoever is going to release it.
        assert {document["document"]["data"]["released_by"] for document in shown} == {"K. Moeti"}
        assert said.json()["drafts"][0]["documents"] == [document["id"] for document in shown]
        assert (await release(officer, [made["id"]])).json()["drafts"] == said.json()["drafts"]


async def test_what_two_people_have_warned_of_one_person_does_not_take_back(desk: Office) -> None:
    async with (
        await seat(desk, "desk", CLERK) as clerk,
        await seat(desk, "signing", person="K. Moeti") as officer,
    ):
        made = (await prepare(clerk, ALERT)).json()
        told = (await release(officer, [made["id"]])).json()["documents"][0]
        data = {"withdraws": told["id"], "reason": "The box was found."}
        draft = {"type": "withdrawal", "recipient": told["partner"], "data": data}
        answer = await clerk.post("/v1/documents", json=draft, headers={"Idempotency-Key": "w"})
        assert problem(answer) == (403, "release-needed")
        prepared = (await prepare(clerk, draft, "w2")).json()
        assert problem(await release(clerk, [prepared["id"]], "r2")) == (403, "scope-missing")
        assert (await release(officer, [prepared["id"]], "r3")).status_code == 201


async def test_an_alert_is_ended_everywhere_by_one_act_of_two_people(desk: Office) -> None:
    async with (
        await seat(desk, "desk", OFFICER, "T. Kgosi") as clerk,
        await seat(desk, "signing", person="K. Moeti") as officer,
    ):
        made = (await prepare(clerk, ALERT)).json()
        told = (await release(officer, [made["id"]])).json()["documents"]
        assert [each["partner"] for each in told] == ["AE", "ZA"]
        data = {"withdraws": told[1]["id"], "reason": "The box was found."}
        draft = {"type": "withdrawal", "recipient": "*", "data": data}
        [tried] = (await clerk.post("/v1/documents?dry_run=true", json=draft)).json()["documents"]
        assert (tried["verdict"], tried["release_needed"]) == ("accepted", True)
        refused = await clerk.post("/v1/documents", json=draft, headers={"Idempotency-Key": "k"})
        assert problem(refused) == (403, "release-needed")
        seq = (await prepare(clerk, draft, "w")).json()["id"]
        assert problem(await release(clerk, [seq], "r1")) == (403, "same-person")
        ended = (await release(officer, [seq], "r2")).json()["documents"]
        taken_back = {each["partner"]: each["document"]["data"]["withdraws"] for each in ended}
        assert taken_back == {each["partner"]: each["id"] for each in told}
        assert await desk.node.received([each["id"] for each in ended], 20)
        for site in desk.play.sites.values():
            listed = await site.running.database.read(lambda c: alerts.alerts(c, active=True, limit=10))
            assert listed == []
        # There is nothing left to end.
        [tried] = (await clerk.post("/v1/documents?dry_run=true", json=draft)).json()["documents"]
        assert (tried["verdict"], tried["problems"][0]["pointer"]) == ("refused", "/recipient")


async def test_an_alert_that_was_said_twice_to_a_partner_is_ended_by_one_act(desk: Office) -> None:
    async with await seat(desk, "desk", CLERK) as clerk, await seat(desk, "signing") as officer:
        once = [(await prepare(clerk, ALERT | {"recipient": "AE"}, key)).json()["id"] for key in "ab"]
        told = (await release(officer, once)).json()["documents"]
        data = {"withdraws": told[1]["id"], "reason": "The box was found."}
        seq = (await prepare(clerk, {"type": "withdrawal", "recipient": "*", "data": data}, "w")).json()["id"]
        ended = (await release(officer, [seq], "r2")).json()["documents"]
        assert [each["document"]["data"]["withdraws"] for each in ended] == [each["id"] for each in told]
        assert await desk.node.received([each["id"] for each in ended], 20)
        for site in desk.play.sites.values():
            assert await site.running.database.read(lambda c: alerts.alerts(c, active=True, limit=10)) == []


@pytest.mark.parametrize("together", [True, False])
async def test_two_officers_who_are_equally_quick_tell_everybody_once(
    desk: Office, *, together: bool
) -> None:
    """Both have looked up whom to tell before either has told anybody."""
    node = desk.node

    async def signed(content: dict[str, Any]) -> Submission:
        async with await seat(desk, f"desk {uuid7()}", CLERK) as clerk:
            seq = (await prepare(clerk, content, str(uuid7()))).json()["id"]
        rows = await node.database.read(partial(store.drafts_by_number, seqs=[seq]))
        named = {"released_by": "Neo"} if content["type"] == "alert" else {}
        items, places = await node.sign([content | {"data": content["data"] | named}], node.clock())
        return Submission(
            "key", None, "-", items, node.stamp(), places=places, drafts=tuple(rows), released_by="Neo"
        )

    one, two = await signed(ALERT), await signed(ALERT)
    if together:
        results = await asyncio.gather(node.commit(one), node.commit(two), return_exceptions=True)
        [refused] = [each for each in results if isinstance(each, BaseException)]
        assert isinstance(refused, DraftMovedError)
        [told] = [each.ids for each in results if not isinstance(each, BaseException)]
    else:
        told = (await node.commit(one)).ids
        with pytest.raises(DraftMovedError):
            await node.commit(two)
    assert len(told) == 2
    data = {"withdraws": told[0], "reason": "The box was found."}
    end = await signed({"type": "withdrawal", "recipient": "*", "data": data})
    await node.commit(await signed(ALERT | {"recipient": "AE"}))
    with pytest.raises(DraftMovedError):  # that one would stay in force
        await node.commit(end)


async def test_who_has_been_told_an_alert_is_not_told_it_again(desk: Office) -> None:
    async with (
        await seat(desk, "desk", CLERK) as clerk,
        await seat(desk, "signing") as officer,
    ):
        one = (await prepare(clerk, ALERT | {"recipient": "ZA"})).json()["id"]
        every = (await prepare(clerk, ALERT, "every")).json()["id"]
        await release(officer, [one])
        told = (await release(officer, [every], "r2")).json()["documents"]
        assert [each["partner"] for each in told] == ["AE"]
        [tried] = (await clerk.post("/v1/documents?dry_run=true", json=ALERT)).json()["documents"]
        assert [each["code"] for each in tried["problems"]] == ["partner-unknown"]


async def test_what_comes_back_after_a_restore_leaves_no_draft_to_say_it_twice(tmp_path: Path) -> None:
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as there:
        site, copy = there.play.sites["BW"], tmp_path / "copy.db"
        async with await seat(there, "desk", CLERK) as clerk, await seat(there, "signing") as officer:
            message = {"type": "message", "recipient": "AE", "data": {"text": "Please call about the box."}}
            said = [
                (await prepare(clerk, each, f"k{n}")).json()["id"]
                for n, each in enumerate((ALERT, message, shipment(1)))
            ]
            other = message | {"data": {"text": "Please do not call."}}
            left = (await prepare(clerk, other, "other")).json()["id"]
            there.play.backup(site, copy)
            released = (await release(officer, said)).json()["documents"]
            assert len(released) == 3
            assert await there.node.received([each["id"] for each in released], 20)
        await there.play.stop(site)
        there.play.restore(site, copy)
        node = await there.play.start(site)
        rows: list[store.DraftRow] = []
        for _ in range(400):
            rows = await node.database.read(lambda c: store.drafts(c, state="released", limit=10))
            if len(rows) == 3:
                break
            await asyncio.sleep(0.05)
        assert {row.documents for row in rows} == {(each["id"],) for each in released}
        assert {row.closed_by for row in rows} == {"returned"}
        [still] = await node.database.read(lambda c: store.drafts(c, state="open", limit=10))
        assert still.seq == left


async def test_what_is_not_for_everybody_is_not_sent_to_everybody(desk: Office) -> None:
    desk.node.policy = FourEyes()
    async with await seat(desk, "desk") as clerk:
        draft = shipment(1) | {"recipient": "*"}
        answer = await clerk.post("/v1/documents", json=draft, headers={"Idempotency-Key": "k"})
        assert (problem(answer), parts(answer)) == (
            (422, "document-invalid"),
            [("document-format", "/recipient")],
        )
        tried = await clerk.post("/v1/documents?dry_run=true", json=draft)
        assert tried.json()["documents"][0]["verdict"] == "refused"


# --- dry runs --------------------------------------------------------------------------------------------------------


async def test_a_dry_run_says_what_would_come_of_it_and_does_nothing(either: Office) -> None:
    async with await seat(either, "desk", CLERK) as clerk:
        bad = shipment(2)
        del bad["data"]["exporter"]
        tried = await clerk.post(
            "/v1/documents?dry_run=true",
            json=[
                shipment(1),
                bad,
                shipment(3, "CA"),
                shipment(1),
                7,
            ],
        )
        assert tried.status_code == 200, tried.text
        found = tried.json()["documents"]
        assert [one["verdict"] for one in found] == ["accepted", "refused", "refused", "refused", "refused"]
        assert [one["release_needed"] for one in found] == [True, True, True, True, False]
        assert (found[0]["type"], found[0]["problems"]) == ("org.kimberley.export-notification.v1", [])
        assert "/data/exporter" in {p["pointer"] for p in found[1]["problems"]}
        assert "partner-unknown" in {p["code"] for p in found[2]["problems"]}
        assert "already-said" in {p["code"] for p in found[3]["problems"]}
        assert await documents_of(clerk) == []
        async with await seat(either, "reader", [Scope.READ_DOCUMENTS]) as reader:
            denied = await reader.post("/v1/documents?dry_run=true", json=shipment(1))
            assert problem(denied) == (403, "scope-missing")


async def test_a_dry_run_knows_what_has_been_said(either: Office) -> None:
    either.node.policy = FourEyes()
    await submit(either.node, shipment(1))
    async with await seat(either, "desk") as clerk:
        tried = await clerk.post("/v1/documents?dry_run=true", json=shipment(1))
        [found] = tried.json()["documents"]
        assert found["verdict"] == "refused"
        said = await clerk.post("/v1/documents", json=shipment(1), headers={"Idempotency-Key": "again"})
        assert said.status_code in (409, 422)
        assert len(await documents_of(clerk)) == 1


async def test_a_dry_run_speaks_the_callers_language(desk: Office) -> None:
    bad = shipment(1)
    bad["data"]["carats"] = "1.00"
    async with await seat(desk, "desk") as clerk:
        told = []
        for language in ("en", "fr"):
            tried = await clerk.post(
                "/v1/documents?dry_run=true", json=bad, headers={"Accept-Language": language}
            )
            assert tried.headers["content-language"] == language
            told.append(tried.json()["documents"][0]["problems"][0])
        assert told[0]["code"] == told[1]["code"]
        assert told[0]["detail"] != told[1]["detail"]


async def test_the_bare_name_asks_for_a_dry_run_too(desk: Office) -> None:
    async with await seat(desk, "desk") as clerk:
        tried = await clerk.post("/v1/documents?dry_run", json=shipment(1))
        assert tried.json()["documents"][0]["verdict"] == "accepted"
        assert await documents_of(clerk) == []


@pytest.mark.parametrize("value", ["yes", "", "1", "true&dry_run=false", "&dry_run"])
async def test_a_dry_run_is_asked_for_clearly(desk: Office, value: str) -> None:
    async with await seat(desk, "desk") as clerk:
        answer = await clerk.post(
            f"/v1/documents?dry_run={value}", json=shipment(1), headers={"Idempotency-Key": "k"}
        )
        assert problem(answer) == (422, "request-invalid")


async def test_a_warning_does_not_stop_a_document_and_is_shown_with_it(desk: Office) -> None:
    desk.node.policy = FourEyes()
    draft = shipment(1)
    draft["data"]["parcels"] += 1
    async with await seat(desk, "desk") as clerk:
        [tried] = (await clerk.post("/v1/documents?dry_run=true", json=draft)).json()["documents"]
        assert tried["verdict"] == "accepted", tried
        warned = {p["code"] for p in tried["problems"]}
        assert warned
        assert {p["severity"] for p in tried["problems"]} == {"warn"}
        said = await clerk.post("/v1/documents", json=draft, headers={"Idempotency-Key": "k"})
        assert said.status_code == 201, said.text
        assert {w["code"] for w in said.json()["warnings"]} == warned
        read = (await clerk.get(f"/v1/documents/{said.json()['id']}")).json()
        assert read["warnings"] == said.json()["warnings"]
        clean = await clerk.post("/v1/documents", json=shipment(2), headers={"Idempotency-Key": "k2"})
        assert "warnings" not in clean.json()


# --- a death in between ----------------------------------------------------------------------------------------------

RELEASING = """
import asyncio, sys
from pathlib import Path
from kpmsg.keys import SoftwareSigner
from kpmsg.keyrecord import open_record
from kpnode import drafting
from kpnode.author import Identity
from kpnode.drafting import Wanted
from kpnode.node import Node
from kpnode.store.database import Database
from kpnode.transports.memory import MemoryLink

async def main(url, folder):
    record = open_record(Path(folder, "record").read_bytes()).record
    keys = [SoftwareSigner.load(Path(folder, name), b"a passphrase") for name in ("document", "node")]
    database = Database(url)
    await database.start()
    node = Node(Identity("BW", [record], [keys[0]], keys[1]), database, connect=lambda row: MemoryLink("BW", None, None))
    node.practice  # nothing leaves: the relays are never started
    await drafting.release(
        node, [Wanted(1), Wanted(2)], officer="signing", person="K. Moeti", key="k", digest="d"
    )

asyncio.run(main(*sys.argv[1:]))
"""


async def _prepared(tmp_path: Path, url: str) -> None:
    """Two drafts in Botswana's database, and its keys where another process finds them."""
    async with office(("BW", url), ("AE", f"sqlite:///{tmp_path / 'AE.db'}")) as there:
        keys: Keys = there.play.sites["BW"].keys
        (tmp_path / "record").write_bytes(there.play.sites["BW"].record.raw)
        keys.document.save(tmp_path / "document", b"a passphrase")
        keys.node.save(tmp_path / "node", b"a passphrase")
        drafts, at = [shipment(n) for n in (1, 2)], there.node.stamp()
        await there.node.database.write(
            lambda c: store.save(c, drafts, author="desk", person="T. Kgosi", key="k", digest="d", at=at)
        )


@pytest.mark.parametrize(("point", "committed"), [("A3", False), ("A1", False), ("A2", True)])
def test_a_death_while_releasing_leaves_drafts_and_documents_agreeing(
    tmp_path: Path, point: str, committed: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'BW.db'}"
    asyncio.run(_prepared(tmp_path, url))
    dead = subprocess.run(
        [sys.executable, "-c", RELEASING, url, str(tmp_path)],
        env={**os.environ, "KPNODE_CRASH_AT": point},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()

    def books() -> tuple[list[str], list[tuple[str, str, str, str]]]:
        with sqlite3.connect(tmp_path / "BW.db") as connection:
            states = [row[0] for row in connection.execute("SELECT state FROM draft ORDER BY seq")]
            said = connection.execute(
                "SELECT d.documents, e.id, e.author, e.released_by FROM draft d JOIN document e ON e.id = d.documents"
            )
            return states, said.fetchall()

    states, said = books()
    assert states == (["released"] * 2 if committed else ["open"] * 2)
    assert len(said) == (2 if committed else 0)
    # The officer had no answer and does the same again: once in all.
    subprocess.run([sys.executable, "-c", RELEASING, url, str(tmp_path)], check=True, timeout=60)
    states, said = books()
    assert states == ["released"] * 2
    assert [row[2:] for row in said] == [("desk", "K. Moeti")] * 2
    with sqlite3.connect(tmp_path / "BW.db") as connection:
        assert connection.execute("SELECT count(*) FROM document").fetchone() == (2,)
