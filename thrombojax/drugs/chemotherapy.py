"""Chemotherapy: kills progenitors, and fewer stem cells and megakaryoblasts; PF4 shields them.

A K-PD model set to the nadir of a carboplatin-like course: days 14 to 21, recovery about day 28.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug, fade, seen
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import quantity

RECIPE = "recipe of parameter set 1: nadir and recovery of a carboplatin-like course (recalled)"


class Parameters(NamedTuple):
    elimination: A[Array, quantity(
        "1/day", "loss of what was given", "recipe of parameter set 1",
        low=0.05, high=2, value=0.3, flags=("ASM",),
    )]  # fmt: skip
    kill: A[Array, quantity(
        "1/day", "kill of progenitors per amount", "recipe of parameter set 1", low=0.2, high=10, value=2.0, flags=("ASM",)
    )]  # fmt: skip
    injury: A[Array, quantity(
        "1", "share of the answer to TPO signals lost at a course, over the share kept",
        "after carboplatin the slope of eltrombopag is lower: Hayes 2013, doi 10.1007/s00280-013-2150-9 (abstract)",
        low=0, high=2000, value=0.0, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    level: A[Array, quantity("1", "drug that still acts, x a course")]


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    lost = p.injury * y.level
    return Effect(kill=p.kill * y.level, unresponsive=lost / (1.0 + lost))


DRUG = Drug(
    name="chemotherapy",
    title="Chemotherapy (platinum-like, K-PD)",
    source=RECIPE,
    State=State,
    Parameters=Parameters,
    Obs=State,
    entries={("chemotherapy", "iv"): Entry("course", {"level": lambda p: 1.0}, infusible=False)},
    rhs=fade,
    effect=effect,
    observe=seen,
)
