"""Simulate and refit: counts of virtual patients with ITP on weekly romiplostim, fitted one and all.

    python -m benchmarks.refit [--patients 500] [--scipy 10] [--json FILE]

Truth: PARAMETERS drawn from the cohort (all else at its medians), eight counts each, with the cohort's
error of counting. Then one batch, and SciPy (BFGS, gradients by the same kernel) on the same posterior, a patient at a time.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import thrombojax as tj
from thrombojax import fit
from thrombojax.dosing.care import Error, measured
from thrombojax.fit import problem
from thrombojax.patients import cohort as cohorts
from thrombojax.study import plan as plans
from thrombojax.study.schema import load

PARAMETERS = ("count", "megakaryocytes.stem_capacity", "romiplostim.potency", "romiplostim.elimination")
DAYS = (0.0, 5.0, 9.0, 14.0, 20.0, 28.0, 35.0, 41.0)
REGIMEN, AMOUNT, WEEKS = "romiplostim 2 ug/kg sc weekly x 6", 2.0, 6
STUDY = """schema = 1
[study]
name = "refit"
question = "Do fits find the parameters that made the counts?"
model = "feedback"
parameter_set = "2"
days = 42
[patients]
cohort = "itp"
[events]
table = "counts.csv"
time_unit = "day"
doses = {{ "1" = ["romiplostim", "sc", "ug/kg"] }}
[fit]
parameters = [{names}]
mixtures = []
"""


def truth(n: int, seed: int) -> dict[str, np.ndarray]:
    """Parameter -> `[patient]`, as the cohort draws them."""
    itp = tj.cohort("itp", parameter_set="2").sample(1).cohort
    assert itp is not None
    single = itp.model_copy(update={"mixture": tuple(_likeliest(m) for m in itp.mixture)})
    typical = cohorts.typical(
        single,
        dict.fromkeys(PARAMETERS[1:], 1.0)
        | {"romiplostim.potency": 0.045, "romiplostim.elimination": _default("elimination")},
    )
    drawn = cohorts.sample(single, {leaf: float(typical[leaf][0]) for leaf in PARAMETERS[1:]}, seed, np.arange(n))
    return {leaf: drawn[leaf] for leaf in PARAMETERS}


def _default(name: str) -> float:
    return float(getattr(tj.model("feedback", "2", ("romiplostim",)).defaults.romiplostim, name))


def _likeliest(mixture: Any) -> Any:
    return mixture.model_copy(update={"parts": (max(mixture.parts, key=lambda part: part.probability),)})


def write(folder: Path, n: int, seed: int) -> dict[str, np.ndarray]:
    """A study and its table of simulated counts; returns the truth."""
    made = truth(n, seed)
    typical = tj.cohort("itp", parameter_set="2").typical()
    people = tj.Patients(typical.source, n, typical.cohort).replace(made)
    out = tj.simulate(people, REGIMEN, days=42, save=DAYS, precision="f64")
    assert not out.status.any()
    seen = typical.cohort.observation
    counts = out.saved["platelets"] * measured(seed, np.arange(n), DAYS, Error(seen.residual_cv))
    rows = ["ID,TIME,EVID,AMT,ADDL,II,DV"]
    for k in range(n):
        rows.append(f"{k + 1},0,1,{AMOUNT},{WEEKS - 1},7,.")
        rows += [f"{k + 1},{day:g},0,.,.,.,{value:.6g}" for day, value in zip(DAYS, counts[:, k], strict=True)]
    (folder / "counts.csv").write_text("\n".join(rows) + "\n")
    (folder / "study.toml").write_text(STUDY.format(names=", ".join(f'"{name}"' for name in PARAMETERS)))
    return made


def one_by_one(of: problem.Posterior, patients: Sequence[int]) -> tuple[np.ndarray, float, int]:
    """SciPy on the same posteriors: z `[k, patient]`, seconds, evaluations."""
    k, evaluations, found = len(of.priors), 0, []
    fastest = np.zeros(of.rows)

    def objective(z: np.ndarray, row: int) -> tuple[float, np.ndarray]:
        value, gradient, _ = problem.evaluate(of, z[:, None], np.array([row]), fastest, block=1)
        return float(value[0]), gradient[:, 0]

    objective(np.zeros(k), patients[0])  # compiles
    began = time.perf_counter()
    for row in patients:
        done = minimize(objective, np.zeros(k), (row,), jac=True, method="BFGS", options={"gtol": 1e-3})
        evaluations += int(done.nfev)
        found.append(done.x)
    return np.array(found).T, time.perf_counter() - began, evaluations


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--scipy", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        record = measure(Path(name), given.patients, given.scipy, given.seed)
    text = json.dumps(record, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")


def measure(folder: Path, n: int, some: int, seed: int) -> dict[str, Any]:
    made = write(folder, n, seed)
    plan = plans.make(load(folder / "study.toml"))
    began = time.perf_counter()
    of = problem.make(plan)
    prepared = time.perf_counter() - began
    fit.patients.fit(of, plan.ids)  # compiles
    began = time.perf_counter()
    fits = fit.patients.fit(of, plan.ids)
    seconds = time.perf_counter() - began
    chosen = np.linspace(0, n - 1, some).astype(int)
    z, alone, evaluations = one_by_one(of, chosen.tolist())
    true = np.stack([made[name] for name in PARAMETERS])
    inside = (fits.low <= true) & (true <= fits.high)
    batch, single = seconds / n, alone / some
    return {
        "what": f"{n} patients with ITP, {len(DAYS)} counts each, {len(PARAMETERS)} parameters, {REGIMEN}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "status": {name: int((fits.status == code).sum()) for name, code in fit.patients.STATUS.items()},
        "iterations": {"median": float(np.median(fits.iterations)), "largest": int(fits.iterations.max())},
        "coverage_of_90_percent": {
            **{name: round(float(inside[k].mean()), 4) for k, name in enumerate(PARAMETERS)},
            "all": round(float(inside.mean()), 4),
        },
        "shrinkage": dict(zip(PARAMETERS, np.round(fits.shrinkage, 3).tolist(), strict=True)),
        "timelines_s": round(prepared, 2),
        "batch_s": round(seconds, 2),
        "batch_s_per_patient": round(batch, 6),
        "scipy_patients": some,
        "scipy_s_per_patient": round(single, 4),
        "scipy_evaluations_per_patient": evaluations / some,
        "largest_difference_from_scipy_in_prior_sd": float(np.abs(fits.z[:, chosen] - z).max()),
        "ratio": round(single / batch, 1),
    }


if __name__ == "__main__":
    main()
