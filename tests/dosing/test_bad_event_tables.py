"""What is said of bad event tables, and that nothing else can happen whatever is in one."""

import time

import numpy as np
import pytest
from event_tables import ONE, TWO
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from thrombojax.dosing import events
from thrombojax.errors import InputError

HEAD = "ID,TIME,AMT,RATE,II,ADDL,EVID,CMT,SS,DV,MDV\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": is empty; needed: a header and a row for each record"),
        ("# only this\n", ": is empty; needed: a header"),
        (HEAD, ": has a header but no records"),
        ("ID TIME AMT\n1 0 5\n", ": row 1: has no commas"),
        ("ID,TME,AMT\n1,0,5\n", ": row 1: has no column TIME; needed: when it happens; did you mean 'TME'?"),
        ("TIME,AMT\n0,5\n", ": row 1: has no column ID; needed: the patient"),
        ("ID,TIME,AMT,\n1,0,5,3\n", ": row 1, column 4: has no name"),
        ("ID,TIME,WT,wt\n1,0,5,3\n", ": row 1, column 4: 'wt' repeats the column 'WT'"),
        ("ID,TIME,DAT1\n1,0,5\n", ": row 1, column 3: 'DAT1' is not supported: dates; needed: TIME alone"),
        ("ID,TIME,PCMT\n1,0,5\n", ": row 1, column 3: 'PCMT' is not supported"),
        ("ID,TIME,AMT\n1,0\n", ": row 2: has 2 cells; the header has 3"),
        (b"ID,TIME\n\xff,0\n", ": is not a text file in UTF-8"),
        ('ID,TIME\n"1,0\n', ": is not a CSV file"),
        # cells
        ("ID,TIME,AMT\n.,0,5\n", "row 2, column 'ID': is missing; needed: the patient"),
        ("ID,TIME,AMT\n1,.,5\n", "row 2, column 'TIME': is missing; needed: a number of days"),
        ("ID,TIME,AMT\n1,09:30,5\n", "row 2, column 'TIME': given '09:30': clock times are not supported"),
        ("ID,TIME,AMT\n1,inf,5\n", "row 2, column 'TIME': given 'inf'; needed: a finite number"),
        ("ID,TIME,AMT\n1,-1,5\n", "row 2, column 'TIME': given '-1', which is before the start; needed: days from 0 on"),
        ("ID,TIME,AMT\n1,0,5mg\n", "row 2, column 'AMT': given '5mg'; needed: a finite number, or . where there is none"),
        ("ID,TIME,AMT\n1,0,1_0\n", "row 2, column 'AMT': given '1_0'; needed: a finite number"),
        ("ID,TIME,amt\n1,0,-5\n", "row 2, column 'amt': given '-5'; needed: an amount of 0 or more"),
        ("ID,TIME,DV\n1,0,BLQ\n", "row 2, column 'DV': given 'BLQ'; needed: a finite number"),
        ("ID,TIME,sex\n1,0,male\n", "row 2, column 'sex': given 'male'; needed: a finite number, or . where there is none "
         "(a column that is no covariate can be dropped)"),
        ("ID,TIME,DV,MDV\n1,0,3,2\n", "row 2, column 'MDV': given '2'; allowed: 0"),
        # events
        ("ID,TIME,AMT,EVID\n1,0,5,5\n", "row 2, column 'EVID': given '5' is not supported; allowed: 0 (observation), 1"),
        ("ID,TIME,AMT,EVID\n1,0,5,1.5\n", "row 2, column 'EVID': given '1.5' is not supported"),
        ("ID,TIME,AMT,EVID\n1,0,.,1\n", "row 2, column 'AMT': is missing; needed: the amount of the dose"),
        ("ID,TIME,EVID\n1,0,1\n", "row 2: the table has no column AMT; needed: the amount of the dose"),
        ("ID,TIME,AMT,EVID\n1,0,5,0\n", "row 2, column 'AMT': given '5' on an observation (EVID 0); needed: 0, or ."),
        ("ID,TIME,AMT,EVID\n1,0,5,.\n", "row 2, column 'AMT': given '5' on an observation (EVID 0); needed: 0, or ."),
        ("ID,TIME,AMT,EVID\n1,0,5,3\n", "row 2, column 'AMT': given '5' on a reset (EVID 3); needed: 0, or ."),
        ("ID,TIME,RATE,EVID\n1,0,5,2\n", "row 2, column 'RATE': given '5' on an other event (EVID 2); needed: 0, or ."),
        ("ID,TIME,EVID,CMT\n1,0,2,-1\n", "row 2, column 'CMT': given '-1' (a compartment turned off) is not supported"),
        # doses
        ("ID,TIME,AMT,RATE\n1,0,5,-1\n", "row 2, column 'RATE': given '-1' (a rate that the model estimates) is not sup"),
        ("ID,TIME,AMT,RATE\n1,0,5,-2\n", "row 2, column 'RATE': given '-2' (a duration that the model estimates) is not"),
        ("ID,TIME,AMT,RATE\n1,0,5,-3\n", "row 2, column 'RATE': given '-3'; allowed: 0 (bolus) or a rate above 0"),
        ("ID,TIME,AMT,RATE\n1,0,0,3\n", "row 2, column 'RATE': given '3' with AMT 0; needed: an AMT above 0"),
        ("ID,TIME,AMT,RATE\n1,0,1e300,1e-300\n", "row 2, column 'RATE': given '1e-300'; needed: a finite duration"),
        ("ID,TIME,AMT,ADDL\n1,0,5,3\n", "row 2, column 'ADDL': given '3' without II; needed: II"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,3,.\n", "row 2, column 'ADDL': given '3' without II; needed: II"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,2.5,1\n", "row 2, column 'ADDL': given '2.5'; needed: a whole number"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,-1,1\n", "row 2, column 'ADDL': given '-1'; needed: a whole number"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,1e9,1\n", "row 2, column 'ADDL': given '1e9'; needed: a whole number of additional"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,3,-1\n", "row 2, column 'II': given '-1'; needed: an interval above 0"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,3,1e-12\n", "row 2, column 'II': given '1e-12', which makes no series of different"),
        ("ID,TIME,AMT,ADDL,II\n1,0,5,3,1e308\n", "row 2, column 'II': given '1e308', which makes no series of different"),
        ("ID,TIME,AMT,II\n1,0,5,7\n", "row 2, column 'II': given '7' without ADDL or SS; needed: ADDL"),
        ("ID,TIME,AMT,SS,II\n1,0,5,2,7\n", "row 2, column 'SS': given '2' (a steady state added to what is there) is no"),
        ("ID,TIME,AMT,SS,II\n1,0,5,9,7\n", "row 2, column 'SS': given '9'; allowed: 0, 1"),
        ("ID,TIME,AMT,SS\n1,0,5,1\n", "row 2, column 'SS': given '1' without II"),
        ("ID,TIME,AMT,EVID,SS,II\n1,0,0,1,1,7\n", "row 2, column 'SS': given '1' without an AMT above 0"),
        ("ID,TIME,AMT,SS,II\n1,0,5,0,0\n1,7,5,1,7\n", "row 3, column 'SS': SS after the dose of row 2 into the same"),
        ("ID,TIME,AMT,CMT\n1,0,5,3\n", "row 2, column 'CMT': unknown compartment '3'; allowed: 1, 2"),
        ("ID,TIME,AMT,CMT\n1,0,5,.\n", "row 2, column 'CMT': is missing on a dose; allowed: one of 1, 2"),
        ("ID,TIME,AMT\n1,0,5\n", "row 2: the table has no column CMT on a dose; allowed: one of 1, 2"),
        ("ID,TIME,AMT,CMT,II,ADDL\n" + "".join(f"1,{i},1,1,1,60000\n" for i in range(2)),
         "row 2, column 'ID': at most 100000 doses a patient, got 120002, additional ones counted"),
        # order
        ("ID,TIME\n1,5\n1,3\n", "row 3, column 'TIME': given '3', but row 2 is at 5; needed: ascending times within a"),
        ("ID,TIME,EVID\n1,5,0\n1,0,3\n", "row 3, column 'TIME': given '0', but row 2 is at 5; needed: ascending times "
         "within a patient, which a reset does not start again"),
        ("ID,TIME\n1,0\n2,0\n1,1\n", "row 4, column 'ID': '1' goes on here after row 2; needed: all records of a patient"),
        ("ID,TIME,AMT,CMT\n1,0,5,1\n1,0,5,1\n", "row 3, column 'AMT': repeats the dose of row 2: the same ID, TIME, CMT "
         "and AMT; needed: one record of it"),
        ("ID,TIME,AMT,CMT,II,ADDL\n1,0,5,1,7,2\n1,3,.,1,.,.\n1,14,5,1,.,.\n",
         "row 4, column 'AMT': repeats additional dose 2 of row 2: the same"),
        ("ID,TIME,AMT,CMT,II,ADDL\n1,0,5,1,7,2\n1,7,5,2,.,.\n1,3.5,5,1,3.5,1\n", "row 4, column 'TIME': given '3.5', but"),
        ("ID,TIME,AMT,CMT,II,ADDL\n1,0,5,1,7,2\n1,3.5,5,1,3.5,1\n",
         "row 3, column 'AMT': additional dose 1 repeats additional dose 1 of row 2: the same ID, TIME, CMT and AMT on day 7"),
        ("ID,TIME,AMT,CMT,EVID\n1,1,5,1,1\n1,1,.,.,3\n", "row 2, column 'EVID': given '1', but the reset of row 3 at the "
         "same TIME undoes this dose; needed: the reset first"),
        ("ID,TIME,EVID\n1,0,0\n1,1,3\n1,1,0\n", "row 4, column 'TIME': given '1', after the reset of row 3 at the same "
         "TIME, before which counts are read"),
        # covariates
        ("ID,TIME,WT\n1,0,70\n2,0,.\n2,1,\n", "row 3, column 'WT': patient '2' has no value of it (rows 3 to 4); needed"),
    ],
)  # fmt: skip
def test_a_bad_table(read, text, said):
    with pytest.raises(InputError) as caught:
        read(text, doses=TWO if "CMT" in str(text) + said else ONE)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1
    assert "t.csv: " in str(caught.value)


