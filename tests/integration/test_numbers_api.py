"""Our own certificate numbers: every one that was printed is accounted for, and a mistyped one is told what is near.

On both databases, since the account is one walk through two of their indexes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, insert

from kpmsg.case import State
from kpmsg.policy import Policy, Practice
from kpnode.store import numbers, views
from kpnode.store import tables as t
from kpnode.store.callers import Scope
from kpnode.store.database import connect
from kpnode.throwaway import Postgres
from tests.api import Office, office
from tests.exchange import submit, trade

ALLOTTED = {
    "numbers": [
        {
            "letters": "BW",
            "digits": 6,
            "leading_zeros": "padding",
            "ranges": [{"first": 1, "last": 12}, {"first": 100, "last": 104}],
            "valid_from": "2020-01-01",
        }
    ]
}


@pytest.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    """An office on either database, with published numbers."""
    if request.param == "sqlite":
        pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        pair = [(a, server.create_database(f"num_{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")]
    async with office(*pair) as there:
        for node in (there.node, there.partner):
            node.practice.publish("BW", Policy.model_validate(ALLOTTED))
        yield there


@pytest.fixture
async def client(desk: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with await desk.client() as opened:
        yield opened


async def notify(desk: Office, n: int) -> str:
    """Notify the certificate with the number `n`."""
    return await submit(desk.node, trade().notification(n - 1))


async def cancel(desk: Office, n: int, document_id: str) -> None:
    data = {
        "certificate": {"number_raw": f"BW {n:06d}", "issuer": "BW", "kind": "kp"},
        "cancels": document_id,
        "reason": "void",
        "knows_confirmation": None,
    }
    await submit(desk.node, {"type": "cancellation", "recipient": "AE", "data": data})


async def report(client: httpx.AsyncClient, **query: str) -> Any:
    answer = await client.get("/v1/numbers/report", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(response: httpx.Response) -> list[tuple[str, str]]:
    assert response.status_code == 422, response.text
    return [(error["code"], error["pointer"]) for error in response.json()["errors"]]


async def test_every_number_that_was_printed_is_accounted_for(
    desk: Office, client: httpx.AsyncClient
) -> None:
    for n in (2, 3, 101, 50):
        await notify(desk, n)
    await cancel(desk, 7, await notify(desk, 7))
    recorded = [
        {"number": "BW 000005", "status": "void", "note": "Spoilt in the printer."},
        {"number": "bw-000006", "status": "issued"},
        {"number": "BW 000009", "status": "stolen"},
        {"number": "BW 000060", "status": "issued"},
    ]
    answer = await client.post("/v1/numbers", json=recorded)
    assert answer.status_code == 200, answer.text
    assert [(row["key"], row["by"]) for row in answer.json()["numbers"]][1] == ("BW000006", "customs")

    told = await report(client)
    [series] = told["series"]
    first, second = series["ranges"]
    assert first == {
        "first": "BW000001",
        "last": "BW000012",
        "allotted": 12,
        "used": 2,
        "voided": 2,
        "issued": 1,
        "lost": 1,
        "unused": 6,
    }
    assert (second["allotted"], second["used"], second["unused"]) == (5, 1, 4)
    assert [(gap["first"][2:], gap["count"]) for gap in series["gaps"]["ranges"]] == [
        ("000001", 1), ("000004", 1), ("000008", 1), ("000010", 3), ("000100", 1), ("000102", 3),
    ]  # fmt: skip
    assert series["outside"] == {"numbers": ["BW000050", "BW000060"], "more": 0}
    assert told["strange"] == {"numbers": [], "more": 0}
    assert (await report(client, series="BW/6"))["series"] == told["series"]


async def test_the_last_word_on_a_number_counts_and_is_told_in_the_feed(
    desk: Office, client: httpx.AsyncClient
) -> None:
    for status in ("lost", "void"):
        answer = await client.post("/v1/numbers", json=[{"number": "BW 000011", "status": status}])
        assert answer.json()["numbers"][0]["status"] == status
    [series] = (await report(client))["series"]
    assert (series["ranges"][0]["voided"], series["ranges"][0]["lost"]) == (1, 0)
    events = (await client.get("/v1/events")).json()["events"]
    assert [e["certificate"] for e in events if e["kind"] == "number-recorded"] == ["BW000011"] * 2
    assert desk.node.practice.key("BW 11") == "BW000011"  # zeros are padding here, so it is the same number
    await client.post("/v1/numbers", json=[{"number": "BW 11", "status": "stolen"}])
    [series] = (await report(client))["series"]
    assert (series["ranges"][0]["voided"], series["ranges"][0]["lost"]) == (0, 1)


async def test_who_was_told_of_a_number_is_told_that_it_is_void(
    desk: Office, client: httpx.AsyncClient
) -> None:
    document_id = await notify(desk, 2)
    facts = [{"number": "BW 000001", "status": "void"}, {"number": "BW 000002", "status": "void"}]
    refused = await client.post("/v1/numbers", json=facts)
    assert problem(refused) == [("number-notified", "/1/status")]
    [series] = (await report(client))["series"]
    assert series["ranges"][0]["voided"] == 0  # all of them or none
    await cancel(desk, 2, document_id)
    assert (await client.post("/v1/numbers", json=facts)).status_code == 200


async def test_what_was_notified_and_is_recorded_as_stolen_stands_out(
    desk: Office, client: httpx.AsyncClient
) -> None:
    await notify(desk, 3)
    await client.post("/v1/numbers", json=[{"number": "BW 000003", "status": "stolen"}])
    [series] = (await report(client))["series"]
    assert series["contradicted"]["numbers"] == ["BW000003"]
    assert series["ranges"][0]["used"] == 1


async def test_what_is_no_fact_about_our_numbers_is_refused(client: httpx.AsyncClient) -> None:
    bodies: list[tuple[Any, list[tuple[str, str]]]] = [
        ([{"number": "AE 000001", "status": "void"}], [("number-foreign", "/0/number")]),
        ([{"number": "BW 000001", "status": "burnt"}], [("number-invalid", "/0/status")]),
        ([{"number": "BW 000001", "status": "void", "who": "me"}], [("number-invalid", "/0/who")]),
        ([{"number": 1, "status": "void"}], [("number-invalid", "/0/number")]),
        ([], [("number-invalid", "")]),
        ({"number": "BW 000001", "status": "void"}, [("number-invalid", "")]),
    ]
    for body, errors in bodies:
        assert problem(await client.post("/v1/numbers", json=body)) == errors, body


async def test_recording_needs_a_scope_of_its_own(desk: Office) -> None:
    scopes = [scope for scope in Scope if scope is not Scope.WRITE_NUMBERS]
    async with await desk.client(scopes, name="reader") as client:
        answer = await client.post("/v1/numbers", json=[{"number": "BW 000001", "status": "void"}])
        assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")
        assert (await client.get("/v1/numbers/report")).status_code == 200


async def test_a_series_that_was_not_published_has_no_account(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/numbers/report", params={"series": "BW/5"})).status_code == 404
    assert (await client.get("/v1/numbers/report", params={"series": "'; --"})).status_code == 422


# --- near matches -----------------------------------------------------------------------------------------------------


async def test_a_number_that_is_not_here_is_answered_with_those_that_may_have_been_meant(
    desk: Office, client: httpx.AsyncClient
) -> None:
    for n in (12, 100):
        await notify(desk, n)
    for typed in ("BW 00001Z", "BW-000021", "000012"):
        answer = await client.get(f"/v1/certificates/{typed}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
        [near] = answer.json()["near"]
        assert near == {"key": "BW000012", "number": "BW 000012", "state": "notified", "partner": "AE"}, typed
    assert (await client.get("/v1/certificates/AE 999")).json()["near"] == []
    assert (
        await client.get("/v1/certificates/BW 12")
    ).status_code == 200  # the same number, as its issuer says
    for strange in ("%00", "x" * 300, "🦊", "'"):
        assert (await client.get(f"/v1/certificates/{strange}")).status_code == 404, strange


async def test_numbers_are_looked_up_by_how_they_begin(desk: Office, client: httpx.AsyncClient) -> None:
    for n in (9, 10, 11, 12, 20):
        await notify(desk, n)
    found: list[str] = []
    query = {"starts_with": "bw 00001", "limit": "2"}
    while True:
        page = (await client.get("/v1/certificates", params=query)).json()
        found += [row["key"] for row in page["certificates"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == ["BW000010", "BW000011", "BW000012"]
    both = await client.get("/v1/certificates", params={"starts_with": "BW", "state": "notified"})
    assert both.status_code == 422
    assert (await client.get("/v1/certificates", params={"starts_with": "%"})).status_code == 422


# --- the walk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def connection(database_url: str) -> Any:
    engine = connect(database_url, writer=True)
    t.metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def fill(connection: Connection, certificates: dict[str, str], recorded: dict[str, str]) -> None:
    common = {
        "number": "",
        "issuer": "BW",
        "partner": "AE",
        "case": "{}",
        "first_at": "2026",
        "changed_at": "2026",
    }
    if certificates:
        rows = [common | {"key": key, "state": state} for key, state in certificates.items()]
        connection.execute(insert(t.certificate), rows)
    if recorded:
        facts = [{"key": k, "number": k, "status": s, "at": "2026", "by": "x"} for k, s in recorded.items()]
        connection.execute(insert(t.number), facts)


def practice(*series: dict[str, Any]) -> Practice:
    made = Practice("BW")
    published = [{"letters": "BW", "valid_from": "2020-01-01", **each} for each in series]
    made.publish("BW", Policy.model_validate({"numbers": published}))
    return made


def test_nothing_is_lost_where_two_pages_meet(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number twice, once in each table: whatever the page's end cuts through, both halves count as one."""
    everything = {f"BW{n:03d}": "notified" for n in range(1, 90) if n % 10}
    fill(connection, everything, dict.fromkeys(everything, "issued"))
    made = practice({"digits": 3, "ranges": [{"first": 1, "last": 99}]})
    whole, _ = numbers.report(connection, made)
    for page in (3, 4, 7, 16):
        monkeypatch.setattr(numbers, "PAGE", page)
        monkeypatch.setattr(numbers, "_PAGE", numbers._HERE.order_by("key").limit(page))
        cut, _ = numbers.report(connection, made)
        assert cut == whole, page
    [account] = whole
    [tally] = account.ranges
    assert (tally.used, tally.issued, tally.unused) == (81, 0, 18)
    assert [gap[2] for gap in account.gaps] == [1] * 8 + [10]


