"""From a function of scalars to expressions, through its jaxpr.

Traced in float64, whatever precision is emitted. Nested programs and custom derivative rules are inlined. A primitive that
has no translation is an error that names it and the line of the model that asked for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from thrombojax.codegen.expression import Graph, Node
from thrombojax.errors import Problem, RunError


class CannotTranslate(RunError):
    """A model asks for something that generated code does not have."""


def trace(graph: Graph, function: Callable[..., Any], *args: Any) -> Any:
    """What `function` returns, as a pytree of nodes; args: pytrees of nodes.

    Inside, `function` sees float64 scalars, so it may itself differentiate (`jax.jvp`, `jax.vjp`).
    """
    leaves, tree = jax.tree.flatten(args)
    shapes = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct((), np.float64)] * len(leaves))
    with jax.enable_x64(True):
        closed, shape = jax.make_jaxpr(lambda *a: jax.tree.map(_float, function(*a)), return_shape=True)(*shapes)
    outputs = _inline(graph, closed.jaxpr, closed.consts, leaves)
    return jax.tree.unflatten(jax.tree.structure(shape), outputs)


def _float(value: Any) -> Any:
    value = jnp.asarray(value)
    return value if value.dtype == bool else value.astype(jnp.float64)


def _inline(g: Graph, jaxpr: Any, consts: Sequence[Any], args: Sequence[Node]) -> list[Node]:
    at: dict[Any, Node] = dict(zip(jaxpr.invars, args, strict=True))
    at.update(zip(jaxpr.constvars, (_constant(g, c, None) for c in consts), strict=True))

    def read(v: Any, eqn: Any = None) -> Node:
        return _constant(g, v.val, eqn) if isinstance(v, core.Literal) else at[v]

    for eqn in jaxpr.eqns:
        results = _translate(g, eqn, [read(v, eqn) for v in eqn.invars])
        at.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _constant(g: Graph, value: Any, eqn: Any) -> Node:
    array = np.asarray(value)
    if array.shape != ():
        raise CannotTranslate(_problem(eqn, f"an array of shape {array.shape} where generated code works on scalars"))
    return g.truth(bool(array)) if array.dtype == bool else g.constant(float(array))


def _translate(g: Graph, eqn: Any, args: list[Node]) -> list[Node]:
    name, params = eqn.primitive.name, eqn.params
    nested = next((params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in params), None)
    if nested is not None and name not in ("scan", "while"):
        inner, consts = (nested.jaxpr, nested.consts) if hasattr(nested, "consts") else (nested, ())
        results = _inline(g, inner, consts, args)
        return [_rare(g, r) for r in results] if params.get("name") == "rarely" else results
    if name == "cond":
        return _cond(g, params["branches"], args[0], args[1:])
    if name in ("optimization_barrier",):
        return args
    _check_scalar(eqn)
    if name in _SAME:
        return [g.add(name, *args)]
    rule = _RULES.get(name)
    if rule is None:
        raise CannotTranslate(_problem(eqn, f"primitive {name!r} has no translation to generated code"))
    return [rule(g, args, params, eqn)]


def _rare(g: Graph, node: Node) -> Node:
    """A selection as one whose first choice is computed only where it is needed."""
    name, args, _ = g.operations[node]
    if name != "select":
        return node
    condition, value, otherwise = args
    return g.add("rare", condition, otherwise, value)


def _check_scalar(eqn: Any) -> None:
    for v in (*eqn.invars, *eqn.outvars):
        if v.aval.shape != ():
            raise CannotTranslate(
                _problem(eqn, f"primitive {eqn.primitive.name!r} works on shape {v.aval.shape}; models are elementwise")
            )


def _problem(eqn: Any, message: str) -> Problem:
    return Problem(_line(eqn), message)


def _line(eqn: Any) -> str:
    """The innermost line outside JAX that led to an equation."""
    traceback = getattr(getattr(eqn, "source_info", None), "traceback", None)
    for frame in traceback.frames if traceback is not None else ():
        name = frame.file_name.replace("\\", "/")
        if "/jax/" not in name and "/codegen/trace.py" not in name and "/jaxtyping/" not in name:
            return f"{frame.file_name}:{frame.line_num}"
    return "model"


def _cond(g: Graph, branches: Sequence[Any], which: Node, args: Sequence[Node]) -> list[Node]:
    results = [_inline(g, b.jaxpr, b.consts, args) for b in branches]
    return [_choose(g, which, list(cases)) for cases in zip(*results, strict=True)]


def _choose(g: Graph, which: Node, cases: list[Node]) -> Node:
    """cases[which]: two for a truth, more for a number."""
    if g.is_mask(which) and len(cases) == 2:
        return g.add("select", which, cases[1], cases[0])
    chosen = cases[-1]
    for k in reversed(range(len(cases) - 1)):
        chosen = g.add("select", g.add("lt", which, g.constant(k + 0.5)), cases[k], chosen)
    return chosen


def _power(g: Graph, x: Node, n: int) -> Node:
    if n < 0:
        return g.add("reciprocal", _power(g, x, -n))
    if n == 0:
        return g.constant(1.0)
    half = _power(g, x, n // 2) if n > 1 else None
    square = g.add("mul", half, half) if half is not None else None
    if square is None:
        return x
    return g.add("mul", square, x) if n % 2 else square


def _pow(g: Graph, args: list[Node], params: Any, eqn: Any) -> Node:
    exponent = g.value(args[1])
    if exponent is not None and exponent == int(exponent) and abs(exponent) <= 16:
        return _power(g, args[0], int(exponent))
    if exponent == 0.5:
        return g.add("sqrt", args[0])
    return g.add("pow", *args)


def _convert(g: Graph, args: list[Node], params: Any, eqn: Any) -> Node:
    kind = np.dtype(params["new_dtype"]).kind
    if kind == "b":
        return args[0] if g.is_mask(args[0]) else g.add("ne", args[0], g.constant(0.0))
    if g.is_mask(args[0]):
        return g.add("select", args[0], g.constant(1.0), g.constant(0.0))
    if kind != "f" and g.value(args[0]) is None:
        raise CannotTranslate(_problem(eqn, "a conversion to whole numbers has no translation to generated code"))
    return args[0]


def _divide(g: Graph, a: Node, b: Node) -> Node:
    return g.add("mul", a, g.add("reciprocal", b))


def _sign(g: Graph, a: Node) -> Node:
    zero, one = g.constant(0.0), g.constant(1.0)
    below = g.add("select", g.add("lt", a, zero), g.constant(-1.0), a)
    return g.add("select", g.add("gt", a, zero), one, below)


_SAME = frozenset({"add", "sub", "mul", "neg", "max", "min", "exp", "log", "log1p", "expm1", "sqrt", "tanh", "logistic",
                   "abs", "sin", "cos", "lt", "le", "gt", "ge", "eq", "ne", "is_finite", "floor"})  # fmt: skip
"""Primitives that are operations of the same name."""

Rule = Callable[[Graph, list[Node], Any, Any], Node]

_RULES: dict[str, Rule] = {
    "add_any": lambda g, a, params, eqn: g.add("add", *a),
    "div": lambda g, a, params, eqn: _divide(g, *a),
    "integer_pow": lambda g, a, params, eqn: _power(g, a[0], params["y"]),
    "square": lambda g, a, params, eqn: g.add("mul", a[0], a[0]),
    "rsqrt": lambda g, a, params, eqn: g.add("reciprocal", g.add("sqrt", a[0])),
    "exp2": lambda g, a, params, eqn: g.add("exp", g.add("mul", a[0], g.constant(np.log(2.0)))),
    "pow": _pow,
    "select_n": lambda g, a, params, eqn: _choose(g, a[0], a[1:]),
    "clamp": lambda g, a, params, eqn: g.add("min", g.add("max", a[1], a[0]), a[2]),
    "convert_element_type": _convert,
    "sign": lambda g, a, params, eqn: _sign(g, a[0]),
    "and": lambda g, a, params, eqn: _logical(g, "and", a, eqn),
    "or": lambda g, a, params, eqn: _logical(g, "or", a, eqn),
    "not": lambda g, a, params, eqn: _logical(g, "not", a, eqn),
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "broadcast_in_dim", "reshape", "squeeze", "reduce_precision",
                     "pvary", "sharding_constraint"), lambda g, a, params, eqn: a[0]),
}  # fmt: skip


def _logical(g: Graph, name: str, args: list[Node], eqn: Any) -> Node:
    if not all(g.is_mask(a) for a in args):
        raise CannotTranslate(_problem(eqn, f"bitwise {name!r} of numbers has no translation to generated code"))
    return g.add(name, *args)
