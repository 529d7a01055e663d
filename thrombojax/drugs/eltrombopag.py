"""Eltrombopag: oral transmembrane agonist; its drive adds to the signal of TPO.

Two compartments, lag, and an absorption rate that switches after each dose: Farrell et al., Br J Clin Pharmacol 2014;77:717,
doi 10.1111/bcp.12244. In ITP: Gibiansky et al., J Clin Pharmacol 2011;51:842 (the ITP cohort sets those values), whose clearance
is 19 % lower in women, 33 % in East Asians and 26 % with corticosteroids.
"""

from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.drugs.protocol import TRANSMEMBRANE, Drug
from thrombojax.models.feedback.body import Body
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Breakpoints, Entry, Inputs, LinearBlock, in_steps
from thrombojax.models.struct import Scalar, quantity

FARRELL = "Farrell 2014, doi 10.1111/bcp.12244, Tables 2 and 3"
ORAL = ("eltrombopag", "oral")
LIVER = 0.536
"""Clearance at a Child-Pugh score of 5, x healthy; each point more takes 11.3 % of it (Farrell 2014, Table 3)."""


class Parameters(NamedTuple):
    emax: A[Array, quantity("1", "maximal transmembrane drive", low=1, high=8)]
    potency: A[Array, quantity("ug/mL", "concentration at half-maximal drive", low=0.5, high=20)]
    clearance: A[Array, quantity("L/day", "apparent clearance", FARRELL, low=3, high=80, value=0.953 * 24)]
    central_volume: A[Array, quantity("L", "apparent central volume", FARRELL, low=2, high=40, value=9.75)]
    intercompartmental: A[Array, quantity("L/day", "apparent exchange", FARRELL, low=3, high=60, value=0.633 * 24)]
    peripheral_volume: A[Array, quantity("L", "apparent peripheral volume", FARRELL, low=2, high=40, value=9.41)]
    absorption_early: A[
        Array, quantity("1/day", "absorption until the switch", FARRELL, low=1, high=60, value=0.333 * 24)
    ]
    absorption_late: A[
        Array, quantity("1/day", "absorption after the switch", FARRELL, low=10, high=300, value=5.26 * 24)
    ]
    absorption_switch: A[
        Array, quantity("day", "time of the switch after a dose", FARRELL, low=0.02, high=0.2, value=1.46 / 24)
    ]
    lag: A[Array, quantity("day", "absorption lag", FARRELL, low=0, high=0.1, value=0.447 / 24)]


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot")]
    central: A[Array, quantity("mg", "central")]
    peripheral: A[Array, quantity("mg", "peripheral")]


class Obs(NamedTuple):
    concentration: A[Array, quantity("ug/mL", "eltrombopag in plasma")]


def clearance(p: Parameters, body: Body) -> Scalar:
    """Apparent clearance of this patient: that of a White man without steroids, times the covariates' factors."""
    sick = body.child_pugh > 0.0
    liver = jnp.where(sick, LIVER * (1.0 - 0.113 * (jnp.maximum(body.child_pugh, 5.0) - 5.0)), 1.0)
    covariates = (1.0 - 0.19 * body.female) * (1.0 - 0.33 * body.east_asian) * (1.0 - 0.26 * body.corticosteroids)
    return p.clearance * covariates * jnp.maximum(liver, 0.05)


def _rates(p: Parameters, body: Body, u: Inputs) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    absorption = jnp.where(u.phase[ORAL] < 0.5, p.absorption_early, p.absorption_late)
    out = p.intercompartmental / p.central_volume
    back = p.intercompartmental / p.peripheral_volume
    return absorption, clearance(p, body) / p.central_volume, out, back


def linear_block(p: Parameters, body: Body, u: Inputs) -> LinearBlock:
    absorption, elimination, out, back = _rates(p, body, u)
    return LinearBlock(
        ("depot", "central", "peripheral"), ((0, 1, absorption), (1, None, elimination), (1, 2, out), (2, 1, back))
    )


def rhs(y: State, p: Parameters, around: Surroundings, u: Inputs) -> State:
    absorption, elimination, out, back = _rates(p, around.body, u)
    absorbed, exchanged = absorption * y.depot, out * y.central - back * y.peripheral
    return State(-absorbed, absorbed - elimination * y.central - exchanged, exchanged)


def effect(y: State, p: Parameters, around: Surroundings) -> Effect:
    concentration = y.central / p.central_volume
    return Effect(agonist=p.emax * concentration / (p.potency + concentration))


def observe(y: State, p: Parameters, around: Surroundings) -> Obs:
    return Obs(y.central / p.central_volume)


# Absorption rises sharply at the switch (time constant 0.2 h): exact in the linear block, but its drive needs short steps.
_SWITCH = (1.46 - 0.447) / 24
_KINK = in_steps((_SWITCH, 1.5), (_SWITCH + 0.0212, 1), (_SWITCH + 0.0642, 1.5), (_SWITCH + 0.309, 0.5))

DRUG = Drug(
    name="eltrombopag",
    title="Eltrombopag (oral transmembrane agonist)",
    source=FARRELL,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    entries={ORAL: Entry("mg", {"depot": lambda p: 1.0}, lag=lambda p: p.lag, refine=_KINK)},
    rhs=rhs,
    effect=effect,
    observe=observe,
    site=TRANSMEMBRANE,
    linear_block=linear_block,
    breakpoints=lambda p: Breakpoints(after_dose={ORAL: (p.absorption_switch,)}),
)
