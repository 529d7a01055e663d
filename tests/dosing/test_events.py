"""Event tables from NONMEM-style CSV: what is read, and how records become doses."""

import subprocess
import sys

import numpy as np
import pytest
from event_tables import TWO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thrombojax.dosing.events import Drug, Record
from thrombojax.dosing.regimen import HOUR, series
from thrombojax.errors import InputError


def doses(table, patient=0):
    return [(r.time, r.amount, r.duration) for r in table.doses[patient]]


FULL = """\
# made for the test, "with a, quote
ID,Time,AMT,RATE,II,ADDL,evid,CMT,SS,DV,MDV,WT,AGE

anna,0,.,.,.,.,0,.,.,25,0,70,50
anna,0,100,.,7,2,1,1,.,.,1,70,.
anna,3.5,.,.,.,.,0,.,.,80.5,0,72,.
# bo came later
bo,0,30,120,,,1,2,,,1,80,61
bo,1,.,.,.,.,3,.,.,.,1,.,.
bo,1,3,.,2,.,4,2.0,1,.,1,.,.
bo,2,0,0,0,0,0,2,0,44,0,80,
bo,3,.,.,.,.,0,.,.,.,1,80,.
"""


def test_a_full_table(read):
    table = read(FULL, doses=TWO)
    assert table.ids == ("anna", "bo")
    assert len(table) == 2
    assert table.drugs == (Drug("romiplostim", "sc", "ug"), Drug("romiplostim", "iv", "ug/kg"))
    assert table.doses[0] == tuple(Record(day, 0, 100.0, 0.0, False, 0.0) for day in (0.0, 7.0, 14.0))
    assert table.doses[1] == (Record(0.0, 1, 30.0, 0.25, False, 0.0), Record(1.0, 1, 3.0, 0.0, True, 2.0))
    assert table.resets == ((), (1.0,))
    np.testing.assert_array_equal(table.observations[0].time, [0, 3.5])
    np.testing.assert_array_equal(table.observations[0].dv, [25, 80.5])
    np.testing.assert_array_equal(table.observations[1].time, [2, 3])
    np.testing.assert_array_equal(table.observations[1].dv, [44, np.nan])
    assert list(table.constant) == ["AGE"]
    np.testing.assert_array_equal(table.constant["AGE"], [50, 61])
    assert list(table.varying) == ["WT"]
    assert table.interpolation == "locf"
    assert table.last_day == 14.0


def test_the_least_table(read):
    table = read("id,time\n1,0\n1,7\n", doses={})
    assert table.doses == ((),)
    np.testing.assert_array_equal(table.observations[0].time, [0, 7])
    assert np.isnan(table.observations[0].dv).all()
    assert table.last_day == 7.0


def test_without_evid_the_amount_says_what_is_a_dose(read):
    table = read("ID,TIME,AMT,DV,MDV\n1,0,5,.,1\n1,1,0,30,0\n1,2,.,31,\n1,3,.,.,1\n")
    assert doses(table) == [(0, 5, 0)]
    np.testing.assert_array_equal(table.observations[0].time, [1, 2])


def test_hours_become_days_as_in_a_regimen(read):
    table = read("ID,TIME,AMT,RATE,II,ADDL\n1,5,60,20,8,40\n", unit="h")
    days = series(5 / 24, 8, HOUR, 41)
    assert doses(table) == [(day, 60, 3 / 24) for day in days]
    assert table.last_day == days[-1] + 3 / 24


def test_compartments_by_number_or_name(read):
    text = "ID,TIME,AMT,CMT\n1,0,1,02\n1,1,1,Depot\n1,2,1,2\n"
    table = read(text, doses={"2": TWO["2"], "DEPOT": TWO["1"], "7": TWO["2"]})
    assert [record.column for record in table.doses[0]] == [0, 1, 0]
    assert len(table.drugs) == 2


def test_one_compartment_needs_no_cmt(read):
    assert doses(read("ID,TIME,AMT\n1,0,1\n")) == [(0, 1, 0)]
    assert doses(read("ID,TIME,AMT,CMT\n1,0,1,.\n1,1,1,0\n")) == [(0, 1, 0), (1, 1, 0)]


