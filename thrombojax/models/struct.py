"""Named structs: NamedTuples of scalars or patient-arrays, nested as a model needs, whose fields carry their metadata.

A field is declared once, where it is defined:

    class Parameters(NamedTuple):
        lifespan: Annotated[Array, quantity("day", "maximal platelet lifespan", low=8, high=12)]

and everything else (names in files and tables, `thrombojax info`, ranges) is read from there. A leaf's name is its path:
`platelets.lifespan`; a chain is a tuple, counted from one: `platelets.age_1`.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_type_hints

import jax
import numpy as np
from jaxtyping import Array

from thrombojax.errors import InputError, unknown

Struct = TypeVar("Struct")
Scalar = Array | np.ndarray | float


@dataclass(frozen=True)
class Quantity:
    """What a field means: unit, meaning, source, plausible range, default, between-patient CV (log-normal) and flags."""

    unit: str
    meaning: str
    source: str = ""
    low: float | None = None
    high: float | None = None
    value: float | None = None
    cv: float | None = None
    flags: tuple[str, ...] = ()


quantity = Quantity
"""Metadata for one field, written inside `Annotated[Array, quantity(...)]`."""


class Named(NamedTuple):
    name: str
    quantity: Quantity


@functools.lru_cache(maxsize=256)
def fields(struct: type) -> tuple[Named, ...]:
    """All leaves of a struct type in flattening order, with their metadata. Chains are `Annotated[tuple[...], quantity]`."""
    found: list[Named] = []
    for field, hint in get_type_hints(struct, include_extras=True).items():
        found.extend(_leaves_of(field, hint))
    return tuple(found)


def _leaves_of(prefix: str, hint: Any) -> Iterable[Named]:
    meta = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Quantity)), None)
    inner = getattr(hint, "__origin__", hint) if meta is not None else hint
    if hasattr(inner, "_fields"):
        for leaf in fields(inner):
            yield Named(f"{prefix}.{leaf.name}", leaf.quantity)
        return
    if meta is None:
        raise TypeError(f"field {prefix!r} of a struct has no quantity()")
    chain = getattr(inner, "__args__", ())
    if getattr(inner, "__origin__", inner) is tuple:
        for i in range(len(chain)):
            yield Named(f"{prefix}_{i + 1}", meta)
    else:
        yield Named(prefix, meta)


@functools.lru_cache(maxsize=256)
def names(struct: type) -> tuple[str, ...]:
    """Names of all leaves, in the order of `jax.tree_util.tree_leaves`."""
    return tuple(leaf.name for leaf in fields(struct))


def build(struct: type[Struct], value: Callable[[str, Quantity], Any]) -> Struct:
    """A struct with `value(name, quantity)` in every leaf."""
    return unflatten(struct, [value(leaf.name, leaf.quantity) for leaf in fields(struct)])


def unflatten(struct: type[Struct], leaves: Iterable[Any]) -> Struct:
    """A struct from its leaves in flattening order."""
    return jax.tree_util.tree_unflatten(_treedef(struct), list(leaves))


@functools.lru_cache(maxsize=256)
def _treedef(struct: type) -> Any:
    return jax.tree_util.tree_structure(_skeleton(struct))


def _skeleton(struct: type) -> Any:
    hints = get_type_hints(struct)
    values = []
    for hint in hints.values():
        if hasattr(hint, "_fields"):
            values.append(_skeleton(hint))
        elif getattr(hint, "__origin__", None) is tuple:
            values.append((0.0,) * len(hint.__args__))
        else:
            values.append(0.0)
    return struct(*values)


def as_dict(struct: Any) -> dict[str, Any]:
    """Leaves by name."""
    return dict(zip(names(type(struct)), jax.tree_util.tree_leaves(struct), strict=True))


def replace(struct: Struct, changes: Mapping[str, Any]) -> Struct:
    """The struct with the named leaves replaced; an unknown name is an error that names the nearest."""
    known = names(type(struct))
    resolved = {resolve(name, known): value for name, value in changes.items()}
    leaves = jax.tree_util.tree_leaves(struct)
    return unflatten(type(struct), [resolved.get(name, leaf) for name, leaf in zip(known, leaves, strict=True)])


def resolve(name: str, known: Iterable[str], where: str = "", kind: str = "parameter") -> str:
    """The full name for a full name or any unique dotted suffix of one (`lifespan` for `platelets.lifespan`)."""
    known = tuple(known)
    if name in known:
        return name
    found = [k for k in known if k.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(unknown(where, f"{kind} (several end in it)", name, found))
    raise InputError(unknown(where, kind, name, known))
