"""The feedback loop without drugs: its structs, and how the mechanisms are wired together."""

from typing import Annotated as A
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models.feedback import hazards, megakaryocytes, niche, platelets, receptor, regulators, thrombopoietin
from thrombojax.models.feedback.body import Body
from thrombojax.models.feedback.effects import NONE, Effect, Surroundings
from thrombojax.models.struct import Scalar, quantity


class Parameters(NamedTuple):
    body: Body
    receptor: receptor.Parameters
    megakaryocytes: megakaryocytes.Parameters
    niche: niche.Parameters
    platelets: platelets.Parameters
    thrombopoietin: thrombopoietin.Parameters
    regulators: regulators.Parameters
    hazards: hazards.Parameters


class State(NamedTuple):
    megakaryocytes: megakaryocytes.State
    niche: niche.State
    platelets: platelets.State
    thrombopoietin: thrombopoietin.State
    receptor: receptor.State
    regulators: regulators.State


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    tpo: A[Array, quantity("1", "plasma TPO, x healthy mean")]
    megakaryocyte_mass: A[Array, quantity("1", "megakaryocyte mass, x healthy")]
    ploidy: A[Array, quantity("1", "mean DNA content of maturing megakaryocytes, N")]
    production: A[Array, quantity("1", "platelet production, x healthy")]
    immature_fraction: A[Array, quantity("1", "share of platelets in the youngest eighth")]
    mean_age: A[Array, quantity("day", "mean platelet age")]
    survival: A[Array, quantity("day", "mean platelet survival: all platelets / those that leave")]
    splenic_share: A[Array, quantity("1", "share of all platelets that is in the spleen")]
    bleeding_hazard: A[Array, quantity("1/day", "hazard of bleeding of grade 2 or more")]
    thrombosis_hazard: A[Array, quantity("1/day", "hazard of thrombosis")]


class View(NamedTuple):
    """Quantities that several mechanisms and drugs need, computed once per evaluation."""

    reference: platelets.Reference
    pool: Scalar
    mass: Scalar


def view(y: Any, p: Any) -> View:
    pool = platelets.pool(y.platelets)
    mass = niche.mass(y.niche, y.megakaryocytes.cytoplasm, p.megakaryocytes.maturation_rate, p.niche)
    return View(platelets.reference(p.platelets), pool, mass)


def surroundings(y: Any, p: Any) -> Surroundings:
    v = view(y, p)
    sites = thrombopoietin.sites(v.pool / v.reference.pool, v.mass, p.receptor, p.thrombopoietin)
    return Surroundings(sites, p.platelets.reference_count, p.receptor.mpl_affinity, p.body)


def _felt(signal: Scalar, unresponsive: Scalar) -> Scalar:
    """The signal as cells feel it that answer to a part of it alone; that of health (1) where they answer to none."""
    if isinstance(unresponsive, float) and unresponsive == 0.0:
        return signal
    return signal + unresponsive * (1.0 - signal)


def drive(signal: receptor.Signal, inhibitors: regulators.State, effect: Effect, p: Any) -> megakaryocytes.Drive:
    return megakaryocytes.drive(
        _felt(signal.progenitor, effect.unresponsive),
        _felt(signal.megakaryocyte, effect.unresponsive),
        niche.support(effect, p.niche),
        regulators.on_cfu(inhibitors, p.regulators),
        regulators.on_endomitosis(inhibitors, p.regulators),
        effect.kill * regulators.on_kill(inhibitors, p.regulators),
        p.megakaryocytes,
    )


