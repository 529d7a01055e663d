"""The clinic that patients go to: when it looks, what it measures, which doses they miss, what wanders within them.

`setting` says what a program is compiled for, `care` what happens to each patient of one arm. Errors, missed visits and
fluctuations are a patient's own, the same in every arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing import care as cares
from thrombojax.dosing import policy
from thrombojax.dosing.administer import numbers
from thrombojax.dosing.care import Care, Error
from thrombojax.dosing.timeline import COINCIDENT, Schedule
from thrombojax.dosing.treatment import Treatment
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients.draw import uniform
from thrombojax.patients.population import Patients
from thrombojax.solve.engine import Cohort
from thrombojax.solve.pieces import Clinic


@dataclass(frozen=True)
class Wander:
    """A parameter that wanders within a patient: an Ornstein-Uhlenbeck process on its logarithm, from the baseline value on.

    spread: its standard deviation in the long run; days: correlation time; every: days for which a value holds.
    """

    leaf: str
    spread: float
    days: float
    every: float


@dataclass(frozen=True)
class Observation:
    """How counts are measured, the least that is reported (1e9/L), and what wanders."""

    error: Error = field(default_factory=Error)
    lloq: float = 0.0
    wander: tuple[Wander, ...] = ()

    @property
    def every(self) -> float:
        """Days between knots: all that wanders shares them."""
        return min((w.every for w in self.wander), default=0.0)


PERFECT = Observation()


def observation(patients: Patients, model: Model) -> Observation:
    """What the patients' cohort says; perfect measurement of steady patients where it says nothing."""
    cohort = patients.cohort
    if cohort is None:
        return PERFECT
    known = struct.names(model.Parameters)
    wander = tuple(Wander(k, f.sd, f.days, f.every) for k, f in cohort.fluctuation.items() if k in known)
    seen = cohort.observation
    if seen is None:
        return Observation(wander=wander)
    return Observation(Error(seen.residual_cv, seen.slow_cv, seen.slow_days), seen.lloq, wander)


def setting(model: Model, treatments: Sequence[Treatment], seen: Observation) -> Clinic:
    """The clinic that serves all these treatments."""
    own = any(t.adherence < 1 or t.dropout > 0 for t in treatments)
    leaves = struct.names(model.Parameters)
    varying = tuple(leaves.index(w.leaf) for w in seen.wander)
    return Clinic(policy.shape(tuple(t.rule() for t in treatments)), own, varying)


def knots(seen: Observation, days: float) -> tuple[float, ...]:
    """Days from which each value of what wanders holds."""
    if not seen.wander:
        return (0.0,)
    return tuple(k * seen.every for k in range(int(np.ceil(days / seen.every - 1e-9))))


def care(
    model: Model,
    clinic: Clinic,
    treatment: Treatment,
    seen: Observation,
    line: Schedule,
    cohort: Cohort,
    patients: Patients,
    looks: Sequence[float],
) -> Care:
    """What happens to the patients of one arm. looks: days at which endpoints look, besides the policy's own visits."""
    days = line.grid[-1]
    chances = treatment.chances(days)
    acts = [day for some in chances for day in some]
    looks = sorted({*looks, *acts})
    index, seed = patients.numbers, patients.seed
    leave = cares.left(seed, index, treatment.dropout)
    factor = cares.measured(seed, index, looks, seen.error)
    if treatment.attendance < 1:
        here = cares.kept(seed, index, looks, "visit", treatment.attendance)
        factor *= np.where(np.asarray(looks)[:, None] > 0, here, 1.0)
    factor *= np.asarray(looks)[:, None] < leave
    if treatment.window:
        place = {day: k for k, day in enumerate(looks)}
        for some, mine in zip(chances, chosen(treatment, seed, index, days), strict=True):
            for k, day in enumerate(some):
                factor[place[day]] = np.where(mine == k, factor[place[day]], -1.0)
    taken = None
    if clinic.own:
        at = cares.slot_days(line)
        share = cares.kept(seed, index, at.tolist(), "dose", treatment.adherence) * (at[:, None] < leave)
        taken = np.repeat(share[:, None], len(line.columns), axis=1)
    course, at_knots = None, knots(seen, days)
    if clinic.varying:
        base = struct.as_dict(cohort.p)
        course = np.stack([_course(base[w.leaf], w, seed, index, at_knots) for w in seen.wander])
    rule = numbers(model, treatment)._replace(lloq=seen.lloq)
    return cares.along(line, clinic.policy, rule, looks=looks, acts=acts, factor=factor, taken=taken,
                       knots=at_knots, course=course)  # fmt: skip


