"""Endpoints and trajectories as a function that JAX differentiates, forwards and backwards, on the fast path where there is one.

`jax.grad` and `jax.jvp` of anything computed from them work, also under `jax.jit`: with respect to dose amounts and times,
infusion rates, any parameter, the first state, and the numbers of a policy.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import linear_call
from jax.flatten_util import ravel_pytree

from thrombojax.codegen.adjoint import Objective
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing import policy
from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Schedule, Timeline
from thrombojax.endpoints import Endpoint
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve import adjoint, cuda, cuda_adjoint, engine, native, on_device, tangent
from thrombojax.solve.engine import Cohort
from thrombojax.solve.pieces import Clinic, Plan
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.xla import Watch

MACHINES: Mapping[str, tuple[Any, Any]] = {"native": (native, adjoint), "cuda": (cuda, cuda_adjoint)}
"""By backend: trajectories (with tangents), and their reverse."""


class Moving(NamedTuple):
    """What gradients reach. parameters, y0: `[leaf, patient]`; start, length: `[segment]`; dose, rate: `[segment, column]`;
    rule: numbers of the policy, `[number]`, or `[number, patient]` where they are patients' own."""

    parameters: Any
    y0: Any
    start: Any
    length: Any
    dose: Any
    rate: Any
    rule: Any = ()


class Fixed(NamedTuple):
    """What they do not reach: the timeline's switches and steps, the bounds whose values are kept, how endpoints look; rows of
    the cohort that are solved, None: all."""

    phase: Any
    era: Any
    steps: Any
    keep: Any
    watch: Watch
    rows: Any = None


class How(TypedDict, total=False):
    """What `solve` and `total` take besides what is asked; what each is, and what stands for one that is left out, they say."""

    precision: str
    accuracy: float
    parameters: Mapping[str, Any] | None
    y0: Any
    backend: str
    memory: int | None
    rows: Any
    clinic: Clinic | None
    care: Care | None


