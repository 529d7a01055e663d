"""Uniform numbers of a sample, block by block: the same numbers whatever block is asked for first.

A sample has replicates that are independent of each other: scrambles of a Sobol' sequence, Latin hypercubes, or streams of
random numbers. What they have of an index differs by chance alone, and that is where its interval comes from.
"""

import functools
import itertools
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import qmc

from thrombojax.patients.draw import uniform

SAMPLERS = ("sobol", "random", "latin-hypercube", "grid", "table")
STREAMS = ("sobol", "random", "latin-hypercube")
LONGEST = 2**32
"""More points than a replicate has."""
HALF = 2.0**-31
"""Points of a Sobol' sequence are multiples of 2^-30: half a step keeps them off 0 without moving their mean from 1/2."""


def numbers(replicate: int, start: int, stop: int) -> Int[np.ndarray, "point"]:
    """Numbers of the patients whose errors and fluctuations points start..stop of a replicate have; the next is B's."""
    return 2 * (replicate * LONGEST + np.arange(start, stop, dtype=np.int64))


def points(
    sampler: str, dimensions: int, n: int, seed: int, replicate: int, start: int, stop: int
) -> Float[np.ndarray, "dimension point"]:
    """Points start..stop of replicate `replicate`, which has n of them; each in (0, 1)."""
    if sampler == "sobol":
        engine = qmc.Sobol(dimensions, scramble=True, bits=30, rng=_rng(seed, replicate))
        if start:
            engine.fast_forward(start)
        with warnings.catch_warnings():  # of numbers that are no powers of two, which are refused where it matters
            warnings.simplefilter("ignore", UserWarning)
            return np.ascontiguousarray(engine.random(stop - start).T) + HALF
    if sampler == "latin-hypercube":
        return np.ascontiguousarray(_hypercube(dimensions, n, seed, replicate)[:, start:stop])
    index = np.arange(start, stop)
    return np.stack([uniform(seed, f"sensitivity/{replicate}/{d}", index) for d in range(dimensions)])


@functools.lru_cache(maxsize=1)
def _hypercube(dimensions: int, n: int, seed: int, replicate: int) -> Float[np.ndarray, "dimension point"]:
    """A whole replicate: which stratum a point is in depends on all of them."""
    return np.clip(qmc.LatinHypercube(dimensions, rng=_rng(seed, replicate)).random(n).T, 2.0**-53, 1.0 - 2.0**-53)


def _rng(seed: int, replicate: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, replicate]))


def grid(levels: Sequence[int]) -> Float[np.ndarray, "dimension point"]:
    """Every combination of each factor's levels, in the middle of as many equally probable strata."""
    steps = [(np.arange(n) + 0.5) / n for n in levels]
    return np.asarray(list(itertools.product(*steps))).T.copy()
