"""Indices against closed forms, SALib and direct formulas, whatever the blocks."""

import jax.numpy as jnp
import numpy as np
import pytest
from functions import (
    G_FIRST,
    G_TOTAL,
    ISHIGAMI,
    ISHIGAMI_13,
    ISHIGAMI_FIRST,
    ISHIGAMI_TOTAL,
    g,
    ishigami,
    uniform,
)
from SALib.analyze import sobol as salib

from thrombojax.sensitivity import design, sobol
from thrombojax.sensitivity.indices import ESTIMATORS, estimate, indices
from thrombojax.sensitivity.moments import Moments, moments

SALTELLI, JANSEN, JANON = range(3)


def columns(space, n, second=False, seed=3):
    """Y of one replicate, `[1, column, base]`."""
    of = design.Saltelli(space, 0, n, 1, "sobol", seed, second)
    y = [ishigami(of.rows(b).values).reshape(of.columns, -1) for b in range(of.blocks)]
    return np.concatenate(y, axis=1)[None]


def by_salib(y, problem, second):
    """SALib's order: for each base sample A, AB of each group, BA of each group, B."""
    a, b, *rest = y[0]
    flat = np.stack([a, *rest, b], axis=1).ravel()
    return salib.analyze(problem, flat, calc_second_order=second, num_resamples=2, seed=1)


