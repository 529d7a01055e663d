"""A trajectory kernel as expressions: every piece of `solve.pieces`, traced once into one graph, sorted by how often it changes.

Parameter algebra is level PATIENT and done once per patient; what depends on the step length or on a segment's switches (the
propagator of linear compartments) is level SEGMENT and done when one of them changes; the rest is done where it stands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from thrombojax.codegen.expression import Graph, Node
from thrombojax.codegen.regroup import regroup
from thrombojax.codegen.trace import trace
from thrombojax.dosing import policy
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


BLOCKS: Mapping[str, str] = {
    "look": "observables at y -> v",
    "admit": "memory and ledger before the first dose, from v -> m, a",
    "open": "carries before the first segment, from v -> c",
    "give": "amounts at a bound, and the memory after them -> g, m",
    "dose": "state after the boluses -> y",
    "line": "linear states at `nodes` of a step, one after the other -> l",
    "slope": "derivatives -> d",
    "bound": "observables and their slopes -> v, s",
    "update": "carries after a segment, from its begin (b, e) and its end (v, s) -> c",
    "decide": "memory and ledger after a visit, from v -> m, a",
    "close": "endpoints -> o",
}
BACKWARD = ("look", "admit", "open", "give", "dose", "line", "bound", "update", "decide", "close")
"""Blocks whose transposes are printed as they are."""
PARTS = ("part", "prepare", "enter", "given")
"""Texts that kernels share; what stands in another comes after it."""
OFTEN = ("line", "slope")
"""Blocks that are evaluated in every step."""


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
    blocks: Mapping[str, Block]
    """By the names of BLOCKS."""
    observables: tuple[str, ...]
    endpoints: tuple[str, ...]
    tangent: bool = False
    """Whether the second half of all states are tangents."""
    varying: tuple[int, ...] = ()
    """Leaves of Parameters that change in the course of time: array `x`."""
    each: bool = False
    """Whether every patient has a timeline of its own."""
    residuals: tuple[Node, ...] = ()
    """What a transpose reads of the forward evaluation (array `w`); only in the reverse of a kernel."""

    times: bool = True
    """Whether transposes reach times."""

    @property
    def reverse(self) -> bool:
        """Whether transposes stand beside the blocks."""
        return "slope_" in self.blocks

    @property
    def wrt(self) -> list[int]:
        """Leaves of Parameters that transposes reach, in the order of `p_`."""
        return sorted({k for block in self.blocks.values() for (array, k), _ in block.writes if array == "p_"})

    @property
    def rules(self) -> int:
        """How many numbers a policy has."""
        return self.sizes.get("rule", self.sizes.get("own_rule", 0))

    def known(self) -> dict[Node, tuple[str, int]]:
        """Where stored nodes are found."""
        return {
            **{node: ("q", k) for k, node in enumerate(self.patient)},
            **{node: ("r", k) for k, node in enumerate(self.segment)},
        }

    def operations(self, name: str) -> int:
        """Counted operations of a block when the stored values are at hand; a fused multiply-add is two."""
        return self.graph.cost(self.graph.order(self.blocks[name].nodes, self.known()))


class Function(NamedTuple):
    """A piece of a trajectory: what it computes, from which nodes, and where its results go, in flattening order."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    out: tuple[tuple[str, int], ...]


class Setting(NamedTuple):
    """The pieces of one kernel, not yet traced. linear: places of the linear states, known at `nodes` of a step."""

    graph: Graph
    states: int
    linear: tuple[int, ...]
    nodes: tuple[float, ...]
    functions: Mapping[str, Function]
    varying: tuple[int, ...] = ()


