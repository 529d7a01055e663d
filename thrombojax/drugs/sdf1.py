"""SDF-1: draws mature megakaryocytes to the vessel without TPO; their number stays.

Avecilla et al., Nat Med 2004;10:64; Niswander et al., Blood 2014;124:277. An amount is the rise of the chemokine, x healthy.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

AVECILLA = "Avecilla 2004, doi 10.1038/nm973; acute effect: Niswander 2014, Blood 124:277"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption: as vectors or stabilised SDF-1 hold it for days; 0 is a level held",
        low=0, high=10, value=0.3, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "SDF-1 given, x healthy")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(sdf1=y.level)


DRUG = Drug(
    name="sdf1",
    title="SDF-1 (CXCL12)",
    source=AVECILLA,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("sdf1", "iv"): Entry("fold", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
