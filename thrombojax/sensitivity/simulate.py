"""Rows of factor values through the model: each row is a patient, with its own parameters, amounts and numbers of a policy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from thrombojax.dosing.administer import administrations, numbers
from thrombojax.dosing.care import Care, slot_days
from thrombojax.dosing.policy import Rule, padded
from thrombojax.dosing.timeline import Schedule, schedule
from thrombojax.dosing.treatment import Treatment
from thrombojax.errors import InputError, Problem
from thrombojax.patients import clinic as clinics
from thrombojax.patients import population
from thrombojax.patients.population import Patients
from thrombojax.sensitivity import courses
from thrombojax.sensitivity.problem import Setup
from thrombojax.study import sweep as sweeps
from thrombojax.study.plan import Plan
from thrombojax.study.treatments import holes, treatment

SAME = 1e-9
"""Relative difference of numbers that are the same but for rounding."""


class Rows(NamedTuple):
    """values: `[factor, row]`; chance: `[row]`, numbers of the patients whose errors and fluctuations (and, where the cohort is
    drawn, whose other parameters) the rows have."""

    values: Float[np.ndarray, "factor row"]
    chance: Any


class Simulated(NamedTuple):
    """y: `[output, row]` in the order of `Setup.outputs`, NaN where a trajectory has no result; status: `[arm, row]`."""

    y: Float[np.ndarray, "output row"]
    status: UInt8[np.ndarray, "arm row"]


@dataclass(frozen=True, eq=False)
class Moves:
    """How one arm follows factors. amounts: place of the factor -> change of every slot's amount per unit of the factor
    (`[slot]`); rule: place -> change of every number of the policy (`[number]`); slots: where more than these follows, what each
    slot of a row is (`courses`), and then all amounts are in them."""

    amounts: Mapping[int, np.ndarray]
    rule: Mapping[int, np.ndarray]
    slots: tuple[courses.Kind, ...] = ()


def simulator(given: Setup) -> Callable[[Rows], Simulated]:
    """The model as a function of rows. Raises InputError for a factor that rows of one launch cannot differ in."""
    follows = moves(given)
    plan = _with_own(given.plan, follows)

    def simulate(rows: Rows) -> Simulated:
        n = rows.values.shape[1]
        people = patients(given, rows)
        cohort = population.prepare(people, plan.model)
        ends, saved, status = [], [], []
        for cell, line, move in zip(plan.cells, sweeps.schedules(plan, cohort, plan.cells), follows, strict=True):
            if move.slots:
                found = courses.solve(given, plan, cell.index[-1], move.slots, cohort, rows.values)
            else:
                own = sweeps.care(plan, cell, line, cohort, people)
                if own is not None:
                    own = _own(given, plan, cell.treatment, line, move, own, rows.values)
                out = sweeps.solve(plan, cohort, line, own)
                found = (out.endpoints, out.saved, out.status)
            ends += [found[0][e.name] for e in plan.endpoints]
            saved += [found[1][name] for name in plan.observables]
            status.append(found[2])
        y = np.concatenate([np.reshape(ends, (-1, n)), *saved]).astype(float)
        return Simulated(y, np.stack(status))

    return simulate


def moves(given: Setup) -> list[Moves]:
    """How every arm follows factors. Raises InputError for what is no amount and no number of a policy."""
    return [_moves(given, a) for a in range(len(given.plan.cells))]


def payload(plan: Plan, t: Treatment, amount: np.ndarray) -> np.ndarray:
    """Boluses `[segment, column]` of a treatment whose slots have these amounts."""
    slots = _slots(plan, t)._replace(amount=amount)
    return np.asarray(schedule(plan.model, plan.model.defaults, plan.columns, slots, plan.fixed).timeline.dose)


def patients(given: Setup, rows: Rows) -> Patients:
    """The study's patient, or patients of its cohort, with a row's parameters."""
    people, n = given.people, rows.values.shape[1]
    index = None if people.index is None else np.asarray(rows.chance)
    fixed = {name: value for name, value in people.changes.items() if not np.ndim(value)}
    changes = {leaf: row for leaf, row in zip(given.leaves, rows.values, strict=True) if leaf}
    return replace(people, n=n, index=index, places=np.asarray(rows.chance), changes={**fixed, **changes})


def _moves(given: Setup, a: int) -> Moves:
    """What each factor that fills a placeholder of this arm changes, and that amounts and rules do so in proportion."""
    plan, study = given.plan, given.plan.study
    taken = holes(study, a)
    middle = dict(zip(given.space.names, given.space.nominal, strict=True))
    base = plan.cells[a].treatment
    amounts, rule = {}, {}
    beyond = []
    for name in taken:
        place = given.space.names.index(name)
        where = given.study.at("sensitivity", "factor", place)
        ends = given.space.factors[place].distribution.at(np.asarray([0.1, 0.9]))
        try:
            others = [treatment(study, a, {**{h: middle[h] for h in taken}, name: float(end)}) for end in ends]
            alike = all(_when(plan, other) == _when(plan, base) for other in others)
        except InputError as error:
            raise InputError(
                *(Problem(where, f"{name} = {ends[0]:g} to {ends[1]:g}: {p.message}") for p in error.problems)
            ) from None
        if any(not _alike(plan, base, other) for other in others):
            raise InputError(Problem(where, f"{name} {_where_not(plan, a)}"))
        if not alike:
            beyond.append((name, where))
            continue
        found = []
        for of in (_amounts, _rule):
            zero, low, high = (of(plan, t) for t in (base, *others))
            slope = (high - low) / (ends[1] - ends[0])
            bent = np.abs(low + slope * (middle[name] - ends[0]) - zero)
            if np.any(bent > SAME * (np.abs(low) + np.abs(high))):
                raise InputError(Problem(where, f"{name} does not change the arm {plan.cells[a].arm!r} in proportion"))
            found.append(np.where(np.abs(high - low) > SAME * (np.abs(low) + np.abs(high)), slope, 0.0))
        infused = np.asarray(_slots(plan, base).infused, bool)
        if np.any(found[0][infused]):
            beyond.append((name, where))
            continue
        if found[0].any():
            amounts[place] = found[0]
        if found[1].any():
            rule[place] = found[1]
    if not beyond:
        return Moves(amounts, rule)
    if plan.clinic is not None:
        raise InputError(*(Problem(where, f"{name} {_where_not(plan, a)}") for name, where in beyond))
    return Moves({}, {}, courses.kinds(given, a, [name for name, _ in beyond]))


def _where_not(plan: Plan, a: int) -> str:
    return (
        f"is more than an amount in the arm {plan.cells[a].arm!r}: a time, a duration, an infusion or a switch; allowed where "
        "counts are followed or observed with errors: amounts of boluses, and numbers of a policy that leave its visits and its "
        "parts as they are; elsewhere any number of a regimen"
    )


def _slots(plan: Plan, t: Treatment) -> Any:
    return administrations(plan.model, t, plan.columns, plan.study.head.days)


def _amounts(plan: Plan, t: Treatment) -> np.ndarray:
    return np.asarray(_slots(plan, t).amount, float)


def _rule(plan: Plan, t: Treatment) -> np.ndarray:
    return np.asarray(jax.tree.leaves(numbers(plan.model, t)), float)


def _alike(plan: Plan, a: Treatment, b: Treatment) -> bool:
    """Whether two treatments differ in their regimens and in numbers of a policy alone."""

    def shape(t: Treatment) -> Any:
        given = None if t.titration is None else replace(t.titration, rule=Rule())
        return replace(t, regimen=a.regimen, titration=given), jax.tree.structure(t.rule())

    return bool(shape(a) == shape(b))


def _when(plan: Plan, t: Treatment) -> Any:
    """All of a treatment's doses but their amounts."""
    slots = _slots(plan, t)
    return slots.column, slots.infused, tuple(slots.time), tuple(slots.duration)


