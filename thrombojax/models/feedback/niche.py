"""The vascular niche: chemokines draw mature megakaryocytes to the sinusoid, where they shed platelets.

The TPO-independent path (Avecilla et al., Nat Med 2004;10:64): SDF-1 localises, FGF-4 supports; both need an intact niche.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models.feedback.effects import NONE, Effect
from thrombojax.models.struct import Scalar, quantity

WORST = 3.0
"""Antibody injury without any TPO signal, x that at a healthy one (parameter set 2)."""


class Parameters(NamedTuple):
    niche_localisation: A[
        Array, quantity("1/day", "localisation of mature megakaryocytes to a vessel", low=0.2, high=2)
    ]
    megakaryocyte_death: A[Array, quantity("1/day", "death outside the niche in health", low=0.1, high=1.5)]
    megakaryocyte_death_no_tpo: A[
        Array, quantity("1", "death outside the niche without TPO, x healthy", low=1.5, high=6)
    ]
    release_rate: A[Array, quantity("1/day", "shedding at the sinusoid", low=0.5, high=2)]
    antibody_injury: A[Array, quantity(
        "1/day", "loss of mature megakaryocytes by antibody at a healthy TPO signal, which protects them", low=0, high=10
    )]  # fmt: skip
    niche_integrity: A[Array, quantity("1", "VE-cadherin niche, x healthy", low=0, high=1.5)]
    motility: A[Array, quantity(
        "1", "megakaryocytes' own motility towards SDF-1 (CXCR4), x healthy", "healthy", low=0, high=1.5, value=1.0
    )]  # fmt: skip
    sdf1: A[Array, quantity("1", "SDF-1, x healthy", low=0, high=5)]
    fgf4: A[Array, quantity("1", "FGF-4, x healthy", low=0, high=3)]
    platelets_per_megakaryocyte: A[Array, quantity("1", "platelets shed per mass, x healthy", low=0.05, high=2)]


class State(NamedTuple):
    mature: A[Array, quantity("1", "mature megakaryocytes not yet at a vessel, mass, x healthy")]
    niche: A[Array, quantity("1", "megakaryocytes at the sinusoid, mass, x healthy")]


def _integrity(effect: Effect, p: Parameters) -> Scalar:
    return p.niche_integrity * (1.0 - effect.niche_lost)


def support(effect: Effect, p: Parameters) -> Scalar:
    """VCAM-1/VLA-4 support of progenitors in the niche, x healthy."""
    return _integrity(effect, p) * (p.fgf4 + effect.fgf4)


def chemotaxis(effect: Effect, p: Parameters) -> Scalar:
    """Draw of mature megakaryocytes to the vessel, x healthy."""
    return _integrity(effect, p) * p.motility * (p.sdf1 + effect.sdf1)


def _healthy_exit(p: Parameters) -> Scalar:
    return p.niche_localisation + p.megakaryocyte_death


def death(mk_signal: Scalar, p: Parameters) -> Scalar:
    """Death outside the niche per day; the TPO signal protects, also from antibodies (half of their worst at 1 / sqrt 2)."""
    own = (
        p.megakaryocyte_death * p.megakaryocyte_death_no_tpo / (1.0 + (p.megakaryocyte_death_no_tpo - 1.0) * mk_signal)
    )
    return own + p.antibody_injury * WORST / (1.0 + (WORST - 1.0) * mk_signal**2)


def fastest(p: Parameters) -> Scalar:
    """Bound of the rate at which mature megakaryocytes leave, per day, with what chemokines are given besides (x 4)."""
    drawn = p.niche_localisation * (chemotaxis(NONE, p) + 4.0)
    return drawn + p.megakaryocyte_death * p.megakaryocyte_death_no_tpo + WORST * p.antibody_injury


def rhs(y: State, maturing: Scalar, mk_signal: Scalar, effect: Effect, p: Parameters) -> State:
    drawn = chemotaxis(effect, p)
    leave = p.niche_localisation * drawn + death(mk_signal, p)
    return State(_healthy_exit(p) * maturing - leave * y.mature, p.release_rate * (drawn * y.mature - y.niche))


def steady(released: Scalar, mk_signal: Scalar, p: Parameters) -> tuple[State, Scalar]:
    """Niche that releases `released` (x healthy mass) and the maturing mass it takes."""
    drawn = chemotaxis(NONE, p)
    mature = released / drawn
    leave = p.niche_localisation * drawn + death(mk_signal, p)
    return State(mature, released), leave * mature / _healthy_exit(p)


def mass(y: State, cytoplasm: tuple[Scalar, Scalar], maturation_rate: Scalar, p: Parameters) -> Scalar:
    """All megakaryocyte mass, x healthy: every stage weighted by its healthy residence time."""
    at_vessel = p.niche_localisation / (_healthy_exit(p) * p.release_rate)
    weighted = (cytoplasm[0] + cytoplasm[1]) / maturation_rate + y.mature / _healthy_exit(p) + y.niche * at_vessel
    return weighted / (2.0 / maturation_rate + 1.0 / _healthy_exit(p) + at_vessel)
