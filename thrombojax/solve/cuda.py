"""The trajectory kernel on GPUs: one patient a thread, chunks of patients on whichever GPU is free.

A parameter that all patients have alike is no register of a thread but an operand from constant memory: the text is printed for
which ones those are, and gives the same bits whichever they are.
"""

import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
from thrombojax.models.protocol import Model
from thrombojax.solve import chunks, places
from thrombojax.solve.chunks import everywhere
from thrombojax.solve.native import Dots, _differs, _everything, _jumps, own_places, spread
from thrombojax.solve.native import places as places_of
from thrombojax.solve.pieces import Plan
from thrombojax.solve.places import Place
from thrombojax.solve.steppers import counted
from thrombojax.solve.xla import Watch

NEAR = 4
"""Shared parameters that a text which is there may fail to use, before another is compiled."""

_WHOLE = ("patients", "stride", "segments", "days", "knots", "visits", "per_window", "batch")
_POINTERS = ("p", "y0", "start", "length", "h", "era", "start_dot", "length_dot", "dose", "rate", "phase", "steps", "fresh",
             "changed", "inside", "pick", "keep", "saved", "endpoint", "finite", "share", "visit", "acts", "slot", "knot", "rule",
             "factor", "taken", "course", "ledger", "reset", "endpoint_", "saved_", "p_", "y0_", "rule_", "shares", "sums",
             "record", "checkpoint", "mark")  # fmt: skip
_ALONG = (
    "start",
    "length",
    "h",
    "era",
    "dose",
    "rate",
    "phase",
    "steps",
    "inside",
    "pick",
    "keep",
    "reset",
    "start_dot",
    "length_dot",
)
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
    return made(trace_program(model, plan), precision)


def made(program: Program, precision: str) -> Kernel:
    """Raises CannotTranslate for what cannot be printed."""
    emit_cuda.source(program, precision)
    return Kernel(program, precision)


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
    dots: Dots | None = None,
    on: Sequence[Place] | None = None,
) -> np.ndarray:
    """Simulate patients `rows` and write their places of `endpoints` (`[patient]`) and `saved` (`[day, patient]`).

    p, y0: structs of float64 `[patient]` arrays; keep: `[day]` bounds whose values are saved; care: of a plan with a
    clinic; ledger: entry -> `[visit, patient]`, written where it is asked for; dots: of a kernel with tangents; on: every GPU
    where not said. Returns, per row, whether the state stayed finite.
    """
    if not len(rows):
        return np.zeros(0, bool)
    case = Course(made, plan, p, y0, timeline, watch, refine, keep, rows, tuple(saved), care, dots)
    case.endpoints, case.saved, case.ledger = endpoints, saved, ledger or {}
    everywhere(case, places.gpus() if on is None else on)
    if not timeline.each:
        spread(saved, keep, len(timeline.steps), rows)
    return case.finite


run_on_host = functools.partial(run, on=(places.Host(),))
"""`run` with the same text compiled for this machine's processor."""


