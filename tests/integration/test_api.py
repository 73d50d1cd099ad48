"""The API from outside: an officer's system submits, reads, follows; an operator looks after the queue.

Two whole nodes behind it, on both databases where the store is in question.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from kpmsg import documents, frames, jws
from kpnode.api import build_app
from kpnode.api.health import Ready
from kpnode.sample import confirmation
from kpnode.store.callers import Scope
from kpnode.store.database import StoreFullError, StoreUnavailableError
from kpnode.throwaway import Postgres
from kpnode.transports import Outcome
from kpnode.transports.memory import FAIR, refused
from tests.api import Office, office
from tests.exchange import trade, until


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    """An office on either database."""
    if request.param == "sqlite":
        pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        pair = [(a, server.create_database(f"api_{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")]
    async with office(*pair) as there:
        yield there


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    """An office on SQLite, where the database is not in question."""
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as there:
        yield there


@pytest.fixture
async def client(desk: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with await desk.client() as opened:
        yield opened


async def post(client: httpx.AsyncClient, drafts: Any, key: str, **headers: str) -> httpx.Response:
    return await client.post("/v1/documents", json=drafts, headers={"Idempotency-Key": key, **headers})


def codes(response: httpx.Response) -> list[tuple[str, str]]:
    """The parts of a problem: code and pointer of each."""
    assert response.headers["content-type"] == "application/problem+json"
    return [(error["code"], error.get("pointer", "")) for error in response.json()["errors"]]


async def read_until(client: httpx.AsyncClient, path: str, right: Callable[[Any], Any]) -> Any:
    """Read until it is as it is going to be."""
    shown: Any = None
    for _ in range(400):
        shown = (await client.get(path)).json()
        if right(shown):
            return shown
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} did not come to it: {shown}")


def places(response: httpx.Response) -> list[str]:
    """The pointers of a problem."""
    return [pointer for _, pointer in codes(response)]


def problem(response: httpx.Response) -> str:
    """The code of a problem, whose members agree with the response."""
    said = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert said["status"] == response.status_code
    assert said["type"] == f"urn:kp:problem:{said['code']}"
    return str(said["code"])


# --- submit ----------------------------------------------------------------------------------------------------------


async def test_one_shipment_from_the_first_word_to_the_last(either: Office) -> None:
    async with await either.client() as client:
        draft = trade().notification(1)
        answer = await post(client, draft, "shipment-1", Prefer="wait=20")
        assert answer.status_code == 201
        assert answer.headers["preference-applied"] == "wait=20"
        shown = answer.json()
        assert shown["delivery"]["state"] == "received"
        assert shown["document"]["data"] == draft["data"]
        assert answer.headers["location"] == f"/v1/documents/{shown['id']}"

        read = (await client.get(answer.headers["location"])).json()
        assert read.pop("delivery").pop("received_at")
        del shown["delivery"]
        assert read == shown

        signed = await client.get(f"/v1/documents/{shown['id']}/signed")
        payload = jws.peek(signed.content).unverified_payload
        assert hashlib.sha256(payload).hexdigest() == shown["id"]
        receipt = await client.get(f"/v1/documents/{shown['id']}/receipt")
        assert shown["id"] in frames.Receipt.read(jws.peek(receipt.content).unverified_payload).ids

        said = documents.parse(payload)
        back = confirmation(said, shown["id"])
        await either.partner.submit([back], caller="test", key=None, digest="-")
        number = draft["data"]["certificate"]["number_raw"]
        path = f"/v1/certificates/{number.lower().replace(' ', '-/')}"
        case = await read_until(client, path, lambda shown: shown["state"] == "confirmed")
        assert (case["state"], case["turn"], case["number"]) == ("confirmed", "nobody", number)
        assert [d["direction"] for d in case["documents"]] == ["out", "in"]
        theirs = case["documents"][1]
        ours = await client.get(theirs["links"]["receipt"])
        assert theirs["id"] in frames.Receipt.read(jws.peek(ours.content).unverified_payload).ids
        listed = (await client.get("/v1/certificates", params={"state": "confirmed"})).json()["certificates"]
        assert [c["key"] for c in listed] == [case["key"]]


async def test_the_same_request_again_is_the_same_document(either: Office) -> None:
    async with await either.client() as client:
        draft = trade().notification(1)
        answers = await asyncio.gather(*(post(client, draft, "one") for _ in range(8)))
        assert sorted(a.status_code for a in answers) == [200] * 7 + [201]
        assert len({a.json()["id"] for a in answers}) == 1
        assert {a.headers.get("idempotency-replayed") for a in answers if a.status_code == 200} == {"true"}
        again = await post(client, draft, "one", Prefer="wait=20")
        assert again.json()["delivery"]["state"] == "received"
        other = await post(client, trade().notification(2), "one")
        assert (other.status_code, problem(other)) == (409, "idempotency-key-reused")
        said = await post(client, draft, "two")
        assert (said.status_code, problem(said)) == (409, "already-said")
        assert said.json()["document"] == answers[0].json()["id"]


async def test_several_are_taken_together_or_not_at_all(either: Office) -> None:
    async with await either.client() as client:
        shipments = [trade().notification(n) for n in range(1, 21)]
        answer = await post(client, shipments, "bulk", Prefer="wait=20, return=minimal")
        assert answer.status_code == 201
        shown = answer.json()["documents"]
        assert [d["delivery"]["state"] for d in shown] == ["received"] * 20
        assert all("document" not in d for d in shown)
        twice = await post(client, [trade().notification(30), trade().notification(30)], "twice")
        assert codes(twice) == [("already-said", "/1")]
        claimed = await post(client, [trade().notification(30), shipments[4]], "claimed")
        assert codes(claimed) == [("already-said", "/1")]
        wrong = trade().notification(31)
        wrong["data"]["parcels"] = 0
        assert "/0/data/parcels" in places(await post(client, [wrong], "wrong"))
        both = await post(client, [trade().notification(32), wrong], "wrong")
        assert codes(both)[0] == ("F02", "/1/data/parcels")
        assert both.json()["detail"].startswith("A shipment has at least one parcel")
        count = 0
        query: dict[str, str] = {"limit": "7", "direction": "out"}
        while "cursor" in query or count == 0:
            page = (await client.get("/v1/documents", params=query)).json()
            assert [d["id"] for d in page["documents"]] == [
                d["id"] for d in reversed(shown[max(0, 20 - count - 7) : 20 - count])
            ]
            count += len(page["documents"])
            query.pop("cursor", None)
            if page["next"] is not None:
                query["cursor"] = page["next"]
        assert count == 20


async def test_without_the_partner_the_answer_says_so(desk: Office, client: httpx.AsyncClient) -> None:
    desk.play.sites["BW"].plan = lambda _n, _frame: refused(Outcome.FULL)
    answer = await post(client, trade().notification(1), "a", Prefer="wait=1")
    assert answer.status_code == 201
    assert answer.json()["delivery"]["state"] in {"queued", "handed-over"}
    desk.node.retry("AE")
    document = await read_until(
        client, answer.headers["location"], lambda shown: shown["delivery"].get("problem")
    )
    shown = document["delivery"]
    assert shown["who_must_act"] == "partner"
    assert "limit" in shown["sentence"]
    queue = (await client.get("/v1/partners/AE/queue")).json()
    assert (queue["waiting"], queue["state"], queue["who_must_act"]) == (1, "troubled", "partner")
    assert queue["problem"]["class"] == "full"
    assert queue["problem"]["fault"] == "partner"
    assert queue["oldest"]["id"] == answer.json()["id"]
    waiting = (await client.get("/v1/documents", params={"delivery": "waiting"})).json()["documents"]
    assert [d["id"] for d in waiting] == [answer.json()["id"]]
    missing = await client.get(answer.json()["links"]["receipt"])
    assert (missing.status_code, problem(missing)) == (404, "not-found")
    desk.play.sites["BW"].plan = lambda _n, _frame: FAIR
    retried = await client.post("/v1/partners/AE/queue/retry")
    assert retried.status_code == 200
    await until(lambda: len(desk.node.peers["AE"].schedule) == 0)
    assert (await client.get("/v1/queues")).json()["queues"][0]["waiting"] == 0


async def test_a_clerk_is_told_where_and_why(client: httpx.AsyncClient) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"carats": 12.5}, "/data/carats"),
        ({"carats": "12.5"}, "/data/carats"),
        ({"carats": "0.00"}, "/data/carats"),
        ({"value_usd": "1e9"}, "/data/value_usd"),
        ({"date_of_expiry": "2026-02-30"}, "/data/date_of_expiry"),
        ({"colour": "blue"}, "/data/colour"),
        ({"parcels": None}, "/data/parcels"),
    ]
    for change, pointer in changes:
        draft = trade().notification(1)
        draft["data"] |= change
        answer = await post(client, draft, "a")
        assert (answer.status_code, problem(answer)) == (422, "document-invalid"), change
        assert pointer in places(answer), change
        assert all(len(error["detail"]) > 20 for error in answer.json()["errors"])


async def test_what_is_no_submission_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "a", "Content-Type": "application/json"}
    for body, status, code in (
        (b"", 400, "json-syntax"),
        (b"{", 400, "json-syntax"),
        (b"{}{}", 400, "json-syntax"),
        (b'{"type":"a","type":"b"}', 400, "json-duplicate-key"),
        (b"\xff\xfe", 400, "json-encoding"),
        (b"NaN", 422, "document-type"),
        (b'{"type":NaN}', 422, "document-type"),
        (b'{"type":' + b"9" * 5000 + b"}", 400, "json-number"),
        (b"[" * 5000 + b"]" * 5000, 400, "json-depth"),
        (b'"x"', 422, "document-type"),
        (b"[]", 422, "document-type"),
        (b"[1]", 422, "document-type"),
        (b"[" + b",".join([b"{}"] * 501) + b"]", 422, "document-type"),
    ):
        answer = await client.post("/v1/documents", content=body, headers=headers)
        assert (answer.status_code, codes(answer)[0][0]) == (status, code), body[:40]


async def test_a_recipient_must_be_a_partner(client: httpx.AsyncClient) -> None:
    elsewhere = trade().notification(3) | {"recipient": "ZA"}
    elsewhere["data"]["destination"]["participant"] = "ZA"
    elsewhere["data"]["destination"].pop("authority", None)
    answer = await post(client, elsewhere, "a")
    assert (answer.status_code, codes(answer)) == (422, [("partner-unknown", "/recipient")])


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (StoreUnavailableError("words of the driver"), 503, "store-unavailable"),
        (StoreFullError("words of the driver"), 507, "store-full"),
        (RuntimeError("words of the driver"), 500, "internal"),
    ],
)
async def test_failures_of_ours_have_codes_and_no_traces(
    desk: Office,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    status: int,
    code: str,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(desk.node, "submit", fail)
    answer = await post(client, trade().notification(1), "a")
    assert (answer.status_code, problem(answer)) == (status, code)
    assert (status == 503) == ("retry-after" in answer.headers)
    assert str(failure) not in answer.text


# --- read ------------------------------------------------------------------------------------------------------------


async def test_what_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    shown = (await post(client, trade().notification(1), "a", Prefer="wait=20")).json()
    for path in (
        f"/v1/documents/{shown['id']}",
        f"/v1/documents/{shown['id']}/signed",
        f"/v1/documents/{shown['id']}/receipt",
        f"/v1/certificates/{shown['certificate']}",
        "/v1/partners/AE",
        "/openapi.json",
    ):
        first = await client.get(path)
        assert first.status_code == 200, path
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
    assert "immutable" in (await client.get(f"/v1/documents/{shown['id']}/signed")).headers["cache-control"]


async def test_documents_are_filtered(client: httpx.AsyncClient) -> None:
    for n in (1, 2):
        await post(client, trade().notification(n), f"k{n}", Prefer="wait=20")
    number = trade().notification(2)["data"]["certificate"]["number_raw"]
    for query, expected in (
        ({"certificate": number}, 1),
        ({"partner": "AE", "direction": "out"}, 2),
        ({"direction": "in"}, 0),
        ({"type": "export-notification", "delivery": "received"}, 2),
        ({"type": "org.kimberley.export-notification.v1"}, 2),
        ({"type": "rejection"}, 0),
        ({"delivery": "withheld"}, 0),
        ({"partner": "' OR 1=1 --"}, 0),
    ):
        found = (await client.get("/v1/documents", params=query)).json()
        assert len(found["documents"]) == expected, query


async def test_nothing_is_where_nothing_is(client: httpx.AsyncClient) -> None:
    for path in (
        "/v1/documents/" + "0" * 64,
        "/v1/documents/x/signed",
        "/v1/certificates/BW 999999",
        "/v1/certificates/" + "9" * 500,
        "/v1/partners/ZA",
        "/v1/partners/EU/antwerp/queue",
        "/v1/partners/EU%2Fantwerp/queue",
        "/v1/incidents/9/statement",
        "/v1/incidents/x/statement",
        "/v2/documents",
        "/v1/documents/",
        "/docs/../../../etc/passwd",
    ):
        answer = await client.get(path)
        assert (answer.status_code, problem(answer)) == (404, "not-found"), path
    wrong = await client.delete("/v1/documents")
    assert (wrong.status_code, problem(wrong), wrong.headers["allow"]) == (
        405,
        "method-not-allowed",
        "GET, POST",
    )


# --- operate ---------------------------------------------------------------------------------------------------------


async def test_an_operator_pauses_and_resumes_on_what_it_has_seen(
    desk: Office, client: httpx.AsyncClient
) -> None:
    seen = await client.get("/v1/partners/AE")
    match = {"If-Match": seen.headers["etag"]}
    paused = await client.post(
        "/v1/partners/AE/queue/pause", json={"reason": "Their broker moves."}, headers=match
    )
    assert paused.json()["state"] == "paused"
    assert paused.json()["paused"]["reason"] == "Their broker moves."
    stale = await client.post("/v1/partners/AE/queue/resume", headers=match)
    assert (stale.status_code, problem(stale)) == (412, "precondition-failed")
    answer = await post(client, trade().notification(1), "a", Prefer="wait=1")
    assert answer.json()["delivery"]["sentence"].startswith("An operator has paused")
    now = await client.get("/v1/partners/AE")
    resumed = await client.post("/v1/partners/AE/queue/resume", headers={"If-Match": now.headers["etag"]})
    assert resumed.json()["paused"] is None
    await until(lambda: len(desk.node.peers["AE"].schedule) == 0)
    for body in ({}, {"reason": " "}, {"reason": 1}, {"reason": "x", "why": "y"}, ["x"]):
        answer = await client.post("/v1/partners/AE/queue/pause", json=body)
        assert codes(answer) == [("reason-invalid", "/reason")]


async def test_an_override_is_an_incident_and_an_incident_is_closed_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/partners/AE/queue/override", json={"reason": "Telephone."})
    assert answer.json()["overridden"] == "Telephone."
    [incident] = (await client.get("/v1/incidents")).json()["incidents"]
    assert (incident["kind"], incident["closed"]) == ("override", None)
    closed = await client.post(f"/v1/incidents/{incident['id']}/close", json={"reason": "As agreed."})
    assert closed.json()["closed"]["by"] == "customs"
    assert (await client.get("/v1/incidents")).json()["incidents"] == []
    assert len((await client.get("/v1/incidents?state=closed")).json()["incidents"]) == 1
    again = await client.post(f"/v1/incidents/{incident['id']}/close", json={"reason": "As agreed."})
    assert (again.status_code, problem(again)) == (409, "incident-closed")
    kinds = [e["kind"] for e in (await client.get("/v1/events")).json()["events"]]
    assert kinds[-2:] == ["incident", "incident-closed"]


# --- follow ----------------------------------------------------------------------------------------------------------


async def test_events_are_polled_from_a_place_on(client: httpx.AsyncClient) -> None:
    shown = (await post(client, trade().notification(1), "a", Prefer="wait=20")).json()
    first = (await client.get("/v1/events", params={"limit": 1})).json()
    assert [(e["kind"], e["document"]) for e in first["events"]] == [("submitted", shown["id"])]
    rest = (await client.get("/v1/events", params={"after": first["next"]})).json()
    assert [(e["kind"], e["document"]) for e in rest["events"]] == [("received", shown["id"])]
    nothing = (await client.get("/v1/events", params={"after": rest["next"]})).json()
    assert nothing == {"events": [], "next": rest["next"]}


async def test_events_stream_resume_and_end_with_the_server(either: Office) -> None:
    async with await either.client() as client:
        await post(client, trade().notification(1), "a", Prefer="wait=20")
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
        following = asyncio.create_task(client.get("/v1/events", headers=headers))
        await until(lambda: either.app.state.streams.open == 1)
        await asyncio.sleep(0.3)
        await post(client, trade().notification(2), "b", Prefer="wait=20")
        await asyncio.sleep(0.5)
        either.app.state.streams.end()
        stream = await asyncio.wait_for(following, 5)
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = [block.split("\n") for block in stream.text.split("\n\n") if block.startswith("id: ")]
        assert [lines[0] for lines in told] == ["id: 2", "id: 3", "id: 4"]
        assert [json.loads(lines[2].removeprefix("data: "))["kind"] for lines in told] == [
            "received",
            "submitted",
            "received",
        ]
        assert either.app.state.streams.open == 0
        over = await client.get("/v1/events", headers=headers)
        assert (over.status_code, problem(over)) == (503, "streams-exhausted")


# --- watch -----------------------------------------------------------------------------------------------------------


async def test_ready_is_what_it_says(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = {"inbox": False}
    ready: Ready = lambda: connected  # noqa: E731
    app = build_app(desk.node, ready=ready)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node.test") as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]) == (503, {"database": True, "inbox": False})
        connected["inbox"] = True
        assert (await client.get("/readyz")).status_code == 200

        async def fail(*_: object) -> None:
            raise StoreUnavailableError("gone")

        monkeypatch.setattr(desk.node.database, "write", fail)
        monkeypatch.setattr("kpnode.api.health.REMEMBER_SECONDS", 0.0)
        assert (await client.get("/readyz")).json()["checks"]["database"] is False
        assert (await client.get("/healthz")).status_code == 200


async def test_metrics_name_partners_to_those_who_may_know(desk: Office, client: httpx.AsyncClient) -> None:
    await post(client, trade().notification(1), "a", Prefer="wait=20")
    told = (await client.get("/metrics")).text
    assert 'kpnode_documents_total{event="received"} 1.0' in told
    assert 'kpnode_register_known{partner="AE"} 1.0' in told
    assert 'kpnode_http_requests_total{operation="submitDocuments",status="201"} 1.0' in told
    async with await desk.client([Scope.READ_PARTNERS]) as other:
        assert (await other.get("/metrics")).status_code == 403


async def test_two_applications_live_beside_each_other(desk: Office) -> None:
    other = build_app(desk.partner)
    key = await desk.key(Scope.READ_PARTNERS)
    for app, status, address in ((desk.app, 200, "AE"), (other, 401, None)):
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node.test", headers=headers
        ) as client:
            answer = await client.get("/v1/partners")
            assert answer.status_code == status
            if address is not None:
                assert [p["address"] for p in answer.json()["partners"]] == [address]


async def test_the_pages_need_no_internet(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert f"docs/{name}" in page.text
        assert (await client.get(f"/docs/{name}")).status_code == 200
    assert 'url: "openapi.json"' in (await client.get("/docs/start.js")).text


def test_the_viewer_is_the_one_its_makers_publish() -> None:
    folder = files("kpnode.api").joinpath("viewer")
    for line in folder.joinpath("SHA256SUMS").read_text("ascii").splitlines():
        digest, name = line.split()
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest


async def test_a_feed_that_is_shorter_than_its_reader_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/events?after=1000000")
    assert (answer.status_code, answer.json()["code"]) == (409, "feed-shorter")
    onward = await client.get(f"/v1/events?after={answer.json()['last']}")
    assert onward.json()["events"] == []


async def test_wrong_parameters_and_a_key_without_bearer_are_told_in_our_words(
    client: httpx.AsyncClient,
) -> None:
    async def detail(**query: str) -> str:
        answer = await client.get("/v1/documents", params=query)
        assert answer.status_code == 422
        return str(answer.json()["detail"])

    assert await detail(limt="1") == "Unknown query parameter: limt."
    assert await detail(limit="9999") == "limit: must not be more than 200"
    assert await detail(limit="many") == "limit: must be a whole number"
    bare = client.headers["authorization"].removeprefix("Bearer ")
    answer = await client.get("/v1/documents", headers={"authorization": bare})
    assert (answer.status_code, answer.json()["code"]) == (401, "key-missing")