def setting(model: Model, plan: Plan) -> Setting:
    """Every piece with its symbols."""
    g = Graph()
    varying = plan.clinic.varying if plan.clinic is not None else ()
    leaves = [
        g.symbol(("x", varying.index(k)), SEGMENT) if k in varying else g.symbol(("p", k), PATIENT)
        for k in range(len(struct.names(model.Parameters)))
    ]
    p: Any = struct.unflatten(model.Parameters, leaves)
    y = _symbols(g, "y", len(struct.names(model.State)), POINT)
    t, h = g.symbol(("t", 0), POINT), g.symbol(("h", 0), SEGMENT)
    phase = {key: g.symbol(("phase", k), SEGMENT) for k, key in enumerate(plan.phases)}
    u = Inputs(phase, g.symbol(("era", 0), SEGMENT))
    dose = _symbols(g, "dose" if plan.clinic is None else "g", len(plan.columns), POINT)
    rate = _symbols(g, "rate", len(plan.columns), SEGMENT) if plan.infusions else (g.constant(0.0),) * len(plan.columns)

    def into(p: Any) -> Any:
        return pieces.targets(model, plan, p, pieces.scales(model, plan.columns, p))

    def rates(p: Any, rate: Sequence[Any]) -> dict[int, Any]:
        return pieces.infuse(into(p), rate) if plan.infusions else {}

    known: tuple[int, ...] = ()
    nodes: tuple[float, ...] = ()
    exact = pieces.exact(model, plan, model.defaults, Inputs(dict.fromkeys(plan.phases, 0.0), 0.0), {}, 1.0)
    if exact is not None:
        known, nodes = exact.states, tuple(exact.at)

    def inject(y: Any, p: Any, dose: Any) -> Any:
        return pieces.inject(model, into(p), dose, y)

    def propagate(p: Any, u: Inputs, rate: Any, h: Any, y: Any) -> Any:
        found = pieces.exact(model, plan, p, u, rates(p, rate), h)
        return [advance(matrix, list(y)) for matrix in found.at.values()] if found is not None else []

    def derivative(t: Any, y: Any, p: Any, u: Inputs, rate: Any) -> Any:
        d = pieces.derivative(model, t, y, p, u, rates(p, rate))
        return [v for i, v in enumerate(d) if i not in known]

    def see(y: Any, p: Any) -> Any:
        return pieces.see(model, plan, y, p)

    def slopes(t: Any, y: Any, p: Any, u: Inputs, rate: Any) -> Any:
        return pieces.slopes(model, plan, t, y, p, u, rates(p, rate))

    seen, places = len(plan.observables), range(len(y))
    functions = {
        "look": Function(see, (y, p), _places("v", seen)),
        "dose": Function(inject, (y, p, dose), _places("y", len(y))),
        "line": Function(propagate, (p, u, rate, h, [y[i] for i in known]), _places("l", len(known) * len(nodes))),
        "slope": Function(derivative, (t, y, p, u, rate), tuple(("d", i) for i in places if i not in known)),
    }
    if plan.reductions:
        functions["bound"] = Function(slopes, (t, y, p, u, rate), (*_places("v", seen), *_places("s", seen)))
    visits = _visits(g, model, plan, p)
    if plan.reductions:
        functions.update(_reducers(g, model, plan, p, dose, rate, visits))
    return Setting(g, len(y), known, nodes, {**visits.functions, **functions}, varying)


class _Visits(NamedTuple):
    """What a clinic adds to a kernel. look(v, memory, factor, rule) -> Visit."""

    functions: Mapping[str, Function] = {}
    look: Callable[..., Any] | None = None
    memory: Any = ()
    factor: Any = ()
    rule: Any = ()


def _visits(g: Graph, model: Model, plan: Plan, p: Any) -> _Visits:
    """Administrations and visits of a plan with a clinic."""
    if plan.clinic is None:
        return _Visits()
    shape = plan.clinic.policy
    rule = policy.padded(policy.Rule(), shape)
    leaves, tree = jax.tree.flatten(rule)
    rule = jax.tree.unflatten(tree, _symbols(g, "own_rule" if plan.clinic.rules else "rule", len(leaves), PATIENT))
    leaves, tree = jax.tree.flatten(policy.begin(shape, policy.Rule(), np.float64(0.0)))
    memory = jax.tree.unflatten(tree, _symbols(g, "m", len(leaves), POINT))
    at = _places("m", len(leaves))
    columns = len(plan.columns)
    flags = _symbols(g, "dose", columns, POINT)
    taken = _symbols(g, "taken", columns, POINT) if plan.clinic.own else ()
    v = _symbols(g, "v", len(plan.observables), POINT)
    factor, day = g.symbol(("factor", 0), POINT), g.symbol(("t", 0), POINT)

    def give(memory: Any, flags: Any, taken: Any, rule: Any, p: Any) -> Any:
        return pieces.give(model, plan, rule, memory, flags, taken, p)

    def decide(v: Any, memory: Any, factor: Any, day: Any, rule: Any) -> Any:
        return pieces.attend(plan, rule, memory, v, factor, day, 1.0)

    def admit(v: Any, factor: Any, rule: Any) -> Any:
        return pieces.admit(plan, rule, v, factor)

    def look(v: Any, memory: Any, factor: Any, rule: Any) -> Any:
        return pieces.look(plan, rule, memory, v, factor)

    rows = _places("a", len(policy.LEDGER))
    functions = {
        "admit": Function(admit, (v, factor, rule), (*at, *rows)),
        "give": Function(give, (memory, flags, taken, rule, p), (*_places("g", columns), *at)),
        "decide": Function(decide, (v, memory, factor, day, rule), (*at, *rows)),
    }
    return _Visits(functions, look, memory, factor, rule)


