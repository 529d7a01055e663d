"""From a problem on the host to numbers on the host: fixed blocks of patients on every device, whatever the backend.

Every launch is padded to one block size, so that chunking, order and interruption never change a bit of a patient's result.
"""

import functools
import itertools
import math
import os
import queue
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from thrombojax.codegen.build import NoCompiler
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.care import Care
from thrombojax.dosing.policy import LEDGER
from thrombojax.dosing.timeline import Column, Schedule, Timeline
from thrombojax.endpoints import Endpoint, windows
from thrombojax.endpoints.reducers import DEFAULTS, REDUCERS
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve import cuda, delayed, native, pieces
from thrombojax.solve.pieces import Clinic, Plan, Reduction
from thrombojax.solve.steppers import Adaptive, FixedSteps, Tableau, method
from thrombojax.solve.xla import Watch, trajectory

BACKENDS = ("cuda", "native", "xla", "reference")
BLOCK = {"cuda": 128, "native": 16, "xla": 1024, "reference": 64}
"""Patients per launch. native: at most so many lanes; XLA: state and temporaries of a block stay in cache; reference: lockstep
of vmap."""
DELAYED_BLOCK = 128
"""Likewise of a model with delays, whose past of many bounds would not stay in cache."""
STABLE = 0.9
"""Largest step x rate that is allowed, of the interval on which the stepper is stable."""
BENT, SHAPED = 3.0, 1e-6
"""Order to which a bend reduces a method, and the accuracy down to which orders of entries were measured."""
Parts = Sequence[tuple[np.float32, np.ndarray]]
"""Factors on the steps, and the patients of each."""
AGAIN = 4.0
"""Times the steps of a patient whom its own left without a result: the bound of its rates was too low for where it went."""
MOST_REFINE = 64

OK, NOT_FINITE, NO_BASELINE, TOO_STIFF = 0, 1, 2, 3
STATUS = {"ok": OK, "not_finite": NOT_FINITE, "no_baseline": NO_BASELINE, "too_stiff": TOO_STIFF}


_UNUSABLE: Mapping[str, Callable[[Model], str | None]] = {"cuda": cuda.unusable, "native": native.unusable}
"""Why a backend cannot run a model here."""


