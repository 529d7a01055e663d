"""The small form between a jaxpr and source text: a graph of scalar operations, each written once.

A node is a number: its place in the graph. Equal operations on equal arguments are one node, operations on constants are
done at once, and a division is a multiplication by a reciprocal, so that quotients share it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

Node = int
Symbol = tuple[str, int]
"""An array of the kernel and a place in it."""

MASKS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "is_finite"})
"""Operations whose result is true or false."""
COST = {"reciprocal": 8, "sqrt": 8, "exp": 30, "log": 30, "log1p": 40, "expm1": 40, "pow": 80, "tanh": 40, "logistic": 35,
        "sin": 40, "cos": 40}  # fmt: skip
"""Additions that an operation is worth; 1 where it does not say."""


class Operation(NamedTuple):
    """name: `constant`, `symbol` or an operation; value: the number of a constant, the Symbol of a symbol."""

    name: str
    args: tuple[Node, ...] = ()
    value: Any = None


class Graph:
    """Operations in an order in which every argument comes before its use; `level` is a symbol's, or the highest argument's.

    Levels say how often a value changes: 0 constant, then as the builder of the graph numbers its symbols.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.level: list[int] = []
        self.wild: list[bool] = []  # made of a constant that is not finite, or may not be
        self._known: dict[Any, Node] = {}

    def constant(self, value: float) -> Node:
        value = float(value)
        return self._place(Operation("constant", (), value), 0, key=("constant", value.hex()))

    def truth(self, value: bool) -> Node:
        return self._place(Operation("constant", (), bool(value)), 0, key=("truth", bool(value)))

    def symbol(self, name: Symbol, level: int) -> Node:
        return self._place(Operation("symbol", (), name), level)

    def add(self, name: str, *args: Node) -> Node:
        """The node of an operation, folded and shared."""
        simple = _simplify(self, name, args)
        if simple is not None:
            return simple
        if name in ("add", "mul", "max", "min", "and", "or", "eq", "ne"):
            args = tuple(sorted(args))
        return self._place(Operation(name, args), max(self.level[a] for a in args))

    def value(self, node: Node) -> Any:
        """The number of a constant, else None."""
        operation = self.operations[node]
        return operation.value if operation.name == "constant" else None

    def is_mask(self, node: Node) -> bool:
        name, args, value = self.operations[node]
        if name in ("select", "rare"):
            return self.is_mask(args[1])
        return name in MASKS or isinstance(value, bool)

    def _place(self, operation: Operation, level: int, key: Any = None) -> Node:
        key = operation if key is None else key
        if key not in self._known:
            self._known[key] = len(self.operations)
            self.operations.append(operation)
            self.level.append(level)
            own = not math.isfinite(operation.value) if operation.name == "constant" else level == 0
            self.wild.append(own or any(self.wild[a] for a in operation.args))
        return self._known[key]

    def order(self, outputs: Iterable[Node], known: Iterable[Node] = (), rare: bool = True) -> list[Node]:
        """What must be computed for `outputs` when `known` is at hand: depth first, so that values are used soon.

        rare: with what rarely needed values are made of.
        """
        seen = set(known)
        found: list[Node] = []
        for output in outputs:
            stack = [(output, False)]
            while stack:
                node, ready = stack.pop()
                if ready:
                    found.append(node)
                elif node not in seen:
                    seen.add(node)
                    stack.append((node, True))
                    name, args, _ = self.operations[node]
                    stack.extend((a, False) for a in reversed(args if rare or name != "rare" else args[:2]))
        return [n for n in found if self.operations[n].name not in ("constant", "symbol")]

    def symbols(self, outputs: Iterable[Node], known: Iterable[Node] = ()) -> list[Symbol]:
        """Symbols that `outputs` need when `known` is at hand."""
        known = set(known)
        stack = [n for n in outputs if n not in known]
        seen = set(stack)
        names = []
        while stack:
            operation = self.operations[stack.pop()]
            if operation.name == "symbol":
                names.append(operation.value)
            new = [a for a in operation.args if a not in seen and a not in known]
            seen.update(new)
            stack.extend(new)
        return names

    def cost(self, nodes: Iterable[Node]) -> int:
        """Counted operations, a fused multiply-add as two."""
        return sum(COST.get(self.operations[n].name, 1) for n in nodes)


