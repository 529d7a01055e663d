"""Building blocks of models of blood counts: pure functions of scalars or arrays, rates per day.

A count falls as it is made less, mature slower or lost faster; models differ in which of these blocks they chain together.
docs/how-to-published-model.md builds one from them.
"""

from collections.abc import Sequence

from thrombojax.models.struct import Scalar


def chain(inflow: Scalar, rate: Scalar, y: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Derivatives of transit compartments, each left at `rate`; what leaves the last is `rate * y[-1]`."""
    before = (inflow, *(rate * stage for stage in y[:-1]))
    return tuple(enters - rate * stage for enters, stage in zip(before, y, strict=True))


def steady(flow: Scalar, rate: Scalar, stages: int) -> tuple[Scalar, ...]:
    """Transit compartments through which `flow` passes at rest."""
    return (flow / rate,) * stages


def random_loss(inflow: Scalar, rate: Scalar, y: Scalar) -> Scalar:
    """Derivative of a pool that is lost at `rate` whatever its age."""
    return inflow - rate * y


def proliferation(gain: Scalar, rate: Scalar, y: Scalar) -> Scalar:
    """Derivative of a pool that renews itself `gain` times as fast as it is left: at rest where the gain is 1."""
    return rate * y * (gain - 1.0)


def rebound(count: Scalar, baseline: Scalar, exponent: Scalar) -> Scalar:
    """Feedback by a power of the ratio to the baseline: above 1 while the count is low (Friberg 2002)."""
    return (baseline / count) ** exponent


def saturation(value: Scalar, half: Scalar) -> Scalar:
    """Falls from 1 to 0, by half at `half`: a feedback of the count, or what a concentration leaves of a process."""
    return half / (half + value)


def emax(value: Scalar, top: Scalar, half: Scalar) -> Scalar:
    """Rises from 0 to `top`, by half of it at `half`."""
    return top * value / (half + value)


def power(value: Scalar, reference: Scalar, exponent: Scalar) -> Scalar:
    """Factor of a covariate: 1 at its reference value."""
    return (value / reference) ** exponent


def switch(on: Scalar, factor: Scalar) -> Scalar:
    """Factor of a covariate that is 0 or 1: 1 without it."""
    return 1.0 + on * (factor - 1.0)