@pytest.mark.parametrize("away", [0.0, 1e3])
def test_estimates_are_those_of_salib(away):
    y = columns(ISHIGAMI, 512, second=True) + away
    problem = {"num_vars": 3, "names": list(ISHIGAMI.names), "bounds": [[-np.pi, np.pi]] * 3}
    theirs = by_salib(y, problem, True)
    centre = np.array([y.mean() + 0.3])
    ours = estimate(moments(y, centre, True), centre)
    np.testing.assert_allclose(ours.first[SALTELLI, 0], theirs["S1"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.total[JANSEN, 0], theirs["ST"], rtol=0, atol=1e-9)
    upper = np.triu_indices(3, 1)
    np.testing.assert_allclose(ours.second[0][upper], theirs["S2"][upper], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(ours.second[0], ours.second[0].T)


def test_groups_are_those_of_salib():
    space = uniform(3, -np.pi, np.pi, groups=["a", "b", "a"])
    y = columns(space, 256)
    problem = {"num_vars": 3, "names": list(space.names), "bounds": [[-np.pi, np.pi]] * 3, "groups": ["a", "b", "a"]}
    theirs = by_salib(y, problem, False)
    ours = estimate(moments(y, np.zeros(1), False), np.zeros(1))
    np.testing.assert_allclose(ours.first[SALTELLI, 0], theirs["S1"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.total[JANSEN, 0], theirs["ST"], rtol=0, atol=1e-9)


def test_estimators_are_their_formulas():
    y = columns(ISHIGAMI, 256)
    ours = estimate(moments(y, np.zeros(1), False), np.zeros(1))
    a, b, *ab = y[0]
    both = np.concatenate([a, b])
    for i, one in enumerate(ab):
        assert ours.first[JANSEN, 0, i] == pytest.approx(1 - np.mean((b - one) ** 2) / 2 / both.var(), abs=1e-11)
        assert ours.total[JANSEN, 0, i] == pytest.approx(np.mean((a - one) ** 2) / 2 / both.var(), abs=1e-11)
        for base, of in ((b, ours.first[JANON, 0, i]), (a, 1 - ours.total[JANON, 0, i])):
            middle = (base.mean() + one.mean()) / 2
            top = np.mean(base * one) - middle**2
            assert of == pytest.approx(top / (np.mean((base**2 + one**2) / 2) - middle**2), abs=1e-11)
    assert ours.mean[0] == pytest.approx(both.mean(), rel=1e-12)
    assert ours.variance[0] == pytest.approx(both.var(), rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    whole = sobol(ishigami, ISHIGAMI, 2048, second=True)
    monkeypatch.setattr(design, "ROWS", 200)
    parts = sobol(ishigami, ISHIGAMI, 2048, second=True)
    for a, b in zip(whole.found.estimates, parts.found.estimates, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(whole.found.total.high, parts.found.total.high, rtol=1e-9, atol=1e-9)


def test_known_indices_with_second_order():
    found = sobol(ishigami, ISHIGAMI, 2**15, second=True, seed=2).found
    for e in range(len(ESTIMATORS)):
        np.testing.assert_allclose(found.estimates.first[e, 0], ISHIGAMI_FIRST, atol=0.01)
        np.testing.assert_allclose(found.estimates.total[e, 0], ISHIGAMI_TOTAL, atol=0.01)
    low, high = found.second.low[0, 0, 2], found.second.high[0, 0, 2]
    assert low <= ISHIGAMI_13 <= high
    assert high - low < 0.05


@pytest.mark.parametrize("sampler", ["sobol", "random", "latin-hypercube"])
def test_every_sampler_converges(sampler):
    found = sobol(ishigami, ISHIGAMI, 2**14, sampler=sampler).found
    np.testing.assert_allclose(found.estimates.total[JANSEN, 0], ISHIGAMI_TOTAL, atol=0.05)
    inside = (found.total.low[JANSEN, 0] <= ISHIGAMI_TOTAL) & (found.total.high[JANSEN, 0] >= ISHIGAMI_TOTAL)
    assert inside.sum() >= 2


@pytest.mark.parametrize(
    ("function", "space", "first", "total"),
    [(ishigami, ISHIGAMI, ISHIGAMI_FIRST, ISHIGAMI_TOTAL), (g, uniform(8), G_FIRST, G_TOTAL)],
    ids=["ishigami", "sobol-g"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(function, space, first, total):
    """Pooled over indices of 200 repeats, 92 to 98 % of 95 % intervals hold it, of every estimator."""
    held = np.zeros((len(ESTIMATORS), 200))
    for seed in range(200):
        found = sobol(function, space, 1024, seed=seed).found
        of = [(found.first, first), (found.total, total)]
        inside = [(i.low[:, 0] <= truth) & (truth <= i.high[:, 0]) for i, truth in of]
        held[:, seed] = np.concatenate(inside, axis=1).mean(axis=1)
    assert np.all((held.mean(axis=1) >= 0.92) & (held.mean(axis=1) <= 0.98)), held.mean(axis=1)


def test_what_failed_is_left_out_and_counted():
    y = columns(ISHIGAMI, 256)
    broken = y.copy()
    broken[0, 3, [5, 77]] = np.nan
    broken[0, 0, 100] = np.inf
    m = moments(broken, np.zeros(1), False)
    kept = np.delete(y, [5, 77, 100], axis=2)
    for a, b in zip(estimate(m, np.zeros(1)), estimate(moments(kept, np.zeros(1), False), np.zeros(1)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert (m.n, m.missing) == (253, 3)


def test_other_outputs_keep_a_base_sample_that_one_lacks():
    y = np.concatenate([columns(ISHIGAMI, 64)] * 2)
    y[0, 1, 3] = np.nan
    m = moments(y, np.zeros(2), False)
    np.testing.assert_array_equal(m.n, [63, 64])


def test_a_constant_output_has_no_indices():
    def function(x):
        return np.stack([ishigami(x), np.full(x.shape[1], 3.0), 1e4 + 1e-4 * np.float32(x[0])])

    found = sobol(function, ISHIGAMI, 512).found
    assert np.isfinite(found.estimates.total[:, 0]).all()
    assert np.isnan(found.estimates.total[:, 1:]).all()
    assert np.isnan(found.estimates.first[:, 1:]).all()


def test_the_rule_for_stopping():
    whole = sobol(ishigami, ISHIGAMI, 2**15)
    wide = sobol(ishigami, ISHIGAMI, 2**15, width=0.1)
    assert wide.stopped
    assert wide.base < whole.base
    assert wide.widest("saltelli") <= 0.1
    before = sobol(ishigami, ISHIGAMI, wide.base // 2)
    assert before.widest("saltelli") > 0.1
    same = sobol(ishigami, ISHIGAMI, wide.base)
    np.testing.assert_allclose(same.found.estimates.total, wide.found.estimates.total, rtol=1e-11)
    never = sobol(ishigami, ISHIGAMI, 2048, width=1e-6)
    assert not never.stopped
    assert never.base == 2048


def test_intervals_are_of_the_jackknife_over_replicates():
    y = columns(ISHIGAMI, 512)[:, :, :].reshape(1, 5, 8, 64)
    each = [moments(y[:, :, r], np.zeros(1), False) for r in range(8)]
    m = Moments(*(np.stack(part) for part in zip(*each, strict=True)))
    found = indices(m, np.zeros(1), 0.9)
    left = []
    for r in range(8):
        rest = np.delete(y[0], r, axis=1).reshape(5, -1)
        left.append(np.mean((rest[0] - rest[2]) ** 2) / 2 / np.concatenate([rest[0], rest[1]]).var())
    spread = np.sqrt(7 / 8 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert found.total.high[JANSEN, 0, 0] - found.total.low[JANSEN, 0, 0] == pytest.approx(
        2 * 1.894579 * spread, rel=1e-6
    )


def test_a_function_in_jax_has_its_numbers_by_name():
    def f(x):
        return jnp.stack([x[0], jnp.sin(x[0]) + 7 * jnp.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * jnp.sin(x[0])])

    found = sobol(f, ISHIGAMI, 2**15)
    for kind, exact in (("first", ISHIGAMI_FIRST), ("total", ISHIGAMI_TOTAL)):
        named = found.of(kind, output=1, estimator="jansen")
        assert list(named) == list(ISHIGAMI.names)
        for (value, low, high), true in zip(named.values(), exact, strict=True):
            assert low < value < high
            assert value == pytest.approx(true, abs=0.02)
    assert found.of("total")[ISHIGAMI.names[0]][0] == pytest.approx(1, abs=0.02)