def test_everything_at_once_in_the_order_of_the_file(read):
    text = "ID,TIME,AMT,EVID,WT\n1,0,-5,1,a\n1,-1,5,1,70\n2,x,5,7,.\n2,1,5,1,.\n2,1,5,1,.\n"
    with pytest.raises(InputError) as caught:
        read(text)
    assert [str(p).partition("t.csv: ")[2].partition(";")[0] for p in caught.value.problems] == [
        "row 2, column 'AMT': given '-5'",
        "row 2, column 'WT': given 'a'",
        "row 3, column 'TIME': given '-1', which is before the start",
        "row 3, column 'TIME': given '-1', but row 2 is at 0",
        "row 4, column 'TIME': given 'x'",
        "row 4, column 'EVID': given '7' is not supported",
        "row 4, column 'WT': patient '2' has no value of it (rows 4 to 6)",
        "row 6, column 'AMT': repeats the dose of row 5: the same ID, TIME, CMT and AMT",
    ]


def test_but_not_endlessly(read):
    with pytest.raises(InputError) as caught:
        read("ID,TIME,AMT\n" + "".join(f"{i},0,x\n" for i in range(100)))
    assert len(caught.value.problems) == 21
    assert str(caught.value.problems[-1]).endswith("t.csv: and 80 more")


