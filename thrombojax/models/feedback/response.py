"""The one saturating response that the feedback uses wherever a TPO signal raises something."""

from thrombojax.models.struct import Scalar


def saturating(signal: Scalar, ceiling: Scalar, floor: Scalar) -> Scalar:
    """Hyperbola with value `floor` at signal 0, 1 at signal 1 (healthy) and `ceiling` at infinity."""
    return floor + (ceiling - floor) * signal / (signal + (ceiling - 1.0) / (1.0 - floor))


def restrained(gain: Scalar, level: Scalar) -> Scalar:
    """Hyperbolic restraint: 1 at level 1 (healthy), 1 + gain without the inhibitor, falling to 0."""
    return (1.0 + gain) / (1.0 + gain * level)
