"""Many small problems of the same kind in lockstep, each with a metric, a step and an end of its own: one plan a patient.

Decisions are scaled to [0, 1]. Every problem has the augmented Lagrangian of its own constraints; its metric is a dense BFGS
approximation of the Hessian, from which what a bound holds is left out (Bertsekas 1982).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.errors import RunError
from thrombojax.optimise.descent import ARMIJO, GROWTH, HELD

Function = Callable[[Any], tuple[Any, Any]]
"""x `[k, patient]` -> (objective `[patient]`, excess of each constraint over its scale `[constraint, patient]`)."""
SHORTEST = 1e-6
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Constant plans, between the bounds, that are tried as starts."""
FIRST = 0.1
"""Longest first step in any decision, and after a metric was given up."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Where each problem ended: x `[k, patient]`; objective, norm, converged: `[patient]`; excess, multipliers:
    `[constraint, patient]`; evaluations: of the gradient, of all problems at once; norms: the median norm after each."""

    x: np.ndarray
    objective: np.ndarray
    excess: np.ndarray
    multipliers: np.ndarray
    norm: np.ndarray
    converged: np.ndarray
    evaluations: int
    norms: tuple[float, ...]


def descend(
    f: Function, low: np.ndarray, high: np.ndarray, start: np.ndarray, *, most: int = 120, tolerance: float = 1e-3,
    rounds: int = 8, say: Callable[[str], None] = lambda text: None,
) -> Minima:  # fmt: skip
    """low, high: `[k]`; start: `[k, patient]`. RunError where no problem has a finite objective at its start.

    A problem whose objective is not finite stays where it is, not converged.
    """
    span = (high - low)[:, None]
    lagrangian = _lagrangian(f, low[:, None], span)
    u = np.clip((start - low[:, None]) / span, 0.0, 1.0)
    n = u.shape[1]
    m = int(np.shape(jax.eval_shape(f, jnp.asarray(start))[1])[0])
    multipliers, penalty = np.zeros((m, n)), np.full(n, 10.0)
    u = _best_level(lagrangian, u, multipliers, penalty)
    left, before, norms = most, np.full(n, np.inf), list[float]()
    for turn in range(rounds if m else 1):
        share = left if not m else max(left // 2, min(left, 15))
        u, value, excess, norm, used = _bfgs(lagrangian, u, multipliers, penalty, tolerance, share)
        left -= len(used)
        norms += used
        if not np.isfinite(value).any():
            raise RunError("no patient's objective is finite")
        shifted = np.maximum(excess, -multipliers / penalty)
        settled = np.all(np.abs(shifted) <= HELD, axis=0)
        say(f"round {turn + 1}: {int(np.sum(settled & (norm <= tolerance)))} of {n} patients have converged")
        if not m or left <= 0 or np.all((settled & (norm <= tolerance)) | ~np.isfinite(value)):
            break
        multipliers = np.where(np.isfinite(excess), np.maximum(multipliers + penalty * excess, 0.0), multipliers)
        violation = np.maximum(shifted, 0.0).max(axis=0)
        penalty = np.where(violation > 0.5 * before, GROWTH * penalty, penalty)
        before = violation
    converged = (norm <= tolerance) & np.all(excess <= HELD, axis=0) & np.isfinite(value)
    return Minima(low[:, None] + span * u, value, excess, multipliers, norm, converged, len(norms), tuple(norms))


def _lagrangian(f: Function, low: np.ndarray, span: np.ndarray) -> Callable[..., Any]:
    """(u, multipliers, penalty) -> (Lagrangian `[patient]`, objective, excess, gradient in u), on the host."""

    def whole(u: Any, multipliers: Any, penalty: Any) -> Any:
        value, excess = f(low + span * u)
        back = multipliers / penalty[None]
        total = value + 0.5 * penalty * jnp.sum(jnp.maximum(excess + back, 0.0) ** 2 - back**2, axis=0)
        # A problem without a value has no gradient, and takes none from the others.
        return jnp.sum(jnp.where(jnp.isfinite(total), total, 0.0)), (total, value, excess)

    run = jax.jit(jax.value_and_grad(whole, has_aux=True))

    def at(u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray) -> tuple[np.ndarray, ...]:
        (_, (total, value, excess)), slope = run(jnp.asarray(u), jnp.asarray(multipliers), jnp.asarray(penalty))
        g = np.asarray(slope, float)
        total = np.where(np.isfinite(g).all(axis=0), np.asarray(total, float), np.inf)
        total = np.where(np.isfinite(total), total, np.inf)
        return total, np.asarray(value, float), np.asarray(excess, float), np.where(np.isfinite(g), g, 0.0)

    return at


def _best_level(f: Callable[..., Any], u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Each problem's best of its start and of constant plans."""
    best, where = f(u, multipliers, penalty)[0], u
    for level in LEVELS:
        total = f(np.full_like(u, level), multipliers, penalty)[0]
        where = np.where(total < best, level, where)
        best = np.minimum(total, best)
    return where


def _bfgs(
    f: Callable[..., Any], u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray, tolerance: float, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """(where, objective, excess, norm, median norm after each evaluation). An evaluation is of all problems at once."""
    k, n = u.shape
    total, value, excess, g = f(u, multipliers, penalty)
    metric, fresh, step = np.tile(np.eye(k), (n, 1, 1)), np.ones(n, bool), np.ones(n)
    norm = _norm(u, g)
    norms = [float(np.median(norm))]
    active = np.isfinite(total) & (norm > tolerance)
    while active.any() and len(norms) < most:
        d = _direction(u, g, metric, fresh)
        new = np.where(active, np.clip(u + step * d, 0.0, 1.0), u)
        then, its_value, its_excess, slope = f(new, multipliers, penalty)
        better = active & (then <= total + ARMIJO * np.sum(g * (new - u), axis=0))
        s, y = np.where(better, new - u, 0.0), np.where(better, slope - g, 0.0)
        metric, fresh = _updated(metric, fresh, s, y)
        failed = active & ~better
        step = np.where(better, 1.0, np.where(failed, 0.3 * step, step))
        short = failed & (step < SHORTEST)
        active &= ~(short & fresh)  # not even down the gradient
        metric[short], fresh, step = np.eye(k), fresh | short, np.where(short, 1.0, step)
        u, g = np.where(better, new, u), np.where(better, slope, g)
        total, value = np.where(better, then, total), np.where(better, its_value, value)
        excess = np.where(better, its_excess, excess)
        norm = _norm(u, g)
        norms.append(float(np.median(norm)))
        active &= norm > tolerance
    return u, value, excess, norm, norms


def _norm(u: np.ndarray, g: np.ndarray) -> np.ndarray:
    """As `descent.projected`, of every problem."""
    return np.asarray(np.abs(np.clip(u - g, 0.0, 1.0) - u).max(axis=0))


def _direction(u: np.ndarray, g: np.ndarray, metric: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Down, in each problem's metric, among the decisions that no bound holds; short where nothing is known yet."""
    held = ((u <= 0.0) & (g > 0.0)) | ((u >= 1.0) & (g < 0.0))
    slope, free = np.where(held, 0.0, g), ~held.T
    among = np.where(free[:, :, None] & free[:, None, :], metric, 0.0) + held.T[:, :, None] * np.eye(len(u))
    d = -np.linalg.solve(among, slope.T[..., None])[..., 0].T
    d = np.where(np.sum(d * slope, axis=0) < 0.0, d, -slope)
    longest = np.maximum(np.abs(d).max(axis=0), 1e-300)
    return np.where(fresh, d * np.minimum(1.0, FIRST / longest), d)


def _updated(metric: np.ndarray, fresh: np.ndarray, s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """BFGS, of problems that moved along a curvature above 0."""
    sy, ss, yy = np.sum(s * y, axis=0), np.sum(s * s, axis=0), np.sum(y * y, axis=0)
    good = sy > 1e-10 * np.sqrt(ss * yy)
    good &= ss > 0.0
    metric = metric.copy()
    first = good & fresh
    metric[first] *= (yy[first] / sy[first])[:, None, None]
    s, y, sy, h = s[:, good].T, y[:, good].T, sy[good], metric[good]
    hs = np.einsum("nij,nj->ni", h, s)
    shs = np.einsum("ni,ni->n", s, hs)
    h = h + y[:, :, None] * y[:, None, :] / sy[:, None, None] - hs[:, :, None] * hs[:, None, :] / shs[:, None, None]
    metric[good] = h
    return metric, fresh & ~good