def test_doses_of_the_whole_table_are_bounded(read, monkeypatch):
    monkeypatch.setattr(events, "MOST_IN_ALL", 10)
    with pytest.raises(InputError, match=r"t\.csv: at most 10 doses, got 12, additional ones counted"):
        read("ID,TIME,AMT,II,ADDL\n1,0,1,1,5\n2,0,1,1,5\n")


def test_a_dose_where_no_drug_is_named(read):
    with pytest.raises(InputError, match="row 2, column 'CMT': given '1' on a dose; allowed: none"):
        read("ID,TIME,AMT,CMT\n1,0,5,1\n", doses={})


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        events.read(tmp_path / "none.csv", unit="h", doses=ONE, interpolation="locf")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "hour"}, "events: unit: unknown unit of time 'hour'; allowed: day, h"),
        ({"interpolation": "loc"}, "events: interpolation: unknown interpolation 'loc'; allowed: locf, nocb; did you"),
        ({"ids": ["1", "1"]}, "events: ids: patient '1' is given twice"),
        ({"doses": {"1": "romiplostim"}}, "events: doses.1: given 'romiplostim'; needed: drug, route and unit"),
        ({"doses": {"1": ("once", "sc", "ug")}}, "events: doses.1: not a drug's name: 'once'"),
        ({"doses": {"1": ("romiplostim", "skin", "ug")}}, "events: doses.1: unknown route 'skin'"),
        ({"doses": {"1": ("romiplostim", "sc", "ugg")}}, "events: doses.1: unknown unit 'ugg'"),
        ({"doses": {"-1": ONE["1"]}}, "events: doses.-1: '-1' is not a compartment"),
        ({"doses": {"1": ONE["1"], "1.0": ONE["1"]}}, "events: doses.1.0: names a compartment that is there already"),
    ],
)
def test_bad_arguments(read, changes, said):
    with pytest.raises(InputError) as caught:
        read("ID,TIME\n1,0\n", **changes)
    assert said in str(caught.value)


# ---- whatever is in the file ----

