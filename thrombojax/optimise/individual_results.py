"""`thrombojax optimise` of patients with a history: a plan for each, with its predicted band, in a results file and as tables."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thrombojax import execute, provenance
from thrombojax.endpoints import REDUCERS
from thrombojax.errors import RunError
from thrombojax.fit.patients import STATUS
from thrombojax.optimise.individual import Counted, Individual, individual_plans
from thrombojax.optimise.results import PERCENTS, Outcome, convention, few
from thrombojax.outputs import free
from thrombojax.report import picture
from thrombojax.store import Axis, Layout, Variable, flags
from thrombojax.study import plan as plans
from thrombojax.study.file_layout import people
from thrombojax.study.schema import Study

SHOWN = 10
"""Most patients whose plans a terminal shows; the file has all of them."""


def run(
    study: Study, out: Path, overwrite: bool, figure: Path | None, say: Callable[[str], None] = lambda text: None
) -> Outcome:
    """Plan every patient of a study with [events], [fit] and [optimise], and write one results file."""
    plan = plans.make(study)
    began = time.monotonic()
    digest = provenance.kernel_hash(plan)
    free(out, overwrite)
    if figure is not None:
        picture.check(figure)
    found = individual_plans(study, plan, say)
    made = layout(found)
    work = execute.Work(
        n=made.n,
        layout=made,
        kernel_hash=provenance.with_code(digest, Path(__file__).parent),
        compute=lambda start, stop: arrays(found),
        study=provenance.identity(plan),
        provenance=provenance.record(plan, digest) | {"optimise_feasible": int(found.feasible.all())},
    )
    done = execute.execute(work, out, overwrite=overwrite)
    if done.interrupted:
        raise RunError("interrupted before the results were written")
    if figure is not None:
        from thrombojax.optimise import individual_figure

        individual_figure.draw(found, figure)
    seconds = time.monotonic() - began
    text = f"results: {done.path}\n\n{table(found)}\n\noptimised in {seconds:.1f} s"
    return Outcome(done.path, bool(found.feasible.all()), text)


def layout(found: Individual) -> Layout:
    """What a results file of individual plans has. One shard; every patient of the table is in it, NaN without a fit."""
    d, ids = found.course.decisions, found.fits.ids
    axes = [
        Axis("decision", np.asarray(d.names, object), "", "what is decided"),
        Axis("constraint", np.asarray([str(m) for m in found.limits] or ["none"], object), "", "as the study says it"),
        Axis("arm", np.asarray(list(found.holdout), object), "", "individual plans, and what they are compared with"),
        Axis("percent", np.asarray(PERCENTS), "%", "percentile over fresh posterior samples"),
        Axis("time", found.days, "day", "time since the plan began"),
        people(ids, len(ids)),
    ]
    units = {"units_by_decision": ", ".join(f"{name} {unit}" for name, unit in zip(d.names, d.units, strict=True))}
    each = ("decision", "patient")

    def of(
        name: str, dims: tuple[str, ...], meaning: str, unit: str = "", kind: str = "float64", **more: Any
    ) -> Variable:
        return Variable(name, dims, kind, unit, meaning, "covariate", **more)

    variables = [
        of("plan", each, "what was decided, real doses where they were asked for", attrs=units),
        of("relaxed", each, "before doses were made real", attrs=units),
        of("shared_plan", ("decision",), "the one plan that is best for all", attrs=units),
        of("start_day", ("patient",), "day of the record on which the plan begins", "day"),
        of("objective", ("arm", "patient"), "objective, counted on the samples the plan was found on"),
        of("kept", ("constraint", "patient"), "constraint under the plan, counted on the samples it was found on"),
        of("feasible", ("patient",), "1: every constraint holds there", kind="uint8"),
        of("converged", ("patient",), "1: the relaxed plan's projected gradient is below the tolerance", kind="uint8"),
        of("gradient_norm", ("patient",), "largest part of its projected gradient", "1"),
        Variable("status", ("patient",), "uint8", "", "how the fit ended", "status", attrs=flags(STATUS)),
        of("count_percentile", ("arm", "percent", "time", "patient"), "predicted platelet count, percentiles", "1/nL"),
        *(
            Variable(e.name, ("arm", "patient"), "float64", _unit(found, e.name), _meaning(e.reducer))
            for e in found.endpoints
        ),
    ]  # fmt: skip
    attrs = {"title": found.study.head.name, "source": f"thrombojax, individual plans of model {found.plan.model.name}"}
    return Layout(tuple(axes), tuple(variables), attrs, max(len(ids), 1))


def _meaning(reducer: str) -> str:
    return f"{REDUCERS[reducer].meaning}, predicted mean"


def _unit(found: Individual, name: str) -> str:
    return next(str(v.unit) for v in found.plan.layout.variables if v.name == name)


def arrays(found: Individual) -> dict[str, np.ndarray]:
    """Every variable of `layout` by name."""
    n, rows = len(found.fits.ids), found.rows

    def whole(values: Any, empty: Any = np.nan) -> np.ndarray:
        values = np.asarray(values)
        full = np.full((*values.shape[:-1], n), empty, values.dtype)
        full[..., rows] = values
        return full

    arms = list(found.holdout.values())
    with np.errstate(invalid="ignore"):
        bands = np.stack([np.nanpercentile(a.count, PERCENTS, axis=1) for a in arms])
    kept = found.training["individual"].kept
    return {
        "plan": whole(found.x),
        "relaxed": whole(found.relaxed),
        "shared_plan": found.shared,
        "start_day": whole(found.start),
        "objective": whole(np.stack([a.objective for a in found.training.values()])),
        "kept": whole(kept if found.limits else np.full((1, len(rows)), np.nan)),
        "feasible": whole(found.feasible.astype(np.uint8), 0),
        "converged": whole(found.minima.converged.astype(np.uint8), 0),
        "gradient_norm": whole(found.minima.norm),
        "status": found.fits.status,
        "count_percentile": whole(bands),
        **{e.name: whole(np.stack([a.mean[e.name] for a in arms])) for e in found.endpoints},
    }


def table(found: Individual) -> str:
    """Plans of the first patients, then all of them: how plans came, and what they are predicted to do."""
    from thrombojax.cli import show

    d, n = found.course.decisions, len(found.rows)
    mine = found.holdout["individual"]
    rows = []
    for k in range(min(n, SHOWN)):
        row: dict[str, Any] = {"patient": found.ids[k], "from day": few(found.start[k])}
        row["plan"] = " ".join(f"{v:g}" for v in few_of(found.x[:, k]))
        row |= {e.name: few(mine.mean[e.name][k]) for e in found.endpoints}
        rows.append(row)
    units = ", ".join(dict.fromkeys(d.units))
    lines = [f"plans ({units}: {d.names[0]} to {d.names[-1]}), and what they are predicted to do", show.table(rows)]
    if n > SHOWN:
        lines.append(f"... and {n - SHOWN} more patients in the file")
    lines += ["", f"one plan for all: {' '.join(f'{v:g}' for v in few_of(found.shared))}"]
    m = found.minima
    lines.append(f"converged: {int(m.converged.sum())} of {n}; {_spread(m.evaluations)} gradients of a patient")
    if found.tried.any():
        gap = np.nanmean(found.training["individual"].objective - found.before)
        lines.append(
            f"real doses: {_spread(found.tried)} plans of a patient tried, gap to the relaxed ones {gap:.2g} on average"
        )
    for what, arms in (("in-sample", found.training), ("fresh posterior samples", found.holdout)):
        lines += [
            "",
            f"{what}: {n} patients, mean over patients of each predicted mean",
            show.table(_rows(found, arms)),
        ]
    if found.limits:
        lines += ["", "constraints, patient by patient", show.table(_kept(found))]
    gaps = []
    for name in [a for a in found.holdout if a != "individual"]:
        other, row = found.holdout[name], {"individual less": name}
        for e in found.endpoints:
            middle, low, high = _difference(mine.mean[e.name] - other.mean[e.name])
            row[e.name] = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        gaps.append(row)
    lines += ["", "predicted difference, mean over patients (95 %)", show.table(gaps)]
    if convention(found.endpoints, found.limits):
        lines += ["", "a count above 400e9/L is a convention of labels, not a threshold with evidence of harm"]
    lost = [found.fits.ids[k] for k in range(len(found.fits.ids)) if k not in set(found.rows.tolist())]
    if lost:
        lines += [
            "",
            f"without a fit, and so without a plan: {', '.join(lost[:SHOWN])}{', ...' if len(lost) > SHOWN else ''}",
        ]
    if not found.feasible.all():
        who = [found.ids[k] for k in np.flatnonzero(~found.feasible)]
        excess = found.training["individual"].excess(found.limits)
        worst = excess.max(axis=1)
        text = "; ".join(
            f"{m}: violated by up to {w * m.scale:.3g}" for m, w in zip(found.limits, worst, strict=True) if w > 0
        )
        shown = ", ".join(who[:SHOWN]) + (", ..." if len(who) > SHOWN else "")
        lines += [
            "",
            f"infeasible as far as was found for {len(who)} patients ({shown}): {text}; their plans violate least",
        ]
    return "\n".join(lines)


def _rows(found: Individual, arms: Mapping[str, Counted]) -> list[dict[str, Any]]:
    return [
        {"arm": name, "objective": few(np.nanmean(of.objective))}
        | {e: few(np.nanmean(v)) for e, v in of.mean.items()}
        for name, of in arms.items()
    ]  # fmt: skip


def _kept(found: Individual) -> list[dict[str, Any]]:
    rows = []
    for what, arms in (("in-sample", found.training), ("fresh", found.holdout)):
        for name, of in arms.items():
            for i, m in enumerate(found.limits):
                holds = of.excess(found.limits)[i] <= 1e-9
                rows.append(
                    {"constraint": str(m), "arm": name, "on": what, "holds in": f"{holds.sum()} of {len(holds)}"}
                )
    return rows


def _difference(d: np.ndarray) -> tuple[float, float, float]:
    from thrombojax.optimise.risk import mean_interval

    d = d[np.isfinite(d)]
    return (float(np.mean(d)), *mean_interval(d)) if len(d) > 1 else (float(np.mean(d)), np.nan, np.nan)


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):g} (at most {values.max()})"


def few_of(values: np.ndarray) -> list[float]:
    return [float(f"{v:.3g}") for v in values]
