"""Expressions as CUDA C: one patient a thread, every value of a patient in a register; the same text is C for tests."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

import numpy as np

from thrombojax.codegen.expression import Graph, Node
from thrombojax.codegen.printing import Dialect, Write, assign, statements
from thrombojax.codegen.program import Block, Program
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.policy import LEDGER
from thrombojax.errors import Problem
from thrombojax.solve.steppers import Tableau

BLOCK = 128
"""Threads of a block."""
REGISTERS, MOST, OTHER = 65536, 255, 48
"""32-bit registers of a multiprocessor, on every GPU since 2012; of a thread, at most; what a thread needs besides its
parameters and its state, which stands there several times over (measured on the flagship: 20 to 45)."""


def _real(value: float) -> str:
    if value != value:
        return "NOT_A_NUMBER"
    if abs(value) == float("inf"):
        return "INFINITE" if value > 0 else "(-INFINITE)"
    return f"((REAL){value!r})"


SCALAR = Dialect(
    number="REAL",
    mask="int",
    real=_real,
    truth=lambda value: str(int(value)),
    operations={
        "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "reciprocal": "1 / {0}",
        "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}",
        "ne": "{0} != {1}", "and": "{0} & {1}", "or": "{0} | {1}", "not": "!{0}",
        "select": "{0} ? {1} : {2}", "is_finite": "FINITE({0})",
        "fma": "FMA({0}, {1}, {2})", "fms": "FMA({0}, {1}, -{2})", "fnma": "FMA(-{0}, {1}, {2})",
        "abs": "FN(fabs)({0})", "min": "smaller({0}, {1})", "max": "larger({0}, {1})", "pow": "FN(pow)({0}, {1})",
        "logistic": "1 / (1 + FN(exp)(-{0}))",
        **{name: f"FN({name})({{0}})" for name in ("exp", "log", "sqrt", "expm1", "log1p", "tanh", "floor", "sin", "cos")},
    },
    any="{0}",
)  # fmt: skip

BEGIN = {"v": "b", "s": "e"}
"""Where values of a bound go that is the begin of a segment."""
MODEL = {"slope": "equations", "look": "observables", "dose": "doses", "line": "linear block"}
"""Blocks that are the model's own: reducers begin at infinity, a model has no business with it."""


@cache
def _text(name: str) -> str:
    return (resources.files("thrombojax.codegen") / name).read_text(encoding="utf-8")


def source(program: Program, precision: str, shared: frozenset[int] = frozenset(), *, host: bool = False) -> str:
    """The whole text of a kernel; precision `f32` or `f64`; shared: leaves of Parameters that all patients have alike.

    host: as C for this machine's compiler. Raises CannotTranslate for a constant that the precision does not hold.
    """
    wrong = problem(program, precision)
    if wrong is not None:
        raise CannotTranslate(Problem("model", wrong))
    real = {"f32": "#define TJ_F32\n#define REAL float", "f64": "#define TJ_F64\n#define REAL double"}[precision]
    before, after = ("scalar.h", "scalar_run.c") if host else ("device.h", "")
    bounds = f"#define BLOCK {BLOCK}\n#define RESIDENT {resident(program, precision, shared)}"
    parts = [real, bounds, _text(before), _trajectory(program, shared), *([_text(after)] if after else [])]
    return "\n".join(parts)


