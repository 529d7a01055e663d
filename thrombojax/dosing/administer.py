"""From regimens to a model's entries: which columns a study needs, and the slots that one arm fills."""

import itertools
from collections.abc import Sequence

import numpy as np

from thrombojax.dosing.policy import Rule
from thrombojax.dosing.regimen import Dose, Regimen
from thrombojax.dosing.timeline import Column, Slots
from thrombojax.dosing.treatment import Rescue, Titration, Treatment
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Model

MASS = {"pg": 1e-12, "ng": 1e-9, "ug": 1e-6, "mg": 1e-3, "g": 1.0}


def units(model: Model, entry: Entry) -> tuple[str, ...]:
    """Units in which an amount of an entry may be written; per kg where patients of the model have a weight."""
    weighed = ("", "/kg") if model.weight in struct.names(model.Parameters) else ("",)
    if entry.unit in MASS:
        return tuple(f"{m}{per}" for m in MASS for per in weighed)
    return tuple(f"{entry.unit}{per}" for per in weighed) if entry.unit in ("U", "IU", "Mcells") else (entry.unit,)


def columns(model: Model, regimens: Sequence[Regimen], where: str = "regimen") -> tuple[Column, ...]:
    """The kinds of administration that occur, in order; a drug, route or unit that the model does not have is an error."""
    found: dict[Column, None] = {}
    problems: dict[Problem, None] = {}
    for r in regimens:
        for d in r.doses:
            wrong = _problem(model, d, where)
            if wrong is not None:
                problems[wrong] = None
            else:
                found[_column(d)] = None
    if problems:
        raise InputError(*problems)
    return tuple(found)


def _column(d: Dose) -> Column:
    return Column((d.drug, d.route), d.unit.endswith("/kg"))


def _problem(model: Model, d: Dose, where: str) -> Problem | None:
    drugs = {drug for drug, _ in model.entries}
    if d.drug not in drugs:
        return unknown(where, f"drug of model {model.name}", d.drug, drugs)
    routes = {route for drug, route in model.entries if drug == d.drug}
    if d.route not in routes:
        return unknown(where, f"route of {d.drug}", d.route, routes)
    entry = model.entries[d.drug, d.route]
    if d.unit not in units(model, entry):
        return unknown(where, f"unit of {d.drug} {d.route}", d.unit, units(model, entry))
    if d.duration > 0 and not entry.infusible:
        return Problem(where, f"{d.drug} {d.route} is not given as an infusion; leave out 'over ...'")
    return None


def slots(
    model: Model, regimen: Regimen, all_columns: tuple[Column, ...], days: float, where: str = "regimen"
) -> Slots:
    """One arm's administrations in the model's units; a dose at or after the horizon is an error."""
    late = [(d.drug, t) for d in regimen.doses for t in d.times if t >= days]
    if late:
        drug, t = late[0]
        raise InputError(Problem(where, f"{drug} on day {t:g} is not before the end of the study (day {days:g})"))
    time, amount, duration, column = [], [], [], []
    for d in regimen.doses:
        unit = d.unit.removesuffix("/kg")
        target = model.entries[d.drug, d.route].unit
        factor = MASS[unit] / MASS[target] if unit != target else 1.0
        for t in d.times:
            time.append(t)
            amount.append(d.amount * factor)
            duration.append(d.duration)
            column.append(all_columns.index(_column(d)))
    return Slots(
        np.array(time), np.array(amount), np.array(duration), tuple(column), tuple(length > 0 for length in duration)
    )


def treated(model: Model, treatments: Sequence[Treatment], where: str = "regimen") -> tuple[Column, ...]:
    """`columns` of whole treatments: first those of regimens, then of what is titrated, then of rescues."""
    found = list(columns(model, [t.regimen for t in treatments], where))
    problems: dict[Problem, None] = {}
    for by, parts in (("policy", [t.titration for t in treatments]), ("rescue", [t.rescue for t in treatments])):
        for part in parts:
            if part is None:
                continue
            wrong = _problem(model, Dose(part.drug, 0.0, part.unit, part.route, (0.0,)), where)
            if wrong is not None:
                problems[wrong] = None
            elif (column := Column((part.drug, part.route), False, by)) not in found:
                found.append(column)
    problems |= dict.fromkeys(p for t in treatments for p in _together(model, t, where))
    if problems:
        raise InputError(*problems)
    return tuple(found)


def _together(model: Model, treatment: Treatment, where: str) -> list[Problem]:
    """Drugs of one site whose times overlap; one after the other is a switch."""
    spans: dict[str, tuple[float, float]] = {}
    for d in treatment.regimen.doses:
        low, high = spans.get(d.drug, (np.inf, -np.inf))
        spans[d.drug] = (min(low, *d.times), max(high, *d.times))
    for part in (treatment.titration,):
        if part is not None:
            spans[part.drug] = (part.first, np.inf if part.until is None else part.until)
    found = []
    for (a, of_a), (b, of_b) in itertools.combinations(spans.items(), 2):
        site = model.sites.get(a)
        if site and site == model.sites.get(b) and of_a[0] <= of_b[1] and of_b[0] <= of_a[1]:
            message = (
                f"{a} and {b} both act at {site}: what they do together is not defined; allowed: one after the other"
            )
            found.append(Problem(where, message))
    return found


def administrations(
    model: Model, treatment: Treatment, all_columns: tuple[Column, ...], days: float, where: str = "regimen"
) -> Slots:
    """`slots` of a whole treatment. What a policy gives has its place in the period as its amount (from 1)."""
    fixed = slots(model, treatment.regimen, all_columns, days, where)
    time, place, column = [], [], []
    given = treatment.titration
    if given is not None:
        for t in given.days(days):
            time.append(t)
            place.append(1.0 + (t - given.first) // 1.0 % given.period)
            column.append(all_columns.index(Column((given.drug, given.route), False, "policy")))
    if treatment.rescue is not None:
        for t in (t for chances in treatment.chances(days)[1:] for t in chances):
            time.append(t)
            place.append(1.0)
            column.append(all_columns.index(Column((treatment.rescue.drug, treatment.rescue.route), False, "rescue")))
    return Slots(
        np.concatenate([fixed.time, time]),
        np.concatenate([fixed.amount, place]),
        np.concatenate([fixed.duration, np.zeros(len(time))]),
        (*fixed.column, *column),
        (*fixed.infused, *(False,) * len(time)),
    )


def numbers(model: Model, treatment: Treatment) -> Rule:
    """A treatment's policy with amounts in the model's units."""
    rule = treatment.rule()
    if treatment.titration is not None:
        rule = rule._replace(unit=_factor(model, treatment.titration))
    if treatment.rescue is not None:
        rule = rule._replace(rescue=treatment.rescue.amount * _factor(model, treatment.rescue))
    return rule


def _factor(model: Model, given: Titration | Rescue) -> float:
    unit, target = given.unit.removesuffix("/kg"), model.entries[given.drug, given.route].unit
    return MASS[unit] / MASS[target] if unit != target else 1.0
