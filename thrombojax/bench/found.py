"""What a part of the benchmark found: rows, ratios, notes; and how workers' answers become rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thrombojax.bench.child import Failed, Result

DAYS_PER_YEAR = 365.25
Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. patients: of the forward sweep, one row each; per_core: of the prototype, on each core; counts: of

    the linear cost; sample: patients whose error is looked at, 0 for none; gradients: in how many
    precisions gradients and titrations are timed, and through how many backends gradients.
    """

    patients: tuple[int, ...]
    per_core: int
    gradient: int
    results: int
    scaling: int
    counts: tuple[int, ...]
    sample: int
    repeats: int
    ceilings: float
    start: int = 1000
    gradients: int = 2


QUICK = Sizes((4096,), 2048, 512, 8192, 2048, (10**3, 10**4, 10**5), 64, 3, 0.3, gradients=1)
FULL = Sizes((1024, 8192, 65536), 8192, 2048, 32768, 8192, (10**3, 10**4, 10**5, 10**6, 10**7), 256, 5, 2.0)


@dataclass(frozen=True)
class Setting:
    """What every part needs: sizes, the backends that run here in order of preference, precisions, cores, a folder.

    asked: the backend that studies name; peers: options of `benchmarks.peers` that say which are measured.
    """

    sizes: Sizes
    backends: tuple[str, ...]
    precisions: tuple[str, ...]
    cores: int
    folder: str
    asked: str = "auto"
    peers: tuple[str, ...] = ("--main",)

    @property
    def main(self) -> str:
        """The backend of whole commands and of scaling: the first, which is what `auto` takes."""
        return self.backends[0]


@dataclass(frozen=True)
class Found:
    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: "Found") -> "Found":
        return Found(self.rows + other.rows, {**self.ratios, **other.ratios}, self.notes + other.notes)


def row(workload: str, options: Mapping[str, Any], result: Mapping[str, Any], call: str = "run", **more: Any) -> Row:
    """The row of one call of one worker: the least of its times, and what follows from it."""
    best = min(result["times"][call], key=lambda answer: answer["seconds"])
    facts = {key: value for key, value in result.items() if key not in ("times", "model", "patients")}
    return finish({
        "workload": workload,
        "model": result["model"],
        "backend": options["backend"],
        "precision": options["precision"],
        "patients": result["patients"],
        **best,
        "repeats": len(result["times"][call]),
        **facts,
        **more,
    })  # fmt: skip


def finish(given: Mapping[str, Any]) -> Row:
    """A row with the fields that every row has (None where not measured) and the rates that follow from its time."""
    seconds = given["seconds"]
    found = {"achieved_error": None, "peak_rss_bytes": None, "joules": None, "operations": None, "bytes": None, **given}
    found["patient_years_per_s"] = given["patients"] * given["days"] / DAYS_PER_YEAR / seconds
    found["operations_per_s"] = found["operations"] and found["operations"] / seconds
    found["bytes_per_s"] = found["bytes"] and found["bytes"] / seconds
    return found


def rows_of(workload: str, wanted: Sequence[Mapping[str, Any]], results: Sequence[Result]) -> Found:
    """A row for every worker that did its work, a note for every one that did not."""
    rows, notes = [], []
    for options, result in zip(wanted, results, strict=True):
        if isinstance(result, Failed):
            notes.append(f"{workload}, {options['backend']} {options['precision']}: not measured: {result}")
        else:
            rows += [row(workload if call == "run" else call, options, result, call) for call in result["times"]]
    return Found(rows, {}, notes)


def faster(rows: Sequence[Row], workload: str, one: str, other: str, precision: str) -> float | None:
    """How many times as fast backend `one` is as `other`, both measured in the same rounds; None where one is missing."""
    speed = {
        r["backend"]: r["patient_years_per_s"] for r in rows if (r["workload"], r["precision"]) == (workload, precision)
    }
    return speed[one] / speed[other] if one in speed and other in speed else None
