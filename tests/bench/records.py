"""A record of a benchmark, small and made up."""

import copy
import json

MACHINE = {
    "cpu": "AMD EPYC", "cores": 2, "architecture": "x86_64", "instructions": ["avx2", "fma"], "gpus": [], "system": "Linux 6",
    "python": "3.11.7", "compiler": "cc 12", "versions": {"jax": "0.10.2"},
    "ceilings": {"operations": {"f32": 2e11, "f64": 1e11}, "bandwidth": 3e10, "notes": []},
}  # fmt: skip


def row(workload="forward sweep", backend="xla", precision="f64", patients=4096, seconds=1.0, **more):
    years = patients * 182 / 365.25
    return {"workload": workload, "model": "feedback", "backend": backend, "precision": precision, "patients": patients,
            "days": 182.0, "seconds": seconds, "patient_years_per_s": years / seconds, "achieved_error": 1e-5,
            "peak_rss_bytes": 3 * 10**8, "operations": 9e9, "bytes": 4e6, "joules": None, **more}  # fmt: skip


def record(*rows, **machine):
    return copy.deepcopy({"record": 1, "quick": True, "taken": "2026-11-22", "seconds": 100.0, "machine": {**MACHINE, **machine},
                          "rows": list(rows), "ratios": {"gradient/forward": 4.0}, "notes": ["a note"]})  # fmt: skip


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path
