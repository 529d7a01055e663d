"""Percentiles and intervals against numpy and SciPy."""

import numpy as np
import pytest
from scipy import stats

from thrombojax.report.intervals import exact_share, mean_interval, over_trials, percentiles

PERCENTS = (2.5, 5, 50, 95, 100)


def test_percentiles_are_numpys_of_the_values_that_are_there():
    data = np.random.default_rng(1).normal(size=(4, 3, 37))
    data[1, 2, :30] = np.nan
    data[0, 0] = np.nan
    with pytest.warns(RuntimeWarning):
        expected = np.nanpercentile(data, PERCENTS, axis=-1)
    np.testing.assert_allclose(percentiles(data, PERCENTS), expected, rtol=1e-12)
    assert np.isnan(percentiles(np.empty((2, 0)), PERCENTS)).all()


def test_what_lies_between_a_number_and_never_is_never():
    np.testing.assert_array_equal(percentiles(np.array([1.0, np.inf, 2.0]), (25, 50, 75)), [1.5, 2.0, np.inf])
    np.testing.assert_array_equal(percentiles(np.full(3, np.inf), (50,)), [np.inf])


@pytest.mark.parametrize(("yes", "n"), [(0, 41), (41, 41), (1, 1), (0, 1), (25, 41), (5000, 8200), (1, 10**6)])
def test_a_share_has_the_interval_of_clopper_and_pearson(yes, n):
    low, share, high = exact_share(yes, n)
    expected = stats.binomtest(yes, n).proportion_ci(0.95, "exact")
    assert share == yes / n
    np.testing.assert_allclose((low, high), (expected.low, expected.high), rtol=1e-9, atol=1e-12)


def test_a_share_of_none_is_no_number():
    assert np.isnan(exact_share(0, 0)).all()


def test_a_mean_has_its_normal_interval():
    data = np.random.default_rng(2).exponential(size=200)
    low, mean, high = mean_interval(np.append(data, np.nan))
    expected = stats.norm.interval(0.95, data.mean(), stats.sem(data))
    np.testing.assert_allclose((low, mean, high), (expected[0], data.mean(), expected[1]), rtol=1e-6)
    low, mean, high = mean_interval(np.array([3.0]))
    assert mean == 3.0
    assert np.isnan([low, high]).all()
    assert np.isnan(mean_interval(np.array([np.nan]))).all()


def test_trials_have_the_percentiles_of_their_numbers():
    data = np.arange(101.0)
    assert over_trials(np.append(data, np.nan)) == (2.5, 50.0, 97.5)
    assert np.isnan(over_trials(np.array([np.nan]))).all()
