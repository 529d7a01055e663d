"""What the command line and Python users call: run, check, info, model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrombojax import execute, provenance, report, store
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.execute.audit import audit as run_audit
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.models.protocol import Model
from thrombojax.solve import engine
from thrombojax.study import plan as plans
from thrombojax.study import sweep as sweeps
from thrombojax.study.schema import Study, load


@dataclass(frozen=True)
class Outcome:
    """How a run ended; summary: what a terminal should show."""

    path: Path
    interrupted: bool
    failed: int
    patients: int
    seconds: float
    audit: dict[str, Any] | None
    summary: str


def model(name: str, parameter_set: str = DEFAULT_SET, drugs: tuple[str, ...] = ()) -> Model:
    """A model by name; an assembled one with the states of `drugs`."""
    return registry.build(registry.Source(name, parameter_set), drugs)


def run(
    study_path: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    patients: int | None = None,
    precision: str | None = None,
    backend: str | None = None,
    workers: int | str = 1,
    stop_after: float | None = None,
    audit: int = 256,
    keep_shards: bool = False,
    allow_mixed: bool = False,
    model_file: str | Path | None = None,
    progress: Callable[[execute.Progress], None] | None = None,
) -> Outcome:
    """Run a study file and write one results file. InputError before anything is computed, RunError where a run fails."""
    if workers != 1:
        raise InputError(Problem("--workers", f"given {workers}; one process is all there is yet (it uses every core)"))
    study = load(study_path).override(n=patients, precision=precision, backend=backend)
    if study.population is not None:
        raise InputError(
            Problem(study.at("population"), "is made by `thrombojax population`, which runs and weighs it")
        )
    if study.sensitivity is not None:
        raise InputError(plans.not_of_factors(study))
    return run_study(
        study,
        out,
        resume=resume,
        overwrite=overwrite,
        stop_after=stop_after,
        audit=audit,
        keep_shards=keep_shards,
        allow_mixed=allow_mixed,
        model_file=model_file,
        progress=progress,
    )


def run_study(
    study: Study,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop_after: float | None = None,
    audit: int = 256,
    keep_shards: bool = False,
    allow_mixed: bool = False,
    model_file: str | Path | None = None,
    progress: Callable[[execute.Progress], None] | None = None,
) -> Outcome:
    """As `run`, of a study that has been read."""
    plan = plans.make(study, None if model_file is None else str(model_file))
    began = time.time()
    _refuse_memory(plan)
    digest = provenance.kernel_hash(plan)
    work = execute.Work(
        n=plan.layout.n,
        layout=plan.layout,
        kernel_hash=digest,
        compute=sweeps.sweep(plan),
        study=provenance.identity(plan),
        provenance=provenance.record(plan, digest),
    )
    done = execute.execute(
        work,
        Path(out),
        resume=resume,
        overwrite=overwrite,
        keep_shards=keep_shards,
        allow_mixed=allow_mixed,
        stop_after=stop_after,
        progress=progress,
    )
    found = None
    if not done.interrupted:
        noted = store.provenance(done.path)
        found = {name: value for name, value in noted.items() if name.startswith("audit_")}
        if not done.complete:
            store.annotate(done.path, {"wall_time_s": time.time() - began})
        # A run that was killed while it audited is audited when it is resumed.
        if audit > 0 and not found and noted.get("kernel_hash") == digest:
            found = run_audit(plan, audit)
            store.annotate(done.path, found)
    summary = "" if done.interrupted else _summary(done, found, bool(plan.endpoints))
    return Outcome(done.path, done.interrupted, done.failed, done.total, time.time() - began, found, summary)


def _summary(done: execute.Outcome, found: dict[str, Any] | None, endpoints: bool) -> str:
    lines = [f"results: {done.path}"]
    if done.complete:
        lines[0] += " (was complete already)"
    if endpoints:
        lines += ["", report.table(done.path).rstrip(), ""]
    if found and "audit_p99_relative_error" in found:
        against = found.get("audit_against", "to 1e-10")
        lines.append(
            f"audit: {found['audit_patients']} trajectories solved again {against}; relative error of the platelet count "
            f"at visits: median {found['audit_median_relative_error']:.1e}, 99 % {found['audit_p99_relative_error']:.1e}, "
            f"largest {found['audit_max_relative_error']:.1e}"
        )
    if done.failed:
        lines.append(f"failed: {done.failed} trajectories have a status other than ok; see the variable `status`")
    return "\n".join(lines)


def check(
    study_path: str | Path, *, patients: int | None = None, precision: str | None = None, backend: str | None = None
) -> dict[str, Any]:
    """What a study would run: patients, arms, segments, trajectories, bytes, seconds (a rough nominal figure)."""
    study = load(study_path).override(n=patients, precision=precision, backend=backend)
    if study.sensitivity is None:
        plan = plans.make(study)
        n, kept = plan.patients.n, plan.layout.bytes()
    else:
        from thrombojax.sensitivity import analyse, problem

        given = problem.problem(study)
        plan, (n, kept) = given.plan, analyse.planned(given)
    cells = len(plan.cells)
    launch = _launch(plan)
    launches = -(-n // launch)  # the last one is as long as any
    steps = plan.study.head.days * plan.model.steps_per_day * 1.5
    return {
        "patients": n,
        "arms": cells,
        "segments": len(plan.fixed) - 1,
        "trajectories": cells * n,
        "bytes_on_disk": kept,
        "peak_memory_bytes": _peak_memory(plan),
        "seconds": round(
            _START_SECONDS + launches * launch * cells * steps * _STEP_SECONDS[plan.study.head.precision], 1
        ),
    }


def _launch(plan: plans.Plan) -> int:
    """Patients that are computed at once, padded to that number."""
    return engine.block_of(plan.model, plan.backend) * len(engine.workers())


def _peak_memory(plan: plans.Plan) -> int:
    """Bytes: three shards of results, one shard's patients, and observables at every bound of one launch."""
    item = 4 if plan.study.head.precision == "f32" else 8
    leaves = len(struct.names(plan.model.Parameters)) + len(struct.names(plan.model.State))
    shard = min(plan.layout.shard_patients, plan.layout.n)
    people = shard * plan.patients.n // plan.layout.n  # of all trials
    saved = 2 * len(plan.fixed) * _launch(plan) * len(plan.observables) * item
    return (
        _BASE_BYTES + 3 * plan.layout.bytes(patients=shard) + 4 * people * leaves * item + saved + 32 * plan.patients.n
    )


def _refuse_memory(plan: plans.Plan) -> None:
    """A run that clearly cannot fit ends here with a message, not later by the kernel's hand."""
    need, free = _peak_memory(plan), _free_memory()
    if free is not None and need > free:
        raise RunError(
            f"{plan.study.where}: needs about {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
            "what helps: fewer saved days, observables or grid cells"
        )


def _free_memory() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None  # not Linux


_BASE_BYTES = 600 * 2**20
_START_SECONDS = 12.0
_STEP_SECONDS = {"f32": 0.3e-6, "f64": 0.5e-6}
"""Nominal seconds of one step of one patient on one machine of two cores; a guide, not a promise."""
