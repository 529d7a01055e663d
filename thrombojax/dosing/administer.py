"""From regimens to a model's entries: which columns a study needs, and the slots that one arm fills."""

from collections.abc import Sequence

import numpy as np

from thrombojax.dosing.regimen import Dose, Regimen
from thrombojax.dosing.timeline import Column, Slots
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models.protocol import Model

MASS = {"pg": 1e-12, "ng": 1e-9, "ug": 1e-6, "mg": 1e-3, "g": 1.0}


def units(entry_unit: str) -> tuple[str, ...]:
    """Units in which an amount of an entry may be written."""
    if entry_unit in MASS:
        return tuple(f"{m}{per}" for m in MASS for per in ("", "/kg"))
    return (entry_unit, f"{entry_unit}/kg") if entry_unit in ("U", "IU") else (entry_unit,)


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
    if d.unit not in units(entry.unit):
        return unknown(where, f"unit of {d.drug} {d.route}", d.unit, units(entry.unit))
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
