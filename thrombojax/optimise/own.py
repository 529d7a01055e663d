"""Doses of patients' own: the same days for all, amounts as parameters of each patient, so that one kernel call has them all.

An amount that is decided becomes a leaf of the parameters, and the way in which it enters the state is multiplied by it:
gradients reach it patient by patient through the same adjoint as any other parameter.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thrombojax.dosing.administer import columns
from thrombojax.dosing.regimen import Dose, Regimen
from thrombojax.dosing.timeline import Column, Schedule, Slots, grid, schedule
from thrombojax.endpoints import REDUCERS, Endpoint, times
from thrombojax.endpoints.reducers import SAME
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.optimise import smooth
from thrombojax.optimise.problem import Course, factors
from thrombojax.patients.population import shared
from thrombojax.solve import engine, gradient
from thrombojax.solve.engine import OK, Cohort
from thrombojax.solve.steppers import method
from thrombojax.solve.ways import MACHINES

OWN = "decided"
"""The part of the parameters that holds what is decided."""


@dataclass(frozen=True, eq=False)
class Own:
    """A course on rows of patients. model: that of `cohort` with a leaf a decision; factor: what visits see over the truth, by
    day, `[row]`."""

    model: Model
    cohort: Cohort
    course: Course
    line: Schedule
    endpoints: tuple[Endpoint, ...]
    days: float
    smoothing: float
    precision: str
    accuracy: float
    backend: str
    factor: Mapping[float, np.ndarray]

    @property
    def leaves(self) -> tuple[str, ...]:
        return tuple(f"{OWN}.{name}" for name in _names(self.course.decisions.k))

    def smooth(self, x: Any, rows: Any = None) -> dict[str, Any]:
        """x `[k, row]` -> smooth endpoints by name, `[row]`; differentiable. rows: of the cohort, in place of all; may be traced;
        below 0: nobody, NaN."""
        days = smooth.keep(self.endpoints, self.days)
        save = smooth.observables(self.endpoints)
        _, saved = gradient.solve(
            self.model, self.cohort, self.line, save=save, days=days.tolist(), precision=self.precision,
            accuracy=self.accuracy, parameters=dict(zip(self.leaves, x, strict=True)), backend=_fast(self.backend), rows=rows,
        )  # fmt: skip
        of, x, mine = self.course, jnp.asarray(x), slice(None) if rows is None else rows
        amounts = of.amount0[:, None] + of.amount @ x
        top = np.maximum(of.amount0, of.amount @ of.decisions.high)

        def dose(e: Endpoint) -> Any:
            return jnp.sum(amounts[self.slots(e)] * jnp.asarray(self.per_amount(e))[:, mine], axis=0)

        def boluses(e: Endpoint) -> Any:
            return amounts[self.slots(e)] / top[self.slots(e), None]

        saved = {name: v.astype(amounts.dtype) for name, v in saved.items()}
        factor = {day: jnp.asarray(f)[mine] for day, f in self.factor.items()}
        seen = smooth.Seen(days, saved, dose, factor, self.smoothing, boluses)
        return {e.name: smooth.value(e, seen) for e in self.endpoints}

    def exact(
        self, x: np.ndarray, days: Sequence[float] = (), rows: np.ndarray | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """x `[k, row]` -> endpoints by name `[row]`, counted; and platelets on the days, `[day, row]`. NaN without a result.
        rows: as `smooth` has them."""
        changed = dict(zip(self.leaves, np.asarray(x, float), strict=True))
        people = self.cohort if rows is None else _picked(self.cohort, rows)
        cohort = replace(people, p=struct.replace(people.p, changed))
        seen = [e for e in self.endpoints if REDUCERS[e.reducer].kind != "dose"]
        out = engine.solve(
            self.model, cohort, self.line, endpoints=seen, save=("platelets",) if len(days) else (), days=days,
            precision=self.precision, accuracy=self.accuracy, backend=self.backend,
        )  # fmt: skip
        count = out.saved.get("platelets", np.zeros((0, cohort.n)))
        amounts = self.course.amount0[:, None] + self.course.amount @ x
        found = {name: np.asarray(v, float) for name, v in out.endpoints.items()}
        found |= {e.name: self._given(e, amounts[self.slots(e)], rows) for e in self.endpoints if e not in seen}
        return {e.name: found[e.name] for e in self.endpoints}, np.asarray(count, float)

    def _given(self, e: Endpoint, amounts: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """Endpoints of doses, `[row]`: kernels see amounts of 1."""
        if e.reducer == "cumulative_dose":
            return np.asarray(np.sum(amounts * self.per_amount(e)[:, slice(None) if rows is None else rows], axis=0))
        times, last = np.zeros(amounts.shape[1]), np.zeros(amounts.shape[1])
        for now in amounts:
            other = np.abs(now - last) > SAME * last
            times += (now > 0.0) & (other & (last > 0.0) if e.reducer == "dose_changes" else True)
            last = np.where(now > 0.0, now, last)
        return times

    def slots(self, e: Endpoint) -> np.ndarray:
        """The course's administrations of an endpoint's drug in its window, in order."""
        of = self.course
        order = np.argsort(of.time0, kind="stable")
        return np.array([i for i in order if of.who[i][0] == e.drug and e.start <= of.time0[i] < e.stop], int)

    def per_amount(self, e: Endpoint) -> np.ndarray:
        """From those amounts to the model's units, `[slot, row]`."""
        of, at = self.course, self.slots(e)
        weight = np.asarray(struct.as_dict(self.cohort.p).get(self.model.weight, 1.0)) * np.ones(self.cohort.n)
        per_kg = np.array([of.who[i][2].endswith("/kg") for i in at], bool)
        return np.asarray(factors(self.model, of)[at, None] * np.where(per_kg[:, None], weight, 1.0))


