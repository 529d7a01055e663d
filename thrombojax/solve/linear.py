"""Exact advance of linear compartments: the matrix exponential, elementwise over patients.

Scaling and squaring of exp(A h) - I: no eigenvalues, so coalescing rates need no case of their own and gradients are smooth;
working on the difference from the identity keeps float32 exact to a few units in the last place. Entries that are
structurally zero are the Python float 0.0 and cost nothing.
"""

from typing import Any

from thrombojax.models.protocol import LinearBlock
from thrombojax.models.struct import Scalar

SQUARINGS = 8
TERMS = 10
"""Taylor terms: 1e-11 relative for a rate x step of 128, 1e-17 below 30."""

Matrix = list[list[Scalar]]


def _is_zero(x: Scalar) -> bool:
    return isinstance(x, float) and x == 0.0


def _product(a: Scalar, b: Scalar) -> Scalar:
    return 0.0 if _is_zero(a) or _is_zero(b) else a * b


def _total(terms: list[Scalar]) -> Scalar:
    live = [t for t in terms if not _is_zero(t)]
    return sum(live[1:], live[0]) if live else 0.0


def _multiply(a: Matrix, b: Matrix) -> Matrix:
    n = len(a)
    return [[_total([_product(a[i][k], b[k][j]) for k in range(n)]) for j in range(n)] for i in range(n)]


def _add(a: Matrix, b: Matrix) -> Matrix:
    return [[_total([x, y]) for x, y in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]


def _scale(a: Matrix, factor: Scalar) -> Matrix:
    return [[_product(x, factor) for x in row] for row in a]


def generator(block: LinearBlock, inputs: dict[int, Scalar]) -> Matrix:
    """A of y' = A y; `inputs` (constant rates into states) add a last compartment that stays one."""
    n = len(block.states)
    size = n + bool(inputs)
    a: Matrix = [[0.0] * size for _ in range(size)]
    for source, target, rate in block.transfers:
        a[source][source] = _total([a[source][source], -rate])
        if target is not None:
            a[target][source] = _total([a[target][source], rate])
    for state, rate in inputs.items():
        a[state][n] = rate
    return a


def increment(a: Matrix, h: Scalar) -> Matrix:
    """exp(A h) - I."""
    small = _scale(a, h / 2.0**SQUARINGS)
    total = term = small
    for k in range(2, TERMS + 1):
        term = _scale(_multiply(term, small), 1.0 / k)
        total = _add(total, term)
    for _ in range(SQUARINGS):
        total = _add(_scale(total, 2.0), _multiply(total, total))
    return total


def halves(a: Matrix, h: Scalar) -> dict[float, Matrix]:
    """exp(A c h) - I at the middle (c = 0.5) and at the end (c = 1) of a step."""
    middle = increment(a, 0.5 * h)
    return {0.5: middle, 1.0: _add(_scale(middle, 2.0), _multiply(middle, middle))}


def advance(increment_: Matrix, y: list[Any]) -> list[Any]:
    """exp(A h) y for the block's states (a constant-input compartment is implied)."""
    n = len(y)
    full: list[Any] = [*y, *([1.0] if len(increment_) > n else [])]
    return [y[i] + _total([_product(increment_[i][j], full[j]) for j in range(len(full))]) for i in range(n)]
