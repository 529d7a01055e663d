"""Elementary effects, rank coefficients and derivative-based bounds against SALib, regressions and closed forms."""

import numpy as np
import pytest
from functions import ISHIGAMI, ISHIGAMI_TOTAL, ishigami, uniform
from SALib.analyze import morris as salib_morris
from scipy import stats

from thrombojax.sensitivity import Distribution, Factor, Space, design, sobol
from thrombojax.sensitivity.borrowed import fast, given
from thrombojax.sensitivity.derivatives import Tangents
from thrombojax.sensitivity.dgsm import dgsm
from thrombojax.sensitivity.morris import morris, values, walk
from thrombojax.sensitivity.ranks import prcc, srrc
from thrombojax.sensitivity.samples import points


@pytest.mark.parametrize("levels", [4, 8])
def test_effects_are_those_of_salib(levels, monkeypatch):
    unit = np.concatenate([walk(3, levels, 5, t)[0] for t in range(30)], axis=1)
    problem = {"num_vars": 3, "names": list(ISHIGAMI.names), "bounds": [[0, 1]] * 3}
    y = ishigami(values(ISHIGAMI, unit))
    theirs = salib_morris.analyze(problem, unit.T, y, num_levels=levels, seed=1)
    for rows in (16384, 40):  # one block, and many
        monkeypatch.setattr(design, "ROWS", rows)
        ours = morris(design.of(ishigami), ISHIGAMI, 30, 1, levels=levels, seed=5)
        np.testing.assert_allclose(ours.mu[0], np.asarray(theirs["mu"], float), atol=1e-10)
        np.testing.assert_allclose(ours.mu_star[0], np.asarray(theirs["mu_star"], float), atol=1e-10)
        np.testing.assert_allclose(ours.sigma[0], np.asarray(theirs["sigma"], float), atol=1e-10)
    assert ours.runs == 120


def test_a_failed_run_costs_its_own_effects():
    def function(x):
        y = 2.0 * x[0] - 3.0 * x[1]
        return np.where(x[0] > 0.9, np.nan, y)

    found = morris(design.of(function), uniform(2), 200, 1, seed=1)
    assert 0 < found.n[0, 1] < 200
    assert found.mu[0, 1] == pytest.approx(-3.0)
    assert found.sigma[0, 1] == pytest.approx(0.0, abs=1e-7)


def test_partial_correlations_are_those_of_residuals():
    rng = np.random.default_rng(1)
    x = rng.random((4, 300))
    x[1] = 0.6 * x[0] + 0.4 * x[1]  # dependent factors
    y = np.exp(2 * x[0]) - x[2] ** 2 + 0.2 * rng.random(300)
    y[17] = np.nan
    found = prcc(x, y)
    good = np.isfinite(y)
    ranks = np.stack([stats.rankdata(row) for row in np.vstack([x[:, good], y[good]])])
    for i in range(4):
        others = np.vstack([np.ones(good.sum()), np.delete(ranks[:4], i, axis=0)]).T
        left = [r - others @ np.linalg.lstsq(others, r, rcond=None)[0] for r in (ranks[i], ranks[4])]
        assert found.value[i] == pytest.approx(stats.pearsonr(*left).statistic, abs=1e-10)
    assert np.all((found.low < found.value) & (found.value < found.high))


def test_rank_regression_is_that_of_least_squares():
    rng = np.random.default_rng(2)
    x = rng.random((3, 200))
    y = x[0] - 2 * x[1] + 0.3 * rng.random(200)
    found = srrc(x, y)
    ranks = np.stack([stats.zscore(stats.rankdata(row)) for row in np.vstack([x, y])])
    theirs = np.linalg.lstsq(ranks[:3].T, ranks[3], rcond=None)[0]
    np.testing.assert_allclose(found.value, theirs, atol=1e-12)
    assert found.low[2] < 0 < found.high[2]


def test_intervals_of_rank_coefficients_hold_what_larger_samples_find():
    def y(x):
        return x[0] + 0.5 * x[1] ** 2 + 0.2 * np.sin(9 * x[2])

    u = points("random", 3, 200_000, 9, 0, 0, 200_000)
    truth = [of(u, y(u)).value for of in (prcc, srrc)]
    held = []
    for seed in range(100):
        x = points("random", 3, 150, seed, 0, 0, 150)
        for of, t in zip((prcc, srrc), truth, strict=True):
            found = of(x, y(x))
            held.append((found.low <= t) & (t <= found.high))
    assert 0.9 <= np.mean(held) <= 0.995


