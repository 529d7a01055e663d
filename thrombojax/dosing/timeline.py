"""The segmented timeline: bounds at every event, so that gradients reach dose amounts and dose times.

What happens at a bound, in this order: values are saved and observed (the left limit: a trough is pre-dose), then the
policy decides, then doses arrive. Events that coincide (within 1e-9 day) share one bound; doses that coincide add up. A
dose at the horizon arrives after the last observation and has no effect.

With known times the arrays are NumPy and hold only segments of positive length. With traced times (gradients, vmap) the same
arithmetic runs in JAX: the sort carries the payload with it, and coincident events leave segments of length zero.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.models.protocol import Breakpoints, Key, Model

COINCIDENT = 1e-9
"""Days within which known times are one bound."""
GRID = 1.0
"""Coarsest distance of bounds in days: endpoints interpolate between bounds."""


class Column(NamedTuple):
    """One kind of administration in a timeline's payload; `per_kg` amounts are multiplied by the patient's weight.

    by: who says how much: the regimen (""), the titrated "policy", or "rescue"; then the payload holds places in a period.
    """

    key: Key
    per_kg: bool
    by: str = ""


class Slots(NamedTuple):
    """Planned administrations of one arm. time, amount, duration (days; 0 = bolus): `[slot]`, NumPy or traced.

    column: static, index into the columns of each slot; infused: static, which slots are infusions.
    """

    time: Any
    amount: Any
    duration: Any
    column: tuple[int, ...]
    infused: tuple[bool, ...]


class Timeline(NamedTuple):
    """What the kernel walks. start, length (days), era: `[segment]`; dose, rate (per day): `[segment, column]`;

    phase: (drug, route) -> `[segment]`; steps: `[segment]` at accuracy 1e-4; position: `[grid]`, bound of each grid time
    (bound b is the end of segment b - 1; bound 0 is the start).

    Timelines of patients' own have the patient as last axis of every array, and `reset`: 1 where a patient goes back to its
    first state.
    """

    start: Any
    length: Any
    dose: Any
    rate: Any
    phase: Mapping[Key, Any]
    era: Any
    steps: Any
    position: Any
    reset: Any = ()

    @property
    def each(self) -> bool:
        """Whether it is of patients' own."""
        return bool(np.ndim(self.length) > 1)


class Schedule(NamedTuple):
    """A timeline with its static parts: grid times (days), columns, and the most steps that a segment can take."""

    timeline: Timeline
    grid: tuple[float, ...]
    columns: tuple[Column, ...]
    most_steps: int
    infusions: bool

    def bound(self, day: float) -> Any:
        """The bound of the grid time nearest to `day`."""
        return self.timeline.position[int(np.argmin(np.abs(np.asarray(self.grid) - day)))]


def grid(days: float, *times: Sequence[float], spacing: float = GRID) -> np.ndarray:
    """Sorted union of the given times within [0, days], both ends, and a grid of that spacing."""
    regular = np.arange(0, math.ceil(days / spacing)) * spacing
    every = np.concatenate([regular, [0.0, days], *[np.asarray(t, float) for t in times]])
    every = np.unique(every[(every >= 0) & (every <= days)])
    return every[np.concatenate([[True], np.diff(every) > COINCIDENT])]


def event_times(model: Model, p: Any, slots: Slots, columns: Sequence[Column]) -> Any:
    """All bounds that one arm's doses add (arrivals, infusion ends, breakpoints, short-step windows), unsorted."""
    return _xp(slots, p).concatenate(
        [np.zeros(0), *(e.time for e in _events(model, p, slots, columns, model.breakpoints(p)))]
    )


class _Events(NamedTuple):
    what: tuple[Any, ...]
    time: Any
    slots: np.ndarray


def _xp(*trees: Any) -> Any:
    return jnp if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees)) else np


def _events(model: Model, p: Any, slots: Slots, columns: Sequence[Column], points: Breakpoints) -> list[_Events]:
    column = np.asarray(slots.column, int)
    infused = np.asarray(slots.infused, bool)
    found: list[_Events] = []
    for c, (key, *_) in enumerate(columns):
        mine = np.flatnonzero(column == c)
        if not mine.size:
            continue
        entry = model.entries[key]
        given = slots.time[mine]
        arrival = given + entry.lag(p) if entry.lag is not None else given
        found.append(_Events(("arrive", c), arrival, mine))
        ends = mine[infused[mine]]
        if ends.size:
            found.append(_Events(("end", c), arrival[infused[mine]] + slots.duration[ends], ends))
        if key in points.after_dose:
            found.append(_Events(("dose", key), given, mine))
            found += [_Events(("break", key, k), given + after, mine) for k, after in enumerate(points.after_dose[key])]
        found += [_Events(("refine", c, k), arrival + until, mine) for k, (until, _) in enumerate(entry.refine)]
    return found