def test_states_are_told_apart(connection: Connection) -> None:
    states = {
        "BW01": "used-twice", "BW02": "notified-twice", "BW03": "lost-or-stolen", "BW04": "replaced",
        "BW05": "suspected-counterfeit", "BW06": "confirmed-unannounced", "BW07": "rejected", "BW08": "confirmed",
        "BW00": "confirmed", "BW1": "confirmed", "BWX9": "confirmed", "ZA07": "confirmed",
    }  # fmt: skip
    fill(connection, states, {"BW08": "void", "BW09": "lost", "BW10": "void"})
    [account], strange = numbers.report(
        connection, practice({"digits": 2, "ranges": [{"first": 1, "last": 10}]})
    )
    [tally] = account.ranges
    assert (tally.used, tally.voided, tally.issued, tally.lost, tally.unused) == (3, 3, 1, 1, 2)
    assert account.used_twice.keys == ["BW01", "BW02"]
    assert account.unannounced.keys == ["BW05", "BW06"]
    assert account.contradicted.keys == ["BW08"]
    assert account.outside.keys == ["BW00"]
    assert [gap[:2] for gap in account.gaps] == [("BW05", "BW06")]
    assert sorted(strange.keys) == ["BW1", "BWX9"]


def test_numbers_of_any_length_are_one_account_for_each_length(connection: Connection) -> None:
    fill(connection, {"BW8": "confirmed", "BW12": "confirmed", "BW012": "confirmed"}, {})
    accounts, strange = numbers.report(connection, practice({"ranges": [{"first": 8, "last": 12}]}))
    assert [(a.series, [(r.first, r.last, r.used) for r in a.ranges]) for a in accounts] == [
        ("BW/1", [(8, 9, 1)]),
        ("BW/2", [(10, 12, 1)]),
    ]
    assert strange.keys == ["BW012"]  # not the same number, unless its issuer says so


