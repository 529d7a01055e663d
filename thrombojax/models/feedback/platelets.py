"""Platelets: ageing, fixed vascular consumption, random and immune loss, and the splenic pool.

Hanson & Slichter, Blood 1985;66:1105: a maximal lifespan of 10.5 days and a fixed loss of 7.1e9/L/day for the vessel wall.
"""

from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models.feedback.effects import Effect
from thrombojax.models.struct import Scalar, quantity

Chain8 = tuple[Array, Array, Array, Array, Array, Array, Array, Array]
AGES = 8
REMNANT = 0.02
"""Pooled platelets per platelet in blood without a spleen (Aster 1966: recovery 97.8 %)."""


class Parameters(NamedTuple):
    reference_count: A[Array, quantity("1/nL", "healthy blood count that normalises the model", low=200, high=300)]
    lifespan: A[Array, quantity("day", "maximal platelet lifespan", low=8, high=12)]
    vascular_consumption: A[Array, quantity("1/nL/day", "fixed consumption by the vessel wall", low=3, high=12)]
    vascular_smoothing: A[Array, quantity("1/nL", "pool at which vascular consumption halves", low=10, high=40)]
    random_loss: A[Array, quantity("1/day", "age-independent loss", low=0, high=0.2)]
    immune_clearance: A[Array, quantity("1/day", "antibody-mediated loss at low counts", low=0, high=15)]
    immune_saturation: A[Array, quantity("1/nL", "count at which immune clearance halves", low=30, high=100)]
    spleen_ratio: A[Array, quantity("1", "platelets in the spleen per platelet in blood", low=0.02, high=8)]
    splenic_destruction: A[Array, quantity(
        "1", "share of immune clearance that the spleen does", "assumption; remission without it in 62-88 %: Louwes 1999",
        low=0, high=0.95, value=0.6, flags=("ASM",),
    )]  # fmt: skip


class State(NamedTuple):
    age: A[Chain8, quantity("1/nL", "platelets by age, blood and spleen, per litre of blood")]


class Reference(NamedTuple):
    """The healthy steady state that scales everything: pool 1e9/L, rates per day, production 1e9/L/day."""

    ageing: Scalar
    pool: Scalar
    production: Scalar
    oldest: Scalar
    turnover: Scalar


def pool(y: State) -> Scalar:
    """All exchangeable platelets, 1e9/L of blood."""
    return sum(y.age[1:], y.age[0])


def spleen_ratio(effect: Effect, p: Parameters) -> Scalar:
    """Platelets in the spleen, or what is left of it, per platelet in blood."""
    return p.spleen_ratio + effect.spleen_removed * (REMNANT - p.spleen_ratio)


def blood(whole_pool: Scalar, effect: Effect, p: Parameters) -> Scalar:
    """Blood count, 1e9/L."""
    return whole_pool / (1.0 + spleen_ratio(effect, p))


def reference(p: Parameters) -> Reference:
    """Healthy reference: from the reference count and the patient's lifespan and vascular constants."""
    ageing = AGES / p.lifespan
    whole = 1.5 * p.reference_count
    loss = p.vascular_consumption / (whole + p.vascular_smoothing)
    survival = ageing / (ageing + loss)
    eighth = survival**AGES
    production = loss * whole / (1.0 - eighth)
    return Reference(ageing, whole, production, production / ageing * eighth, production / whole)


def loss(whole_pool: Scalar, effect: Effect, p: Parameters) -> Scalar:
    """Age-independent loss per platelet, per day.

    A step's stages may look below zero where clearance is fast and a transfusion has just been given: there it is the loss at
    zero, and not the pole at minus the smoothing.
    """
    whole_pool = jnp.maximum(whole_pool, 0.0)
    clearance = p.immune_clearance * (1.0 - effect.spleen_removed * p.splenic_destruction)
    immune = clearance / (1.0 + blood(whole_pool, effect, p) / p.immune_saturation)
    return p.vascular_consumption / (whole_pool + p.vascular_smoothing) + p.random_loss + effect.random_loss + immune


def rhs(y: State, production: Scalar, loss: Scalar, ref: Reference) -> State:
    leave = ref.ageing + loss
    young = (production - leave * y.age[0],)
    older = tuple(ref.ageing * y.age[j - 1] - leave * y.age[j] for j in range(1, AGES))
    return State(young + older)


def turnover(y: State, whole_pool: Scalar, loss: Scalar, ref: Reference) -> Scalar:
    """All platelets leaving, 1e9/L/day."""
    return ref.ageing * y.age[-1] + loss * whole_pool


def leaving(y: State, whole_pool: Scalar, loss: Scalar, ref: Reference) -> Scalar:
    """Share of platelets leaving per day. The oldest are none to all of them, also where a stage looks below zero."""
    return ref.ageing * jnp.clip(y.age[-1] / whole_pool, 0.0, 1.0) + loss


def steady(whole_pool: Scalar, loss: Scalar, ref: Reference) -> tuple[State, Scalar]:
    """Age distribution at a steady pool and the production that holds it (1e9/L/day)."""
    survival = ref.ageing / (ref.ageing + loss)
    production = loss * whole_pool / (1.0 - survival**AGES)
    ages = tuple(production / ref.ageing * survival ** (j + 1) for j in range(AGES))
    return State(ages), production


def mean_age(y: State, whole_pool: Scalar, loss: Scalar, ref: Reference) -> Scalar:
    """Mean platelet age in days (exact at steady state)."""
    weighted = sum((float(j + 1) * y.age[j] for j in range(1, AGES)), y.age[0])
    return weighted / ((ref.ageing + loss) * whole_pool)
