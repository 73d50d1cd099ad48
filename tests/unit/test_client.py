"""The SDK's client against a node made of a table: what it repeats, what it gives up on, and what it calls a failure."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

import kpmsg
from kpmsg.client import NodeClient, idempotency_key_of
from kpmsg.client.asking import PAUSES
from kpmsg.errors import ClientError

KEY = "kp_" + "ab" * 8 + "_" + "cd" * 32
URL = "https://node.example:8443"
DRAFT = {"type": "rejection", "recipient": "AE", "data": {}}
RESOURCE = {"id": "5f" * 32, "type": "org.kimberley.rejection.v1", "delivery": {"state": "queued"}}

Answer = httpx.Response | Exception


class Node:
    """Gives the answers of a list, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self) -> NodeClient:
        return NodeClient(URL, KEY, sleep=self.slept.append, transport=httpx.MockTransport(self))


def problem(status: int, code: str = "store-unavailable", **members: Any) -> httpx.Response:
    headers = {"retry-after": members.pop("retry_after")} if "retry_after" in members else {}
    return httpx.Response(status, json={"code": code, "detail": "A sentence.", **members}, headers=headers)


TAKEN = httpx.Response(201, json=RESOURCE)
AWAY = httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        pytest.param([TAKEN], [], id="at once"),
        pytest.param([AWAY, TAKEN], [PAUSES[0]], id="after a refused connection"),
        pytest.param([httpx.ReadTimeout("slow"), TAKEN], [PAUSES[0]], id="after an answer that did not come"),
        pytest.param([httpx.RemoteProtocolError("eof"), TAKEN], [PAUSES[0]], id="after a torn connection"),
        pytest.param([problem(503), problem(503), TAKEN], list(PAUSES[:2]), id="longer each time"),
        pytest.param([problem(503, retry_after="7"), TAKEN], [7.0], id="as long as the node asks for"),
        pytest.param([problem(503, retry_after="0"), TAKEN], [PAUSES[0]], id="but never at once"),
        pytest.param(
            [problem(429, "rate-limited", retry_after="3"), TAKEN], [3.0], id="when it was too often"
        ),
        pytest.param([httpx.Response(502, text="<html>"), TAKEN], [PAUSES[0]], id="after a proxy's answer"),
        pytest.param(
            [problem(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), TAKEN],
            [PAUSES[0]],
            id="a date is no number",
        ),
    ],
)
def test_a_submission_is_repeated_under_the_same_key(answers: list[Answer], pauses: list[float]) -> None:
    node = Node(*answers)
    assert node.client().submit(DRAFT).ids == (RESOURCE["id"],)
    assert node.slept == pauses
    assert len({request.headers["idempotency-key"] for request in node.asked}) == 1
    assert len({request.content for request in node.asked}) == 1


@pytest.mark.parametrize(
    ("answer", "code", "status", "attempts"),
    [
        (AWAY, "node-unreachable", None, len(PAUSES) + 1),
        (problem(503), "store-unavailable", 503, len(PAUSES) + 1),
        (httpx.Response(504, text=""), "node-unavailable", 504, len(PAUSES) + 1),
        (problem(503, retry_after="3600"), "store-unavailable", 503, 1),
        (problem(507, "store-full"), "store-full", 507, 1),
        (problem(401, "key-unusable"), "key-unusable", 401, 1),
        (problem(409, "already-said"), "already-said", 409, 1),
        (httpx.Response(200, text="<html>Welcome</html>"), "answer-unreadable", 200, 1),
        (httpx.Response(200, json=[1]), "answer-unreadable", 200, 1),
        (httpx.Response(200, json={"documents": {}}), "answer-unreadable", 200, 1),
        (httpx.Response(200, json={"id": 1}), "answer-unreadable", 200, 1),
        (httpx.Response(200, content=b"[" * 100_000), "answer-unreadable", 200, 1),
        (httpx.Response(302, headers={"location": "https://evil.example"}), "answer-unreadable", 302, 1),
        (httpx.Response(404, json={"detail": "Not Found"}), "answer-unreadable", 404, 1),
    ],
    ids=str,
)
def test_what_cannot_succeed_is_a_client_error(
    answer: Answer, code: str, status: int | None, attempts: int
) -> None:
    node = Node(answer)
    with pytest.raises(ClientError) as raised:
        node.client().submit(DRAFT)
    assert (raised.value.code, raised.value.status, len(node.asked)) == (code, status, attempts)
    assert KEY not in str(raised.value)


def test_every_broken_rule_is_told_with_its_place() -> None:
    errors = [
        {"code": "F05", "pointer": "/1/data/carats", "detail": "The lines add up to 3."},
        {"code": "F04", "pointer": "", "detail": "Worked diamonds."},
        "noise",
    ]
    with pytest.raises(ClientError) as raised:
        Node(problem(422, "document-invalid", errors=errors)).client().submit([DRAFT, DRAFT])
    assert raised.value.pointer == "/1/data/carats"
    assert [(p.code, p.pointer) for p in raised.value.problems] == [("F05", "/1/data/carats"), ("F04", "")]