def test_two_doses_of_a_day_are_two_records_if_they_differ(read):
    table = read("ID,TIME,AMT,CMT\n1,0,1,1\n1,0,1,2\n1,0,2,1\n", doses=TWO)
    assert [(r.column, r.amount) for r in table.doses[0]] == [(0, 1), (1, 1), (0, 2)]


def test_a_reset_ends_infusions_and_pending_doses(read):
    text = (
        "ID,TIME,AMT,RATE,II,ADDL,EVID\n1,0,10,1,4,9,1\n1,7,.,.,.,.,3\n1,8,5,.,1,1,4\n1,8.5,.,.,.,.,3\n2,0,1,.,1,2,1\n"
    )
    table = read(text)
    assert doses(table, 0) == [(0, 7, 7), (4, 3, 3), (8, 5, 0)]
    assert table.resets == ((7.0, 8.0, 8.5), ())
    assert doses(table, 1) == [(0, 1, 0), (1, 1, 0), (2, 1, 0)]


def test_a_reset_at_the_time_of_an_additional_dose_comes_first(read):
    table = read("ID,TIME,AMT,II,ADDL,EVID\n1,0,10,7,3,1\n1,14,.,.,.,3\n1,14,20,.,.,1\n")
    assert doses(table) == [(0, 10, 0), (7, 10, 0), (14, 20, 0)]


def test_observations_of_a_patients_first_day_may_follow_a_reset(read):
    table = read("ID,TIME,AMT,EVID,DV\n1,2,5,4,.\n1,2,.,0,30\n")
    np.testing.assert_array_equal(table.observations[0].dv, [30])


def test_which_observations_are_counts(read):
    text = "ID,TIME,AMT,EVID,CMT,DV\n1,0,5,1,1,.\n1,1,.,0,2,9.9\n1,1,.,0,3,30\n1,2,.,0,3,31\n"
    np.testing.assert_array_equal(read(text, observed="3").observations[0].dv, [30, 31])
    by_dvid = "ID,TIME,DV,CMT,DVID\n1,0,30,1,plt\n1,1,31,2,plt\n1,1,8,2,tpo\n"
    np.testing.assert_array_equal(read(by_dvid, observed="PLT").observations[0].dv, [30, 31])
    with pytest.raises(
        InputError, match=r"row 4, column 'CMT': is a second kind of observation \(the table has 2, 3\)"
    ):
        read(text)
    with pytest.raises(InputError, match="no observation has CMT '4'; found: 2, 3"):
        read(text, observed="4")


def test_patients_asked_for_and_their_order(read):
    text = "ID,TIME,AMT,WT\nb,0,1,10\nb,2,1,11\na,1,2,20\n"
    table = read(text, ids=["a", "b"])
    assert table.ids == ("a", "b")
    assert doses(table, 0) == [(1, 2, 0)]
    np.testing.assert_array_equal(table.varying["WT"].values[1], [10, 11])
    with pytest.raises(InputError) as caught:
        read(text, ids=["a", "c"])
    assert [str(p).partition("t.csv")[2] for p in caught.value.problems] == [
        ": patient 'c' has no records",
        ": row 2, column 'ID': unknown patient 'b'; allowed: a, c",
    ]


def test_columns_can_be_dropped(read):
    table = read("ID,TIME,AMT,DATE,sex\n1,0,1,2020-01-01,male\n", drop=["date", "SEX"])
    assert not table.constant
    with pytest.raises(InputError, match=r"unknown column to drop 'SEXX'; allowed: .*; did you mean 'sex'\?"):
        read("ID,TIME,AMT,sex\n1,0,1,male\n", drop=["SEXX"])


def test_reading_needs_no_jax():
    code = "import sys, thrombojax.dosing.events; assert not {'jax', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- covariates ----

WEIGHTS = "ID,TIME,WT\n1,1,70\n1,2,.\n1,3,72\n1,5,72\n1,6,75\n2,0,60\n2,4,64\n2,9,66\n3,2,50\n"
AT = [0.0, 0.5, 1.0, 1.5, 3.0, 3.5, 5.0, 5.5, 6.0, 99.0]


def test_covariates_hold_their_last_value(read):
    weight = read(WEIGHTS).varying["WT"]
    np.testing.assert_array_equal(weight.days[0], [0, 3, 6])
    np.testing.assert_array_equal(weight.values[0], [70, 72, 75])
    np.testing.assert_array_equal(weight.at(0, np.array(AT)), [70, 70, 70, 70, 72, 72, 72, 72, 75, 75])
    np.testing.assert_array_equal(weight.days[2], [0])


