"""How a segment is crossed: fixed steps of an explicit Runge-Kutta pair, or diffrax to a tight tolerance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.models.protocol import Model
from thrombojax.models.struct import Scalar
from thrombojax.solve import linear

Flat = tuple[Any, ...]
Derivative = Callable[[Scalar, Sequence[Any]], Flat]


class Tableau(NamedTuple):
    """An explicit Runge-Kutta method.

    a: rows of the stages after the first; b: weights; order; stable: length of its interval on the negative real axis.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int
    stable: float

    @property
    def nodes(self) -> tuple[float, ...]:
        """Where each stage looks, as a share of the step."""
        return (0.0, *(sum(row) for row in self.a))


CLASSICAL = Tableau(((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4, 2.78)
"""Runge-Kutta 4."""
LONG = Tableau(
    (
        (0.15425021257290294,),
        (-0.3970367685192273, 0.8833358621002881),
        (1.1467249290635686, -1.300998257376145, 0.6960001600174159),
        (-1.5742059941449194, 2.2632557237572755, -0.39091971748951115, 0.928090180104023),
        (-0.2923820977205018, 0.6129456424662391, 0.1803105328441011, 0.46532649725569447, 0.033799425154467315),
    ),
    (0.07554799614488343, 0.17971358360786333, 0.35583553942719304, 0.17731449300372223, -0.03716628920235987,
     0.24875467701869775),
    5,
    6.08,
)  # fmt: skip
"""Order 5 with the longest interval of stability that six stages allow, made by `benchmarks/tableau.py`.

Between doses steps are bounded by rates of 4 to 10 per day: it takes two steps a day where Runge-Kutta 4 takes four, at a
third of the error (docs/performance.md).
"""


class Exact(NamedTuple):
    """Linear compartments of a segment: their places in the flat state, and share c of a step -> exp(A c h) - I."""

    states: tuple[int, ...]
    at: Mapping[float, linear.Matrix]


class FixedSteps(NamedTuple):
    """The timeline's steps. most > 0: a loop of that fixed length, which reverse mode can differentiate."""

    most: int = 0
    tableau: Tableau = LONG


class Adaptive(NamedTuple):
    """diffrax Dopri8 per patient (under vmap); the linear compartments are integrated like all others."""

    rtol: float = 1e-10
    atol: float = 1e-12
    most: int = 4096


Stepper = FixedSteps | Adaptive


def method(model: Model) -> Tableau:
    """The method whose steps a model counts."""
    return CLASSICAL if model.classical else LONG


def counted(steps: Any, factor: Any) -> Any:
    """Whole numbers of steps, `factor` times as many: half steps count as one."""
    xp = jnp if any(isinstance(a, jax.Array) for a in (steps, factor)) else np
    return xp.ceil(xp.asarray(steps, np.float32) * xp.asarray(factor, np.float32) - 1e-4).astype(np.int32)


def cross(
    stepper: Stepper, derivative: Derivative, y: Flat, start: Scalar, length: Scalar, steps: Any, exact: Exact | None
) -> Flat:
    """State at the end of a segment of `length` days that starts at day `start`."""
    if isinstance(stepper, Adaptive):
        return _adaptive(stepper, derivative, y, start, length)
    dtype = y[0].dtype
    h = length / jnp.maximum(steps, 1).astype(dtype)

    def step(k: Any, y: Flat) -> Flat:
        return runge_kutta(stepper.tableau, derivative, start + k.astype(dtype) * h, y, h, exact)

    if jnp.ndim(steps):  # each patient its own number: those that are done wait for the others

        def masked(k: Any, y: Flat) -> Flat:
            return tuple(jnp.where(k < steps, new, old) for new, old in zip(step(k, y), y, strict=True))

        return jax.lax.fori_loop(0, jnp.max(steps), masked, y)
    if not stepper.most:
        return jax.lax.fori_loop(0, steps, step, y)

    def body(y: Flat, k: Any) -> tuple[Flat, None]:
        return jax.lax.cond(k < steps, lambda y: step(k, y), lambda y: y, y), None

    return jax.lax.scan(body, y, jnp.arange(stepper.most, dtype=steps.dtype))[0]


def runge_kutta(tableau: Tableau, derivative: Derivative, t: Scalar, y: Flat, h: Scalar, exact: Exact | None) -> Flat:
    """One step; linear compartments take their exact values at the stages.

    A loop over the stages, because XLA otherwise recomputes early stages inside late ones.
    """
    dtype = y[0].dtype
    stages = len(tableau.b)
    rows = [[*row, *(0.0,) * (stages - len(row))] for row in (*tableau.a, tableau.b)]
    at = jnp.asarray(tableau.nodes, dtype)
    weights = jnp.asarray(rows, dtype)
    known = _exactly(exact, y)
    places = jnp.asarray([*tableau.nodes[1:], 1.0], dtype)

    def stage(s: Any, carry: tuple[Flat, Flat]) -> tuple[Flat, Flat]:
        trial, slopes = carry
        k = derivative(t + at[s] * h, trial)
        slopes = tuple(a.at[s].set(v) for a, v in zip(slopes, k, strict=True))
        ahead = [h * weights[s][j] for j in range(stages)]
        trial = tuple(
            _choose(known[i], places[s]) if i in known else y[i] + sum(ahead[j] * slopes[i][j] for j in range(stages))
            for i in range(len(y))
        )
        return trial, slopes

    blank = tuple(jnp.zeros((stages, *v.shape), dtype) for v in y)
    return jax.lax.fori_loop(0, stages, stage, (y, blank))[0]


def _choose(values: Mapping[float, Scalar], node: Scalar) -> Scalar:
    """The value at the middle or at the end of the step."""
    return jnp.where(node == 1.0, values[1.0], values[0.5])


def _exactly(exact: Exact | None, y: Flat) -> dict[int, dict[float, Any]]:
    """Linear compartments: place -> share of the step -> value there."""
    if exact is None:
        return {}
    before = [y[i] for i in exact.states]
    found: dict[int, dict[float, Any]] = {i: {} for i in exact.states}
    for node, matrix in exact.at.items():
        for i, value in zip(exact.states, linear.advance(matrix, before), strict=True):
            found[i][node] = value
    return found


def _adaptive(stepper: Adaptive, derivative: Derivative, y: Flat, start: Scalar, length: Scalar) -> Flat:
    import diffrax  # takes the better part of a second, which every start would pay

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: derivative(start + t, y)),
        diffrax.Dopri8(),
        0.0,
        length,
        jnp.minimum(length, 1e-3),
        y,
        stepsize_controller=diffrax.PIDController(rtol=stepper.rtol, atol=stepper.atol),
        max_steps=stepper.most,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    end = tuple(v[0] for v in solution.ys)
    failed = solution.result != diffrax.RESULTS.successful
    # A solve that gave up must not pass for a result: NaN reaches the patient's status.
    return tuple(jnp.where(failed, jnp.nan, v) for v in end)
