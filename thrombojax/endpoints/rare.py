"""Costly values that few patients need at a time."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from thrombojax.models.struct import Scalar


def rarely(needed: Scalar, otherwise: Scalar, compute: Callable[..., Scalar], *args: Any) -> Scalar:
    """`compute(*args)` where `needed`, else `otherwise`.

    JAX computes it for all. Generated code knows the name of this program and skips it where no patient of a vector needs it.
    """
    return _program(compute)(needed, otherwise, args)


@functools.lru_cache(maxsize=64)
def _program(compute: Callable[..., Scalar]) -> Any:
    """One program per function, so that it is traced once however often it is called."""

    def rarely(needed: Any, otherwise: Any, args: Any) -> Any:
        return jnp.where(needed, compute(*args), otherwise)

    return jax.jit(rarely)
