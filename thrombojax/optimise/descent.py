"""The optimiser: projected Adam from many starts on some patients, then a projected L-BFGS on all; constraints by an augmented
Lagrangian.

Decisions are scaled to [0, 1]. L-BFGS is in two metrics (Bertsekas 1982): what a bound holds is left out of the direction, the
rest moves along the quasi-Newton direction and is projected, with backtracking.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thrombojax.errors import RunError

MEMORY = 10
ARMIJO = 1e-4
GROWTH = 4.0
"""Of the penalty where the violation has not halved."""
HELD = 1e-3
"""Excess of a constraint, over its scale, that counts as none."""


@dataclass(frozen=True, eq=False)
class Trace:
    """The record of a descent, one entry an evaluation. norm: of the projected gradient, largest part."""

    phase: list[str] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    violation: list[float] = field(default_factory=list)
    norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def note(self, phase: str, value: float, violation: float, norm: float, began: float) -> None:
        for row, new in zip(
            (self.phase, self.objective, self.violation, self.norm, self.seconds),
            (phase, value, violation, norm, time.monotonic() - began),
            strict=True,
        ):
            row.append(new)  # type: ignore[attr-defined]


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
    """starts: of Adam; steps: of each; polish: most iterations of L-BFGS, for all rounds of the Lagrangian together."""

    starts: int = 3
    steps: int = 60
    polish: int = 40
    tolerance: float = 1e-3
    rate: float = 0.1
    rounds: int = 8
    seed: int = 1
    forward: bool = False


class _Lagrangian:
    """Value and gradient in u (scaled), with what was seen there; jitted once."""

    def __init__(
        self,
        f: Callable[[Any], tuple[Any, Any]],
        low: np.ndarray,
        high: np.ndarray,
        trace: Trace,
        began: float,
        forward: bool,
    ):
        self.low, self.span = low, high - low
        self.trace, self.began, self.phase = trace, began, "adam"
        self.best: tuple[tuple[float, float], np.ndarray] | None = None

        def whole(u: Any, multipliers: Any, penalty: Any) -> Any:
            value, excess = f(self.low + self.span * u)
            shifted = jnp.maximum(excess + multipliers / penalty, 0.0)
            return value + 0.5 * penalty * jnp.sum(shifted**2 - (multipliers / penalty) ** 2), (value, excess)

        def ahead(u: Any, multipliers: Any, penalty: Any) -> Any:
            def twice(u: Any) -> Any:
                out = whole(u, multipliers, penalty)
                return out[0], out

            slope, out = jax.jacfwd(twice, has_aux=True)(u)
            return out, slope

        self._grad = jax.jit(ahead if forward else jax.value_and_grad(whole, has_aux=True))
        self._value = jax.jit(whole)

    def __call__(
        self, u: np.ndarray, multipliers: np.ndarray, penalty: float
    ) -> tuple[float, np.ndarray, float, np.ndarray]:
        (total, (value, excess)), slope = self._grad(jnp.asarray(u), jnp.asarray(multipliers), penalty)
        g = np.asarray(slope, float)
        if not (np.isfinite(float(total)) and np.isfinite(g).all()):
            at = ", ".join(f"{v:.4g}" for v in self.low + self.span * u)
            raise RunError(f"the objective is not finite at the decisions {at}")
        found = float(value), np.asarray(excess, float)
        worst = float(max(found[1].max(initial=0.0), 0.0))
        self.trace.note(self.phase, found[0], worst, projected(u, g), self.began)
        rank = (worst if worst > HELD else 0.0, found[0])
        if self.best is None or rank < self.best[0]:
            self.best = (rank, u.copy())
        return float(total), g, *found

    def value(self, u: np.ndarray, multipliers: np.ndarray, penalty: float) -> float:
        return float(self._value(jnp.asarray(u), jnp.asarray(multipliers), penalty)[0])


def projected(u: np.ndarray, g: np.ndarray) -> float:
    """Largest part of the step that a unit step down the gradient makes within the box: 0 at a stationary point."""
    return float(np.abs(np.clip(u - g, 0.0, 1.0) - u).max(initial=0.0))


def descend(
    f: Callable[[Any], tuple[Any, Any]],
    rough: Callable[[Any], tuple[Any, Any]],
    low: np.ndarray,
    high: np.ndarray,
    start: np.ndarray,
    settings: Settings,
    say: Callable[[str], None] = lambda text: None,
) -> Found:
    """f, rough: x -> (objective, excesses), of all patients and of some.

    Where an objective is not finite the best plan before that is what is found, with its trouble; RunError where there is none.
    """
    began, trace = time.monotonic(), Trace()
    k = len(start)
    m = int(np.shape(jax.eval_shape(f, jnp.asarray(start))[1])[0])
    first = np.clip((start - low) / (high - low), 0.0, 1.0)
    rng = np.random.default_rng(settings.seed)
    # Constant levels between the bounds and draws around them: a schedule that is wrong everywhere is no start.
    others = [np.clip(level + 0.1 * rng.standard_normal(k), 0, 1) for level in rng.permutation(
        np.linspace(0.1, 0.9, max(settings.starts - 1, 1)))][: settings.starts - 1]  # fmt: skip
    some = _Lagrangian(rough, low, high, trace, began, settings.forward)
    multipliers, penalty = np.zeros(m), 10.0
    ends, troubles = [], list[str]()
    for i, u in enumerate([first, *others]):
        say(f"start {i + 1} of {settings.starts}")
        try:
            ends.append(_adam(some, u, multipliers, penalty, settings))
        except RunError as error:
            troubles.append(f"start {i + 1}: {error}")
    if not ends:
        raise RunError(troubles[0])
    ends.sort(key=lambda end: end[0])
    u = ends[0][1]
    some.phase = "l-bfgs, batch"
    if rough is not f:
        u = _lbfgs(some, u, multipliers, penalty, settings.tolerance, settings.polish, [])[0]
    whole = _Lagrangian(f, low, high, trace, began, settings.forward)
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
        if violation > 0.5 * before:
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
        np.array([e[0] for e in ends]), trace, "; ".join(troubles),
    )  # fmt: skip


def _adam(
    f: _Lagrangian, u: np.ndarray, multipliers: np.ndarray, penalty: float, settings: Settings
) -> tuple[float, np.ndarray]:
    """(lowest value, where) of projected Adam, its rate falling by a cosine; it ends where the objective is not finite."""
    rule = optax.adam(optax.cosine_decay_schedule(settings.rate, max(settings.steps, 1)))
    state = rule.init(jnp.asarray(u))
    best = (np.inf, u)
    for _ in range(settings.steps):
        try:
            total, g, *_ = f(u, multipliers, penalty)
        except RunError:
            if np.isfinite(best[0]):
                break
            raise
        best = min(best, (total, u), key=lambda pair: pair[0])
        if projected(u, g) <= settings.tolerance:
            break
        with jax.numpy_dtype_promotion("standard"):  # optax raises decay rates to whole powers
            step, state = rule.update(jnp.asarray(g), state)
        u = np.clip(u + np.asarray(step, float), 0.0, 1.0)
    return best if settings.steps else (f.value(u, multipliers, penalty), u)


Pair = tuple[np.ndarray, np.ndarray]
"""A step, and what it changed of the gradient."""


def _lbfgs(
    f: _Lagrangian,
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
    return u, projected(u, g), excess, used


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
