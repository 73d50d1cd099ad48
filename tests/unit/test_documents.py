"""Composing and reading whole documents: what goes in comes out, and what a document says about itself."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmsg.documents import TYPES, certificate_key, claim, compose, kind_of, parse
from kpmsg.documents.participants import participant_of, participants
from kpmsg.errors import DraftError, MalformedError
from kpnode.sample import Trade, certificate_number, confirmation
from tests.schemas.generate import schema
from tests.unit.documents_full import DIGEST, DRAFTS, EXPORT_NOTIFICATION, ID, IMPORT_CONFIRMATION, TIME, copy

AUTHORITIES = sorted(
    f"{p.code}/{a}" if a != "mainland" else "CN/mainland"
    for p in participants().values()
    for a in p.authorities
) + sorted(p.code for p in participants().values() if not p.authorities)
DAY = date(2026, 3, 3)
LINES = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff", max_codepoint=0xFDCF),
    min_size=1,
    max_size=200,
).filter(lambda text: bool(text.strip()))
VALIDATORS = {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in TYPES}


@st.composite
def notifications(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An author and a valid draft of an export notification."""
    source, recipient = draw(st.permutations(AUTHORITIES))[:2]
    draft = Trade(source, recipient, on=DAY, seed=draw(st.integers(0, 50))).notification(
        draw(st.integers(0, 10**6))
    )
    data = draft["data"]
    data["exporter"]["name"] = draw(LINES)
    data["importer"]["native_name"] = draw(LINES)
    for name in draw(st.sets(st.sampled_from(["validation", "containers", "invoice", "date_of_sealing"]))):
        del data[name]
    full = EXPORT_NOTIFICATION["data"]
    for name in draw(
        st.sets(st.sampled_from(["quality", "attachments", "special_regime", "batch_number", "replaces"]))
    ):
        data[name] = full[name]
    return source, draft


@settings(max_examples=60, deadline=None)
@given(notifications(), st.booleans())
def test_what_is_composed_is_what_is_parsed(made: tuple[str, dict[str, Any]], short: bool) -> None:
    source, draft = made
    document, payload = compose(draft, source=source, id=ID, time=TIME)
    assert parse(payload) == document
    assert json.loads(payload)["data"] == draft["data"]
    VALIDATORS[document.type].validate(json.loads(payload))
    answer, payload = compose(
        confirmation(document, DIGEST, fewer_carats=Decimal("0.01") if short else None),
        source=document.recipient,
        id=ID,
        time=TIME + timedelta(days=2),
    )
    assert parse(payload) == answer
    assert answer.subject == document.subject
    VALIDATORS[answer.type].validate(json.loads(payload))


@pytest.mark.parametrize("author", DRAFTS)
def test_a_full_document_satisfies_its_schema(author: str) -> None:
    document, payload = compose(DRAFTS[author], source=author, id=UUID(ID), time=TIME)
    assert parse(payload) == document
    VALIDATORS[document.type].validate(json.loads(payload))
    assert (document.source, document.recipient) == (author, DRAFTS[author]["recipient"])
    assert document.name == DRAFTS[author]["type"]
    assert document.certificate_key == "BW012345"


def test_the_envelope_is_written_for_the_author() -> None:
    east = datetime(2026, 3, 3, 11, 14, 7, 123456, tzinfo=timezone(timedelta(hours=2)))
    document, payload = compose(EXPORT_NOTIFICATION, source="BW", id=ID, time=east)
    envelope = json.loads(payload)
    del envelope["data"]
    assert envelope == {
        "specversion": "1.0",
        "id": ID,
        "source": "BW",
        "type": "org.kimberley.export-notification.v1",
        "subject": "BW012345",
        "time": "2026-03-03T09:14:07.123Z",
        "recipient": "EU/antwerp",
        "datacontenttype": "application/json",
    }
    assert document.time == datetime(2026, 3, 3, 9, 14, 7, 123000, tzinfo=UTC)
    assert document.counterparts == ("BW", "EU/antwerp")
    with pytest.raises(ValueError, match="aware"):
        compose(EXPORT_NOTIFICATION, source="BW", id=ID, time=datetime(2026, 3, 3))  # noqa: DTZ001 - naive on purpose