def test_a_warning_among_the_problems_stays_one() -> None:
    severities = ("reject", "warn", "hold", "of another age", None)
    errors = [{"code": "F05", "pointer": "", "detail": "Look.", "severity": each} for each in severities]
    with pytest.raises(ClientError) as raised:
        Node(problem(422, "document-invalid", errors=errors)).client().submit(DRAFT)
    found = [each.severity for each in raised.value.problems]
    assert found == ["reject", "warn", "hold", "reject", "reject"]


def test_what_a_submission_sends() -> None:
    node = Node(
        httpx.Response(
            200, json={"documents": [RESOURCE, RESOURCE]}, headers={"idempotency-replayed": "true"}
        )
    )
    done = node.client().submit([DRAFT, DRAFT], wait=30)
    [request] = node.asked
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["prefer"] == "wait=30"
    assert request.headers["idempotency-key"] == idempotency_key_of(request.content)
    assert json.loads(request.content) == [DRAFT, DRAFT]
    assert request.extensions["timeout"]["read"] > 30
    assert (done.replayed, done.received, len(done.ids)) == (True, False, 2)


def test_ready_made_json_is_sent_as_it_is() -> None:
    node = Node(TAKEN)
    node.client().submit(b' {"type": 1.0}\n', idempotency_key="mine")
    assert node.asked[0].content == b' {"type": 1.0}\n'
    assert node.asked[0].headers["idempotency-key"] == "mine"


@pytest.mark.parametrize("key", ["", " a", "a ", "a\nb", "ä", "x" * 129])
def test_an_idempotency_key_that_no_node_takes(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        Node(TAKEN).client().submit(DRAFT, idempotency_key=key)


@pytest.mark.parametrize(
    ("url", "api_key"),
    [
        ("node.example", KEY),
        ("ftp://node.example", KEY),
        ("https://user:word@node.example", KEY),
        ("https://node.example/?x=1", KEY),
        ("http://node.example", KEY),  # the key in clear
        ("http://127.0.0.1.evil.example", KEY),
        (URL, ""),
        (URL, KEY[:-1]),
        (URL, KEY + "\r\nx: y"),
    ],
)
def test_arguments_that_can_never_work(url: str, api_key: str) -> None:
    with pytest.raises(ValueError) as raised:
        NodeClient(url, api_key, sleep=print)
    assert not api_key or api_key not in str(raised.value)


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8080", "http://[::1]:8080/", "http://localhost"])
def test_addresses_of_nodes(url: str) -> None:
    NodeClient(url, KEY, sleep=print).close()


def test_plain_http_to_another_machine_must_be_said_aloud() -> None:
    with NodeClient("http://kpnode:8080", KEY, sleep=print, insecure_plaintext=True) as client:
        assert KEY not in repr(client)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda client: client.document("5f" * 32), f"/v1/documents/{'5f' * 32}"),
        (lambda client: client.document("../keys?x"), "/v1/documents/..%2Fkeys%3Fx"),
        (lambda client: client.signed("5f"), "/v1/documents/5f/signed"),
        (lambda client: client.receipt("5f"), "/v1/documents/5f/receipt"),
        (lambda client: client.certificate("bw 01/23-45"), "/v1/certificates/BW012345"),
        (lambda client: client.numbers("BW/6"), "/v1/numbers/report?series=BW%2F6"),
        (lambda client: client.draft(7), "/v1/drafts/7"),
        (lambda client: client.discard(7, "No."), "/v1/drafts/7/discard"),
        (lambda client: client.fill_in("message", "bw 01/2"), "/v1/certificates/BW012/draft?type=message"),
        (
            lambda client: list(client.work("them", overdue=True)),
            "/v1/worklist?waiting_for=them&overdue=true&limit=200",
        ),
        (lambda client: list(client.alerts(active=False)), "/v1/alerts?active=false&limit=200"),
        (lambda client: client.queue("EU/antwerp"), "/v1/partners/EU/antwerp/queue"),
        (lambda client: client.queue("a?b#c"), "/v1/partners/a%3Fb%23c/queue"),
    ],
)
def test_where_it_asks(call: Callable[[NodeClient], object], path: str) -> None:
    lists: dict[str, Any] = {name: [] for name in ("series", "problems", "certificates", "alerts")}
    node = Node(httpx.Response(200, json={"draft": {}, "next": None} | lists))
    call(node.client())
    assert node.asked[0].url.raw_path.decode() == path


def test_a_reply_is_looked_for_until_it_is_there() -> None:
    page = {"documents": [{"id": "1", "document": {"data": {"query": "other"}}}], "next": None}
    there = {
        "documents": [{"id": "2", "document": {"data": {"query": "5f", "finding": "matches"}}}],
        "next": None,
    }
    nothing, answered = httpx.Response(200, json=page), httpx.Response(200, json=there)
    node = Node(nothing, nothing, nothing, nothing, answered)
    reply = node.client().reply_to("5f", "bw 1", wait=9)
    assert reply is not None
    assert (reply.document["id"], reply.data["finding"], len(node.slept)) == ("2", "matches", 2)
    node = Node(nothing)
    assert node.client().reply_to("5f", "bw 1", wait=3) is None
    assert sum(node.slept) == 3


