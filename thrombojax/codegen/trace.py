"""From a function of scalars to expressions, through its jaxpr.

Traced in float64, whatever precision is emitted. Nested programs and custom derivative rules are inlined. A primitive that
has no translation is an error that names it and the line of the model that asked for it.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
from jax.extend import core

from thrombojax.codegen.expression import Graph, Node
from thrombojax.errors import Problem, RunError


class CannotTranslate(RunError):
    """A model asks for something that generated code does not have."""


class _Missing(Exception):
    """What there is no translation of; the line that asked for it is known further out."""


def trace(graph: Graph, function: Callable[..., Any], *args: Any) -> Any:
    """What `function` returns, as a pytree of nodes; args: pytrees of nodes.

    Inside, `function` sees float64 scalars, so it may itself differentiate (`jax.jvp`, `jax.vjp`).
    """
    leaves, tree = jax.tree.flatten(args)
    shapes = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct((), np.float64)] * len(leaves))
    with jax.enable_x64(True):
        closed, shape = jax.make_jaxpr(lambda *a: jax.tree.map(_float, function(*a)), return_shape=True)(*shapes)
    try:
        outputs = _inline(graph, closed.jaxpr, closed.consts, leaves)
    except _Missing as error:
        raise CannotTranslate(Problem("model", str(error))) from None
    return jax.tree.unflatten(jax.tree.structure(shape), outputs)


def _float(value: Any) -> Any:
    value = jnp.asarray(value)
    return value if value.dtype == bool else value.astype(jnp.float64)


def _inline(g: Graph, jaxpr: Any, consts: Sequence[Any], args: Sequence[Node]) -> list[Node]:
    at: dict[Any, Node] = dict(zip(jaxpr.invars, args, strict=True))
    known = dict(zip(jaxpr.constvars, consts, strict=True))

    def read(v: Any) -> Node:
        if isinstance(v, core.Literal):
            return _constant(g, v.val)
        return _constant(g, known[v]) if v in known else at[v]

    for eqn in jaxpr.eqns:
        try:
            results = _translate(g, eqn, [read(v) for v in eqn.invars])
        except _Missing as error:
            line = _line(eqn)
            if line is None:  # inside a program of JAX's own
                raise
            raise CannotTranslate(Problem(line, str(error))) from None
        at.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _constant(g: Graph, value: Any) -> Node:
    array = np.asarray(value)
    if array.shape != ():
        raise _Missing(f"an array of shape {array.shape} where generated code works on scalars")
    if array.dtype.kind not in "biuf":
        raise _Missing(f"a number of type {array.dtype} has no translation to generated code")
    return g.truth(bool(array)) if array.dtype == bool else g.constant(float(array))


def _translate(g: Graph, eqn: Any, args: list[Node]) -> list[Node]:
    name, params = eqn.primitive.name, eqn.params
    _check_scalar(eqn)
    nested = next((params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in params), None)
    if nested is not None and name not in ("scan", "while"):
        inner, consts = (nested.jaxpr, nested.consts) if hasattr(nested, "consts") else (nested, ())
        results = _inline(g, inner, consts, args)
        return [_rare(g, r) for r in results] if params.get("name") == "rarely" else results
    if name == "cond":
        return _cond(g, params["branches"], args[0], args[1:])
    if name in ("optimization_barrier",):
        return args
    if name in _SAME:
        if name not in ("eq", "ne") and any(g.is_mask(a) for a in args):
            raise _Missing(f"{name!r} of truths has no translation to generated code")
        return [g.add(name, *args)]
    rule = _RULES.get(name)
    if rule is None:
        raise _Missing(f"primitive {name!r} has no translation to generated code")
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
            raise _Missing(f"primitive {eqn.primitive.name!r} works on shape {v.aval.shape}; models are elementwise")


def _line(eqn: Any) -> str | None:
    """The innermost line outside JAX that led to an equation."""
    traceback = getattr(getattr(eqn, "source_info", None), "traceback", None)
    for frame in traceback.frames if traceback is not None else ():
        file = Path(frame.file_name)
        if not any(file.is_relative_to(mine) for mine in _NOT_THE_MODEL):
            return f"{frame.file_name}:{frame.line_num}"
    return None


_NOT_THE_MODEL = (Path(jax.__file__).parent, Path(jaxtyping.__file__).parent, Path(__file__))


def _cond(g: Graph, branches: Sequence[Any], which: Node, args: Sequence[Node]) -> list[Node]:
    results = [_inline(g, b.jaxpr, b.consts, args) for b in branches]
    return [_choose(g, which, list(cases)) for cases in zip(*results, strict=True)]


def _choose(g: Graph, which: Node, cases: list[Node]) -> Node:
    """cases[which]: two for a truth, more for a number."""
    if g.is_mask(which):
        return _either(g, which, cases[1], cases[0])
    chosen = cases[-1]
    for k in reversed(range(len(cases) - 1)):
        chosen = _either(g, g.add("lt", which, g.constant(k + 0.5)), cases[k], chosen)
    return chosen


def _either(g: Graph, condition: Node, yes: Node, no: Node) -> Node:
    """yes where the condition holds, else no: numbers or truths."""
    if not g.is_mask(yes):
        return g.add("select", condition, yes, no)
    return g.add("or", g.add("and", condition, yes), g.add("and", g.add("not", condition), no))


def _power(g: Graph, x: Node, n: int) -> Node:
    if n < 0:
        return _power(g, g.add("reciprocal", x), -n)
    if n == 0:
        return g.constant(1.0)
    half = _power(g, x, n // 2) if n > 1 else None
    square = g.add("mul", half, half) if half is not None else None
    if square is None:
        return x
    return g.add("mul", square, x) if n % 2 else square


def _pow(g: Graph, args: list[Node], params: Any, eqn: Any) -> Node:
    exponent = g.value(args[1])
    if exponent is not None and abs(exponent) <= 16 and exponent == int(exponent):
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
    if kind == "f" or _is_whole(eqn.invars[0]):
        return args[0]
    if kind == "c":
        raise _Missing("complex numbers have no translation to generated code")
    value = g.value(args[0])
    if value is None or not math.isfinite(value):
        raise _Missing("a conversion to whole numbers has no translation to generated code")
    return g.constant(math.trunc(value))


def _is_whole(v: Any) -> bool:
    return np.dtype(v.aval.dtype).kind in "iu"


def _div(g: Graph, args: list[Node], params: Any, eqn: Any) -> Node:
    if _is_whole(eqn.outvars[0]):
        raise _Missing("a division of whole numbers has no translation to generated code")
    return g.add("mul", args[0], g.add("reciprocal", args[1]))


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
    "div": _div,
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
    "xor": lambda g, a, params, eqn: _logical(g, "ne", a, eqn),
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "broadcast_in_dim", "reshape", "squeeze", "reduce_precision",
                     "pvary", "sharding_constraint"), lambda g, a, params, eqn: a[0]),
}  # fmt: skip


def _logical(g: Graph, name: str, args: list[Node], eqn: Any) -> Node:
    if not all(g.is_mask(a) for a in args):
        raise _Missing(f"bitwise {name!r} of numbers has no translation to generated code")
    return g.add(name, *args)