NAMES = [
    "ID",
    "TIME",
    "AMT",
    "RATE",
    "II",
    "ADDL",
    "EVID",
    "CMT",
    "SS",
    "DV",
    "MDV",
    "DVID",
    "WT",
    "time",
    "DATE",
    "",
    "#",
]
CELL = st.one_of(
    st.sampled_from(
        ["", ".", "0", "1", "1", "2", "3", "4", "-1", "-2", "7", "24", "1e308", "1e-308", "nan", "1e99", "x"]
    ),
    st.integers(-2, 12).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
# Mostly right records, so that faults meet each other deep in the reader too.
LIKELY = {
    "ID": st.sampled_from(["1", "2", "1", "3"]),
    "TIME": st.integers(0, 9).map(str),
    "AMT": st.sampled_from([".", "0", "5", "10"]),
    "RATE": st.sampled_from([".", "0", "5"]),
    "II": st.sampled_from([".", "0", "1", "7"]),
    "ADDL": st.sampled_from([".", "0", "3", "99999"]),
    "EVID": st.sampled_from(["0", "1", "2", "3", "4"]),
    "CMT": st.sampled_from(["1", "2", "."]),
    "SS": st.sampled_from(["0", "1", "."]),
    "MDV": st.sampled_from(["0", "1"]),
}


@st.composite
def files(draw):
    columns = draw(st.lists(st.sampled_from(NAMES), min_size=0, max_size=12, unique=True))
    columns = ["ID", "TIME", *[c for c in columns if c not in ("ID", "TIME")]] if draw(st.integers(0, 9)) else columns
    wild = draw(st.sampled_from([0.0, 0.05, 0.5]))
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        cells = [draw(CELL if draw(st.floats(0, 1)) < wild or name not in LIKELY else LIKELY[name]) for name in columns]
        rows.append(cells[: draw(st.integers(0, len(cells)))] if not draw(st.integers(0, 30)) else cells)
    if draw(st.booleans()):
        rows.sort(key=lambda row: [cell.zfill(3) for cell in row[:2]])
    return "\n".join([",".join(row) for row in [columns, *rows]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(
    st.one_of(files(), files(), files(), st.text(st.characters(exclude_categories=["Cs"]), max_size=60)),
    st.sampled_from(["h", "day"]),
    st.sampled_from([ONE, TWO, {}]),
    st.sampled_from(["locf", "nocb"]),
    st.sampled_from([(), ("DATE", "", "#"), ("#",)]),
    st.sampled_from([None, None, "1"]),
    st.sampled_from([None, None, ("2", "1"), ()]),
)
@example("ID,TIME,AMT\n2,0,5\n2,1,5\n", "h", ONE, "locf", (), None, ("1",))
@example("ID,TIME,AMT\n,0,5\n,1,5\n", "h", ONE, "locf", (), None, None)
def test_a_table_or_an_input_error(read, text, unit, given, rule, drop, observed, ids):
    try:
        table = read(text, unit=unit, doses=given, interpolation=rule, drop=drop, observed=observed, ids=ids)
    except InputError as error:
        table = error
    if isinstance(table, InputError):
        assert 1 <= len(table.problems) <= 21
        return
    n = len(table.ids)
    assert n == len(table.doses) == len(table.resets) == len(table.observations)
    assert np.isfinite(table.last_day)
    for records, resets, seen in zip(table.doses, table.resets, table.observations, strict=True):
        days = [record.time for record in records]
        assert days == sorted(days)
        assert all(record.time >= 0 and record.time + record.duration <= table.last_day for record in records)
        assert all(record.amount >= 0 and 0 <= record.column < len(table.drugs) for record in records)
        assert list(resets) == sorted(set(resets))
        assert (np.diff(seen.time) >= 0).all()
    for values in table.constant.values():
        assert values.shape == (n,)
        assert np.isfinite(values).all()
    for covariate in table.varying.values():
        assert len(covariate.days) == len(covariate.values) == n
        assert all(days[0] == 0 for days in covariate.days)


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds(read):
    rows = "".join(
        f"{p},{d},{'100,1,.' if d % 7 == 0 else f'.,0,{d}'},{60 + d % 5},{p % 2}\n"
        for p in range(1000)
        for d in range(100)
    )
    begin = time.process_time()
    table = read("ID,TIME,AMT,EVID,DV,WT,SEX\n" + rows)
    assert time.process_time() - begin < 10  # 0.9 s on a slow core
    assert sum(map(len, table.doses)) == 15_000
    with pytest.raises(InputError, match="and 99980 more"):
        read("ID,TIME,AMT,EVID,DV,WT,SEX\n" + rows.replace("\n", "x\n"))
