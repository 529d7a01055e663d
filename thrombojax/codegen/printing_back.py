"""A step's way back, as text for both kernels: V is a vector of patients or one, and UNROLL says what a loop is."""

from thrombojax.codegen.program import Program
from thrombojax.solve.steppers import Tableau


def known(program: Program) -> str:
    """What is asked of linear compartments after a step goes to their propagator."""
    end = len(program.linear) * (len(program.nodes) - 1)
    return "\n".join(f"l_[{k}] = y_[{i}]; y_[{i}] = SPLAT(0);" for k, i in enumerate(program.linear, end))


def ahead(tableau: Tableau, sought: str, use: str) -> str:
    """The cotangent of each stage's slope, per day of the step, from those of where later stages looked (array `sought`)
    and of the step's end. use: what is done with it, statements about AHEAD, its value for state k."""
    cases = []
    for stage, weight in enumerate(tableau.b):
        later = [(f"{sought}[{s}][k]", row[stage]) for s, row in enumerate(tableau.a, 1) if s > stage]
        text = ""
        for value, w in [("y_[k]", weight), *later]:
            if w:
                text = f"FMA({value}, SPLAT((REAL){w!r}), {text})" if text else f"{value} * SPLAT((REAL){w!r})"
        done = use.replace("AHEAD", text or "SPLAT(0)")
        cases.append(f"case {stage}: UNROLL for (int k = 0; k < S; k++) {{ {done} }} break;")
    return "\n".join(cases)


def exact(program: Program) -> str:
    """The same of linear compartments where a stage after the first looks: they are known there."""
    cases = []
    n = len(program.linear)
    for stage, node in enumerate(program.tableau.nodes[1:] if n else (), 1):
        at = program.nodes.index(node) * n
        lines = [f"l_[{at + k}] = l_[{at + k}] + z_[{i}]; z_[{i}] = SPLAT(0);" for k, i in enumerate(program.linear)]
        cases.append(f"case {stage}: {' '.join(lines)} break;")
    return "\n".join(cases)
