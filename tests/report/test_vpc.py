"""The visual predictive check: its bins and numbers, what it finds of data with a known answer, and wrong data."""

import importlib.util

import numpy as np
import pytest
import trial_file

from thrombojax.cli import main
from thrombojax.errors import InputError, RunError
from thrombojax.report import observed, predictive_check, vpc, vpc_figure
from thrombojax.report.observed import Observed
from thrombojax.report.reading import open_results

DAYS = trial_file.VISITS
PEOPLE = 20


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return trial_file.write(
        tmp_path_factory.mktemp("vpc") / "trials.h5", trial_file.arrays(trials=200, failed=((3, 2),))
    )


def data(seed, people=PEOPLE, arm="drug", shift=1.0):
    """Observations of other patients of the same population: person, time, value; shift: they are another population."""
    seen = trial_file.arrays(trials=1, patients=people, seed=1000 + seed)["seen"][0, trial_file.ARMS.index(arm), 0]
    day, person = np.nonzero(~np.isnan(seen))
    return Observed(np.full(len(day), trial_file.ARMS.index(arm)), person, DAYS[day], seen[day, person] * shift)


def write_csv(path, found, names=trial_file.ARMS):
    lines = [
        f"{p + 1},{t:g},{v},{names[a]},x"
        for a, p, t, v in zip(found.arm, found.person, found.time, found.value, strict=True)
    ]
    path.write_text("\n".join(["ID,TIME,DV,ARM,COMMENT", *lines]) + "\n")
    return path


# ---- numbers ----


def test_observations_go_to_the_nearest_day_and_those_outside_to_none():
    found = vpc.bins(np.array([-4.0, -3, 0, 3, 4, 24, 31, 32]), DAYS, least=1)
    assert found.day.tolist() == [-1, 0, 0, 0, 1, 3, 4, -1]
    assert found.place.tolist() == [-1, 0, 0, 0, 1, 2, 3, -1]
    assert found.count == 4
    assert vpc.bins(np.array([0.4, 0.6]), np.array([0.0]), 1).place.tolist() == [0, -1]
    assert vpc.bins(np.array([90.0]), DAYS, 1).count == 0


def test_days_with_few_observations_share_a_bin():
    times = np.repeat(DAYS, (5, 2, 3, 6, 1))
    found = vpc.bins(times, DAYS, least=5)
    assert found.count == 3
    np.testing.assert_array_equal(found.place, np.repeat((0, 1, 1, 2, 2), (5, 2, 3, 6, 1)))
    assert vpc.bins(times, DAYS, least=100).count == 1


def test_percentiles_and_intervals_are_numpys():
    rng = np.random.default_rng(0)
    place = np.repeat((0, 1), (30, 12))
    values, replicates = rng.normal(size=42), rng.normal(size=(300, 42))
    found = vpc.check(np.arange(42.0), values, place, [replicates[:100], replicates[100:]])
    np.testing.assert_allclose(found.observed[:, 1], np.percentile(values[30:], (5, 50, 95)))
    simulated = np.percentile(replicates[:, 30:], (5, 50, 95), axis=1)
    np.testing.assert_allclose(found.low[:, 1], np.percentile(simulated, 2.5, axis=1))
    np.testing.assert_allclose(found.middle[:, 1], np.percentile(simulated, 50, axis=1))
    np.testing.assert_allclose(found.high[:, 1], np.percentile(simulated, 97.5, axis=1))
    assert found.n.tolist() == [30, 12]
    assert found.time.tolist() == [14.5, 35.5]


