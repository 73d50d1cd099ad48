"""What is read as a document and what is refused, with which code and at which pointer (catalogue S4 to S18)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kpmsg.documents import compose, parse
from kpmsg.errors import DraftError, MalformedError
from kpmsg.strictjson import dumps
from tests.unit.documents_full import DRAFTS, EXPORT_NOTIFICATION, FULL, ID, TIME, copy

Path = tuple[str | int, ...]
NULL_ALLOWED: dict[str, set[Path]] = {
    "import-confirmation": {("data", "notification")},
    "export-amendment": {("data", "knows_confirmation")},
    "cancellation": {("data", "knows_confirmation")},
    "arrival-notice": {("data", "notification")},
    "confirmation-correction": {("data", "content", "notification")},
    "discrepancy-query": {("data", "notification")},
    "irregularity-notice": {("data", "notification")},
    "return-notice": {("data", "notification")},
}


def written(name: str) -> dict[str, Any]:
    """The full document of a type, as parsed JSON."""
    author, draft = FULL[name]
    _, payload = compose(draft, source=author, id=ID, time=TIME)
    document: dict[str, Any] = json.loads(payload)
    return document


def members(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every member of every object within a JSON value, outermost first."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), item
            yield from members(item, (*path, key))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from members(item, (*path, n))


def pointer(path: Path) -> str:
    return "".join(f"/{step}" for step in path)


def changed(document: Any, path: Path, value: Any = ...) -> bytes:
    """The bytes of the document with the member at `path` replaced, or deleted."""
    document = copy(document)
    here = document
    for step in path[:-1]:
        here = here[step]
    if value is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return dumps(document)


def refusal(payload: bytes) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        parse(payload)
    return caught.value


def notification(path: str, value: Any) -> bytes:
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("/")[1:])
    return changed(written("export-notification"), steps, value)


def required(document: Any, path: Path) -> bool:
    """Whether the schema of the document's type demands the member, looked up in the committed schema."""
    from tests.schemas.generate import schema

    root = schema(document["type"])
    here: Any = root
    for depth, step in enumerate(path):
        here = _resolved(root, here, _at(document, path[:depth]))
        if depth == len(path) - 1:
            return step in here.get("required", ())
        here = here["items"] if isinstance(step, int) else here["properties"][step]
    raise AssertionError("no member at the root")


def _resolved(root: Any, node: Any, value: Any) -> Any:
    while "$ref" in node or "oneOf" in node or "anyOf" in node:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].removeprefix("#/$defs/")]
        elif "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][value["kind"]]}
        else:
            node = next(choice for choice in node.get("anyOf", ()) if choice.get("type") != "null")
    return node


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


@pytest.mark.parametrize("name", FULL)
def test_s14_every_field_missing(name: str) -> None:
    document = written(name)
    for path, _ in members(document):
        payload = changed(document, path)
        if path == ("subject",) and "certificate" not in document["data"]:
            assert parse(payload).subject is None
        elif required(document, path):
            error = refusal(payload)
            assert error.pointer == pointer(path), path
            assert error.code == ("document-subject" if path == ("subject",) else "document-missing")
        else:
            assert parse(payload).supported, path


@pytest.mark.parametrize("name", FULL)
def test_s14_every_field_null(name: str) -> None:
    document = written(name)
    for path, _ in members(document):
        payload = changed(document, path, None)
        if path in NULL_ALLOWED.get(name, set()):
            parse(payload)
        else:
            assert refusal(payload).pointer == pointer(path), path
            assert refusal(payload).code in {"document-type", "document-missing"}, path


@pytest.mark.parametrize("name", FULL)
def test_s14_every_field_of_a_wrong_type(name: str) -> None:
    document = written(name)
    for path, value in members(document):
        wrongs: tuple[Any, ...] = (7, True, "\u00a0", [], {}, [[]], "x" * 5000)
        for wrong in wrongs:
            if type(wrong) is type(value) and not isinstance(wrong, str):
                continue
            error = refusal(changed(document, path, wrong))
            assert error.pointer is not None
            assert error.pointer.startswith(pointer(path)), (path, wrong)
            assert len(error.text) < 300


@pytest.mark.parametrize("name", FULL)
def test_s14_every_text_empty(name: str) -> None:
    document = written(name)
    for path, value in members(document):
        if isinstance(value, str) and path[-1] != "pointer":  # "" points at the whole document
            assert refusal(changed(document, path, "")).pointer == pointer(path)


