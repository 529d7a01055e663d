"""The trajectory kernel in JAX: the reference form of the engine, differentiable and composable.

Struct-of-arrays throughout: every state is its own array over patients, so that XLA fuses whole Runge-Kutta stages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.dosing.timeline import Timeline
from thrombojax.models.protocol import Inputs, Model
from thrombojax.models.struct import Scalar
from thrombojax.solve import pieces
from thrombojax.solve.pieces import Part, Plan, Reduction
from thrombojax.solve.steppers import FixedSteps, cross

__all__ = ["Output", "Plan", "Reduction", "Watch", "fresh", "trajectory"]


class Watch(NamedTuple):
    """Traced part of all endpoints: inside, pick `[endpoint, segment]`; first `[endpoint]`; window `[endpoint, 2]`; numbers."""

    inside: Any
    pick: Any
    first: Any
    window: Any
    numbers: tuple[Mapping[str, Any], ...]


class Output(NamedTuple):
    """endpoints: name -> `[patient]`; saved: observable -> `[bound, patient]`; final: State; finite: `[patient]`."""

    endpoints: Mapping[str, Any]
    saved: Mapping[str, Any]
    final: Any
    finite: Any


def trajectory(
    model: Model, plan: Plan, p: Any, y0: Any, scale: Sequence[Scalar], timeline: Timeline, watch: Watch, refine: Scalar
) -> Output:
    """Integrate one block of patients over a timeline.

    p, y0: structs of `[patient]` arrays of one dtype; scale: per column, what an amount is multiplied by; refine: steps are
    multiplied by this whole number (accuracy and rate bucket of the block).
    """
    flat0 = tuple(jax.tree.leaves(y0))
    dtype = flat0[0].dtype
    timeline = jax.tree.map(lambda a: _cast(a, dtype), timeline)
    watch = jax.tree.map(lambda a: _cast(a, dtype), watch)
    observables = plan.observables
    into = pieces.targets(model, plan, p, scale)

    def segment(carry: Any, part: Any) -> tuple[Any, Any]:
        flat, reduced, before = carry
        line, jumped, inside, pick = part
        u = Inputs({key: line.phase[key] for key in plan.phases}, line.era)
        flat = pieces.inject(into, line.dose, flat)
        rates = pieces.infuse(into, line.rate) if plan.infusions else {}
        steps = line.steps * refine
        h = line.length / jnp.maximum(steps, 1).astype(dtype)
        exact = pieces.exact(model, plan, p, u, rates, h)

        def derivative(t: Scalar, flat: Sequence[Any]) -> tuple[Any, ...]:
            return pieces.derivative(model, t, flat, p, u, rates)

        def slopes(t: Scalar, flat: Sequence[Any]) -> Any:
            return pieces.slopes(model, plan, t, flat, p, u, rates)

        # Nothing jumps at most bounds: the values and slopes there are those at which the segment before ended.
        begin = jax.lax.cond(jumped, lambda: slopes(line.start, flat), lambda: before) if plan.reductions else before
        flat = cross(plan.stepper, derivative, flat, line.start, line.length, steps, exact)
        end = before
        kept: Mapping[str, Any] = {}
        if plan.reductions:
            end = slopes(line.start + line.length, flat)
            seen = Part(line.start, line.length, line.dose, line.rate, inside, pick)
            reduced = pieces.reduce(plan, reduced, seen, begin, end, watch.numbers, scale)
            kept = dict(zip(observables, end[0], strict=True))
        elif plan.save:
            kept = dict(zip(observables, pieces.see(model, plan, flat, p), strict=True))
        return (flat, reduced, end), tuple(kept[name] for name in plan.save)

    at0 = pieces.see(model, plan, flat0, p)
    start = pieces.begin(plan, at0, 0.0 * flat0[0], watch.first, watch.numbers)
    parts = (timeline._replace(position=jnp.zeros_like(timeline.start)), fresh(timeline), watch.inside.T, watch.pick.T)
    body = jax.checkpoint(segment) if isinstance(plan.stepper, FixedSteps) and plan.stepper.most else segment
    before = (at0, jax.tree.map(jnp.zeros_like, at0)) if plan.reductions else ()
    (flat, reduced, _), kept = jax.lax.scan(body, (flat0, start, before), parts)
    seen0 = dict(zip(observables, at0, strict=True))
    saved = {name: jnp.concatenate([seen0[name][None], kept[i]]) for i, name in enumerate(plan.save)}
    finite = jnp.isfinite(sum(flat[1:], flat[0]))
    return Output(pieces.finish(plan, reduced, watch.window, watch.numbers), saved, pieces.state(model, flat), finite)


def fresh(timeline: Timeline) -> Any:
    """Segments at whose start something jumps: a dose, a rate, a phase (`[segment]` booleans; the first always)."""
    switches = [*timeline.rate.T, *timeline.phase.values(), timeline.era]
    changed = sum(((row[1:] != row[:-1]) for row in switches), jnp.zeros(len(timeline.start) - 1, bool))
    return jnp.any(timeline.dose != 0, axis=1) | jnp.concatenate([jnp.ones(1, bool), changed])


def _cast(a: Any, dtype: Any) -> Any:
    a = jnp.asarray(a)
    return a if jnp.issubdtype(a.dtype, jnp.integer) else a.astype(dtype)
