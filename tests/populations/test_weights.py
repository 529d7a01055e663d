"""Weights against closed forms, and against SciPy's constrained minimum of the relative entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtri

from thrombojax.populations.weights import share_below, tilt
from thrombojax.report.intervals import effective

N = 20_000
GAUSS = ndtri((np.arange(N) + 0.5) / N)
EQUAL = np.ones(N)


@pytest.mark.parametrize("mean", [-0.8, 0.3, 0.6])  # beyond, 20 000 points have too few in the tail to hold the formula
def test_a_gaussian_is_tilted_to_a_shifted_mean(mean):
    """exp(mean x) makes N(0, 1) into N(mean, 1), whose effective sample size is exp(-mean^2) of all."""
    found = tilt(EQUAL, GAUSS[None], np.array([mean]))
    np.testing.assert_allclose(found.multipliers, [mean], rtol=2e-3)
    assert abs(found.missed[0]) < 1e-4
    np.testing.assert_allclose(effective(found.weights) / N, np.exp(-(mean**2)), rtol=5e-3)


def test_a_gaussian_is_tilted_to_another_mean_and_spread():
    """To N(0.5, 0.7^2): the ratio of two normal densities, whose exponent is quadratic."""
    mean, sd = 0.5, 0.7
    found = tilt(EQUAL, np.stack([GAUSS, (GAUSS - mean) ** 2]), np.array([mean, sd**2]))
    ratio = np.exp(-0.5 * ((GAUSS - mean) / sd) ** 2 + 0.5 * GAUSS**2)
    np.testing.assert_allclose(found.weights, ratio / ratio.sum(), rtol=5e-3, atol=1e-9)


def test_importance_weights_are_the_base():
    """From draws of N(0, 1.5^2) with the ratio of densities as base, a tilt to mean 0.3 is that of N(0, 1)."""
    wide = 1.5 * GAUSS
    base = np.exp(-0.5 * wide**2 + 0.5 * GAUSS**2)
    found = tilt(base, wide[None], np.array([0.3]))
    wanted = np.exp(-0.5 * (wide - 0.3) ** 2 + 0.5 * GAUSS**2)
    np.testing.assert_allclose(found.weights, wanted / wanted.sum(), rtol=2e-3, atol=1e-9)


def test_a_share_splits_the_weight():
    """Of three responders in ten, half of the weight is theirs, and within each group all count alike."""
    responds = np.array([1.0] * 3 + [0.0] * 7)
    found = tilt(np.ones(10), responds[None], np.array([0.5]))
    np.testing.assert_allclose(found.weights, [0.5 / 3] * 3 + [0.5 / 7] * 7, rtol=1e-4)
    np.testing.assert_allclose(effective(found.weights), 1 / (0.25 / 3 + 0.25 / 7), rtol=1e-4)


def test_scipy_finds_the_same_minimum():
    rng = np.random.default_rng(3)
    x, base = rng.normal(size=(2, 12)), rng.uniform(0.5, 2.0, 12)
    start, goals = base / base.sum(), np.array([0.2, -0.1])
    rows = np.vstack([np.ones(12), x])
    wanted = minimize(
        lambda w: float(np.sum(w * np.log(w / start))),
        start,
        jac=lambda w: np.log(w / start) + 1.0,
        bounds=[(1e-9, 1.0)] * 12,
        constraints={"type": "eq", "fun": lambda w: rows @ w - np.r_[1.0, goals], "jac": lambda w: rows},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert wanted.success
    np.testing.assert_allclose(tilt(base, x, goals, relaxed=1e-9).weights, wanted.x, atol=2e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_order_scale_and_copies_of_patients_change_nothing(seed):
    rng = np.random.default_rng(seed)
    x, base = rng.normal(size=(3, 40)), rng.uniform(0.1, 1.0, 40)
    goals = x @ rng.dirichlet(np.ones(40))
    found = tilt(base, x, goals)
    order = rng.permutation(40)
    np.testing.assert_allclose(
        tilt(7.0 * base[order], x[:, order], goals).weights, found.weights[order], rtol=1e-6, atol=1e-12
    )
    twice = tilt(np.r_[base, base], np.c_[x, x], goals).weights
    np.testing.assert_allclose(twice[:40] + twice[40:], found.weights, rtol=1e-6, atol=1e-12)


def test_what_contradicts_itself_meets_in_the_middle():
    """The same mean wanted at 0.2 and at 0.6: 0.4 is nearest to both, and no number runs away."""
    found = tilt(EQUAL, np.stack([GAUSS, GAUSS]), np.array([0.2, 0.6]))
    np.testing.assert_allclose(found.missed, [0.2, -0.2], atol=1e-3)
    assert np.isfinite(found.weights).all()


def test_a_feature_that_nobody_differs_in_is_left_alone():
    found = tilt(EQUAL, np.stack([GAUSS, np.zeros(N)]), np.array([0.3, 0.5]))
    assert found.multipliers[1] == 0
    np.testing.assert_allclose(found.missed, [0.0, -0.5], atol=1e-4)


def test_shares_below_of_repeated_patients():
    rng = np.random.default_rng(0)
    values, copies = rng.integers(0, 6, 50).astype(float), rng.integers(0, 4, 50)
    many, at = np.repeat(values, copies), np.arange(-1.0, 7.0)
    np.testing.assert_allclose(share_below(values, copies.astype(float), at), [(many <= a).mean() for a in at])
    np.testing.assert_allclose(share_below(values, copies.astype(float), at, True), [(many < a).mean() for a in at])
