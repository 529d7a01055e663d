"""A model of one's own: an oral drug in one compartment that raises platelet production.

thrombojax run docs/examples/one-compartment.toml -o out/one-compartment.h5 --model-file docs/examples/one_compartment.py
"""

from typing import Annotated, NamedTuple

from jax import Array

from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Inputs, LinearBlock, Model
from thrombojax.models.struct import quantity

STAGES = 4


class Parameters(NamedTuple):
    weight: Annotated[Array, quantity("kg", "body weight", low=40, high=150, value=70.0)]
    clearance: Annotated[Array, quantity("L/day", "apparent clearance at 70 kg", low=10, high=300, value=90.0)]
    volume: Annotated[Array, quantity("L", "apparent volume", low=20, high=400, value=100.0)]
    absorption: Annotated[Array, quantity("1/day", "absorption", low=2, high=50, value=12.0)]
    lag: Annotated[Array, quantity("day", "absorption lag", low=0, high=0.2, value=0.02)]
    baseline: Annotated[Array, quantity("1/nL", "platelets before treatment", low=5, high=500, value=30.0)]
    maturation: Annotated[Array, quantity("day", "time from precursor to platelet", low=3, high=10, value=6.0)]
    lifespan: Annotated[Array, quantity("day", "mean platelet lifespan", low=1, high=10, value=5.0)]
    emax: Annotated[Array, quantity("1", "largest rise of production, x baseline", low=0, high=10, value=3.0)]
    ec50: Annotated[Array, quantity("mg/L", "concentration at half of it", low=0.01, high=1, value=0.1)]


class State(NamedTuple):
    depot: Annotated[Array, quantity("mg", "gut depot")]
    central: Annotated[Array, quantity("mg", "central compartment")]
    precursor: Annotated[tuple[Array, Array, Array, Array], quantity("1/nL", "maturing precursors, as platelets")]
    platelets: Annotated[Array, quantity("1/nL", "platelets")]


class Obs(NamedTuple):
    platelets: Annotated[Array, quantity("1/nL", "platelet count")]
    concentration: Annotated[Array, quantity("mg/L", "drug in plasma")]


def elimination(p):
    return p.clearance * (p.weight / 70.0) ** 0.75 / p.volume


def baseline(p):
    stage = p.baseline / p.lifespan * p.maturation / STAGES
    return State(0.0 * stage, 0.0 * stage, (stage,) * STAGES, p.baseline)


def rhs(t, y, p, u: Inputs):
    concentration = y.central / p.volume
    made = p.baseline / p.lifespan * (1.0 + p.emax * concentration / (p.ec50 + concentration))
    rate = STAGES / p.maturation
    first, second, third, fourth = y.precursor
    return State(
        depot=-p.absorption * y.depot,
        central=p.absorption * y.depot - elimination(p) * y.central,
        precursor=(made - rate * first, rate * (first - second), rate * (second - third), rate * (third - fourth)),
        platelets=rate * fourth - y.platelets / p.lifespan,
    )


def linear_block(p, u: Inputs):
    """The two drug compartments, which the fixed-step backend advances exactly."""
    return LinearBlock(("depot", "central"), ((0, 1, p.absorption), (1, None, elimination(p))))


MODEL = Model(
    name="one-compartment",
    title="An oral drug in one compartment",
    source="an example with invented numbers",
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    initial=baseline,
    baseline=baseline,
    rhs=rhs,
    observe=lambda y, p: Obs(y.platelets, y.central / p.volume),
    entries={("mydrug", "oral"): Entry("mg", {"depot": lambda p: 1.0}, lag=lambda p: p.lag, refine=((0.3, 48.0),))},
    linear_block=linear_block,
    max_rate=lambda p: STAGES / p.maturation + 1.0 / p.lifespan,
    defaults=struct.build(Parameters, lambda name, meta: meta.value),
    steps_per_day=4.0,
)
