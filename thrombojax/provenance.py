"""What a results file says of where it comes from, and by which two runs are known as the same."""

import functools
import hashlib
import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from thrombojax.codegen import build
from thrombojax.models import struct
from thrombojax.solve import engine
from thrombojax.study import plan as plans
from thrombojax.study.virtual import without_targets

HERE = Path(__file__).parent
KERNEL = ("models", "drugs", "endpoints", "solve", "codegen", "dosing", "patients")
"""Folders whose text decides a result's bytes."""


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
    digest = hashlib.sha256(_code())
    if plan.model.file is not None:
        digest.update(Path(plan.model.file).read_bytes())
    head = plan.study.head
    said = (*map(_version, ("jax", "jaxlib", "numpy")), _device(), plan.backend, head.precision, head.accuracy)
    digest.update(repr(said).encode())
    if plan.backend == "native":
        digest.update(build.identity().encode())
    return digest.hexdigest()


@functools.cache
def _code() -> bytes:
    """The hash of this package's part in it, as the process found it."""
    digest = hashlib.sha256()
    for folder in KERNEL:
        for path in sorted((HERE / folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".c", ".cu", ".h"):
                digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.digest()


_version = functools.cache(version)


def with_code(digest: str, folder: Path) -> str:
    """A hash that changes with the modules of a folder too, for results that they decide."""
    own = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))))
    return f"{digest[:32]}{own.hexdigest()[:32]}"


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


def record(plan: plans.Plan, digest: str) -> dict[str, Any]:
    head = plan.study.head
    versions = {name: _version(name) for name in ("thrombojax", "jax", "jaxlib", "numpy", "h5py", "diffrax")}
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
