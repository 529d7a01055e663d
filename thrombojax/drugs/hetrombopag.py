"""Hetrombopag: oral transmembrane agonist; its drive adds to the signal of TPO.

Apparent clearance: Wang Z et al., Br J Clin Pharmacol 2022;88:2084, doi 10.1111/bcp.15130. Their target-mediated disposition and
dual absorption are not public in numbers: the one compartment of avatrombopag, with that clearance and a half-life of 12 h
(recalled), stands for them. No published potency: it is set so that 7.5 mg a day does what 30 mg of avatrombopag does.
"""

from dataclasses import replace
from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs import avatrombopag
from thrombojax.models.feedback.effects import Surroundings
from thrombojax.models.struct import quantity

WANG = "Wang 2022, doi 10.1111/bcp.15130: 7.66 L/h (CV 64 %)"
RECALLED = "recalled"
SHARED = "one for all oral agonists: Katsube 2019, as in Shimizu 2021"
SET = "assumption: 7.5 mg a day drives as 30 mg of avatrombopag do"
ORAL = ("hetrombopag", "oral")


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


class Obs(NamedTuple):
    concentration: A[Array, quantity("ng/mL", "hetrombopag in plasma")]


def observe(y: avatrombopag.State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(avatrombopag.concentration(y, p))


DRUG = replace(
    avatrombopag.DRUG,
    name="hetrombopag",
    title="Hetrombopag (oral transmembrane agonist)",
    source=WANG,
    Parameters=Parameters,
    Obs=Obs,
    entries={ORAL: avatrombopag.TABLET},
    observe=observe,
)
