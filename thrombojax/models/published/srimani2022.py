"""Ixazomib with lenalidomide and dexamethasone, and platelets in myeloma: a chain without feedback.

Srimani JK, Diderichsen PM, Hanley MJ, Venkatakrishnan K, Labotka R, Gupta N. CPT Pharmacometrics Syst Pharmacol
2022;11:1085-1099, doi 10.1002/psp4.12815, Table 3. Ixazomib: Gupta N et al., Clin Pharmacokinet 2017;56:1355,
doi 10.1007/s40262-017-0526-4, Table 3. Ixazomib kills by its concentration and by its area so far; lenalidomide, of which no
concentration was at hand, by what leaves a virtual compartment (with it goes dexamethasone). Published per hour; here per day.

The printed baseline varies by residual error (Dansirikul 2008): here it follows the observed count, without that draw.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.blocks import chain, power, random_loss, steady
from thrombojax.models.protocol import Entry, Inputs, LinearBlock, Model
from thrombojax.models.struct import Scalar, quantity

PK = "Gupta 2017, doi 10.1007/s40262-017-0526-4, Table 3"
SOURCE = "Srimani 2022, doi 10.1002/psp4.12815, Table 3"
LOSS = f"{SOURCE}: kIn; a loss of platelets is not printed, and rest needs one equal to it"
RATE = f"{SOURCE}; per rate (mg/h) that leaves: per amount, counts would fall to 13 %"
STAGES = 2
HOUR = 24.0
"""Hours of a day: rates per hour times this are per day."""


class Parameters(NamedTuple):
    absorption: A[Array, quantity("1/day", "absorption of ixazomib", PK, low=1, high=50, value=0.34 * HOUR)]
    lag: A[Array, quantity("day", "absorption lag", PK, low=0, high=0.1, value=13 / 1440)]
    bioavailability: A[Array, quantity("1", "oral bioavailability", PK, low=0.05, high=3, value=0.58)]
    clearance: A[Array, quantity("L/day", "clearance", PK, low=5, high=300, value=1.86 * HOUR)]
    central_volume: A[Array, quantity("L", "central volume", PK, low=3, high=60, value=13.7)]
    first_exchange: A[
        Array, quantity("L/day", "exchange with the first depth", PK, low=10, high=1000, value=5.18 * HOUR)
    ]
    first_volume: A[Array, quantity("L", "volume of the first depth", PK, low=50, high=2000, value=309.0)]
    second_exchange: A[Array, quantity("L/day", "exchange with the second", PK, low=50, high=5000, value=26.1 * HOUR)]
    second_volume: A[Array, quantity("L", "volume of the second at 1.87 m2", PK, low=20, high=3000, value=205.0)]
    surface: A[Array, quantity("m2", "body surface", f"{PK}: reference", low=0.8, high=3, value=1.87)]
    surface_exponent: A[
        Array, quantity("1", "power of body surface on the second volume", PK, low=0, high=4, value=2.06)
    ]
    baseline: A[
        Array, quantity("1/nL", "platelets of a patient observed at 197", SOURCE, low=50, high=500, value=203.0)
    ]
    observed_baseline: A[
        Array, quantity("1/nL", "observed before treatment", "Srimani 2022: median", low=30, high=700, value=197.0)
    ]
    observed_weight: A[Array, quantity("1", "share of an observed deviation", SOURCE, low=0, high=1, value=0.837)]
    maturation: A[Array, quantity("1/day", "maturation", SOURCE, low=0.2, high=4, value=float(np.exp(-3.20) * HOUR))]
    production: A[
        Array,
        quantity(
            "1/day", "production, and loss", LOSS, low=0.2, high=4, value=float(np.exp(-3.21) * HOUR), flags=("ASM",)
        ),
    ]
    ixazomib_slope: A[
        Array, quantity("mL/ng/day", "kill by concentration", SOURCE, low=0, high=0.5, value=0.000859 * HOUR)
    ]
    ixazomib_memory: A[
        Array,
        quantity(
            "1/day", "concentration that the area so far counts as", SOURCE, low=0, high=0.02, value=0.0000818 * HOUR
        ),
    ]
    lenalidomide_elimination: A[
        Array, quantity("1/day", "of the virtual compartment", SOURCE, low=0.1, high=20, value=0.0483 * HOUR)
    ]
    lenalidomide_slope: A[
        Array, quantity("1/mg", "kill by the rate that leaves it", RATE, low=0, high=0.2, value=0.0134, flags=("UNIT",))
    ]


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot of ixazomib")]
    central: A[Array, quantity("mg", "central")]
    first: A[Array, quantity("mg", "first depth")]
    second: A[Array, quantity("mg", "second depth")]
    lenalidomide: A[Array, quantity("mg", "virtual compartment of lenalidomide with dexamethasone")]
    area: A[Array, quantity("ng/mL day", "area under the concentration of ixazomib so far")]
    proliferating: A[Array, quantity("1", "dividing precursors, per platelet at rest")]
    transit: A[tuple[Array, Array], quantity("1", "maturing precursors, per platelet at rest")]
    circulating: A[Array, quantity("1", "platelets, share of baseline")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    concentration: A[Array, quantity("ng/mL", "ixazomib in plasma")]
    area: A[Array, quantity("ng/mL day", "area under the concentration of ixazomib so far")]


def baseline(p: Parameters) -> State:
    zero = 0.0 * p.baseline
    resting = steady(p.production, p.maturation, STAGES + 1)
    return State(zero, zero, zero, zero, zero, zero, resting[0], resting[1:], 1.0 + zero)


def _concentration(y: State, p: Parameters) -> Scalar:
    return 1000.0 * y.central / p.central_volume


def _second_volume(p: Parameters) -> Scalar:
    return p.second_volume * power(p.surface, 1.87, p.surface_exponent)


def linear_block(p: Parameters, u: Inputs) -> LinearBlock:
    """The area is no compartment: it grows by what it does not take."""
    return LinearBlock(
        ("depot", "central", "first", "second", "lenalidomide"),
        (
            (0, 1, p.absorption),
            (1, None, p.clearance / p.central_volume),
            (1, 2, p.first_exchange / p.central_volume),
            (2, 1, p.first_exchange / p.first_volume),
            (1, 3, p.second_exchange / p.central_volume),
            (3, 1, p.second_exchange / _second_volume(p)),
            (4, None, p.lenalidomide_elimination),
        ),
    )


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    central = y.central / p.central_volume
    first = p.first_exchange * (central - y.first / p.first_volume)
    second = p.second_exchange * (central - y.second / _second_volume(p))
    leaving = p.lenalidomide_elimination * y.lenalidomide
    concentration = _concentration(y, p)
    kill = p.ixazomib_slope * (concentration + p.ixazomib_memory * y.area) + p.lenalidomide_slope * leaving
    return State(
        -absorbed,
        absorbed - p.clearance * central - first - second,
        first,
        second,
        -leaving,
        concentration,
        random_loss(p.production, p.maturation + kill, y.proliferating),
        chain(p.maturation * y.proliferating, p.maturation, y.transit),
        random_loss(p.maturation * y.transit[-1], p.production, y.circulating),
    )


def observe(y: State, p: Parameters) -> Obs:
    at_rest = p.baseline + p.observed_weight * (p.observed_baseline - 197.0)
    return Obs(at_rest * y.circulating, _concentration(y, p), y.area)


# Ixazomib goes from the central volume to the depths within an hour or two of its absorption.
_PEAK = ((0.3, 60.0), (1.0, 16.0))


@functools.lru_cache(maxsize=1)
def srimani2022() -> Model:
    """Srimani 2022 ixazomib and lenalidomide model."""
    return Model(
        name="srimani2022",
        title="Ixazomib with lenalidomide and dexamethasone in myeloma (Srimani 2022)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=observe,
        entries={
            ("ixazomib", "oral"): Entry(
                "mg", {"depot": lambda p: p.bioavailability}, lag=lambda p: p.lag, refine=_PEAK
            ),
            ("lenalidomide", "oral"): Entry("mg", {"lenalidomide": lambda p: 1.0}),
        },
        linear_block=linear_block,
        max_rate=lambda p: 2.0 * (p.maturation + p.production),
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=4.0,
        cohorts=(Path(__file__).parent / "cohorts" / "srimani2022",),
    )
