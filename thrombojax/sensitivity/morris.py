"""Screening by Morris' elementary effects (Morris 1991, doi 10.1080/00401706.1991.10484804), streamed.

Trajectories walk a grid of quantiles, one factor a step; an effect is the step's change of an output over the step, in shares of
the factor's distribution. mu_star: mean size (Campolongo et al. 2007, doi 10.1016/j.envsoft.2006.10.004); sigma: SD, large where
an effect depends on where the others are.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from thrombojax.sensitivity.design import Counted, Function, in_memory, room
from thrombojax.sensitivity.distributions import ENDED
from thrombojax.sensitivity.factors import Space
from thrombojax.sensitivity.indices import Interval
from thrombojax.sensitivity.samples import numbers
from thrombojax.sensitivity.simulate import Rows

TAIL = 0.005
"""Quantile at which the grid of a factor without ends begins and, above, ends."""
STREAM = 2**22


@dataclass(frozen=True, eq=False)
class Morris:
    """All `[output, factor]`; n: effects that count; ends: Student's interval of mu_star over trajectories."""

    mu: Float[np.ndarray, "output factor"]
    mu_star: Float[np.ndarray, "output factor"]
    sigma: Float[np.ndarray, "output factor"]
    ends: Interval
    n: Float[np.ndarray, "output factor"]
    runs: int
    failed: int


def walk(k: int, levels: int, seed: int, trajectory: int) -> tuple[Float[np.ndarray, "factor step"], np.ndarray]:
    """One trajectory on the unit grid, `[factor, k + 1]`, and which factor each step moves, `[k]`; a step is levels/2 of
    levels - 1 distances of the grid."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, STREAM, trajectory]))
    step = levels // 2
    low = rng.integers(0, levels - step, k)
    up = rng.integers(0, 2, k).astype(bool)
    order = rng.permutation(k)
    at = np.where(up, low, low + step)
    found = np.repeat(at[:, None], k + 1, axis=1)
    for place, factor in enumerate(order):
        found[factor, place + 1 :] = low[factor] + step * up[factor]
    return found / (levels - 1), order


def values(space: Space, unit: Float[np.ndarray, "factor row"]) -> Float[np.ndarray, "factor row"]:
    """Factor values on the grid; where a distribution has no ends, between quantiles."""
    bounded = np.asarray([f.distribution.kind in ENDED for f in space.factors])
    return space.values(np.where(bounded[:, None], unit, TAIL + (1.0 - 2.0 * TAIL) * unit))


def morris(
    function: Function,
    space: Space,
    trajectories: int,
    outputs: int,
    *,
    levels: int = 4,
    seed: int = 1,
    confidence: float = 0.95,
    counted: Counted = in_memory,
) -> Morris:
    """levels: of the grid, even. Effects of which a run failed are left out."""
    k = space.k
    width = min(max(room(outputs) // (k + 1), 1), trajectories)
    blocks = -(-trajectories // width)
    size = outputs * k

    def compute(block: int) -> np.ndarray:
        walks = [walk(k, levels, seed, t) for t in range(block * width, min((block + 1) * width, trajectories))]
        unit = np.concatenate([w for w, _ in walks], axis=1)
        chance = np.repeat(numbers(STREAM, block * width, block * width + len(walks)), k + 1)
        y, status = function(Rows(values(space, unit), chance))
        y = y.reshape(outputs, len(walks), k + 1)
        found = np.zeros((4, outputs, k))
        for t, (w, own) in enumerate(walks):
            step = np.diff(w, axis=1)[own, np.arange(k)]
            effect = np.diff(y[:, t], axis=1) / step
            good = np.isfinite(effect)
            effect = np.where(good, effect, 0.0)
            found[0][:, own] += good
            found[1][:, own] += effect
            found[2][:, own] += np.abs(effect)
            found[3][:, own] += effect**2
        return np.append(found.ravel(), np.count_nonzero(status))

    sums = np.zeros(4 * size + 1)
    for vector in counted("morris", blocks, 4 * size + 1, width * (k + 1), compute):
        sums += vector
    n, first, size_of, square = sums[:-1].reshape(4, outputs, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        mu, mu_star = first / n, size_of / n
        sigma = np.sqrt(np.maximum(square - n * mu**2, 0.0) / (n - 1))
        spread = np.sqrt(np.maximum(square / n - mu_star**2, 0.0) / (n - 1))
        half = stats.t.ppf(0.5 + 0.5 * confidence, np.maximum(n - 1, 1)) * spread
    return Morris(
        mu, mu_star, sigma, Interval(mu_star - half, mu_star + half), n, trajectories * (k + 1), int(sums[-1])
    )
