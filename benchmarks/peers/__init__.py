"""Other people's tools on our flagship: same patients, same doses, equal achieved error, every core busy, float64.

    python -m benchmarks.peers [--json FILE] [--again FILE] [--main | --quick] [--which NAME ...] [--backend NAME ...]

Each tool runs in processes of its own, one per core with its share of the patients; start-up and compilation are not timed. Its
loosest tolerances are searched for that keep the 99th percentile over 256 patients of the largest relative error of a daily
count at the target (or taken from an earlier record, and searched for again where they miss it here); then it is timed at those.
Right-hand sides are generated (`translate.py`), with what depends on parameters only computed beforehand. A tool that is not
installed gives a row that says so:

    pip install numba numbalsoda
    apt-get install r-base-dev r-cran-desolve; sh benchmarks/peers/build_mrgsolve.sh SOURCE     # the source of mrgsolve
"""

import functools
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import problem
from benchmarks.peers.workers import Missing, Run, Workers

HERE = Path(__file__).parent
RECORD = HERE.parent / "results" / "peers-2-core-x86-64.json"
"""The committed record of a whole run, whose tolerances shorter runs take."""
LIBRARY = problem.OUT / "r-library"
"""Where build_mrgsolve.sh puts mrgsolve."""
FLAGS = "-O3 -march=native -ffast-math"
"""How the generated right-hand sides are compiled."""
RATIOS = (1.0, 1e-2)
"""Absolute over relative tolerance: both are tried, the faster at equal error is kept."""
LOOSEST, TIGHTEST = 1e-2, 36
"""The search for tolerances: where it begins, and after how many quarters of a decade it ends."""
ENOUGH = 1.0
"""Seconds that a timed run should take: as many patients as that needs, up to the number given."""
REPEATS, MOST, UNDISTURBED = 3, 12, 0.93
"""Runs that had this share of the cores' time, of which the shortest counts; and the most that are tried for them."""
BLOCK = 512
"""Patients in one block of diffrax: what is timed fills whole blocks."""


EMPTY = (
    "version",
    "tolerance",
    "atol",
    "achieved_error",
    "patients",
    "cores",
    "seconds",
    "busy",
    "patient_years_per_s",
    "peak_rss_bytes",
    "note",
)
"""Fields of a row that are None where a tool was not measured."""
WORKLOAD = "weekly romiplostim, 26 weeks, daily counts, error {target}"
Row = dict[str, Any]


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
TARGETS = (1e-4, 1e-6)
"""Achieved errors at which tools are compared."""
EVERY = dict.fromkeys(PEERS, TARGETS)
MAIN = {"mrgsolve": TARGETS, "diffrax Tsit5": TARGETS[:1]}
"""Name -> errors that the ratios of every bench record need. diffrax: its faster method at that error, as RECORD has it."""
QUICK = {**dict.fromkeys(PEERS, TARGETS[:1]), **MAIN}


