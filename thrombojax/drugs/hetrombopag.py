"""Hetrombopag: oral transmembrane agonist; its drive adds to the signal of TPO.

Apparent clearance: Wang Z et al., Br J Clin Pharmacol 2022;88:2084, doi 10.1111/bcp.15130. Their target-mediated disposition and
dual absorption are not public in numbers: one compartment with a half-life of 12 h (recalled) and the clearance stand for them.
No published potency: it is set so that 7.5 mg a day does what 30 mg of avatrombopag does.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import TRANSMEMBRANE, Drug
from thrombojax.models.feedback.body import Body
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs, LinearBlock
from thrombojax.models.struct import Scalar, quantity

WANG = "Wang 2022, doi 10.1111/bcp.15130: 7.66 L/h (CV 64 %)"
RECALLED = "recalled"
SHARED = "one for all oral agonists: Katsube 2019, as in Shimizu 2021"
SET = "assumption: 7.5 mg a day drives as 30 mg of avatrombopag do"
ORAL = ("hetrombopag", "oral")
NG_PER_ML = 1000.0
"""Of 1 mg/L."""


class Parameters(NamedTuple):
    emax: A[Array, quantity("1", "maximal transmembrane drive", SHARED, low=1, high=8, value=4.52)]
    potency: A[
        Array,
        quantity("ng/mL", "concentration at half-maximal drive", SET, low=5, high=400, value=32.7, flags=("ASM",)),
    ]
    clearance: A[Array, quantity("L/day", "apparent clearance", WANG, low=40, high=900, value=7.66 * 24)]
    volume: A[Array, quantity("L", "apparent volume", RECALLED, low=20, high=500, value=133.0, flags=("REC",))]
    absorption: A[Array, quantity("1/day", "absorption", RECALLED, low=2, high=40, value=0.35 * 24, flags=("REC",))]
    lag: A[Array, quantity("day", "absorption lag", RECALLED, low=0, high=0.1, value=1 / 24, flags=("REC",))]


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot")]
    central: A[Array, quantity("mg", "body")]


class Obs(NamedTuple):
    concentration: A[Array, quantity("ng/mL", "hetrombopag in plasma")]


def _concentration(y: State, p: Parameters) -> Scalar:
    return NG_PER_ML * y.central / p.volume


def linear_block(p: Parameters, body: Body, u: Inputs) -> LinearBlock:
    return LinearBlock(("depot", "central"), ((0, 1, p.absorption), (1, None, p.clearance / p.volume)))


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    return State(-absorbed, absorbed - p.clearance / p.volume * y.central)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    concentration = _concentration(y, p)
    return Effect(agonist=p.emax * concentration / (p.potency + concentration))


def observe(y: State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(_concentration(y, p))


# The drive bends where absorption begins and again near its peak: 3e-5 instead of 2.5e-3 of the count.
_KINK = ((0.1, 15.0), (0.35, 6.0))

DRUG = Drug(
    name="hetrombopag",
    title="Hetrombopag (oral transmembrane agonist)",
    source=WANG,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    entries={ORAL: Entry("mg", {"depot": lambda p: 1.0}, lag=lambda p: p.lag, refine=_KINK)},
    rhs=rhs,
    effect=effect,
    observe=observe,
    site=TRANSMEMBRANE,
    linear_block=linear_block,
)
