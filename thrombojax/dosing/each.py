"""Timelines of patients' own, side by side: every patient with the events of a table, padded to one number of segments.

A segment that only fills up has length zero and no steps: it changes nothing. Saved values are kept where each patient was
observed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thrombojax.dosing.timeline import COINCIDENT, Column, Schedule, Slots, Timeline, grid, schedule
from thrombojax.models.protocol import Model


def timelines(
    model: Model,
    columns: tuple[Column, ...],
    parameters: Callable[[int], Any],
    slots: Sequence[Slots],
    days: float,
    times: Sequence[Sequence[float]],
    resets: Sequence[Sequence[float]],
    common: Sequence[float] = (),
) -> Schedule:
    """One schedule whose arrays have the patient as their last axis.

    parameters: patient -> its own as scalars (its lags and breakpoints count); times, resets: per patient, further days that
    need a bound, and days on which it goes back to its first state; common: days that endpoints of all patients need.
    """
    shared = grid(days, common)
    own = [
        schedule(model, parameters(k), columns, slot, grid(days, shared.tolist(), times[k], resets[k]))
        for k, slot in enumerate(slots)
    ]
    most = max(len(s.timeline.steps) for s in own)
    lines = [_padded(s, most, resets[k], shared) for k, s in enumerate(own)]
    stacked = Timeline(*(_stack([line[f] for line in lines]) for f in range(len(Timeline._fields))))
    return Schedule(
        stacked, tuple(map(float, shared)), columns, max(s.most_steps for s in own), any(s.infusions for s in own)
    )


def _stack(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: np.stack([part[key] for part in parts], axis=-1) for key in parts[0]}
    return np.stack(parts, axis=-1)


def _padded(given: Schedule, most: int, resets: Sequence[float], shared: np.ndarray) -> Timeline:
    line = given.timeline
    more = most - len(line.steps)

    def fill(a: Any, value: float | None = None) -> np.ndarray:
        a = np.asarray(a)
        last = np.broadcast_to(a[-1] if value is None else value, (more, *a.shape[1:]))
        return np.concatenate([a, last.astype(a.dtype)])

    start = np.asarray(line.start)
    reset = np.zeros(len(start))
    for day in resets:
        reset[np.abs(start - day) <= COINCIDENT] = 1.0
    return Timeline(
        start=fill(start, start[-1] + np.asarray(line.length)[-1]),
        length=fill(line.length, 0.0),
        dose=fill(line.dose, 0.0),
        rate=fill(line.rate, 0.0),
        phase={key: fill(value) for key, value in line.phase.items()},
        era=fill(line.era),
        steps=fill(line.steps, 0),
        position=np.asarray(line.position)[np.searchsorted(given.grid, shared - COINCIDENT)],
        reset=fill(reset, 0.0),
    )


def bounds(line: Schedule, days: Sequence[Sequence[float]]) -> np.ndarray:
    """Bounds of each patient's own days, `[place, patient]`; -1 fills up."""
    timeline = line.timeline
    found = np.full((max(map(len, days), default=0), len(days)), -1, np.int32)
    for k, mine in enumerate(days):
        if len(mine):
            at = np.append(timeline.start[0, k], timeline.start[:, k] + timeline.length[:, k])
            found[: len(mine), k] = np.searchsorted(at, np.asarray(mine) - COINCIDENT)
    return found


def values(line: Schedule, knots: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> np.ndarray:
    """A covariate that changes, in every segment of every patient (`[segment, patient]`); knots: days from which on it holds."""
    start = line.timeline.start
    found = np.empty(start.shape)
    for k, (days, held) in enumerate(zip(knots, given, strict=True)):
        place = np.searchsorted(np.asarray(days) - COINCIDENT, start[:, k], side="right") - 1
        found[:, k] = np.asarray(held)[np.maximum(place, 0)]
    return found
