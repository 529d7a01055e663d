"""What is known of a parameter before its patient's counts: its distribution in the cohort, in its standard deviations."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thrombojax.dosing.care import sd
from thrombojax.patients.cohort import Cohort, LogNormal, Normal, Uniform


class Prior(NamedTuple):
    """A parameter (or `count`) as a function of z, standard normal over patients.

    log: its logarithm is normal, with that spread, else it is, with that standard deviation; centre: its median (None: what the
    patient has without it); low, high: outside of which it is cut off.
    """

    name: str
    log: bool
    spread: float
    centre: float | None = None
    low: float = 0.0
    high: float = np.inf

    def value(self, typical: np.ndarray, z: np.ndarray) -> np.ndarray:
        middle = typical if self.centre is None else self.centre
        return np.asarray(middle * np.exp(self.spread * z) if self.log else middle + self.spread * z)

    def slope(self, typical: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Of the value in z."""
        return self.spread * self.value(typical, z) if self.log else np.full(np.shape(z), self.spread)

    def place(self, typical: np.ndarray, value: float) -> np.ndarray:
        """The z of a value: where the prior is cut off."""
        middle = np.broadcast_to(typical if self.centre is None else self.centre, np.shape(typical))
        if not self.log:
            return (value - middle) / self.spread
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(value / middle) / self.spread)


def of_cohort(cohort: Cohort | None, leaf: str, cv: float | None, own_cv: float | None) -> Prior | None:
    """The prior of a leaf (full name): the CV that is asked for, what the cohort says, or the model's own (`own_cv`)."""
    if cv is not None:
        said = _distribution(cohort, leaf)
        median = said.median if isinstance(said, LogNormal) else said.mean if said is not None else None
        return Prior(leaf, True, sd(cv), median)
    said = _distribution(cohort, leaf)
    if said is None:
        return Prior(leaf, True, sd(own_cv)) if own_cv else None
    if isinstance(said, LogNormal):
        return Prior(leaf, True, sd(said.cv), said.median, said.low, said.high)
    return Prior(leaf, False, said.mean * said.cv, said.mean, said.low, said.high)


def _distribution(cohort: Cohort | None, leaf: str) -> LogNormal | Normal | None:
    if cohort is None:
        return None
    if leaf == "count":
        said = cohort.anchor.count if cohort.anchor is not None else None
        return None if isinstance(said, Uniform) else said
    said = cohort.vary.get(leaf)
    return None if isinstance(said, Uniform) else said


def precision(cohort: Cohort | None, leaves: Sequence[str]) -> np.ndarray:
    """Inverse of the correlation of the leaves' z, `[k, k]`."""
    found = np.eye(len(leaves))
    at: Mapping[str, int] = {leaf: i for i, leaf in enumerate(leaves)}
    for first, second, r in cohort.correlated if cohort is not None else ():
        if first in at and second in at:
            found[at[first], at[second]] = found[at[second], at[first]] = r
    return np.linalg.inv(found)