def solve(
    model: Model,
    cohort: Cohort,
    schedule: Schedule,
    *,
    endpoints: Sequence[Endpoint] = (),
    save: Sequence[str] = (),
    days: Sequence[float] = (),
    **how: Unpack[How],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(endpoints `[patient]`, saved `[day, patient]`) of prepared patients; differentiable in all that is traced.

    schedule: its times, amounts and rates may be traced; precision: "f64" or "f32"; accuracy: 1e-4; parameters: leaf name ->
    `[patient]`, in place of the cohort's; y0: a State of `[patient]`, in place of the cohort's (which does not follow the
    parameters). backend: `cuda`, `native`, or `auto`: GPUs where there are any. memory: bytes for the way back. rows: the
    patients of the cohort that are solved, in that order, in place of all; may be traced, so that one program serves any
    selection of one size; below 0: nobody, which costs nothing. clinic, care: visits, and doses that follow counts, as
    `engine.solve` has them; numbers of `care.rule` may be traced. Derivatives are those of the decisions as they fall: where they
    are smooth (`Policy.smooth`) that is all there is to say, the rule itself may turn.

    Steps are those of the cohort's own rates. A patient without a result is NaN and has no gradient. Raises CannotTranslate or
    NoCompiler where there is no fast path (`solve.xla.trajectory` differentiates everywhere).
    """
    ways, moving, fixed = _problem(model, cohort, schedule, endpoints, save, days, **how)
    return _differentiable(ways)(moving, fixed)


def total(
    model: Model,
    cohort: Cohort,
    schedule: Schedule,
    objective: Objective,
    weights: Any,
    *,
    save: Sequence[str] = ("platelets",),
    days: Sequence[float],
    **how: Unpack[How],
) -> Any:
    """Weighted sum over patients of a function of each one's own saved values, whose derivative takes one pass.

    objective: saved observable -> its values on `days` -> a number, of one patient; in `jnp` operations on scalars, because the
    kernel evaluates it between the way there and the way back (one function, not a new one for every call: it is compiled).
    weights: `[patient]`, not differentiated. how: as `solve`; `cuda` goes there twice. NaN where a patient has no result. Raises
    as `solve` does, CannotTranslate also for an objective that uses what generated code does not have.
    """
    ways, moving, fixed = _problem(model, cohort, schedule, (), save, days, **how)
    course = _differentiable(ways)

    def plain(moving: Moving, fixed: Fixed, weights: Any) -> Any:
        saved = course(moving, fixed)[1]
        return jnp.sum(weights * objective({name: tuple(values) for name, values in saved.items()}))

    if ways.backend == "cuda":
        return plain(moving, fixed, weights)
    sums = jax.custom_jvp(plain)

    @sums.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        moving = primals[0]
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), moving)
        asked = (ways.wrt, objective, len(fixed.keep), ways.times)
        made = adjoint.kernel(ways.model, ways.plan, ways.precision, *asked)
        once = functools.partial(ways.once, made)
        value, slope = _on_host(once, (jax.ShapeDtypeStruct((), ways.dtype), shapes), *primals)
        return value, sum(map(jnp.vdot, *map(jax.tree.leaves, (slope, tangents[0]))))

    each = jnp.broadcast_to(jnp.asarray(weights, ways.dtype), ways.patients(fixed))
    return sums(moving, fixed, jax.lax.stop_gradient(each))


def _problem(
    model: Model,
    cohort: Cohort,
    schedule: Schedule,
    endpoints: Sequence[Endpoint],
    save: Sequence[str],
    days: Sequence[float],
    *,
    precision: str = "f64",
    accuracy: float = 1e-4,
    parameters: Mapping[str, Any] | None = None,
    y0: Any = None,
    backend: str = "auto",
    memory: int | None = None,
    rows: Any = None,
    clinic: Clinic | None = None,
    care: Care | None = None,
) -> "tuple[_Ways, Moving, Fixed]":
    """What the kernels are called with, as `solve` says."""
    dtype = engine.dtype_of(precision)
    tableau = method(model)
    plan = Plan(
        schedule.columns,
        tuple(engine.reduction(e, schedule.columns) for e in endpoints),
        tuple(save),
        tuple(schedule.timeline.phase),
        schedule.infusions,
        FixedSteps(0, tableau),
        clinic,
    )
    names = struct.names(model.Parameters)
    given = {struct.resolve(k, names): v for k, v in (parameters or {}).items()}
    wrt = tuple(names.index(k) for k in given)
    rate = cohort.rate
    rule: Any = ()
    if clinic is not None and care is not None:
        _no_course(model, clinic, wrt)
        rate = engine.fastest(model, cohort, clinic, care)
        rule = jnp.stack([jnp.asarray(v, dtype) for v in policy.numbers(care.rule)])
    factor = engine.buckets(model, rate, tableau) * engine.refinement(model, schedule.columns, accuracy)
    factor = np.where(cohort.status == engine.OK, factor, 0)
    n = cohort.n if rows is None else len(rows)
    first = jax.tree.leaves(cohort.y0 if y0 is None else y0)
    if rows is not None and y0 is None:
        first = [jnp.asarray(v)[rows] for v in first]
    line = schedule.timeline
    moving = Moving(
        jnp.stack([jnp.broadcast_to(jnp.asarray(v, dtype), n) for v in given.values()])
        if given
        else np.zeros((0, n), dtype),
        jnp.stack([jnp.asarray(v, dtype) for v in first]),
        *(jnp.asarray(a, dtype) for a in (line.start, line.length, line.dose, line.rate)),
    )._replace(rule=rule)
    keep = jnp.stack([jnp.asarray(schedule.bound(day), jnp.int32) for day in days]) if days else np.zeros(0, np.int32)
    fixed = Fixed(line.phase, line.era, line.steps, keep, engine.watched(endpoints, schedule), rows)
    if clinic is not None and clinic.rules and backend == "auto":
        backend = "native"  # the kernel of GPUs reads a rule once for all patients
    times = any(isinstance(a, jax.core.Tracer) for a in (line.start, line.length))
    ways = _Ways(choose(backend, model, precision), model, plan, cohort, precision, wrt, factor, memory, care, times)
    return ways._replace(known=on_device.known(ways, fixed, schedule.most_steps, levels)), moving, fixed


def _no_course(model: Model, clinic: Clinic, wrt: Sequence[int]) -> None:
    names = struct.names(model.Parameters)
    wrong = [names[k] for k in wrt if k in clinic.varying]
    if wrong:
        raise InputError(*(Problem(f"parameter {name}", "varies in time here, and has no one value") for name in wrong))


def choose(backend: str, model: Model, precision: str) -> str:
    """`cuda` where that runs and is not ruled out, else `native`; a warning says why not what was asked for."""
    if backend not in ("auto", *MACHINES):
        raise InputError(unknown("backend", "backend", backend, ("auto", *MACHINES)))
    if model.delays is not None:
        raise CannotTranslate(Problem(f"model {model.name}", "has delays: only solve.xla.trajectory differentiates it"))
    if backend != "auto" and backend not in model.backends:
        runs = f"model {model.name} runs on {', '.join(model.backends)}, not on {backend}"
        raise InputError(Problem("backend", runs))
    if not set(MACHINES) & set(model.backends):
        raise CannotTranslate(Problem(f"model {model.name}", f"runs on {', '.join(model.backends)} alone"))
    if backend == "native" or "cuda" not in model.backends:
        return "native"
    why = cuda.unusable(model, precision)
    if why is not None and backend == "cuda":
        warnings.warn(f"backend cuda: {why}; native runs instead", RuntimeWarning, stacklevel=3)
    return "cuda" if why is None else "native"


class _Ways(NamedTuple):
    """What the kernels of one problem are called with besides arrays."""

    backend: str
    model: Model
    plan: Plan
    cohort: Cohort
    precision: str
    wrt: tuple[int, ...]
    factor: np.ndarray
    memory: int | None
    care: Care | None
    times: bool
    """Whether times may move: what nobody traces, nobody differentiates."""
    known: on_device.Known | None = None
    """Where JAX's own program can launch the kernels."""

    @property
    def dtype(self) -> Any:
        return engine.dtype_of(self.precision)

    @property
    def machine(self) -> Any:
        return MACHINES[self.backend][0]

    def problem(self, moving: Moving, fixed: Fixed) -> tuple[Any, Any, Timeline, Watch]:
        """Arguments of the kernels, on the host: p, y0, timeline, watch."""
        moving, fixed = jax.tree.map(np.asarray, (moving, fixed))
        leaves = jax.tree.leaves(self.cohort.p)
        if fixed.rows is not None:
            leaves = [np.asarray(leaf)[fixed.rows] for leaf in leaves]
        for k, values in zip(self.wrt, moving.parameters, strict=True):
            leaves[k] = np.asarray(values, float)
        p: Any = struct.unflatten(self.model.Parameters, leaves)
        y0: Any = struct.unflatten(self.model.State, list(np.asarray(moving.y0, float)))
        nowhere = np.zeros(0, np.int32)
        line = Timeline(
            moving.start, moving.length, moving.dose, moving.rate, fixed.phase, fixed.era, fixed.steps, nowhere
        )
        return p, y0, line, fixed.watch

    def attended(self, moving: Moving, fixed: Fixed) -> Care | None:
        """The care of those who are solved, with the numbers of the policy as they are."""
        if self.care is None:
            return None
        rows = slice(None) if fixed.rows is None else np.asarray(fixed.rows)
        own = {name: np.asarray(getattr(self.care, name))[..., rows] for name in ("factor", "taken", "course")}
        rule = jax.tree.unflatten(jax.tree.structure(self.care.rule), list(np.asarray(moving.rule, float)))
        return self.care._replace(rule=rule, **own)

    def factors(self, rows: Any) -> np.ndarray:
        """On the steps, of each patient that is solved; 0: no result."""
        if rows is None:
            return self.factor
        rows = np.asarray(rows)
        return np.where(rows >= 0, self.factor[rows], 0.0)

    def patients(self, fixed: Fixed) -> int:
        return len(self.factor) if fixed.rows is None else len(fixed.rows)

    def shapes(self, fixed: Fixed) -> tuple[dict[str, Any], dict[str, Any]]:
        n, days = self.patients(fixed), len(fixed.keep)
        one = {r.name: jax.ShapeDtypeStruct((n,), self.dtype) for r in self.plan.reductions}
        return one, {name: jax.ShapeDtypeStruct((days, n), self.dtype) for name in self.plan.save}

    def forward(self, moving: Moving, fixed: Fixed) -> Any:
        made = self.machine.kernel(self.model, self.plan, self.precision)
        p, y0, line, watch = self.problem(moving, fixed)
        care = self.attended(moving, fixed)
        ends, saved = jax.tree.map(lambda s: np.full(s.shape, np.nan, s.dtype), self.shapes(fixed))
        for level, rows in levels(self.factors(fixed.rows)):
            given = (p, y0, line, watch, level, np.asarray(fixed.keep), rows)
            finite = self.machine.run(made, self.plan, *given, ends, saved, care)
            for values in (*ends.values(), *saved.values()):
                values[..., rows[~finite]] = np.nan
        return ends, saved

    def push(self, moving: Moving, fixed: Fixed, tangents: Moving) -> Any:
        made = tangent.kernel(self.machine, self.model, self.plan, self.precision, self.wrt)
        p, y0, line, watch = self.problem(moving, fixed)
        tangents, care = jax.tree.map(np.asarray, tangents), self.attended(moving, fixed)
        ends, saved = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), self.shapes(fixed))
        for level, rows in levels(self.factors(fixed.rows)):
            given = (p, y0, line, watch, level, np.asarray(fixed.keep), rows, self.wrt, tangents)
            tangent.run(self.machine, made, self.plan, *given, ends, saved, care)
        return ends, saved

    def pull(self, moving: Moving, fixed: Fixed, cotangents: Any) -> Moving:
        back = MACHINES[self.backend][1]
        made = back.kernel(self.model, self.plan, self.precision, self.wrt, times=self.times)
        ends, saved = jax.tree.map(np.asarray, cotangents)
        p, y0, line, watch = self.problem(moving, fixed)
        keep = np.asarray(fixed.keep)
        saved = {name: _gathered(values, keep, len(line.steps)) for name, values in saved.items()}
        given = (p, y0, line, watch, self.factors(fixed.rows), keep, self.wrt, ends, saved, self.memory)
        return self.asked(back.run(made, self.plan, *given, care=self.attended(moving, fixed)), moving)

    def once(self, made: native.Kernel, moving: Moving, fixed: Fixed, weights: Any) -> tuple[np.ndarray, Moving]:
        """The weighted sum of a kernel's own objective, and all that it asks, in one pass."""
        p, y0, line, watch = self.problem(moving, fixed)
        keep, factor = np.asarray(fixed.keep), self.factors(fixed.rows)
        value = np.full(len(factor), np.nan, self.dtype)
        own = adjoint.Own(native.places(keep, len(line.steps))[keep], np.asarray(weights), value)
        given: Any = (
            p,
            y0,
            line,
            watch,
            factor,
            keep,
            self.wrt,
            {},
            {},
            self.memory,
            own,
            self.attended(moving, fixed),
        )
        found = self.asked(adjoint.run(made, self.plan, *given), moving)
        return np.sum(np.asarray(weights) * value, dtype=self.dtype), found

    def asked(self, found: adjoint.Cotangents, moving: Moving) -> Moving:
        rows = np.stack(found.parameters) if found.parameters else np.zeros((0, np.shape(found.y0)[1]))
        rule = np.asarray(found.rule, self.dtype)
        if self.care is not None and np.ndim(moving.rule) == 1:  # one rule for all
            rule = rule.sum(axis=1, dtype=float)
        asked = (rows, np.stack(found.y0), found.start, found.length, found.dose, found.rate)
        made = Moving(*(np.asarray(a, self.dtype) for a in asked))
        return made if self.care is None else made._replace(rule=np.asarray(rule, self.dtype))


