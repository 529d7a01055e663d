"""PF4 and TGF-beta: autocrine restraint by platelets and megakaryocytes (Lambert et al., Blood 2007;110:1153)."""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models.feedback.effects import Effect
from thrombojax.models.feedback.response import restrained
from thrombojax.models.struct import Scalar, quantity


class Parameters(NamedTuple):
    pf4: A[Array, quantity("1", "PF4 carried per cell, x healthy", low=0, high=4)]
    pf4_inhibition: A[Array, quantity("1", "strength of PF4 on the last CFU-Mk division", low=0.1, high=0.6)]
    pf4_protection: A[Array, quantity("1", "shielding of progenitors from chemotherapy", low=0, high=0.6)]
    pf4_platelet_share: A[Array, quantity("1", "share of marrow PF4 that platelets release", low=0, high=1)]
    pf4_rate: A[Array, quantity("1/day", "turnover of marrow PF4", low=0.2, high=5)]
    tgfb: A[Array, quantity("1", "TGF-beta made per megakaryocyte, x healthy", low=0, high=5)]
    tgfb_inhibition: A[Array, quantity("1", "strength of TGF-beta on endomitosis", low=0, high=0.5)]
    tgfb_rate: A[Array, quantity("1/day", "turnover of marrow TGF-beta", low=0.1, high=2)]
    stroma_restraint: A[Array, quantity("1", "restraint of stromal TPO synthesis", low=0, high=3)]


class State(NamedTuple):
    pf4: A[Array, quantity("1", "marrow PF4 activity, x healthy")]
    tgfb: A[Array, quantity("1", "marrow TGF-beta activity, x healthy")]


def steady(relative_turnover: Scalar, megakaryocyte_mass: Scalar, p: Parameters) -> State:
    share = p.pf4_platelet_share
    return State(p.pf4 * (share * relative_turnover + (1.0 - share) * megakaryocyte_mass), p.tgfb * megakaryocyte_mass)


def rhs(y: State, relative_turnover: Scalar, megakaryocyte_mass: Scalar, effect: Effect, p: Parameters) -> State:
    made = steady(relative_turnover, megakaryocyte_mass, p)
    pf4 = made.pf4 * (1.0 - effect.pf4_removed) + effect.pf4
    return State(p.pf4_rate * (pf4 - y.pf4), p.tgfb_rate * (made.tgfb + effect.tgfb - y.tgfb))


def on_cfu(y: State, p: Parameters) -> Scalar:
    return restrained(p.pf4_inhibition, y.pf4)


def on_endomitosis(y: State, p: Parameters) -> Scalar:
    return restrained(p.tgfb_inhibition, y.tgfb)


def on_stroma(y: State, p: Parameters) -> Scalar:
    return restrained(p.stroma_restraint, 0.5 * (y.pf4 + y.tgfb))


def on_kill(y: State, p: Parameters) -> Scalar:
    """Share of chemotherapy's kill that PF4 lets through."""
    return restrained(p.pf4_protection, y.pf4)
