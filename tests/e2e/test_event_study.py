"""Event tables as studies: predictions against SciPy, shards, exports, and what is refused."""

import functools

import numpy as np
import pytest
import spec
import studies
from studies import assert_refused, changed

from thrombojax.study import file_layout

HOURS = 24.0
# Both are given subcutaneous doses with additional ones; Ann's weight changes, Bob has an infusion and goes back to the start.
TABLE = """\
ID,TIME,AMT,RATE,II,ADDL,EVID,CMT,DV,MDV,weight,baseline_platelets
# hours
ann,0,.,.,.,.,0,1,251,0,70,250
ann,0,70,.,168,2,1,1,.,1,70,250
ann,100,.,.,.,.,0,1,.,1,.,.
ann,260,.,.,.,.,0,1,300,0,110,250
ann,333.3,40,.,.,.,1,2,.,1,50,250
ann,500,.,.,.,.,0,1,310,0,50,.
bob,0,100,25,.,.,1,2,.,1,60,200
bob,96,35,.,120,3,1,1,.,1,60,200
bob,200,.,.,.,.,0,1,222,0,60,200
bob,230,60,.,.,.,4,1,.,1,60,200
bob,420,.,.,.,.,0,1,222,0,60,200
eve,240,.,.,.,.,0,1,118,0,90,120
"""
EVENTS = {
    "table": "d.csv",
    "time_unit": "h",
    "doses": {"1": ["romiplostim", "sc", "ug"], "2": ["romiplostim", "iv", "ug"]},
}
STUDY = changed(
    studies.WANG,
    study={"precision": "f64", "accuracy": 1e-8},
    patients=None,
    arm=None,
    events=EVENTS,
    endpoint=[
        {"name": "highest", "reducer": "peak"},
        {"name": "given", "reducer": "cumulative_dose", "drug": "romiplostim"},
    ],
    output=None,
    time=None,
)
# patient -> weights from an hour on
WEIGHTS = {
    "locf": {"ann": [(0, 70), (260, 110), (333.3, 50)], "bob": [(0, 60)], "eve": [(0, 90)]},
    # The next value holds from the record before it on; a record without one (hour 100) does not count.
    "nocb": {"ann": [(0, 110), (260, 50)], "bob": [(0, 60)], "eve": [(0, 90)]},
}
COUNTS = {"ann": 250, "bob": 200, "eve": 120}
# (hour, route, amount, hours of infusion), by hand: the reset at hour 230 ends what is left of the series of 120 hours
DOSES = {
    "ann": [(0, "sc", 70, 0), (168, "sc", 70, 0), (336, "sc", 70, 0), (333.3, "iv", 40, 0)],
    "bob": [(0, "iv", 100, 4), (96, "sc", 35, 0), (216, "sc", 35, 0), (230, "sc", 60, 0)],
    "eve": [],
}
OBSERVED = {"ann": [0, 100, 260, 500], "bob": [200, 420], "eve": [240]}


@pytest.fixture
def run_events(tmp_path, run):
    """run_events(study, table, *options) -> how it ended, and where the results are."""

    def call(study=STUDY, table=TABLE, *options):
        if table is not None:
            (tmp_path / "d.csv").write_text(table)
        return run(study, *options, table=None)

    return call


