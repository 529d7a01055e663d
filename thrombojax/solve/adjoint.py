"""Reverse mode through the generated kernel: cotangents of amounts, rates, times, parameters, first states and policies."""

import ctypes
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thrombojax.codegen import adjoint, build, emit_c
from thrombojax.codegen.program import Program
from thrombojax.dosing.care import Care
from thrombojax.dosing.policy import LEDGER
from thrombojax.dosing.timeline import Timeline
from thrombojax.errors import RunError
from thrombojax.models.protocol import Model
from thrombojax.solve import native
from thrombojax.solve.pieces import Plan
from thrombojax.solve.steppers import counted
from thrombojax.solve.turns import turns
from thrombojax.solve.xla import Watch

MEMORY = 512 * 2**20
"""Bytes that the records of all threads may take; a longer trajectory is crossed once more, window by window."""
BATCH = 4
"""Groups whose shares of the common cotangents are added up in order, so that no number of threads changes a bit; few, so that
a thousand patients keep all threads busy."""


class _Back(ctypes.Structure):
    """The `Back` of adjoint.c."""

    _fields_ = (
        ("job", native.Job),
        *((name, ctypes.c_void_p) for name in ("live", "endpoint_", "saved_", "p_", "rule_", "y0_", "shared_")),
        *((name, ctypes.c_int64) for name in ("batch", "per_window", "record")),
        *((name, ctypes.c_void_p) for name in ("place", "weight", "value")),
    )


class Cotangents(NamedTuple):
    """start, length: `[segment]`; dose, rate: `[segment, column]`; parameters: per leaf asked for, y0: per state, rule: per
    number of the policy, `[patient]`."""

    start: np.ndarray
    length: np.ndarray
    dose: np.ndarray
    rate: np.ndarray
    parameters: list[np.ndarray]
    y0: list[np.ndarray]
    rule: list[np.ndarray]


class Own(NamedTuple):
    """An objective of the kernel's own. places: of its days among the saved values; weight, value (written): `[patient]`."""

    places: np.ndarray
    weight: np.ndarray
    value: np.ndarray


@functools.lru_cache(maxsize=64)
def kernel(
    model: Model,
    plan: Plan,
    precision: str,
    wrt: tuple[int, ...],
    objective: adjoint.Objective | None = None,
    days: int = 0,
    times: bool = True,
) -> native.Kernel:
    """Trace, transpose, print, compile and load; raises as `native.kernel` does."""
    program = adjoint.build(model, plan, wrt, objective, days, times)
    library = build.load(emit_c.source_back(program, precision))
    library.thrombojax_back.argtypes = [ctypes.POINTER(_Back)]
    return native.Kernel(program, library, np.float32 if precision == "f32" else np.float64)


def run(
    made: native.Kernel,
    plan: Plan,
    p: Any,
    y0: Any,
    timeline: Timeline,
    watch: Watch,
    factor: np.ndarray,
    keep: np.ndarray,
    wrt: Sequence[int],
    endpoints: Mapping[str, np.ndarray],
    saved: Mapping[str, np.ndarray],
    memory: int | None = None,
    own: Own | None = None,
    care: Care | None = None,
) -> Cotangents:
    """Cotangents of everything from those of endpoints (`[patient]`) and saved values (`[day, patient]`).

    factor: `[patient]`, multiplies the steps (0: the patient has no result and no gradient); memory: bytes, where not MEMORY;
    own: of a kernel with an objective, which then says what is asked of saved values in place of `saved`; care: of a plan with
    a clinic.
    """
    program, dtype = made.program, made.dtype
    n, segments, columns = len(factor), len(timeline.steps), len(plan.columns)
    parameters = [np.zeros(n, dtype) for _ in wrt]
    first = [np.zeros(n, dtype) for _ in range(program.states)]
    rule = [np.zeros(n, dtype) for _ in range(program.rules)]
    common = np.zeros((segments, 2 + 2 * columns))
    seen: Any = {}
    if own is not None:
        saved, seen = (
            {name: np.zeros((len(keep), n), dtype) for name in program.observables} for _ in ("asked", "seen")
        )
    for level in np.unique(factor[factor > 0]):
        rows = np.flatnonzero(factor == level)
        finite = np.zeros(n, np.uint8)
        hold = native.Hold(dtype)
        given = native.job(made, plan, p, y0, timeline, watch, float(level), keep, rows, finite, hold, care)
        given.ledger = hold.pointers([None for _ in LEDGER])
        given.saved = hold.pointers([seen.get(o) for o in program.observables])
        lanes = np.arange(given.groups * made.lanes) < len(rows)
        steps = counted(np.asarray(timeline.steps), level)
        window, record = windows(program, steps, (memory or MEMORY) // native.cores() // (made.lanes * dtype.itemsize))
        shared = np.zeros((-(-given.groups // BATCH), segments, 2 + 2 * columns))
        back = _Back(
            job=given,
            live=hold.array(lanes, np.uint8),
            endpoint_=hold.pointers([np.ascontiguousarray(endpoints[e], dtype) for e in program.endpoints]),
            saved_=hold.pointers(
                [np.ascontiguousarray(saved[o], dtype) if o in saved else None for o in program.observables]
            ),
            p_=hold.pointers([parameters[list(wrt).index(k)] for k in program.wrt]),
            rule_=hold.pointers(rule),
            y0_=hold.pointers(first),
            shared_=hold.address(shared),
            batch=BATCH,
            per_window=window,
            record=record,
            **({} if own is None else _of_own(own, hold)),
        )
        _in_turns(made, back, shared)
        common += shared.sum(axis=0)
    start, length, dose, rate = np.split(common, [1, 2, 2 + columns], axis=1)
    return Cotangents(start[:, 0], length[:, 0], dose, rate, parameters, first, rule)


def _of_own(own: Own, hold: native.Hold) -> dict[str, int]:
    return {
        "place": hold.array(own.places, np.int32), "weight": hold.array(own.weight), "value": hold.address(own.value),
    }  # fmt: skip


def _in_turns(made: native.Kernel, back: _Back, shared: np.ndarray) -> None:
    """Run a job backwards, whole batches at a time. Raises RunError where there is no memory for a record."""
    groups, row, live = back.job.groups, back.job.row, back.live
    for first, count in turns(groups, BATCH * back.job.threads):
        back.job.groups, back.job.row = count, row + first * made.lanes * np.dtype(np.int32).itemsize
        back.live, back.shared_ = live + first * made.lanes, shared[first // BATCH :].ctypes.data
        if made.library.thrombojax_back(ctypes.byref(back)):
            raise RunError("there is no memory for the record of a trajectory; give gradients a smaller bound")


def windows(program: Program, steps: np.ndarray, room: int) -> tuple[int, int]:
    """(segments per window, values that its record takes): the longest window for which there is room, in values."""
    each = recorded(program, steps)
    window = len(steps)
    while True:
        starts = np.arange(0, len(steps), window)
        record = int(np.add.reduceat(each, starts).max())
        whole = record + len(starts) * checkpoint(program)
        if window == 1 or whole <= room:
            return window, record
        window = -(-window // 2)


def checkpoint(program: Program) -> int:
    """Values that are kept at the start of a window."""
    return program.states + program.sizes.get("c", 0) + program.sizes.get("m", 0)


def recorded(program: Program, steps: np.ndarray) -> np.ndarray:
    """Values that each segment's record takes."""
    each = (steps + 1) * program.states + program.sizes.get("m", 0)
    if program.endpoints:
        each = each + program.sizes.get("c", 0) + 4 * len(program.observables)
    return each
