"""Romiplostim: competes with TPO for c-Mpl and is cleared by it (quasi-equilibrium target-mediated disposition).

Wang YC et al., AAPS J 2010;12:729, doi 10.1208/s12248-010-9234-9; here the target is shared by platelets and megakaryocytes.
"""

import math
from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry, Inputs, in_steps
from thrombojax.models.struct import Scalar, quantity

WANG = "Wang 2010, doi 10.1208/s12248-010-9234-9, Table I"


class Parameters(NamedTuple):
    potency: A[Array, quantity("ng/mL", "free concentration at half occupancy of the signal", low=0.01, high=1)]
    absorption: A[Array, quantity("1/day", "absorption from the depot", WANG, low=0.2, high=2, value=0.0254 * 24)]
    volume: A[Array, quantity("L/kg", "central volume per weight", WANG, low=0.02, high=0.2, value=0.0683)]
    elimination: A[Array, quantity("1/day", "linear elimination", WANG, low=0.2, high=3, value=0.0382 * 24)]
    to_peripheral: A[Array, quantity("1/day", "central to peripheral", WANG, low=0.5, high=5, value=0.0806 * 24)]
    from_peripheral: A[Array, quantity("1/day", "peripheral to central", WANG, low=0.1, high=1, value=0.0148 * 24)]
    bioavailability: A[Array, quantity("1", "subcutaneous bioavailability", WANG, low=0.1, high=1, value=0.499)]
    internalisation: A[
        Array, quantity("1/day", "internalisation of the complex", WANG, low=1, high=10, value=0.173 * 24)
    ]
    receptor_density: A[Array, quantity("fg", "binding capacity per platelet", WANG, low=0.005, high=0.1, value=0.0215)]
    binding: A[Array, quantity("ng/mL", "equilibrium dissociation constant", WANG, low=0.02, high=1, value=0.131)]
    sinks_by_binding: A[Array, quantity(
        "1", "constant by which it competes with TPO for the sinks: 0 its potency, 1 its binding", low=0, high=1
    )]  # fmt: skip
    neutralised: A[Array, quantity(
        "1", "share that neutralising antibodies take from each dose",
        "binding antibodies in 5 % of patients, Petrov 2024, doi 10.1002/cpdd.1494; the share is a covariate",
        low=0, high=1, value=0.0, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    depot: A[Array, quantity("ug", "subcutaneous depot")]
    central: A[Array, quantity("ug", "central, free and bound")]
    peripheral: A[Array, quantity("ug", "peripheral")]


class Obs(NamedTuple):
    concentration: A[Array, quantity("ng/mL", "free romiplostim in serum")]


def equilibrium_free(total: Scalar, capacity: Scalar, binding: Scalar) -> Scalar:
    """Free concentration of a ligand in equilibrium with its target, in a form that keeps float32 exact at low drug."""
    d = total - capacity - binding
    root = jnp.sqrt(d * d + 4.0 * binding * total)
    shallow = 0.5 * (d + root)
    # root - d loses nothing for d < 0; the guard keeps the unused branch finite for gradients
    deep = 2.0 * binding * total / jnp.where(d < 0.0, root - d, 1.0)
    return jnp.where(d < 0.0, deep, shallow)


def _free(y: State, p: Parameters, around: Surroundings) -> tuple[Scalar, Scalar, Scalar]:
    volume = p.volume * around.body.weight
    total = y.central / volume
    capacity = p.receptor_density * around.reference_count * around.mpl_sites
    return equilibrium_free(total, capacity, p.binding), total, volume


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    free, total, volume = _free(y, p, around)
    absorbed = p.absorption * y.depot
    back = p.from_peripheral * y.peripheral
    out = p.to_peripheral * free * volume
    cleared = p.elimination * free * volume + p.internalisation * (total - free) * volume
    return State(-absorbed, absorbed - cleared - out + back, out - back)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    free, _, _ = _free(y, p, around)
    competing = (1.0 - p.sinks_by_binding) / p.potency + p.sinks_by_binding / p.binding
    return Effect(ligand=free / p.potency, tpo_equivalents=free * competing * around.mpl_affinity)


def observe(y: State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(_free(y, p, around)[0])


# Free drug bends sharply when the total crosses the receptor capacity: within minutes to hours of a dose in a thrombocytopenic
# patient. Steps that grow with the time since the dose meet the bend wherever it lies: eight on day one, then two a day, hold
# 1e-4 in ITP at 1 and 3 ug/kg weekly, and twice as many 1e-6 (python -m benchmarks.work_precision).
_BEND = in_steps((0.0028, 1), (0.014, 1), (0.046, 1), (0.11, 1), (0.335, 2), (1.0, 2))
_ORDER = math.log(100.0) / math.log(2.0)

DRUG = Drug(
    name="romiplostim",
    title="Romiplostim (peptibody TPO-receptor agonist)",
    source=WANG,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    entries={
        ("romiplostim", "sc"): Entry(
            "ug", {"depot": lambda p: p.bioavailability * (1.0 - p.neutralised)}, refine=_BEND, order=_ORDER
        ),
        ("romiplostim", "iv"): Entry(
            "ug", {"central": lambda p: 1.0 - p.neutralised}, infusible=True, refine=_BEND, order=_ORDER
        ),
    },
    rhs=rhs,
    effect=effect,
    observe=observe,
)
