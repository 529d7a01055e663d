"""Lusutrombopag in health and chronic liver disease: TPO with its platelet sink, thrombopoiesis and the life of platelets.

Shimizu R, Katsube T, Wajima T. CPT Pharmacometrics Syst Pharmacol 2021;10:489-499, doi 10.1002/psp4.12623; assembled from the
literature, not fitted. Kinetics of the drug: Katsube 2016, doi 10.1007/s40262-016-0411-6; of TPO: Jin & Krzyzanski 2004, doi
10.1208/ps060109. Days, as published; platelets in 1e9/L, ten times the paper's 1e4/uL.

Scaled, so that float32 holds them: the paper's cells are 1 in the first stage of progenitors, 2^26 in the last and 1e11 as
platelets. Here a stage of progenitors is a share of its constant count, megakaryocytes are in 2^26 cells, and platelets are
what they add to the count in blood. Platelets per megakaryocyte and the share of platelets that the spleen leaves in plasma
enter the count by their product alone, which the baseline count gives.
"""

import functools
from pathlib import Path
from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models import struct
from thrombojax.models.protocol import Entry, Inputs, Model
from thrombojax.models.struct import Scalar, quantity

SOURCE = "Shimizu 2021, doi 10.1002/psp4.12623"
KATSUBE = "Katsube 2016, doi 10.1007/s40262-016-0411-6, as in Shimizu 2021"
JIN = "Jin & Krzyzanski 2004, doi 10.1208/ps060109, as in Shimizu 2021"
FACTOR = (
    "not explained in the paper: its own runs multiply the nominal dose by 0.857 (Japanese volunteers), 0.820 x 0.906 x 0.905 "
    "(others) or 0.813 (liver disease); 1 is the nominal dose"
)
HEALTHY_TPO = 1.4
"""pM."""
HEALTHY_COUNT = 200.0
"""1e9/L."""
PROGENITORS, MEGAKARYOCYTES, PLATELETS = 27, 5, 9
CELLS = 2.0 ** (PROGENITORS - 1)
"""Progenitors of the last stage that come of one of the first."""
PER_COUNT = 5e9
"""Platelets in plasma that are 1e9/L: a blood volume of 5 L."""
NG_PER_ML = 1000.0
"""Of 1 mg/L."""
PER_MEGAKARYOCYTE = HEALTHY_COUNT * PER_COUNT / (2 / 3 * CELLS * PLATELETS)
"""Which leaves two thirds of a volunteer's platelets in plasma (2483.53)."""


class Parameters(NamedTuple):
    relative_bioavailability: A[
        Array, quantity("1", "amount absorbed, x nominal dose", FACTOR, low=0.3, high=1.5, value=1.0, flags=("ASM",))
    ]
    absorption: A[Array, quantity("1/day", "absorption", KATSUBE, low=2, high=40, value=7.176)]
    elimination: A[Array, quantity("1/day", "elimination from central", KATSUBE, low=0.3, high=5, value=1.358)]
    central_volume: A[Array, quantity("L", "apparent central volume", KATSUBE, low=4, high=50, value=13.7)]
    to_first: A[Array, quantity("1/day", "central to first peripheral", KATSUBE, low=0.3, high=5, value=1.2816)]
    from_first: A[Array, quantity("1/day", "first peripheral to central", KATSUBE, low=0.5, high=8, value=2.088)]
    to_second: A[Array, quantity("1/day", "central to second peripheral", KATSUBE, low=0, high=0.2, value=0.03408)]
    from_second: A[Array, quantity("1/day", "second peripheral to central", KATSUBE, low=0.03, high=0.6, value=0.14088)]
    emax: A[Array, quantity("1", "maximal drive of TPO, and of the drug", SOURCE, low=2, high=10, value=4.52)]
    potency: A[Array, quantity("ng/mL", "concentration at half-maximal drive", SOURCE, low=20, high=800, value=183.0)]
    tpo_potency: A[
        Array, quantity("pmol/L", "TPO at half-maximal drive", SOURCE, low=1, high=20, value=(4.52 - 1.0) * HEALTHY_TPO)
    ]
    turnover: A[Array, quantity("1/day", "of cells at a drive of 1", SOURCE, low=0.3, high=3, value=1.0)]
    binding: A[Array, quantity("L/pmol/day", "of TPO to receptors", JIN, low=0.3, high=5, value=1.32)]
    release: A[Array, quantity("1/day", "of TPO from receptors", JIN, low=20, high=200, value=60.0)]
    internalisation: A[Array, quantity("1/day", "of bound TPO in health", JIN, low=0.5, high=10, value=2.4)]
    to_tissue: A[Array, quantity("1/day", "TPO to non-specific sites", JIN, low=0.5, high=10, value=3.12)]
    from_tissue: A[Array, quantity("1/day", "TPO from non-specific sites", JIN, low=0.2, high=5, value=1.152)]
    receptors: A[Array, quantity("pmol/L", "binding capacity at 200e9/L", JIN, low=50, high=500, value=164.0)]
    baseline_tpo: A[Array, quantity("pmol/L", "free TPO before dosing", SOURCE, low=0.2, high=10, value=HEALTHY_TPO)]
    baseline_platelets: A[Array, quantity("1/nL", "count before dosing", SOURCE, low=10, high=600, value=HEALTHY_COUNT)]
    per_megakaryocyte: A[
        Array,
        quantity("1", "platelets of one megakaryocyte", SOURCE, low=500, high=10000, value=PER_MEGAKARYOCYTE),
    ]


