"""Marginals and distances from them against SciPy; the nearest that can be reached against a linear programme."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from thrombojax.populations import marginals
from thrombojax.populations.weights import tilt

RNG = np.random.default_rng(5)
SEEN = RNG.gamma(3.0, 8.0, 60)
KINDS = {
    "normal": marginals.distribution("normal", 31.0, 6.0),
    "truncated": marginals.distribution("normal", 31.0, 6.0, 10.0, 40.0),
    "log-normal": marginals.distribution("log-normal", 25.0, 12.0, low=5.0),
    "histogram": marginals.histogram([0, 10, 20, 40, 80], [1, 3, 4, 2]),
    "observed": marginals.observed(SEEN),
}


def test_distributions_are_those_of_scipy():
    x = np.linspace(-5, 90, 400)
    np.testing.assert_allclose(KINDS["normal"].cdf(x), stats.norm(31, 6).cdf(x), rtol=1e-12)
    np.testing.assert_allclose(
        KINDS["histogram"].cdf(np.array([-1.0, 5, 10, 30, 80, 90])), [0, 0.05, 0.1, 0.6, 1, 1], atol=1e-12
    )


@pytest.mark.parametrize(
    ("kind", "mean", "sd", "low", "high"),
    [("normal", 31, 6, 10, 40), ("normal", 31, 6, -np.inf, 40), ("normal", 5, 2, 0, np.inf), ("log-normal", 25, 12, 5, np.inf),
     ("log-normal", 25, 12, 5, 60), ("log-normal", 25, 12, 0, np.inf)],
)  # fmt: skip
def test_mean_and_spread_are_those_of_what_is_left(kind, mean, sd, low, high):
    """By integrals of the distribution function."""
    marginal = marginals.distribution(kind, mean, sd, low, high)
    first, last = max(low, mean - 60 * sd if kind == "normal" else 0.0), min(high, mean + 200 * sd)
    x = np.linspace(first, last, 2_000_001)
    cdf = marginal.cdf(x)
    found = last - np.trapezoid(cdf, x)
    square = last**2 - 2 * np.trapezoid(x * cdf, x)
    assert found == pytest.approx(mean, rel=1e-4)
    assert np.sqrt(square - found**2) == pytest.approx(sd, rel=5e-3)


def test_what_no_cut_distribution_has_is_refused():
    with pytest.raises(ValueError, match="no normal distribution cut to 10 to 40 has a mean of 39 and an SD of 12"):
        marginals.distribution("normal", 39, 12, 10, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_distance_of_equal_weights_is_that_of_scipy(kind):
    marginal, values = KINDS[kind], RNG.normal(30, 9, 80)
    found = marginals.distance(marginal, values, np.ones(80))
    other = SEEN if kind == "observed" else lambda x: marginal.cdf(np.asarray(x))
    assert found == pytest.approx(stats.kstest(values, other).statistic, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_distance_of_whole_weights_is_that_of_repeated_patients(kind):
    values, copies = RNG.normal(30, 9, 40), RNG.integers(0, 5, 40)
    many = np.repeat(values, copies)
    found = marginals.distance(KINDS[kind], values, copies / copies.sum())
    assert found == pytest.approx(marginals.distance(KINDS[kind], many, np.ones(len(many))), abs=1e-12)


def _least(rows, goals, n, more=None):
    """Smallest largest |rows @ w - goals| of weights w, by a linear programme."""
    k = len(goals)
    bound = np.hstack([np.vstack([rows, -rows]), -np.ones((2 * k, 1))])
    equal, sums = [np.r_[np.ones(n), 0.0]], [1.0]
    for row, goal in more or ():
        equal, sums = [*equal, np.r_[row, 0.0]], [*sums, goal]
    done = linprog(np.r_[np.zeros(n), 1.0], A_ub=bound, b_ub=np.r_[goals, -goals], A_eq=np.array(equal), b_eq=sums)
    assert done.status == 0
    return done.fun


@pytest.mark.parametrize("centre", [15.0, 31.0, 45.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_distance_is_that_of_a_linear_programme(kind, centre):
    marginal, values = KINDS[kind], np.sort(RNG.normal(centre, 7, 25))
    at = np.unique(np.concatenate([values, marginal.edges, SEEN]))
    rows = np.vstack([values <= a for a in at] + [values < a for a in at]).astype(float)
    goals = np.concatenate([marginal.cdf(at), marginal.left(at)])
    assert marginals.nearest(marginal, values) == pytest.approx(_least(rows, goals, 25), abs=1e-7)


@pytest.mark.parametrize(
    "marginal",
    [
        marginals.share(0.7, 30.0), marginals.share(0.7, 5.0), marginals.share(0.2, 90.0),
        marginals.quantiles([(0.25, 20.0), (0.5, 22.0), (0.9, 70.0)]), marginals.quantiles([(0.1, 30.001), (0.4, 30.002)]),
    ],
)  # fmt: skip
def test_the_nearest_of_points_is_that_of_a_linear_programme(marginal):
    values = np.array([12.0, 18.0, 27.0, 33.0, 41.0])
    rows, goals = marginals.features(marginal, values)
    assert marginals.nearest(marginal, values) == pytest.approx(_least(rows, goals, 5), abs=1e-9)


@pytest.mark.parametrize(
    ("mean", "sd"), [(30.0, 8.0), (30.0, 1.0), (30.0, 40.0), (20.0, 3.0), (5.0, 3.0), (60.0, 3.0), (27.0, 1.0)]
)
def test_the_nearest_mean_and_spread_are_those_of_a_linear_programme(mean, sd):
    values = np.array([12.0, 18.0, 27.0, 33.0, 41.0])
    found = marginals.nearest(marginals.moments(mean, sd), values)
    inside = min(max(mean, 12.0), 41.0)
    if inside != mean:
        assert found == pytest.approx(abs(mean - inside) / sd)
        return
    square = [
        sign * linprog(sign * (values - mean) ** 2, A_eq=np.vstack([np.ones(5), values]), b_eq=[1.0, mean]).fun
        for sign in (1, -1)
    ]
    assert found == pytest.approx(abs(np.clip(sd, *np.sqrt(np.maximum(square, 0))) - sd) / sd, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_bring_a_wide_sample_to_the_marginal(kind):
    """Every kind, from 4000 values that are spread evenly: below the 0.05 that is allowed, well below it unless 60 were seen."""
    marginal, values = KINDS[kind], np.linspace(0.1, 85, 4000)
    rows, goals = marginals.features(marginal, values)
    weights = tilt(np.ones(4000), rows, goals).weights
    assert marginals.distance(marginal, values, np.ones(4000)) > 0.2
    assert marginals.distance(marginal, values, weights) < (0.05 if kind == "observed" else 0.02)


def test_quantiles_are_those_of_numpy():
    values, weights = RNG.normal(size=50), RNG.uniform(0, 1, 50)
    at = np.array([0.05, 0.25, 0.5, 0.999])
    wanted = np.quantile(values, at, weights=weights, method="inverted_cdf")
    np.testing.assert_array_equal(marginals.quantile(values, weights, at), wanted)


def test_what_cannot_be_reached_is_said_with_the_nearest():
    values = np.array([12.0, 18.0, 27.0, 33.0, 41.0])
    assert marginals.extremes(marginals.share(0.7, 90.0), values).endswith("12 to 41: the nearest share is 0 %")
    assert marginals.extremes(marginals.share(0.7, 5.0), values).endswith("the nearest share is 100 %")
    assert marginals.extremes(marginals.moments(60.0, None), values).endswith("the nearest mean is 41")
    assert marginals.extremes(marginals.moments(27.0, 40.0), values).endswith(
        "with a mean of 27 the nearest SD is 14.49"
    )
    assert marginals.extremes(marginals.quantiles([(0.5, 60.0)]), values).endswith("the nearest to 60 is 41")
    said = marginals.extremes(KINDS["normal"], values)
    assert "4.8 % are above" in said, said
