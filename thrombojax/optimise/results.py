"""`thrombojax optimise`: plans, trace and evaluations in a results file, and as tables."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thrombojax import execute, provenance
from thrombojax.endpoints import REDUCERS, Endpoint
from thrombojax.errors import RunError
from thrombojax.optimise import holdout
from thrombojax.optimise.lagrangian import HELD
from thrombojax.optimise.problem import Limit
from thrombojax.optimise.solve import Optimised, optimise
from thrombojax.outputs import free
from thrombojax.report import picture
from thrombojax.solve import engine
from thrombojax.store import Axis, Layout, Variable, flags
from thrombojax.study import plan as plans
from thrombojax.study.file_layout import people
from thrombojax.study.schema import load

PERCENTS = (5.0, 25.0, 50.0, 75.0, 95.0)
PHASES = {"adam": 0, "l-bfgs_batch": 1, "l-bfgs": 2}
CONVENTION = (400.0,)
"""Counts (1e9/L) that labels act on without evidence that harm begins there."""


@dataclass(frozen=True)
class Outcome:
    """path: of the results; feasible: whether every constraint holds on the training patients, and nothing went wrong."""

    path: Path
    feasible: bool
    summary: str


def run(
    study_path: str | Path, out: str | Path, *, overwrite: bool = False, patients: int | None = None,
    figure: Path | None = None, say: Callable[[str], None] = lambda text: None,
) -> Outcome:  # fmt: skip
    """Optimise a study and write one results file. InputError before anything is computed."""
    study = load(study_path).override(n=patients)
    if study.events is not None and study.optimise is not None:
        from thrombojax.optimise import individual_results

        return individual_results.run(study, Path(out), overwrite, figure, say)
    from thrombojax.optimise import figure as figures

    plan = plans.make(study)
    began = time.monotonic()
    digest = provenance.kernel_hash(plan)
    free(Path(out), overwrite)
    if figure is not None:
        picture.check(figure)
    found = optimise(study, plan, say)
    made = layout(found)
    work = execute.Work(
        n=made.n,
        layout=made,
        kernel_hash=provenance.with_code(digest, Path(__file__).parent),
        compute=lambda start, stop: arrays(found),
        study=provenance.identity(plan),
        provenance=provenance.record(plan, digest) | said(found),
    )
    done = execute.execute(work, Path(out), overwrite=overwrite)
    if done.interrupted:
        raise RunError("interrupted before the results were written")
    if figure is not None:
        figures.draw(found, figure)
    seconds = time.monotonic() - began
    well = found.feasible and not found.troubles
    return Outcome(done.path, well, f"results: {done.path}\n\n{table(found)}\n\noptimised in {seconds:.1f} s")


def layout(found: Optimised) -> Layout:
    """What a results file of an optimisation has. One shard: it is of the hold-out patients, all arms of them."""
    d, plan = found.decisions, found.plan
    label = [p.stratum or "all" for p in found.planned]
    n = len(next(iter(found.arms.values())).status)
    size = sum(len(p.relaxed.trace.objective) for p in found.planned)
    axes = [
        Axis("stratum", np.asarray(label, object), "", "condition at baseline"),
        Axis("decision", np.asarray(d.names, object), "", "what is decided"),
        Axis("constraint", np.asarray([str(m) for m in found.limits] or ["none"], object), "", "as the study says it"),
        Axis("evaluation", np.arange(size), "", "number of an evaluation of the gradient"),
        *([Axis("front", _front(found), "", "bound of the constraint that has a front")] if found.front else []),
        Axis("arm", np.asarray(list(found.arms), object)),
        Axis("percent", np.asarray(PERCENTS), "%", "percentile over patients"),
        Axis("time", found.days, "day", "time since the start of the study"),
        people((), n),
    ]
    each, trace = ("stratum", "decision"), ("evaluation",)
    kept = ("stratum", "constraint")

    def of(name: str, dims: tuple[str, ...], meaning: str, unit: str = "", group: str = "", kind: str = "float64",
           attrs: Mapping[str, Any] | None = None) -> Variable:  # fmt: skip
        return Variable(name, dims, kind, unit, meaning, "covariate", group, attrs=attrs or {})

    units = {
        "units_by_decision": ", ".join(f"{name} {unit}".strip() for name, unit in zip(d.names, d.units, strict=True))
    }
    variables = [
        of("plan", each, "what was decided, real doses where they were asked for", attrs=units),
        of("relaxed", each, "before doses were made real", attrs=units),
        of("low", ("decision",), "lower bound", attrs=units),
        of("high", ("decision",), "upper bound", attrs=units),
        of("training_objective", ("stratum",), "objective by counting, training patients"),
        of("training_kept", kept, "constraint by counting, training patients"),
        of("converged", ("stratum",), "1: the projected gradient is below the tolerance", kind="uint8"),
        *(
            of(name, trace, meaning, unit, "trace", kind, attrs)
            for name, meaning, unit, kind, attrs in (
                ("objective", "smooth objective", "", "float64", None),
                ("violation", "largest excess of a constraint, over its scale", "1", "float64", None),
                ("gradient_norm", "largest part of the projected gradient", "1", "float64", None),
                ("elapsed", "seconds since the start", "s", "float64", None),
                ("phase", "what asked for it", "", "uint8", flags(PHASES)),
                ("of_stratum", "place of its stratum", "", "int32", None),
            )
        ),
        of("count_percentile", ("arm", "percent", "time"), "platelet count, percentiles over hold-out patients", "1/nL"),
        *([of("front_objective", ("front",), "objective by counting, hold-out patients"),
           of("front_kept", ("front",), "constraint by counting, hold-out patients")] if found.front else []),
    ]  # fmt: skip
    variables += [
        Variable(e.name, ("arm", "patient"), "float64", _unit(found, e.name), REDUCERS[e.reducer].meaning)
        for e in plan.endpoints
    ]
    variables.append(
        Variable(
            "status", ("arm", "patient"), "uint8", "", "how the simulation ended", "status", attrs=flags(engine.STATUS)
        )
    )
    attrs = {"title": found.study.head.name, "source": f"thrombojax, optimised dosing of model {plan.model.name}"}
    return Layout(tuple(axes), tuple(variables), attrs, n)


def _front(found: Optimised) -> np.ndarray:
    assert found.study.optimise is not None
    return np.asarray(next(c.front for c in found.study.optimise.constraint if c.front), float)


def _unit(found: Optimised, name: str) -> str:
    return next(str(v.unit) for v in found.plan.layout.variables if v.name == name)


def arrays(found: Optimised) -> dict[str, np.ndarray]:
    """Every variable of `layout` by name."""
    planned, arms = found.planned, list(found.arms.values())
    traces = [p.relaxed.trace for p in planned]
    phases = {name.replace(", ", "_"): code for name, code in PHASES.items()}
    made = {
        "plan": np.stack([p.x for p in planned]),
        "relaxed": np.stack([p.relaxed.x for p in planned]),
        "low": found.decisions.low,
        "high": found.decisions.high,
        "training_objective": np.array([p.exact for p in planned]),
        "training_kept": np.array([[s.value for s in p.shares] or [np.nan] for p in planned]),
        "converged": np.array([p.relaxed.converged for p in planned], np.uint8),
        "objective": np.concatenate([t.objective for t in traces]),
        "violation": np.concatenate([t.violation for t in traces]),
        "gradient_norm": np.concatenate([t.norm for t in traces]),
        "elapsed": np.concatenate([t.seconds for t in traces]),
        "phase": np.array([phases[name.replace(", ", "_")] for t in traces for name in t.phase], np.uint8),
        "of_stratum": np.array([i for i, t in enumerate(traces) for _ in t.phase], np.int32),
        "count_percentile": np.stack([np.nanpercentile(a.count, PERCENTS, axis=1) for a in arms]),
        "status": np.stack([a.status for a in arms]),
    }
    if found.front:
        at = next(i for i, c in enumerate(found.study.optimise.constraint) if c.front)  # type: ignore[union-attr]
        ends = [next(iter(o.arms.values())) for o in found.front]
        made["front_objective"] = np.array([holdout.objective(found.goals, e) for e in ends])
        made["front_kept"] = np.array(
            [holdout.share(o.limits[at], e, 0.95).value for o, e in zip(found.front, ends, strict=True)]
        )
    return made | {e.name: np.stack([a.values[e.name] for a in arms]) for e in found.plan.endpoints}


def said(found: Optimised) -> dict[str, Any]:
    """What provenance says of an optimisation."""
    noted: dict[str, Any] = {"optimise_holdout_seed": found.seed, "optimise_feasible": int(found.feasible)}
    for i, p in enumerate(found.planned):
        noted[f"optimise_plan_{i + 1}"] = f"{p.stratum or 'all'}: {sentence(found, i)}"
    return noted


def sentence(found: Optimised, i: int) -> str:
    """A plan in words: a regimen, or the numbers of a rule."""
    p, d = found.planned[i], found.decisions
    if p.treatment.titration is not None:
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(d.names, p.x, strict=True))
    from thrombojax.dosing.regimen import Dose, Regimen

    doses = [
        Dose(q.drug, float(f"{q.amount:.3g}"), q.unit, q.route, q.times, q.duration) for q in p.treatment.regimen.doses
    ]
    return str(Regimen(tuple(doses)))


def table(found: Optimised) -> str:
    """Plans, then the arms on the hold-out patients, then constraints and differences."""
    from thrombojax.cli import show

    lines = []
    for i, p in enumerate(found.planned):
        lines.append(f"plan{f' for {p.stratum}' if p.stratum else ''}: {sentence(found, i)}")
        r = p.relaxed
        state = "converged" if r.converged else "not converged"
        lines.append(
            f"  {state}: projected gradient {r.norm:.1e} after {len(r.trace.norm)} gradients"
            + (f"; {r.violation:.1e} of a constraint violated" if r.violation > HELD else "")
        )
        if p.chosen is not None:
            lines.append(
                f"  real doses: objective {p.exact:.5g}, relaxed {p.exact_relaxed:.5g}, gap {p.exact - p.exact_relaxed:.2g}; "
                f"{p.chosen.how} {p.chosen.tried} plans"
            )
    confidence = 100.0 * float(found.study.optimise.confidence) if found.study.optimise is not None else 95.0
    n = {True: found.plan.patients.n, False: len(next(iter(found.arms.values())).status)}
    for training, arms in ((True, found.training), (False, found.arms)):
        what = "in-sample" if training else f"hold-out (seed {found.seed})"
        lines += ["", f"{what}: {n[training]} patients, mean of each endpoint", show.table(_rows(found, arms))]
    rows = [
        {
            "constraint": str(s.limit), "arm": name, "on": what, "value": few(s.value),
            f"{confidence:g} % low": few(s.low), "high": few(s.high), "holds": "yes" if s.holds else "no",
        }
        for limit in found.limits
        for name, what, of in (
            (found.name, "in-sample", next(iter(found.training.values()))),
            *((name, "hold-out", of) for name, of in found.arms.items()),
        )
        for s in [holdout.share(limit, of, confidence / 100.0)]
    ]  # fmt: skip
    if rows:
        lines += ["", "constraints: shares with Clopper-Pearson intervals, means with normal ones", show.table(rows)]
    lines += [
        "",
        f"optimised less each arm, same hold-out patients ({confidence:g} %)",
        show.table(_gaps(found, confidence)),
    ]
    if found.front:
        lines += ["", "front: each bound's own plan, hold-out patients", show.table(_along_front(found))]
    if convention(found.plan.endpoints, found.limits):
        lines += ["", "a count above 400e9/L is a convention of labels, not a threshold with evidence of harm"]
    if not found.feasible:
        lines += ["", infeasible(found)]
    lines += [f"\nnot all went well: {trouble}; the best plan before that is kept" for trouble in found.troubles]
    return "\n".join(lines)


def infeasible(found: Optimised) -> str:
    """Which constraints are not kept on the training patients, and by how much at the least."""
    worst: dict[str, float] = {}
    for p in found.planned:
        for s in p.shares:
            if not s.holds:
                name = str(s.limit) + (f" ({p.stratum})" if p.stratum else "")
                worst[name] = s.limit.excess(s.value)
    text = "; ".join(f"{name}: violated by {by:.3g}" for name, by in worst.items())
    return f"infeasible as far as was found: {text}; the plan of the least violation is kept"


def convention(endpoints: Sequence[Endpoint], limits: Sequence[Limit]) -> bool:
    """Whether a threshold is one that labels have by convention."""
    numbers = [v for e in endpoints for v in e.numbers.values()] + [m.bound for m in limits]
    return any(v in CONVENTION for v in numbers)


def _rows(found: Optimised, arms: Mapping[str, holdout.Evaluated]) -> list[dict[str, Any]]:
    rows = []
    for name, of in arms.items():
        row: dict[str, Any] = {"arm": name, "objective": few(holdout.objective(found.goals, of))}
        row |= {e.name: few(float(np.nanmean(of.values[e.name]))) for e in found.plan.endpoints}
        rows.append(row)
    return rows


def _along_front(found: Optimised) -> list[dict[str, Any]]:
    rows = []
    for point in found.front:
        at = next(i for i, c in enumerate(found.study.optimise.constraint) if c.front)  # type: ignore[union-attr]
        of, limit = next(iter(point.arms.values())), point.limits[at]
        kept = holdout.share(limit, of, 0.95).value
        row: dict[str, Any] = {"at_least" if limit.least else "at_most": few(limit.bound), "counted": few(kept)}
        row["objective"] = few(holdout.objective(found.goals, of))
        row |= {e.name: few(float(np.nanmean(of.values[e.name]))) for e in found.plan.endpoints}
        rows.append(row | {"converged": "yes" if all(p.relaxed.converged for p in point.planned) else "no"})
    return rows


def _gaps(found: Optimised, confidence: float) -> list[dict[str, Any]]:
    rows = []
    first = next(iter(found.arms.values()))
    for name, of in list(found.arms.items())[1:]:
        row: dict[str, Any] = {"less": name}
        for e in found.plan.endpoints:
            middle, low, high = holdout.difference(first, of, e.name, confidence / 100.0)
            row[e.name] = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        rows.append(row)
    return rows


def few(value: float) -> float:
    return float(f"{value:.4g}")
