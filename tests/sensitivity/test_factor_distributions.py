"""Quantiles against SciPy, slopes against differences, dependence against what was asked."""

import numpy as np
import pytest
from scipy import stats

from thrombojax.errors import InputError
from thrombojax.sensitivity import Distribution, Factor, Space
from thrombojax.sensitivity.factors import correlated
from thrombojax.sensitivity.samples import LONGEST, grid, numbers, points

U = np.linspace(0.001, 0.999, 301)
CASES = {
    "normal": (Distribution("normal", 3.0, 2.0), stats.norm(3, 2)),
    "normal, cut off": (Distribution("normal", 3.0, 2.0, 2.0, 7.0), stats.truncnorm(-0.5, 2, 3, 2)),
    "log-normal": (Distribution("log-normal", 3.0, 0.5), stats.lognorm(0.5, scale=3)),
    "log-normal, cut off": (Distribution("log-normal", 3.0, 0.5, 2.0, 5.0), None),
    "uniform": (Distribution("uniform", low=-1.0, high=4.0), stats.uniform(-1, 5)),
    "log-uniform": (Distribution("log-uniform", low=0.1, high=4.0), stats.loguniform(0.1, 4)),
    "triangular": (Distribution("triangular", low=-1.0, high=4.0, mode=0.5), stats.triang(0.3, -1, 5)),
    "triangular to its end": (Distribution("triangular", low=-1.0, high=4.0, mode=4.0), stats.triang(1, -1, 5)),
}


@pytest.mark.parametrize("name", CASES)
def test_quantiles_are_those_of_scipy(name):
    ours, theirs = CASES[name]
    expected = (
        np.exp(stats.truncnorm(*(np.log(np.array([2, 5]) / 3) / 0.5), np.log(3), 0.5).ppf(U))
        if theirs is None
        else theirs.ppf(U)
    )
    np.testing.assert_allclose(ours.at(U), expected, rtol=1e-9)
    assert ours.median == pytest.approx(float(np.interp(0.5, U, expected)), rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_slopes_by_score_are_differences(name):
    d, _ = CASES[name]
    u = np.linspace(0.02, 0.98, 97) + 1e-4  # not on a mode's kink
    h = 1e-6
    if d.kind in ("uniform", "log-uniform"):
        slope = (d.at(u + h) - d.at(u - h)) / (2 * h)
    else:
        z = stats.norm.ppf(u)
        slope = (d.at(stats.norm.cdf(z + h)) - d.at(stats.norm.cdf(z - h))) / (2 * h)
    np.testing.assert_allclose(d.by_score(u), slope, rtol=1e-5)


def test_a_clipped_distribution_has_the_cohorts_values():
    d = Distribution("normal", 77.0, 15.4, 40.0, 140.0, clipped=True)
    z = stats.norm.ppf(np.array([1e-4, 0.3, 0.9999999]))
    np.testing.assert_allclose(d.at(stats.norm.cdf(z)), np.clip(77 * (1 + 0.2 * z), 40, 140), rtol=1e-9)
    np.testing.assert_array_equal(d.by_score(np.array([1e-4, 0.9999999])), 0.0)


def test_correlated_factors_have_the_correlation_and_their_own_margins():
    d = Distribution("log-normal", 2.0, 0.3)
    matrix = correlated(("a", "b", "c"), [("a", "b", 0.6), ("b", "c", -0.4)], "here")
    space = Space((Factor("a", d), Factor("b", Distribution("uniform", low=0, high=1)), Factor("c", d)), matrix)
    x = space.values(points("sobol", 3, 4096, 1, 0, 0, 4096))
    found = np.corrcoef(stats.norm.ppf(stats.rankdata(x, axis=1) / 4097))
    np.testing.assert_allclose(found, matrix, atol=0.02)
    assert stats.kstest(x[0], stats.lognorm(0.3, scale=2).cdf).statistic < 0.01
    assert stats.kstest(x[1], "uniform").statistic < 0.01
    assert space.across == (("a", "b"), ("b", "c"))


def test_impossible_correlations_are_refused():
    pairs = [("a", "b", 0.9), ("b", "c", 0.9), ("a", "c", -0.9)]
    with pytest.raises(InputError, match="not positive definite"):
        correlated(("a", "b", "c"), pairs, "study.toml: sensitivity.correlation")


@pytest.mark.parametrize("sampler", ["sobol", "random", "latin-hypercube"])
def test_points_are_the_same_in_parts(sampler):
    whole = points(sampler, 5, 256, 7, 2, 0, 256)
    parts = [points(sampler, 5, 256, 7, 2, k, k + 64) for k in (192, 0, 128, 64)]
    np.testing.assert_array_equal(whole, np.concatenate([parts[i] for i in (1, 3, 2, 0)], axis=1))
    assert np.all((whole > 0) & (whole < 1))
    assert not np.array_equal(whole, points(sampler, 5, 256, 7, 3, 0, 256))
    assert not np.array_equal(whole, points(sampler, 5, 256, 8, 2, 0, 256))


@pytest.mark.parametrize("sampler", ["sobol", "latin-hypercube"])
def test_each_stratum_has_one_point(sampler):
    u = points(sampler, 4, 128, 1, 0, 0, 128)
    for row in u:
        np.testing.assert_array_equal(np.sort((row * 128).astype(int)), np.arange(128))


def test_a_grid_has_every_combination_once():
    u = grid([2, 3])
    assert u.shape == (2, 6)
    assert len({tuple(point) for point in u.T}) == 6
    np.testing.assert_allclose(np.unique(u[1]), [1 / 6, 1 / 2, 5 / 6])


def test_no_two_points_have_the_same_chance():
    last = 2**23  # of the replicates, that of FAST
    ends = [numbers(r, n, n + 1)[0] + other for r in (0, 1, last) for n in (0, LONGEST - 1) for other in (0, 1)]
    assert len(set(ends)) == len(ends)
    assert min(ends) == 0


def test_whole_numbers_are_each_as_likely():
    d = Distribution("whole", low=2, high=5)
    u = (np.arange(4000) + 0.5) / 4000
    values, counts = np.unique(d.at(u), return_counts=True)
    np.testing.assert_array_equal(values, [2, 3, 4, 5])
    np.testing.assert_array_equal(counts, 1000)
    np.testing.assert_array_equal(d.at(np.array([0.0, 1.0])), [2, 5])
    assert d.median == 4  # the whole number at which half of the probability is passed
