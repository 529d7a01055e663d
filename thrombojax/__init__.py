"""thrombojax: parameter sweeps of the thrombopoietin-platelet feedback, on CPU and GPU, with dosing and gradients."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that the command line can report a wrong study without starting JAX.
_WHERE = {
    "cohort": "thrombojax.patients.population",
    "Patients": "thrombojax.patients.population",
    "regimen": "thrombojax.dosing",
    "dose": "thrombojax.dosing",
    "Regimen": "thrombojax.dosing",
    "Treatment": "thrombojax.dosing.treatment",
    "titration": "thrombojax.dosing.titration",
    "rescue": "thrombojax.dosing.titration",
    "simulate": "thrombojax.simulation",
    "Result": "thrombojax.simulation",
    "Endpoint": "thrombojax.endpoints",
    "model": "thrombojax.api",
    "run": "thrombojax.api",
    "check": "thrombojax.api",
    "info": "thrombojax.report.listing",
    "open": "thrombojax.store",
    "verify": "thrombojax.store",
    "export": "thrombojax.store",
    "InputError": "thrombojax.errors",
    "RunError": "thrombojax.errors",
}

__all__ = sorted([*_WHERE, "__version__", "fit", "optimise", "populations", "sensitivity"])


def __getattr__(name: str) -> Any:
    if name in ("fit", "optimise", "populations", "sensitivity"):
        return importlib.import_module(f"thrombojax.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'thrombojax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
