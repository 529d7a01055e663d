"""Derivatives of every output with respect to every factor, row by row, by the tangent kernel: one run for each factor.

A tangent of a factor moves parameters, the steady state that follows them (and the parameter that a cohort's count is solved
for), or amounts of doses; all endpoints and all saved days come of the same run.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from thrombojax.dosing.timeline import Schedule
from thrombojax.errors import InputError, Problem
from thrombojax.models import struct
from thrombojax.patients import population
from thrombojax.patients.cohort import COUNT
from thrombojax.sensitivity.problem import Setup
from thrombojax.sensitivity.simulate import Moves, Rows, patients, payload
from thrombojax.solve import engine, gradient, tangent
from thrombojax.solve.pieces import Plan
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.study import sweep as sweeps

SMOOTH = ("nadir", "peak", "auc", "mean", "fraction_in_band", "value_on_day", "cumulative_dose")
"""Reducers whose value moves with the trajectory: the others count, or jump."""


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
    if not differentiable(given).any():
        allowed = ", ".join(SMOOTH)
        raise InputError(Problem(where, f"has dgsm, but no endpoint has a derivative; allowed reducers: {allowed}"))


def tangents(given: Setup, follows: list[Moves], rows: Rows) -> Tangents:
    """Outputs in float64 and their derivatives with respect to the factors' values, one kernel run per arm and factor."""
    plan, n, k = given.plan, rows.values.shape[1], given.space.k
    people = patients(given, rows)
    cohort = population.prepare(people, plan.model)
    leaves, states = _along(given, people)
    wrt = tuple(sorted({leaf for moved in leaves for leaf in moved}))
    machine = gradient.MACHINES[gradient.choose("auto", plan.model, "f64")][0]
    tableau = method(plan.model)
    refined = engine.buckets(plan.model, cohort.rate, tableau) * engine.refinement(plan.study.head.accuracy)
    factor = np.where(cohort.status == engine.OK, refined, 0)
    ends, saved, by_ends, by_saved = [], [], [], []
    failed = 0
    for cell, shared, own in zip(plan.cells, sweeps.schedules(plan, cohort, plan.cells), follows, strict=True):
        line, moving_dose = _own(given, cell.treatment, shared, own, rows.values)
        time = line.timeline
        reductions = tuple(engine.reduction(e, line.columns) for e in plan.endpoints)
        what = Plan(line.columns, reductions, plan.observables, tuple(time.phase), line.infusions,
                    FixedSteps(0, tableau), None, time.each)  # fmt: skip
        made = tangent.kernel(machine, plan.model, what, "f64", wrt)
        plain = machine.kernel(plan.model, what, "f64")
        keep = np.asarray([shared.bound(day) for day in plan.study.save_days], np.int32)
        keep = np.repeat(keep[:, None], n, axis=1) if time.each else keep
        watch = engine.watched(plan.endpoints, line)
        y = {e.name: np.full(n, np.nan) for e in plan.endpoints}
        kept = {name: np.full((len(keep), n), np.nan) for name in plan.observables}
        moved = {e.name: np.full((k, n), np.nan) for e in plan.endpoints}
        course = {name: np.full((k, len(keep), n), np.nan) for name in plan.observables}
        still = np.zeros(len(time.length))
        for level in np.unique(factor[factor > 0]):
            mine = np.flatnonzero(factor == level)
            common = (cohort.p, cohort.y0, time, watch, float(level), keep, mine)
            finite = machine.run(plain, what, *common, y, kept)
            for values in (*y.values(), *kept.values()):
                values[..., mine[~finite]] = np.nan
            for i in range(k):
                parameters = [np.asarray(leaves[i].get(leaf, np.zeros(n))) for leaf in wrt]
                dose = moving_dose.get(i, np.zeros_like(time.dose))
                motion = gradient.Moving(parameters, states[i], still, still, dose, np.zeros_like(time.rate))
                one = {name: moved[name][i] for name in moved}
                tangent.run(machine, made, what, *common, wrt, motion, one, {name: course[name][i] for name in course})
        ends += list(y.values())
        saved += list(kept.values())
        by_ends += list(moved.values())
        by_saved += [np.moveaxis(c, 0, 1) for c in course.values()]
        failed += int(np.count_nonzero(factor == 0))
    y_all = np.concatenate([np.reshape(ends, (-1, n)), *saved])
    by_all = np.concatenate([np.reshape(by_ends, (-1, k, n)), *by_saved])
    by_all[~differentiable(given)] = np.nan
    return Tangents(y_all, by_all, failed)


def _along(given: Setup, people: population.Patients) -> tuple[list[dict[int, np.ndarray]], list[np.ndarray]]:
    """Per factor: how parameters move (place of the leaf -> `[row]`), and first states (`[state, row]`)."""
    model, n = given.plan.model, people.n
    found = population.values(people, model)
    names = struct.names(model.Parameters)
    anchor = people.cohort.anchor if people.cohort is not None and COUNT in found else None
    run = population.steady_states(model, (anchor.unknown, anchor.start) if anchor is not None else None)
    columns = [*names, *([COUNT] if anchor is not None else [])]
    leaves, states = [], []
    with jax.enable_x64(True):
        at = [np.asarray(found[name], float) for name in columns]
        moving = [names.index(leaf) for leaf in given.leaves if leaf and leaf != COUNT]
        moving += [names.index(anchor.unknown)] if anchor is not None else []

        def first(values: list[Any]) -> Any:
            p, y0, *_ = run(values)
            own = jax.tree.leaves(p)
            return [own[i] for i in moving], jax.tree.leaves(y0)

        for leaf in given.leaves:
            along = [np.ones(n) if name == leaf else np.zeros(n) for name in columns]
            _, (parameters, y0) = jax.jvp(first, (at,), (along,))
            own = zip(moving, parameters, strict=True)
            leaves.append({i: np.asarray(v) for i, v in own if np.any(np.asarray(v))})
            states.append(np.stack([np.asarray(v) + np.zeros(n) for v in y0]))
    return leaves, states


def _own(
    given: Setup, treatment: Any, shared: Schedule, follows: Moves, values: np.ndarray
) -> tuple[Schedule, dict[int, np.ndarray]]:
    """The timeline of the rows, of each its own where amounts differ, and how its doses move with each such factor."""
    if not follows.amounts:
        return shared, {}
    n, time = values.shape[1], shared.timeline

    def wide(a: Any) -> np.ndarray:
        return np.repeat(np.asarray(a)[..., None], n, axis=-1)

    slopes = {place: payload(given.plan, treatment, slope) for place, slope in follows.amounts.items()}
    dose = wide(time.dose).astype(float)
    for place, by in slopes.items():
        dose += by[..., None] * (values[place] - given.space.nominal[place])
    own = time._replace(
        start=wide(time.start), length=wide(time.length), dose=dose, rate=wide(time.rate), era=wide(time.era),
        phase={key: wide(v) for key, v in time.phase.items()}, steps=wide(time.steps), position=wide(time.position),
        reset=np.zeros((len(time.steps), n)),
    )  # fmt: skip
    return shared._replace(timeline=own), {place: wide(by) for place, by in slopes.items()}
