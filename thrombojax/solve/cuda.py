"""The trajectory kernel on GPUs: one patient a thread, chunks of patients on whichever GPU is free.

A parameter that all patients have alike is no register of a thread but an operand from constant memory: the text is printed for
which ones those are, and gives the same bits whichever they are.
"""

import ctypes
import functools
import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from thrombojax.codegen import emit_cuda
from thrombojax.codegen.program import Program
from thrombojax.codegen.program import build as trace_program
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing import policy
from thrombojax.dosing.care import Care
from thrombojax.dosing.policy import LEDGER
from thrombojax.dosing.timeline import Timeline
from thrombojax.endpoints.reducers import REDUCERS
from thrombojax.errors import RunError
from thrombojax.models.protocol import Model
from thrombojax.solve import places
from thrombojax.solve.native import _differs, _everything, _jumps, own_places
from thrombojax.solve.native import places as places_of
from thrombojax.solve.pieces import Plan
from thrombojax.solve.places import Place
from thrombojax.solve.steppers import counted
from thrombojax.solve.xla import Watch

CHUNK = 1 << 18
"""Patients of a launch, at most: some five rounds of all threads that an H100 holds."""
LEAST = 1 << 10
"""Patients of a launch below which memory is said to be missing."""
NEAR = 4
"""Shared parameters that a text which is there may fail to use, before another is compiled."""

_WHOLE = ("patients", "stride", "segments", "days", "saves", "knots", "visits")
_POINTERS = ("p", "y0", "start", "length", "h", "era", "dose", "rate", "phase", "steps", "fresh", "changed", "inside", "pick",
             "keep", "saved", "endpoint", "finite", "share", "visit", "acts", "slot", "knot", "rule", "factor", "taken", "course",
             "ledger", "reset")  # fmt: skip


_ALONG = ("start", "length", "h", "era", "dose", "rate", "phase", "steps", "inside", "pick", "keep", "reset")
"""What each patient has of its own where timelines are."""


class Kernel:
    """A program, and the texts that were printed of it, by the parameters that all patients shared."""

    def __init__(self, program: Program, precision: str):
        self.program, self.precision = program, precision
        self.dtype = np.dtype(np.float32 if precision == "f32" else np.float64)
        self.texts: dict[tuple[bool, frozenset[int]], str] = {}

    def text(self, shared: frozenset[int], host: bool) -> tuple[frozenset[int], str]:
        """A text that asks for no more to be shared than is, and for nearly as much."""
        fit = [k for k in self.texts if k[0] == host and k[1] <= shared and len(k[1]) + NEAR >= len(shared)]
        key = max(fit, key=lambda k: len(k[1]), default=(host, shared))
        if key not in self.texts:
            self.texts[key] = emit_cuda.source(self.program, self.precision, key[1], host=host)
        return key[1], self.texts[key]


@functools.lru_cache(maxsize=64)
def kernel(model: Model, plan: Plan, precision: str) -> Kernel:
    """Trace a model. Raises CannotTranslate."""
    made = Kernel(trace_program(model, plan), precision)
    emit_cuda.source(made.program, precision)  # what cannot be printed says so here
    return made


def available() -> str | None:
    """Why there is no GPU to run on, or None."""
    return places.missing()


@functools.lru_cache(maxsize=64)
def unusable(model: Model, precision: str = "f32") -> str | None:
    """Why this model cannot run on a GPU here: none there, or something in the model that has no translation."""
    try:
        return available() or emit_cuda.problem(trace_program(model, _everything(model)), precision)
    except CannotTranslate as error:
        return str(error)


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
    on: Sequence[Place] | None = None,
) -> np.ndarray:
    """Simulate patients `rows` and write their places of `endpoints` (`[patient]`) and `saved` (`[day, patient]`).

    p, y0: structs of float64 `[patient]` arrays; keep: `[day]` bounds whose values are saved; care: of a plan with a
    clinic; ledger: entry -> `[visit, patient]`, written where it is asked for; on: every GPU where not said. Returns, per row,
    whether the state stayed finite.
    """
    if not len(rows):
        return np.zeros(0, bool)
    case = _Case(made, plan, p, y0, timeline, watch, refine, keep, rows, endpoints, saved, care, ledger or {})
    _everywhere(case, places.gpus() if on is None else on)
    return case.finite


run_on_host = functools.partial(run, on=(places.Host(),))
"""`run` with the same text compiled for this machine's processor."""


