"""Search for the Runge-Kutta tableau of the fixed-step kernel: `python -m benchmarks.tableau ORDER STAGES [STARTS]`.

Between doses the step is bounded by stability (rates of 4 to 10 per day), not by accuracy, so the first coefficient that the
order leaves free is set for a long interval on the negative real axis; what is then free makes the next order's error small.
"""

import itertools
import math
import sys
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import least_squares

Tree = tuple["Tree", ...]

FREE = {(5, 6): 0.00074, (4, 5): 0.00415}
"""b a^order 1, the coefficient of the stability polynomial that is free: just above where the interval is longest (0.000727,
0.00409), so that |R| stays below 0.93 within it."""
START = {
    (5, 6): np.array([1/5, 3/40, 9/40, 3/10, -9/10, 6/5, -11/54, 5/2, -70/27, 35/27, 1631/55296, 175/512, 575/13824,
                      44275/110592, 253/4096, 37/378, 0, 250/621, 125/594, 0, 512/1771]),
    (4, 5): np.array([1/4, 0, 1/2, 0, 1/4, 1/2, 0, 0, 1/4, 3/4, 1/6, 0, 1/3, 1/3, 1/6]),
}  # fmt: skip
"""Where a search begins, before noise: Cash and Karp (1990, doi:10.1145/79505.79507); about the classical method."""


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """Rooted trees of so many nodes, each as the sorted tuple of its branches."""
    if order == 1:
        return ((),)
    found: set[Tree] = set()
    for parts in _partitions(order - 1):
        for branches in itertools.product(*(trees(k) for k in parts)):
            found.add(tuple(sorted(branches)))
    return tuple(sorted(found))


def _partitions(n: int, largest: int | None = None) -> list[list[int]]:
    if n == 0:
        return [[]]
    top = min(n, largest or n)
    return [[k, *rest] for k in range(top, 0, -1) for rest in _partitions(n - k, k)]


def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree))


def density(tree: Tree) -> int:
    return size(tree) * math.prod(map(density, tree))


def symmetry(tree: Tree) -> int:
    return math.prod(math.factorial(tree.count(t)) * symmetry(t) ** tree.count(t) for t in set(tree))


def weight(tree: Tree, a: np.ndarray) -> np.ndarray:
    found = np.ones(len(a))
    for branch in tree:
        found = found * (a @ weight(branch, a))
    return found


def misses(order: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What the conditions of exactly that order are missed by, as coefficients of the error."""
    return np.array([(b @ weight(t, a) - 1 / density(t)) / symmetry(t) for t in trees(order)])


def unpack(x: np.ndarray, stages: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.zeros((stages, stages))
    a[np.tril_indices(stages, -1)] = x[:-stages]
    return a, x[-stages:]


def interval(a: np.ndarray, b: np.ndarray) -> float:
    """Largest z for which |R(-x)| <= 1 for all x up to z."""
    v, polynomial = np.ones(len(b)), [1.0]
    for _ in b:
        polynomial.append(float(b @ v))
        v = a @ v
    z = np.linspace(0.01, 14, 1400)
    bad = np.abs(np.polyval(polynomial[::-1], -z)) > 1 + 1e-9
    return float(z[np.argmax(bad)]) if bad.any() else 14.0


def search(order: int, stages: int, free: float, rng: np.random.Generator) -> tuple[float, np.ndarray] | None:
    """One start: (principal error, unknowns), or None where the conditions are not met."""

    def conditions(x: np.ndarray) -> np.ndarray:
        a, b = unpack(x, stages)
        tall = b @ np.linalg.matrix_power(a, order) @ np.ones(stages)
        return np.concatenate([*(misses(k, a, b) for k in range(1, order + 1)), [tall - free]])

    def everything(x: np.ndarray, weight: float) -> np.ndarray:
        a, b = unpack(x, stages)
        return np.concatenate([weight * conditions(x), misses(order + 1, a, b), 2e-5 * x])

    x: Any = START[order, stages] + rng.normal(0, 0.15, stages * (stages - 1) // 2 + stages)
    for w in (1e1, 1e3):
        x = least_squares(everything, x, args=(w,), method="trf", max_nfev=60).x
    x = least_squares(conditions, x, method="trf", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=200).x
    if np.max(np.abs(conditions(x))) > 1e-14 or np.max(np.abs(x)) > 20:
        return None
    a, b = unpack(x, stages)
    return float(np.linalg.norm(misses(order + 1, a, b))), x


def main() -> None:
    order, stages = int(sys.argv[1]), int(sys.argv[2])
    free = FREE[order, stages]
    rng = np.random.default_rng(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    best = math.inf
    for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 100):
        found = search(order, stages, free, rng)
        if found is None or found[0] >= best:
            continue
        best = found[0]
        a, b = unpack(found[1], stages)
        print(f"error {best:.3e}, stable to {interval(a, b):.2f}, largest {np.abs(found[1]).max():.2f}")
        print("a =", [list(map(float, row[:k])) for k, row in enumerate(a)], "\nb =", list(map(float, b)), flush=True)


if __name__ == "__main__":
    main()
