"""Ropeginterferon alfa-2b and platelets in polycythaemia vera: binding in quasi-equilibrium to receptors that fade.

Qin A, Shimoda K, Suo S, et al. Pharmacol Res Perspect 2025;13:e70109, doi 10.1002/prp2.70109, Tables 2 and 3; 78 patients.
Kinetics were fixed while platelets were fitted. Total drug holds production back; the count starts at what the patient came
with and goes to its own steady state. From day 7 of the study on, the receptors' production falls: the first dose is on day 0.

The tables label rates 1/h; the paper's methods and half-lives say per day, as here. Its Discussion restates three platelet
values otherwise (463, 351 and 61.9 for 477, 332 and 72.4): the table's are used and flagged `DOUBT`.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.drugs.romiplostim import equilibrium_free
from thrombojax.models import struct
from thrombojax.models.blocks import power, random_loss, saturation
from thrombojax.models.protocol import Breakpoints, Entry, Inputs, Model
from thrombojax.models.struct import Scalar, quantity

PK = "Qin 2025, doi 10.1002/prp2.70109, Table 2"
SOURCE = "Qin 2025, doi 10.1002/prp2.70109, Table 3"
DOUBT = ("DOUBT",)


class Parameters(NamedTuple):
    absorption: A[Array, quantity("1/day", "absorption", PK, low=0.02, high=2, value=0.18)]
    lag: A[Array, quantity("day", "absorption lag", PK, low=0, high=2, value=0.62)]
    clearance: A[Array, quantity("L/day", "clearance of free drug at 23.1 kg/m2", PK, low=0.1, high=5, value=0.753)]
    bmi_exponent: A[Array, quantity("1", "power of body mass index on clearance", PK, low=0, high=2, value=0.813)]
    bmi: A[Array, quantity("kg/m2", "body mass index", f"{PK}: median", low=14, high=60, value=23.1)]
    volume: A[Array, quantity("L", "central volume", PK, low=0.3, high=40, value=3.29)]
    receptors: A[
        Array, quantity("ng/mL", "binding capacity until the fall begins", PK, low=0.001, high=30, value=0.317)
    ]
    late_receptors: A[Array, quantity("ng/mL", "capacity that it falls to", PK, low=0.0005, high=1, value=0.012)]
    fall: A[Array, quantity("1/day", "rate of the fall", PK, low=0.002, high=0.3, value=0.0255)]
    fall_from: A[
        Array, quantity("day", "day on which the fall begins", f"{PK}, fixed there", low=0, high=60, value=7.0)
    ]
    receptor_loss: A[Array, quantity("1/day", "degradation of free receptors", PK, low=0.05, high=5, value=0.51)]
    internalisation: A[Array, quantity("1/day", "internalisation of the complex", PK, low=0.001, high=1, value=0.0223)]
    binding: A[Array, quantity("ng/mL", "equilibrium dissociation constant", PK, low=0.005, high=1, value=0.0662)]
    potency: A[
        Array, quantity("ng/mL", "total drug that halves production", SOURCE, low=2, high=3000, value=72.4, flags=DOUBT)
    ]
    inhibition: A[
        Array, quantity("1", "most of production that is held back", f"{SOURCE}, fixed there", low=0, high=1, value=1.0)
    ]
    loss: A[Array, quantity("1/day", "loss of platelets", SOURCE, low=0.001, high=1, value=0.0299)]
    steady_count: A[
        Array, quantity("1/nL", "count at rest without drug", SOURCE, low=20, high=3000, value=332.0, flags=DOUBT)
    ]
    first_count: A[
        Array, quantity("1/nL", "count before treatment", SOURCE, low=50, high=3000, value=477.0, flags=DOUBT)
    ]


class State(NamedTuple):
    depot: A[Array, quantity("ug", "subcutaneous depot")]
    central: A[Array, quantity("ug", "central, free and bound")]
    receptors: A[Array, quantity("ng/mL", "receptors, free and bound, as binding capacity")]
    platelets: A[Array, quantity("1/nL", "platelets in blood")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    concentration: A[Array, quantity("ng/mL", "ropeginterferon in serum, free and bound")]
    receptors: A[Array, quantity("ng/mL", "binding capacity")]


def initial(p: Parameters) -> State:
    """What the patient comes with: not at rest."""
    zero = 0.0 * p.first_count
    return State(zero, zero, p.receptors + zero, p.first_count)


def _capacity(t: Scalar, p: Parameters, u: Inputs) -> Scalar:
    """Receptors that production would keep up at rest."""
    since = jnp.where(u.era > 0.5, t - p.fall_from, 0.0 * p.fall_from)
    return p.late_receptors + (p.receptors - p.late_receptors) * jnp.exp(-p.fall * since)


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    total = y.central / p.volume
    free = equilibrium_free(total, y.receptors, p.binding)
    bound = y.receptors * free / (p.binding + free)
    clearance = p.clearance * power(p.bmi, 23.1, p.bmi_exponent)
    made = p.receptor_loss * _capacity(t, p, u)
    held_back = p.inhibition * (1.0 - saturation(total, p.potency))
    return State(
        -absorbed,
        absorbed - clearance * free - p.internalisation * bound * p.volume,
        made - p.receptor_loss * (y.receptors - bound) - p.internalisation * bound,
        random_loss(p.loss * p.steady_count * (1.0 - held_back), p.loss, y.platelets),
    )


@functools.lru_cache(maxsize=1)
def qin2025() -> Model:
    """Qin 2025 ropeginterferon model."""
    return Model(
        name="qin2025",
        title="Ropeginterferon alfa-2b in polycythaemia vera (Qin 2025)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=initial,
        rhs=rhs,
        observe=lambda y, p: Obs(y.platelets, y.central / p.volume, y.receptors),
        # free drug appears within hours of the first dose, when the receptors are taken
        entries={
            ("ropeginterferon", "sc"): Entry("ug", {"depot": lambda p: 1.0}, lag=lambda p: p.lag, refine=((0.3, 60.0),))
        },
        breakpoints=lambda p: Breakpoints(at=(p.fall_from,)),
        max_rate=lambda p: (
            p.absorption
            + p.receptor_loss
            + p.internalisation
            + p.clearance * power(p.bmi, 23.1, p.bmi_exponent) / p.volume
        ),
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=2.0,
        cohorts=(Path(__file__).parent / "cohorts" / "qin2025",),
    )
