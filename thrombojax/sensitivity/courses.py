"""Arms whose rows have doses at times of their own: a day, an interval, a number of doses, a duration or an infusion's amount
is a factor.

The doses of a row fill slots, straight lines in the factors; all timelines are made at once by the traced arithmetic of
`dosing.timeline`, which knows how bounds and payload move with the slots.
"""

import functools
import itertools
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from thrombojax.dosing.administer import administrations
from thrombojax.dosing.timeline import Column, Schedule, Slots, Timeline, grid, schedule
from thrombojax.endpoints import times
from thrombojax.errors import InputError, Problem
from thrombojax.models.protocol import Model
from thrombojax.patients.population import shared
from thrombojax.sensitivity.problem import Setup
from thrombojax.solve.engine import Cohort
from thrombojax.study import sweep as sweeps
from thrombojax.study.plan import Plan
from thrombojax.study.treatments import holes, treatment

ROWS = 1024
"""Rows whose timelines are made and crossed at once: their arrays are `[segment, row]`, and this is one program's shape."""
NEAR = 0.01
"""Share of the way from a factor's median to its 90th percentile over which slots are differenced: so near that days which may
come in another order have not changed places."""

SAME = 1e-9
"""Share of a distribution's width by which a number is off through rounding."""

Kind = tuple[int, bool]
"""Column of a slot, and whether it is an infusion."""


class Filled(NamedTuple):
    """Slots, or how they move: `[slot]` or `[slot, row]`. What a row does not have is of nothing, at the end of the study."""

    time: np.ndarray
    amount: np.ndarray
    duration: np.ndarray


class _Straight(NamedTuple):
    """Slots with all factors at their medians, and their change per unit of each factor by its place."""

    at: Filled
    by: Mapping[int, Filled]


class Dots(NamedTuple):
    """How a timeline moves: start, length `[segment, row]`, dose, rate `[segment, column, row]`."""

    start: np.ndarray
    length: np.ndarray
    dose: np.ndarray
    rate: np.ndarray


def kinds(given: Setup, a: int, moving: Sequence[str]) -> tuple[Kind, ...]:
    """Slots for the row of an arm that has most of each kind. moving: factors that are more than amounts.

    Raises InputError where a corner of their distributions has no regimen in this study.
    """
    space = given.space
    ends = [space.factors[space.names.index(name)].distribution.at(np.asarray([0.0, 1.0])) for name in moving]
    most: Counter[Kind] = Counter()
    switches: dict[tuple[float, ...], tuple[bool, ...]] = {}
    for corner in itertools.product(*ends):
        at = dict(zip(moving, map(float, corner), strict=True))
        said = ", ".join(f"{name} = {value:.6g}" for name, value in at.items())
        where = given.study.at("sensitivity", "factor", space.names.index(moving[0]))
        try:
            own = _at(given, a, at)
        except InputError as error:
            hint = "allowed: distributions with ends (low, high) that fit, and `whole` for a number of doses"
            raise InputError(*(Problem(where, f"{said}: {p.message}; {hint}") for p in error.problems)) from None
        structure = tuple(value for name, value in at.items() if space.names.index(name) in _whole(given, a))
        if switches.setdefault(structure, own.infused) != own.infused:
            raise InputError(Problem(where, f"{said}: what takes no time is a bolus; allowed: durations more than 0"))
        most |= Counter(_kinds(own))
    return tuple(sorted(most.elements()))


