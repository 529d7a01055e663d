"""The parts of the benchmark. Each takes the setting, measures in other processes, and returns what it found."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from thrombojax.bench import child, studies
from thrombojax.bench.found import Found, Row, Setting, faster, finish, row, rows_of

TITRATED_CALLS = ("fixed regimen", "titrated sweep")
GRADIENT_CALLS = {
    "native": ("objective", "gradient", "gradient in one pass", "optimisation step"),
    "xla": ("objective", "gradient", "optimisation step"),
}
"""What `objective.py` offers by the backends through which it differentiates."""


def forward(s: Setting) -> Found:
    """Forward sweep: each backend and precision side by side, for every number of patients."""
    found = Found()
    for n in s.sizes.patients:
        exact = os.path.join(s.folder, f"forward-{n}.npy")
        wanted = _engines(s, "forward", n, exact)
        found += rows_of("forward sweep", wanted, child.interleaved(wanted, s.sizes.repeats, s.cores))
    largest = [r for r in found.rows if r["patients"] == max(s.sizes.patients)]
    ratios = {f"native/xla flagship {p}": faster(largest, "forward sweep", "native", "xla", p) for p in s.precisions}
    return found + Found([], ratios)


def prototype(s: Setting) -> Found:
    """The 22-state prototype: our backends between the frozen ceiling and the frozen floor, all in the same rounds."""
    n = s.sizes.per_core * s.cores
    exact = os.path.join(s.folder, "prototype.npy")
    wanted = _engines(s, "prototype", n, exact)
    for precision in s.precisions:
        for frozen in ("limit", "floor"):
            more = {"exact": exact if s.sizes.sample else None, "sample": s.sizes.sample}
            wanted.append({"workload": frozen, "backend": frozen, "precision": precision, "patients": n, **more})
    # Its ratios matter most, and its calls are short.
    found = rows_of("prototype", wanted, child.interleaved(wanted, s.sizes.repeats + 2, s.cores))
    ratios = {}
    for p in s.precisions:
        ratios[f"native/limit {p}"] = faster(found.rows, "prototype", "native", "limit", p)
        ratios[f"native/xla {p}"] = faster(found.rows, "prototype", "native", "floor", p)
        ratios[f"xla/floor {p}"] = faster(found.rows, "prototype", "xla", "floor", p)
    return found + Found([], ratios)


def titrated(s: Setting) -> Found:
    """The cost of doses that follow counts: a titrated sweep beside a fixed regimen of the same patients."""
    wanted: list[dict[str, Any]] = [
        {
            "workload": "titrated",
            "backend": b,
            "precision": p,
            "patients": min(s.sizes.patients),
            "calls": TITRATED_CALLS,
        }
        for b in s.backends
        if b != "reference"
        for p in s.precisions[-s.sizes.gradients :]
    ]
    found = rows_of("titrated", wanted, child.interleaved(wanted, s.sizes.repeats, s.cores))
    seconds = {(r["workload"], r["backend"], r["precision"]): r["seconds"] for r in found.rows}
    ratios: dict[str, float | None] = {
        f"titrated/fixed {b} {p}": taken / seconds["fixed regimen", b, p]
        for (workload, b, p), taken in seconds.items()
        if workload == "titrated sweep"
    }
    return found + Found([], ratios)


def gradient(s: Setting) -> Found:
    """A population objective over 26 doses: its value, its gradient, and a step of Adam."""
    backends = [b for b in s.backends if b in GRADIENT_CALLS][: s.sizes.gradients]
    precisions = s.precisions[-s.sizes.gradients :]
    # The ratios are of native, whose calls take a hundredth of a second each; those of XLA take seconds.
    rounds = {"native": 3 * s.sizes.repeats, "xla": max(1, s.sizes.repeats - 1)}
    wanted: list[dict[str, Any]] = [
        {
            "workload": "gradient",
            "backend": b,
            "precision": p,
            "patients": s.sizes.gradient,
            "calls": GRADIENT_CALLS[b],
            "repeats": rounds[b],
        }
        for b in backends
        for p in precisions
    ]
    results = child.interleaved(wanted, max([rounds[b] for b in backends], default=1), s.cores)
    found = rows_of("gradient", wanted, results)
    seconds = {(r["workload"], r["backend"], r["precision"]): r["seconds"] for r in found.rows}
    ratios = {}
    for b in backends[:1]:
        for p in precisions:
            for call, ratio in (("gradient", "gradient/forward"), ("gradient in one pass", "one pass/forward")):
                if (call, b, p) in seconds:
                    name = ratio if p == s.precisions[-1] else f"{ratio} {p}"
                    ratios[name] = seconds[call, b, p] / seconds["objective", b, p]
    return found + Found([], ratios, [] if backends else ["gradient: no backend that was asked for differentiates yet"])


def results(s: Setting) -> Found:
    """A run to a closed results file, daily trajectories included, and the share of its time that writing takes."""
    wanted = [_run(s, s.sizes.results, studies.WEEKS, daily=True)]
    return rows_of("results file", wanted, child.interleaved(wanted, max(1, s.sizes.repeats - 1)))


def start(s: Setting) -> Found:
    """From a command to the closed file of a small study: nothing compiled before, then with what that left behind."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="thrombojax-bench-") as folder:
        study = studies.write(Path(folder), s.sizes.start, backend=s.asked)
        caches = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "THROMBOJAX_CACHE": f"{folder}/native"}
        for workload in ("cold start", "warm start"):
            words = ["run", str(study), "-o", f"{folder}/out.h5", "--overwrite", "--audit", "0"]
            took = child.command([sys.executable, "-m", "thrombojax", *words], caches)
            facts = {"model": "feedback", "patients": s.sizes.start, "days": studies.DAYS, "cores": s.cores}
            rows.append(finish({"workload": workload, "backend": s.main, "precision": "f32", **facts, **took}))
    return Found(rows)


