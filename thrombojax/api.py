"""What the command line and Python users call: run, check, info, model."""

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from thrombojax import execute, report, store
from thrombojax.codegen import build
from thrombojax.endpoints import REDUCERS
from thrombojax.errors import InputError, Problem, RunError, unknown
from thrombojax.execute.audit import audit as run_audit
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.solve import engine
from thrombojax.study import plan as plans
from thrombojax.study import sweep as sweeps
from thrombojax.study.schema import Study, load
from thrombojax.study.virtual import without_targets

TOPICS = ("devices", "models", "cohorts", "drugs", "mechanisms", "parameters", "states", "endpoints", "observables")
HERE = Path(__file__).parent
KERNEL = ("models", "drugs", "endpoints", "solve", "codegen", "dosing", "patients")
"""Folders whose text decides a result's bytes."""


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
    digest = kernel_hash(plan)
    work = execute.Work(
        n=plan.layout.n,
        layout=plan.layout,
        kernel_hash=digest,
        compute=sweeps.sweep(plan),
        study=identity(plan),
        provenance=provenance(plan, digest),
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


def identity(plan: plans.Plan) -> str:
    """Text by which two runs are the same study: the file, what the command line changed, and the patient table."""
    study = plan.study
    sections = {"study": study.head.model_dump(), "patients": study.patients.model_dump()}
    # One line for each key, so that a message can show the one that differs.
    said = [f"{section}.{key} = {value}" for section, keys in sections.items() for key, value in keys.items()]
    if study.table_path is not None:
        columns = sorted((name, np.asarray(values).tobytes().hex()) for name, values in plan.patients.changes.items())
        weights = None if plan.weights is None else plan.weights.tobytes().hex()
        known = (plan.ids, columns) if weights is None else (plan.ids, columns, weights)
        digest = hashlib.sha256(repr(known).encode()).hexdigest()
        said.append(f"{study.patients.table} = {digest[:12]}")
    if study.events_path is not None:
        said.append(f"{study.events_path.name} = {hashlib.sha256(study.events_path.read_bytes()).hexdigest()[:12]}")
    for key, file in study.files.items():
        if not key.startswith("population"):
            said.append(f"{key} = {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}")
    if study.population is None:
        return "\n".join([*said, *study.text.splitlines()])
    # Only what is drawn: the same candidates serve other targets.
    drawn = study.population.model_dump(include={"widen", "vary"})
    said += [f"population.{key} = {value}" for key, value in drawn.items()]
    return "\n".join([*said, *without_targets(study.text).splitlines()])


def kernel_hash(plan: plans.Plan) -> str:
    """Hash of all that decides a result's bytes besides the study: code, data, versions, device, precision, backend."""
    digest = hashlib.sha256()
    for folder in KERNEL:
        for path in sorted((HERE / folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".c", ".cu", ".h"):
                digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    if plan.model.file is not None:
        digest.update(Path(plan.model.file).read_bytes())
    head = plan.study.head
    said = (version("jax"), version("jaxlib"), version("numpy"), _device(), plan.backend, head.precision, head.accuracy)
    digest.update(repr(said).encode())
    if plan.backend == "native":
        digest.update(build.identity().encode())
    return digest.hexdigest()


def _device() -> str:
    kinds = sorted({d.device_kind for d in jax.local_devices()})
    return f"{', '.join(kinds)} ({_processor()})" if kinds == ["cpu"] else ", ".join(kinds)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The checkout's commit, where the package runs from one."""
    try:
        said = subprocess.run(
            ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def provenance(plan: plans.Plan, digest: str) -> dict[str, Any]:
    head = plan.study.head
    versions = {name: version(name) for name in ("thrombojax", "jax", "jaxlib", "numpy", "h5py", "diffrax")}
    return {
        "study": plan.study.text,
        "seed": head.seed,
        "model": plan.model.name,
        "parameter_set": plan.model.parameter_set,
        "parameters": json.dumps({k: float(v) for k, v in struct.as_dict(plan.model.defaults).items()}),
        "precision": head.precision,
        "accuracy": head.accuracy,
        "backend": plan.backend,
        "device": _device(),
        "workers": len(engine.workers()),
        "versions": json.dumps(versions),
        "python": platform.python_version(),
        "commit": _commit(),
        "kernel_hash": digest,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node() if os.environ.get("THROMBOJAX_HOST", "") else "",
    }


def info(topic: str, *, model: str | None = None, parameter_set: str = DEFAULT_SET) -> list[dict[str, Any]]:
    """Rows about one topic; `model` limits parameters, states, observables, drugs and cohorts to one model.

    parameter_set: of the flagship, for its values and cohorts.
    """
    if topic not in TOPICS:
        raise InputError(unknown("topic", "topic", topic, TOPICS))
    if topic == "devices":
        return [{"device": str(d), "kind": d.device_kind, "platform": d.platform} for d in jax.local_devices()]
    if topic == "endpoints":
        return [
            {"reducer": k, "kind": r.kind, "numbers": list(r.numbers), "meaning": r.meaning}
            for k, r in REDUCERS.items()
        ]
    if model is not None and model not in registry.names():
        raise InputError(unknown("--model", "model", model, registry.names()))
    rows = []
    for name in (model,) if model else registry.names():
        source = registry.Source(name, parameter_set)
        rows += _describe(topic, registry.build(source, registry.drugs(source)), source)
    return rows


def _describe(topic: str, built: Model, source: registry.Source) -> list[dict[str, Any]]:
    if topic == "models":
        return [{"model": built.name, "title": built.title, "states": len(struct.names(built.State)),
                 "parameters": len(struct.names(built.Parameters)), "drugs": list(registry.drugs(source)),
                 "backends": list(built.backends), "source": built.source}]  # fmt: skip
    if topic == "cohorts":
        found = [cohorts.load(built.cohorts, name) for name in cohorts.names(built.cohorts)]
        return [
            {"cohort": c.name, "model": built.name, "title": c.title, "species": c.species, "source": c.source}
            for c in found
        ]
    if topic == "drugs":
        return [
            {"drug": drug, "route": route, "unit": entry.unit, "model": built.name, **_about(drug, source)}
            for (drug, route), entry in built.entries.items()
        ]
    if topic == "mechanisms":
        return _mechanisms(built, source)
    if topic in ("states", "observables"):
        kind = built.State if topic == "states" else built.Obs
        return [{"model": built.name, "name": leaf.name, "unit": leaf.quantity.unit, "meaning": leaf.quantity.meaning}
                for leaf in struct.fields(kind)]  # fmt: skip
    given = _sources(source)
    values = struct.as_dict(built.defaults)
    return [
        {
            "model": built.name,
            "name": leaf.name,
            "value": float(values[leaf.name]),
            "unit": leaf.quantity.unit,
            "low": leaf.quantity.low,
            "high": leaf.quantity.high,
            "meaning": leaf.quantity.meaning,
            "source": given.get(leaf.name, {}).get("source") or leaf.quantity.source,
            "flags": [given[leaf.name]["kind"]] if leaf.name in given else list(leaf.quantity.flags),
        }
        for leaf in struct.fields(built.Parameters)
    ]


def page(topic: str, name: str) -> str:
    """All about one cohort, drug or mechanism of the flagship, as Markdown."""
    if topic not in ("cohorts", "drugs", "mechanisms"):
        raise InputError(Problem(f"info {topic}", "has no pages; allowed: cohorts, drugs or mechanisms, and a name"))
    from thrombojax.report import pages

    return pages.page(topic, name)


def _about(drug: str, source: registry.Source) -> dict[str, str]:
    """Title and source of a drug that is assembled into its model."""
    if not registry.is_assembled(source):
        return {}
    from thrombojax import drugs

    found = drugs.load(drug)
    return {"title": found.title, "source": found.source}


def _mechanisms(built: Model, source: registry.Source) -> list[dict[str, Any]]:
    if not registry.is_assembled(source):
        return []
    from thrombojax.report import pages

    groups = [leaf.name.partition(".")[0] for leaf in struct.fields(built.Parameters)]
    titles = {name: pages.page("mechanisms", name).partition("\n")[0].removeprefix("# ") for name in pages.MECHANISMS}
    return [
        {"mechanism": name, "model": built.name, "parameters": groups.count(name), "title": title}
        for name, title in titles.items()
    ]


def _sources(source: registry.Source) -> dict[str, Any]:
    if not registry.is_assembled(source):
        return {}
    from thrombojax.models.feedback.assemble import read_set

    return dict(read_set(source.parameter_set))
