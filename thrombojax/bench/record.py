"""A record of a benchmark: built, read back with one clear message where a file is not one, and written as Markdown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thrombojax.bench.found import Found, Row
from thrombojax.errors import InputError, Problem

VERSION = 1
RATIOS = (
    "native/limit f64",
    "native/limit f32",
    "native/xla f64",
    "native/xla f32",
    "native/mrgsolve f64 1e-4",
    "native/mrgsolve f64 1e-6",
    "native/diffrax f64",
    "gradient/forward",
    "one pass/forward",
)
"""Ratios that every record has, null where not measured."""
REQUIRED = ("workload", "model", "backend", "precision", "patients", "seconds", "patient_years_per_s")


def build(machine: Mapping[str, Any], found: Found, how: Mapping[str, Any]) -> dict[str, Any]:
    """The record: rows with their share of the machine's ceilings, and a note for every ratio that is null."""
    ratios = {name: found.ratios.get(name) for name in dict.fromkeys([*RATIOS, *found.ratios])}
    notes = list(dict.fromkeys(found.notes))
    for name in RATIOS:
        if ratios[name] is None:
            notes.append(f"ratio {name}: not measured")
    ratios = {name: value for name, value in ratios.items() if value is not None or name in RATIOS}
    rows = [_shares(row, machine["ceilings"]) for row in found.rows]
    if rows and all(row.get("joules") is None for row in rows):
        notes.append("energy: this machine reports none (no readable RAPL counter, no pynvml)")
    return {"record": VERSION, **how, "machine": dict(machine), "rows": rows, "ratios": ratios, "notes": notes}


def _shares(row: Row, ceilings: Mapping[str, Any]) -> Row:
    """The row with its fractions of the arithmetic and memory ceilings, where its operations are counted."""
    peak = ceilings["operations"].get(row["precision"])
    rate, traffic = row.get("operations_per_s"), row.get("bytes_per_s")
    return {
        **row,
        "arithmetic_fraction": rate / peak if rate and peak else None,
        "memory_fraction": traffic / ceilings["bandwidth"] if traffic else None,
        "operations_per_byte": row["operations"] / row["bytes"] if row.get("operations") and row.get("bytes") else None,
    }


def load(path: Path) -> dict[str, Any]:
    """A record from its file. InputError where the file is not there, is not JSON, or is not a bench record."""
    where = str(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(Problem(where, f"cannot be read: {error.strerror or error}")) from None
    except ValueError:
        raise InputError(Problem(where, "is not JSON, so it is no bench record (`thrombojax bench --json`)")) from None
    wrong = _wrong(found)
    if wrong is not None:
        raise InputError(Problem(where, f"is not a bench record (`thrombojax bench --json`): {wrong}"))
    return dict(found)


def _wrong(found: Any) -> str | None:
    """What keeps parsed JSON from being a record; None where nothing does."""
    if not isinstance(found, Mapping):
        return f"it holds a {type(found).__name__}, not an object"
    kinds = {"machine": Mapping, "rows": list, "ratios": Mapping, "notes": list}
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            return f"{key!r} is missing or of another kind"
    for number, row in enumerate(found["rows"]):
        if not isinstance(row, Mapping) or (lost := [key for key in REQUIRED if key not in row]):
            return f"row {number} " + (f"has no {lost[0]!r}" if isinstance(row, Mapping) else "is no object")
        for key in ("seconds", "patient_years_per_s"):
            if isinstance(row[key], bool) or not isinstance(row[key], int | float) or not row[key] > 0:
                return f"row {number} has {key!r} {row[key]!r}, not a number above 0"
    return None


def markdown(record: Mapping[str, Any]) -> str:
    """The record as a page: the machine, a table of rows, ratios, notes."""
    machine, ceilings = record["machine"], record["machine"]["ceilings"]
    facts = [
        f"{machine['cpu']}, {machine['cores']} cores ({machine['architecture']}: {', '.join(machine['instructions'])})",
        *(f"GPU: {gpu['name']}" for gpu in machine["gpus"]),
        f"{machine['system']}; Python {machine['python']}; "
        + "; ".join(f"{name} {version}" for name, version in machine["versions"].items() if version),
        f"compiler: {machine['compiler'] or 'none'}",
        "measured ceilings: "
        + ", ".join(f"{p} {rate / 1e9:.0f} GFLOP/s" for p, rate in ceilings["operations"].items())
        + f", memory {ceilings['bandwidth'] / 1e9:.0f} GB/s",
    ]
    head = ("workload", "backend", "precision", "patients", "seconds", "patient-years/s", "error (99 %)", "GFLOP/s",
            "of ceiling", "J per patient-year", "peak MiB")  # fmt: skip
    lines = [
        f"# thrombojax bench, {record['taken']}",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        *_table(head, map(_cells, record["rows"])),
    ]
    lines += ["", "| ratio | |", "| --- | --- |"]
    lines += [
        f"| {name} | {'not measured' if value is None else f'{value:.3g}'} |"
        for name, value in record["ratios"].items()
    ]
    lines += ["", *(f"- {note}" for note in record["notes"])]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    place = next((f" on {row[unit]} {unit}" for unit in ("cores", "gpus") if row.get(unit)), "")
    energy = row.get("joules") and row["joules"] / (row["patient_years_per_s"] * row["seconds"])
    return [
        row["workload"] + place,
        row["backend"],
        row["precision"],
        str(row["patients"]),
        f"{row['seconds']:.3g}",
        f"{row['patient_years_per_s']:.0f}",
        _said(row.get("achieved_error"), ".1e"),
        _said(row.get("operations_per_s"), ".1f", 1e-9),
        _said(row.get("arithmetic_fraction"), ".0%"),
        _said(energy, ".2g"),
        _said(row.get("peak_rss_bytes"), ".0f", 2**-20),
    ]


def _said(value: float | None, form: str, unit: float = 1.0) -> str:
    return "" if value is None else format(value * unit, form)


def _table(head: Sequence[str], rows: Any) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
