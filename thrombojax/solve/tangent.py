"""Forward mode through the generated kernels: one direction of amounts, rates, times, parameters, first states
and numbers of a policy."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from thrombojax.codegen import tangent
from thrombojax.dosing import policy
from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Timeline
from thrombojax.models.protocol import Model
from thrombojax.solve import cuda, native
from thrombojax.solve.native import Dots
from thrombojax.solve.pieces import Plan
from thrombojax.solve.xla import Watch


@functools.lru_cache(maxsize=64)
def kernel(machine: Any, model: Model, plan: Plan, precision: str, wrt: tuple[int, ...]) -> Any:
    """Trace, push forward and print for a machine (`native` or `cuda`); raises as its `kernel` does."""
    return machine.made(tangent.build(model, plan, wrt), precision)


def run(
    machine: Any,
    made: native.Kernel | cuda.Kernel,
    plan: Plan,
    p: Any,
    y0: Any,
    timeline: Timeline,
    watch: Watch,
    refine: float,
    keep: np.ndarray,
    rows: np.ndarray,
    wrt: tuple[int, ...],
    moving: Any,
    endpoints: Mapping[str, np.ndarray],
    saved: Mapping[str, np.ndarray],
    care: Care | None = None,
) -> None:
    """Write the tangents of `rows` into endpoints (`[patient]`) and saved (`[day, patient]`).

    moving: a `ways.Moving` of tangents; care: of a plan with a clinic. A patient without a result keeps what is there.
    """
    both, wide, dots, care = beside(p, y0, timeline, wrt, moving, care)
    n = len(both[1][0])
    ends = {name: np.zeros(n, made.dtype) for name in made.program.endpoints}
    tangents = {f"{name} tangent": np.zeros((len(keep), n), made.dtype) for name in saved}
    finite = machine.run(made, plan, *both, wide, watch, refine, keep, rows, ends, tangents, care, dots=dots)
    sound = rows[finite]
    for name, values in endpoints.items():
        values[sound] = ends[f"{name} tangent"][sound]
    for name, values in saved.items():
        values[:, sound] = tangents[f"{name} tangent"][:, sound]


def beside(
    p: Any, y0: Any, timeline: Timeline, wrt: tuple[int, ...], moving: Any, care: Care | None, xp: Any = np
) -> tuple[tuple[list[Any], list[Any]], Timeline, Dots, Care | None]:
    """(parameters, first states), timeline, ends of segments and care, each with its tangents behind its values; xp: `jax.numpy`
    where they are traced."""
    leaves, first = jax.tree.leaves(p), jax.tree.leaves(y0)
    behind: list[Any] = [np.zeros(()) for _ in leaves]
    for k, values in zip(wrt, moving.parameters, strict=True):
        behind[k] = xp.asarray(values, float)
    both = ([*leaves, *behind], [*first, *xp.asarray(moving.y0, float)])
    wide = timeline._replace(
        dose=xp.concatenate([timeline.dose, moving.dose], axis=1),
        rate=xp.concatenate([timeline.rate, moving.rate], axis=1),
    )
    if care is not None:  # numbers of the rule and their tangents, in the order of leaves
        both_rules: Any = (*policy.numbers(care.rule), *moving.rule)
        care = care._replace(rule=both_rules)
    return both, wide, Dots(moving.start, moving.length), care