def scipy(who: str, interpolation: str) -> np.ndarray:
    """Counts of a patient at its observations: science.md M1, integrated piece by piece."""
    weights = WEIGHTS[interpolation][who]
    p = spec.typical(spec.WANG) | {"PLT0": COUNTS[who], "WT": weights[0][1]}

    def weight(t):
        return [w for hour, w in weights if hour <= t * HOURS + 1e-9][-1]

    running = [(t / HOURS, (t + d) / HOURS, a / d * HOURS) for t, _, a, d in DOSES[who] if d]
    jumps = {230 / HOURS: [lambda y: spec.wang_start(p)]} if who == "bob" else {}
    for t, route, amount, duration in DOSES[who]:
        if not duration:
            more = np.zeros(23)
            more[1 if route == "iv" else 0] = amount * (1 if route == "iv" else p["Fsc"])
            jumps.setdefault(t / HOURS, []).append(lambda y, more=more: y + more)

    def f(t, y, rate, weight):
        d = spec.wang(y, p | {"WT": weight})
        d[1] += rate
        return d

    solution = spec.integrate(
        f,
        spec.wang_start(p),
        {t: lambda y, steps=steps: functools.reduce(lambda y, step: step(y), steps, y) for t, steps in jumps.items()},
        studies.DAYS,
        kinks=[*(hour / HOURS for hour, _ in weights[1:]), *(t for r in running for t in r[:2])],
        args=lambda t: (sum(rate for a, b, rate in running if a <= t < b), weight(t)),
    )
    return solution(np.array(OBSERVED[who]) / HOURS)[13:].sum(0)


@pytest.mark.parametrize("interpolation", ["locf", "nocb"])
def test_predictions_are_those_of_scipy(run_events, interpolation):
    said, out = run_events(changed(STUDY, events={"interpolation": interpolation}))
    assert said.status == 0, said.err
    found = studies.arrays(out)
    predicted = found["observed/predicted"]
    assert predicted.shape == (1, 4, 3)
    for k, who in enumerate(OBSERVED):
        n = len(OBSERVED[who])
        np.testing.assert_allclose(found["observed/day"][:n, k] * HOURS, OBSERVED[who], rtol=1e-15)
        np.testing.assert_allclose(predicted[0, :n, k], scipy(who, interpolation), rtol=1e-6, err_msg=who)
        assert np.isnan(predicted[0, n:, k]).all()
        assert np.isnan(found["observed/day"][n:, k]).all()
    np.testing.assert_array_equal(found["observed/dv"][:, 0], [251, np.nan, 300, 310])
    np.testing.assert_allclose(found["given"][0], [250, 230, 0])


def test_the_two_interpolations_differ():
    assert np.abs(scipy("ann", "locf") / scipy("ann", "nocb") - 1).max() > 0.01


def test_check_counts_the_patients_of_the_table(run_events, tmp_path):
    run_events()
    said = studies.here("check", tmp_path / "study.toml")
    assert said.status == 0
    assert "patients      3\n" in said.out


def test_a_day_that_is_saved_and_observed_twice_has_one_value(run_events):
    """Kernels keep a value once for each bound."""
    study = changed(STUDY, time={"save": [0.0, 10.0, 28.0]}, output={"trajectories": True})
    said, out = run_events(study, TABLE + "eve,240,.,.,.,.,0,1,121,0,90,120\n")
    assert said.status == 0, said.err
    found = studies.arrays(out)
    platelets, predicted = found["platelets"][0], found["observed/predicted"][0]
    assert np.isfinite(platelets).all()
    assert platelets[0, 0] == predicted[0, 0]
    np.testing.assert_allclose(platelets[:, 2], 120, rtol=1e-12)
    np.testing.assert_array_equal(predicted[:, 2], [platelets[1, 2], platelets[1, 2], np.nan, np.nan])


def test_shards_do_not_change_a_byte(run_events, tmp_path, monkeypatch):
    study = changed(STUDY, events={"interpolation": "nocb"}, study={"precision": "f32", "accuracy": 1e-4})
    _, out = run_events(study)
    out.rename(tmp_path / "whole.h5")
    monkeypatch.setattr(file_layout, "SHARD_PATIENTS", 2)
    said, out = run_events(study)
    assert said.status == 0, said.err
    a, b = studies.arrays(tmp_path / "whole.h5"), studies.arrays(out)  # chunks are cut elsewhere
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].dtype.kind != "O" and a[name].tobytes() != b[name].tobytes()] == []


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A results file of the study."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "d.csv").write_text(TABLE)
    said = studies.here("run", studies.write(folder, STUDY, None), "-o", folder / "out.h5", "--audit", "0")
    assert said.status == 0, said.err
    return folder / "out.h5"


