"""A user's model with a delay: one pool that is lost at the rate of what it held some days ago; solved in closed form."""

from typing import Annotated, NamedTuple

from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Model
from thrombojax.models.struct import quantity

A = Annotated


class Parameters(NamedTuple):
    loss: A[Array, quantity("1/day", "loss", low=0, high=2, value=1.0)]
    lag: A[Array, quantity("day", "after which it is lost", low=0, high=3, value=0.83)]
    first: A[Array, quantity("1/nL", "until day 0", low=0, high=500, value=100.0)]


class State(NamedTuple):
    pool: A[Array, quantity("1/nL", "pool")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "pool")]


MODEL = Model(
    name="delayed",
    title="A pool with a delay",
    source="tests",
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    initial=lambda p: State(1.0 * p.first),
    rhs=lambda t, y, p, u: State(-p.loss * u.lagged["lost"].pool),
    delays=lambda p: {"lost": p.lag},
    observe=lambda y, p: Obs(y.pool),
    entries={("cells", "iv"): Entry("1/nL", {"pool": lambda p: 1.0}, infusible=True)},
    max_rate=lambda p: p.loss,
    defaults=struct.build(Parameters, lambda name, meta: meta.value),
    steps_per_day=2.0,
)