def own(
    model: Model, cohort: Cohort, course: Course, days: float, endpoints: tuple[Endpoint, ...], *, save: Sequence[float] = (),
    smoothing: float = 0.1, precision: str = "f64", accuracy: float = 1e-4, backend: str = "auto",
    factor: Mapping[float, np.ndarray] = MappingProxyType({}),
) -> Own:  # fmt: skip
    """Patients (rows of a cohort) whose amounts of a course are their own; its days are the course's."""
    made, line = _own_model(model, course), _line(model, cohort, course, days, endpoints, save)
    start = course.decisions.start[:, None] * np.ones(cohort.n)
    leaves = [*jax.tree.leaves(cohort.p), *start]
    p: Any = struct.unflatten(made.Parameters, leaves)
    rate = np.where(cohort.status == OK, cohort.rate, 0.0)
    status = np.where(engine.buckets(made, rate, method(made)) > 0, cohort.status, engine.TOO_STIFF).astype(np.uint8)
    people = Cohort(p, cohort.y0, cohort.rate, status)
    return Own(made, people, course, line, endpoints, days, smoothing, precision, accuracy, backend, factor)


def _picked(cohort: Cohort, rows: np.ndarray) -> Cohort:
    """Some rows of a cohort; below 0: one that is not solved."""
    p, y0 = jax.tree.map(lambda a: np.asarray(a)[rows], (cohort.p, cohort.y0))
    status = np.where(rows >= 0, cohort.status[rows], engine.NO_BASELINE).astype(np.uint8)
    return Cohort(p, y0, cohort.rate[rows], status)


@functools.lru_cache(maxsize=16)
def seeing(model: Model) -> Model:
    """The model with its states among what is observed, for those who want to go on from where a course ended."""
    seen = {f"state_{k}": leaf.quantity for k, leaf in enumerate(struct.fields(model.State))}
    more = {name: Annotated[Array, q] for name, q in seen.items()}
    Obs: Any = _struct("Obs", _hints(model.Obs) | more)

    def observe(y: Any, p: Any) -> Any:
        return Obs(*model.observe(y, p), *jax.tree.leaves(y))

    return replace(model, Obs=Obs, observe=observe)


