"""Recombinant thrombopoietin: TPO itself, so its kinetics are those of the patient's own.

Vadhan-Raj et al., Ann Intern Med 1997 (PMID 9139552): single intravenous doses. Subcutaneous absorption is assumed.
"""

from typing import Annotated as A
from typing import Any, NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs
from thrombojax.models.struct import Scalar, quantity

VADHAN_RAJ = "Vadhan-Raj 1997, Ann Intern Med, PMID 9139552"
ASSUMED = ("ASM",)
PMOL_PER_UG = 1e6 / 95_000
"""Full-length glycoprotein of 95 kDa."""
HEALTHY_PM = 1.4
"""Healthy TPO, pmol/L (Jin & Krzyzanski 2004)."""


class Parameters(NamedTuple):
    absorption: A[
        Array, quantity("1/day", "absorption from the depot", "assumption", low=0.2, high=10, value=1.0, flags=ASSUMED)
    ]
    bioavailability: A[Array, quantity(
        "1", "subcutaneous bioavailability", "assumption", low=0.1, high=1, value=0.6, flags=ASSUMED
    )]  # fmt: skip


class State(NamedTuple):
    depot: A[Array, quantity("1", "subcutaneous depot, x healthy TPO")]


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    return State(-p.absorption * y.depot)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    return Effect(tpo_input=p.absorption * y.depot)


def _rise(p: Any) -> Scalar:
    """Rise of TPO, x healthy, per ug in the body."""
    return PMOL_PER_UG / (HEALTHY_PM * p.thrombopoietin.tpo_volume)


def _absorbed(p: Any) -> Scalar:
    return p.recombinant_tpo.bioavailability * _rise(p)


# TPO saturates its own sinks, and lets go of them within days.
_SATURATED = ((8.0, 4.0),)

DRUG = Drug(
    name="recombinant_tpo",
    title="Recombinant human thrombopoietin",
    source=VADHAN_RAJ,
    State=State,
    Parameters=Parameters,
    entries={
        ("recombinant_tpo", "iv"): Entry("ug", {"thrombopoietin.tpo": _rise}, infusible=True, refine=_SATURATED),
        ("recombinant_tpo", "sc"): Entry("ug", {"recombinant_tpo.depot": _absorbed}, refine=_SATURATED),
    },
    rhs=rhs,
    effect=effect,
)