Progenitors = tuple[
    Array, Array, Array, Array, Array, Array, Array, Array, Array,
    Array, Array, Array, Array, Array, Array, Array, Array, Array,
    Array, Array, Array, Array, Array, Array, Array, Array, Array,
]  # fmt: skip


class State(NamedTuple):
    depot: A[Array, quantity("mg", "gut depot")]
    central: A[Array, quantity("mg", "central")]
    first: A[Array, quantity("mg", "first peripheral")]
    second: A[Array, quantity("mg", "second peripheral")]
    tpo: A[Array, quantity("pmol/L", "free TPO")]
    tissue: A[Array, quantity("pmol/L", "TPO on non-specific sites")]
    bound: A[Array, quantity("pmol/L", "TPO on receptors")]
    progenitor: A[Progenitors, quantity("1", "progenitors of each division, of their constant count")]
    megakaryocyte: A[tuple[Array, Array, Array, Array, Array], quantity("1", "megakaryocytes by age, in 2^26 cells")]
    age: A[
        tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array],
        quantity("1/nL", "platelets by age, as what they are of the count"),
    ]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1/nL", "platelet count in blood")]
    tpo: A[Array, quantity("pmol/L", "free TPO")]
    concentration: A[Array, quantity("ng/mL", "lusutrombopag in plasma")]
    megakaryocytes: A[Array, quantity("1", "cells of the first stage of megakaryocytes")]
    young_platelets: A[Array, quantity("1", "platelets of the first stage, those in the spleen included")]
    plasma_fraction: A[Array, quantity("1", "share of platelets that is not in the spleen")]


def baseline_drive(p: Parameters) -> Scalar:
    """Of TPO before dosing: 1 in health, 0.62 in liver disease."""
    return p.emax * p.baseline_tpo / (p.tpo_potency + p.baseline_tpo)


def _capacity(p: Parameters) -> Scalar:
    """Receptors before dosing."""
    return p.receptors * p.baseline_platelets / HEALTHY_COUNT


def _internalisation(p: Parameters) -> Scalar:
    """In proportion to TPO before dosing: the paper's way to another production of TPO."""
    return p.internalisation * p.baseline_tpo / HEALTHY_TPO


def baseline(p: Parameters) -> State:
    """Steady state without drug, in closed form."""
    zero = 0.0 * p.baseline_tpo
    capacity, drive = _capacity(p), baseline_drive(p)
    bound = p.binding * p.baseline_tpo * capacity / (p.release + _internalisation(p))
    return State(
        zero, zero, zero, zero, p.baseline_tpo, p.to_tissue / p.from_tissue * p.baseline_tpo, bound,
        (1.0 + zero,) * PROGENITORS, (drive,) * MEGAKARYOCYTES, (p.baseline_platelets / PLATELETS,) * PLATELETS,
    )  # fmt: skip


def _count(y: State) -> Scalar:
    return sum(y.age[1:], y.age[0])


def _concentration(y: State, p: Parameters) -> Scalar:
    return NG_PER_ML * y.central / p.central_volume


