"""Comparison with numbers as a source prints them."""

import numpy as np


def half_unit(text: str) -> float:
    """Half a unit of the last printed digit: 0.005 for 12.13, 0.5e-9 for 1.880824e-3."""
    mantissa, _, exponent = text.lower().partition("e")
    return 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def assert_printed(value: float, text: str, what: str = "", half_units: float = 1.0) -> None:
    """`value` rounds to what is printed (a value that lies on the half may have been rounded either way)."""
    value = float(value)
    away = abs(value - float(text))
    allowed = half_units * half_unit(text) * (1 + 1e-6) + 4 * np.spacing(abs(value))
    assert away <= allowed, f"{what}: {value:.12g} is not {text} ({away / half_unit(text):.2f} half units away)"
