"""`thrombojax population`: run a study's candidates, weigh the plausible ones, write both into one results file."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from thrombojax import api, execute, report, store
from thrombojax.cli import show
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.models import struct
from thrombojax.outputs import free
from thrombojax.patients import population
from thrombojax.patients.proposal import log_ratio
from thrombojax.populations import make
from thrombojax.populations.make import Candidates, Made
from thrombojax.report import picture
from thrombojax.solve.engine import OK
from thrombojax.store.hdf5 import GZIP, rename, write_attrs
from thrombojax.store.layout import PATIENT, WEIGHT
from thrombojax.store.shards import disk_error
from thrombojax.study import plan as plans
from thrombojax.study.file_layout import of_weights
from thrombojax.study.plan import Plan
from thrombojax.study.schema import Study, load

ENOUGH = 0.1
"""Effective sample size, as a share of the plausible patients, below which a population rests on few of them."""


@dataclass(frozen=True)
class Done:
    """How it ended. made: None where the run was interrupted."""

    path: Path
    interrupted: bool
    made: Made | None
    summary: str


def candidates_file(out: Path) -> Path:
    """Where the candidates' results are until the population is there."""
    return out.with_name(f"{out.stem}.candidates{out.suffix}")


def run(
    study_path: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    patients: int | None = None,
    precision: str | None = None,
    backend: str | None = None,
    stop_after: float | None = None,
    audit: int = 256,
    model_file: str | Path | None = None,
    figure: str | Path | None = None,
    progress: Callable[[execute.Progress], None] | None = None,
) -> Done:
    """Makes the virtual population of a study file, a results file in which every patient has a weight.

    Raises InputError for a study that asks for none, and for targets and bounds that its candidates cannot meet: their results
    then stay beside OUT, and other targets with resume = True need no new run. RunError where a run fails.
    """
    study, out = load(study_path).override(n=patients, precision=precision, backend=backend), Path(out)
    if study.population is None:
        raise InputError(Problem(study.where, "has no [population], which says what patients should match"))
    free(out, overwrite)
    if figure is not None:
        picture.check(Path(figure))
    plan = plans.make(study, None if model_file is None else str(model_file))
    names(plan)
    first = candidates_file(out)
    ended = api.run_study(study, first, resume=resume, overwrite=overwrite and not resume, stop_after=stop_after,
                          audit=audit, model_file=model_file, progress=progress)  # fmt: skip
    if ended.interrupted:
        return Done(out, True, None, "")
    try:
        made = make.make(study, candidates(plan, first), _units(plan))
    except InputError as error:
        hint = f"the candidates' results are kept: with other targets or bounds, --resume goes on from {first.name}"
        raise InputError(*error.problems, Problem(str(first), hint)) from None
    write(first, out, study, made)
    first.unlink()
    if figure is not None:
        from thrombojax.populations import figure as pictures

        pictures.draw(study.head.name, made, Path(figure))
    return Done(
        out, False, made, "\n".join([f"population: {out}", "", report.table(out).rstrip(), "", *said(study, made)])
    )


def names(plan: Plan) -> None:
    """Raises InputError, before anything runs, for arms and quantities of targets and conditions that do not exist."""
    one = np.ones(1)
    baseline = {name: one for name in (*struct.names(plan.model.Parameters), *struct.names(plan.model.Obs))}
    ends = {arm.name: {e.name: one for e in plan.endpoints} for arm in plan.study.arms}
    nobody = Candidates(baseline, ends, one > 0, 0 * one, {})
    found: list[Problem] = []
    assert plan.study.population is not None
    checks: list[Callable[[], object]] = [partial(make.plausibility, plan.study, nobody)]
    for i in range(len(plan.study.population.target)):
        checks.append(partial(make.asked, plan.study, i, nobody, one > 0))
    for check in checks:
        try:
            check()
        except InputError as error:
            found += error.problems
    if found:
        raise InputError(*found)


def candidates(plan: Plan, file: Path) -> Candidates:
    """What is known of the candidates: their baseline, drawn again, and what the run found."""
    cohort = population.prepare(plan.patients, plan.model)
    with jax.enable_x64(True):
        seen = struct.as_dict(plan.model.observe(cohort.y0, cohort.p))
    baseline = {name: np.asarray(v, float) for name, v in {**struct.as_dict(cohort.p), **seen}.items()}
    ends: dict[str, dict[str, np.ndarray]] = {}
    sound = cohort.status == OK
    with store.results.reading(file) as found:
        for a, arm in enumerate(plan.study.arms):
            sound = sound & (found["status"][a] == OK)
            ends[arm.name] = {e.name: np.asarray(found[e.name][a], float) for e in plan.endpoints}
    said, own = plan.study.population, plan.patients.cohort
    assert said is not None
    assert own is not None
    assert plan.patients.index is not None
    known = struct.names(plan.model.Parameters)
    base = log_ratio(own, said.widen, known, plan.patients.seed, plan.patients.index)
    return Candidates(baseline, ends, np.asarray(sound), base, _ranges(plan))


