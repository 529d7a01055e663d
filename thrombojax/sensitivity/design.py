"""Samples as rows of factor values, block by block, and what is kept of each block.

Whatever runs the blocks (in memory, or as shards on disk) sees a number of blocks and a function from a block to one vector.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from thrombojax.sensitivity.factors import Space
from thrombojax.sensitivity.samples import numbers, points
from thrombojax.sensitivity.simulate import Rows, Simulated

ROWS = 16384
"""Rows of a block, about: what one launch takes."""

NUMBERS = 2**22
"""Outputs of a block, about: what is kept in memory at once."""

Function = Callable[[Rows], Simulated]


class Counted(Protocol):
    """Runs the blocks of a stage and yields their vectors in order; may have some of them already.

    The last cell of a vector counts failed trajectories; rows: of a block.
    """

    def __call__(
        self, name: str, blocks: int, cells: int, rows: int, compute: Callable[[int], Float[np.ndarray, "cell"]]
    ) -> Iterable[Float[np.ndarray, "cell"]]: ...


def in_memory(
    name: str, blocks: int, cells: int, rows: int, compute: Callable[[int], Float[np.ndarray, "cell"]]
) -> Iterator[Float[np.ndarray, "cell"]]:
    """The simplest of them: nothing is kept."""
    return (compute(block) for block in range(blocks))


def room(outputs: int) -> int:
    """Rows of a block, fewer where there are many outputs."""
    return min(ROWS, max(NUMBERS // max(outputs, 1), 1024))


def of(function: Callable[[Any], Any]) -> Function:
    """Any vectorised function of factor values (`[factor, row]` -> `[row]` or `[output, row]`) as one of rows."""

    def call(rows: Rows) -> Simulated:
        y = np.atleast_2d(np.asarray(function(rows.values), float))
        return Simulated(y, np.zeros((1, y.shape[1]), np.uint8))

    return call


@dataclass(frozen=True, eq=False)
class Saltelli:
    """Base samples of replicates, each in blocks; `chance`: what else makes rows differ is one more group.

    start, stop: of the base samples of each replicate; most: rows of a block.
    """

    space: Space
    start: int
    stop: int
    replicates: int
    sampler: str = "sobol"
    seed: int = 1
    second: bool = False
    chance: bool = False
    most: int = ROWS

    @property
    def groups(self) -> int:
        return len(self.space.groups) + self.chance

    @property
    def columns(self) -> int:
        return 2 + self.groups * (1 + self.second)

    @property
    def width(self) -> int:
        """Base samples of a block: a power of two, so that blocks end where the sample's balance does."""
        fitting = max(self.most // self.columns, 1)
        return min(1 << (fitting.bit_length() - 1), self.stop - self.start)

    @property
    def blocks(self) -> int:
        return self.replicates * self.each

    @property
    def each(self) -> int:
        """Blocks of a replicate."""
        return -(-(self.stop - self.start) // self.width)

    def replicate(self, block: int) -> int:
        return block // self.each

    def rows(self, block: int) -> Rows:
        """Rows of one block, column after column: A, B, AB of every group, BA of every group."""
        replicate = self.replicate(block)
        first = self.start + block % self.each * self.width
        last = min(first + self.width, self.stop)
        k = self.space.k
        u = points(self.sampler, 2 * k, self.stop, self.seed, replicate, first, last)
        a, b = self.space.values(u[:k]), self.space.values(u[k:])
        number = numbers(replicate, first, last)
        own, other = (a, number), (b, number + 1)
        blocks = [own, other, *(self._mixed(own, other, g) for g in range(self.groups))]
        if self.second:
            blocks += [self._mixed(other, own, g) for g in range(self.groups)]
        return Rows(np.concatenate([v for v, _ in blocks], axis=1), np.concatenate([c for _, c in blocks]))

    def _mixed(self, a: Any, b: Any, group: int) -> Any:
        """A with the factors of one group from B."""
        mine = self.space.member == group
        values = np.where(mine[:, None], b[0], a[0])
        return values, b[1] if group == len(self.space.groups) else a[1]
