"""The whole conversation between whole nodes: what is said, what crosses, and what the nodes answer by themselves.

The rules of it are tested without any node in tests/unit/test_case_races.py; here it is shown that nodes keep them, with real
databases, real signatures, letters that cross because the wire was down, and software that has become newer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from kpmsg import documents
from kpmsg.case.filling import LEFT_OUT, changed
from kpmsg.case.prefill import prefill
from kpmsg.case.states import State
from kpmsg.errors import DraftError
from kpnode.node import Node
from kpnode.store import cases
from kpnode.store import incidents as store
from kpnode.store import tables as t
from kpnode.throwaway import Postgres
from kpnode.transports.memory import FAIR, LOST
from tests.exchange import Stage, stage, submit, trade, until

NUMBER = "BW000002"


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[str, str]]:
    """Addresses and database URLs of Botswana and the United Arab Emirates."""
    if request.param == "sqlite":
        return [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]
    server: Postgres = request.getfixturevalue("postgres")
    return [(a, server.create_database(f"talk_{a.lower()}_{abs(hash(tmp_path))}")) for a in ("BW", "AE")]


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, str]]:
    return [(a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE")]


async def case(node: Node, key: str = NUMBER) -> dict[str, Any]:
    """The certificate as the node has it; empty if it has nothing about it."""
    row = await node.database.read(
        lambda c: c.execute(select(t.certificate).where(t.certificate.c.key == key)).mappings().first()
    )
    return {} if row is None else json.loads(row["case"]) | {"waits": row["waits"], "due": row["due"]}


async def agreed(stage_: Stage, state: State, key: str = NUMBER) -> dict[str, Any]:
    """Wait until all nodes have come to this state, and their cases are the same."""
    found: list[dict[str, Any]] = []
    for _ in range(500):
        found = [await case(site.running, key) for site in stage_.sites.values()]
        own = [{name: value for name, value in each.items() if name != "waits"} for each in found]
        if all(each.get("state") == state for each in found) and all(each == own[0] for each in own):
            return found[0]
        await _moment()
    raise AssertionError([each.get("state") for each in found])


async def _moment() -> None:
    await asyncio.sleep(0.02)


async def say(node: Node, name: str, changes: dict[str, Any] | None = None, key: str = NUMBER) -> str:
    """What an officer's system would submit next about a certificate."""
    filed = await node.database.read(lambda c: cases.filed(c, [key])[key])
    today = node.clock().date()
    draft = prefill(name, filed, me=node.address, today=today, practice=node.practice, officer="An Officer")
    return await submit(node, changed(draft, changes or {}))


async def incidents(node: Node) -> list[str]:
    return list(await node.database.read(lambda c: c.execute(select(t.incident.c.kind)).scalars().all()))


@asynccontextmanager
async def wire_down(play: Stage) -> AsyncIterator[None]:
    """Nothing gets through in here, in either direction; afterwards everything does."""
    for site in play.sites.values():
        site.plan = lambda _n, _frame: LOST
    yield
    for site in play.sites.values():
        site.plan = lambda _n, _frame: FAIR
        for address in site.running.peers:
            site.running.retry(address)


async def notified(play: Stage) -> str:
    document_id = await submit(play.sites["BW"].running, trade().notification(1))
    await agreed(play, State.NOTIFIED)
    return document_id