def _ranges(plan: Plan) -> dict[str, tuple[float, float]]:
    """Plausible values of what varies: of the parameter, or where it says so of the cohort."""
    cohort = plan.patients.cohort
    found = {}
    for leaf in struct.fields(plan.model.Parameters):
        fixed = cohort.parameters.get(leaf.name) if cohort is not None else None
        low = fixed.low if fixed is not None and fixed.low is not None else leaf.quantity.low
        high = fixed.high if fixed is not None and fixed.high is not None else leaf.quantity.high
        if leaf.name in plan.parameters and low is not None and high is not None:
            found[leaf.name] = (low, high)
    return found


def _units(plan: Plan) -> dict[str, str]:
    """Units as they are printed, by the names that targets use."""
    from thrombojax.report.summary import unit_text

    found = {
        leaf.name: leaf.quantity.unit
        for leaf in (*struct.fields(plan.model.Parameters), *struct.fields(plan.model.Obs))
    }
    found |= {name.rsplit(".", 1)[-1]: unit for name, unit in found.items()}
    found |= {v.name: v.unit for v in plan.layout.variables if v.role == "endpoint"}
    return {name: unit_text(unit) for name, unit in found.items()}


def write(first: Path, out: Path, study: Study, made: Made) -> None:
    """The candidates' file with weights, under its own name only when it is whole. Raises RunError for a full disk."""
    variable = of_weights()
    temporary = out.with_name(out.name + ".tmp")
    try:
        if shutil.disk_usage(out.parent).free < first.stat().st_size + 8 * len(made.weights) + 2**22:
            raise RunError(f"{out}: no room on the disk; the candidates' results are kept in {first.name}")
        shutil.copyfile(first, temporary)
        with h5py.File(temporary, "r+") as file:
            chunk = (min(len(made.weights), 65536),)
            data = file.create_dataset(WEIGHT, data=made.weights, chunks=chunk, shuffle=True, fletcher32=True, **GZIP)
            data.dims[0].attach_scale(file[PATIENT])
            write_attrs(data, {"units": variable.unit, "long_name": variable.long_name, "role": variable.role})
            data.attrs["_FillValue"] = np.array([np.nan])
            write_attrs(file["provenance"], {"study": study.text, **facts(made)})
        with temporary.open("rb") as raw:
            os.fsync(raw.fileno())
        rename(temporary, out)
    except OSError as error:
        raise disk_error(error, out, f"the candidates' results are kept in {first.name}") from None
    finally:
        temporary.unlink(missing_ok=True)


def facts(made: Made) -> dict[str, Any]:
    """What a results file says of its weights."""
    return {
        "population_candidates": len(made.weights),
        "population_plausible": int(made.plausible.sum()),
        "population_effective": made.effective,
        "population_largest_weight": float(made.weights.max()),
        "population_excluded": json.dumps(dict(made.excluded)),
        "population_targets": json.dumps(
            [
                {"name": r.name, "arm": r.arm, "wanted": r.marginal.said, "source": r.source,
                 "distance_unweighted": r.plain, "distance": r.weighted}
                for r in made.rows
            ]
        ),
    }  # fmt: skip


def said(study: Study, made: Made) -> list[str]:
    """The population in words and a table: who was plausible, what was matched, on how many patients it rests."""
    assert study.population is not None
    n, plausible = len(made.weights), int(made.plausible.sum())
    excluded = "; ".join(f"{text}: {count} out" for text, count in made.excluded if count)
    share = made.effective / plausible
    lines = [
        f"plausible: {plausible} of {n} candidates" + (f" ({excluded})" if excluded else ""),
        f"effective sample size: {made.effective:.0f}, {100 * share:.0f} % of the plausible patients; the heaviest stands for "
        f"{100 * made.weights.max():.2g} % of the population",
    ]
    if study.population.base == "cohort" and study.population.widen > 1:
        lines.append(f"weights back to the cohort alone would leave {100 * made.base / plausible:.0f} %")
    if share < ENOUGH:
        lines.append(
            f"that is less than {100 * ENOUGH:g} %: percentiles rest on few patients; what helps: draws nearer to the targets "
            "(widen, vary), fewer targets"
        )
    sources = [f"{row.name}: {row.source}" for row in made.rows if row.source]
    lines += ["", show.table(make.table(made)), "distance: Kolmogorov-Smirnov; of a mean and SD, in SDs", *sources]
    return lines
