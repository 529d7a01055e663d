"""What a trial says of one quantity over its patients, as functions: which shares it wants where, how far weights are from it.

A marginal is known as a distribution function, at some points only (quantiles, a share), or by its mean and standard deviation
alone. Its distance from weighted patients is Kolmogorov and Smirnov's: the largest difference of the two distribution functions,
where both are known; of moments, differences in standard deviations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import root

from thrombojax.populations.weights import share_below

BOUNDS = np.array([0.01, *(np.arange(1, 20) / 20), 0.99])
"""Quantiles whose shares below are asked of weights: where they are met the distance is below 1 / 20, whatever lies between."""


@dataclass(frozen=True, eq=False)
class Marginal:
    """edges, below: `[k]`, the shares at or below (strict: below) some values; said: all of it in words.

    cdf, left: the distribution function and its limit from the left, None where only `edges` are known; mean, sd: of a marginal
    that is known by its moments alone.
    """

    said: str
    edges: np.ndarray
    below: np.ndarray
    strict: bool = False
    cdf: Callable[[np.ndarray], np.ndarray] | None = None
    left: Callable[[np.ndarray], np.ndarray] | None = None
    mean: float | None = None
    sd: float | None = None

    @property
    def is_share(self) -> bool:
        return self.strict


def share(of: float, at_least: float | None = None) -> Marginal:
    """A share of patients with so much at least; of a yes/no endpoint, of those whose value is 1."""
    said = f"{100 * of:g} %" + ("" if at_least is None else f" at {at_least:g} or more")
    return Marginal(said, np.array([0.5 if at_least is None else at_least]), np.array([1.0 - of]), strict=True)


def quantiles(pairs: Sequence[tuple[float, float]]) -> Marginal:
    """Pairs of a probability and the value that so many are at or below."""
    said = ", ".join(f"{100 * p:g} % {value:g}" for p, value in pairs)
    return Marginal(f"quantiles {said}", np.array([v for _, v in pairs], float), np.array([p for p, _ in pairs], float))


def moments(mean: float, sd: float | None) -> Marginal:
    said = f"mean {mean:g}" + ("" if sd is None else f", SD {sd:g}")
    return Marginal(said, np.zeros(0), np.zeros(0), mean=mean, sd=sd)


def distribution(kind: str, mean: float, sd: float, low: float = -np.inf, high: float = np.inf) -> Marginal:
    """kind: normal or log-normal, cut to [low, high]; mean and SD are of what is left, as a trial reports its patients.

    Raises ValueError where no such distribution has them.
    """
    whole = _cut(kind, mean, sd, low, high)
    first, last = float(whole.cdf(low)), float(whole.cdf(high))

    def cdf(x: np.ndarray) -> np.ndarray:
        return np.clip((whole.cdf(x) - first) / (last - first), 0.0, 1.0)

    inner = whole.ppf(first + BOUNDS * (last - first))
    edges = np.array([*([low] if first > 0 else []), *inner, *([high] if last < 1 else [])])
    span = f" from {low:g} to {high:g}" if first > 0 and last < 1 else f" from {low:g}" if first > 0 else ""
    span = f" up to {high:g}" if not first > 0 and last < 1 else span
    return Marginal(f"{kind}, mean {mean:g}, SD {sd:g}{span}", edges, cdf(edges), cdf=cdf, left=cdf)


def _cut(kind: str, mean: float, sd: float, low: float, high: float) -> Any:
    """The distribution whose part between low and high has that mean and SD."""
    if kind == "normal":
        centre, spread = mean, sd
    else:
        spread = float(np.sqrt(np.log1p((sd / mean) ** 2)))
        centre = float(np.log(mean) - 0.5 * spread**2)

    def frozen(x: Sequence[float]) -> Any:
        s = spread * np.exp(x[1])
        return (
            stats.norm(centre + spread * x[0], s)
            if kind == "normal"
            else stats.lognorm(s, scale=np.exp(centre + spread * x[0]))
        )

    if not np.isfinite(high) and not (np.isfinite(low) if kind == "normal" else low > 0):
        return frozen((0.0, 0.0))

    def off(x: np.ndarray) -> list[float]:
        """Difference of mean and SD, in SDs: integrals of values over equal parts of the probability."""
        d = frozen(x.tolist())
        first, last = d.cdf(low), d.cdf(high)
        values = d.ppf(first + _MIDDLES * (last - first))
        return [float(values.mean() - mean) / sd, float(values.std()) / sd - 1.0]

    with np.errstate(all="ignore"):
        found = root(off, [0.0, 0.0])
    if not (found.success and np.abs(found.fun).max() < 1e-6 and np.abs(found.x).max() < 20):
        raise ValueError(
            f"no {kind} distribution cut to {low:g} to {high:g} has a mean of {mean:g} and an SD of {sd:g}"
        )
    return frozen(found.x.tolist())


_MIDDLES = (np.arange(4000) + 0.5) / 4000


def histogram(edges: Sequence[float], shares: Sequence[float]) -> Marginal:
    """Shares of bins, evenly spread inside each; they need no sum of 1."""
    at = np.asarray(edges, float)
    below = np.concatenate([[0.0], np.cumsum(shares)]) / np.sum(shares)

    def cdf(x: np.ndarray) -> np.ndarray:
        return np.interp(x, at, below)

    first = np.r_[True, np.diff(below) > 0]
    fine = np.interp(BOUNDS, below[first], at[first])
    chosen = np.unique([*at, *fine])
    return Marginal(f"{len(shares)} bins from {at[0]:g} to {at[-1]:g}", chosen, cdf(chosen), cdf=cdf, left=cdf)


def observed(values: np.ndarray) -> Marginal:
    """The distribution of observed values."""
    seen = np.sort(values)

    def cdf(x: np.ndarray) -> np.ndarray:
        return np.searchsorted(seen, x, side="right") / len(seen)

    def left(x: np.ndarray) -> np.ndarray:
        return np.searchsorted(seen, x, side="left") / len(seen)

    edges = np.unique(np.quantile(seen, BOUNDS, method="inverted_cdf"))
    said = f"{len(seen)} observed, mean {seen.mean():.4g}, SD {seen.std():.3g}"
    # The middle of each step: neither half of it is asked of patients who have other values than were seen.
    return Marginal(said, edges, 0.5 * (cdf(edges) + left(edges)), cdf=cdf, left=left)


def features(of: Marginal, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[feature, patient]` and the goals of their weighted means, `[feature]`."""
    if of.mean is not None:
        rows, goals = [values], [of.mean]
        if of.sd is not None:
            rows, goals = [*rows, (values - of.mean) ** 2], [*goals, of.sd**2]
        return np.stack(rows), np.array(goals)
    compare = np.less if of.strict else np.less_equal
    return compare(values, of.edges[:, None]).astype(float), of.below


