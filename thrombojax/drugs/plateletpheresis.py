"""Plateletpheresis: takes a share of all platelets, with their c-Mpl, so TPO rises until the marrow has made up for it.

Dettke et al., Transfusion 1998;38:449: a donation of 25.7 % raised TPO x1.7 by day 2. A sink that follows the count gives x1.1 to
x1.35 at most; an acute-phase rise of synthesis can be added (`acute_phase`, an assumption, 0 unless it is set).
"""

from typing import Annotated as A
from typing import Any, NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback import platelets
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs
from thrombojax.models.struct import Scalar, quantity

DETTKE = "Dettke 1998, Transfusion 38:449"
PER_CENT = 0.01
ASSUMED = ("ASM",)


class Parameters(NamedTuple):
    acute_phase: A[Array, quantity(
        "1", "interleukin-6 that a donation of a quarter brings, 1 = full effect", "assumption; 1 for two days gives x1.5",
        low=0, high=2, value=0.0, flags=ASSUMED,
    )]  # fmt: skip
    recovery: A[
        Array, quantity("1/day", "end of the acute phase", "assumption", low=0.2, high=2, value=0.5, flags=ASSUMED)
    ]


class State(NamedTuple):
    acute: A[Array, quantity("1", "share of platelets taken of late")]


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    return State(-p.recovery * y.acute)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(il6=4.0 * p.acute_phase * y.acute)


def _taken(p: Any) -> Scalar:
    return -PER_CENT


DRUG = Drug(
    name="plateletpheresis",
    title="Plateletpheresis",
    source=DETTKE,
    State=State,
    Parameters=Parameters,
    entries={
        ("plateletpheresis", "procedure"): Entry(
            "%",
            {"acute": lambda p: PER_CENT},
            shares={
                **{f"platelets.age_{j + 1}": _taken for j in range(platelets.AGES)},
                "receptor.platelet_mpl": _taken,
            },
        )
    },
    rhs=rhs,
    effect=effect,
)
