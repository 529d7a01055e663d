"""Reports of files with trial replicates: pooled numbers, what a trial finds, paired differences, and how they are printed."""

import re

import numpy as np
import pytest
import trial_file
from scipy import stats

from thrombojax.report import figure, reading, render, summary, table
from thrombojax.report.comparison import differences, reference_arm, trial_spread
from thrombojax.report.reading import by_trial, open_results, sample, values
from thrombojax.report.summary import PERCENTS, bands, endpoint_quantiles

FAILED = ((0, 3), (4, 0), (4, 19), (29, 7))
DRUG, PLACEBO = (0,), (1,)


@pytest.fixture(scope="module")
def made():
    """As the file holds it; one patient failed in the other arm alone."""
    found = trial_file.arrays(failed=FAILED)
    for name, kept in found.items():
        if name != "body.weight":
            kept[:, 1, 6, ..., 6] = 1 if name == "status" else np.nan
    return {name: values.astype(np.float32).astype(float) for name, values in found.items()}


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    return trial_file.write(tmp_path_factory.mktemp("trials") / "trials.h5", made)


@pytest.fixture(scope="module")
def plain(made, tmp_path_factory):
    """The first trial alone, in a file without the dimension."""
    return trial_file.write(tmp_path_factory.mktemp("plain") / "plain.h5", made, trials=False)


def well(made, arm=0):
    return made["status"][0, arm] == 0


def test_percentiles_are_over_the_patients_of_all_trials(file, made):
    with open_results(file) as results:
        assert (results.trials, results.patients, results.people) == (30, 20, 600)
        assert (results.failed, results.total) == (5, 1200)
        names = [v.name for v in results.endpoints]
        found = endpoint_quantiles(results, [DRUG])[0].quantiles
        curves = bands(results, results.trajectories[0], [DRUG])[0].quantiles
    nadir = made["nadir"][0, 0][well(made)]
    assert len(nadir) == 596
    np.testing.assert_allclose(found[names.index("nadir")], np.percentile(nadir, PERCENTS))
    platelets = np.moveaxis(made["platelets"][0, 0], 1, -1)[well(made)]
    np.testing.assert_allclose(curves, np.percentile(platelets, PERCENTS, axis=0), rtol=1e-6)


def test_a_yes_no_endpoint_is_a_share_with_its_exact_interval(file, made):
    with open_results(file) as results:
        assert [v.name for v in results.endpoints if v.yes_no] == ["responded"]
        found = endpoint_quantiles(results, [DRUG])[0].quantiles[0]
    yes = int(made["responded"][0, 0][well(made)].sum())
    assert 0 < yes < 596
    expected = stats.binomtest(yes, 596).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(found[[0, 2, 4]], 100 * np.array([expected.low, yes / 596, expected.high]))


def test_what_a_trial_finds(file, made):
    with open_results(file) as results:
        found = dict(zip([v.name for v in results.endpoints], trial_spread(results, [DRUG])[0].quantiles, strict=True))
    for name, scale in (("responded", 100), ("nadir", 1)):
        means = np.nanmean(np.where(well(made), scale * made[name][0, 0], np.nan), axis=-1)
        expected = (np.percentile(means, 2.5), means.mean(), np.percentile(means, 97.5))
        np.testing.assert_allclose(found[name], expected, rtol=1e-9)
    medians = np.nanmedian(np.where(well(made), made["peak_day"][0, 0], np.nan), axis=-1)
    np.testing.assert_allclose(found["peak_day"][1], medians.mean())


def test_differences_are_paired_and_over_trials(file, made):
    both = well(made, 0) & well(made, 1)
    with open_results(file) as results:
        assert reference_arm(results) == 1
        names = [v.name for v in results.endpoints]
        found = dict(zip(names, differences(results, [DRUG], 1)[0].quantiles, strict=True))
    for name, scale in (("responded", 100), ("nadir", 1)):
        paired = np.where(both, scale * (made[name][0, 0] - made[name][0, 1]), np.nan)
        means = np.nanmean(paired, axis=-1)
        expected = (np.percentile(means, 2.5), means.mean(), np.percentile(means, 97.5))
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-9)
    assert np.isnan(found["first_day_at_50"]).all()  # some never got there
    assert np.isfinite(found["peak_day"]).all()


