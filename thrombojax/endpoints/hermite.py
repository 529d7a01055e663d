"""A segment as a cubic: values and slopes at both ends give extremes, integral and crossings between the bounds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.endpoints.rare import rarely
from thrombojax.models.struct import Scalar

POLISH = 6
"""Steps to a crossing on a monotone piece, from the secant: to rounding in all but degenerate pieces."""


class Cubic(NamedTuple):
    """c0 + c1 s + c2 s^2 + c3 s^3 on s in [0, 1]."""

    c0: Scalar
    c1: Scalar
    c2: Scalar
    c3: Scalar


def cubic(length: Scalar, v0: Scalar, d0: Scalar, v1: Scalar, d1: Scalar) -> Cubic:
    """From values and slopes (per day) at the ends of a segment of `length` days."""
    m0, m1, rise = length * d0, length * d1, v1 - v0
    return Cubic(v0, m0, 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise)


def value(c: Cubic, s: Scalar) -> Scalar:
    return c.c0 + s * (c.c1 + s * (c.c2 + s * c.c3))


def slope(c: Cubic, s: Scalar) -> Scalar:
    return c.c1 + s * (2.0 * c.c2 + s * 3.0 * c.c3)


def mean(c: Cubic) -> Scalar:
    return c.c0 + c.c1 / 2.0 + c.c2 / 3.0 + c.c3 / 4.0


def turning(c: Cubic) -> tuple[Scalar, Scalar]:
    """The two turning points, clipped to [0, 1] and ordered; a missing one lies on an end."""
    a, b = 3.0 * c.c3, c.c2
    disc = b * b - a * c.c1
    # Citardauq form: no cancellation, and a parabola (a = 0) keeps its one root.
    q = -(b + jnp.where(b < 0.0, -1.0, 1.0) * jnp.sqrt(jnp.where(disc > 0.0, disc, 1.0)))
    first = c.c1 / jnp.where(q == 0.0, 1.0, q)
    second = q / jnp.where(a == 0.0, 1.0, a)
    real = disc > 0.0
    s1 = jnp.where(real & (q != 0.0), jnp.clip(first, 0.0, 1.0), 0.0)
    s2 = jnp.where(real & (a != 0.0), jnp.clip(second, 0.0, 1.0), 1.0)
    return jnp.minimum(s1, s2), jnp.maximum(s1, s2)


def _crossing(c: Cubic, level: Scalar, a: Scalar, b: Scalar, va: Scalar, vb: Scalar) -> Scalar:
    """Where a monotone piece [a, b] meets `level` (only meaningful if it does).

    Laguerre's steps, which stay quick where the piece is flat at one end (a count that begins to leave its baseline), within
    a bracket. The last line adds nothing but the gradient, of the implicit function theorem.
    """
    f, lv, lo, hi = jax.tree.map(jax.lax.stop_gradient, (c, level, a, b))
    gap = jax.lax.stop_gradient(vb - va)
    up = jnp.where(gap < 0.0, -1.0, 1.0)
    s = lo + (hi - lo) * jnp.clip((lv - jax.lax.stop_gradient(va)) / jnp.where(gap == 0.0, 1.0, gap), 0.0, 1.0)
    for _ in range(POLISH):
        away, rate = value(f, s) - lv, slope(f, s)
        right = up * away < 0.0
        lo, hi = jnp.where(right, s, lo), jnp.where(right, hi, s)
        curve = 2.0 * f.c2 + 6.0 * f.c3 * s
        pace = up * rate + jnp.sqrt(jnp.maximum(4.0 * rate * rate - 6.0 * away * curve, 0.0))
        new = s - 3.0 * up * away / _safe(pace)
        s = jnp.where((new >= lo) & (new <= hi), new, 0.5 * (lo + hi))
    moved = value(c, s) - level
    return s - (moved - jax.lax.stop_gradient(moved)) / _safe(slope(f, s))


def _safe(x: Scalar) -> Scalar:
    return jnp.where(jnp.abs(x) < 1e-20, 1e-20, x)


def above(c: Cubic, level: Scalar) -> tuple[Scalar, Scalar]:
    """Share of the segment at or above `level`, and the first s at which it is (2 if never)."""
    # No gradient through where pieces meet: it cancels between them, but for rounding, which a flat segment makes huge.
    s1, s2 = jax.lax.stop_gradient(turning(c))
    knots = (0.0 * s1, s1, s2, 0.0 * s1 + 1.0)
    values = tuple(value(c, s) for s in knots)
    share: Scalar = 0.0
    first: Scalar = 2.0
    for a, b, va, vb in zip(knots[:-1], knots[1:], values[:-1], values[1:], strict=True):
        up, down = va >= level, vb >= level
        s = rarely(up != down, a, _crossing, c, level, a, b, va, vb)
        inside = jnp.where(up & down, b - a, jnp.where(up, s - a, jnp.where(down, b - s, 0.0)))
        share = share + inside
        entered = jnp.where(up, a, jnp.where(down, s, 2.0))
        first = jnp.minimum(first, entered)
    return share, first
