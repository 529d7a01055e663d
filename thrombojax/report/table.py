"""The endpoint table: one row a cell, one column an endpoint, each entry a median with its 5th and 95th percentile."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from thrombojax.errors import InputError, Problem
from thrombojax.report.reading import Results, open_results
from thrombojax.report.summary import (
    PERCENTS,
    cell_names,
    endpoint_quantiles,
    facts_text,
    merge,
    number_text,
    thin,
    unit_text,
)

WIDTH = 100
MOST_ROWS = 60
_GAP = "  "


@dataclass(frozen=True)
class Table:
    """heads and units: of the columns; the first `named` columns name the cell, the rest are endpoints."""

    named: int
    heads: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def table(results_path: str | Path) -> str:
    """The endpoints of a results file as text of at most about 100 columns.

    Raises InputError where the file is no results file or has no endpoints.
    """
    with open_results(results_path) as results:
        if not results.endpoints:
            raise InputError(Problem(str(results.path), "holds no endpoints, so there is no table"))
        made = build(results, MOST_ROWS)
        facts = "; ".join(facts_text(results, drawn=False))
    lines: list[str] = []
    for part in blocks(made, WIDTH):
        lines += [*_lines(part), ""]
    return "\n".join([*lines, *made.notes, *textwrap.wrap(facts + ".", WIDTH)])


def build(results: Results, most_rows: int) -> Table:
    """The table of a file that has endpoints; rows evenly chosen where there are too many cells."""
    grid = thin(results.sizes, most_rows)
    summaries = merge(endpoint_quantiles(results, list(product(*grid))))
    varied = [axis for axis in results.axes if len(axis.values) > 1]
    arms = len(results.arms.values) > 1 or not varied
    rows = [(*cell_names(results, s.index), *(_entry(quantiles) for quantiles in s.quantiles)) for s in summaries]
    notes = ["Median [5 %, 95 %] over patients."]
    shown, total = prod(map(len, grid)), prod(results.sizes)
    if shown < total:
        notes.append(f"{shown} of {total} cells are listed.")
    if any("never" in entry for row in rows for entry in row):
        notes.append("never: not within the study.")
    columns = [*([("arm", "")] if arms else []), *((a.name, a.unit) for a in varied)]
    columns += [(v.name, v.unit) for v in results.endpoints]
    return Table(
        len(varied) + arms,
        tuple(name for name, _ in columns),
        tuple(unit_text(unit) for _, unit in columns),
        tuple(rows),
        (" ".join(notes),),
    )


def _entry(quantiles: np.ndarray) -> str:
    low, median, high = (number_text(quantiles[PERCENTS.index(p)]) for p in (5, 50, 95))
    return low if low == median == high and low in ("never", "-") else f"{median} [{low}, {high}]"


def widths(table: Table) -> list[int]:
    """Characters of each column."""
    return [max(map(len, column)) for column in zip(table.heads, table.units, *table.rows, strict=True)]


def blocks(table: Table, width: int) -> Iterator[Table]:
    """The table cut into parts that are no wider than `width` characters, each with the columns that name the cell."""
    sizes = widths(table)
    named = list(range(table.named))
    fixed = sum(sizes[i] + len(_GAP) for i in named)
    chosen: list[int] = []
    for i in range(table.named, len(sizes)):
        if chosen and fixed + sum(sizes[j] + len(_GAP) for j in (*chosen, i)) - len(_GAP) > width:
            yield _columns(table, [*named, *chosen])
            chosen = []
        chosen.append(i)
    yield _columns(table, [*named, *chosen])


def _columns(table: Table, chosen: Sequence[int]) -> Table:
    def take(row: Sequence[str]) -> tuple[str, ...]:
        return tuple(row[i] for i in chosen)

    return Table(table.named, take(table.heads), take(table.units), tuple(take(row) for row in table.rows), table.notes)


def _lines(table: Table) -> list[str]:
    sizes = widths(table)

    def line(row: Sequence[str]) -> str:
        return _GAP.join(text.ljust(size) for text, size in zip(row, sizes, strict=True)).rstrip()

    rule = "-" * (sum(sizes) + len(_GAP) * (len(sizes) - 1))
    return [line(table.heads), line(table.units), rule, *(line(row) for row in table.rows)]
