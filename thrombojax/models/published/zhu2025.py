"""Platelets after autologous stem cell transplantation: what the CD34+ cells of the graft become, and what was left in blood.

Zhu C, Wilms GM, Wilop S, Nogueira Gezer D, Jost E, Bruemmendorf TH, Koschmieder S, Stiehl T. 2025, insufficient common myeloid
progenitors in the CD34+ graft and delayed platelet engraftment; parameters and data of https://github.com/Shelly9018/asct_plt
(commit 99d3040), numbers only. Days, as published; cells per kg, but platelets in 1e9/L.

Day 0 is the transplantation: patients do not start at a steady state, and there is nothing to give them. The dose of CD34+ cells
and its composition are parameters. Defaults are the fit to the mean of 53 patients.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Zhu 2025, github Shelly9018/asct_plt, config/params.yaml, params_avg"
FIXED = f"{SOURCE}; fixed in the fits of single patients"
GRAFT = "Zhu 2025, github Shelly9018/asct_plt, Simulation_cd34_average.py"
MEAN = "Zhu 2025, github Shelly9018/asct_plt, data/data_average.csv: mean of 53 patients on day 0"
PER_KG = 5e9 / 70.0
"""Platelets per kg that are 1e9/L: a blood volume of 5 L in 70 kg."""


class Parameters(NamedTuple):
    hsc_division: A[Array, quantity("1/day", "divisions of stem cells", FIXED, low=0.005, high=0.2, value=0.027)]
    mpp_division: A[Array, quantity("1/day", "of multipotent progenitors", FIXED, low=0.005, high=0.3, value=0.035)]
    cmp_division: A[Array, quantity("1/day", "of common myeloid progenitors", SOURCE, low=0.1, high=2, value=0.808)]
    mep_division: A[
        Array, quantity("1/day", "of megakaryocyte-erythroid progenitors", SOURCE, low=0.1, high=3, value=1.52)
    ]
    blast_maturation: A[Array, quantity("1/day", "of megakaryoblasts", SOURCE, low=0.05, high=2, value=0.16)]
    cell_maturation: A[Array, quantity("1/day", "of megakaryocytes", SOURCE, low=0.05, high=2, value=0.16)]
    hsc_renewal: A[
        Array, quantity("1", "chance that a daughter stays a stem cell", FIXED, low=0.5, high=1, value=0.877)
    ]
    mpp_renewal: A[Array, quantity("1", "likewise of multipotent progenitors", SOURCE, low=0.2, high=1, value=0.854)]
    cmp_renewal: A[Array, quantity("1", "likewise of common myeloid progenitors", SOURCE, low=0.2, high=1, value=0.853)]
    mep_renewal: A[
        Array, quantity("1", "likewise of megakaryocyte-erythroid progenitors", SOURCE, low=0.1, high=1, value=0.688)
    ]
    division_feedback: A[
        Array, quantity("kg", "of a platelet, which slows divisions", FIXED, low=0, high=1e-8, value=1.4e-9)
    ]
    renewal_feedback: A[
        Array, quantity("kg", "of a platelet, which lessens renewal", SOURCE, low=0, high=1e-9, value=5.4e-11)
    ]
    clearance: A[Array, quantity("1/day", "of platelets made by the graft", FIXED, low=0.08, high=1, value=0.19)]
    residual_clearance: A[
        Array, quantity("1/day", "of platelets there at transplantation", SOURCE, low=0.1, high=2, value=0.345)
    ]
    per_megakaryocyte: A[
        Array, quantity("1", "platelets of one megakaryocyte", FIXED, low=100, high=5000, value=1037.0)
    ]
    cd34: A[Array, quantity("1/kg", "CD34+ cells of the graft", GRAFT, low=1e5, high=5e7, value=3.47e6)]
    hsc_fraction: A[Array, quantity("1", "stem cells of CD34+ cells", GRAFT, low=0, high=1, value=0.0408)]
    mpp_fraction: A[Array, quantity("1", "multipotent progenitors of them", GRAFT, low=0, high=1, value=0.0719)]
    cmp_fraction: A[Array, quantity("1", "common myeloid progenitors of them", GRAFT, low=0, high=3, value=0.2839)]
    mep_fraction: A[
        Array, quantity("1", "megakaryocyte-erythroid progenitors of them", GRAFT, low=0, high=2, value=0.1484)
    ]
    platelets_at_start: A[
        Array, quantity("1/nL", "count at transplantation", MEAN, low=0, high=1000, value=196.8107065)
    ]


class State(NamedTuple):
    hsc: A[Array, quantity("1/kg", "stem cells")]
    mpp: A[Array, quantity("1/kg", "multipotent progenitors")]
    cmp: A[Array, quantity("1/kg", "common myeloid progenitors")]
    mep: A[Array, quantity("1/kg", "megakaryocyte-erythroid progenitors")]
    blast: A[Array, quantity("1/kg", "megakaryoblasts")]
    megakaryocyte: A[Array, quantity("1/kg", "megakaryocytes")]
    engrafted: A[Array, quantity("1/nL", "platelets made by the graft")]
    residual: A[Array, quantity("1/nL", "platelets there at transplantation")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    engrafted: A[Array, quantity("1/nL", "platelets made by the graft, by which engraftment is judged")]
    megakaryocytes: A[Array, quantity("1/kg", "megakaryocytes")]


def initial(p: Parameters) -> State:
    """The day of transplantation."""
    none = 0.0 * p.cd34
    return State(
        p.cd34 * p.hsc_fraction,
        p.cd34 * p.mpp_fraction,
        p.cd34 * p.cmp_fraction,
        p.cd34 * p.mep_fraction,
        none,
        none,
        none,
        1.0 * p.platelets_at_start,
    )


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    count = y.engrafted + y.residual
    slowed = 1.0 / (1.0 + p.division_feedback * PER_KG * count)
    lessened = 1.0 / (1.0 + p.renewal_feedback * PER_KG * count)

    def divided(cells: Scalar, division: Scalar, renewal: Scalar) -> tuple[Scalar, Scalar]:
        """Cells that a kind gains by its divisions, and those that become the next kind."""
        often, stay = division * slowed * cells, renewal * lessened
        return (2.0 * stay - 1.0) * often, 2.0 * (1.0 - stay) * often

    hsc, to_mpp = divided(y.hsc, p.hsc_division, p.hsc_renewal)
    mpp, to_cmp = divided(y.mpp, p.mpp_division, p.mpp_renewal)
    cmp, to_mep = divided(y.cmp, p.cmp_division, p.cmp_renewal)
    mep, to_blast = divided(y.mep, p.mep_division, p.mep_renewal)
    matured, shed = p.blast_maturation * y.blast, p.cell_maturation * y.megakaryocyte
    return State(
        hsc,
        mpp + to_mpp,
        cmp + to_cmp,
        mep + to_mep,
        to_blast - matured,
        matured - shed,
        p.per_megakaryocyte / PER_KG * shed - p.clearance * y.engrafted,
        -p.residual_clearance * y.residual,
    )


def observe(y: State, p: Parameters) -> Obs:
    return Obs(y.engrafted + y.residual, y.engrafted, y.megakaryocyte)


def max_rate(p: Parameters) -> Scalar:
    """Divisions, maturation and clearance, one after another, and the loop that closes over them."""
    divisions = p.hsc_division + p.mpp_division + p.cmp_division + p.mep_division
    return divisions + p.blast_maturation + p.cell_maturation + p.clearance + p.residual_clearance


@functools.lru_cache(maxsize=1)
def zhu2025() -> Model:
    """Zhu 2025 model of platelet engraftment."""
    return Model(
        name="zhu2025",
        title="Platelets after autologous stem cell transplantation (Zhu 2025)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=initial,
        rhs=rhs,
        observe=observe,
        entries={},
        max_rate=max_rate,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=2.0,
        cohorts=(Path(__file__).parent / "cohorts" / "zhu2025",),
    )
