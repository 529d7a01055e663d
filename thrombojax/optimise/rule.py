"""Numbers of a titration rule as decisions: gradients through the smooth twin, everything reported under the rule itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing import policy
from thrombojax.dosing.administer import administrations, numbers, treated
from thrombojax.dosing.policy import Rule
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.dosing.treatment import Treatment
from thrombojax.endpoints import looks, times
from thrombojax.errors import InputError, Problem, RunError, unknown
from thrombojax.models import registry
from thrombojax.optimise import smooth
from thrombojax.optimise.objective import Objective, Values
from thrombojax.optimise.problem import Decisions, Goal, Limit
from thrombojax.optimise.run import gradients_by, runner
from thrombojax.patients import clinic as clinics
from thrombojax.patients.population import Patients, prepare, shared
from thrombojax.solve.engine import OK, Cohort
from thrombojax.study import plan as plans
from thrombojax.study.schema import Study

NUMBERS = (
    "start", "lowest", "highest", "resume_below", "resume_by", "raise.below", "raise.by", "lower.above", "lower.by",
    "withhold.above",
)  # fmt: skip
"""raise.below: the count below which the dose goes up; lower.above, withhold.above: above which it goes down, is withheld."""


def changed(rule: Rule, name: str, value: Any, of: Rule) -> Rule:
    """The rule with one number changed; bands that meet at an edge still meet there. of: the rule as it was, all of it known."""
    if name in Rule._fields:
        return rule._replace(**{name: value})
    kind, what = name.split(".")
    bands = list(rule.bands)
    at = _bands(of, kind)
    if what == "by":
        sign = 1.0 if kind == "raise" else -1.0
        for i in at:
            bands[i] = bands[i]._replace(by=sign * value)
        return rule._replace(bands=tuple(bands))
    edge, field, other = (at[-1], "high", "low") if what == "below" else (at[0], "low", "high")
    before = getattr(of.bands[edge], field)
    for i, band in enumerate(of.bands):
        if i != edge and getattr(band, other) == before:
            bands[i] = bands[i]._replace(**{other: value})
    bands[edge] = bands[edge]._replace(**{field: value})
    return rule._replace(bands=tuple(bands))


def number(rule: Rule, name: str) -> float:
    """Its value in a rule."""
    if name in Rule._fields:
        return float(getattr(rule, name))
    kind, what = name.split(".")
    at = _bands(rule, kind)
    if what == "by":
        return abs(float(rule.bands[at[0]].by))
    return float(rule.bands[at[-1]].high if what == "below" else rule.bands[at[0]].low)


def _bands(rule: Rule, kind: str) -> list[int]:
    """Places of the bands that raise, lower or withhold, from low counts to high."""
    holds = {
        "raise": lambda b: b.by > 0, "lower": lambda b: b.by < 0, "withhold": lambda b: b.withhold > 0.5,
    }[kind]  # fmt: skip
    return sorted((i for i, b in enumerate(rule.bands) if holds(b)), key=lambda i: float(rule.bands[i].low))


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers of an arm's rule."""

    study: Study
    plan: plans.Plan
    base: Treatment
    made: Decisions
    steps: tuple[float | None, ...]

    @property
    def decisions(self) -> Decisions:
        return self.made

    def treatment(self, x: np.ndarray) -> Treatment:
        given = self.base.titration
        assert given is not None
        found = given.rule
        for name, value in zip(self.made.names, x, strict=True):
            found = changed(found, name, round(float(value), 6), given.rule)
        return replace(self.base, titration=replace(given, rule=found))

    def levels(self) -> list[np.ndarray] | None:
        if all(step is None for step in self.steps):
            return None
        found = []
        for low, high, step in zip(self.made.low, self.made.high, self.steps, strict=True):
            step = step or (high - low) / 20.0
            found.append(low + step * np.arange(int(np.floor((high - low) / step + 1e-9)) + 1))
        return found

    def function(self, patients: Patients, goals: Sequence[Goal], limits: Sequence[Limit], n: int | None) -> Objective:
        n = patients.n if n is None else min(n, patients.n)
        said = self.study.optimise
        assert said is not None
        used = {t.endpoint for t in goals} | {t.endpoint for t in limits}
        of, count = twin(self, patients.pick(np.arange(n)), used, said.smoothing)
        return Objective(of, goals, limits, said.smoothing, count)