def _with_own(plan: Plan, moves: Sequence[Moves]) -> Plan:
    """The plan with a clinic where rows differ in amounts or numbers of a policy."""
    amounts, rules = any(m.amounts for m in moves), any(m.rule for m in moves)
    if not amounts and not rules:
        return plan
    treatments = tuple(dict.fromkeys(cell.treatment for cell in plan.cells))
    clinic = plan.clinic or clinics.setting(plan.model, treatments, plan.seen)
    return replace(plan, clinic=clinic._replace(own=clinic.own or amounts, rules=rules))


def _own(
    given: Setup,
    plan: Plan,
    t: Treatment,
    line: Schedule,
    move: Moves,
    care: Care,
    values: np.ndarray,
) -> Care:
    """A cell's care with every row's own amounts and numbers."""
    n = values.shape[1]
    away = values - given.space.nominal[:, None]
    if plan.clinic is not None and plan.clinic.own:
        taken = care.taken if np.size(care.taken) else np.ones((len(slot_days(line)), len(line.columns), n))
        if move.amounts:
            dosed = np.any(np.asarray(line.timeline.dose) != 0, axis=1)
            middle = np.asarray(line.timeline.dose)[dosed]
            whole = np.broadcast_to(middle[..., None], (*middle.shape, n)).copy()
            for place, slope in move.amounts.items():
                whole += payload(plan, t, slope)[dosed][..., None] * away[place]
            there = middle != 0
            ratio = whole / np.where(there, middle, 1.0)[..., None]
            taken = taken * np.where(there[..., None], ratio, 1.0)
        care = care._replace(taken=taken)
    if plan.clinic is not None and plan.clinic.rules:
        leaves, tree = jax.tree.flatten(numbers(plan.model, t)._replace(lloq=plan.seen.lloq))
        for place, slope in move.rule.items():
            leaves = [leaf + by * away[place] if by else leaf for leaf, by in zip(leaves, slope, strict=True)]
        rule = padded(jax.tree.unflatten(tree, leaves), plan.clinic.policy)
        care = care._replace(rule=jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf, float), (n,)), rule))
    return care
