"""Derivatives of every output with respect to every factor, row by row: by tangents, one run for each factor, or by the adjoint,
one run for each output.

A tangent of a factor moves parameters, the steady state that follows them (and the parameter that a cohort's count is solved
for), or doses; all endpoints and all saved days come of the same run. A run back has all factors of one output.
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
from thrombojax.sensitivity.problem import Output, Setup
from thrombojax.sensitivity.simulate import Moves, Rows, patients, payload
from thrombojax.solve import engine, gradient, tangent
from thrombojax.solve.pieces import Plan
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.ways import MACHINES, Moving
from thrombojax.study import sweep as sweeps
from thrombojax.study.plan import Cell

SMOOTH = ("nadir", "peak", "auc", "mean", "fraction_in_band", "value_on_day", "cumulative_dose")
"""Reducers whose value moves with the trajectory: the others count, or jump."""

BLOCK = 64
"""Rows whose steady states are differentiated at once."""
PULL = 2
"""Runs of the tangent kernel that one run back costs, about."""


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


def tangents(given: Setup, follows: list[Moves], rows: Rows, way: str = "") -> Tangents:
    """Outputs and their derivatives with respect to the factors' values.

    way: "forward", one kernel run for each factor, or "back", one for each output with a derivative; else the cheaper of them in
    each arm. Arms in which doses differ from row to row go forward: the way back has of doses what they share.
    """
    plan, n, k = given.plan, rows.values.shape[1], given.space.k
    dtype = engine.dtype_of(plan.study.head.precision)
    people = patients(given, rows)
    cohort = population.prepare(people, plan.model)
    tableau = method(plan.model)
    refined = engine.buckets(plan.model, cohort.rate, tableau) * engine.refinement(
        plan.model, plan.columns, plan.study.head.accuracy
    )
    factor = np.where(cohort.status == engine.OK, refined, 0)
    smooth, steady = differentiable(given), _Steady(given, people)
    ends, saved, by_ends, by_saved = [], [], [], []
    failed = 0
    for a, (shared, own) in enumerate(zip(sweeps.schedules(plan, cohort, plan.cells), follows, strict=True)):
        line, dots = _own(given, plan.cells[a], shared, own, cohort, rows.values)
        mine = [o for o, good in zip(given.outputs, smooth, strict=True) if o.arm == a and good]
        back = not line.timeline.each and (way or ("back" if len(mine) * PULL < k else "forward")) == "back"
        keep = np.asarray([line.bound(day) for day in plan.study.save_days], np.int32)
        moved = {e.name: np.full((k, n), np.nan, dtype) for e in plan.endpoints}
        course = {name: np.full((k, len(keep), n), np.nan, dtype) for name in plan.observables}
        if back:
            y, kept = _back(given, cohort, line, steady, mine, moved, course)
        else:
            y, kept = _forward(given, cohort, line, dots, steady, factor, keep, moved, course)
        ends += list(y.values())
        saved += list(kept.values())
        by_ends += list(moved.values())
        by_saved += [np.moveaxis(c, 0, 1) for c in course.values()]
        failed += int(np.count_nonzero(factor == 0))
    y_all = np.concatenate([np.reshape(ends, (-1, n)), *saved]).astype(float)
    by_all = np.concatenate([np.reshape(by_ends, (-1, k, n)), *by_saved]).astype(float)
    by_all[~smooth] = np.nan
    return Tangents(y_all, by_all, failed)


def _forward(
    given: Setup, cohort: engine.Cohort, line: Schedule, dots: dict[int, Dots], steady: "_Steady", factor: np.ndarray,
    keep: np.ndarray, moved: dict[str, np.ndarray], course: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """One arm's endpoints and saved values; writes how they move, one run of the tangent kernel for each factor."""
    plan, n, precision = given.plan, cohort.n, given.plan.study.head.precision
    dtype, time = engine.dtype_of(precision), line.timeline
    leaves, states = steady.along
    wrt = tuple(sorted({leaf for some in leaves for leaf in some}))
    machine = MACHINES[gradient.choose("auto", plan.model, precision)][0]
    reductions = tuple(engine.reduction(e, line.columns) for e in plan.endpoints)
    what = Plan(line.columns, reductions, plan.observables, tuple(time.phase), line.infusions,
                FixedSteps(0, method(plan.model)), None, time.each)  # fmt: skip
    made = tangent.kernel(machine, plan.model, what, precision, wrt)
    plain = machine.kernel(plan.model, what, precision)
    watch = engine.watched(plan.endpoints, line)
    y = {e.name: np.full(n, np.nan, dtype) for e in plan.endpoints}
    kept = {name: np.full((len(keep), n), np.nan, dtype) for name in plan.observables}
    still = Dots(*(np.zeros_like(a) for a in (time.start, time.length, time.dose, time.rate)))
    for level in np.unique(factor[factor > 0]):
        mine = np.flatnonzero(factor == level)
        common = (cohort.p, cohort.y0, time, watch, float(level), keep, mine)
        finite = machine.run(plain, what, *common, y, kept)
        for values in (*y.values(), *kept.values()):
            values[..., mine[~finite]] = np.nan
        for i in range(given.space.k):
            parameters = [np.asarray(leaves[i].get(leaf, np.zeros(n))) for leaf in wrt]
            motion = Moving(parameters, states[i], *dots.get(i, still))
            one = {name: moved[name][i] for name in moved}
            tangent.run(machine, made, what, *common, wrt, motion, one, {name: course[name][i] for name in course})
    return y, kept


