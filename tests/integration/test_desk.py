"""A clerk's and an inspector's day at the command line: two authorities, real nodes, every command as somebody types it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from kpmsg.case.prefill import FROM_A_CASE
from kpnode.release import FourEyes
from kpnode.sample import Trade
from kpnode.store.callers import Scope
from tests.api import Office, office
from tests.desks import OFFICER, Desk, offices
from tests.exchange import submit, until

NUMBERS = {
    "numbers": [
        {
            "letters": "BW",
            "digits": 6,
            "leading_zeros": "padding",
            "ranges": [{"first": 1, "last": 300}],
            "valid_from": "2020-01-01",
        }
    ]
}


def today() -> date:
    return datetime.now(UTC).date()


def shipment(n: int = 0) -> dict[str, Any]:
    """A notification of today with a single line; the number is BW 00000(n + 1)."""
    draft = dict(Trade("BW", "AE", on=today(), seed=5).notification(n))
    assert len(draft["data"]["lines"]) == 1 or n
    return draft


async def notified(clerk: Desk, folder: Path, n: int = 0) -> str:
    """Submit a notification from a file, as a system does; its number as printed."""
    draft = shipment(n)
    file = folder / f"notification{n}.json"
    file.write_text(json.dumps(draft))
    await clerk.run("submit", str(file), "--wait", "20")
    return str(draft["data"]["certificate"]["number_raw"])


def words(text: str) -> str:
    return " ".join(text.split())


async def test_a_parcel_that_weighs_less_from_notification_to_correction(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        sent = Decimal(shipment()["data"]["carats"])
        less = sent - 20

        out = await inspector.run("todo")
        assert number in out
        assert "The import confirmation is due." in words(out)
        assert "Nothing waits for us." in await clerk.run("todo")
        assert number in await clerk.run("todo", "--them", "--kind", "confirmation", "--partner", "AE")
        assert "Nothing waits" in await inspector.run("todo", "--overdue")

        # A notice cannot be given without a place; then it is.
        out = await inspector.run("say", "arrival", number, "--yes", status=3)
        assert "/place: The place is missing." in out
        out = await inspector.run("say", "arrival", number, "--set", "place=Dubai, vault 4", "--yes")
        assert "Said. BW has signed for it." in out

        # What the scale shows is said once.
        told = await inspector.json("say", "import", number, "--set", f"/found/carats={less}", "--yes")
        data = told["documents"][0]["document"]["data"]
        assert (data["outcome"], data["found"]["lines"][0]["carats"]) == (
            "confirmed_with_discrepancy",
            f"{less:.2f}",
        )
        assert data["confirmed_by"] == {
            "authority": "AE",
            "role": "importing_authority",
            "officer": "A. Peeters",
        }

        out = await clerk.run("show", number)
        assert "confirmed with discrepancy" in out
        assert f"{sent:,.2f}" in out
        assert "-20.00" in out
        assert "more than is tolerated" in out
        assert "the exporting authority has not said anything about it" in words(out)
        assert "What was found differs" in words(await clerk.run("todo"))

        # Asked, looked into, answered.
        out = await inspector.run(
            "say", "discrepancy-query", number, "--set", f"/doubts/0/found={less:.2f}", "--yes"
        )
        assert f"{less:.2f} found, not {sent:.2f}" in words(out)
        out = await clerk.run("todo", "--kind", "query")
        assert "an answer is due" in words(out)
        answer = ["say", "response", number, "--set", "/answers/0/verdict=investigating", "--yes"]
        assert "investigating; hold" in await clerk.run(*answer)
        assert "carats: correct to" in await clerk.run("say", "response", number, "--yes")

        # The exporting authority amends, the importing one corrects: all agrees.
        amended = ["say", "amendment", number, "--set", f"/content/carats={less}", "--yes"]
        out = await clerk.run(*amended)
        assert "outcome of query" in out
        corrected = ["say", "correction", number, "--set", "/content/outcome=confirmed", "--drop"]
        out = await inspector.run(*corrected, "/content/discrepancies", "--set", "/reason=reweighed", "--yes")
        assert "left out" in out
        found = await clerk.json("show", number)
        assert (found["state"], found["revision"], found["matters"]) == ("confirmed", 1, [])
        assert (found["flags"], found["differences"], found["waiting_for"]) == (
            ["amended", "corrected"],
            [],
            "nobody",
        )
        assert [one["document"]["source"] for one in found["documents"]] == [
            "BW",
            "AE",
            "AE",
            "AE",
            "BW",
            "BW",
            "BW",
            "AE",
        ]
        assert "Nothing waits for us." in await clerk.run("todo")
        assert "Nothing waits for us." in await inspector.run("todo")


async def test_nobody_types_a_figure_twice(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        less = f"{Decimal(shipment()['data']['carats']) - 20:.2f}"
        assert "shipment is ours" in await clerk.run("say", "import-conf", number, "--yes", status=3)

        wishes = ["--set", f"found/carats={less}", "--set", "discrepancies/0/disposition=under_query"]
        out = words(await inspector.run("say", "import-conf", number, *wishes, "--yes"))
        assert "carats under query" in out
        assert "seals intact: yes; inspection: full" in out
        assert "confirmed by A. Peeters" in out

        # Who has been told of a difference may answer before being asked.
        written = await clerk.json("draft", "response", number)
        assert written["draft"]["data"]["answers"] == [
            {"field": "carats", "verdict": "correct_to", "corrected": less}
        ]
        out = words(await inspector.run("say", "query", number, "--yes"))
        assert f"carats: {less} found, not" in out


async def test_a_blank_that_was_spoilt_is_accounted_for(tmp_path: Path) -> None:
    series = {"letters": "BW", "digits": 6, "leading_zeros": "padding", "valid_from": "2020-01-01"}
    policy = {"BW": {"numbers": [series | {"ranges": [{"first": 1, "last": 9}]}]}}
    async with offices(tmp_path, policy) as (bw, _):
        clerk = await bw.desk("K. Moeti", (*OFFICER, Scope.WRITE_NUMBERS))
        assert "never used: BW000001 to BW000009 (9)" in await clerk.run("numbers")
        out = await clerk.run("numbers", "--void", "BW 000002", "--because", "Spoilt in the printer.")
        assert "never used: BW000001, BW000003 to BW000009 (7)" in out
        assert "give it with --void" in await clerk.run("numbers", "--because", "x", status=2)
        assert "write a series as" in await clerk.run("numbers", "BW 000002", status=2)


async def test_what_is_late_is_told_to_whoever_is_late(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        await clerk.run("say", "request", number, "--yes")
        assert "asked where the shipment is" in words(await inspector.run("todo", "--kind", "request"))
        assert "there is no such kind; there is: confirmation" in await clerk.run(
            "todo", "--kind", "x", status=2
        )
        for there in (bw, ae):
            there.site.running.clock = lambda: datetime.now(UTC) + timedelta(days=45)
        found = await inspector.json("todo", "--overdue")
        kinds = {matter["kind"] for each in found["certificates"] for matter in each["matters"]}
        assert kinds == {"confirmation", "request"}
        late = found["certificates"][0]["matters"][0]["days_overdue"]
        assert f"{late} late" in await inspector.run("todo", "--overdue")
        assert number in await clerk.run("todo", "--them", "--overdue")
        assert "Nothing waits for us." in await clerk.run("todo", "--overdue")
        out = await clerk.run("say", "request", number, "--yes")
        assert "reminder 2; due" in words(out)


async def test_a_withdrawal_names_what_it_takes_back(tmp_path: Path) -> None:
    async with offices(tmp_path, BW=FourEyes(types=("withdrawal",))) as (bw, _):
        clerk, officer = await bw.desk("K. Moeti"), await bw.desk("B. Officer", OFFICER)
        number = await notified(clerk, tmp_path)
        await clerk.run("say", "cancellation", number, "--set", "/reason=lost", "--yes")
        assert "lost or stolen" in await clerk.run("show", number)
        out = await clerk.run("say", "withdrawal", number, "--set", "/reason=Found again.", "--yes")
        assert f"takes back cancellation of {today()}: lost" in out
        assert "takes back cancellation" in await officer.run("release", "1", "--yes")
        out = await clerk.run("show", number)
        assert f"{number}  notified" in out
        assert "[taken back]" in out


async def test_four_eyes_at_two_desks(tmp_path: Path) -> None:
    policy = FourEyes(types=("import-confirmation", "message"))
    async with offices(tmp_path, AE=policy) as (bw, ae):
        exporter = await bw.desk("K. Moeti")
        clerk, officer = await ae.desk("A. Peeters", OFFICER), await ae.desk("B. Officer", OFFICER)
        number = await notified(exporter, tmp_path)
        out = await clerk.run("say", "import", number, "--yes")
        assert "Draft 1 waits for a second person: kpmsg release 1" in out
        assert (await exporter.json("show", number))["state"] == "notified"
        assert "A. Peeters has written in it" in await clerk.run("release", "1", "--yes", status=5)

        await officer.run("say", "message", number, "--set", "text=All is well.", "--yes")
        drafts = (await officer.json("drafts"))["drafts"]
        assert [(each["id"], each["persons"]) for each in drafts] == [
            (2, ["B. Officer"]),
            (1, ["A. Peeters"]),
        ]
        out = await officer.run("drafts")
        assert "Import confirmation to BW (Botswana) about BW 000001" in out
        assert "confirmed; " in out

        # Of all, the one that he has written is left for somebody else.
        done = await officer.json("release", "--all", "--yes", "--wait", "20")
        assert [each["type"] for each in done["documents"]] == ["org.kimberley.import-confirmation.v1"]
        assert done["not_released"] == {"own": [2], "broken": []}
        assert (await exporter.json("show", number))["state"] == "confirmed"
        assert "Draft 2 is discarded." in await clerk.run("discard", "2", "--because", "It is not needed.")
        assert "No draft waits." in await officer.run("drafts")
        assert "There is nothing to release." in await officer.run("release", "--all", "--yes")
        assert "discarded by A. Peeters" in words(await officer.run("release", "2", "--yes", status=3))


async def test_a_number_is_asked_about_and_the_answer_told_plainly(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        sent = shipment()["data"]
        shown = [
            "--carats",
            sent["carats"],
            "--issued",
            sent["date_of_issue"],
            "--parcels",
            str(sent["parcels"]),
        ]
        out = await inspector.run("ask", number, "--to", "BW", *shown)
        assert "BW (Botswana) issued this number, and all that you have shown agrees." in words(out)
        out = await inspector.run("ask", number, "--to", "BW", "--carats", "1", "--exporter", "X", status=1)
        assert "not with what you have shown: carats, exporter." in words(out)
        out = await inspector.run("ask", number, "--to", "BW")
        assert "Nothing else was shown, or compared." in words(out)
        out = await inspector.run("ask", "BW 000777", "--to", "BW", "--carats", "12.5", status=1)
        assert "NEVER ISSUED THIS NUMBER" in out
        assert "suspected counterfeit" in await inspector.run("show", "BW 000777")
        assert "must secure the goods" in words(await inspector.run("todo", "--kind", "counterfeit"))

        # The same question again is asked anew, since the answer may be another by now.
        told = await inspector.json("ask", "BW 000777", "--to", "BW", "--carats", "12.5", status=1)
        assert told["answer"]["document"]["data"]["finding"] == "unknown"
        asked = [
            one
            for one in (await inspector.json("show", "BW 000777"))["documents"]
            if one["direction"] == "out"
        ]
        assert len(asked) == 2
        assert "partner-unknown" in await inspector.run(
            "ask", number, "--to", "ZA", "--carats", "1", status=3
        )


async def test_a_question_that_waits_for_its_answer_is_not_asked_twice(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        inspector = await ae.desk("A. Peeters")
        bw_node, bw.site.node = bw.site.running, None  # BW does not answer
        asked = ["ask", "BW 000777", "--to", "BW", "--carats", "1"]
        for _ in range(2):
            out = await inspector.run(*asked, "--wait", "0", status=4)
            assert "has not answered yet. Run the same command again later." in words(out)
        assert len((await inspector.json("show", "BW 000777"))["documents"]) == 1
        bw.site.node = bw_node
        assert "NEVER ISSUED" in await inspector.run(*asked, "--wait", "60", status=1)


async def test_stolen_numbers_are_warned_of_by_two_people(tmp_path: Path) -> None:
    async with offices(tmp_path, policies={"BW": NUMBERS}) as (bw, ae):
        clerk, officer = await bw.desk("K. Moeti"), await bw.desk("B. Officer", OFFICER)
        inspector = await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        stolen = ["alert", "--kind", "stolen", "--numbers", "BW 000100-BW 000199", "--numbers", "BW 000250"]
        out = await clerk.run(
            *stolen, "--because", "Taken from the printer.", "--contact", "K. Moeti", "--yes"
        )
        assert "stolen: BW 000100 to BW 000199; BW 000250" in out
        said = await officer.json("release", "1", "--yes", "--wait", "20")
        [warned] = said["documents"]
        out = await inspector.run("say", "message", number, "--set", "text=Which are they?", "--yes")
        assert "Said." in out
        await inspector.run("ask", "BW 000150", "--to", "BW", "--carats", "1", status=1)
        assert "ALERT by BW (Botswana): stolen, BW000100 to BW000199" in await inspector.run(
            "show", "BW 000150"
        )

        out = words(await clerk.run("numbers"))
        assert "BW000001 BW000300 300 1 0 0 0 299" in out
        assert "under alert (stolen): BW000100 to BW000199" in out
        assert "allots no numbers" in await clerk.run("numbers", "BW/9", status=2)
        assert "L02" in await clerk.run("alert", "--kind", "void", "--numbers", "BW 1-BW 2", "--because", "x",
                                         "--to", "AE", "--yes", "--numbers", "AE 1", status=3)  # fmt: skip

        ended = ["alert", "--withdraw", warned["id"], "--because", "The box was found, sealed.", "--yes"]
        assert "went to AE" in words(await clerk.run(*ended, "--to", "ZA", status=2))
        out = words(await clerk.run(*ended))
        assert "Withdrawal to every partner" in out
        assert "takes back alert" in out
        assert "Draft 2 waits for a second person" in out
        assert "received withdrawal to AE" in words(
            await officer.run("release", "2", "--yes", "--wait", "20")
        )
        assert "ALERT" not in await inspector.run("show", "BW 000150")


async def test_photographs_go_with_a_notice_and_are_fetched(tmp_path: Path) -> None:
    picture = tmp_path / "seal.jpg"
    picture.write_bytes(os.urandom(300_000))
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        line = await inspector.run("attach", str(picture))
        notice = [
            "say",
            "irregularity",
            number,
            "--set",
            "irregularities=seal_broken",
            "--set",
            f"/attachments/-={line}",
        ]
        notice += ["--set", "description=Broken.", "--yes"]
        out = await inspector.run(*notice, "--attach", str(picture))
        assert "Said." in out
        assert "file: seal.jpg (image/jpeg, 300,000 bytes)" in await clerk.run("show", number)
        document = (await clerk.json("show", number))["documents"][-1]["id"]
        assert document in await clerk.run("show", number, "--ids")
        assert "seal.jpg (image/jpeg, 300000 bytes, not-fetched)" in words(await clerk.run("fetch", document))
        out = await clerk.run("fetch", document, "seal.jpg", "--out", str(tmp_path / "copy"))
        assert "just as they were signed for" in words(out)
        assert (tmp_path / "copy").read_bytes() == picture.read_bytes()
        digest = json.loads(line)["sha256"]
        refused = await clerk.run("fetch", document, digest[:8], "--out", str(tmp_path / "copy"), status=2)
        assert "exists already, and is not overwritten" in refused
        await clerk.run("fetch", document, "other.jpg", "--out", str(tmp_path / "other"), status=2)


async def test_a_draft_in_a_file_is_submitted_as_it_was_changed(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        file = tmp_path / "confirmation.json"
        await inspector.run(
            "draft", "import-confirmation", number, "--set", "/remarks=Scale 4", "--out", str(file)
        )
        assert json.loads(file.read_text())["data"]["remarks"] == "Scale 4"
        await inspector.run("submit", str(file), "--wait", "20")
        assert (await clerk.json("show", number))["state"] == "confirmed"
        out = await inspector.run("draft", "arrival", number)
        assert "/place: The place is missing." in out
        told = await inspector.json("draft", "arrival", number)
        assert [one["pointer"] for one in told["problems"]] == ["/data/place"]


async def test_what_was_said_before_is_said_again_on_purpose_only(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, ae):
        clerk = await bw.desk("K. Moeti")
        number = await notified(clerk, tmp_path)
        message = ["say", "message", number, "--set", "text=Has it come?", "--yes"]
        await clerk.run(*message)
        assert "Exactly this was said before" in await clerk.run(*message)
        assert "Exactly" not in await clerk.run(*message, "--again")
        assert len((await clerk.json("show", number))["documents"]) == 3
        await until(lambda: ae.site.running.peers["BW"].conversation.ready)


async def test_numbers_that_are_not_there_are_told_with_what_is_near(tmp_path: Path) -> None:
    async with offices(tmp_path) as (bw, _):
        clerk = await bw.desk("K. Moeti")
        number = await notified(clerk, tmp_path)
        said = " ".join((await clerk.run("show", "BW 000010", status=2)).split())
        assert f"may have been meant: {number}" in said
        assert "Compare the paper" in said
        assert "not-found" in await clerk.run("say", "message", "BW 9", "--set", "text=x", "--yes", status=2)
        out = await clerk.run("say", "response", number, "--yes", status=3)
        assert "There is no discrepancy-query to answer" in out


async def test_a_person_at_a_terminal_is_asked(tmp_path: Path) -> None:
    """And is shown colours, which nobody else is."""
    async with offices(tmp_path) as (bw, ae):
        clerk, inspector = await bw.desk("K. Moeti"), await ae.desk("A. Peeters")
        number = await notified(clerk, tmp_path)
        for answer, status, said in (("n", 1, "Nothing was said."), ("y", 0, "Said. BW has signed for it.")):
            ended, screen = await asyncio.to_thread(_typed, inspector, ["say", "import", number], answer)
            assert (ended, "Sign and send it? [y/N]" in screen, said in screen) == (status, True, True)
            assert "\x1b[" in screen
        assert (await clerk.json("show", number))["state"] == "confirmed"
        assert "\x1b[" not in await clerk.run("show", number)


def _typed(desk: Desk, arguments: list[str], answer: str) -> tuple[int, str]:
    """What somebody sees who answers one question."""
    environment = {"KPMSG_URL": desk.url, "KPMSG_KEY": desk.key, "KPMSG_OFFICER": desk.person}
    environment |= {"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", "from kpmsg.cli import app; app()", *arguments]
    ours, theirs = pty.openpty()
    with open(ours, "r+b", buffering=0) as screen:
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        seen = b""
        try:
            while piece := screen.read(4096):
                seen += piece
                if seen.count(b"[y/N]") == 1 and not seen.endswith(b"\n") and answer:
                    screen.write(f"{answer}\n".encode())
                    answer = ""
        except OSError:
            pass  # so Linux says that nobody is at the other end any more
        return process.wait(), seen.decode()


# -- the node's side -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as opened:
        yield opened


@pytest.fixture
async def client(there: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with await there.client() as opened:
        yield opened


async def test_drafts_are_filled_in_by_the_node(there: Office, client: httpx.AsyncClient) -> None:
    await submit(there.node, shipment())
    found: dict[str, Any] = {}
    for spelling in ("BW000001", "bw 000001", "BW/00-00.01"):
        answer = await client.get(f"/v1/certificates/{spelling}/draft", params={"type": "cancellation"})
        found = answer.json()
        assert (answer.status_code, found["verdict"], found["release_needed"]) == (200, "accepted", False)
        assert (found["draft"]["type"], found["draft"]["recipient"]) == ("cancellation", "AE")
    drafts = await client.post("/v1/documents", params={"dry_run": "true"}, json=found["draft"])
    assert drafts.json()["documents"] == [{n: found[n] for n in found if n not in {"draft", "tolerance"}}]
    answer = await client.get("/v1/certificates/BW000001/draft", params={"type": "message"})
    assert [one["pointer"] for one in answer.json()["problems"]] == ["/data/text"]
    french = await client.get(
        "/v1/certificates/BW000001/draft", params={"type": "message"}, headers={"accept-language": "fr"}
    )
    assert french.headers["content-language"] == "fr"


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("BW000002", {"type": "cancellation"}, 404, "not-found"),
        ("B" * 65, {"type": "cancellation"}, 404, "not-found"),
        ("BW000001", {"type": "discrepancy-response"}, 409, "nothing-to-say"),
        ("BW000001", {"type": "confirmation-correction"}, 409, "nothing-to-say"),
        ("BW000001", {"type": "export-notification"}, 422, "request-invalid"),
        ("BW000001", {"type": "horoscope"}, 422, "request-invalid"),
        ("BW000001", {}, 422, "request-invalid"),
        ("BW000001", {"type": "cancellation", "officer": "x" * 201}, 422, "request-invalid"),
        ("BW000001", {"type": "cancellation", "more": "x"}, 422, "request-invalid"),
    ],
)
async def test_what_cannot_be_filled_in(
    there: Office, client: httpx.AsyncClient, path: str, params: dict[str, str], status: int, code: str
) -> None:
    await submit(there.node, shipment())
    answer = await client.get(f"/v1/certificates/{path}/draft", params=params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await client.get("/v1/certificates/BW000001")).status_code == 200


async def test_who_may_not_read_documents_gets_no_drafts(there: Office) -> None:
    async with there.client_with(None) as stranger:
        answer = await stranger.get("/v1/certificates/BW000001/draft", params={"type": "message"})
        assert answer.status_code == 401


async def test_every_type_that_is_written_from_a_case_is_a_draft_or_a_reason(
    there: Office, client: httpx.AsyncClient
) -> None:
    await submit(there.node, shipment())
    for kind in FROM_A_CASE:
        answer = await client.get("/v1/certificates/BW000001/draft", params={"type": kind, "officer": "K."})
        assert answer.status_code in {200, 409}, kind
        if answer.status_code == 200:
            assert answer.json()["draft"]["type"] == kind


async def test_a_certificate_is_shown_with_its_whole_case(there: Office, client: httpx.AsyncClient) -> None:
    draft = shipment()
    notification = await submit(there.node, draft)
    found = (await client.get("/v1/certificates/BW000001")).json()
    assert (found["revision"], found["current"], found["cancellation"]) == (0, notification, None)
    assert (found["expires"], found["flags"]) == (draft["data"]["date_of_expiry"], [])
    assert found["due"] >= (today() + timedelta(days=1)).isoformat()
    assert (found["waiting_for"], found["turn"]) == ("them", "importer")
    assert [each["kind"] for each in found["matters"]] == ["confirmation"]
