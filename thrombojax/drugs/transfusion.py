"""Platelet transfusion: the amount is the rise of the blood count (1e9/L) in a patient with a normal spleen."""

from collections.abc import Callable, Mapping
from typing import Any

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback import platelets
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import Scalar

NORMAL_SPLEEN = 1.5
"""Whole exchangeable pool per platelet in blood (Aster 1966: one third in the spleen)."""


def _age_fraction(p: Any) -> Scalar:
    return NORMAL_SPLEEN / platelets.AGES


def _receptors(p: Any) -> Scalar:
    """Transfused platelets bring c-Mpl: 1 is what the healthy pool carries."""
    return NORMAL_SPLEEN / platelets.reference(p.platelets).pool


_INTO: Mapping[str, Callable[[Any], Scalar]] = {
    **{f"platelets.age_{j + 1}": _age_fraction for j in range(platelets.AGES)},
    "receptor.platelet_mpl": _receptors,
}

DRUG = Drug(
    name="transfusion",
    title="Platelet transfusion",
    source="model.md section 5; spleen share: Aster, J Clin Invest 1966;45:645",
    entries={("transfusion", "iv"): Entry("1/nL", _INTO)},
)
