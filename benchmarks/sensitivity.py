"""What streamed indices cost over the bare simulation, what they keep in memory, and what screening by derivatives costs.

    python -m benchmarks.sensitivity [--study FILE] [--base 4096] [--large 32768] [--derivatives 128] [--json FILE]

Cost: CPU time of all threads, over the whole command (samples, simulation, sums, shards on disk) and over the same rows simulated
and forgotten, blocks of each by turns so that both see the same machine. Memory: peak of a process of its own for two numbers of
base samples, one eight times the other. Screening: CPU time of the derivatives of a small sample, over that of the Sobol' indices
of the large one.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "sweeps" / "itp-response-sensitivity.toml"
TOP = 5


def prepared(study: Path, base: int, derivatives: int) -> Any:
    """The study with those sizes, as a problem."""
    from thrombojax.sensitivity import problem
    from thrombojax.study import schema

    found = schema.load(study)
    asked = found.sensitivity.model_copy(update={"base": base, "derivatives": derivatives})
    return problem.problem(replace(found, sensitivity=asked))


def overhead(given: Any, folder: Path) -> dict[str, float]:
    """CPU seconds of both ways over all blocks of the design."""
    from thrombojax.sensitivity import blocks, simulate
    from thrombojax.sensitivity.analyse import of_stream
    from thrombojax.sensitivity.sobol import centre_of, stream

    asked = given.study.sensitivity
    run = simulate.simulator(given)
    pilot = simulate.Rows(of_stream(given.space, "sobol", 1024, 1, 0), np.arange(1024))
    centre = centre_of(run(pilot).y)
    spent = {"streamed": 0.0, "bare": 0.0}
    waiting: list[Any] = []

    def recorded(rows: Any) -> Any:
        """The simulation within the stream; the same rows are kept, to be simulated and forgotten."""
        waiting.append(rows)
        return run(rows)

    class Turns(blocks.OnDisk):
        def __call__(self, name: str, count: int, cells: int, rows: int, compute: Any) -> Any:
            def both(block: int) -> Any:
                vector = compute(block)
                spent["streamed"] += time.process_time() - mark[0]
                began = time.process_time()
                run(waiting.pop())
                spent["bare"] += time.process_time() - began
                mark[0] = time.process_time()
                return vector

            mark = [time.process_time()]
            yield from super().__call__(name, count, cells, rows, both)
            spent["streamed"] += time.process_time() - mark[0]

    to_disk = Turns(folder, "benchmark", "0" * 64, {}, lambda: None)
    began = time.process_time()
    found = stream(
        recorded, given.space, asked.base, centre, replicates=asked.replicates, sampler=asked.sampler, second=False, seed=1,
        confidence=0.95, width=None, estimator="saltelli", chance=given.chance, counted=to_disk,
    )  # fmt: skip
    whole = time.process_time() - began
    spent["streamed"] = whole - spent["bare"]
    return {**spent, "runs": found.runs, "ratio": spent["streamed"] / spent["bare"]}


def screening(given: Any, streamed: float) -> dict[str, Any]:
    """Derivatives of a small sample, over the CPU time of the large one's indices."""
    from thrombojax.sensitivity import derivatives, dgsm, simulate

    asked, follows = given.study.sensitivity, simulate.moves(given)

    def measures() -> Any:
        return dgsm.dgsm(lambda rows: derivatives.tangents(given, follows, rows), given.space, asked.derivatives,
                         len(given.outputs), replicates=2)  # fmt: skip

    measures()  # compiles
    began = time.process_time()
    found = measures()
    seconds = time.process_time() - began
    return {"seconds": seconds, "share": seconds / streamed, "bound": found.bound}


def same(given: Any, bound: np.ndarray, out: Path) -> dict[str, int]:
    """How many of the five largest bounds of each endpoint are among its five largest totals."""
    import h5py

    with h5py.File(out) as file:
        total = np.asarray(file["sobol_total"][0]).reshape(-1, given.space.k)
    found = shown = 0
    for b, t in zip(bound, total, strict=False):
        if np.isfinite(b).all() and np.isfinite(t).all():
            found += len(set(np.argsort(-b)[:TOP].tolist()) & set(np.argsort(-t)[:TOP].tolist()))
            shown += TOP
    return {"same": found, "of": shown}


def peak(study: Path, base: int, out: Path) -> int:
    """Bytes of memory of the whole command at its peak."""
    text = study.read_text(encoding="utf-8")
    text = re.sub(r"^base = .*$", f"base = {base}", text, flags=re.MULTILINE)
    text = re.sub(r"^methods = .*$", 'methods = ["sobol"]', text, flags=re.MULTILINE)
    small = out.with_suffix(".toml")
    small.write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "thrombojax", "sensitivity", str(small), "-o", str(out)]
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout)


def measure(study: Path, base: int, large: int, derivatives: int) -> dict[str, Any]:
    from thrombojax import process

    process.prepare("f32")
    from thrombojax.bench import machine

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = {str(n): peak(study, n, folder / f"{n}.h5") for n in sorted({base, large})}
        (folder / "stages").mkdir()
        given = prepared(study, base, derivatives)
        cost = overhead(given, folder / "stages")
        screened = screening(given, cost["streamed"] / base * large)
        top = same(given, screened.pop("bound"), folder / f"{large}.h5")
    return {
        "machine": machine.describe(), "study": study.name, "base": base, "large": large, "factors": given.space.k,
        "days": given.study.head.days, "cost": cost, "peak_rss_bytes": memory,
        "own_peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "screening": {**screened, "derivatives": derivatives, **top},
        "notes": "seconds of CPU time; screening's share is of the indices of `large` base samples",
    }  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--study", type=Path, default=STUDY)
    ask.add_argument("--base", type=int, default=4096)
    ask.add_argument("--large", type=int, default=32768)
    ask.add_argument("--derivatives", type=int, default=128)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    found = measure(given.study, given.base, given.large, given.derivatives)
    cost, screened = found["cost"], found["screening"]
    print(
        f"streamed {cost['streamed']:.1f} s, bare {cost['bare']:.1f} s of CPU time, {cost['runs']} runs: {cost['ratio']:.3f}"
    )
    for base, size in found["peak_rss_bytes"].items():
        print(f"peak memory at {base} base samples: {size / 1e6:.0f} MB")
    print(f"screening: {screened['seconds']:.1f} s, 1/{1 / screened['share']:.0f} of the indices; "
          f"{screened['same']} of {screened['of']} strongest factors the same")  # fmt: skip
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
