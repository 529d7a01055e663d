"""A picture of an optimisation: the plan, counts in every arm, convergence, and the front where there is one."""

from pathlib import Path
from typing import Any

import numpy as np

from thrombojax.optimise import holdout
from thrombojax.optimise.results import PERCENTS
from thrombojax.optimise.solve import Optimised
from thrombojax.report import picture


def draw(found: Optimised, out: Path) -> Path:
    """Writes the picture; a file of that name is replaced by a whole one."""
    from matplotlib.figure import Figure

    panels = 3 + bool(found.front)
    figure = Figure(figsize=(4.6 * panels, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots(1, panels)
    _plan(axes[0], found)
    _bands(axes[1], found)
    _convergence(axes[2], found)
    if found.front:
        _front(axes[3], found)
    figure.suptitle(found.study.head.name)
    return picture.save(figure, out)


def _plan(ax: Any, found: Optimised) -> None:
    """Doses by day, drug by drug where several are decided, or numbers of the rule between their bounds."""
    d = found.decisions
    rule = found.planned[0].treatment.titration is not None
    units = dict.fromkeys(unit for unit, amount in zip(d.units, d.amounts, strict=True) if amount)
    for p in found.planned:
        label = p.stratum or "all"
        if rule:
            share = (p.x - d.low) / (d.high - d.low)
            ax.plot(share, np.arange(d.k), "o", label=label)
            continue
        for drug in found.decided:
            given = sorted((t, q.amount) for q in p.treatment.regimen.doses if q.drug == drug for t in q.times)
            name = label if len(found.decided) == 1 else f"{drug}, {label}" if p.stratum else drug
            line = "" if len(found.decided) > 1 else "-"  # courses of several drugs have gaps
            ax.plot(
                *zip(*given, strict=True) if given else ([], []), f"o{line}", ms=3, drawstyle="steps-post", label=name
            )
    if rule:
        ax.set(
            yticks=np.arange(d.k),
            yticklabels=d.names,
            xlabel="from low to high",
            title="numbers of the rule",
            xlim=(-0.05, 1.05),
        )
    else:
        ax.set(xlabel="day", ylabel=f"dose ({', '.join(units)})", title="plan")
    ax.legend(frameon=False)


def _bands(ax: Any, found: Optimised) -> None:
    """Median and quartiles of hold-out patients' counts."""
    low, middle, high = (PERCENTS.index(p) for p in (25.0, 50.0, 75.0))
    for name, of in found.arms.items():
        bands = np.nanpercentile(of.count, PERCENTS, axis=1)
        (line,) = ax.plot(found.days, bands[middle], label=name)
        ax.fill_between(found.days, bands[low], bands[high], alpha=0.15, color=line.get_color(), lw=0)
    ax.set(xlabel="day", ylabel="platelets (1e9/L)", title="hold-out patients, median and quartiles", yscale="log")
    ax.legend(frameon=False, fontsize="small")


def _convergence(ax: Any, found: Optimised) -> None:
    """Norm of the projected gradient, evaluation by evaluation."""
    for p in found.planned:
        ax.plot(p.relaxed.trace.norm, ".-", lw=0.5, label=p.stratum or "all")
    ax.set(xlabel="gradient", ylabel="projected gradient", yscale="log", title="convergence")


def _front(ax: Any, found: Optimised) -> None:
    """Objective against the constraint that was varied, both counted on the hold-out patients."""
    assert found.study.optimise is not None
    at = next(i for i, c in enumerate(found.study.optimise.constraint) if c.front)
    ends = [(next(iter(o.arms.values())), o.limits[at]) for o in found.front]
    kept = [holdout.share(limit, of, 0.95).value for of, limit in ends]
    ax.plot(kept, [holdout.objective(found.goals, of) for of, _ in ends], "o-")
    ax.set(xlabel=str(found.limits[at]).rsplit(" ", 2)[0], ylabel="objective", title="front, hold-out patients")
