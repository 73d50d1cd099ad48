"""Rules of policy and time: the same at the author before signing and at the recipient, but for what only one can know."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmsg import documents
from kpmsg.documents import Document
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.errors import Problem
from kpmsg.policy import Policy, Practice
from kpmsg.policy.screening import arrived_out_of_time, expired, screen
from kpmsg.rules import LANGUAGES, rules, said
from tests.unit import documents_full as full

SINCE: dict[str, Any] = {"valid_from": "2003-01-01"}
ISSUED = "2026-03-02"
SOON = full.TIME + timedelta(minutes=2)


def document(draft: dict[str, Any], source: str, at: datetime = full.TIME) -> Document:
    return documents.compose(draft, source=source, id=full.ID, time=at)[0]


def notification(
    recipient: str = "EU/antwerp", source: str = "BW", at: datetime = full.TIME, /, **data: Any
) -> Document:
    """A sound one of BW, with `data` changed; what is None is left out."""
    draft = deepcopy(full.EXPORT_NOTIFICATION)
    draft["recipient"] = recipient
    draft["data"]["destination"] = {"participant": recipient[:2]}
    draft["data"] |= {"special_regime": None, "replaces": None} | data
    draft["data"] = {name: value for name, value in draft["data"].items() if value is not None}
    return document(draft, source, at)


def line(
    origin: Mapping[str, Any], carats: str = "10.00", value: str = "1000.00", hs: str = "7102.31"
) -> dict[str, Any]:
    return {"hs": hs, "carats": carats, "value_usd": value, "origin": dict(origin)}


def of_one(line: dict[str, Any]) -> dict[str, Any]:
    """The figures of a shipment of one line."""
    return {"lines": [line], "carats": line["carats"], "value_usd": line["value_usd"]}


def standing(participant: str, how: str, **days: str) -> dict[str, Any]:
    return {"standing": [{"participant": participant, "standing": how} | SINCE | days]}


Policies = Mapping[str, Mapping[str, Any]]


def found(
    about: Document,
    policies: Policies = {},  # noqa: B006 - never changed
    *,
    me: str | None = None,
    local: Mapping[str, Any] | None = None,
    received: datetime | None = None,
) -> list[tuple[str, str, str]]:
    """Code, variant and severity of each problem; `me` is the recipient unless said otherwise."""
    problems = problems_of(about, policies, me=me, local=local, received=received)
    return [(each.code, each.variant, each.severity) for each in problems]


def problems_of(
    about: Document,
    policies: Policies = {},  # noqa: B006 - never changed
    *,
    me: str | None = None,
    local: Mapping[str, Any] | None = None,
    received: datetime | None = None,
) -> list[Problem]:
    practice = Practice(me or about.recipient, Policy.model_validate(local or {}))
    for address, policy in policies.items():
        practice.publish(address, Policy.model_validate(policy))
    return screen(about, practice, received=received)


def everywhere(about: Document, policies: Policies) -> list[tuple[str, str, str]]:
    """What both sides find, which must be the same."""
    before = found(about, policies, me=about.source)
    assert found(about, policies, received=SOON) == before
    return before


def test_a_sound_notification_passes_without_anybodys_policy() -> None:
    assert everywhere(notification(), {}) == []


# --- test and real --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["export-notification", "import-confirmation", "message", "alert"])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("at_sender", [True, False])
def test_a_test_goes_to_those_who_test_and_what_is_real_to_the_others(
    name: str, marked: bool, at_sender: bool
) -> None:
    source, draft = full.FULL[name]
    about = documents.compose(draft, source=source, id=full.ID, time=full.TIME, testing=marked)[0]
    for recipient in (True, False):
        practice = Practice(source if at_sender else about.recipient)
        practice.publish(source, None, testing=marked)
        practice.publish(about.recipient, None, testing=recipient)
        problems = screen(about, practice, received=None if at_sender else SOON)
        told = [(each.code, each.variant, each.severity, each.pointer) for each in problems]
        mixed = [("S08", "test" if marked else "real", "reject", "/testing")]
        assert told == ([] if marked == recipient else mixed)


# --- numbers --------------------------------------------------------------------------------------------------------------

SERIES = {"letters": "BW", "digits": 6, "ranges": [{"first": 1, "last": 20_000}], **SINCE}


@pytest.mark.parametrize(
    ("number", "series", "expected"),
    [
        ("BW 012345", [SERIES], []),
        ("BW 020001", [SERIES], [("C03", "range", "hold")]),
        ("BW 000000", [SERIES], [("C03", "range", "hold")]),
        ("BW 12345", [SERIES], [("C02", "form", "warn")]),
        ("BW 12345", [SERIES | {"leading_zeros": "padding"}], []),
        ("BW A12345", [SERIES], [("C02", "form", "warn")]),
        ("BW 999999", [SERIES | {"ranges": []}], []),
        ("BW 12345", [], []),  # nothing published, nothing outside
        ("BW 12345", [SERIES | {"valid_until": "2026-03-01"}], []),  # not in force on the date of issue
        ("BW 12345", [SERIES | {"valid_until": ISSUED}], [("C02", "form", "warn")]),
        ("BW 12345", [SERIES | {"valid_from": "2026-03-03"}], []),
        ("BW 12345", [SERIES | {"kind": "technical"}], []),
        (
            "BW 020001",
            [SERIES, SERIES | {"valid_from": "2026-01-01", "ranges": [{"first": 20_001, "last": 30_000}]}],
            [],
        ),
        ("BW X00001", [SERIES, SERIES | {"letters": "BWX", "digits": 5}], []),
    ],
)
def test_a_number_against_its_issuers_series(number: str, series: list[Any], expected: list[Any]) -> None:
    about = notification(certificate={"number_raw": number, "issuer": "BW", "kind": "kp"})
    assert everywhere(about, {"BW": {"numbers": series}}) == expected


def test_a_range_of_somebody_elses_letters_says_nothing() -> None:
    assert (
        everywhere(
            notification(), {"EU/antwerp": {"numbers": [SERIES | {"ranges": [{"first": 1, "last": 2}]}]}}
        )
        == []
    )


def test_a_technical_certificate_is_judged_by_the_series_of_its_own_issuer() -> None:
    draft = deepcopy(full.TECHNICAL_CERTIFICATE_NOTICE)
    draft["data"]["certificate"] = {"number_raw": "ZA 17", "issuer": "ZA", "kind": "technical"}
    draft["data"].pop("replaces", None)
    about = document(draft, "BW")
    series = {"letters": "ZA", "digits": 6, "kind": "technical", **SINCE}
    assert ("C02", "form", "warn") in everywhere(
        about, {"ZA": {"numbers": [series]}, "BW": {"numbers": [SERIES]}}
    )
    assert everywhere(about, {"ZA": {"numbers": [series | {"digits": 2}]}}) == []


# --- validity ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expiry", "policy", "expected"),
    [
        ("2026-05-01", {}, []),  # sixty days
        ("2026-05-02", {}, [("C06", "long", "warn")]),
        ("2026-05-02", {"validity_days": [{"days": 61, **SINCE}]}, []),
        ("2026-04-02", {"validity_days": [{"days": 30, "valid_from": ISSUED}]}, [("C06", "long", "warn")]),
        ("2026-04-02", {"validity_days": [{"days": 30, "valid_from": "2026-03-03"}]}, []),
    ],
)
def test_validity_by_the_issuers_rule(expiry: str, policy: Mapping[str, Any], expected: list[Any]) -> None:
    assert everywhere(notification(date_of_expiry=expiry), {"BW": policy}) == expected


@pytest.mark.parametrize(
    ("at", "is_expired"),
    [
        ("2026-05-01T23:59:59.999Z", False),
        ("2026-05-02T00:00:00Z", True),
        ("2026-05-01T19:59:59-04:00", False),  # Ottawa: still the day before 24:00 GMT
        ("2026-05-01T20:00:00-04:00", True),
        ("2026-05-02T09:00:00+10:00", False),
    ],
)
def test_a_certificate_is_valid_until_24_00_gmt_of_its_last_day(at: str, is_expired: bool) -> None:
    assert expired(date(2026, 5, 1), datetime.fromisoformat(at)) is is_expired
    about = notification()
    late = [each for each in found(about, received=datetime.fromisoformat(at)) if each[0] == "C07"]
    assert late == ([("C07", "notification", "warn")] if is_expired else [])


def test_the_author_is_warned_of_an_expired_certificate_too() -> None:
    about = notification("EU/antwerp", "BW", datetime(2026, 5, 2, tzinfo=UTC), date_of_sealing=None)
    assert found(about, me="BW") == [("C07", "notification", "warn")]


def test_goods_that_came_after_the_last_day_wait_for_an_officer() -> None:
    told = notification().data
    assert isinstance(told, ExportNotification)
    assert arrived_out_of_time(told, date(2026, 5, 1), "/data/date_presented") is None
    late = arrived_out_of_time(told, date(2026, 5, 2), "/data/date_presented")
    assert late is not None
    assert (late.code, late.variant, late.severity, late.pointer) == (
        "C07",
        "arrival",
        "hold",
        "/data/date_presented",
    )


def test_goods_did_not_come_before_their_certificate() -> None:
    """But for a day: both are printed in local days."""
    told = notification().data
    assert isinstance(told, ExportNotification)
    day = told.date_of_issue
    assert arrived_out_of_time(told, day - timedelta(days=1), "/data/date_of_arrival") is None
    early = arrived_out_of_time(told, day - timedelta(days=2), "/data/date_of_arrival")
    assert early is not None
    assert (early.code, early.severity, early.pointer) == ("T02", "warn", "/data/date_of_arrival")


# --- origins, weights, values -------------------------------------------------------------------------------------------------

IVORIAN = {"kind": "single", "country": "CI"}
MIXED = {"kind": "mixed_list", "countries": ["BW", "CI"]}
UNDISCLOSED = {"kind": "mixed_undisclosed"}
EMBARGO = {"embargoes": [{"origins": ["CI", "LR"], "valid_from": "2005-12-15", "valid_until": "2026-03-02"}]}
ZONE = {"embargoes": [{"origins": ["CF"], "zone": "Upper Basin", **SINCE}]}
CENTRAL = {"kind": "single", "country": "CF"}


@pytest.mark.parametrize(
    ("origin", "issued", "policy", "expected"),
    [
        (IVORIAN, ISSUED, EMBARGO, [("F09", "embargo", "hold")]),
        (IVORIAN, "2026-03-03", EMBARGO, []),  # lifted the day before
        (MIXED, ISSUED, EMBARGO, [("F09", "embargo", "hold")]),
        (UNDISCLOSED, ISSUED, EMBARGO, [("F09", "undisclosed", "hold")]),
        (UNDISCLOSED, ISSUED, ZONE, [("F09", "undisclosed", "hold")]),
        (UNDISCLOSED, "2026-03-03", EMBARGO, []),  # lifted the day before
        ({"kind": "single", "country": "BW"}, ISSUED, EMBARGO, []),
        (CENTRAL | {"zone": "upper basin"}, ISSUED, ZONE, [("F09", "embargo", "hold")]),
        (CENTRAL | {"zone": "Lower Basin"}, ISSUED, ZONE, []),
        (CENTRAL, ISSUED, ZONE, [("F09", "zone", "hold")]),
    ],
)
@pytest.mark.parametrize("whose", ["BW", "EU/antwerp"])
def test_an_embargo_on_the_date_of_issue(
    origin: Mapping[str, Any], issued: str, policy: Mapping[str, Any], expected: list[Any], whose: str
) -> None:
    about = notification(**of_one(line(origin)), date_of_issue=issued)
    assert everywhere(about, {whose: policy}) == expected
    assert found(about, {}, local=policy) == expected


def test_two_embargoes_on_one_origin_are_told_once_for_each_line() -> None:
    shipment = {"lines": [line(IVORIAN), line(MIXED)], "carats": "20.00", "value_usd": "2000.00"}
    problems = problems_of(notification(**shipment), {"BW": EMBARGO, "EU/antwerp": EMBARGO})
    assert [each.pointer for each in problems] == ["/data/lines/0/origin", "/data/lines/1/origin"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (of_one(line(CENTRAL)), [("P03", "missing", "hold")]),
        (of_one(line(CENTRAL)) | {"special_regime": "KP/CAR 2026-014"}, []),
        (of_one(line(CENTRAL | {"zone": "Berbérati"})), []),
        (of_one(line(MIXED)), []),
    ],
)
def test_a_special_regime_wants_a_reference(data: dict[str, Any], expected: list[Any]) -> None:
    regime = {"regimes": [{"origins": ["CF"], **SINCE}]}
    assert everywhere(notification(**data), {"EU/antwerp": regime}) == expected


@pytest.mark.parametrize(
    ("origin", "carats", "expected"),
    [
        (MIXED, "1.00", [("F10", "mixed", "warn")]),
        (MIXED, "0.99", []),
        (UNDISCLOSED, "5.00", [("F10", "mixed", "warn")]),
        (IVORIAN, "5.00", []),
    ],
)
def test_single_origin_where_the_importers_law_demands_it(
    origin: Mapping[str, Any], carats: str, expected: list[Any]
) -> None:
    about = notification(**of_one(line(origin, carats, "100.00")))
    demand = {"single_origin": [{"from_carats": "1.00", "valid_from": ISSUED}]}
    assert everywhere(about, {"EU/antwerp": demand}) == expected
    assert everywhere(about, {"BW": demand}) == []  # the exporter's own law is not the importer's
    assert found(about, {}, local=demand) == expected
    assert found(about, {}, local=demand, me="BW") == []


BANDS = {
    "price_bands": [
        {"least": "10.00", "most": "100.00", **SINCE},
        {"hs": "7102.10", "least": "1.00", "most": "9.00", **SINCE},
    ]
}


@pytest.mark.parametrize(
    ("hs", "value", "expected"),
    [
        ("7102.31", "100.00", []),
        ("7102.31", "99.99", [("F12", "band", "warn")]),
        ("7102.31", "1000.00", []),
        ("7102.31", "1000.01", [("F12", "band", "warn")]),
        ("7102.10", "90.00", []),  # the band of the code goes before that of all
        ("7102.10", "100.00", [("F12", "band", "warn")]),
    ],
)
def test_the_value_of_a_carat(hs: str, value: str, expected: list[Any]) -> None:
    about = notification(**of_one(line(IVORIAN, "10.00", value, hs)))
    for whose in ("BW", "EU/antwerp"):
        assert everywhere(about, {whose: BANDS}) == expected
    assert everywhere(about, {"BW": BANDS, "EU/antwerp": BANDS}) == expected  # told once


# --- who takes part -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "recipient", "policies", "expected"),
    [
        ("BW", "XX", {}, [("P01", "destination", "reject")]),
        ("BW", "XX", {"BW": standing("XX", "participant")}, []),
        (
            "BW",
            "XX",
            {"XX": standing("XX", "participant")},
            [("P01", "destination", "reject")],
        ),  # its own word
        (
            "BW",
            "XX",
            {"BW": standing("XX", "participant", valid_from="2026-03-03")},
            [("P01", "destination", "reject")],
        ),
        ("BW", "EU/antwerp", {"EU/antwerp": standing("BW", "suspended")}, [("P02", "published", "reject")]),
        ("BW", "EU/antwerp", {"EU/antwerp": standing("BW", "suspended", valid_until="2026-03-01")}, []),
        ("BW", "EU/antwerp", {"EU/antwerp": standing("BW", "withdrawn")}, [("P01", "sender-left", "reject")]),
        ("BW", "EU/antwerp", {"BW": standing("BW", "suspended")}, []),
        (
            "BW",
            "EU/antwerp",
            {"ZA": standing("BW", "suspended")},
            [],
        ),  # a third party's word counts for itself
    ],
)
def test_who_takes_part_on_the_date_of_issue(
    source: str, recipient: str, policies: Policies, expected: list[Any]
) -> None:
    assert everywhere(notification(recipient, source), policies) == expected


def test_a_newcomer_is_a_sender_where_the_recipient_says_so() -> None:
    certificate = {"number_raw": "XX 000001", "issuer": "XX", "kind": "kp"}
    about = notification("BW", "XX", certificate=certificate)
    assert everywhere(about, {}) == [("P01", "sender", "reject")]
    assert everywhere(about, {"BW": standing("XX", "participant")}) == []
    assert found(about, {}, local=standing("XX", "participant")) == [("P01", "sender", "reject")]


@pytest.mark.parametrize("how", ["suspended", "withdrawn"])
def test_local_policy_makes_a_sender_wait_and_never_rejects(how: str) -> None:
    about = notification()
    assert found(about, {}, local=standing("BW", how)) == [("P02", "local", "hold")]
    assert found(about, {}, me="BW", local=standing("BW", how)) == []  # the sender's own wish about itself
    assert found(about, {}, local=standing("BW", how, valid_from="2026-03-03")) == []


@pytest.mark.parametrize("how", ["suspended", "withdrawn"])
def test_nothing_is_signed_for_a_suspended_destination(how: str) -> None:
    about, blocked = notification(), ("P04", "blocked", "reject")
    assert found(about, {}, me="BW", local=standing("EU", how)) == [blocked]
    assert blocked in found(about, {"BW": standing("EU", how)}, me="BW")
    assert found(about, {}, local=standing("EU", how)) == []  # at the recipient: what it thinks of itself


def test_a_suspended_destination_that_got_a_notification_all_the_same_has_no_reason_to_reject_it() -> None:
    assert found(notification(), {"BW": standing("EU", "suspended")}) == []


def test_what_was_sent_to_a_participant_that_had_left_by_the_senders_own_word_is_rejected() -> None:
    policies, left = {"BW": standing("EU", "withdrawn")}, ("P01", "destination-left", "reject")
    assert found(notification(), policies, me="BW") == [left, ("P04", "blocked", "reject")]
    assert found(notification(), policies) == [left]


def test_within_one_participant_nobody_is_suspended_from_itself() -> None:
    certificate = {"number_raw": "HK 000017", "issuer": "CN", "kind": "kp"}
    about = notification("CN/mainland", "CN/hk", certificate=certificate)
    assert everywhere(about, {"CN/mainland": standing("CN", "suspended")}) == []


def test_confirmations_are_taken_from_a_suspended_importer() -> None:
    """III(c) is about trade; what was found in a parcel is worth knowing whoever says it."""
    about = document(full.IMPORT_CONFIRMATION, "EU/antwerp")
    assert everywhere(about, {"BW": standing("EU", "suspended")}) == []


# --- confirmations, amendments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "policy", "expected"),
    [
        (
            "importer_on_behalf",
            {"confirmers": [{"role": "importing_authority", **SINCE}]},
            [("I10", "importer", "warn")],
        ),
        ("importing_authority", {"confirmers": [{"role": "importing_authority", **SINCE}]}, []),
        ("importer_on_behalf", {"confirmers": [{"role": "importer_on_behalf", **SINCE}]}, []),
        ("importer_on_behalf", {}, []),  # the United States: nobody said otherwise
        (
            "importer_on_behalf",
            {"confirmers": [{"role": "importing_authority", "valid_from": "2026-03-07"}]},
            [],
        ),
    ],
)
def test_who_confirms(role: str, policy: Mapping[str, Any], expected: list[Any]) -> None:
    draft = deepcopy(full.IMPORT_CONFIRMATION)
    draft["data"]["confirmed_by"]["role"] = role
    assert everywhere(document(draft, "EU/antwerp"), {"EU/antwerp": policy}) == expected


def test_amendments_are_judged_by_their_content() -> None:
    about = document(full.EXPORT_AMENDMENT, "BW")
    strict = {"validity_days": [{"days": 1, **SINCE}], "numbers": [SERIES | {"digits": 4, "ranges": []}]}
    problems = problems_of(about, {"BW": strict, "EU/antwerp": standing("BW", "suspended")})
    assert {(each.code, each.pointer) for each in problems} == {
        ("C02", "/data/content/certificate/number_raw"),
        ("C06", "/data/content/date_of_expiry"),
        ("P02", "/source"),
    }


def test_corrections_are_judged_by_their_content() -> None:
    source, draft = full.FULL["confirmation-correction"]
    draft = deepcopy(draft)
    draft["data"]["content"]["confirmed_by"]["role"] = "importer_on_behalf"
    policy = {"confirmers": [{"role": "importing_authority", **SINCE}]}
    assert [each.pointer for each in problems_of(document(draft, source), {source: policy})] == [
        "/data/content/confirmed_by/role"
    ]


# --- time -------------------------------------------------------------------------------------------------------------------


def after(**delay: float) -> datetime:
    return full.TIME + timedelta(**delay)


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (after(hours=-24, seconds=-1), [("S06", "future", "reject")]),
        (after(hours=-24), [("S06", "ahead", "warn")]),
        (after(minutes=-5, seconds=-1), [("S06", "ahead", "warn")]),
        (after(minutes=-5), []),
        (after(days=7), []),
        (after(days=7, seconds=1), [("T03", "late", "warn")]),
        (after(days=30), [("T03", "late", "warn")]),
        (after(days=30, seconds=1), [("S06", "old", "warn"), ("T03", "late", "warn")]),
    ],
)
@pytest.mark.parametrize("name", ["export-notification", "message", "alert", "import-confirmation"])
def test_when_a_document_was_written_and_when_it_came(
    received: datetime, expected: list[Any], name: str
) -> None:
    source, draft = full.FULL[name]
    assert found(document(draft, source), received=received) == expected


def test_how_long_is_long_is_for_the_recipient_to_say() -> None:
    def days(n: int) -> dict[str, Any]:
        return {"delays": [{"days": n, **SINCE}]}

    about, came = notification(), after(days=10)
    late = ("T03", "late", "warn")
    assert found(about, {"EU/antwerp": days(10)}, received=came) == []
    assert found(about, {"EU/antwerp": days(9)}, received=came) == [late]
    assert found(about, {"EU/antwerp": days(10)}, local=days(3), received=came) == [late]
    assert found(about, {"BW": days(30)}, received=came) == [late]


def test_nobody_is_called_a_fraud_for_having_been_away() -> None:
    (late,) = problems_of(notification(), received=after(days=20))
    text = " ".join(said(late, language).lower() for language in LANGUAGES)
    assert not [word for word in ("fraud", "fraude", "мошен", "back-dated", "antidat") if word in text]


def test_a_rejection_is_never_judged() -> None:
    source, draft = full.FULL["rejection"]
    assert found(document(draft, source), received=after(days=-400)) == []


# --- the principle -----------------------------------------------------------------------------------------------------------

_STANDINGS = st.sampled_from(["participant", "suspended", "withdrawn"])
_ENTRY = st.fixed_dictionaries(
    {
        "participant": st.sampled_from(["BW", "EU", "XX"]),
        "standing": _STANDINGS,
        "valid_from": st.sampled_from(["2003-01-01", ISSUED, "2026-03-03"]),
    }
)
_POLICY = st.fixed_dictionaries(
    {},
    optional={
        "standing": st.lists(_ENTRY, max_size=4),
        "embargoes": st.just(EMBARGO["embargoes"]),
        "numbers": st.just([SERIES | {"ranges": [{"first": 1, "last": 2}]}]),
        "validity_days": st.just([{"days": 1, **SINCE}]),
        "price_bands": st.just([{"least": "0.00", "most": "0.01", **SINCE}]),
        "single_origin": st.just([{"from_carats": "0.01", **SINCE}]),
    },
)


@given(_POLICY, _POLICY, _POLICY, st.sampled_from([("BW", "EU/antwerp"), ("BW", "XX"), ("EU/antwerp", "BW")]))
def test_the_recipient_rejects_nothing_that_the_sender_could_not_test(
    of_sender: Any, of_recipient: Any, local: Any, way: tuple[str, str]
) -> None:
    source, recipient = way
    certificate = {"number_raw": f"{source[:2]} 012345", "issuer": source[:2], "kind": "kp"}
    about = notification(recipient, source, certificate=certificate)
    policies = {source: of_sender, recipient: of_recipient}
    at_sender = {each for each in found(about, policies, me=source) if each[2] == "reject"}
    at_recipient = {
        each for each in found(about, policies, local=local, received=SOON) if each[2] == "reject"
    }
    assert at_recipient <= at_sender
    plain = found(about, policies, received=SOON)
    added = [each for each in found(about, policies, local=local, received=SOON) if each not in plain]
    assert all(severity != "reject" for _, _, severity in added)


SCREENED = (
    "C02",
    "C03",
    "C06",
    "C07",
    "F09",
    "F10",
    "F12",
    "I10",
    "P01",
    "P02",
    "P03",
    "P04",
    "S06",
    "S08",
    "T03",
)


def test_what_can_only_be_known_on_arrival_says_so() -> None:
    known = rules()
    assert {code for code in SCREENED if known[code].tested_by == "receiver"} == {"S06", "T03"}


@pytest.mark.parametrize("code", SCREENED)
def test_each_way_of_breaking_a_rule_is_said_in_five_languages(code: str) -> None:
    for variant in rules()[code].variants.values():
        assert len({*variant.texts.values()}) == len(LANGUAGES)
