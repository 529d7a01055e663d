"""Other people's tools on our flagship: same patients, same doses, equal achieved error, every core busy, float64.

    python -m benchmarks.peers [--json FILE] [--which NAME ...] [--backend NAME ...] [--patients N]

Each tool runs in processes of its own, one per core with its share of the patients; start-up and compilation are not timed. Its
loosest tolerances are searched for that keep the 99th percentile over 256 patients of the largest relative error of a daily
count at the target; then it is timed at those. Right-hand sides are generated (`translate.py`), with what depends on parameters
only computed beforehand. A tool that is not installed gives a row that says so:

    pip install numba numbalsoda
    apt-get install r-base-dev r-cran-desolve; sh benchmarks/peers/build_mrgsolve.sh SOURCE     # the source of mrgsolve
"""

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import problem
from benchmarks.peers.workers import Missing, Workers

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1] / "out" / "peers" / "r-library"
"""Where build_mrgsolve.sh puts mrgsolve."""
FLAGS = "-O3 -march=native -ffast-math"
"""How the generated right-hand sides are compiled."""
RATIOS = (1.0, 1e-2)
"""Absolute over relative tolerance: both are tried, the faster at equal error is kept."""
LOOSEST, TIGHTEST = 1e-2, 36
"""The search for tolerances: where it begins, and after how many quarters of a decade it ends."""
ENOUGH = 2.0
"""Seconds that a timed run should take: as many patients as that needs, up to the number given."""
REPEATS = 3


