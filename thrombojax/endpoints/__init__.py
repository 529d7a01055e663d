"""Endpoints: what to reduce a trajectory to, and when it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thrombojax.dosing.timeline import Schedule
from thrombojax.endpoints.reducers import REDUCERS

__all__ = ["REDUCERS", "Endpoint", "looks", "times", "windows"]


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: `reducer` over `observable` from day `start` to day `stop`; numbers: the reducer's own (threshold ...).

    drug: for cumulative_dose; visits: days at which a visit reducer looks; relative: "" (values as they are), "ratio" or
    "change" against the patient's own value before any dose, as the clinic saw it where it looks.
    """

    name: str
    reducer: str
    observable: str = "platelets"
    start: float = 0.0
    stop: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)
    drug: str | None = None
    visits: tuple[float, ...] = ()
    relative: str = ""

    def __hash__(self) -> int:
        return hash((self.name, self.reducer, self.observable, self.drug, self.relative))


def times(endpoints: Sequence[Endpoint]) -> list[float]:
    """Days at which the timeline must have a bound for these endpoints."""
    return sorted({day for e in endpoints for day in (e.start, e.stop, *e.visits)})


def looks(endpoints: Sequence[Endpoint]) -> tuple[float, ...]:
    """Days at which endpoints of visits look: day 0 too, where they compare with it."""
    found = {day for e in endpoints for day in e.visits}
    return tuple(sorted(found | {0.0 for e in endpoints if e.visits and e.relative}))


def windows(endpoints: Sequence[Endpoint], schedule: Schedule) -> tuple[Any, Any, Any]:
    """inside and pick `[endpoint, segment]`, and pick at day 0 `[endpoint]`, as 0/1 for a schedule's segments."""
    segments = np.arange(len(schedule.timeline.steps))
    if schedule.timeline.each:
        segments = segments[:, None]
    bound = {day: schedule.bound(day) for day in times(endpoints)}
    inside = [(segments >= bound[e.start]) & (segments < bound[e.stop]) for e in endpoints]
    pick = [
        sum(
            ((segments + 1 == bound[day]) for day in e.visits if day > 0),
            np.zeros(np.shape(schedule.timeline.steps), bool),
        )
        for e in endpoints
    ]
    first = [any(day == 0 for day in e.visits) for e in endpoints]
    return inside, pick, first
