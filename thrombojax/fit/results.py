"""`thrombojax fit`: individual fits in a results file, and as a table."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thrombojax import execute, provenance
from thrombojax.errors import RunError
from thrombojax.fit import patients, problem
from thrombojax.fit.patients import STATUS, Fits
from thrombojax.models import struct
from thrombojax.patients.cohort import COUNT
from thrombojax.store import Axis, Layout, Variable, flags
from thrombojax.study import plan as plans
from thrombojax.study.file_layout import of_observations, people
from thrombojax.study.schema import load

EACH = ("parameter", "patient")


@dataclass(frozen=True)
class Outcome:
    """path: of the results; failed: patients whose status is neither ok nor at_bound; summary: what a terminal should show."""

    path: Path
    failed: int
    summary: str


def run(
    study_path: str | Path, out: str | Path, *, overwrite: bool = False, patients_asked: int | None = None
) -> Outcome:
    """Fit the patients of a study and write one results file. InputError before anything is computed."""
    study = load(study_path).override(n=patients_asked)
    plan = plans.make(study)
    posterior = problem.make(plan)
    assert study.fit is not None
    level = study.fit.level
    found: list[Fits] = []

    def compute(start: int, stop: int) -> Mapping[str, np.ndarray]:
        found.append(patients.fit(posterior, plan.ids, level))
        return arrays(found[0])

    digest = provenance.kernel_hash(plan)
    work = execute.Work(
        n=len(plan.ids),
        layout=layout(posterior, plan.ids, study.head.name),
        kernel_hash=provenance.with_code(digest, Path(__file__).parent),
        compute=compute,
        study=provenance.identity(plan),
        provenance=provenance.record(plan, digest) | {"precision": "f64", "fit_level": level},
    )
    began = time.monotonic()
    done = execute.execute(work, Path(out), overwrite=overwrite)
    if done.interrupted:
        raise RunError("interrupted before the fits were done; nothing was written")
    fits = found[0]
    seconds = time.monotonic() - began
    return Outcome(
        done.path, int((~good(fits)).sum()), f"results: {done.path}\n\n{table(fits)}\n\nfitted in {seconds:.1f} s"
    )


def good(fits: Fits) -> np.ndarray:
    """Which patients have a fit (`[patient]`)."""
    return np.isin(fits.status, (patients.OK, patients.AT_BOUND))


def layout(of: problem.Posterior, ids: tuple[str, ...], title: str) -> Layout:
    """What a results file of fits has. One shard: thousands of patients are small, and shrinkage is of all of them."""
    names = np.asarray([p.name for p in of.priors], object)
    unit = {leaf.name: leaf.quantity.unit for leaf in struct.fields(of.model.Parameters)} | {COUNT: "1/nL"}
    units = ", ".join(f"{p.name} {unit[p.name]}" for p in of.priors)
    scale = ", ".join(f"{p.name} {'log' if p.log else unit[p.name]}" for p in of.priors)
    axes = [
        Axis("parameter", names, "", "fitted parameter"),
        Axis("parameter_2", names, "", "fitted parameter"),
        Axis("component", np.asarray([c.name for c in of.components], object), "", "parts of the cohort's mixtures"),
        Axis("observation", np.arange(len(of.dv)), "", "number of a patient's observation"),
        people(ids, len(ids)),
    ]

    def each(name: str, meaning: str, of: str) -> Variable:
        return Variable(name, EACH, "float64", "", meaning, attrs={"units_by_parameter": of})

    def one(name: str, kind: str, meaning: str) -> Variable:
        return Variable(name, ("patient",), kind, "", meaning)

    variables = [
        each("estimate", "most probable value given the counts (maximum a posteriori)", units),
        each("low", "lower end of the interval", units),
        each("high", "upper end of the interval", units),
        each("eta", "deviation from the prior's median", scale),
        each("se", "standard error of eta", scale),
        Variable("shrinkage", ("parameter",), "float64", "1", "1 - SD of eta over patients / SD of the prior", "covariate"),
        one("objective", "float64", "minus the log posterior, without constants"),
        one("iterations", "int32", "steps to the minimum"),
        one("part", "int32", "the component of the mixtures that was chosen, counted from 0"),
        Variable("status", ("patient",), "uint8", "", "how the fit ended", "status", attrs=flags(STATUS)),
        Variable("z", EACH, "float64", "1", "estimate in standard deviations of the prior", "covariate", "posterior"),
        Variable(
            "covariance", ("parameter", "parameter_2", "patient"), "float64", "1", "posterior covariance of z", "covariate",
            "posterior",
        ),
        Variable("probability", ("component", "patient"), "float64", "1", "of each component given the counts", "covariate",
                 "posterior"),
        *of_observations((), "float64", "count at the estimates"),
    ]  # fmt: skip
    attrs = {"title": title, "source": f"thrombojax, individual fits of model {of.model.name}"}
    return Layout(tuple(axes), tuple(variables), attrs, max(len(ids), 1))


def arrays(fits: Fits) -> dict[str, np.ndarray]:
    """Every variable of `layout` by name."""
    of = fits.posterior
    day = np.full(of.dv.shape, np.nan)
    line = of.course.line.timeline
    ends = np.concatenate([line.start[:1], line.start + line.length])
    there = of.course.bounds >= 0
    day[there] = np.take_along_axis(ends, np.maximum(of.course.bounds, 0), 0)[there]
    return {
        "estimate": fits.estimate, "low": fits.low, "high": fits.high, "eta": fits.eta, "se": fits.se,
        "shrinkage": fits.shrinkage, "objective": fits.objective, "iterations": fits.iterations.astype(np.int32),
        "part": fits.component.astype(np.int32), "status": fits.status, "z": fits.z,
        "covariance": np.moveaxis(fits.covariance, 0, -1), "probability": fits.probability,
        "day": day, "dv": of.dv, "predicted": fits.predicted,
    }  # fmt: skip


def table(fits: Fits) -> str:
    """What was found over all patients, a row a parameter; then who could not be fitted."""
    from thrombojax.cli import show

    mine = good(fits)
    unit = {leaf.name: leaf.quantity.unit for leaf in struct.fields(fits.posterior.model.Parameters)} | {COUNT: "1/nL"}
    rows = []
    for k, prior in enumerate(fits.posterior.priors):
        low, middle, high = np.quantile(fits.estimate[k, mine], [0.05, 0.5, 0.95]) if mine.any() else [np.nan] * 3
        rows.append({
            "parameter": prior.name, "unit": unit[prior.name], "5 %": _few(low), "median": _few(middle), "95 %": _few(high),
            "eta SD": _few(np.std(fits.eta[k, mine])), "prior SD": _few(prior.spread),
            "median SE": _few(np.median(fits.se[k, mine]) if mine.any() else np.nan),
            "shrinkage %": _few(100 * fits.shrinkage[k]),
        })  # fmt: skip
    n = fits.posterior.patients
    counts = int(np.isfinite(fits.posterior.dv).sum())
    lines = [show.table(rows), "", f"{n} patients, {counts} counts; estimates over patients, SE and SD of eta"]
    if len(fits.posterior.components) > 1:
        shares = [
            f"{c.name} {100 * np.mean(fits.component[mine] == k):.0f} %"
            for k, c in enumerate(fits.posterior.components)
        ]
        lines.append("most probable component: " + "; ".join(shares))
    for name, code in STATUS.items():
        who = [fits.ids[k] for k in np.flatnonzero(fits.status == code)]
        if who and code != patients.OK:
            shown = ", ".join(who[:10]) + (", ..." if len(who) > 10 else "")
            lines.append(f"{name.replace('_', ' ')}: {len(who)} of {n} patients ({shown})")
    return "\n".join(lines)


def _few(value: float) -> float:
    return float(f"{value:.4g}")
