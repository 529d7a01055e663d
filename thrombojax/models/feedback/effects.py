"""The seam between drugs and the feedback: what a drug sees, and what it may do."""

from typing import NamedTuple

from thrombojax.models.feedback.body import Body
from thrombojax.models.struct import Scalar


class Surroundings(NamedTuple):
    """What a drug sees of the patient.

    mpl_sites: c-Mpl sites on platelets and megakaryocytes, x healthy; reference_count: 1e9/L; mpl_affinity: x healthy TPO.
    """

    mpl_sites: Scalar
    reference_count: Scalar
    mpl_affinity: Scalar
    body: Body


class Effect(NamedTuple):
    """What a drug does. The effects of several drugs add up; what is a share of something lost (SHARES) leaves the rest to the
    next.

    ligand: occupancy term beside TPO at the ligand site of c-Mpl (concentration / its half-maximal concentration);
    tpo_equivalents: competition for internalisation, x healthy TPO; agonist: transmembrane drive that adds to the signal;
    tpo_input: TPO given, x healthy per day; il6: beside the patient's own, 1 = full effect; kill: /day of progenitors;
    cfu_block: /day (hydroxyurea); maturation_block, release_block: shares; pf4, tgfb: given, x healthy; pf4_removed: share;
    sdf1, fgf4: given, x healthy; niche_lost: share; random_loss: of platelets, /day; spleen_removed: share; unresponsive: share
    of their answer to TPO signals that progenitors and megakaryocytes have lost.
    """

    ligand: Scalar = 0.0
    tpo_equivalents: Scalar = 0.0
    agonist: Scalar = 0.0
    tpo_input: Scalar = 0.0
    il6: Scalar = 0.0
    kill: Scalar = 0.0
    cfu_block: Scalar = 0.0
    maturation_block: Scalar = 0.0
    release_block: Scalar = 0.0
    pf4: Scalar = 0.0
    pf4_removed: Scalar = 0.0
    tgfb: Scalar = 0.0
    sdf1: Scalar = 0.0
    fgf4: Scalar = 0.0
    niche_lost: Scalar = 0.0
    random_loss: Scalar = 0.0
    spleen_removed: Scalar = 0.0
    unresponsive: Scalar = 0.0


NONE = Effect()
SHARES = frozenset({"maturation_block", "release_block", "pf4_removed", "niche_lost", "spleen_removed", "unresponsive"})


def combine(effects: list[Effect]) -> Effect:
    """All of them together, leaving out terms that are constant zero so that no kernel carries them."""
    return Effect(
        *(_together(name, terms) for name, terms in zip(Effect._fields, zip(NONE, *effects, strict=True), strict=True))
    )


def _together(name: str, terms: tuple[Scalar, ...]) -> Scalar:
    active = [term for term in terms if not (isinstance(term, float) and term == 0.0)]
    if not active:
        return 0.0
    found = active[0]
    for term in active[1:]:
        found = found + (1.0 - found) * term if name in SHARES else found + term
    return found
