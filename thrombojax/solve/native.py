"""The trajectory kernel as a program of this machine: generated C, one call for any number of patients, on all cores."""

import ctypes
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from thrombojax.codegen import build, emit_c
from thrombojax.codegen.program import Program
from thrombojax.codegen.program import build as trace_program
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing import policy
from thrombojax.dosing.care import Care
from thrombojax.dosing.policy import LEDGER
from thrombojax.dosing.timeline import Column, Timeline
from thrombojax.endpoints.reducers import REDUCERS
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve.pieces import Plan, Reduction
from thrombojax.solve.steppers import counted
from thrombojax.solve.turns import turns
from thrombojax.solve.xla import Watch

_FIELDS = (
    *(
        "groups",
        "row",
        "p",
        "p_step",
        "y0",
        "wide",
        "segments",
        "start",
        "length",
        "h",
        "era",
        "start_dot",
        "length_dot",
        "dose",
        "rate",
        "phase",
    ),
    *("steps", "fresh", "changed", "inside", "pick", "first", "window", "number", "keep", "saved", "saved_step"),
    *("endpoint", "finite", "threads"),
    *("visit", "acts", "slot", "knot", "rule", "factor", "taken", "course", "knots", "ledger", "reset"),
)
_WHOLE = {"groups", "wide", "segments", "saved_step", "threads", "knots"}


class Job(ctypes.Structure):
    """The `Job` of trajectory.c."""

    _fields_ = [(name, ctypes.c_int64 if name in _WHOLE else ctypes.c_void_p) for name in _FIELDS]


class Dots(NamedTuple):
    """How fast the ends of segments move, for a kernel that has tangents: `[segment]`, or `[segment, patient]` of timelines of
    patients' own."""

    start_dot: np.ndarray
    length_dot: np.ndarray


class Kernel:
    """A compiled kernel: its program, its library, and how many patients share a vector."""

    def __init__(self, program: Program, library: ctypes.CDLL, dtype: Any):
        self.program, self.library, self.dtype = program, library, np.dtype(dtype)
        self.lanes = int(library.thrombojax_lanes())


@functools.lru_cache(maxsize=64)
def kernel(model: Model, plan: Plan, precision: str) -> Kernel:
    """Trace, print, compile and load. Raises CannotTranslate, NoCompiler, or RunError for an unsafe cache."""
    return made(trace_program(model, plan), precision)


def made(program: Program, precision: str) -> Kernel:
    """Print, compile and load."""
    library = build.load(emit_c.source(program, precision))
    return Kernel(program, library, np.float32 if precision == "f32" else np.float64)


@functools.lru_cache(maxsize=64)
def unusable(model: Model) -> str | None:
    """Why generated code cannot run this model here: no compiler that works, or something that has no translation."""
    try:
        build.load("int thrombojax_works(void) { return 1; }")
        trace_program(model, _everything(model))
    except (build.NoCompiler, CannotTranslate) as error:
        return str(error)
    return None


def _everything(model: Model) -> Plan:
    """A plan that asks for all that a model has: every entry, phase and observable, and slopes."""
    columns = tuple(Column(key, False) for key in model.entries)
    look = tuple(Reduction(name, "value_on_day", name, ()) for name in struct.names(model.Obs))
    phases = tuple(model.breakpoints(model.defaults).after_dose)
    return Plan(columns, look, (), phases, any(entry.infusible for entry in model.entries.values()))


def cores() -> int:
    """How many threads this process may run at once."""
    mine = getattr(os, "sched_getaffinity", None)  # a job's share of the machine, where the system says
    return len(mine(0)) if mine else os.cpu_count() or 1