_FOLD: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "abs": abs,
    "max": lambda a, b: a if a != a or a > b else b,
    "min": lambda a, b: a if a != a or a < b else b,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
    "reciprocal": lambda a: 1.0 / a,
    "is_finite": math.isfinite,
}


def _simplify(g: Graph, name: str, args: Sequence[Node]) -> Node | None:
    """A node that does the same with less, or None."""
    values = [g.value(a) for a in args]
    if name in _FOLD and all(v is not None for v in values):
        try:
            folded = _FOLD[name](*values)
        except (ValueError, OverflowError, ZeroDivisionError):
            folded = None  # not a number at run time: left to run time
        if isinstance(folded, bool):
            return g.truth(folded)
        if folded is not None:
            return g.constant(folded)
    rule = _RULES.get(name)
    return rule(g, args, values) if rule else None


def _negated(g: Graph, node: Node) -> Node | None:
    operation = g.operations[node]
    return operation.args[0] if operation.name == "neg" else None


def _add(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    (a, b), (va, vb) = args, values
    if va == 0.0:
        return b
    if vb == 0.0:
        return a
    for x, y in ((a, b), (b, a)):
        minus = _negated(g, y)
        if minus is not None:
            return g.add("sub", x, minus)
    return None


def _sub(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    (a, b), (va, vb) = args, values
    if vb == 0.0:
        return a
    if va == 0.0:
        return g.add("neg", b)
    minus = _negated(g, b)
    return g.add("add", a, minus) if minus is not None else None


def _mul(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    for x, v in ((args[1], values[0]), (args[0], values[1])):
        if v == 1.0:
            return x
        if v == -1.0:
            return g.add("neg", x)
        # The models' own `0.0 * x` only gives a number its shape; a state that is not finite is found by its own value.
        if v == 0.0 and not g.wild[x]:
            return g.constant(0.0)
    for x, y in ((args[0], args[1]), (args[1], args[0])):
        minus = _negated(g, y)
        if minus is not None:
            return g.add("neg", g.add("mul", x, minus))
    return None


def _neg(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    operation = g.operations[args[0]]
    if operation.name == "neg":
        return operation.args[0]
    if operation.name == "sub":
        return g.add("sub", operation.args[1], operation.args[0])
    return None


def _reciprocal(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    name, inner, _ = g.operations[args[0]]
    if name == "mul" and inner[0] == inner[1]:  # the derivative of a quotient: the quotient has the reciprocal already
        once = g.add("reciprocal", inner[0])
        return g.add("mul", once, once)
    # The derivative of an extreme: a half where both are equal.
    if name == "select" and all(g.value(a) for a in inner[1:]):
        return g.add("select", inner[0], *(g.add("reciprocal", a) for a in inner[1:]))
    return inner[0] if name == "reciprocal" else None


def _select(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    condition, yes, no = args
    if values[0] is not None:
        return yes if values[0] else no
    if yes == no:
        return yes
    if values[1] is True and values[2] is False:
        return condition
    return None


def _and(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    for x, v in ((args[1], values[0]), (args[0], values[1])):
        if v is not None:
            return x if v else g.truth(False)
    return args[0] if args[0] == args[1] else None


def _or(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    for x, v in ((args[1], values[0]), (args[0], values[1])):
        if v is not None:
            return g.truth(True) if v else x
    return args[0] if args[0] == args[1] else None


def _extreme(g: Graph, args: Sequence[Node], values: Sequence[Any]) -> Node | None:
    return args[0] if args[0] == args[1] else None


_RULES: dict[str, Callable[[Graph, Sequence[Node], Sequence[Any]], Node | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "neg": _neg,
    "reciprocal": _reciprocal,
    "select": _select,
    "and": _and,
    "or": _or,
    "max": _extreme,
    "min": _extreme,
}
