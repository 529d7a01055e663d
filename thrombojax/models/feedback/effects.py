"""The seam between drugs and the feedback: what a drug sees, and what it may do."""

from typing import NamedTuple

from thrombojax.models.struct import Scalar


class Surroundings(NamedTuple):
    """What a drug sees of the patient.

    mpl_sites: c-Mpl sites on platelets and megakaryocytes, x healthy; reference_count: 1e9/L; mpl_affinity: x healthy TPO;
    weight: kg.
    """

    mpl_sites: Scalar
    reference_count: Scalar
    mpl_affinity: Scalar
    weight: Scalar


class Effect(NamedTuple):
    """What a drug does; the effects of several drugs add up.

    ligand: occupancy term beside TPO at the ligand site of c-Mpl (concentration / its half-maximal concentration);
    tpo_equivalents: competition for internalisation, x healthy TPO; agonist: transmembrane drive that adds to the signal;
    kill: /day of progenitors; cfu_block: /day (hydroxyurea); maturation_block, release_block: fractions.
    """

    ligand: Scalar = 0.0
    tpo_equivalents: Scalar = 0.0
    agonist: Scalar = 0.0
    kill: Scalar = 0.0
    cfu_block: Scalar = 0.0
    maturation_block: Scalar = 0.0
    release_block: Scalar = 0.0


NONE = Effect()


def combine(effects: list[Effect]) -> Effect:
    """The sum, leaving out terms that are constant zero so that no kernel carries them."""
    return Effect(*(_total(terms) for terms in zip(NONE, *effects, strict=True)))


def _total(terms: tuple[Scalar, ...]) -> Scalar:
    active = [term for term in terms if not (isinstance(term, float) and term == 0.0)]
    return sum(active[1:], active[0]) if active else 0.0
