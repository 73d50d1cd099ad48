"""Work lists and the daily round: what waits for whom on which day, who is reminded, and what days bring about by themselves.

Whole nodes with a calendar that the test turns; on both databases where the store is in question.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, insert, update
from sqlalchemy.engine import Engine

from kpmsg import documents
from kpmsg.case import State
from kpmsg.policy import Policy
from kpmsg.register import Conversation
from kpnode.api import build_app
from kpnode.node import Node
from kpnode.release import FourEyes
from kpnode.reminding import Reminders
from kpnode.store import drafts, views, worklists
from kpnode.store import tables as t
from kpnode.store.callers import Scope, create_caller
from kpnode.store.database import connect
from kpnode.throwaway import Postgres
from tests.exchange import Stage, confirmation, stage, submit, trade, until

MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)
FIFTEEN_DAYS = Policy.model_validate(
    {"deadlines": [{"what": "confirmation", "days": 15, "valid_from": "2020-01-01"}]}
)
"""As an importer publishes it."""


class World:
    """Nodes with one calendar. `turn` is the day that it shows, counted from the Monday on which everything begins."""

    def __init__(self, play: Stage) -> None:
        self.play = play
        self.now = MONDAY
        for site in play.sites.values():
            site.running.clock = lambda: self.now
            for address in play.sites:
                site.running.practice.publish(address, FIFTEEN_DAYS)

    def node(self, address: str) -> Node:
        return self.play.sites[address].running

    def turn(self, day: int) -> None:
        self.now = MONDAY + timedelta(days=day)

    @asynccontextmanager
    async def desk(
        self, address: str, scopes: Iterable[Scope] = tuple(Scope)
    ) -> AsyncIterator[httpx.AsyncClient]:
        """A client of one node's API, which may do anything unless `scopes` say what it may."""
        node = self.node(address)
        name = f"desk-{id(object())}"
        key = await node.database.write(lambda c: create_caller(c, name, scopes, "2026-01-01T00:00:00.000Z"))
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(build_app(node))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node.test", headers=headers
        ) as client:
            yield client

    async def work(self, address: str, **query: Any) -> Any:
        async with self.desk(address) as client:
            answer = await client.get("/v1/worklist", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def arrives(self, address: str, document_id: str) -> documents.Document:
        """The document, once it is at `address`."""
        found: list[views.DocumentRow] = []

        async def look() -> bool:
            row = await self.node(address).database.read(lambda c: views.document(c, document_id))
            found.extend([row] if row is not None else [])
            return bool(found)

        for _ in range(400):
            if await look():
                return documents.parse(found[0].payload)
            await until_later()
        raise AssertionError("it did not arrive")

    async def notify(self, n: int = 1, to: str = "AE", **data: Any) -> str:
        """Botswana notifies a shipment, and the importer has it."""
        draft = trade("BW", to).notification(n)
        draft["data"]["confirmation"] = {"requested": True}
        draft["data"] |= data
        document_id = await submit(self.node("BW"), draft)
        await self.arrives(to, document_id)
        return document_id

    async def confirm(self, document_id: str, by: str = "AE", changes: dict[str, Any] | None = None) -> str:
        """The importer confirms, and Botswana has it."""
        draft = confirmation(await self.arrives(by, document_id), document_id)
        draft["data"] |= changes or {}
        said = await submit(self.node(by), draft)
        await self.arrives("BW", said)
        return said

    async def prepared(self, address: str = "BW") -> list[drafts.DraftRow]:
        """The drafts that are open, oldest first."""
        rows = await self.node(address).database.read(lambda c: drafts.drafts(c, state="open", limit=100))
        return rows[::-1]


async def until_later() -> None:
    seen = iter([False, True])
    await until(lambda: next(seen))


async def release(client: httpx.AsyncClient, draft: dict[str, Any]) -> httpx.Response:
    wanted = {"drafts": [{"id": draft["id"], "digest": draft["digest"]}]}
    return await client.post("/v1/drafts/release", json=wanted, headers={"Idempotency-Key": "r"})


def levels(rows: Iterable[drafts.DraftRow]) -> list[int]:
    return [row.content["data"]["level"] for row in rows]


@asynccontextmanager
async def world(addresses: Iterable[str], url_of: Callable[[str], str]) -> AsyncIterator[World]:
    async with stage(*((address, url_of(address)) for address in addresses)) as play:
        nodes = [site.running for site in play.sites.values()]
        await until(lambda: all(p.conversation.ready for node in nodes for p in node.peers.values()))
        yield World(play)


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Botswana and the Emirates on either database."""
    if request.param == "sqlite":
        async with world(("BW", "AE"), lambda a: f"sqlite:///{tmp_path / a}.db") as there:
            yield there
        return
    server: Postgres = request.getfixturevalue("postgres")
    unique = abs(hash(tmp_path))
    async with world(("BW", "AE"), lambda a: server.create_database(f"work_{a.lower()}_{unique}")) as there:
        yield there


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[World]:
    """Botswana and the Emirates, where the database is not in question."""
    async with world(("BW", "AE"), lambda a: f"sqlite:///{tmp_path / a}.db") as made:
        yield made


# --- the lists --------------------------------------------------------------------------------------------------------


async def test_both_sides_see_whose_move_it_is_and_since_when_it_is_late(either: World) -> None:
    await either.notify()
    theirs = (await either.work("BW", waiting_for="them"))["certificates"]
    ours = (await either.work("AE"))["certificates"]
    assert [(row["waiting_for"], row["kind"], row["partner"]) for row in theirs] == [
        ("them", "confirmation", "AE")
    ]
    assert [(row["waiting_for"], row["kind"], row["partner"]) for row in ours] == [
        ("us", "confirmation", "BW")
    ]
    [matter] = theirs[0]["matters"]
    assert (matter["waiting_for"], matter["authorities"], matter["due"]) == ("them", ["AE"], "2026-11-17")
    assert matter["sentence"] == "The import confirmation is due."
    assert (await either.work("BW", waiting_for="us"))["certificates"] == []

    either.turn(15)  # the last day in time
    assert (await either.work("BW", waiting_for="them", overdue=True))["certificates"] == []
    either.turn(18)
    [late] = (await either.work("BW", waiting_for="them", overdue=True))["certificates"]
    assert (late["days_overdue"], late["matters"][0]["days_overdue"]) == (3, 3)
    async with either.desk("BW") as client:
        shown = (await client.get(late["links"]["self"])).json()
        assert [(m["kind"], m["days_overdue"]) for m in shown["matters"]] == [("confirmation", 3)]


async def test_what_is_confirmed_waits_for_nobody(either: World) -> None:
    document_id = await either.notify()
    await either.confirm(document_id)
    for address in ("BW", "AE"):
        for side in ("us", "them"):
            assert (await either.work(address, waiting_for=side))["certificates"] == []
    async with either.desk("BW") as client:
        summary = (await client.get("/v1/worklist/summary")).json()
    nothing = {"count": 0, "more": False, "text": "0"}
    assert summary["us"] == summary["them"] == {"waiting": nothing, "overdue": nothing, "kinds": []}


async def test_pages_go_by_urgency_and_leave_nothing_out(either: World) -> None:
    """Days are shared by many certificates, some have none, and every one comes once."""
    rows: list[dict[str, Any]] = [
        {
            "key": f"BW{n:06d}",
            "waits": "both" if n % 5 == 0 else "them" if n % 5 < 4 else "us",
            "matter": "dispute" if n % 5 == 0 else "confirmation",
            "due": None if n % 7 == 0 else f"2026-10-{n % 3 + 1:02d}",
        }
        for n in range(60)
    ]
    common = {"issuer": "BW", "partner": "AE", "state": "notified", "number": "BW", "case": "{}"}
    times = {"first_at": "2026", "changed_at": "2026"}
    await either.node("BW").database.write(
        lambda c: c.execute(insert(t.certificate), [row | common | times for row in rows])
    )
    for query, wanted in (
        ({"waiting_for": "them"}, [r for r in rows if r["waits"] != "us"]),
        ({"waiting_for": "us"}, [r for r in rows if r["waits"] != "them"]),
        ({"waiting_for": "them", "kind": "dispute"}, [r for r in rows if r["waits"] == "both"]),
        ({"waiting_for": "them", "partner": "ZA"}, []),
        ({"waiting_for": "us", "overdue": True}, [r for r in rows if r["waits"] != "them" and r["due"]]),
    ):
        expected = sorted(wanted, key=lambda r: (str(r["due"] or "9999"), str(r["key"])))
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await either.work("BW", limit=7, **query, **cursor)
            found += [row["key"] for row in page["certificates"]]
            if page["next"] is None:
                break
            assert len(page["certificates"]) == 7
            cursor = {"cursor": page["next"]}
        assert found == [row["key"] for row in expected], query
    async with either.desk("BW") as client:
        counted = (await client.get("/v1/worklist/summary")).json()
    numbers = {
        kind["kind"]: (kind["waiting"]["count"], kind["overdue"]["count"])
        for kind in counted["them"]["kinds"]
    }
    for kind, (waiting, overdue) in numbers.items():
        assert waiting == sum(r["waits"] != "us" and r["matter"] == kind for r in rows)
        assert overdue == sum(
            r["waits"] != "us" and r["matter"] == kind and r["due"] is not None for r in rows
        )
    assert set(numbers) == {"confirmation", "dispute"}


def test_counting_ends_and_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklists, "MOST_COUNTED", 5)
    engine = connect(database_url, writer=True)
    t.metadata.create_all(engine)
    row = {"issuer": "BW", "partner": "AE", "state": "notified", "number": "BW", "case": "{}", "waits": "us"}
    row |= {"matter": "query", "due": "2026-01-01", "first_at": "2026", "changed_at": "2026"}
    with engine.begin() as connection:
        connection.execute(insert(t.certificate), [row | {"key": f"BW{n}"} for n in range(9)])
        assert worklists.summary(connection, date(2026, 1, 2))["us"] == [worklists.Counted("query", 5, 5)]
    engine.dispose()


async def test_what_was_set_aside_is_counted_though_it_has_no_kind(there: World) -> None:
    row = {"key": "BW000009", "number": "BW000009", "issuer": "BW", "partner": "AE", "state": "undetermined"}
    row |= {"case": "{}", "locked": "set aside", "waits": "us", "first_at": "2026", "changed_at": "2026"}
    await there.node("BW").database.write(lambda c: c.execute(insert(t.certificate), [row]))
    assert [each["key"] for each in (await there.work("BW"))["certificates"]] == ["BW000009"]
    async with there.desk("BW") as client:
        us = (await client.get("/v1/worklist/summary")).json()["us"]
    assert us["waiting"]["count"] == 1
    assert us["kinds"] == []


def test_a_list_is_read_from_an_index_of_what_is_open(database_url: str) -> None:
    """What is closed costs nothing: that is what makes a million certificates as fast as ten thousand."""
    engine = connect(database_url, writer=True)
    t.metadata.create_all(engine)
    row: dict[str, Any] = {"issuer": "BW", "state": "confirmed", "number": "BW", "case": "{}"}
    row |= {"first_at": "2026", "changed_at": "2026", "matter": "confirmation"}
    with engine.begin() as connection:
        for start in range(0, 4000, 1000):
            rows = [
                row
                | {
                    "key": f"BW{n:06d}",
                    "waits": "nobody" if n % 40 else "them",
                    "due": f"2026-01-{n % 28 + 1:02d}" if n % 120 else None,
                    "partner": f"P{n % 7}",
                }
                for n in range(start, start + 1000)
            ]
            connection.execute(insert(t.certificate), rows)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE certificate")
    plans: list[str] = []
    _explaining(engine, plans)
    day = date(2026, 1, 15)
    with engine.connect() as connection:
        for question in (
            lambda: worklists.waiting(connection, "them", limit=50),
            lambda: worklists.waiting(connection, "them", overdue_on=day, limit=50),
            lambda: worklists.waiting(connection, "them", after=("2026-01-03", "BW000100"), limit=10),
            lambda: worklists.waiting(connection, "them", after=(None, "BW000100"), limit=10),
            lambda: worklists.waiting(connection, "them", kind="confirmation", limit=50),
            lambda: worklists.waiting(connection, "them", partner="P3", limit=50),
            lambda: worklists.summary(connection, day)["them"],
            lambda: worklists.due_by(connection, day, None, 50),
        ):
            assert question()
    engine.dispose()
    assert len(plans) >= 8
    for plan in plans:
        assert "ix_certificate_waits" in plan
        assert "pk_certificate" not in plan
        assert "Seq Scan" not in plan
        assert "SCAN certificate" not in plan


def _explaining(engine: Engine, plans: list[str]) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("SELECT"):
            return
        how = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
        cursor = connection.connection.cursor()
        cursor.execute(how + statement, parameters)
        plans.append("\n".join(str(row[-1]) for row in cursor.fetchall()))


# --- reminders --------------------------------------------------------------------------------------------------------


async def test_a_reminder_is_prepared_on_its_day_once_for_each_level(either: World) -> None:
    notification = await either.notify()
    node = either.node("BW")
    for day, expected in (
        (14, []),
        (15, [1]),
        (21, [1]),
        (22, [2]),
        (35, [2]),
        (36, [3]),
        (90, [3]),
    ):
        either.turn(day)
        for earlier in await either.prepared() if day in {22, 36} else ():  # an officer has dealt with it
            await node.database.write(
                lambda c, n=earlier.seq: drafts.discard(c, n, "Neo", "By telephone.", node.stamp())  # type: ignore[misc]
            )
        for _ in range(2):
            await node.rounds.round()
        assert levels(await either.prepared()) == expected, day
    [last] = await either.prepared()
    assert last.because == f"reminder:3:{notification}"
    assert (last.author, last.persons, last.recipient) == ("node", ("node",), "AE")
    said = last.content["data"]
    assert (said["due"], said["days_overdue"]) == ("2026-11-17", 75)  # counted anew on each day that it waits
    assert said["notification"]["digest"] == notification
    assert await either.prepared("AE") == []  # the importer reminds nobody


async def test_a_prepared_reminder_can_be_released_as_it_is(there: World) -> None:
    await there.notify()
    there.turn(15)
    await there.node("BW").rounds.round()
    there.turn(19)
    await there.node("BW").rounds.round()
    async with there.desk("BW") as client:
        [draft] = (await client.get("/v1/drafts")).json()["drafts"]
        answer = await release(client, draft)
        assert answer.status_code in {200, 201}, answer.text
    [work] = (await there.work("BW", waiting_for="them"))["certificates"]
    document_id = work["matters"][-1]["document"]
    said = await there.arrives("AE", document_id)
    assert isinstance(said.data, documents.ConfirmationRequest)
    assert (said.data.level, said.data.days_overdue) == (1, 4)
    assert [m["kind"] for m in work["matters"]] == ["confirmation", "request"]


async def test_what_came_meanwhile_puts_the_reminder_away(either: World) -> None:
    notification = await either.notify()
    either.turn(15)
    await either.node("BW").rounds.round()
    [draft] = await either.prepared()
    await either.confirm(notification)
    await either.node("BW").rounds.round()
    assert await either.prepared() == []
    row = await either.node("BW").database.read(lambda c: drafts.draft(c, draft.seq))
    assert row is not None
    assert (row.state, row.closed_by) == ("discarded", "node")
    assert row.closed_because == "The confirmation is not overdue any more."


async def test_what_an_officer_has_written_in_is_left_to_the_officer(there: World) -> None:
    notification = await there.notify()
    there.turn(15)
    await there.node("BW").rounds.round()
    [draft] = await there.prepared()
    fresh = draft.content | {"data": draft.content["data"] | {"remarks": "Third time this year."}}
    await there.node("BW").database.write(lambda c: drafts.revise(c, draft.seq, fresh, "Neo", "2026"))
    await there.confirm(notification)
    there.turn(30)
    await there.node("BW").rounds.round()
    [kept] = await there.prepared()
    assert kept.content["data"]["remarks"] == "Third time this year."


async def test_a_discarded_reminder_does_not_come_back(there: World) -> None:
    await there.notify()
    there.turn(15)
    await there.node("BW").rounds.round()
    [draft] = await there.prepared()
    await there.node("BW").database.write(
        lambda c: drafts.discard(c, draft.seq, "Neo", "They have called.", there.node("BW").stamp())
    )
    there.turn(21)
    await there.node("BW").rounds.round()
    assert await there.prepared() == []
    there.turn(22)
    await there.node("BW").rounds.round()
    assert levels(await there.prepared()) == [2]


async def test_a_node_that_was_off_for_months_begins_at_the_first_level(there: World) -> None:
    await there.notify()
    there.turn(50)
    await there.node("BW").rounds.round()
    assert levels(await there.prepared()) == [1]
    there.turn(56)
    await there.node("BW").rounds.round()
    assert levels(await there.prepared()) == [1]
    there.turn(57)
    await there.node("BW").rounds.round()
    assert levels(await there.prepared()) == [1], "no level lies on top of one that nobody has released"
    [draft] = await there.prepared()
    await there.node("BW").database.write(
        lambda c: drafts.discard(c, draft.seq, "Neo", "They have called.", there.node("BW").stamp())
    )
    await there.node("BW").rounds.round()
    assert levels(await there.prepared()) == [2]


async def test_a_level_that_an_officer_has_said_is_not_prepared_again(there: World) -> None:
    notification = await there.notify()
    there.turn(16)
    said = await there.arrives("AE", notification)
    assert isinstance(said.data, documents.ExportNotification)
    data = {
        "certificate": said.data.certificate.model_dump(mode="json"),
        "notification": {"id": said.id, "digest": notification},
        "level": 1,
        "due": "2026-11-17",
    }
    await submit(there.node("BW"), {"type": "confirmation-request", "recipient": "AE", "data": data})
    await there.node("BW").rounds.round()
    assert await there.prepared() == []
    there.turn(23)  # a week after it was said
    await there.node("BW").rounds.round()
    assert levels(await there.prepared()) == [2]


async def test_a_promised_day_is_waited_for(there: World) -> None:
    notification = await there.notify()
    there.turn(15)
    there.node("BW").rounds.settings = Reminders(send="auto")
    assert await there.node("BW").rounds.round() == 1
    async with there.desk("BW") as client:
        said = (await client.get("/v1/documents", params={"type": "confirmation-request"})).json()
    [request] = said["documents"]
    assert request["author"] == "node"
    await there.arrives("AE", request["id"])
    sent = await there.arrives("AE", notification)
    assert isinstance(sent.data, documents.ExportNotification)
    data = {
        "certificate": sent.data.certificate.model_dump(mode="json"),
        "request": request["id"],
        "standing": "under_inspection",
        "decision_expected": "2026-12-10",
    }
    reply = await submit(there.node("AE"), {"type": "confirmation-status", "recipient": "BW", "data": data})
    await there.arrives("BW", reply)
    for day, sent_then in ((22, 0), (37, 0), (38, 1), (39, 0)):  # 10 December is day 38
        there.turn(day)
        assert await there.node("BW").rounds.round() == sent_then, day


@pytest.mark.parametrize("wish", [{"requested": False}])
async def test_nobody_is_reminded_who_was_not_asked_to_confirm(there: World, wish: dict[str, Any]) -> None:
    await there.notify(confirmation=wish)
    there.turn(60)
    await there.node("BW").rounds.round()
    assert await there.prepared() == []


async def test_nobody_is_reminded_of_a_cancelled_certificate(there: World) -> None:
    notification = await there.notify()
    said = await there.arrives("AE", notification)
    assert isinstance(said.data, documents.ExportNotification)
    data = {
        "certificate": said.data.certificate.model_dump(mode="json"),
        "cancels": notification,
        "reason": "not_shipped",
        "knows_confirmation": None,
    }
    await submit(there.node("BW"), {"type": "cancellation", "recipient": "AE", "data": data})
    there.turn(60)
    await there.node("BW").rounds.round()
    assert await there.prepared() == []


async def test_reminders_can_be_off(there: World) -> None:
    await there.notify()
    there.node("BW").rounds.settings = Reminders(send="off")
    there.turn(60)
    assert await there.node("BW").rounds.round() == 0
    assert await there.prepared() == []


async def test_the_node_reminds_nobody_by_itself_who_has_not_told_what_it_holds_of_ours(there: World) -> None:
    """After a restore the reminder that was sent already comes back first."""
    await there.notify()
    node = there.node("BW")
    node.rounds.settings = Reminders(send="auto")
    peer = node.peers["AE"]
    answered, peer.conversation = peer.conversation, Conversation()
    there.turn(15)
    assert await node.rounds.round() == 0
    assert await there.prepared() == []
    peer.conversation = answered
    assert await node.rounds.round() == 1


async def test_what_needs_two_people_is_never_sent_by_the_node_alone(there: World) -> None:
    await there.notify()
    node = there.node("BW")
    node.rounds.settings = Reminders(send="auto")
    node.policy = FourEyes(types=("confirmation-request",))
    there.turn(15)
    await node.rounds.round()
    assert levels(await there.prepared()) == [1]


def test_days_of_reminders_must_be_in_order() -> None:
    assert Reminders().days == (0, 7, 21)
    for days in ((7, 0), (-1,), (), (1, 1), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match="days"):
            Reminders.model_validate({"days": days})


# --- what days bring about --------------------------------------------------------------------------------------------


async def test_an_expired_certificate_of_which_nothing_was_heard_becomes_our_move(either: World) -> None:
    await either.notify(date_of_expiry="2026-11-30", date_of_issue="2026-11-02")
    either.turn(28)  # 30 November, its last day
    await either.node("BW").rounds.round()
    assert (await either.work("BW", waiting_for="us"))["certificates"] == []
    either.turn(29)
    await either.node("BW").rounds.round()
    [work] = (await either.work("BW", waiting_for="us"))["certificates"]
    assert work["waiting_for"] == "both"
    [expiry] = [matter for matter in work["matters"] if matter["kind"] == "expiry"]
    assert (expiry["waiting_for"], expiry["due"]) == ("us", "2026-12-01")
    assert "expired" in expiry["sentence"]


async def test_expiry_is_noticed_where_no_confirmation_was_asked_for(there: World) -> None:
    wish = {"requested": False}
    await there.notify(date_of_expiry="2026-11-30", date_of_issue="2026-11-02", confirmation=wish)
    there.turn(29)
    await there.node("BW").rounds.round()
    [work] = (await there.work("BW", waiting_for="us"))["certificates"]
    assert work["kind"] == "expiry"


async def test_an_irregularity_that_was_not_reported_waits_for_the_importer(there: World) -> None:
    notification = await there.notify()
    there.turn(3)
    changes = {"outcome": "detained", "seals_intact": "no", "date_of_verification": "2026-11-04"}
    await there.confirm(notification, changes=changes)
    there.turn(40)
    [work] = (await there.work("AE", waiting_for="us", overdue=True))["certificates"]
    assert "irregularity-report" in {m["kind"] for m in work["matters"] if m["days_overdue"]}
    await there.node("AE").rounds.round()
    assert await there.prepared("AE") == []  # what was found is for an officer to write


async def test_a_number_used_twice_is_an_alert_to_both_importers_that_names_neither_to_the_other(
    tmp_path: Path,
) -> None:
    async with world(("BW", "AE", "IN"), lambda a: f"sqlite:///{tmp_path / a}.db") as three:
        notification = await three.notify()
        await three.confirm(notification)
        await _confirmed_too(three, notification, "IN")
        for _ in range(2):
            await three.node("BW").rounds.round()
        prepared = await three.prepared()
        assert [row.recipient for row in prepared] == ["AE", "IN"]
        for row in prepared:
            data = row.content["data"]
            assert (data["kind"], data["issuer"]) == ("used_twice", "BW")
            other = {"AE": "IN", "IN": "AE"}[row.recipient]
            assert other not in json.dumps(data)
        async with three.desk("BW") as client:
            first = (await client.get("/v1/drafts")).json()["drafts"][0]
            assert first["release_needed"]
            answer = await release(client, first)
            assert answer.status_code in {200, 201}, answer.text


async def test_a_used_number_that_was_notified_twice_too_is_warned_of(tmp_path: Path) -> None:
    async with world(("BW", "AE", "IN"), lambda a: f"sqlite:///{tmp_path / a}.db") as three:
        notification = await three.notify()
        await three.confirm(notification)
        await _confirmed_too(three, notification, "IN")
        named = update(t.certificate).values(state=str(State.NOTIFIED_TWICE))  # it is named before the other
        await three.node("BW").database.write(lambda c: c.execute(named))
        await three.node("BW").rounds.round()
        assert [row.recipient for row in await three.prepared()] == ["AE", "IN"]


async def test_a_discarded_warning_comes_back_with_one_more_importer_and_a_released_one_does_not(
    tmp_path: Path,
) -> None:
    async with world(("BW", "AE", "IN", "ZA"), lambda a: f"sqlite:///{tmp_path / a}.db") as four:
        notification, node = await four.notify(), four.node("BW")
        await four.confirm(notification)
        await _confirmed_too(four, notification, "IN")
        await node.rounds.round()
        ae, india = await four.prepared()
        async with four.desk("BW") as client:
            shown = (await client.get(f"/v1/drafts/{ae.seq}")).json()
            assert (await release(client, shown)).status_code == 201
        await node.database.write(
            lambda c: drafts.discard(c, india.seq, "Neo", "By telephone.", node.stamp())
        )
        await node.rounds.round()
        assert await four.prepared() == []
        await _confirmed_too(four, notification, "ZA")
        await node.rounds.round()
        assert [row.recipient for row in await four.prepared()] == ["IN", "ZA"]


async def test_a_clerk_does_not_discard_what_the_node_has_prepared(tmp_path: Path) -> None:
    async with world(("BW", "AE"), lambda a: f"sqlite:///{tmp_path / a}.db") as two:
        node, reason = two.node("BW"), {"reason": "Not needed."}
        draft = {"type": "message", "recipient": "AE", "data": {"text": "Please call."}}
        seq = await node.database.write(lambda c: drafts.draft_once(c, "reminder:1:x", draft, node.stamp()))
        writing = (Scope.WRITE_DOCUMENTS, Scope.READ_DOCUMENTS)
        for scopes, status in ((writing, 403), ((*writing, Scope.RELEASE_DOCUMENTS), 200)):
            async with two.desk("BW", scopes) as client:
                answer = await client.post(f"/v1/drafts/{seq}/discard", json=reason)
                assert answer.status_code == status, answer.text


async def _confirmed_too(there: World, notification: str, importer: str) -> None:
    """Another importer confirms what was notified to the Emirates."""
    sent = documents.parse((await _row(there, "AE", notification)).payload)
    again = confirmation(sent, notification)
    again["data"] |= {"notification": None, "country_of_destination": importer}
    again["data"]["confirmed_by"] |= {"authority": importer}
    await there.arrives("BW", await submit(there.node(importer), again))


async def _row(three: World, address: str, document_id: str) -> views.DocumentRow:
    row = await three.node(address).database.read(lambda c: views.document(c, document_id))
    assert row is not None
    return row
