"""Two records side by side: the ratio of every row they have in common, and one sentence."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thrombojax.bench.record import load
from thrombojax.errors import InputError, Problem

Record = Mapping[str, Any]
KEY = ("workload", "model", "backend", "precision", "patients", "days", "cores", "gpus")
"""What makes two rows the same measurement."""


def compare(first: Path, second: Path) -> tuple[list[dict[str, Any]], str]:
    """(rows: what was measured, speeds of both, ratio; the sentence). InputError where they share no row."""
    a, b = load(first), load(second)
    theirs = {_key(row): row for row in b["rows"]}
    pairs = [(row, theirs[_key(row)]) for row in a["rows"] if _key(row) in theirs]
    if not pairs:
        raise InputError(
            Problem(f"{first}, {second}", "these records have no row in common (was only one taken with --quick?)")
        )
    table = [
        {
            "workload": one["workload"]
            + next((f" on {one[unit]} {unit}" for unit in ("cores", "gpus") if one.get(unit)), ""),
            "backend": one["backend"],
            "precision": one["precision"],
            "patients": one["patients"],
            "A py/s": round(one["patient_years_per_s"], 1),
            "B py/s": round(other["patient_years_per_s"], 1),
            "B/A": round(other["patient_years_per_s"] / one["patient_years_per_s"], 3),
        }
        for one, other in pairs
    ]
    return table, sentence(a, b, [math.log(y["patient_years_per_s"] / x["patient_years_per_s"]) for x, y in pairs])


def sentence(a: Record, b: Record, logs: list[float]) -> str:
    """The comparison in words. logs: logarithms of B's speed over A's, row by row."""
    mean = math.exp(sum(logs) / len(logs))
    span = f"{math.exp(min(logs)):.2f} to {math.exp(max(logs)):.2f}"
    if abs(math.log(mean)) < math.log(1.03):
        verdict = "B is as fast as A"
    elif mean > 1:
        verdict = f"B is {mean:.2f} times as fast as A"
    else:
        verdict = f"A is {1 / mean:.2f} times as fast as B"
    rows = f"{len(logs)} common row{'s' if len(logs) > 1 else ''}"
    where = (_name(a), _name(b))
    place = f"both on {where[0]}" if where[0] == where[1] else f"A on {where[0]}, B on {where[1]}"
    return f"{verdict} (geometric mean of {rows}; B/A from {span}; {place})."


def _name(record: Record) -> str:
    machine = record["machine"]
    names = [str(gpu.get("name")) for gpu in machine.get("gpus") or () if isinstance(gpu, Mapping)]
    return ", ".join([f"{machine.get('cpu', 'an unnamed processor')} ({machine.get('cores', '?')} cores)", *names])


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in KEY)
