"""Forward mode through the generated kernel: one direction of amounts, rates, times, parameters and first states."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from thrombojax.codegen import build, emit_c, tangent
from thrombojax.dosing.timeline import Timeline
from thrombojax.models.protocol import Model
from thrombojax.solve import native
from thrombojax.solve.pieces import Plan
from thrombojax.solve.xla import Watch


@functools.lru_cache(maxsize=64)
def kernel(model: Model, plan: Plan, precision: str, wrt: tuple[int, ...]) -> native.Kernel:
    """Trace, push forward, print, compile and load; raises as `native.kernel` does."""
    program = tangent.build(model, plan, wrt)
    library = build.load(emit_c.source(program, precision))
    return native.Kernel(program, library, np.float32 if precision == "f32" else np.float64)


def run(
    made: native.Kernel,
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
) -> None:
    """Write the tangents of `rows` into endpoints (`[patient]`) and saved (`[day, patient]`).

    moving: a `gradient.Moving` of tangents. A patient without a result keeps what is there.
    """
    program, dtype = made.program, made.dtype
    leaves = jax.tree.leaves(p)
    n = len(jax.tree.leaves(y0)[0])
    behind = [np.zeros(()) for _ in leaves]
    for k, values in zip(wrt, moving.parameters, strict=True):
        behind[k] = np.asarray(values, float)
    y_dot = list(np.asarray(moving.y0, float))
    wide = timeline._replace(
        dose=np.concatenate([timeline.dose, moving.dose], axis=1),
        rate=np.concatenate([timeline.rate, moving.rate], axis=1),
    )
    finite = np.zeros(n, np.uint8)
    hold = native.Hold(dtype)
    both = ([*leaves, *behind], [*jax.tree.leaves(y0), *y_dot])
    given = native.job(made, plan, *both, wide, watch, refine, keep, rows, finite, hold)
    # A propagator of an unchanged step may have another tangent: its segment's ends move differently.
    given.changed = hold.array(np.ones(len(timeline.steps)), np.uint8)
    given.start_dot, given.length_dot = hold.array(moving.start), hold.array(moving.length)
    half_e, half_o = len(program.endpoints) // 2, len(program.observables) // 2
    ends = [np.zeros(n, dtype) for _ in program.endpoints]
    tangents = {name: np.zeros((len(keep), n), dtype) for name in saved}
    given.endpoint = hold.pointers(ends)
    given.saved = hold.pointers([None] * half_o + [tangents.get(name) for name in program.observables[:half_o]])
    native.in_turns(made.library.thrombojax_run, given, made.lanes)
    sound = rows[finite[rows] != 0]
    for k, name in enumerate(program.endpoints[:half_e]):
        endpoints[name][sound] = ends[half_e + k][sound]
    place = native.places(keep, len(timeline.steps))[keep]
    for name, values in tangents.items():
        saved[name][:, sound] = values[place][:, sound]