def test_observations_are_exported_one_a_row(made, tmp_path):
    pandas = pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet")
    found = studies.arrays(made)
    for name in ("t.csv", "t.parquet"):
        said = studies.here("export", made, "-o", tmp_path / name, "--observed")
        assert (said.status, said.out) == (0, f"{tmp_path / name}: 7 rows\n"), said.err
    table = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["arm", "patient", "observation", "day", "dv", "predicted", "status"]
    assert table.patient.tolist() == ["ann"] * 4 + ["bob"] * 2 + ["eve"]
    assert table.observation.tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert set(table.arm) == {"as recorded"}
    np.testing.assert_allclose(table.day * HOURS, [hour for hours in OBSERVED.values() for hour in hours])
    np.testing.assert_array_equal(table.dv, [251, np.nan, 300, 310, 222, 222, 118])
    predicted = found["observed/predicted"][0].T
    np.testing.assert_array_equal(table.predicted, predicted[~np.isnan(predicted)])
    columns = parquet.read_table(tmp_path / "t.parquet")
    pandas.testing.assert_frame_equal(columns.to_pandas(), table, check_dtype=False)
    assert columns.schema.field("predicted").metadata[b"units"] == b"1/nL"


def test_axes_are_columns_of_the_export(run_events, tmp_path):
    pandas = pytest.importorskip("pandas")
    study = changed(STUDY, axis=[{"name": "sensitivity", "parameter": "potency", "scale": True, "values": [0.5, 2.0]}])
    said, out = run_events(study)
    assert said.status == 0, said.err
    studies.here("export", out, "-o", tmp_path / "t.csv", "--observed")
    table = pandas.read_csv(tmp_path / "t.csv")
    assert table.groupby("sensitivity").size().tolist() == [7, 7]
    last = table[(table.patient == "bob") & (table.observation == 1)].set_index("sensitivity").predicted
    assert last[0.5] > last[2.0]


def test_a_table_asked_for_must_be_there(made, results, run, tmp_path):
    assert_refused(studies.here("export", made, "-o", tmp_path / "t.csv", "--ledger"), "holds no ledger")
    said = studies.here("export", made, "-o", tmp_path / "t.csv", "--observed", "--trajectories")
    assert said.status == 2
    assert "exclude each other" in " ".join(said.err.split())
    _, out = run(studies.WANG)
    assert_refused(
        studies.here("export", out, "-o", tmp_path / "t.csv", "--observed"), "holds no observed counts", "[events]"
    )
    assert not (tmp_path / "t.csv").exists()


def test_fewer_patients_are_the_first(run_events, made):
    _, out = run_events(STUDY, TABLE, "--patients", "2")
    some, every = studies.arrays(out), studies.arrays(made)
    np.testing.assert_array_equal(some["observed/predicted"], every["observed/predicted"][..., :2])
    said, _ = run_events(STUDY, TABLE, "--patients", "4")
    assert_refused(said, "d.csv: has 3 patients; --patients asks for 4")


def test_a_changed_table_is_another_study(run_events, tmp_path):
    run_events()
    out = tmp_path / "out.h5"
    (tmp_path / "d.csv").write_text(TABLE.replace("120,3,1", "120,2,1"))
    said = studies.here("run", tmp_path / "study.toml", "-o", out, "--resume", "--audit", "0")
    assert_refused(said, "d.csv", lines=None)


