"""Costly values that few patients need at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from thrombojax.models.struct import Scalar


def rarely(needed: Scalar, otherwise: Scalar, compute: Callable[..., Scalar], *args: Any) -> Scalar:
    """`compute(*args)` where `needed`, else `otherwise`.

    JAX computes it for all. Generated code knows the name of this program and skips it where no patient of a vector needs it.
    """

    def rarely(needed: Any, otherwise: Any, args: Any) -> Any:
        return jnp.where(needed, compute(*args), otherwise)

    return jax.jit(rarely)(needed, otherwise, args)