@dataclass(frozen=True)
class Solution:
    """endpoints: name -> `[patient]`; saved: observable -> `[day, patient]`; status: `[patient]` uint8.

    ledger: entry of `policy.LEDGER` -> `[visit, patient]`, the visits at which a policy decides; empty without one.
    """

    endpoints: Mapping[str, Float[np.ndarray, "patient"]]
    saved: Mapping[str, Float[np.ndarray, "day patient"]]
    status: UInt8[np.ndarray, "patient"]
    ledger: Mapping[str, Float[np.ndarray, "visit patient"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """Prepared patients of one model, float64 on the host: p and y0 are structs of `[patient]`; status as in `STATUS`."""

    p: Any
    y0: Any
    rate: Float[np.ndarray, "patient"]
    status: UInt8[np.ndarray, "patient"]

    @property
    def n(self) -> int:
        return len(self.status)


def dtype_of(precision: str) -> Any:
    if precision not in ("f32", "f64"):
        raise InputError(unknown("precision", "precision", precision, ("f32", "f64")))
    return np.float32 if precision == "f32" else np.float64


def choose(backend: str, model: Model) -> str:
    """The backend that runs: `auto` takes the fastest that the model allows; what this machine lacks is said in a warning."""
    if backend not in ("auto", *BACKENDS):
        raise InputError(unknown("backend", "backend", backend, ("auto", *BACKENDS)))
    if backend != "auto" and backend not in model.backends:
        has = "has delays and " if model.delays is not None else ""
        runs = f"model {model.name} {has}runs on {', '.join(model.backends)}, not on {backend}"
        raise InputError(Problem("backend", runs))
    allowed = [b for b in BACKENDS if b in model.backends]
    wanted = allowed if backend == "auto" else [backend, *(b for b in allowed if b != "cuda" and b != backend)]
    for name, instead in itertools.pairwise((*wanted, "")):
        why = _UNUSABLE[name](model) if name in _UNUSABLE else None
        if why is None:
            return name
        if backend == name or name != "cuda":  # a machine without a GPU is no news
            warnings.warn(f"backend {name}: {why}; {instead} runs instead", RuntimeWarning, stacklevel=3)
    raise InputError(Problem("backend", f"model {model.name} cannot run on this machine"))


def block_of(model: Model, backend: str) -> int:
    """Patients per launch of a model."""
    return BLOCK[backend] if model.delays is None else min(BLOCK[backend], DELAYED_BLOCK)


def refinement(model: Model, columns: Sequence[Column], accuracy: float) -> int:
    """Factor on the steps that hold 1e-4. Where a drive bends, an error falls with the third power of the step, whatever the
    order of the method is elsewhere, unless the steps of an entry are shaped to its bend (measured: docs/performance.md)."""
    order = min((model.entries[column.key].order for column in columns), default=BENT)
    wanted = (1e-4 / max(accuracy, SHAPED)) ** (1 / order) * max(SHAPED / accuracy, 1.0) ** (1 / BENT)
    return max(1, math.ceil(wanted - 1e-9))


def buckets(model: Model, rate: np.ndarray, tableau: Tableau) -> np.ndarray:
    """Each patient's own factor on the steps (1, 1.5, 2, 3, 4, 6 ...), from the bound of its fastest rate; 0 = too stiff."""
    need = np.asarray(rate) / (STABLE * tableau.stable * (2.0 if model.classical else 1.0) * model.steps_per_day)
    need = np.maximum(np.nan_to_num(need, nan=1.0), 1.0)
    factor = 2.0 ** np.ceil(np.log2(need))
    factor = np.where((need > 1.0) & (need <= 0.75 * factor), 0.75 * factor, factor)
    return np.where(factor <= MOST_REFINE, factor, 0.0)


def solve(
    model: Model,
    cohort: Cohort,
    schedule: Schedule,
    *,
    endpoints: Sequence[Endpoint] = (),
    save: Sequence[str] = (),
    days: Sequence[float] = (),
    backend: str = "auto",
    precision: str = "f32",
    accuracy: float = 1e-4,
    tableau: Tableau | None = None,
    clinic: Clinic | None = None,
    care: Care | None = None,
    bounds: np.ndarray | None = None,
) -> Solution:
    """Simulate prepared patients over one timeline; `save` observables on `days` (grid times of the schedule).

    clinic, care: visits, policies and what else differs between patients in time; both or neither. bounds:
    `[place, patient]`, where `save` is kept on timelines of patients' own (-1: nowhere), in place of `days`. Patients that
    cannot be solved get a status and NaN.
    """
    backend = choose(backend, model)
    if backend == "cuda" and clinic is not None and clinic.rules:  # which its kernel reads once for all patients
        backend = choose("native", model)
    tableau = tableau or method(model)
    dtype = dtype_of("f64" if backend == "reference" else precision)
    reductions = tuple(reduction(e, schedule.columns) for e in endpoints)
    stepper = Adaptive() if backend == "reference" else FixedSteps(0, tableau)
    phases = tuple(schedule.timeline.phase)
    plan = Plan(
        schedule.columns, reductions, tuple(save), phases, schedule.infusions, stepper, clinic, schedule.timeline.each
    )
    watch = watched(endpoints, schedule)
    result = {e.name: np.full(cohort.n, np.nan, dtype) for e in endpoints}
    places = len(days) if bounds is None else len(bounds)
    saved = {name: np.full((places, cohort.n), np.nan, dtype) for name in save}
    rows = int(care.acts.max()) + 1 if care is not None else 0
    ledger = {name: np.full((rows, cohort.n), np.nan, dtype) for name in LEDGER} if rows else {}
    keep = np.asarray([schedule.bound(day) for day in days], np.int32) if bounds is None else bounds.astype(np.int32)
    status = cohort.status.copy()
    rate = cohort.rate if clinic is None or care is None else fastest(model, cohort, clinic, care)
    factor = buckets(model, rate, tableau) if backend != "reference" else np.ones(cohort.n)
    status[(status == OK) & (factor == 0)] = TOO_STIFF
    machine: Any = {"native": native, "cuda": cuda}.get(backend)
    try:
        made = machine.kernel(model, plan, precision) if machine is not None else None
    except (NoCompiler, CannotTranslate) as error:  # though a trial by `choose` went well
        if "xla" not in model.backends:
            raise
        warnings.warn(f"backend {backend}: {error}; xla runs instead", RuntimeWarning, stacklevel=2)
        backend, made = "xla", None
    level = np.where(status == OK, factor, 0.0)
    finer = refinement(model, schedule.columns, accuracy)

    def done(cross: Callable[[Parts], None]) -> Solution:
        """Once at each patient's level, and once more with AGAIN times the steps for those whom that left without a result."""

        def go(levels: np.ndarray) -> None:
            parts = [(np.float32(x * finer), np.flatnonzero(levels == x)) for x in np.unique(levels) if x]
            status[levels > 0] = OK
            cross(parts)

        go(level)
        if backend != "reference" and np.any(status == NOT_FINITE):
            go(np.where(status == NOT_FINITE, AGAIN * level, 0.0))
        return _solution(result, saved, status, ledger, bounds)

    if made is not None:

        def crossed(parts: Parts) -> None:
            for steps, mine in parts:
                finite = machine.run(
                    made, plan, cohort.p, cohort.y0, schedule.timeline, watch, float(steps), keep, mine, result, saved, care,
                    ledger,
                )  # fmt: skip
                status[mine[~finite]] = NOT_FINITE

        return done(crossed)
    each = schedule.timeline.each
    constants: Any = () if each else jax.tree.map(lambda a: _as(a, dtype), (schedule.timeline, watch, keep))
    written = np.zeros(rows, np.int32)  # bounds of the ledger's rows
    if care is not None:
        written[care.acts[care.acts >= 0]] = np.flatnonzero(care.acts >= 0)

    def launch(device: Any, block: np.ndarray, refine: np.float32) -> None:
        rows = np.resize(block, block_of(model, backend))
        run = _compiled(model, plan._replace(past=delayed.rows(model, cohort.p, schedule.timeline, refine)), backend)
        with jax.enable_x64(dtype == np.float64), jax.default_device(device):
            p, y0 = jax.tree.map(lambda a: np.asarray(a[rows], dtype), (cohort.p, cohort.y0))
            mine = None if care is None else _of(care, rows, dtype)
            line, look, kept = constants if not each else _of_each(schedule.timeline, watch, keep, rows, dtype)
            out = run(p, y0, line, look, refine, kept, mine, written)
            take = slice(0, len(block))
            for name, values in out.endpoints.items():
                result[name][block] = np.asarray(values)[take]
            for name, values in out.saved.items():
                saved[name][:, block] = np.asarray(values)[:, take]
            for name, values in zip(ledger, out.ledger, strict=True):
                ledger[name][:, block] = np.asarray(values)[:, take]
            status[block[~np.asarray(out.finite)[take]]] = NOT_FINITE

    def launched(parts: Parts) -> None:
        size = block_of(model, backend)
        blocks = [(mine[k : k + size], steps) for steps, mine in parts for k in range(0, len(mine), size)]
        _everywhere(launch, blocks)

    return done(launched)


def _solution(
    result: dict[str, np.ndarray],
    saved: dict[str, np.ndarray],
    status: np.ndarray,
    ledger: dict[str, np.ndarray],
    bounds: np.ndarray | None,
) -> Solution:
    """With nothing but NaN for patients that have no result, and where a patient has no place."""
    bad = status != OK
    for values in (*result.values(), *saved.values(), *ledger.values()):
        values[..., bad] = np.nan
    if bounds is not None:
        order, source = shared_places(bounds)
        for values in saved.values():
            np.put_along_axis(values, order, np.take_along_axis(values, source, 0), 0)
            values[bounds < 0] = np.nan
    return Solution(result, saved, status, ledger)


def shared_places(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places by bound, and which place has each one's value: kernels write a bound once, to the last of its places."""
    order = np.argsort(bounds, axis=0, kind="stable")
    ranked = np.take_along_axis(bounds, order, 0)
    last = np.ones(bounds.shape, bool)
    last[:-1] = ranked[1:] != ranked[:-1]
    row = np.where(last, np.arange(len(bounds))[:, None], len(bounds))
    row = np.minimum.accumulate(row[::-1], axis=0)[::-1]
    return order, np.take_along_axis(order, row, 0)


def fastest(model: Model, cohort: Cohort, clinic: Clinic, care: Care) -> np.ndarray:
    """Bound of each patient's fastest rate, at both ends of what its varying parameters go through."""
    found = cohort.rate
    for end in (np.min, np.max):
        leaves = list(jax.tree.leaves(cohort.p))
        for k, leaf in enumerate(clinic.varying):
            leaves[leaf] = end(care.course[k], axis=0)
        with jax.enable_x64(True), jax.ensure_compile_time_eval():  # also where gradients are traced
            found = np.maximum(found, np.asarray(model.max_rate(struct.unflatten(model.Parameters, leaves))))
    return found


def _of_each(timeline: Timeline, watch: Watch, keep: np.ndarray, rows: np.ndarray, dtype: Any) -> Any:
    """What a block's patients have of timelines of their own."""
    look = watch._replace(inside=watch.inside[..., rows], pick=watch.pick[..., rows])
    mine = (jax.tree.map(lambda a: np.asarray(a)[..., rows], timeline), look, keep[:, rows])
    return jax.tree.map(lambda a: _as(a, dtype), mine)


def _of(care: Care, rows: np.ndarray, dtype: Any) -> Care:
    """What a block's patients have of it."""
    mine = {name: getattr(care, name)[..., rows] for name in ("factor", "taken", "course")}
    rule = jax.tree.map(lambda a: np.asarray(a)[rows] if np.ndim(a) else a, care.rule)
    return jax.tree.map(lambda a: _as(a, dtype), care._replace(**mine, rule=rule))


def _as(a: Any, dtype: Any) -> np.ndarray:
    a = np.asarray(a)
    return a.astype(dtype) if a.dtype.kind == "f" else a.astype(np.int32)


def workers() -> list[Any]:
    """The device of each launch that may run at once: the host once per core, or every accelerator once."""
    devices: list[Any] = jax.local_devices()
    if devices[0].platform != "cpu":
        return devices
    mine = getattr(os, "sched_getaffinity", None)  # a job's share of the machine, where the system says
    return devices[:1] * (len(mine(0)) if mine else os.cpu_count() or 1)


def _everywhere(launch: Callable[..., None], blocks: Sequence[tuple[Any, ...]]) -> None:
    """Launch every block: one thread per core of the host, or one per accelerator.

    On the host all threads share one device and one program. Several host devices under `shard_map` are no faster and give
    other last bits for every device count, because XLA fuses a partitioned program differently (measured).
    """
    devices = workers()
    if not blocks:
        return
    launch(devices[0], *blocks[0])  # compiles once, before the others need the program
    with ThreadPoolExecutor(len(devices), thread_name_prefix="thrombojax-block") as pool:
        free = queue.SimpleQueue[Any]()
        for device in devices:
            free.put(device)

        def next_free(block: tuple[Any, ...]) -> None:
            device = free.get()
            try:
                launch(device, *block)
            finally:
                free.put(device)

        for _ in pool.map(next_free, blocks[1:]):
            pass


@functools.lru_cache(maxsize=64)
def _compiled(model: Model, plan: Plan, backend: str) -> Any:
    """The jitted launch of one block."""

    def block(
        p: Any, y0: Any, timeline: Timeline, watch: Watch, refine: Any, keep: Any, care: Any, written: Any
    ) -> Any:
        def one(p: Any, y0: Any, own: Any, along: Any) -> Any:
            whole = None if care is None else care._replace(**own)
            line, look, kept = along or (timeline, watch, keep)
            scale = pieces.scales(model, plan.columns, p)
            out = trajectory(model, plan, p, y0, scale, line, look, refine, whole)
            saved = {name: _places(values, kept) for name, values in out.saved.items()}
            return out._replace(saved=saved, final=None, ledger=tuple(v[written] for v in out.ledger if len(written)))

        mine = ("factor", "taken", "course", *(("rule",) if plan.clinic is not None and plan.clinic.rules else ()))
        own = {} if care is None else {name: getattr(care, name) for name in mine}
        along = (timeline, watch, keep) if plan.each else ()
        if backend == "reference":
            # saved arrays carry time first and the patient last, under vmap as in a block
            last = jax.tree.map(lambda a: -1 if jnp.ndim(a) > 1 else None, along)
            last = (last[0], last[1]._replace(first=None, window=None), -1) if plan.each else ()
            out = jax.vmap(one, (0, 0, -1, last))(p, y0, own, along)
            return out._replace(
                saved={name: values.T for name, values in out.saved.items()}, ledger=tuple(v.T for v in out.ledger)
            )
        return one(p, y0, own, along)

    return jax.jit(block)


def _places(values: Any, keep: Any) -> Any:
    """Values at bounds to keep, `[bound, patient]` by `[place]`, or by `[place, patient]` of patients' own."""
    return jnp.take_along_axis(values, keep, axis=0) if keep.ndim == 2 else values[keep]


def reduction(e: Endpoint, columns: Sequence[Column]) -> Reduction:
    mine = tuple(i for i, c in enumerate(columns) if e.drug is not None and c.key[0] == e.drug)
    return Reduction(e.name, e.reducer, "" if e.drug is not None else e.observable, mine, e.relative)


def watched(endpoints: Sequence[Endpoint], schedule: Schedule) -> Watch:
    """When and how the endpoints of a timeline look; NumPy where its times are known."""
    inside, pick, first = windows(endpoints, schedule)
    shape = (len(endpoints), *np.shape(schedule.timeline.steps))
    xp = jnp if any(isinstance(a, jax.Array) for a in (*inside, *pick)) else np
    return Watch(
        xp.asarray(inside, float).reshape(shape),
        xp.asarray(pick, float).reshape(shape),
        np.asarray(first, float).reshape(len(endpoints)),
        np.asarray([(e.start, e.stop) for e in endpoints], float).reshape(len(endpoints), 2),
        tuple(_numbers(e) for e in endpoints),
    )


def _numbers(e: Endpoint) -> dict[str, np.ndarray]:
    """An endpoint's numbers, with those that it may leave out."""
    left_out = {name: DEFAULTS[name] for name in REDUCERS[e.reducer].numbers if name in DEFAULTS}
    return {k: np.asarray(v, float) for k, v in {**left_out, **e.numbers}.items() if v is not None}
