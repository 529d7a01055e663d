"""What a report draws, as plain data: rows of panels with curves. Nothing here knows how it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from thrombojax.report.reading import Results
from thrombojax.report.summary import (
    PERCENTS,
    Index,
    Summary,
    bands,
    cell_title,
    coordinate,
    endpoint_quantiles,
    merge,
    spread,
    spread_of,
    thin,
    unit_text,
)

MOST_PANELS = 8
MOST_CURVES = 6
MOST_CELLS = 40  # whose bands are computed
MOST_OBSERVABLES = 4
MOST_ENDPOINTS = 12
MOST_POINTS = 60  # along the first axis


@dataclass(frozen=True, eq=False)
class Curve:
    """x `[n]` (0, 1, ... for categories), quantiles `[percent, n]`; name: in the legend.

    tone: its place between 0 and 1 on a scale of colours, or None for the place-th colour of a palette; sure: `[2, n]`, between
    which the median is over draws of uncertain parameters.
    """

    x: np.ndarray
    quantiles: np.ndarray
    name: str = ""
    tone: float | None = None
    place: int = 0
    sure: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """Panels that share their x axis and, with a y_label, their y axis (else each panel's title says what y is).

    shades: pairs of percentiles to fill, the outermost first; legend: its title, empty for none; categories: names
    of x = 0, 1, ..., empty where x is a number (they are listed from top to bottom, values run across); log: of y.
    """

    y_label: str
    x_label: str
    panels: tuple[Panel, ...]
    shades: tuple[tuple[int, int], ...]
    legend: str = ""
    categories: tuple[str, ...] = ()
    log: bool = False


def trajectory_rows(results: Results, notes: list[str]) -> list[Row]:
    """A row for each observable: a panel a cell or, where they are many, a panel an arm with a curve a cell."""
    assert results.time is not None
    cells = list(product(*thin(results.sizes, MOST_CELLS)))
    lead = _lead(results)
    dropped = len(cells) < prod(results.sizes)
    rows = []
    for variable in results.trajectories[:MOST_OBSERVABLES]:
        summaries = merge(bands(results, variable, cells))
        legend = ""
        if len(summaries) > MOST_PANELS and lead is not None:
            panels = _overlaid(results, summaries, lead)
            legend = label(results.axes[lead].name, results.axes[lead].unit)
        else:
            chosen = spread_of(summaries, MOST_PANELS)
            panels = tuple(Panel(cell_title(results, s.index), (_in_time(results, s),)) for s in chosen)
        dropped |= sum(len(panel.curves) for panel in panels) < len(summaries)
        log = variable.name != "platelets" and _wide(summaries)
        most = max(len(panel.curves) for panel in panels)
        y, x = label(variable.label, variable.unit), label("time", results.time.unit.replace("day", "days"))
        rows.append(Row(y, x, panels, _shades(most), legend, log=log))
    if dropped:
        notes.append(f"a selection of the {prod(results.sizes)} cells is drawn")
    left = results.trajectories[MOST_OBSERVABLES:]
    if left:
        notes.append(f"not drawn: {', '.join(v.name for v in left)}")
    return rows


def _shades(curves: int) -> tuple[tuple[int, int], ...]:
    """What is filled: the more curves in a panel, the less, lest the bands hide one another."""
    return ((5, 95), (25, 75)) if curves == 1 else ((25, 75),) if curves <= 3 else ()


def _in_time(results: Results, summary: Summary, name: str = "", tone: float | None = None) -> Curve:
    assert results.time is not None
    sure = None if summary.sure is None else summary.sure[:, PERCENTS.index(50)]
    return Curve(results.time.values, summary.quantiles, name, tone, sure=sure)


def _overlaid(results: Results, summaries: Sequence[Summary], lead: int) -> tuple[Panel, ...]:
    """A panel for everything but the leading axis, in it a curve for each of some of that axis's values."""
    groups: dict[Index, list[Summary]] = {}
    for s in summaries:
        groups.setdefault((*s.index[:lead], None, *s.index[lead + 1 :]), []).append(s)
    axis = results.axes[lead]
    last = len(axis.values) - 1
    panels = []
    for key in spread_of(list(groups), MOST_PANELS):
        curves = []
        for s in spread_of(groups[key], MOST_CURVES):
            i = s.index[lead]
            named = () if i is None else (coordinate(axis.values[i]), i / last)
            curves.append(_in_time(results, s, *named))
        panels.append(Panel(cell_title(results, key), tuple(curves)))
    return tuple(panels)


def endpoint_rows(results: Results, notes: list[str]) -> list[Row]:
    """One row, a panel an endpoint: against the leading axis where that is of numbers, else by category."""
    lead = _lead(results)
    x_axis = results.arms if lead is None else results.axes[lead]
    place = len(results.axes) if lead is None else lead
    others = [1 if i == place else size for i, size in enumerate(results.sizes)]
    grid = list(thin(others, MOST_CURVES))
    grid[place] = spread(len(x_axis.values), MOST_POINTS)
    if prod(map(len, grid)) < prod(results.sizes):
        notes.append(f"a selection of the {prod(results.sizes)} cells is drawn")
    cells = list(product(*grid))
    quantiles = {s.index: s.quantiles for s in endpoint_quantiles(results, cells)}
    series = list(dict.fromkeys((*c[:place], None, *c[place + 1 :]) for c in cells))
    numeric = lead is not None and np.issubdtype(x_axis.values.dtype, np.number)
    x = x_axis.values[list(grid[place])] if numeric else np.arange(len(grid[place]), dtype=float)
    panels = []
    for e, variable in enumerate(results.endpoints[:MOST_ENDPOINTS]):
        curves = []
        for k, key in enumerate(series):
            along = [quantiles[(*key[:place], i, *key[place + 1 :])][e] for i in grid[place]]
            name = cell_title(results, key) if len(series) > 1 else ""
            curves.append(Curve(x, np.array(along).T, name, place=k))
        panels.append(Panel(label(variable.name, variable.unit), tuple(curves)))
    if len(results.endpoints) > MOST_ENDPOINTS:
        notes.append(f"not drawn: {', '.join(v.name for v in results.endpoints[MOST_ENDPOINTS:])}")
    categories = () if numeric else tuple(coordinate(x_axis.values[i]) for i in grid[place])
    shades = _shades(1 if categories else len(series))
    return [Row("", label(x_axis.name, x_axis.unit), tuple(panels), shades, " " if len(series) > 1 else "", categories)]


def label(name: str, unit: str) -> str:
    """`platelets (10⁹/L)`."""
    shown = unit_text(unit)
    return f"{name.replace('_', ' ')} ({shown})" if shown else name.replace("_", " ")


def _lead(results: Results) -> int | None:
    """The first study axis that has several values."""
    return next((i for i, axis in enumerate(results.axes) if len(axis.values) > 1), None)


def _wide(summaries: Sequence[Summary]) -> bool:
    """Whether medians span so much that only a logarithmic scale shows them."""
    medians = np.concatenate([s.quantiles[PERCENTS.index(50)] for s in summaries])
    medians = medians[np.isfinite(medians)]
    lowest = np.concatenate([s.quantiles[0] for s in summaries])
    return bool(len(medians) and np.nanmin(lowest) > 0 and medians.max() > 50 * medians.min())
