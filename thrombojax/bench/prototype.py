"""The 22-state prototype on which the project's first speeds were measured, as a model of our own contract.

TPO-platelet-like, 180 days, 10 units of one drug weekly and 50 of another daily, 8 Runge-Kutta steps a day, platelets and TPO
saved daily. It is a yardstick and means nothing: frozen as it was, so that engines of all ages are measured against the same.
"""

from collections.abc import Sequence
from typing import Annotated as A
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thrombojax.dosing.timeline import Column, Schedule, Slots, grid, schedule
from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Model
from thrombojax.models.struct import quantity
from thrombojax.solve.engine import OK, Cohort

DAYS, STEPS_PER_DAY, SPREAD = 180, 8, 0.2
WEEKLY, DAILY = 10.0, 50.0
CELLS, AGES = 5, 8


def _of(value: float) -> Any:
    return quantity("1", "prototype", value=value)


class Parameters(NamedTuple):
    """In the order of the hand-written C."""

    kT: A[Array, _of(60.0)]
    kns: A[Array, _of(0.3)]
    kint: A[Array, _of(4.0)]
    Rp: A[Array, _of(0.01)]
    Rm: A[Array, _of(0.5)]
    Kd: A[Array, _of(150.0)]
    kd2: A[Array, _of(30.0)]
    ka: A[Array, _of(0.8)]
    kel: A[Array, _of(1.0)]
    k12: A[Array, _of(0.5)]
    k21: A[Array, _of(0.7)]
    emax: A[Array, _of(8.0)]
    ec50: A[Array, _of(100.0)]
    h: A[Array, _of(1.2)]
    kp: A[Array, _of(0.05)]
    kmk: A[Array, _of(1.0)]
    kn: A[Array, _of(0.5)]
    rel: A[Array, _of(20.0)]
    kpl: A[Array, _of(0.9)]
    ks: A[Array, _of(2.0)]
    fs: A[Array, _of(0.5)]
    kdes: A[Array, _of(0.02)]


class State(NamedTuple):
    """In the order of the hand-written C; the values are where every patient starts."""

    tpo: A[Array, _of(100.0)]
    depot: A[Array, _of(0.0)]
    drug: A[Array, _of(0.0)]
    deep: A[Array, _of(0.0)]
    gut: A[Array, _of(0.0)]
    oral: A[Array, _of(0.0)]
    progenitor: A[Array, _of(1.0)]
    cells: A[tuple[Array, Array, Array, Array, Array], _of(5.0)]
    niche: A[Array, _of(5.0)]
    ages: A[tuple[Array, Array, Array, Array, Array, Array, Array, Array], _of(30.0)]
    spleen: A[Array, _of(100.0)]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "sum of the ages")]
    tpo: A[Array, quantity("pg/mL", "TPO")]


def rhs(t: Any, y: Any, p: Any, u: Any) -> State:
    platelets, mass = sum(y.ages), sum(y.cells)
    a, b = y.tpo / p.Kd, y.drug / p.kd2
    free = 1 + a + b
    sink = p.kint * (p.Rp * (platelets + y.spleen) + p.Rm * mass) / free
    seen = (a + b) / free + y.oral / (y.oral + p.ec50)
    x = jnp.exp(p.h * jnp.log(seen + 1e-6))
    gain = 1 + p.emax * x / (x + 0.5)
    flow = p.ks * (p.fs * platelets - y.spleen)
    leave = p.kpl + p.kdes
    return State(
        tpo=p.kT - p.kns * y.tpo - sink * a,
        depot=-p.ka * y.depot,
        drug=p.ka * y.depot - (p.kel + p.k12) * y.drug + p.k21 * y.deep - sink * b,
        deep=p.k12 * y.drug - p.k21 * y.deep,
        gut=-p.ka * y.gut,
        oral=p.ka * y.gut - p.kel * y.oral,
        progenitor=p.kp * gain - p.kmk * y.progenitor,
        cells=(
            p.kmk * y.progenitor * gain - p.kmk * y.cells[0],
            *(p.kmk * (y.cells[i - 1] - y.cells[i]) for i in range(1, CELLS)),
        ),
        niche=p.kmk * y.cells[-1] - p.kn * y.niche,
        ages=(
            p.rel * p.kn * y.niche - leave * y.ages[0] - flow * 0.1,
            *(p.kpl * y.ages[i - 1] - leave * y.ages[i] for i in range(1, AGES)),
        ),
        spleen=flow,
    )


def initial(p: Any) -> State:
    return struct.build(State, lambda name, meta: meta.value + 0.0 * p.kT)


MODEL = Model(
    name="prototype22",
    title="The 22-state prototype (a yardstick)",
    source="benchmarks",
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    initial=initial,
    rhs=rhs,
    observe=lambda y, p: Obs(sum(y.ages), y.tpo),
    entries={
        ("weekly", "sc"): Entry("ug", {"depot": lambda p: 1.0}),
        ("daily", "oral"): Entry("ug", {"gut": lambda p: 1.0}),
    },
    max_rate=lambda p: p.ks + p.kpl + p.kdes,
    defaults=struct.build(Parameters, lambda name, meta: meta.value),
    steps_per_day=float(STEPS_PER_DAY),
)


def cohort(n: int, seed: int = 0) -> Cohort:
    """n patients in float64, every parameter log-normal about its mean; a larger cohort begins with the same patients."""
    means = np.asarray(MODEL.defaults)
    drawn = means * np.exp(SPREAD * np.random.default_rng(seed).standard_normal((n, len(means))))
    p = Parameters(*np.ascontiguousarray(drawn.T))
    y0 = struct.build(State, lambda name, meta: np.full(n, meta.value))
    return Cohort(p, y0, np.asarray(MODEL.max_rate(p)), np.full(n, OK, np.uint8))


def line(days: int = DAYS) -> Schedule:
    """The timeline: weekly and daily doses, daily bounds."""
    columns = (Column(("weekly", "sc"), False), Column(("daily", "oral"), False))
    times = [np.arange(0.0, days, 7.0), np.arange(0.0, days)]
    column = np.repeat([0, 1], [len(t) for t in times])
    amount = np.where(column == 0, WEEKLY, DAILY)
    none = np.zeros(len(column))
    given = Slots(np.concatenate(times), amount, none, tuple(map(int, column)), (False,) * len(column))
    return schedule(MODEL, MODEL.defaults, columns, given, grid(float(days)))


def flat(parts: Any, dtype: Any) -> np.ndarray:
    """A struct as one contiguous `[leaf, patient]` array, as C takes it."""
    import jax

    leaves: Sequence[Any] = jax.tree.leaves(parts)
    return np.ascontiguousarray(np.stack([np.asarray(leaf) for leaf in leaves]), dtype)