def test_long_lists_end_and_say_how_many_there_are_beside(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "MOST_LISTED", 3)
    fill(connection, {f"BW{n:03d}": "confirmed" for n in range(0, 20, 2)}, {})
    [account], _ = numbers.report(
        connection, practice({"digits": 3, "ranges": [{"first": 1, "last": 9}, {"first": 500, "last": 999}]})
    )
    assert (len(account.gaps), account.more_gaps) == (3, 3)
    assert (account.outside.keys, account.outside.more) == (["BW000", "BW010", "BW012"], 3)
    assert [tally.unused for tally in account.ranges] == [5, 500]


def test_ranges_that_overlap_are_counted_once(connection: Connection) -> None:
    fill(connection, {"BW05": "confirmed"}, {})
    one = {"digits": 2, "ranges": [{"first": 1, "last": 6}], "valid_until": "2024-12-31"}
    other = {"digits": 2, "ranges": [{"first": 4, "last": 9}], "valid_from": "2025-01-01"}
    [account], _ = numbers.report(connection, practice(one, other))
    assert [(r.first, r.last, r.used, r.unused) for r in account.ranges] == [(1, 9, 1, 8)]


def test_every_state_has_its_place_in_the_account() -> None:
    """Whoever adds a state decides here whether its number counts as used."""
    used = set(State) - numbers.VOIDED - numbers.UNANNOUNCED - {State.REJECTED}
    assert used == {
        State.NOTIFIED,
        State.ARRIVED,
        State.CONFIRMED,
        State.CONFIRMED_WITH_DISCREPANCY,
        State.CONFIRMED_AFTER_REMEDY,
        State.PARTLY_CONFIRMED,
        State.DETAINED,
        State.RETURNED,
        State.SEIZED,
        State.NOT_RECEIVED,
        State.NOTIFIED_TWICE,
        State.AMENDED_TWICE,
        State.CONFIRMED_TWICE,
        State.USED_TWICE,
        State.CROSSED_AMENDMENT,
    }


