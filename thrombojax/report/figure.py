"""Drawing a report with matplotlib, which is imported inside the functions: it is an extra that only pictures need.

Everything is placed in inches from the top: title, rows of panels, endpoint table, caption.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thrombojax.report.endpoints import build
from thrombojax.report.panels import Curve, Panel, Row, endpoint_rows, trajectory_rows
from thrombojax.report.reading import Results
from thrombojax.report.summary import PERCENTS, facts_text
from thrombojax.report.table import Table, blocks, widths
from thrombojax.report.table import notes as table_notes

DPI = 160
WIDTH = 9.0  # inches: on a README page a point is about a pixel
LEFT, RIGHT = 0.62, 0.12
LINE = 0.165  # of text
MOST_ROWS = 24  # of the table
TABLE_CHARACTERS = 130
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
INK, GREY, RULE = "#222222", "#666666", "#BBBBBB"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
MEDIAN = PERCENTS.index(50)


def draw(results: Results) -> Any:
    """The matplotlib figure of an open results file."""
    import matplotlib
    from matplotlib.figure import Figure

    notes: list[str] = []
    rows = trajectory_rows(results, notes) if results.trajectories else endpoint_rows(results, notes)
    tables = build(results, MOST_ROWS) if results.endpoints else []
    title = textwrap.wrap(results.title, 95)[:3]
    caption = textwrap.wrap(_caption(results, rows, tables, notes), 150)
    parts = [part for table in tables for part in blocks(table, TABLE_CHARACTERS)]
    height = 0.12 + LINE * 1.25 * len(title) + sum(_place(row).total for row in rows)
    height += sum(map(_table_height, parts)) + LINE * (len(caption) + 0.6)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
        top = 0.12
        for line in title:
            text_at(figure, 0.1, top, line, size=10.5, weight="bold")
            top += LINE * 1.25
        for row in rows:
            _draw_row(figure, row, top)
            top += _place(row).total
        for part in parts:
            _draw_table(figure, part, top)
            top += _table_height(part)
        for line in caption:
            text_at(figure, 0.1, top, line, size=7.5, color=GREY)
            top += LINE
    return figure


def _caption(results: Results, rows: list[Row], tables: list[Table], notes: list[str]) -> str:
    line, band = ("Dot: median", "bars") if rows[0].categories else ("Line: median", "bands")
    shades = max((row.shades for row in rows), key=len)
    spans = " and ".join(f"{low}-{high} %" for low, high in reversed(shades))
    drawn = f"{line}; {band}: {spans} of patients" if spans else line
    drawn += ", by their weights" if results.weights is not None else ""
    if results.nested:
        drawn += f", each the median over {results.trials} draws"
        drawn += "; dashed: 5-95 % of the median over draws" if results.trajectories else ""
    facts = "; ".join([*facts_text(results, drawn=bool(results.trajectories)), *notes])
    return " ".join([f"{drawn}.", *(["Table:", *table_notes(tables)] if tables else []), facts + "."])


# ---- panels ----


def _columns(count: int) -> int:
    return count if count <= 4 else 3 if count in (5, 6, 9) else 4


@dataclass(frozen=True)
class Place:
    """Where a row's panels stand, in inches. step: from one line to the next; below: what is under the last."""

    columns: int
    lines: int
    left: float
    gap: float
    width: float
    height: float
    step: float
    below: float
    above: float

    @property
    def total(self) -> float:
        return self.above + (self.lines - 1) * self.step + self.height + self.below