def run(
    made: Kernel,
    plan: Plan,
    p: Any,
    y0: Any,
    timeline: Timeline,
    watch: Watch,
    refine: float,
    keep: np.ndarray,
    rows: np.ndarray,
    endpoints: Mapping[str, np.ndarray],
    saved: Mapping[str, np.ndarray],
    care: Care | None = None,
    ledger: Mapping[str, np.ndarray] | None = None,
    dots: Dots | None = None,
) -> np.ndarray:
    """Simulate patients `rows` and write their places of `endpoints` (`[patient]`) and `saved` (`[day, patient]`).

    p, y0: structs of float64 `[patient]` arrays; all C-ordered; keep: `[day]` bounds whose values are saved; care: of a plan
    with a clinic; ledger: entry -> `[visit, patient]`, written where it is asked for; dots: of a kernel with tangents.
    Returns, per row, whether the state stayed finite.
    """
    if not len(rows):
        return np.zeros(0, bool)
    finite = np.zeros(len(jax.tree.leaves(y0)[0]), np.uint8)
    hold = Hold(made.dtype)
    given = job(made, plan, p, y0, timeline, watch, refine, keep, rows, finite, hold, care)
    given.ledger = hold.pointers([(ledger or {}).get(name) for name in LEDGER])
    given.saved = hold.pointers([saved.get(name) for name in made.program.observables])
    given.endpoint = hold.pointers([endpoints[name] for name in made.program.endpoints])
    if dots is not None:
        given.start_dot, given.length_dot = (hold.array(dot) for dot in dots)
        # A propagator of an unchanged step may have another tangent: its segment's ends move differently.
        given.changed = hold.array(np.ones(len(timeline.steps)), np.uint8)
    in_turns(made.library.thrombojax_run, given, made.lanes)
    if not timeline.each:
        spread(saved, keep, len(timeline.steps), rows)
    return finite[rows] != 0


def spread(saved: Mapping[str, np.ndarray], keep: np.ndarray, segments: int, rows: np.ndarray) -> None:
    """Days nearer to each other than bounds are have one place, which was written: the others get its values."""
    for day, written in enumerate(places(keep, segments)[keep]):
        if written != day:
            for values in saved.values():
                values[day, rows] = values[written, rows]


def in_turns(function: Callable[..., Any], given: Job, lanes: int) -> None:
    """Call a kernel for some of a job's vectors at a time, so that Python hears a Ctrl-C; which ones changes no bit."""
    groups, row = given.groups, given.row
    for first, count in turns(groups, TAKE * given.threads):
        given.groups, given.row = count, row + first * lanes * np.dtype(np.int32).itemsize
        function(ctypes.byref(given))


TAKE = 8
"""Vectors that a thread takes at a time, as in threads.c: the shortest turn."""


def places(keep: Any, segments: int, xp: Any = np) -> Any:
    """Where the values of each bound are kept (`[segments + 1]`, -1: nowhere): with the last of the days that share it.

    xp: `jax.numpy` where keep is traced.
    """
    position = xp.full(segments + 1, -1, np.int32)
    if xp is not np:
        return position.at[keep].max(xp.arange(len(keep), dtype=np.int32))
    position[keep] = np.arange(len(keep))
    return position


def own_places(keep: np.ndarray, segments: int) -> np.ndarray:
    """The same of patients' own timelines, `[segments + 1, patient]`; keep: `[place, patient]` bounds, -1: none."""
    position = np.full((segments + 1, keep.shape[1]), -1, np.int32)
    for place, bounds in enumerate(keep):
        mine = np.flatnonzero(bounds >= 0)
        position[bounds[mine], mine] = place
    return position


class Hold:
    """Addresses of arrays for C, which stay alive as long as this does."""

    def __init__(self, dtype: Any):
        self.dtype, self.kept = dtype, []  # type: ignore[var-annotated]

    def address(self, a: np.ndarray) -> int:
        self.kept.append(a)
        return int(a.ctypes.data)

    def array(self, a: Any, kind: Any = None) -> int:
        return self.address(np.ascontiguousarray(a, kind or self.dtype))

    def pointers(self, arrays: Sequence[np.ndarray | None]) -> int:
        return self.array([0 if a is None else self.address(a) for a in arrays] or [0], np.uint64)


