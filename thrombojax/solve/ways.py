"""The kernels of one problem as functions of what moves: values, tangents and cotangents, by the host or on JAX's own GPU."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.custom_derivatives import linear_call
from jax.flatten_util import ravel_pytree

from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Timeline
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve import adjoint, cuda, cuda_adjoint, engine, native, on_device, tangent
from thrombojax.solve.engine import Cohort
from thrombojax.solve.pieces import Plan
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


class Ways(NamedTuple):
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


def on_host(function: Callable[..., Any], shapes: Any, *args: Any) -> Any:
    return jax.pure_callback(function, shapes, *args, vmap_method="sequential")


def _run(ways: Ways, what: str, shapes: Any, *args: Any) -> Any:
    """`forward`, `push` or `pull`: on JAX's own GPU where the program runs there, else from the host."""
    host = functools.partial(on_host, getattr(ways, what), shapes)
    if ways.known is None:
        return host(*args)
    device = functools.partial(getattr(on_device, what), ways)
    return jax.lax.platform_dependent(*args, default=host, **dict.fromkeys(on_device.platforms(), device))


def differentiable(ways: Ways) -> Callable[[Moving, Fixed], Any]:
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
