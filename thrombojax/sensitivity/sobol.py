"""Sobol' indices of any vectorised function, streamed: memory does not grow with the number of samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from thrombojax.sensitivity import design as designs
from thrombojax.sensitivity.design import Counted, Function, Saltelli, in_memory
from thrombojax.sensitivity.factors import Space
from thrombojax.sensitivity.indices import ESTIMATORS, Found, indices
from thrombojax.sensitivity.moments import Moments, moments, packed, sizes, unpacked

FIRST = 64
"""Base samples of each replicate at which the rule for stopping looks first; then at each doubling."""


@dataclass(frozen=True, eq=False)
class Sobol:
    """Indices of all outputs. base: samples that were taken, of all replicates; runs: rows; failed: trajectories.

    stopped: whether intervals became as narrow as asked before all were taken.
    """

    groups: tuple[str, ...]
    found: Found
    base: int
    runs: int
    failed: int = 0
    stopped: bool = False

    def of(self, kind: str, output: int = 0, estimator: str = "saltelli") -> dict[str, tuple[float, float, float]]:
        """An output's `first` or `total` indices by factor or group: value, and the ends of its interval."""
        place = ESTIMATORS.index(estimator)
        value, ends = getattr(self.found.estimates, kind), getattr(self.found, kind)
        rows = (part[place, output].tolist() for part in (value, ends.low, ends.high))
        return dict(zip(self.groups, zip(*rows, strict=True), strict=True))

    def widest(self, estimator: str, among: Any = slice(None)) -> float:
        """The widest interval of a first or total index of these outputs."""
        place = ESTIMATORS.index(estimator)
        widths = [(i.high - i.low)[place][among] for i in (self.found.first, self.found.total)]
        finite = np.concatenate([w[np.isfinite(w)] for w in widths])
        return float(finite.max()) if finite.size else 0.0


def sobol(
    function: Callable[[Any], Any],
    space: Space,
    base: int,
    *,
    replicates: int = 16,
    sampler: str = "sobol",
    second: bool = False,
    seed: int = 1,
    confidence: float = 0.95,
    width: float | None = None,
    estimator: str = "saltelli",
) -> Sobol:
    """Indices of a function from `[factor, row]` to `[row]` or `[output, row]`.

    base: over all replicates; function calls: base x (groups + 2), or (2 groups + 2) with second order; width: stops at the
    first doubling at which no interval of the estimator is wider. `.of("total")` of the result has the numbers.

        space = Space((Factor("x", Distribution("uniform", low=0, high=1)), Factor("y", Distribution("normal", 2.0, 0.5))))
        sobol(lambda x: jnp.sin(x[0]) * x[1], space, 1024).of("total")  # {"x": (value, low, high), "y": ...}
    """
    call = designs.of(function)
    pilot = Saltelli(space, 0, FIRST, 1, sampler, seed)
    rows = pilot.rows(0)
    y = call(rows._replace(values=rows.values[:, :FIRST], chance=rows.chance[:FIRST])).y
    return stream(call, space, base, centre_of(y), replicates=replicates, sampler=sampler, second=second, seed=seed,
                  confidence=confidence, width=width, estimator=estimator)  # fmt: skip


def centre_of(y: Float[np.ndarray, "output row"]) -> Float[np.ndarray, "output"]:
    """A number near the middle of each output, from which sums are counted; 0 where no row has one."""
    good = np.isfinite(y)
    return np.where(good, y, 0.0).sum(axis=1) / np.maximum(good.sum(axis=1), 1)


def stream(
    function: Function,
    space: Space,
    base: int,
    centre: Float[np.ndarray, "output"],
    *,
    replicates: int,
    sampler: str,
    second: bool,
    seed: int,
    confidence: float,
    width: float | None,
    estimator: str,
    chance: bool = False,
    among: Any = slice(None),
    counted: Counted = in_memory,
) -> Sobol:
    """As `sobol`, of a function of rows; among: outputs whose intervals the rule for stopping looks at."""
    each = base // replicates
    stops = [each]
    while width is not None and stops[0] > FIRST:
        stops.insert(0, stops[0] // 2)
    groups = (*space.groups, *(("others",) if chance else ()))
    sums: Moments | None = None
    start = runs = failed = 0
    for stop in stops:
        of = Saltelli(space, start, stop, replicates, sampler, seed, second, chance, designs.room(len(centre)))
        own, lost = _stage(function, of, centre, counted)
        failed += lost
        sums = own if sums is None else Moments(*(a + b for a, b in zip(sums, own, strict=True)))
        runs += (stop - start) * replicates * of.columns
        start = stop
        made = Sobol(groups, indices(sums, centre, confidence), stop * replicates, runs, failed, stop < each)
        if width is not None and made.widest(estimator, among) <= width:
            break
    return made


def _stage(function: Function, of: Saltelli, centre: np.ndarray, counted: Counted) -> tuple[Moments, int]:
    """Sums of every replicate over the base samples of one stage, and how many trajectories failed."""
    outputs = len(centre)

    def compute(block: int) -> np.ndarray:
        y, status = function(of.rows(block))
        found = moments(y.reshape(outputs, of.columns, -1), centre, of.second)
        return np.append(packed(found), np.count_nonzero(status))

    cells = sum(sizes(outputs, of.groups, of.second)) + 1
    sums = np.zeros((of.replicates, cells))
    for block, vector in enumerate(counted(f"sobol-{of.start}", of.blocks, cells, of.width * of.columns, compute)):
        sums[of.replicate(block)] += vector
    return unpacked(sums[:, :-1], outputs, of.groups, of.second), int(sums[:, -1].sum())
