"""Many small problems of the same kind in lockstep, each with a metric, a step and an end of its own: one plan a patient.

Decisions are scaled to [0, 1]. Every problem has the augmented Lagrangian of its own constraints; its metric is a dense BFGS
approximation of the Hessian, from which what a bound holds is left out (Bertsekas 1982). Only problems that are not done are
evaluated, in blocks of one width whoever is in them, so that a problem's bits do not depend on the others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.errors import RunError
from thrombojax.optimise.descent import ARMIJO, GROWTH
from thrombojax.optimise.lagrangian import HELD, augmented, projected

Function = Callable[[Any, Any], tuple[Any, Any]]
"""x `[k, pair]`, who `[pair]` -> (objective `[pair]`, excess of each constraint over its scale `[constraint, pair]`) of the
problems `who`; below 0: none."""
BLOCK = 128
SHORTEST = 1e-6
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Constant plans, between the bounds, that are tried as starts."""
FIRST = 0.1
"""Longest first step in any decision, and after a metric was given up."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Where each problem ended: x `[k, patient]`; objective, norm, converged: `[patient]`; excess, multipliers:
    `[constraint, patient]`; evaluations: of its gradient, `[patient]`."""

    x: np.ndarray
    objective: np.ndarray
    excess: np.ndarray
    multipliers: np.ndarray
    norm: np.ndarray
    converged: np.ndarray
    evaluations: np.ndarray


@dataclass(eq=False)
class _Where:
    """Where each problem is, and what is there. u, g: `[k, patient]`; excess, multipliers: `[constraint, patient]`; the rest
    `[patient]`. used: evaluations of the gradient."""

    u: np.ndarray
    multipliers: np.ndarray
    penalty: np.ndarray
    total: np.ndarray
    value: np.ndarray
    excess: np.ndarray
    g: np.ndarray
    used: np.ndarray

    @property
    def norm(self) -> np.ndarray:
        """Of the projected gradient, of every problem."""
        return np.asarray(projected(self.u, self.g))

    def settle(self, f: "_Lagrangian", who: np.ndarray) -> None:
        """Look again, after the function has changed."""
        found = f(self.u[:, who], self.multipliers[:, who], self.penalty[who], who)
        self.total[who], self.value[who], self.excess[:, who], self.g[:, who] = found
        self.used[who] += 1


