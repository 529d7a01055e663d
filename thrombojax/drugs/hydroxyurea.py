"""Hydroxyurea: takes CFU-Mk at a rate proportional to the daily dose.

Set so that 1.2 g a day takes a count of 950 to about 450 (essential thrombocythaemia); elimination half-life 3.5 h (recalled).
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

RECIPE = "recipe of parameter set 1: 950 to 450e9/L in essential thrombocythaemia (recalled)"

_PULSE = ((1.0, 8.0),)
"""A dose takes CFU-Mk at 4 per day and is gone within it: with the usual steps counts in ET are off by 30 %, with these 7e-5."""


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "half-life 3.5 h (recalled)",
        low=1, high=10, value=4.75, flags=("REC",),
    )]  # fmt: skip
    block: A[Array, quantity(
        "1/mg", "loss of CFU-Mk per day, per mg a day", "recipe of parameter set 1: 0.9 to 1.0 per day at 1.2 g a day",
        low=2e-4, high=3e-3, value=7.5e-4, flags=("FIT",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("mg", "hydroxyurea in the body")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(cfu_block=p.block * p.elimination * y.level)


DRUG = Drug(
    name="hydroxyurea",
    title="Hydroxyurea",
    source=RECIPE,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("hydroxyurea", "oral"): Entry("mg", {"level": lambda p: 1.0}, infusible=True, refine=_PULSE)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
