"""What differs between patients in the course of time: visits and what they see, doses taken or missed, what wanders.

Everything random is drawn by (seed, variable, patient number), so that the same patient has the same measurement errors, missed
visits and fluctuations in every arm, chunk and order: arms differ by treatment alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from thrombojax.dosing.policy import Policy, Rule, padded
from thrombojax.dosing.timeline import Schedule
from thrombojax.patients.draw import normal, uniform


class Care(NamedTuple):
    """Traced part of a plan with a clinic.

    visit, acts: `[bound]`, which visit a bound is, and which row of the ledger it writes when the policy decides there (-1:
    none); slot, knot: `[segment]`, which administration is at its start (-1: none), and which values of the varying
    parameters hold; rule: numbers of the policy, each `[patient]` where they are patients' own;
    factor: `[visit, patient]`, measured over true count (0: missed);
    taken: `[slot, column, patient]`, factors on amounts; course: `[leaf, knot, patient]`, values of the varying parameters.
    """

    visit: Any
    acts: Any
    slot: Any
    knot: Any
    rule: Rule
    factor: Any
    taken: Any
    course: Any


class Error(NamedTuple):
    """How a count is measured: CV of independent errors, and of slow ones with a correlation time (days)."""

    residual_cv: float = 0.0
    slow_cv: float = 0.0
    slow_days: float = 14.0


def sd(cv: float) -> float:
    """Standard deviation of the logarithm."""
    return float(np.sqrt(np.log1p(cv**2)))


def measured(seed: int, index: np.ndarray, days: Sequence[float], error: Error) -> np.ndarray:
    """Measured over true count, `[visit, patient]`: log-normal, its median one; a visit's error goes with its day.

    Slow errors are a stationary Ornstein-Uhlenbeck process on the logarithm, sampled exactly.
    """
    found = np.zeros((len(days), len(index)))
    slow = wandering(seed, "observation/slow", index, days, sd(error.slow_cv), error.slow_days, begun=True)
    for k, day in enumerate(days):
        found[k] = sd(error.residual_cv) * normal(seed, f"observation/{day!r}", index) if error.residual_cv else 0.0
    return np.exp(found + slow)


def wandering(seed: int, name: str, index: np.ndarray, days: Sequence[float], spread: float, correlation: float,
              begun: bool) -> np.ndarray:  # fmt: skip
    """An Ornstein-Uhlenbeck process at those days, `[day, patient]`; begun: it starts stationary, else at zero."""
    found = np.zeros((len(days), len(index)))
    if not spread:
        return found
    before, value = None, np.zeros(len(index))
    for k, day in enumerate(days):
        keep = (0.0 if begun else 1.0) if before is None else float(np.exp(-(day - before) / correlation))
        value = keep * value + spread * np.sqrt(1.0 - keep**2) * normal(seed, f"{name}/{k}", index)
        found[k], before = value, day
    return found


def kept(seed: int, index: np.ndarray, days: Sequence[float], name: str, share: float) -> np.ndarray:
    """1 where a visit or an administration takes place, 0 where it is missed (`[day, patient]`)."""
    return np.array([uniform(seed, f"{name}/{day!r}", index) < share for day in days], float).reshape(-1, len(index))


def left(seed: int, index: np.ndarray, per_year: float) -> np.ndarray:
    """Day on which each patient drops out, at a constant rate."""
    if not per_year:
        return np.full(len(index), np.inf)
    return -np.log(uniform(seed, "dropout", index)) * 365.25 / per_year


def places(schedule: Schedule, days: Sequence[float]) -> np.ndarray:
    """Bounds of those days, `[day]`; the same day is one bound."""
    return np.asarray([schedule.bound(day) for day in days], int)


def along(
    schedule: Schedule,
    policy: Policy,
    rule: Rule,
    *,
    looks: Sequence[float],
    acts: Sequence[float],
    factor: np.ndarray,
    taken: np.ndarray | None = None,
    knots: Sequence[float] = (0.0,),
    course: np.ndarray | None = None,
) -> Care:
    """The care of one cell. looks: days of `factor`'s rows; acts: those among them at which the policy decides (day 0 is one:
    what is seen and given at the start is written down); knots: days from which each value of `course` holds."""
    segments, n = len(schedule.timeline.steps), factor.shape[1]
    visit = np.full(segments + 1, -1, np.int32)
    visit[places(schedule, looks)] = np.arange(len(looks))
    row = np.full(segments + 1, -1, np.int32)
    row[places(schedule, acts)] = np.arange(len(acts))
    dosed = np.any(np.asarray(schedule.timeline.dose) != 0, axis=1)
    slot = np.where(dosed, np.cumsum(dosed) - 1, -1).astype(np.int32)
    knot = np.searchsorted(places(schedule, knots), np.arange(segments), side="right") - 1
    return Care(
        visit,
        row,
        slot,
        knot.astype(np.int32),
        padded(rule, policy),
        factor,
        np.zeros((0, 0, n)) if taken is None else taken,
        np.zeros((0, 1, n)) if course is None else course,
    )


def slot_days(schedule: Schedule) -> np.ndarray:
    """Days of the administrations, in the order of `taken`'s rows."""
    line = schedule.timeline
    return np.asarray(line.start)[np.any(np.asarray(line.dose) != 0, axis=1)]
