"""The Lagrangian of a dosing problem with its gradient, and the record of where it was evaluated."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.errors import RunError

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


class Lagrangian:
    """Value and gradient in u (scaled), with what was seen there; jitted once."""

    def __init__(
        self,
        f: Callable[..., tuple[Any, Any]],
        low: np.ndarray,
        high: np.ndarray,
        constraints: int,
        trace: Trace,
        began: float,
    ):
        self.low, self.span, self.constraints = low, high - low, constraints
        self.trace, self.began, self.phase = trace, began, "adam"
        self.best: tuple[tuple[float, float], np.ndarray] | None = None

        def whole(u: Any, multipliers: Any, penalty: Any, *rows: Any) -> Any:
            value, excess = f(self.low + self.span * u, *rows)
            return augmented(value, excess, multipliers, penalty), (value, excess)

        self._grad = jax.jit(jax.value_and_grad(whole, has_aux=True))
        self._value = jax.jit(whole)

    def __call__(
        self, u: np.ndarray, multipliers: np.ndarray, penalty: float, *rows: np.ndarray
    ) -> tuple[float, np.ndarray, float, np.ndarray]:
        (total, (value, excess)), slope = self._grad(jnp.asarray(u), jnp.asarray(multipliers), penalty, *rows)
        g = np.asarray(slope, float)
        if not (np.isfinite(float(total)) and np.isfinite(g).all()):
            raise RunError(self.not_finite(u))
        found = float(value), np.asarray(excess, float)
        self.note(u, g, *found)
        return float(total), g, *found

    def note(self, u: np.ndarray, g: np.ndarray, value: float, excess: np.ndarray) -> None:
        """Write an evaluation down, and keep the best."""
        worst = float(max(excess.max(initial=0.0), 0.0))
        self.trace.note(self.phase, float(value), worst, float(projected(u, g)), self.began)
        rank = (worst if worst > HELD else 0.0, float(value))
        if self.best is None or rank < self.best[0]:
            self.best = (rank, u.copy())

    def not_finite(self, u: np.ndarray) -> str:
        """What is said of a place where there is no value."""
        return "the objective is not finite at the decisions " + ", ".join(f"{v:.4g}" for v in self.low + self.span * u)

    def value(self, u: np.ndarray, multipliers: np.ndarray, penalty: float) -> float:
        return float(self._value(jnp.asarray(u), jnp.asarray(multipliers), penalty)[0])


def augmented(value: Any, excess: Any, multipliers: Any, penalty: Any) -> Any:
    """The augmented Lagrangian; excess, multipliers: `[constraint]`, or of several problems `[constraint, problem]` (penalty then
    `[1, problem]` or a number)."""
    back = multipliers / penalty
    return value + jnp.sum(0.5 * penalty * (jnp.maximum(excess + back, 0.0) ** 2 - back**2), axis=0)


def projected(u: np.ndarray, g: np.ndarray) -> Any:
    """Largest part of the step that a unit step down the gradient makes within the box: 0 at a stationary point. u, g: `[k]`, or
    `[k, problem]` of several."""
    return np.abs(np.clip(u - g, 0.0, 1.0) - u).max(axis=0, initial=0.0)
