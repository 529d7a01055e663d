"""Derivatives of every output with respect to every factor, row by row, by the tangent kernel: one run for each factor.

A tangent of a factor moves parameters, the steady state that follows them (and the parameter that a cohort's count is solved
for), or amounts of doses; all endpoints and all saved days come of the same run.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thrombojax.dosing.timeline import Schedule
from thrombojax.errors import InputError, Problem
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients import population
from thrombojax.patients.cohort import COUNT
from thrombojax.sensitivity import courses
from thrombojax.sensitivity.courses import Dots
from thrombojax.sensitivity.problem import Setup
from thrombojax.sensitivity.simulate import Moves, Rows, patients, payload
from thrombojax.solve import engine, gradient, tangent
from thrombojax.solve.pieces import Plan
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.study import sweep as sweeps
from thrombojax.study.plan import Cell

SMOOTH = ("nadir", "peak", "auc", "mean", "fraction_in_band", "value_on_day", "cumulative_dose")
"""Reducers whose value moves with the trajectory: the others count, or jump."""


BLOCK = 64
"""Rows whose steady states are differentiated at once."""


class Tangents(NamedTuple):
    """y: `[output, row]`; by: `[output, factor, row]`, NaN for outputs without a derivative and rows without a result."""

    y: Float[np.ndarray, "output row"]
    by: Float[np.ndarray, "output factor row"]
    failed: int


def differentiable(given: Setup) -> np.ndarray:
    """Which outputs have a derivative, `[output]`."""
    kinds = {e.name: e.reducer in SMOOTH for e in given.plan.endpoints}
    return np.asarray([o.day is not None or kinds[o.name] for o in given.outputs])


def check(given: Setup) -> None:
    """Raises InputError where no derivative exists."""
    where = given.study.at("sensitivity", "methods")
    if given.plan.clinic is not None:
        message = "has dgsm, but arms follow counts or are observed with errors: what jumps has no derivative; allowed: morris"
        raise InputError(Problem(where, message))
    stepped = [f.name for f in given.space.factors if f.distribution.kind == "whole"]
    if stepped:
        message = (
            f"has dgsm, but {', '.join(stepped)} goes in whole numbers: what jumps has no derivative; allowed: morris"
        )
        raise InputError(Problem(where, message))
    if not differentiable(given).any():
        allowed = ", ".join(SMOOTH)
        raise InputError(Problem(where, f"has dgsm, but no endpoint has a derivative; allowed reducers: {allowed}"))


def tangents(given: Setup, follows: list[Moves], rows: Rows) -> Tangents:
    """Outputs and their derivatives with respect to the factors' values, one kernel run per arm and factor."""
    plan, n, k = given.plan, rows.values.shape[1], given.space.k
    precision = plan.study.head.precision
    dtype = engine.dtype_of(precision)
    people = patients(given, rows)
    cohort = population.prepare(people, plan.model)
    leaves, states = _along(given, people)
    wrt = tuple(sorted({leaf for moved in leaves for leaf in moved}))
    machine = gradient.MACHINES[gradient.choose("auto", plan.model, precision)][0]
    tableau = method(plan.model)
    refined = engine.buckets(plan.model, cohort.rate, tableau) * engine.refinement(plan.study.head.accuracy)
    factor = np.where(cohort.status == engine.OK, refined, 0)
    ends, saved, by_ends, by_saved = [], [], [], []
    failed = 0
    for cell, shared, own in zip(plan.cells, sweeps.schedules(plan, cohort, plan.cells), follows, strict=True):
        line, dots = _own(given, cell, shared, own, cohort, rows.values)
        time = line.timeline
        reductions = tuple(engine.reduction(e, line.columns) for e in plan.endpoints)
        what = Plan(line.columns, reductions, plan.observables, tuple(time.phase), line.infusions,
                    FixedSteps(0, tableau), None, time.each)  # fmt: skip
        made = tangent.kernel(machine, plan.model, what, precision, wrt)
        plain = machine.kernel(plan.model, what, precision)
        keep = np.asarray([line.bound(day) for day in plan.study.save_days], np.int32)
        watch = engine.watched(plan.endpoints, line)
        y = {e.name: np.full(n, np.nan, dtype) for e in plan.endpoints}
        kept = {name: np.full((len(keep), n), np.nan, dtype) for name in plan.observables}
        moved = {e.name: np.full((k, n), np.nan, dtype) for e in plan.endpoints}
        course = {name: np.full((k, len(keep), n), np.nan, dtype) for name in plan.observables}
        still = Dots(*(np.zeros_like(a) for a in (time.start, time.length, time.dose, time.rate)))
        for level in np.unique(factor[factor > 0]):
            mine = np.flatnonzero(factor == level)
            common = (cohort.p, cohort.y0, time, watch, float(level), keep, mine)
            finite = machine.run(plain, what, *common, y, kept)
            for values in (*y.values(), *kept.values()):
                values[..., mine[~finite]] = np.nan
            for i in range(k):
                parameters = [np.asarray(leaves[i].get(leaf, np.zeros(n))) for leaf in wrt]
                motion = gradient.Moving(parameters, states[i], *dots.get(i, still))
                one = {name: moved[name][i] for name in moved}
                tangent.run(machine, made, what, *common, wrt, motion, one, {name: course[name][i] for name in course})
        ends += list(y.values())
        saved += list(kept.values())
        by_ends += list(moved.values())
        by_saved += [np.moveaxis(c, 0, 1) for c in course.values()]
        failed += int(np.count_nonzero(factor == 0))
    y_all = np.concatenate([np.reshape(ends, (-1, n)), *saved]).astype(float)
    by_all = np.concatenate([np.reshape(by_ends, (-1, k, n)), *by_saved]).astype(float)
    by_all[~differentiable(given)] = np.nan
    return Tangents(y_all, by_all, failed)


