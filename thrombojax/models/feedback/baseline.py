"""Homeostasis: the steady state in closed form given count and TPO, and the Newton solve that finds what is not given.

Two residuals close the loop: the stem pool must be what its capacity allows, and TPO synthesis must equal clearance. The
unknowns are ln TPO and either ln pool (a structural patient) or the logarithm of one parameter (a patient whose count is given).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from thrombojax.models import struct
from thrombojax.models.feedback import core, megakaryocytes, niche, platelets, receptor, regulators, thrombopoietin
from thrombojax.models.feedback.effects import NONE
from thrombojax.models.struct import Scalar

ITERATIONS = 60
ARRIVED = 1e-10
"""A Newton step so short (in logarithms) is the last but one: the error after it is of the order of its square."""
STEP = 0.7
"""Largest Newton step in a logarithm."""
EPSILON = 1e-5
"""Half width of the central differences, in logarithms: 1e-10 relative error of the Jacobian in float64."""


def at(log_pool: Scalar, log_tpo: Scalar, p: Any) -> tuple[core.State, Scalar, Scalar]:
    """Core state with that platelet pool and TPO, and the two residuals (logarithms; zero at the steady state)."""
    pool, tpo = jnp.exp(log_pool), jnp.exp(log_tpo)
    ref = platelets.reference(p.platelets)
    loss = platelets.loss(pool, NONE, p.platelets)
    aged, production = platelets.steady(pool, loss, ref)
    relative = production / ref.production
    unbound = thrombopoietin.free(tpo, p.thrombopoietin)
    signal = receptor.signal(unbound, 0.0, 0.0, p.receptor)
    at_vessel, maturing = niche.steady(relative / p.niche.platelets_per_megakaryocyte, signal.megakaryocyte, p.niche)
    mass = niche.mass(at_vessel, (maturing, maturing), p.megakaryocytes.maturation_rate, p.niche)
    inhibitors = regulators.steady(relative, mass, p.regulators)
    drive = core.drive(signal, inhibitors, NONE, p)
    line = megakaryocytes.steady(maturing, drive, p.megakaryocytes)
    sites = receptor.steady(unbound, relative, production / pool, ref.turnover, p.receptor)
    mrna = thrombopoietin.steady_mrna(aged.age[-1] / ref.oldest, p.thrombopoietin)
    cleared = thrombopoietin.clearance(tpo, 0.0, sites.platelet_mpl, mass, p.receptor, p.thrombopoietin)
    stroma = regulators.on_stroma(inhibitors, p.regulators)
    made = p.thrombopoietin.tpo_dose * thrombopoietin.synthesis_per_dose(mrna, stroma, NONE, p.thrombopoietin)
    state = core.State(line, at_vessel, aged, thrombopoietin.State(tpo, mrna), sites, inhibitors)
    return state, jnp.log(drive.capacity) - jnp.log(line.stem), jnp.log(made) - jnp.log(cleared)


Residual = Callable[[Any, Any, Any], tuple[Any, Any]]


def _newton(residual: Residual, first: Scalar, second: Scalar, given: Any) -> tuple[Scalar, Scalar]:
    """Root of `residual(a, b, given)` in (a, b), patient by patient; differentiable in `given` through its last step.

    The Jacobian comes from central differences evaluated side by side in one call, which compiles five times faster than
    tangents do; by the implicit function theorem only the residual of the last step carries gradients.
    """

    def jacobian(a: Scalar, b: Scalar) -> tuple[tuple[Scalar, Scalar], tuple[Scalar, Scalar]]:
        points = jax.tree.map(jax.lax.stop_gradient, (a, b, given))
        a4, b4, given4 = jax.tree.map(lambda v: jnp.broadcast_to(v, (4, *jnp.shape(a))), points)
        move = jnp.asarray([[EPSILON, -EPSILON, 0, 0], [0, 0, EPSILON, -EPSILON]], a4.dtype)
        move = jnp.broadcast_to(move.reshape(2, 4, *(1 for _ in jnp.shape(a))), (2, *a4.shape))
        r1, r2 = residual(a4 + move[0], b4 + move[1], given4)
        (a1, b1), (a2, b2) = (((r[0] - r[1]) / (2 * EPSILON), (r[2] - r[3]) / (2 * EPSILON)) for r in (r1, r2))
        return (a1, a2), (b1, b2)

    def step(a: Scalar, b: Scalar, clip: float, given: Any) -> tuple[Scalar, Scalar]:
        (a1, a2), (b1, b2) = jacobian(a, b)
        r1, r2 = residual(a, b, given)
        det = a1 * b2 - a2 * b1
        da, db = (b1 * r2 - b2 * r1) / det, (a2 * r1 - a1 * r2) / det
        return a + jnp.clip(da, -clip, clip), b + jnp.clip(db, -clip, clip)

    def go_on(x: Any) -> Any:
        return (x[0] < ITERATIONS) & jnp.any(~x[3])

    def advance(x: Any) -> Any:
        # A patient that has arrived stays where it is, so that its bits do not depend on who else is still on the way.
        count, a, b, arrived = x
        new = step(a, b, STEP, frozen)
        near = jnp.maximum(jnp.abs(new[0] - a), jnp.abs(new[1] - b)) < ARRIVED
        a, b = jnp.where(arrived, a, new[0]), jnp.where(arrived, b, new[1])
        return count + 1, a, b, arrived | near

    frozen = jax.lax.stop_gradient(given)
    start = jax.lax.stop_gradient((jnp.asarray(0), first, second, jnp.zeros(jnp.shape(first), bool)))
    _, last, other, _ = jax.lax.while_loop(go_on, advance, start)
    last, other = jax.lax.stop_gradient((last, other))
    return step(last, other, jnp.inf, given)


def _core(p: Any) -> core.Parameters:
    return core.Parameters(*(getattr(p, name) for name in core.Parameters._fields))


def _shape(p: Any) -> Scalar:
    """Zero of the parameters' common shape."""
    return jnp.zeros_like(sum(jax.tree.leaves(_core(p)), 0.0))