class Shape(NamedTuple):
    """Of an array that a job writes."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Course:
    """All that the launches of one run have in common. save: observables that are kept; dots: of a kernel with tangents.

    xp: `jax.numpy` where values are traced (`on_device`); what is known all the same stays NumPy.
    """

    def __init__(self, made: Kernel, plan: Plan, p: Any, y0: Any, timeline: Timeline, watch: Watch, refine: float,
                 keep: np.ndarray, rows: np.ndarray, save: Sequence[str], care: Care | None = None,
                 dots: Dots | None = None, xp: Any = np):  # fmt: skip
        program = made.program
        self.made, self.rows, self.save, self.days = made, rows, list(save), len(keep)
        self.endpoints: Mapping[str, np.ndarray] = {}
        self.saved: Mapping[str, np.ndarray] = {}
        self.ledger: Mapping[str, np.ndarray] = {}
        leaves = jax.tree.leaves(p)
        self.xp = xp
        self.p = [_known(leaves[leaf], xp) for leaf in program.parameters]
        self.y0 = [_known(leaf, xp) for leaf in jax.tree.leaves(y0)]
        self.finite = np.zeros(len(rows), bool)
        # By all patients, not by those of these rows: one text serves whatever number of steps they need.
        self.shared = frozenset(
            leaf
            for leaf, v in zip(program.parameters, self.p, strict=True)
            if isinstance(v, np.ndarray) and (v.ndim == 0 or (v == v[0]).all())
        ) | ({emit_cuda.RULE} if care is not None and xp is np else set())
        self.care = care
        self.visits = 0 if care is None else int(care.acts.max()) + 1
        self.knots = 0 if care is None else np.shape(care.course)[1]
        self.segments = len(timeline.steps)
        self.lines = _timeline(made.dtype, plan, timeline, watch, refine, keep, care, dots, xp)
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
        numbers = len(self.p) + len(self.y0) + len(self.made.program.endpoints) + len(self.save) * self.days
        if self.care is not None:
            own = (self.care.factor, self.care.taken, self.care.course)
            numbers += len(LEDGER) * self.visits + sum(math.prod(np.shape(a)[:-1]) for a in own)
        return self.made.dtype.itemsize * numbers + 1

    def inputs(self, rows: np.ndarray) -> dict[str, Any]:
        """What a job reads, by its names there."""
        dtype, xp = self.made.dtype, self.xp
        values = [
            xp.full(len(rows), np.ravel(v)[0]) if leaf in self.shared else v[rows]
            for leaf, v in zip(self.made.program.parameters, self.p, strict=True)
        ]
        given = {
            "p": xp.asarray([xp.asarray(v, dtype) for v in values] or [[0.0]], dtype),
            "y0": xp.asarray([v[rows] for v in self.y0], dtype),
            **{
                k: np.ascontiguousarray(v[..., rows]) if k in self.along and v.size else v
                for k, v in self.lines.items()
            },
        }
        if self.care is not None:
            for name in ("factor", "taken", "course"):
                given[name] = np.ascontiguousarray(getattr(self.care, name)[..., rows], dtype)
        return given

    def outputs(self, n: int) -> dict[str, Shape]:
        """What a job of n patients writes."""
        dtype = self.made.dtype
        out = {
            "saved": Shape((len(self.save), self.days, n), dtype),
            "endpoint": Shape((len(self.made.program.endpoints), n), dtype),
            "finite": Shape((n,), np.uint8),
        }
        if self.care is not None:
            out["ledger"] = Shape((len(LEDGER), self.visits, n), dtype)
        return out

    def scratch(self, n: int) -> dict[str, Shape]:
        """What nothing but a job sees."""
        return {}

    def kernels(self, n: int) -> list[tuple[str, int]]:
        """What is run, and on how many threads."""
        return [("thrombojax_course", n)]

    def take(self, chunk: slice, out: Mapping[str, np.ndarray]) -> None:
        """Put what a chunk's job wrote where it belongs."""
        rows = self.rows[chunk]
        for k, name in enumerate(self.made.program.endpoints):
            self.endpoints[name][rows] = out["endpoint"][k]
        for k, name in enumerate(self.save):
            self.saved[name][:, rows] = out["saved"][k]
        for k, name in enumerate(LEDGER):
            if name in self.ledger:
                self.ledger[name][:, rows] = out["ledger"][k]

    def launch(self, place: Place, chunk: slice) -> None:
        """Simulate a chunk of the rows and write its results. Raises MemoryError."""
        rows = self.rows[chunk]
        n = len(rows)
        shared, text = self.made.text(self.shared, place.host)
        module = place.load(text)
        job = self.job(n, self.alike(place, module, shared))
        given, out = self.inputs(rows), {name: np.empty(*shape) for name, shape in self.outputs(n).items()}
        with place.memory() as memory:
            for name, array in given.items():
                setattr(job, name, memory.put(array))
            for name, array in out.items():
                setattr(job, name, memory.room(array))
            for name, shape in self.scratch(n).items():
                setattr(job, name, memory.scratch(shape.bytes))
            for kernel, threads in self.kernels(n):
                place.call(module, kernel, job, threads)
            for name, array in out.items():
                memory.back(getattr(job, name), array)
        self.take(chunk, out)
        self.finite[chunk] = out["finite"] != 0

    def alike(self, place: Place, module: Any, shared: frozenset[int]) -> list[float]:
        """What stands in `u` of a text that shares so many leaves, found on a place where the text is loaded."""
        program, dtype = self.made.program, self.made.dtype
        parameters, stored = emit_cuda.uniform(program, shared)
        # One patient, of whom nothing is asked that is not shared.
        first = np.array([[np.ravel(v)[0] if isinstance(v, np.ndarray) else 1.0] for v in self.p] or [[0.0]], dtype)
        share = np.empty(len(program.patient), dtype)
        if stored:
            with place.memory() as memory:
                job = self.job(1, [0.0] * (len(parameters) + len(stored)))
                job.p, job.share = memory.put(first), memory.room(share)
                if self.care is not None:
                    rule = self.lines["rule"]
                    job.rule = memory.put(rule if isinstance(rule, np.ndarray) else np.ones(rule.shape, dtype))
                place.call(module, "thrombojax_share", job, 1)
                memory.back(job.share, share)
        return [float(v) for v in (*(first[k, 0] for k in parameters), *(share[k] for k in stored))]

    def job(self, n: int, alike: Sequence[float]) -> Any:
        """The job of n patients, but for the addresses of its arrays."""
        program, dtype = self.made.program, self.made.dtype
        ends = len(program.endpoints)  # as many again of tangents, which look for nothing
        job = _job(dtype, (len(program.observables), ends, 2 * ends, len(self.numbers[2]), len(alike)))()
        whole = (n, n, self.segments, self.days, self.knots, self.visits, 0, chunks.LEAST)
        for name, value in zip(_WHOLE, whole, strict=True):
            setattr(job, name, value)
        saved = [self.save.index(name) if name in self.save else -1 for name in program.observables]
        job.place[: len(saved)] = saved
        for name, array in zip(("first", "window", "number"), self.numbers, strict=True):
            getattr(job, name)[: len(array)] = array.astype(dtype).tolist()
        job.u[: len(alike)] = alike
        self.prepare(job)
        return job

    def prepare(self, job: Any) -> None:
        """What else a job needs to know."""