def test_covariates_take_their_next_value(read):
    weight = read(WEIGHTS, interpolation="nocb").varying["WT"]
    np.testing.assert_array_equal(weight.days[0], [0, 1, 5])
    np.testing.assert_array_equal(weight.values[0], [70, 72, 75])
    # Values from a day on: that of the record at 3 rules after the record at 1.
    np.testing.assert_array_equal(weight.at(0, np.array(AT)), [70, 70, 72, 72, 72, 72, 75, 75, 75, 75])
    np.testing.assert_array_equal(weight.days[1], [0, 0, 4])
    np.testing.assert_array_equal(weight.values[1], [60, 64, 66])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(1, 3))), min_size=1, max_size=8),
    st.sampled_from(["locf", "nocb"]),
)
def test_covariates_as_looked_up_one_by_one(read, records, rule):
    """Between any two days: the last record before (locf) or the next one after (nocb) that has a value."""
    records = sorted(records, key=lambda record: record[0])
    known = [record for record in records if record[1] is not None]
    text = "ID,TIME,X,Y\n" + "".join(f"1,{day},{'.' if x is None else x},1\n" for day, x in records)
    # A second patient whose covariate changes, so that it is varying whatever the first one's records.
    text += "2,0,1,1\n2,1,2,1\n"
    if not known:
        with pytest.raises(InputError, match="patient '1' has no value of it"):
            read(text, interpolation=rule)
        return
    table = read(text, interpolation=rule)
    for day in np.arange(0.5, 7):
        if rule == "locf":
            right = next((x for at, x in reversed(known) if at < day), known[0][1])
        else:
            right = next((x for at, x in known if at > day), known[-1][1])
        assert table.varying["X"].at(0, day) == right
    assert table.varying["X"].values[0][0] == known[0][1]
    days = table.varying["X"].days[0]
    assert days[0] == 0
    assert (np.diff(days) >= 0).all()
    assert (np.diff(days)[1:] > 0).all()


# ---- additional doses, against a plain reading of the rule ----


def naive(rows):
    """Doses of one patient, record by record: (day, amount) of what a pump would give until the next reset."""
    given = []
    for at, (day, amount, interval, additional, evid) in enumerate(rows):
        if evid in (1, 4):
            reset = min((row[0] for row in rows[at + 1 :] if row[4] in (3, 4)), default=np.inf)
            given.append((day, amount))
            for k in range(additional):
                if day + (k + 1) * interval < reset:
                    given.append((day + (k + 1) * interval, amount))
    return sorted(given)


@st.composite
def patients(draw):
    rows, day = [], 0
    for amount in range(1, draw(st.integers(1, 7)) + 1):  # amounts all differ, so that none is a duplicate
        day += draw(st.integers(1, 9))
        evid = draw(st.sampled_from([1, 1, 1, 0, 2, 3, 4]))
        dose = evid in (1, 4)
        additional = draw(st.integers(0, 6)) if dose else 0
        interval = draw(st.sampled_from([0.5, 1, 2.25, 7])) if additional else 0
        rows.append((day, amount if dose else 0, interval, additional, evid))
    return rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.lists(patients(), min_size=1, max_size=4), st.sampled_from(["h", "day"]))
def test_additional_doses_are_those_of_a_naive_expansion(read, people, unit):
    text = "ID,TIME,AMT,II,ADDL,EVID\n"
    for name, rows in enumerate(people):
        text += "".join(f"{name},{','.join(map(str, row))}\n" for row in rows)
    table = read(text, unit=unit)
    scale = 24 if unit == "h" else 1
    for rows, records, resets in zip(people, table.doses, table.resets, strict=True):
        right = naive(rows)
        got = sorted((round(record.time * scale, 9), record.amount) for record in records)
        np.testing.assert_allclose(got, np.reshape(right, (-1, 2)) if right else got, rtol=1e-12)
        assert len(got) == len(right)
        assert [record.time for record in records] == sorted(record.time for record in records)
        np.testing.assert_allclose(np.multiply(resets, scale), [r[0] for r in rows if r[4] in (3, 4)], rtol=1e-12)
