"""The trajectory kernel in JAX: the reference form of the engine, differentiable and composable.

Struct-of-arrays throughout: every state is its own array over patients, so that XLA fuses whole Runge-Kutta stages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.dosing.timeline import Column, Timeline
from thrombojax.endpoints.reducers import REDUCERS, Seen
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Key, Model
from thrombojax.models.struct import Scalar
from thrombojax.solve import linear
from thrombojax.solve.steppers import Exact, FixedSteps, Stepper, cross


class Reduction(NamedTuple):
    """Static part of an endpoint: which reducer, over which observable (or which columns for a dose)."""

    name: str
    reducer: str
    observable: str
    columns: tuple[int, ...]


class Watch(NamedTuple):
    """Traced part of all endpoints: inside, pick `[endpoint, segment]`; first `[endpoint]`; window `[endpoint, 2]`; numbers."""

    inside: Any
    pick: Any
    first: Any
    window: Any
    numbers: tuple[Mapping[str, Any], ...]


class Plan(NamedTuple):
    """Static part of a trajectory: what to compile for. save: observables kept at every bound."""

    columns: tuple[Column, ...]
    reductions: tuple[Reduction, ...]
    save: tuple[str, ...]
    phases: tuple[Key, ...]
    infusions: bool
    stepper: Stepper = FixedSteps()


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
    leaves = struct.names(model.State)
    index = {name: i for i, name in enumerate(leaves)}
    treedef = jax.tree.structure(y0)
    dtype = jax.tree.leaves(y0)[0].dtype
    timeline = jax.tree.map(lambda a: _cast(a, dtype), timeline)
    watch = jax.tree.map(lambda a: _cast(a, dtype), watch)
    observables = tuple(dict.fromkeys([*plan.save, *(r.observable for r in plan.reductions if r.observable)]))
    into = [
        [(index[leaf], fraction(p) * scale[c]) for leaf, fraction in model.entries[column.key].into.items()]
        for c, column in enumerate(plan.columns)
    ]

    def see(flat: Sequence[Any]) -> tuple[Any, ...]:
        seen = struct.as_dict(model.observe(jax.tree.unflatten(treedef, list(flat)), p))
        return tuple(seen[name] for name in observables)

    flat0 = tuple(jax.tree.leaves(y0))

    def segment(carry: Any, part: Any) -> tuple[Any, Any]:
        flat, reduced, before = carry
        line, fresh, inside, pick = part
        u = Inputs({key: line.phase[key] for key in plan.phases}, line.era)
        flat = list(flat)
        for c, targets in enumerate(into):
            for i, factor in targets:
                flat[i] = flat[i] + line.dose[c] * factor
        rates: dict[int, Scalar] = {}
        if plan.infusions:
            for c, targets in enumerate(into):
                for i, factor in targets:
                    rates[i] = rates.get(i, 0.0) + line.rate[c] * factor
        steps = line.steps * refine
        exact = _linear(model, plan, p, u, index, rates, line.length / jnp.maximum(steps, 1).astype(dtype))

        def derivative(t: Scalar, flat: Sequence[Any]) -> tuple[Any, ...]:
            d = jax.tree.leaves(model.rhs(t, jax.tree.unflatten(treedef, list(flat)), p, u))
            return tuple(d[i] + rates[i] if i in rates else d[i] for i in range(len(d)))

        def slopes(t: Scalar, flat: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            return jax.jvp(see, (tuple(flat),), (derivative(t, flat),))

        # Nothing jumps at most bounds: the values and slopes there are those at which the segment before ended.
        begin = jax.lax.cond(fresh, lambda: slopes(line.start, flat), lambda: before) if plan.reductions else before
        flat = cross(plan.stepper, derivative, tuple(flat), line.start, line.length, steps, exact)
        end = before
        if plan.reductions:
            end = slopes(line.start + line.length, flat)
            reduced = tuple(
                _reduce(r, reduced[i], line, begin, end, observables, inside[i], pick[i], watch.numbers[i], scale)
                for i, r in enumerate(plan.reductions)
            )
            kept = dict(zip(observables, end[0], strict=True))
        else:
            kept = dict(zip(observables, see(flat), strict=True)) if plan.save else {}
        return (flat, reduced, end), tuple(kept[name] for name in plan.save)

    at0 = see(flat0)
    seen0 = dict(zip(observables, at0, strict=True))
    blank = 0.0 * flat0[0]
    start = tuple(
        REDUCERS[r.reducer].init(seen0.get(r.observable, blank), watch.first[i], watch.numbers[i])
        for i, r in enumerate(plan.reductions)
    )
    parts = (timeline._replace(position=jnp.zeros_like(timeline.start)), _fresh(timeline), watch.inside.T, watch.pick.T)
    body = jax.checkpoint(segment) if isinstance(plan.stepper, FixedSteps) and plan.stepper.most else segment
    before = (at0, jax.tree.map(jnp.zeros_like, at0)) if plan.reductions else ()
    (flat, reduced, _), kept = jax.lax.scan(body, (flat0, start, before), parts)
    endpoints = {
        r.name: REDUCERS[r.reducer].finish(reduced[i], (watch.window[i, 0], watch.window[i, 1]), watch.numbers[i])
        for i, r in enumerate(plan.reductions)
    }
    saved = {name: jnp.concatenate([seen0[name][None], kept[i]]) for i, name in enumerate(plan.save)}
    finite = jnp.isfinite(sum(flat[1:], flat[0]))
    return Output(endpoints, saved, jax.tree.unflatten(treedef, list(flat)), finite)


def _fresh(timeline: Timeline) -> Any:
    """Segments at whose start something jumps: a dose, a rate, a phase (`[segment]` booleans; the first always)."""
    switches = [*timeline.rate.T, *timeline.phase.values(), timeline.era]
    changed = sum(((row[1:] != row[:-1]) for row in switches), jnp.zeros(len(timeline.start) - 1, bool))
    return jnp.any(timeline.dose != 0, axis=1) | jnp.concatenate([jnp.ones(1, bool), changed])


def _cast(a: Any, dtype: Any) -> Any:
    a = jnp.asarray(a)
    return a if jnp.issubdtype(a.dtype, jnp.integer) else a.astype(dtype)


def _linear(model: Model, plan: Plan, p: Any, u: Inputs, index: Mapping[str, int], rates: Mapping[int, Scalar],
            h: Scalar) -> Exact | None:  # fmt: skip
    """Half-step propagator of the linear compartments; with their infusions."""
    if model.linear_block is None or not isinstance(plan.stepper, FixedSteps):
        return None
    block = model.linear_block(p, u)
    states = tuple(index[name] for name in block.states)
    inputs = {k: rates[i] for k, i in enumerate(states) if i in rates}
    return Exact(states, linear.increment(linear.generator(block, inputs), 0.5 * h))


def _reduce(r: Reduction, carry: Any, line: Timeline, begin: Any, end: Any, observables: tuple[str, ...], inside: Any,
            pick: Any, numbers: Any, scale: Sequence[Scalar]) -> Any:  # fmt: skip
    if REDUCERS[r.reducer].kind == "dose":
        given = sum((scale[c] * (line.dose[c] + line.rate[c] * line.length) for c in r.columns), 0.0 * carry[0])
        v0 = d0 = v1 = d1 = given
    else:
        i = observables.index(r.observable)
        v0, d0, v1, d1 = begin[0][i], begin[1][i], end[0][i], end[1][i]
        given = 0.0
    seen = Seen(line.start, line.length, v0, d0, v1, d1, inside, pick, given)
    return REDUCERS[r.reducer].update(carry, seen, numbers)