def uniform(program: Program, shared: frozenset[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands in `u` of the text: places in `p` of shared parameters, then in `q` of values made of nothing else."""
    parameters = tuple(k for k, leaf in enumerate(program.parameters) if leaf in shared)
    stored = tuple(k for k, node in enumerate(program.patient) if _is_uniform(program.graph, node, shared))
    return parameters, stored


def resident(program: Program, precision: str, shared: frozenset[int]) -> int:
    """Blocks that a multiprocessor is to hold at once: as many as have registers for all values of their patients."""
    g, kept = program.graph, program.known()
    nodes = [n for b in program.blocks.values() for n in (*g.order(b.nodes, kept), *b.nodes)]
    read = {a for n in nodes for a in (n, *g.operations[n].args)}
    own = sum(
        (a in kept or (g.operations[a].name == "symbol" and g.operations[a].value[0] == "p"))
        and not _is_uniform(g, a, shared)
        for a in read
    )
    values = (2 + _Storage(program.tableau).size) * program.states + own + OTHER
    return max(1, REGISTERS // (BLOCK * min(MOST, values * (1 if precision == "f32" else 2))))


def _is_uniform(g: Graph, node: Node, shared: frozenset[int]) -> bool:
    return all(array != "p" or index in shared for array, index in g.symbols([node]))


def problem(program: Program, precision: str) -> str | None:
    """What keeps a model from this precision: a constant beyond it would be an infinity, or a wrong number made of one."""
    g, most = program.graph, float(np.finfo(np.float32 if precision == "f32" else np.float64).max)
    for name in MODEL:
        nodes: Iterable[Node] = program.blocks[name].nodes
        for node in (*g.order(nodes), *nodes):
            for value in map(g.value, (node, *g.operations[node].args)):
                if value is not None and not abs(value) <= most:
                    return f"the constant {value!r} in the model's {MODEL[name]} is not a finite number in {precision}"
    return None


def _trajectory(program: Program, shared: frozenset[int]) -> str:
    g = program.graph
    position = {leaf: k for k, leaf in enumerate(program.parameters)}
    parameters, stored = uniform(program, shared)
    alike = {("p", k): f"job.u[{i}]" for i, k in enumerate(parameters)}
    alike |= {("q", k): f"job.u[{i + len(parameters)}]" for i, k in enumerate(stored)}
    places = {node: alike.get((array, k), f"{array}[{k}]") for node, (array, k) in program.known().items()}

    def place(array: str, index: int, names: Mapping[str, str], job: str = "job.") -> str:
        """C text of a symbol."""
        if array == "p":
            k = position[index]
            return alike.get((array, k), f"p[{k}]") if job == "job." else f"p[{k}]"
        if array in ("dose", "rate", "phase", "inside", "pick"):
            return f"ALONG({job}{array}, {index} * {job}segments + part)"
        if array in ("t", "h", "era", "start", "length", "factor"):
            return array
        if array == "rule":
            return f"READ({job}rule, {index})"
        if array in ("first", "window", "number"):
            return f"{job}{array}[{index}]"
        return f"{names.get(array, array)}[{index}]"

    def text(
        block: Block, write: Write = assign, known: Mapping[Node, str] = places, job: str = "job.", **names: str
    ) -> str:
        return statements(g, SCALAR, block, write, lambda array, index: place(array, index, names, job), known)

    without = {node: where for node, where in places.items() if where[0] != "r"}
    n, ends = len(program.linear), len(program.linear) * (len(program.nodes) - 1)
    storage = _Storage(program.tableau)
    slots = {
        "P": len(program.parameters), "S": program.states, "L": n * len(program.nodes), "Q": len(program.patient),
        "R": len(program.segment), "C": program.sizes.get("c", 0), "O": len(program.observables),
        "E": len(program.endpoints), "U": len(alike), "NUMBERS": program.sizes.get("number", 0),
        "STAGES": len(program.tableau.b), "G": storage.size,
        "at": ", ".join(f"(REAL){node!r}" for node in program.tableau.nodes),
        "patient": text(Block(tuple((("q", k), node) for k, node in enumerate(program.patient))), known={}, job="job->"),
        "segment": text(Block(tuple((("r", k), node) for k, node in enumerate(program.segment))), known=without),
        "look": text(program.blocks["look"]),
        "open": text(program.blocks["open"]),
        "dose": text(program.blocks["dose"]),
        "begin": text(program.blocks["bound"], lambda array, k, value: assign(BEGIN.get(array, array), k, value)),
        "line": text(program.blocks["line"]),
        "slope": text(program.blocks["slope"], y="z"),
        "stages": "\n".join(_stage(program, storage, stage) for stage in range(len(program.tableau.b))),
        "FIRST": int(any(array == "d" for (array, _), _ in program.blocks["bound"].writes)),
        "known": "\n".join(f"y[{i}] = l[{ends + k}];" for k, i in enumerate(program.linear)),
        "bound": text(program.blocks["bound"]),
        "update": text(program.blocks["update"]),
        "close": text(program.blocks["close"]),
        **{name: text(program.blocks[name]) for name in ("admit", "give", "decide")},
        "CLINIC": int(bool(program.blocks["decide"])), "OWN": int("taken" in program.sizes), "A": len(LEDGER),
        "EACH": int(program.each), "M": program.sizes.get("m", 0), "X": len(program.varying),
        "COLUMNS": program.sizes.get("dose", 0),
    }  # fmt: skip
    kernel = _text("trajectory.cu")
    for name, value in slots.items():
        kernel = kernel.replace(f"@{name}@", str(value))
    return kernel


class _Storage:
    """What a step keeps besides its state and the place where it looks: slopes of the first stages, then sums for those to come.

    A method of many stages needs few arrays so: the slopes grow in number while the sums, one per stage to come, shrink.
    rows: weights of all slopes in each stage and in the step; turn: the stage at which slopes become sums; size: arrays.
    """

    def __init__(self, tableau: Tableau):
        n = len(tableau.b)
        self.rows = [[*row, *(0.0,) * (n - len(row))] for row in ((), *tableau.a, tableau.b)]
        peaks = [max(len(self.after(j, turn)) for j in range(n)) for turn in range(n)]
        self.size, self.turn = min((peak, turn) for turn, peak in enumerate(peaks))

    def after(self, stage: int, turn: int) -> list[int]:
        """What is kept after a stage: numbers of slopes before the turn, of rows from it on."""
        later = range(stage + 2, len(self.rows))
        if stage < turn:
            return [i for i in range(stage + 1) if any(self.rows[s][i] for s in later)]
        return [s for s in later if any(self.rows[s][: stage + 1])]


def _stage(program: Program, storage: _Storage, stage: int) -> str:
    """From a stage's slope to where the next one looks, or to the end of the step."""
    before = storage.after(stage - 1, storage.turn) if stage else []
    slopes = {i: f"g[{k}][k]" for k, i in enumerate(before)} if stage <= storage.turn else {}
    sums = {s: f"g[{k}][k]" for k, s in enumerate(before)} if stage > storage.turn else {}
    slopes[stage] = "d[k]"

    def total(row: int) -> str:
        text = sums.get(row, "")
        for i, slope in slopes.items():
            weight = f"(REAL){storage.rows[row][i]!r}"
            if storage.rows[row][i]:
                text = f"FMA({slope}, {weight}, {text})" if text else f"{slope} * {weight}"
        return text or "0"

    kept = storage.after(stage, storage.turn)
    values = [slopes[i] if stage < storage.turn else total(i) for i in kept]
    last = stage + 1 == len(program.tableau.b)
    lines = [f"const REAL ahead = {total(stage + 1)};"]
    lines += [f"const REAL g{k} = {value};" for k, value in enumerate(values)]
    lines += [f"g[{k}][k] = g{k};" for k in range(len(values))]
    lines.append(f"{'y' if last else 'z'}[k] = FMA(ahead, h, y[k]);")
    text = f"case {stage}: UNROLL for (int k = 0; k < S; k++) {{ {' '.join(lines)} }}"
    if not last and program.linear:
        at = program.nodes.index(program.tableau.nodes[stage + 1]) * len(program.linear)
        text += "".join(f" z[{i}] = l[{at + k}];" for k, i in enumerate(program.linear))
    return f"{text} break;"
