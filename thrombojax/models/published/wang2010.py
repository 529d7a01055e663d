"""Romiplostim in healthy volunteers: target-mediated disposition with a lifespan chain of precursors and platelets.

Wang YC, Krzyzanski W, Doshi S, Xiao JJ, Perez-Ruixo JJ, Chow AT. AAPS J 2010;12:729-740, doi 10.1208/s12248-010-9234-9.
Fitted to mean data of 32 healthy adults: no between-patient variability. Published per hour; here per day.
"""

import functools
from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.drugs.romiplostim import equilibrium_free
from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Inputs, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Wang 2010, doi 10.1208/s12248-010-9234-9, Table I"
STAGES = 10
Chain10 = tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array, Array]


class Parameters(NamedTuple):
    absorption: A[Array, quantity("1/day", "absorption", SOURCE, low=0.2, high=2, value=0.0254 * 24)]
    volume: A[Array, quantity("L/kg", "central volume per weight", SOURCE, low=0.02, high=0.2, value=0.0683)]
    elimination: A[Array, quantity("1/day", "linear elimination", SOURCE, low=0.2, high=3, value=0.0382 * 24)]
    to_peripheral: A[Array, quantity("1/day", "central to peripheral", SOURCE, low=0.5, high=5, value=0.0806 * 24)]
    from_peripheral: A[Array, quantity("1/day", "peripheral to central", SOURCE, low=0.1, high=1, value=0.0148 * 24)]
    bioavailability: A[Array, quantity("1", "subcutaneous bioavailability", SOURCE, low=0.1, high=1, value=0.499)]
    internalisation: A[
        Array, quantity("1/day", "internalisation of the complex", SOURCE, low=1, high=10, value=0.173 * 24)
    ]
    receptor_density: A[
        Array, quantity("fg", "binding capacity per platelet", SOURCE, low=0.005, high=0.1, value=0.0215)
    ]
    binding: A[Array, quantity("ng/mL", "equilibrium dissociation constant", SOURCE, low=0.02, high=1, value=0.131)]
    potency: A[Array, quantity("ng/mL", "concentration at half stimulation", SOURCE, low=0.01, high=0.5, value=0.0520)]
    stimulation: A[Array, quantity("1", "maximal stimulation of production", SOURCE, low=3, high=20, value=11.2)]
    precursor_lifespan: A[Array, quantity("day", "precursor lifespan", SOURCE, low=3, high=10, value=142 / 24)]
    platelet_lifespan: A[Array, quantity("day", "platelet lifespan", SOURCE, low=7, high=13, value=253 / 24)]
    baseline_platelets: A[Array, quantity("1/nL", "count before dosing", SOURCE, low=20, high=700, value=250.0)]
    weight: A[Array, quantity("kg", "body weight", "standard adult", low=30, high=200, value=70.0)]


class State(NamedTuple):
    depot: A[Array, quantity("ug", "subcutaneous depot")]
    central: A[Array, quantity("ug", "central, free and bound")]
    peripheral: A[Array, quantity("ug", "peripheral")]
    precursor: A[Chain10, quantity("1/nL", "precursors, as the platelets they will be")]
    age: A[Chain10, quantity("1/nL", "platelets by age")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    concentration: A[Array, quantity("ng/mL", "free romiplostim in serum")]


def baseline(p: Parameters) -> State:
    """Steady state without drug, in closed form."""
    one = 0.0 * p.baseline_platelets
    precursor = p.baseline_platelets * p.precursor_lifespan / (STAGES * p.platelet_lifespan)
    return State(one, one, one, (precursor,) * STAGES, (p.baseline_platelets / STAGES,) * STAGES)


def _free(y: State, p: Parameters) -> tuple[Scalar, Scalar]:
    total = y.central / (p.volume * p.weight)
    return equilibrium_free(total, p.receptor_density * sum(y.age[1:], y.age[0]), p.binding), total


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    free, total = _free(y, p)
    volume = p.volume * p.weight
    absorbed, back = p.absorption * y.depot, p.from_peripheral * y.peripheral
    out = p.to_peripheral * free * volume
    cleared = p.elimination * free * volume + p.internalisation * (total - free) * volume
    made = p.baseline_platelets / p.platelet_lifespan * (1.0 + p.stimulation * free / (p.potency + free))
    young, old = STAGES / p.precursor_lifespan, STAGES / p.platelet_lifespan
    precursor: tuple[Scalar, ...] = (made - young * y.precursor[0],)
    precursor += tuple(young * (y.precursor[i - 1] - y.precursor[i]) for i in range(1, STAGES))
    age: tuple[Scalar, ...] = (young * y.precursor[-1] - old * y.age[0],)
    age += tuple(old * (y.age[i - 1] - y.age[i]) for i in range(1, STAGES))
    return State(-absorbed, absorbed - cleared - out + back, out - back, precursor, age)


def observe(y: State, p: Parameters) -> Obs:
    return Obs(sum(y.age[1:], y.age[0]), _free(y, p)[0])


def max_rate(p: Parameters) -> Scalar:
    """Internalisation, distribution and elimination act on the same drug; the chains are slower."""
    return p.elimination + p.internalisation + p.to_peripheral + p.from_peripheral


# As for the flagship: free drug bends when the total crosses the receptor capacity, hours to days after a dose.
_BEND = ((0.1, 240.0), (4.0, 24.0))


@functools.lru_cache(maxsize=1)
def wang2010() -> Model:
    """Wang 2010 romiplostim model."""
    return Model(
        name="wang2010",
        title="Romiplostim in healthy volunteers (Wang 2010)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=observe,
        entries={
            ("romiplostim", "sc"): Entry("ug", {"depot": lambda p: p.bioavailability}, refine=_BEND),
            ("romiplostim", "iv"): Entry("ug", {"central": lambda p: 1.0}, infusible=True, refine=_BEND),
        },
        max_rate=max_rate,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=4.0,
    )
