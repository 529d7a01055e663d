"""Derivative-based measures: mean squares of derivatives over the factors' distributions, and the bound that they put on totals.

nu_i = E[(dY/ds_i)^2] with the factor's score s_i (`distributions`), and T_i <= C_i nu_i / Var(Y) with the Poincare constant C_i
of that score (Sobol' & Kucherenko 2009, doi 10.1016/j.matcom.2009.01.023; Lamboni et al. 2013, doi 10.1016/j.matcom.2013.02.002).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thrombojax.sensitivity.derivatives import Tangents
from thrombojax.sensitivity.design import Counted, in_memory
from thrombojax.sensitivity.factors import Space
from thrombojax.sensitivity.indices import Interval, interval
from thrombojax.sensitivity.samples import numbers, points
from thrombojax.sensitivity.simulate import Rows

BLOCK = 1024
"""Rows of a block, at most."""
DERIVATIVES = 2**21
"""Replicates of its sample count from here, so that no other method has them."""


@dataclass(frozen=True, eq=False)
class Dgsm:
    """nu, bound: `[output, factor]`, with the bound's interval; mean: E[dY/ds]; local: dY/ds with every factor at its median.

    NaN for outputs without a derivative. rows: of all replicates; failed: trajectories.
    """

    nu: Float[np.ndarray, "output factor"]
    bound: Float[np.ndarray, "output factor"]
    ends: Interval
    mean: Float[np.ndarray, "output factor"]
    local: Float[np.ndarray, "output factor"]
    rows: int
    failed: int


def dgsm(
    derivatives: Callable[[Rows], Tangents],
    space: Space,
    rows: int,
    outputs: int,
    *,
    replicates: int = 16,
    sampler: str = "sobol",
    seed: int = 1,
    confidence: float = 0.95,
    variance: Float[np.ndarray, "output"] | None = None,
    counted: Counted = in_memory,
) -> Dgsm:
    """variance: of the outputs, where it is known better (NaN: it does not vary); else that of the sample itself."""
    k, each = space.k, -(-rows // replicates)
    width = min(each, BLOCK)
    blocks = -(-each // width)
    cells = outputs * (3 + 2 * k) + 1

    def compute(block: int) -> np.ndarray:
        replicate, first = DERIVATIVES + block // blocks, block % blocks * width
        last = min(first + width, each)
        u = points(sampler, k, each, seed, replicate, first, last)
        chance = numbers(replicate, first, last)
        y, by, failed = derivatives(Rows(space.values(u), chance))
        by = by * np.stack([f.distribution.by_score(row) for f, row in zip(space.factors, u, strict=True)])
        good = np.isfinite(y)[:, None] & np.isfinite(by).all(axis=1, keepdims=True)
        by, y = np.where(good, by, 0.0), np.where(good[:, 0], y, 0.0)
        parts = (good[:, 0].sum(axis=1), y.sum(axis=1), (y**2).sum(axis=1), by.sum(axis=2), (by**2).sum(axis=2))
        return np.concatenate([*(np.ravel(part) for part in parts), [failed]])

    sums = np.zeros((replicates, cells))
    for block, vector in enumerate(counted("dgsm", replicates * blocks, cells, width * (k + 1), compute)):
        sums[block // blocks] += vector

    def estimate(s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n, y1, y2, first, square = np.split(s[..., :-1], np.cumsum([*(outputs,) * 3, outputs * k]), axis=-1)
        first, square = (part.reshape(*s.shape[:-1], outputs, k) for part in (first, square))
        with np.errstate(invalid="ignore", divide="ignore"):
            own = y2 / n - (y1 / n) ** 2 if variance is None else variance
            nu = square / n[..., None]
            constants = np.asarray([f.distribution.constant for f in space.factors])
            return nu, constants * nu / np.where(own > 0, own, np.nan)[..., None], first / n[..., None]

    whole, less = estimate(sums.sum(axis=0)), estimate(sums.sum(axis=0) - sums)
    middle = derivatives(Rows(space.nominal[:, None], np.zeros(1, int)))
    by_score = np.asarray([float(f.distribution.by_score(np.asarray([0.5]))[0]) for f in space.factors])
    local = middle.by[..., 0] * by_score
    return Dgsm(
        whole[0],
        whole[1],
        interval(whole[1], less[1], confidence),
        whole[2],
        local,
        each * replicates,
        int(sums[:, -1].sum()),
    )
