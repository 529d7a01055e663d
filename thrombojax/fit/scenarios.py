"""What a set of parameters says of every target, and how that moves with those that are free: all starts side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from thrombojax import dosing
from thrombojax.dosing import each
from thrombojax.dosing.administer import columns, slots
from thrombojax.dosing.timeline import Schedule
from thrombojax.errors import InputError, Problem, RunError, unknown
from thrombojax.fit import steady
from thrombojax.fit.calibration_file import File, Target
from thrombojax.fit.steady import Anchor
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.patients import population
from thrombojax.patients.cohort import COUNT
from thrombojax.patients.population import Patients
from thrombojax.solve import engine, sensitivities
from thrombojax.solve.steppers import method

MOVED = 1.01
"""A default is multiplied by it to see whether a scenario's patient has it, or a value of the cohort's own."""


@dataclass(frozen=True, eq=False)
class Group:
    """Scenarios that share a kernel and the way their steady state is found; its rows are scenario x start.

    targets: their places; base: leaf (and `count`) -> `[scenario]`; live: free parameter -> (leaf that it sets,
    `[scenario]`, who has it); line, bounds: one timeline a scenario, kept on `days`.
    """

    model: Model
    anchor: Anchor
    targets: tuple[int, ...]
    base: dict[str, np.ndarray]
    live: dict[str, tuple[tuple[str, np.ndarray], ...]]
    line: Schedule
    bounds: np.ndarray
    days: np.ndarray


def groups(file: File, leaves: Sequence[tuple[str, ...]]) -> tuple[Group, ...]:
    """The targets' scenarios. leaves: of each free parameter, those that it sets. InputError for names that are not there."""
    source = registry.Source("feedback", file.head.base)
    regimens = [_regimen(file, i) for i in range(len(file.targets))]
    drugs = [tuple(sorted({d.drug for d in r.doses})) for r in regimens]
    some = next((d for d in drugs if d), ())  # who is given nothing runs on a model that is there anyway
    by: dict[Any, list[int]] = {}
    made: dict[int, tuple[Patients, Anchor]] = {}
    problems: list[Problem] = []
    for i, target in enumerate(file.targets):
        model = registry.build(source, drugs[i] or some)
        try:
            made[i] = _typical(file, i, model, source)
        except InputError as error:
            problems += error.problems
            continue
        if target.observable not in struct.names(model.Obs):
            problems.append(
                unknown(file.at("target", i, "observable"), "observable", target.observable, struct.names(model.Obs))
            )
        by.setdefault((drugs[i] or some, made[i][1]), []).append(i)
    if problems:
        raise InputError(*problems)
    last = float(np.ceil(max(t.last for t in file.targets))) + 1.0
    days = np.unique([*np.arange(last), *(t.day for t in file.targets)])
    found = []
    for (names, anchor), mine in by.items():
        model = registry.build(source, names)
        same = [regimens[i] for i in range(len(regimens)) if (drugs[i] or some) == names]
        cols = columns(model, same, file.where)
        people = [made[i][0] for i in mine]
        base = _stack([population.values(who, model) for who in people])
        live = {own[0]: _live(people, model, own, base) for own in leaves}
        given = [slots(model, regimens[i], cols, last, file.at("target", i, "regimen")) for i in mine]
        nothing: list[list[float]] = [[] for _ in mine]
        whole: list[Any] = [
            struct.unflatten(model.Parameters, [base[leaf][k] for leaf in struct.names(model.Parameters)])
            for k in range(len(mine))
        ]
        line = each.timelines(model, cols, whole.__getitem__, given, last, nothing, nothing, days.tolist())
        line = line._replace(infusions=any(d.duration > 0 for r in same for d in r.doses))
        bounds = np.stack([line.bound(day) for day in days]).astype(np.int32)
        found.append(Group(model, anchor, tuple(mine), base, live, line, bounds, days))
    return tuple(found)


