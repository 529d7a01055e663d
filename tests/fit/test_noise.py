"""The error of counts: against SciPy's densities, and slopes against differences."""

import numpy as np
import pytest
from scipy import stats

from thrombojax.fit.noise import Noise, score

Y = np.array([[30.0, 200.0], [51.0, np.nan]])
F = np.array([[25.0, 240.0], [60.0, 7.0]])
KINDS = [Noise(True, 0.15), Noise(False, 0.1, 4.0), Noise(False, 0.0, 4.0), Noise(False, 0.2)]


def density(noise, y, f):
    if noise.log:
        return stats.lognorm.logpdf(y, np.sqrt(np.log1p(noise.cv**2)), scale=f)
    return stats.norm.logpdf(y, f, np.hypot(noise.cv * f, noise.additive))


@pytest.mark.parametrize("noise", KINDS, ids=str)
def test_the_loss_is_minus_the_log_density_up_to_a_constant(noise):
    there = ~np.isnan(Y)

    def whole(f):
        return -np.where(there, density(noise, np.where(there, Y, 1.0), f), 0.0).sum(0)

    np.testing.assert_allclose(
        score(noise, Y, 1.1 * F).loss - score(noise, Y, F).loss, whole(1.1 * F) - whole(F), rtol=1e-9
    )


@pytest.mark.parametrize("noise", KINDS, ids=str)
def test_slopes_are_those_of_differences(noise):
    for place in range(2):
        h = np.zeros_like(F)
        h[place] = 1e-5 * F[place]
        up, down = score(noise, Y, F + h).loss, score(noise, Y, F - h).loss
        np.testing.assert_allclose(score(noise, Y, F).slope[place], (up - down) / (2 * h[place]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("noise", KINDS, ids=str)
def test_the_curvature_is_the_variance_of_the_slope(noise):
    """Fisher's information, by simulation."""
    rng, f = np.random.default_rng(1), 50.0
    e = rng.normal(size=200_000)
    y = f * np.exp(np.sqrt(np.log1p(noise.cv**2)) * e) if noise.log else f + np.hypot(noise.cv * f, noise.additive) * e
    found = score(noise, y[None], np.full((1, len(y)), f))
    assert found.curvature[0, 0] == pytest.approx(np.var(found.slope[0]), rel=0.02)


def test_a_count_that_cannot_be_predicted_has_no_finite_loss():
    assert np.isinf(score(KINDS[0], np.array([[5.0]]), np.array([[-1.0]])).loss[0])
