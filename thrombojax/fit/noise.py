"""How counts scatter about what is predicted: minus the log-likelihood, its slope and its expected curvature."""

from typing import NamedTuple

import numpy as np

from thrombojax.dosing.care import sd


class Noise(NamedTuple):
    """log: measured = predicted x exp(s e), s of that CV, as of visits; else sd^2 = (cv x predicted)^2 + additive^2."""

    log: bool
    cv: float
    additive: float = 0.0


class Score(NamedTuple):
    """loss: `[patient]`; slope, curvature: `[place, patient]`, of the loss in each prediction (the curvature is expected)."""

    loss: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray


def score(noise: Noise, observed: np.ndarray, predicted: np.ndarray) -> Score:
    """observed, predicted: `[place, patient]`; a place without an observation is NaN and counts nothing.

    Constants are left out. A count that is predicted to be 0 or less cannot be: its loss is infinite.
    """
    there = ~np.isnan(observed)
    possible = (predicted > 0) | ~there
    f = np.where(there & possible, predicted, 1.0)
    y = np.where(there & possible, observed, 1.0)
    if noise.log:
        spread = sd(noise.cv)
        with np.errstate(divide="ignore"):
            r = np.log(y / f) / spread
        each = 0.5 * r**2
        slope, curvature = -r / (spread * f), 1.0 / (spread * f) ** 2
    else:
        variance = (noise.cv * f) ** 2 + noise.additive**2
        moves = 2.0 * noise.cv**2 * f  # the variance's slope
        r = y - f
        each = 0.5 * (r**2 / variance + np.log(variance))
        slope = -r / variance + 0.5 * moves * (1.0 - r**2 / variance) / variance
        curvature = 1.0 / variance + 0.5 * (moves / variance) ** 2
    loss = np.where(possible, np.where(there, each, 0.0), np.inf).sum(axis=0)
    return Score(loss, np.where(there, slope, 0.0), np.where(there, curvature, 0.0))
