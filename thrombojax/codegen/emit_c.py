"""Expressions as C with a vector type: one patient a lane."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from thrombojax.codegen import printing_back
from thrombojax.codegen.expression import Node
from thrombojax.codegen.printing import Dialect, Write, assign, cotangents, statements
from thrombojax.codegen.program import BACKWARD, BLOCKS, PARTS, Block, Program
from thrombojax.dosing.policy import LEDGER


def _real(value: float) -> str:
    if value != value:
        return "SPLAT(NAN)"
    if abs(value) == float("inf"):
        return "SPLAT(INFINITY)" if value > 0 else "SPLAT(-INFINITY)"
    return f"SPLAT((REAL){value!r})"


VECTOR = Dialect(
    number="V",
    mask="I",
    real=_real,
    truth=lambda value: "~(I){0}" if value else "(I){0}",
    operations={
        "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "reciprocal": "1 / {0}",
        "lt": "(I)({0} < {1})", "le": "(I)({0} <= {1})", "gt": "(I)({0} > {1})", "ge": "(I)({0} >= {1})",
        "eq": "(I)({0} == {1})", "ne": "(I)({0} != {1})", "and": "{0} & {1}", "or": "{0} | {1}", "not": "~{0}",
        "select": "tj_select({0}, {1}, {2})", "is_finite": "tj_isfinite({0})",
        "fma": "FMA({0}, {1}, {2})", "fms": "FMS({0}, {1}, {2})", "fnma": "FNMA({0}, {1}, {2})",
        **{name: f"tj_{name}({{0}})" for name in ("exp", "log", "sqrt", "expm1", "log1p", "tanh", "logistic", "floor",
                                                 "abs", "sin", "cos")},
        **{name: f"tj_{name}({{0}}, {{1}})" for name in ("min", "max", "pow")},
    },
    any="ANY({0})",
)  # fmt: skip


_USE = "const V ahead = AHEAD; d_[k] = ahead * SPLAT(h); if (TIMES) longer[k % 4] = FMA(ahead, slope[stage][k], longer[k % 4]);"


@cache
def _text(name: str) -> str:
    return (resources.files("thrombojax.codegen") / name).read_text(encoding="utf-8")


def source(program: Program, precision: str) -> str:
    """The whole text of a kernel; precision `f32` or `f64`."""
    return _kernel(program, precision, "trajectory.c")


def source_back(program: Program, precision: str) -> str:
    """The whole text of a kernel's reverse, from a program of `adjoint.build`."""
    return _kernel(program, precision, "adjoint.c")


def _kernel(program: Program, precision: str, name: str) -> str:
    real = {"f32": "#define TJ_F32\n#define REAL float\n", "f64": "#define TJ_F64\n#define REAL double\n"}[precision]
    text = "\n".join([_text("job.c"), _text(name)])
    slots = _Slots(program)
    found = {**slots.sizes(), **slots.forward(), **(slots.backward() if name == "adjoint.c" else {})}
    for slot in (*PARTS, *found):  # those first, because they have slots themselves
        value = _text(f"{slot}.c") if slot in PARTS else found[slot]
        text = text.replace(f"@{slot}@", str(value))
    return "\n".join([real, _text("vector.h"), _text("vector_math.h"), text])


