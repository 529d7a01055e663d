"""A graft of stem cells: CD34+ cells bring part of a healthy stem pool and of its CFU-Mk.

A graft fraction of 0.1 x healthy at 3.47e6 CD34+ cells/kg, the mean of 53 autologous transplantations (Zhu 2025, asct_plt), is
the recipe of parameter set 1 (0.03 to 0.2 tried); that it is proportional to the cells is assumed.
"""

from typing import Any

from thrombojax.drugs.protocol import Drug
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import Scalar

ZHU = "recipe of parameter set 1; CD34+ cells of Zhu 2025 (asct_plt)"
PER_CELLS = 0.1 / 3.47
"""Share of a healthy pool that 1e6 CD34+ cells/kg bring."""


def _brought(p: Any) -> Scalar:
    return PER_CELLS / p.body.weight


DRUG = Drug(
    name="graft",
    title="Graft of CD34+ stem cells",
    source=ZHU,
    entries={
        ("graft", "iv"): Entry(
            "Mcells", {"megakaryocytes.stem": _brought, **{f"megakaryocytes.cfu_{j}": _brought for j in (1, 2, 3)}}
        )
    },
)
