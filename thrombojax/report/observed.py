"""Observed counts: a CSV file of one row an observation, in the columns that NONMEM and its kin have.

ID, TIME (days), DV (platelet count, 1e9/L) and, where the results have several arms, ARM. EVID and MDV, where they are
there, say which rows are no observation (doses); every other column is left alone. Rows are counted as a spreadsheet shows
them, so the header is row 1; lines that start with `#` are comments. Every fault of a file is reported at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thrombojax import csv_rows
from thrombojax.errors import InputError, Problem, nearest

NEEDED = ("ID", "TIME", "DV")
FLAGS = ("EVID", "MDV")  # not 0: no observation


@dataclass(frozen=True, eq=False)
class Observed:
    """One number an observation, in the order of the file: arm and person (0, 1, ... within the arm), time, value."""

    arm: np.ndarray
    person: np.ndarray
    time: np.ndarray
    value: np.ndarray

    def of(self, arm: int) -> "Observed":
        mine = self.arm == arm
        return Observed(self.arm[mine], self.person[mine], self.time[mine], self.value[mine])

    @property
    def people(self) -> int:
        """Persons, of one arm."""
        return int(self.person.max()) + 1 if len(self.person) else 0


def load(path: str | Path, arms: Sequence[str]) -> Observed:
    """The observations of a file, which names these arms. Raises InputError with every fault of the file."""
    where = str(path)
    (top, header), *body = csv_rows.read(path, "observation", comments=True)
    columns = _columns(f"{where}: row {top}", header, arms)
    found: list[Problem] = []
    kept = []
    for number, row in body:
        here = f"{where}: row {number}"
        if len(row) != len(header):
            found.append(Problem(here, f"has {len(row)} cells; the header has {len(header)}"))
        else:
            read = _row(here, {name: row[at].strip() for name, at in columns.items()}, arms, found)
            kept += [read] if read else []
    if found:
        raise InputError(*csv_rows.capped(where, found))
    if not kept:
        raise InputError(Problem(where, "has no observation"))
    return _numbered(kept)


def _columns(where: str, header: Sequence[str], arms: Sequence[str]) -> dict[str, int]:
    """Where each known column is, by its name in capitals."""
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise InputError(Problem(where, "has no commas; allowed: columns separated by commas (and decimal points)"))
    titles = [cell.strip().upper() for cell in header]
    found = []
    for name in (*NEEDED, *(["ARM"] if len(arms) > 1 else [])):
        if name not in titles:
            near = nearest(name, [t for t in titles if t])
            hint = f"; did you mean {near!r}?" if near else ""
            why = f", as the results have the arms {', '.join(arms)}" if name == "ARM" else ""
            found.append(Problem(where, f"has no column {name}{why}; its columns: {', '.join(titles)}{hint}"))
    known = (*NEEDED, "ARM", *FLAGS)
    found += [Problem(where, f"has the column {name} twice") for name in known if titles.count(name) > 1]
    if found:
        raise InputError(*found)
    return {name: titles.index(name) for name in known if name in titles}


def _row(
    where: str, cells: dict[str, str], arms: Sequence[str], found: list[Problem]
) -> tuple[int, str, float, float] | None:
    """Arm, ID, time and value; None where the row is no observation, or not a right one: then it is in `found`."""
    before = len(found)
    flags = [_number(where, name, cells[name] or "0", found) for name in FLAGS if name in cells]
    if len(found) > before or any(flags):
        return None
    if cells["ID"] in ("", "."):
        found.append(Problem(f"{where}, column 'ID'", "is missing; needed: who was observed"))
    arm = 0
    if "ARM" in cells:
        if cells["ARM"] in arms:
            arm = list(arms).index(cells["ARM"])
        else:
            near = nearest(cells["ARM"], arms)
            hint = f"; did you mean {near!r}?" if near else ""
            said = f"unknown arm {cells['ARM']!r}; the results have: {', '.join(arms)}{hint}"
            found.append(Problem(f"{where}, column 'ARM'", said))
    time = _number(where, "TIME", cells["TIME"], found)
    value = _number(where, "DV", cells["DV"], found)
    if value < 0:
        found.append(Problem(f"{where}, column 'DV'", f"given {cells['DV']}; needed: a count, at least 0"))
    return (arm, cells["ID"], time, value) if len(found) == before else None


def _number(where: str, name: str, cell: str, found: list[Problem]) -> float:
    try:
        value = float(cell) if "_" not in cell else math.nan  # Python reads 1_000, no other tool does
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        said = "is missing" if cell.lower() in ("", ".", "na", "nan", "null") else f"given {cell[:40]!r}"
        found.append(Problem(f"{where}, column {name!r}", f"{said}; needed: a finite number"))
    return value


def _numbered(rows: Sequence[tuple[int, str, float, float]]) -> Observed:
    """The rows as arrays; an ID is a person of its own in each arm."""
    persons: dict[int, dict[str, int]] = {}
    person = []
    for arm, name, _, _ in rows:
        mine = persons.setdefault(arm, {})
        person.append(mine.setdefault(name, len(mine)))
    return Observed(
        np.array([row[0] for row in rows]),
        np.array(person),
        np.array([row[2] for row in rows]),
        np.array([row[3] for row in rows]),
    )
