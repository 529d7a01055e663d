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


def search_each(
    merit: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, of: Sequence[np.ndarray]
) -> np.ndarray:
    """Many problems at once: x `[k, patient]`, merit (x `[k, pair]`, patient `[pair]`) -> `[pair]`; plans in real doses.

    As `search` for each of them: exact where there are at most MOST_EACH combinations, else no neighbour is better. A patient
    looks along one direction after the other, both ways, and stays with one that helps; it is done when none has. It is then not
    asked again, and what it is asked does not depend on the others.
    """
    k, n = x.shape
    size = np.array([len(v) for v in of])[:, None]

    def at(places: np.ndarray) -> np.ndarray:
        return np.stack([v[i] for v, i in zip(of, places, strict=True)])

    def look(places: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Merits; infinite outside of the levels."""
        value = np.full(len(who), np.inf)
        inside = np.all((places >= 0) & (places < size), axis=0)
        if inside.any():
            value[inside] = merit(at(places[:, inside]), who[inside])
        return value

    place = np.stack([np.argmin(np.abs(v[:, None] - row), axis=0) for v, row in zip(of, x, strict=True)])
    who = np.arange(n)
    best = look(place, who)
    if np.prod(size, dtype=float) <= MOST_EACH:
        for few in itertools.product(*(range(len(v)) for v in of)):
            trial = np.tile(np.array(few)[:, None], n)
            value = look(trial, who)
            place, best = np.where(value < best, trial, place), np.minimum(value, best)
        return at(place)
    ways = np.stack(_steps(k)[::2])
    way, idle = np.zeros(n, int), np.zeros(n, int)
    for _ in range(MOST_LOOKS * len(ways)):
        who = np.flatnonzero(idle < len(ways))
        if not len(who):
            break
        step = ways[way[who]].T
        trial = np.concatenate([place[:, who] + step, place[:, who] - step], axis=1)
        up, down = look(trial, np.tile(who, 2)).reshape(2, -1)
        value = np.minimum(up, down)
        better = value < best[who] - 1e-12
        mine = who[better]
        place[:, mine] += (np.where(up <= down, 1, -1) * step)[:, better]
        best[mine], idle[mine] = value[better], 0
        other = who[~better]
        idle[other] += 1
        way[other] = (way[other] + 1) % len(ways)
    return at(place)


MOST_EACH = 256
"""Combinations that are all tried where many problems are searched at once."""
MOST_LOOKS = 100
"""Times that a patient looks along each direction: no search takes so many, and all end."""


def _steps(k: int) -> list[np.ndarray]:
    one = np.eye(k, dtype=int)
    found = [sign * row for row in one for sign in (1, -1)]
    return found + [sign * (one[i] - one[i + 1]) for i in range(k - 1) for sign in (1, -1)]


def _moved(here: tuple[int, ...], step: np.ndarray) -> tuple[int, ...]:
    return tuple(i + int(d) for i, d in zip(here, step, strict=True))


def _values(of: Sequence[np.ndarray], places: Sequence[int]) -> np.ndarray:
    return np.array([v[i] for v, i in zip(of, places, strict=True)])
