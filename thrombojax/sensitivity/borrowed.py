"""Methods that are SALib's: PAWN, delta and RBD-FAST on the stored sample, FAST on a sample of its own."""

import contextlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from thrombojax.sensitivity.design import Counted, Function, in_memory, room
from thrombojax.sensitivity.factors import Space
from thrombojax.sensitivity.samples import numbers
from thrombojax.sensitivity.simulate import Rows

FAST = 2**23
KEYS: Mapping[str, tuple[str, str]] = {
    "pawn": ("median", "maximum"),
    "delta": ("delta_balanced", "delta_balanced_conf"),
    "rbd-fast": ("S1", "S1_conf"),
}
"""What is taken of what SALib finds."""
Found = Mapping[str, Float[np.ndarray, "factor"]]


def specified(names: tuple[str, ...]) -> dict[str, Any]:
    """SALib's description of factors on the unit cube."""
    return {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}


def given(
    method: str, names: tuple[str, ...], x: Float[np.ndarray, "factor row"], y: Float[np.ndarray, "row"], seed: int,
    confidence: float,
) -> Found:  # fmt: skip
    """One method's numbers by name, from rows that have a value."""
    from SALib.analyze import delta, pawn, rbd_fast

    good = np.isfinite(y)
    x, y = np.ascontiguousarray(x[:, good].T), y[good]
    keys = KEYS[method]
    if len(y) < 2 * len(names) + 8 or np.ptp(y) == 0.0:
        return {key: np.full(len(names), np.nan) for key in keys}
    problem = specified(names)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if method == "pawn":
            found = pawn.analyze(problem, x, y, S=10, seed=seed)
        elif method == "delta":
            found = delta.analyze(problem, x, y, num_resamples=20, conf_level=confidence, seed=seed)
        else:
            found = rbd_fast.analyze(problem, x, y, num_resamples=100, conf_level=confidence, seed=seed)
    return {key: np.asarray(found[key], float) for key in keys}


def fast(
    function: Function, space: Space, frequencies: int, outputs: int, *, seed: int = 1, confidence: float = 0.95,
    counted: Counted = in_memory,
) -> dict[str, Float[np.ndarray, "output factor"]]:  # fmt: skip
    """First-order and total indices by FAST (Saltelli et al. 1999); frequencies: rows for each factor. NaN where a run failed."""
    from SALib.analyze import fast as analysis
    from SALib.sample import fast_sampler

    problem = specified(space.names)
    unit = np.clip(fast_sampler.sample(problem, frequencies, M=4, seed=seed).T, 2.0**-40, 1.0 - 2.0**-40)
    x = space.values(unit)
    n = x.shape[1]
    width = min(room(outputs), n)

    def compute(block: int) -> np.ndarray:
        mine = slice(block * width, min((block + 1) * width, n))
        y, status = function(Rows(x[:, mine], np.repeat(numbers(FAST, 0, 1), x[:, mine].shape[1])))
        vector = np.full((outputs, width), np.nan)
        vector[:, : y.shape[1]] = y
        return np.append(vector, np.count_nonzero(status))

    kept = counted("fast", -(-n // width), outputs * width + 1, width, compute)
    y = np.concatenate([v[:-1].reshape(outputs, width) for v in kept], axis=1)[:, :n]
    found = {key: np.full((outputs, space.k), np.nan) for key in ("S1", "ST")}
    for o in range(outputs):
        if np.isfinite(y[o]).all() and np.ptp(y[o]) > 0.0:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                one = analysis.analyze(problem, y[o], M=4, num_resamples=10, conf_level=confidence, seed=seed)
            for key, rows in found.items():
                rows[o] = one[key]
    return found
