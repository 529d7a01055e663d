"""The optimiser: projected Adam from many starts, on some patients or on others at each step, then a projected L-BFGS on all;
constraints by an augmented Lagrangian.

Decisions are scaled to [0, 1]. L-BFGS is in two metrics (Bertsekas 1982): what a bound holds is left out of the direction, the
rest moves along the quasi-Newton direction and is projected, with backtracking.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.errors import RunError
from thrombojax.optimise import starts
from thrombojax.optimise.lagrangian import HELD, Lagrangian, Trace, projected
from thrombojax.optimise.starts import Several

MEMORY = 10
ARMIJO = 1e-4
GROWTH = 4.0
"""Of the penalty where a violation is not small enough beside that of the round before."""
QUARTER = 0.25
"""Small enough: at a half, the chance constraint of the chemotherapy schedule took more rounds than there are."""


@dataclass(frozen=True, eq=False)
class Found:
    """x: `[k]`; objective, excess: there, on all training patients; norm: of the projected gradient of the Lagrangian; trouble:
    what ended a descent before its time, where something did: then x is the best plan before that."""

    x: np.ndarray
    objective: float
    excess: np.ndarray
    multipliers: np.ndarray
    norm: float
    converged: bool
    starts: np.ndarray
    trace: Trace
    trouble: str = ""

    @property
    def violation(self) -> float:
        return float(max(self.excess.max(initial=0.0), 0.0))


@dataclass(frozen=True)
class Settings:
    """starts: of Adam; steps: of each; polish: most iterations of L-BFGS, for all rounds of the Lagrangian together.
    mini_batches: each step of Adam is on other patients."""

    starts: int = 3
    steps: int = 60
    polish: int = 40
    tolerance: float = 1e-3
    rate: float = 0.1
    rounds: int = 8
    seed: int = 1
    mini_batches: bool = False


def descend(
    f: Callable[..., tuple[Any, Any]],
    rough: Callable[[Any], tuple[Any, Any]],
    low: np.ndarray,
    high: np.ndarray,
    start: np.ndarray,
    settings: Settings,
    say: Callable[[str], None] = lambda text: None,
    sizes: tuple[int, int] | None = None,
    several: Several | None = None,
) -> Found:
    """f, rough: x -> (objective, excesses), of all patients and of some; sizes: how many these are, for mini-batches, where f is
    asked as (x, patients); several: `rough` of all starts at once. Starts are compared on the same patients.

    Where an objective is not finite the best plan before that is what is found, with its trouble; RunError where there is none.
    """
    began, trace = time.monotonic(), Trace()
    m = int(np.shape(jax.eval_shape(f, jnp.asarray(start))[1])[0])
    made = (low, high, m, trace, began)
    some, whole = Lagrangian(rough, *made), Lagrangian(f, *made)
    multipliers, penalty = np.zeros(m), 10.0
    first = starts.drawn(np.clip((start - low) / (high - low), 0.0, 1.0), settings.starts, settings.seed)
    go = settings.steps, settings.rate
    if settings.mini_batches and sizes:
        rows = [starts.subsets(*sizes, settings.seed + i) for i in range(settings.starts)]
        totals, ends = starts.on_draws(Lagrangian(f, *made), some, first, penalty, *go, rows, say)
    elif several is not None and settings.steps:
        say(f"{settings.starts} starts, side by side")
        totals, ends = starts.side_by_side(several, some, first, penalty, *go, settings.tolerance)
    else:
        totals, ends = starts.in_turns(some, first, penalty, *go, settings.tolerance, say)
    fine = np.isfinite(totals)
    troubles = [f"start {i + 1}: {some.not_finite(ends[:, i])}" for i in np.flatnonzero(~fine)]
    if not fine.any():
        raise RunError(troubles[0])
    u = ends[:, np.argmin(np.where(fine, totals, np.inf))]
    some.phase = "l-bfgs, batch"
    if rough is not f:
        u = _lbfgs(some, u, multipliers, penalty, settings.tolerance, settings.polish, [])[0]
    whole.phase = "l-bfgs"
    left, before, norm, excess, pairs = settings.polish, np.inf, np.inf, np.zeros(m), list[Pair]()
    for turn in range(settings.rounds if m else 1):
        most = left if not m else max(left // 2, min(left, 10))
        try:
            u, norm, excess, used = _lbfgs(whole, u, multipliers, penalty, settings.tolerance, most, pairs)
        except RunError as error:  # of all patients, where some were fine
            troubles.append(str(error))
            break
        left -= used
        violation = float(np.maximum(excess, -multipliers / penalty).clip(0).max(initial=0.0))
        say(f"round {turn + 1}: projected gradient {norm:.1e}" + (f", violation {violation:.1e}" if m else ""))
        settled = np.all(np.abs(np.maximum(excess, -multipliers / penalty)) <= HELD)
        if not m or (settled and norm <= settings.tolerance) or left <= 0:
            break
        updated = np.maximum(multipliers + penalty * excess, 0.0)
        if np.any(updated != multipliers):  # another function: what was learnt of its curvature goes
            multipliers, pairs = updated, []
        if violation > QUARTER * before:
            penalty *= GROWTH
        before = violation
    if whole.best is None:
        raise RunError(troubles[-1])
    if m and np.maximum(excess, 0).max() > HELD:
        u = whole.best[1]
    value, excess = (np.asarray(a, float) for a in jax.jit(f)(jnp.asarray(low + (high - low) * u)))
    done = norm <= settings.tolerance and bool(np.all(excess <= HELD))
    return Found(
        low + (high - low) * u, float(value), excess, multipliers, norm, done and not troubles,
        np.sort(totals[fine]), trace, "; ".join(troubles),
    )  # fmt: skip


Pair = tuple[np.ndarray, np.ndarray]
"""A step, and what it changed of the gradient."""


def _lbfgs(
    f: Lagrangian,
    u: np.ndarray,
    multipliers: np.ndarray,
    penalty: float,
    tolerance: float,
    most: int,
    pairs: list[Pair],
) -> tuple[np.ndarray, float, np.ndarray, int]:
    """(where, norm there, excesses there, evaluations of the gradient). pairs: of an earlier descent of the same function; those
    of this one take their place."""
    total, g, _, excess = f(u, multipliers, penalty)
    used = 1
    while used < most and projected(u, g) > tolerance:
        held = ((u <= 0.0) & (g > 0.0)) | ((u >= 1.0) & (g < 0.0))
        d = -np.where(held, 0.0, _times_inverse(pairs, np.where(held, 0.0, g)))
        if d @ g >= 0.0:
            pairs.clear()
            d = -np.where(held, 0.0, g)
        if not pairs:
            d *= min(1.0, 0.1 / np.abs(d).max())
        step, moved = 1.0, False
        while step > 1e-6 and used < most:
            new = np.clip(u + step * d, 0.0, 1.0)
            used += 1
            try:
                then = f(new, multipliers, penalty)
            except RunError:  # too far: a shorter step
                step *= 0.3
                continue
            if then[0] <= total + ARMIJO * (g @ (new - u)):
                moved = True
                break
            step *= 0.3
        if not moved:
            if not pairs:
                break
            pairs.clear()
            continue
        s, y = new - u, then[1] - g
        if s @ y > 1e-10 * np.sqrt((s @ s) * (y @ y)):
            pairs[:] = [*pairs, (s, y)][-MEMORY:]
        u, total, g, excess = new, then[0], then[1], then[3]
    return u, float(projected(u, g)), excess, used


def _times_inverse(pairs: list[Pair], g: np.ndarray) -> np.ndarray:
    """The inverse Hessian of the pairs times g (two loops: Nocedal 1980)."""
    q = g.copy()
    along = []
    for s, y in reversed(pairs):
        a = (s @ q) / (s @ y)
        q -= a * y
        along.append(a)
    if pairs:
        s, y = pairs[-1]
        q *= (s @ y) / (y @ y)
    for (s, y), a in zip(pairs, reversed(along), strict=True):
        q += s * (a - (y @ q) / (s @ y))
    return q
