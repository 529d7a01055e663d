"""What is kept of a Sobol' design: sums of products of its columns, in float64, whatever the number of samples.

A base sample j is a row of columns: A_j, B_j, and A_j with the factors of one group from B_j (AB), for every group; for second
order also B_j with a group from A_j (BA). For every output, sums of each column, of its squares, and of its products with A and
B are all that the estimators of `indices` need (and products of BA and AB for second order), so that samples are forgotten as
soon as they are counted. Outputs are counted from a provisional centre, so that nothing cancels. A base sample that lacks a value
in any of its columns is left out of that output's sums and counted as missing.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Moments(NamedTuple):
    """n: base samples with all values; missing: without; first, square, with_a, with_b: `[..., output, column]`; cross:
    `[..., output, group, group]`, sums of BA_i x AB_j (empty without second order). Columns: A, B, AB of every group, BA of
    every group. Leading axes (replicates, blocks) are the caller's."""

    n: Float[np.ndarray, "*lead output"]
    missing: Float[np.ndarray, "*lead output"]
    first: Float[np.ndarray, "*lead output column"]
    square: Float[np.ndarray, "*lead output column"]
    with_a: Float[np.ndarray, "*lead output column"]
    with_b: Float[np.ndarray, "*lead output column"]
    cross: Float[np.ndarray, "*lead output group group"]


def columns(groups: int, second: bool) -> int:
    return 2 + groups * (1 + second)


def moments(y: Float[np.ndarray, "output column base"], centre: Float[np.ndarray, "output"], second: bool) -> Moments:
    """Sums over the base samples of one block."""
    good = np.isfinite(y).all(axis=1)
    y = np.where(good[:, None], y - centre[:, None, None], 0.0)
    n = good.sum(axis=1).astype(float)
    k = (y.shape[1] - 2) // (1 + second)
    ab, ba = y[:, 2 : 2 + k], y[:, 2 + k :]
    cross = np.einsum("oin,ojn->oij", ba, ab) if second else np.zeros((len(y), 0, 0))
    a, b = y[:, :1], y[:, 1:2]
    return Moments(
        n, good.shape[1] - n, y.sum(axis=2), (y * y).sum(axis=2), (a * y).sum(axis=2), (b * y).sum(axis=2), cross
    )


def total(found: Moments, axis: int = 0) -> Moments:
    """Sums over a leading axis."""
    return Moments(*(part.sum(axis=axis) for part in found))


def sizes(outputs: int, groups: int, second: bool) -> tuple[int, ...]:
    """Numbers of each part of one block's moments."""
    c = outputs * columns(groups, second)
    return outputs, outputs, c, c, c, c, outputs * groups * groups * second


def packed(found: Moments) -> Float[np.ndarray, "cell"]:
    """One block's moments as one vector, as they are stored."""
    return np.concatenate([part.ravel() for part in found])


def unpacked(flat: Float[np.ndarray, "*lead cell"], outputs: int, groups: int, second: bool) -> Moments:
    """The moments of such vectors."""
    lead = flat.shape[:-1]
    c, g = columns(groups, second), groups * second
    shapes = ((outputs,), (outputs,), *((outputs, c),) * 4, (outputs, g, g))
    ends = np.cumsum(sizes(outputs, groups, second))
    parts = np.split(flat, ends[:-1], axis=-1)
    return Moments(*(part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True)))
