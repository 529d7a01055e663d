"""The audit: a random sample of a finished sweep solved again by the reference, and the error written into the file."""

from typing import Any

import numpy as np

from thrombojax.dosing.policy import Rule
from thrombojax.patients import population
from thrombojax.patients.clinic import replayed
from thrombojax.patients.draw import uniform
from thrombojax.patients.recorded import Recorded
from thrombojax.solve import engine
from thrombojax.study.plan import Cell, Plan
from thrombojax.study.sweep import adjust, care, schedules, solve_recorded

FINER = 10
"""Times the steps with which models that the reference cannot run are solved again."""
MOST_CELLS = 4
"""Arms and grid cells that share the sample."""


def _again(plan: Plan) -> dict[str, Any]:
    """How `engine.solve` finds what a run is held to: the reference, or where a model has delays its own steps, much finer."""
    if "reference" in plan.model.backends:
        return {"backend": "reference"}
    # steps grow with the third root: `engine.refinement`
    return {"backend": plan.backend, "precision": "f64", "accuracy": plan.study.head.accuracy / FINER**3}


def against(plan: Plan) -> str:
    """What the audit compares with, in words."""
    if "reference" in plan.model.backends:
        return "to 1e-10"
    return f"by the same method in float64 with {FINER} times the steps, as the reference has no delays"


def audit(plan: Plan, patients: int) -> dict[str, Any]:
    """Relative errors of the platelet count of `patients` sampled trajectories, at every visit, against the reference.

    The error is that of the run's own backend, precision and steps; where doses follow counts, the reference is given the doses
    that were recorded, and the share of decisions that it would have taken otherwise is reported apart. Patients without a
    result are left out and counted.
    """
    seed = plan.study.head.seed
    cells = np.unique(
        np.floor(uniform(seed, "audit/cell", np.arange(min(MOST_CELLS, patients))) * len(plan.cells)).astype(int)
    )
    share = int(np.ceil(patients / len(cells)))
    n = plan.patients.n
    days = plan.study.visit_days
    worst, left_out = [], 0
    decided = flipped = 0
    for k, c in enumerate(cells):
        cell = plan.cells[c]
        count = min(share, patients - k * share, n)
        if count <= 0:
            continue
        chosen = np.unique(np.floor(uniform(seed, f"audit/patient/{c}", np.arange(count)) * n).astype(int))
        if plan.events is not None:
            worst.append(_recorded(plan, plan.events, cell, chosen))
            continue
        people = adjust(plan.patients.pick(chosen), cell.settings)
        cohort = population.prepare(people, plan.model)
        line = next(schedules(plan, cohort, (cell,)))
        own = care(plan, cell, line, cohort, people)
        common: Any = {"save": ("platelets",), "days": days}
        head = plan.study.head
        fast = engine.solve(
            plan.model, cohort, line, backend=plan.backend, precision=head.precision, accuracy=head.accuracy,
            clinic=plan.clinic, care=own, **common,
        )  # fmt: skip
        clinic = plan.clinic
        if clinic is not None and own is not None and fast.ledger:
            rule = own.rule
            clinic, line, own = replayed(plan.model, clinic, line, own, cohort, fast.ledger)
        exact = engine.solve(plan.model, cohort, line, clinic=clinic, care=own, **_again(plan), **common)
        if fast.ledger and own is not None:
            here = ~np.isnan(fast.ledger["seen"]) & ~np.isnan(exact.ledger["seen"])
            decided += int(here.sum())
            flipped += int(
                (_beyond(rule, fast.ledger["seen"]) != _beyond(rule, exact.ledger["seen"])).any(axis=0)[here].sum()
            )
        good = (fast.status == engine.OK) & (exact.status == engine.OK)
        left_out += int((~good).sum())
        error = np.abs(fast.saved["platelets"][:, good] / exact.saved["platelets"][:, good] - 1.0)
        worst.append(error.max(axis=0))
    errors = np.concatenate(worst) if worst else np.zeros(0)
    found: dict[str, Any] = {
        "audit_patients": int(errors.size),
        "audit_left_out": left_out,
        "audit_against": against(plan),
    }
    if decided:
        found["audit_decisions_that_would_differ"] = flipped / decided
    if errors.size:
        found |= {
            "audit_median_relative_error": float(np.median(errors)),
            "audit_p99_relative_error": float(np.quantile(errors, 0.99)),
            "audit_max_relative_error": float(errors.max()),
        }
    return found


def _recorded(plan: Plan, events: Recorded, cell: Cell, chosen: np.ndarray) -> np.ndarray:
    """Largest relative error of each patient of an event table, at its observations and the saved days."""
    cohort = population.prepare(adjust(plan.patients.pick(chosen), cell.settings), plan.model)
    rows = chosen.tolist()
    fast, exact = (solve_recorded(plan, events, cohort, rows, backend) for backend in (plan.backend, "reference"))
    good = (fast.status == engine.OK) & (exact.status == engine.OK)
    error = np.abs(fast.saved["platelets"][:, good] / exact.saved["platelets"][:, good] - 1.0)
    return np.nanmax(np.concatenate([error, np.zeros((1, int(good.sum())))]), axis=0)


def _beyond(rule: Rule, seen: np.ndarray) -> np.ndarray:
    """On which side of every number that a rule compares counts with, `[number, visit, patient]`."""
    edges: set[Any] = {rule.resume_below, rule.rescue_below}
    for band in rule.bands:
        edges |= {band.low, band.high}
    for stop in rule.stops:
        edges |= {stop.low, stop.high}
    return np.array([seen >= edge for edge in edges])
