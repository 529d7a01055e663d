"""Delays: the past of a trajectory, kept as long as the longest delay, and read between steps as cubics.

A row is the state and its slope at the end of a step (and at the start of a segment, after its doses); between two rows the
state is the cubic through both, so that an error falls with the fourth power of the step. Rows lie where the timeline's steps
end, which no delay has to be a multiple of. A step into which a delay brings a kink of the past (the start, unless the patient
starts at rest) has an error of the second order, one into which it brings a jump (a dose) of the first, unless the timeline
has a bound there. Before day 0 every patient was as at its start.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing.timeline import Timeline
from thrombojax.endpoints import hermite
from thrombojax.errors import InputError, Problem
from thrombojax.models.protocol import Inputs, Model
from thrombojax.models.struct import Scalar
from thrombojax.solve import pieces
from thrombojax.solve.steppers import Exact, FixedSteps, Flat, counted, runge_kutta

NEAR = 1e-5
"""Days within which a row is where a delay ends: there the end of a step looks at the past before it, its start after it."""


class Past(NamedTuple):
    """The last rows, as a ring: row r is in place r modulo their number.

    day: `[row]`, counted from the start of the segment, because float32 loses days of the study; value, slope: per leaf
    `[row, patient]`; rows: how many were ever written; origin: day 0 of the study; first: the state until then.
    """

    day: Any
    value: Flat
    slope: Flat
    rows: Any
    origin: Any
    first: Flat


Slopes = Callable[[Scalar, Sequence[Any], Past, Any], Flat]
"""(days since the start of the segment, state, past, side) -> slopes per day; side: NEAR at the start of a step, else -NEAR."""


def begin(rows: int, first: Flat) -> Past:
    dtype = first[0].dtype
    blank = tuple(jnp.zeros((rows, *leaf.shape), dtype) for leaf in first)
    return Past(jnp.zeros(rows, dtype), blank, blank, jnp.zeros((), jnp.int32), jnp.zeros((), dtype), first)


def write(past: Past, day: Scalar, value: Flat, slope: Flat) -> Past:
    """One more row, in the place of the oldest."""
    at = past.rows % len(past.day)

    def put(kept: Flat, new: Flat) -> Flat:
        return tuple(_put(rows, row, at) for rows, row in zip(kept, new, strict=True))

    return past._replace(
        day=_put(past.day, day, at),
        value=put(past.value, value),
        slope=put(past.slope, slope),
        rows=past.rows + 1,
    )


def _put(rows: Any, row: Any, at: Any) -> Any:
    return jax.lax.dynamic_update_index_in_dim(rows, row, at, 0)


def _at(rows: Any, at: Any) -> Any:
    """Of each patient its own row, whose place is known to be one."""
    if rows.ndim == 1:
        return rows.at[at].get(mode="promise_in_bounds")
    return jnp.take_along_axis(rows, at[None], axis=0, mode="promise_in_bounds")[0]


def read(past: Past, days: Sequence[Scalar], side: Any) -> list[Flat]:
    """The state on each of `days`; not a number where it is not kept, or not written yet (a delay shorter than a step).

    side: added where the two rows about a day are looked for.
    """
    size = len(past.day)
    newest = past.rows - 1
    day = jnp.stack([day + jnp.zeros_like(past.first[0]) for day in days])
    low = jnp.zeros(day.shape, jnp.int32) + jnp.maximum(past.rows - size, 0)
    high = jnp.zeros_like(low) + newest
    oldest = _at(past.day, low % size)

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = (low + high + 1) // 2
        later = _at(past.day, middle % size) > day + side
        return jnp.where(later, low, middle), jnp.where(later, middle - 1, high)

    # The last row that is not later. A loop: unrolled, XLA searches again for every leaf that is read.
    low, _ = jax.lax.fori_loop(0, math.ceil(math.log2(size)) + 1, halve, (low, high))
    low = jnp.maximum(low, 0)
    left, right = low % size, jnp.minimum(low + 1, jnp.maximum(newest, 0)) % size
    start = _at(past.day, left)
    length = _at(past.day, right) - start
    share = jnp.where(length > 0.0, (day - start) / jnp.where(length > 0.0, length, 1.0), 0.0)
    before = day + side <= past.origin
    lost = ~before & ((day > _at(past.day, newest % size) + NEAR) | (day < oldest - NEAR))

    def leaf(k: int, value: Any, slope: Any, first: Any) -> Any:
        a, b = left[k], right[k]
        curve = hermite.cubic(length[k], _at(value, a), _at(slope, a), _at(value, b), _at(slope, b))
        return jnp.where(lost[k], jnp.nan, jnp.where(before[k], first, hermite.value(curve, share[k])))

    columns = list(zip(past.value, past.slope, past.first, strict=True))
    return [tuple(leaf(k, *column) for column in columns) for k in range(len(days))]


def inputs(model: Model, u: Inputs, p: Any, past: Past, since: Scalar, side: Any) -> Inputs:
    """What `rhs` is given, `since` days after the start of the segment; `u` itself where the model has no delays."""
    if model.delays is None:
        return u
    lags = model.delays(p)
    states = read(past, [since - lag for lag in lags.values()], side)
    return u._replace(lagged={name: pieces.state(model, y) for name, y in zip(lags, states, strict=True)})


def cross(
    stepper: FixedSteps, slopes: Slopes, past: Past, y: Flat, length: Scalar, steps: Any, exact: Exact | None
) -> tuple[Flat, Past]:
    """State at the end of a segment, and the past as the next one counts its days."""
    dtype = y[0].dtype
    h = length / jnp.maximum(steps, 1).astype(dtype)
    begin = jnp.zeros((), dtype)
    past = write(past, begin, y, slopes(begin, y, past, NEAR))

    def step(k: Any, now: tuple[Flat, Past]) -> tuple[Flat, Past]:
        y, past = now
        start, end = k.astype(dtype) * h, (k + 1).astype(dtype) * h

        def stage(t: Scalar, y: Sequence[Any]) -> Flat:
            return slopes(t, y, past, jnp.where(t > start, jnp.asarray(-NEAR, dtype), jnp.asarray(NEAR, dtype)))

        y = runge_kutta(stepper.tableau, stage, start, y, h, exact)
        return y, write(past, end, y, slopes(end, y, past, -NEAR))

    if not stepper.most:
        y, past = jax.lax.fori_loop(0, steps, step, (y, past))
    else:

        def body(now: tuple[Flat, Past], k: Any) -> tuple[tuple[Flat, Past], None]:
            return jax.lax.cond(k < steps, lambda now: step(k, now), lambda now: now, now), None

        (y, past), _ = jax.lax.scan(body, (y, past), jnp.arange(stepper.most, dtype=steps.dtype))
    return y, past._replace(day=past.day - length, origin=past.origin - length)


def rows(model: Model, p: Any, timeline: Timeline, refine: Any) -> int:
    """How many rows hold the longest delay of these patients, as a power of two; 0 where the model has no delays."""
    if model.delays is None:
        return 0
    if timeline.each:
        raise InputError(Problem("events", f"model {model.name} has delays, which need one timeline for all patients"))
    lags = np.concatenate([np.ravel(np.asarray(lag, float)) for lag in model.delays(p).values()])
    longest = float(np.max(lags, initial=0.0, where=np.isfinite(lags)))
    start = np.asarray(timeline.start, float)
    end = start + np.asarray(timeline.length, float)
    written = np.concatenate([[0], np.cumsum(counted(timeline.steps, refine) + 1)])
    since = np.maximum(np.searchsorted(start, end - longest, side="right") - 1, 0)
    most = int(np.max(written[1:] - written[since])) + 2
    return 1 << (most - 1).bit_length()
