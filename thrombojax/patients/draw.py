"""Counter-based random numbers: patient i of seed s is the same whatever the chunk, order, devices or workers.

Philox 4x64 is NumPy's; the key is a hash of (seed, variable), the counter is the patient index, and normals come from the
inverse CDF, so that every number is a pure function of (seed, variable, index).
"""

import functools
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri


def uniform(seed: int, variable: str, index: Int[np.ndarray, "patient"]) -> Float[np.ndarray, "patient"]:
    """Uniforms in (0, 1) for patients `index` (`[patient]` integers)."""
    index = np.asarray(index, np.int64)
    if not index.size:
        return np.zeros(0)
    first, last = int(index.min()), int(index.max())
    digest = hashlib.sha256(f"{seed}/{variable}".encode()).digest()
    generator = np.random.Philox(key=np.frombuffer(digest[:16], np.uint64))
    generator.advance(first // 4)
    start = 4 * (first // 4)
    raw: Any = generator.random_raw(last - start + 1)
    return ((raw[index - start] >> np.uint64(11)) + 0.5) * 2.0**-53


@functools.lru_cache(maxsize=1)
def numbered(n: int) -> Int[np.ndarray, "patient"]:
    """0 .. n - 1, read-only and one array for all who ask: ten million patients have 80 MB of numbers."""
    numbers = np.arange(n)
    numbers.flags.writeable = False
    return numbers


def normal(seed: int, variable: str, index: Int[np.ndarray, "patient"]) -> Float[np.ndarray, "patient"]:
    """Standard normals for patients `index`."""
    return ndtri(uniform(seed, variable, index))
