"""Drugs, one module and one .toml of the same name each; `names()` finds them, so a new drug touches no other file."""

import importlib
import pkgutil

from thrombojax.drugs.protocol import Drug
from thrombojax.errors import InputError, unknown


def names() -> tuple[str, ...]:
    """Names of all drugs that the feedback model can be given."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "protocol"))


def load(name: str) -> Drug:
    """The drug of that name; an unknown one is an error that names the nearest."""
    if name not in names():
        raise InputError(unknown("drug", "drug", name, names()))
    drug: Drug = importlib.import_module(f"thrombojax.drugs.{name}").DRUG
    return drug
