"""Conditioning before a transplantation: empties the marrow, and shortens platelet survival for weeks.

100 % is myeloablation (melphalan or BEAM): what of each compartment is left is the recipe of parameter set 1. What is left of the
stem pool alone does not recover; a graft brings it back.
"""

from typing import Annotated as A
from typing import Any, NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs
from thrombojax.models.struct import Scalar, quantity

RECIPE = "recipe of parameter set 1, shape of the mean of 53 patients: Zhu 2025 (asct_plt)"
PER_CENT = 0.01
_LOST = {
    "megakaryocytes.stem": 1.0,
    **{f"megakaryocytes.cfu_{j}": 1.0 for j in (1, 2, 3)},
    **{f"megakaryocytes.ploidy_{n}n": 0.995 for n in (4, 8, 16, 32, 64)},
    **{f"megakaryocytes.cytoplasm_{j}": 0.99 for j in (1, 2)},
    "niche.mature": 0.99,
    "niche.niche": 0.98,
}
"""Share that 100 % takes."""


class Parameters(NamedTuple):
    consumption: A[Array, quantity(
        "1/day", "loss of platelets besides, right after conditioning (fever, mucositis, bleeding)",
        "0.15 for 21 days in the recipe of parameter set 1; here it fades", low=0, high=0.6, value=0.2, flags=("ASM",),
    )]  # fmt: skip
    recovery: A[
        Array, quantity("1/day", "fading of that loss", "assumption", low=0.02, high=0.5, value=0.06, flags=("ASM",))
    ]


class State(NamedTuple):
    toxicity: A[Array, quantity("1", "toxicity that is left, x that of myeloablation")]


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    return State(-p.recovery * y.toxicity)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(random_loss=p.consumption * y.toxicity)


def _losing(share: float) -> Any:
    def loss(p: Any) -> Scalar:
        return -PER_CENT * share

    return loss


DRUG = Drug(
    name="conditioning",
    title="Conditioning before a transplantation",
    source=RECIPE,
    State=State,
    Parameters=Parameters,
    entries={
        ("conditioning", "iv"): Entry(
            "%", {"toxicity": lambda p: PER_CENT}, shares={leaf: _losing(share) for leaf, share in _LOST.items()}
        )
    },
    rhs=rhs,
    effect=effect,
)
