"""Speed and memory of the first sweep, as ratios taken side by side in one run.

    python -m benchmarks.first_sweep [--quick] [--json FILE]

Measures, each in a process of its own: the XLA backend against `jax.vmap` over diffrax at equal achieved error; its counted
operations per second against the frozen 22-state prototype; the resident memory of a million patients; the time to the
first result of a thousand patients, cold and with a warm compilation cache.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WEEKS = 12
DOSE = 3.0
STUDY = """
schema = 1
[study]
name = "benchmark"
seed = 1
days = 182
precision = "f32"
[patients]
cohort = "itp"
n = {n}
[[arm]]
name = "romiplostim"
regimen = "romiplostim 3 ug/kg sc weekly x 26"
{endpoints}
"""
ENDPOINTS = """
[[endpoint]]
name = "{reducer}"
reducer = "{reducer}"
"""


def engine(n: int) -> dict:
    """Both precisions of the XLA backend and of diffrax, same patients, same weekly counts; and the prototype."""
    from thrombojax.process import prepare as prepare_process

    prepare_process("f64")
    import jax
    import jax.numpy as jnp
    import numpy as np

    import thrombojax as tj
    from benchmarks import diffrax_vmap, prototype22
    from benchmarks.count import operations
    from thrombojax.dosing.administer import columns, slots
    from thrombojax.dosing.timeline import grid, schedule
    from thrombojax.endpoints import Endpoint
    from thrombojax.models import registry, struct
    from thrombojax.models.protocol import Inputs
    from thrombojax.patients.population import prepare, shared
    from thrombojax.solve import engine as solve
    from thrombojax.solve.steppers import rk4

    days = 7.0 * WEEKS
    sentence = f"romiplostim {DOSE:g} ug/kg sc weekly x {WEEKS}"
    patients = tj.cohort("itp", parameter_set="1").sample(n)
    model = registry.build(patients.source, ("romiplostim",))
    cohort = prepare(patients, model)
    given = tj.regimen(sentence)
    cols = columns(model, [given])
    line = schedule(model, shared(model, cohort), cols, slots(model, given, cols, days), grid(days))
    exact = tj.simulate(patients.pick(slice(256)), sentence, days=days, save_every=7.0, backend="reference").platelets[
        1:
    ]
    endpoints = [
        Endpoint("peak", "peak", stop=days),
        Endpoint("nadir", "nadir", stop=days),
        Endpoint("mean", "mean", stop=days),
    ]
    weekly = [7.0 * k for k in range(1, WEEKS + 1)]
    rows = {}
    for precision in ("f32", "f64"):
        common = {"endpoints": endpoints, "precision": precision}
        few = solve.solve(
            model, prepare(patients.pick(slice(256)), model), line, save=("platelets",), days=weekly, **common
        )
        error = np.abs(few.saved["platelets"] / exact - 1.0).max(axis=0)
        solve.solve(model, cohort, line, **common)
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            solve.solve(model, cohort, line, **common)
            seconds.append(time.perf_counter() - began)
        steps = int(line.timeline.steps.sum())
        rows[precision] = {
            "seconds": min(seconds),
            "patient_years_per_s": n * days / 365.25 / min(seconds),
            "patient_steps_per_s": n * steps / min(seconds),
            "achieved_error": float(np.quantile(error, 0.99)),
            "patients": n,
        }
    scalar = jax.tree.map(lambda a: jnp.asarray(a[0]), (cohort.p, cohort.y0))
    flat, tree = jax.tree.flatten(scalar[1])

    def one_step(*flat):
        def derivative(t, y):
            return tuple(jax.tree.leaves(model.rhs(t, jax.tree.unflatten(tree, list(y)), scalar[0], Inputs({}, 0.0))))

        return rk4(derivative, 0.0, tuple(flat), 0.25, None)

    counted = operations(one_step, *flat)
    floor = prototype22.measure(16384, jnp.float64)
    peers = {
        "diffrax, daily counts": diffrax_vmap.measure(model, cohort, DOSE, WEEKS, exact, 1e-4, daily=True),
        "diffrax, weekly counts": diffrax_vmap.measure(model, cohort, DOSE, WEEKS, exact, 1e-4, daily=False),
    }
    return {
        "xla": rows,
        "states": len(struct.names(model.State)),
        "operations_per_step": counted,
        "floor": floor,
        "peers": peers,
    }


def study(n: int, folder: str) -> Path:
    """A study file of n patients, endpoints only."""
    path = Path(folder) / f"study-{n}.toml"
    reducers = ("peak", "nadir", "peak_day", "nadir_day", "mean", "auc")
    path.write_text(STUDY.format(n=n, endpoints="".join(ENDPOINTS.format(reducer=r) for r in reducers)))
    return path


def sweep(n: int, cache: str) -> dict:
    """One `thrombojax run` in a process of its own: seconds to the closed file, and the largest resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.h5"
        command = [sys.executable, "-m", "thrombojax", "run", str(study(n, folder)), "-o", str(out), "--audit", "0"]
        began = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}, capture_output=True)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "patients": n,
        "seconds": seconds,
        "peak_rss_bytes": peak,
        "patient_years_per_s": n * 182 / 365.25 / seconds,
    }