def descend(
    f: Function, low: np.ndarray, high: np.ndarray, start: np.ndarray, *, most: int = 120, tolerance: float = 1e-3,
    rounds: int = 8, say: Callable[[str], None] = lambda text: None,
) -> Minima:  # fmt: skip
    """low, high: `[k]`; start: `[k, patient]`; most: evaluations of each problem's gradient. RunError where no problem has a
    finite objective at its start.

    A problem whose objective is not finite stays where it is, not converged.
    """
    span = (high - low)[:, None]
    k, n = start.shape
    m = int(np.shape(jax.eval_shape(f, jnp.zeros((k, BLOCK)), jnp.zeros(BLOCK, int))[1])[0])
    lagrangian = _Lagrangian(f, low[:, None], span)
    u = np.clip((start - low[:, None]) / span, 0.0, 1.0)
    multipliers, penalty = np.zeros((m, n)), np.full(n, 10.0)
    u = _best_level(lagrangian, u, multipliers, penalty)
    nowhere = np.full(n, np.inf)
    at = _Where(u, multipliers, penalty, nowhere, nowhere.copy(), np.zeros((m, n)), np.zeros((k, n)), np.zeros(n, int))
    before, going = np.full(n, np.inf), np.arange(n)
    for turn in range(rounds if m else 1):
        left = most - at.used[going]
        share = left if not m else np.maximum(left // 2, np.minimum(left, 15))
        _bfgs(lagrangian, at, going, tolerance, share)
        if not np.isfinite(at.value).any():
            raise RunError("no patient's objective is finite")
        shifted = np.maximum(at.excess, -at.multipliers / at.penalty)
        settled = np.all(np.abs(shifted) <= HELD, axis=0) & (at.norm <= tolerance)
        say(f"round {turn + 1}: {int(settled.sum())} of {n} patients have converged")
        going = going[~settled[going] & np.isfinite(at.value[going]) & (at.used[going] < most)]
        if not m or not len(going) or turn == rounds - 1:
            break
        updated = np.maximum(at.multipliers + at.penalty * at.excess, 0.0)
        at.multipliers[:, going] = updated[:, going]
        violation = np.maximum(shifted, 0.0).max(axis=0)
        grown = going[violation[going] > 0.5 * before[going]]
        at.penalty[grown] *= GROWTH
        before = violation
    converged = (at.norm <= tolerance) & np.all(at.excess <= HELD, axis=0) & np.isfinite(at.value)
    return Minima(
        low[:, None] + span * at.u, at.value, at.excess, at.multipliers, at.norm, converged, at.used
    )  # fmt: skip


def blocks(x: np.ndarray, who: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a plan `[k, pair]` and a problem in blocks of one width, the last filled up with nobody."""
    rest = -len(who) % BLOCK
    x, who = np.pad(x, ((0, 0), (0, rest)), mode="edge"), np.pad(who, (0, rest), constant_values=-1)
    for first in range(0, len(who), BLOCK):
        yield x[:, first : first + BLOCK], who[first : first + BLOCK]


class _Lagrangian:
    """(u, multipliers, penalty, who) -> (Lagrangian `[pair]`, objective, excess, gradient in u), on the host; jitted once."""

    def __init__(self, f: Function, low: np.ndarray, span: np.ndarray):
        def each(u: Any, multipliers: Any, penalty: Any, who: Any) -> Any:
            value, excess = f(low + span * u, who)
            return augmented(value, excess, multipliers, penalty[None]), value, excess

        def whole(*given: Any) -> Any:
            total, value, excess = each(*given)
            # A problem without a value has no gradient, and takes none from the others.
            return jnp.sum(jnp.where(jnp.isfinite(total), total, 0.0)), (total, value, excess)

        self._value = jax.jit(each)
        self._gradient = jax.jit(jax.value_and_grad(whole, has_aux=True))

    def __call__(
        self, u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray, who: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        parts = []
        for given in self._blocks(u, multipliers, penalty, who):
            (_, seen), slope = self._gradient(*given)
            parts.append((*seen, slope))
        total, value, excess, g = self._joined(parts, len(who))
        total = np.where(np.isfinite(g).all(axis=0) & np.isfinite(total), total, np.inf)
        return total, value, excess, np.where(np.isfinite(g), g, 0.0)

    def value(self, u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray, who: np.ndarray) -> np.ndarray:
        """The Lagrangian alone, `[pair]`."""
        total = self._joined([self._value(*given) for given in self._blocks(u, multipliers, penalty, who)], len(who))[0]
        return np.where(np.isfinite(total), total, np.inf)

    @staticmethod
    def _blocks(u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray, who: np.ndarray) -> Iterator[Any]:
        k, m = len(u), len(multipliers)
        for given, mine in blocks(np.concatenate([u, multipliers, penalty[None]]), who):
            yield given[:k], given[k : k + m], given[-1], mine

    @staticmethod
    def _joined(parts: list[Any], n: int) -> list[np.ndarray]:
        return [np.concatenate([np.asarray(a, float) for a in of], axis=-1)[..., :n] for of in zip(*parts, strict=True)]


def _best_level(f: _Lagrangian, u: np.ndarray, multipliers: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Each problem's best of its start and of constant plans."""
    who = np.arange(u.shape[1])
    best, where = f.value(u, multipliers, penalty, who), u
    for level in LEVELS:
        total = f.value(np.full_like(u, level), multipliers, penalty, who)
        where = np.where(total < best, level, where)
        best = np.minimum(total, best)
    return where


def _bfgs(f: _Lagrangian, at: _Where, who: np.ndarray, tolerance: float, most: np.ndarray) -> None:
    """Take problems `who` on, each by at most so many evaluations of its gradient, `[who]`."""
    k, n = len(at.u), len(at.penalty)
    at.settle(f, who)
    end = np.zeros(n, int)
    end[who] = at.used[who] - 1 + most
    metric, fresh, step = np.tile(np.eye(k), (n, 1, 1)), np.ones(n, bool), np.ones(n)
    while True:
        who = who[np.isfinite(at.total[who]) & (at.norm[who] > tolerance) & (at.used[who] < end[who])]
        if not len(who):
            return
        u, g = at.u[:, who], at.g[:, who]
        new = np.clip(u + step[who] * _direction(u, g, metric[who], fresh[who]), 0.0, 1.0)
        total, value, excess, slope = f(new, at.multipliers[:, who], at.penalty[who], who)
        at.used[who] += 1
        better = total <= at.total[who] + ARMIJO * _dot(g, new - u)
        into, failed = who[better], who[~better]
        metric[into], fresh[into] = _updated(metric[into], fresh[into], (new - u)[:, better], (slope - g)[:, better])
        step[into] = 1.0
        step[failed] *= 0.3
        at.u[:, into], at.g[:, into] = new[:, better], slope[:, better]
        at.total[into], at.value[into], at.excess[:, into] = total[better], value[better], excess[:, better]
        short = failed[step[failed] < SHORTEST]
        stuck = short[fresh[short]]  # not even down the gradient
        metric[short], fresh[short], step[short] = np.eye(k), True, 1.0
        who = np.setdiff1d(who, stuck)


def _dot(a: np.ndarray, b: np.ndarray) -> Any:
    """Of every problem, `[k, patient]` -> `[patient]`; in one order, however many there are (`np.sum` has several)."""
    return sum(a * b)


def _direction(u: np.ndarray, g: np.ndarray, metric: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Down, in each problem's metric, among the decisions that no bound holds; short where nothing is known yet."""
    held = ((u <= 0.0) & (g > 0.0)) | ((u >= 1.0) & (g < 0.0))
    slope, free = np.where(held, 0.0, g), ~held.T
    among = np.where(free[:, :, None] & free[:, None, :], metric, 0.0) + held.T[:, :, None] * np.eye(len(u))
    d = -np.linalg.solve(among, slope.T[..., None])[..., 0].T
    d = np.where(_dot(d, slope) < 0.0, d, -slope)
    longest = np.maximum(np.abs(d).max(axis=0), 1e-300)
    return np.where(fresh, d * np.minimum(1.0, FIRST / longest), d)


def _updated(metric: np.ndarray, fresh: np.ndarray, s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """BFGS, of problems that moved along a curvature above 0."""
    sy, ss, yy = _dot(s, y), _dot(s, s), _dot(y, y)
    good = sy > 1e-10 * np.sqrt(ss * yy)
    good &= ss > 0.0
    metric = metric.copy()
    first = good & fresh
    metric[first] *= (yy[first] / sy[first])[:, None, None]
    s, y, sy, h = s[:, good], y[:, good], sy[good], metric[good]
    hs = np.asarray(sum(h[:, :, j].T * s[j] for j in range(len(s))))
    shs = _dot(s, hs)
    metric[good] = h + _square(y) / sy[:, None, None] - _square(hs) / shs[:, None, None]
    return metric, fresh & ~good


def _square(a: np.ndarray) -> np.ndarray:
    """Each column times itself, `[patient, k, k]`."""
    return np.asarray(a.T[:, :, None] * a.T[:, None, :])
