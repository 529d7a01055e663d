"""Sobol' indices from moments, by the estimators of the literature, and their intervals from replicates.

saltelli: what Saltelli et al. 2010 (doi 10.1016/j.cpc.2009.09.018) recommend and SALib and SciPy have, their own first order and
Jansen's total; jansen: both of Jansen 1999 (doi 10.1016/S0010-4655(98)00154-4), whose first order is noisy where it is small;
janon: the asymptotically efficient estimator of Janon et al. 2014 (doi 10.1051/ps/2013040). Second order: closed index of a pair
(Saltelli 2002, doi 10.1016/S0010-4655(02)00280-1) less both first orders, as SALib has it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from thrombojax.sensitivity.moments import Moments

ESTIMATORS = ("saltelli", "jansen", "janon")
CONSTANT = 64 * float(np.finfo(np.float32).eps)
"""An output whose SD is below this share of its size is constant: what is left are roundings of float32."""


class Estimates(NamedTuple):
    """first, total: `[estimator, ..., output, group]`; second: `[..., output, group, group]`, NaN on the diagonal (empty where
    it was not asked for); mean, variance: `[..., output]` of the outputs themselves."""

    first: Float[np.ndarray, "estimator *lead output group"]
    total: Float[np.ndarray, "estimator *lead output group"]
    second: Float[np.ndarray, "*lead output group group"]
    mean: Float[np.ndarray, "*lead output"]
    variance: Float[np.ndarray, "*lead output"]


@np.errstate(divide="ignore", invalid="ignore")
def estimate(m: Moments, centre: Float[np.ndarray, "output"]) -> Estimates:
    """All indices from sums; NaN where an output does not vary. centre: from which the sums were counted."""
    groups = m.cross.shape[-1]
    second = groups > 0
    k = groups or m.first.shape[-1] - 2
    n = m.n[..., None]
    # Everything anew about the mean of all runs, as SALib does: some estimators depend on where Y is counted from.
    middle = m.first.mean(axis=-1, keepdims=True) / n
    mean = m.first / n - middle
    square = m.square / n - 2.0 * middle * m.first / n + middle**2
    a1, b1 = m.first[..., :1], m.first[..., 1:2]
    with_a = (m.with_a - middle * (a1 + m.first)) / n + middle**2
    with_b = (m.with_b - middle * (b1 + m.first)) / n + middle**2
    both = 0.5 * (mean[..., 0] + mean[..., 1])
    variance = 0.5 * (square[..., 0] + square[..., 1]) - both**2
    size = np.abs(centre + middle[..., 0]) + np.sqrt(np.maximum(variance, 0.0))
    variance = np.where(np.sqrt(np.maximum(variance, 0.0)) > CONSTANT * size, variance, np.nan)
    v = variance[..., None]
    ab = slice(2, 2 + k)
    a2, b2, e1, e2 = square[..., :1], square[..., 1:2], mean[..., ab], square[..., ab]
    ae, be, a_b = with_a[..., ab], with_b[..., ab], with_a[..., 1:2]
    first = np.stack([(be - a_b) / v, 1.0 - (b2 - 2.0 * be + e2) / (2.0 * v), _janon(mean[..., 1:2], b2, e1, e2, be)])
    squares = (a2 - 2.0 * ae + e2) / (2.0 * v)
    total = np.stack([squares, squares, 1.0 - _janon(mean[..., :1], a2, e1, e2, ae)])
    first, total = (np.where(np.isnan(v), np.nan, found) for found in (first, total))
    pairs = np.zeros((*m.n.shape, 0, 0))
    if second:
        ba1 = m.first[..., 2 + k :]
        closed = m.cross - middle[..., None] * (ba1[..., :, None] + m.first[..., None, ab])
        closed = closed / n[..., None] + middle[..., None] ** 2
        own = first[0]
        pairs = (closed - a_b[..., None]) / v[..., None] - own[..., :, None] - own[..., None, :]
        # BA_i x AB_j and BA_j x AB_i say the same of a pair: that of SALib, i before j
        pairs = np.where(np.tri(k, dtype=bool).T, pairs, np.swapaxes(pairs, -1, -2))
        pairs = np.where(np.eye(k, dtype=bool), np.nan, pairs)
    return Estimates(first, total, pairs, centre + middle[..., 0] + both, variance)


def _janon(first: np.ndarray, square: np.ndarray, e1: np.ndarray, e2: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Correlation of two columns that share some inputs."""
    middle = 0.5 * (first + e1)
    return (product - middle**2) / (0.5 * (square + e2) - middle**2)


class Interval(NamedTuple):
    low: np.ndarray
    high: np.ndarray


def interval(whole: np.ndarray, less: np.ndarray, confidence: float) -> Interval:
    """Student's interval about `whole` from the estimates that leave out one replicate each (`[replicate, ...]`).

    The jackknife over replicates: an index is a ratio, whose value in one replicate is biased by few samples, and that bias is
    not in the spread of estimates from all but one.
    """
    r = len(less)
    spread = np.sqrt((r - 1) / r * ((less - less.mean(axis=0)) ** 2).sum(axis=0))
    half = stats.t.ppf(0.5 + 0.5 * confidence, r - 1) * spread
    return Interval(whole - half, whole + half)


class Found(NamedTuple):
    """Estimates of all replicates together, and intervals of first, total and second (`[..., output, group]`)."""

    estimates: Estimates
    first: Interval
    total: Interval
    second: Interval
    n: Float[np.ndarray, "output"]
    missing: Float[np.ndarray, "output"]


def indices(m: Moments, centre: Float[np.ndarray, "output"], confidence: float = 0.95) -> Found:
    """Indices with intervals from moments `[replicate, output, ...]`."""
    together = Moments(*(part.sum(axis=0) for part in m))
    left = Moments(*(part[None].sum(axis=1) - part for part in m))
    whole, less = estimate(together, centre), estimate(left, centre)
    # replicates are the second axis of what has estimators, the first of the rest
    parts = (np.moveaxis(less.first, 1, 0), np.moveaxis(less.total, 1, 0), less.second)
    first, total, second = (interval(w, one, confidence) for w, one in zip(whole[:3], parts, strict=True))
    return Found(whole, first, total, second, together.n, together.missing)
