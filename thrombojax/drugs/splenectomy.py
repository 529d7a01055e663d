"""Splenectomy: ends the pool of the spleen, and what it destroys in immune thrombocytopenia, from that day on.

The spleen takes its platelets with it; the marrow fills the blood within two weeks. 100 % is all of it.
"""

from typing import Annotated as A
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.drugs.protocol import Drug
from thrombojax.models.feedback import platelets
from thrombojax.models.feedback.effects import Effect, Surroundings
from thrombojax.models.protocol import Entry
from thrombojax.models.struct import Scalar, quantity

ASTER = "recovery 97.8 % without a spleen: Aster 1966, J Clin Invest 45:645"
PER_CENT = 0.01


class State(NamedTuple):
    removed: A[Array, quantity("1", "share of the spleen that is gone")]


def effect(y: State, p: Any, around: Surroundings) -> Effect:
    return Effect(spleen_removed=jnp.minimum(y.removed, 1.0))


def _still(y: State, p: Any, around: Surroundings, u: Any) -> State:
    return State(0.0 * y.removed)


def _pooled(p: Any) -> Scalar:
    """Of all platelets, those that go with the spleen, per per cent of it."""
    return -PER_CENT * p.platelets.spleen_ratio / (1.0 + p.platelets.spleen_ratio)


DRUG = Drug(
    name="splenectomy",
    title="Splenectomy",
    source=ASTER,
    State=State,
    entries={
        ("splenectomy", "procedure"): Entry(
            "%",
            {"removed": lambda p: PER_CENT},
            shares={
                **{f"platelets.age_{j + 1}": _pooled for j in range(platelets.AGES)},
                "receptor.platelet_mpl": _pooled,
            },
        )
    },
    rhs=_still,
    effect=effect,
)
