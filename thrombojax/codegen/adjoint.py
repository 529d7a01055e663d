"""The reverse of a trajectory as expressions: the transpose of every piece, translated from its `jax.vjp`.

A cotangent lies in the array of its value's name with an underscore behind. What a transpose needs of the forward evaluation of
a slope is kept (array `w`), so that going back costs about as much as going forward.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from thrombojax.codegen.expression import Graph, Node
from thrombojax.codegen.program import OFTEN, POINT, Block, Function, Program, finish, setting, traced, with_slope
from thrombojax.codegen.regroup import regroup
from thrombojax.codegen.trace import trace
from thrombojax.models.protocol import Model
from thrombojax.solve.pieces import Plan

Objective = Callable[[Mapping[str, Sequence[Any]]], Any]
"""Saved observable -> its value on each saved day, all of one patient -> a number."""
BACK = 4
"""Level of cotangents, above all others."""
SIMPLE = frozenset({"add", "sub", "mul", "neg", "min", "max"})
CHEAP = 5
"""Operations that cost less than to keep their value: what a step keeps should leave the first-level cache to the states."""
CARRIED = frozenset(
    {"y", "p", "t", "h", "dose", "rate", "start", "length", "c", "v", "s", "b", "e", "g", "m", "rule", "own_rule"}
)
"""Arrays that gradients reach."""
TIMES = frozenset({"t", "h", "start", "length"})
"""Those among them that only moving times need."""


def build(
    model: Model,
    plan: Plan,
    wrt: tuple[int, ...] = (),
    objective: Objective | None = None,
    days: int = 0,
    times: bool = True,
) -> Program:
    """All blocks of a trajectory, their transposes (`slope_` ...), and `slope` with what its transpose needs.

    `again`: derivatives by the very values that the transpose needs, for a kernel that computes both at once.

    wrt: leaves of Parameters that gradients are asked for; those of the state, doses, rates and the numbers of a policy always
    are; times: whether those of times are, else they are zeros and cost nothing. objective: of
    the values that a patient has on so many saved days: its block gives its value, and what it asks of them.
    """
    given = setting(model, plan)
    g = given.graph
    # Regrouped only when it is known what is kept: the transposes share the forward values as they were traced.
    blocks = with_slope({name: traced(g, f, often=False) for name, f in given.functions.items()})
    for name, f in given.functions.items():
        blocks[f"{name}_"] = pullback(g, f, wrt, CARRIED if times else CARRIED - TIMES)
    if objective is not None:
        blocks["objective"] = _asked(g, plan, objective, days)
    kept = _needed(g, blocks["slope_"].nodes, blocks["slope"].nodes)
    places = [*(place for place, _ in blocks["slope"].writes), *(("w", k) for k in range(len(kept)))]
    values = regroup(g, [*blocks["slope"].nodes, *kept], POINT)
    blocks["again"], blocks["slope"] = blocks["slope"], Block(tuple(zip(places, values, strict=True)))
    made = finish(given, blocks, plan, (*OFTEN, "again", "line_", "slope_"))
    return replace(made, residuals=tuple(kept), times=times)


def _asked(g: Graph, plan: Plan, objective: Objective, days: int) -> Block:
    """The objective and its derivatives; array `seen`: `[day, observable]`."""
    seen = tuple(g.symbol(("seen", k), POINT) for k in range(days * len(plan.observables)))

    def both(*values: Any) -> Any:
        def of(values: Any) -> Any:
            return objective({name: values[k :: len(plan.observables)] for k, name in enumerate(plan.observables)})

        return jax.value_and_grad(of)(values)

    value, asked = trace(g, both, *seen)
    return Block(((("value", 0), value), *((("seen_", k), node) for k, node in enumerate(asked))))


def pullback(g: Graph, f: Function, wrt: Sequence[int], carried: frozenset[str] = CARRIED) -> Block:
    """Cotangents of a piece's arguments, those in arrays that are carried, from those of its results."""
    leaves, tree = jax.tree.flatten(f.args)
    chosen = [k for k, node in enumerate(leaves) if _is_carried(g, node, wrt, carried)]
    given = [_sought(g, array, index) for array, index in f.out]

    def transpose(leaves: Any, cotangents: Any) -> Any:
        def inner(*values: Any) -> Any:
            full = list(leaves)
            for k, value in zip(chosen, values, strict=True):
                full[k] = value
            return jax.tree.leaves(f.call(*jax.tree.unflatten(tree, full)))

        return jax.vjp(inner, *(leaves[k] for k in chosen))[1](list(cotangents))

    found = jax.tree.leaves(trace(g, transpose, leaves, given))
    if any(array == "d" for array, _ in f.out):
        found = regroup(g, found, BACK)
    zero = g.constant(0.0)
    places = [g.operations[leaves[k]].value for k in chosen]
    # What a piece changes in place has its new cotangent instead of its old one; all others add up.
    writes = [(f"{'=' if place in f.out else ''}{place[0].removeprefix('own_')}_", place[1]) for place in places]
    pairs = zip(writes, found, strict=True)
    return Block(tuple((write, node) for write, node in pairs if node != zero or write[0].startswith("=")))


def _sought(g: Graph, array: str, index: int) -> Node:
    """The cotangent of a result: a row of the ledger is written down, and nothing is asked of it."""
    return g.constant(0.0) if array == "a" else g.symbol((f"{array}_", index), BACK)


def _is_carried(g: Graph, node: Node, wrt: Sequence[int], carried: frozenset[str]) -> bool:
    name, _, value = g.operations[node]
    if name != "symbol":
        return False
    array, index = value
    return array in carried and (array != "p" or index in wrt)


def _needed(g: Graph, outputs: Sequence[Node], forward: Sequence[Node]) -> list[Node]:
    """Forward values that a transpose reads. What it alone needs (masks, derivatives of quotients) it computes from them, and
    what few operations make of the others."""
    there = {n for n in g.order(forward) if g.level[n] == POINT and not g.is_mask(n)}
    found: dict[Node, None] = {}
    for node in g.order(outputs):
        if node not in there:
            found |= dict.fromkeys(a for a in g.operations[node].args if a in there and not _is_given(g, a))

    def effort(a: Node) -> float:
        """Operations that make a value of what is at hand."""
        if a in found or g.level[a] < POINT or _is_given(g, a):
            return 0
        return again(a)

    def again(n: Node) -> float:
        operation = g.operations[n]
        return 1 + sum(map(effort, operation.args)) if operation.name in SIMPLE else math.inf

    return [n for n in found if again(n) > CHEAP]


def _is_given(g: Graph, node: Node) -> bool:
    return g.operations[node].name in ("constant", "symbol")
