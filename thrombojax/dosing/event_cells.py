"""The cells of an event table: a NONMEM-style CSV file as columns of numbers, and the list of what is wrong with it.

Rows are counted as a spreadsheet shows them, comments and blank lines included. `.` and an empty cell are missing.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from thrombojax import csv_rows
from thrombojax.errors import InputError, Problem, nearest, unknown

COLUMNS = ("ID", "TIME", "AMT", "RATE", "II", "ADDL", "EVID", "CMT", "SS", "DV", "MDV", "DVID")
"""Names that mean something of their own; every other column is a covariate."""
_NEEDED = {"ID": "the patient of each record", "TIME": "when it happens"}
_REFUSED = {
    **dict.fromkeys(("DATE", "DAT1", "DAT2", "DAT3"), "dates; needed: TIME alone, counted from the patient's start"),
    **dict.fromkeys(("PCMT", "CALL", "CONT", "L1", "L2"), "a data item of NONMEM that means nothing here"),
}
_MISSING = ("", ".")


class Sheet:
    """Records of an event table by column, and everything found wrong so far.

    lines: row of each record in the file; bad: records with a fault; covariates: titles of the columns that are not COLUMNS.
    """

    def __init__(self, where: str, header: dict[int, tuple[str, str]], body: Sequence[tuple[int, list[str]]]):
        self.where = where
        self.titles = {name: title for name, title in header.values()}
        self.lines = np.array([line for line, _ in body], int)
        self.bad = np.zeros(len(body), bool)
        self.covariates = tuple(name for name in self.titles if name not in COLUMNS)
        self.faults: list[tuple[int, Problem]] = []
        self._cells = {name: [row[at].strip() for _, row in body] for at, (name, _) in header.items()}
        self._numbers: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def has(self, name: str) -> bool:
        return name in self.titles

    def reorder(self, order: np.ndarray) -> None:
        """Records in another order; before any column is read as numbers."""
        self.lines, self.bad = self.lines[order], self.bad[order]
        self._cells = {name: [cells[i] for i in order] for name, cells in self._cells.items()}

    def text(self, name: str) -> list[str]:
        """Cells as they stand, missing ones empty; so is every cell of a column that the table lacks."""
        if name not in self._cells:
            return [""] * len(self)
        return ["" if cell == "." else cell for cell in self._cells[name]]

    def codes(self, name: str) -> list[str]:
        """Cells of a column of numbers or names, so that 2, 2.0 and 02 are the same code."""
        cells = self.text(name)
        known = {cell: code(cell) for cell in set(cells)}
        return [known[cell] for cell in cells]

    def numbers(self, name: str) -> np.ndarray:
        """Values, NaN where they are missing (all of them where the table lacks the column) or are not numbers."""
        return self._read(name)[0]

    def missing(self, name: str) -> np.ndarray:
        """Which cells are missing, as opposed to wrong."""
        values, wrong = self._read(name)
        return np.isnan(values) & ~wrong

    def _read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in self._numbers:
            cells = self._cells.get(name, [])
            values, wrong = np.full(len(self), math.nan), np.zeros(len(self), bool)
            if cells:
                values[:], wrong[:] = _floats(cells)
                values += 0.0  # no negative zero
            self._numbers[name] = values, wrong
            self.flag(wrong, name, lambda i: _hint(name, cells[i]))
        return self._numbers[name]

    def place(self, i: int, name: str | None = None) -> str:
        """Where a record, or its cell, is in the file."""
        return f"{self.where}: row {self.lines[i]}" + (f", column {self.titles[name]!r}" if name else "")

    def flag(self, mask: np.ndarray, name: str, tail: str | Callable[[int], str]) -> None:
        """A fault for each cell of the mask: what is given there, then `tail`."""
        for i in np.flatnonzero(mask).tolist():
            said = tail if isinstance(tail, str) else tail(i)
            if name in self._cells:
                cell = self._cells[name][i]
                self.report(i, ("is missing" if cell in _MISSING else f"given {cell[:40]!r}") + said, name)
            else:
                self.report(i, f"the table has no column {name}{said}")
                break  # once is enough
        self.bad |= mask

    def report(self, i: int, fault: str | Problem, name: str | None = None) -> None:
        """A fault of one record."""
        self.bad[i] = True
        problem = fault if isinstance(fault, Problem) else Problem(self.place(i, name), fault)
        self.faults.append((int(self.lines[i]), problem))

    def whole(self, message: str) -> None:
        """A fault of the whole table."""
        self.faults.append((0, Problem(self.where, message)))

    def stop(self) -> None:
        """Raises what was found, in the order of the file, if anything was."""
        if self.faults:
            found = [problem for _, problem in sorted(self.faults, key=lambda fault: fault[0])]
            raise InputError(*csv_rows.capped(self.where, found))


def code(cell: str) -> str:
    """A number without what does not change it, or a name in lower case."""
    low = cell.strip().lower()
    try:
        number = float(low)
    except ValueError:
        return low
    return str(int(number)) if math.isfinite(number) and number == int(number) else low


def load(path: str | Path, drop: Iterable[str] = ()) -> Sheet:
    """The records of a CSV file without the columns in `drop`. Raises InputError where there are none to look at."""
    where = str(path)
    (top, header), *body = csv_rows.read(path, "record", comments=True)
    found: list[Problem] = []
    columns = _header(f"{where}: row {top}", header, tuple(drop), found)
    if not body:
        found.append(Problem(where, "has a header but no records"))
    square = [(line, row) for line, row in body if len(row) == len(header)]
    sheet = Sheet(where, columns, square)
    sheet.faults += [(top, problem) for problem in found]
    for line, row in body:
        if len(row) != len(header):
            said = f"has {len(row)} cells; the header has {len(header)}"
            sheet.faults.append((line, Problem(f"{where}: row {line}", said)))
    if not square or not all(sheet.has(name) for name in _NEEDED):
        sheet.stop()
    return sheet


def _header(where: str, header: Sequence[str], drop: Sequence[str], found: list[Problem]) -> dict[int, tuple[str, str]]:
    """Position -> (name, title in the file): a name of COLUMNS, or the title of a covariate."""
    titles = [cell.strip() for cell in header]
    if len(titles) == 1 and any(mark in titles[0] for mark in "; \t"):
        found.append(Problem(where, "has no commas; allowed: columns separated by commas (and decimal points)"))
        return {}
    dropped = {name.strip().lower() for name in drop}
    found += [
        unknown(where, "column to drop", name, titles)
        for name in drop
        if name.strip().lower() not in map(str.lower, titles)
    ]
    columns: dict[int, tuple[str, str]] = {}
    first: dict[str, str] = {}
    for at, title in enumerate(titles):
        here = f"{where}, column {at + 1}"
        low = title.lower()
        if low in dropped:
            continue
        if not title:
            found.append(Problem(here, "has no name; needed: a data item or a covariate"))
        elif low in first:
            found.append(Problem(here, f"{title!r} repeats the column {first[low]!r}"))
        elif title.upper() in _REFUSED:
            said = f"{title!r} is not supported: {_REFUSED[title.upper()]} (a column that is not needed can be dropped)"
            found.append(Problem(here, said))
        else:
            first[low] = title
            columns[at] = (title.upper() if title.upper() in COLUMNS else title, title)
    for name, meaning in _NEEDED.items():
        if name.lower() not in first:
            like = nearest(name, [title for title in titles if title and title.upper() not in COLUMNS])
            hint = f"; did you mean {like!r}?" if like else ""
            found.append(Problem(where, f"has no column {name}; needed: {meaning}{hint}"))
    return columns


def _floats(cells: Sequence[str]) -> tuple[list[float], list[bool]]:
    """Finite numbers, else NaN; and which cells are neither numbers nor missing."""
    values, wrong = [], []
    for cell in cells:
        try:
            value = float(cell) if "_" not in cell else math.inf  # Python reads 1_000, no other tool does
        except ValueError:
            value = math.nan if cell in _MISSING else math.inf
        given = not math.isinf(value) and not (math.isnan(value) and cell not in _MISSING)
        values.append(value if given else math.nan)
        wrong.append(not given)
    return values, wrong


def _hint(name: str, cell: str) -> str:
    if name == "TIME":
        clock = ": clock times are not supported" if ":" in cell else ""
        return f"{clock}; needed: a finite number"
    said = "; needed: a finite number, or . where there is none"
    return said if name in COLUMNS else f"{said} (a column that is no covariate can be dropped)"
