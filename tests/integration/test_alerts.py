"""Alerts: what an issuer warns of is known here from then on, marks every document about it, and ends when it says so.

Whole nodes where an alert travels; the register alone, on both databases, where it is asked hard questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, event, insert, select
from uuid_utils.compat import uuid7

from kpmsg import documents, jws, strictjson
from kpmsg.keys import SoftwareSigner
from kpmsg.policy import Policy, Practice
from kpmsg.rules import rules, said
from kpmsg.verification import Verified, seal_document
from kpnode.api import build_app
from kpnode.author import rfc3339
from kpnode.node import Node
from kpnode.store import alerts, answers, cases, incidents, numbers, recorded
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.store.database import connect
from kpnode.store.documents import insert_documents
from kpnode.store.submissions import Submission
from kpnode.throwaway import Postgres
from tests.api import Office, office
from tests.exchange import Keys, confirmation, submit, trade, until

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
SIGNER = SoftwareSigner.generate()


def alert(*ranges: tuple[str, str | None], kind: str = "stolen", **data: Any) -> dict[str, Any]:
    """The draft of an alert of Botswana's to the Emirates."""
    numbers = [{"first": first} | ({} if last is None else {"last": last}) for first, last in ranges]
    content = {
        "issuer": "BW",
        "kind": kind,
        "numbers": numbers,
        "valid_from": "2026-11-01",
        "description": "A box of blank certificates was taken from the printer's van.",
        "released_by": "K. Moeti",
    }
    return {"type": "alert", "recipient": "AE", "data": content | data}


def withdrawal(document_id: str, **data: Any) -> dict[str, Any]:
    return {
        "type": "withdrawal",
        "recipient": "AE",
        "data": {"withdraws": document_id, "reason": "The box has been found, sealed."} | data,
    }


