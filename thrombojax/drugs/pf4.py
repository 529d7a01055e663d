"""Platelet factor 4: restrains the last division of progenitors, and shields them from chemotherapy.

Lambert et al., Blood 2007;110:1153. An amount is the rise of the activity in the marrow, x that of health; kinetics are assumed.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

LAMBERT = "Lambert 2007, Blood 110:1153; kinetics assumed"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption: bound to matrix it outlasts plasma, where it stays for minutes",
        low=0, high=10, value=1.0, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "PF4 given, x healthy activity in the marrow")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(pf4=y.level)


DRUG = Drug(
    name="pf4",
    title="Platelet factor 4 (CXCL4)",
    source=LAMBERT,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("pf4", "iv"): Entry("fold", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
