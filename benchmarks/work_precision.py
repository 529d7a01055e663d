"""Work against error of the fixed steps: `python -m benchmarks.work_precision [--json FILE]`.

Virtual ITP patients on weekly romiplostim for 26 weeks, daily counts, against the reference at 1e-10. Error: the 99th percentile
over patients of the largest relative error of the platelet count. Work: evaluations of the right-hand side per week.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

import thrombojax as tj
from thrombojax.dosing import administer
from thrombojax.dosing.timeline import Schedule, event_times, grid, schedule
from thrombojax.models import registry
from thrombojax.models.protocol import Model, in_steps
from thrombojax.patients import population
from thrombojax.solve import engine
from thrombojax.solve.steppers import CLASSICAL, LONG, Tableau

PATIENTS, DAYS = 256, 182.0
DOSES = ("1", "3", "10")
SHAPED = ((0.0028, 1.0), (0.014, 1.0), (0.046, 1.0), (0.11, 1.0), (0.335, 2.0), (1.0, 2.0))
SHORT = {
    "20 a week, shaped": (in_steps(*SHAPED), 2.0),
    "26 a week, shaped": (in_steps(*SHAPED), 3.0),
    "40 a week, shaped": (in_steps(*((until, 2 * n) for until, n in SHAPED)), 4.0),
    "21 a week": (((0.05, 60.0), (0.3, 12.0), (1.0, 4.2)), 2.0),
    "19 a week": (((0.05, 40.0), (0.3, 8.0), (1.0, 4.2)), 2.0),
    "18 a week": (((0.05, 40.0), (0.3, 8.0), (1.0, 2.8)), 2.0),
    "27 a week": (((0.05, 60.0), (0.3, 12.0), (1.0, 4.2)), 3.0),
    "41 a week": (((0.05, 140.0), (0.3, 20.0), (1.0, 7.1)), 4.0),
    "35 a week": (((0.05, 140.0), (0.3, 20.0), (1.0, 7.1)), 3.0),
}
"""Short steps after a dose (until day, steps per day), then steps per day; shaped: as romiplostim has them."""
METHODS: dict[str, Tableau] = {"classical": CLASSICAL, "long": LONG}


def timeline(model: Model, cohort: engine.Cohort, dose: str) -> Schedule:
    regimen = tj.regimen(f"romiplostim {dose} ug/kg sc weekly x 26")
    columns = administer.columns(model, [regimen])
    slots = administer.slots(model, regimen, columns, DAYS)
    fixed = grid(DAYS, event_times(model, model.defaults, slots, columns))
    return schedule(model, population.shared(model, cohort), columns, slots, fixed)


def measure() -> list[dict[str, Any]]:
    patients = tj.cohort("itp").sample(PATIENTS, seed=1)
    model = registry.build(patients.source, ("romiplostim",))
    cohort = population.prepare(patients, model)
    days = np.arange(1, DAYS + 1)
    rows = []
    for dose in DOSES:
        common: Any = {"save": ("platelets",), "days": days}
        exact = engine.solve(model, cohort, timeline(model, cohort, dose), backend="reference", **common)
        for steps, (refine, per_day) in SHORT.items():
            entries = {k: dataclasses.replace(e, refine=refine) for k, e in model.entries.items()}
            changed = dataclasses.replace(model, entries=entries, steps_per_day=per_day)
            line = timeline(changed, cohort, dose)
            for name, tableau in METHODS.items():
                factor = engine.buckets(changed, cohort.rate, tableau)
                for precision in ("f64", "f32"):
                    found = engine.solve(changed, cohort, line, precision=precision, tableau=tableau, **common)
                    error = np.abs(found.saved["platelets"] / exact.saved["platelets"] - 1.0).max(axis=0)
                    rows.append({
                        "method": name, "steps": steps, "dose": f"{dose} ug/kg", "precision": precision,
                        "evaluations_per_week": float(line.timeline.steps.sum() / 26 * len(tableau.b) * factor.mean()),
                        "p99_relative_error": float(np.nanquantile(error, 0.99)), "failed": int((found.status != 0).sum()),
                    })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = measure()
    print(
        "| method | steps | evaluations a week | "
        + " | ".join(f"{d} ug/kg, {p}" for d in DOSES for p in ("f64", "f32"))
        + " |"
    )
    print("| --- " * (3 + 2 * len(DOSES)) + "|")
    for method, steps in dict.fromkeys((r["method"], r["steps"]) for r in rows):
        mine = [r for r in rows if (r["method"], r["steps"]) == (method, steps)]
        shown = " | ".join(f"{r['p99_relative_error']:.1e}" for r in mine)
        print(f"| {method} | {steps} | {mine[0]['evaluations_per_week']:.0f} | {shown} |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
