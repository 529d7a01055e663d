"""A plan for each of many patients with ITP: counts so far, posterior, best doses for it, in one batch.

    python -m benchmarks.individual_plans [--patients 2000] [--samples 16] [--json FILE]

The study is sweeps/itp-romiplostim-individual.toml, with a table of as many virtual patients as asked for. Stages are those that
the command tells about; seconds are wall time, compilation and all.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np

from thrombojax.bench import machine
from thrombojax.optimise.individual import individual_plans
from thrombojax.study.schema import load

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "sweeps" / "itp-romiplostim-individual.toml"
TABLE = "data/itp-histories.csv"


def write(folder: Path, patients: int, samples: int) -> Path:
    """The study with a table of so many patients."""
    made = ["--patients", str(patients), "--seed", "78", "--out", str(folder / "histories.csv")]
    subprocess.run([sys.executable, str(ROOT / "sweeps" / "data" / "make_itp_histories.py"), *made], check=True)
    text = STUDY.read_text(encoding="utf-8")
    for old, new in ((TABLE, "histories.csv"), ("samples = 32", f"samples = {samples}")):
        if old not in text:
            raise SystemExit(f"{STUDY}: has no {old!r} any more")
        text = text.replace(old, new)
    study = folder / "study.toml"
    study.write_text(text, encoding="utf-8")
    return study


def measure(study: Path) -> dict[str, Any]:
    stages: list[tuple[str, float, float]] = []

    def say(text: str) -> None:
        stages.append((text, round(time.perf_counter() - began, 1), round(time.process_time() - spent, 1)))
        print(f"{stages[-1][1]:8.1f} s {stages[-1][2]:8.1f} s CPU  {text}", file=sys.stderr, flush=True)

    began, spent = time.perf_counter(), time.process_time()
    found = individual_plans(load(study), say=say)
    say("done")
    mine, n = found.training["individual"], len(found.rows)
    return {
        "machine": machine.describe(),
        "patients": n,
        "of": len(found.fits.ids),
        "samples": found.study.optimise.samples if found.study.optimise else None,
        "seconds": stages[-1][1],
        "cpu_seconds": stages[-1][2],
        "converged": round(float(found.minima.converged.mean()), 4),
        "feasible": round(float(found.feasible.mean()), 4),
        "gradients_of_a_patient": {
            "median": float(np.median(found.minima.evaluations)),
            "most": int(found.minima.evaluations.max()),
        },
        "plans_tried_of_a_patient": {"median": float(np.median(found.tried)), "most": int(found.tried.max())},
        "gap_real_to_relaxed": float(np.nanmean(mine.objective - found.before)),
        "objective_fresh": {name: float(np.nanmean(of.objective)) for name, of in found.holdout.items()},
        "stages": [{"stage": text, "at_s": at, "cpu_s": cpu} for text, at, cpu in stages],
    }


def main(argv: Sequence[str] | None = None) -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--patients", type=int, default=2000)
    ask.add_argument("--samples", type=int, default=16)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    with TemporaryDirectory() as name:
        record = measure(write(Path(name), given.patients, given.samples))
    text = json.dumps(record, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
