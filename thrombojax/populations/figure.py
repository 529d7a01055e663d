"""A picture of a population: each target with what plausible patients had before and have after weighting."""

from pathlib import Path
from typing import Any

import numpy as np

from thrombojax.populations.make import Made, Row
from thrombojax.populations.weights import share_below
from thrombojax.report import picture

COLUMNS = 3
BLUE, GREY, INK = "#0072B2", "#999999", "#222222"


def draw(title: str, made: Made, out: Path) -> Path:
    """Writes the picture, a panel a target; a file of that name is replaced by a whole one."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(made.rows))
    lines = -(-len(made.rows) // columns)
    figure = Figure(figsize=(3.4 * columns, 0.6 + 2.7 * lines), dpi=120, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    found, plain = made.weights[made.plausible], np.ones(int(made.plausible.sum()))
    for ax, row in zip(axes, made.rows, strict=False):
        _panel(ax, row, plain, found)
    for ax in axes[len(made.rows) :]:
        ax.set_axis_off()
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{title}: {len(found)} plausible patients, effective {made.effective:.0f}", fontsize=9)
    return picture.save(figure, out)


def _panel(ax: Any, row: Row, plain: np.ndarray, weights: np.ndarray) -> None:
    """Distribution functions; of a share two bars beside it; a mean and SD as a band."""
    marginal = row.marginal
    place = f", {row.arm}" if row.arm else ""
    ax.set_title(f"{row.name}{place}\ndistance {row.plain:.3f}, weighted {row.weighted:.3f}", fontsize=8, loc="left")
    ax.tick_params(labelsize=7)
    if marginal.is_share:
        shares = [1.0 - share_below(row.values, w, marginal.edges, True)[0] for w in (plain, weights)]
        ax.barh(["plausible", "weighted"], shares, color=[GREY, BLUE])
        ax.axvline(1.0 - marginal.below[0], color=INK, lw=1.2, ls="--")
        ax.set(xlim=(0, 1), xlabel=f"share of patients; target {marginal.said}")
        ax.xaxis.label.set_size(8)
        return
    finite = row.values[np.isfinite(row.values)]
    first, last = np.quantile(finite, [0.001, 0.999]).tolist()
    at = np.linspace(first, last, 300)
    if marginal.mean is not None:
        half = marginal.sd or 0.0
        ax.axvspan(marginal.mean - half, marginal.mean + half, color=INK, alpha=0.1, lw=0)
        ax.axvline(marginal.mean, color=INK, lw=1.2, ls="--", label="target")
    elif marginal.cdf is not None:
        ax.plot(at, marginal.cdf(at), color=INK, lw=1.2, ls="--", label="target")
    else:
        ax.plot(marginal.edges, marginal.below, "o", color=INK, ms=4, label="target")
    ax.plot(at, share_below(row.values, plain, at), color=GREY, lw=1.2, label="plausible")
    ax.plot(at, share_below(row.values, weights, at), color=BLUE, lw=1.5, label="weighted")
    ax.set(ylim=(0, 1), xlabel=f"{row.name.replace('_', ' ')}" + (f" ({row.unit})" if row.unit else ""))
    ax.xaxis.label.set_size(8)
