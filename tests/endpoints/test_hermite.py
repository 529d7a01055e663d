"""A segment as a cubic: extremes, integral and crossings against NumPy, and finite gradients where cubics degenerate."""

import functools
from itertools import pairwise

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrombojax.endpoints import hermite
from thrombojax.endpoints.hermite import Cubic

N = 64
FINE = np.linspace(0, 1, 4001)
# by coefficients c0..c3: constant, line, parabola with and without its top inside, double roots, triple root, flat starts
DEGENERATE = np.array(
    [
        [5.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 2.0, 0.0, 0.0],
        [1.0, -2.0, 0.0, 0.0],
        [0.0, 1.0, -1.0, 0.0],
        [0.0, -1.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 3.0, 1.0, 0.0],
        [0.25, -1.0, 1.0, 0.0],  # touches zero in the middle
        [-0.125, 0.75, -1.5, 1.0],  # (s - 1/2)^3
        [0.0, 0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, -1.0],
        [0.0, 0.25, -1.0, 1.0],  # s (s - 1/2)^2
        [0.0, 0.0, -1.5, 1.0],
        [250.0, 0.0, 0.0, 1e-9],
        [250.0, 1e-12, 0.0, 0.0],
    ]
)


def random_cubics(seed):
    """Half of them with inner turning points; a quarter with coefficients that are exactly zero."""
    rng = np.random.default_rng(seed)
    c = rng.normal(size=(N, 4)) * 10.0 ** rng.uniform(-3, 2, (N, 4))
    c[: N // 4] *= rng.integers(0, 2, (N // 4, 4))
    r1, r2 = rng.uniform(0, 1, (2, N // 2))
    scale = rng.normal(size=N // 2)
    c[N // 2 :, 1], c[N // 2 :, 2], c[N // 2 :, 3] = scale * r1 * r2, -scale * (r1 + r2) / 2, scale / 3
    return c


def dense(c):
    return c[:, :1] + FINE * (c[:, 1:2] + FINE * (c[:, 2:3] + FINE * c[:, 3:4]))


def columns(c):
    return Cubic(*c.T)


@functools.cache
def compiled(name):
    return jax.jit(getattr(hermite, name))


def test_cubic_has_the_values_and_slopes_it_is_made_of():
    rng = np.random.default_rng(1)
    length, v0, d0, v1, d1 = rng.normal(size=(5, N))
    length = np.abs(length) + 0.01
    c = hermite.cubic(length, v0, d0, v1, d1)
    at = [hermite.value(c, np.zeros(N)), hermite.value(c, np.ones(N))]
    slopes = [hermite.slope(c, np.zeros(N)) / length, hermite.slope(c, np.ones(N)) / length]
    np.testing.assert_allclose([*at, *slopes], [v0, v1, d0, d1], atol=1e-10)


@given(st.integers(0, 2**32 - 1))
def test_mean_against_simpson(seed):
    c = random_cubics(seed)
    v = dense(c)
    simpson = (v[:, 0] + v[:, -1] + 4 * v[:, 1:-1:2].sum(1) + 2 * v[:, 2:-1:2].sum(1)) / (3 * (len(FINE) - 1))
    np.testing.assert_allclose(compiled("mean")(columns(c)), simpson, atol=1e-12 * np.abs(c).max())


def extremes(c):
    s = np.stack([np.zeros(len(c)), *map(np.asarray, compiled("turning")(columns(c))), np.ones(len(c))])
    assert ((s >= 0) & (s <= 1)).all()
    assert (s[1] <= s[2]).all()
    v = c.T[0] + s * (c.T[1] + s * (c.T[2] + s * c.T[3]))
    return s, v.min(0), v.max(0)


@given(st.integers(0, 2**32 - 1))
def test_extremes_against_a_dense_grid(seed):
    c = random_cubics(seed)
    _, low, high = extremes(c)
    v = dense(c)
    curvature = np.abs(2 * c[:, 2]) + np.abs(6 * c[:, 3])
    hidden = curvature / 8 / (len(FINE) - 1) ** 2
    rounding = 1e-14 * np.abs(c).sum(1)
    assert (high >= v.max(1) - rounding).all()
    assert (high <= v.max(1) + hidden + rounding).all()
    assert (low <= v.min(1) + rounding).all()
    assert (low >= v.min(1) - hidden - rounding).all()


@given(st.integers(0, 2**32 - 1))
def test_turning_points_are_stationary_or_ends(seed):
    c = random_cubics(seed)
    s, _, _ = extremes(c)
    for k in (1, 2):
        inner = (s[k] > 0) & (s[k] < 1)
        slope = c[:, 1] + s[k] * (2 * c[:, 2] + s[k] * 3 * c[:, 3])
        # a rounding of s moves the slope by the curvature; near a double root by the root of the rounding
        scale = np.abs(c[:, 1:]).max(1)
        assert (np.abs(slope[inner]) <= 1e-13 * scale[inner] + 1e-13).all()


def test_extremes_of_degenerate_cubics():
    _, low, high = extremes(DEGENERATE)
    v = dense(DEGENERATE)
    np.testing.assert_allclose(low, v.min(1), atol=1e-9)
    np.testing.assert_allclose(high, v.max(1), atol=1e-9)


def exactly_above(c, level):
    """Share at or above the level and where it begins, from NumPy's roots (2 if never)."""
    roots = np.roots([c[3], c[2], c[1], c[0] - level]) if np.any(c[1:]) else np.zeros(0)
    inner = np.sort(roots.real[(np.abs(roots.imag) < 1e-7) & (roots.real > 0) & (roots.real < 1)])
    knots = np.concatenate([[0.0], inner, [1.0]])
    share, first = 0.0, 2.0
    for a, b in pairwise(knots):
        m = (a + b) / 2
        if b > a and c[0] + m * (c[1] + m * (c[2] + m * c[3])) >= level:
            share += b - a
            first = min(first, a)
    return share, first


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.999))
def test_time_above_a_level_against_numpy_roots(seed, where):
    c = random_cubics(seed)
    v = dense(c)
    level = v.min(1) + where * (v.max(1) - v.min(1))
    live = np.ptp(v, axis=1) > 1e-9 * np.abs(c).max(1)
    share, first = map(np.asarray, compiled("above")(columns(c), level))
    exact = np.array([exactly_above(*row) for row in zip(c, level, strict=True)])
    # A level that nearly touches a turning point: the crossing is the root of a rounding of the values.
    touching = np.min(np.abs(np.stack(turning_values(c)) - level), axis=0) < 1e-9 * np.abs(c).max(1)
    sharp = live & ~touching
    np.testing.assert_allclose(share[sharp], exact[sharp, 0], atol=1e-7)
    np.testing.assert_allclose(first[sharp], exact[sharp, 1], atol=1e-7)


def turning_values(c):
    at = map(np.asarray, compiled("turning")(columns(c)))
    return [c[:, 0] + s * (c[:, 1] + s * (c[:, 2] + s * c[:, 3])) for s in at]


def test_a_flat_start_is_crossed_where_it_is():
    """A count that begins to leave its baseline as s^3, and a level just above the baseline."""
    for level, expected in ((1e-6, 0.01), (1e-9, 0.001), (0.999, 0.999 ** (1 / 3))):
        share, first = compiled("above")(columns(np.array([[0.0, 0.0, 0.0, 1.0]])), np.array([level]))
        assert float(first[0]) == pytest.approx(expected, abs=1e-8)
        assert float(share[0]) == pytest.approx(1 - expected, abs=1e-8)


@pytest.mark.parametrize(
    ("c", "level", "share", "first"),
    [
        ([5, 0, 0, 0], 5.0, 1.0, 0.0),  # at the level counts as above
        ([5, 0, 0, 0], 5.1, 0.0, 2.0),
        ([0, 1, 0, 0], 0.25, 0.75, 0.25),
        ([1, -1, 0, 0], 0.25, 0.75, 0.0),
        ([0, 4, -4, 0], 0.75, 0.5, 0.25),  # a parabola, above between 1/4 and 3/4
        ([1, -4, 4, 0], 0.25, 0.5, 0.0),  # and its reverse
        ([0, 0, 0, 1], 0.125, 0.5, 0.5),
        ([0, 1, 0, 0], 1.0, 0.0, 1.0),  # reached at the very end
        ([0, 1, 0, 0], 0.0, 1.0, 0.0),
        ([-3 / 64, 17 / 32, -11 / 8, 1], 0.0, 3 / 8 + 1 / 4, 1 / 8),  # (s - 1/8)(s - 1/2)(s - 3/4)
    ],
)
def test_known_crossings(c, level, share, first):
    ours = compiled("above")(columns(np.array([c], float)), np.array([level]))
    np.testing.assert_allclose([float(ours[0][0]), float(ours[1][0])], [share, first], atol=1e-12)


@pytest.mark.parametrize("output", ["share", "first", "low", "high", "mean"])
def test_gradients_are_finite_everywhere(output):
    """Every degenerate cubic, at levels below, at, inside and above its values."""

    def f(c, level):
        share, first = hermite.above(c, level)
        ends = (0.0, *hermite.turning(c), 1.0)
        values = [hermite.value(c, s) for s in ends]
        low, high = functools.reduce(jax.numpy.minimum, values), functools.reduce(jax.numpy.maximum, values)
        return {"share": share, "first": first, "low": low, "high": high, "mean": hermite.mean(c)}[output].sum()

    grad = jax.jit(jax.grad(f, argnums=(0, 1)))
    v = dense(DEGENERATE)
    for level in (v.min(1) - 1, v.min(1), (v.min(1) + v.max(1)) / 2, v.max(1), v.max(1) + 1):
        for leaf in jax.tree.leaves(grad(columns(DEGENERATE), level)):
            assert np.isfinite(np.asarray(leaf)).all()


@given(st.integers(0, 2**32 - 1))
def test_gradients_of_crossings_and_extremes_against_differences(seed):
    rng = np.random.default_rng(seed)
    c = rng.normal(size=(N, 4))
    v = dense(c)
    level = v.min(1) + 0.37 * np.ptp(v, axis=1)
    run, grad = crossing()
    ours = np.asarray(grad(c, level))
    numeric = np.zeros_like(ours)
    h = 1e-6
    for k in range(4):
        step = np.zeros((1, 4))
        step[0, k] = h
        numeric[:, :, k] = (np.asarray(run(c + step, level)) - np.asarray(run(c - step, level))) / (2 * h)
    # where the two sides of the difference see different pieces (a turning point at an end or at the level) it means nothing
    knots = np.stack([v[:, 0], v[:, -1], *turning_values(c)])
    clear = (np.abs(knots - level).min(0) > 0.02) & (np.abs(slopes_at_ends(c)).min(0) > 0.02)
    top = np.sort(knots, 0)
    clear &= (top[-1] - top[-2] > 1e-3) | (np.abs(top[-1] - top[-2]) < 1e-12)
    assert clear.sum() > N // 4
    np.testing.assert_allclose(ours[:, clear], numeric[:, clear], rtol=2e-4, atol=2e-5)


def slopes_at_ends(c):
    return np.stack([c[:, 1], c[:, 1] + 2 * c[:, 2] + 3 * c[:, 3]])


@functools.cache
def crossing():
    def one(c, level):
        share, first = hermite.above(Cubic(*c), level)
        values = jax.numpy.stack([hermite.value(Cubic(*c), s) for s in (0.0, *hermite.turning(Cubic(*c)), 1.0)])
        return jax.numpy.stack([share, first, values.max()])

    run = jax.jit(lambda c, level: jax.vmap(one)(c, level).T)
    grad = jax.jit(lambda c, level: jax.numpy.moveaxis(jax.vmap(jax.jacrev(one))(c, level), 0, 1))
    return run, grad
