"""Operations of a function as its jaxpr shows them: every arithmetic equation, exp, log and square root counts one.

What depends on closed-over constants only (parameter algebra) is folded at trace time and not counted, for every engine alike.
"""

from collections.abc import Callable
from typing import Any

import jax

ARITHMETIC = {"add", "sub", "mul", "div", "neg", "exp", "log", "log1p", "sqrt", "pow", "integer_pow", "max", "min", "square",
              "logistic", "tanh", "add_any"}  # fmt: skip


def operations(function: Callable[..., Any], *args: Any) -> int:
    """Operations of one evaluation on scalars; loops of known length count every pass."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = equation.params.get("jaxpr")
        if name == "scan":
            total += equation.params["length"] * _count(inner.jaxpr)
        elif inner is not None:
            total += _count(getattr(inner, "jaxpr", inner))
        elif name in ARITHMETIC:
            total += 1
    return total
