"""Covariances as population fits write them: NONMEM's .ext, .lst and .cov, matrices of R (nlmixr2: `fit$omega`) as CSV or
as printed.

A small strict reader of these tables: pharmpy reads all of NONMEM's output, and brings a computer algebra system with it.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thrombojax.errors import InputError, Problem, nearest

FINAL = -1000000000
"""Iteration under which a NONMEM .ext file has the final estimates."""


def omega(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of random effects and their covariance, `[effect, effect]`, on the scale of the effects (log-normal: of logarithms).

    Of a .ext or .lst file the names are ETA1, ETA2 ... Raises InputError for what is no such table or no covariance.
    """
    lines = _lines(path)
    final = _lst(path, lines) if path.suffix.lower() == ".lst" else _ext(path, lines)
    if final is None:
        return matrix(path)
    found = {tuple(map(int, k[6:-1].split(","))): v for k, v in final.items() if k.startswith("OMEGA(")}
    size = max((i for i, _ in found), default=0)
    if not size:
        raise InputError(Problem(str(path), "has no OMEGA among its final estimates"))
    whole = np.zeros((size, size))
    for (i, j), value in found.items():
        whole[i - 1, j - 1] = whole[j - 1, i - 1] = value
    drawn = np.flatnonzero(np.diag(whole) > 0)  # effects that were fixed to 0 are none
    return _checked(path, [f"ETA{i + 1}" for i in drawn], whole[np.ix_(drawn, drawn)])


