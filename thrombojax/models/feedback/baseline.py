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
STEP = 0.7
"""Largest Newton step in a logarithm."""


def at(log_pool: Scalar, log_tpo: Scalar, p: Any) -> tuple[core.State, Scalar, Scalar]:
    """Core state with that platelet pool and TPO, and the two residuals (logarithms; zero at the steady state)."""
    pool, tpo = jnp.exp(log_pool), jnp.exp(log_tpo)
    ref = platelets.reference(p.platelets)
    loss = platelets.loss(pool, p.platelets)
    aged, production = platelets.steady(pool, loss, ref)
    relative = production / ref.production
    signal = receptor.signal(tpo, 0.0, 0.0, p.receptor)
    at_vessel, maturing = niche.steady(relative / p.niche.platelets_per_megakaryocyte, signal.megakaryocyte, p.niche)
    mass = niche.mass(at_vessel, (maturing, maturing), p.megakaryocytes.maturation_rate, p.niche)
    inhibitors = regulators.steady(relative, mass, p.regulators)
    drive = core.drive(signal, inhibitors, NONE, p)
    line = megakaryocytes.steady(maturing, drive, p.megakaryocytes)
    sites = receptor.steady(tpo, relative, production / pool, ref.turnover, p.receptor)
    mrna = thrombopoietin.steady_mrna(aged.age[-1] / ref.oldest, p.thrombopoietin)
    cleared = thrombopoietin.clearance(tpo, 0.0, sites.platelet_mpl, mass, p.receptor, p.thrombopoietin)
    stroma = regulators.on_stroma(inhibitors, p.regulators)
    made = p.thrombopoietin.tpo_dose * thrombopoietin.synthesis_per_dose(mrna, stroma, p.thrombopoietin)
    state = core.State(line, at_vessel, aged, thrombopoietin.State(tpo, mrna), sites, inhibitors)
    return state, jnp.log(drive.capacity) - jnp.log(line.stem), jnp.log(made) - jnp.log(cleared)


def _newton(residual: Callable[[Scalar, Scalar], tuple[Scalar, Scalar]], first: Scalar, second: Scalar) -> tuple[Scalar, Scalar]:
    """Root of two residuals in two unknowns, patient by patient; differentiable through its last step alone."""

    def step(a: Scalar, b: Scalar, clip: float) -> tuple[Scalar, Scalar]:
        r, da = jax.jvp(lambda x: residual(x, b), (a,), (jnp.ones_like(a),))
        _, db = jax.jvp(lambda x: residual(a, x), (b,), (jnp.ones_like(b),))
        # The Jacobian at the root is a constant of the implicit function theorem: only the residual carries gradients.
        (a1, a2), (b1, b2) = jax.lax.stop_gradient((da, db))
        det = a1 * b2 - a2 * b1
        return (
            a + jnp.clip((b1 * r[1] - b2 * r[0]) / det, -clip, clip),
            b + jnp.clip((a2 * r[0] - a1 * r[1]) / det, -clip, clip),
        )

    frozen = jax.lax.fori_loop(0, ITERATIONS, lambda _, x: step(x[0], x[1], STEP), (first, second))
    return step(*jax.lax.stop_gradient(frozen), jnp.inf)



def solve(p: Any) -> tuple[Scalar, Scalar]:
    """(ln pool, ln TPO) of the steady state of a structural patient."""
    start = jnp.log(1.5 * p.platelets.reference_count)
    shape = jnp.zeros_like(sum(jax.tree.leaves(_core(p)), 0.0))

    def residual(a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
        return at(a, b, p)[1:]

    return _newton(residual, start + shape, shape)


def _core(p: Any) -> core.Parameters:
    return core.Parameters(*(getattr(p, name) for name in core.Parameters._fields))


def initial(p: Any) -> core.State:
    """Steady state of the core, each leaf of the shape of the parameters."""
    return at(*solve(p), p)[0]


def error(p: Any) -> Scalar:
    """Largest residual (relative) of the steady state that `initial` finds; NaN where there is none."""
    _, stem, tpo = at(*solve(p), p)
    return jnp.maximum(jnp.abs(stem), jnp.abs(tpo))


def anchor(p: Any, leaf: str, count: Scalar, start: tuple[float, float] = (0.0, 0.0)) -> Any:
    """Parameters with `leaf` solved so that the steady blood count is `count` (1e9/L); start: (ln TPO, ln leaf)."""
    shape = jnp.zeros_like(count + sum(jax.tree.leaves(_core(p)), 0.0))

    def residual(a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
        q = struct.replace(p, {leaf: jnp.exp(a)})
        return at(jnp.log(count * (1.0 + q.platelets.spleen_ratio)), b, q)[1:]

    solved, _ = _newton(residual, start[1] + shape, start[0] + shape)
    return struct.replace(p, {leaf: jnp.exp(solved)})
