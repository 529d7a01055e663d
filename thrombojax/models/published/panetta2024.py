"""Palbociclib and platelets in children and young adults with brain tumours: a chain whose first pool is held back.

Panetta JC, Selvo NS, Van Mater D, Stewart CF. Pharmaceutics 2024;16:1528, doi 10.3390/pharmaceutics16121528, Tables 2 and 3B.
Amounts, volume and clearance are per m2 of body surface, which cancels. Kinetics are published per hour; here per day.

As printed, Equation 1 lacks the factor N1 on its first term, which Equations 6 and 7 need; it is here. Variability between
courses and of the lag is left out.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.blocks import chain, power, proliferation, random_loss, saturation, steady
from thrombojax.models.protocol import Entry, Inputs, LinearBlock, Model
from thrombojax.models.struct import Scalar, quantity

PK = "Panetta 2024, doi 10.3390/pharmaceutics16121528, Table 2"
SOURCE = "Panetta 2024, doi 10.3390/pharmaceutics16121528, Table 3B"
UNIT = f"{SOURCE}; printed as nM, but only ng/mL gives the paper's own counts"
STAGES = 3
ORAL = ("palbociclib", "oral")


class Parameters(NamedTuple):
    absorption: A[Array, quantity("1/day", "absorption", PK, low=1, high=100, value=0.46 * 24)]
    lag: A[Array, quantity("day", "absorption lag", PK, low=0, high=0.2, value=0.8 / 24)]
    volume: A[Array, quantity("L/m2", "apparent volume", PK, low=200, high=2000, value=653.0)]
    clearance: A[
        Array, quantity("L/day/m2", "apparent clearance at 25 U/L of AST", PK, low=200, high=3000, value=876.0)
    ]
    ast_exponent: A[Array, quantity("1", "power of AST on clearance", PK, low=-1, high=0, value=-0.3)]
    ast: A[Array, quantity("U/L", "aspartate aminotransferase", f"{PK}: cohort median", low=5, high=500, value=25.0)]
    baseline: A[Array, quantity("1/nL", "platelets before treatment", SOURCE, low=50, high=800, value=267.4)]
    growth: A[Array, quantity("1/day", "fastest growth of precursors", SOURCE, low=0.6, high=2, value=0.93)]
    transit: A[Array, quantity("1/day", "maturation", SOURCE, low=0.2, high=0.9, value=0.52)]
    loss: A[Array, quantity("1/day", "loss of platelets", f"{SOURCE}, fixed there", low=0.05, high=10, value=4.80)]
    potency: A[
        Array,
        quantity("ng/mL", "concentration that halves growth", UNIT, low=100, high=3000, value=559.14, flags=("UNIT",)),
    ]


class State(NamedTuple):
    depot: A[Array, quantity("mg/m2", "gut depot")]
    central: A[Array, quantity("mg/m2", "central")]
    proliferating: A[Array, quantity("1/nL", "dividing precursors")]
    transit: A[tuple[Array, Array, Array], quantity("1/nL", "maturing precursors")]
    circulating: A[Array, quantity("1/nL", "platelets in blood")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    concentration: A[Array, quantity("ng/mL", "palbociclib in plasma")]


def baseline(p: Parameters) -> State:
    resting = steady(p.loss * p.baseline, p.transit, STAGES + 1)
    return State(0.0 * p.baseline, 0.0 * p.baseline, resting[0], resting[1:], p.baseline)


def _elimination(p: Parameters) -> Scalar:
    return p.clearance * power(p.ast, 25.0, p.ast_exponent) / p.volume


def _concentration(y: State, p: Parameters) -> Scalar:
    return 1000.0 * y.central / p.volume


def linear_block(p: Parameters, u: Inputs) -> LinearBlock:
    return LinearBlock(("depot", "central"), ((0, 1, p.absorption), (1, None, _elimination(p))))


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    # At rest growth x feedback is transit: that sets the count at which the feedback halves growth (Equation 6).
    half = p.transit / (p.growth - p.transit) * p.baseline
    growth = p.growth * saturation(y.circulating, half) * saturation(_concentration(y, p), p.potency)
    return State(
        -absorbed,
        absorbed - _elimination(p) * y.central,
        proliferation(growth / p.transit, p.transit, y.proliferating),
        chain(p.transit * y.proliferating, p.transit, y.transit),
        random_loss(p.transit * y.transit[-1], p.loss, y.circulating),
    )


@functools.lru_cache(maxsize=1)
def panetta2024() -> Model:
    """Panetta 2024 palbociclib model."""
    return Model(
        name="panetta2024",
        title="Palbociclib in children with brain tumours (Panetta 2024)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=lambda y, p: Obs(y.circulating, _concentration(y, p)),
        entries={ORAL: Entry("mg/m2", {"depot": lambda p: 1.0}, lag=lambda p: p.lag)},
        linear_block=linear_block,
        max_rate=lambda p: p.loss + p.transit,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=6.0,
        cohorts=(Path(__file__).parent / "cohorts" / "panetta2024",),
    )
