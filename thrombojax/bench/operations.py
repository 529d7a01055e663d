"""Operations of a step, counted from what the model's functions do, not from what a compiler made of them.

Every arithmetic operation, exp, log and root counts one. What depends on constants only is folded when the function is traced.
"""

from collections.abc import Callable
from typing import Any

import jax

from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Model
from thrombojax.solve.steppers import rk4

ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg", "exp", "log", "log1p", "expm1", "sqrt", "pow", "integer_pow", "max",
                        "min", "square", "logistic", "tanh", "add_any"})  # fmt: skip


def operations_per_step(model: Model) -> int:
    """Operations of one Runge-Kutta step of one patient, the right-hand side's four evaluations included."""
    typical = model.defaults
    phases = {key: 0.0 for key in model.breakpoints(typical).after_dose}
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda _: 1.0, struct.build(model.State, lambda *_: 0.0)))

    def step(*flat: Any) -> Any:
        def derivative(t: Any, y: Any) -> Any:
            return tuple(jax.tree.leaves(model.rhs(t, jax.tree.unflatten(tree, list(y)), typical, Inputs(phases, 0.0))))

        return rk4(derivative, 0.0, tuple(flat), 0.25, None)

    return operations(step, *leaves)


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
