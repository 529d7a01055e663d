"""Models: the contract, the flagship, published models. Nothing is imported here, so that names are at hand without JAX."""

DEFAULT_SET = "2"
"""The flagship's parameter set where none is named: the one that misses least of `thrombojax validate` (docs/validation.md)."""
