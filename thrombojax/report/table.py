"""Endpoint tables as plain text: columns, blocks no wider than a page, and the text itself."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from thrombojax.errors import InputError, Problem
from thrombojax.report.reading import open_results
from thrombojax.report.summary import facts_text

WIDTH = 100
MOST_ROWS = 60
_GAP = "  "


@dataclass(frozen=True)
class Table:
    """title: a line above, empty for none; heads and units: of the columns, of which the first `named` name the row."""

    title: str
    named: int
    heads: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def table(results_path: str | Path) -> str:
    """The endpoints of a results file as text of at most about 100 columns.

    Raises InputError where the file is no results file or has no endpoints.
    """
    from thrombojax.report.endpoints import build

    with open_results(results_path) as results:
        if not results.endpoints:
            raise InputError(Problem(str(results.path), "holds no endpoints, so there is no table"))
        made = build(results, MOST_ROWS)
        facts = "; ".join(facts_text(results, drawn=False))
    lines: list[str] = []
    for part in (part for one in made for part in blocks(one, WIDTH)):
        lines += [*([part.title, ""] if part.title else []), *_lines(part), ""]
    return "\n".join([*lines, *notes(made), *textwrap.wrap(facts + ".", WIDTH)])


def notes(tables: Sequence[Table]) -> list[str]:
    """What the tables say in words, each sentence once, as lines."""
    said = dict.fromkeys(note for one in tables for note in one.notes)
    return textwrap.wrap(" ".join(said), WIDTH, break_on_hyphens=False)


def widths(table: Table) -> list[int]:
    """Characters of each column."""
    return [max(map(len, column)) for column in zip(table.heads, table.units, *table.rows, strict=True)]


def blocks(table: Table, width: int) -> Iterator[Table]:
    """The table cut into parts that are no wider than `width` characters, each with the columns that name the row.

    The title is the first part's.
    """
    sizes = widths(table)
    named = list(range(table.named))
    fixed = sum(sizes[i] + len(_GAP) for i in named)
    chosen: list[int] = []
    for i in range(table.named, len(sizes)):
        if chosen and fixed + sum(sizes[j] + len(_GAP) for j in (*chosen, i)) - len(_GAP) > width:
            yield _columns(table, [*named, *chosen])
            table = replace(table, title="")
            chosen = []
        chosen.append(i)
    yield _columns(table, [*named, *chosen])


def _columns(table: Table, chosen: Sequence[int]) -> Table:
    def take(row: Sequence[str]) -> tuple[str, ...]:
        return tuple(row[i] for i in chosen)

    rows = tuple(take(row) for row in table.rows)
    return replace(table, heads=take(table.heads), units=take(table.units), rows=rows)


def _lines(table: Table) -> list[str]:
    sizes = widths(table)

    def line(row: Sequence[str]) -> str:
        return _GAP.join(text.ljust(size) for text, size in zip(row, sizes, strict=True)).rstrip()

    rule = "-" * (sum(sizes) + len(_GAP) * (len(sizes) - 1))
    return [line(table.heads), line(table.units), rule, *(line(row) for row in table.rows)]
