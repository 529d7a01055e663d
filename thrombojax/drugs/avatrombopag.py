"""Avatrombopag: oral transmembrane agonist; its drive adds to the signal of TPO.

One compartment and a lag. Clearance and volume are those of the label; absorption and lag are recalled, and agree with the
peak at 5-8 h in volunteers: Nomoto et al., Clin Pharmacol Drug Dev 2018;7:188, doi 10.1002/cpdd.349.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.protocol import TRANSMEMBRANE, Drug
from thrombojax.models.feedback.body import Body
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs, LinearBlock, in_steps
from thrombojax.models.struct import Scalar, quantity

LABEL = "US prescribing information, section 12.3: 6.9 L/h (CV 29 %), 180 L (CV 25 %)"
RECALLED = "recalled; peak at 5-8 h as in Nomoto 2018, doi 10.1002/cpdd.349"
ORAL = ("avatrombopag", "oral")
NG_PER_ML = 1000.0
"""Of 1 mg/L."""


class Parameters(NamedTuple):
    emax: A[Array, quantity("1", "maximal transmembrane drive", low=1, high=8)]
    potency: A[Array, quantity("ng/mL", "concentration at half-maximal drive", low=20, high=800)]
    clearance: A[Array, quantity("L/day", "apparent clearance", LABEL, low=40, high=600, value=6.9 * 24)]
    volume: A[Array, quantity("L", "apparent volume", LABEL, low=60, high=500, value=180.0)]
    absorption: A[Array, quantity("1/day", "absorption", RECALLED, low=2, high=40, value=0.35 * 24, flags=("REC",))]
    lag: A[Array, quantity("day", "absorption lag", RECALLED, low=0, high=0.1, value=1 / 24, flags=("REC",))]


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot")]
    central: A[Array, quantity("mg", "body")]


class Obs(NamedTuple):
    concentration: A[Array, quantity("ng/mL", "avatrombopag in plasma")]


def concentration(y: State, p: Parameters) -> Scalar:
    return NG_PER_ML * y.central / p.volume


def linear_block(p: Parameters, body: Body, u: Inputs) -> LinearBlock:
    return LinearBlock(("depot", "central"), ((0, 1, p.absorption), (1, None, p.clearance / p.volume)))


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    return State(-absorbed, absorbed - p.clearance / p.volume * y.central)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    found = concentration(y, p)
    return Effect(agonist=p.emax * found / (p.potency + found))


def observe(y: State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(concentration(y, p))


# The drive bends where absorption begins and again near its peak.
TABLET = Entry(
    "mg", {"depot": lambda p: 1.0}, lag=lambda p: p.lag, refine=in_steps((0.0183, 0.5), (0.1135, 1), (0.4058, 0.5))
)

DRUG = Drug(
    name="avatrombopag",
    title="Avatrombopag (oral transmembrane agonist)",
    source=LABEL,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    entries={ORAL: TABLET},
    rhs=rhs,
    effect=effect,
    observe=observe,
    site=TRANSMEMBRANE,
    linear_block=linear_block,
)
