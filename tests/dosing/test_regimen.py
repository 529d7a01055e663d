"""Regimens from parts, and the law that a printed regimen reads back as the same one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrombojax.dosing import Dose, Regimen, dose, regimen
from thrombojax.dosing.regimen import UNITS, drug_name, unit_name
from thrombojax.errors import InputError

days = st.floats(0, 1e5, allow_nan=False)
times = st.one_of(
    st.lists(days, min_size=1, max_size=6, unique=True),
    st.builds(
        lambda start, interval, count: [start + k * interval for k in range(count)],
        st.integers(0, 400) | st.floats(0, 400),
        st.sampled_from([1, 7, 14, 0.5, 1 / 3, 0.1]) | st.floats(1e-3, 100),
        st.integers(1, 40),
    ),
)
doses = st.builds(
    Dose,
    drug=st.from_regex(r"[a-z][a-z0-9_.\-]{0,8}", fullmatch=True).filter(lambda name: drug_name(name) is not None),
    amount=st.floats(0, allow_nan=False, allow_infinity=False),
    unit=st.sampled_from(UNITS),
    route=st.sampled_from(["sc", "iv", "oral"]),
    times=times,
    duration=st.just(0.0) | st.floats(0, 10) | st.sampled_from([2 / 24, 30 / 1440, 1.5]),
)


@st.composite
def chains(draw):
    """Doses that follow one another as `then` would put them, so that printing meets `then`."""
    first = draw(doses)
    more = [
        Dose(first.drug, amount, first.unit, first.route, [first.times[-1] + 7 * (k + 1) for k in range(3)])
        for amount in draw(st.lists(st.floats(0, 10), max_size=2))
    ]
    return (first, *more)


@settings(max_examples=150, deadline=None)
@given(st.lists(doses, max_size=4).map(tuple) | chains())
def test_a_printed_regimen_reads_back_as_the_same(given_doses):
    made = Regimen(given_doses)
    assert regimen(str(made)) == made


def test_parts_and_sentences_give_the_same_regimen():
    assert dose("romiplostim", 3, "ug/kg", "sc", every=7, count=26) == regimen("romiplostim 3 ug/kg sc weekly x 26")
    assert dose("tpo", 2, "ug/kg", "iv", duration=2 / 24) == regimen("tpo 2 ug/kg iv over 2 h once")
    assert dose("tpo", 2, "ug/kg", "iv", times=[21, 0, 7]) == regimen("tpo 2 ug/kg iv at days 0 7 21")
    assert dose("tpo", 2, "ug/kg", "iv", start=3) == regimen("tpo 2 ug/kg iv once from day 3")


def test_joining_naming_and_the_last_day():
    both = dose("b", 1, "mg", "oral", every=1, count=3) + dose("a", 1, "mg", "iv", start=40) + regimen("b 2 mg po once")
    assert both.drugs == ("b", "a")
    assert both.last_day == 40
    assert str(both) == "b 1 mg oral daily x 3 and a 1 mg iv once from day 40 and b 2 mg oral once"
    assert both + Regimen() == both
    assert Regimen().last_day == 0
    assert Regimen().drugs == ()
    assert str(Regimen()) == "none"


def test_then_is_printed_where_only_the_amount_changes():
    text = "romiplostim 1 ug/kg sc weekly x 4 then 3 ug/kg weekly x 8 then 5 ug/kg daily x 2 from day 100"
    assert str(regimen(text)) == text


def test_what_is_given_is_normalised():
    made = Dose("Romiplostim", 3, "µg/kg", "SC", [7, 0])
    assert (made.drug, made.amount, made.unit, made.route, made.times) == (
        "romiplostim",
        3.0,
        "ug/kg",
        "sc",
        (0.0, 7.0),
    )
    assert math.copysign(1, Dose("a", -0.0, "mg", "po", [-0.0]).times[0]) == 1


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("mcg", "ug"),
        ("μg/kg", "ug/kg"),
        ("MG", "mg"),
        ("u/kg", "U/kg"),
        ("iu", "IU"),
        ("10^9/L", "1/nL"),
        ("1/nl", "1/nL"),
    ],
)
def test_units_are_read_as_people_write_them(text, unit):
    assert unit_name(text) == unit


def test_units_differ_by_more_than_case():
    assert len({unit.lower() for unit in UNITS}) == len(UNITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drug": "then"}, "not a drug's name: 'then'"),
        ({"drug": "two words"}, "not a drug's name"),
        ({"amount": -1}, "an amount must not be negative, got -1"),
        ({"amount": math.nan}, "an amount must be finite"),
        ({"amount": "3"}, "an amount must be a number, got '3'"),
        ({"amount": True}, "must be a number"),
        ({"unit": "spoon"}, "unknown unit 'spoon'"),
        ({"route": "im"}, "unknown route 'im'"),
        ({"times": []}, "at least one"),
        ({"times": [0, 7, 0]}, "day 0 is given twice"),
        ({"times": [0, math.inf]}, "must be finite"),
        ({"times": [-1]}, "must not be negative"),
        ({"times": 3}, "must be a list of days"),
        ({"times": range(100_001)}, "at most 100000 doses"),
        ({"duration": -1}, "a duration must not be negative"),
    ],
)
def test_a_wrong_dose_is_refused(change, message):
    right = {"drug": "a", "amount": 1, "unit": "mg", "route": "sc", "times": [0]}
    with pytest.raises(InputError, match=message):
        Dose(**(right | change))


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        Dose("", -1, "?", "?", [])
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"every": 7}, "go together"),
        ({"count": 7}, "go together"),
        ({"every": 7, "count": 2, "times": [0]}, "not both"),
        ({"times": [0], "start": 3}, "not both"),
        ({"every": 0, "count": 2}, "more than 0"),
        ({"every": 7, "count": 0}, "at least 1"),
        ({"every": 7, "count": 2.5}, "whole"),
        ({"every": 7, "count": 1e9}, "at most 100000"),
        ({"every": -7, "count": 2}, "must not be negative"),
        ({"start": -1}, "must not be negative"),
        ({"every": 1e308, "count": 9}, "must be finite"),
        ({"every": math.inf, "count": 9}, "must be finite"),
    ],
)
def test_wrong_parts_are_refused(parts, message):
    with pytest.raises(InputError, match=message):
        dose("a", 1, "mg", "sc", **parts)


def test_a_regimen_is_made_of_doses_and_not_of_millions():
    with pytest.raises(InputError, match="must be a tuple of Dose"):
        Regimen(("romiplostim 3 ug/kg sc once",))
    many = dose("a", 1, "mg", "sc", every=1, count=60_000)
    with pytest.raises(InputError, match="at most 100000 doses in all"):
        many + many
