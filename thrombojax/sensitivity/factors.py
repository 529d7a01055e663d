"""Factors: what varies, how, with what, and from uniform numbers to their values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from thrombojax.errors import InputError, Problem
from thrombojax.sensitivity.distributions import SMALL, Distribution


@dataclass(frozen=True)
class Factor:
    """group: factors of one group are one input of an index; unit, meaning: as labels."""

    name: str
    distribution: Distribution
    group: str = ""
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True, eq=False)
class Space:
    """All factors, and the correlations of their normal scores (a Gaussian copula), where there are any.

    correlation: `[factor, factor]` or None where all are independent.
    """

    factors: tuple[Factor, ...]
    correlation: Float[np.ndarray, "factor factor"] | None = None

    @property
    def k(self) -> int:
        return len(self.factors)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.factors)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups in the order of their first factors; a factor without one is a group of itself."""
        return tuple(dict.fromkeys(f.group or f.name for f in self.factors))

    @property
    def member(self) -> np.ndarray:
        """Place of each factor's group, `[factor]`."""
        places = {name: i for i, name in enumerate(self.groups)}
        return np.asarray([places[f.group or f.name] for f in self.factors], int)

    @property
    def across(self) -> tuple[tuple[str, str], ...]:
        """Correlated pairs that are not of one group."""
        if self.correlation is None:
            return ()
        of = self.member
        pairs = np.argwhere(np.triu(self.correlation, 1) != 0.0)
        return tuple((self.names[i], self.names[j]) for i, j in pairs if of[i] != of[j])

    def dependent(self, u: Float[np.ndarray, "factor n"]) -> Float[np.ndarray, "factor n"]:
        """Independent uniform numbers as uniform numbers of this dependence."""
        if self.correlation is None:
            return u
        with np.errstate(divide="ignore"):
            z = np.linalg.cholesky(self.correlation) @ ndtri(np.clip(u, SMALL, 1.0 - SMALL))
        return ndtr(z)

    def values(self, u: Float[np.ndarray, "factor n"]) -> Float[np.ndarray, "factor n"]:
        """Factor values from independent uniform numbers."""
        u = self.dependent(u)
        return np.stack([f.distribution.at(row) for f, row in zip(self.factors, u, strict=True)])

    @property
    def nominal(self) -> Float[np.ndarray, "factor"]:
        """Every factor at its median."""
        return np.asarray([f.distribution.median for f in self.factors])


def correlated(names: Sequence[str], pairs: Sequence[tuple[str, str, float]], where: str) -> np.ndarray | None:
    """The matrix of these correlations. Raises InputError where no factors can have them."""
    if not pairs:
        return None
    place = {name: i for i, name in enumerate(names)}
    matrix = np.eye(len(names))
    for a, b, r in pairs:
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = r
    if np.linalg.eigvalsh(matrix)[0] < 1e-10:
        message = "no factors can have all these correlations: their matrix is not positive definite"
        raise InputError(Problem(where, message))
    return matrix