def _known(leaf: Any, xp: Any) -> Any:
    """A leaf as NumPy, or as it is where it is traced."""
    return np.asarray(leaf, np.float64) if xp is np or isinstance(leaf, np.ndarray) else leaf


@functools.cache
def _job(dtype: np.dtype, sizes: tuple[int, ...]) -> Any:
    """The `Job` of job.cu; sizes: of place, first, window, number and u."""
    real = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    arrays = zip(("first", "window", "number", "u"), sizes[1:], strict=True)

    class Job(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_int64) for name in _WHOLE),
            *((name, ctypes.c_uint64) for name in _POINTERS),
            ("place", ctypes.c_int32 * max(sizes[0], 1)),
            *((name, real * max(n, 2 if name == "window" else 1)) for name, n in arrays),
        )

    return Job


def _timeline(dtype: np.dtype, plan: Plan, timeline: Timeline, watch: Watch, refine: float, keep: Any,
              care: Care | None, dots: Dots | None, xp: Any) -> dict[str, Any]:  # fmt: skip
    """Everything `[segment]` that a job reads."""
    segments = len(timeline.steps)
    steps = counted(xp.asarray(timeline.steps), refine)
    h = xp.asarray(timeline.length, float) / xp.asarray(xp.maximum(steps, 1), float)
    phases = [xp.asarray(timeline.phase[key], float) for key in plan.phases]
    dose, rate = xp.moveaxis(timeline.dose, 1, 0), xp.moveaxis(timeline.rate, 1, 0)
    jumps = np.ones(segments, bool) if timeline.each else _jumps(plan, timeline, care, xp)
    changed = jumps if timeline.each else jumps | _differs([h], segments, xp)
    if dots is not None:
        changed = np.ones(segments, bool)  # as `native.run` has it
    reals = {
        "start": timeline.start, "length": timeline.length, "h": h, "era": timeline.era, "dose": dose, "rate": rate,
        "phase": xp.asarray(phases), "inside": watch.inside, "pick": watch.pick,
    }  # fmt: skip
    array = np.ascontiguousarray if xp is np else xp.asarray
    return {
        **{name: array(value, dtype) for name, value in reals.items()},
        "steps": steps.astype(np.int32),
        "fresh": (jumps if timeline.each else jumps | xp.any(dose != 0, axis=0)).astype(np.uint8),
        "changed": changed.astype(np.uint8),
        "keep": own_places(keep, segments) if timeline.each else places_of(keep, segments, xp),
        **({"reset": np.ascontiguousarray(timeline.reset, dtype)} if timeline.each else {}),
        **({} if care is None else _clinic(dtype, care, xp)),
        **({} if dots is None else {name: xp.asarray(value, dtype) for name, value in dots._asdict().items()}),
    }


def _clinic(dtype: np.dtype, care: Care, xp: Any) -> dict[str, Any]:
    """Where a job finds its visits, administrations and rules."""
    found = {name: np.ascontiguousarray(getattr(care, name), np.int32) for name in ("visit", "acts", "slot", "knot")}
    return {**found, "rule": xp.asarray(policy.numbers(care.rule), dtype)}