def chosen(treatment: Treatment, seed: int, index: np.ndarray, days: float) -> list[np.ndarray]:
    """Per visit, which of its chances each patient takes (`[patient]`), each as likely."""
    return [
        np.floor(uniform(seed, f"window/{k}", index) * len(some)).astype(int)
        for k, some in enumerate(treatment.chances(days))
    ]


def by_visit(
    treatment: Treatment, people: Patients, days: float, ledger: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A ledger with one row per planned visit, each patient's own day of its window (`[visit, patient]`)."""
    if not treatment.window or not ledger:
        return dict(ledger)
    chances = treatment.chances(days)
    first = np.cumsum([0, *map(len, chances[:-1])])
    rows = np.stack([f + c for f, c in zip(first, chosen(treatment, people.seed, people.numbers, days), strict=True)])
    return {name: np.take_along_axis(values, rows, axis=0) for name, values in ledger.items()}


def _course(base: Any, w: Wander, seed: int, index: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """A parameter's values at the knots, `[knot, patient]`."""
    return np.asarray(base) * np.exp(
        cares.wandering(seed, f"wander/{w.leaf}", index, at, w.spread, w.days, begun=False)
    )


def replayed(
    model: Model, clinic: Clinic, line: Schedule, given: Care, cohort: Cohort, ledger: Mapping[str, np.ndarray]
) -> tuple[Clinic, Schedule, Care]:
    """The same course with the doses that a ledger recorded, as a fixed regimen of each patient's own.

    Errors of measurement and what wanders stay as they were; no count decides anything.
    """
    at, visits = cares.slot_days(line), _days(line, given)
    row = np.searchsorted(visits, at + COINCIDENT, side="right") - 1  # the last visit at or before a dose
    segment = np.flatnonzero(np.any(np.asarray(line.timeline.dose) != 0, axis=1))
    dose = np.asarray(line.timeline.dose).copy()
    n = given.factor.shape[1]
    taken = np.array(given.taken) if clinic.own else np.ones((len(at), len(line.columns), n))
    weight = np.asarray(struct.as_dict(cohort.p).get(model.weight, np.ones(n)), float)
    for c, column in enumerate(line.columns):
        place = dose[segment, c]
        if column.by == "rescue":
            here = np.isclose(visits[row], at, rtol=0, atol=COINCIDENT)[:, None]
            taken[:, c] = np.where(here, ledger["rescue"][row], 0.0)
        elif column.by == "policy":
            now = np.asarray(ledger["dose"][row], float)
            taken[:, c] *= _amounts(given.rule, now, _present(given)[row], place[:, None], weight)
        if column.by:
            dose[segment, c] = place != 0
    columns = tuple(column._replace(by="") for column in line.columns)
    fixed = Clinic(policy.Policy(), True, clinic.varying)
    line = line._replace(timeline=line.timeline._replace(dose=dose), columns=columns)
    return fixed, line, given._replace(rule=policy.Rule(lloq=given.rule.lloq), taken=taken)


def _present(given: Care) -> np.ndarray:
    """Whether the last visit was kept, `[row of the ledger, patient]`."""
    rows = np.flatnonzero(given.acts >= 0)
    factor = given.factor[given.visit[rows[np.argsort(given.acts[rows])]]]
    found = (factor > 0).astype(float)
    for k in range(1, len(found)):
        found[k] = np.where(factor[k] < 0, found[k - 1], found[k])
    return found


def _amounts(rule: policy.Rule, dose: np.ndarray, present: np.ndarray, place: Any, weight: np.ndarray) -> np.ndarray:
    """What was given of a prescribed dose, `[slot, patient]`, in the model's unit."""
    with jax.enable_x64(True):
        memory = policy.begin(policy.Policy(), rule, jnp.zeros(dose.shape))
        place, weight = np.broadcast_to(place, dose.shape), np.broadcast_to(weight, dose.shape)
        return np.asarray(policy.amount(rule, memory._replace(dose=dose, present=present), place, weight)[0])


def _days(line: Schedule, given: Care) -> np.ndarray:
    """Days of the ledger's rows."""
    bounds = np.append(np.asarray(line.timeline.start), line.grid[-1])
    rows = np.flatnonzero(given.acts >= 0)
    return bounds[rows[np.argsort(given.acts[rows])]]
