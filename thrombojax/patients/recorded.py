"""Patients whose doses and observations are in an event table: their timelines, and the parameters that change with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from thrombojax.dosing import each, policy
from thrombojax.dosing.administer import MASS, columns
from thrombojax.dosing.care import Care
from thrombojax.dosing.events import EventTable, Observed, Record, Varying
from thrombojax.dosing.regimen import Dose, Regimen
from thrombojax.dosing.timeline import Column, Schedule, Slots
from thrombojax.errors import InputError, Problem
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve.engine import Cohort
from thrombojax.solve.pieces import Clinic


@dataclass(frozen=True, eq=False)
class Recorded:
    """An event table on a model. column, factor: of each of the table's drugs; varying: leaf -> what it goes through."""

    model: Model
    table: EventTable
    columns: tuple[Column, ...]
    column: tuple[int, ...]
    factor: tuple[float, ...]
    varying: Mapping[str, Varying]

    @property
    def most(self) -> int:
        """Observations of the patient who has most of them."""
        return max((len(seen.time) for seen in self.table.observations), default=0)


class Course(NamedTuple):
    """What the engine needs of some of the patients. bounds: first the common days, then each patient's observations."""

    line: Schedule
    clinic: Clinic | None
    care: Care | None
    bounds: np.ndarray


def recorded(model: Model, table: EventTable, names: Mapping[str, str], where: str) -> Recorded:
    """names: covariate of the table -> leaf of the model's parameters. Raises InputError for what a model does not take."""
    given = [Regimen((Dose(d.drug, 1.0, d.unit, d.route, (0.0,)),)) for d in table.drugs]
    found = columns(model, given, where)
    for name, record in ((name, r) for name, mine in zip(table.ids, table.doses, strict=True) for r in mine):
        d = table.drugs[record.column]
        if record.duration and not model.entries[d.drug, d.route].infusible:
            who = f"but patient {name!r} has a RATE on day {record.time:.6g}"
            raise InputError(Problem(where, f"{d.drug} {d.route} is not given as an infusion, {who}"))
    column = tuple(found.index(Column((d.drug, d.route), d.unit.endswith("/kg"))) for d in table.drugs)
    factor = []
    for d in table.drugs:
        unit, target = d.unit.removesuffix("/kg"), model.entries[d.drug, d.route].unit
        factor.append(MASS[unit] / MASS[target] if unit != target else 1.0)
    known = struct.names(model.Parameters)  # not those of drugs that nobody is given
    varying = {names[k]: v for k, v in table.varying.items() if names[k] in known}
    return Recorded(model, table, found, column, tuple(factor), varying)


def course(given: Recorded, cohort: Cohort, rows: Sequence[int], days: float, common: Sequence[float],
           save: Sequence[float]) -> Course:  # fmt: skip
    """The course of patients `rows`, who are those of `cohort`; common: days that endpoints and saving need; save: among them."""
    table, model = given.table, given.model
    slots = [_slots(given, table.doses[row]) for row in rows]
    seen = [table.observations[row].time for row in rows]
    knots = [np.concatenate([v.days[row] for v in given.varying.values()] or [np.zeros(0)]) for row in rows]
    times = [np.concatenate(pair).tolist() for pair in zip(seen, knots, strict=True)]
    line = each.timelines(
        model,
        given.columns,
        lambda k: jax.tree.map(lambda a: np.float64(a[k]), cohort.p),
        slots,
        days,
        times,
        [table.resets[row] for row in rows],
        common,
    )
    place = each.bounds(line, [t.tolist() for t in seen])
    more = np.full((given.most - len(place), len(rows)), -1, np.int32)
    bounds = np.concatenate([_common(line, save), place, more]).astype(np.int32)
    if not given.varying:
        return Course(line, None, None, bounds)
    leaves = struct.names(model.Parameters)
    values = [
        each.values(line, *(zip(*((v.days[r], v.values[r]) for r in rows), strict=True)))
        for v in given.varying.values()
    ]
    clinic = Clinic(varying=tuple(leaves.index(name) for name in given.varying))
    return Course(line, clinic, _care(line, np.stack(values)), bounds)


def _common(line: Schedule, save: Sequence[float]) -> np.ndarray:
    return np.stack([line.bound(day) for day in save]) if save else np.zeros((0, line.timeline.length.shape[1]), int)


def _slots(given: Recorded, doses: Sequence[Record]) -> Slots:
    return Slots(
        np.array([r.time for r in doses], float),
        np.array([r.amount * given.factor[r.column] for r in doses], float),
        np.array([r.duration for r in doses], float),
        tuple(given.column[r.column] for r in doses),
        tuple(r.duration > 0 for r in doses),
    )


def _care(line: Schedule, values: np.ndarray) -> Care:
    """No visits; every dose is as the table says; a segment is a knot of what varies."""
    segments, n = line.timeline.length.shape
    nowhere: Any = np.full(segments + 1, -1, np.int32)
    rule = policy.padded(policy.Rule(), policy.Policy())
    return Care(nowhere, nowhere, np.zeros(segments, np.int32), np.arange(segments, dtype=np.int32), rule,
                np.ones((1, n)), np.zeros((0, 0, n)), values)  # fmt: skip


__all__ = ["Course", "Observed", "Recorded", "course", "recorded"]
