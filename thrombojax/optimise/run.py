"""Trajectories that JAX differentiates: by the generated kernel, or by XLA where none runs."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.codegen.build import NoCompiler
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Schedule
from thrombojax.endpoints import Endpoint
from thrombojax.models.protocol import Model
from thrombojax.solve import engine, gradient, pieces
from thrombojax.solve.engine import Cohort
from thrombojax.solve.pieces import Clinic
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.ways import MACHINES
from thrombojax.solve.xla import Plan, trajectory

Seen = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Endpoints `[patient]`, and saved observables `[day, patient]`."""
Run = Callable[..., Seen]
"""(timeline, rows, care) -> Seen; rows: the patients who are asked for, perhaps traced; None: all."""


def gradients_by(backend: str) -> str:
    """The backend of gradients, of a study's own: `reference` has none."""
    return backend if backend in (*MACHINES, "xla") else "auto"


def runner(
    model: Model,
    cohort: Cohort,
    save: Sequence[str],
    days: Sequence[float],
    *,
    backend: str,
    precision: str,
    accuracy: float,
    endpoints: Sequence[Endpoint] = (),
    clinic: Clinic | None = None,
) -> Run:
    """save: observables that are kept on `days`; backend: `xla`, or as `gradient.solve` has it; clinic: where doses follow
    counts, and every call has a care."""
    tableau = method(model)

    def fast(line: Schedule, rows: Any, care: Care | None) -> Seen:
        return gradient.solve(
            model, cohort, line, endpoints=endpoints, save=save, days=days, backend=backend, rows=rows,
            precision=precision, accuracy=accuracy, clinic=clinic, care=care,
        )  # fmt: skip

    def slow(line: Schedule, rows: Any, care: Care | None) -> Seen:
        rate = cohort.rate if clinic is None or care is None else engine.fastest(model, cohort, clinic, care)
        level = float(np.max(engine.buckets(model, rate, tableau)))
        level *= engine.refinement(model, line.columns, accuracy)
        stepper = FixedSteps(int(np.ceil(line.most_steps * level)), tableau)
        looks = tuple(engine.reduction(e, line.columns) for e in endpoints)
        plan = Plan(line.columns, looks, tuple(save), tuple(line.timeline.phase), line.infusions, stepper, clinic)
        dtype = engine.dtype_of(precision)
        whose = slice(None) if rows is None else rows
        p, y0 = jax.tree.map(lambda a: jnp.asarray(a, dtype)[whose], (cohort.p, cohort.y0))
        if care is not None:
            own: Any = {name: jnp.asarray(getattr(care, name))[..., whose] for name in ("factor", "taken", "course")}
            care = care._replace(**own)
        scale = pieces.scales(model, line.columns, p)
        watch: Any = engine.watched(endpoints, line)
        out = trajectory(model, plan, p, y0, scale, line.timeline, watch, level, care)
        keep = jnp.stack([jnp.asarray(line.bound(day)) for day in days])
        return out.endpoints, {name: out.saved[name][keep] for name in save}

    def run(line: Schedule, rows: Any = None, care: Care | None = None) -> Seen:
        if backend == "xla":
            return slow(line, rows, care)
        try:
            return fast(line, rows, care)
        except (NoCompiler, CannotTranslate) as error:
            warnings.warn(f"gradients: {error}; xla runs instead", RuntimeWarning, stacklevel=2)
            return slow(line, rows, care)

    return run
