"""Regimens and their sentences."""

from thrombojax.dosing.regimen import Dose, Regimen, dose
from thrombojax.dosing.sentence import regimen
from thrombojax.dosing.substitute import fill, placeholders

__all__ = ["Dose", "Regimen", "dose", "fill", "placeholders", "regimen"]
