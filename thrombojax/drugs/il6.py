"""Interleukin-6: raises TPO synthesis in the liver; without TPO or its receptor it does nothing.

Wolber 2000 (TPO mRNA x2, protein x1.5 in hepatocytes); Kaser et al., Blood 2001;98:2720. Kinetics are assumed.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

KASER = "Kaser 2001, Blood 98:2720; Wolber 2000; kinetics assumed"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption: half-life of hours after subcutaneous doses",
        low=0, high=10, value=2.0, flags=("ASM",),
    )]  # fmt: skip
    potency: A[Array, quantity(
        "ug", "amount in the body at half effect", "assumption: 10 ug/kg, as given to patients, is nearly all of it",
        low=20, high=1000, value=150.0, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("ug", "interleukin-6 in the body")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(il6=y.level / (p.potency + y.level))


DRUG = Drug(
    name="il6",
    title="Interleukin-6",
    source=KASER,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("il6", "sc"): Entry("ug", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
