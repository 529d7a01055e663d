"""Projected Adam from several starts: side by side, on rows of patients of their own, where the objective takes several plans at
once; else in turns. Constraints by their penalty alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thrombojax.errors import RunError
from thrombojax.optimise.lagrangian import Lagrangian, augmented, projected

Several = Callable[[Any], tuple[Any, Any]]
"""x `[k, start]` -> (objective `[start]`, excess of each constraint over its scale `[constraint, start]`)."""
At = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""u `[k, start]` -> (what is minimised `[start]`, its gradient `[k, start]`); infinite where it is no number."""
Say = Callable[[str], None]
Ends = tuple[np.ndarray, np.ndarray]
"""Lowest value of each start `[start]`, and where `[k, start]`."""


def drawn(first: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`[k, start]`: the first, then constant levels between the bounds and draws around them: a schedule that is wrong everywhere
    is no start."""
    rng = np.random.default_rng(seed)
    levels = rng.permutation(np.linspace(0.1, 0.9, max(count - 1, 1)))[: count - 1]
    others = [np.clip(level + 0.1 * rng.standard_normal(len(first)), 0, 1) for level in levels]
    return np.stack([first, *others], axis=1)


def in_turns(f: Lagrangian, u: np.ndarray, penalty: float, steps: int, rate: float, tolerance: float, say: Say) -> Ends:
    """One start after the other."""
    none, ends = np.zeros(f.constraints), list[Ends]()

    def at(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            total, g, *_ = f(u[:, 0], none, penalty)
        except RunError:
            return np.array([np.inf]), np.zeros_like(u)
        return np.array([total]), g[:, None]

    if not steps:
        return np.array([f.value(v, none, penalty) for v in u.T]), u
    for i, v in enumerate(u.T):
        say(f"start {i + 1} of {u.shape[1]}")
        ends.append(adam(at, v[:, None], steps, rate, tolerance))
    return np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends], axis=1)


def side_by_side(
    several: Several, f: Lagrangian, u: np.ndarray, penalty: float, steps: int, rate: float, tolerance: float
) -> Ends:
    """All starts in one launch a step. f: of the same patients, for the record: its best start of each step."""
    low, span = f.low[:, None], f.span[:, None]

    def whole(u: Any) -> Any:
        value, excess = several(low + span * u)
        total = augmented(value, excess, 0.0, penalty)
        # A start without a value has no gradient, and takes none from the others.
        return jnp.sum(jnp.where(jnp.isfinite(total), total, 0.0)), (total, value, excess)

    run = jax.jit(jax.value_and_grad(whole, has_aux=True))

    def at(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (_, (total, value, excess)), g = jax.tree.map(lambda a: np.asarray(a, float), run(jnp.asarray(u)))
        fine = np.isfinite(total) & np.isfinite(g).all(axis=0)
        total, g = np.where(fine, total, np.inf), np.where(fine, g, 0.0)
        if fine.any():
            best = int(np.argmin(total))
            f.note(u[:, best], g[:, best], value[best], excess[:, best])
        return total, g

    return adam(at, u, steps, rate, tolerance)


def adam(at: At, u: np.ndarray, steps: int, rate: float, tolerance: float) -> Ends:
    """Every start ends where its projected gradient is small, or its objective is no number."""
    go = adaptive(u, rate, steps)
    best, where, going = np.full(u.shape[1], np.inf), u.copy(), np.ones(u.shape[1], bool)
    for _ in range(steps):
        total, g = at(u)
        better = going & (total < best)
        best, where = np.where(better, total, best), np.where(better, u, where)
        going &= np.isfinite(total) & (projected(u, g) > tolerance)
        if not going.any():
            break
        u = np.where(going, go(u, g), u)
    return best, where


def on_draws(
    f: Lagrangian, common: Lagrangian, u: np.ndarray, penalty: float, steps: int, rate: float,
    rows: Sequence[Iterator[np.ndarray]], say: Say,
) -> Ends:  # fmt: skip
    """Each step on other patients, each start on its own draws; values are those on the common patients at the end."""
    none, ends = np.zeros(f.constraints), []
    for i, (v, mine) in enumerate(zip(u.T, rows, strict=True)):
        say(f"start {i + 1} of {u.shape[1]}")
        go, now = adaptive(v, rate, steps), v
        try:
            for _ in range(steps):
                now = go(now, f(now, none, penalty, next(mine))[1])
            value = common.value(now, none, penalty)
        except RunError:
            value = np.inf
        ends.append((value if np.isfinite(value) else np.inf, now))
    return np.array([value for value, _ in ends]), np.stack([now for _, now in ends], axis=1)


def adaptive(u: np.ndarray, rate: float, steps: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """(u, gradient) -> u after the next step of Adam, in the box; the rate falls by a cosine."""
    rule = optax.adam(optax.cosine_decay_schedule(rate, max(steps, 1)))
    state = rule.init(jnp.asarray(u))

    def go(u: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal state
        with jax.numpy_dtype_promotion("standard"):  # optax raises decay rates to whole powers
            step, state = rule.update(jnp.asarray(g), state)
        return np.clip(u + np.asarray(step, float), 0.0, 1.0)

    return go


def subsets(n: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Without end: permutations of n patients, cut into subsets of one size; what is left of a permutation is not used."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        for first in range(0, n - size + 1, size):
            yield np.sort(order[first : first + size])
