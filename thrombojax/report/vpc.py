"""A visual predictive check: do observed percentiles lie where trials of the same design would have them?

A replicate is as many simulated patients as were observed, each seen on the days on which an observed patient was seen. Its
percentiles, bin by bin of time, scatter by chance alone; the observed ones should lie within that scatter. Everything here is
a function of arrays; `predict` reads them from a results file, and nothing here draws.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thrombojax.errors import InputError, Problem
from thrombojax.report import reading
from thrombojax.report.intervals import MIDDLE, percentiles
from thrombojax.report.observed import Observed
from thrombojax.report.reading import (
    SEEN,
    TIME,
    VISIT,
    Results,
    Variable,
    by_trial,
    sample,
    weighted,
)
from thrombojax.report.summary import PERCENTS, bands, grouped, trajectory_sample
from thrombojax.store.results import coordinate, dims

PERCENTILES = (5, 50, 95)
REPLICATES = 500  # of a bootstrap
LEAST = 10  # observations of a bin
MOST_BINS = 40
BATCH = 2**21  # numbers of replicates that are in memory at once


@dataclass(frozen=True, eq=False)
class Bins:
    """Of observations: which simulated day each is compared with and in which bin it is; -1: on no simulated day."""

    day: np.ndarray
    place: np.ndarray
    count: int


@dataclass(frozen=True, eq=False)
class Check:
    """time, n `[bin]`: mean day and observations; observed `[percentile, bin]`; low, middle, high: of the replicates."""

    time: np.ndarray
    n: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray

    @property
    def compared(self) -> np.ndarray:
        """Bins in which there are simulated values."""
        return np.isfinite(self.low[0])

    @property
    def inside(self) -> np.ndarray:
        """Which observed percentiles are inside their prediction interval, `[percentile, bin]`."""
        return (self.observed >= self.low) & (self.observed <= self.high)


@dataclass(frozen=True, eq=False)
class Arm:
    """One arm's check. days `[day]`, bands `[percentile, day]`: of all simulated patients; left: observations outside the
    simulated days; away: the longest time (days) between an observation and its simulated day; replicates: in words."""

    name: str
    check: Check
    days: np.ndarray
    bands: np.ndarray
    observed: Observed
    left: int
    away: float
    replicates: str
    measured: bool


# ---- numbers ----


def bins(times: np.ndarray, days: np.ndarray, least: int) -> Bins:
    """Observations by the nearest simulated day, neighbouring days together until a bin has `least` observations.

    Before the first day and after the last there is half a step's room.
    """
    edges = (days[1:] + days[:-1]) / 2
    first, last = (edges[0] - days[0], days[-1] - edges[-1]) if len(days) > 1 else (0.5, 0.5)
    day = np.where((times < days[0] - first) | (times > days[-1] + last), -1, np.searchsorted(edges, times))
    counts = np.bincount(day[day >= 0], minlength=len(days))
    of_day, bin_, held = np.full(len(days), -1), 0, 0
    for k in np.flatnonzero(counts):
        if held >= least:
            bin_, held = bin_ + 1, 0
        of_day[k] = bin_
        held += counts[k]
    if 0 < held < least and bin_:  # what is left over goes to the last bin
        of_day[of_day == bin_] = bin_ - 1
        bin_ -= 1
    return Bins(day, np.where(day >= 0, of_day[day], -1), bin_ + 1 if held else 0)


def by_bin(data: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """Percentiles of `[..., observation]` in each bin, `[percentile, ..., bin]`; NaN where a bin has no value."""
    return np.stack([percentiles(data[..., place == b], PERCENTILES) for b in range(count)], axis=-1)


def check(times: np.ndarray, observed: np.ndarray, place: np.ndarray, replicates: Iterable[np.ndarray]) -> Check:
    """The check of observations that are all in a bin; replicates: pieces `[replicate, observation]` of simulated values."""
    count = int(place.max()) + 1
    n = np.bincount(place, minlength=count)
    simulated = np.concatenate([by_bin(piece, place, count) for piece in replicates], axis=1)
    low, middle, high = percentiles(np.moveaxis(simulated, 1, -1), (MIDDLE[0], 50, MIDDLE[1]))
    time = np.bincount(place, times, minlength=count) / n
    return Check(time, n, by_bin(observed, place, count), low, middle, high)


def bootstrap(
    pool: np.ndarray, day: np.ndarray, person: np.ndarray, replicates: int, seed: int, weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Replicates `[replicate, observation]`: for each observed person a simulated one of `[day, patient]`, drawn at random
    with replacement (as often as its weight says), on the days on which the person was observed."""
    draw = np.random.default_rng(seed)
    people = int(person.max()) + 1
    batch = max(1, BATCH // max(len(day), people))
    for start in range(0, replicates, batch):
        size = (min(batch, replicates - start), people)
        if weights is None:
            who = draw.integers(pool.shape[-1], size=size)
        else:
            who = draw.choice(pool.shape[-1], size=size, p=weights / weights.sum())
        yield pool[day, who[:, person]]


# ---- of a results file ----


def predict(results: Results, observed: Observed) -> list[Arm]:
    """The check of every arm that has observations. Raises InputError where the file cannot be compared with them."""
    wide = [f"{axis.name} ({len(axis.values)} values)" for axis in results.axes if len(axis.values) > 1]
    if wide:
        raise InputError(
            Problem(str(results.path), f"has the axes {', '.join(wide)}; observations need one simulation an arm")
        )
    return [_arm(results, observed.of(arm), arm) for arm in np.unique(observed.arm).tolist()]


def _simulated(results: Results, cell: tuple[int, ...]) -> tuple[Variable, np.ndarray, np.ndarray, np.ndarray]:
    """What observations are compared with, all its days, which of them the arm has, and their percentiles.

    Counts as measured where the file's ledger has the arm's visits, since observations were measured too; or else counts.
    """
    for name, axis in ((SEEN, VISIT), ("platelets", TIME)):
        data = results.file.get(name)
        if data is None or tuple(dim for dim in dims(data) if dim not in reading.REPLICATES)[-2:-1] != (axis,):
            continue
        variable = Variable(name, "platelet count", "1/nL")
        shown = bands(results, variable, [cell])[0].quantiles[[PERCENTS.index(p) for p in PERCENTILES]]
        there = np.flatnonzero(~np.isnan(shown[1]))  # an arm may have visits of its own, or none
        if len(there):
            return variable, coordinate(results.file[axis]).astype(float), there, shown[:, there]
    raise InputError(
        Problem(
            str(results.path),
            f"has neither visits of the arm {str(results.arms.values[cell[-1]])!r} in a ledger nor its platelets by time; a "
            "study keeps them with `ledger = true` or `trajectories = true` in [output]",
        )
    )


def _arm(results: Results, observed: Observed, arm: int) -> Arm:
    name, cell = str(results.arms.values[arm]), (*(0 for _ in results.axes), arm)
    variable, days, there, shown = _simulated(results, cell)
    found = bins(observed.time, days[there], max(LEAST, -(-len(observed.time) // MOST_BINS)))
    kept = found.place >= 0
    if not kept.any():
        raise InputError(
            Problem(
                str(results.path), f"has no day on which the arm {name!r} was observed; its last: {days[there[-1]]:g}"
            )
        )
    day, person = there[found.day[kept]], observed.person[kept]
    pieces, said = _replicates(results, variable, cell, day, person, observed.people)
    return Arm(
        name,
        check(observed.time[kept], observed.value[kept], found.place[kept], pieces),
        days[there],
        shown,
        observed,
        int((~kept).sum()),
        float(np.abs(observed.time[kept] - days[day]).max()),
        said,
        variable.name == SEEN,
    )


def _replicates(
    results: Results, variable: Variable, cell: tuple[int, ...], day: np.ndarray, person: np.ndarray, people: int
) -> tuple[Iterable[np.ndarray], str]:
    """Simulated values of the observed design: the study's trials where they are of the data's size, else a bootstrap."""
    most = trajectory_sample(results.file[variable.name].shape[-2])
    if results.trials and not results.nested and results.patients == people <= most:
        return _trials(
            results, variable, cell, day, person, most
        ), f"{grouped(results.trials)} trials of {people} patients"
    pool, weights = weighted(results, variable, cell, sample(results, variable, most))
    made = bootstrap(pool, day, person, REPLICATES, seed=0, weights=weights)
    weighed = "" if weights is None else ", by their weights"
    return made, f"{REPLICATES} draws of {people} of the {grouped(pool.shape[-1])} simulated patients{weighed}"


def _trials(
    results: Results, variable: Variable, cell: tuple[int, ...], day: np.ndarray, person: np.ndarray, most: int
) -> Iterator[np.ndarray]:
    for data, well in by_trial(results, variable, cell, most):
        seen = np.where(well, data, np.nan)  # [day, trial, patient]
        yield seen[day, :, person].T


def said(arms: Sequence[Arm]) -> str:
    """How many observed percentiles lie where they should, a line an arm."""
    lines = []
    for arm in arms:
        n = int(arm.check.compared.sum())
        counts = [f"{int(row.sum())} of {n}" for row in arm.check.inside[:, arm.check.compared]]
        lines.append(
            f"{arm.name}: {arm.observed.people} patients, {len(arm.observed.value) - arm.left} observations; within the 95 % "
            f"prediction interval: 5th percentile {counts[0]} bins, median {counts[1]}, 95th percentile {counts[2]}"
        )
    return "\n".join([*lines, *notes(arms)])


def notes(arms: Sequence[Arm]) -> list[str]:
    """What a reader must know of the comparison, as sentences."""
    found = [f"Intervals of {arm.name} over {arm.replicates}." for arm in arms]
    if len({arm.replicates for arm in arms}) == 1:
        found = [f"Intervals over {arms[0].replicates}."]
    plain = [arm.name for arm in arms if not arm.measured]
    if plain:
        found.append(f"Simulated without error of measurement, as the file has no ledger of it: {', '.join(plain)}.")
    away = max(arm.away for arm in arms)
    if away > 0.5:
        found.append(f"Observations are compared with the nearest simulated day, at most {away:.3g} days away.")
    left = sum(arm.left for arm in arms)
    if left:
        found.append(f"{grouped(left)} observations outside the simulated days are left out.")
    return found