@pytest.mark.parametrize("number", [12.5, 12, "12.5", "12.500", "12", "1_2.00", "１２.00", " 12.00", "12.00 ", "+1.00",
                                    "-1.00", "1e2", "1E2.00", "012.00", "12,00", ".50", "12.", "12.00\n", "NaN",
                                    "1000000000000.00", "٣.00"])  # fmt: skip
@pytest.mark.parametrize("field", ["/data/carats", "/data/lines/0/carats", "/data/value_usd"])
def test_s04_s05_an_amount_has_one_spelling(number: Any, field: str) -> None:
    if isinstance(number, float):
        draft = copy(EXPORT_NOTIFICATION)
        draft["data"]["carats"] = number
        with pytest.raises(DraftError) as caught:
            compose(draft, source="BW", id=ID, time=TIME)
        assert caught.value.pointer == "/data/carats"
    else:
        assert refusal(notification(field, number)).pointer == field


@pytest.mark.parametrize("text", ["BW\u202e12345", "BW\u200b12345", "BW 12345\n", "ВW 12345", "B W12345", "12345",
                                  "BW", "BW 1\t2", "BW 12345-", "BW" + "1" * 40])  # fmt: skip
def test_s08_s09_identifiers_are_plain_ascii(text: str) -> None:
    error = refusal(notification("/data/certificate/number_raw", text))
    assert (error.code, error.pointer) == ("document-format", "/data/certificate/number_raw")
    assert error.text.isprintable()


@pytest.mark.parametrize("code", ["ВЕ", "be", "BE\n", "BEL", "B", "BE ", "ＢＥ"])
@pytest.mark.parametrize(
    "field", ["/recipient", "/data/provenance", "/data/importer/country", "/data/certificate/issuer"]
)
def test_s09_codes_of_countries_and_participants(code: str, field: str) -> None:
    assert refusal(notification(field, code)).pointer == field


def test_s08_marks_of_writing_direction_are_kept_in_names() -> None:
    name = "\u200fالمرجان\u200e <b>=cmd|' /C calc'!A0</b> {{7*7}}"
    document = parse(notification("/data/importer/name", name))
    assert document.data is not None
    assert document.data.importer.name == name  # type: ignore[attr-defined]


@pytest.mark.parametrize("day", ["2026-02-30", "2026-13-01", "0001-01-01", "9999-01-01", "2026-3-1", "2026-03-01T00:00:00Z",
                                 "20260301", "2026-W10-1", "2026-03-01\n", "1999-12-31"])  # fmt: skip
def test_s16_days_that_do_not_exist(day: str) -> None:
    assert refusal(notification("/data/date_of_issue", day)).pointer == "/data/date_of_issue"


@pytest.mark.parametrize("time", ["2026-03-31T14:05:60Z", "2026-03-31T24:00:00Z", "2026-03-31T14:05:09",
                                  "2026-03-31T14:05:09+02:00", "2026-03-31 14:05:09Z", "2026-03-31T14:05:09.5Z",
                                  "2026-03-31T14:05:09z", "2026-02-30T14:05:09Z", "2026-03-31T14:05Z"])  # fmt: skip
def test_s16_times_other_than_utc(time: str) -> None:
    assert refusal(notification("/time", time)).pointer == "/time"


@pytest.mark.parametrize(
    "id_", ["019cb2f6-5e00-4c21-9d3a-5b0e7f1c2a44", ID.upper(), ID.replace("-", ""), ID + "\n"]
)
def test_ids_are_uuids_of_version_7(id_: str) -> None:
    assert refusal(notification("/id", id_)).pointer == "/id"


def test_s18_text_is_kept_as_it_was_written() -> None:
    for name in ("Société", "Socie\u0301te\u0301"):
        payload = notification("/data/importer/name", name)
        document = parse(payload)
        assert document.data is not None
        assert document.data.importer.name == name  # type: ignore[attr-defined]


def test_counts_are_whole_numbers_within_reason() -> None:
    for wrong, code in (
        (-1, "document-range"),
        (10**7, "document-range"),
        ("3", "document-type"),
        (True, "document-type"),
    ):
        error = refusal(notification("/data/parcels", wrong))
        assert (error.code, error.pointer) == (code, "/data/parcels")


