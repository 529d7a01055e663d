"""Levenberg-Marquardt for many small problems in lockstep, each with its own damping and its own end.

Every unknown is in units in which 1 is a sensible distance (a standard deviation of its prior).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LONGEST = 1.5
"""Furthest that one step takes any unknown."""
DAMPING, LEAST, MOST = 1e-2, 1e-8, 1e10
"""Of the first step, and its limits: a problem whose damping goes beyond has found no better place."""

Evaluate = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(z `[k, row]`, rows) -> objective `[row]` (infinite where there is none), gradient `[k, row]`, Hessian `[row, k, k]`."""


class Minimum(NamedTuple):
    """Where each problem ended: z `[k, row]`, objective `[row]`, hessian `[row, k, k]` (Gauss-Newton), decrement `[row]`.

    decrement: how far the minimum still is, in standard deviations of the posterior; converged: below the tolerance.
    """

    z: np.ndarray
    objective: np.ndarray
    hessian: np.ndarray
    decrement: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray


def minimise(
    evaluate: Evaluate,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    tolerance: float = 1e-3,
    most: int = 60,
) -> Minimum:
    """Each column of start (`[k, row]`) taken to a minimum of its own between low and high (likewise, or `[k, 1]`).

    A problem is done when the undamped step is shorter than the tolerance, in standard deviations of its posterior: bounds that
    hold an unknown back take it out of that. Only problems that are not done are evaluated again.
    """
    z = np.clip(start, low, high)
    k, n = z.shape
    rows = np.arange(n)
    low, high = (np.broadcast_to(end, z.shape) for end in (low, high))
    value, gradient, hessian = (np.array(a, float) for a in evaluate(z, rows))
    damping, decrement = np.full(n, DAMPING), np.full(n, np.inf)
    iterations, converged = np.zeros(n, int), np.zeros(n, bool)
    active = np.isfinite(value)
    for _ in range(most):
        mine = rows[active]
        if not len(mine):
            break
        free = _free(z[:, mine], gradient[:, mine], low[:, mine], high[:, mine])
        g = np.where(free, gradient[:, mine], 0.0)
        h = _held(hessian[mine], free)
        whole = -np.linalg.solve(h, g.T[..., None])[..., 0].T
        decrement[mine] = np.sqrt(np.maximum(-np.sum(g * whole, axis=0), 0.0))
        converged[mine] = decrement[mine] < tolerance
        active[mine] = ~converged[mine] & (damping[mine] < MOST)
        go = active[mine]
        mine, g, h = mine[go], g[:, go], h[go]
        if not len(mine):
            break
        scaled = h + damping[mine, None, None] * np.einsum("rii->ri", h)[:, :, None] * np.eye(k)
        step = -np.linalg.solve(scaled, g.T[..., None])[..., 0].T
        step *= np.minimum(1.0, LONGEST / np.maximum(np.abs(step).max(axis=0), 1e-300))
        trial = np.clip(z[:, mine] + step, low[:, mine], high[:, mine])
        found, slope, curve = evaluate(trial, mine)
        iterations[mine] += 1
        better = np.isfinite(found) & (found <= value[mine])
        into = mine[better]
        z[:, into], value[into] = trial[:, better], found[better]
        gradient[:, into], hessian[into] = slope[:, better], curve[better]
        damping[mine] = np.where(better, np.maximum(damping[mine] / 10.0, LEAST), damping[mine] * 8.0)
    return Minimum(z, value, hessian, decrement, converged, iterations)


def _free(z: np.ndarray, g: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Unknowns that are not pushed against a bound."""
    return ~(((z <= low) & (g > 0)) | ((z >= high) & (g < 0)))


def _held(hessian: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The Hessian with those that are held back taken out of it."""
    both = free.T[:, :, None] & free.T[:, None, :]
    return np.where(both, hessian, 0.0) + (~free.T)[:, :, None] * np.eye(len(free))
