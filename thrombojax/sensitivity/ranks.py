"""Correlation and regression of ranks on a stored sample: partial (PRCC) and standardised regression (SRRC) coefficients.

PRCC: correlation of the ranks of a factor and an output, each less what the ranks of all other factors explain of it (Iman &
Helton 1988, doi 10.1111/j.1539-6924.1988.tb01155.x); its interval is Fisher's. SRRC: coefficients of the regression of the
output's ranks on all factors' ranks, in SDs; their intervals are Student's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Coefficients(NamedTuple):
    """`[factor]`; NaN where the output or a factor does not vary, or rows are too few."""

    value: Float[np.ndarray, "factor"]
    low: Float[np.ndarray, "factor"]
    high: Float[np.ndarray, "factor"]


def ranked(x: Float[np.ndarray, "factor row"], y: Float[np.ndarray, "row"]) -> Float[np.ndarray, "one row"] | None:
    """Standardised ranks, the output last; None where they are no regression."""
    good = np.isfinite(y)
    k, n = len(x), int(good.sum())
    if n < k + 4 or np.ptp(y[good]) == 0.0 or np.any(np.ptp(x[:, good], axis=1) == 0.0):
        return None
    ranks = np.apply_along_axis(stats.rankdata, 1, np.vstack([x[:, good], y[good]]))
    ranks -= ranks.mean(axis=1, keepdims=True)
    return ranks / ranks.std(axis=1, keepdims=True)


def _none(k: int) -> Coefficients:
    return Coefficients(*(np.full(k, np.nan) for _ in range(3)))


def prcc(x: Float[np.ndarray, "factor row"], y: Float[np.ndarray, "row"], confidence: float = 0.95) -> Coefficients:
    """Partial rank correlations with Fisher's intervals."""
    z = ranked(x, y)
    if z is None:
        return _none(len(x))
    inverse = np.linalg.pinv(z @ z.T / z.shape[1])
    value = -inverse[:-1, -1] / np.sqrt(np.diag(inverse)[:-1] * inverse[-1, -1])
    value = np.clip(value, -1.0, 1.0)
    half = stats.norm.ppf(0.5 + 0.5 * confidence) / np.sqrt(z.shape[1] - len(x) - 2)
    with np.errstate(divide="ignore"):
        middle = np.arctanh(value)
    return Coefficients(value, np.tanh(middle - half), np.tanh(middle + half))


def srrc(x: Float[np.ndarray, "factor row"], y: Float[np.ndarray, "row"], confidence: float = 0.95) -> Coefficients:
    """Standardised rank regression coefficients with Student's intervals."""
    z = ranked(x, y)
    if z is None:
        return _none(len(x))
    k, n = len(x), z.shape[1]
    value, *_ = np.linalg.lstsq(z[:-1].T, z[-1], rcond=None)
    left = z[-1] - value @ z[:-1]
    spread = np.sqrt(left @ left / (n - k - 1) * np.diag(np.linalg.pinv(z[:-1] @ z[:-1].T)))
    half = stats.t.ppf(0.5 + 0.5 * confidence, n - k - 1) * spread
    return Coefficients(value, value - half, value + half)
