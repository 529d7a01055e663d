"""Anagrelide: blocks the cytoplasmic maturation of megakaryocytes.

The block follows the daily dose D as D / (D + 0.5 mg), smoothed over a day: 1.9 mg a day takes 728 to 412e9/L in essential
thrombocythaemia (PubMed 10200810).
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

TARGET = "728 to 412e9/L at 1.9 mg a day: PubMed 10200810; recipe of parameter set 1"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "assumption: the block lags the drug, whose half-life is 1 to 3 h, by a day",
        low=0.3, high=10, value=1.0, flags=("ASM",),
    )]  # fmt: skip
    potency: A[Array, quantity(
        "mg/day", "daily dose at half of the block", "recipe of parameter set 1: 0.5 for a steady rate",
        low=0.1, high=3, value=0.5, flags=("FIT",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("mg", "anagrelide that still acts")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(maturation_block=p.elimination * y.level / (p.potency + p.elimination * y.level))


DRUG = Drug(
    name="anagrelide",
    title="Anagrelide",
    source=TARGET,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("anagrelide", "oral"): Entry("mg", {"level": lambda p: 1.0}, infusible=True)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
