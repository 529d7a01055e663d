"""Endpoints and trajectories as a function that JAX differentiates, forwards and backwards, on the fast path where there is one.

`jax.grad` and `jax.jvp` of anything computed from them work, also under `jax.jit`: with respect to dose amounts and times,
infusion rates, any parameter, the first state, and the numbers of a policy.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.codegen.adjoint import Objective
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing import policy
from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Schedule
from thrombojax.endpoints import Endpoint
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve import adjoint, cuda, engine, on_device
from thrombojax.solve.engine import Cohort
from thrombojax.solve.pieces import Clinic, Plan
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.ways import MACHINES, Fixed, Moving, Ways, differentiable, levels, on_host


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
    return differentiable(ways)(moving, fixed)


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
    course = differentiable(ways)

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
        value, slope = on_host(once, (jax.ShapeDtypeStruct((), ways.dtype), shapes), *primals)
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
) -> "tuple[Ways, Moving, Fixed]":
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
    ways = Ways(choose(backend, model, precision), model, plan, cohort, precision, wrt, factor, memory, care, times)
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