def steady(p: Any) -> tuple[core.State, Scalar]:
    """Steady state of a structural patient, and its largest relative residual (NaN where there is none)."""

    def residual(a: Scalar, b: Scalar, p: Any) -> tuple[Scalar, Scalar]:
        return at(a, b, p)[1:]

    start = jnp.log(1.5 * p.platelets.reference_count) + _shape(p)
    state, stem, tpo = at(*_newton(residual, start, _shape(p), p), p)
    return state, jnp.maximum(jnp.abs(stem), jnp.abs(tpo))


def anchor(p: Any, leaf: str, count: Scalar, start: tuple[float, float] = (0.0, 0.0)) -> tuple[Any, core.State, Scalar]:
    """Parameters with `leaf` solved so that the steady blood count is `count` (1e9/L), that state, and its residual.

    start: (ln TPO, ln leaf) where Newton begins.
    """
    shape = _shape(p) + 0.0 * count

    def solved(log_leaf: Scalar, given: Any) -> tuple[Any, Scalar]:
        p, count = given
        q = struct.replace(p, {leaf: jnp.exp(log_leaf)})
        return q, jnp.log(count * (1.0 + q.platelets.spleen_ratio))

    def residual(a: Scalar, b: Scalar, given: Any) -> tuple[Scalar, Scalar]:
        q, log_pool = solved(a, given)
        return at(log_pool, b, q)[1:]

    log_leaf, log_tpo = _newton(residual, start[1] + shape, start[0] + shape, (p, count))
    q, log_pool = solved(log_leaf, (p, count))
    state, stem, tpo = at(log_pool, log_tpo, q)
    return q, state, jnp.maximum(jnp.abs(stem), jnp.abs(tpo))