def schedule(model: Model, p: Any, columns: tuple[Column, ...], slots: Slots, fixed: np.ndarray) -> Schedule:
    """The timeline of one arm: `fixed` grid times (from `grid`, ending at the horizon) and the arm's events.

    p: parameters whose lag and breakpoints hold for all patients (scalars).
    """
    points = model.breakpoints(p)
    events = _events(model, p, slots, columns, points)
    xp = _xp(slots, p)
    horizon = float(fixed[-1])
    eras = [xp.asarray(at, float).reshape(1) for at in points.at]
    times = xp.concatenate([xp.asarray(fixed), *eras, *(e.time for e in events)])
    times = xp.minimum(times, horizon)
    # Fixed times come first, so that a stable sort puts observation before the doses of the same instant.
    order = xp.argsort(times, stable=True) if xp is np else jnp.argsort(jax.lax.stop_gradient(times), stable=True)
    bounds = times[order]
    if xp is np:
        group = np.concatenate([[0], np.cumsum(np.diff(bounds) > COINCIDENT)])
        bounds = bounds[np.concatenate([[True], np.diff(group) > 0])]
        rank: Any = np.empty(len(order), int)
        rank[order] = group
    else:
        rank = jnp.zeros(len(order), int).at[order].set(jnp.arange(len(order)))
    segments = len(bounds) - 1
    ranks, at = [], len(fixed) + len(eras)
    for e in events:
        ranks.append(rank[at : at + len(e.slots)])
        at += len(e.slots)
    where: dict[tuple[Any, ...], Any] = {}
    for e, r in zip(events, ranks, strict=True):  # a drug given in two units is two columns, but one drug to its phases
        where[e.what] = xp.concatenate([where[e.what], r]) if e.what in where else r
    marks = _Marks(xp, segments, where)
    length = bounds[1:] - bounds[:-1]
    density, most = _density(model, columns, marks, xp, segments)
    # At least one step: crossing a segment of length zero changes nothing, but carries the gradient to its two ends.
    steps = xp.maximum(xp.ceil(length * density - 1e-6), 1.0).astype(np.int32)
    dose, rate = _payload(columns, slots, events, ranks, marks, segments, xp)
    timeline = Timeline(
        start=bounds[:-1],
        length=length,
        dose=dose,
        rate=rate,
        phase={key: marks.passed(("dose", key), [("break", key, k) for k in range(len(after))])
               for key, after in points.after_dose.items()},
        era=_count((xp.arange(segments) >= rank[len(fixed) + k] for k in range(len(eras))), segments, xp),
        steps=steps,
        position=rank[: len(fixed)],
    )  # fmt: skip
    return Schedule(
        timeline, tuple(map(float, fixed)), columns, most if xp is jnp else int(steps.max()), any(slots.infused)
    )


class _Marks:
    """Which dose was last, and what has passed since, at every segment."""

    def __init__(self, xp: Any, segments: int, where: Mapping[tuple[Any, ...], Any]):
        self.xp, self.segments, self.where = xp, segments, where

    def latest(self, at: Any, value: Any) -> Any:
        """For every segment the largest `value` among the events at bounds up to its start (-1: none)."""
        if self.xp is np:
            mark: Any = np.full(self.segments + 1, -1)
            np.maximum.at(mark, at, value)
            return np.maximum.accumulate(mark)[:-1]
        mark = jnp.full(self.segments + 1, -1).at[at].max(value)
        return jax.lax.cummax(mark)[:-1]

    def passed(self, dose: tuple[Any, ...], after: Sequence[tuple[Any, ...]]) -> Any:
        """How many of the events that follow the last dose have passed (all of them before the first dose)."""
        if dose not in self.where:
            return self.xp.full(self.segments, float(len(after)))
        owner = self.where[dose]
        last = self.latest(owner, owner)
        return _count((self.latest(self.where[name], owner) >= last for name in after), self.segments, self.xp)


def _count(conditions: Iterable[Any], segments: int, xp: Any) -> Any:
    """How many of the conditions hold in each segment, as a float."""
    return sum((xp.where(c, 1.0, 0.0) for c in conditions), xp.zeros(segments))


def _density(model: Model, columns: Sequence[Column], marks: _Marks, xp: Any, segments: int) -> tuple[Any, int]:
    """Steps per day of every segment at accuracy 1e-4, and the most steps a segment can take."""
    worth = 2.0 if model.classical else 1.0
    density = xp.full(segments, worth * model.steps_per_day)
    most = math.ceil(GRID * worth * model.steps_per_day)
    for c, (key, *_) in enumerate(columns):
        refine = model.entries[key].refine
        if not refine or ("arrive", c) not in marks.where:
            continue
        names = [("refine", c, k) for k in range(len(refine))]
        gone = marks.passed(("arrive", c), names)
        begin = 0.0
        for k, (until, per_day) in enumerate(refine):
            density = xp.where(gone == k, xp.maximum(density, worth * per_day), density)
            most = max(most, math.ceil(min(until - begin, GRID) * worth * per_day - 1e-6))
            begin = until
    return density, most


def _payload(columns: Sequence[Column], slots: Slots, events: Sequence[_Events], ranks: Sequence[Any], marks: _Marks,
             segments: int, xp: Any) -> tuple[Any, Any]:  # fmt: skip
    """Boluses that arrive at the start of each segment, and infusion rates (per day) during it."""
    float_ = xp.result_type(slots.amount, float) if xp is jnp else float
    dose = xp.zeros((segments + 1, len(columns)), float_)
    rate = xp.zeros((segments, len(columns)), float_)
    segment = np.arange(segments)[None]
    ends = {e.what[1]: (e.slots, r) for e, r in zip(events, ranks, strict=True) if e.what[0] == "end"}
    for e, r in zip(events, ranks, strict=True):
        if e.what[0] != "arrive":
            continue
        c = e.what[1]
        infused = np.asarray(slots.infused, bool)[e.slots]
        bolus = np.flatnonzero(~infused)
        if xp is np:
            np.add.at(dose, (r[bolus], c), slots.amount[e.slots[bolus]])
        else:
            dose = dose.at[r[bolus], c].add(slots.amount[e.slots[bolus]])
        if c in ends:
            mine, stop = ends[c]
            start = r[np.flatnonzero(infused)]
            running = (start[:, None] <= segment) & (segment < stop[:, None])
            total = (xp.where(running, 1.0, 0.0) * (slots.amount[mine] / slots.duration[mine])[:, None]).sum(0)
            rate = xp.concatenate([rate[:, :c], total[:, None], rate[:, c + 1 :]], axis=1)
    return dose[:-1], rate
