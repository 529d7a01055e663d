"""From the stem pool to polyploid megakaryocytes: expansion, endomitosis, cytoplasmic maturation.

TPO signals raise self-renewal, the gain of the CFU-Mk stages and the probability of one more endomitotic cycle; a cell that
leaves the ladder at 8N..64N contributes mass in proportion to its DNA, so ploidy feeds the platelet yield.
"""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models.feedback.effects import Effect
from thrombojax.models.feedback.response import saturating
from thrombojax.models.struct import Scalar, quantity

Chain2 = tuple[Array, Array]
Chain3 = tuple[Array, Array, Array]


class Parameters(NamedTuple):
    stem_capacity: A[
        Array, quantity("1", "capacity of the megakaryocyte-biased stem pool, x healthy", low=0.01, high=3)
    ]
    stem_renewal: A[Array, quantity("1/day", "self-renewal of the stem pool", low=0.03, high=0.5)]
    stem_tpo_max: A[Array, quantity("1", "stem capacity at full TPO signal, x healthy", low=1.05, high=2)]
    stem_tpo_floor: A[Array, quantity("1", "stem capacity without TPO signal, x healthy", low=0.3, high=0.8)]
    cfu_rate: A[Array, quantity("1/day", "rate of each CFU-Mk stage", low=0.8, high=1.3)]
    cfu_gain_max: A[Array, quantity("1", "gain per stage at full TPO signal, x healthy", low=1.05, high=15)]
    cfu_gain_floor: A[Array, quantity("1", "gain per stage without TPO signal, x healthy", low=0.6, high=0.85)]
    endomitosis_rate: A[Array, quantity("1/day", "endomitotic cycles", low=0.8, high=3)]
    endomitosis_max: A[Array, quantity("1", "drive to one more cycle at full TPO signal", low=1.05, high=6)]
    endomitosis_floor: A[Array, quantity("1", "drive to one more cycle without TPO signal", low=0.2, high=0.9)]
    exit_8n: A[Array, quantity("1", "probability of leaving at 8N in health", low=0.05, high=0.5)]
    exit_16n: A[Array, quantity("1", "probability of leaving at 16N in health", low=0.3, high=0.9)]
    exit_32n: A[Array, quantity("1", "probability of leaving at 32N in health", low=0.5, high=0.95)]
    maturation_rate: A[Array, quantity("1/day", "rate of each of two cytoplasmic maturation stages", low=0.5, high=0.9)]
    stem_kill_share: A[Array, quantity("1", "chemotherapy's kill of stem cells relative to CFU-Mk", low=0, high=1)]
    ladder_kill_share: A[
        Array, quantity("1", "chemotherapy's kill of megakaryoblasts relative to CFU-Mk", low=0, high=1)
    ]


class State(NamedTuple):
    stem: A[Array, quantity("1", "megakaryocyte-biased stem and early progenitor pool, x healthy")]
    cfu: A[Chain3, quantity("1", "CFU-Mk, three amplifying stages, x healthy")]
    ploidy_4n: A[Array, quantity("1", "megakaryoblasts 4N, cells, x healthy inflow")]
    ploidy_8n: A[Array, quantity("1", "megakaryoblasts 8N, cells, x healthy inflow")]
    ploidy_16n: A[Array, quantity("1", "megakaryoblasts 16N, cells, x healthy inflow")]
    ploidy_32n: A[Array, quantity("1", "megakaryoblasts 32N, cells, x healthy inflow")]
    ploidy_64n: A[Array, quantity("1", "megakaryoblasts 64N, cells, x healthy inflow")]
    cytoplasm: A[Chain2, quantity("1", "cytoplasmic maturation, mass, x healthy")]


class Drive(NamedTuple):
    """What moves the line: gain per CFU stage, drive to cycle, restraint of the last CFU stage, kill per day."""

    capacity: Scalar
    gain: Scalar
    cycle: Scalar
    restraint: Scalar
    kill: Scalar


def drive(signal: Scalar, mk_signal: Scalar, niche_support: Scalar, on_cfu: Scalar, on_cycle: Scalar, kill: Scalar,
          p: Parameters) -> Drive:  # fmt: skip
    """Drives from the progenitor and megakaryocyte TPO signals; the niche supports the TPO-independent floor."""
    half = (p.cfu_gain_max - 1.0) / (1.0 - p.cfu_gain_floor)
    floor = p.cfu_gain_floor * niche_support
    return Drive(
        capacity=p.stem_capacity * saturating(signal, p.stem_tpo_max, p.stem_tpo_floor),
        gain=floor + (p.cfu_gain_max - p.cfu_gain_floor) * signal / (signal + half),
        cycle=saturating(mk_signal, p.endomitosis_max, p.endomitosis_floor) * on_cycle,
        restraint=on_cfu,
        kill=kill,
    )


