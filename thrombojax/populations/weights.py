"""Weights of plausible patients: as close to where they start as targets allow (maximum entropy, exponential tilting).

A target asks that the weighted mean of a feature (the share at or below a value, a mean, a square) is a number. Of all weights
for which it is, those nearest to the base weights in relative entropy are `base * exp(multipliers . features)`; the multipliers
minimise a convex function of as many variables as there are features, whatever the number of patients (Csiszar 1975,
doi 10.1214/aop/1176996454). A small quadratic price on the multipliers leaves targets that contradict each other as nearly met as
they can be, where the pure problem has no solution (Dudik, Phillips and Schapire 2007).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

RELAXED = 1e-5
"""Price on the multipliers, in squared standard deviations of a feature: what a target gives way to another."""


class Tilted(NamedTuple):
    """weights: `[patient]`, their sum 1; multipliers: `[feature]`; missed: `[feature]`, weighted mean less its goal."""

    weights: np.ndarray
    multipliers: np.ndarray
    missed: np.ndarray


def tilt(base: np.ndarray, features: np.ndarray, goals: np.ndarray, relaxed: float = RELAXED) -> Tilted:
    """base: `[patient]`, positive; features: `[feature, patient]`; goals: `[feature]`, of their weighted means.

    A feature that is the same in all patients decides nothing and is left alone (multiplier 0).
    """
    start = np.log(base / base.sum())
    spread = features.std(axis=1)
    varies = spread > 1e-12 * (1.0 + np.abs(features).max(axis=1, initial=0.0))
    scale = np.where(varies, spread, 1.0)
    centred = ((features - goals[:, None]) / scale[:, None])[varies]

    # Sums by einsum, which has one thread: products this thin cost BLAS more waiting for its threads than computing,
    # a hundred times as much beside other work (measured).
    def weigh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponents = start + np.einsum("f,fp->p", x, centred)
        w = softmax(exponents)
        return exponents, w

    def dual(x: np.ndarray) -> tuple[float, np.ndarray]:
        exponents, w = weigh(x)
        return float(logsumexp(exponents)) + 0.5 * relaxed * x @ x, np.einsum("fp,p->f", centred, w) + relaxed * x

    def curvature(x: np.ndarray) -> np.ndarray:
        _, w = weigh(x)
        mean = np.einsum("fp,p->f", centred, w)
        return np.einsum("fp,gp->fg", centred * w, centred) - np.outer(mean, mean) + relaxed * np.eye(len(x))

    x = np.zeros(len(centred))
    if len(x):
        x = minimize(dual, x, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-9, "maxiter": 500}).x
    _, weights = weigh(x)
    multipliers = np.zeros(len(features))
    multipliers[varies] = x / scale[varies]
    return Tilted(weights, multipliers, np.einsum("fp,p->f", features, weights) - goals)


def share_below(values: np.ndarray, weights: np.ndarray, at: np.ndarray, strict: bool = False) -> np.ndarray:
    """Weighted share of values at or below each of `at` (strict: below), `[at]`; the weights need no sum of 1."""
    order = np.argsort(values, kind="stable")
    steps = np.concatenate([[0.0], np.cumsum(weights[order])])
    return steps[np.searchsorted(values[order], at, side="left" if strict else "right")] / steps[-1]