def _along(given: Setup, people: population.Patients) -> tuple[list[dict[int, np.ndarray]], list[np.ndarray]]:
    """Per factor: how parameters move (place of the leaf -> `[row]`), and first states (`[state, row]`)."""
    model, n = given.plan.model, people.n
    found = population.values(people, model)
    names = struct.names(model.Parameters)
    anchor = people.cohort.anchor if people.cohort is not None and COUNT in found else None
    columns = [*names, *([COUNT] if anchor is not None else [])]
    moving = [names.index(leaf) for leaf in given.leaves if leaf and leaf != COUNT]
    moving += [names.index(anchor.unknown)] if anchor is not None else []
    key = (anchor.unknown, anchor.start) if anchor is not None else None
    with jax.enable_x64(True):
        at = np.stack([np.asarray(found[name], float) for name in columns])
        along = np.asarray([[float(name == leaf) for name in columns] for leaf in given.leaves])
        run = _motion(model, key, tuple(moving))
        parts = []
        for start in range(0, n, BLOCK):  # padded to one shape: this program takes longer to compile than to run
            rows = np.resize(np.arange(start, min(start + BLOCK, n)), BLOCK)
            parts.append([jax.tree.map(np.asarray, run(at[:, rows], direction)) for direction in along])
    leaves, states = [], []
    for own in zip(*parts, strict=True):
        parameters, first = (np.concatenate(part, axis=1)[:, :n] for part in zip(*own, strict=True))
        leaves.append({i: v for i, v in zip(moving, parameters, strict=True) if np.any(v)})
        states.append(first)
    return leaves, states


@functools.lru_cache(maxsize=16)
def _motion(model: Model, anchor: tuple[str, tuple[float, float]] | None, moving: tuple[int, ...]) -> Any:
    """Jitted: leaves `[leaf, row]` and a direction `[leaf]` -> how the moving leaves and the first states go along it."""
    run = population.steady_states(model, anchor)

    def first(at: Any) -> Any:
        p, y0, *_ = run(list(at))
        own, shape = jax.tree.leaves(p), jnp.zeros_like(at[0])
        leaves = jnp.stack([own[i] + shape for i in moving]) if moving else jnp.zeros((0, *shape.shape))
        return leaves, jnp.stack([v + shape for v in jax.tree.leaves(y0)])

    def one(at: Any, direction: Any) -> Any:
        return jax.jvp(first, (at,), (jnp.broadcast_to(direction[:, None], at.shape),))[1]

    return jax.jit(one)


def _own(
    given: Setup, cell: Cell, shared: Schedule, follows: Moves, cohort: engine.Cohort, values: np.ndarray
) -> tuple[Schedule, dict[int, Dots]]:
    """The timeline of the rows, of each its own where doses differ, and how it moves with each such factor."""
    plan = given.plan
    if follows.slots:
        a, p = cell.index[-1], population.shared(plan.model, cohort)
        here = courses.slots(given, a, follows.slots, values)
        along = courses.slopes(given, a, follows.slots, values)
        found = {place: courses.moved(plan, follows.slots, p, here, slope) for place, slope in along.items()}
        return courses.timelines(plan, follows.slots, p, here), found
    if not follows.amounts:
        return shared, {}
    n, time = values.shape[1], shared.timeline

    def wide(a: Any) -> np.ndarray:
        return np.repeat(np.asarray(a)[..., None], n, axis=-1)

    slopes = {place: payload(plan, cell.treatment, slope) for place, slope in follows.amounts.items()}
    dose = wide(time.dose).astype(float)
    for place, by in slopes.items():
        dose += by[..., None] * (values[place] - given.space.nominal[place])
    own = time._replace(
        start=wide(time.start), length=wide(time.length), dose=dose, rate=wide(time.rate), era=wide(time.era),
        phase={key: wide(v) for key, v in time.phase.items()}, steps=wide(time.steps), position=wide(time.position),
        reset=np.zeros((len(time.steps), n)),
    )  # fmt: skip
    still, rate = np.zeros(own.length.shape), np.zeros_like(own.rate)
    return shared._replace(timeline=own), {place: Dots(still, still, wide(by), rate) for place, by in slopes.items()}