async def test_a_reweighed_parcel_is_queried_answered_and_amended(pair: list[tuple[str, str]]) -> None:
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await notified(play)
        await say(ae, "arrival-notice", {"/place": "Dubai airport"})
        assert (await agreed(play, State.ARRIVED))["turn"] == "importer"
        filed = await ae.database.read(lambda c: cases.filed(c, [NUMBER])[NUMBER])
        parcels = documents.ExportNotification.model_validate(filed[0].document.data).parcels
        found = {"/found/parcels": parcels + 1, "/outcome": "confirmed_with_discrepancy"}
        found["/discrepancies"] = [
            {"field": "parcels", "found": str(parcels + 1), "disposition": "under_query"}
        ]
        await say(ae, "import-confirmation", found)
        doubts = [{"field": "parcels", "notified": str(parcels), "found": str(parcels + 1)}]
        await say(ae, "discrepancy-query", {"/doubts": doubts})
        open_case = await agreed(play, State.CONFIRMED_WITH_DISCREPANCY)
        await until_case(bw, lambda c: "query" in {matter["kind"] for matter in c["matters"]})
        assert open_case["differences"][0]["field"] == "parcels"
        whose = {matter["kind"]: matter["whose"] for matter in (await case(ae))["matters"]}
        assert whose == {"query": ["BW"], "irregularity-report": ["AE"]}
        await say(bw, "discrepancy-response")
        await say(bw, "export-amendment", {"/content/parcels": parcels + 1})
        await until_case(ae, lambda c: c["revision"] == 1)
        done = await agreed(play, State.CONFIRMED_WITH_DISCREPANCY)
        assert (done["differences"], done["turn"], done["waits"]) == ([], "nobody", "nobody")


async def until_case(node: Node, true: Any, key: str = NUMBER) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(500):
        found = await case(node, key)
        if found and true(found):
            return found
        await _moment()
    raise AssertionError(found)


async def test_a_cancellation_that_crosses_a_confirmation_waits_for_officers_of_both(
    pair: list[tuple[str, str]],
) -> None:
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await notified(play)
        async with wire_down(play):
            cancellation = await say(bw, "cancellation")
            confirmation = await say(ae, "import-confirmation")
        found = await agreed(play, State.CROSSED_CANCELLATION)
        assert (found["cancellation"], found["confirmations"], found["turn"]) == (
            cancellation,
            [confirmation],
            "both",
        )
        assert "rule-I08" in await incidents(bw)
        assert "rule-A02" in await incidents(ae)
        with pytest.raises(DraftError) as refused:
            await say(bw, "export-amendment", {"/content/issuing_authority": "Diamond Hub"})
        assert refused.value.code == "A10", "what is cancelled is not amended"
        await say(bw, "withdrawal", {"/reason": "Agreed on the telephone."})
        await agreed(play, State.CONFIRMED)
        assert (await case(bw))["waits"] == "nobody"


