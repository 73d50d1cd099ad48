"""Certificate numbers: one number under several spellings, what was meant by a mistyped one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kpmsg.policy.numbers import MOST_NEAR, Range, Series, near, normalised, series_of


def series(letters: str, **members: Any) -> Series:
    return Series.model_validate({"letters": letters, "valid_from": "2003-01-01"} | members)


PADDED = series("SL", digits=6, leading_zeros="padding")
BARE = series("AO", leading_zeros="padding")
STRICT = series("BW", digits=6)
TECHNICAL = series("BWT", digits=4, kind="technical", leading_zeros="padding")


@pytest.mark.parametrize(
    ("key", "published", "normal"),
    [
        ("SL4911", [PADDED], "SL004911"),
        ("SL004911", [PADDED], "SL004911"),
        ("SL0004911", [PADDED], "SL004911"),
        ("SL0", [PADDED], "SL000000"),
        ("SL1234567", [PADDED], "SL1234567"),  # seven digits that mean something: not of this series
        ("SL49A1", [PADDED], "SL49A1"),
        ("SL", [PADDED], "SL"),
        ("AO000123", [BARE], "AO123"),
        ("AO000", [BARE], "AO0"),
        ("BW012345", [STRICT], "BW012345"),
        ("BW12345", [STRICT], "BW12345"),  # nobody said that zeros do not matter
        ("BW12345", [], "BW12345"),
        ("BWT12", [STRICT, TECHNICAL], "BWT0012"),
        ("BW12", [STRICT, TECHNICAL], "BW12"),
        ("ZA12", [PADDED, BARE], "ZA12"),
        ("SL" + "0" * 60 + "1", [PADDED], "SL000001"),
        ("SL" + "9" * 62, [PADDED, series("SLX")], "SL" + "9" * 62),
        (
            "SL٤٩١١",
            [PADDED],
            "SL٤٩١١",
        ),  # Arabic digits never get into a key; if one did, it would be no number
    ],
)
def test_zeros_matter_unless_the_issuer_says_otherwise(
    key: str, published: list[Series], normal: str
) -> None:
    assert normalised(key, published) == normal


def test_a_number_is_of_a_series_if_it_has_its_form() -> None:
    assert STRICT.number("BW012345") == 12345
    assert STRICT.number("BW12345") is None
    assert PADDED.number("SL12345") == 12345
    assert PADDED.number("SL1234567") is None
    assert series("US").number("US1") == 1
    assert series("US").number("USA1") is None
    assert (STRICT.form, BARE.form) == ("BW######", "AO#...")


def test_only_what_was_printed_is_allotted() -> None:
    some = series("BW", digits=6, ranges=[{"first": 1, "last": 500}, {"first": 900, "last": 900}])
    assert [number for number in (0, 1, 500, 501, 899, 900, 901) if some.allots(number)] == [1, 500, 900]
    assert STRICT.allots(999_999)  # where no ranges are told, none is wrong


@pytest.mark.parametrize(
    "nonsense",
    [
        {"letters": "B"},
        {"letters": "bw"},
        {"letters": "BW1"},
        {"letters": "ABCDEFGHI"},
        {"digits": 0},
        {"digits": 16},
        {"leading_zeros": "whatever"},
        {"ranges": [{"first": 5, "last": 4}]},
        {"ranges": [{"first": -1, "last": 4}]},
        {"ranges": [{"first": 0, "last": 10**15}]},
        {"ranges": [{"first": "1", "last": "4"}]},
        {"digits": 3, "ranges": [{"first": 1, "last": 1000}]},
        {"ranges": [{"first": 1, "last": 1}] * 501},
        {"valid_until": "2002-12-31"},
    ],
)
def test_series_that_cannot_be(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Series.model_validate({"letters": "BW", "valid_from": "2003-01-01"} | nonsense)


# --- what was meant -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meant", "written", "published"),
    [
        pytest.param("BW012345", "BW12345", [STRICT], id="a leading zero forgotten"),
        pytest.param("BW012345", "BW0012345", [STRICT], id="a leading zero too many"),
        pytest.param("BW012345", "012345", [STRICT], id="no letters"),
        pytest.param("BW012345", "12345", [STRICT], id="neither letters nor zero"),
        pytest.param("BW012345", "BW013245", [STRICT], id="neighbours exchanged"),
        pytest.param("BW012345", "BWO12345", [STRICT], id="O for 0"),
        pytest.param("BW012345", "BWOI2345", [STRICT], id="O for 0 and I for 1"),
        pytest.param("BW012845", "BW012B45", [STRICT], id="B for 8"),
        pytest.param("BW012545", "BW0I2S45", [STRICT], id="I for 1 and S for 5"),
        pytest.param("BW022345", "BW0Z2345", [STRICT], id="Z for 2"),
        pytest.param("BW012345", "8W012345", [STRICT], id="8 for B in the letters"),
        pytest.param("ZA012345", "2A012345", [series("ZA", digits=6)], id="2 for Z in the letters"),
        pytest.param("IL000181", "1L000I8I", [series("IL", digits=6)], id="both ways at once"),
        pytest.param("BW012345", "WB012345", [STRICT], id="letters exchanged"),
        pytest.param("BW012345", "BW0123345", [STRICT], id="a digit twice"),
        pytest.param("BW012305", "BW01235", [STRICT], id="a zero dropped inside"),
        pytest.param("SL004911", "SL4191", [PADDED], id="exchanged, where zeros are padding"),
        pytest.param("SL004911", "4911", [PADDED], id="no letters, where zeros are padding"),
        pytest.param("XX7", "XX9", [], id="one figure misread, where there are few"),
    ],
)
def test_what_was_meant_is_among_what_is_offered(meant: str, written: str, published: list[Series]) -> None:
    assert meant in near(written, published)


def test_what_the_issuer_writes_comes_first() -> None:
    assert near("SL4911", [PADDED])[0] == "SL004911"
    assert near("BWO12345", [STRICT])[0] == "BW012345"
    assert near("12345", [STRICT])[0] == "BW012345"


def test_one_figure_wrong_is_offered_whole_or_not_at_all() -> None:
    assert {f"BW{n}" for n in range(10)} - {"BW4"} <= set(near("BW4"))
    six = set(near("BW123456"))
    assert not {"BW923456", "BW823456", "BW723456"} & six


@given(
    st.from_regex(r"\A[A-Z0-9]{1,64}\Z"),
    st.lists(
        st.builds(
            lambda letters, digits, zeros: Series.model_validate(
                {"letters": letters, "valid_from": "2003-01-01", "leading_zeros": zeros}
                | ({"digits": digits} if digits else {})
            ),
            st.sampled_from(["BW", "BWT", "SL", "ZA", "IL", "OO"]),
            st.integers(0, 15),
            st.sampled_from(["padding", "significant"]),
        ),
        max_size=4,
        unique_by=lambda each: each.letters,
    ),
)
def test_near_is_few_and_never_the_number_itself(key: str, published: list[Series]) -> None:
    found = near(key, published)
    assert key not in found
    assert len(found) <= MOST_NEAR
    assert len(set(found)) == len(found)
    assert found == near(key, published)
    assert all(each == normalised(each, published) for each in found)


@given(
    st.from_regex(r"\A(BW|BWT|SL|ZA)[0-9]{1,20}\Z"),
    st.sampled_from([[PADDED], [STRICT, TECHNICAL], [BARE, PADDED, TECHNICAL], []]),
)
def test_normalising_twice_is_normalising_once(key: str, published: list[Series]) -> None:
    once = normalised(key, published)
    assert normalised(once, published) == once


# --- reports ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("BW012345", ("BW/6", 12345)),
        ("BW12345", ("BW/5", 12345)),
        ("EC2026A000017", ("EC2026A/6", 17)),
        ("BW", None),
        ("BW12X", None),
        ("BW" + "9" * 18, ("BW/18", 10**18 - 1)),
        ("BW1" + "0" * 18, ("BW1/18", 0)),  # what a database's integers do not hold stays with the letters
        ("", None),
    ],
)
def test_a_key_is_split_into_series_and_number(key: str, split: tuple[str, int] | None) -> None:
    assert series_of(key) == split


def ranges(*ends: tuple[int, int]) -> list[Range]:
    return [Range(first=first, last=last) for first, last in ends]
