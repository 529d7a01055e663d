"""Romiplostim in chronic immune thrombocytopenia: stimulated production, a chain of precursors, and fast destruction.

Petrov A et al. Clin Pharmacol Drug Dev 2025;14:116-126, doi 10.1002/cpdd.1494 (Table S1), on the model of volunteers of
Makarenko I et al. 2024, doi 10.1002/cpdd.1367. Published per hour; here per day. The cohorts are its four sub-populations, by
splenectomy and by mechanism: 1 destruction, 2 destruction and reduced production.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Inputs, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Petrov 2024, doi 10.1002/cpdd.1494, Table S1"
FORM = f"{SOURCE}; the paper prints the number, the form is the default of its software (Monolix)"
WEIGHT = 77.0
"""kg, at which the volume is that of Table S1."""
STAGES = 4
Chain4 = tuple[Array, Array, Array, Array]


class Parameters(NamedTuple):
    absorption: A[Array, quantity("1/day", "absorption", SOURCE, low=0.1, high=2, value=0.02 * 24)]
    volume: A[Array, quantity("L", "apparent volume at 77 kg", SOURCE, low=500, high=10000, value=2565.0)]
    volume_exponent: A[Array, quantity("1", "power of weight / 77 kg", FORM, low=0, high=2, value=1.04, flags=("ASM",))]
    elimination: A[Array, quantity("1/day", "elimination", SOURCE, low=0.1, high=4, value=0.03 * 24)]
    antibody_effect: A[
        Array, quantity("1", "on the logarithm of elimination", FORM, low=0, high=2, value=0.25, flags=("ASM",))
    ]
    potency: A[Array, quantity("ng/mL", "concentration at half stimulation", SOURCE, low=0.002, high=1, value=0.042)]
    stimulation: A[Array, quantity("1", "maximal stimulation of production", SOURCE, low=3, high=20, value=9.0)]
    maturation: A[Array, quantity("1/day", "passage through one stage", SOURCE, low=0.2, high=1, value=0.02 * 24)]
    production: A[Array, quantity("1/nL/day", "without drug", SOURCE, low=10, high=300, value=4.3 * 24)]
    clearance: A[Array, quantity("1/day", "destruction of platelets", SOURCE, low=0.2, high=80, value=0.20 * 24)]
    antibodies: A[Array, quantity("1", "1 with neutralising antibodies", SOURCE, low=0, high=1, value=0.0)]
    weight: A[Array, quantity("kg", "body weight", SOURCE, low=30, high=200, value=WEIGHT)]


class State(NamedTuple):
    depot: A[Array, quantity("ug", "subcutaneous depot")]
    central: A[Array, quantity("ug", "central")]
    precursor: A[Chain4, quantity("1/nL", "precursors, as the platelets they will be")]
    circulating: A[Array, quantity("1/nL", "platelets in blood")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    concentration: A[Array, quantity("ng/mL", "romiplostim in serum")]


def baseline(p: Parameters) -> State:
    """Steady state without drug, in closed form."""
    zero = 0.0 * p.production
    return State(zero, zero, (p.production / p.maturation,) * STAGES, p.production / p.clearance)


def _concentration(y: State, p: Parameters) -> Scalar:
    return y.central / (p.volume * (p.weight / WEIGHT) ** p.volume_exponent)


def _elimination(p: Parameters) -> Scalar:
    return p.elimination * jnp.exp(p.antibody_effect * p.antibodies)


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    drug = _concentration(y, p)
    absorbed = p.absorption * y.depot
    made = p.production * (1.0 + p.stimulation * drug / (p.potency + drug))
    precursor: tuple[Scalar, ...] = (made - p.maturation * y.precursor[0],)
    precursor += tuple(p.maturation * (y.precursor[i - 1] - y.precursor[i]) for i in range(1, STAGES))
    return State(
        -absorbed,
        absorbed - _elimination(p) * y.central,
        precursor,
        p.maturation * y.precursor[-1] - p.clearance * y.circulating,
    )


def observe(y: State, p: Parameters) -> Obs:
    return Obs(y.circulating, _concentration(y, p))


def max_rate(p: Parameters) -> Scalar:
    """No compartment acts back on one before it, so the fastest of them bounds all."""
    return jnp.maximum(jnp.maximum(p.clearance, p.maturation), jnp.maximum(_elimination(p), p.absorption))


@functools.lru_cache(maxsize=1)
def petrov2024() -> Model:
    """Petrov 2024 romiplostim model."""
    return Model(
        name="petrov2024",
        title="Romiplostim in chronic immune thrombocytopenia (Petrov 2024)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=observe,
        entries={("romiplostim", "sc"): Entry("ug", {"depot": lambda p: 1.0})},  # bioavailability is in the volume
        max_rate=max_rate,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=3.0,
        positive=("circulating",),
        cohorts=(Path(__file__).parent / "cohorts" / "petrov2024",),
    )