def build(model: Model, plan: Plan) -> Program:
    """Trace every piece. Raises CannotTranslate for what generated code does not have."""
    given = setting(model, plan)
    blocks = {name: traced(given.graph, f) for name, f in given.functions.items()}
    return finish(given, with_slope(blocks), plan)


def with_slope(blocks: dict[str, Block]) -> dict[str, Block]:
    """A bound also computes the slope with which the next step begins."""
    if "bound" in blocks:
        blocks["bound"] = Block((*blocks["bound"].writes, *blocks["slope"].writes))
    return blocks


def traced(g: Graph, f: Function, often: bool = True) -> Block:
    """A piece as expressions, regrouped where it is evaluated `often`."""
    found = jax.tree.leaves(trace(g, f.call, *f.args))
    if often and any(array == "d" for array, _ in f.out):
        found = regroup(g, found, POINT)
    return Block(tuple(zip(f.out, found, strict=True)))


def _reducers(g: Graph, model: Model, plan: Plan, p: Any, dose: Any, rate: Any, visits: _Visits) -> dict[str, Function]:
    """How endpoints begin, go on and end."""
    n, looked = len(plan.reductions), len(plan.observables)
    numbers = [{name: g.symbol(("number", k), PATIENT) for k, name in taken} for taken in _numbers(plan)]
    first = _symbols(g, "first", n, PATIENT)
    ends = _symbols(g, "window", 2 * n, PATIENT)
    window = [ends[2 * e : 2 * e + 2] for e in range(n)]
    v, s, b, e = (_symbols(g, name, looked, POINT) for name in "vsbe")

    seen = (visits.memory, visits.factor, visits.rule)

    def look(v: Any, seen: Any) -> Any:
        return visits.look(v, *seen) if visits.look is not None else None

    def begin(v: Any, first: Any, numbers: Any, seen: Any) -> Any:
        return pieces.begin(plan, v, 0.0, first, numbers, look(v, seen))

    sizes = [len(carry) for carry in jax.eval_shape(begin, *jax.tree.map(lambda _: 0.0, (v, first, numbers, seen)))]
    c = _symbols(g, "c", sum(sizes), POINT)
    carries = tuple(tuple(c[sum(sizes[:k]) : sum(sizes[: k + 1])]) for k in range(n))
    start, length = g.symbol(("start", 0), POINT), g.symbol(("length", 0), POINT)
    part = Part(start, length, dose, rate, _symbols(g, "inside", n, POINT), _symbols(g, "pick", n, POINT))

    def update(c: Any, part: Part, v: Any, s: Any, b: Any, e: Any, numbers: Any, p: Any, seen: Any) -> Any:
        scale = pieces.scales(model, plan.columns, p)
        return pieces.reduce(plan, c, part, (b, e), (v, s), numbers, scale, look(v, seen))

    def close(c: Any, window: Any, numbers: Any, memory: Any) -> Any:
        found = pieces.finish(plan, c, window, numbers, memory)
        return [found[r.name] for r in plan.reductions]

    return {
        "open": Function(begin, (v, first, numbers, seen), _places("c", len(c))),
        "update": Function(update, (carries, part, v, s, b, e, numbers, p, seen), _places("c", len(c))),
        "close": Function(close, (carries, window, numbers, visits.memory), _places("o", n)),
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


def _places(array: str, n: int) -> tuple[tuple[str, int], ...]:
    return tuple((array, k) for k in range(n))


def finish(given: Setting, blocks: Mapping[str, Block], plan: Plan, often: Sequence[str] = OFTEN) -> Program:
    """Choose what is kept per patient and per segment: values of a low level that a block of a higher one reads."""
    g = given.graph
    blocks = {name: blocks.get(name, Block(())) for name in BLOCKS} | dict(blocks)
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
        repeated = name in often
        for node in g.order(block.nodes):
            for a in g.operations[node].args:
                if g.level[a] < g.level[node] or g.is_mask(node):  # masks are not kept, but what they are made of
                    keep(a, repeated)
        for node in block.nodes:
            keep(node, repeated)
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
    return Program(g, tuple(sorted(used)), given.states, given.linear, given.nodes, stepper.tableau, sizes,
                   tuple(patient), tuple(segment), blocks, plan.observables, tuple(r.name for r in plan.reductions),
                   varying=given.varying, each=plan.each)  # fmt: skip
