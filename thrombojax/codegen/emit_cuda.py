"""Expressions as CUDA C: one patient a thread, every value of a patient in a register; the same text is C for tests."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

import numpy as np

from thrombojax.codegen import printing_back
from thrombojax.codegen.expression import Graph, Node
from thrombojax.codegen.printing import Dialect, Write, assign, cotangents, statements
from thrombojax.codegen.program import BACKWARD, BLOCKS, PARTS, Block, Program
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.policy import LEDGER
from thrombojax.errors import Problem
from thrombojax.solve.steppers import Tableau

BLOCK = 128
"""Threads of a block."""
REGISTERS, MOST, OTHER = 65536, 255, 48
"""32-bit registers of a multiprocessor, on every GPU since 2012; of a thread, at most; what a thread needs besides its
parameters and its state, which stands there several times over (measured on the flagship: 20 to 45)."""
RULE = -1
"""Among what patients share, beside leaves of Parameters: the numbers of the policy, where they are known."""
RESIDENT_BACK = 2
"""Blocks of the way back that a multiprocessor is to hold: with as many registers as a thread can have."""


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
    """The whole text of a kernel, or of its reverse for a program of `adjoint.build`; precision `f32` or `f64`.

    shared: leaves of Parameters that all patients have alike; host: as C for this machine's compiler. Raises CannotTranslate
    for a constant that the precision does not hold.
    """
    wrong = problem(program, precision)
    if wrong is not None:
        raise CannotTranslate(Problem("model", wrong))
    real = {"f32": "#define TJ_F32\n#define REAL float", "f64": "#define TJ_F64\n#define REAL double"}[precision]
    blocks = RESIDENT_BACK if program.reverse else resident(program, precision, shared)
    bounds = f"#define BLOCK {BLOCK}\n#define RESIDENT {blocks}"
    slots = _Slots(program, shared)
    found = {**slots.sizes(), **slots.forward(), **(slots.backward() if program.reverse else {})}
    text = "\n".join([_text("job.cu"), _text("adjoint.cu" if program.reverse else "trajectory.cu")])
    for slot in (*PARTS, *found):  # those first, because they have slots themselves
        value = _text(f"{slot}.cu") if slot in PARTS else found[slot]
        text = text.replace(f"@{slot}@", str(value))
    return "\n".join([real, bounds, _text("scalar.h" if host else "device.h"), text])


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
    own = {"p": lambda index: index, "rule": lambda index: RULE}
    return all(array not in own or own[array](index) in shared for array, index in g.symbols([node]))


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


class _Slots:
    """What stands in the places that the templates leave open."""

    def __init__(self, program: Program, shared: frozenset[int]):
        self.program = program
        self.position = {leaf: k for k, leaf in enumerate(program.parameters)}
        parameters, stored = uniform(program, shared)
        self.alike = {("p", k): f"job.u[{i}]" for i, k in enumerate(parameters)}
        self.alike |= {("q", k): f"job.u[{i + len(parameters)}]" for i, k in enumerate(stored)}
        self.places = {
            node: self.alike.get((array, k), f"{array}[{k}]") for node, (array, k) in program.known().items()
        }
        self.storage = _Storage(program.tableau)

    def sizes(self) -> dict[str, int]:
        program = self.program
        sizes = program.sizes
        return {
            "P": len(program.parameters), "S": program.states, "L": len(program.linear) * len(program.nodes),
            "Q": len(program.patient), "R": len(program.segment), "C": sizes.get("c", 0),
            "O": len(program.observables), "E": len(program.endpoints), "U": len(self.alike),
            "NUMBERS": sizes.get("number", 0), "STAGES": len(program.tableau.b), "G": self.storage.size,
            "FIRST": int(any(array == "d" for (array, _), _ in program.blocks["bound"].writes)),
            "CLINIC": int(bool(program.blocks["decide"])), "OWN": sizes.get("taken", 0), "A": len(LEDGER),
            "EACH": int(program.each), "M": sizes.get("m", 0), "X": len(program.varying),
            "COLUMNS": sizes.get("dose", 0), "TANGENT": int(program.tangent), "WRT": len(program.wrt),
            "RULES": program.rules,
        }  # fmt: skip

    def forward(self) -> dict[str, str]:
        program, blocks = self.program, self.program.blocks
        without = {node: where for node, where in self.places.items() if where[0] != "r"}
        end = len(program.linear) * (len(program.nodes) - 1)
        return {
            "at": ", ".join(f"(REAL){node!r}" for node in program.tableau.nodes),
            "patient": self.text(_all("q", program.patient), known={}, job="job->"),
            "segment": self.text(_all("r", program.segment), known=without),
            "begin": self.text(blocks["bound"], lambda array, k, value: assign(BEGIN.get(array, array), k, value)),
            "slope": self.text(Block(tuple(w for w in blocks["slope"].writes if w[0][0] == "d")), y="z"),
            "stages": "\n".join(_stage(program, self.storage, stage) for stage in range(len(program.tableau.b))),
            "known": "\n".join(f"y[{i}] = l[{k}];" for k, i in enumerate(program.linear, end)),
            **{name: self.text(blocks[name]) for name in BLOCKS if name != "slope"},
        }

    def backward(self) -> dict[str, str]:
        program, blocks = self.program, self.program.blocks
        add = self.add(y_="z_")

        def slope(array: str, k: int, value: str) -> str:
            if array != "d":
                return add(array, k, value)
            return f"h_[0] = FMA(ahead_[{k}], {value}, h_[0]);" if program.times else ""

        return {
            "slope_": self.text(Block((*blocks["again"].writes, *blocks["slope_"].writes)), slope, y="z"),
            "begin_": self.text(blocks.get("bound_", Block(())), self.add(), v_="b_", s_="e_"),
            "known_": printing_back.known(program),
            "ahead_": printing_back.ahead(program.tableau, "tried", "ahead_[k] = AHEAD;"),
            "exact_": printing_back.exact(program),
            **{f"{name}_": self.text(blocks.get(f"{name}_", Block(())), self.add()) for name in BACKWARD},
        }  # fmt: skip

    def add(self, **names: str) -> Write:
        return cotangents(self.program.wrt, names)

    def text(
        self,
        block: Block,
        write: Write = assign,
        known: Mapping[Node, str] | None = None,
        job: str = "job.",
        **names: str,
    ) -> str:
        found = self.places if known is None else known
        return statements(
            self.program.graph, SCALAR, block, write, lambda array, k: self.place(array, k, names, job), found
        )

    def place(self, array: str, index: int, names: Mapping[str, str], job: str) -> str:
        """C text of a symbol."""
        if array == "p":
            k = self.position[index]
            return self.alike.get((array, k), f"p[{k}]") if job == "job." else f"p[{k}]"
        if array in ("dose", "rate", "phase", "inside", "pick"):
            return f"ALONG({job}{array}, {index} * {job}segments + part)"
        if array in ("t", "h", "era", "start", "length", "factor", "t_dot", "h_dot", "start_dot", "length_dot"):
            return array
        if array == "rule":
            return f"READ({job}rule, {index})"
        if array in ("first", "window", "number"):
            return f"{job}{array}[{index}]"
        return f"{names.get(array, array)}[{index}]"


def _all(array: str, nodes: Sequence[Node]) -> Block:
    return Block(tuple(((array, k), node) for k, node in enumerate(nodes)))


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
    held = storage.after(stage - 1, storage.turn) if stage else []
    slopes = {i: f"g[{k}][k]" for k, i in enumerate(held)} if stage <= storage.turn else {}
    sums = {s: f"g[{k}][k]" for k, s in enumerate(held)} if stage > storage.turn else {}
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
    to = "y[k]" if last else "z[k]"
    lines.append(f"{to} = FMA(ahead, h, y[k]);")
    before = ""
    if program.tangent:  # which moves with the step's length too, along the value's slopes
        before = "REAL slopes[S / 2]; "
        lines.append(f"if (k < S / 2) slopes[k] = ahead; else {to} = FMA(slopes[k - S / 2], h_dot, {to});")
    text = f"case {stage}: {{ {before}UNROLL for (int k = 0; k < S; k++) {{ {' '.join(lines)} }} }}"
    if not last and program.linear:
        at = program.nodes.index(program.tableau.nodes[stage + 1]) * len(program.linear)
        text += "".join(f" z[{i}] = l[{at + k}];" for k, i in enumerate(program.linear))
    return f"{text} break;"
