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

    return jax.lax.scan(body, y, jnp.arange(stepper.most))[0]


def rk4(derivative: Derivative, t: Scalar, y: Flat, h: Scalar, exact: Exact | None) -> Flat:
    """One classical Runge-Kutta step; linear compartments take their exact values at the stages."""
    middle: Mapping[int, Any] = {}
    last: Mapping[int, Any] = {}
    if exact is not None:
        middle = dict(zip(exact.states, linear.advance(exact.half, [y[i] for i in exact.states]), strict=True))
        last = dict(zip(exact.states, linear.advance(exact.half, [middle[i] for i in exact.states]), strict=True))

    def at(k: Flat, c: Scalar, exactly: Mapping[int, Any]) -> Flat:
        return tuple(exactly[i] if i in exactly else y[i] + c * k[i] for i in range(len(y)))

    k1 = derivative(t, y)
    k2 = derivative(t + 0.5 * h, at(k1, 0.5 * h, middle))
    k3 = derivative(t + 0.5 * h, at(k2, 0.5 * h, middle))
    k4 = derivative(t + h, at(k3, h, last))
    return tuple(
        last[i] if i in last else y[i] + h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]) for i in range(len(y))
    )


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
