"""A picture of individual plans: those of some patients with their predicted bands, and all of them together."""

from pathlib import Path
from typing import Any

import numpy as np

from thrombojax.optimise.individual import Individual
from thrombojax.optimise.results import PERCENTS
from thrombojax.report import picture

SHOWN = 3


def draw(found: Individual, out: Path) -> Path:
    """Writes the picture; a file of that name is replaced by a whole one. Shown: patients spread over what they are given."""
    from matplotlib.figure import Figure

    n = len(found.rows)
    order = np.argsort(np.nansum(found.x, axis=0), kind="stable")
    chosen = list(dict.fromkeys(int(k) for k in order[np.linspace(0, n - 1, min(SHOWN, n)).round().astype(int)]))
    figure = Figure(figsize=(4.6 * (len(chosen) + 1), 6.0), dpi=120, layout="constrained")
    axes = figure.subplots(2, len(chosen) + 1, squeeze=False, gridspec_kw={"height_ratios": (1, 2)})
    for column, k in enumerate(chosen):
        _patient(axes[:, column], found, k)
    _everybody(axes[:, -1], found)
    figure.suptitle(found.study.head.name)
    return picture.save(figure, out)


def _patient(axes: Any, found: Individual, k: int) -> None:
    """Counts so far with doses given, then the plan and its predicted band."""
    record, at = found.fits.posterior, int(found.rows[k])
    of = found.course
    decided = of.amount.any(axis=1)
    amounts = (of.amount0 + of.amount @ found.x[:, k])[decided]
    axes[0].step(of.time0[decided], amounts, where="post", marker=".")
    axes[0].set(title=f"patient {found.ids[k]}", ylabel=f"dose ({of.decisions.units[0]})", ylim=(0, None))
    line = record.course.line.timeline
    ends = np.concatenate([line.start[:1, at], line.start[:, at] + line.length[:, at]])
    there = record.course.bounds[:, at] >= 0
    seen = ends[record.course.bounds[there, at]] - found.start[k]
    axes[1].plot(seen, record.dv[there, at], "k.", label="counts so far")
    for name, colour in (("individual", "C0"), ("one plan for all", "C1")):
        bands = np.nanpercentile(found.holdout[name].count[:, :, k], PERCENTS, axis=1)
        axes[1].plot(found.days, bands[2], color=colour, label=name)
        axes[1].fill_between(found.days, bands[0], bands[-1], color=colour, alpha=0.15, lw=0)
    axes[1].set(xlabel="day of the plan", ylabel="platelets (1e9/L), 5 to 95 %", yscale="log")
    axes[1].legend(frameon=False, fontsize="small")


def _everybody(axes: Any, found: Individual) -> None:
    """What patients are given on average, and what each gains against the one plan."""
    axes[0].hist(found.x[found.course.decisions.amounts].mean(axis=0), bins=20)
    axes[0].axvline(found.shared[found.course.decisions.amounts].mean(), color="C1")
    axes[0].set(title="everybody", xlabel=f"mean dose ({found.course.decisions.units[0]})", ylabel="patients")
    mine, shared = (found.holdout[name].objective for name in ("individual", "one plan for all"))
    axes[1].plot(shared, mine, ".")
    ends = [np.nanmin([mine, shared]), np.nanmax([mine, shared])]
    axes[1].plot(ends, ends, "k:", lw=0.8)
    axes[1].set(
        xlabel="objective, one plan for all", ylabel="objective, individual plan", title="below the line: better"
    )
