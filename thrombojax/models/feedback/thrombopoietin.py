"""Thrombopoietin: constitutive synthesis in liver, kidney and stroma; its level is set by the c-Mpl sink.

Aged platelets stimulate hepatic mRNA (Grozovsky et al., Nat Med 2015;21:47). Sinks: platelet and megakaryocyte c-Mpl, and a
small unspecific one.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models.feedback import receptor
from thrombojax.models.feedback.effects import Effect
from thrombojax.models.struct import Scalar, quantity


class Parameters(NamedTuple):
    tpo_turnover: A[Array, quantity("1/day", "TPO turnover in health", low=1, high=3.5)]
    tpo_volume: A[Array, quantity("L", "distribution volume of TPO", low=5, high=30)]
    tpo_nonspecific: A[Array, quantity("1", "share of clearance without c-Mpl in health", low=0.005, high=0.06)]
    tpo_platelet_share: A[Array, quantity("1", "share of clearance by platelets in health", low=0.4, high=0.7)]
    tpo_dose: A[Array, quantity("1", "functional TPO gene dose, x healthy", low=0, high=3)]
    liver_share: A[Array, quantity("1", "share of synthesis in the liver", low=0.5, high=1)]
    kidney_share: A[Array, quantity("1", "share of synthesis in the kidney", low=0, high=0.3)]
    stroma_share: A[Array, quantity("1", "share of synthesis in marrow stroma", low=0, high=0.3)]
    liver_function: A[Array, quantity("1", "hepatic synthesis, x healthy", low=0.1, high=1.5)]
    il6: A[Array, quantity("1", "interleukin-6, 1 = full effect", low=0, high=1)]
    il6_gain: A[Array, quantity("1", "rise of hepatic synthesis at full IL-6", low=0, high=1)]
    ashwell_morell: A[Array, quantity("1", "share of hepatic mRNA driven by aged platelets", low=0, high=0.6)]
    ashwell_morell_saturation: A[Array, quantity("1", "aged platelets at half effect, x healthy", low=0.2, high=5)]
    mrna_rate: A[Array, quantity("1/day", "turnover of hepatic TPO mRNA", low=0.3, high=3)]
    neutralised: A[Array, quantity(
        "1", "share of TPO that neutralising antibodies hold, which leaves at the turnover of health",
        "antibodies against PEG-rHuMGDF that bind TPO: Li 2001, Blood 98:3241; the share and its turnover are assumed",
        low=0, high=1, value=0.0, flags=("ASM", "REC"),
    )]  # fmt: skip


class State(NamedTuple):
    tpo: A[Array, quantity("1", "plasma TPO, x healthy mean")]
    hepatic_mrna: A[Array, quantity("1", "hepatic TPO mRNA, x healthy")]


def megakaryocyte_share(p: Parameters) -> Scalar:
    return 1.0 - p.tpo_nonspecific - p.tpo_platelet_share


def sites(pool_ratio: Scalar, megakaryocyte_mass: Scalar, r: receptor.Parameters, p: Parameters) -> Scalar:
    """All c-Mpl sites that a competing drug meets, x healthy."""
    share = p.tpo_platelet_share / (1.0 - p.tpo_nonspecific)
    return share * pool_ratio * r.mpl_platelet + (1.0 - share) * megakaryocyte_mass * r.mpl_megakaryocyte


def clearance(
    tpo: Scalar,
    equivalents: Scalar,
    platelet_mpl: Scalar,
    megakaryocyte_mass: Scalar,
    r: receptor.Parameters,
    p: Parameters,
) -> Scalar:
    """TPO removed, relative to health; `equivalents` of a drug compete for both c-Mpl sinks."""
    unbound = free(tpo, p)
    ligands = unbound + equivalents
    by_platelets = p.tpo_platelet_share * unbound * platelet_mpl * receptor.free_fraction(ligands, r)
    saturation = receptor.half_saturation(r) / (r.mpl_affinity + ligands)
    by_marrow = megakaryocyte_share(p) * r.mpl_megakaryocyte * megakaryocyte_mass * unbound * saturation
    return (p.tpo_nonspecific + p.neutralised) * tpo + by_platelets + by_marrow


def free(tpo: Scalar, p: Parameters) -> Scalar:
    """TPO that no antibody holds: what signals and what c-Mpl clears."""
    return tpo * (1.0 - p.neutralised)


def synthesis_per_dose(hepatic_mrna: Scalar, stroma: Scalar, effect: Effect, p: Parameters) -> Scalar:
    """Synthesis per functional gene dose; `stroma` is the restraint of the stromal share."""
    liver = p.liver_share * p.liver_function * hepatic_mrna * (1.0 + p.il6_gain * (p.il6 + effect.il6))
    return liver + p.kidney_share + p.stroma_share * stroma


def steady_mrna(aged: Scalar, p: Parameters) -> Scalar:
    """Hepatic mRNA at steady state; aged: oldest platelets, x healthy."""
    drive = (1.0 + p.ashwell_morell_saturation) * aged / (p.ashwell_morell_saturation + aged)
    return 1.0 - p.ashwell_morell + p.ashwell_morell * drive


def rhs(y: State, cleared: Scalar, stroma: Scalar, aged: Scalar, effect: Effect, p: Parameters) -> State:
    made = p.tpo_dose * synthesis_per_dose(y.hepatic_mrna, stroma, effect, p)
    return State(
        p.tpo_turnover * (made - cleared) + effect.tpo_input, p.mrna_rate * (steady_mrna(aged, p) - y.hepatic_mrna)
    )
