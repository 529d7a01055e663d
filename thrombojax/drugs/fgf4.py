"""FGF-4: supports progenitors in the vascular niche without TPO (VCAM-1/VLA-4).

Avecilla et al., Nat Med 2004;10:64. An amount is the rise of the factor, x healthy.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

AVECILLA = "Avecilla 2004, doi 10.1038/nm973"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption: as a vector holds it for days; 0 is a level that is held",
        low=0, high=10, value=0.3, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "FGF-4 given, x healthy")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(fgf4=y.level)


DRUG = Drug(
    name="fgf4",
    title="FGF-4",
    source=AVECILLA,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("fgf4", "iv"): Entry("fold", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