def _place(row: Row) -> Place:
    columns = min(3, len(row.panels)) if row.categories else _columns(len(row.panels))
    lines = -(-len(row.panels) // columns)
    left, gap = LEFT, 0.16 if row.y_label else 0.5
    height = {1: 2.6, 2: 2.2}.get(len(row.panels), 1.65)
    if row.categories:
        left, gap = 0.25 + 0.068 * max(map(len, _short(row.categories))), 0.3
        height = 0.2 + 0.13 * len(row.categories) * (1 + max(len(panel.curves) for panel in row.panels))
    width = (WIDTH - left - RIGHT - gap * (columns - 1)) / columns
    step = height + (0.3 if row.y_label else 0.52)  # panels with a y axis of their own keep their x axis, too
    above = 0.36 + (LINE * 0.9 if row.legend else 0)
    return Place(columns, lines, left, gap, width, height, step, 0.42 if row.categories else 0.56, above)


def _draw_row(figure: Any, row: Row, top: float) -> None:
    place, shared = _place(row), bool(row.y_label)
    limits = _limits([curve for panel in row.panels for curve in panel.curves], row) if shared else None
    if row.legend:
        _legend(figure, row, top + 0.09, place.left)
    for i, panel in enumerate(row.panels):
        line, column = divmod(i, place.columns)
        left = place.left + column * (place.width + place.gap)
        axes = axes_at(figure, left, top + place.above + line * place.step, place.width, place.height)
        axes.set_title(textwrap.shorten(panel.title, int(place.width / 0.07), placeholder="..."))
        here = limits or _limits(panel.curves, row)
        if row.categories:
            _draw_ranges(axes, panel, row, here)
            axes.tick_params(left=False, labelleft=column == 0)
            continue
        _draw_curves(axes, panel, row, here)
        lowest = i + place.columns >= len(row.panels)
        axes.tick_params(labelleft=not shared or column == 0, labelbottom=not shared or lowest)
        if lowest:
            axes.set_xlabel(row.x_label, labelpad=2)
    if shared:
        middle = top + place.above + ((place.lines - 1) * place.step + place.height) / 2
        text_at(figure, 0.12, middle, row.y_label, rotation=90, va="center", ha="center", size=8.5)


def axes_at(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Axes placed in inches, from the left and from the top."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))


def _draw_curves(axes: Any, panel: Panel, row: Row, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    for curve in panel.curves:
        colour = _colour(curve)
        q = np.where(np.isposinf(curve.quantiles), limits[1], curve.quantiles)  # never: a band runs to the upper edge
        for low, high in row.shades:
            ink = 0.28 if len(panel.curves) == 1 else 0.16
            axes.fill_between(curve.x, q[PERCENTS.index(low)], q[PERCENTS.index(high)], color=colour, alpha=ink, lw=0)
        median = np.where(np.isposinf(curve.quantiles[MEDIAN]), np.nan, curve.quantiles[MEDIAN])
        for edge in () if curve.sure is None else curve.sure:
            axes.plot(curve.x, np.where(np.isposinf(edge), np.nan, edge), color=colour, lw=0.9, ls="--")
        marker = "o" if not row.y_label and len(curve.x) <= 15 else None
        axes.plot(curve.x, median, color=colour, lw=1.5, marker=marker, ms=3)
    if all(np.isnan(curve.quantiles).all() for curve in panel.curves):
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yscale("log" if row.log else "linear")
    axes.set_ylim(*limits)
    if not row.log:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=RULE, lw=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    x = panel.curves[0].x
    first, last = float(x.min()), float(x.max())
    margin = 0.03 * (last - first) if not row.y_label else 0.0
    axes.set_xlim(first - margin, last + (margin or (0.5 if first == last else 0.0)))
    days = row.x_label.startswith("time (day")
    axes.xaxis.set_major_locator(FixedLocator(list(week_ticks(first, last))) if days else MaxNLocator(6))


def _draw_ranges(axes: Any, panel: Panel, row: Row, limits: tuple[float, float]) -> None:
    """A line for each category and curve: thin for the outer percentiles, thick for the inner, a dot at the median."""
    from matplotlib.ticker import MaxNLocator

    for k, curve in enumerate(panel.curves):
        colour = _colour(curve)
        q = np.where(np.isposinf(curve.quantiles), limits[1], curve.quantiles)
        y = curve.x + 0.6 * ((k + 0.5) / len(panel.curves) - 0.5)
        for (low, high), thick in zip(row.shades, (1.0, 3.5), strict=True):
            axes.hlines(y, q[PERCENTS.index(low)], q[PERCENTS.index(high)], color=colour, lw=thick)
        axes.plot(curve.quantiles[MEDIAN], y, "o", ms=4.5, mfc="white", mec=colour, mew=1.3)
    axes.set_xlim(*limits)
    axes.set_ylim(len(row.categories) - 0.4, -0.6)
    axes.set_yticks(range(len(row.categories)), _short(row.categories))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color=RULE, lw=0.4, alpha=0.6)
    axes.set_axisbelow(True)


def _short(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= 32 else name[:30] + "..." for name in names]


def week_ticks(first: float, last: float) -> np.ndarray:
    """Ticks at whole weeks, as protocols count."""
    steps = (1, 2, 7, 14, 28, 56, 91, 182, 364, 728)
    step = next((s for s in steps if (last - first) / s <= 7), 1456)
    return np.arange(np.ceil(first / step) * step, last + 1e-6, step)


def _limits(curves: Sequence[Curve], row: Row) -> tuple[float, float]:
    """Of the values: from 0 (or the lowest, if negative) to a little above the highest that is drawn."""
    drawn = [PERCENTS.index(p) for pair in row.shades for p in pair] + [MEDIAN]
    found = np.concatenate([curve.quantiles[drawn].ravel() for curve in curves])
    found = found[np.isfinite(found)]
    if not len(found):
        return (0.1, 1.0) if row.log else (0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    if row.log:
        return low / 1.2, high * 1.2
    span = (high - min(low, 0.0)) or 1.0
    return (0.0 if low >= 0 else low - 0.05 * span), high + 0.05 * span


def _colour(curve: Curve) -> Any:
    if curve.tone is None:
        return COLOURS[curve.place % len(COLOURS)]
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * (1 - curve.tone))  # dark is much; the yellow end is too pale on white


def _legend(figure: Any, row: Row, top: float, left: float) -> None:
    """One line above the panels; a name appears once, in the order of the scale."""
    from matplotlib.lines import Line2D

    named = {curve.name: curve for panel in row.panels for curve in panel.curves if curve.name}
    curves = sorted(named.values(), key=lambda c: (c.tone or 0.0, c.place))
    handles = [Line2D([], [], color=_colour(c), lw=2, label=c.name) for c in curves]
    title = row.legend.strip()
    if title:
        text_at(figure, left, top, title, size=8)
        left += 0.068 * len(title) + 0.1
    wide, high = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left / wide, 1 - top / high),
        ncols=len(handles),
        handlelength=1.4,
        borderpad=0,
        borderaxespad=0,
    )


