"""Risk measures and intervals against their definitions and against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from thrombojax.optimise.risk import chance, clopper_pearson, cvar


@pytest.mark.parametrize(("k", "n"), [(0, 20), (20, 20), (1, 50), (37, 100), (199, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_clopper_pearson_is_scipys(k, n, confidence):
    theirs = binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_cvar_is_the_mean_of_the_worst():
    loss = np.random.default_rng(1).normal(size=1000)
    assert float(cvar(jnp.asarray(loss), 0.9)) == pytest.approx(np.sort(loss)[-100:].mean(), rel=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.83, 0.95, 0.999])
def test_cvar_is_the_least_of_rockafellar_and_uryasev(level):
    """Also where the tail is no whole number of patients."""
    loss = np.random.default_rng(2).gamma(2.0, size=101)
    least = minimize_scalar(
        lambda t: t + np.maximum(loss - t, 0).mean() / (1 - level), bounds=(0, loss.max()), method="bounded",
        options={"xatol": 1e-12},
    )  # fmt: skip
    with jax.enable_x64(True):
        assert float(cvar(jnp.asarray(loss), level)) == pytest.approx(least.fun, rel=1e-6)


def test_the_gradient_of_cvar_is_that_of_its_tail():
    with jax.enable_x64(True):
        loss = jnp.asarray(np.random.default_rng(3).normal(size=200))
        slope = np.asarray(jax.grad(lambda s: cvar(s * loss, 0.9))(2.0))
    assert slope == pytest.approx(np.sort(loss)[-20:].mean(), rel=1e-9)


def test_a_smooth_chance_becomes_the_share():
    value = jnp.asarray(np.random.default_rng(4).normal(50.0, 20.0, size=5000))
    assert float(chance(value, 40.0, 1e-3, True)) == pytest.approx(np.mean(np.asarray(value) >= 40.0), abs=1e-3)
    assert float(chance(value, 40.0, 1e-3, False)) == pytest.approx(np.mean(np.asarray(value) <= 40.0), abs=1e-3)