def _engines(s: Setting, workload: str, n: int, exact: str) -> list[dict[str, Any]]:
    """Options of every backend and precision; the reference first, on few patients, so that it leaves its solution."""
    error = {"exact": exact if s.sizes.sample else None, "sample": s.sizes.sample}
    wanted: list[dict[str, Any]] = []
    if s.sizes.sample:
        wanted.append({"workload": workload, "backend": "reference", "precision": "f64", "patients": s.sizes.sample,
                       "repeats": 1, **error})  # fmt: skip
    return wanted + [
        {"workload": workload, "backend": b, "precision": p, "patients": n, **error}
        for b in s.backends
        if b != "reference"
        for p in s.precisions
    ]


def _run(s: Setting, n: int, weeks: int, daily: bool) -> dict[str, Any]:
    """Options of a whole run."""
    how = {"backend": s.main, "precision": "f32" if "f32" in s.precisions else s.precisions[0]}
    return {"workload": "results", "patients": n, "weeks": weeks, "daily": daily, "asked": s.asked, **how}


def linear(s: Setting) -> Found:
    """Cost against the number of patients: one dose, one week, endpoints only, each number in a process of its own."""
    import numpy as np

    found = Found()
    for n in s.sizes.counts:
        wanted = [_run(s, n, 1, daily=False)]
        repeats = max(1, s.sizes.repeats - 1) if n < 10**5 else 1
        found += rows_of("linear cost", wanted, child.interleaved(wanted, repeats))
    points = [(r["patients"], r["seconds"], r["peak_rss_bytes"]) for r in found.rows if r["patients"] >= 10**4]
    if len(points) < 2:
        return found
    n, seconds, memory = np.asarray(points).T
    slope = float(np.polyfit(np.log(n), np.log(seconds), 1)[0])
    note = (
        f"linear cost: seconds grow as patients to the power {slope:.2f} from {n[0]:.0f} to {n[-1]:.0f} patients "
        f"(1 is proportional); {1e6 * seconds[-1] / n[-1]:.1f} s per million patients at the largest"
    )
    return found + Found(
        [], {"linear cost exponent": slope, "memory, most/fewest patients": memory[-1] / memory[0]}, [note]
    )


def scaling(s: Setting) -> Found:
    """Strong and weak scaling of the forward sweep over cores, or over NVIDIA devices where JAX runs on them."""
    from thrombojax.bench.machine import gpus

    devices = len(gpus()) if s.main == "cuda" else 0
    whole = devices or s.cores
    unit = "gpus" if devices else "cores"
    if whole < 2:
        return Found([], {}, [f"scaling: not measured, there is one of {unit} here"])
    counts = sorted({*(2**k for k in range(whole.bit_length())), whole})
    sizes = [(k, n) for k in counts if k <= whole for n in sorted({s.sizes.scaling * k, s.sizes.scaling * whole})]
    precision = "f32" if "f32" in s.precisions else s.precisions[0]
    wanted: list[dict[str, Any]] = [
        {
            "workload": "forward",
            "backend": s.main,
            "precision": precision,
            "patients": n,
            "repeats": s.sizes.repeats,
            unit: k,
        }
        | ({"environment": {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(k)))}} if devices else {})
        for k, n in sizes
    ]
    results = child.interleaved(wanted, s.sizes.repeats, s.cores)
    rows = []
    speed: dict[tuple[int, int], float] = {}
    for (k, n), options, result in zip(sizes, wanted, results, strict=True):
        if isinstance(result, child.Failed):
            return Found([], {}, [f"scaling: not measured: {result}"])
        for name, mine in (("strong scaling", s.sizes.scaling * whole), ("weak scaling", s.sizes.scaling * k)):
            if n == mine:
                rows.append(row(name, options, result, **{unit: k}))
        speed[k, n] = n / min(answer["seconds"] for answer in result["times"]["run"])
    most, one = speed[whole, s.sizes.scaling * whole], speed[1, s.sizes.scaling * whole]
    ratios: dict[str, float | None] = {
        f"strong scaling, efficiency on {whole} {unit}": most / one / whole,
        f"weak scaling, efficiency on {whole} {unit}": most / speed[1, s.sizes.scaling] / whole,
    }
    return Found(rows, ratios)