WITH_FILES = [name for name in FULL if any(path[-1] == "attachments" for path, _ in members(written(name)))]


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_file_has_one_size_however_often_it_is_named(name: str) -> None:
    """The whole of what a document names is limited; a second, smaller size must not pass for the first."""
    document = written(name)
    path, files = next((path, value) for path, value in members(document) if path[-1] == "attachments")
    files.append(files[0] | {"name": "again.pdf"})
    assert parse(dumps(document)).supported
    files[-1]["size"] += 1
    error = refusal(dumps(document))
    assert (error.code, error.pointer) == ("document-range", pointer(path))


def test_every_type_that_has_attachments_is_tried() -> None:
    assert len(WITH_FILES) >= 9


def test_a_subject_is_the_key_of_the_certificate() -> None:
    error = refusal(notification("/subject", "BW012346"))
    assert (error.code, error.pointer) == ("document-subject", "/subject")


def test_members_we_do_not_know_are_ignored_when_reading_and_forbidden_when_writing() -> None:
    assert parse(notification("/data/lines/0/colour", "brown")) == parse(
        dumps(written("export-notification"))
    )
    assert parse(notification("/traceparent", "00")).supported
    draft = copy(EXPORT_NOTIFICATION)
    draft["data"]["lines"][2]["origin"]["colour"] = "brown"
    draft["id"] = ID
    with pytest.raises(DraftError) as caught:
        compose(draft, source="BW", id=ID, time=TIME)
    assert [p.pointer for p in caught.value.problems] == ["/id"]
    del draft["id"]
    draft["urgent"] = True
    with pytest.raises(DraftError) as caught:
        compose(draft, source="BW", id=ID, time=TIME)
    assert {(p.code, p.pointer) for p in caught.value.problems} == {
        ("document-unknown-member", "/data/lines/2/origin/colour"),
        ("document-unknown-member", "/urgent"),
    }


def test_s07_a_type_we_do_not_know_keeps_its_envelope() -> None:
    document = parse(notification("/type", "org.kimberley.export-notification.v2"))
    assert document.data is None
    assert not document.supported
    assert (document.name, document.certificate_key) == ("export-notification", "BW012345")
    assert (
        refusal(changed(json.loads(notification("/type", "org.example.other")), ("data",), [])).pointer
        == "/data"
    )
    assert refusal(notification("/type", "Rejection")).pointer == "/type"


@pytest.mark.parametrize("payload", [b"[]", b"null", b'"x"', b"7"])
def test_a_document_is_an_object(payload: bytes) -> None:
    assert refusal(payload).code == "document-type"


@pytest.mark.parametrize("draft", [None, [], "x", {}, {"type": 7}, {"type": "stock-report"}, {"type": "rejection"},
                                   {"type": "export-notification", "recipient": "AE", "data": {"certificate": 7}},
                                   {"type": "rejection", "recipient": "AE", "data": {"refers_to": b"x"}},
                                   {"type": "rejection", "recipient": "A\x00", "data": {"refers_to": "\ud800"}},
                                   {7: 7}])  # fmt: skip
def test_no_draft_makes_anything_but_a_draft_error(draft: Any) -> None:
    with pytest.raises(DraftError) as caught:
        compose(draft, source="BW", id=ID, time=TIME)
    assert all(problem.pointer is not None for problem in caught.value.problems)


def test_problems_show_little_of_what_was_sent() -> None:
    error = refusal(notification("/data/importer/country", "x\u202e" * 2000))
    assert len(error.text) < 250
    assert error.text.isprintable()


def test_a_list_whose_entries_are_wrong_is_not_called_empty_as_well() -> None:
    draft = copy(DRAFTS["BW"])
    draft["data"]["lines"] = [{**draft["data"]["lines"][0], "carats": 5}]
    with pytest.raises(DraftError) as raised:
        compose(draft, source="BW", id=ID, time=TIME)
    assert [problem.pointer for problem in raised.value.problems] == ["/data/lines/0/carats"]
    draft["data"]["lines"] = []
    with pytest.raises(DraftError) as raised:
        compose(draft, source="BW", id=ID, time=TIME)
    assert [problem.pointer for problem in raised.value.problems] == ["/data/lines"]


def test_a_whole_document_is_no_draft() -> None:
    with pytest.raises(DraftError) as raised:
        compose(written("export-notification"), source="BW", id=ID, time=TIME)
    [problem] = raised.value.problems
    assert (problem.code, problem.pointer) == ("document-unknown-member", "")