def test_a_constant_output_has_no_coefficients():
    x = np.random.default_rng(3).random((3, 50))
    assert np.isnan(prcc(x, np.ones(50)).value).all()
    assert np.isnan(srrc(x, np.full(50, np.nan)).value).all()


def of_derivatives(function, slopes):
    return lambda rows: Tangents(function(rows.values)[None], np.stack(slopes(rows.values))[None], 0)


def ishigami_slopes(x):
    return (
        np.cos(x[0]) * (1 + 0.1 * x[2] ** 4),
        14 * np.sin(x[1]) * np.cos(x[1]),
        0.4 * x[2] ** 3 * np.sin(x[0]),
    )


def test_bounds_are_the_closed_form_and_hold():
    """nu of Ishigami in units of x: 7.7, 24.5, 11.0 (Sobol' & Kucherenko 2009)."""
    found = dgsm(of_derivatives(ishigami, ishigami_slopes), ISHIGAMI, 2**14, 1)
    pi = np.pi
    nu = np.array([0.5 * (1 + 0.2 * pi**4 / 5 + 0.01 * pi**8 / 9), 24.5, 0.08 * pi**6 / 7])
    np.testing.assert_allclose(found.nu[0] / (2 * pi) ** 2, nu, rtol=0.01)
    whole = 49 / 8 + 0.1 * pi**4 / 5 + 0.01 * pi**8 / 18 + 0.5
    np.testing.assert_allclose(found.bound[0], nu * 4 / whole, rtol=0.02)
    assert np.all(found.bound[0] >= ISHIGAMI_TOTAL)
    assert np.all((found.ends.low <= found.bound) & (found.bound <= found.ends.high))


@pytest.mark.parametrize("kind", ["normal", "cut off", "log-normal", "triangular", "uniform", "log-uniform"])
def test_bounds_hold_for_every_distribution(kind):
    """A linear function of a normal factor has its total as its bound; all others have less."""
    d = {
        "normal": Distribution("normal", 1.0, 0.5),
        "cut off": Distribution("normal", 1.0, 0.5, 0.5, 2.0),
        "log-normal": Distribution("log-normal", 1.0, 0.5),
        "triangular": Distribution("triangular", low=0.0, high=2.0, mode=0.5),
        "uniform": Distribution("uniform", low=0.0, high=2.0),
        "log-uniform": Distribution("log-uniform", low=0.2, high=2.0),
    }[kind]
    space = Space((Factor("a", d), Factor("b", d)))

    def function(x):
        return 2 * x[0] + x[1] + 0.3 * x[0] * x[1]

    found = dgsm(of_derivatives(function, lambda x: (2 + 0.3 * x[1], 1 + 0.3 * x[0])), space, 2**12, 1)
    total = sobol(function, space, 2**13).found.estimates.total[1, 0]
    assert np.all(found.ends.high[0] >= total - 1e-3)
    assert np.all(found.bound[0] <= 2.0 * total)  # and say something


def test_blocks_of_derivatives_change_nothing(monkeypatch):
    whole = dgsm(of_derivatives(ishigami, ishigami_slopes), ISHIGAMI, 512, 1)
    monkeypatch.setattr("thrombojax.sensitivity.dgsm.BLOCK", 8)
    parts = dgsm(of_derivatives(ishigami, ishigami_slopes), ISHIGAMI, 512, 1)
    np.testing.assert_allclose(whole.bound, parts.bound, rtol=1e-12)
    np.testing.assert_allclose(whole.ends.high, parts.ends.high, rtol=1e-9)


def test_salibs_methods_find_what_is_known():
    x = points("random", 3, 600, 1, 0, 0, 600)
    y = ishigami(ISHIGAMI.values(x))
    assert np.argmax(given("pawn", ISHIGAMI.names, x, y, 1, 0.95)["median"]) == 1
    first = given("rbd-fast", ISHIGAMI.names, x, y, 1, 0.95)["S1"]
    np.testing.assert_allclose(first, [0.314, 0.442, 0.0], atol=0.12)
    found = fast(design.of(ishigami), ISHIGAMI, 1025, 1)
    np.testing.assert_allclose(found["S1"][0], [0.314, 0.442, 0.0], atol=0.03)
    np.testing.assert_allclose(found["ST"][0], ISHIGAMI_TOTAL, atol=0.1)


@pytest.mark.slow
def test_delta_finds_what_is_known():
    x = points("random", 3, 600, 1, 0, 0, 600)
    y = ishigami(ISHIGAMI.values(x))
    assert np.argmax(given("delta", ISHIGAMI.names, x, y, 1, 0.95)["delta_balanced"]) == 1
