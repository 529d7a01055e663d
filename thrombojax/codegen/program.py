"""A trajectory kernel as expressions: every piece of `solve.pieces`, traced once into one graph, sorted by how often it changes.

Parameter algebra is level PATIENT and done once per patient; what depends on the step length or on a segment's switches (the
propagator of linear compartments) is level SEGMENT and done when one of them changes; the rest is done where it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thrombojax.codegen.expression import Graph, Node
from thrombojax.codegen.regroup import regroup
from thrombojax.codegen.trace import trace
from thrombojax.endpoints.reducers import REDUCERS
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Model
from thrombojax.solve import pieces
from thrombojax.solve.linear import advance
from thrombojax.solve.pieces import Part, Plan
from thrombojax.solve.steppers import FixedSteps, Tableau

CONSTANT, PATIENT, SEGMENT, POINT = 0, 1, 2, 3
"""Levels of a value: how often it changes."""


@dataclass(frozen=True)
class Block:
    """Values computed at one place of the kernel: (array, index) that each goes to, and its node."""

    writes: tuple[tuple[tuple[str, int], Node], ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for _, node in self.writes)

    def __bool__(self) -> bool:
        return bool(self.writes)


@dataclass(frozen=True)
class Program:
    """All blocks of a kernel. Symbols are (array, index): `p` parameters, `y` state, `t` time, `h` step, `c` carries ...

    parameters: which leaves of Parameters are used, in the order of `p`; sizes: of every array of symbols.
    stored: nodes kept per patient (array `q`) and per segment (array `r`).
    """

    graph: Graph
    parameters: tuple[int, ...]
    states: int
    linear: tuple[int, ...]
    nodes: tuple[float, ...]
    tableau: Tableau
    sizes: Mapping[str, int]
    patient: tuple[Node, ...]
    segment: tuple[Node, ...]
    look: Block
    """Observables at `y` -> v."""
    open: Block
    """Carries before the first segment, from v -> c."""
    dose: Block
    """State after the boluses -> y."""
    line: Block
    """Linear states at `nodes` of a step, one after the other -> l."""
    slope: Block
    """Derivatives -> d."""
    bound: Block
    """Observables and their slopes -> v, s; derivatives, for the step that begins here -> d."""
    update: Block
    """Carries after a segment, from its begin (b, e) and its end (v, s) -> c."""
    close: Block
    """Endpoints -> o."""
    observables: tuple[str, ...]
    endpoints: tuple[str, ...]

    def known(self) -> dict[Node, tuple[str, int]]:
        """Where stored nodes are found."""
        return {
            **{node: ("q", k) for k, node in enumerate(self.patient)},
            **{node: ("r", k) for k, node in enumerate(self.segment)},
        }

    def operations(self, block: Block) -> int:
        """Counted operations of a block when the stored values are at hand; a fused multiply-add is two."""
        return self.graph.cost(self.graph.order(block.nodes, self.known()))


def build(model: Model, plan: Plan) -> Program:
    """Trace every piece. Raises CannotTranslate for what generated code does not have."""
    g = Graph()
    leaves = struct.names(model.Parameters)
    p: Any = struct.unflatten(model.Parameters, [g.symbol(("p", k), PATIENT) for k in range(len(leaves))])
    y = _symbols(g, "y", len(struct.names(model.State)), POINT)
    t, h = g.symbol(("t", 0), POINT), g.symbol(("h", 0), SEGMENT)
    phase = {key: g.symbol(("phase", k), SEGMENT) for k, key in enumerate(plan.phases)}
    u = Inputs(phase, g.symbol(("era", 0), SEGMENT))
    dose = _symbols(g, "dose", len(plan.columns), POINT)
    rate = _symbols(g, "rate", len(plan.columns), SEGMENT) if plan.infusions else (g.constant(0.0),) * len(plan.columns)

    def rates(p: Any, rate: Sequence[Any]) -> dict[int, Any]:
        into = pieces.targets(model, plan, p, pieces.scales(model, plan.columns, p))
        return pieces.infuse(into, rate) if plan.infusions else {}

    given = trace(g, lambda y, p, dose: pieces.inject(_into(model, plan, p), dose, y), y, p, dose)
    moved = tuple((("y", i), node) for i, node in enumerate(given) if node != y[i])

    known: tuple[int, ...] = ()
    nodes: tuple[float, ...] = ()
    line = Block(())
    exact = pieces.exact(model, plan, model.defaults, Inputs(dict.fromkeys(plan.phases, 0.0), 0.0), {}, 1.0)
    if exact is not None:
        known, nodes = exact.states, tuple(exact.at)

        def propagate(p: Any, u: Inputs, rate: Sequence[Any], h: Any, y: Sequence[Any]) -> Any:
            found = pieces.exact(model, plan, p, u, rates(p, rate), h)
            return [advance(matrix, list(y)) for matrix in found.at.values()] if found is not None else []

        line = _block("l", sum(trace(g, propagate, p, u, rate, h, [y[i] for i in known]), start=[]))

    def derivative(t: Any, y: Any, p: Any, u: Inputs, rate: Any) -> Any:
        return pieces.derivative(model, t, y, p, u, rates(p, rate))

    d = regroup(g, trace(g, derivative, t, y, p, u, rate), POINT)
    slope = Block(tuple((("d", i), node) for i, node in enumerate(d) if i not in known))
    look = _block("v", trace(g, lambda y, p: pieces.see(model, plan, y, p), y, p))
    bound, reducers = Block(()), {}
    if plan.reductions:

        def bounds(t: Any, y: Any, p: Any, u: Inputs, rate: Any) -> Any:
            return pieces.slopes(model, plan, t, y, p, u, rates(p, rate))

        values, slopes = trace(g, bounds, t, y, p, u, rate)
        bound = Block((*_block("v", values).writes, *_block("s", slopes).writes, *slope.writes))
        reducers = _reducers(g, model, plan, p, dose, rate)
    blocks = {
        "look": look, "open": Block(()), "dose": Block(moved), "line": line, "slope": slope,
        "bound": bound, "update": Block(()), "close": Block(()), **reducers,
    }  # fmt: skip
    return _stored(g, len(y), known, nodes, blocks, plan)


def _into(model: Model, plan: Plan, p: Any) -> Any:
    return pieces.targets(model, plan, p, pieces.scales(model, plan.columns, p))


def _reducers(g: Graph, model: Model, plan: Plan, p: Any, dose: Any, rate: Any) -> dict[str, Block]:
    """How endpoints begin, go on and end."""
    n, seen = len(plan.reductions), len(plan.observables)
    numbers = [
        {name: g.symbol(("number", k), PATIENT) for k, name in taken}
        for taken in _numbers(plan)
    ]  # fmt: skip
    first = _symbols(g, "first", n, PATIENT)
    window = [_symbols(g, "window", 2 * n, PATIENT)[2 * e : 2 * e + 2] for e in range(n)]
    v, s, b, e = (_symbols(g, name, seen, POINT) for name in "vsbe")
    begun = trace(g, lambda v, first, numbers: pieces.begin(plan, v, 0.0, first, numbers), v, first, numbers)
    sizes = [len(carry) for carry in begun]
    flat = [node for carry in begun for node in carry]
    c = _symbols(g, "c", len(flat), POINT)
    carries = tuple(tuple(c[sum(sizes[:k]) : sum(sizes[: k + 1])]) for k in range(n))
    start, length = g.symbol(("start", 0), POINT), g.symbol(("length", 0), POINT)
    part = Part(start, length, dose, rate, _symbols(g, "inside", n, POINT), _symbols(g, "pick", n, POINT))

    def update(c: Any, part: Part, v: Any, s: Any, b: Any, e: Any, numbers: Any, p: Any) -> Any:
        return pieces.reduce(plan, c, part, (b, e), (v, s), numbers, pieces.scales(model, plan.columns, p))

    updated = trace(g, update, carries, part, v, s, b, e, numbers, p)
    closed = trace(g, lambda c, window, numbers: pieces.finish(plan, c, window, numbers), carries, window, numbers)
    return {
        "open": _block("c", flat),
        "update": _block("c", [node for carry in updated for node in carry]),
        "close": _block("o", [closed[r.name] for r in plan.reductions]),
    }


def _numbers(plan: Plan) -> list[list[tuple[int, str]]]:
    """Per reduction: (place among all numbers, name), in the order in which the kernel gets them."""
    found, at = [], 0
    for r in plan.reductions:
        names = REDUCERS[r.reducer].numbers
        found.append(list(enumerate(names, at)))
        at += len(names)
    return found


def _symbols(g: Graph, name: str, n: int, level: int) -> tuple[Node, ...]:
    return tuple(g.symbol((name, k), level) for k in range(n))


def _block(array: str, nodes: Sequence[Node]) -> Block:
    return Block(tuple(((array, k), node) for k, node in enumerate(nodes)))


def _stored(g: Graph, states: int, linear: tuple[int, ...], nodes: tuple[float, ...], blocks: dict[str, Block],
            plan: Plan) -> Program:  # fmt: skip
    """Choose what is kept per patient and per segment: values of a low level that a block of a higher one reads."""
    patient: dict[Node, None] = {}
    segment: dict[Node, None] = {}

    def keep(node: Node, often: bool) -> None:
        if g.operations[node].name in ("constant", "symbol") or g.is_mask(node):
            return
        if g.level[node] == PATIENT:
            patient[node] = None
        elif g.level[node] == SEGMENT and often:
            segment[node] = None

    for name, block in blocks.items():
        often = name in ("line", "slope")
        for node in g.order(block.nodes):
            for a in g.operations[node].args:
                if g.level[a] < g.level[node] or g.is_mask(node):  # masks are not kept, but what they are made of
                    keep(a, often)
        for node in block.nodes:
            keep(node, often)
    # A value of the segment that only values of the segment read is not kept: what they read of the patient is.
    kept = {**patient, **segment}
    used = {
        s[1] for nodes in (tuple(kept), *(b.nodes for b in blocks.values())) for s in g.symbols(nodes) if s[0] == "p"
    }
    sizes: dict[str, int] = {}
    for operation in g.operations:
        if operation.name == "symbol":
            array, index = operation.value
            sizes[array] = max(sizes.get(array, 0), index + 1)
    stepper = plan.stepper
    assert isinstance(stepper, FixedSteps)
    return Program(g, tuple(sorted(used)), states, linear, nodes, stepper.tableau, sizes, tuple(patient), tuple(segment), **blocks,
                   observables=plan.observables, endpoints=tuple(r.name for r in plan.reductions))  # fmt: skip
