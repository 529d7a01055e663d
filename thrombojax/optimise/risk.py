"""Risk over a population: means, tails, chances; and what a count of patients says about a share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import beta


def cvar(loss: Any, level: float) -> Any:
    """Mean of the worst 1 - level of the losses (`[patient]`), by Rockafellar and Uryasev (2000).

    Their minimum over the threshold is at the quantile: a loss itself, which has what weight the tail leaves.
    """
    threshold = jnp.sort(loss)[_rank(loss.shape[0], level)]
    return threshold + jnp.mean(jnp.where(loss > threshold, loss - threshold, 0.0)) / (1.0 - level)


def _rank(n: int, level: float) -> int:
    """Place of the upper quantile among n sorted losses: the smallest t with P(loss <= t) >= level."""
    return min(n - 1, max(0, int(np.ceil(level * n - 1e-9)) - 1))


def chance(value: Any, bound: float, width: float, least: bool) -> Any:
    """Smooth share of patients whose value is at least (or at most) a bound; width: of the edge, in the value's unit."""
    sign = 1.0 if least else -1.0
    return jnp.mean(jax.nn.sigmoid(sign * (value - bound) / width))


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share of which k of n were seen (Clopper and Pearson, 1934)."""
    rest = 0.5 * (1.0 - confidence)
    low = 0.0 if k == 0 else float(beta.ppf(rest, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1.0 - rest, k + 1, n - k))
    return low, high


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Normal interval of a mean over patients (`[patient]`)."""
    from scipy.stats import norm

    half = float(norm.ppf(0.5 + 0.5 * confidence)) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half
