"""Operations of a step, counted from what the model's functions do, not from what a compiler made of them.

Every arithmetic operation, exp, log and root counts one. What depends on constants only is folded when the function is traced.
"""

from collections.abc import Callable
from typing import Any

import jax

from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Model
from thrombojax.solve.steppers import Tableau

ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg", "exp", "log", "log1p", "expm1", "sqrt", "pow", "integer_pow", "max",
                        "min", "square", "logistic", "tanh", "add_any"})  # fmt: skip


def operations_per_step(model: Model, tableau: Tableau) -> int:
    """Operations of one Runge-Kutta step of one patient: its evaluations of the right-hand side, and two for every

    coefficient that is not zero, of every state.
    """
    typical = model.defaults
    phases = {key: 0.0 for key in model.breakpoints(typical).after_dose}
    leaves, tree = jax.tree.flatten(struct.build(model.State, lambda *_: 1.0))

    def rhs(*flat: Any) -> Any:
        return model.rhs(0.0, jax.tree.unflatten(tree, list(flat)), typical, Inputs(phases, 0.0))

    coefficients = sum(value != 0 for row in (*tableau.a, tableau.b) for value in row)
    return len(tableau.b) * operations(rhs, *leaves) + 2 * coefficients * len(leaves)


def operations(function: Callable[..., Any], *args: Any) -> int:
    """Operations of one evaluation on scalars; a loop of known length counts every pass."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = equation.params.get("jaxpr")
        if equation.primitive.name == "scan":
            total += equation.params["length"] * _count(inner.jaxpr)
        elif inner is not None:
            total += _count(getattr(inner, "jaxpr", inner))
        elif equation.primitive.name in ARITHMETIC:
            total += 1
    return total
