"""One-dimensional distributions of factors by their quantiles, and the score in which each is differentiated.

A factor's value is a function of a uniform number u in (0, 1), so that every sampler is one of uniform numbers. Its *score* is a
variable in which a Poincare inequality has a known constant: u itself for uniform factors (1/pi^2), the standard normal number
z with u = Phi(z) for all others (1), as in Lamboni et al. 2013 (doi 10.1016/j.matcom.2013.02.002): a total Sobol' index is at
most constant x E[(dY/dscore)^2] / Var(Y).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

UNIFORM = ("uniform", "log-uniform")
ENDED = (*UNIFORM, "triangular", "whole")
"""Kinds whose values have ends."""
SMALL = 2.0**-40
"""As close to 0 and 1 as a number goes that is made a normal one."""


@dataclass(frozen=True)
class Distribution:
    """centre, spread: mean and SD of a normal, median and SD of the logarithm of a log-normal; low, high: ends (of a normal or
    log-normal: where it is cut off; clipped: what lies beyond is put there instead); mode: of a triangular.

    `whole` is every whole number from low to high, each as likely, and has no derivatives.
    """

    kind: str
    centre: float = 0.0
    spread: float = 1.0
    low: float = -np.inf
    high: float = np.inf
    mode: float = 0.0
    clipped: bool = False

    def at(self, u: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Quantiles at uniform numbers."""
        if self.kind == "uniform":
            return self.low + (self.high - self.low) * u
        if self.kind == "log-uniform":
            return self.low * (self.high / self.low) ** u
        if self.kind == "whole":
            return np.minimum(np.floor(self.low + (self.high - self.low + 1.0) * u), self.high)
        if self.kind == "triangular":
            width, rise = self.high - self.low, self.mode - self.low
            up = self.low + np.sqrt(u * width * rise)
            down = self.high - np.sqrt((1.0 - u) * width * (self.high - self.mode))
            return np.where(u * width < rise, up, down)
        first, last = self._cut()
        z = ndtri(np.clip(first + (last - first) * u, SMALL, 1.0 - SMALL))
        found = self.centre * np.exp(self.spread * z) if self.kind == "log-normal" else self.centre + self.spread * z
        return np.clip(found, self.low, self.high)

    def _cut(self) -> tuple[float, float]:
        """Shares of the whole distribution below its ends."""
        if self.clipped:
            return 0.0, 1.0
        ends = np.asarray([self.low, self.high], float)
        if self.kind == "log-normal":
            with np.errstate(divide="ignore"):
                ends = np.log(np.maximum(ends, 0.0) / self.centre)
            return tuple(ndtr(ends / self.spread))
        return tuple(ndtr((ends - self.centre) / self.spread))

    @property
    def median(self) -> float:
        return float(self.at(np.asarray(0.5)))

    @property
    def constant(self) -> float:
        """Poincare constant of the score."""
        return 1.0 / np.pi**2 if self.kind in UNIFORM else 1.0

    def by_score(self, u: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """d value / d score at uniform numbers. NaN where there is none."""
        if self.kind == "whole":
            return np.full_like(u, np.nan)
        if self.kind == "uniform":
            return np.full_like(u, self.high - self.low)
        if self.kind == "log-uniform":
            return np.log(self.high / self.low) * self.at(u)
        z = ndtri(np.clip(u, SMALL, 1.0 - SMALL))
        normal = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
        value = self.at(u)
        if self.kind == "triangular":
            width = self.high - self.low
            below = 2.0 * (value - self.low) / (width * max(self.mode - self.low, np.finfo(float).tiny))
            above = 2.0 * (self.high - value) / (width * max(self.high - self.mode, np.finfo(float).tiny))
            return normal / np.maximum(np.where(value < self.mode, below, above), np.finfo(float).tiny)
        first, last = self._cut()
        inner = ndtri(np.clip(first + (last - first) * u, SMALL, 1.0 - SMALL))
        slope = self.spread * (last - first) * np.exp(0.5 * (inner**2 - z**2))
        slope = slope * value if self.kind == "log-normal" else slope
        inside = (value > self.low) & (value < self.high)  # beyond a clip nothing moves
        return np.where(inside, slope, 0.0) if self.clipped else slope
