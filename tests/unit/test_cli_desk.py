"""What a clerk writes on the command line, as the field has it; what follows from it; and what is printed of what partners write."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from kpmsg import cli, documents
from kpmsg.case.filling import (
    LEFT_OUT,
    Tolerance,
    WishError,
    changed,
    followed,
    number_range,
    type_of,
    wishes,
)
from kpmsg.case.prefill import FROM_A_CASE
from kpmsg.cli import edge as cli_edge
from kpmsg.client import asking
from kpmsg.documents import TYPES
from kpmsg.essence import content_of, essence
from tests.unit.documents_full import EXPORT_NOTIFICATION, FULL, ID, TIME, copy

API_KEY = "kp_" + "ab" * 8 + "_" + "cd" * 32
SPOOF = "\u202e\u2066evil\u200b\U000e0041"

# -- values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("import-confirmation", "/found/carats=12.40", "12.40"),
        ("import-confirmation", "found/carats=12.40", "12.40"),
        ("import-confirmation", "/data/found/carats=12.40", "12.40"),
        ("import-confirmation", '/found/carats="12.40"', "12.40"),
        ("import-confirmation", "/found/carats=12.4", "12.40"),
        ("import-confirmation", "/found/carats= 12 ", "12.00"),
        (
            "import-confirmation",
            "/found/carats=0.005",
            "0.005",
        ),  # for the rules to refuse: nothing is rounded
        ("import-confirmation", "/found/carats=1,200.00", "1,200.00"),
        ("import-confirmation", "/found/carats=1e3", "1e3"),
        ("import-confirmation", "/found/carats=", ""),
        ("import-confirmation", "/found/parcels=4", 4),
        ("import-confirmation", "/found/parcels=04", "04"),
        ("import-confirmation", "/found/parcels=4.0", "4.0"),
        ("import-confirmation", "/found/parcels=four", "four"),
        ("import-confirmation", "/coupon/paper_sent=yes", True),
        ("import-confirmation", "/coupon/paper_sent=false", False),
        ("import-confirmation", "/seals_intact=yes", "yes"),
        ("import-confirmation", "/date_of_arrival=2026-03-05", "2026-03-05"),
        ("import-confirmation", "/remarks=null", "null"),
        ("import-confirmation", "/remarks=true", "true"),
        ("import-confirmation", "/remarks=17", "17"),
        ("import-confirmation", '/remarks={"a": 1}', '{"a": 1}'),
        ("import-confirmation", '/remarks=said "no"', 'said "no"'),
        ("import-confirmation", "/remarks=a=b", "a=b"),
        ("import-confirmation", "/notification=null", None),
        ("import-confirmation", '/coupon={"paper_sent": true}', {"paper_sent": True}),
        ("import-confirmation", "/found/lines=[]", []),
        ("export-amendment", "/content/replaces=0012", "0012"),
        ("export-amendment", "/content/lines/0/origin/country=NA", "NA"),
        ("export-amendment", "/content/lines/0/origin/kind=single", "single"),
        ("export-amendment", "/knows_confirmation=null", None),
        ("confirmation-request", "/level=2", 2),
        ("irregularity-notice", "/irregularities=weight, seal_broken", ["weight", "seal_broken"]),
        ("irregularity-notice", '/irregularities=["weight"]', ["weight"]),
        ("irregularity-notice", "/irregularities/-=weight", "weight"),
        ("discrepancy-query", "/doubts/0/found=17", "17"),
        ("message", "/answer_wanted=no", False),
    ],
)
def test_a_value_is_read_as_its_field_has_it(kind: str, written: str, value: object) -> None:
    [found] = wishes(kind, [written]).values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("/found/carrats=1", "/found/carats may be meant"),
        ("/nowhere=1", "there is: attachments, certificate"),
        ("/found/lines/first/hs=1", "its places are 0, 1, ..."),
        ("/found/carats/x=1", "/found/carats has no parts"),
        ("/found/carats", "write /place=value"),
        ("=1", "names no place"),
        ("/=1", "names no place"),
        ("/found=12", "/found is written as {...}"),
        ("/found/lines={}", "/found/lines is written as [...]"),
        ("/coupon={paper_sent: yes}", "/coupon has parts of its own and is written as JSON"),
        ('/coupon={"paper_sent": true, "paper_sent": false}', "written as JSON"),
        ('/found={"carats": 12.4}', "amounts travel as decimal strings"),
        (f"/{SPOOF}=1", "<202E>"),
    ],
)
def test_what_cannot_be_put_anywhere_is_told(written: str, said: str) -> None:
    with pytest.raises(WishError) as raised:
        wishes("import-confirmation", [written])
    assert said in str(raised.value)


def test_what_is_dropped_must_have_a_place_too() -> None:
    assert wishes("message", ["/text=Hello"], ["/in_reply_to"]) == {
        "/text": "Hello",
        "/in_reply_to": LEFT_OUT,
    }
    with pytest.raises(WishError, match="/in_reply_to may be meant"):
        wishes("message", [], ["/in_replyto"])


@pytest.mark.parametrize("kind", [kind.name for kind in TYPES.values()])
def test_every_place_of_every_type_can_be_written(kind: str) -> None:
    """What stands in a full document of a type is what its text is read as."""

    def leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for name, each in value.items():
                yield from leaves(each, f"{at}/{name}")
        elif isinstance(value, list):
            yield at, value
            for place, each in enumerate(value):
                yield from leaves(each, f"{at}/{place}")
        else:
            yield at, value

    _, draft = FULL[kind]
    for pointer, value in leaves(draft["data"], ""):
        text = value if isinstance(value, str) else json.dumps(value)
        assert wishes(kind, [f"{pointer}={text}"]) == {pointer: value}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("import-confirmation", "import-confirmation"),
        ("arrival", "arrival-notice"),
        ("Import", "import-confirmation"),
        ("response", "discrepancy-response"),
        ("message", "message"),
    ],
)
def test_a_type_may_be_named_by_a_part_of_it(said: str, meant: str) -> None:
    assert type_of(said, FROM_A_CASE) == meant


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("confirmation", "confirmation-request or import-confirmation"),
        ("", "there is"),
        ("alert", "there is"),
    ],
)
def test_a_type_that_may_be_several_is_not_guessed(said: str, told: str) -> None:
    with pytest.raises(WishError, match=told):
        type_of(said, FROM_A_CASE)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("BW 000100-BW 000199", {"first": "BW 000100", "last": "BW 000199"}),
        ("BW 000100 - BW 000199", {"first": "BW 000100", "last": "BW 000199"}),
        ("BW 000100 to bw 000199", {"first": "BW 000100", "last": "bw 000199"}),
        ("BW000100..BW000199", {"first": "BW000100", "last": "BW000199"}),
        ("BW 000100\u2013BW 000199", {"first": "BW 000100", "last": "BW 000199"}),
        ("BW-000100-BW-000199", {"first": "BW-000100", "last": "BW-000199"}),
        ("BW-000100", {"first": "BW-000100"}),
        ("BW 12-345", {"first": "BW 12-345"}),
        ("BW-BW-1", {"first": "BW-BW-1"}),
        (" BW 000100 ", {"first": "BW 000100"}),
    ],
)
def test_ranges_of_numbers(written: str, meant: dict[str, str]) -> None:
    assert number_range(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "BW 000100-000199",
        "BW 000100/000199",
        "BW 000100 to 000199",
        "BW 000100..199",
        "BW 000100 \u2013 199",
        "BW 100 - 199",
        "EU 000100-EC 000199",
        "BW 000100/BW 000199",
        "BW 000100, BW 000199",
        "BW000100BW000199",
    ],
)
def test_what_may_be_a_range_is_not_taken_for_a_single_number(written: str) -> None:
    with pytest.raises(WishError, match="write both of its numbers whole"):
        number_range(written)


@pytest.mark.parametrize("number", ["BW 0001-0002", "BW 2026/KP 17", "BW 1-KP-5"])
def test_a_single_number_that_looks_like_a_range_can_be_named(number: str) -> None:
    assert number_range(f"{number} - {number}") == {"first": number, "last": number}


# -- what follows --------------------------------------------------------------------------------------------------------

EXACT = Tolerance()
USUAL = Tolerance(Decimal("0.05"), Decimal("0.001"), Decimal("0.01"))


def confirmation(**more: Any) -> dict[str, Any]:
    """An import confirmation as it is prefilled: all as notified."""
    found = {"parcels": 2, "carats": "100.00", "lines": [{"hs": "7102.31", "carats": "100.00"}]}
    data = {"outcome": "confirmed", "found": found, "declared_value_usd": "5000.00"}
    return {"type": "import-confirmation", "recipient": "BW", "data": data | more}


def said(draft: dict[str, Any], *settings: str, tolerance: Tolerance = EXACT) -> dict[str, Any]:
    """The data of a draft with what was written, and with what follows."""
    changes = followed(draft, wishes(draft["type"], settings), tolerance)
    data: dict[str, Any] = changed(draft, changes)["data"]
    return data


def test_fewer_carats_are_a_discrepancy_of_the_only_line() -> None:
    data = said(confirmation(), "/found/carats=98.5")
    assert data["found"]["lines"] == [{"hs": "7102.31", "carats": "98.50"}]
    assert data["outcome"] == "confirmed_with_discrepancy"
    assert data["discrepancies"] == [
        {"field": "carats", "notified": "100.00", "found": "98.50", "disposition": "accepted"}
    ]


def test_parcels_and_values_too() -> None:
    data = said(confirmation(), "/found/parcels=1", "/found/value_usd=4000")
    assert [(each["field"], each["notified"], each["found"]) for each in data["discrepancies"]] == [
        ("parcels", "2", "1"),
        ("value_usd", "5000.00", "4000.00"),
    ]


@pytest.mark.parametrize(
    ("setting", "counts"),
    [
        ("/found/carats=99.90", False),
        ("/found/carats=99.89", True),
        ("/found/carats=100.1", False),
        ("/found/value_usd=4950", False),
        ("/found/value_usd=4949.99", True),
        ("/found/parcels=3", True),
        ("/found/carats=100.00", False),
    ],
)
def test_what_is_tolerated_is_no_discrepancy(setting: str, *, counts: bool) -> None:
    data = said(confirmation(), setting, tolerance=USUAL)
    assert (data["outcome"] == "confirmed_with_discrepancy", "discrepancies" in data) == (counts, counts)


def test_what_a_clerk_has_written_is_never_overruled() -> None:
    assert said(confirmation(), "/found/carats=98.50", "/outcome=partial")["outcome"] == "partial"
    data = said(confirmation(), "/found/carats=98.50", "/found/lines/0/carats=97.00")
    assert data["found"]["lines"][0]["carats"] == "97.00"
    data = said(confirmation(), "/found/carats=98.50", "/discrepancies=[]")
    assert (data["outcome"], data["discrepancies"]) == ("confirmed", [])
    data = said(confirmation(outcome="arrived_despite_cancellation"), "/found/carats=98.50")
    assert data["outcome"] == "arrived_despite_cancellation"


def test_of_several_lines_nobody_knows_which() -> None:
    lines = [{"hs": "7102.31", "carats": "60.00"}, {"hs": "7102.21", "carats": "40.00"}]
    draft = confirmation(found={"parcels": 2, "carats": "100.00", "lines": lines})
    assert said(draft, "/found/carats=98.50")["found"]["lines"] == lines


def test_nonsense_is_left_for_the_rules() -> None:
    data = said(confirmation(), "/found/carats=NaN", "/found/parcels=many", tolerance=USUAL)
    assert (data["found"]["carats"], data["found"]["parcels"]) == ("NaN", "many")


def test_a_correction_puts_its_discrepancies_right() -> None:
    content = copy(FULL["import-confirmation"][1]["data"])
    draft = {"type": "confirmation-correction", "recipient": "BW", "data": {"content": content}}
    data = said(draft, "/content/found/carats=1199.00")["content"]
    assert (data["discrepancies"][0]["found"], data["found"]["lines"][0]["carats"]) == ("1199.00", "1199.00")
    data = said(draft, "/content/found/carats=1200.00")["content"]
    assert (data["outcome"], "discrepancies" in data) == ("confirmed", False)
    assert said(draft, "/reason=clerical_error")["content"] == content


def test_an_amendment_of_one_line_amends_the_line_and_says_so() -> None:
    content = copy(EXPORT_NOTIFICATION["data"])
    content["lines"] = content["lines"][:1]
    draft = {"type": "export-amendment", "recipient": "AE", "data": {"content": content, "changed": []}}
    data = said(draft, "/content/carats=1150", "/content/attachments/-={}")
    assert data["content"]["lines"][0]["carats"] == "1150.00"
    assert data["changed"] == ["/carats", "/attachments", "/lines/0/carats"]


@pytest.mark.parametrize(
    ("verdict", "instruction"),
    [("original_stands", "accept"), ("investigating", "hold"), ("correct_to", "endorse_correction")],
)
def test_an_answer_that_corrects_nothing_names_no_correction(verdict: str, instruction: str) -> None:
    answers = [{"field": "carats", "verdict": "correct_to", "corrected": "98.50"}]
    draft: dict[str, Any] = {"type": "discrepancy-response", "recipient": "AE"}
    draft |= {"data": {"answers": answers, "instruction": "endorse_correction"}}
    data = said(draft, f"/answers/0/verdict={verdict}")
    assert data["instruction"] == instruction
    assert ("corrected" in data["answers"][0]) == (verdict == "correct_to")


# -- places that are not there yet ---------------------------------------------------------------------------------------


def test_lists_grow_and_shrink() -> None:
    draft = {"type": "message", "recipient": "AE", "data": {"text": "See the picture."}}
    one = changed(draft, {"/attachments/-": {"name": "a"}})
    two = changed(one, {"/attachments/-": {"name": "b"}, "/attachments/0/name": "c"})
    assert two["data"]["attachments"] == [{"name": "c"}, {"name": "b"}]
    assert changed(two, {"/attachments/0": LEFT_OUT})["data"]["attachments"] == [{"name": "b"}]
    for pointer in ("/attachments/3", "/attachments/x", "/attachments/-1", "/text/x", "/text/x/y"):
        with pytest.raises(LookupError):
            changed(two, {pointer: "d"})


# -- in a line -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FULL)
def test_every_type_has_an_essence(kind: str) -> None:
    source, draft = FULL[kind]
    _, payload = documents.compose(draft, source=source, id=ID, time=TIME)
    text = essence(content_of(json.loads(payload)))
    assert text
    assert not dangerous(text)


def test_what_cannot_be_read_has_none() -> None:
    for document in ({}, {"type": "org.kimberley.horoscope.v1"}, {"data": 1}):
        assert content_of(document) is None
    assert essence(None) == ""


# -- what is printed -----------------------------------------------------------------------------------------------------


def dangerous(text: str) -> set[str]:
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {c for c in text if c != "\n" and unicodedata.category(c) in bad}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[httpx.Response]]:
    """A node that gives the answers which a test puts into the list."""
    answers: list[httpx.Response] = []

    class OverNothing(httpx.Client):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings | {"transport": httpx.MockTransport(lambda _: answers.pop(0))})

    monkeypatch.setattr(httpx, "Client", OverNothing)
    monkeypatch.setattr(asking, "PAUSES", ())
    monkeypatch.chdir(tmp_path)
    for name, value in {"KPMSG_URL": "http://127.0.0.1:1", "KPMSG_KEY": API_KEY, "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    yield answers
    assert answers == []


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not dangerous(result.output), dangerous(result.output)
    told = [line for line in result.output.splitlines() if not line.startswith(("kpmsg: ", "Error: ", "{"))]
    assert max(map(len, told), default=0) <= 80
    return result


def answer(**members: Any) -> httpx.Response:
    return httpx.Response(200, json=members)


def spoofed(value: Any) -> Any:
    """Every text with what could mislead a reader."""
    if isinstance(value, dict):
        return {name: spoofed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [spoofed(each) for each in value]
    return f"{value}{SPOOF}" if isinstance(value, str) else value


MATTER = {
    "kind": "confirmation",
    "waiting_for": "us",
    "authorities": ["AE"],
    "since": "2026-03-02",
    "due": "2026-03-16",
    "sentence": "The import confirmation is due.",
}
WAITING = {"number": "BW 012345", "partner": "EU/antwerp", "matters": [MATTER], "locked": "of a fault"}
DELIVERY = {"state": "withheld", "sentence": "It has not been sent."}


def shown() -> dict[str, Any]:
    source, draft = FULL["discrepancy-query"]
    draft = draft | {"data": draft["data"] | {"question": f"Which {SPOOF} holds? المرجان"}}
    _, payload = documents.compose(draft, source=source, id=ID, time=TIME)
    document: dict[str, Any] = {
        "id": "5f" * 32,
        "type": "org.kimberley.discrepancy-query.v1",
        "direction": "out",
        "partner": "BW",
    }
    document |= {"delivery": DELIVERY, "document": json.loads(payload)}
    found: dict[str, Any] = {
        "number": "BW 012345",
        "state": "arrived",
        "waiting_for": "both",
        "matters": [MATTER],
    }
    warned = {"kind": "stolen", "issuer": "BW", "first": "BW1", "last": "BW9", "valid_from": "2026-03-01"}
    return found | {"documents": [document], "alerts": [warned], "flags": ["late"], "locked": "of a fault"}


def test_a_certificate_of_a_test_is_shown_as_one(node: list[httpx.Response]) -> None:
    tried = shown()
    tried["documents"][0]["document"]["testing"] = True
    node += [httpx.Response(200, json=tried), httpx.Response(200, json=shown())]
    assert [run("show", "BW 012345").output.count("TEST, NOT REAL.") for _ in range(2)] == [1, 0]


def test_nothing_a_partner_writes_reaches_the_screen_as_it_is(node: list[httpx.Response]) -> None:
    node += [answer(certificates=[spoofed(WAITING)], next=None), answer(drafts=[{}, {}], next=None)]
    todo = run("todo").output
    assert "<U+202E>" in todo
    assert "2 drafts wait to be released or discarded: kpmsg drafts" in todo
    spoilt = spoofed(shown())
    spoilt["documents"][0]["document"] = shown()["documents"][0]["document"]
    node.append(httpx.Response(200, json=spoilt))
    result = run("show", "BW 012345")
    assert "evil<U+200B>" in result.output
    assert "1190.00 found, not 1200.00" in result.output
    node.append(
        httpx.Response(404, json={"code": "not-found", "detail": SPOOF, "near": [{"number": f"BW 1{SPOOF}"}]})
    )
    assert run("show", "x").exit_code == cli_edge.CANNOT_TELL
    written = {
        "id": 7,
        "type": "message",
        "persons": [SPOOF],
        "because": SPOOF,
        "draft": {"type": SPOOF, "data": 1},
    }
    node.append(answer(drafts=[written], next=None))
    assert "evil" in run("drafts").output


def test_a_draft_is_printed_with_its_letters_and_without_what_misleads(node: list[httpx.Response]) -> None:
    draft = {"type": "message", "recipient": "BW", "data": {"text": f"Алмаз {SPOOF}"}}
    node += [answer(draft=draft, problems=[]), answer(documents=[{"problems": []}])]
    result = run("draft", "message", "BW 1")
    assert "Алмаз \\u202e" in result.output
    assert json.loads(result.stdout) == draft


def test_a_file_that_exists_is_not_overwritten(node: list[httpx.Response], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    draft = {"type": "message", "recipient": "BW", "data": {"text": "Hello"}}
    node += [answer(draft=draft, problems=[]), answer(documents=[{"problems": []}])]
    assert run("draft", "message", "BW 1", "--out", "mine").exit_code == cli_edge.CANNOT_TELL
    assert (tmp_path / "mine").read_text() == "mine"


def test_nothing_is_sent_without_somebody_who_agrees(node: list[httpx.Response]) -> None:
    draft = {"type": "message", "recipient": "BW", "data": {"text": "Hello"}}
    node += [answer(draft=draft, problems=[]), answer(documents=[{"verdict": "accepted", "problems": []}])]
    result = run("say", "message", "BW 1")
    assert (result.exit_code, "give --yes" in result.output) == (cli_edge.CANNOT_TELL, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["say", "bogus", "BW 1"],
        ["say", "message", "BW 1", "--set", "nowhere"],
        ["release"],
        ["release", "1", "--all"],
        ["ask", "BW 1", "--to", "BW", "--carats", "1", "--url", "ftp://x"],
        ["alert", "--kind", "stolen", "--numbers", " ", "--because", "x"],
        ["alert", "--kind", "mislaid", "--numbers", "BW 1", "--because", "x"],
        ["alert", "--kind", "stolen", "--because", "x"],
        ["alert", "--withdraw", "ab", "--kind", "stolen", "--because", "x"],
        ["attach", "missing.pdf"],
        ["attach", "program.exe"],
        ["show", "BW 1", "--key-file", "missing"],
    ],
)
def test_a_wrong_call_asks_the_node_for_nothing(node: list[httpx.Response], arguments: list[str]) -> None:
    assert run(*arguments).exit_code == cli_edge.CANNOT_TELL


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (httpx.Response(403, json={"code": "scope-missing", "detail": "no"}), cli_edge.NOT_ALLOWED),
        (httpx.Response(503, json={"code": "store-unavailable", "detail": "no"}), cli_edge.NODE_AWAY),
        (httpx.Response(409, json={"code": "nothing-to-say", "detail": "no"}), cli_edge.BROKEN_RULE),
        (httpx.Response(200, text="<html>"), cli_edge.NOT_ALLOWED),
        (httpx.Response(200, json=[]), cli_edge.NOT_ALLOWED),
    ],
)
@pytest.mark.parametrize(
    "command",
    [["todo"], ["show", "BW 1"], ["say", "message", "BW 1"], ["drafts"], ["numbers"], ["release", "1"]],
)
def test_a_refusal_ends_it_with_its_status(
    node: list[httpx.Response], command: list[str], response: httpx.Response, status: int
) -> None:
    node.append(response)
    result = run(*command, "--json")
    assert (result.exit_code, set(json.loads(result.stdout))) == (status, {"problem"})