# --- what is said of a number beside ------------------------------------------------------------------------------------


async def tried(client: httpx.AsyncClient, draft: Any) -> list[tuple[str, str, str]]:
    """What is said of its number; that the sample's dates have gone by is another matter."""
    answer = await client.post("/v1/documents?dry_run", json=draft)
    [found] = answer.json()["documents"]
    said = [(one["code"], one["severity"], one["pointer"]) for one in found["problems"]]
    return [one for one in said if one[0] in {"C03", "C08"}]


@pytest.mark.parametrize("status", ["void", "lost", "stolen"])
async def test_a_number_that_is_recorded_as_gone_is_not_notified(
    desk: Office, client: httpx.AsyncClient, status: str
) -> None:
    draft = trade().notification(4)

    async def record(now: str) -> None:
        answer = await client.post("/v1/numbers", json=[{"number": "BW-000005", "status": now}])
        assert answer.status_code == 200, answer.text

    await record(status)
    refused = ("C03", "reject", "/data/certificate/number_raw")
    assert await tried(client, draft) == [refused]
    answer = await client.post("/v1/documents", json=draft, headers={"Idempotency-Key": "k"})
    assert (refused[0], refused[2]) in problem(answer)
    assert await tried(client, trade().notification(5)) == []
    async with await desk.client((Scope.WRITE_NUMBERS, Scope.RELEASE_DOCUMENTS), "officer") as officer:
        after_all = [{"number": "BW-000005", "status": "issued"}]
        assert (await officer.post("/v1/numbers", json=after_all)).status_code == 200
    assert await tried(client, draft) == []
    sent = await notify(desk, 5)
    await record(status) if status != "void" else None
    # What is said of it afterwards is not refused for that.
    data = draft["data"] | {"issuing_authority": "Diamond Hub"}
    amendment = {
        "certificate": data["certificate"],
        "amends": sent,
        "content": data,
        "changed": ["/issuing_authority"],
        "reason": "clerical_error",
        "knows_confirmation": None,
    }
    said = await tried(client, {"type": "export-amendment", "recipient": "AE", "data": amendment})
    assert [code for code, *_ in said] == []