async def test_what_the_sender_knows_to_be_refused_is_not_signed(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await notified(play)
        await say(ae, "import-confirmation")
        await agreed(play, State.CONFIRMED)
        with pytest.raises(DraftError) as refused:
            await say(bw, "export-amendment", {"/content/issuing_authority": "Diamond Hub"})
        assert [(p.code, p.severity) for p in refused.value.problems] == [("A01", "reject")]
        rows = await bw.database.read(lambda c: c.execute(select(t.document.c.id)).all())
        assert len(rows) == 2


async def test_a_withdrawn_confirmation_may_be_said_again(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        ae = play.sites["AE"].running
        await notified(play)
        await say(ae, "import-confirmation")
        await agreed(play, State.CONFIRMED)
        await say(ae, "withdrawal", {"/reason": "It was another parcel."})
        await agreed(play, State.NOTIFIED)
        await say(ae, "import-confirmation")
        await agreed(play, State.CONFIRMED)


@pytest.mark.parametrize("known", [True, False])
async def test_a_query_is_answered_by_the_node_itself(pair: list[tuple[str, str]], known: bool) -> None:
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        draft = trade().notification(1)
        await notified(play)
        number = draft["data"]["certificate"]["number_raw"] if known else "BW 999999"
        data = {
            "certificate": {"number_raw": number, "issuer": "BW", "kind": "kp"},
            "carats": draft["data"]["carats"],
        }
        query = await submit(ae, {"type": "certificate-query", "recipient": "BW", "data": data})
        key = documents.certificate_key(number)

        async def answer() -> documents.CertificateAnswer | None:
            filed = await ae.database.read(lambda c: cases.filed(c, [key])[key])
            return next((i.data for i in filed if isinstance(i.data, documents.CertificateAnswer)), None)

        said = None
        for _ in range(500):
            if (said := await answer()) is not None:
                break
            await _moment()
        assert said is not None
        assert (said.query, said.finding) == (query, "matches" if known else "unknown")
        state = State.NOTIFIED if known else State.SUSPECTED_COUNTERFEIT
        await agreed(play, state, key)
        assert ("rule-I01" in await incidents(bw)) is not known
        assert ("suspected-counterfeit" in await incidents(ae)) is not known


async def test_a_number_that_its_issuer_pads_is_the_same_however_the_inspector_types_it(
    files: list[tuple[str, str]],
) -> None:
    series = {"letters": "BW", "digits": 6, "leading_zeros": "padding", "valid_from": "2020-01-01"}
    async with stage(*files, policies={"BW": {"numbers": [series]}}) as play:
        ae = play.sites["AE"].running
        draft = trade().notification(1)
        assert draft["data"]["certificate"]["number_raw"] == "BW 000002"
        await notified(play)
        typed = {"number_raw": "bw2", "issuer": "BW", "kind": "kp"}
        await say(ae, "import-confirmation", {"/certificate": typed})
        found = await agreed(play, State.CONFIRMED)
        assert found["number"] == "BW 000002", "as its issuer printed it"


async def test_without_such_a_rule_leading_zeros_count(files: list[tuple[str, str]]) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await notified(play)
        typed = {"number_raw": "BW 2", "issuer": "BW", "kind": "kp"}
        await say(ae, "import-confirmation", {"/certificate": typed, "/notification": None})
        await agreed(play, State.SUSPECTED_COUNTERFEIT, "BW2")
        assert (await case(bw))["state"] == "notified"


async def test_a_number_recorded_as_issued_on_paper_is_not_called_unknown(
    files: list[tuple[str, str]],
) -> None:
    async with stage(*files) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        row = {"key": NUMBER, "number": "BW 000002", "status": "issued", "at": bw.stamp(), "by": "clerk"}
        await bw.database.write(lambda c: c.execute(t.number.insert(), row))
        blind = trade().notification(1)
        data = {
            "certificate": blind["data"]["certificate"],
            "notification": None,
            "date_presented": "2026-11-05",
            "place": "Dubai",
        }
        await submit(ae, {"type": "arrival-notice", "recipient": "BW", "data": data})
        await agreed(play, State.ARRIVED_UNANNOUNCED)
        assert (await until_case(bw, lambda c: c["waits"] == "us"))["matters"][0]["kind"] == "notification"
        assert await incidents(bw) == []


async def test_C16_what_an_older_node_rejected_is_read_again_after_its_upgrade(
    files: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(*files) as play:
        bw, site = play.sites["BW"].running, play.sites["AE"]
        await notified(play)
        kind = documents.ExportAmendment.type
        raised = {"/content/issuing_authority": "Diamond Hub"}
        async with wire_down(play):
            amendment = await say(bw, "export-amendment", raised)
        with monkeypatch.context() as older:
            older.delitem(documents._FORMS, kind)
            cases._read.cache_clear()
            await until(lambda: site.running.counts["documents", "submitted"] == 1)
        cases._read.cache_clear()
        assert await site.running.database.read(lambda c: _reason(c, amendment)) == "S07"
        await play.stop(site)
        await play.start(site)
        await site.running.database.write(_pretend_it_was_folded_by_an_older_version)
        await play.stop(site)
        await play.start(site)
        await until_case(site.running, lambda c: c["revision"] == 1)
        await until_case(bw, lambda c: c["revision"] == 1)
        found = await agreed(play, State.NOTIFIED)
        assert found["current"] == amendment
        assert found["rejected"] == []


def _reason(connection: Any, about: str) -> str:
    for filed in cases.filed(connection, [NUMBER])[NUMBER]:
        if isinstance(filed.data, documents.Rejection) and filed.data.refers_to == about:
            return filed.data.reasons[0].code
    return "none"


def _pretend_it_was_folded_by_an_older_version(connection: Any) -> None:
    connection.execute(update(t.meta).where(t.meta.c.name == "folded_by").values(value="0:"))


async def test_the_first_confirmation_stays_when_a_second_without_supersedes_comes(
    files: list[tuple[str, str]],
) -> None:
    """C7, with a partner whose software lets it say both: what it signs is admitted, rejected, and has no effect."""
    async with stage(*files) as play:
        ae = play.sites["AE"].running
        await notified(play)
        first = await say(ae, "import-confirmation")
        await agreed(play, State.CONFIRMED)
        await ae.database.write(lambda c: c.execute(t.claim.delete()))
        with pytest.raises(DraftError) as refused:
            await say(ae, "import-confirmation", {"/supersedes": LEFT_OUT})
        assert refused.value.code == "I09"
        assert (await case(play.sites["BW"].running))["confirmations"] == [first]


async def test_a_backlog_that_comes_at_once_is_judged_as_if_each_document_had_come_alone(
    pair: list[tuple[str, str]],
) -> None:
    """Detained, then confirmed; amended, then cancelled: what followed is no reason to reject what went before."""
    async with stage(*pair) as play:
        bw, ae = play.sites["BW"].running, play.sites["AE"].running
        await notified(play)
        async with wire_down(play):
            await say(ae, "import-confirmation", {"/outcome": "detained"})
            final = await say(ae, "import-confirmation")
            await submit(bw, trade().notification(2))
            await say(bw, "export-amendment", {"/content/issuing_authority": "Diamond Hub"}, "BW000003")
            await say(bw, "cancellation", {"/reason": "not_shipped"}, "BW000003")
        assert (await agreed(play, State.CONFIRMED))["confirmations"] == [final]
        assert (await agreed(play, State.CANCELLED, "BW000003"))["revision"] == 1
        for node in (bw, ae):
            assert await incidents(node) == []
            types = await node.database.read(lambda c: set(c.execute(select(t.document.c.type)).scalars()))
            assert documents.Rejection.type not in types


async def test_who_else_asks_about_a_certificate_takes_it_into_no_other_list(tmp_path: Path) -> None:
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as play:
        bw, za = play.sites["BW"].running, play.sites["ZA"].running
        sent = await submit(bw, trade().notification(1))
        assert await bw.received([sent], 10)
        data = {
            "certificate": {"number_raw": "BW 000002", "issuer": "BW", "kind": "kp"},
            "carats": "5.00",
        }
        await submit(za, {"type": "certificate-query", "recipient": "BW", "data": data})
        await until(lambda: bw.counts["documents", "submitted"] == 2)  # it has been answered
        columns = select(t.certificate.c.partner)
        assert await bw.database.read(lambda c: c.execute(columns).scalars().all()) == ["AE"]
        await bw.database.write(lambda c: c.execute(update(t.certificate).values(partner="ZA")))
        await bw.answering.fold_anew()
        assert await bw.database.read(lambda c: c.execute(columns).scalars().all()) == ["AE"]


async def test_what_one_authority_says_without_end_about_a_number_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MOST_FILED", 3)
    async with stage(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE", "ZA"))) as play:
        bw, ae, za = (play.sites[a].running for a in ("BW", "AE", "ZA"))
        first = await submit(bw, trade().notification(1))
        assert await bw.received([first], 10)

        async def talk(node: Node) -> None:
            about = {"number_raw": "BW 000002", "issuer": "BW", "kind": "kp"}
            for n in range(5):
                data = {"certificate": about, "text": f"Once more, {n}."}
                sent = await submit(node, {"type": "message", "recipient": "BW", "data": data})
                assert await node.received([sent], 10)

        async def locked() -> Any:
            return await bw.database.read(lambda c: c.execute(select(t.certificate.c.locked)).scalar_one())

        await talk(za)
        assert len(await bw.database.read(lambda c: cases.filed(c, [NUMBER])[NUMBER])) == 4
        assert (await incidents(bw)).count("too-many") == 1
        assert await locked() is None, "a third authority locks nobody's certificate"
        await say(ae, "import-confirmation")
        await until_case(bw, lambda c: c["state"] == State.CONFIRMED)
        await talk(ae)
        assert (await incidents(bw)).count("too-many") == 2
        assert await locked() is not None
        await bw.answering.fold_anew()  # an upgrade
        assert await locked() is not None, "that makes them no fewer"
        for seq in await bw.database.read(lambda c: c.execute(select(t.incident.c.seq)).scalars().all()):
            await bw.database.write(
                lambda c, seq=seq: store.close_incident(c, seq, "Neo", "Talked to them.", bw.stamp())  # type: ignore[misc]
            )
        assert await locked() is None
