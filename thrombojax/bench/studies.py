"""The study files that whole-command workloads run."""

from pathlib import Path

WEEKS = 26
DAYS = 7.0 * WEEKS
DOSE = 3.0
SENTENCE = f"romiplostim {DOSE:g} ug/kg sc weekly x {WEEKS}"
LABEL = "US label, adults with ITP"
"""Titration rule of the titrated workload."""
REDUCERS = ("peak", "nadir", "peak_day", "nadir_day", "mean", "auc")
"""The endpoints of every forward workload."""


def write(
    folder: Path, n: int, *, weeks: int = WEEKS, precision: str = "f32", backend: str = "auto", daily: bool = False
) -> Path:
    """A study of n ITP patients on weekly romiplostim; daily: platelet counts of every day are kept too."""
    lines = [
        "schema = 1",
        "[study]",
        'name = "benchmark"',
        "seed = 1",
        f"days = {7 * weeks}",
        f'precision = "{precision}"',
        f'backend = "{backend}"',
        "[patients]",
        'cohort = "itp"',
        f"n = {n}",
        "[[arm]]",
        'name = "romiplostim"',
        f'regimen = "romiplostim {DOSE:g} ug/kg sc weekly x {weeks}"',
        *(f'[[endpoint]]\nname = "{reducer}"\nreducer = "{reducer}"' for reducer in REDUCERS),
        *(["[time]", "save = 1.0", "[output]", "trajectories = true"] if daily else []),
    ]
    path = folder / f"study-{n}-{weeks}-{precision}-{backend}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