def test_a_test_bears_its_mark_and_what_is_real_none() -> None:
    document, payload = compose(EXPORT_NOTIFICATION, source="BW", id=ID, time=TIME, testing=True)
    assert json.loads(payload)["testing"] is True
    assert parse(payload) == document
    assert document.testing is True
    VALIDATORS[document.type].validate(json.loads(payload))
    real, payload = compose(EXPORT_NOTIFICATION, source="BW", id=ID, time=TIME)
    assert "testing" not in json.loads(payload)
    assert real.testing is None


@pytest.mark.parametrize("said", [True, False])
def test_no_draft_decides_whether_it_is_a_test(said: bool) -> None:
    with pytest.raises(DraftError) as caught:
        compose(EXPORT_NOTIFICATION | {"testing": said}, source="BW", id=ID, time=TIME, testing=True)
    assert [(each.code, each.pointer) for each in caught.value.problems] == [
        ("document-unknown-member", "/testing")
    ]


@pytest.mark.parametrize(
    ("written", "code"),
    [(False, "document-format"), (None, "document-type"), (1, "document-type"), ("true", "document-type")],
)
def test_nothing_but_true_is_the_mark_of_a_test(written: object, code: str) -> None:
    _, payload = compose(EXPORT_NOTIFICATION, source="BW", id=ID, time=TIME)
    envelope = json.loads(payload) | {"testing": written}
    with pytest.raises(MalformedError) as caught:
        parse(json.dumps(envelope).encode())
    assert (caught.value.code, caught.value.pointer) == (code, "/testing")
    assert not VALIDATORS[envelope["type"]].is_valid(envelope)


def test_a_document_claims_its_number_or_what_it_answers() -> None:
    made = {author: compose(draft, source=author, id=ID, time=TIME)[0] for author, draft in DRAFTS.items()}
    assert claim(made["BW"]) == "export-notification:BW012345"
    assert claim(made["EU/antwerp"]) == f"import-confirmation:BW012345:{DIGEST}"
    assert claim(made["AE"]) == f"rejection:{DIGEST}"
    first = copy(IMPORT_CONFIRMATION)
    del first["data"]["supersedes"]
    assert claim(compose(first, source="EU/antwerp", id=ID, time=TIME)[0]) == "import-confirmation:BW012345"


@pytest.mark.parametrize(
    ("printed", "key"),
    [("BW 012345", "BW012345"), ("sl-004.911", "SL004911"), ("EU/0000 1234", "EU00001234")],
)
def test_keys_of_certificate_numbers(printed: str, key: str) -> None:
    assert certificate_key(printed) == key


def test_the_list_of_participants() -> None:
    assert len(participants()) == 61
    assert participant_of("EU/antwerp").prefixes == {"EU", "EC"}
    assert participant_of("CN/hk").prefixes == {"CN", "HK"}
    assert participants()["CI"].name == "Côte d'Ivoire"
    assert participant_of("XX").prefixes == {"XX"}


def test_sample_trade_is_the_same_every_time_and_never_repeats_a_number() -> None:
    trade, again = Trade("BW", "AE", on=DAY, seed=7), Trade("BW", "AE", on=DAY, seed=7)
    drafts = [trade.notification(n) for n in range(300)]
    assert drafts[250] == again.notification(250)
    assert len({draft["data"]["certificate"]["number_raw"] for draft in drafts}) == 300
    weights = [Decimal(draft["data"]["carats"]) for draft in drafts]
    assert min(weights) >= Decimal("0.20")
    assert max(weights) <= Decimal("1000000.00")
    assert [certificate_number(code, 7) for code in ("EU/lisbon", "US", "SL", "CN/hk")] == [
        "EU00000007",
        "US00007",
        "SL000007",
        "HK000007",
    ]


def test_a_type_is_known_by_its_short_and_its_whole_name() -> None:
    for kind in TYPES.values():
        assert kind_of(kind.name) is kind_of(kind.type) is kind
    strangers: tuple[object, ...] = (None, "", "Alert", 3, [], {})
    for strange in strangers:
        assert kind_of(strange) is None