class _Case:
    """All that the launches of one run have in common."""

    def __init__(self, made: Kernel, plan: Plan, p: Any, y0: Any, timeline: Timeline, watch: Watch, refine: float,
                 keep: np.ndarray, rows: np.ndarray, endpoints: Mapping[str, np.ndarray],
                 saved: Mapping[str, np.ndarray], care: Care | None, ledger: Mapping[str, np.ndarray]):  # fmt: skip
        if not timeline.each and len(np.unique(keep)) != len(keep):
            raise ValueError("days to save that share a bound")
        program = made.program
        if list(saved) != list(program.observables[: len(saved)]):
            raise ValueError("observables to save that are not the first ones")
        self.made, self.rows, self.endpoints, self.saved, self.days = made, rows, endpoints, saved, len(keep)
        leaves = jax.tree.leaves(p)
        self.p = [np.asarray(leaves[leaf], np.float64) for leaf in program.parameters]
        self.y0 = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(y0)]
        self.finite = np.zeros(len(rows), bool)
        self.shared = frozenset(
            leaf
            for leaf, v in zip(program.parameters, self.p, strict=True)
            if v.ndim == 0 or (v[rows] == v[rows[0]]).all()
        )
        self.care, self.ledger = care, ledger
        self.visits = 0 if care is None else int(care.acts.max()) + 1
        knots = 0 if care is None else np.shape(care.course)[1]
        self.shape = (len(timeline.steps), len(keep), len(saved), knots, self.visits)
        self.lines = _timeline(made.dtype, plan, timeline, watch, refine, keep, care)
        self.along = frozenset(_ALONG if timeline.each else ())
        numbers = [
            given.get(name, np.nan)  # as `native.job` has it
            for r, given in zip(plan.reductions, watch.numbers, strict=True)
            for name in REDUCERS[r.reducer].numbers
        ]
        self.numbers = tuple(np.ravel(np.asarray(a, float)) for a in (watch.first, watch.window, numbers))

    @property
    def each(self) -> int:
        """Bytes of a patient on the device."""
        numbers = len(self.p) + len(self.y0) + len(self.endpoints) + len(self.saved) * self.days
        if self.care is not None:
            own = (self.care.factor, self.care.taken, self.care.course)
            numbers += len(LEDGER) * self.visits + sum(math.prod(np.shape(a)[:-1]) for a in own)
        return self.made.dtype.itemsize * numbers + 1

    def launch(self, place: Place, chunk: slice) -> None:
        """Simulate a chunk of the rows and write its results. Raises MemoryError."""
        made, rows = self.made, self.rows[chunk]
        n, dtype = len(rows), made.dtype
        shared, text = made.text(self.shared, place.host)
        parameters, stored = emit_cuda.uniform(made.program, shared)
        functions = place.load(text)
        values = [np.broadcast_to(v, self.y0[0].shape)[rows] for v in self.p]
        out = {
            "saved": np.empty((len(self.saved), self.days, n), dtype),
            "endpoint": np.empty((len(self.endpoints), n), dtype),
            "finite": np.empty(n, np.uint8),
            "share": np.empty(len(made.program.patient), dtype),
        }
        if self.care is not None:
            out["ledger"] = np.empty((len(LEDGER), self.visits, n), dtype)
        with place.memory() as memory:
            given = {
                "p": np.asarray(values or [[0.0]], dtype),
                "y0": np.asarray([v[rows] for v in self.y0], dtype),
                **{
                    k: np.ascontiguousarray(v[..., rows]) if k in self.along and v.size else v
                    for k, v in self.lines.items()
                },
            }
            if self.care is not None:
                for name in ("factor", "taken", "course"):
                    given[name] = np.ascontiguousarray(getattr(self.care, name)[..., rows], dtype)
            job = _job(dtype, (*map(len, self.numbers), len(parameters) + len(stored)))()
            for name, value in zip(_WHOLE, (n, n, *self.shape), strict=True):
                setattr(job, name, value)
            for name, array in given.items():
                setattr(job, name, memory.put(array))
            for name, array in out.items():
                setattr(job, name, memory.room(array))
            for name, array in zip(("first", "window", "number"), self.numbers, strict=True):
                getattr(job, name)[: len(array)] = array.astype(dtype).tolist()
            if stored:
                place.share(functions, job)
                memory.back(job.share, out["share"])
            alike = [*(given["p"][k, 0] for k in parameters), *(out["share"][k] for k in stored)]
            job.u[: len(alike)] = [float(v) for v in alike]
            place.course(functions, job, n)
            for name in (name for name in out if name != "share"):
                memory.back(getattr(job, name), out[name])
        for k, name in enumerate(made.program.endpoints):
            self.endpoints[name][rows] = out["endpoint"][k]
        for k, name in enumerate(self.saved):
            self.saved[name][:, rows] = out["saved"][k]
        for k, name in enumerate(LEDGER):
            if name in self.ledger:
                self.ledger[name][:, rows] = out["ledger"][k]
        self.finite[chunk] = out["finite"] != 0