def test_a_bootstrap_keeps_a_patients_days_together():
    pool = np.arange(50.0) + 1000 * np.arange(4)[:, None]  # the patient is what is left of a thousand
    day, person = np.array([0, 3, 1, 2, 2]), np.array([0, 0, 1, 1, 2])
    made = np.concatenate(list(vpc.bootstrap(pool, day, person, 200, seed=1)))
    assert made.shape == (200, 5)
    np.testing.assert_array_equal(made // 1000, np.tile(day, (200, 1)))
    who = made % 1000
    assert (who[:, 0] == who[:, 1]).all()
    assert (who[:, 2] == who[:, 3]).all()
    assert len(set(who[:, 4])) > 40
    assert (who[:, 0] != who[:, 2]).mean() > 0.9


def inside(results, found):
    return vpc.predict(results, found)[0].check.inside


def test_data_of_the_same_population_are_inside_95_times_of_100(file):
    """40 data sets, 3 percentiles, 5 visits. The visits of a patient go together, so there is room around 95 %."""
    with open_results(file) as results:
        share = np.mean([inside(results, data(seed)) for seed in range(40)])
    assert 0.925 < share < 0.98


def test_data_of_another_size_have_intervals_of_their_own_size(file, tmp_path):
    """A trial of 20 tells nothing of 80 patients: their percentiles scatter half as much."""
    with open_results(file) as results:
        share = np.mean([inside(results, data(seed, people=80)) for seed in range(40)])
        few, many = (vpc.predict(results, data(1, people=n))[0] for n in (20, 80))
    assert 0.925 < share < 0.98
    assert few.replicates == "200 trials of 20 patients"
    assert many.replicates == "500 draws of 80 of the 3999 simulated patients"
    ratio = np.median((few.check.high - few.check.low)[1] / (many.check.high - many.check.low)[1])
    assert 1.5 < ratio < 2.5


def test_without_trials_a_bootstrap_stands_for_them(tmp_path):
    made = trial_file.arrays(trials=1, patients=3000)
    path = trial_file.write(tmp_path / "one.h5", made, trials=False)
    with open_results(path) as results:
        share = np.mean([inside(results, data(seed)) for seed in range(40)])
        found = vpc.predict(results, data(0))[0]
    assert 0.925 < share < 0.98
    assert found.replicates == "500 draws of 20 of the 3000 simulated patients"


@pytest.mark.parametrize("shift", [0.6, 1.7])
def test_data_of_another_population_are_outside(file, shift):
    with open_results(file) as results:
        found = np.mean([inside(results, data(seed, shift=shift))[1] for seed in range(10)])
    assert found < 0.3


def test_without_a_ledger_the_spread_of_measurement_is_missed_and_it_is_said(tmp_path):
    path = trial_file.write(tmp_path / "plain.h5", trial_file.arrays(trials=50), ledger=False)
    with open_results(path) as results:
        arms = vpc.predict(results, data(0))
    assert not arms[0].measured
    assert "without error of measurement, as the file has no ledger of it: drug" in " ".join(vpc.notes(arms))
    np.testing.assert_array_equal(arms[0].days, trial_file.TIMES)


def test_an_arm_without_visits_in_the_ledger_is_compared_with_its_trajectories(tmp_path):
    made = trial_file.arrays(trials=20)
    made["seen"][:, 0] = np.nan
    path = trial_file.write(tmp_path / "some.h5", made)
    with open_results(path) as results:
        assert [vpc.predict(results, data(0, arm=arm))[0].measured for arm in trial_file.ARMS] == [False, True]


def test_observations_outside_the_study_are_left_out_and_it_is_said(file):
    found = data(0)
    late = Observed(
        np.append(found.arm, 0),
        np.append(found.person, 0),
        np.append(found.time + 1.5, 400),
        np.append(found.value, 1e3),
    )
    with open_results(file) as results:
        arms = vpc.predict(results, late)
    assert arms[0].left == 1
    text = " ".join(vpc.notes(arms))
    assert "1 observations outside the simulated days are left out" in text
    assert "nearest simulated day, at most 1.5 days away" in text
    assert f"{len(found.value)} observations;" in vpc.said(arms)


# ---- files ----


def test_both_arms_of_a_csv_are_checked_and_drawn(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(vpc_figure, "DPI", 50)
    both = [data(3), data(3, arm="placebo")]
    joined = Observed(*(np.concatenate([getattr(one, f) for one in both]) for f in ("arm", "person", "time", "value")))
    csv = write_csv(tmp_path / "data.csv", joined)
    assert main(["report", str(file), "--observed", str(csv), "-o", str(tmp_path / "vpc.png")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"drug: 20 patients, {len(both[0].value)} observations; within the 95 %")
    assert said[1].startswith("placebo: 20 patients")
    assert said[-1] == str(tmp_path / "vpc.png")
    assert (tmp_path / "vpc.png").read_bytes().startswith(b"\x89PNG")
    loaded = observed.load(csv, trial_file.ARMS)
    with open_results(file) as results:
        straight, read = vpc.predict(results, joined), vpc.predict(results, loaded)
        texts = " ".join(text.get_text() for text in vpc_figure.draw(results.title, read).texts)
    np.testing.assert_allclose(straight[1].check.observed, read[1].check.observed)
    np.testing.assert_array_equal(straight[1].check.high, read[1].check.high)
    assert "Intervals over 200 trials of 20 patients" in texts


def test_the_rows_of_a_nonmem_table_that_are_doses_are_no_observations(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "id,Time,AMT,dv,EVID,MDV,WT\nA,0,100,.,1,1,70\nA,0,.,20,0,0,70\nA,7,.,30,0,1,70\n\nB,7,.,40,0,,70\n"
    )
    found = observed.load(path, ["drug"])
    assert found.value.tolist() == [20, 40]
    assert found.person.tolist() == [0, 1]
    assert found.people == 2


BAD = """ID,TIME,DV,ARM
1,0,20,drug
,0,20,drug
1,seven,20,drug
1,7,.,drug
1,7,-3,drug
1,7,3,placbo
1,7
1,inf,3,drug
"""


def test_every_wrong_row_is_named_with_its_column(file, tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text(BAD)
    assert main(["report", str(file), "--observed", str(path), "-o", str(tmp_path / "vpc.png")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for said in (
        "row 3, column 'ID': is missing",
        "row 4, column 'TIME': given 'seven'; needed: a finite number",
        "row 5, column 'DV': is missing",
        "row 6, column 'DV': given -3; needed: a count, at least 0",
        "row 7, column 'ARM': unknown arm 'placbo'; the results have: drug, placebo; did you mean 'placebo'?",
        "row 8: has 2 cells; the header has 4",
        "row 9, column 'TIME': given 'inf'",
    ):
        assert f"bad.csv: {said}" in printed.err
    assert len(printed.err.splitlines()) == 7
    assert not (tmp_path / "vpc.png").exists()


def test_a_file_of_wrong_rows_lists_twenty(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("ID,TIME,DV\n" + "1,x,2\n" * 50)
    with pytest.raises(InputError) as caught:
        observed.load(path, ["drug"])
    assert len(caught.value.problems) == 21
    assert "and 30 more" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("ID,TIME,DV,ARM\n", "has no observation"),
        ("ID,TIME,DV,EVID,ARM\n1,0,0,1,drug\n", "has no observation"),
        ("ID,TIME,Y,ARM\n1,0,3,drug\n", "row 1: has no column DV; its columns: ID, TIME, Y, ARM"),
        ("ID,TIME,DV\n1,0,3\n", "has no column ARM, as the results have the arms drug, placebo"),
        ("ID,TIME,DV,DV,ARM\n1,0,3,3,drug\n", "has the column DV twice"),
        ("ID;TIME;DV\n1;0;3\n", "has no commas"),
        ('ID,TIME,DV,ARM\n1,0,"3', "is not a CSV file"),
        ("ID,TIME,DV,EVID,ARM\n1,0,3,x,drug\n", "row 2, column 'EVID': given 'x'"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        observed.load(path, trial_file.ARMS)
    assert says in str(caught.value)


def test_what_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "raw.csv").write_bytes(b"ID,TIME,DV\n\xff\xfe,1,2\n")
    with pytest.raises(InputError, match="not a text file"):
        observed.load(tmp_path / "raw.csv", ["drug"])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        observed.load(tmp_path / "none.csv", ["drug"])


def test_results_that_cannot_be_compared_are_refused(tmp_path):
    csv, out = write_csv(tmp_path / "data.csv", data(0)), tmp_path / "vpc.png"
    grid = trial_file.write(tmp_path / "grid.h5", trial_file.arrays(size=2, trials=3))
    with pytest.raises(InputError, match=r"has the axes strength \(2 values\)"):
        predictive_check(grid, csv, out)
    bare = trial_file.write(tmp_path / "bare.h5", trial_file.arrays(trials=3), ledger=False, trajectories=False)
    with pytest.raises(InputError, match="neither visits of the arm 'drug' in a ledger nor its platelets"):
        predictive_check(bare, csv, out)
    late = data(0)
    late.time[:] = 900
    write_csv(csv, late)
    whole = trial_file.write(tmp_path / "whole.h5", trial_file.arrays(trials=3))
    with pytest.raises(InputError, match="no day on which the arm 'drug' was observed; its last: 28"):
        predictive_check(whole, csv, out)


def test_a_picture_of_a_check_needs_what_every_picture_needs(file, tmp_path, monkeypatch):
    csv = write_csv(tmp_path / "data.csv", data(0))
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        predictive_check(file, csv, tmp_path / "vpc.pdf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"thrombojax\[plots\]"):
        predictive_check(file, csv, tmp_path / "vpc.png")
