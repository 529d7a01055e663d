"""c-Mpl: ligands compete for the TPO site, bound dimers signal through JAK2, platelets carry sites that are not recycled."""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models.struct import Scalar, quantity


class Parameters(NamedTuple):
    mpl_affinity: A[Array, quantity("1", "TPO at half occupancy, x healthy", low=15, high=130)]
    mpl_constitutive: A[Array, quantity("1", "activity without ligand", low=0, high=0.2)]
    mpl_constitutive_reference: A[Array, quantity("1", "activity without ligand in health", low=0, high=0.01)]
    jak2_gain: A[Array, quantity("1", "JAK2 signal per active receptor, x healthy", low=0.5, high=5)]
    mpl_progenitor: A[Array, quantity("1", "c-Mpl on progenitors, x healthy", low=0, high=1.5)]
    mpl_megakaryocyte: A[Array, quantity("1", "c-Mpl on megakaryocytes, x healthy", low=0, high=1.5)]
    mpl_platelet: A[Array, quantity("1", "c-Mpl on new platelets, x healthy", low=0, high=1.5)]
    mpl_internalisation: A[
        Array, quantity("1/day", "internalisation of platelet c-Mpl at healthy TPO", low=0.1, high=0.5)
    ]
    ligand_block: A[
        Array, quantity("1", "share of the ligand site's signal that interferon gamma takes away", low=0, high=0.99)
    ]
    transmembrane_response: A[Array, quantity("1", "response to transmembrane agonists, x typical", low=0, high=3)]


class State(NamedTuple):
    platelet_mpl: A[Array, quantity("1", "free c-Mpl sites on all platelets, x healthy")]


class Signal(NamedTuple):
    progenitor: Scalar
    megakaryocyte: Scalar


def signal(tpo: Scalar, ligand: Scalar, agonist: Scalar, p: Parameters) -> Signal:
    """JAK2/STAT signal, 1 in health. Ligands at the TPO site compete; transmembrane agonists add, and evade a block of that site.

    Interferon gamma binds TPO and keeps it from the low-affinity site: Alvarado 2019, Blood 133:2043. Internalisation is left as
    it is, for the complex still binds.
    """
    bound = (1.0 - p.ligand_block) * (tpo / p.mpl_affinity + ligand)
    occupancy = bound / (1.0 + bound)
    healthy = p.mpl_constitutive_reference + 1.0 / (1.0 + p.mpl_affinity)
    active = p.jak2_gain * ((p.mpl_constitutive + occupancy) / healthy + agonist * p.transmembrane_response)
    return Signal(p.mpl_progenitor * active, p.mpl_megakaryocyte * active)


def free_fraction(ligands: Scalar, p: Parameters) -> Scalar:
    """Receptor availability relative to health, at `ligands` TPO and equivalents (x healthy TPO)."""
    return (1.0 + 1.0 / p.mpl_affinity) / (1.0 + ligands / p.mpl_affinity)


def half_saturation(p: Parameters) -> Scalar:
    return 1.0 + p.mpl_affinity


def rhs(
    y: State, ligands: Scalar, production: Scalar, loss_per_platelet: Scalar, healthy_turnover: Scalar, p: Parameters
) -> State:
    """Sites come with new platelets, leave with lost ones, and are internalised for good. production: x healthy."""
    arrive = p.mpl_platelet * (healthy_turnover + p.mpl_internalisation) * production
    internalised = p.mpl_internalisation * ligands * free_fraction(ligands, p)
    return State(arrive - (loss_per_platelet + internalised) * y.platelet_mpl)


def steady(
    ligands: Scalar, production: Scalar, loss_per_platelet: Scalar, healthy_turnover: Scalar, p: Parameters
) -> State:
    arrive = p.mpl_platelet * (healthy_turnover + p.mpl_internalisation) * production
    return State(arrive / (loss_per_platelet + p.mpl_internalisation * ligands * free_fraction(ligands, p)))
