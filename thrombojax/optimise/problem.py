"""A dosing problem: decisions, the population they are for, and an objective with its constraints as a function of them.

Gradients go through the generated kernel (`solve.gradient`), with XLA where there is none. Fluctuation within patients does not:
each training patient has one draw of it, held in time, so that the population is as spread as on any later day. Whatever is
reported is simulated anew with fluctuation and errors of measurement (`holdout`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from thrombojax.dosing import care as cares
from thrombojax.dosing.administer import MASS
from thrombojax.dosing.regimen import Dose, Regimen
from thrombojax.endpoints import Endpoint, looks
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients.clinic import Observation
from thrombojax.patients.draw import normal
from thrombojax.patients.population import Patients, prepare
from thrombojax.solve.engine import OK, Cohort

APART = 1e-3
"""Days that a dose stays away from the end of the study."""


@dataclass(frozen=True)
class Goal:
    """A term of the objective, which is minimised. sign: -1 where the endpoint should be large; level: of CVaR, None: mean."""

    endpoint: str
    sign: float = 1.0
    weight: float = 1.0
    level: float | None = None


@dataclass(frozen=True)
class Limit:
    """A constraint on an endpoint: its mean over patients, or (probability) the share of patients who keep to the bound."""

    endpoint: str
    bound: float
    least: bool
    probability: float | None = None
    margin: float = 0.0
    """By how much the optimiser keeps away from it, where smoothing saw less than counting."""

    def __str__(self) -> str:
        sign = ">=" if self.least else "<="
        if self.probability is None:
            return f"mean {self.endpoint} {sign} {self.bound:g}"
        return f"P({self.endpoint} {sign} {self.bound:g}) >= {100 * self.probability:g} %"

    def excess(self, value: float) -> float:
        """How far a mean, or a share of patients, is beyond it; 0 or less: it holds."""
        if self.probability is not None:
            return self.probability - value
        return self.bound - value if self.least else value - self.bound

    @property
    def scale(self) -> float:
        return 1.0 if self.probability is not None else abs(self.bound) or 1.0


@dataclass(frozen=True, eq=False)
class Decisions:
    """Names, units, bounds and start of what is decided `[k]`; amounts: which are amounts (the others are days, or of a rule)."""

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    start: np.ndarray
    amounts: np.ndarray
    units: tuple[str, ...]

    @property
    def k(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Course:
    """A regimen as a function of the decisions x: amounts = amount0 + amount @ x in its own units, times = time0 + time @ x.

    One row a slot. who: drug, route, unit, duration of each slot.
    """

    decisions: Decisions
    who: tuple[tuple[str, str, str, float], ...]
    amount0: np.ndarray
    amount: np.ndarray
    time0: np.ndarray
    time: np.ndarray

    @property
    def moves(self) -> bool:
        return bool(np.any(self.time))

    @property
    def drug(self) -> str:
        """The first that is decided."""
        return self.who[int(np.flatnonzero(self.amount.any(axis=1) | self.time.any(axis=1))[0])][0]

    def regimen(self, x: np.ndarray) -> Regimen:
        """As plain data; equal neighbours are one dose, what falls on one time is added up; none where it is 0."""
        amounts, times = self.amount0 + self.amount @ x, self.time0 + self.time @ x
        given: dict[Any, float] = {}
        for i in np.argsort(times, kind="stable"):
            at = self.who[i], round(float(times[i]), 6)
            given[at] = given.get(at, 0.0) + float(amounts[i])
        runs: dict[Any, list[float]] = {}
        last: dict[Any, Any] = {}
        for (who, time), amount in given.items():
            a = round(amount, 6)
            if a <= 0.0:
                last.pop(who, None)
                continue
            key = last.get(who)
            if key is None or key[1] != a:
                key = (who, a, len(runs))
                last[who] = key
            runs.setdefault(key, []).append(time)
        return Regimen(
            tuple(Dose(d, a, unit, route, tuple(t), length) for ((d, route, unit, length), a, _), t in runs.items())
        )


def course(
    regimen: Regimen, days: float, *, low: float, high: float | None, drug: str | None = None, hold: float | None = None,
    move: float = 0.0, amounts: bool = True, where: str = "optimise",
) -> Course:  # fmt: skip
    """Every dose of a drug in a regimen is a decision, or every `hold` days of them; move: days by which they may shift."""
    names = regimen.drugs
    if drug is None and len(names) != 1:
        raise InputError(Problem(f"{where}.drug", f"is missing; needed: which of {', '.join(names)} is decided"))
    drug = drug or names[0]
    if drug not in names:
        raise InputError(Problem(f"{where}.drug", f"given {drug!r}; allowed: {', '.join(names)}"))
    given = [(d, t) for d in regimen.doses for t in d.times]
    mine = [i for i, (d, _) in enumerate(given) if d.drug == drug]
    units = {given[i][0].unit for i in mine}
    if len(units) > 1:
        raise InputError(
            Problem(f"{where}.drug", f"{drug} is given in {' and '.join(sorted(units))}; needed: one unit")
        )
    first = min(given[i][1] for i in mine)
    group = {i: n for n, i in enumerate(sorted(mine, key=lambda i: given[i][1]))}
    if hold is not None:
        group = {i: int((given[i][1] - first) / hold + 1e-9) for i in mine}
    labels = sorted(set(group.values()))
    k = len(labels)
    total = k * (amounts + (move > 0))
    amount, time = np.zeros((len(given), total)), np.zeros((len(given), total))
    amount0 = np.array([d.amount for d, _ in given])
    time0 = np.array([t for _, t in given])
    lows, highs, starts, said = np.zeros(total), np.zeros(total), np.zeros(total), [""] * total
    for j, label in enumerate(labels):
        rows = [i for i in mine if group[i] == label]
        day = time0[rows].min()
        if amounts:
            assert high is not None
            amount[rows, j], lows[j], highs[j] = 1.0, low, high
            starts[j] = np.clip(np.mean(amount0[rows]), low, high)
            said[j] = f"dose from day {day:g}" if hold is not None else f"dose on day {day:g}"
        if move > 0:
            at = j + k * amounts
            time[rows, at] = 1.0
            lows[at], highs[at] = max(-move, -day), min(move, days - APART - time0[rows].max())
            said[at] = f"shift of day {day:g}"
    if amounts:
        amount0[mine] = 0.0
    who = tuple((d.drug, d.route, d.unit, d.duration) for d, _ in given)
    is_amount = np.arange(total) < k * amounts
    unit = tuple(next(iter(units)) if a else "day" for a in is_amount)
    return Course(Decisions(tuple(said), lows, highs, starts, is_amount, unit), who, amount0, amount, time0, time)


def together(courses: Sequence[Course]) -> Course:
    """Several drugs of one regimen decided at once: their decisions side by side, each named after its drug."""
    if len(courses) == 1:
        return courses[0]
    first, parts = courses[0], [c.decisions for c in courses]
    amount, time = (np.hstack([getattr(c, name) for c in courses]) for name in ("amount", "time"))
    names = [f"{c.drug}: {name}" for c in courses for name in c.decisions.names]
    low, high, start, amounts = (
        np.concatenate([getattr(d, name) for d in parts]) for name in ("low", "high", "start", "amounts")
    )
    made = Decisions(tuple(names), low, high, start, amounts, tuple(unit for d in parts for unit in d.units))
    # A course's own amounts are 0 where it decides them.
    return Course(made, first.who, np.min([c.amount0 for c in courses], axis=0), amount, first.time0, time)


@dataclass(frozen=True, eq=False)
class Population:
    """Training patients, ready: those with a steady state. factor: what visits see over the truth, by day."""

    model: Model
    cohort: Cohort
    factor: Mapping[float, np.ndarray]
    left_out: int = 0

    def first(self, n: int) -> "Population":
        """The first n of them."""
        if n >= self.cohort.n:
            return self
        c = self.cohort
        p, y0 = jax.tree.map(lambda a: a[:n], (c.p, c.y0))
        part = Cohort(p, y0, c.rate[:n], c.status[:n])
        return replace(self, cohort=part, factor={day: f[:n] for day, f in self.factor.items()})


def population(
    patients: Patients, drugs: Sequence[str], endpoints: Sequence[Endpoint] = (), seen: Observation | None = None
) -> Population:
    """Steady states, one held draw of what fluctuates, and errors of measurement on the endpoints' visits."""
    model = registry.build(patients.source, tuple(drugs))
    cohort = prepare(patients, model)
    good = cohort.status == OK
    if not good.any():
        raise RunError("no patient has a steady state")
    index = patients.numbers[good]
    p, y0 = jax.tree.map(lambda a: np.asarray(a)[good], (cohort.p, cohort.y0))
    rate = cohort.rate[good]
    factor: dict[float, np.ndarray] = {}
    if seen is not None:
        leaves = struct.as_dict(p)
        for w in seen.wander:
            leaves[w.leaf] = leaves[w.leaf] * np.exp(w.spread * normal(patients.seed, f"optimise/{w.leaf}", index))
        p = struct.unflatten(model.Parameters, [leaves[name] for name in struct.names(model.Parameters)])
        with jax.enable_x64(True):
            rate = np.maximum(rate, np.asarray(model.max_rate(p)) + np.zeros(len(index)))
        days = looks(endpoints)
        if days:
            factor = dict(zip(days, cares.measured(patients.seed, index, days, seen.error), strict=True))
    made = Cohort(p, y0, rate, np.zeros(len(index), np.uint8))
    return Population(model, made, factor, int((~good).sum()))


@dataclass(frozen=True, eq=False)
class Dosing:
    """Everything that an objective needs: evaluate it with `objective`. x is always in the decisions' own units."""

    course: Course
    people: Population
    days: float
    endpoints: tuple[Endpoint, ...]
    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...] = ()
    smoothing: float = 0.1
    precision: str = "f64"
    accuracy: float = 1e-4
    backend: str = "auto"
    where: Callable[[str], str] = field(default=lambda name: f"endpoint {name}")

    def on(self, n: int) -> "Dosing":
        """The same on the first n patients."""
        return replace(self, people=self.people.first(n))

    @property
    def used(self) -> tuple[Endpoint, ...]:
        names = {t.endpoint for t in self.goals} | {t.endpoint for t in self.limits}
        return tuple(e for e in self.endpoints if e.name in names)


def factors(model: Model, of: Course) -> np.ndarray:
    """From the regimen's units to the model's, of each slot."""
    found = np.ones(len(of.who))
    for i, (drug, route, said, _) in enumerate(of.who):
        unit, target = said.removesuffix("/kg"), model.entries[drug, route].unit
        found[i] = MASS[unit] / MASS[target] if unit != target else 1.0
    return found