class _Slots:
    """What stands in the places that the templates leave open."""

    def __init__(self, program: Program):
        self.program = program
        self.position = {leaf: k for k, leaf in enumerate(program.parameters)}
        self.places = {node: f"{array}[{k}]" for node, (array, k) in program.known().items()}

    def sizes(self) -> dict[str, Any]:
        program = self.program
        sizes = program.sizes
        return {
            "P": len(program.parameters), "S": program.states, "L": len(program.linear) * len(program.nodes),
            "STAGES": len(program.tableau.b), "Q": len(program.patient), "R": len(program.segment),
            "C": sizes.get("c", 0), "O": len(program.observables), "E": len(program.endpoints),
            "COLUMNS": sizes.get("dose", 0), "PHASES": sizes.get("phase", 0),
            "TANGENT": int(program.tangent), "WRT": len(program.wrt), "KEPT": len(program.residuals),
            "ASKED": sizes.get("seen", 0) // max(len(program.observables), 1),
            "CLINIC": int(bool(program.blocks["decide"])), "OWN": sizes.get("taken", 0), "M": sizes.get("m", 0),
            "A": len(LEDGER), "X": len(program.varying), "EACH": int(program.each),
            "RULES": program.rules, "TIMES": int(program.times), "SUMMED": int(_is_summed(program)),
        }  # fmt: skip

    def forward(self) -> dict[str, str]:
        program, blocks, tableau = self.program, self.program.blocks, self.program.tableau
        without = {node: where for node, where in self.places.items() if where[0] != "r"}
        slope = Block(tuple(w for w in blocks["slope"].writes if w[0][0] == "d"))
        end = len(program.linear) * (len(program.nodes) - 1)
        begin = {"v": "b", "s": "e"}
        return {
            "patient": self.text(_all("q", program.patient), known={}),
            "segment": self.text(_all("r", program.segment), known=without),
            "begin": self.text(blocks["bound"], lambda array, k, value: assign(begin.get(array, array), k, value)),
            "slope": self.text(slope, y="z"),
            "at": ", ".join(f"(REAL){node!r}" for node in tableau.nodes),
            "trial": _trial(program),
            "summed": self.text(slope, _summed, y="z"),
            "next": _known(program, "next"),
            "ahead_each": ", ".join(f"(REAL){row[-1] if row else 0.0!r}" for row in (*tableau.a, (0.0,))),
            "share_each": ", ".join(f"(REAL){weight!r}" for weight in tableau.b),
            "advance": _combine("y", tableau.b, program.tangent),
            "known": "\n".join(f"y[{i}] = l[{k}];" for k, i in enumerate(program.linear, end)),
            "threads": _text("threads.c"),
            **{name: self.text(blocks[name]) for name in BLOCKS if name != "slope"},
        }

    def backward(self) -> dict[str, str]:
        program, blocks = self.program, self.program.blocks
        kept = {node: f"w[{k}]" for k, node in enumerate(program.residuals)}
        return {
            "slope_keep": self.text(blocks["slope"], y="z"),
            "slope_": self.text(_whole(blocks["slope_"], program), self.sought(), {**self.places, **kept}, y="z"),
            "begin_": self.text(blocks.get("bound_", Block(())), self.add(), v_="b_", s_="e_"),
            "objective": self.text(blocks.get("objective", Block(()))),
            "known_": printing_back.known(program),
            "ahead_": printing_back.ahead(program.tableau, "slope", _USE),
            "exact_": printing_back.exact(program),
            "still": " ".join(f"slope[0][{i}] = SPLAT(0);" for i in program.linear),
            **{f"{name}_": self.text(blocks.get(f"{name}_", Block(())), self.add()) for name in BACKWARD},
        }  # fmt: skip

    def add(self, **names: str) -> Write:
        return cotangents(self.program.wrt, names)

    def sought(self) -> Write:
        """As `add`, but what is asked of where a stage looked is written once."""
        add = self.add()
        return lambda array, index, value: assign("z_", index, value) if array == "y_" else add(array, index, value)

    def text(self, block: Block, write: Write = assign, known: Mapping[Node, str] | None = None, **names: str) -> str:
        found = self.places if known is None else known
        return statements(
            self.program.graph, VECTOR, block, write, lambda array, index: self.place(array, index, names), found
        )

    def place(self, array: str, index: int, names: Mapping[str, str]) -> str:
        """C text of a symbol."""
        if array == "p":
            return f"p[{self.position[index]}]"
        if array in ("dose", "rate", "phase", "inside", "pick"):
            return f"WIDE(ALONG(job->{array}, {index} * job->segments + part))"
        if array in ("h", "era", "start", "length", "h_dot", "start_dot", "length_dot"):
            return f"WIDE({array})"
        if array in ("t", "t_dot", "factor"):
            return array
        if array in ("first", "window", "number", "rule"):
            return f"SPLAT({array}[{index}])"
        if array == "own_rule":
            return f"own(job, job->rule, {index}, row)"
        return f"{names.get(array, array)}[{index}]"


def _all(array: str, nodes: Sequence[Node]) -> Block:
    return Block(tuple(((array, k), node) for k, node in enumerate(nodes)))


def _whole(block: Block, program: Program) -> Block:
    """With zeros for the states that a slope does not depend on."""
    zero, written = program.graph.constant(0.0), {place for place, _ in block.writes}
    return Block((*block.writes, *((("y_", k), zero) for k in range(program.states) if ("y_", k) not in written)))


def _is_summed(program: Program) -> bool:
    """Whether each stage looks from the slope before it alone, as the classical four do."""
    return not program.tangent and all(not any(row[:-1]) for row in program.tableau.a)


def _summed(array: str, index: int, value: str) -> str:
    return (
        f"{{ const V d = {value}; next[{index}] = FMA(d, ahead, y[{index}]); "
        f"into[{index}] = FMA(d, share, from[{index}]); }}"
    )


def _known(program: Program, into: str) -> str:
    """Linear compartments where the stage after each looks."""
    n = len(program.linear)
    cases = []
    for stage, node in enumerate(program.tableau.nodes[1:] if n else ()):
        at = program.nodes.index(node) * n
        known = " ".join(f"{into}[{i}] = l[{at + k}];" for k, i in enumerate(program.linear))
        cases.append(f"case {stage}: {known} break;")
    return "\n".join(cases)


def _combine(target: str, weights: Sequence[float], tangent: bool) -> str:
    """target[k] = y[k] + h * (weighted slopes), for all states; and the tangent of that."""
    half = "S / 2" if tangent else "S"
    text = f"for (int k = 0; k < {half}; k++) {target}[k] = FMA({_weighted(weights, 'k')}, WIDE(h), y[k]);"
    if tangent:
        moved = f"FMA({_weighted(weights, 'k')}, WIDE(h), y[k])"
        longer = f"FMA({_weighted(weights, 'k - S / 2')}, WIDE(h_dot), {moved})"
        text += f"\nfor (int k = S / 2; k < S; k++) {target}[k] = {longer};"
    return text


def _weighted(weights: Sequence[float], k: str) -> str:
    """The sum of slopes with those weights."""
    (first, weight), *others = [(j, w) for j, w in enumerate(weights) if w != 0.0]
    total = f"slope[{first}][{k}] * SPLAT((REAL){weight!r})"
    for j, w in others:
        total = f"FMA(slope[{j}][{k}], SPLAT((REAL){w!r}), {total})"
    return total


def _trial(program: Program) -> str:
    """Where each stage after the first looks; linear compartments are known there."""
    cases = []
    n = len(program.linear)
    for s, (row, node) in enumerate(zip(program.tableau.a, program.tableau.nodes[1:], strict=True), 1):
        at = program.nodes.index(node) * n if n else 0
        known = [f"trial[{i}] = l[{at + k}];" for k, i in enumerate(program.linear)]
        cases.append("\n".join([f"case {s}: {_combine('trial', row, program.tangent)}", *known, "break;"]))
    return "if (stage) { switch (stage) {\n" + "\n".join(cases) + "\n}\nz = trial; }"
