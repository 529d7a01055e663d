"""How a segment is crossed: fixed classical Runge-Kutta steps, or diffrax to a tight tolerance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp

from thrombojax.models.struct import Scalar
from thrombojax.solve import linear

Flat = tuple[Any, ...]
Derivative = Callable[[Scalar, Sequence[Any]], Flat]


class Exact(NamedTuple):
    """Linear compartments of a segment: their places in the flat state and exp(A h/2) - I."""

    states: tuple[int, ...]
    half: linear.Matrix


class FixedSteps(NamedTuple):
    """Runge-Kutta 4 with the timeline's steps. most > 0: a loop of that fixed length, which reverse mode can differentiate."""

    most: int = 0


class Adaptive(NamedTuple):
    """diffrax Dopri8 per patient (under vmap); the linear compartments are integrated like all others."""

    rtol: float = 1e-10
    atol: float = 1e-12
    most: int = 4096


Stepper = FixedSteps | Adaptive


def cross(
    stepper: Stepper, derivative: Derivative, y: Flat, start: Scalar, length: Scalar, steps: Any, exact: Exact | None
) -> Flat:
    """State at the end of a segment of `length` days that starts at day `start`."""
    if isinstance(stepper, Adaptive):
        return _adaptive(stepper, derivative, y, start, length)
    dtype = y[0].dtype
    h = length / jnp.maximum(steps, 1).astype(dtype)

    def step(k: Any, y: Flat) -> Flat:
        return rk4(derivative, start + k.astype(dtype) * h, y, h, exact)

    if not stepper.most:
        return jax.lax.fori_loop(0, steps, step, y)

    def body(y: Flat, k: Any) -> tuple[Flat, None]:
        return jax.lax.cond(k < steps, lambda y: step(k, y), lambda y: y, y), None

    return jax.lax.scan(body, y, jnp.arange(stepper.most, dtype=steps.dtype))[0]


def rk4(derivative: Derivative, t: Scalar, y: Flat, h: Scalar, exact: Exact | None) -> Flat:
    """One classical Runge-Kutta step; linear compartments take their exact values at the stages.

    A loop over the four stages, because XLA otherwise recomputes early stages inside late ones. The step is summed from the
    trial states of the stage before, y + sum w_s (trial_s - y), not from the slopes: each slope then has one consumer and is
    computed once (flagship on CPU: a sixth of the operations of the plain form).
    """
    dtype = y[0].dtype
    at, ahead, weight = (jnp.asarray(c, dtype) for c in (_AT, _AHEAD, _WEIGHT))
    known = exact.states if exact is not None else ()
    middle, last = _exactly(exact, y)

    def stage(s: Any, carry: tuple[Flat, Flat]) -> tuple[Flat, Flat]:
        trial, total = carry
        total = tuple(total[i] + weight[s] * (trial[i] - y[i]) for i in range(len(y)))
        k = derivative(t + at[s] * h, trial)
        trial = tuple(
            jnp.where(s < 2, middle[i], last[i]) if i in known else y[i] + (ahead[s] * h) * k[i] for i in range(len(y))
        )
        return trial, total

    trial, total = jax.lax.fori_loop(0, 4, stage, (y, y))
    return tuple(last[i] if i in known else total[i] + (trial[i] - y[i]) for i in range(len(y)))


_AT = (0.0, 0.5, 0.5, 1.0)
_AHEAD = (0.5, 0.5, 1.0, 1 / 6)
_WEIGHT = (0.0, 1 / 3, 2 / 3, 1 / 3)
"""Classical Runge-Kutta 4: when a stage looks, how far it carries the next trial, and what the trial it was given weighs."""


def _exactly(exact: Exact | None, y: Flat) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    """Linear compartments at the middle and the end of the step."""
    if exact is None:
        return {}, {}
    middle = linear.advance(exact.half, [y[i] for i in exact.states])
    last = linear.advance(exact.half, middle)
    return dict(zip(exact.states, middle, strict=True)), dict(zip(exact.states, last, strict=True))


def _adaptive(stepper: Adaptive, derivative: Derivative, y: Flat, start: Scalar, length: Scalar) -> Flat:
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