def job(
    made: Kernel,
    plan: Plan,
    p: Any,
    y0: Any,
    timeline: Timeline,
    watch: Watch,
    refine: float,
    keep: np.ndarray,
    rows: np.ndarray,
    finite: np.ndarray,
    hold: Hold,
    care: Care | None = None,
) -> Job:
    """What `run` asks for, but for the outputs; finite: `[patient]` uint8, written for `rows`."""
    program, array = made.program, hold.array
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(p)]
    used = [np.ascontiguousarray(leaves[k]) for k in program.parameters]
    segments = len(timeline.steps)
    steps = counted(np.asarray(timeline.steps), refine)
    h = np.asarray(timeline.length) / np.maximum(steps, 1)
    jumps = np.ones(segments, bool) if timeline.each else _jumps(plan, timeline, care)
    # In the reducers' own order, whatever order a study has them in. One that is missing is one that nothing reads (`day`,
    # beside `visits`), or makes the endpoint missing.
    numbers = [
        e.get(name, np.nan)
        for r, e in zip(plan.reductions, watch.numbers, strict=True)
        for name in REDUCERS[r.reducer].numbers
    ]
    return Job(
        groups=-(-len(rows) // made.lanes),
        row=array(np.resize(rows, -(-len(rows) // made.lanes) * made.lanes), np.int32),
        p=hold.pointers(used),
        p_step=array([int(leaf.ndim > 0) for leaf in used] or [0], np.int64),
        y0=hold.pointers([np.ascontiguousarray(leaf, np.float64) for leaf in jax.tree.leaves(y0)]),
        wide=1,
        segments=segments,
        start=array(timeline.start),
        length=array(timeline.length),
        h=array(h),
        era=array(timeline.era),
        dose=array(np.moveaxis(timeline.dose, 1, 0)),
        rate=array(np.moveaxis(timeline.rate, 1, 0)),
        phase=array([timeline.phase[key] for key in plan.phases] or [0]),
        steps=array(steps, np.int32),
        fresh=array(jumps if timeline.each else jumps | np.any(np.asarray(timeline.dose) != 0, axis=1), np.uint8),
        changed=array(jumps if timeline.each else jumps | _differs([h], segments), np.uint8),
        inside=array(watch.inside),
        pick=array(watch.pick),
        first=array(watch.first),
        window=array(watch.window),
        number=array(numbers or [0]),
        keep=array(own_places(keep, segments) if timeline.each else places(keep, segments), np.int32),
        reset=array(timeline.reset if timeline.each else [0]),
        saved=hold.pointers([None for _ in program.observables]),
        saved_step=len(finite),
        finite=hold.address(finite),
        threads=cores(),
        **(_clinic(care, hold) if care is not None else {}),
    )


def _clinic(care: Care, hold: Hold) -> dict[str, int]:
    """A job's fields of what differs between patients in time."""
    array = hold.array
    return {
        **{name: array(getattr(care, name), np.int32) for name in ("visit", "acts", "slot", "knot")},
        "rule": array(policy.numbers(care.rule)),
        **{name: array(getattr(care, name)) for name in ("factor", "taken", "course")},
        "knots": np.shape(care.course)[1],
    }


def _jumps(plan: Plan, timeline: Timeline, care: Care | None, xp: Any = np) -> Any:
    """Segments at whose start a switch changes; xp: `jax.numpy` where the timeline is traced."""
    switches = [
        xp.asarray(timeline.era),
        *(xp.asarray(timeline.phase[key]) for key in plan.phases),
        *xp.asarray(timeline.rate).T,
        *([np.asarray(care.knot)] if care is not None else []),
    ]
    return _differs(switches, len(timeline.steps), xp)


def _differs(rows: Sequence[Any], segments: int, xp: Any = np) -> Any:
    """Segments in which any row differs from the segment before (the first always does)."""
    found = xp.zeros(max(segments - 1, 0), bool)
    for row in rows:
        found = found | (row[1:] != row[:-1])
    return xp.concatenate([xp.ones(min(segments, 1), bool), found])