def slots(given: Setup, a: int, of: tuple[Kind, ...], values: Float[np.ndarray, "factor row"]) -> Filled:
    """An arm's doses, `[slot, row]`. Raises InputError for rows of a table beyond the ends of a distribution: what was looked at
    lies between them."""
    for name in holes(given.plan.study, a):
        place = given.space.names.index(name)
        low, high = given.space.factors[place].distribution.at(np.asarray([0.0, 1.0]))
        room = SAME * (high - low)
        beyond = values[place][(values[place] < low - room) | (values[place] > high + room)]
        if beyond.size:
            message = (
                f"{name} is {beyond[0]:g} in a row; allowed in the arm {given.plan.cells[a].arm!r}: {low:g} to {high:g}"
            )
            raise InputError(Problem(given.study.at("sensitivity", "table"), message))
    made = [np.empty((len(of), values.shape[1])) for _ in Filled._fields]
    for mine, straight in _each(given, a, of, values):
        for part, zero, *by in zip(made, straight.at, *straight.by.values(), strict=True):
            away = [values[place, mine] - given.space.nominal[place] for place in straight.by]
            part[:, mine] = zero[:, None] + sum(b[:, None] * x for b, x in zip(by, away, strict=True))
    return Filled(*made)


def slopes(given: Setup, a: int, of: tuple[Kind, ...], values: Float[np.ndarray, "factor row"]) -> Mapping[int, Filled]:
    """How the slots move with each factor of an arm that has derivatives, by its place."""
    found: dict[int, Filled] = {}
    for mine, straight in _each(given, a, of, values):
        for place, by in straight.by.items():
            made = found.setdefault(place, Filled(*(np.empty((len(of), values.shape[1])) for _ in by)))
            for part, slope in zip(made, by, strict=True):
                part[:, mine] = slope[:, None]
    return found


def timelines(plan: Plan, of: tuple[Kind, ...], p: Any, slots: Filled) -> Schedule:
    """Timelines of rows with these slots. p: the parameters, as scalars, whose lags and breakpoints hold."""
    days = _days(plan)
    line = _in_blocks(_made(plan.model, plan.columns, of, days), p, slots)
    line = line._replace(reset=np.zeros(line.length.shape))
    return Schedule(line, days, plan.columns, int(line.steps.max()), any(infused for _, infused in of))


def moved(plan: Plan, of: tuple[Kind, ...], p: Any, slots: Filled, along: Filled) -> Dots:
    """How those timelines move as their slots do."""
    found: Dots = _in_blocks(_moving(plan.model, plan.columns, of, _days(plan)), p, (*slots, *along))
    return found


def solve(given: Setup, plan: Plan, a: int, of: tuple[Kind, ...], cohort: Cohort, values: np.ndarray) -> Any:
    """Endpoints by name `[row]`, saved observables `[day, row]` and status `[row]` of one arm."""
    plan, p = replace(plan, clinic=None), shared(plan.model, cohort)  # a clinic is what other arms need for amounts
    parts = []
    for start in range(0, cohort.n, ROWS):
        rows = slice(start, start + ROWS)
        mine = (cohort.p, cohort.y0, cohort.rate, cohort.status)
        some = Cohort(*(jax.tree.map(operator.itemgetter(rows), part) for part in mine))
        line = timelines(plan, of, p, slots(given, a, of, values[:, rows]))
        out = sweeps.solve(plan, some, line, None)
        parts.append((out.endpoints, out.saved, out.status))
    return jax.tree.map(lambda *v: np.concatenate(v, axis=-1), *parts)


def _each(given: Setup, a: int, of: tuple[Kind, ...], values: np.ndarray) -> Iterator[tuple[np.ndarray, _Straight]]:
    """Rows that have the same number of doses, and the slots of these."""
    some, back = np.unique(values[list(_whole(given, a))], axis=1, return_inverse=True)
    for k, numbers in enumerate(some.T):
        yield np.flatnonzero(back.ravel() == k), _straight(given, a, of, tuple(map(float, numbers)))


