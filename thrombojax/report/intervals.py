"""Percentiles and confidence intervals: plain functions of arrays."""

from collections.abc import Sequence

import numpy as np
from scipy import special

LEVEL = 0.95
MIDDLE = (2.5, 97.5)  # percentiles that enclose 95 %
NORMAL = 1.959964


def percentiles(data: np.ndarray, percents: Sequence[float], weights: np.ndarray | None = None) -> np.ndarray:
    """Percentiles along the last axis, `[percent, ...]`, interpolated as numpy does; missing values (NaN) do not count.

    inf is a value above all others; what lies between a number and inf is inf. NaN where nothing is left. weights: of the last
    axis, `[patient]`; a percentile is then the least value that so much of the weight is at or below (numpy's `inverted_cdf`).
    """
    if weights is not None:
        return _weighted(np.asarray(data, np.float64), percents, weights)
    data = np.sort(np.asarray(data, np.float64), axis=-1)  # NaN last
    if not data.shape[-1]:
        return np.full((len(percents), *data.shape[:-1]), np.nan)
    last = np.maximum(np.count_nonzero(~np.isnan(data), axis=-1) - 1, 0)
    found = []
    for percent in percents:
        place = percent / 100 * last
        below = np.floor(place).astype(np.int64)
        low = np.take_along_axis(data, below[..., None], -1)[..., 0]
        high = np.take_along_axis(data, np.ceil(place).astype(np.int64)[..., None], -1)[..., 0]
        with np.errstate(invalid="ignore"):  # inf - inf, in the branch that is not taken
            between = low + (high - low) * (place - below)
        found.append(np.where((low == high) | np.isinf(high), high, between))
    return np.stack(found)


def _weighted(data: np.ndarray, percents: Sequence[float], weights: np.ndarray) -> np.ndarray:
    if not data.shape[-1]:
        return np.full((len(percents), *data.shape[:-1]), np.nan)
    order = np.argsort(data, axis=-1, kind="stable")  # NaN last
    data = np.take_along_axis(data, order, -1)
    steps = np.cumsum(np.where(np.isnan(data), 0.0, weights[order]), axis=-1)
    total = steps[..., -1:]
    found = []
    for percent in percents:
        # what is left of a whole after rounding must not ask for the patient above
        place = np.argmax(steps >= percent / 100 * (1 - 1e-12) * total, axis=-1)
        if percent == 0:
            place = np.argmax(steps > 0, axis=-1)
        found.append(np.where(total[..., 0] > 0, np.take_along_axis(data, place[..., None], -1)[..., 0], np.nan))
    return np.stack(found)


def effective(weights: np.ndarray) -> float:
    """Kish's effective sample size: how many patients who count alike would scatter as much; 0 of none."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def exact_share(yes: float, n: float) -> tuple[float, float, float]:
    """Lower limit, share and upper limit: the exact binomial 95 % interval of Clopper and Pearson; NaN of none.

    Of weighted patients n is their effective number, and neither need be whole.
    """
    if n == 0:
        return np.nan, np.nan, np.nan
    tail = (1 - LEVEL) / 2
    low = float(special.betaincinv(yes, n - yes + 1, tail)) if yes else 0.0
    high = float(special.betaincinv(yes + 1, n - yes, 1 - tail)) if yes < n else 1.0
    return low, yes / n, high


def mean_interval(data: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float, float]:
    """Lower limit, mean and upper limit of a 95 % interval of the mean, which is taken to be normal; NaN do not count."""
    there = ~np.isnan(data)
    data = data[there]
    if weights is not None:
        return _weighted_mean(data, weights[there])
    if not len(data):
        return np.nan, np.nan, np.nan
    mean = float(data.mean())
    half = NORMAL * float(data.std(ddof=1)) / np.sqrt(len(data)) if len(data) > 1 else np.nan
    return mean - half, mean, mean + half


def _weighted_mean(data: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """The same of a ratio of sums, whose variance is that of the weighted residuals."""
    n = effective(weights)
    if not n:
        return np.nan, np.nan, np.nan
    weights = weights / weights.sum()
    mean = float(weights @ data)
    half = np.nan
    if n > 1:
        half = NORMAL * float(np.sqrt(np.square(weights * (data - mean)).sum() * n / (n - 1)))
    return mean - half, mean, mean + half


def over_trials(data: np.ndarray) -> tuple[float, float, float]:
    """2.5th percentile, mean and 97.5th percentile of one number a trial; NaN do not count."""
    data = data[~np.isnan(data)]
    if not len(data):
        return np.nan, np.nan, np.nan
    low, high = percentiles(data, MIDDLE)
    return float(low), float(data.mean()), float(high)
