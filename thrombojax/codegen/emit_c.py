"""Expressions as C with a vector type: one patient a lane."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from thrombojax.codegen.expression import Node
from thrombojax.codegen.printing import Dialect, Write, assign, statements
from thrombojax.codegen.program import Block, Program


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


@cache
def _text(name: str) -> str:
    return (resources.files("thrombojax.codegen") / name).read_text(encoding="utf-8")


def source(program: Program, precision: str) -> str:
    """The whole text of a kernel; precision `f32` or `f64`."""
    real = {"f32": "#define TJ_F32\n#define REAL float\n", "f64": "#define TJ_F64\n#define REAL double\n"}[precision]
    parts = [real, _text("vector.h"), _text("vector_math.h"), _trajectory(program)]
    return "\n".join(parts)


def _trajectory(program: Program) -> str:
    g, known = program.graph, program.known()
    position = {leaf: k for k, leaf in enumerate(program.parameters)}
    places = {node: f"{array}[{k}]" for node, (array, k) in known.items()}

    def place(array: str, index: int, names: Mapping[str, str]) -> str:
        """C text of a symbol."""
        if array == "p":
            return f"p[{position[index]}]"
        if array in ("dose", "rate", "phase", "inside", "pick"):
            return f"SPLAT(job->{array}[{index} * job->segments + part])"
        if array in ("h", "era", "start", "length"):
            return f"SPLAT({array})"
        if array == "t":
            return "t"
        if array in ("first", "window", "number"):
            return f"SPLAT({array}[{index}])"
        return f"{names.get(array, array)}[{index}]"

    def text(block: Block, write: Write = assign, known: Mapping[Node, str] = places, **names: str) -> str:
        return statements(g, VECTOR, block, write, lambda array, index: place(array, index, names), known)

    without = {node: where for node, where in places.items() if where[0] != "r"}
    n, tableau = len(program.endpoints), program.tableau
    slots = {
        "P": len(program.parameters), "S": program.states, "L": len(program.linear) * len(program.nodes), "STAGES": len(tableau.b), "Q": len(program.patient),
        "R": len(program.segment), "C": program.sizes.get("c", 0), "O": len(program.observables), "E": n,
        "COLUMNS": program.sizes.get("dose", 0), "PHASES": program.sizes.get("phase", 0),
        "patient": text(Block(tuple((("q", k), node) for k, node in enumerate(program.patient))), known={}),
        "segment": text(Block(tuple((("r", k), node) for k, node in enumerate(program.segment))), known=without),
        "look": text(program.blocks["look"]),
        "open": text(program.blocks["open"]),
        "dose": text(program.blocks["dose"]),
        "begin": text(program.blocks["bound"], write=lambda array, k, value: assign({"v": "b", "s": "e"}.get(array, array), k, value)),
        "line": text(program.blocks["line"]),
        "slope": text(program.blocks["slope"], y="z"),
        "at": ", ".join(f"(REAL){node!r}" for node in tableau.nodes),
        "trial": _trial(program),
        "advance": _combine("y", tableau.b),
        "known": "\n".join(f"y[{i}] = l[{k}];" for k, i in enumerate(program.linear, len(program.linear) * (
            len(program.nodes) - 1))),
        "bound": text(program.blocks["bound"]),
        "update": text(program.blocks["update"]),
        "close": text(program.blocks["close"]),
        "threads": _text("threads.c"),
    }  # fmt: skip
    kernel = _text("trajectory.c")
    for name, value in slots.items():
        kernel = kernel.replace(f"@{name}@", str(value))
    return kernel


def _combine(target: str, weights: Sequence[float]) -> str:
    """target[k] = y[k] + h * (weighted slopes), for all states."""
    live = [(j, w) for j, w in enumerate(weights) if w != 0.0]
    first, *others = live
    total = f"slope[{first[0]}][k] * SPLAT((REAL){first[1]!r})"
    for j, w in others:
        total = f"FMA(slope[{j}][k], SPLAT((REAL){w!r}), {total})"
    return f"for (int k = 0; k < S; k++) {target}[k] = FMA({total}, SPLAT(h), y[k]);"


def _trial(program: Program) -> str:
    """Where each stage after the first looks; linear compartments are known there."""
    cases = []
    n = len(program.linear)
    for s, (row, node) in enumerate(zip(program.tableau.a, program.tableau.nodes[1:], strict=True), 1):
        at = program.nodes.index(node) * n if n else 0
        known = [f"trial[{i}] = l[{at + k}];" for k, i in enumerate(program.linear)]
        cases.append("\n".join([f"case {s}: {_combine('trial', row)}", *known, "break;"]))
    return "if (stage) { switch (stage) {\n" + "\n".join(cases) + "\n}\nz = trial; }"
