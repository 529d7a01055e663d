"""Patient tables: a CSV file with one row per patient and one column per parameter or covariate, all cells numbers.

Rows are counted as a spreadsheet shows them, so the header is row 1. Every fault of a file is reported at once.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thrombojax import csv_rows
from thrombojax.errors import InputError, Problem
from thrombojax.store.layout import WEIGHT
from thrombojax.study.catalogue import resolve, unresolved

MISSING = ("", ".", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True)
class Table:
    """columns: canonical name -> one float64 a patient; ids: as in the file, or "1", "2", ... where it has none.

    weights: `[patient]`, their sum 1, of a column `prevalence_weight`; None where there is none.
    """

    columns: dict[str, np.ndarray]
    ids: tuple[str, ...]
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


def ids(path: str | Path) -> list[str]:
    """The ids of a patient table, in its order, as `load` has them; of no other fault anything is said."""
    (_, header), *body = csv_rows.read(path, "patient")
    names = [cell.strip().lower() for cell in header]
    at = names.index("id") if "id" in names else None
    return [str(k + 1) if at is None or at >= len(row) else row[at].strip() for k, (_, row) in enumerate(body)]


def load(path: str | Path, names: Iterable[str], n: int | None = None) -> Table:
    """The first n patients (all of them without n) of a CSV file whose headers stand for `names`."""
    where = str(path)
    (top, header), *body = csv_rows.read(path, "patient")
    found: list[Problem] = []
    columns = _header(f"{where}: row {top}", header, set(names), found)
    if not body:
        found.append(Problem(where, "has a header but no patients"))
    square = []
    for number, row in body:
        if len(row) == len(header):
            square.append((number, row))
        else:
            found.append(Problem(f"{where}: row {number}", f"has {len(row)} cells; the header has {len(header)}"))
    values = {
        name: _column(where, header[at], [(number, row[at]) for number, row in square], found)
        for at, name in columns.items()
        if name != "id"
    }
    at_id = next((at for at, name in columns.items() if name == "id"), None)
    if at_id is None:
        ids = tuple(str(i + 1) for i in range(len(square)))
    else:
        ids = _ids(where, [(number, row[at_id].strip()) for number, row in square], found)
    if n is not None and n > len(body) and body:
        found.append(Problem(where, f"has {len(body)} patients; the study's n asks for {n}"))
    weights = values.pop(WEIGHT, None)
    if weights is not None and not (weights.min(initial=0) >= 0 and weights[:n].sum() > 0):
        found.append(Problem(where, f"column {WEIGHT!r}: needed: numbers from 0, not all of them 0"))
    if found:
        raise InputError(*csv_rows.capped(where, found))
    if weights is not None:
        weights = weights[:n] / weights[:n].sum()
    return Table({name: column[:n] for name, column in values.items()}, ids[:n], weights)


def _header(where: str, header: Sequence[str], names: set[str], found: list[Problem]) -> dict[int, str]:
    """Column -> canonical name, or `id`."""
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        found.append(Problem(where, "has no commas; allowed: columns separated by commas (and decimal points)"))
        return {}
    columns: dict[int, str] = {}
    first: dict[str, str] = {}
    for at, cell in enumerate(header):
        title = cell.strip()
        here = f"{where}, column {at + 1}"
        name = title.lower() if title.lower() in ("id", WEIGHT) else resolve(title, names)
        if not title:
            found.append(Problem(here, "has no name; needed: a parameter, a covariate or id"))
        elif name is None:
            wrong = unresolved(here, "column", title, names)
            found += [wrong] if wrong else []
        elif name in first:
            found.append(Problem(here, f"{title!r} repeats the column {first[name]!r}"))
        else:
            columns[at] = name
            first[name] = title
    if columns and set(columns.values()) <= {"id", WEIGHT}:
        found.append(Problem(where, "has no column but id; needed: a parameter or a covariate"))
    return columns


def _column(where: str, title: str, cells: Sequence[tuple[int, str]], found: list[Problem]) -> np.ndarray:
    values = np.zeros(len(cells))
    for i, (number, cell) in enumerate(cells):
        try:
            values[i] = float(cell) if "_" not in cell else math.nan  # Python reads 1_000, no other tool does
        except ValueError:
            values[i] = math.nan
        if not math.isfinite(values[i]):
            here = f"{where}: row {number}, column {title.strip()!r}"
            said = "is missing" if cell.strip().lower() in MISSING else f"given {cell.strip()[:40]!r}"
            found.append(Problem(here, f"{said}; needed: a finite number"))
    return values


def _ids(where: str, cells: Sequence[tuple[int, str]], found: list[Problem]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for number, cell in cells:
        here = f"{where}: row {number}, column 'id'"
        if not cell:
            found.append(Problem(here, "is missing; needed: an id"))
        elif first.setdefault(cell, number) != number:
            found.append(Problem(here, f"{cell!r} is the id of row {first[cell]} already"))
    return tuple(cell for _, cell in cells)