@functools.lru_cache(maxsize=1024)
def _straight(given: Setup, a: int, of: tuple[Kind, ...], numbers: tuple[float, ...]) -> _Straight:
    """Slots are straight lines in every factor but whole numbers: no two numbers of a regimen are multiplied."""
    space, plan = given.space, given.plan
    fixed = {space.names[place]: value for place, value in zip(_whole(given, a), numbers, strict=True)}

    def at(**more: float) -> Filled:
        own = _at(given, a, fixed | more)
        infused = np.asarray([i for _, i in of])
        found = Filled(np.full(len(of), plan.study.head.days), np.zeros(len(of)), np.where(infused, 1.0, 0.0))
        free = {kind: itertools.count(of.index(kind)) for kind in set(of)}
        here = [next(free[kind]) for kind in _kinds(own)]
        for part, told in zip(found, (own.time, own.amount, own.duration), strict=True):
            part[here] = told
        return found

    middle, by = at(), {}
    for name in holes(plan.study, a):
        place = space.names.index(name)
        if name not in fixed:
            x = float(space.nominal[place])
            there = x + NEAR * (float(space.factors[place].distribution.at(np.asarray(0.9))) - x)
            by[place] = Filled(*((b - b0) / (there - x) for b, b0 in zip(at(**{name: there}), middle, strict=True)))
    return _Straight(middle, by)


def _whole(given: Setup, a: int) -> tuple[int, ...]:
    """Places of an arm's factors that go in whole numbers."""
    places = [given.space.names.index(name) for name in holes(given.plan.study, a)]
    return tuple(place for place in places if given.space.factors[place].distribution.kind == "whole")


def _at(given: Setup, a: int, numbers: Mapping[str, float]) -> Slots:
    """An arm's doses where its factors have these numbers, and their medians else."""
    plan = given.plan
    middle = dict(zip(given.space.names, map(float, given.space.nominal), strict=True))
    own = treatment(plan.study, a, {name: numbers.get(name, middle[name]) for name in holes(plan.study, a)})
    return administrations(plan.model, own, plan.columns, plan.study.head.days)


def _kinds(slots: Slots) -> list[Kind]:
    return list(zip(slots.column, slots.infused, strict=True))


def _days(plan: Plan) -> tuple[float, ...]:
    """Bounds that all rows need."""
    study = plan.study
    return tuple(map(float, grid(study.head.days, study.save_days, study.visit_days, times(plan.endpoints))))


def _in_blocks(run: Any, p: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Rows in blocks of one shape, so that one program makes them all."""
    n = arrays[0].shape[1]
    parts = []
    with jax.enable_x64(True):
        for start in range(0, n, ROWS):
            rows = np.resize(np.arange(start, min(start + ROWS, n)), ROWS)
            parts.append(jax.tree.map(np.asarray, run(p, *(a[:, rows] for a in arrays))))
    return jax.tree.map(lambda *v: np.ascontiguousarray(np.concatenate(v, axis=-1)[..., :n]), *parts)


@functools.lru_cache(maxsize=16)
def _made(model: Model, columns: tuple[Column, ...], of: tuple[Kind, ...], days: tuple[float, ...]) -> Any:
    """Jitted: scalar parameters and slots `[slot, row]` -> timelines of rows."""
    column, infused = tuple(c for c, _ in of), tuple(i for _, i in of)

    def one(p: Any, *slots: Any) -> Timeline:
        return schedule(
            model, p, columns, Slots(slots[0], slots[1], slots[2], column, infused), np.asarray(days)
        ).timeline

    return jax.jit(jax.vmap(one, (None, 1, 1, 1), -1))


@functools.lru_cache(maxsize=16)
def _moving(model: Model, columns: tuple[Column, ...], of: tuple[Kind, ...], days: tuple[float, ...]) -> Any:
    """Jitted: scalar parameters, slots and how they move -> how the timelines of rows move."""
    run = _made(model, columns, of, days)

    def push(p: Any, *both: Any) -> Dots:
        def floats(*slots: Any) -> Dots:
            line = run(p, *slots)
            return Dots(line.start, line.length, line.dose, line.rate)

        found: Dots = jax.jvp(floats, both[:3], both[3:])[1]
        return found

    return jax.jit(push)
