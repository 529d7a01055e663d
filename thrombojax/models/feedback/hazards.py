"""What the count is for: hazards of bleeding and of thrombosis, read off the blood count. Nothing in the loop depends on them.

Bleeding: Uhl et al., Blood 2017;130:1247 (PLADO) for its height at 5e9/L, Hato et al., Blood Adv 2020;4:1648 for the counts at
which it rises. Thrombosis: Barbui et al., Blood 2012;120:5128 (IPSET-thrombosis), whose score leaves the count out.

No event is drawn. The area under a hazard over a window is the cumulative hazard there, H, and 1 - exp(-H) the probability of
at least one event. The levels are not fitted to anything; relative hazards of one patient or cohort are what they are good for.
"""

from typing import Annotated as A
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from thrombojax.models.struct import Scalar, quantity

PLADO = "Uhl 2017 (PLADO), doi 10.1182/blood-2017-01-757930"
HATO = "Hato 2020, doi 10.1182/bloodadvances.2020001446"
IPSET = "Barbui 2012 (IPSET-thrombosis), doi 10.1182/blood-2012-07-444067"
ASSUMED = ("ASM",)
OLD, OLD_RISK = 60.0, 1.5
"""Years, and the hazard ratio of thrombosis beyond them (IPSET)."""
CONVENTION = ("ASM", "convention")
"""No source gives the form: another one would be as good."""


class Parameters(NamedTuple):
    bleeding_rate: A[Array, quantity(
        "1/day", "hazard of bleeding of grade 2 or more at high counts", "no usable number found; scales the hazard alone",
        low=2.7e-5, high=2.7e-3, value=2.7e-4, flags=ASSUMED,
    )]  # fmt: skip
    bleeding_gain: A[Array, quantity(
        "1", "rise of the bleeding hazard towards a count of 0, x that at high counts",
        f"odds ratio 3.1 (2.0 to 4.8) at 5 or less against 81e9/L or more: {PLADO}",
        low=1.5, high=5.8, value=3.2, flags=("LIT",),
    )]  # fmt: skip
    bleeding_count: A[Array, quantity(
        "1/nL", "count over which the rise of the bleeding hazard falls e-fold",
        f"mucosal and organ bleeding rise exponentially below 10-15e9/L: {HATO}; one exponential is a reading of that",
        low=10, high=15, value=12, flags=("LIT",),
    )]  # fmt: skip
    bleeding_multiplier: A[Array, quantity(
        "1", "bleeding hazard of this patient, x one without risk factors",
        f"product of haematocrit <= 25 % 1.29; aPTT 30-50 s 1.40, > 50 s 2.34; INR 1.2-1.5 1.46, > 1.5 2.05: {PLADO}; "
        "that they multiply is assumed",
        low=1, high=6.2, value=1, flags=ASSUMED,
    )]  # fmt: skip
    thrombosis_rate: A[Array, quantity(
        "1/day", "hazard of thrombosis at low counts", f"1.03 % a year, low-risk essential thrombocythaemia: {IPSET}",
        low=1e-5, high=1e-4, value=2.82e-5, flags=("LIT",),
    )]  # fmt: skip
    thrombosis_gain: A[Array, quantity(
        "1", "rise of the thrombosis hazard at very high counts, x that at low counts",
        f"no source; 0 in essential thrombocythaemia, whose score leaves the count out: {IPSET}",
        low=0, high=1, value=0.5, flags=CONVENTION,
    )]  # fmt: skip
    thrombosis_count: A[Array, quantity(
        "1/nL", "count at half of that rise", "no source", low=500, high=2000, value=1000, flags=CONVENTION,
    )]  # fmt: skip
    thrombosis_multiplier: A[Array, quantity(
        "1", "thrombosis hazard of this patient, x one without risk factors",
        f"product of earlier thrombosis 1.9, cardiovascular risk factors 1.6, JAK2 mutated 2.0: {IPSET}; "
        "a TPO-receptor agonist 2.0, assumed from 4-5 % in long-term studies",
        low=1, high=12.2, value=1, flags=ASSUMED,
    )]  # fmt: skip


def bleeding(count: Scalar, p: Parameters) -> Scalar:
    """Hazard of bleeding of grade 2 or more, per day; count in blood, 1e9/L."""
    return p.bleeding_rate * p.bleeding_multiplier * (1.0 + p.bleeding_gain * jnp.exp(-count / p.bleeding_count))


def thrombosis(count: Scalar, age: Scalar, p: Parameters) -> Scalar:
    """Hazard of thrombosis, per day; count in blood, 1e9/L; age in years: above 60 it is 1.5 times as high (IPSET).

    Whether a TPO-receptor agonist is given is in the multiplier: no study says from when to when after a dose it acts.
    """
    square = (count / p.thrombosis_count) ** 2
    risk = p.thrombosis_multiplier * jnp.where(age > OLD, OLD_RISK, 1.0)
    return p.thrombosis_rate * risk * (1.0 + p.thrombosis_gain * square / (1.0 + square))