def states(model: Model) -> tuple[str, ...]:
    """What `seeing` calls the states."""
    return tuple(f"state_{k}" for k in range(len(struct.names(model.State))))


def _hints(of: type) -> dict[str, Any]:
    return get_type_hints(of, include_extras=True)


def _struct(name: str, hints: dict[str, Any]) -> Any:
    return NamedTuple(name, list(hints.items()))


def _names(k: int) -> tuple[str, ...]:
    return tuple(f"dose_{j + 1}" for j in range(k))


@functools.lru_cache(maxsize=16)
def _own_model(model: Model, course: Course) -> Model:
    """With a leaf a decision, and an entry that is multiplied by it."""
    names = _names(course.decisions.k)
    leaf = Annotated[Array, struct.quantity("1", "amount that is decided")]
    Amounts = _struct("Amounts", dict.fromkeys(names, leaf))
    Parameters = _struct("Parameters", _hints(model.Parameters) | {OWN: Amounts})

    def times(fraction: Any, name: str) -> Any:
        return lambda p: fraction(p) * getattr(getattr(p, OWN), name)

    entries = dict(model.entries)
    for name, (drug, route, _) in zip(names, _decided(course), strict=True):
        old = model.entries[drug, route]
        into, shares = ({to: times(f, name) for to, f in part.items()} for part in (old.into, old.shares))
        entries[drug, f"{route} {name}"] = replace(old, into=into, shares=shares, refine=())
    return replace(
        model,
        Parameters=Parameters,
        entries=entries,
        defaults=Parameters(*model.defaults, Amounts(*(0.0 for _ in names))),
    )


def _decided(course: Course) -> list[tuple[str, str, str]]:
    """Drug, route and unit of each decision."""
    return [course.who[int(np.flatnonzero(column)[0])][:3] for column in course.amount.T]


def _line(
    model: Model, cohort: Cohort, course: Course, days: float, endpoints: tuple[Endpoint, ...], save: Sequence[float]
) -> Schedule:
    """Bounds, steps and phases as the drugs have them; what arrives, decision by decision, in columns of their own."""
    fixed = grid(days, smooth.keep(endpoints, days).tolist(), times(endpoints), save)
    kinds = dict.fromkeys(who[:3] for who in course.who)
    cols = columns(model, [Regimen(tuple(Dose(d, 1.0, unit, route, (0.0,)) for d, route, unit in kinds))])
    at = {(c.key, c.per_kg): k for k, c in enumerate(cols)}
    column = tuple(at[(drug, route), unit.endswith("/kg")] for drug, route, unit, _ in course.who)
    duration = np.array([length for *_, length in course.who])
    p, factor = shared(model, cohort), factors(model, course)

    def of(amount: np.ndarray) -> Schedule:
        slots = Slots(course.time0, amount * factor, duration, column, tuple(bool(d > 0) for d in duration))
        return schedule(model, p, cols, slots, fixed)

    base, each = of(course.amount0), [of(amount).timeline for amount in course.amount.T]
    decided = _decided(course)
    place = [at[(drug, route), unit.endswith("/kg")] for drug, route, unit in decided]
    more = tuple(
        Column((drug, f"{route} {name}"), unit.endswith("/kg"))
        for name, (drug, route, unit) in zip(_names(len(decided)), decided, strict=True)
    )

    def wide(name: str) -> np.ndarray:
        own = [getattr(line, name)[:, k : k + 1] for line, k in zip(each, place, strict=True)]
        return np.concatenate([getattr(base.timeline, name), *own], axis=1)

    return base._replace(
        timeline=base.timeline._replace(dose=wide("dose"), rate=wide("rate")), columns=(*base.columns, *more)
    )


def _fast(backend: str) -> str:
    return backend if backend in ("auto", *MACHINES) else "auto"
