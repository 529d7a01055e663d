"""A user's own model: one linear compartment with an oral depot, and platelets whose production the drug raises."""

from typing import Annotated, NamedTuple

from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.protocol import Entry, LinearBlock, Model
from thrombojax.models.struct import quantity

A = Annotated


class Parameters(NamedTuple):
    absorption: A[Array, quantity("1/day", "absorption", low=0.1, high=100, value=3.0)]
    elimination: A[Array, quantity("1/day", "elimination", low=0.01, high=10, value=0.3)]
    volume: A[Array, quantity("L", "volume", low=1, high=50, value=2.0)]
    bioavailability: A[Array, quantity("1", "oral bioavailability", low=0, high=1, value=0.8)]
    lag: A[Array, quantity("day", "oral lag", low=0, high=0.5, value=0.05)]
    initial_amount: A[Array, quantity("mg", "drug on board at the start", low=0, high=10, value=0.0)]
    slope: A[Array, quantity("L/mg", "rise of production per concentration", low=0, high=1, value=0.1, cv=0.3)]
    loss: A[Array, quantity("1/day", "platelet loss", low=0.05, high=1, value=0.125)]
    count: A[Array, quantity("1/nL", "count before dosing", low=10, high=500, value=200.0)]
    weight: A[Array, quantity("kg", "body weight", low=30, high=200, value=70.0)]


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot")]
    central: A[Array, quantity("mg", "central")]
    platelets: A[Array, quantity("1/nL", "platelets")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count")]
    concentration: A[Array, quantity("mg/L", "drug")]
    depot: A[Array, quantity("mg", "gut depot")]


def initial(p):
    return State(0.0 * p.count, 1.0 * p.initial_amount, 1.0 * p.count)


def rhs(t, y, p, u):
    absorbed = p.absorption * y.depot
    made = p.loss * p.count * (1.0 + p.slope * y.central / p.volume)
    return State(-absorbed, absorbed - p.elimination * y.central, made - p.loss * y.platelets)


def make(exact: bool = True) -> Model:
    """exact: with the linear block; without it the drug is integrated like everything else."""
    return Model(
        name="one-compartment",
        title="One compartment",
        source="tests",
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=initial,
        rhs=rhs,
        observe=lambda y, p: Obs(y.platelets, y.central / p.volume, y.depot),
        entries={
            ("drug", "oral"): Entry("mg", {"depot": lambda p: p.bioavailability}, lag=lambda p: p.lag),
            ("drug", "iv"): Entry("mg", {"central": lambda p: 1.0}, infusible=True),
            ("apheresis", "procedure"): Entry("%", {}, shares={"platelets": lambda p: -0.0125 * p.bioavailability}),
        },
        max_rate=lambda p: p.elimination if exact else p.elimination + p.absorption,
        linear_block=(lambda p, u: LinearBlock(("depot", "central"), ((0, 1, p.absorption), (1, None, p.elimination))))
        if exact
        else None,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=4.0,
    )


MODEL = make()