def test_differences_of_one_population_have_the_normal_interval_of_pairs(plain, made):
    both = (well(made, 0) & well(made, 1))[0]
    paired = (made["nadir"][0, 0] - made["nadir"][0, 1])[0][both]
    responded = 100 * (made["responded"][0, 0] - made["responded"][0, 1])[0][both]
    with open_results(plain) as results:
        assert (results.trials, results.people) == (0, 20)
        found = differences(results, [DRUG], 1)[0].quantiles
    for row, data in ((found[1], paired), (found[0], responded)):
        low, high = stats.norm.interval(0.95, data.mean(), stats.sem(data)) if data.any() else (0, 0)
        np.testing.assert_allclose(row, (low, data.mean(), high), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("block", [1, 60, 10**6])
@pytest.mark.parametrize("shard", [7, 64])
def test_blocks_of_any_size_hold_the_same_numbers_and_never_more(made, tmp_path, monkeypatch, block, shard):
    """shard 7: a trial's patients are in several chunks; block: numbers of small trials read together."""
    path = trial_file.write(tmp_path / "trials.h5", made, shard=shard)
    monkeypatch.setattr(reading, "BLOCK_VALUES", block)
    largest, read = [0], reading._read

    def watched(*given):
        found = read(*given)
        largest.append(found.size)
        return found

    monkeypatch.setattr(reading, "_read", watched)
    with open_results(path) as results:
        variable = results.endpoints[1]
        assert variable.name == "nadir"
        chosen = sample(results, variable, 10**6)
        np.testing.assert_array_equal(chosen, np.arange(600))
        np.testing.assert_array_equal(values(results, variable, DRUG, chosen), made["nadir"][0, 0][well(made)])
        pieces = list(by_trial(results, variable, DRUG, 10**6))
        np.testing.assert_array_equal(np.concatenate([piece for piece, _ in pieces]), made["nadir"][0, 0])
        np.testing.assert_array_equal(np.concatenate([ok for _, ok in pieces]), well(made))
        curve = results.trajectories[0]
        thinned = [piece for piece, _ in by_trial(results, curve, DRUG, 5)]
        assert {piece.shape for piece in thinned} == {(len(trial_file.TIMES), 1, 5)}
        assert len(thinned) == 30
        whole = [piece for piece, _ in by_trial(results, curve, DRUG, 20)]
        np.testing.assert_array_equal(np.concatenate(whole, axis=1), np.swapaxes(made["platelets"][0, 0], 0, 1))
    assert max(largest) <= max(block, 20 * len(trial_file.TIMES))


def test_a_sample_is_from_all_trials(file):
    with open_results(file) as results:
        chosen = sample(results, results.endpoints[0], 60)
        assert len(chosen) == 60
        assert len(set(chosen // 20)) == 30


def test_the_table_of_trials(file):
    text = table(file)
    first, second = text.split("Difference from placebo in the same patients")
    lines = first.split("\n")
    assert max(map(len, text.split("\n"))) <= 100
    assert re.split(r"\s{2,}", lines[0]) == ["endpoint", "unit", "arm", "all 600 patients", "30 trials of 20"]
    assert lines[1].split("  ")[-1] == "mean [2.5 %, 97.5 %]"
    share = r"\d[\d.]* \[[\d.]+, [\d.]+\]"
    assert re.fullmatch(rf"responded +% +drug +{share} +{share}", lines[3])
    assert re.fullmatch(rf" +placebo +{share} +{share}", lines[4])
    assert re.search(rf"\nresponded +% points +drug +{share}\n", second)
    assert re.search(r"\nfirst_day_at_50 +day +drug +-\n", second)
    assert "placebo" not in second
    for said in (
        "In %: share of patients [exact 95 % interval].",
        "30 trials of 20 patients per cell; 5 of 1200 trajectories failed",
        "(each a share, a mean or a median day)",
        "-: no difference, as some days never came.",
        "never: not within the study.",
    ):
        assert said in " ".join(text.split()), said


def test_the_table_of_one_population_has_shares_and_differences_too(plain):
    text = table(plain)
    lines = text.split("\n")
    assert lines[0].split() == ["arm", "responded", "nadir", "first_day_at_50", "peak_day"]
    assert lines[1].split() == ["%", "10⁹/L", "day", "day"]
    assert text.count("Difference from placebo in the same patients") == 1
    assert "% points" in text
    assert "In %: share of patients [exact 95 % interval]. " in text
    assert "20 patients per cell" in text
    assert "trials of" not in text


def test_without_an_arm_without_drug_there_are_no_differences(made, tmp_path):
    path = trial_file.write(tmp_path / "two.h5", made, arms=("low", "high"))
    with open_results(path) as results:
        assert reference_arm(results) is None
    assert "Difference" not in table(path)
    alone = {name: v if name == "body.weight" else v[:, 1:] for name, v in made.items()}
    path = trial_file.write(tmp_path / "one.h5", alone, arms=("placebo",))
    assert "Difference" not in table(path)


def test_an_untreated_arm_is_compared_with_where_there_is_no_placebo(made, tmp_path):
    path = trial_file.write(tmp_path / "untreated.h5", made, arms=("untreated", "Drug"))
    with open_results(path) as results:
        assert reference_arm(results) == 0
    assert "Difference from untreated" in table(path)


def test_axes_name_rows_and_an_arm_that_they_do_not_touch_is_one_row(tmp_path):
    grid = trial_file.arrays(size=3)
    for name, data in grid.items():
        if name != "body.weight":
            data[:, 1] = data[:1, 1]
    path = trial_file.write(tmp_path / "grid.h5", grid)
    lines = table(path).split("\n")
    assert sum("placebo" in line and "any" in line for line in lines) == 4  # one an endpoint
    assert sum(bool(re.search(r"\bdrug +3 ", line)) for line in lines) == 8  # and a difference each


def test_many_cells_are_thinned_and_it_is_said(tmp_path):
    path = trial_file.write(tmp_path / "many.h5", trial_file.arrays(size=20, trials=4, patients=5))
    text = table(path)
    assert "14 of 40 cells are listed" in " ".join(text.split())
    assert len(text.split("\n")) < 150


@pytest.mark.parametrize("trajectories", [True, False])
def test_a_picture_of_trials_is_drawn(made, tmp_path, monkeypatch, trajectories):
    monkeypatch.setattr(figure, "DPI", 50)
    path = trial_file.write(tmp_path / "trials.h5", made, trajectories=trajectories)
    render(path, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    with open_results(path) as results:
        texts = [text.get_text() for text in figure.draw(results).texts]
    assert "Difference from placebo in the same patients" in texts
    assert "30 trials of 20 patients per cell" in " ".join(texts)


def test_a_sample_of_large_trials_is_said(file, monkeypatch):
    monkeypatch.setattr(summary, "ENDPOINT_SAMPLE", 100)
    with open_results(file) as results:
        assert "percentiles from 100 evenly chosen patients per cell" in summary.facts_text(results, drawn=False)