def _jax(method: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.peers.worker_jax", method)


def _python(method: str) -> tuple[str, ...]:
    return (sys.executable, str(HERE / "worker.py"), method)


def _r(script: str) -> tuple[str, ...]:
    return ("Rscript", "--vanilla", str(HERE / script))


PEERS = {
    "mrgsolve": (_r("worker_mrgsolve.R"), "its C++ LSODA; the model in its own format, local variables in registers"),
    "deSolve": (_r("worker_desolve.R"), "lsoda, compiled C right-hand side, dose events"),
    "SciPy solve_ivp": (_python("scipy"), "LSODA, numba right-hand side, restarted at doses"),
    "SciPy odeint": (_python("odeint"), "LSODA, numba right-hand side, restarted at doses"),
    "numbalsoda": (
        _python("numbalsoda"),
        "C++ LSODA, numba right-hand side and loop over patients, restarted at doses",
    ),
    "diffrax Tsit5": (_jax("Tsit5"), "vmap over blocks of 512, restarted at doses, counts interpolated"),
    "diffrax Dopri8": (_jax("Dopri8"), "vmap over blocks of 512, restarted at doses, counts interpolated"),
}
"""Name -> how a worker is started, and how the tool is used."""


def measure(
    targets: Sequence[float] = (1e-4, 1e-6),
    patients: int = 8192,
    which: Sequence[str] = tuple(PEERS),
    backends: Sequence[str] = ("xla",),
    given: problem.Problem | None = None,
) -> list[dict[str, Any]]:
    """Rows {peer, version, tolerance, achieved_error, target, patients, cores, seconds, patient_years_per_s, note}.

    backends: ours, in the same run, so that ratios are of one run; patients: the most that one timed run solves.
    """
    unknown = set(which) - set(PEERS)
    if unknown:
        raise ValueError(f"unknown peers {sorted(unknown)}; known: {', '.join(PEERS)}")
    given = given or problem.make(patients)
    commands = {f"thrombojax {b}": (_jax(b), "steps for the accuracy asked for") for b in backends}
    commands |= {name: PEERS[name] for name in which}
    rows = []
    for name, (command, note) in commands.items():
        try:
            rows += _measure(given, name, command, note, targets, ours=name not in PEERS)
        except Missing as missing:
            rows += [_row(name, target, note=str(missing)) for target in targets]
    return rows


def _row(peer: str, target: float, **found: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        (
            "version",
            "tolerance",
            "atol",
            "achieved_error",
            "patients",
            "cores",
            "seconds",
            "patient_years_per_s",
            "note",
        )
    )
    return {"peer": peer, "target": target, **empty, **found}


def _measure(given: problem.Problem, name: str, command: Sequence[str], note: str, targets: Sequence[float],
             ours: bool) -> list[dict[str, Any]]:  # fmt: skip
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not installed")
    cores = len(os.sched_getaffinity(0))
    rows = []
    with tempfile.TemporaryDirectory(prefix="thrombojax-peers-") as made:
        folder = Path(made)
        given.write(folder)
        with Workers(command, folder, 1 if ours else cores, _environment(folder)) as workers:
            few = min(problem.CHECKED, len(given.amount))

            @functools.cache
            def error(rtol: float, ratio: float) -> float:
                return given.error(workers.run(few, rtol, rtol * ratio)[1])

            for target in sorted(targets, reverse=True):
                chosen = [(target, target)] if ours else _loosest(error, target)
                workers.real_time(True)
                try:
                    n = len(given.amount)
                    if not ours:
                        timed = {pair: min(workers.run(few, *pair)[0] for _ in range(2)) for pair in chosen}
                        chosen = sorted(timed, key=timed.__getitem__)
                        n = min(n, max(few, int(few * ENOUGH / timed[chosen[0]])))
                    if not chosen:
                        rows.append(_row(name, target, version=workers.version, note="no tolerance reaches the target"))
                        continue
                    runs = [workers.run(n, *chosen[0]) for _ in range(REPEATS)]
                finally:
                    workers.real_time(False)
                seconds, counts = min(runs, key=lambda run: run[0])
                rows.append(
                    _row(name, target, version=workers.version, tolerance=chosen[0][0], atol=None if ours else chosen[0][1],
                         achieved_error=given.error(counts), patients=n, cores=cores, seconds=seconds,
                         patient_years_per_s=n * problem.DAYS / 365.25 / seconds, note=note)
                )  # fmt: skip
    return rows


def _environment(folder: Path) -> dict[str, str]:
    """R's packages and compiler flags; what diffrax's FAQ asks for."""
    flags = "".join(f"{name}FLAGS = {FLAGS}\n" for name in ("C", "CXX", "CXX11", "CXX14", "CXX17"))
    (folder / "Makevars").write_text(flags)
    return {"R_LIBS": str(LIBRARY), "R_MAKEVARS_USER": str(folder / "Makevars"), "EQX_ON_ERROR": "nan",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get("PYTHONPATH"))))}  # fmt: skip


def _loosest(error: Callable[[float, float], float], target: float) -> list[tuple[float, float]]:
    """For each ratio the loosest (rtol, atol) whose error is at most `target`, in quarters of a decade."""
    found = []
    for ratio in RATIOS:
        at = next((k for k in range(0, TIGHTEST, 2) if error(LOOSEST * 10 ** (-k / 4), ratio) <= target), None)
        if at is not None:
            at -= at > 0 and error(LOOSEST * 10 ** (-(at - 1) / 4), ratio) <= target
            rtol = LOOSEST * 10 ** (-at / 4)
            found.append((rtol, rtol * ratio))
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| tool | target | achieved | rtol, atol | patients | seconds | patient-years/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["seconds"] is None:
            lines.append(f"| {row['peer']} | {row['target']:.0e} | {row['note']} | | | | |")
            continue
        tolerances = f"{row['tolerance']:.1e}" + (f", {row['atol']:.1e}" if row["atol"] else "")
        lines.append(
            f"| {row['peer']} ({row['version']}) | {row['target']:.0e} | {row['achieved_error']:.1e} | {tolerances} "
            f"| {row['patients']} | {row['seconds']:.2f} | {row['patient_years_per_s']:.0f} |"
        )
    return "\n".join(lines)
