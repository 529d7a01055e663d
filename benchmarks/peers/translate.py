"""The model's right-hand side as text for other people's tools: the project's own expression form, printed in their notations.

What depends on parameters only is split off (`once`), so that every tool gets it as an array of constants `k`, computed once
per patient. Nothing is typed by hand.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from thrombojax.codegen.expression import MASKS, Graph, Node
from thrombojax.codegen.trace import trace
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Model

PATIENT, POINT = 1, 2
"""Levels of values: fixed for a patient, or changing with the state."""


class Translation(NamedTuple):
    """states: names; constants: nodes of a patient's `k`; rhs: derivatives per day; platelets: 1e9/L."""

    graph: Graph
    states: tuple[str, ...]
    constants: tuple[Node, ...]
    rhs: tuple[Node, ...]
    platelets: tuple[Node, ...]


def translate(model: Model) -> Translation:
    """Trace a model whose right-hand side depends on neither time nor phase nor era (the feedback with romiplostim)."""
    g = Graph()
    states = struct.names(model.State)
    p: Any = struct.unflatten(model.Parameters, _symbols(g, "p", len(struct.names(model.Parameters)), PATIENT))
    y: Any = struct.unflatten(model.State, _symbols(g, "y", len(states), POINT))
    rates = trace(g, lambda y, p: jax.tree.leaves(model.rhs(0.0, y, p, Inputs({}, 0.0))), y, p)
    seen = trace(g, lambda y, p: [model.observe(y, p).platelets], y, p)
    moving = [n for n in g.order([*rates, *seen]) if g.level[n] == POINT]
    used = [*rates, *seen, *(a for n in moving for a in g.operations[n].args)]
    constants = tuple(dict.fromkeys(n for n in used if g.level[n] == PATIENT))
    return Translation(g, states, constants, tuple(rates), tuple(seen))


def _symbols(g: Graph, name: str, n: int, level: int) -> list[Node]:
    names: list[Any] = [(name, i) for i in range(n)]
    return [g.symbol(label, level) for label in names]


_COMMON = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "reciprocal": "1.0 / {0}",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}",
}  # fmt: skip
_MATHS = ("sqrt", "exp", "log", "log1p", "expm1", "tanh")
C = {**_COMMON, **{f: f"{f}({{0}})" for f in _MATHS}, "pow": "pow({0}, {1})", "select": "{0} ? {1} : {2}",
     "max": "fmax({0}, {1})", "min": "fmin({0}, {1})"}  # fmt: skip
NUMPY = {**_COMMON, **{f: f"np.{f}({{0}})" for f in _MATHS}, "pow": "{0} ** {1}", "select": "np.where({0}, {1}, {2})",
         "max": "np.maximum({0}, {1})", "min": "np.minimum({0}, {1})"}  # fmt: skip
NUMBA = {**NUMPY, "select": "{1} if {0} else {2}", "max": "max({0}, {1})", "min": "min({0}, {1})"}
"""How each operation is written, by notation. An operation that is not here is a KeyError that names it."""


class _Printer:
    """Lines of straight code for some results, when the values in `known` are at hand under other names."""

    def __init__(self, graph: Graph, known: Sequence[Node], table: dict[str, str], index: str = "[{}]"):
        self.graph, self.table = graph, table
        self.known = {node: "k" + index.format(i) for i, node in enumerate(known)}
        self.index = index

    def name(self, node: Node) -> str:
        operation = self.graph.operations[node]
        if node in self.known:
            return self.known[node]
        if operation.name == "constant":
            return f"({operation.value!r})" if operation.value < 0 else repr(operation.value)
        if operation.name == "symbol":
            return operation.value[0] + self.index.format(operation.value[1])
        return f"v{node}"

    def lines(
        self, results: Sequence[Node], declare: Callable[[str], str] = lambda operation: "", end: str = ""
    ) -> list[str]:
        """One assignment per operation; `declare` turns an operation's name into what stands before the variable."""
        operations = self.graph.operations
        return [
            f"{declare(operations[n].name)}v{n} = "
            f"{self.table[operations[n].name].format(*map(self.name, operations[n].args))}{end}"
            for n in self.graph.order(results, self.known)
        ]


def _kind(operation: str) -> str:
    return "const int " if operation in MASKS else "const double "


def _local(operation: str) -> str:
    """mrgsolve makes a global of every plain `double`; these stay in registers."""
    return "local_int " if operation in MASKS else "local_double "


def constants(translation: Translation, p: Any) -> np.ndarray:
    """`[patient, constant]` from a struct of `[patient]` parameters."""
    leaves = [np.asarray(leaf, float) for leaf in jax.tree.leaves(p)]
    printer = _Printer(translation.graph, (), NUMPY)
    scope: dict[str, Any] = {"np": np, "p": leaves}
    exec("\n".join(printer.lines(translation.constants)), scope)
    columns = [eval(printer.name(node), scope) for node in translation.constants]
    return np.ascontiguousarray(np.stack(columns, axis=1))


def c_functions(translation: Translation) -> str:
    """C: `rhs(y, k, d)` fills d; `count(y, k)`."""
    c = _Printer(translation.graph, translation.constants, C)
    rates = [f"d[{i}] = {c.name(node)};" for i, node in enumerate(translation.rhs)]
    return "\n".join(
        ["#include <math.h>", "static inline void rhs(const double *y, const double *k, double *d) {",
         *c.lines(translation.rhs, _kind, ";"), *rates, "}", "static inline double count(const double *y, const double *k) {",
         *c.lines(translation.platelets, _kind, ";"), f"return {c.name(translation.platelets[0])};", "}", ""]
    )  # fmt: skip


def python_functions(translation: Translation) -> str:
    """Python that numba compiles: `rhs(y, k, d)` fills d; `count(y, k)`."""
    python = _Printer(translation.graph, translation.constants, NUMBA)
    rates = [f"d[{i}] = {python.name(node)}" for i, node in enumerate(translation.rhs)]
    first = [*python.lines(translation.rhs), *rates]
    second = [*python.lines(translation.platelets), f"return {python.name(translation.platelets[0])}"]
    return "\n    ".join(["import numpy as np\n\n\ndef rhs(y, k, d):", *first]) + "\n    ".join(
        ["\n\n\ndef count(y, k):", *second, ""]
    )


def mrgsolve_model(translation: Translation, depot: int) -> str:
    """A model file of ours in mrgsolve's notation: constants k0.. and initial values i0.. are parameters of each patient.

    depot: the state that doses enter; the parameter `per_dose` is what one unit of dose adds to it (ug).
    """
    m = _Printer(translation.graph, translation.constants, C, index="{}")
    states = range(len(translation.states))
    given = [f"k{i} = 1" for i in range(len(translation.constants))] + [f"i{i} = 0" for i in states] + ["per_dose = 1"]
    return "\n".join(
        ["$PARAM", *given, "$CMT", *(f"y{i}" for i in states),
         "$MAIN", f"F_y{depot} = per_dose;", "if(NEWIND <= 1) {", *(f"  y{i}_0 = i{i};" for i in states), "}",
         "$ODE", *m.lines(translation.rhs, _local, ";"),
         *(f"dxdt_y{i} = {m.name(node)};" for i, node in enumerate(translation.rhs)),
         "$TABLE", *m.lines(translation.platelets, _local, ";"), f"capture count = {m.name(translation.platelets[0])};", ""]
    )  # fmt: skip