def twin(of: Numbers, patients: Patients, used: set[str], smoothing: float) -> tuple[Values, int]:
    """Smooth endpoints under the smooth twin of the rule, with errors and fluctuation as in the clinic; of how many."""
    base, plan, head = of.base, of.plan, of.study.head
    days = head.days
    ends = tuple(e for e in plan.endpoints if e.name in used)
    where = of.study.where
    wrong = smooth.problems(ends, lambda name: f"{where}: endpoint {name!r}", rule=True)
    if wrong:
        raise InputError(*wrong)
    seen = plans.observation(of.study, patients, plan.model)
    model = registry.build(patients.source, tuple(sorted(base.drugs)))
    cohort = prepare(patients, model)
    if not np.any(cohort.status == OK):
        raise RunError("no patient has a steady state")
    if np.any(cohort.status != OK):
        rows = np.flatnonzero(cohort.status == OK)
        patients = patients.pick(rows)
        p, y0 = jax.tree.map(lambda a: np.asarray(a)[rows], (cohort.p, cohort.y0))
        cohort = Cohort(p, y0, cohort.rate[rows], cohort.status[rows])
    cols = treated(model, [base])
    clinic = clinics.setting(model, [base], seen)
    kept = smooth.keep(ends, days)
    fixed = grid(days, kept.tolist(), times(ends), base.acts(days), clinics.knots(seen, days))
    line = schedule(model, shared(model, cohort), cols, administrations(model, base, cols, days), fixed)
    care = clinics.care(model, clinic, base, seen, line, cohort, patients, looks(ends))
    given = tuple(e for e in ends if e.reducer == "titrated_dose")
    shape = clinic._replace(policy=clinic.policy._replace(smooth=smoothing))
    observed = tuple(dict.fromkeys(["platelets", *smooth.observables(ends)]))
    run = runner(
        model, cohort, observed, tuple(kept.tolist()), endpoints=given, clinic=shape, backend=gradients_by(head.backend),
        precision=head.precision, accuracy=head.accuracy,
    )  # fmt: skip
    looked = sorted({*looks(ends), *base.acts(days)})

    def values(x: Any, rows: Any = None) -> dict[str, Any]:
        whose = slice(None) if rows is None else rows
        rule = numbers(model, base)._replace(lloq=seen.lloq)
        for i, name in enumerate(of.made.names):
            rule = changed(rule, name, x[i], numbers(model, base))
        mine = care._replace(rule=policy.padded(rule, shape.policy))
        factor = {day: jnp.asarray(care.factor[k])[whose] for k, day in enumerate(looked)}
        # single precision of a trajectory, the caller's of what is made of it
        found, saved = jax.tree.map(lambda v: v.astype(jnp.result_type(x)), run(line, rows, mine))
        look = smooth.Seen(kept, saved, lambda e: found[e.name], factor, smoothing)
        return {e.name: smooth.value(e, look) for e in ends}

    return values, cohort.n


def deciding(study: Study, plan: plans.Plan, cell: plans.Cell) -> Numbers:
    """InputError for numbers that the rule does not have, and edges that could cross."""
    said, given = study.optimise, cell.treatment.titration
    assert said is not None
    assert given is not None
    problems = []
    for i, asked in enumerate(said.number):
        where = study.at("optimise", "number", i, "name")
        if asked.name not in NUMBERS:
            problems.append(unknown(where, "number of a rule", asked.name, NUMBERS))
        elif "." in asked.name and not _bands(given.rule, asked.name.split(".")[0]):
            problems.append(Problem(where, f"the rule {given.name!r} has no band that does so"))
        elif asked.name in [other.name for other in said.number[:i]]:
            problems.append(Problem(where, f"{asked.name!r} is given twice"))
    spans = {a.name: (a.low, a.high) for a in said.number}
    edges = [
        name for name in ("raise.below", "lower.above", "withhold.above") if _bands(given.rule, name.split(".")[0])
    ]
    if not problems:
        span = [spans.get(name, (number(given.rule, name),) * 2) for name in edges]
        for (a, left), (b, right) in pairwise(zip(edges, span, strict=True)):
            if left[1] > right[0]:
                message = f"{a} up to {left[1]:g} and {b} from {right[0]:g} would cross"
                problems.append(Problem(study.at("optimise", "number"), message))
    if problems:
        raise InputError(*problems)
    low, high = (np.array([getattr(a, end) for a in said.number]) for end in ("low", "high"))
    start = np.clip([number(given.rule, a.name) for a in said.number], low, high)
    made = Decisions(tuple(a.name for a in said.number), low, high, start, np.zeros(len(low), bool), ("",) * len(low))
    return Numbers(study, plan, cell.treatment, made, tuple(a.step for a in said.number))
