"""Cohorts to draw plausible patients from: wider than the cohort that they are of, or with another variation."""

from collections.abc import Mapping, Sequence

import numpy as np

from thrombojax.patients.cohort import COUNT, Block, Cohort, Distribution, LogNormal, Normal, Uniform
from thrombojax.patients.draw import normal


def widened(cohort: Cohort, factor: float, ranges: Mapping[str, Uniform]) -> Cohort:
    """The cohort with standard deviations `factor` times as large (on the scale on which they are normal), and `ranges` in place
    of the distributions of some parameters (or of the `count`)."""
    vary = {leaf: _wider(d, factor) for leaf, d in cohort.vary.items()}
    anchor = cohort.anchor
    if anchor is not None:
        anchor = anchor.model_copy(update={"count": ranges.get(COUNT, _wider(anchor.count, factor))})
    vary |= {leaf: d for leaf, d in ranges.items() if leaf != COUNT}
    correlation = tuple(c for c in cohort.correlation if not set(c.pair) & set(ranges))
    return cohort.model_copy(update={"vary": vary, "anchor": anchor, "correlation": correlation})


def _wider(d: Distribution, factor: float) -> Distribution:
    if isinstance(d, LogNormal):
        return d.model_copy(update={"cv": float(np.sqrt(np.expm1(factor**2 * np.log1p(d.cv**2))))})
    return d.model_copy(update={"cv": factor * d.cv}) if isinstance(d, Normal) else d


def log_ratio(cohort: Cohort, factor: float, known: Sequence[str], seed: int, index: np.ndarray) -> np.ndarray:
    """Logarithm of the density of the cohort over that of the widened one, of patients `index`, `[patient]`.

    cohort: the widened one; known: leaves of the model (others are not drawn). Only what is normal counts: parameters that are
    uniform have no density in the cohort. Correlated scores are linear in independent ones, so that the ratio is of these.
    """
    blocked = {leaf for block in cohort.block for leaf in block.names}
    drawn = [
        leaf for leaf, d in cohort.vary.items() if not isinstance(d, Uniform) and (leaf in known or leaf in blocked)
    ]
    if cohort.anchor is not None and not isinstance(cohort.anchor.count, Uniform):
        drawn.append(COUNT)
    found = np.zeros(len(index))
    for leaf in drawn:
        found += np.log(factor) - 0.5 * (factor**2 - 1.0) * normal(seed, leaf, index) ** 2
    return found


def with_omega(cohort: Cohort, names: Sequence[str], omega: np.ndarray, source: str) -> Cohort:
    """The cohort with log-normal variation of `names` (leaves) and their covariance on the log scale, `[name, name]`, in place of
    its own; medians and clipping stay."""
    sd = np.sqrt(np.diag(omega))
    vary = dict(cohort.vary)
    for leaf, one in zip(names, sd.tolist(), strict=True):
        own = vary.get(leaf)
        kept = {k: getattr(own, k) for k in ("median", "low", "high")} if isinstance(own, LogNormal) else {}
        vary[leaf] = LogNormal(cv=float(np.sqrt(np.expm1(one**2))), source=source, **kept)
    correlation = tuple(tuple(row) for row in (omega / np.outer(sd, sd)).tolist())
    pairs = tuple(c for c in cohort.correlation if not set(c.pair) & set(names))
    block = Block(names=tuple(names), correlation=correlation, source=source)
    return cohort.model_copy(update={"vary": vary, "correlation": pairs, "block": (*cohort.block, block)})
