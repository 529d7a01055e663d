"""Interleukin-11: like IL-6, it needs TPO and its receptor (Avecilla et al., Nat Med 2004;10:64): here it acts on TPO synthesis.

Terminal half-life 6.9 h (label, recalled). Its direct work on megakaryocytes beside TPO is not in the model: rises are too small.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

AVECILLA = "Avecilla 2004, doi 10.1038/nm973; half-life 6.9 h: US label of oprelvekin (recalled)"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "half-life 6.9 h: US label (recalled)",
        low=0, high=10, value=2.41, flags=("REC",),
    )]  # fmt: skip
    potency: A[Array, quantity(
        "ug", "amount in the body at half effect", "assumption: 50 ug/kg a day, the label's dose, is most of it",
        low=200, high=5000, value=800.0, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("ug", "interleukin-11 in the body")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(il6=y.level / (p.potency + y.level))


DRUG = Drug(
    name="il11",
    title="Interleukin-11 (oprelvekin)",
    source=AVECILLA,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("il11", "sc"): Entry("ug", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
