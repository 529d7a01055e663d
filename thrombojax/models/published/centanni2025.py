"""Sunitinib and platelets in gastrointestinal stromal tumours: the Friberg chain with five transits, driven by the daily area.

Centanni M, Nijhuis J, Karlsson MO, Friberg LE. PharmacoEconomics 2025;43:31-43, doi 10.1007/s40273-024-01438-z, Online
Resource 1, Table S2. DOUBTFUL: three values of that table are used at a thousandth of what it prints (flag `DOUBT`): an Emax
of 497 would make proliferation negative, a feedback of 92.3 is unstable, and an EC50 of 10300 ng h/L would leave no dose
short of saturation; a thousandth of each is near the sister model of neutrophils. Published per hour; here per day.

There is no concentration: the kill is constant for the day that follows a dose. What is given within half a day counts as one
dose, so that doses are daily.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.blocks import chain, emax, proliferation, random_loss, rebound, steady
from thrombojax.models.protocol import Breakpoints, Entry, Inputs, LinearBlock, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Centanni 2025, doi 10.1007/s40273-024-01438-z, Table S2"
CLEARANCE = "typical value of Houk 2009's kinetics in the same group's models; a datum in Centanni 2025"
STAGES = 5
ORAL = ("sunitinib", "oral")
HALVES = (0.5, 1.0)
"""Days after a dose: what is kept of it moves on, and ends."""
FORGET = 80.0
"""Per day; within half a day nothing is left (4e-18), and the compartments are advanced exactly."""


def _doubtful(printed: str) -> str:
    return f"{SOURCE}; printed {printed}, which cannot be solved or contradicts the paper"


class Parameters(NamedTuple):
    clearance: A[Array, quantity("L/h", "clearance", CLEARANCE, low=5, high=150, value=32.819, flags=("ASM",))]
    baseline: A[Array, quantity("1/nL", "platelets before treatment", SOURCE, low=50, high=1500, value=323.0)]
    transit_time: A[Array, quantity("day", "mean transit time of precursors", SOURCE, low=2, high=20, value=175 / 24)]
    feedback: A[
        Array,
        quantity("1", "exponent of the rebound", _doubtful("92.3"), low=0.01, high=1, value=0.0923, flags=("DOUBT",)),
    ]
    kill: A[
        Array,
        quantity(
            "1", "most of proliferation that is stopped", _doubtful("497"), low=0, high=1, value=0.497, flags=("DOUBT",)
        ),
    ]
    potency: A[
        Array,
        quantity(
            "mg h/L",
            "daily area that stops half of it",
            _doubtful("10300 ng h/L"),
            low=0.5,
            high=200,
            value=10.3,
            flags=("DOUBT",),
        ),
    ]


class State(NamedTuple):
    taken: A[Array, quantity("mg", "given less than half a day ago, or until then")]
    earlier: A[Array, quantity("mg", "given more than half a day ago")]
    proliferating: A[Array, quantity("1/nL", "dividing precursors, as the platelets they will be")]
    transit: A[
        tuple[Array, Array, Array, Array, Array], quantity("1/nL", "maturing precursors, as the platelets they will be")
    ]
    circulating: A[Array, quantity("1/nL", "platelets in blood")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]


def rate(p: Parameters) -> Scalar:
    """At which every compartment of precursors, and the blood, is left."""
    return (STAGES + 1) / p.transit_time


def baseline(p: Parameters) -> State:
    resting = steady(p.baseline * rate(p), rate(p), STAGES + 1)
    return State(0.0 * p.baseline, 0.0 * p.baseline, resting[0], resting[1:], p.baseline)


def _moving(p: Parameters, u: Inputs) -> tuple[Scalar, Scalar]:
    """In the first half day what was given stays and the dose before is forgotten; in the second it moves on, without loss."""
    phase = u.phase[ORAL] + 0.0 * p.clearance
    return jnp.where(phase < 0.5, 0.0, FORGET), jnp.where((phase > 0.5) & (phase < 1.5), 0.0, FORGET)


def _today(y: State, u: Inputs) -> Scalar:
    """What was given within the last day."""
    phase = u.phase[ORAL]
    whole = jnp.where(phase < 0.5, y.taken, y.taken + y.earlier)
    return jnp.where(phase < 1.5, whole, 0.0 * whole)


def linear_block(p: Parameters, u: Inputs) -> LinearBlock:
    on, out = _moving(p, u)
    return LinearBlock(("taken", "earlier"), ((0, 1, on), (1, None, out)))


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    on, out = _moving(p, u)
    kill = emax(_today(y, u) / p.clearance, p.kill, p.potency)
    gain = (1.0 - kill) * rebound(y.circulating, p.baseline, p.feedback)
    k = rate(p)
    return State(
        -on * y.taken,
        on * y.taken - out * y.earlier,
        proliferation(gain, k, y.proliferating),
        chain(k * y.proliferating, k, y.transit),
        random_loss(k * y.transit[-1], k, y.circulating),
    )


@functools.lru_cache(maxsize=1)
def centanni2025() -> Model:
    """Centanni 2025 sunitinib model."""
    return Model(
        name="centanni2025",
        title="Sunitinib in gastrointestinal stromal tumours (Centanni 2025; three doubtful values)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=lambda y, p: Obs(y.circulating),
        entries={ORAL: Entry("mg", {"taken": lambda p: 1.0})},
        linear_block=linear_block,
        breakpoints=lambda p: Breakpoints(after_dose={ORAL: HALVES}),
        max_rate=lambda p: 2.0 * rate(p),
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=4.0,
        cohorts=(Path(__file__).parent / "cohorts" / "centanni2025",),
    )