# ---- text ----


def text_at(figure: Any, left: float, top: float, text: str, **how: Any) -> None:
    wide, high = figure.get_size_inches()
    figure.text(left / wide, 1 - top / high, text, **{"va": "top", "ha": "left", "parse_math": False, **how})


def _table_height(part: Table) -> float:
    return LINE * (len(part.rows) + (3.4 if part.title else 2)) + 0.22


def _draw_table(figure: Any, part: Table, top: float) -> None:
    """The title, if any, heads, units, a rule, rows; columns as wide as their longest text."""
    if part.title:
        text_at(figure, 0.1, top, part.title, size=8.5)
        top += 1.4 * LINE
    sizes = widths(part)
    character = min(0.072, (WIDTH - 0.2) / (sum(sizes) + 2.5 * len(sizes)))
    lefts = 0.1 + character * (np.cumsum([0, *sizes[:-1]]) + 2.5 * np.arange(len(sizes)))
    for left, cells, named in _table_columns(part, lefts):
        text_at(figure, left, top, cells[0].replace("_", " "), size=8, weight="bold")
        text_at(figure, left, top + LINE, cells[1], size=7.5, color=GREY)
        for i, cell in enumerate(cells[2:]):
            text_at(figure, left, top + LINE * (i + 2) + 0.06, cell, size=8, color=INK if named else "#333333")
    _rule(figure, top + 2 * LINE + 0.02)


def _table_columns(part: Table, lefts: np.ndarray) -> Iterator[tuple[float, tuple[str, ...], bool]]:
    for i, left in enumerate(lefts):
        yield float(left), (part.heads[i], part.units[i], *(row[i] for row in part.rows)), i < part.named


def _rule(figure: Any, top: float) -> None:
    from matplotlib.lines import Line2D

    wide, high = figure.get_size_inches()
    y = 1 - top / high
    figure.add_artist(Line2D([0.1 / wide, 1 - 0.1 / wide], [y, y], color=RULE, lw=0.7))
