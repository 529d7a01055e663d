"""The trajectory kernel in JAX: the reference form of the engine, differentiable and composable.

Struct-of-arrays throughout: every state is its own array over patients, so that XLA fuses whole Runge-Kutta stages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Timeline
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Model
from thrombojax.models.struct import Scalar
from thrombojax.solve import delayed, pieces
from thrombojax.solve.pieces import Part, Plan, Reduction
from thrombojax.solve.steppers import FixedSteps, counted, cross

__all__ = ["Care", "Output", "Plan", "Reduction", "Watch", "fresh", "trajectory"]


class Watch(NamedTuple):
    """Traced part of all endpoints: inside, pick `[endpoint, segment]`; first `[endpoint]`; window `[endpoint, 2]`; numbers."""

    inside: Any
    pick: Any
    first: Any
    window: Any
    numbers: tuple[Mapping[str, Any], ...]


class Output(NamedTuple):
    """endpoints: name -> `[patient]`; saved: observable -> `[bound, patient]`; final: State; finite: `[patient]`;

    ledger: `[bound, patient]` of each entry of `policy.LEDGER`, where a plan has a clinic.
    """

    endpoints: Mapping[str, Any]
    saved: Mapping[str, Any]
    final: Any
    finite: Any
    ledger: Any = ()


def trajectory(
    model: Model,
    plan: Plan,
    p: Any,
    y0: Any,
    scale: Sequence[Scalar],
    timeline: Timeline,
    watch: Watch,
    refine: Scalar,
    care: Care | None = None,
) -> Output:
    """Integrate one block of patients over a timeline.

    p, y0: structs of `[patient]` arrays of one dtype; scale: per column, what an amount is multiplied by; refine: steps are
    multiplied by this (accuracy and rate bucket of the block); care: where the plan has a clinic.
    """
    flat0 = tuple(jax.tree.leaves(y0))
    dtype = flat0[0].dtype
    timeline, watch, care = jax.tree.map(lambda a: _cast(a, dtype), (timeline, watch, care))
    observables = plan.observables
    clinic = plan.clinic
    varying = clinic is not None and bool(clinic.varying)

    def patient(knot: Any) -> Any:
        """Parameters while those that vary have their values of one knot."""
        if clinic is None or care is None or not clinic.varying:
            return p
        leaves = list(jax.tree.leaves(p))
        for k, leaf in enumerate(clinic.varying):
            leaves[leaf] = care.course[k][knot]
        return struct.unflatten(model.Parameters, leaves)

    def sees(visit: Any) -> Any:
        assert care is not None
        return jnp.where(visit >= 0, care.factor[jnp.maximum(visit, 0)], 1.0)

    def segment(carry: Any, part: Any) -> tuple[Any, Any]:
        flat, reduced, before, memory, past = carry
        line, jumped, inside, pick, at = part
        if plan.each:
            flat = tuple(jnp.where(line.reset > 0.0, first, now) for first, now in zip(flat0, flat, strict=True))
        p = patient(at.knot if care is not None else None)
        into = pieces.targets(model, plan, p, pieces.scales(model, plan.columns, p) if varying else scale)
        u = Inputs({key: line.phase[key] for key in plan.phases}, line.era)
        dose = line.dose
        if clinic is not None and care is not None:
            some = clinic.own and len(care.taken) > 0  # an arm that gives nothing has no administrations
            taken = care.taken[jnp.maximum(at.slot, 0)] if some else ()
            dose, given = pieces.give(model, plan, care.rule, memory, line.dose, taken, p)
            here = at.slot >= 0
            dose = [jnp.where(here, d, 0.0) for d in dose]
            memory = jax.tree.map(lambda new, old: jnp.where(here, new, old), given, memory)
        flat = pieces.inject(model, into, dose, flat)
        rates = pieces.infuse(into, line.rate) if plan.infusions else {}
        steps = counted(line.steps, refine)
        h = line.length / jnp.maximum(steps, 1).astype(dtype)
        exact = pieces.exact(model, plan, p, u, rates, h)

        def derivative(t: Scalar, flat: Sequence[Any]) -> tuple[Any, ...]:
            return pieces.derivative(model, t, flat, p, u, rates)

        def after(since: Scalar, flat: Sequence[Any], past: Any, side: Any) -> tuple[Any, ...]:
            seen = delayed.inputs(model, u, p, past, since, side)
            return pieces.derivative(model, line.start + since, flat, p, seen, rates)

        def slopes(t: Scalar, flat: Sequence[Any], past: Any, side: float) -> Any:
            """At a bound, from which the past counts its days."""
            seen = delayed.inputs(model, u, p, past, jnp.zeros((), dtype), side)
            return pieces.slopes(model, plan, t, flat, p, seen, rates)

        # Nothing jumps at most bounds: the values and slopes there are those at which the segment before ended.
        begin = (
            jax.lax.cond(jumped, lambda: slopes(line.start, flat, past, delayed.NEAR), lambda: before)
            if plan.reductions
            else before
        )
        if model.delays is not None:
            assert isinstance(plan.stepper, FixedSteps)
            flat, past = delayed.cross(plan.stepper, after, past, flat, line.length, steps, exact)
        else:
            flat = cross(plan.stepper, derivative, flat, line.start, line.length, steps, exact)
        day = line.start + line.length
        end = before
        values: Any = ()
        visit = None
        if plan.reductions:
            end = slopes(day, flat, past, -delayed.NEAR)
            values = end[0]
        elif plan.save or care is not None:
            values = pieces.see(model, plan, flat, p)
        row: Any = ()
        if care is not None:
            factor = sees(at.visit)
            visit = pieces.look(plan, care.rule, memory, values, factor)
        if plan.reductions:
            seen = Part(line.start, line.length, dose, line.rate, inside, pick)
            reduced = pieces.reduce(plan, reduced, seen, begin, end, watch.numbers, scale, visit)
        if care is not None:
            acts = jnp.where((at.visit >= 0) & (at.acts >= 0), 1.0, 0.0)
            memory, row = pieces.attend(plan, care.rule, memory, values, factor, day, acts)
        kept: Mapping[str, Any] = dict(zip(observables, values, strict=True)) if values else {}
        return (flat, reduced, end, memory, past), (tuple(kept[name] for name in plan.save), row)

    p0 = patient(care.knot[0] if care is not None else None)
    at0 = pieces.see(model, plan, flat0, p0)
    memory: Any = ()
    row0: Any = ()
    visit0 = None
    if care is not None:
        factor0 = sees(care.visit[0])
        memory, row0 = pieces.admit(plan, care.rule, at0, factor0)
        visit0 = pieces.look(plan, care.rule, memory, at0, factor0)
    start = pieces.begin(plan, at0, 0.0 * flat0[0], watch.first, watch.numbers, visit0)
    parts = (
        timeline._replace(position=jnp.zeros_like(timeline.start)),
        jnp.ones(len(timeline.start), bool) if plan.each else fresh(timeline, care),
        jnp.moveaxis(watch.inside, 1, 0),
        jnp.moveaxis(watch.pick, 1, 0),
        _Along(care.visit[1:], care.acts[1:], care.slot, care.knot) if care is not None else (),
    )
    body = jax.checkpoint(segment) if isinstance(plan.stepper, FixedSteps) and plan.stepper.most else segment
    before = (at0, jax.tree.map(jnp.zeros_like, at0)) if plan.reductions else ()
    past0 = delayed.begin(plan.past, flat0) if model.delays is not None else ()
    (flat, reduced, _, memory, _), (kept, rows) = jax.lax.scan(body, (flat0, start, before, memory, past0), parts)
    seen0 = dict(zip(observables, at0, strict=True))
    saved = {name: jnp.concatenate([seen0[name][None], kept[i]]) for i, name in enumerate(plan.save)}
    finite = jnp.isfinite(sum(flat[1:], flat[0]))
    ledger = tuple(jnp.concatenate([first[None], later]) for first, later in zip(row0, rows, strict=True))
    endpoints = pieces.finish(plan, reduced, watch.window, watch.numbers, memory if care is not None else None)
    return Output(endpoints, saved, pieces.state(model, flat), finite, ledger)


class _Along(NamedTuple):
    """What a segment needs of `Care`: visit and acts of its end."""

    visit: Any
    acts: Any
    slot: Any
    knot: Any


def fresh(timeline: Timeline, care: Care | None = None) -> Any:
    """Segments at whose start something jumps: a dose, a rate, a phase, a parameter (`[segment]` booleans; the first always)."""
    switches = [*timeline.rate.T, *timeline.phase.values(), timeline.era, *([care.knot] if care is not None else [])]
    changed = sum(((row[1:] != row[:-1]) for row in switches), jnp.zeros(len(timeline.start) - 1, bool))
    return jnp.any(timeline.dose != 0, axis=1) | jnp.concatenate([jnp.ones(1, bool), changed])


def _cast(a: Any, dtype: Any) -> Any:
    a = jnp.asarray(a)
    return a if jnp.issubdtype(a.dtype, jnp.integer) else a.astype(dtype)