def test_what_is_near_is_handed_on() -> None:
    near = [{"number": "BW 000001"}, 17]
    with pytest.raises(ClientError) as caught:
        Node(problem(404, "not-found", near=near)).client().certificate("BW 1")
    assert caught.value.near == ("BW 000001",)


# -- files -----------------------------------------------------------------------------------------------------------

SCAN = b"%PDF-1.7 a scan"
SCANNED = sha256(SCAN).hexdigest()


def test_a_file_is_uploaded_as_it_is() -> None:
    node = Node(httpx.Response(201, json={"digest": SCANNED, "size": len(SCAN)}))
    assert node.client().upload(SCAN, "application/pdf") == {"digest": SCANNED, "size": len(SCAN)}
    (request,) = node.asked
    assert (request.method, request.url.path, request.content) == ("POST", "/v1/files", SCAN)
    assert request.headers["content-type"] == "application/pdf"


def test_an_upload_that_arrived_as_something_else_is_told() -> None:
    node = Node(httpx.Response(201, json={"digest": "0" * 64, "size": len(SCAN)}))
    with pytest.raises(ClientError, match="file-differs"):
        node.client().upload(SCAN, "application/pdf")


def test_a_file_is_compared_with_its_digest() -> None:
    node = Node(httpx.Response(200, content=SCAN), httpx.Response(200, content=SCAN[:-1]))
    client = node.client()
    assert client.file("5f" * 32, SCANNED) == SCAN
    assert "prefer" not in node.asked[0].headers
    with pytest.raises(ClientError, match="file-differs"):
        client.file("5f" * 32, SCANNED)


def test_a_file_that_is_on_its_way_is_waited_for_as_long_as_was_said() -> None:
    coming = [httpx.Response(202, json={"state": "fetching", "held": n, "size": 9}) for n in range(3)]
    node = Node(*coming)
    with pytest.raises(ClientError, match="2 of 9 bytes") as caught:
        node.client().file("5f" * 32, SCANNED, wait=150)
    assert (caught.value.code, caught.value.status) == ("file-fetching", 202)
    assert [request.headers["prefer"] for request in node.asked] == ["wait=60", "wait=60", "wait=30"]
    node = Node(coming[0], httpx.Response(200, content=SCAN))
    assert node.client().file("5f" * 32, SCANNED, wait=61) == SCAN


def pages(name: str, *contents: dict[str, Any]) -> Iterator[httpx.Response]:
    for content in contents:
        yield httpx.Response(200, json={name: content["found"], "next": content["next"]})


def test_lists_are_followed_over_their_cursors() -> None:
    node = Node(
        *pages("documents", {"found": [{"id": 1}], "next": "abc"}, {"found": [{"id": 2}], "next": None})
    )
    found = list(node.client().documents(partner="EU/antwerp", delivery="waiting"))
    assert [one["id"] for one in found] == [1, 2]
    assert [request.url.params.get("cursor") for request in node.asked] == [None, "abc"]
    assert {request.url.params["partner"] for request in node.asked} == {"EU/antwerp"}


def test_events_are_followed_up_to_now() -> None:
    node = Node(*pages("events", {"found": [{"id": 8}], "next": 8}, {"found": [], "next": 8}))
    assert [one["id"] for one in node.client().events(after=7)] == [8]
    assert [request.url.params["after"] for request in node.asked] == ["7", "8"]


@pytest.mark.parametrize(
    ("name", "call"),
    [("documents", lambda client: client.documents()), ("events", lambda client: client.events())],
)
def test_a_list_that_goes_round_in_circles_ends(
    name: str, call: Callable[[NodeClient], Iterator[Any]]
) -> None:
    following: object = 0 if name == "events" else "same"
    node = Node(*pages(name, {"found": [{"id": 1}], "next": following}))
    with pytest.raises(ClientError, match="answer-unreadable"):
        list(call(node.client()))


# -- the public names ------------------------------------------------------------------------------------------------


def test_the_public_names_are_complete_and_sorted() -> None:
    assert kpmsg.__all__ == sorted(kpmsg.__all__, key=lambda name: (name[0].islower(), name))
    for name in kpmsg.__all__:
        assert getattr(kpmsg, name).__module__.startswith("kpmsg.")
    assert dir(kpmsg) == kpmsg.__all__
    assert {name for names in kpmsg._HOMES.values() for name in names} == set(kpmsg.__all__)


def test_type_checkers_and_the_interpreter_see_the_same_names() -> None:
    tree = ast.parse(Path(kpmsg.__file__).read_text())
    guarded, _ = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (statement.module, alias.name)
        for statement in guarded.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == {(f"kpmsg.{home}", name) for home, names in kpmsg._HOMES.items() for name in names}


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError):
        _ = kpmsg.Nonsense  # type: ignore[attr-defined]