def rhs(t: Scalar, y: State, p: Parameters, u: Inputs) -> State:
    absorbed = p.absorption * y.depot
    first = p.to_first * y.central - p.from_first * y.first
    second = p.to_second * y.central - p.from_second * y.second
    central = absorbed - p.elimination * y.central - first - second

    capacity, taken_in = _capacity(p), _internalisation(p)
    made = taken_in * (p.binding * p.baseline_tpo * capacity / (p.release + taken_in))
    binding = p.binding * capacity * (_count(y) / p.baseline_platelets) * y.tpo
    exchanged = p.to_tissue * y.tpo - p.from_tissue * y.tissue
    tpo = made - binding + p.release * y.bound - exchanged
    bound = binding - (p.release + taken_in) * y.bound

    # The drive never falls below what it is at rest, where both are equal: a kink, at which gradients with respect to TPO and
    # its kinetics are one-sided. With the drug it is left behind at once.
    drug, resting = _concentration(y, p), baseline_drive(p)
    drive = p.emax * (y.tpo / (p.tpo_potency + y.tpo) + drug / (p.potency + drug))
    divide = p.turnover * jnp.maximum(drive, resting)
    progenitor: tuple[Scalar, ...] = (divide * (1.0 - y.progenitor[0]),)
    progenitor += tuple(divide * (y.progenitor[i - 1] - y.progenitor[i]) for i in range(1, PROGENITORS))
    cell: tuple[Scalar, ...] = (divide * y.progenitor[-1] - p.turnover * y.megakaryocyte[0],)
    cell += tuple(p.turnover * (y.megakaryocyte[i - 1] - y.megakaryocyte[i]) for i in range(1, MEGAKARYOCYTES))
    shed = p.baseline_platelets / (PLATELETS * resting)
    age: tuple[Scalar, ...] = (p.turnover * (shed * y.megakaryocyte[-1] - y.age[0]),)
    age += tuple(p.turnover * (y.age[i - 1] - y.age[i]) for i in range(1, PLATELETS))
    return State(-absorbed, central, first, second, tpo, exchanged, bound, progenitor, cell, age)


def plasma_fraction(p: Parameters) -> Scalar:
    """Share of platelets outside the spleen, in closed form from the count and what one megakaryocyte makes.

    Not above 1: where variability between patients asks for more (1 % of the paper's), the spleen holds none and a megakaryocyte
    makes more than was drawn; the count and its course do not depend on it.
    """
    made = p.per_megakaryocyte * CELLS * PLATELETS * baseline_drive(p)
    return jnp.minimum(p.baseline_platelets * PER_COUNT / made, 1.0)


def observe(y: State, p: Parameters) -> Obs:
    share = plasma_fraction(p)
    return Obs(_count(y), y.tpo, _concentration(y, p), CELLS * y.megakaryocyte[0], PER_COUNT * y.age[0] / share, share)


def max_rate(p: Parameters) -> Scalar:
    """TPO meets 216 receptors' worth a day in health, more the more platelets there are, and leaves them 60 times a day.

    The count cannot come to more than 1 + emax / drive before dosing of itself (drug and TPO at their most, TPO not above its
    baseline), so that is the room that is given, whatever the dose. Cells and the drug are slower.
    """
    most = 1.0 + p.emax / baseline_drive(p)
    met = p.binding * _capacity(p) * most + p.release + _internalisation(p) + p.to_tissue + p.from_tissue
    return jnp.maximum(met, 2.0 * p.emax * p.turnover)


@functools.lru_cache(maxsize=1)
def shimizu2021() -> Model:
    """Shimizu 2021 lusutrombopag model."""
    return Model(
        name="shimizu2021",
        title="Lusutrombopag in health and chronic liver disease, with the loop of TPO (Shimizu 2021)",
        source=SOURCE,
        State=State,
        Parameters=Parameters,
        Obs=Obs,
        initial=baseline,
        baseline=baseline,
        rhs=rhs,
        observe=observe,
        # No linear block for the drug: steps are short enough for it, and those of the longer method are twice as long.
        entries={("lusutrombopag", "oral"): Entry("mg", {"depot": lambda p: p.relative_bioavailability})},
        max_rate=max_rate,
        defaults=struct.build(Parameters, lambda name, meta: meta.value),
        steps_per_day=16.0,
        positive=("tpo", "age_1"),
        cohorts=(Path(__file__).parent / "cohorts" / "shimizu2021",),
    )
