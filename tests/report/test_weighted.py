"""Weights in percentiles, shares, means and predictive checks: against NumPy, and against patients who are there repeatedly."""

import h5py
import numpy as np
import pytest
import results_file
from hypothesis import given
from hypothesis import strategies as st

from thrombojax.report import reading, summary, vpc
from thrombojax.report.comparison import differences
from thrombojax.report.intervals import effective, exact_share, mean_interval, percentiles
from thrombojax.store.layout import WEIGHT

PERCENTS = (0, 5, 25, 50, 95, 100)
RNG = np.random.default_rng(11)


@given(seed=st.integers(0, 10**6))
def test_percentiles_are_numpys(seed):
    rng = np.random.default_rng(seed)
    data, weights = rng.integers(0, 9, (3, 30)).astype(float), rng.integers(0, 4, 30).astype(float)
    weights[0] += 1
    wanted = np.quantile(data, np.array(PERCENTS) / 100, axis=-1, weights=weights, method="inverted_cdf")
    np.testing.assert_array_equal(percentiles(data, PERCENTS, weights), wanted)


def test_missing_and_endless_values():
    data, weights = np.array([3.0, np.nan, np.inf, 1.0]), np.array([0.2, 0.4, 0.2, 0.2])
    np.testing.assert_array_equal(percentiles(data, (10, 50, 90), weights), [1.0, 3.0, np.inf])
    assert np.isnan(percentiles(np.full((2, 3), np.nan), (50,), np.ones(3))).all()
    assert np.isnan(percentiles(np.empty((2, 0)), (50,), np.ones(0))).all()


def test_equal_weights_are_none():
    data = RNG.normal(size=50)
    np.testing.assert_allclose(mean_interval(data, np.full(50, 0.02)), mean_interval(data), rtol=1e-12)
    yes = (data > 0.3) * 100.0
    np.testing.assert_allclose(summary._share(yes, np.full(50, 0.02)), summary._share(yes, None), rtol=1e-9)


def test_the_interval_of_a_weighted_mean_holds_it_as_often_as_it_says():
    """1000 samples of 60 from N(5, 4), kept with weights that have nothing to do with the values: 95 % within 2 %."""
    held = 0
    for _ in range(1000):
        low, _, high = mean_interval(RNG.normal(5, 2, 60), RNG.gamma(2.0, 1.0, 60))
        held += low <= 5 <= high
    assert 925 <= held <= 970


def test_effective_numbers():
    assert effective(np.ones(7)) == pytest.approx(7)
    assert effective(np.array([1.0, 1.0, 0.0])) == pytest.approx(2)
    assert effective(np.zeros(3)) == 0
    low, share, high = exact_share(2.5, 10.0)
    assert low < share == 0.25 < high


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    """A results file with weights 0 to 3 of 200 patients, three of whom failed."""
    path = results_file.write(
        tmp_path_factory.mktemp("weights") / "w.h5", arms=("placebo", "weekly"), failed=(3, 50, 99)
    )
    weights = np.random.default_rng(1).integers(0, 4, 200) / 300.0
    with h5py.File(path, "r+") as file:
        data = file.create_dataset(WEIGHT, data=weights)
        data.dims[0].attach_scale(file["patient"])
        data.attrs["role"] = "weight"
    return path, weights


def test_a_report_weighs_patients(weighed):
    path, weights = weighed
    with reading.open_results(path) as results:
        well = results.file["status"][1] == 0
        copies = np.round(300 * weights[well]).astype(int)
        (found,) = summary.endpoint_quantiles(results, [(1,)])
        peak = results.file["platelet_peak"][1][well].astype(float)
        at = [v.name for v in results.endpoints].index("platelet_peak")
        wanted = np.quantile(np.repeat(peak, copies), np.array(summary.PERCENTS) / 100, method="inverted_cdf")
        np.testing.assert_allclose(found.quantiles[at], wanted)
        (band,) = summary.bands(results, results.trajectories[0], [(1,)])
        counts = results.file["platelets"][1][:, well].astype(float)
        wanted = np.quantile(
            np.repeat(counts, copies, axis=1), np.array(summary.PERCENTS) / 100, axis=1, method="inverted_cdf"
        )
        np.testing.assert_allclose(band.quantiles, wanted)
        (difference,) = differences(results, [(1,)], 0)
        paired = peak - results.file["platelet_peak"][0][well]
        assert difference.quantiles[at, 1] == pytest.approx(np.average(paired, weights=weights[well]))
        assert f"effective sample size {effective(weights):.0f}" in "; ".join(summary.facts_text(results, drawn=True))


def test_a_predictive_check_draws_by_weight():
    """Weight on one patient alone: every replicate is that patient."""
    pool = RNG.normal(size=(4, 10))
    day, person = np.array([0, 2, 3]), np.array([0, 0, 1])
    (piece,) = vpc.bootstrap(pool, day, person, 20, seed=0, weights=np.eye(10)[6])
    np.testing.assert_array_equal(piece, np.tile(pool[day, 6], (20, 1)))
    shares = np.array([0.7, 0.3, *np.zeros(8)])
    (piece,) = vpc.bootstrap(pool, np.array([1]), np.array([0]), 4000, seed=1, weights=shares)
    assert np.mean(piece == pool[1, 0]) == pytest.approx(0.7, abs=0.03)