def _regimen(file: File, i: int) -> dosing.Regimen:
    return dosing.regimen(file.targets[i].regimen, file.at("target", i, "regimen"))


def _typical(file: File, i: int, model: Model, source: registry.Source) -> tuple[Patients, Anchor]:
    """The typical patient of a target, and how its steady state is found."""
    target = file.targets[i]
    known = cohorts.names(model.cohorts)
    if target.cohort not in known:
        raise InputError(unknown(file.at("target", i, "cohort"), "cohort", target.cohort, known))
    cohort = cohorts.load(model.cohorts, target.cohort)
    leaves = (*struct.names(model.Parameters), COUNT)
    changes = {struct.resolve(k, leaves, file.at("target", i, "set")): v for k, v in target.set.items()}
    people = Patients(source, 1, cohort).replace(changes)
    anchored = COUNT in population.values(people, model)
    return people, (cohort.anchor.unknown, cohort.anchor.start) if anchored and cohort.anchor is not None else None


def _stack(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {leaf: np.concatenate([row[leaf] for row in rows]) for leaf in rows[0]}


def _live(
    people: Sequence[Patients], model: Model, leaves: Sequence[str], base: dict[str, np.ndarray]
) -> tuple[tuple[str, np.ndarray], ...]:
    """Those of a free parameter's leaves that the model has, and which scenarios' patients follow the set's value of them."""
    found = []
    for leaf in (leaf for leaf in leaves if leaf in base):
        there = struct.replace(model.defaults, {leaf: MOVED * struct.as_dict(model.defaults)[leaf]})
        moved = np.concatenate([population.values(who, replace(model, defaults=there))[leaf] for who in people])
        found.append((leaf, moved != base[leaf]))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Simulated:
    """values: `[target, start]`; slopes: `[target, parameter, start]`, in z; sound: `[start]`."""

    values: np.ndarray
    slopes: np.ndarray
    sound: np.ndarray


@np.errstate(invalid="ignore", over="ignore", divide="ignore")  # a start without a result is found at the end
def simulate(
    file: File,
    of: Sequence[Group],
    names: Sequence[str],
    ratio: np.ndarray,
    slope: np.ndarray,
    fastest: Sequence[np.ndarray],
) -> Simulated:
    """Every target of every start. ratio: `[parameter, start]`, free parameters over their base; slope: likewise, of that in z.

    fastest: of each group `[scenario, start]`, the fastest rates so far, kept up here.
    """
    k, n = ratio.shape
    values, slopes, sound = np.zeros((len(file.targets), n)), np.zeros((len(file.targets), k, n)), np.ones(n, bool)
    for group, rates in zip(of, fastest, strict=True):
        seen = tuple(dict.fromkeys(t.observable for t in file.targets))
        found, fine = _solve(group, names, ratio, slope, rates, seen)
        sound &= fine
        for s, i in enumerate(group.targets):
            moved = found[file.targets[i].observable]
            rows = slice(s * n, (s + 1) * n)
            values[i], slopes[i] = reduce(
                file.targets[i], group.days, moved.values[:, rows], moved.tangents[:, :, rows]
            )
    return Simulated(values, slopes, sound & np.isfinite(values).all(axis=0) & np.isfinite(slopes).all(axis=(0, 1)))


def _solve(
    group: Group, names: Sequence[str], ratio: np.ndarray, slope: np.ndarray, rates: np.ndarray, seen: tuple[str, ...]
) -> tuple[dict[str, sensitivities.Moved], np.ndarray]:
    (k, n), s, model = ratio.shape, len(group.targets), group.model
    leaves = steady.names(model, group.anchor)
    data = {leaf: np.repeat(group.base[leaf], n) for leaf in leaves}
    moving: dict[str, np.ndarray] = {}
    for j, name in enumerate(names):
        for leaf, live in group.live[name]:
            scale = np.repeat(np.where(live, group.base[leaf], 0.0), n)
            data[leaf] = np.where(np.repeat(live, n), scale * np.tile(ratio[j], s), data[leaf])
            moving[leaf] = np.zeros((k, s * n))
            moving[leaf][j] = scale * np.tile(slope[j], s)
    places = tuple(leaves.index(leaf) for leaf in moving)
    columns_ = [data[leaf] for leaf in leaves]
    along = np.stack(list(moving.values()), axis=1)
    cohort, dp, dy0 = steady.move(model, group.anchor, columns_, places, along)
    rates[:] = np.maximum(rates, np.where(np.isfinite(cohort.rate), cohort.rate, 0.0).reshape(s, n))
    factor = engine.buckets(model, rates.reshape(-1), method(model))
    factor = np.where(cohort.status == engine.OK, factor, 0.0)
    line = group.line._replace(timeline=jax.tree.map(lambda a: np.repeat(a, n, axis=-1), group.line.timeline))
    wrt = tuple(sorted({*places, *([leaves.index(group.anchor[0])] if group.anchor is not None else [])}))
    on = sensitivities.machine(model, None)
    if on is None:
        raise RunError("a calibration needs a C compiler (or a GPU): without one no kernel has tangents")
    moved = np.stack([dp[leaf] for leaf in wrt], axis=1)
    found = sensitivities.tangents(
        model, cohort, line, np.repeat(group.bounds, n, axis=1), wrt, moved, np.stack(dy0, axis=1), factor, on, seen
    )
    return found, np.all(next(iter(found.values())).sound.reshape(s, n), axis=0)


def reduce(target: Target, days: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number `[row]`, its slopes `[k, row]`) of an observable on days (`[day, row]`, `[day, k, row]`).

    Extremes are those of the parabola through the day that has them and its neighbours.
    """
    rows = np.arange(values.shape[1])
    if target.reducer == "value":
        at = int(np.searchsorted(days, target.day - 1e-9))
        found, moved = values[at], slopes[at]
    else:
        found, moved = _extreme(target, days, values, slopes, rows)
    if target.ratio and target.log:
        found, moved = found / values[0], moved / values[0] - slopes[0] * found / values[0] ** 2
    return found, moved


def _extreme(target: Target, days: np.ndarray, values: np.ndarray, slopes: np.ndarray, rows: np.ndarray) -> Any:
    sign = 1.0 if target.reducer.startswith("peak") else -1.0
    inside = np.flatnonzero((days >= target.start) & (days <= target.stop))
    at = inside[np.argmax(sign * values[inside], axis=0)]
    edge = (at == inside[0]) | (at == inside[-1])
    middle = np.clip(at, 1, len(days) - 2)
    near = np.stack([middle - 1, middle, middle + 1])
    t, y, dy = days[near], values[near, rows], slopes[near, :, rows]  # [3, row], [3, row], [3, row, k]
    # Second and first differences of the parabola about the middle day.
    left, right = t[1] - t[0], t[2] - t[1]
    bend = np.stack([1 / (left * (left + right)), -1 / (left * right), 1 / (right * (left + right))])
    tilt = np.stack(
        [-right / (left * (left + right)), (right - left) / (left * right), left / (right * (left + right))]
    )
    a, b = (bend * y).sum(axis=0), (tilt * y).sum(axis=0)
    flat = edge | (sign * a >= 0)
    shift = np.where(flat, 0.0, -b / (2.0 * np.where(flat, 1.0, a)))
    if target.log:
        weight = np.stack([np.zeros_like(a), np.ones_like(a), np.zeros_like(a)]) + tilt * shift + bend * shift**2
        own = np.where(flat, values[at, rows], (weight * y).sum(axis=0))
        return own, np.where(flat, slopes[at, :, rows].T, np.einsum("mr,mrk->kr", weight, dy))
    turn = -(tilt + 2.0 * bend * shift) / (2.0 * np.where(flat, 1.0, a))
    return days[at] + shift, np.where(flat, 0.0, np.einsum("mr,mrk->kr", turn, dy))
