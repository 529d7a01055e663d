"""Antibody to VE-cadherin: takes the vascular niche apart, where megakaryocytes shed platelets and progenitors are supported.

Avecilla et al., Nat Med 2004;10:64: fewer platelets at steady state, and later recovery after 5-fluorouracil. Sizes are assumed.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

AVECILLA = "Avecilla 2004, doi 10.1038/nm973; sizes assumed"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption: half-life of a week",
        low=0, high=10, value=0.1, flags=("ASM",),
    )]  # fmt: skip
    potency: A[Array, quantity(
        "1", "antibody that takes half of the niche", "assumption: a dose leaves 30 %",
        low=0.01, high=5, value=0.43, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "antibody in the body, x a dose")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(niche_lost=y.level / (p.potency + y.level))


DRUG = Drug(
    name="anti_ve_cadherin",
    title="Antibody to VE-cadherin",
    source=AVECILLA,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("anti_ve_cadherin", "iv"): Entry("fold", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
