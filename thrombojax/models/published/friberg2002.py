"""Docetaxel and NEUTROPHILS: the chain with a rebound from which models of platelets under chemotherapy were made.

Friberg LE, Henningsson A, Maas H, Nguyen L, Karlsson MO. J Clin Oncol 2002;20:4713-4721, doi 10.1200/JCO.2002.02.140. The paper
has leukocytes and neutrophils only, so every value here is of neutrophils, and the observable that each model calls
`platelets` is the NEUTROPHIL count. No platelet value is put in its place: models of platelets of this form are
`panetta2024`, `srimani2022` and `centanni2025`. Published per hour; here per day.
"""

import functools
from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.blocks import chain, proliferation, random_loss, rebound, steady
from thrombojax.models.protocol import Entry, Inputs, LinearBlock, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Friberg 2002, doi 10.1200/JCO.2002.02.140"
PK = f"docetaxel of {SOURCE}, as a second writing of that model has it"
CELLS = ("NEUTROPHIL",)
"""Flag of values that are of neutrophils, not of platelets."""
STAGES = 3


class Parameters(NamedTuple):
    baseline: A[
        Array, quantity("1/nL", "NEUTROPHILS before treatment", SOURCE, low=1, high=20, value=5.05, flags=CELLS)
    ]
    transit_time: A[
        Array,
        quantity("day", "mean transit time of precursors", SOURCE, low=1, high=15, value=88.7 / 24, flags=CELLS),
    ]
    feedback: A[Array, quantity("1", "exponent of the rebound", SOURCE, low=0.01, high=1, value=0.161, flags=CELLS)]
    slope: A[Array, quantity("L/umol", "kill per concentration", SOURCE, low=0.1, high=100, value=8.58, flags=CELLS)]
    volume: A[Array, quantity("L", "central volume", PK, low=2, high=30, value=7.4)]
    elimination: A[Array, quantity("1/day", "elimination", PK, low=20, high=500, value=5.2 * 24)]
    to_second: A[Array, quantity("1/day", "central to second", PK, low=2, high=200, value=1.06 * 24)]
    from_second: A[Array, quantity("1/day", "second to central", PK, low=2, high=200, value=1.51 * 24)]
    to_third: A[Array, quantity("1/day", "central to third", PK, low=2, high=200, value=1.26 * 24)]
    from_third: A[Array, quantity("1/day", "third to central", PK, low=0.2, high=20, value=0.084 * 24)]
    molar_mass: A[
        Array, quantity("mg/umol", "of docetaxel, C43H53NO14", "atomic weights", low=0.5, high=1, value=0.80789)
    ]


class State(NamedTuple):
    central: A[Array, quantity("mg", "central")]
    second: A[Array, quantity("mg", "second compartment")]
    third: A[Array, quantity("mg", "third compartment")]
    proliferating: A[Array, quantity("1/nL", "dividing precursors, as the neutrophils they will be")]
    transit: A[tuple[Array, Array, Array], quantity("1/nL", "maturing precursors, as the neutrophils they will be")]
    circulating: A[Array, quantity("1/nL", "neutrophils in blood")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "NEUTROPHIL count: the values of this model are of neutrophils")]
    concentration: A[Array, quantity("umol/L", "docetaxel in plasma")]


def rate(p: Parameters) -> Scalar:
    """At which every compartment of precursors, and the blood, is left."""
    return (STAGES + 1) / p.transit_time


def baseline(p: Parameters) -> State:
    zero = 0.0 * p.baseline
    resting = steady(p.baseline * rate(p), rate(p), STAGES + 1)
    return State(zero, zero, zero, resting[0], resting[1:], p.baseline)


def _concentration(y: State, p: Parameters) -> Scalar:
    return y.central / (p.volume * p.molar_mass)


def linear_block(p: Parameters, u: Inputs) -> LinearBlock:
    return LinearBlock(
        ("central", "second", "third"),
        (
            (0, None, p.elimination),
            (0, 1, p.to_second),
            (1, 0, p.from_second),
            (0, 2, p.to_third),
            (2, 0, p.from_third),
        ),
    )


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    second = p.to_second * y.central - p.from_second * y.second
    third = p.to_third * y.central - p.from_third * y.third
    kill = p.slope * _concentration(y, p)
    gain = (1.0 - kill) * rebound(y.circulating, p.baseline, p.feedback)
    k = rate(p)
    return State(
        -p.elimination * y.central - second - third,
        second,
        third,
        proliferation(gain, k, y.proliferating),
        chain(k * y.proliferating, k, y.transit),
        random_loss(k * y.transit[-1], k, y.circulating),
    )


# An infusion of an hour kills at tens per day; the second phase of docetaxel lasts half a day.
_KILL = ((0.15, 240.0), (1.0, 48.0))


@functools.lru_cache(maxsize=1)
def friberg2002() -> Model:
    """Friberg 2002: docetaxel and neutrophils."""
    return Model(
        name="friberg2002",
        title="Docetaxel and NEUTROPHILS (Friberg 2002): the form of later platelet models",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=lambda y, p: Obs(y.circulating, _concentration(y, p)),
        entries={("docetaxel", "iv"): Entry("mg", {"central": lambda p: 1.0}, infusible=True, refine=_KILL)},
        linear_block=linear_block,
        max_rate=lambda p: 2.0 * rate(p),
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=4.0,
    )
