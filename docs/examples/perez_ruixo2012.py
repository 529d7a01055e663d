"""Romiplostim in immune thrombocytopenia without a concentration: doses drive the marrow (K-PD).

Perez-Ruixo JJ et al., J Clin Pharmacol 2012;52:1540-1551, doi 10.1177/0091270011420843: 52 patients, 0.2-10 ug/kg. Values are
those of its abstract; what that does not print is flagged ASM.

thrombojax run docs/examples/perez-ruixo2012.toml -o out/perez-ruixo2012.h5 --model-file docs/examples/perez_ruixo2012.py
"""

from typing import Annotated, NamedTuple

from jax import Array

from thrombojax.models import struct
from thrombojax.models.blocks import chain, random_loss, steady, switch
from thrombojax.models.protocol import Entry, Inputs, Model
from thrombojax.models.struct import quantity

ABSTRACT = "Perez-Ruixo 2012, doi 10.1177/0091270011420843, abstract"
PER_DAY = 7 / 100 / 100
"""A rise of 1 % for 100 ug a week, as a share for each ug a day."""


class Parameters(NamedTuple):
    weight: Annotated[Array, quantity("kg", "body weight", low=40, high=150, value=70.0)]
    baseline: Annotated[Array, quantity("1/nL", "platelets before treatment", ABSTRACT, low=1, high=50, value=11.1)]
    transit_time: Annotated[Array, quantity("day", "mean transit time", ABSTRACT, low=3, high=15, value=170 / 24)]
    elimination: Annotated[Array, quantity("1/day", "of the virtual compartment", ABSTRACT, low=0.1, high=3, value=0.6)]
    low_slope: Annotated[
        Array, quantity("%", "rise for 100 ug/week: 32 % of patients", ABSTRACT, low=1, high=100, value=12.0)
    ]
    responder: Annotated[Array, quantity("1", "1: of the 68 % who respond", ABSTRACT, low=0, high=1, value=1.0)]
    responder_factor: Annotated[
        Array, quantity("1", "slope of responders, x low", f"{ABSTRACT}: 351 %", low=1, high=100, value=351 / 12)
    ]
    loss_factor: Annotated[
        Array,
        quantity(
            "1", "loss of platelets, x the rate of transit", "not printed", low=0.1, high=20, value=1.0, flags=("ASM",)
        ),
    ]


class State(NamedTuple):
    drug: Annotated[Array, quantity("ug", "virtual compartment")]
    progenitor: Annotated[Array, quantity("1/nL", "progenitors that the drug stimulates, as platelets")]
    transit: Annotated[tuple[Array, Array, Array, Array], quantity("1/nL", "maturing precursors, as platelets")]
    platelets: Annotated[Array, quantity("1/nL", "platelets in blood")]


class Obs(NamedTuple):
    platelets: Annotated[Array, quantity("1/nL", "platelet count")]
    drive: Annotated[Array, quantity("ug/day", "rate that leaves the virtual compartment")]


def rates(p):
    """Of transit (progenitors and four stages share the transit time: ASM) and of loss from blood."""
    transit = 5.0 / p.transit_time
    return transit, p.loss_factor * transit


def baseline(p):
    transit, loss = rates(p)
    resting = steady(loss * p.baseline, transit, 5)
    return State(0.0 * p.baseline, resting[0], resting[1:], p.baseline)


def rhs(t, y, p, u: Inputs):
    transit, loss = rates(p)
    drive = p.elimination * y.drug  # ug/day
    slope = PER_DAY * p.low_slope * switch(p.responder, p.responder_factor)
    made = loss * p.baseline * (1.0 + slope * drive)
    return State(
        drug=-drive,
        progenitor=random_loss(made, transit, y.progenitor),
        transit=chain(transit * y.progenitor, transit, y.transit),
        platelets=random_loss(transit * y.transit[-1], loss, y.platelets),
    )


MODEL = Model(
    name="perez-ruixo2012",
    title="Romiplostim in immune thrombocytopenia, driven by doses (Perez-Ruixo 2012)",
    source=ABSTRACT,
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    initial=baseline,
    baseline=baseline,
    rhs=rhs,
    observe=lambda y, p: Obs(y.platelets, p.elimination * y.drug),
    entries={("romiplostim", "sc"): Entry("ug", {"drug": lambda p: 1.0})},
    max_rate=lambda p: p.elimination + (1.0 + p.loss_factor) * 5.0 / p.transit_time,
    defaults=struct.build(Parameters, lambda name, meta: meta.value),
    steps_per_day=2.0,
)