def levels(factor: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Each factor on the steps, and the patients who have it."""
    return [(float(level), np.flatnonzero(factor == level)) for level in np.unique(factor[factor > 0])]


def _gathered(values: np.ndarray, keep: np.ndarray, segments: int) -> np.ndarray:
    """Cotangents of days `[day, patient]` where kernels look for them: with the last of the days that share a bound."""
    found = np.zeros_like(values)
    np.add.at(found, native.places(keep, segments)[keep], values)
    return found


def _on_host(function: Callable[..., Any], shapes: Any, *args: Any) -> Any:
    return jax.pure_callback(function, shapes, *args, vmap_method="sequential")


def _run(ways: _Ways, what: str, shapes: Any, *args: Any) -> Any:
    """`forward`, `push` or `pull`: on JAX's own GPU where the program runs there, else from the host."""
    host = functools.partial(_on_host, getattr(ways, what), shapes)
    if ways.known is None:
        return host(*args)
    device = functools.partial(getattr(on_device, what), ways)
    return jax.lax.platform_dependent(*args, default=host, **dict.fromkeys(on_device.platforms(), device))


def _differentiable(ways: _Ways) -> Callable[[Moving, Fixed], Any]:
    """The trajectory with its derivatives in both directions: a tangent is a linear call, which knows its transpose."""

    @jax.custom_jvp
    def course(moving: Moving, fixed: Fixed) -> Any:
        return _run(ways, "forward", ways.shapes(fixed), moving, fixed)

    @course.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        moving, fixed = primals
        # One vector of tangents: a linear call wants all of its arguments to move, and a rate that nobody asks for does not.
        flat, unravel = ravel_pytree(tangents[0])

        def push(given: Any, tangent: Any) -> Any:
            return _run(ways, "push", ways.shapes(fixed), *given, unravel(tangent))

        def pull(given: Any, cotangent: Any) -> Any:
            shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), given[0])
            return ravel_pytree(_run(ways, "pull", shapes, *given, cotangent))[0]

        return course(moving, fixed), linear_call(push, pull, (moving, fixed), flat)

    return course