def matrix(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and a covariance, of a NONMEM .cov file, of a matrix of R or of `thrombojax calibrate --json`.

    A header of names and a row for each, the whole of it or the lower triangle; of several tables in a file the last.
    """
    if path.suffix.lower() == ".json":
        return _calibrated(path)
    rows = [_cells(line) for line in _lines(path)]
    starts = [k for k, row in enumerate(rows) if row[:2] == ["TABLE", "NO."]]
    rows = rows[starts[-1] + 1 :] if starts else rows
    header, *body = rows
    names = [cell for cell in header if cell not in ("", "NAME")]
    if len(set(names)) != len(names) or not names:
        raise InputError(Problem(str(path), "needed: a first line of names, each once"))
    if [row[0] for row in body] != names:
        got = ", ".join(row[0] for row in body[:8])
        message = (
            f"needed: a row for each of {', '.join(names[:8])}, in this order; its rows begin with {got or 'nothing'}"
        )
        raise InputError(Problem(str(path), message))
    whole = np.zeros((len(names), len(names)))
    for i, (name, *cells) in enumerate(body):
        values = [_number(path, name, cell) for cell in cells]
        if len(values) not in (i + 1, len(names)):
            raise InputError(
                Problem(f"{path}: row {name!r}", f"has {len(values)} numbers; needed: {len(names)} or {i + 1}")
            )
        whole[i, : len(values)] = values
    if all(len(row) == i + 2 for i, row in enumerate(body)):
        whole = np.tril(whole) + np.tril(whole, -1).T
    return _checked(path, names, whole)


def thetas(path: Path) -> dict[str, float]:
    """Final estimates of a NONMEM .ext file by name."""
    final = _ext(path, _lines(path))
    if final is None:
        raise InputError(Problem(str(path), "is no .ext file: it has no line that begins with ITERATION"))
    return final


def chosen(
    where: str, names: Sequence[str], values: np.ndarray, wanted: Sequence[str], kind: str = "random effect"
) -> np.ndarray:
    """The part of a covariance that is of `wanted`, in that order. Raises InputError for names that it does not have."""
    wrong = [name for name in wanted if name not in names]
    if wrong:
        shown = ", ".join(names[:12])
        raise InputError(
            *(Problem(where, f"no {kind} {n!r} in the file; it has: {shown}" + _hint(n, names)) for n in wrong)
        )
    at = [list(names).index(name) for name in wanted]
    return values[np.ix_(at, at)]


def _hint(name: str, names: Sequence[str]) -> str:
    near = nearest(name, names)
    return f"; did you mean {near!r}?" if near else ""


def root(where: str, covariance: np.ndarray) -> np.ndarray:
    """A matrix whose product with its transpose is the covariance. Raises InputError where it is none."""
    values, vectors = np.linalg.eigh(covariance)
    if values.min() < -1e-8 * max(values.max(), 0.0) or not values.max() > 0:
        raise InputError(
            Problem(where, f"is no covariance: its eigenvalues go from {values.min():.3g} to {values.max():.3g}")
        )
    return vectors * np.sqrt(np.clip(values, 0.0, None))


def _checked(path: Path, names: Sequence[str], whole: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    scale = np.sqrt(np.abs(np.outer(np.diag(whole), np.diag(whole)))) + np.finfo(float).tiny
    if np.any(np.abs(whole - whole.T) > 1e-4 * scale):  # files round
        raise InputError(Problem(str(path), "is no covariance: it is not symmetric"))
    if np.any(np.diag(whole) < 0):
        raise InputError(
            Problem(str(path), f"is no covariance: the variance of {names[int(np.argmin(np.diag(whole)))]} is negative")
        )
    return tuple(names), 0.5 * (whole + whole.T)


def _calibrated(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["covariance_of_logarithms"]
        return _checked(path, found["names"], np.array(found["values"], float))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"is not what `thrombojax calibrate --json` writes: {error}"
        raise InputError(Problem(str(path), message)) from None


def _ext(path: Path, lines: Sequence[str]) -> dict[str, float] | None:
    """Final estimates of the last table of a .ext file by name; None where it is none."""
    rows = [line.split() for line in lines]
    headers = [k for k, row in enumerate(rows) if row[0] == "ITERATION"]
    if not headers:
        return None
    header = rows[headers[-1]]
    final = [row for row in rows[headers[-1] + 1 :] if row[0].lstrip("-").isdigit() and int(row[0]) == FINAL]
    if len(final) != 1 or len(final[0]) != len(header):
        raise InputError(Problem(str(path), f"has no line {FINAL} of final estimates below its last header"))
    return {name: _number(path, name, cell) for name, cell in zip(header[1:], final[0][1:], strict=True)}


def _lst(path: Path, lines: Sequence[str]) -> dict[str, float]:
    """OMEGA(i,j) of the last final estimates in a NONMEM listing: under a line with an effect's name the numbers of its row, over
    several lines where they are many; dots stand for what is not estimated."""
    ends = [k for k, line in enumerate(lines) if "FINAL PARAMETER ESTIMATE" in line]
    begins = [k for k, line in enumerate(lines) if ends and k > ends[-1] and line.split()[:3] == ["OMEGA", "-", "COV"]]
    if not begins:
        raise InputError(Problem(str(path), "has no OMEGA below a FINAL PARAMETER ESTIMATE"))
    rows: list[list[float]] = []
    for line in lines[begins[0] + 1 :]:
        cells = line.strip().removeprefix("+").split() or ["."]
        if cells[0] in ("OMEGA", "SIGMA", "1") or set(cells[0]) == {"*"}:  # the next matrix, or the next page
            break
        if cells[0].startswith("ET"):  # ETA9, ET10
            rows.append([])
        elif rows:
            name = f"row {sum(map(bool, rows[:-1])) + 1} of OMEGA"
            rows[-1] += [0.0 if not c.strip(".") else _number(path, name, c) for c in cells]
    rows = [row for row in rows if row]  # a heading has no numbers below it
    if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
        raise InputError(Problem(str(path), "has an OMEGA that is no lower triangle"))
    return {f"OMEGA({i + 1},{j + 1})": v for i, row in enumerate(rows) for j, v in enumerate(row)}


def _cells(line: str) -> list[str]:
    row = [cell.strip() for cell in next(csv.reader([line]))] if "," in line and "(" not in line else line.split()
    return row if len(row) < 2 or row[0] else ["", *row[1:]]


def _number(path: Path, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(Problem(f"{path}: {name}", f"given {cell[:40]!r}; needed: a finite number"))
    return value


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(Problem(str(path), f"cannot be read: {error.strerror or error}")) from None
    except ValueError as error:
        raise InputError(Problem(str(path), f"is not a text file in UTF-8: {error}")) from None
    if not lines:
        raise InputError(Problem(str(path), "is empty"))
    return lines
