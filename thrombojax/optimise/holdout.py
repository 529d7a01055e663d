"""What a treatment does to patients whom the optimiser has not seen: exact endpoints, with fluctuation and errors of measurement.

Every arm has the same patients, and each patient the same errors, fluctuations and missed doses in all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from thrombojax.dosing.administer import administrations, treated
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.dosing.treatment import Treatment
from thrombojax.endpoints import Endpoint, looks, times
from thrombojax.models import registry
from thrombojax.optimise.problem import Goal, Limit
from thrombojax.optimise.risk import clopper_pearson, cvar, mean_interval
from thrombojax.patients import clinic as clinics
from thrombojax.patients.clinic import Observation
from thrombojax.patients.population import Patients, prepare, shared
from thrombojax.solve import engine
from thrombojax.solve.engine import OK, Cohort


@dataclass(frozen=True, eq=False)
class Evaluated:
    """values: endpoint -> `[patient]`, NaN without a result; count: `[day, patient]` platelets, where days were asked for."""

    values: Mapping[str, np.ndarray]
    status: np.ndarray
    count: np.ndarray


@dataclass(frozen=True, eq=False)
class Bench:
    """Patients on which treatments are compared; each model is prepared once."""

    patients: Patients
    days: float
    endpoints: tuple[Endpoint, ...]
    seen: Observation
    precision: str = "f32"
    accuracy: float = 1e-4
    backend: str = "auto"
    _ready: dict[tuple[str, ...], Cohort] = field(default_factory=dict)

    def evaluate(self, treatment: Treatment, rows: np.ndarray | None = None, save: Sequence[float] = ()) -> Evaluated:
        """Of all patients, or of those in `rows` (places)."""
        drugs = tuple(sorted(treatment.drugs))
        model = registry.build(self.patients.source, drugs)
        if drugs not in self._ready:
            self._ready[drugs] = prepare(self.patients, model)
        cohort, people = self._ready[drugs], self.patients
        if rows is not None:
            people = people.pick(rows)
            p, y0 = jax.tree.map(lambda a: a[rows], (cohort.p, cohort.y0))
            cohort = Cohort(p, y0, cohort.rate[rows], cohort.status[rows])
        cols = treated(model, [treatment])
        clinic = clinics.setting(model, [treatment], self.seen)
        acts = [*treatment.acts(self.days), *(day for some in treatment.chances(self.days) for day in some)]
        fixed = grid(self.days, save, times(self.endpoints), acts, clinics.knots(self.seen, self.days))
        line = schedule(model, shared(model, cohort), cols, administrations(model, treatment, cols, self.days), fixed)
        ends = tuple(e for e in self.endpoints if treatment.titration is not None or e.reducer not in LEDGER)
        care = clinics.care(model, clinic, treatment, self.seen, line, cohort, people, looks(ends))
        out = engine.solve(
            model, cohort, line, endpoints=ends, save=("platelets",) if len(save) else (), days=save, clinic=clinic,
            care=care, backend=self.backend, precision=self.precision, accuracy=self.accuracy,
        )  # fmt: skip
        values = {e.name: np.asarray(out.endpoints.get(e.name, np.zeros(cohort.n)), float) for e in self.endpoints}
        return Evaluated(values, out.status, out.saved.get("platelets", np.zeros((0, cohort.n))))


LEDGER = ("titrated_dose", "wasted_dose", "last_dose", "dose_increases", "dose_decreases", "dose_holds")
"""0 where nothing is titrated."""


def joined(parts: Sequence[tuple[np.ndarray, Evaluated]], n: int) -> Evaluated:
    """Strata, each with its own places, as one population."""
    first = parts[0][1]
    values = {name: np.full(n, np.nan) for name in first.values}
    status, count = np.full(n, engine.NO_BASELINE, np.uint8), np.full((len(first.count), n), np.nan)
    for rows, part in parts:
        for name, of in part.values.items():
            values[name][rows] = of
        status[rows], count[:, rows] = part.status, part.count
    return Evaluated(values, status, count)


@dataclass(frozen=True)
class Share:
    """How a constraint is kept. value: the mean or the share of patients; low, high: its interval; holds: by the value."""

    limit: Limit
    value: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return self.limit.excess(self.value) <= 1e-9


def share(limit: Limit, found: Evaluated, confidence: float) -> Share:
    """Counted exactly: Clopper-Pearson for a share, normal for a mean; a patient without a result does not keep to it."""
    values = found.values[limit.endpoint]
    if limit.probability is not None:
        kept = values >= limit.bound if limit.least else values <= limit.bound
        k, n = int(np.sum(kept & (found.status == OK))), len(values)
        return Share(limit, k / n, *clopper_pearson(k, n, confidence))
    finite = values[np.isfinite(values)]
    return Share(limit, float(np.mean(finite)), *mean_interval(finite, confidence))


def objective(goals: Sequence[Goal], found: Evaluated) -> float:
    """What was minimised, counted exactly."""
    total = 0.0
    for goal in goals:
        values = found.values[goal.endpoint]
        loss = goal.sign * values[np.isfinite(values)]
        total += goal.weight * float(np.mean(loss) if goal.level is None else cvar(loss, goal.level))
    return total


def difference(a: Evaluated, b: Evaluated, endpoint: str, confidence: float) -> tuple[float, float, float]:
    """(mean, low, high) of a less b, patient by patient."""
    d = a.values[endpoint] - b.values[endpoint]
    d = d[np.isfinite(d)]
    return (float(np.mean(d)), *mean_interval(d, confidence))