def _back(
    given: Setup, cohort: engine.Cohort, line: Schedule, steady: "_Steady", outputs: list[Output],
    moved: dict[str, np.ndarray], course: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """The same, one run back for each output: rows do not know of each other, so that ones pull the derivatives of all."""
    plan, head = given.plan, given.plan.study.head
    names, leaves = struct.names(plan.model.Parameters), jax.tree.leaves(cohort.p)

    def solved(parameters: Any, y0: Any) -> Any:
        return gradient.solve(
            plan.model, cohort, line, endpoints=plan.endpoints, save=plan.observables, days=plan.study.save_days,
            precision=head.precision, accuracy=head.accuracy, parameters=parameters, y0=y0,
        )  # fmt: skip

    with jax.enable_x64(True):
        (y, kept), pull = jax.vjp(solved, {names[i]: leaves[i] for i in steady.moving}, cohort.y0)
        for o in outputs:
            ends, saved = jax.tree.map(np.zeros_like, (y, kept))
            day = None if o.day is None else plan.study.save_days.index(o.day)
            (ends[o.name] if day is None else saved[o.name][day])[...] = 1.0
            by_leaf, by_state = pull((ends, saved))
            by_leaves = np.asarray([by_leaf[names[i]] for i in steady.moving]).reshape(-1, cohort.n)
            found = steady.back(by_leaves, np.stack(jax.tree.leaves(by_state)))
            value = np.asarray(y[o.name] if day is None else kept[o.name][day])
            into = moved[o.name] if day is None else course[o.name][:, day]
            into[...] = np.where(np.isfinite(value), found, np.nan)
    # JAX returns dictionaries in the order of their keys
    return {name: np.asarray(y[name]) for name in moved}, {name: np.asarray(kept[name]) for name in course}


class _Steady:
    """How parameters and first states of rows follow the factors, in either direction. moving: leaves that do."""

    def __init__(self, given: Setup, people: population.Patients):
        model, found = given.plan.model, population.values(people, given.plan.model)
        names = struct.names(model.Parameters)
        anchor = people.cohort.anchor if people.cohort is not None and COUNT in found else None
        columns = [*names, *([COUNT] if anchor is not None else [])]
        moving = [names.index(leaf) for leaf in given.leaves if leaf and leaf != COUNT]
        self.moving = tuple(moving + ([names.index(anchor.unknown)] if anchor is not None else []))
        self.at = np.stack([np.asarray(found[name], float) for name in columns])
        self.directions = np.asarray([[float(name == leaf) for name in columns] for leaf in given.leaves])
        key = (anchor.unknown, anchor.start) if anchor is not None else None
        self.ways = _motion(model, key, self.moving)

    @functools.cached_property
    def along(self) -> tuple[list[dict[int, np.ndarray]], list[np.ndarray]]:
        """Per factor: how parameters move (place of the leaf -> `[row]`), and first states (`[state, row]`)."""
        found = [self._rows(self.ways.along, (), direction) for direction in self.directions]
        leaves = [{i: v for i, v in zip(self.moving, parameters, strict=True) if np.any(v)} for parameters, _ in found]
        return leaves, [states for _, states in found]

    def back(self, leaves: np.ndarray, states: np.ndarray) -> np.ndarray:
        """By each factor, `[factor, row]`, from what is by moving leaves (`[leaf, row]`) and by first states (`[state, row]`)."""
        return np.asarray(self.directions @ self._rows(self.ways.back, (leaves, states)))

    def _rows(self, run: Any, arrays: tuple[np.ndarray, ...], *whole: Any) -> Any:
        """Rows in blocks of one shape: these programs take longer to compile than to run."""
        n, parts = self.at.shape[1], []
        with jax.enable_x64(True):
            for start in range(0, n, BLOCK):
                rows = np.resize(np.arange(start, min(start + BLOCK, n)), BLOCK)
                mine = (np.asarray(a, float)[:, rows] for a in (self.at, *arrays))
                parts.append(jax.tree.map(np.asarray, run(*mine, *whole)))
        return jax.tree.map(lambda *v: np.concatenate(v, axis=1)[:, :n], *parts)


class _Ways(NamedTuple):
    """Jitted. along: leaves `[leaf, row]` and a direction `[leaf]` -> how moving leaves and first states go along it; back:
    leaves, and what is by moving leaves and by first states -> what is by leaves."""

    along: Any
    back: Any


@functools.lru_cache(maxsize=16)
def _motion(model: Model, anchor: tuple[str, tuple[float, float]] | None, moving: tuple[int, ...]) -> _Ways:
    run = population.steady_states(model, anchor)

    def first(at: Any) -> Any:
        p, y0, *_ = run(list(at))
        own, shape = jax.tree.leaves(p), jnp.zeros_like(at[0])
        leaves = jnp.stack([own[i] + shape for i in moving]) if moving else jnp.zeros((0, *shape.shape))
        return leaves, jnp.stack([v + shape for v in jax.tree.leaves(y0)])

    def along(at: Any, direction: Any) -> Any:
        return jax.jvp(first, (at,), (jnp.broadcast_to(direction[:, None], at.shape),))[1]

    def back(at: Any, leaves: Any, states: Any) -> Any:
        return jax.vjp(first, at)[1]((leaves, states))[0]

    return _Ways(jax.jit(along), jax.jit(back))


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