def _stay(exit_: Scalar) -> Scalar:
    return 1.0 - exit_


def mass_scale(p: Parameters) -> Scalar:
    """DNA mass leaving the healthy ladder per cell entering it (20.5 at the reference exits)."""
    s8, s16, s32 = _stay(p.exit_8n), _stay(p.exit_16n), _stay(p.exit_32n)
    return 8 * p.exit_8n + 16 * s8 * p.exit_16n + 32 * s8 * s16 * p.exit_32n + 64 * s8 * s16 * s32


def leaving_mass(y: State, p: Parameters) -> Scalar:
    """Mass that leaves the ladder, x healthy."""
    mass = 8 * p.exit_8n * y.ploidy_8n + 16 * p.exit_16n * y.ploidy_16n + 32 * p.exit_32n * y.ploidy_32n
    return (mass + 64 * y.ploidy_64n) / mass_scale(p)


def mean_ploidy(y: State, p: Parameters) -> Scalar:
    """Mean DNA content (N) of the cells leaving the ladder."""
    cells = p.exit_8n * y.ploidy_8n + p.exit_16n * y.ploidy_16n + p.exit_32n * y.ploidy_32n + y.ploidy_64n
    return leaving_mass(y, p) * mass_scale(p) / cells


def _leave(exit_: Scalar, cycle: Scalar) -> Scalar:
    return exit_ + (1.0 - exit_) * cycle


def rhs(y: State, d: Drive, effect: Effect, p: Parameters) -> State:
    cfu_kill = d.kill + effect.cfu_block
    c1, c2, c3 = y.cfu
    rate, cycle_rate = p.cfu_rate, p.endomitosis_rate
    ladder_kill = p.ladder_kill_share * d.kill
    up = cycle_rate * d.cycle
    return State(
        stem=p.stem_renewal * y.stem * (d.capacity - y.stem) - p.stem_kill_share * d.kill * y.stem,
        cfu=(
            rate * (d.gain * y.stem - c1) - cfu_kill * c1,
            rate * (d.gain * c1 - c2) - cfu_kill * c2,
            rate * (d.restraint * c2 - c3) - cfu_kill * c3,
        ),
        ploidy_4n=cycle_rate * c3 - (up + ladder_kill) * y.ploidy_4n,
        ploidy_8n=up * y.ploidy_4n - (cycle_rate * _leave(p.exit_8n, d.cycle) + ladder_kill) * y.ploidy_8n,
        ploidy_16n=up * _stay(p.exit_8n) * y.ploidy_8n
        - (cycle_rate * _leave(p.exit_16n, d.cycle) + ladder_kill) * y.ploidy_16n,
        ploidy_32n=up * _stay(p.exit_16n) * y.ploidy_16n
        - (cycle_rate * _leave(p.exit_32n, d.cycle) + ladder_kill) * y.ploidy_32n,
        ploidy_64n=up * _stay(p.exit_32n) * y.ploidy_32n - (cycle_rate + ladder_kill) * y.ploidy_64n,
        cytoplasm=(
            p.maturation_rate * (leaving_mass(y, p) * (1.0 - effect.maturation_block) - y.cytoplasm[0]),
            p.maturation_rate * (y.cytoplasm[0] - y.cytoplasm[1]),
        ),
    )


def steady(mass: Scalar, d: Drive, p: Parameters) -> State:
    """Steady state (without drugs) that delivers `mass` (x healthy) to maturation; its `stem` is what capacity must be."""
    y8, y16, y32 = (e / _leave(e, d.cycle) for e in (p.exit_8n, p.exit_16n, p.exit_32n))
    s8, s16, s32 = _stay(y8), _stay(y16), _stay(y32)
    per_cell = (8 * y8 + 16 * s8 * y16 + 32 * s8 * s16 * y32 + 64 * s8 * s16 * s32) / mass_scale(p)
    c3 = mass / per_cell
    e8 = c3 / _leave(p.exit_8n, d.cycle)
    e16 = _stay(p.exit_8n) * d.cycle * e8 / _leave(p.exit_16n, d.cycle)
    e32 = _stay(p.exit_16n) * d.cycle * e16 / _leave(p.exit_32n, d.cycle)
    c2 = c3 / d.restraint
    c1 = c2 / d.gain
    e64 = _stay(p.exit_32n) * d.cycle * e32
    return State(c1 / d.gain, (c1, c2, c3), c3 / d.cycle, e8, e16, e32, e64, (mass, mass))
