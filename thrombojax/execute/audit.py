"""The audit: a random sample of a finished sweep solved again by the reference, and the error written into the file."""

from typing import Any

import numpy as np

from thrombojax.patients import population
from thrombojax.patients.draw import uniform
from thrombojax.solve import engine
from thrombojax.study.plan import Plan, adjust, schedules

MOST_CELLS = 4
"""Arms and grid cells that share the sample."""


def audit(plan: Plan, patients: int) -> dict[str, Any]:
    """Relative errors of the platelet count of `patients` sampled trajectories, at every visit, against the reference.

    The error is that of the run's own backend, precision and steps. Patients without a result are left out and counted.
    """
    seed = plan.study.head.seed
    cells = np.unique(
        np.floor(uniform(seed, "audit/cell", np.arange(min(MOST_CELLS, patients))) * len(plan.cells)).astype(int)
    )
    share = int(np.ceil(patients / len(cells)))
    n = plan.layout.n
    days = plan.study.visit_days
    worst, left_out = [], 0
    for k, c in enumerate(cells):
        cell = plan.cells[c]
        count = min(share, patients - k * share, n)
        if count <= 0:
            continue
        chosen = np.unique(np.floor(uniform(seed, f"audit/patient/{c}", np.arange(count)) * n).astype(int))
        cohort = population.prepare(adjust(plan.patients.pick(chosen), cell.settings), plan.model)
        line = next(schedules(plan, cohort, (cell,)))
        common: Any = {"save": ("platelets",), "days": days}
        head = plan.study.head
        fast = engine.solve(
            plan.model, cohort, line, backend=plan.backend, precision=head.precision, accuracy=head.accuracy, **common
        )
        exact = engine.solve(plan.model, cohort, line, backend="reference", **common)
        good = (fast.status == engine.OK) & (exact.status == engine.OK)
        left_out += int((~good).sum())
        error = np.abs(fast.saved["platelets"][:, good] / exact.saved["platelets"][:, good] - 1.0)
        worst.append(error.max(axis=0))
    errors = np.concatenate(worst) if worst else np.zeros(0)
    found: dict[str, Any] = {"audit_patients": int(errors.size), "audit_left_out": left_out}
    if errors.size:
        found |= {
            "audit_median_relative_error": float(np.median(errors)),
            "audit_p99_relative_error": float(np.quantile(errors, 0.99)),
            "audit_max_relative_error": float(errors.max()),
        }
    return found