async def test_a_replaced_certificate_is_one_that_is_known(desk: Office, client: httpx.AsyncClient) -> None:
    draft = trade().notification(4)
    draft["data"]["replaces"] = "BW 000003"
    assert await tried(client, draft) == [("C08", "warn", "/data/replaces")]
    sent = await submit(desk.node, draft)
    assert await desk.node.received([sent], 10)
    for node in (desk.node, desk.partner):
        row = await node.database.read(lambda c: views.document(c, sent))
        assert row is not None
        assert ("C08", "/data/replaces") in [
            (one["code"], one["pointer"]) for one in json.loads(row.remarks or "[]")
        ]
    await client.post("/v1/numbers", json=[{"number": "BW 000003", "status": "void"}])
    await notify(desk, 2)
    for known in ("bw-3", "BW 000002"):
        other = trade().notification(5)
        other["data"]["replaces"] = known
        assert await tried(client, other) == []


async def test_a_stolen_number_is_issued_after_all_on_two_peoples_word_only(
    desk: Office, client: httpx.AsyncClient
) -> None:
    first = [{"number": "BW 000011", "status": "stolen", "note": "From the van."}]
    assert (await client.post("/v1/numbers", json=first)).status_code == 200
    after_all = [{"number": "BW 000011", "status": "issued"}]
    writing, releasing = Scope.WRITE_NUMBERS, Scope.RELEASE_DOCUMENTS
    for name, scopes in (
        ("clerk", (writing,)),
        ("customs", (writing, releasing)),
    ):  # that one has recorded it
        async with await desk.client(scopes, name) as alone:
            refused = await alone.post("/v1/numbers", json=after_all)
            assert problem(refused) == [("number-taken-back", "/0/status")]
    async with await desk.client((writing, releasing), "officer") as officer:
        assert (await officer.post("/v1/numbers", json=after_all)).status_code == 200
    [kept] = (await client.get("/v1/incidents")).json()["incidents"]
    assert (kept["kind"], kept["certificate"]) == ("number-changed", "BW000011")
    assert "recorded as stolen by customs" in kept["text"]
    assert "(From the van.); officer has recorded it as issued now." in kept["text"]
    assert (await client.post("/v1/numbers", json=first)).status_code == 200  # a warning takes nobody else


async def test_repeating_that_a_number_is_stolen_takes_it_from_nobody(
    desk: Office, client: httpx.AsyncClient
) -> None:
    """Software may repeat what is recorded every night: whoever has said so first may not take it back alone all the same."""
    stolen = [{"number": "BW 000011", "status": "stolen", "note": "From the van."}]
    both = (Scope.WRITE_NUMBERS, Scope.RELEASE_DOCUMENTS)
    async with await desk.client(both, "anna") as anna:
        [first] = (await anna.post("/v1/numbers", json=stolen)).json()["numbers"]
        bare = [{"number": "BW-000011", "status": "stolen"}]
        [again] = (await client.post("/v1/numbers", json=bare)).json()["numbers"]
        assert (again["by"], again["at"], again["note"]) == ("anna", first["at"], "From the van.")
        after_all = [{"number": "BW 000011", "status": "issued"}]
        assert problem(await anna.post("/v1/numbers", json=after_all)) == [("number-taken-back", "/0/status")]
        assert (await client.get("/v1/incidents")).json()["incidents"] == []


async def test_filters_read_a_number_as_its_issuer_does(desk: Office, client: httpx.AsyncClient) -> None:
    sent = await notify(desk, 4)
    for written in ("BW 000004", "bw4", "BW4"):
        listed = await client.get("/v1/documents", params={"certificate": written})
        assert [each["id"] for each in listed.json()["documents"]] == [sent]
        found = await client.get("/v1/certificates", params={"starts_with": written})
        assert len(found.json()["certificates"]) == 1