@functools.cache
def _job(dtype: np.dtype, sizes: tuple[int, ...]) -> Any:
    """The `Job` of trajectory.cu; sizes: of first, window, number and u."""
    real = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    arrays = zip(("first", "window", "number", "u"), sizes, strict=True)

    class Job(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_int64) for name in _WHOLE),
            *((name, ctypes.c_uint64) for name in _POINTERS),
            *((name, real * max(n, 2 if name == "window" else 1)) for name, n in arrays),
        )

    return Job


def _timeline(dtype: np.dtype, plan: Plan, timeline: Timeline, watch: Watch, refine: float,
              keep: np.ndarray, care: Care | None) -> dict[str, np.ndarray]:  # fmt: skip
    """Everything `[segment]` that a job reads."""
    segments = len(timeline.steps)
    steps = counted(np.asarray(timeline.steps), refine)
    h = np.asarray(timeline.length) / np.maximum(steps, 1)
    phases = [np.asarray(timeline.phase[key], float) for key in plan.phases]
    dose, rate = np.moveaxis(timeline.dose, 1, 0), np.moveaxis(timeline.rate, 1, 0)
    jumps = np.ones(segments, bool) if timeline.each else _jumps(plan, timeline, care)
    reals = {
        "start": timeline.start, "length": timeline.length, "h": h, "era": timeline.era, "dose": dose, "rate": rate,
        "phase": np.asarray(phases), "inside": watch.inside, "pick": watch.pick,
    }  # fmt: skip
    return {
        **{name: np.ascontiguousarray(value, dtype) for name, value in reals.items()},
        "steps": steps.astype(np.int32),
        "fresh": (jumps if timeline.each else jumps | np.any(dose != 0, axis=0)).astype(np.uint8),
        "changed": (jumps if timeline.each else jumps | _differs([h], segments)).astype(np.uint8),
        "keep": own_places(keep, segments) if timeline.each else places_of(keep, segments),
        **({"reset": np.ascontiguousarray(timeline.reset, dtype)} if timeline.each else {}),
        **({} if care is None else _clinic(dtype, care)),
    }


def _clinic(dtype: np.dtype, care: Care) -> dict[str, np.ndarray]:
    """Where a job finds its visits, administrations and rules."""
    found = {name: np.ascontiguousarray(getattr(care, name), np.int32) for name in ("visit", "acts", "slot", "knot")}
    return {**found, "rule": np.asarray(policy.numbers(care.rule), dtype)}


def _everywhere(case: _Case, on: Sequence[Place]) -> None:
    """Every chunk on the next place that is free; a chunk that does not fit is halved."""
    n = len(case.rows)
    most = [int(min(CHUNK, -(-n // len(on)), place.most() // case.each)) for place in on]
    size = max(min(most), LEAST)
    left = deque(slice(k, min(k + size, n)) for k in range(0, n, size))
    lock = threading.Lock()

    def serve(place: Place) -> None:
        while True:
            with lock:
                if not left:
                    return
                chunk = left.popleft()
            try:
                case.launch(place, chunk)
            except MemoryError:
                patients = chunk.stop - chunk.start
                if patients <= LEAST:
                    needed = patients * case.each / 2**20
                    message = (
                        f"{place}: out of memory for {patients} patients ({needed:.1f} MiB and what the kernel spills)"
                    )
                    raise RunError(message) from None
                middle = chunk.start + patients // 2
                with lock:
                    left.extend([slice(chunk.start, middle), slice(middle, chunk.stop)])

    if len(on) == 1:
        return serve(on[0])
    with ThreadPoolExecutor(len(on), thread_name_prefix="thrombojax-gpu") as pool:
        for _ in pool.map(serve, on):
            pass
