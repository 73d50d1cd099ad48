"""Days: weekends that change, holidays, deadlines as Regulation 1182/71 counts them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kpmsg.policy.calendar import WEEKDAYS, Calendar, Deadline, Weekend, in_force, months_after

SATURDAY_SUNDAY = {"days": ["saturday", "sunday"], "valid_from": "2000-01-01"}
FRIDAY_SATURDAY = {"days": ["friday", "saturday"], "valid_from": "2006-09-01"}

ANTWERP = Calendar.model_validate(
    {
        "weekends": [SATURDAY_SUNDAY],
        # Christmas, the day after (the office is closed), New Year; Easter Monday, Labour Day, Ascension, Whit Monday 2026
        "holidays": [
            *("2025-12-25", "2025-12-26", "2026-01-01"),
            *("2026-04-06", "2026-05-01", "2026-05-14", "2026-05-25"),
        ],
    }
)
DUBAI = Calendar.model_validate(
    {"weekends": [FRIDAY_SATURDAY, SATURDAY_SUNDAY | {"valid_from": "2022-01-01"}]}
)
RAMAT_GAN = Calendar.model_validate({"weekends": [FRIDAY_SATURDAY], "holidays": ["2026-09-13"]})
NOWHERE = Calendar()


def deadline(**members: Any) -> Deadline:
    return Deadline.model_validate({"what": "confirmation", "valid_from": "2003-01-01"} | members)


TEN_WORKING_DAYS = deadline(days=10, working=True)
FIFTEEN_DAYS = deadline(days=15)
A_MONTH = deadline(months=1)


@pytest.mark.parametrize(
    ("rule", "calendar", "start", "due"),
    [
        pytest.param(TEN_WORKING_DAYS, ANTWERP, "2026-02-02", "2026-02-16", id="EU: two plain weeks"),
        pytest.param(TEN_WORKING_DAYS, ANTWERP, "2025-12-19", "2026-01-07", id="EU: over Christmas"),
        pytest.param(TEN_WORKING_DAYS, ANTWERP, "2025-12-25", "2026-01-12", id="EU: from a holiday"),
        pytest.param(
            TEN_WORKING_DAYS, ANTWERP, "2026-05-09", "2026-05-26", id="EU: Ascension and Whit Monday"
        ),
        pytest.param(
            FIFTEEN_DAYS, ANTWERP, "2026-03-01", "2026-03-16", id="US: fifteen days, the first uncounted"
        ),
        pytest.param(FIFTEEN_DAYS, ANTWERP, "2025-12-11", "2025-12-26", id="US: a day off at the end stays"),
        pytest.param(
            deadline(days=3, working=True), DUBAI, "2021-12-29", "2022-01-04", id="AE: the weekend changes"
        ),
        pytest.param(deadline(days=3, working=True), DUBAI, "2021-12-20", "2021-12-23", id="AE: before"),
        pytest.param(
            deadline(days=5, working=True), DUBAI, "2021-12-20", "2021-12-27", id="AE: Sunday was worked"
        ),
        pytest.param(
            deadline(days=5, working=True), DUBAI, "2022-01-10", "2022-01-17", id="AE: Friday is worked"
        ),
        pytest.param(
            deadline(days=2, working=True), RAMAT_GAN, "2026-09-10", "2026-09-15", id="IL: Rosh Hashanah"
        ),
        pytest.param(A_MONTH, NOWHERE, "2026-01-31", "2026-02-28", id="a month clips"),
        pytest.param(A_MONTH, NOWHERE, "2028-01-31", "2028-02-29", id="a month clips in a leap year"),
        pytest.param(A_MONTH, NOWHERE, "2026-12-15", "2027-01-15", id="a month over New Year"),
        pytest.param(deadline(months=12), NOWHERE, "2028-02-29", "2029-02-28", id="a year from a leap day"),
        pytest.param(
            deadline(days=15, roll="next_working_day"),
            ANTWERP,
            "2025-12-11",
            "2025-12-29",
            id="rolls over two days",
        ),
        pytest.param(
            deadline(months=1, roll="next_working_day"), ANTWERP, "2026-04-01", "2026-05-04", id="rolls on"
        ),
        pytest.param(
            deadline(months=1, roll="next_working_day"),
            ANTWERP,
            "2026-01-02",
            "2026-02-02",
            id="needs no rolling",
        ),
    ],
)
def test_when_a_deadline_ends(rule: Deadline, calendar: Calendar, start: str, due: str) -> None:
    assert rule.due(date.fromisoformat(start), calendar) == date.fromisoformat(due)


@pytest.mark.parametrize(
    ("day", "works"),
    [
        ("2021-12-31", False),  # the last Friday off
        ("2022-01-01", False),  # a Saturday under either
        ("2022-01-02", False),  # the first Sunday off
        ("2022-01-07", True),  # the first Friday worked
        ("2021-12-26", True),  # the last Sunday worked
    ],
)
def test_the_emirates_weekend_changed_on_1_january_2022(day: str, works: bool) -> None:
    assert DUBAI.works(date.fromisoformat(day)) is works


def test_of_several_in_force_the_latest_counts_and_a_passing_one_gives_way() -> None:
    ramadan = {"days": ["sunday"], "valid_from": "2026-02-18", "valid_until": "2026-03-19"}
    calendar = Calendar.model_validate({"weekends": [ramadan, SATURDAY_SUNDAY]})
    saturdays = [date(2026, 2, 14), date(2026, 2, 21), date(2026, 3, 14), date(2026, 3, 21)]
    assert [calendar.works(day) for day in saturdays] == [False, True, True, False]


def test_both_ends_of_a_time_are_included() -> None:
    entry = Weekend.model_validate(
        SATURDAY_SUNDAY | {"valid_from": "2026-01-02", "valid_until": "2026-01-03"}
    )
    days = [date(2026, 1, 1) + timedelta(n) for n in range(4)]
    assert [entry.holds(day) for day in days] == [False, True, True, False]
    assert in_force([entry], days[0]) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        {"weekends": [SATURDAY_SUNDAY | {"valid_until": "1999-12-31"}]},
        {"weekends": [{"days": list(WEEKDAYS), "valid_from": "2000-01-01"}]},
        {"weekends": [{"days": ["sunday", "sunday"], "valid_from": "2000-01-01"}]},
        {"weekends": [{"days": ["Sunday"], "valid_from": "2000-01-01"}]},
        {"weekends": [{"days": ["sunday"]}]},
        {"weekends": [SATURDAY_SUNDAY | {"valid_until": None}]},
        {"holidays": ["2026-02-30"]},
        {"holidays": ["2026-01-01"] * 1001},
    ],
)
def test_calendars_that_cannot_be(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Calendar.model_validate(nonsense)


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"days": 5, "months": 1},
        {"days": 0},
        {"days": 367},
        {"days": True},
        {"days": "10"},
        {"days": 10.0},
        {"months": 25},
        {"months": 1, "working": True},
        {"days": 10, "working": True, "roll": "next_working_day"},
        {"days": 10, "roll": "previous_working_day"},
        {"days": 10, "valid_from": "2026-01-02", "valid_until": "2026-01-01"},
        {"days": 10, "what": "Confirmation"},
    ],
)
def test_deadlines_that_cannot_be(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        deadline(**nonsense)


def test_members_of_later_versions_are_ignored() -> None:
    assert deadline(days=10, hours=3).days == 10


# --- properties -------------------------------------------------------------------------------------------------------

DAYS = st.dates(date(2020, 1, 1), date(2030, 12, 31))
WEEKENDS = st.lists(
    st.builds(
        lambda days, begin: {"days": sorted(days), "valid_from": begin.isoformat()},
        st.sets(st.sampled_from(WEEKDAYS), max_size=3),
        DAYS,
    ),
    max_size=4,
)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    holidays = [day.isoformat() for day in draw(st.lists(DAYS, max_size=60))]
    # a run of holidays, as at the end of Ramadan: where a deadline would like to stop
    first = draw(DAYS)
    holidays += [(first + timedelta(n)).isoformat() for n in range(draw(st.integers(0, 12)))]
    return Calendar.model_validate({"weekends": draw(WEEKENDS), "holidays": holidays})


@given(calendars(), DAYS, st.integers(1, 60))
def test_a_working_deadline_ends_on_a_working_day_and_counts_them_all(
    calendar: Calendar, start: date, n: int
) -> None:
    end = calendar.after(start, n)
    assert calendar.works(end)
    between = [start + timedelta(days=each) for each in range(1, (end - start).days + 1)]
    assert sum(calendar.works(day) for day in between) == n


@given(calendars(), DAYS, st.integers(0, 40), st.integers(0, 40))
def test_n_working_days_and_then_m_are_n_plus_m(calendar: Calendar, start: date, n: int, m: int) -> None:
    assert calendar.after(calendar.after(start, n), m) == calendar.after(start, n + m)


@given(calendars(), DAYS, st.integers(0, 30), st.integers(1, 30))
def test_who_begins_later_is_not_due_earlier(calendar: Calendar, start: date, wait: int, n: int) -> None:
    later = start + timedelta(days=wait)
    rules = [
        deadline(days=n, working=True),
        deadline(days=n),
        deadline(months=n % 24 + 1),
        deadline(days=n, roll="next_working_day"),
    ]
    for rule in rules:
        assert rule.due(start, calendar) <= rule.due(later, calendar)
        assert rule.due(start, calendar) > start


@given(calendars(), DAYS)
def test_rolling_finds_the_first_working_day_and_stays_there(calendar: Calendar, day: date) -> None:
    rolled = calendar.rolled(day)
    assert calendar.works(rolled)
    assert not any(calendar.works(day + timedelta(n)) for n in range((rolled - day).days))
    assert calendar.rolled(rolled) == rolled


@given(DAYS, st.integers(0, 24))
def test_months_keep_the_day_or_clip_to_the_last_one(day: date, months: int) -> None:
    end = months_after(day, months)
    assert (end.year * 12 + end.month) - (day.year * 12 + day.month) == months
    assert end.day == day.day or (end.day < day.day and (end + timedelta(days=1)).day == 1)