HEAD = "ID,TIME,AMT,RATE,II,ADDL,EVID,CMT,SS,DV,weight\n"
GOOD = "1,0,70,.,.,.,1,1,.,.,70\n1,24,.,.,.,.,0,1,.,250,70\n"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (HEAD.replace("weight", "weihgt") + GOOD, "d.csv: column 'weihgt': unknown parameter or covariate; did you mean"),
        (HEAD + GOOD + "1,673,.,.,.,.,0,1,.,9,70\n", "d.csv: row 4, column 'TIME': given '673', after the end of the study"),
        (HEAD + GOOD + "1,400,70,.,168,2,1,1,.,9,70\n", "d.csv: patient '1' is given doses to day 30.6667, additional ones"),
        (HEAD + GOOD + "1,671,70,10,.,.,1,2,.,9,70\n", "d.csv: patient '1' is given doses to day 28.25"),
        (HEAD + GOOD + "1,30,70,.,168,.,1,2,1,.,70\n", "d.csv: row 4, column 'SS': given '1' (steady state) is not supported"),
        (HEAD + GOOD + "1,30,70,10,.,.,1,1,.,.,70\n", "romiplostim sc is not given as an infusion, but patient '1' has a RATE"),
        (HEAD + GOOD + "1,30,70,.,.,.,1,3,.,.,70\n", "d.csv: row 4, column 'CMT': unknown compartment '3'; allowed: 1, 2"),
        (HEAD + GOOD.replace(",250,", ",2.5.0,"), "d.csv: row 3, column 'DV': given '2.5.0'; needed: a finite number"),
        (HEAD.replace("SS", "rate") + GOOD, "d.csv: row 1, column 9: 'rate' repeats the column 'RATE'"),
        (HEAD.replace("weight", "count") + GOOD, "d.csv: column 'count': unknown parameter or covariate 'count'"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused_by_place(run_events, tmp_path, table, words):
    said, _ = run_events(STUDY, table)
    assert_refused(said, *words.split("; did"))
    checked = studies.here("check", tmp_path / "study.toml")
    assert (checked.status, checked.messages) == (2, said.messages)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv", "study.toml"]


SECOND = {"2": ["romiplostim", "iv", "ug"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"events": {"table": "e.csv"}}, "events.table: there is no file"),
        ({"events": {"doses": {"1": ["eltrombopag", "oral", "mg"], **SECOND}}}, "events.doses: unknown drug 'eltrombopag'"),
        ({"events": {"doses": {"1": ["romiplostim", "oral", "ug"], **SECOND}}}, "events.doses: romiplostim oral ug; allowed: iv"),
        ({"events": {"doses": {"1": ["romiplostim", "sc", "1/nL"], **SECOND}}}, "events.doses: romiplostim sc 1/nL; allowed: iv"),
        ({"events": {"doses": {"1": ["romiplostim", "sc"]}}}, "events.doses.1: given a list of 2; allowed: what each CMT"),
        ({"events": {"time_unit": "week"}}, "events.time_unit: unknown time_unit 'week'; allowed: day, h"),
        ({"events": {"drop": ["VISIT"]}}, "d.csv: row 1: unknown column to drop 'VISIT'; allowed: "),
        ({"events": {"observed": "7"}}, "d.csv: no observation has CMT '7'; found: 1"),
        ({"arm": [{"name": "a"}]}, "arm: does not go with [events]: the table says what is given"),
        ({"patients": {"table": "patients.csv"}}, "patients.table: does not go with [events]"),
        ({"patients": {"overrides": {"weight": 70}}}, "patients.overrides.weight: sets weight, which changes within"),
        ({"axis": [{"name": "w", "parameter": "weight", "values": [60, 70]}]}, "axis[1].parameter: sets weight, which"),
        ({"endpoint": [{"name": "dv", "reducer": "peak"}]}, "endpoint[1].name: given 'dv', which is the name of a variable"),
    ],
)  # fmt: skip
def test_wrong_studies_are_refused(run_events, tmp_path, change, words):
    said, _ = run_events(changed(STUDY, **change))
    assert_refused(said, *words.split("; did", 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv", "study.toml"]


def test_a_count_needs_a_cohort_that_is_drawn_by_it(run_events):
    study = changed(STUDY, study={"model": "feedback"}, events={"drop": ["baseline_platelets"]})
    table = TABLE.replace("weight,baseline_platelets", "weight,baseline_platelets,count")
    table = "".join(
        line if line[0] in "I#" else line.replace("\n", ",20\n") for line in table.splitlines(keepends=True)
    )
    said, _ = run_events(study, table)
    assert_refused(said, "d.csv: 'count' is what some cohorts are drawn by; a study without a cohort is not")
