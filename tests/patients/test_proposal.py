"""Wider draws and another variation: against SciPy's densities, and against the cohort that weights lead back to."""

import numpy as np
import pytest
from scipy import stats

from thrombojax.fit import priors
from thrombojax.models import registry
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.cohort import COUNT, LogNormal, Uniform
from thrombojax.patients.draw import normal
from thrombojax.patients.proposal import log_ratio, widened, with_omega
from thrombojax.report.intervals import effective

CL, V = "eltrombopag.clearance", "eltrombopag.central_volume"
DEFAULTS = {CL: 16.0, V: 8.8, "romiplostim.potency": 5.0, "body.weight": 70.0}
INDEX = np.arange(40_000)


@pytest.fixture(scope="module")
def itp():
    found = cohorts.load(registry.build(registry.Source("feedback", "1")).cohorts, "itp")
    kept = {leaf: found.vary[leaf] for leaf in DEFAULTS}
    return found.model_copy(update={"vary": kept, "mixture": (), "anchor": None, "parameters": {}})


def test_draws_are_wider_on_the_scale_on_which_they_are_normal(itp):
    narrow = cohorts.sample(itp, DEFAULTS, 1, INDEX)
    wide = cohorts.sample(widened(itp, 1.5, {}), DEFAULTS, 1, INDEX)
    for leaf in (CL, V, "romiplostim.potency"):
        middle = cohorts.typical(itp, DEFAULTS)[leaf]
        np.testing.assert_allclose(
            np.log(wide[leaf] / middle), 1.5 * np.log(narrow[leaf] / middle), rtol=1e-9, atol=1e-12
        )
    np.testing.assert_allclose(np.corrcoef(np.log(wide[CL]), np.log(wide[V]))[0, 1], 0.547, atol=0.01)


def test_the_ratio_is_that_of_scipys_densities(itp):
    """Of correlated log-normals too: their ratio is that of two multivariate normals."""
    wide = widened(itp.model_copy(update={"vary": {leaf: itp.vary[leaf] for leaf in (CL, V)}}), 1.4, {})
    drawn = cohorts.sample(wide, DEFAULTS, 7, INDEX[:500])
    x = np.log(np.stack([drawn[CL] / 16.0, drawn[V] / 8.8], axis=1))
    sd = np.sqrt(np.log1p(np.array([itp.vary[CL].cv, itp.vary[V].cv]) ** 2))
    between = np.outer(sd, sd) * np.array([[1, 0.547], [0.547, 1]])
    centre = np.log([itp.vary[CL].median or 16.0, itp.vary[V].median or 8.8]) - np.log([16.0, 8.8])
    wanted = stats.multivariate_normal(centre, between).logpdf(x) - stats.multivariate_normal(
        centre, 1.96 * between
    ).logpdf(x)
    np.testing.assert_allclose(log_ratio(wide, 1.4, tuple(DEFAULTS), 7, INDEX[:500]), wanted, atol=1e-9)


def test_weights_lead_back_to_the_cohort(itp):
    wide = widened(itp, 1.4, {})
    base = np.exp(log_ratio(wide, 1.4, tuple(DEFAULTS), 2, INDEX))
    drawn, own = cohorts.sample(wide, DEFAULTS, 2, INDEX), cohorts.sample(itp, DEFAULTS, 3, INDEX)
    assert effective(base) > 0.3 * len(INDEX)
    for leaf in (CL, "romiplostim.potency"):
        a, b = np.log(drawn[leaf]), np.log(own[leaf])
        mean = np.average(a, weights=base)
        assert mean == pytest.approx(b.mean(), abs=0.03)
        assert np.sqrt(np.average((a - mean) ** 2, weights=base)) == pytest.approx(b.std(), rel=0.04)


def test_ranges_replace_what_was_normal(itp):
    ranges = {
        CL: Uniform(kind="log-uniform", low=4.0, high=64.0, source="test"),
        "body.weight": Uniform(kind="uniform", low=50.0, high=90.0, source="test"),
    }
    found = cohorts.sample(widened(itp, 1.0, ranges), DEFAULTS, 1, INDEX)
    assert stats.kstest(np.log(found[CL]), stats.uniform(np.log(4), np.log(16)).cdf).pvalue > 0.01
    assert stats.kstest(found["body.weight"], stats.uniform(50, 40).cdf).pvalue > 0.01
    ratio = log_ratio(widened(itp, 1.2, ranges), 1.2, tuple(DEFAULTS), 1, INDEX[:50])
    z = np.stack([normal(1, leaf, INDEX[:50]) for leaf in (V, "romiplostim.potency")])
    np.testing.assert_allclose(ratio, (np.log(1.2) - 0.22 * z**2).sum(axis=0), atol=1e-12)


def test_a_count_is_widened_with_the_rest():
    found = cohorts.load(registry.build(registry.Source("feedback", "1")).cohorts, "itp")
    assert found.anchor is not None
    narrow, wide = (c.anchor.count for c in (found, widened(found, 2.0, {})))
    assert np.log1p(wide.cv**2) == pytest.approx(4 * np.log1p(narrow.cv**2))
    flat = Uniform(kind="uniform", low=5.0, high=25.0, source="test")
    counts = cohorts.sample(widened(found, 2.0, {COUNT: flat}), DEFAULTS, 1, INDEX[:2000])[COUNT]
    assert counts.min() > 5
    assert counts.max() < 25


def test_an_omega_block_takes_the_place_of_the_cohorts(itp):
    omega = np.array([[0.16, -0.06], [-0.06, 0.09]])
    found = with_omega(itp, [V, "romiplostim.potency"], omega, "fit.ext")
    assert isinstance(found.vary[V], LogNormal)
    assert found.vary[V].median == itp.vary[V].median
    assert not found.correlation
    wanted = np.linalg.inv([[1.0, -0.5], [-0.5, 1.0]])
    np.testing.assert_allclose(priors.precision(found, ["romiplostim.potency", V]), wanted)  # what fits take from it
    drawn = cohorts.sample(found, DEFAULTS, 4, INDEX)
    logs = np.log(np.stack([drawn[V], drawn["romiplostim.potency"]]))
    np.testing.assert_allclose(np.cov(logs), omega, atol=0.004)
    fewer = {leaf: v for leaf, v in DEFAULTS.items() if leaf != V}
    np.testing.assert_array_equal(
        cohorts.sample(found, fewer, 4, INDEX)["romiplostim.potency"], drawn["romiplostim.potency"]
    )
