"""A picture of a sensitivity analysis: indices, what each factor does, the two strongest together, shares over time."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from thrombojax.report import picture
from thrombojax.store.results import coordinate, reading

MOST_ROWS = 6
"""Endpoints that are drawn: the first ones of the study, arm after arm."""
MOST_FACTORS = 12
MOST_POINTS = 2000
BINS = 8
WIDE = 4.0
"""High over low of a factor that is drawn on a logarithmic axis."""


def draw(results: Path, out: Path) -> Path:
    """Writes the picture of a results file; a file of that name is replaced by a whole one."""
    with reading(results) as file:
        figure = drawn(file)
    return picture.save(figure, out)


def holds(file: h5py.File) -> bool:
    """Whether a results file is of a sensitivity analysis."""
    return "factor_value" in file and "factor" in file


def drawn(file: h5py.File) -> Any:
    """The picture as a matplotlib Figure: a row for each endpoint, then rows of shares over time."""
    from matplotlib.figure import Figure

    arms, ends = _texts(file, "arm"), _texts(file, "endpoint")
    cells = [(a, e) for a in range(len(arms)) for e in range(len(ends)) if ends[e] in file]
    cells = [cell for cell in cells if np.isfinite(strength(file, cell)).any()][:MOST_ROWS]
    courses = [
        (a, o)
        for a in range(len(arms))
        for o in range(len(_texts(file, "observable")))
        if "sobol_total_course" in file and np.isfinite(file["sobol_total_course"][a, o]).any()
    ][: 2 * MOST_ROWS]
    rows = len(cells) + -(-len(courses) // 2)
    figure = Figure(figsize=(17.0, 3.4 * max(rows, 1) + 0.6), dpi=110, layout="constrained")
    grid = figure.add_gridspec(max(rows, 1), 4)
    for row, cell in enumerate(cells):
        name = f"{ends[cell[1]]}, {arms[cell[0]]}"
        order = np.argsort(-np.nan_to_num(strength(file, cell), nan=-1.0))
        order = order[np.isfinite(strength(file, cell))[order]][:MOST_FACTORS]
        sampled = [i for i in order if np.isfinite(file["factor_value"][i]).any()]
        _bars(figure.add_subplot(grid[row, 0]), file, cell, order, name)
        _tornado(figure.add_subplot(grid[row, 1]), file, cell, sampled)
        if sampled:
            _scatter(figure.add_subplot(grid[row, 2]), file, cell, sampled[0])
        if len(sampled) > 1:
            _map(figure, figure.add_subplot(grid[row, 3]), file, cell, sampled[:2])
    for k, (a, o) in enumerate(courses):
        row, side = len(cells) + k // 2, 2 * (k % 2)
        _course(figure.add_subplot(grid[row, side : side + 2]), file, a, o)
    figure.suptitle(str(file.attrs.get("title", "")))
    return figure


def strength(file: h5py.File, cell: tuple[int, int]) -> np.ndarray:
    """By which factors are ordered: total indices, or the best that there is in their place."""
    if "sobol_total" in file:
        return np.asarray(file["sobol_total"][(_estimator(file), *cell)])
    for name in ("morris_mu_star", "dgsm_bound", "prcc", "srrc", "delta", "pawn", "fast_total", "rbd_fast_first"):
        if name in file:
            return np.abs(np.asarray(file[name][cell]))
    return np.full(len(file["factor"]), np.nan)


def _estimator(file: h5py.File) -> int:
    return _texts(file, "estimator").index(str(file["provenance"].attrs["sensitivity_estimator"]))


def _texts(file: h5py.File, axis: str) -> list[str]:
    return [str(v) for v in coordinate(file[axis])]


def _labels(file: h5py.File, order: Any) -> list[str]:
    names = _texts(file, "factor")
    return [names[i].replace("_", " ") for i in order]


def _bars(ax: Any, file: h5py.File, cell: tuple[int, int], order: np.ndarray, name: str) -> None:
    """Indices with their intervals, the strongest factor on top."""
    at = np.arange(len(order))
    if "sobol_total" in file:
        for shift, key, colour in ((0.2, "first", "tab:blue"), (-0.2, "total", "tab:orange")):
            value, low, high = (
                file[f"sobol_{key}{end}"][(_estimator(file), *cell)][order] for end in ("", "_low", "_high")
            )
            error = np.maximum([value - low, high - value], 0.0)
            ax.barh(at + shift, value, 0.38, xerr=error, color=colour, label=key, error_kw={"lw": 1})
        ax.set(xlabel="Sobol' index", xlim=(min(0.0, *ax.get_xlim()), None))
        ax.legend(frameon=False, loc="lower right")
    else:
        ax.barh(at, strength(file, cell)[order])
    ax.set(yticks=at, yticklabels=_labels(file, order), title=name)
    ax.invert_yaxis()


def _y(file: h5py.File, cell: tuple[int, int]) -> np.ndarray:
    return np.asarray(file[_texts(file, "endpoint")[cell[1]]][cell[0]], float)


def _tornado(ax: Any, file: h5py.File, cell: tuple[int, int], order: list[int]) -> None:
    """Mean of the endpoint among the tenth of the sample with the lowest, and with the highest, values of each factor."""
    y = _y(file, cell)
    middle = float(np.nanmean(y))
    for k, i in enumerate(order):
        x = np.asarray(file["factor_value"][i])
        low, high = np.nanquantile(x, [0.1, 0.9])
        for part, colour in ((x <= low, "tab:cyan"), (x >= high, "tab:red")):
            if np.isfinite(y[part]).any():
                label = ("lowest" if colour == "tab:cyan" else "highest") if k == 0 else None
                ax.barh(k, float(np.nanmean(y[part])) - middle, left=middle, color=colour, height=0.7, label=label)
    ax.axvline(middle, color="k", lw=0.8)
    if order:
        ax.legend(frameon=False, loc="lower right")
    ax.set(yticks=np.arange(len(order)), yticklabels=[], title="mean, lowest and highest tenth")
    ax.invert_yaxis()


def _unit(file: h5py.File, i: int) -> str:
    """A factor's name with its unit."""
    units = dict(
        item.rsplit(" ", 1)
        for item in str(file["factor_value"].attrs.get("units_by_factor", "")).split(", ")
        if " " in item
    )
    name = _texts(file, "factor")[i]
    unit = units.get(name, "1")
    return name.replace("_", " ") + ("" if unit == "1" else f" ({unit})")