def separately(name: str, *args: object) -> dict:
    """A measurement in a fresh process, so that memory and start-up are its own."""
    code = f"import json; from benchmarks import first_sweep as f; print(json.dumps(f.{name}(*{args!r})))"
    said = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(said.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the patients")
    parser.add_argument("--json", type=Path, help="write the record here")
    given = parser.parse_args()
    n, many = (2048, 100_000) if given.quick else (8192, 1_000_000)
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = separately("sweep", 1000, cache), separately("sweep", 1000, cache)
        large, tenth = separately("sweep", many, cache), separately("sweep", many // 10, cache)
    found = separately("engine", n)
    f64, f32, floor = found["xla"]["f64"], found["xla"]["f32"], found["floor"]
    giga = {p: found["xla"][p]["patient_steps_per_s"] * found["operations_per_step"] / 1e9 for p in ("f32", "f64")}
    peers = {name: peer["patient_years_per_s"] for name, peer in found["peers"].items()}
    record = {
        "machine": {"cpu": _processor(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "rows": [
            {"workload": "weekly romiplostim, 12 weeks", "backend": "xla", "precision": "f64", **f64},
            {"workload": "weekly romiplostim, 12 weeks", "backend": "xla", "precision": "f32", **f32},
            *(
                {"workload": "weekly romiplostim, 12 weeks", "backend": k, "precision": "f64", **v}
                for k, v in found["peers"].items()
            ),
            {"workload": "1000 patients x 26 weeks, cold", "backend": "xla", "precision": "f32", **cold},
            {"workload": "1000 patients x 26 weeks, warm cache", "backend": "xla", "precision": "f32", **warm},
            {"workload": "memory, a tenth", "backend": "xla", "precision": "f32", **tenth},
            {"workload": "memory", "backend": "xla", "precision": "f32", **large},
        ],
        "ratios": {
            "xla/diffrax f64, daily counts": f64["patient_years_per_s"] / peers["diffrax, daily counts"],
            "xla/diffrax f64, weekly counts": f64["patient_years_per_s"] / peers["diffrax, weekly counts"],
            "xla f32/diffrax f64, daily counts": f32["patient_years_per_s"] / peers["diffrax, daily counts"],
            "counted operations, xla/prototype f64": giga["f64"] / floor["gigaoperations_per_s"],
            "memory, n/(n/10)": large["peak_rss_bytes"] / tenth["peak_rss_bytes"],
        },
        "gigaoperations_per_s": {**giga, "prototype f64": floor["gigaoperations_per_s"]},
    }
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    for row in record["rows"]:
        print(f"{row['workload']:<38}{row['backend']:<24}{row['precision']}  {row['seconds']:8.2f} s"
              f"{row['patient_years_per_s']:10.0f} patient-years/s  {row.get('peak_rss_bytes', 0) / 2**20:6.0f} MiB"
              f"  error {row.get('achieved_error', float('nan')):.1e}")  # fmt: skip
    for name, ratio in record["ratios"].items():
        print(f"{name:<44}{ratio:8.2f}")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
