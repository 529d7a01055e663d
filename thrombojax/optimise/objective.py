"""Objective and constraints of a dosing problem as functions that JAX differentiates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.codegen.build import NoCompiler
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.administer import columns
from thrombojax.dosing.regimen import Dose, Regimen
from thrombojax.dosing.timeline import Schedule, Slots, grid, schedule
from thrombojax.endpoints import Endpoint
from thrombojax.errors import InputError
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.optimise import own, risk, smooth
from thrombojax.optimise.problem import Course, Dosing, Goal, Limit, factors
from thrombojax.optimise.run import Run, runner
from thrombojax.optimise.starts import Several
from thrombojax.patients.population import shared
from thrombojax.solve import engine
from thrombojax.solve.engine import Cohort
from thrombojax.solve.steppers import method

ENOUGH = 0.98
"""Share of patients who must have a result."""

Values = Callable[..., Mapping[str, Any]]
"""(x, rows) -> smooth endpoints by name, `[patient]`; rows: the patients who are asked for, perhaps traced; None: all."""


@dataclass(frozen=True, eq=False)
class Objective:
    """Risk measures over smooth endpoints. patients: how many there are; beside: how many plans -> all of them at once, or None
    where that cannot be."""

    of: Values
    goals: Sequence[Goal]
    limits: Sequence[Limit]
    smoothing: float
    patients: int
    beside: Callable[[int], Several | None] = lambda plans: None

    def __call__(self, x: Any, rows: Any = None) -> tuple[Any, Any]:
        """x `[k]` -> (what is minimised, excess of each constraint over its scale `[constraint]`: 0 or less where it holds), of
        all patients or of `rows`."""
        return _weighed(self.goals, self.limits, self.smoothing, self.of(x, rows))


def objective(problem: Dosing) -> Objective:
    """What is minimised, and its constraints."""
    wrong = smooth.problems(problem.used, problem.where)
    if wrong:
        raise InputError(*wrong)
    ready, said = _steadied(problem), (problem.goals, problem.limits, problem.smoothing)
    return Objective(values(ready), *said, problem.people.cohort.n, lambda plans: beside(ready, plans))


def beside(problem: Dosing, plans: int) -> Several | None:
    """Several plans in one launch, each on rows of its own; None where days are decided, or no kernel runs."""
    of, n = problem.course, problem.people.cohort.n
    if of.moves or problem.backend == "xla":
        return None
    people, used = problem.people, problem.used
    rows = own.own(
        people.model, _tiled(people.cohort, plans), of, problem.days, used, smoothing=problem.smoothing,
        precision=problem.precision, accuracy=problem.accuracy, backend=problem.backend,
        factor={day: np.tile(f, plans) for day, f in people.factor.items()},
    )  # fmt: skip

    def found(x: Any) -> tuple[Any, Any]:
        seen = {name: v.reshape(plans, n) for name, v in rows.smooth(jnp.repeat(x, n, axis=1)).items()}
        each = [
            _weighed(problem.goals, problem.limits, problem.smoothing, {name: v[i] for name, v in seen.items()})
            for i in range(plans)
        ]
        return jnp.stack([value for value, _ in each]), jnp.stack([excess for _, excess in each], axis=1)

    try:
        jax.eval_shape(found, jnp.zeros((of.decisions.k, plans)))
    except (NoCompiler, CannotTranslate):
        return None  # who asks for one plan at a time is told so, and gets XLA
    return found


def _tiled(cohort: Cohort, times: int) -> Cohort:
    """The patients so many times over."""
    p, y0 = jax.tree.map(lambda a: np.tile(np.broadcast_to(a, (cohort.n,)), times), (cohort.p, cohort.y0))
    return Cohort(p, y0, np.tile(cohort.rate, times), np.tile(cohort.status, times))


def _weighed(goals: Sequence[Goal], limits: Sequence[Limit], smoothing: float, seen: Mapping[str, Any]) -> Any:
    """(objective, excesses) of smooth endpoints, `[patient]` each."""
    found = {name: _filled(v) for name, v in seen.items()}
    total = sum(goal.weight * _measured(goal, found[goal.endpoint]) for goal in goals)
    over = [_excess(limit, found[limit.endpoint], smoothing) for limit in limits]
    return total, jnp.stack(over) if over else jnp.zeros(0)


def _filled(value: Any) -> Any:
    """A patient without a result counts as the median one, without a gradient; NaN where fewer than ENOUGH have one."""
    good = jnp.isfinite(value)
    filled = jnp.where(good, value, jax.lax.stop_gradient(jnp.nanmedian(value)))
    return jnp.where(jnp.mean(good.astype(filled.dtype)) >= ENOUGH, filled, jnp.nan)


def _measured(goal: Goal, value: Any) -> Any:
    loss = goal.sign * value
    return jnp.mean(loss) if goal.level is None else risk.cvar(loss, goal.level)


def _excess(limit: Limit, value: Any, smoothing: float) -> Any:
    if limit.probability is not None:
        width = 0.5 * smoothing * (abs(limit.bound) or 1.0)
        return limit.probability + limit.margin - risk.chance(value, limit.bound, width, limit.least)
    sign = 1.0 if limit.least else -1.0
    return (sign * (limit.bound - jnp.mean(value)) + limit.margin) / limit.scale


def values(problem: Dosing) -> Values:
    """Smooth endpoints; traceable, in both modes."""
    of, people, used = problem.course, problem.people, problem.used
    model, cohort = people.model, people.cohort
    days, line = _looked(problem)
    run = _run(problem, smooth.observables(used), days)
    weight = np.asarray(struct.as_dict(cohort.p).get(model.weight, np.ones(cohort.n)), float)
    factor = factors(model, of)
    order = np.argsort(of.time0, kind="stable")
    top = np.maximum(of.amount0, of.amount @ np.where(of.decisions.amounts, of.decisions.high, 0.0))
    per_kg = np.array([unit.endswith("/kg") for _, _, unit, _ in of.who])

    def found(x: Any, rows: Any = None) -> dict[str, Any]:
        amounts = (of.amount0 + of.amount @ x) * factor
        whose = slice(None) if rows is None else rows

        def dose(e: Endpoint) -> Any:
            mine = np.array([e.drug in (None, who[0]) for who in of.who])
            mine &= (of.time0 >= e.start) & (of.time0 < e.stop)
            return jnp.sum(amounts[mine & per_kg]) * jnp.asarray(weight)[whose] + jnp.sum(amounts[mine & ~per_kg])

        def boluses(e: Endpoint) -> Any:
            mine = [i for i in order if of.who[i][0] == e.drug and e.start <= of.time0[i] < e.stop]
            return (of.amount0 + of.amount @ x)[np.array(mine, int)] / top[np.array(mine, int)]

        # single precision of a trajectory, the caller's of what is made of it
        saved = {name: v.astype(jnp.result_type(x)) for name, v in run(line(x), rows)[1].items()}
        seen_by = {day: jnp.asarray(f)[whose] for day, f in people.factor.items()}
        seen = smooth.Seen(days, saved, dose, seen_by, problem.smoothing, boluses)
        return {e.name: smooth.value(e, seen) * np.ones(cohort.n if rows is None else len(rows)) for e in used}

    return found


def _run(problem: Dosing, save: Sequence[str], days: np.ndarray) -> Run:
    people, at = problem.people, tuple(days.tolist())
    how: Any = {"backend": problem.backend, "precision": problem.precision, "accuracy": problem.accuracy}
    return runner(people.model, people.cohort, save, at, **how)


def _looked(problem: Dosing) -> tuple[np.ndarray, Callable[[Any], Schedule]]:
    """Days that the smooth endpoints look at, and x -> timeline."""
    days = smooth.keep(problem.used, problem.days)
    people = problem.people
    return days, lines(people.model, people.cohort, problem.course, grid(problem.days, days.tolist()))


def _steadied(problem: Dosing) -> Dosing:
    """With more steps for patients whom their own leave without a result at an end of the bounds."""
    d, people = problem.course.decisions, problem.people
    model, tableau = people.model, method(people.model)
    least = engine.STABLE * tableau.stable * (2.0 if model.classical else 1.0) * model.steps_per_day
    days, line = _looked(problem)
    for _ in range(2):
        run = _run(problem, smooth.observables(problem.used)[:1], days)
        seen = [np.asarray(v) for x in (d.start, d.low, d.high) for v in run(line(x))[1].values()]
        bad = ~np.all([np.isfinite(v).all(axis=0) for v in seen], axis=0)
        if not bad.any():
            break
        cohort = problem.people.cohort
        rate = np.where(bad, engine.AGAIN * np.maximum(cohort.rate, least), cohort.rate)
        problem = replace(problem, people=replace(people, cohort=replace(cohort, rate=rate)))
    return problem


def lines(model: Model, cohort: Cohort, of: Course, fixed: np.ndarray) -> Callable[[Any], Schedule]:
    """x -> timeline. Amounts alone scale what arrives at bounds that stay; times move the bounds."""
    kinds = dict.fromkeys((drug, route, unit) for drug, route, unit, _ in of.who)
    cols = columns(model, [Regimen(tuple(Dose(drug, 1.0, unit, route, (0.0,)) for drug, route, unit in kinds))])
    p = shared(model, cohort)
    factor = factors(model, of)
    at = {(c.key, c.per_kg): k for k, c in enumerate(cols)}
    column = tuple(at[(drug, route), unit.endswith("/kg")] for drug, route, unit, _ in of.who)
    duration = np.array([length for *_, length in of.who])
    infused = tuple(bool(length > 0) for length in duration)

    def slots(amount: Any, time: Any) -> Slots:
        return Slots(time, amount * factor, duration, column, infused)

    if of.moves:
        return lambda x: schedule(model, p, cols, slots(of.amount0 + of.amount @ x, of.time0 + of.time @ x), fixed)
    base = schedule(model, p, cols, slots(of.amount0, of.time0), fixed)
    unit = [schedule(model, p, cols, slots(column_, of.time0), fixed).timeline for column_ in of.amount.T]
    dose, rate = np.stack([u.dose for u in unit]), np.stack([u.rate for u in unit])

    def line(x: Any) -> Schedule:
        now = base.timeline
        moved = now._replace(dose=now.dose + jnp.tensordot(x, dose, 1), rate=now.rate + jnp.tensordot(x, rate, 1))
        return base._replace(timeline=moved)

    return line
