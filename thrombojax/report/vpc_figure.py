"""Drawing a visual predictive check: observed percentiles over the prediction intervals of simulated ones, a panel an arm."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from thrombojax.report.figure import (
    COLOURS,
    DPI,
    GREY,
    INK,
    LEFT,
    LINE,
    RIGHT,
    RULE,
    STYLE,
    WIDTH,
    axes_at,
    text_at,
    week_ticks,
)
from thrombojax.report.vpc import Arm, notes

HEIGHT = 3.1  # of a panel, in inches
GAP = 0.5
TITLE_CHARACTERS, CAPTION_CHARACTERS = 95, 150
MEDIAN_COLOUR, OUTER_COLOUR = COLOURS[1], COLOURS[0]
CAPTION = (
    "Dots: observed. Black lines: observed median (solid), 5th and 95th percentile (dashed). Coloured lines: simulated "
    "percentiles; shades: their 95 % prediction intervals."
)


def draw(title: str, arms: Sequence[Arm]) -> Any:
    """The matplotlib figure of some arms' checks."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(2, len(arms))
    lines = -(-len(arms) // columns)
    heads = textwrap.wrap(title, TITLE_CHARACTERS)[:3]
    caption = textwrap.wrap(" ".join([CAPTION, *notes(arms)]), CAPTION_CHARACTERS)
    step = HEIGHT + 0.6
    top = 0.12 + LINE * 1.25 * len(heads) + 0.3
    height = top + lines * step + LINE * (len(caption) + 0.6)
    width = (WIDTH - LEFT - RIGHT - GAP * (columns - 1)) / columns
    log, limits = _scale(arms)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
        for i, line in enumerate(heads):
            text_at(figure, 0.1, 0.12 + LINE * 1.25 * i, line, size=10.5, weight="bold")
        for i, arm in enumerate(arms):
            row, column = divmod(i, columns)
            axes = axes_at(figure, LEFT + column * (width + GAP), top + row * step, width, HEIGHT)
            _draw_arm(axes, arm, log, limits)
            if column == 0:
                axes.set_ylabel("platelet count (10⁹/L)")
        for i, line in enumerate(caption):
            text_at(figure, 0.1, top + lines * step + LINE * i, line, size=7.5, color=GREY)
    return figure


def _scale(arms: Sequence[Arm]) -> tuple[bool, tuple[float, float]]:
    """Whether y is logarithmic, which it is where a linear scale would hide the low percentiles, and its limits."""
    drawn = [np.concatenate([a.bands.ravel(), a.check.low.ravel(), a.check.high.ravel()]) for a in arms]
    found = np.concatenate([*drawn, *(arm.observed.value for arm in arms)])
    found = found[np.isfinite(found)]
    low, high = float(found.min()), float(found.max())
    if low > 0 and high > 30 * low:
        return True, (low / 1.2, high * 1.2)
    return False, (0.0, 1.05 * high or 1.0)


def _draw_arm(axes: Any, arm: Arm, log: bool, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    found = arm.check
    axes.plot(arm.observed.time, arm.observed.value, "o", ms=1.8, mfc=GREY, mec="none", alpha=0.35)
    for k, colour in enumerate((OUTER_COLOUR, MEDIAN_COLOUR, OUTER_COLOUR)):
        if len(found.time) > 1:
            axes.fill_between(found.time, found.low[k], found.high[k], color=colour, alpha=0.22, lw=0)
        else:
            axes.vlines(found.time, found.low[k], found.high[k], color=colour, alpha=0.4, lw=6)
        axes.plot(arm.days, arm.bands[k], color=colour, lw=1.0)
        mark = {"marker": "o", "ms": 2.5} if len(found.time) <= 30 else {}
        axes.plot(found.time, found.observed[k], color=INK, lw=1.1, ls="-" if k == 1 else (0, (4, 2)), **mark)
    axes.set_yscale("log" if log else "linear")
    if log:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(*limits)
    first, last = float(arm.days.min()), float(arm.days.max())
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(FixedLocator(list(week_ticks(first, last))))
    axes.set_xlabel("time (days)", labelpad=2)
    axes.set_title(f"{arm.name}: {arm.observed.people} patients observed")
    axes.grid(axis="y", color=RULE, lw=0.4, alpha=0.6)
    axes.set_axisbelow(True)
