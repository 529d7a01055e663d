"""From relaxed to real doses: rounding, then local search over all neighbours, or every combination where that is few."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MOST = 4096
"""Combinations that are all tried."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """x: `[k]`; merit: there; rounded: merit of the nearest levels; how: enumerated, or searched; tried: evaluations."""

    x: np.ndarray
    merit: float
    rounded: float
    how: str
    tried: int


def levels(low: np.ndarray, high: np.ndarray, doses: Sequence[float] | None, step: float | None) -> list[np.ndarray]:
    """Values that each decision may take: those listed, or multiples of a step, within its bounds."""
    if doses is not None:
        return [np.array(sorted({d for d in doses if a <= d <= b})) for a, b in zip(low, high, strict=True)]
    assert step is not None
    return [
        np.arange(np.ceil(a / step - 1e-9), np.floor(b / step + 1e-9) + 1) * step
        for a, b in zip(low, high, strict=True)
    ]


def search(
    merit: Callable[[np.ndarray], float],
    x: np.ndarray,
    of: Sequence[np.ndarray],
    say: Callable[[str], None] = lambda text: None,
) -> Chosen:
    """The lowest merit over levels: exact where there are at most MOST combinations, else no neighbour is better.

    Neighbours: one decision one level up or down, or one up and the next one down (a dose moved to the next visit).
    """
    place = np.array([int(np.argmin(np.abs(v - a))) for v, a in zip(of, x, strict=True)])
    known: dict[tuple[int, ...], float] = {}

    def at(places: tuple[int, ...]) -> float:
        if places not in known:
            known[places] = merit(np.array([v[i] for v, i in zip(of, places, strict=True)]))
        return known[places]

    rounded = at(tuple(place))
    if np.prod([len(v) for v in of], dtype=float) <= MOST:
        best = min(itertools.product(*(range(len(v)) for v in of)), key=at)
        return Chosen(_values(of, best), at(best), rounded, "enumerated", len(known))
    here, moved = tuple(int(i) for i in place), True
    while moved:
        moved = False
        for step in _steps(len(of)):
            there = _moved(here, step)
            while all(0 <= i < len(v) for i, v in zip(there, of, strict=True)) and at(there) < at(here) - 1e-12:
                here, there, moved = there, _moved(there, step), True  # on, as long as it helps
        say(f"local search: {len(known)} plans, {at(here):.5g}")
    return Chosen(_values(of, here), at(here), rounded, "searched", len(known))


def search_each(merit: Callable[[np.ndarray], np.ndarray], x: np.ndarray, of: Sequence[np.ndarray]) -> np.ndarray:
    """Many problems at once: x `[k, patient]`, merit `[k, patient]` -> `[patient]`; the plan of each, in real doses.

    As `search` for each of them: exact where there are at most MOST_EACH combinations, else no neighbour is better.
    """
    k, n = x.shape

    def at(places: np.ndarray) -> np.ndarray:
        return np.stack([v[i] for v, i in zip(of, places, strict=True)])

    place = np.stack([np.argmin(np.abs(v[:, None] - row), axis=0) for v, row in zip(of, x, strict=True)])
    best = merit(at(place))
    size = np.array([len(v) for v in of])[:, None]
    if np.prod(size, dtype=float) <= MOST_EACH:
        for few in itertools.product(*(range(len(v)) for v in of)):
            trial = np.tile(np.array(few)[:, None], n)
            value = merit(at(trial))
            place, best = np.where(value < best, trial, place), np.minimum(value, best)
        return at(place)
    steps, idle = _steps(k), 0
    while idle < len(steps):
        for step in steps:
            moved = False
            while True:  # on, as long as it helps anybody
                trial = place + step[:, None]
                inside = np.all((trial >= 0) & (trial < size), axis=0)
                trial = np.where(inside, trial, place)
                value = merit(at(trial)) if inside.any() else best
                better = inside & (value < best - 1e-12)
                if not better.any():
                    break
                place, best, moved = np.where(better, trial, place), np.where(better, value, best), True
            idle = 0 if moved else idle + 1
            if idle >= len(steps):
                break
    return at(place)


MOST_EACH = 256
"""Combinations that are all tried where many problems are searched at once."""


def _steps(k: int) -> list[np.ndarray]:
    one = np.eye(k, dtype=int)
    found = [sign * row for row in one for sign in (1, -1)]
    return found + [sign * (one[i] - one[i + 1]) for i in range(k - 1) for sign in (1, -1)]


def _moved(here: tuple[int, ...], step: np.ndarray) -> tuple[int, ...]:
    return tuple(i + int(d) for i, d in zip(here, step, strict=True))


def _values(of: Sequence[np.ndarray], places: Sequence[int]) -> np.ndarray:
    return np.array([v[i] for v, i in zip(of, places, strict=True)])
