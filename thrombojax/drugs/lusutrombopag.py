"""Lusutrombopag: oral transmembrane agonist; its drive adds to the signal of TPO.

Three compartments without lag: Shimizu et al., CPT Pharmacometrics Syst Pharmacol 2021;10:489, doi 10.1002/psp4.12623, with the
kinetics of Katsube et al., Clin Pharmacokinet 2016;55:1423, doi 10.1007/s40262-016-0411-6.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import TRANSMEMBRANE, Drug
from thrombojax.models.feedback.body import Body
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs, LinearBlock, in_steps
from thrombojax.models.struct import Scalar, quantity

SHIMIZU = "Shimizu 2021, doi 10.1002/psp4.12623, kinetics of Katsube 2016, doi 10.1007/s40262-016-0411-6"
FACTOR = "Shimizu 2021, doi 10.1002/psp4.12623: Japanese volunteers 0.857, others 0.672, chronic liver disease 0.813"
ORAL = ("lusutrombopag", "oral")
NG_PER_ML = 1000.0
"""Of 1 mg/L."""


class Parameters(NamedTuple):
    emax: A[Array, quantity("1", "maximal transmembrane drive", low=1, high=8)]
    potency: A[Array, quantity("ng/mL", "concentration at half-maximal drive", low=20, high=800)]
    relative_bioavailability: A[
        Array, quantity("1", "amount absorbed, x nominal dose of the kinetics", FACTOR, low=0.3, high=1.5, value=0.857)
    ]
    absorption: A[Array, quantity("1/day", "absorption", SHIMIZU, low=2, high=40, value=7.176)]
    elimination: A[Array, quantity("1/day", "elimination from central", SHIMIZU, low=0.3, high=5, value=1.358)]
    central_volume: A[Array, quantity("L", "apparent central volume", SHIMIZU, low=4, high=50, value=13.7)]
    to_first: A[Array, quantity("1/day", "central to first peripheral", SHIMIZU, low=0.3, high=5, value=1.2816)]
    from_first: A[Array, quantity("1/day", "first peripheral to central", SHIMIZU, low=0.5, high=8, value=2.088)]
    to_second: A[Array, quantity("1/day", "central to second peripheral", SHIMIZU, low=0, high=0.2, value=0.03408)]
    from_second: A[Array, quantity("1/day", "second peripheral to central", SHIMIZU, low=0.03, high=0.6, value=0.14088)]


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot")]
    central: A[Array, quantity("mg", "central")]
    first: A[Array, quantity("mg", "first peripheral")]
    second: A[Array, quantity("mg", "second peripheral")]


class Obs(NamedTuple):
    concentration: A[Array, quantity("ng/mL", "lusutrombopag in plasma")]


def _concentration(y: State, p: Parameters) -> Scalar:
    return NG_PER_ML * y.central / p.central_volume


def linear_block(p: Parameters, body: Body, u: Inputs) -> LinearBlock:
    return LinearBlock(
        ("depot", "central", "first", "second"),
        (
            (0, 1, p.absorption),
            (1, None, p.elimination),
            (1, 2, p.to_first),
            (2, 1, p.from_first),
            (1, 3, p.to_second),
            (3, 1, p.from_second),
        ),
    )


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    first = p.to_first * y.central - p.from_first * y.first
    second = p.to_second * y.central - p.from_second * y.second
    return State(-absorbed, absorbed - p.elimination * y.central - first - second, first, second)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    concentration = _concentration(y, p)
    return Effect(agonist=p.emax * concentration / (p.potency + concentration))


def observe(y: State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(_concentration(y, p))


# The drive bends where absorption begins and again near its peak.
_KINK = in_steps((0.0183, 0.5), (0.1135, 1), (0.4058, 0.5))

DRUG = Drug(
    name="lusutrombopag",
    title="Lusutrombopag (oral transmembrane agonist)",
    source=SHIMIZU,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    entries={ORAL: Entry("mg", {"depot": lambda p: p.relative_bioavailability}, refine=_KINK)},
    rhs=rhs,
    effect=effect,
    observe=observe,
    site=TRANSMEMBRANE,
    linear_block=linear_block,
)