# --- between two nodes ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    """An office on either database."""
    if request.param == "sqlite":
        pair = [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        pair = [(a, server.create_database(f"alert_{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")]
    async with office(*pair) as there:
        for node in (there.node, there.partner):
            node.clock = lambda: NOW
        yield there


@asynccontextmanager
async def at(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one node's API."""
    name = f"desk-{uuid7()}"
    key = await node.database.write(
        lambda c: create_caller(c, name, tuple(Scope), "2026-01-01T00:00:00.000Z")
    )
    headers = {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(build_app(node))
    async with httpx.AsyncClient(transport=transport, base_url="http://node.test", headers=headers) as client:
        yield client


async def released(node: Node, draft: dict[str, Any]) -> str:
    """What two people have agreed to say, said."""
    items, places = await node.sign([draft], node.clock())
    stamp = rfc3339(node.clock())
    committed = await node.commit(
        Submission("test", None, "-", items, stamp, places=places, released_by="Neo")
    )
    return committed.ids[0]


async def heard(node: Node, document_id: str) -> None:
    """Wait until the node has it."""
    found: list[bool] = []

    async def look() -> None:
        query = select(t.document.c.id).where(t.document.c.id == document_id)
        if (await node.database.read(lambda c: c.execute(query).first())) is not None:
            found.append(True)

    for _ in range(400):
        await look()
        if found:
            return
        waited = iter([False, True])
        await until(lambda waited=waited: next(waited))  # type: ignore[misc]
    raise AssertionError("it did not arrive")


async def shown(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/alerts", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["alerts"]
    return found


async def kinds(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    """Kind and certificate of the open incidents, oldest first."""
    answer = await client.get("/v1/incidents")
    return [(i["kind"], i["certificate"]) for i in reversed(answer.json()["incidents"])]


async def test_a_stolen_range_is_known_to_the_importer_from_then_on(desk: Office) -> None:
    before = await submit(desk.node, trade().notification(4))  # BW 000005, which is to be stolen
    await heard(desk.partner, before)
    warned = await released(desk.node, alert(("BW 000003", "BW 000009")))
    await heard(desk.partner, warned)
    async with at(desk.partner) as client:
        [row] = await shown(client, active=True)
        assert (row["issuer"], row["kind"], row["first"], row["last"], row["count"]) == (
            "BW", "stolen", "BW000003", "BW000009", 7,
        )  # fmt: skip
        assert row["document"] == warned
        case = (await client.get("/v1/certificates/BW000005")).json()
        assert [one["kind"] for one in case["alerts"]] == ["stolen"]
        assert await kinds(client) == [("rule-L09", "BW000005")]

        after = await submit(desk.node, trade().notification(5))
        await heard(desk.partner, after)
        assert await kinds(client) == [("rule-L09", "BW000005"), ("rule-L09", "BW000006")]
        free = await submit(desk.node, trade().notification(9))
        await heard(desk.partner, free)
        assert len(await kinds(client)) == 2
        assert (await client.get("/v1/certificates/BW000010")).json()["alerts"] == []

        tried = await client.post(
            "/v1/documents",
            params={"dry_run": "true"},
            json=confirmation(await document(desk.partner, after), after),
        )
        assert "L09" in tried.text  # told to the inspector before it is signed
    async with at(desk.node) as client:
        assert [row["document"] for row in await shown(client)] == [warned]
        assert ("rule-L09", "BW000005") not in await kinds(client)  # who warns needs no warning


async def document(node: Node, document_id: str) -> documents.Document:
    query = select(t.document.c.raw).where(t.document.c.id == document_id)
    raw = await node.database.read(lambda c: c.execute(query).scalar_one())
    return documents.parse(jws.peek(raw).unverified_payload)


async def test_a_withdrawal_ends_it(desk: Office) -> None:
    warned = await released(desk.node, alert(("BW 000003", None)))
    await heard(desk.partner, warned)
    ended = await released(desk.node, withdrawal(warned))
    await heard(desk.partner, ended)
    for node in (desk.node, desk.partner):
        async with at(node) as client:
            assert await shown(client, active=True) == []
            [row] = await shown(client, active=False)
            assert row["withdrawn_at"] == rfc3339(NOW)
    notified = await submit(desk.node, trade().notification(2))
    await heard(desk.partner, notified)
    async with at(desk.partner) as client:
        assert await kinds(client) == []


# --- the register -----------------------------------------------------------------------------------------------------


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = connect(database_url, writer=True)
    t.metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def signed(draft: dict[str, Any], source: str = "BW") -> Verified:
    """Signed as it stands, as somebody would whose software checks nothing."""
    kind = {each.name: each.type for each in documents.TYPES.values()}[draft["type"]]
    envelope = {
        "specversion": "1.0",
        "id": str(uuid7()),
        "source": source,
        "type": kind,
        "time": "2026-11-02T09:00:00.000Z",
        "datacontenttype": "application/json",
        **{name: value for name, value in draft.items() if name != "type"},
    }
    payload = strictjson.dumps(envelope)
    return seal_document(documents.parse(payload), payload, [SIGNER])


def told(connection: Connection, *items: Verified, practice: Practice | None = None) -> None:
    alerts.record(connection, items, rfc3339(NOW), practice or Practice("AE"))


def under(connection: Connection, *keys: str) -> dict[str, list[str]]:
    return {key: [one.kind for one in found] for key, found in alerts.under(connection, keys).items()}


def here(connection: Connection, *keys: str) -> None:
    common = {"number": "", "issuer": "BW", "partner": "BW", "state": "notified", "case": "{}"}
    times = {"first_at": "2026", "changed_at": "2026"}
    connection.execute(insert(t.certificate), [common | times | {"key": key} for key in keys])


def test_a_number_is_found_in_every_range_that_holds_it(connection: Connection) -> None:
    told(
        connection,
        signed(alert(("BW 000010", "BW 000020"))),
        signed(alert(("BW 000015", "BW 000030"), ("BW 000040", None), kind="void")),
        signed(alert(("BW 00015", "BW 00016"), kind="forged")),
    )
    assert under(connection, "BW000010", "BW000015", "BW000030", "BW000040", "BW000041", "ZA000015") == {
        "BW000010": ["stolen"],
        "BW000015": ["void", "stolen"],
        "BW000030": ["void"],
        "BW000040": ["void"],
    }
    assert under(connection, "BW00015") == {"BW00015": ["forged"]}  # five digits are another series than six
    assert under(connection) == {}


def test_a_number_is_known_as_its_issuer_reads_it(connection: Connection) -> None:
    """Where zeros are padding, an alert about 4911 is one about 004911: that is where the certificate lies."""
    padding = Practice("AE")
    series = {"letters": "BW", "digits": 6, "leading_zeros": "padding", "valid_from": "2020-01-01"}
    padding.publish("BW", Policy.model_validate({"numbers": [series]}))
    here(connection, "BW004912")
    told(connection, signed(alert(("BW 4911", "BW 4913"))), practice=padding)
    assert under(connection, padding.key("BW 4911"), "BW004912") == {
        "BW004911": ["stolen"],
        "BW004912": ["stolen"],
    }
    assert [i.certificate for i in _incidents(connection)] == ["BW004912"]


def _incidents(connection: Connection) -> list[incidents.Incident]:
    found = incidents.incidents(connection, closed=False, partner=None, before=None, limit=1000)
    return found[::-1]


def test_only_the_issuer_speaks_of_its_numbers(connection: Connection) -> None:
    here(connection, "ZA000001", "BW000001")
    told(
        connection,
        signed(alert(("ZA 000001", None))),
        signed(alert(("ZA 000001", None), issuer="ZA")),
        signed(alert(("BW 000001", None)), source="ZA"),
        signed(alert(("BW 000002", None), ("ZA 000002", None))),
    )
    assert under(connection, "ZA000001", "BW000001", "BW000002", "ZA000002") == {}
    assert _incidents(connection) == []


def test_nobody_withdraws_what_another_has_said(connection: Connection) -> None:
    warned = signed(alert(("BW 000001", None)))
    told(connection, warned)
    told(connection, signed(withdrawal(warned.id), source="ZA"))
    assert under(connection, "BW000001") == {"BW000001": ["stolen"]}
    told(connection, signed(withdrawal(warned.id)))
    assert under(connection, "BW000001") == {}


def test_a_withdrawal_that_overtook_its_alert_holds(connection: Connection) -> None:
    warned = signed(alert(("BW 000001", None)))
    told(connection, signed(withdrawal(warned.id)))
    assert alerts.alerts(connection, active=None, limit=10) == []
    here(connection, "BW000001")
    told(connection, warned)
    assert under(connection, "BW000001") == {}
    [row] = alerts.alerts(connection, active=None, limit=10)
    assert row.withdrawn_at == rfc3339(NOW)
    assert _incidents(connection) == []


def test_a_thousand_certificates_do_not_make_a_thousand_incidents(connection: Connection) -> None:
    here(connection, *(f"BW{n:06d}" for n in range(1, 251)), "BW00099", "ZA000100")
    told(connection, signed(alert(("BW 000001", "BW 000060"), ("BW 000101", "BW 000999"))))
    found = _incidents(connection)
    assert len(found) == alerts.MOST_INCIDENTS + 1
    assert [i.certificate for i in found[:61]] == [f"BW{n:06d}" for n in range(1, 61)] + ["BW000101"]
    assert found[-1].certificate is None
    assert "110 certificates" in found[-1].text  # 60 + 150 there are, 100 are named


def test_what_is_said_to_all_partners_is_shown_once(connection: Connection) -> None:
    copies = [signed(alert(("BW 000001", "BW 000009")) | {"recipient": to}) for to in ("AE", "IN", "ZA")]
    told(connection, *copies, practice=Practice("BW"))
    [row] = alerts.alerts(connection, active=True, limit=10)
    assert row.document_id == copies[0].id
    assert under(connection, "BW000005") == {"BW000005": ["stolen"]}
    told(connection, signed(withdrawal(copies[0].id)), practice=Practice("BW"))
    [row] = alerts.alerts(connection, active=True, limit=10)  # it holds for the others
    assert row.document_id == copies[1].id
    assert len(alerts.alerts(connection, active=False, limit=10)) == 1


def test_an_alert_that_is_not_in_force_yet_is_no_breach_yet(connection: Connection) -> None:
    told(connection, signed(alert(("BW 000002", None), valid_from="2026-11-03")))
    [found] = alerts.under(connection, ["BW000002"])["BW000002"]
    draft = trade().notification(1)
    day = [
        signed(draft | {"subject": "BW000002", "time": f"2026-11-{n:02d}T09:00:00.000Z"}).document
        for n in (2, 3)
    ]
    assert alerts.problems(day[0], [found]) == []
    [problem] = alerts.problems(day[1], [found])
    assert (problem.code, problem.severity, problem.pointer) == (
        "L09",
        "hold",
        "/data/certificate/number_raw",
    )


def test_the_rule_says_every_kind_of_alert_in_every_language(connection: Connection) -> None:
    kinds_of = ("lost", "stolen", "forged", "void", "used_twice")
    assert set(rules()["L09"].variants) == set(kinds_of)
    for kind in kinds_of:
        told(connection, signed(alert(("BW 000002", None), kind=kind)))
    found = alerts.under(connection, ["BW000002"])["BW000002"]
    notification = signed(trade().notification(1) | {"subject": "BW000002"}).document
    problems = alerts.problems(notification, found)
    assert {problem.variant for problem in problems} == set(kinds_of)
    texts = {said(problem, language) for problem in problems for language in ("en", "fr", "pt", "es", "ru")}
    assert len(texts) == 25
    assert all("BW" in text and "2026-11-01" in text for text in texts)


def test_a_cancellation_of_a_stolen_number_is_welcome(connection: Connection) -> None:
    told(connection, signed(alert(("BW 000002", None))))
    found = alerts.under(connection, ["BW000002"])["BW000002"]
    data = {
        "certificate": {"number_raw": "BW 000002", "issuer": "BW", "kind": "kp"},
        "cancels": hashlib.sha256(b"").hexdigest(),
        "reason": "stolen",
        "knows_confirmation": None,
    }
    item = signed({"type": "cancellation", "recipient": "AE", "subject": "BW000002", "data": data})
    assert alerts.problems(item.document, found) == []


def test_ranges_that_overlap_make_one_incident_for_each_certificate(connection: Connection) -> None:
    here(connection, "BW000001")
    told(connection, signed(alert(*(("BW 000001", f"BW {n:06d}") for n in range(2, 202)))))
    assert [i.certificate for i in _incidents(connection)] == ["BW000001"]


def test_an_alert_said_again_calls_nobody_twice(connection: Connection) -> None:
    here(connection, "BW000001")
    for _ in range(3):
        told(connection, signed(alert(("BW 000001", None))))
    assert len(_incidents(connection)) == 1
    told(connection, signed(alert(("BW 000001", None), kind="forged")))
    assert len(_incidents(connection)) == 2


def test_an_alert_that_is_rejected_for_its_date_is_not_in_force(connection: Connection) -> None:
    told(connection, signed(alert(("BW 000001", None)) | {"time": "2026-11-09T09:00:00.000Z"}))
    assert under(connection, "BW000001") == {}


def test_an_alert_about_anothers_numbers_is_rejected_though_it_names_no_certificate(
    connection: Connection,
) -> None:
    item, me, now = signed(alert(("ZA 000001", None))), Practice("AE"), rfc3339(NOW)
    insert_documents(connection, [item], "in", "BW", now, me, received_at=now, author=None)
    assert cases.record_cases(connection, [item], now, me, from_partner=True)
    owing = select(t.document.c.seq).where(t.document.c.answer.is_not(None))
    owed = answers.owed(connection, connection.execute(owing).scalar_one(), me, now)
    assert owed is not None
    assert owed.draft is not None
    assert [reason["code"] for reason in owed.draft["data"]["reasons"]] == ["L02"]
    assert [i.kind for i in _incidents(connection)] == ["rule-L02"]


def test_an_office_of_several_remembers_what_it_has_warned_of(connection: Connection) -> None:
    """Asked about a number that it has called stolen, it must not answer that it knows nothing of it."""
    me = Practice("EU/antwerp")
    told(connection, signed(alert(("EU 000001", None), issuer="EU"), source="EU/antwerp"), practice=me)
    assert cases.noted(connection, "EU000001", "EU/antwerp") == "stolen"


def test_a_warning_of_ours_outranks_what_somebody_records_of_the_number(connection: Connection) -> None:
    me = Practice("BW")
    warned = signed(alert(("BW 000001", "BW 000009")))
    told(connection, warned, practice=me)
    fact = recorded.Fact("BW000001", "BW 000001", "issued", None)
    recorded.record(connection, [fact], "BW", "clerk", rfc3339(NOW))
    assert cases.noted(connection, "BW000001", "BW") == "stolen"
    told(connection, signed(withdrawal(warned.id)), practice=me)
    assert cases.noted(connection, "BW000001", "BW") == "issued"


def test_a_range_whose_zeros_are_padding_covers_numbers_of_every_length(connection: Connection) -> None:
    padded = {"letters": "BW", "leading_zeros": "padding", "valid_from": "2020-01-01"}
    practice = Practice("AE")
    practice.publish("BW", Policy.model_validate({"numbers": [padded]}))
    told(connection, signed(alert(("BW 000950", "BW 011050"))), practice=practice)
    keys = [practice.key(f"BW {number:06d}") for number in (949, 950, 999, 1000, 9999, 10000, 11050, 11051)]
    assert list(under(connection, *keys)) == keys[1:-1]
    told(connection, signed(alert(("BW 000000", "BW 000012"))), practice=practice)
    assert list(under(connection, "BW0", "BW9", "BW10", "BW12", "BW13")) == ["BW0", "BW9", "BW10", "BW12"]


def test_alerts_are_found_as_a_later_record_of_their_issuer_reads_numbers(connection: Connection) -> None:
    """A stolen box that nobody has used yet is known by its alert alone, so nothing else would stop such a record."""
    me = Practice("AE")
    box, other, over = (
        signed(alert(each)) for each in (("BW 000008", "BW 000012"), ("BW 1", None), ("BW 02", None))
    )
    insert_documents(
        connection, [box, other, over], "in", "BW", rfc3339(NOW), me, received_at=None, author=None
    )
    told(connection, box, other, over, signed(withdrawal(over.id)))
    kept = [row for row in alerts.alerts(connection, active=True, limit=9) if row.document_id == other.id]
    padded = {"letters": "BW", "leading_zeros": "padding", "valid_from": "2020-01-01"}
    record = Keys("BW", policy={"numbers": [padded]}).record()
    numbers.must_read_alike(connection, "AE", record.record)
    numbers.take_in(connection, "AE", record, rfc3339(NOW))
    asked = under(connection, "BW7", "BW8", "BW12", "BW13", "BW2", "BW1", "BW000009")
    assert set(asked) == {"BW8", "BW12", "BW1"}
    assert kept[0] in alerts.alerts(connection, active=True, limit=9), "what is read as before stays as it is"
    assert {row.document_id for row in alerts.alerts(connection, active=False, limit=9)} == {over.id}
    told(connection, signed(withdrawal(box.id)))
    assert set(under(connection, "BW8", "BW12", "BW1")) == {"BW1"}


def test_ranges_of_every_length_are_found_at_both_ends(connection: Connection) -> None:
    for length in (1, 2, 9, 10, 11, 100, 101, 99_999, 100_000, 1_000_000):
        last = 5_000_000 + length - 1
        warned = signed(alert(("BW 5000000", f"BW {last}"), description=f"A box of {length}."))
        told(connection, warned)
        ends = ["BW4999999", "BW5000000", f"BW{last}", f"BW{last + 1}"]
        assert set(under(connection, *ends)) == set(ends[1:3]), length
        told(connection, signed(withdrawal(warned.id)))


def test_an_issuer_makes_one_incident_for_a_certificate_however_often_it_warns(
    connection: Connection,
) -> None:
    here(connection, "BW000005", "BW000006")
    for day in range(1, 20):
        told(connection, signed(alert(("BW 000001", "BW 000009"), valid_from=f"2026-10-{day:02d}")))
    assert [i.certificate for i in _incidents(connection)] == ["BW000005", "BW000006"]


def test_the_ranges_of_one_partner_have_an_end(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MOST_IN_FORCE", 3)
    first = signed(alert(*((f"BW {n:06d}", None) for n in (1, 3, 5))))
    told(connection, first, signed(alert(("BW 000007", None))), signed(alert(("BW 000008", None))))
    assert list(under(connection, "BW000005", "BW000007", "BW000008")) == ["BW000005"]
    assert [i.kind for i in _incidents(connection)] == ["alerts-limit"]
    told(connection, signed(withdrawal(first.id)))
    told(connection, signed(alert(("BW 000007", None))))
    assert list(under(connection, "BW000007")) == ["BW000007"]


def test_alerts_are_looked_up_and_ended_by_index(tmp_path: Path) -> None:
    """A partner that warns much makes nobody slow: no question walks through all that it has said."""
    plans: list[str] = []

    def explain(_conn: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "alerted" in statement and not statement.startswith("INSERT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in plan)

    engine = connect(f"sqlite:///{tmp_path / 'x.db'}", writer=True)
    t.metadata.create_all(engine)
    with engine.begin() as connection:
        event.listen(connection, "before_cursor_execute", explain)
        warned = signed(alert(("BW 000001", "BW 000009")))
        told(connection, warned)
        under(connection, "BW000005")
        alerts.alerts(connection, active=True, limit=10)
        alerts.alerts(connection, active=None, issuer="BW", limit=10)
        told(connection, signed(withdrawal(warned.id)))
    engine.dispose()
    assert any("ix_alerted_in_force" in plan for plan in plans)
    # The list of all begins at the newest and goes as far as its page does.
    assert [plan for plan in plans if plan.startswith("SCAN") and "anon" not in plan] == ["SCAN alerted"]
