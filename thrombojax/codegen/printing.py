"""Statements from expressions, in any dialect of C: order, names, fused multiply-adds, and what is only rarely needed."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from thrombojax.codegen.expression import Graph, Node
from thrombojax.codegen.program import Block

Write = Callable[[str, int, str], str]
"""(array, index, value) -> statement."""


@dataclass(frozen=True)
class Dialect:
    """How a language writes numbers, masks and operations; any: whether a mask holds anywhere."""

    number: str
    mask: str
    real: Callable[[float], str]
    truth: Callable[[bool], str]
    operations: Mapping[str, str]
    any: str


def assign(array: str, index: int, value: str) -> str:
    return f"{array}[{index}] = {value};"


def cotangents(wrt: Sequence[int], names: Mapping[str, str]) -> Write:
    """Cotangents add up, but for those of carries and of what is changed in place (=), which change hands.

    wrt: leaves of Parameters, in the order of `p_`.
    """

    def write(array: str, index: int, value: str) -> str:
        if array == "c_" or array.startswith("="):
            return assign(array.lstrip("="), index, value)
        place = f"p_[{wrt.index(index)}]" if array == "p_" else f"{names.get(array, array)}[{index}]"
        return f"{place} = {place} + {value};"

    return write


def statements(
    g: Graph,
    dialect: Dialect,
    block: Block,
    write: Write,
    place: Callable[[str, int], str],
    known: Mapping[Node, str],
) -> str:
    """Statements that compute a block and write its values; place: text of a symbol; known: text of values at hand.

    A value is written as soon as it is there, unless the block also reads what it writes: then all are written at the end.
    """
    printer = _Printer(g, dialect, place, known, block)
    own = {array.lstrip("=") for (array, _), _ in block.writes}
    late = any(array in own for array, _ in g.symbols(block.nodes, known))
    writes: list[str] = []
    for (array, index), node in block.writes:
        if g.operations[node].name == "symbol" and g.operations[node].value == (array.lstrip("="), index):
            continue
        value = printer.value(node, copy=late)
        (writes if late else printer.lines).append(write(array, index, value))
    return "\n".join([*printer.lines, *writes])


class _Printer:
    """Names of what has been computed so far, and the lines that did."""

    def __init__(
        self,
        g: Graph,
        dialect: Dialect,
        place: Callable[[str, int], str],
        known: Mapping[Node, str],
        block: Block,
    ):
        self.g, self.dialect, self.place = g, dialect, place
        self.names: dict[Node, str] = dict(known)
        self.lines: list[str] = []
        self.uses: Counter[Node] = Counter(block.nodes)
        for node in g.order(block.nodes, known):
            self.uses.update(g.operations[node].args)

    def value(self, node: Node, copy: bool = False) -> str:
        """Text of a node, whatever it needs computed before; copy: a symbol is read now, into a name of its own."""
        fused: set[Node] = set()
        todo = self.g.order([node], self.names, rare=False)
        for n in reversed(todo):
            fused.update(self._product(n, fused))
        for n in todo:
            if n not in fused:
                self._compute(n, fused)
        text = self._text(node)
        if copy and self.g.operations[node].name == "symbol":
            name = f"x{node}"
            self.lines.append(f"const {self.dialect.number} {name} = {text};")
            return name
        return text

    def _text(self, node: Node) -> str:
        if node in self.names:
            return self.names[node]
        name, _, value = self.g.operations[node]
        if name == "symbol":
            return self.place(*value)
        if isinstance(value, bool):
            return self.dialect.truth(value)
        return self.dialect.real(value)

    def _product(self, node: Node, fused: set[Node]) -> list[Node]:
        """The product that an addition or subtraction takes in: one that nothing else reads."""
        if self.g.operations[node].name not in ("add", "sub") or node in self.names:
            return []
        for a in self.g.operations[node].args:
            if self.g.operations[a].name == "mul" and self.uses[a] == 1 and a not in self.names:
                return [a]
        return []

    def _compute(self, node: Node, fused: set[Node]) -> None:
        name, args, _ = self.g.operations[node]
        if name == "rare":
            return self._rarely(node)
        taken = next(iter(a for a in self._product(node, fused)), None) if name in ("add", "sub") else None
        if taken is not None:
            other = args[1] if taken == args[0] else args[0]
            kind = "fma" if name == "add" else "fms" if taken == args[0] else "fnma"
            args, name = (*self.g.operations[taken].args, other), kind
        text = self.dialect.operations[name].format(*(self._text(a) for a in args))
        kind = self.dialect.mask if self.g.is_mask(node) else self.dialect.number
        self.names[node] = f"x{node}"
        self.lines.append(f"const {kind} x{node} = {text};")

    def _rarely(self, node: Node) -> None:
        """A value that most segments do without: computed only where a lane needs it, and forgotten after."""
        condition, otherwise, needed = self.g.operations[node].args
        self.lines.append(f"{self.dialect.number} x{node} = {self._text(otherwise)};")
        self.lines.append(f"if ({self.dialect.any.format(self._text(condition))}) {{")
        before = dict(self.names)
        value = self.value(needed)
        select = self.dialect.operations["select"].format(self._text(condition), value, f"x{node}")
        self.lines += [f"x{node} = {select};", "}"]
        self.names = before
        self.names[node] = f"x{node}"
