"""Transforming growth factor beta: restrains endomitosis, and TPO synthesis in the stroma.

No effect size was found; the direction is that of the patient's own. An amount is the rise of the activity in the marrow.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

ASSUMED = "no effect size found; the direction is that of the own TGF-beta"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption",
        low=0, high=10, value=1.0, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "TGF-beta given, x healthy activity in the marrow")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(tgfb=y.level)


DRUG = Drug(
    name="tgfb",
    title="Transforming growth factor beta",
    source=ASSUMED,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("tgfb", "iv"): Entry("fold", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