def distance(of: Marginal, values: np.ndarray, weights: np.ndarray) -> float:
    """Of weighted patients from the marginal: Kolmogorov and Smirnov's, or of moments in standard deviations."""
    if of.mean is not None:
        mean, sd = summary(values, weights)
        unit = of.sd or float(np.std(values)) or 1.0
        return max(abs(mean - of.mean) / unit, 0.0 if of.sd is None else abs(sd - of.sd) / unit)
    if of.cdf is None or of.left is None:
        return float(np.abs(share_below(values, weights, of.edges, of.strict) - of.below).max())
    at = np.unique(np.concatenate([values, of.edges]))
    here = np.abs(share_below(values, weights, at) - of.cdf(at))
    before = np.abs(share_below(values, weights, at, strict=True) - of.left(at))
    return float(max(here.max(), before.max()))


def nearest(of: Marginal, values: np.ndarray) -> float:
    """The least distance that any weights of these patients have: a share can only change where there is a patient."""
    at = np.unique(values)
    if of.mean is not None:
        unit = of.sd or float(np.std(values)) or 1.0
        mean = float(np.clip(of.mean, at[0], at[-1]))
        if of.sd is None or mean != of.mean:
            return abs(mean - of.mean) / unit
        return abs(float(np.clip(of.sd, *spreads(at, mean))) - of.sd) / unit
    if of.cdf is None or of.left is None:
        below, found = share_below(at, np.ones(len(at)), of.edges, of.strict), 0.0
        for one in np.unique(below):  # edges with the same patients below have the same share, whatever the weights
            asked = of.below[below == one]
            found = max(found, float(np.ptp(asked)) / 2 if 0 < one < 1 else float(np.abs(asked - one).max()))
        return found
    here, before = of.cdf(at), of.left(at)
    return float(max(before[0], 1.0 - here[-1], ((before[1:] - here[:-1]) / 2).max(initial=0.0)))


def spreads(at: np.ndarray, mean: float) -> tuple[float, float]:
    """Least and largest standard deviation of weights on ascending values `at` with that mean."""
    under, above = at[np.searchsorted(at, mean, side="right") - 1], at[np.searchsorted(at, mean, side="left")]
    return float(np.sqrt((mean - under) * (above - mean))), float(np.sqrt((mean - at[0]) * (at[-1] - mean)))


def summary(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and standard deviation."""
    mean = float(np.average(values, weights=weights))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def reached(of: Marginal, values: np.ndarray, weights: np.ndarray) -> str:
    """What weighted patients have of what the marginal is about, in words."""
    if of.is_share:
        return f"{100 * (1.0 - share_below(values, weights, of.edges, True)[0]):.1f} %"
    if of.cdf is None and of.mean is None:
        found = quantile(values, weights, of.below)
        return ", ".join(f"{value:.4g}" for value in found)
    mean, sd = summary(values, weights)
    return f"{mean:.4g} (SD {sd:.3g})"


def quantile(values: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The least value that a share `at` of the weight is at or below, `[at]`."""
    order = np.argsort(values, kind="stable")
    steps = np.cumsum(weights[order])
    place = np.searchsorted(steps / steps[-1], at * (1 - 1e-12), side="left")
    return values[order][np.minimum(place, len(values) - 1)]


def extremes(of: Marginal, values: np.ndarray) -> str:
    """What of a marginal no plausible patient has, and the nearest that can be reached, in words."""
    low, high = float(values.min()), float(values.max())
    span = f"plausible patients have {low:.4g} to {high:.4g}"
    if of.mean is not None:
        mean = float(np.clip(of.mean, low, high))
        if mean != of.mean or of.sd is None:
            return f"{span}: the nearest mean is {mean:.4g}"
        return (
            f"{span}: with a mean of {mean:g} the nearest SD is {np.clip(of.sd, *spreads(np.unique(values), mean)):.4g}"
        )
    if of.is_share:
        all_or_none = 100.0 if low >= of.edges[0] else 0.0
        return f"{span}: the nearest share is {all_or_none:g} %"
    if of.cdf is None:
        outside = [v for v in of.edges.tolist() if not low <= v < high]
        near = min(max(outside[0], low), high) if outside else low
        return f"{span}: the nearest to {outside[0] if outside else low:g} is {near:.4g}"
    under, over = float(of.left(np.array([low]))[0]) if of.left else 0.0, 1.0 - float(of.cdf(np.array([high]))[0])
    parts = [f"{100 * under:.1f} % of the target are below"] if under > 0 else []
    parts += [f"{100 * over:.1f} % are above"] if over > 0 else []
    return f"{span}: {' and '.join(parts) or 'with a gap between them'}; the nearest has a distance of {nearest(of, values):.3g}"