def measure(
    which: Mapping[str, Sequence[float]] = EVERY,
    patients: int = 8192,
    backends: Sequence[str] = ("native", "xla"),
    given: problem.Problem | None = None,
    known: Sequence[Row] = (),
    each: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Rows {peer, target, note} and EMPTY's fields.

    which: tools and the errors at which each is measured; backends: ours, at all of these errors in the same run, so that ratios
    are of one run; patients: the most that one timed run solves; known: rows of an earlier run, whose tolerances are taken
    instead of searched for where they hold here too (they hardly depend on the machine); each: called with the rows so far
    after every tool.
    """
    unknown = set(which) - set(PEERS)
    if unknown:
        raise ValueError(f"unknown peers {sorted(unknown)}; known: {', '.join(PEERS)}")
    given = given or problem.make(patients)
    commands = {
        f"thrombojax {b}": (_jax(b), "steps for the accuracy asked for: the target, or less where that misses it")
        for b in backends
    }
    commands |= {name: PEERS[name] for name in which}
    asked = sorted({target for targets in which.values() for target in targets}, reverse=True)
    rows = []
    for name, (command, note) in commands.items():
        targets = which.get(name, asked)
        try:
            rows += _measure(given, name, command, note, targets, name not in PEERS, known)
        except Missing as missing:
            rows += [_row(name, target, note=str(missing)) for target in targets]
        if each is not None:
            each(rows)
    return rows


def _row(peer: str, target: float, **found: Any) -> Row:
    return {"peer": peer, "target": target, **dict.fromkeys(EMPTY), **found}


def _measure(given: problem.Problem, name: str, command: Sequence[str], note: str, targets: Sequence[float],
             ours: bool, known: Sequence[Row]) -> list[Row]:  # fmt: skip
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not installed")
    cores = len(os.sched_getaffinity(0))
    grain = BLOCK * cores if name.startswith("diffrax") else cores
    few, most = min(given.checked, len(given.amount)), len(given.amount)
    rows = []
    with tempfile.TemporaryDirectory(prefix="thrombojax-peers-") as made:
        folder = Path(made)
        given.write(folder)
        with Workers(command, folder, 1 if ours else cores, cores, _environment(folder)) as workers:

            @functools.cache
            def error(rtol: float, ratio: float) -> float:
                return given.error(workers.run(few, rtol, rtol * ratio).counts)

            for target in sorted(targets, reverse=True):
                chosen = (
                    _asked(error, target) if ours else _again(error, name, target, known) or _loosest(error, target)
                )
                if not chosen:
                    rows.append(_row(name, target, version=workers.version, note="no tolerance reaches the target"))
                    continue
                workers.real_time(True)
                try:
                    some = most if ours else min(most, max(few, grain))
                    timed = {pair: min(workers.run(some, *pair).seconds for _ in range(2)) for pair in chosen}
                    pair = min(timed, key=timed.__getitem__)
                    n = min(most, max(some, grain * math.ceil(some * ENOUGH / timed[pair] / grain)))
                    best = _shortest(workers, n, *pair)
                finally:
                    workers.real_time(False)
                rows.append(
                    _row(name, target, version=workers.version, tolerance=pair[0], atol=None if ours else pair[1],
                         achieved_error=given.error(best.counts), patients=n, cores=cores, seconds=best.seconds,
                         busy=best.busy, patient_years_per_s=n * problem.DAYS / 365.25 / best.seconds,
                         peak_rss_bytes=workers.peak(), note=note)
                )  # fmt: skip
    return rows


def _shortest(workers: Workers, n: int, rtol: float, atol: float) -> Run:
    """The shortest of some runs: more where other programs took the cores."""
    runs: list[Run] = []
    while len(runs) < MOST and sum(run.busy >= UNDISTURBED for run in runs) < REPEATS:
        runs.append(workers.run(n, rtol, atol))
    return min(runs, key=lambda run: run.seconds)


def _asked(error: Callable[[float, float], float], target: float) -> list[tuple[float, float]]:
    """The accuracy to ask ours for: the target itself, or what it takes where that misses."""
    return next(([(a, a)] for a in (target / 2**k for k in range(12)) if error(a, 1.0) <= target), [])


def _again(error: Callable[[float, float], float], name: str, target: float,
           known: Sequence[Row]) -> list[tuple[float, float]]:  # fmt: skip
    """A tool's (rtol, atol) of an earlier run whose error is at most `target` here as well."""
    kept = [(r["tolerance"], r["atol"]) for r in known if (r["peer"], r["target"]) == (name, target)]
    return [(rtol, atol) for rtol, atol in kept if error(rtol, atol / rtol) <= target]


def _environment(folder: Path) -> dict[str, str]:
    """R's packages and compiler flags; what diffrax's FAQ asks for."""
    flags = "".join(f"{name}FLAGS = {FLAGS}\n" for name in ("C", "CXX", "CXX11", "CXX14", "CXX17"))
    (folder / "Makevars").write_text(flags)
    libraries = os.pathsep.join(filter(None, (str(LIBRARY), os.environ.get("R_LIBS"))))
    return {"R_LIBS": libraries, "R_MAKEVARS_USER": str(folder / "Makevars"), "EQX_ON_ERROR": "nan",
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


def record(rows: Sequence[Row]) -> dict[str, Any]:
    """What `thrombojax bench` reads: rows that were measured, ratios of ours to theirs, notes on those that were not."""
    common = {"model": "feedback", "precision": "f64", "days": problem.DAYS}
    measured = [r for r in rows if r["seconds"] is not None]
    speed = {(r["peer"], r["target"]): r["patient_years_per_s"] for r in measured}
    ratios = {
        f"{ours.removeprefix('thrombojax ')}/{peer} f64 {_short(target)}": mine / other
        for (ours, target), mine in speed.items()
        if ours not in PEERS
        for (peer, at), other in speed.items()
        if peer in PEERS and at == target
    }
    diffrax = [ratio for name, ratio in ratios.items() if name.startswith("native/diffrax") and name.endswith("1e-4")]
    if diffrax:
        ratios["native/diffrax f64"] = min(diffrax)
    absent = {r["peer"]: r["note"] for r in rows if r["seconds"] is None}
    return {
        "rows": [
            {
                "workload": WORKLOAD.format(target=_short(r["target"])),
                "backend": r["peer"].removeprefix("thrombojax "),
                **common,
                **r,
            }
            for r in measured
        ],
        "ratios": ratios,
        "notes": [f"{peer}: not measured: {note}" for peer, note in absent.items()],
    }


def _short(number: float) -> str:
    return f"{number:.0e}".replace("e-0", "e-")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| tool | target | achieved | rtol, atol | patients | seconds | busy | patient-years/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["seconds"] is None:
            lines.append(f"| {row['peer']} | {_short(row['target'])} | {row['note']} | | | | | |")
            continue
        tolerances = f"{row['tolerance']:.1e}" + (f", {row['atol']:.1e}" if row["atol"] else "")
        lines.append(
            f"| {row['peer']} ({row['version']}) | {_short(row['target'])} | {row['achieved_error']:.1e} | {tolerances} "
            f"| {row['patients']} | {row['seconds']:.2f} | {row['busy']:.0%} | {row['patient_years_per_s']:.0f} |"
        )
    return "\n".join(lines)
