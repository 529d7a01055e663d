"""Antibody to PF4: takes the restraint and the shield of PF4 away.

Lambert et al., Blood 2007;110:1153: recovery after chemotherapy is faster. An amount of 1 takes nearly all PF4; kinetics assumed.
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
        "1/day", "loss of what was given", "assumption: half-life of an IgG, two weeks",
        low=0, high=10, value=0.05, flags=("ASM",),
    )]  # fmt: skip
    potency: A[Array, quantity(
        "1", "antibody that takes half of the PF4", "assumption", low=0.001, high=1, value=0.02, flags=("ASM",)
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "antibody in the body, x a dose")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(pf4_removed=y.level / (p.potency + y.level))


DRUG = Drug(
    name="anti_pf4",
    title="Antibody to PF4",
    source=LAMBERT,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("anti_pf4", "iv"): Entry("fold", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
