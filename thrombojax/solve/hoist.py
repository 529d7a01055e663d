"""Parameter algebra out of the loop: what a model computes from parameters alone is computed once per patient.

XLA leaves such terms inside the step loop (a quarter of the flagship's operations). Tracing the function shows which equations
depend on parameters only; divisions by such values become multiplications by their reciprocals.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal, jaxpr_as_fun


def hoist(function: Callable[..., Any], p: Any, *rest: Any) -> Callable[..., Any]:
    """`function(p, *rest)` as a function of `rest`, with everything that needs only `p` evaluated here and now.

    p: pytree of arrays (traced or not); rest: pytrees of example arrays, of which only shapes and dtypes matter.
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jax.numpy.shape(a), jax.numpy.result_type(a)), rest)
    closed, shape = jax.make_jaxpr(function, return_shape=True)(p, *shapes)
    jaxpr = closed.jaxpr
    known_leaves = jax.tree.leaves(p)
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    env.update(zip(jaxpr.invars[: len(known_leaves)], known_leaves, strict=True))
    remaining, reciprocal = [], {}
    for equation in jaxpr.eqns:
        if all(isinstance(v, Literal) or v in env for v in equation.invars):
            _evaluate(equation, env)
            continue
        remaining.append(equation)
        if equation.primitive.name == "div" and equation.invars[1] in env and equation.invars[1] not in reciprocal:
            reciprocal[equation.invars[1]] = 1.0 / env[equation.invars[1]]
    out = jax.tree.structure(shape)

    def hoisted(*rest: Any) -> Any:
        local = dict(env)
        local.update(zip(jaxpr.invars[len(known_leaves) :], jax.tree.leaves(rest), strict=True))
        for equation in remaining:
            if equation.primitive.name == "div" and equation.invars[1] in reciprocal:
                local[equation.outvars[0]] = _read(equation.invars[0], local) * reciprocal[equation.invars[1]]
            else:
                _evaluate(equation, local)
        return jax.tree.unflatten(out, [_read(v, local) for v in jaxpr.outvars])

    return hoisted


def _read(variable: Any, env: dict[Any, Any]) -> Any:
    return variable.val if isinstance(variable, Literal) else env[variable]


def _evaluate(equation: Any, env: dict[Any, Any]) -> None:
    """Bind one equation; nested functions (`jit`) are inlined."""
    values = [_read(v, env) for v in equation.invars]
    if "jaxpr" in equation.params:
        results = jaxpr_as_fun(equation.params["jaxpr"])(*values)
    else:
        results = equation.primitive.bind(*values, **equation.params)
        results = results if equation.primitive.multiple_results else [results]
    env.update(zip(equation.outvars, results, strict=True))
