"""Stem cells, neutrophils and platelets with the delays of division and maturation: how cyclic thrombocytopenia oscillates.

Zhuge C, Mackey MC, Lei J. J Theor Biol 2019;462:432-445, PMID 30496748. A differential equation with four delays: the time of a
stem cell's division, of neutrophil maturation, of megakaryocyte maturation, and that with a platelet's lifespan. Stem cells
divide, or commit to a line by how few cells it has; maturation amplifies, and less so where there are many. Nothing is given.

As in the paper, platelets leave with the amplification of those that enter, not with their own of a lifespan ago. Before day 0
all is as `first_*` say, the paper's nominal steady state, from which its own parameters go to 1.309, 6.993 and 2.969.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.blocks import emax, random_loss, saturation
from thrombojax.models.protocol import Inputs, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Zhuge 2019, PMID 30496748"
COUNT = 140.0
"""Platelets in 1e9/L for 1e10 in a kg of body: 70 kg and 5 L of blood. Neutrophils are counted in 1e8: a hundredth of it."""


class Parameters(NamedTuple):
    stem_death: A[Array, quantity("1/day", "death of dividing stem cells", SOURCE, low=0, high=1, value=0.1)]
    division_time: A[Array, quantity("day", "time of a stem cell's division", SOURCE, low=0.5, high=10, value=2.8)]
    division: A[Array, quantity("1/day", "fastest entry into division", SOURCE, low=0.5, high=20, value=3.0)]
    division_half: A[Array, quantity("Mcells/kg", "stem cells that halve it", SOURCE, low=0.05, high=5, value=0.5)]
    other_lines: A[Array, quantity("1/day", "commitment to red cells", SOURCE, low=0, high=0.1, value=0.00469)]
    neutrophil_loss: A[Array, quantity("1/day", "loss of neutrophils", SOURCE, low=0.3, high=20, value=2.4)]
    neutrophil_time: A[Array, quantity("day", "maturation of neutrophils", SOURCE, low=1, high=20, value=3.5)]
    neutrophil_commitment: A[Array, quantity("1/day", "fastest commitment", SOURCE, low=0.04, high=4, value=0.40)]
    neutrophil_half: A[Array, quantity("1e8/kg", "neutrophils that halve it", SOURCE, low=0.03, high=4, value=0.36)]
    neutrophil_gain: A[Array, quantity("1", "largest amplification", SOURCE, low=1e3, high=1e7, value=70635.0)]
    neutrophil_waste: A[
        Array, quantity("1/day", "most of what many cells take from it", SOURCE, low=0, high=5, value=0.27)
    ]
    neutrophil_many: A[Array, quantity("1e8/kg", "neutrophils that take half", SOURCE, low=5, high=1000, value=79.7)]
    platelet_loss: A[Array, quantity("1/day", "random loss of platelets", SOURCE, low=0.005, high=20, value=0.05)]
    platelet_time: A[Array, quantity("day", "maturation of megakaryocytes", SOURCE, low=2, high=30, value=7.0)]
    platelet_lifespan: A[Array, quantity("day", "longest life of platelets", SOURCE, low=0.1, high=20, value=9.5)]
    platelet_commitment: A[Array, quantity("1/day", "fastest commitment", SOURCE, low=0.01, high=20, value=0.372)]
    platelet_sensitivity: A[Array, quantity("1", "how platelets hold it back", SOURCE, low=0.5, high=500, value=11.66)]
    platelet_exponent: A[Array, quantity("1", "and by which power", SOURCE, low=0.5, high=5, value=1.29)]
    platelet_gain: A[Array, quantity("1", "largest amplification", SOURCE, low=1e4, high=1e8, value=2.0**19)]
    platelet_waste: A[
        Array, quantity("1/day", "most of what many cells take from it", SOURCE, low=0, high=300, value=0.55)
    ]
    platelet_many: A[Array, quantity("1e10/kg", "platelets that take half", SOURCE, low=1, high=400, value=35.9)]
    first_stem_cells: A[Array, quantity("Mcells/kg", "until day 0", SOURCE, low=0.01, high=20, value=1.1)]
    first_neutrophils: A[Array, quantity("1e8/kg", "until day 0", SOURCE, low=0.05, high=200, value=6.9)]
    first_platelets: A[Array, quantity("1e10/kg", "until day 0", SOURCE, low=0.01, high=50, value=3.1071)]


class State(NamedTuple):
    stem_cells: A[Array, quantity("Mcells/kg", "resting stem cells")]
    neutrophils: A[Array, quantity("1e8/kg", "neutrophils")]
    platelets: A[Array, quantity("1e10/kg", "platelets")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count: 140 for 1e10 in a kg")]
    stem_cells: A[Array, quantity("1/mg", "resting stem cells in a mg of body: 1e6/kg")]
    neutrophils: A[Array, quantity("1/nL", "neutrophil count, if all were in blood: 1.4 for 1e8 in a kg")]


def initial(p: Parameters) -> State:
    return State(p.first_stem_cells, p.first_neutrophils, p.first_platelets)


def delays(p: Parameters) -> Mapping[str, Scalar]:
    return {
        "division": p.division_time,
        "neutrophils": p.neutrophil_time,
        "platelets": p.platelet_time,
        "old platelets": p.platelet_time + p.platelet_lifespan,
    }


def _division(y: State, p: Parameters) -> Scalar:
    return y.stem_cells * p.division / (1.0 + (y.stem_cells / p.division_half) ** 4)


def _to_neutrophils(y: State, p: Parameters) -> Scalar:
    return y.stem_cells * p.neutrophil_commitment * saturation(y.neutrophils, p.neutrophil_half)


def _to_platelets(y: State, p: Parameters) -> Scalar:
    # Between two rows of a steep past the cubic may fall below none.
    held_back = 1.0 + p.platelet_sensitivity * jnp.maximum(y.platelets, 0.0) ** p.platelet_exponent
    return y.stem_cells * p.platelet_commitment / held_back


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    divided = 2.0 * jnp.exp(-p.stem_death * p.division_time) * _division(u.lagged["division"], p)
    begun = u.lagged["neutrophils"]
    waste = emax(begun.neutrophils, p.neutrophil_waste, p.neutrophil_many)
    neutrophils = p.neutrophil_gain * jnp.exp(-waste * p.neutrophil_time) * _to_neutrophils(begun, p)
    begun = u.lagged["platelets"]
    waste = emax(begun.platelets, p.platelet_waste, p.platelet_many)
    surviving = jnp.exp(-p.platelet_loss * p.platelet_lifespan)
    entering = _to_platelets(begun, p) - surviving * _to_platelets(u.lagged["old platelets"], p)
    platelets = p.platelet_gain * jnp.exp(-waste * p.platelet_time) * entering
    leaving = _division(y, p) + _to_neutrophils(y, p) + _to_platelets(y, p) + p.other_lines * y.stem_cells
    # 1e6 stem cells in units of 1e8 neutrophils and 1e10 platelets
    return State(
        divided - leaving,
        random_loss(1e-2 * neutrophils, p.neutrophil_loss, y.neutrophils),
        random_loss(1e-4 * platelets, p.platelet_loss, y.platelets),
    )


def max_rate(p: Parameters) -> Scalar:
    """What is delayed is known during a step; what is left falls at its own rate."""
    stem = p.division + p.neutrophil_commitment + p.platelet_commitment + p.other_lines
    return jnp.maximum(stem, jnp.maximum(p.neutrophil_loss, p.platelet_loss))


@functools.lru_cache(maxsize=1)
def zhuge2019() -> Model:
    """Zhuge 2019 model of cyclic thrombocytopenia."""
    return Model(
        name="zhuge2019",
        title="Stem cells, neutrophils and platelets with delays (Zhuge 2019)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=initial,
        rhs=rhs,
        delays=delays,
        observe=lambda y, p: Obs(COUNT * y.platelets, y.stem_cells, COUNT / 100.0 * y.neutrophils),
        entries={},
        max_rate=max_rate,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=6.0,
        cohorts=(Path(__file__).parent / "cohorts" / "zhuge2019",),
    )