def _scatter(ax: Any, file: h5py.File, cell: tuple[int, int], i: int) -> None:
    x, y = np.asarray(file["factor_value"][i]), _y(file, cell)
    some = slice(None, None, max(1, len(x) // MOST_POINTS))
    ax.plot(x[some], y[some], ".", ms=2, alpha=0.5)
    _scaled(ax, "x", x)
    ax.set(xlabel=_unit(file, i), ylabel=_texts(file, "endpoint")[cell[1]].replace("_", " "), title="strongest factor")


def _map(figure: Any, ax: Any, file: h5py.File, cell: tuple[int, int], pair: list[int]) -> None:
    """Mean of the endpoint over eighths of the two strongest factors."""
    y = _y(file, cell)
    edges = [np.unique(np.nanquantile(file["factor_value"][i], np.linspace(0, 1, BINS + 1))) for i in pair]
    if min(map(len, edges)) < 3:
        return
    bins = [
        np.clip(np.searchsorted(e, file["factor_value"][i], side="right") - 1, 0, len(e) - 2)
        for e, i in zip(edges, pair, strict=True)
    ]
    mean = np.full([len(e) - 1 for e in edges], np.nan)
    for j, k in itertools.product(*(range(n) for n in mean.shape)):
        mine = y[(bins[0] == j) & (bins[1] == k)]
        if np.isfinite(mine).any():
            mean[j, k] = np.nanmean(mine)
    shown = ax.pcolormesh(*edges, mean.T)
    figure.colorbar(shown, ax=ax, label=_texts(file, "endpoint")[cell[1]].replace("_", " "))
    for which, i in zip("xy", pair, strict=True):
        _scaled(ax, which, np.asarray(file["factor_value"][i]))
    ax.set(xlabel=_unit(file, pair[0]), ylabel=_unit(file, pair[1]), title="the two strongest together")


def _scaled(ax: Any, which: str, x: np.ndarray) -> None:
    """A logarithmic axis for a factor that varies over several times its size, with numbers as one writes them."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    low, high = np.nanquantile(x, [0.05, 0.95])
    if np.nanmin(x) <= 0 or high <= WIDE * low:
        return
    getattr(ax, f"set_{which}scale")("log")
    axis = getattr(ax, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _course(ax: Any, file: h5py.File, a: int, o: int) -> None:
    """Total indices of an observable from day to day, with their intervals; the strongest factors."""
    days = np.asarray(file["time"])
    total, low, high = (np.asarray(file[f"sobol_total_course{end}"][a, o]) for end in ("", "_low", "_high"))
    top = np.argsort(-np.nan_to_num(np.nanmax(np.where(np.isfinite(total), total, -1.0), axis=0), nan=-1.0))[:6]
    for i, label in zip(top, _labels(file, top), strict=True):
        (line,) = ax.plot(days, total[:, i], label=label)
        ax.fill_between(days, low[:, i], high[:, i], alpha=0.2, lw=0, color=line.get_color())
    name = f"{_texts(file, 'observable')[o]}, {_texts(file, 'arm')[a]}"
    ax.set(xlabel="day", ylabel="total Sobol' index", title=name, ylim=(0, None))
    ax.legend(frameon=False, fontsize="small", ncols=2)
