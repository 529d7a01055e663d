"""One observable on timelines of patients' own, and how it moves in a few directions: one run of the tangent kernel for each.

On the host, in float64, outside of JAX: for fits, whose patients each have a course, a damping and an end of their own.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Schedule
from thrombojax.models.protocol import Model
from thrombojax.solve import engine, tangent
from thrombojax.solve.engine import Cohort
from thrombojax.solve.native import Dots
from thrombojax.solve.pieces import COUNT, Clinic, Plan
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.ways import MACHINES


class Moved(NamedTuple):
    """values: `[place, patient]`; tangents: `[place, direction, patient]`; sound: whether a patient's state stayed finite."""

    values: np.ndarray
    tangents: np.ndarray
    sound: np.ndarray


def machine(model: Model, clinic: Clinic | None, backend: str = "auto") -> str | None:
    """The backend whose kernel has tangents here, or None: then differences of what `values` finds are what there is."""
    name = engine.choose(backend, model)
    return name if clinic is None and name in MACHINES else None


def tangents(
    model: Model,
    cohort: Cohort,
    line: Schedule,
    bounds: np.ndarray,
    wrt: tuple[int, ...],
    leaves: np.ndarray,
    states: np.ndarray,
    factor: np.ndarray,
    on: str,
    save: Sequence[str] = (COUNT,),
) -> dict[str, Moved]:
    """Observables at the bounds (`[place, patient]`, -1: nowhere), and their derivatives by the tangent kernel.

    wrt: leaves of Parameters that move; leaves: `[direction, leaf of wrt, patient]`, states: `[direction, state, patient]`,
    how parameters and first states move; factor: on the steps, `[patient]`; on: one of `machine`'s.
    """
    backend = MACHINES[on][0]
    time = line.timeline
    plan = Plan(
        line.columns, (), tuple(save), tuple(time.phase), line.infusions, FixedSteps(0, method(model)), None, True
    )
    made = tangent.kernel(backend, model, plan, "f64", wrt)
    wide = time._replace(
        dose=np.concatenate([time.dose, np.zeros_like(time.dose)], axis=1),
        rate=np.concatenate([time.rate, np.zeros_like(time.rate)], axis=1),
    )
    still = np.zeros_like(time.length)
    n, k, places = cohort.n, len(leaves), len(bounds)
    found = {name: Moved(np.zeros((places, n)), np.zeros((places, k, n)), np.ones(n, bool)) for name in save}
    sound = factor > 0
    watch = engine.watched((), line)
    p, y0 = jax.tree.leaves(cohort.p), jax.tree.leaves(cohort.y0)
    behind: list[Any] = [np.zeros(()) for _ in p]
    order, source = engine.shared_places(bounds)
    for direction in range(k):
        for place, leaf in enumerate(wrt):
            behind[leaf] = leaves[direction, place]
        both = ([*p, *behind], [*y0, *states[direction]])
        out = {name: moved.values for name, moved in found.items()}
        out |= {f"{name} tangent": np.zeros((places, n)) for name in save}
        for level in np.unique(factor[factor > 0]):
            rows = np.flatnonzero(factor == level)
            finite = backend.run(
                made, plan, *both, wide, watch, float(level), bounds, rows, {}, out, dots=Dots(still, still)
            )
            sound[rows] &= finite
        for name, moved in found.items():
            moved.tangents[:, direction] = out[f"{name} tangent"]
    for moved in found.values():
        for array in (moved.values, *np.moveaxis(moved.tangents, 1, 0)):
            np.put_along_axis(array, order, np.take_along_axis(array, source, 0), 0)
        sound &= np.isfinite(moved.values).all(axis=0) & np.isfinite(moved.tangents).all(axis=(0, 1))
    return {name: moved._replace(sound=sound) for name, moved in found.items()}


def values(
    model: Model,
    cohort: Cohort,
    line: Schedule,
    bounds: np.ndarray,
    clinic: Clinic | None = None,
    care: Care | None = None,
    observable: str = COUNT,
    backend: str = "auto",
    accuracy: float = 1e-4,
) -> tuple[np.ndarray, np.ndarray]:
    """Values at the bounds `[place, patient]` by any backend, and whether each patient has them."""
    out = engine.solve(
        model, cohort, line, save=(observable,), bounds=bounds, backend=backend, precision="f64", accuracy=accuracy,
        clinic=clinic, care=care,
    )  # fmt: skip
    return out.saved[observable], out.status == engine.OK
