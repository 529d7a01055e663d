"""A trajectory and its derivative in one direction: every piece with its `jax.jvp`, on twice the states.

The tangent of a value lies in the same array, behind all values: `y[S + k]` beside `y[k]`; those of
times have arrays of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax

from thrombojax.codegen.expression import Graph, Node, Symbol
from thrombojax.codegen.program import POINT, SEGMENT, Block, Function, Program, Setting, finish, setting, with_slope
from thrombojax.codegen.regroup import regroup
from thrombojax.codegen.trace import trace
from thrombojax.models.protocol import Model
from thrombojax.solve.pieces import Plan

_TIMES = {"t": POINT, "start": POINT, "length": POINT, "h": SEGMENT}


def build(model: Model, plan: Plan, wrt: Sequence[int] = ()) -> Program:
    """A program whose second halves of states, observables, carries, endpoints, doses, rates and policies are tangents.

    wrt: leaves of Parameters that move; the tangent of leaf k is leaf `leaves + k`.
    """
    given = setting(model, plan)
    sizes = _sizes(given, plan)
    blocks = {name: _pushed(given, f, sizes, wrt) for name, f in given.functions.items()}
    doubled = given._replace(states=2 * given.states, linear=(*given.linear, *(i + given.states for i in given.linear)))
    made = finish(doubled, with_slope(blocks), plan)
    return replace(
        made,
        observables=(*made.observables, *(f"{name} tangent" for name in made.observables)),
        endpoints=(*made.endpoints, *(f"{name} tangent" for name in made.endpoints)),
        tangent=True,
    )


def _sizes(given: Setting, plan: Plan) -> dict[str, int]:
    """How many values each array has before tangents."""
    seen = len(plan.observables)
    carries = len(given.functions["open"].out) if "open" in given.functions else 0
    p = len(jax.tree.leaves(given.functions["look"].args[1]))
    clinic: dict[str, int] = {}
    if "decide" in given.functions:
        _, memory, _, _, rule = given.functions["decide"].args
        clinic = {"m": len(jax.tree.leaves(memory)), **dict.fromkeys(("rule", "own_rule"), len(jax.tree.leaves(rule)))}
    return {
        **clinic, "g": len(plan.columns),
        **dict.fromkeys("yd", given.states), **dict.fromkeys("vsbe", seen), "c": carries, "o": len(plan.reductions),
        "dose": len(plan.columns), "rate": len(plan.columns), "p": p, "l": len(given.linear),
    }  # fmt: skip


def _behind(symbol: Symbol, sizes: dict[str, int]) -> Symbol:
    array, index = symbol
    if array == "l":  # values and tangents at one node of the step, then those at the next
        node, k = divmod(index, sizes["l"])
        return array, (2 * node + 1) * sizes["l"] + k
    return array, index + sizes[array]


def _before(symbol: Symbol, sizes: dict[str, int]) -> Symbol:
    array, index = symbol
    if array == "l":
        node, k = divmod(index, sizes["l"])
        return array, 2 * node * sizes["l"] + k
    return symbol


def _pushed(given: Setting, f: Function, sizes: dict[str, int], wrt: Sequence[int]) -> Block:
    g = given.graph
    leaves, tree = jax.tree.flatten(f.args)
    tangents = [_tangent(g, node, sizes, wrt) for node in leaves]

    def push(leaves: Any, tangents: Any) -> Any:
        def inner(*leaves: Any) -> Any:
            return jax.tree.leaves(f.call(*jax.tree.unflatten(tree, leaves)))

        values, moved = jax.jvp(inner, tuple(leaves), tuple(tangents))
        return [*values, *moved]

    found = jax.tree.leaves(trace(g, push, leaves, tangents))
    if any(array == "d" for array, _ in f.out):
        found = regroup(g, found, POINT)
    values, moved = found[: len(f.out)], found[len(f.out) :]
    here = [(_before(place, sizes), node) for place, node in zip(f.out, values, strict=True)]
    # What is written in the ledger is read by nobody who differentiates.
    there = [(_behind(place, sizes), node) for place, node in zip(f.out, moved, strict=True) if place[0] != "a"]
    return Block((*here, *there))


def _tangent(g: Graph, node: Node, sizes: dict[str, int], wrt: Sequence[int]) -> Node:
    name, _, value = g.operations[node]
    if name == "symbol":
        array, index = value
        if array in _TIMES:
            return g.symbol((f"{array}_dot", 0), _TIMES[array])
        if array in sizes and (array != "p" or index in wrt):
            return g.symbol(_behind(value, sizes), g.level[node])
    return g.constant(0.0)