def rhs(y: Any, p: Any, effect: Effect) -> State:
    """Derivatives per day of the core states, given what the drugs do."""
    v = view(y, p)
    ref = v.reference
    lost = platelets.loss(v.pool, effect, p.platelets)
    tpo, sites = y.thrombopoietin.tpo, y.receptor.platelet_mpl
    unbound = thrombopoietin.free(tpo, p.thrombopoietin)
    signal = receptor.signal(unbound, effect.ligand, effect.agonist, p.receptor)
    produced = p.niche.platelets_per_megakaryocyte * (1.0 - effect.release_block) * y.niche.niche
    left = platelets.turnover(y.platelets, v.pool, lost, ref)
    leaving = platelets.leaving(y.platelets, v.pool, lost, ref)
    cleared = thrombopoietin.clearance(tpo, effect.tpo_equivalents, sites, v.mass, p.receptor, p.thrombopoietin)
    stroma = regulators.on_stroma(y.regulators, p.regulators)
    aged = y.platelets.age[-1] / ref.oldest
    return State(
        megakaryocytes=megakaryocytes.rhs(
            y.megakaryocytes, drive(signal, y.regulators, effect, p), effect, p.megakaryocytes
        ),
        niche=niche.rhs(
            y.niche, y.megakaryocytes.cytoplasm[1], _felt(signal.megakaryocyte, effect.unresponsive), effect, p.niche
        ),
        platelets=platelets.rhs(y.platelets, ref.production * produced, lost, ref),
        thrombopoietin=thrombopoietin.rhs(y.thrombopoietin, cleared, stroma, aged, effect, p.thrombopoietin),
        receptor=receptor.rhs(
            y.receptor, unbound + effect.tpo_equivalents, produced, leaving, ref.turnover, p.receptor
        ),
        regulators=regulators.rhs(y.regulators, left / ref.production, v.mass, effect, p.regulators),
    )


def observe(y: Any, p: Any, effect: Effect) -> Obs:
    v = view(y, p)
    count = platelets.blood(v.pool, effect, p.platelets)
    lost = platelets.loss(v.pool, effect, p.platelets)
    return Obs(
        platelets=count,
        tpo=y.thrombopoietin.tpo,
        megakaryocyte_mass=v.mass,
        ploidy=megakaryocytes.mean_ploidy(y.megakaryocytes, p.megakaryocytes),
        production=p.niche.platelets_per_megakaryocyte * (1.0 - effect.release_block) * y.niche.niche,
        immature_fraction=y.platelets.age[0] / v.pool,
        mean_age=platelets.mean_age(y.platelets, v.pool, lost, v.reference),
        survival=v.pool / platelets.turnover(y.platelets, v.pool, lost, v.reference),
        splenic_share=1.0 - count / v.pool,
        bleeding_hazard=hazards.bleeding(count, p.hazards),
        thrombosis_hazard=hazards.thrombosis(count, p.body.age, p.hazards),
    )


def max_rate(p: Any) -> Scalar:
    """Bound of the fastest rate per day: endomitosis at full drive, sites lost with platelets and internalised, or TPO clearance.

    The sinks are allowed to grow 6.5-fold: 10 ug/kg of romiplostim intravenously reaches 5.9-fold (8.8 per day); a marrow that
    amplifies more lets them grow by more. Sites are internalised at their fullest where ligand saturates them.
    """
    ladder = p.megakaryocytes.endomitosis_rate * (
        p.megakaryocytes.endomitosis_max * (1.0 + p.regulators.tgfb_inhibition) * (1.0 - p.megakaryocytes.exit_8n)
        + p.megakaryocytes.exit_8n
    )
    ref = platelets.reference(p.platelets)
    leave = ref.ageing + platelets.loss(0.0, NONE, p.platelets)
    sites = leave + p.receptor.mpl_internalisation * receptor.half_saturation(p.receptor)
    steep = jnp.maximum(p.megakaryocytes.cfu_gain_max / 7.1, 1.0)  # of two stages, x the marrow of parameter set 1
    sink = p.thrombopoietin.tpo_turnover * 6.5 * steep**2
    return jnp.maximum(jnp.maximum(ladder, sites), jnp.maximum(sink, niche.fastest(p.niche)))
