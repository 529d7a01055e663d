"""Interferon alpha (ropeginterferon alfa-2b): blocks the release of platelets, not the number or ploidy of megakaryocytes.

Qin et al., Pharmacol Res Perspect 2025;13:e70109, doi 10.1002/prp2.70109: the linear part of the kinetics, and the half-maximal
concentration; what it blocks: Yamane et al., Blood 2008;112:542.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs
from thrombojax.models.struct import Scalar, quantity

QIN = "Qin 2025, doi 10.1002/prp2.70109"


class Parameters(NamedTuple):
    potency: A[
        Array, quantity("ng/mL", "concentration that blocks half of the release", QIN, low=10, high=500, value=72.4)
    ]
    absorption: A[Array, quantity("1/day", "absorption from the depot", QIN, low=0.05, high=1, value=0.18)]
    clearance: A[Array, quantity("L/day", "clearance", QIN, low=0.2, high=3, value=0.753)]
    volume: A[Array, quantity("L", "central volume", QIN, low=1, high=12, value=3.29)]
    lag: A[Array, quantity("day", "absorption lag", QIN, low=0, high=1, value=0.62)]


class State(NamedTuple):
    depot: A[Array, quantity("ug", "subcutaneous depot")]
    central: A[Array, quantity("ug", "central")]


class Obs(NamedTuple):
    concentration: A[Array, quantity("ng/mL", "ropeginterferon in serum")]


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    return State(-absorbed, absorbed - p.clearance / p.volume * y.central)


def _concentration(y: State, p: Parameters) -> Scalar:
    return y.central / p.volume


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    concentration = _concentration(y, p)
    return Effect(release_block=concentration / (p.potency + concentration))


def observe(y: State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(_concentration(y, p))


DRUG = Drug(
    name="interferon",
    title="Interferon alpha (ropeginterferon alfa-2b)",
    source=QIN,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    entries={("interferon", "sc"): Entry("ug", {"depot": lambda p: 1.0}, lag=lambda p: p.lag)},
    rhs=rhs,
    effect=effect,
    observe=observe,
)
