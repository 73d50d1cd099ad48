"""Policy: what is in force when, whose word counts, and its way from the settings into the key record."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from kpmsg import jws, keyrecord, strictjson
from kpmsg.errors import DraftError, MalformedError, UntrustedKeyError
from kpmsg.keyrecord import VerifiedRecord, open_next, open_record
from kpmsg.keys import SoftwareSigner
from kpmsg.policy import DEFAULT, WHAT, Policy, Practice, Tolerance, What
from kpnode.practice import LARGEST, Local, contradictions, published
from kpnode.settings import Settings, SettingsError, load
from kpnode.setup import SetupError, WorkingKeys, next_record

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SINCE: dict[str, Any] = {"valid_from": "2003-01-01"}
EU: dict[str, Any] = {
    "deadlines": [{"what": "confirmation", "days": 10, "working": True, **SINCE}],
    "tolerances": [
        {"carats": "0.02", "carats_percent": "0.05", "value_percent": "5", "valid_from": "2026-01-01"},
    ],
    "calendar": {"holidays": ["2026-03-09"]},
}
SL: dict[str, Any] = {"numbers": [{"letters": "SL", "digits": 6, "leading_zeros": "padding"} | SINCE]}


def policy(said: dict[str, Any]) -> Policy:
    return Policy.model_validate(said)


def practice(me: str = "BW", **said: dict[str, Any]) -> Practice:
    """`EU_antwerp` for EU/antwerp."""
    known = Practice(me)
    for address, each in said.items():
        known.publish(address.replace("_", "/"), policy(each))
    return known


# --- what is in force ---------------------------------------------------------------------------------------------------


def test_the_protocols_defaults() -> None:
    known = Practice("BW")
    assert known.tolerance("EU/antwerp", DAY) == Tolerance(
        Decimal("0.05"), Decimal("0.001"), Decimal("0.25"), Decimal("0.05")
    )
    assert {what: known.due("US", what, DAY).isoformat() for what in WHAT} == {
        "confirmation": "2026-03-17",
        "irregularity": "2026-04-02",
        "query": "2026-03-16",
        "status": "2026-03-09",
        "request": "2026-03-09",
    }
    assert known.of("US") is DEFAULT


def test_a_published_policy_stands_over_the_defaults_and_leaves_the_rest_of_them() -> None:
    known = practice(EU_antwerp=EU)
    assert known.due("EU/antwerp", "confirmation", DAY) == date(2026, 3, 17)  # ten working days and a holiday
    assert known.due("EU/antwerp", "query", DAY) == date(2026, 3, 17)  # the default, by their calendar
    assert known.due("EU/idar-oberstein", "query", DAY) == date(2026, 3, 16)
    assert known.tolerance("EU/antwerp", DAY).value_share == Decimal("0.05")
    assert known.tolerance("EU/antwerp", date(2025, 12, 31)).value_share == Decimal("0.25")


def test_a_policy_that_is_taken_back_leaves_the_defaults() -> None:
    known = practice(SL=SL, EU_antwerp=EU)
    known.publish("SL", None)
    known.publish("EU/antwerp", None)
    known.publish("EU/antwerp", None)
    assert known.key("SL 4911") == "SL4911"
    assert known.of("EU/antwerp") is DEFAULT


def test_the_rule_is_that_of_the_day_from_which_is_counted() -> None:
    short = {"what": "query", "days": 2, "valid_from": "2026-03-10", "valid_until": "2026-03-20"}
    known = practice(US={"deadlines": [short, {"what": "query", "days": 30} | SINCE]})
    starts = [date(2026, 3, 9), date(2026, 3, 10), date(2026, 3, 20), date(2026, 3, 21)]
    assert [(known.due("US", "query", start) - start).days for start in starts] == [30, 2, 2, 30]


def test_a_day_before_every_rule_is_judged_by_the_default() -> None:
    known = practice(EU_antwerp=EU)
    assert known.due("EU/antwerp", "confirmation", date(1999, 1, 1)) == date(1999, 1, 16)
    assert known.tolerance("EU/antwerp", date(1999, 1, 1)).carats == Decimal("0.05")


def test_deadlines_of_later_versions_are_ignored() -> None:
    known = practice(US={"deadlines": [{"what": "certificate_answer", "days": 1} | SINCE]})
    assert known.due("US", "confirmation", DAY) == date(2026, 3, 17)


@given(st.dates(date(1990, 1, 1), date(2190, 12, 31)), st.sampled_from(WHAT))
def test_everything_is_due_some_day_after(day: date, what: What) -> None:
    known = practice(EU_antwerp=EU)
    assert all(known.due(who, what, day) > day for who in ("EU/antwerp", "US"))
    assert known.tolerance("EU/antwerp", day).carats > 0


# --- whose word counts for numbers ----------------------------------------------------------------------------------------


def test_a_key_is_made_as_its_issuer_says() -> None:
    known = practice(SL=SL)
    assert known.key("sl 4911") == known.key("SL-004911") == "SL004911"
    assert known.key("BW 4911") == "BW4911"
    assert known.near("4911") == ("SL004911", *known.near("4911")[1:])


def test_nobody_says_how_anothers_numbers_are_read() -> None:
    assert practice(ZA=SL).key("SL 4911") == "SL4911"


def test_an_authority_speaks_for_every_prefix_of_its_participant() -> None:
    padded = [
        {"letters": letters, "digits": 6, "leading_zeros": "padding"} | SINCE for letters in ("EU", "EC")
    ]
    known = practice(EU_antwerp={"numbers": padded})
    assert known.key("EC 17") == "EC000017"


def test_two_authorities_who_disagree_about_zeros_pad_nothing() -> None:
    known = practice(
        EU_antwerp={"numbers": [{"letters": "EC", "digits": 6, "leading_zeros": "padding"} | SINCE]},
        EU_prague={"numbers": [{"letters": "EC", "digits": 8, "leading_zeros": "padding"} | SINCE]},
    )
    assert known.key("EC 17") == "EC17"


def test_series_are_an_authoritys_own_or_else_its_participants() -> None:
    known = practice(
        EU_antwerp={"numbers": [{"letters": "EC", "digits": 6} | SINCE]},
        EU_prague={"numbers": [{"letters": "ECP", "digits": 4, "valid_until": "2025-12-31"} | SINCE]},
    )
    day, before = date(2026, 1, 1), date(2025, 12, 31)
    assert [each.letters for each in known.series("EU/prague", before)] == ["ECP"]
    assert [each.letters for each in known.series("EU/prague", day)] == ["EC"]
    assert [each.letters for each in known.series("EU/dublin", before)] == ["EC", "ECP"]
    assert known.series("EU/antwerp", day, "technical") == ()
    assert known.series("BW", day) == ()


@given(st.from_regex(r"\ASL[0-9]{1,12}\Z"))
def test_a_key_is_its_own_key(number: str) -> None:
    known = practice(SL=SL)
    assert known.key(known.key(number)) == known.key(number)


# --- nonsense -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense",
    [
        {"numbers": [{"letters": "SL", "digits": n, "leading_zeros": "padding"} | SINCE for n in (5, 6)]},
        {"numbers": [{"letters": "SL", "leading_zeros": z} | SINCE for z in ("padding", "significant")]},
        {"tolerances": [{"carats": "0.05", "carats_percent": "100.01", "value_percent": "1"} | SINCE]},
        {"tolerances": [{"carats": "0.05", "carats_percent": "-1", "value_percent": "1"} | SINCE]},
        {"tolerances": [{"carats": "0.05", "carats_percent": 0.1, "value_percent": "1"} | SINCE]},
        {"tolerances": [{"carats": "0.05", "carats_percent": "1"} | SINCE]},
        {"price_bands": [{"least": "2.00", "most": "1.00"} | SINCE]},
        {"price_bands": [{"least": "1.00", "most": "2.00", "hs": "7102.39"} | SINCE]},
        {"standing": [{"participant": "BW/x", "standing": "suspended"} | SINCE]},
        {"standing": [{"participant": "BW", "standing": "forgiven"} | SINCE]},
        {"embargoes": [{"origins": []} | SINCE]},
        {"embargoes": [{"origins": ["CI"], "valid_from": "2014-04-30", "valid_until": "2014-04-29"}]},
        {"embargoes": [{"origins": ["CI"]}]},
        {"validity_days": [{"days": 0} | SINCE]},
        {"confirmers": [{"role": "anybody"} | SINCE]},
        {"calendar": None},
        {"numbers": [{"letters": "SL"} | SINCE] * 51},
    ],
)
def test_policies_that_cannot_be(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(nonsense)


def test_unknown_members_are_ignored_at_every_depth() -> None:
    said = {"x": 1, "calendar": {"x": 1, "weekends": [{"days": ["friday"], "x": 1} | SINCE]}}
    assert policy(said).calendar.weekends[0].days == ("friday",)


# --- the page -----------------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "protocol" / "policy.md").read_text("utf-8")


def test_the_pages_example_is_a_policy_and_has_no_member_that_there_is_not() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    read = Policy.model_validate(strictjson.loads(example.encode()), extra="forbid")
    assert published(read) == strictjson.loads(example.encode())


def test_the_page_has_every_member_and_every_deadline() -> None:
    tables = re.findall(r"^## P([0-9]+)\. .*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert tables == [str(number) for number in range(1, 11)]
    first, fourth = (re.search(rf"^## P{n}\. .*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL) for n in (1, 4))
    assert first is not None
    assert fourth is not None
    assert set(re.findall(r"^\| `([a-z_]+)` \|", first[0], re.MULTILINE)) == set(Policy.model_fields)
    assert re.findall(r"^\| `([a-z_]+)` \|", fourth[0], re.MULTILINE)[1:] == list(WHAT)


# --- in the key record ------------------------------------------------------------------------------------------------------

IDENTITY, *KEYS = (SoftwareSigner.generate() for _ in range(4))
WORKING = WorkingKeys(*KEYS)


def settings(**more: Any) -> Settings:
    return Settings(
        address="SL",
        name="Sierra Leone",
        roles=("export",),
        home=Path("/x"),
        passphrase=SecretStr("12345678"),
        **more,
    )


def record(mine: Settings, previous: VerifiedRecord | None = None) -> VerifiedRecord:
    raw = next_record(mine, previous, IDENTITY, WORKING, NOON)
    return open_record(raw) if previous is None else open_next(previous, raw)


def payload(of: VerifiedRecord) -> dict[str, Any]:
    found = strictjson.loads(jws.peek(of.raw).unverified_payload)
    assert isinstance(found, dict)
    return found


def test_the_settings_policy_is_published_with_the_next_record_and_taken_back_with_another() -> None:
    first = record(settings())
    assert "policy" not in payload(first)
    assert first.record.policy is None
    second = record(settings(policy=SL), first)
    assert payload(second)["policy"] == SL
    known = Practice("BW")
    known.publish("SL", second.record.policy)
    assert known.key("SL 4911") == "SL004911"
    with pytest.raises(SetupError, match="nothing has changed"):
        record(settings(policy=SL), second)
    third = record(settings(), second)
    assert third.record.policy is None


def test_a_node_that_tests_says_so_in_its_first_record_and_for_ever() -> None:
    first = record(settings(testing=True))
    assert payload(first)["testing"] is True
    with pytest.raises(SetupError, match="nothing has changed"):
        record(settings(testing=True), first)
    with pytest.raises(UntrustedKeyError, match="test"):
        record(settings(), first)
    assert "testing" not in payload(record(settings()))


def test_what_is_local_is_not_published() -> None:
    local = {"standing": [{"participant": "XX", "standing": "suspended"} | SINCE]}
    assert "policy" not in payload(record(settings(local=local)))
    assert settings(local=local).local.policy.standing[0].participant == "XX"


@given(st.sampled_from([EU, SL, {**EU, **SL}, {}]))
def test_what_is_published_reads_back_as_it_was(said: dict[str, Any]) -> None:
    assert policy(published(policy(said)) or {}) == policy(said)


def test_a_record_with_a_policy_that_cannot_be_is_neither_issued_nor_read() -> None:
    said = payload(record(settings()))
    del said["keys"], said["identity"]
    with pytest.raises(DraftError) as caught:
        keyrecord.issue(said | {"keys": [], "policy": {"validity_days": [{"days": 0} | SINCE]}}, [IDENTITY])
    assert (caught.value.code, caught.value.pointer) == ("record-field", "/policy/validity_days/0/days")
    with pytest.raises(DraftError):
        keyrecord.issue(said | {"keys": [], "policy": None}, [IDENTITY])


def test_the_largest_policy_that_check_lets_pass_fits_into_a_record_with_many_keys() -> None:
    ranges = [{"first": 10**14 + n, "last": 10**14 + n} for n in range(500)]
    numbers: list[dict[str, Any]] = [{"letters": "SL", "ranges": ranges} | SINCE]
    while len(strictjson.dumps({"numbers": [*numbers, numbers[0]]})) < LARGEST:
        numbers.append(numbers[0])
    mine = settings(policy={"numbers": numbers})
    assert not [text for text in contradictions(mine.policy, Local(), "SL", DAY) if "bytes" in text]
    entries = payload(record(mine))["keys"]
    assert (
        len(strictjson.dumps(payload(record(mine)))) + 20 * len(strictjson.dumps(entries[0]))
        < strictjson.MAX_BYTES
    )
    over = settings(policy={"numbers": numbers + numbers[:1] * 2})
    assert any("bytes" in text for text in contradictions(over.policy, Local(), "SL", DAY))
    huge = settings(policy={"numbers": numbers[:1] * 50})
    with pytest.raises((DraftError, MalformedError)):
        record(huge)


# --- in the settings ----------------------------------------------------------------------------------------------------------

TOML = """
address = "AE"
name = "Kimberley Process Office, Dubai"
roles = ["export", "import"]
home = "/var/lib/kpnode"
passphrase = "long enough"
[policy]
deadlines = [{ what = "confirmation", days = 15, valid_from = 2003-01-01 }]
[[policy.calendar.weekends]]
days = ["friday", "saturday"]
valid_from = "2006-09-01"
[[policy.calendar.weekends]]
days = ["saturday", "sunday"]
valid_from = 2022-01-01
[local]
delays = [{ days = 3, valid_from = "2025-01-01" }]
"""


def test_days_are_written_as_toml_or_as_text(tmp_path: Path) -> None:
    file = tmp_path / "kpnode.toml"
    file.write_text(TOML)
    mine = load(file, {})
    assert [each.valid_from for each in mine.policy.calendar.weekends] == [date(2006, 9, 1), date(2022, 1, 1)]
    assert mine.local.policy.delays[0].days == 3
    assert published(mine.policy) == {
        "deadlines": [{"what": "confirmation", "days": 15} | SINCE],
        "calendar": {
            "weekends": [
                {"days": ["friday", "saturday"], "valid_from": "2006-09-01"},
                {"days": ["saturday", "sunday"], "valid_from": "2022-01-01"},
            ]
        },
    }


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("days = 15", "policy: deadlines.0: a deadline has either days or months"),
        (
            'what = "confirmation"',
            "policy: there is no deadline 'confirmatoin'; there are confirmation, irregularity",
        ),
        ("valid_from = 2022-01-01", "policy: calendar.weekends.1.valid_until: there is no such setting"),
        ("delays", "local: numbers: there is no such setting"),
    ],
)
def test_a_mistyped_policy_is_an_error(tmp_path: Path, wrong: str, problem: str) -> None:
    right = {
        "days = 15": "working = false",
        'what = "confirmation"': 'what = "confirmatoin"',
        "valid_from = 2022-01-01": "valid_from = 2022-01-01\nvalid_untill = 2023-01-01",
        "delays": "numbers",
    }[wrong]
    file = tmp_path / "kpnode.toml"
    file.write_text(TOML.replace(wrong, right))
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert any(
        each.startswith(problem.replace("valid_until", "valid_untill")) for each in caught.value.problems
    )


def test_a_policy_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "kpnode.toml"
    file.write_text(TOML)
    mine = load(file, {"KPNODE_POLICY__VALIDITY_DAYS": '[{"days":90,"valid_from":"2020-01-01"}]'})
    assert mine.policy.validity_days[0].days == 90
    assert mine.policy.deadlines[0].days == 15


@pytest.mark.parametrize(
    ("said", "local", "about"),
    [
        (EU, {}, "none in 2027"),
        (
            {"validity_days": [{"days": n} | SINCE for n in (60, 90)]},
            {},
            "policy.validity_days: two entries begin",
        ),
        (SL | {"numbers": [{"letters": "ZA"} | SINCE]}, {}, "nobody asks us how ZA is numbered"),
        (
            {
                "numbers": [
                    {"letters": "SL", "ranges": [{"first": 1, "last": 9}, {"first": 9, "last": 12}]} | SINCE
                ]
            },
            {},
            "ranges of SL overlap at 9",
        ),
        ({"numbers": [{"letters": "SL", "digits": 6} | SINCE] * 2}, {}, "two series of the form SL######"),
        (
            {"standing": [{"participant": "XX", "standing": "participant"} | SINCE]},
            {"standing": [{"participant": "XX", "standing": "suspended"} | SINCE]},
            "XX is called participant in [policy] and suspended in [local]",
        ),
        (
            {"standing": [{"participant": "SL", "standing": "suspended"} | SINCE]},
            {},
            "nobody asks us about ourselves",
        ),
        (
            {"delays": [{"days": 9, "valid_until": "2025-01-01"} | SINCE]},
            {},
            "policy.delays: every entry has ended",
        ),
    ],
)
def test_what_an_operator_cannot_have_meant(said: dict[str, Any], local: dict[str, Any], about: str) -> None:
    found = list(contradictions(policy(said), Local.model_validate(local), "SL", date(2026, 11, 30)))
    assert len(found) == 1
    assert about in found[0]


def test_a_sound_policy_has_nothing_that_contradicts_itself() -> None:
    for said in (EU, SL, {}):
        assert list(contradictions(policy(said), Local(), "SL", DAY)) == []
